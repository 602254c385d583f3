"""Worker threads of one store: whoever closes it waits for those who read."""

import threading

import pytest
import trio

from ioe_node.errors import StoreError
from ioe_node.workflows.bell import Workers


async def test_a_store_is_closed_after_its_last_reader_though_both_are_cancelled() -> None:
    workers, reading, go_on, order = Workers(), threading.Event(), threading.Event(), []

    def read() -> None:
        reading.set()
        go_on.wait(5)
        order.append("read")

    async def close() -> None:
        try:
            await trio.sleep_forever()
        finally:
            await workers.close()
            order.append("closed")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(workers, read)
        nursery.start_soon(close)
        await trio.to_thread.run_sync(reading.wait)
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await trio.sleep(0.05)
        assert order == []
        go_on.set()
    assert order == ["read", "closed"]


async def test_nothing_is_read_from_a_store_that_is_closed() -> None:
    workers = Workers()
    assert await workers(int, "7") == 7
    await workers.close()
    with pytest.raises(StoreError, match="being closed"):
        await workers(int, "7")

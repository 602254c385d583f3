"""How one stage wakes the next, and where what a stage has to do with the store is run."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import trio

from ioe_node.errors import StoreError

T = TypeVar("T")


class StoreRunner(Protocol):
    """How a store call runs: in a worker thread (daemon) or inline (simulator)."""

    async def __call__(self, function: Callable[..., T], *args: Any) -> T: ...


async def run_inline(function: Callable[..., T], *args: Any) -> T:
    """Run a store call here and now."""
    return function(*args)


class Workers:
    """Runs the calls of one store in worker threads; none is abandoned half way.

    Whoever has called may belong to another nursery than the store: so who closes the store first
    waits here until nobody reads it any more, for SQLite does not survive that.
    """

    def __init__(self) -> None:
        self._running = 0
        self._closed = False
        self._idle = trio.Event()

    async def __call__(self, function: Callable[..., T], *args: Any) -> T:
        """Run a store call; raises `StoreError` when the store is being closed."""
        if self._closed:
            raise StoreError("this community is being closed; try again")
        self._running += 1
        try:
            return await trio.to_thread.run_sync(function, *args)
        finally:
            self._running -= 1
            self._idle.set()

    async def close(self) -> None:
        """Take no more calls, and wait for those that are being run."""
        self._closed = True
        while self._running:
            self._idle = trio.Event()
            with trio.CancelScope(shield=True):
                await self._idle.wait()


class Bell:
    """Rung by one stage, heard by the next; a ring while nobody listens is kept."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def ring(self) -> None:
        """Wake whoever listens."""
        self._event.set()

    async def wait(self, timeout_s: float = float("inf")) -> bool:
        """Return at the next ring, or the one missed (True), or after the time (False)."""
        with trio.move_on_after(timeout_s):
            await self._event.wait()
        rung = self._event.is_set()
        self._event = trio.Event()
        return rung

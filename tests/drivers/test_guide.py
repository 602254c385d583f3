"""The driver in the guide is a driver."""

import textwrap
from functools import partial
from types import ModuleType
from typing import Any

import pytest
import trio

from ioe_node import drivers
from ioe_node.drivers.driver import Meter, Reading
from ioe_node.errors import ConfigError, LocalError, TransportError

NOW_US = 1_767_225_600_000_000


class FixedClock:
    def now_us(self) -> int:
        return NOW_US


@pytest.fixture
def brand() -> Any:
    """The guide's example as a module."""
    _, _, after = (drivers.__doc__ or "").partition("::\n")
    example, _, _ = after.partition("\n1.  ")
    made = ModuleType("brand")
    exec(compile(textwrap.dedent(example), "brand.py", "exec"), made.__dict__)
    return made


async def test_it_reads(brand: Any, nursery: trio.Nursery) -> None:
    async def meter(stream: trio.SocketStream) -> None:
        await stream.send_all(b"1234.567 89.1\r\n")

    listeners = await nursery.start(partial(trio.serve_tcp, meter, 0, host="127.0.0.1"))
    port = listeners[0].socket.getsockname()[1]
    driver = brand.Brand.from_options({"host": "127.0.0.1", "port": port}, FixedClock())
    assert isinstance(driver, Meter)
    assert await driver.read() == Reading(NOW_US, 1_234_567_000, 89_100_000)


async def test_its_errors_are_of_the_two_kinds(brand: Any) -> None:
    driver = brand.Brand.from_options({"host": "127.0.0.1", "port": 1})
    with pytest.raises(TransportError):
        await driver.read()
    with pytest.raises(ConfigError, match="port"):
        brand.Brand.from_options({"host": "a", "port": 0})
    for line in (b"", b"\xff", b"1", b"1 2 3", b"1e99 0", b"nan 0"):
        with pytest.raises(LocalError):
            brand.decode_line(line, 0)

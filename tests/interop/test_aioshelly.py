"""aioshelly, which others wrote for real plugs, takes our emulator for one."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from pathlib import Path

import pytest
import trio

from ioe_node.drivers.driver import Reading
from ioe_node.drivers.shelly import Shelly
from sim.shelly_plug import Plug
from sim.shelly_server import serve

NOW_US = 1_767_225_600_000_000
CLIENT = Path(__file__).with_name("aioshelly_client.py")


class SteppedClock:
    def __init__(self) -> None:
        self.at_us = NOW_US

    def now_us(self) -> int:
        return self.at_us


def steady_load(at_us: int) -> tuple[int, int]:
    """3.6 W: a milli-Wh a second."""
    return 3600, (at_us - NOW_US) // 1_000_000


@pytest.mark.parametrize("password", ["", "secret"])
async def test_aioshelly_reads_and_switches_the_emulator(
    nursery: trio.Nursery, tmp_path: Path, password: str
) -> None:
    clock = SteppedClock()
    plug = Plug(steady_load, clock, password=password or None)
    port = await nursery.start(serve, plug)
    clock.at_us += 1_234_500_000
    done = await trio.run_process(
        [sys.executable, str(CLIENT), str(port), password],
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    seen = json.loads(done.stdout)
    assert seen["supported"]
    assert seen["model"] == "SNPL-00112EU"
    assert "Switch.Set" in seen["methods"]
    assert seen["first"]["output"] is True
    assert seen["first"]["apower"] == 3.6
    assert seen["first"]["aenergy"]["total"] == 1.234
    assert seen["output_by_notice"] is False
    assert seen["last"]["output"] is False
    assert seen["last"]["apower"] == 0
    assert seen["unixtime"] == NOW_US // 1_000_000 + 1234
    assert not plug.on

    secret = tmp_path / "password"
    secret.write_text(password)
    ours = Shelly.from_options(
        {"url": f"http://127.0.0.1:{port}", **({"password_file": str(secret)} if password else {})}
    )
    reading = await ours.read()
    assert (reading.switched_on, reading.import_milli_wh) == (False, 1234)


async def lines_of(stream: trio.abc.ReceiveStream) -> AsyncIterator[str]:
    text = b""
    async for chunk in stream:
        *whole, text = (text + chunk).split(b"\n")
        for line in whole:
            yield line.decode()


@pytest.mark.parametrize("password", ["", "secret"])
async def test_aioshelly_and_we_hear_the_same_notices(nursery: trio.Nursery, password: str) -> None:
    """Each plug in turn: pressed by hand, its counters a minute later, all of its state."""
    clock = SteppedClock()
    plug = Plug(steady_load, clock, password=password or None)
    port = await nursery.start(serve, plug)
    send, heard = trio.open_memory_channel[Reading](10)
    ours = Shelly("127.0.0.1", port, 0, password or None, clock)
    nursery.start_soon(ours.watch, send.send_nowait)
    assert (await heard.receive()).switched_on is True
    command = [sys.executable, str(CLIENT), str(port), password]
    run = partial(trio.run_process, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    client = await nursery.start(run)
    lines = lines_of(client.stdout)
    async with aclosing(lines):
        json.loads(await anext(lines))
        assert (await heard.receive()).switched_on is False  # it has switched the plug off
        for deed, counted in ((plug.press, 0), (plug.tell_counters, 60), (plug.tell_all, 120)):
            deed()
            kind, switch = json.loads(await anext(lines))
            reading = await heard.receive()
            assert kind == "STATUS"
            assert switch["output"] is reading.switched_on is True
            assert switch["apower"] == 3.6
            assert reading.power_milli_w == 3600
            if counted:
                assert switch["aenergy"]["total"] == counted / 1000
            assert reading.import_milli_wh == counted
            clock.at_us += 60_000_000
        await client.stdin.aclose()


async def test_aioshelly_is_refused_with_a_wrong_password(nursery: trio.Nursery) -> None:
    port = await nursery.start(serve, Plug(steady_load, SteppedClock(), password="secret"))
    done = await trio.run_process(
        [sys.executable, str(CLIENT), str(port), "wrong"],
        stdout=subprocess.DEVNULL,
        capture_stderr=True,
        check=False,
    )
    assert done.returncode != 0
    assert b"InvalidAuthError" in done.stderr

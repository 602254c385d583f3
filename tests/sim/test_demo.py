"""The demo ends as it should also when it is told to."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from ioe_node.cli.client import AnswerError
from ioe_node.drivers.citylearn import HOMES, HOURS_PER_YEAR
from sim.street import claim

PATIENCE_S = 60.0
INTERRUPTED = 130


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Homes that use and make nothing for a year, and a grid that costs nothing."""
    folder = tmp_path / "data" / "citylearn-challenge-2022"
    folder.mkdir(parents=True)
    year = bytes(2 * HOURS_PER_YEAR * 4)
    for name in ("grid", *(f"home-{number:02}" for number in range(1, HOMES + 1))):
        (folder / f"{name}.bin").write_bytes(hashlib.sha256(year).digest() + year)
    return folder.parent


def running_in(folder: Path) -> list[str]:
    """The command lines of the processes that name `folder`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:
            continue
        if str(folder) in words:
            found.append(words)
    return found


def until(ready: Callable[[], Any], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not ready():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_demo_that_is_ended_leaves_no_process_and_no_directory(
    tmp_path: Path, data: Path, number: int
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "sim.demo", "--fast"],
        env={**os.environ, "TMPDIR": str(scratch), "IOE_DATA": str(data)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: list(scratch.glob("ioe-demo-*/ben/log")), process)
        assert running_in(scratch)
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == INTERRUPTED, err
    assert "interrupted" in out.splitlines()[-1]
    assert "Traceback" not in err
    assert list(scratch.iterdir()) == []
    assert running_in(scratch) == []


def nodes(answers: list[Exception | None]) -> tuple[Any, Any, list[dict[str, Any]]]:
    """An owner whose claims end like this, one after the other; a device; what was asked."""
    asked: list[dict[str, Any]] = []

    async def ask(call: str, **arguments: Any) -> None:
        asked.append(arguments)
        if (answer := answers.pop(0)) is not None:
            raise answer

    async def ready() -> dict[str, Any]:
        return {"role": "unowned", "code": "1234-5678"}

    async def owned() -> None:
        await trio.lowlevel.checkpoint()

    owner = SimpleNamespace(name="ada", ask=ask)
    return owner, SimpleNamespace(name="roof", agent=b"key", ready=ready, owned=owned), asked


async def test_a_device_is_claimed_by_its_key_once_it_is_near(
    autojump_clock: trio.testing.MockClock,
) -> None:
    owner, device, asked = nodes([AnswerError("not near", 1), AnswerError("no link", 4), None])
    await claim(owner, device)
    assert asked == [{"device": b"key", "code": "1234-5678", "name": "roof"}] * 3


async def test_a_refused_pairing_is_not_tried_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    owner, device, asked = nodes([AnswerError("the pairing code is wrong", 3)])
    with pytest.raises(AnswerError, match="code is wrong"):
        await claim(owner, device)
    assert len(asked) == 1

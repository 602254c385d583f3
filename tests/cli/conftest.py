"""`ioe` in this process for what is only a client; real processes for nodes."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio

from ioe_node.cli import node as node_module
from ioe_node.cli.main import main
from ioe_node.clock import SystemClock
from ioe_node.conductor.keystore import MINIMAL
from sim.shelly_plug import Plug
from sim.shelly_server import serve

DRIVERS = Path(__file__).parent / "drivers"
READY_MAX_S = 20.0


@dataclass(frozen=True)
class Said:
    """What a command ended with."""

    code: int
    out: str
    err: str


Ioe = Callable[..., Said]


@pytest.fixture
def ioe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ioe:
    """Run `ioe` with these words; `home` names a directory under the test's own."""
    monkeypatch.setenv("IOE_PASSPHRASE", "of the test")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(node_module, "INTERACTIVE", MINIMAL)
    monkeypatch.syspath_prepend(DRIVERS)

    def run(*words: str, home: str = "owner", code: int | None = 0) -> Said:
        monkeypatch.setattr(sys, "argv", ["ioe", "--home", str(tmp_path / home), *words])
        left: Any = 0
        capsys.readouterr()
        try:
            main()
        except SystemExit as leave:
            left = leave.code
        said = Said(left or 0, *capsys.readouterr())
        assert code is None or said.code == code, said
        return said

    return run


class Daemon:
    """A real `ioe run`, its output in a file."""

    def __init__(self, home: Path, log: Path) -> None:
        self.home = home
        self.log = log
        self.process = self.spawn()

    def spawn(self) -> "subprocess.Popen[bytes]":
        environment = {**os.environ, "PYTHONPATH": str(DRIVERS), "PYTHONWARNINGS": "ignore"}
        command = [sys.executable, "-m", "ioe_node.cli.main", "--home", str(self.home), "run"]
        with self.log.open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def said(self) -> str:
        return self.log.read_text()

    def wait_ready(self) -> "Daemon":
        self.wait_for(lambda: re.search(r"^ready: .*$", self.said(), re.MULTILINE))
        return self

    def wait_for(self, ready: Callable[[], Any]) -> None:
        deadline = time.monotonic() + READY_MAX_S
        while not ready():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.05)

    def signal(self, number: int) -> tuple[int, float]:
        """(exit code, seconds it took)."""
        began = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(10), time.monotonic() - began

    def restart(self) -> "Daemon":
        self.log.write_text("")
        self.process = self.spawn()
        return self.wait_ready()


Daemons = Callable[[str], Daemon]


@pytest.fixture
def daemon(tmp_path: Path, ioe: Ioe) -> Iterator[Daemons]:
    """Start `ioe run` on a home under the test's directory; ended with the test."""
    started: list[Daemon] = []

    def start(home: str) -> Daemon:
        started.append(Daemon(tmp_path / home, tmp_path / f"{home}.log"))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
    for each in started:
        each.process.wait(10)


@pytest.fixture
def plug() -> Iterator[int]:
    """An emulated Shelly plug, 3.6 W, served by a thread of its own; its port."""
    ports: list[int] = []
    tokens: list[trio.lowlevel.TrioToken] = []
    ready, scope = threading.Event(), trio.CancelScope()

    async def main() -> None:
        with scope:
            async with trio.open_nursery() as nursery:
                made = Plug(lambda at_us: (3600, 0), SystemClock())
                ports.append(await nursery.start(serve, made))
                tokens.append(trio.lowlevel.current_trio_token())
                ready.set()

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    assert ready.wait(READY_MAX_S)
    yield ports[0]
    tokens[0].run_sync_soon(scope.cancel)
    thread.join(READY_MAX_S)

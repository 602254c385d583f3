"""Peers in processes of their own.

JavaScript peers have their locked packages installed once a lock into the user's cache; Python
peers, mostly of asyncio, stand beside the tests.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
import trio

NODE_MAJOR_MIN = 20  # as the package.json files say
HERE = Path(__file__).parent


def node_major() -> int:
    """The major version of node; 0 where there is none that tells."""
    if shutil.which("node") is None:
        return 0
    told = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False)
    version = re.match(r"v(\d+)\.", told.stdout)
    return int(version[1]) if version else 0


@pytest.fixture(scope="session")
def js_script() -> Callable[[str, str], Path]:
    """`js_script(folder, script)`: the script with its packages beside it, ready for node."""
    if node_major() < NODE_MAJOR_MIN or shutil.which("npm") is None:
        pytest.skip(f"needs node {NODE_MAJOR_MIN} or later, and npm")

    def prepare(folder: str, script: str) -> Path:
        source = HERE / folder
        lock = source.joinpath("package-lock.json").read_bytes()
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        home = cache / "ioe-node" / f"{folder}-{hashlib.sha256(lock).hexdigest()[:16]}"
        home.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json", script):
            shutil.copy(source / name, home / name)
        installed = home / "installed"
        if not installed.exists():
            flags = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
            subprocess.run(["npm", "ci", *flags], cwd=home, check=True, timeout=300)
            installed.touch()
        return home / script

    return prepare


PEER_SECONDS_MAX = 60


class Peer:
    """A Python peer that runs: its lines, read and written."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._received = b""

    async def line(self) -> str:
        """The next line that it prints."""
        assert self._process.stdout is not None
        while b"\n" not in self._received:
            chunk = await self._process.stdout.receive_some()
            assert chunk, "the peer ended; what it said stands above"
            self._received += chunk
        line, _, self._received = self._received.partition(b"\n")
        return line.decode()

    async def tell(self, line: str) -> None:
        """Give it a line."""
        assert self._process.stdin is not None
        await self._process.stdin.send_all(line.encode() + b"\n")


@pytest.fixture(scope="session")
def run_peer() -> Callable[..., AbstractAsyncContextManager[Peer]]:
    """`async with run_peer(script, *arguments) as peer`: it is killed when the block ends."""

    @asynccontextmanager
    async def run(script: str, *arguments: str) -> AsyncIterator[Peer]:
        command = [sys.executable, str(HERE / script), *arguments]
        with trio.fail_after(PEER_SECONDS_MAX):
            process = await trio.lowlevel.open_process(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            try:
                async with process.stdin, process.stdout:  # type: ignore[union-attr]
                    yield Peer(process)
            finally:
                process.kill()
                with trio.CancelScope(shield=True):
                    await process.wait()

    return run

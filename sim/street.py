"""A street of real node processes on loopback: made, started, claimed, killed, asked.

What a person would do by hand with `ioe`, done by a program: every node is its own process
with its own directory, and everything goes through the command line or the control socket.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from ioe_node.cli import client
from ioe_node.drivers.profile import Timeline
from ioe_node.errors import IoeError, LocalError, PairingRefused, TransportError

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 5.0
ASK_EVERY_S = 0.1


@dataclass
class Node:
    """One node process; `kind` is "owner" or a device's kind."""

    name: str
    kind: str
    home: Path
    options: dict[str, str] = field(default_factory=dict)
    driver: str = ""
    method: str = "device"
    agent: bytes = b""
    process: subprocess.Popen[bytes] | None = None

    @property
    def is_device(self) -> bool:
        """Whether it speaks for a machine."""
        return self.kind != "owner"

    def _ioe(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "ioe_node.cli.main", "--home", str(self.home), *arguments]

    async def init(self, bootstrap: Sequence[str], poll_ms: int, sell_ms: int) -> None:
        """`ioe init`, then the config amended as its owner might."""
        arguments = ["init", "--address", "127.0.0.1"]
        if self.is_device:
            arguments += ["--role", "device", "--kind", self.kind, "--name", self.name]
            arguments += ["--driver", self.driver]
            for key, value in self.options.items():
                arguments += ["--option", f"{key}={value}"]
        done = await trio.run_process(
            self._ioe(*arguments),
            env={**os.environ, "IOE_PASSPHRASE": "demo"},
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
        if done.returncode:
            raise LocalError(f"ioe init of {self.name}: {done.stderr.decode().strip()}")
        config = self.home / "config.toml"
        peers = ", ".join(f'"{each}"' for each in bootstrap)
        text = config.read_text()
        text = text.replace("bootstrap = []", f"bootstrap = [{peers}]")
        text = text.replace("poll_ms = 10000", f"poll_ms = {poll_ms}")
        text = text.replace("every_ms = 60000", f"every_ms = {sell_ms}")
        text = text.replace('method = "device"', f'method = "{self.method}"')
        config.write_text(text)

    def start(self) -> None:
        """`ioe run` in the background, its output to a log in its directory."""
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self._ioe("run"),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, "IOE_PASSPHRASE": "demo"},
            )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    async def kill(self) -> None:
        """kill -9."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            await trio.to_thread.run_sync(self.process.wait)

    async def ask(self, call: str, /, **arguments: Any) -> Any:
        """One control call."""

        def blocking() -> Any:
            return client.call(self.home, call, **arguments)

        # mypy loses what stands behind `*args: Unpack[...]` of a decorated function.
        return await trio.to_thread.run_sync(blocking, abandon_on_cancel=True)  # type: ignore[call-arg]

    async def zome(self, zome: str, function: str, /, **payload: Any) -> Any:
        """One zome call in the node's only community."""
        return await self.ask("zome_call", zome=zome, function=function, payload=payload)

    async def admit(self, guest: "Node") -> None:
        """Invite another owner into our only community; it joins."""
        theirs = await guest.ask("key_show")
        asked = {"agent": theirs["agent"], "recovery": theirs["recovery"]}
        invited = await self.ask("community_invite", **asked)
        await guest.ask("community_join", invitation=invited["invitation"])

    async def ready(self) -> dict[str, Any]:
        """Wait until it answers; its status."""
        with trio.move_on_after(READY_TIMEOUT_S):
            while True:
                if self.process is None or self.process.poll() is not None:
                    break
                try:
                    status: dict[str, Any] = await self.ask("status")
                except (TransportError, AttributeError):
                    await trio.sleep(ASK_EVERY_S)
                    continue
                self.agent = status["agent"]
                return status
        tail = (self.home / "log").read_text()[-800:]
        raise LocalError(f"{self.name} did not get ready; the end of its log:\n{tail}")

    async def owned(self) -> dict[str, Any]:
        """Wait until it lives under its owner's key, in the community."""
        with trio.move_on_after(READY_TIMEOUT_S):
            while True:
                status = await self.ready()
                if status["role"] == "device" and status["communities"]:
                    return status
                await trio.sleep(ASK_EVERY_S)
        raise LocalError(f"{self.name} has no owner after {READY_TIMEOUT_S:.0f} s")


@dataclass
class Street:
    """The nodes by their part in the story, and the time that they live in."""

    ada: Node
    ben: Node
    homes: list[Node]
    battery: Node
    plug: Node
    feeder: Node
    timeline: Timeline

    @property
    def traders(self) -> list[Node]:
        """The devices whose energy crosses the street."""
        return [*self.homes, self.battery, self.plug]

    @property
    def devices(self) -> list[Node]:
        """Every device."""
        return [*self.traders, self.feeder]

    @property
    def nodes(self) -> list[Node]:
        """Every node."""
        return [self.ada, self.ben, *self.devices]


async def stop_all(nodes: Sequence[Node]) -> None:
    """SIGTERM to all, SIGKILL to those that stay."""
    for node in nodes:
        node.signal(signal.SIGTERM)
    with trio.move_on_after(STOP_TIMEOUT_S):
        # A process's end rings no event, so it is asked after.
        while any(node.process and node.process.poll() is None for node in nodes):  # noqa: ASYNC110
            await trio.sleep(ASK_EVERY_S)
    for node in nodes:
        await node.kill()


async def claim(owner: Node, device: Node) -> None:
    """Claim the device, by the code that it shows, as soon as `owner` sees it.

    Raises what the device refused: a wrong code does not get right by trying again.
    """
    status = await device.ready()
    unowned, code = device.agent, status["code"]
    if code is None:
        raise LocalError(f"{device.name} shows no pairing code")
    why = "it was not seen"
    with trio.move_on_after(READY_TIMEOUT_S):
        while status["role"] == "unowned":
            try:
                await owner.ask("device_claim", device=unowned, code=code, name=device.name)
                break
            except IoeError as error:
                if error.exit_code == PairingRefused.exit_code:
                    raise
                why = str(error)
            await trio.sleep(ASK_EVERY_S)
            # An answer that was lost on its way may have been a yes.
            status = await device.ready()
        await device.owned()
        return
    raise LocalError(f"{owner.name} could not claim {device.name}: {why}")

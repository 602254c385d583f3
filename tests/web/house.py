"""Households of real node processes, run beside a browser's test."""

import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio

from ioe_node.clock import SystemClock
from sim.shelly_plug import Plug
from sim.shelly_server import serve
from sim.street import Node, claim, stop_all

INTERVAL_US = 1_000_000
POLL_MS = 300
SELL_MS = 3_600_000
READY_MAX_S = 120.0
WAIT_S = 0.2
US_PER_HOUR = 3_600_000_000
KETTLE_MILLI_W = 850_000
METERS = {
    "roof": ("generator", -3_240_000, "steady_meter:Steady"),
    "cellar": ("storage", -800_000, "steady_battery:Battery"),
    "meter": ("monitor", -1_500_000, "steady_meter:Steady"),
}


def kettle(at_us: int) -> tuple[int, int]:
    """The steady load that is plugged in."""
    return KETTLE_MILLI_W, KETTLE_MILLI_W * (at_us % 10**13) // US_PER_HOUR


class Household:
    """An owner with a roof, a battery and a meter; and a plug that is not claimed yet."""

    def __init__(self, directory: Path) -> None:
        self.owner = Node("owner", "owner", directory / "owner")
        self.meters = [
            Node(name, kind, directory / name, {"power_milli_w": str(power)}, driver)
            for name, (kind, power, driver) in METERS.items()
        ]
        self.machine = Plug(kettle, SystemClock())
        self.plug = Node("kettle", "consumer", directory / "kettle")
        self._thread = threading.Thread(target=trio.run, args=(self._run,))
        self._ready = threading.Event()
        self._stop = trio.Event()
        self._token: trio.lowlevel.TrioToken | None = None

    @property
    def nodes(self) -> list[Node]:
        return [self.owner, *self.meters, self.plug]

    def start(self) -> None:
        """Everything runs and is claimed but the plug."""
        self._thread.start()
        deadline = time.monotonic() + READY_MAX_S
        while not self._ready.wait(WAIT_S):
            assert self._thread.is_alive(), "the household failed"
            assert time.monotonic() < deadline, "the household did not get ready"

    def stop(self) -> None:
        """End every process."""
        if self._thread.is_alive():
            self.wait_for(self._end)
        self._thread.join()

    def wait_for(self, work: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        """Run something of trio's beside the household, and wait for it."""
        return trio.from_thread.run(work, *arguments, trio_token=self._token)

    def page_url(self) -> str:
        """Where the page is, with a fresh token."""
        return str(self.wait_for(self.owner.ask, "api_page")["url"])

    async def _end(self) -> None:
        self._stop.set()

    async def _run(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            port = await nursery.start(serve, self.machine)
            try:
                await self._set_up(port)
                self._ready.set()
                await self._stop.wait()
            finally:
                with trio.CancelScope(shield=True):
                    await stop_all(self.nodes)
            nursery.cancel_scope.cancel()

    async def _set_up(self, port: int) -> None:
        self.plug.driver = "ioe_node.drivers.shelly:Shelly"
        self.plug.options["url"] = f"http://127.0.0.1:{port}"
        await make(self.owner, [])
        self.owner.start()
        addresses = (await self.owner.ready())["addresses"]
        amend = {"interval_us": INTERVAL_US}
        await self.owner.ask("community_create", name="street", amend=amend)
        async with trio.open_nursery() as nursery:
            for node in [*self.meters, self.plug]:
                nursery.start_soon(self._join, node, addresses)

    async def _join(self, node: Node, addresses: list[str]) -> None:
        await make(node, addresses)
        node.start()
        await node.ready()
        if node is not self.plug:
            await claim(self.owner, node)


async def make(node: Node, bootstrap: list[str]) -> None:
    """A node that meets only those whom it is told of, whoever else is on this machine."""
    await node.init(bootstrap, POLL_MS, SELL_MS)
    config = node.home / "config.toml"
    config.write_text(config.read_text().replace('mdns = ["127.0.0.1"]', "mdns = []"))

"""From plugging a device in to owning it: an owner's node, a new device, a human with its code.

Real processes on loopback, the device found by mDNS; then the same with an *old list*: its config
names the owner's node and, as a maker's list may, one that is gone.  *Seen* is from the start of
the device's process until the owner's node shows it; then a human needs `TYPING_S` to type the
code.  *Paired* is `ioe device claim` as a command, *enrolled* until the owner's chain names the
device, *acknowledged* until the device's chain, as the owner's node holds it, names the owner.
"""

import sys
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import click
import trio

from bench.report import Line, show
from ioe_node.model.signing import Signer
from ioe_node.net.peer_id import join_address
from sim.street import Node, stop_all

TYPING_S = 3.0
WHOLE_S_MAX = 10.0
LOOK_S = 0.02
PATIENCE_S = 60.0
GONE = join_address(Signer(bytes(32)).agent, "/ip4/127.0.0.1/tcp/9")
DRIVER, MACHINE = "ioe_node.drivers.shelly:Shelly", {"url": "http://127.0.0.1:9"}
PARTS = ("seen", "typed", "paired", "enrolled", "acknowledged")


async def until(owner: Node, ready: Callable[[Any], bool]) -> None:
    """Wait until the owner's list of devices is as awaited."""
    with trio.fail_after(PATIENCE_S):
        # Signals do not tell of every step, and what tells of them must not cost time.
        while not ready(await owner.ask("device_list")):  # noqa: ASYNC110
            await trio.sleep(LOOK_S)


async def plug_in(owner: Node, device: Node) -> list[float]:
    """Seconds of each of `PARTS`."""
    times = [perf_counter()]

    def lap() -> None:
        times.append(perf_counter())

    device.start()
    await until(owner, lambda found: device.name in names(found["near"]))
    lap()
    await trio.sleep(TYPING_S)
    lap()
    code = (await device.ask("device_code"))["code"]
    ioe = [sys.executable, "-m", "ioe_node.cli.main", "--home", str(owner.home)]
    await trio.run_process([*ioe, "device", "claim", device.name, code], capture_stdout=True)
    lap()
    await until(owner, lambda found: device.name in names(found["owned"]))
    lap()
    await until(
        owner, lambda found: device.name in names(e for e in found["owned"] if e["acknowledged"])
    )
    lap()
    return [after - before for before, after in pairwise(times)]


def names(listed: Any) -> list[str]:
    return [each["name"] for each in listed]


async def lines_of(way: str, peers: list[str], owner: Node, nodes: list[Node]) -> list[Line]:
    """Plug these devices in, one after another, each knowing these peers."""
    taken = []
    for device in nodes:
        await device.init(peers, 1_000, 1_000)
        taken.append(await plug_in(owner, device))
        await device.kill()
    whole, runs = median(sum(parts) for parts in taken), len(nodes)
    aim = f"<= {WHOLE_S_MAX:g} s"
    parts = zip(PARTS, zip(*taken, strict=True), strict=True)
    return [
        *(Line(f"{way}: {part}", median(found), "s", runs) for part, found in parts),
        Line(f"{way}: all", whole, "s", runs, WHOLE_S_MAX, None, aim, whole <= WHOLE_S_MAX),
    ]


async def measure(directory: Path, runs: int) -> list[Line]:
    """Every line of this benchmark."""

    def machines(name: str) -> list[Node]:
        named = [f"{name} {number}" for number in range(runs)]
        return [Node(each, "consumer", directory / each, MACHINE, DRIVER) for each in named]

    owner, near, far = Node("owner", "owner", directory / "owner"), machines("a"), machines("b")
    await owner.init([], 1_000, 1_000)
    owner.start()
    try:
        (address,) = (await owner.ready())["addresses"]
        await owner.ask("community_create", name="bench", amend={})
        return [
            *await lines_of("mDNS", [], owner, near),
            *await lines_of("old list", [GONE, address], owner, far),
        ]
    finally:
        with trio.CancelScope(shield=True):
            await stop_all([owner, *near, *far])


@click.command()
@click.option("--json", "in_json", is_flag=True, help="One JSON object a line.")
@click.option("--runs", default=5, show_default=True, help="Devices to plug in, each way.")
def main(in_json: bool, runs: int) -> None:
    """A device plugged in, claimed and acknowledged, with a human typing its code in 3 s."""
    with tempfile.TemporaryDirectory(prefix="ioe-bench-") as directory:
        lines = trio.run(measure, Path(directory), runs)
    show("identity", lines, in_json)


if __name__ == "__main__":
    main()

"""The node as a process: start to ready, memory when idle, commit to visible elsewhere.

Eight owners' nodes on loopback in one community.  *Ready* is from the start of the process to
its line `ready`, every DNA and cell open.  *Idle* is resident memory, ten seconds after the
last work.  *Visible* is from the moment that the author's call returns until another node
signals that it has validated and integrated the record: seven samples a commit.
"""

import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from random import Random
from statistics import median, quantiles
from threading import Thread
from time import perf_counter

import click
import trio

from bench.report import Line, show
from ioe_node.cli import client
from ioe_node.errors import IoeError
from ioe_node.model.signing import Signer
from sim.street import Node, stop_all

NODES = 8
READY_S_MAX = 2.0
IDLE_MB_MAX = 120.0
P50_MS_MAX = 50.0
P95_MS_MAX = 200.0
PAUSE_S = 0.25
SETTLE_S = 3.0
IDLE_AFTER_S = 10.0
VISIBLE_TIMEOUT_S = 30.0


def start_to_ready(node: Node) -> float:
    """Seconds from the start of a process to its line `ready`; it is stopped again."""
    began = perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "ioe_node.cli.main", "--home", str(node.home), "run"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "IOE_PASSPHRASE": "demo", "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(b"ready"):
            break
    took = perf_counter() - began
    process.terminate()
    process.wait()
    return took


def resident_mb(node: Node) -> float:
    """Resident memory of a node's process, by the kernel."""
    assert node.process is not None
    pages = int(Path(f"/proc/{node.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class Watch:
    """When each node signalled each record."""

    def __init__(self) -> None:
        self.seen: dict[bytes, dict[str, float]] = {}

    def follow(self, node: Node) -> None:
        """Note a node's signals until its connection ends; blocks."""
        with suppress(IoeError):
            self._follow(node)

    def _follow(self, node: Node) -> None:
        for signal in client.follow(node.home):
            if signal.get("kind") == "integrated":
                self.seen.setdefault(signal["hash"], {})[node.name] = perf_counter()


async def visible_ms(nodes: list[Node], commits: int, watch: Watch) -> list[float]:
    """Milliseconds from commit to visible, one sample a commit and other node."""
    rng = Random(1)
    samples: list[float] = []
    for number in range(commits):
        author = rng.choice(nodes)
        device = Signer(rng.randbytes(32)).agent
        payload = {"device": device, "kind": "monitor", "name": f"bench {number}"}
        made = await author.zome("identity", "enrol", **payload)
        committed = perf_counter()
        with trio.fail_after(VISIBLE_TIMEOUT_S):
            # The watchers are threads; nothing here could ring a bell without adding to the time.
            while len(watch.seen.get(made, {})) < len(nodes) - 1:  # noqa: ASYNC110
                await trio.sleep(0.005)
        samples += [max(0.0, at - committed) * 1e3 for at in watch.seen[made].values()]
        await trio.sleep(PAUSE_S)
    return samples


async def measure(directory: Path, commits: int, starts: int) -> list[Line]:
    """Every line of this benchmark."""
    nodes = [Node(f"owner{n}", "owner", directory / f"owner{n}") for n in range(NODES)]
    first = nodes[0]
    await first.init([], 1_000, 1_000)
    first.start()
    address = (await first.ready())["addresses"][0]
    await first.ask("community_create", name="bench", amend={})
    try:
        for node in nodes[1:]:
            await node.init([address], 1_000, 1_000)
            node.start()
        for node in nodes[1:]:
            await node.ready()
            await first.admit(node)
        watch = Watch()
        for node in nodes:
            Thread(target=watch.follow, args=(node,), daemon=True).start()
        await trio.sleep(SETTLE_S)
        samples = await visible_ms(nodes, commits, watch)
        await trio.sleep(IDLE_AFTER_S)
        idle = median(resident_mb(node) for node in nodes)
    finally:
        with trio.CancelScope(shield=True):
            await stop_all(nodes)
    ready = median([start_to_ready(nodes[1]) for _ in range(starts)])
    p50, p95 = median(samples), quantiles(samples, n=20)[18]
    return [
        _line("start to ready", ready, "s", starts, READY_S_MAX),
        _line(f"resident memory, idle, {NODES} nodes", idle, "MB", NODES, IDLE_MB_MAX),
        _line("commit to visible at another node, p50", p50, "ms", len(samples), P50_MS_MAX),
        _line("commit to visible at another node, p95", p95, "ms", len(samples), P95_MS_MAX),
    ]


def _line(work: str, value: float, unit: str, runs: int, most: float) -> Line:
    return Line(work, value, unit, runs, most, None, f"<= {most:g} {unit}", value <= most)


@click.command()
@click.option("--json", "in_json", is_flag=True, help="One JSON object a line.")
@click.option("--commits", default=200, show_default=True, help="Commits to time.")
@click.option("--starts", default=5, show_default=True, help="Starts to time.")
def main(in_json: bool, commits: int, starts: int) -> None:
    """Start, memory and propagation of real node processes on loopback."""
    with tempfile.TemporaryDirectory(prefix="ioe-bench-") as directory:
        lines = trio.run(measure, Path(directory), commits, starts)
    show("node", lines, in_json)


if __name__ == "__main__":
    main()

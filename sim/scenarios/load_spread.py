"""Holochain's load scenario of deliveries: how long until everyone sees what anyone writes."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import trio

from ioe_node.clock import Clock
from ioe_node.errors import IoeError
from ioe_node.hdi import AgentPubKey
from sim.home import Home
from sim.load_dna import DNA
from sim.scenario import Run, scenario
from sim.scenarios.load_calls import acquainted, load

POLL_S = 1.0
GRACE_S = 60.0


@dataclass
class Observer:
    """One that reads what is new on the writers' chains, and how long after each write."""

    home: Home
    cursors: dict[AgentPubKey, int]
    lags_s: dict[tuple[AgentPubKey, int], float] = field(default_factory=dict)

    async def look(self, clock: Clock) -> None:
        """Read what is new."""
        try:
            found = await load(self.home, "news", cursors=list(self.cursors.items()))
        except IoeError:
            return
        now_us = clock.now_us()
        for agent, page in zip(list(self.cursors), found, strict=True):
            self.cursors[agent] = page["next_seq"]
            for entry in page["entries"]:
                lag_s = (now_us - entry["created_us"]) / 1_000_000
                self.lags_s.setdefault((agent, entry["value"]), lag_s)


@scenario(
    nodes=25,
    minutes=1,
    dna=DNA,
    limits={"rate": (0.01, None), "writers": (1, None), "observers": (1, None)},
)
async def dht_sync_lag(run: Run, rate: float = 2.0, writers: int = 25, observers: int = 5) -> None:
    """Writers write steadily, observers poll each second; the lag is from commit to seen.

    `rate` is writes a second of each writer.
    """
    await acquainted(run)
    writing = run.swarm.homes[:writers]
    start = {writer.agent: 0 for writer in writing}
    watching = [Observer(home, dict(start)) for home in run.swarm.homes[-observers:]]
    written = await _write_and_watch(run, writing, watching, rate)
    lags = [lag_s for observer in watching for lag_s in observer.lags_s.values()]
    expected = written * len(watching)
    run.measure("writes", written, "")
    run.measure("deliveries expected", expected, "")
    run.measure("deliveries lost", expected - len(lags), "")
    run.measure("delivered", 100 * len(lags) / max(1, expected), "%")
    run.expect("nothing is lost", len(lags) == expected, f"{len(lags)} of {expected} delivered")
    run.result.spread("lag", lags)


async def _write_and_watch(
    run: Run, writers: Sequence[Home], observers: Sequence[Observer], rate: float
) -> int:
    """Write and observe for so long, then observe until all is seen; how many writes."""
    written, over = 0, trio.Event()

    async def write(writer: Home) -> None:
        nonlocal written
        await trio.sleep(run.rng(f"phase of {writer.number}").uniform(0, 1 / rate))
        value = 0
        while trio.current_time() < run.until_s:
            value += 1
            await load(writer, "stream", value=value)
            written += 1
            await trio.sleep(1 / rate)

    async def observe(observer: Observer) -> None:
        while not (over.is_set() and len(observer.lags_s) >= written):
            await observer.look(run.swarm.clock)
            await trio.sleep(POLL_S)

    async with trio.open_nursery() as nursery:
        for observer in observers:
            nursery.start_soon(observe, observer)
        async with trio.open_nursery() as writing:
            for writer in writers:
                writing.start_soon(write, writer)
            await run.pass_time()
        over.set()
        nursery.cancel_scope.deadline = trio.current_time() + GRACE_S
    return written

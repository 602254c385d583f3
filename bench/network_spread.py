"""What writers write, and when observers have read it: dht_sync_lag, and what rests on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import time_ns

import trio

from bench.accounting import Deliveries, count, deliveries, times
from bench.cluster import Cluster, Member, Options
from bench.report import Line
from ioe_node.errors import IoeError
from ioe_node.hdi import AgentPubKey

POLL_S = 1.0
"""How often an observer looks; it adds half of that to a lag."""
GRACE_S = 30.0
LAG_P95_MS = 5_000.0


def now_us() -> int:
    """The clock that the nodes on this machine go by."""
    return time_ns() // 1_000


@dataclass
class Writing:
    """What the writers did, besides what `Deliveries` counts.

    Values begin above `first_value`, so that no earlier run's are taken for this one's.
    """

    first_value: int
    refused: int = 0
    late: int = 0


async def write_steadily(
    writer: Member, phase: float, options: Options, until_s: float, made: Deliveries, tally: Writing
) -> None:
    """`rate` writes a second until the clock says `until_s`, from `phase` (0 to 1) of one on."""
    pause_s = 1 / options.rate
    next_s = trio.current_time() + phase * pause_s
    value = tally.first_value
    while next_s < until_s:
        await trio.sleep_until(next_s)
        value += 1
        try:
            await writer.load(options.function, value=value)
        except IoeError:
            tally.refused += 1
        else:
            made.write(writer.agent, value)
        next_s += pause_s
        if trio.current_time() > next_s:
            tally.late += 1
            next_s = trio.current_time()


@dataclass
class Watch:
    """One observer, and how far it has read each writer's chain."""

    place: int
    observer: Member
    cursors: dict[AgentPubKey, int]

    async def look(self, made: Deliveries | None) -> int:
        """Read what is new on every chain, and note it if asked; how many records that was."""
        try:
            found = await self.observer.load("news", cursors=list(self.cursors.items()))
        except IoeError:
            return 0
        noticed, before = now_us(), sum(self.cursors.values())
        for agent, page in zip(list(self.cursors), found, strict=True):
            self.cursors[agent] = page["next_seq"]
            if made is None:
                continue
            for entry in page["entries"]:
                lag_ms = (noticed - entry["created_us"]) / 1_000
                made.notice(self.place, agent, entry["value"], lag_ms)
        return sum(self.cursors.values()) - before

    async def follow(self, made: Deliveries, over: trio.Event) -> None:
        """Look every `POLL_S` until nothing is missing after `over`."""
        await trio.sleep(POLL_S * self.place / made.observers)
        while True:
            began, ending = trio.current_time(), over.is_set()
            await self.look(made)
            if ending and made.complete(self.place):
                return
            await trio.sleep_until(began + POLL_S)


async def spread(
    writers: Sequence[Member], observers: Sequence[Member], options: Options
) -> tuple[Deliveries, Writing]:
    """Writers write for so many seconds; observers read until they have it all, or give up."""
    made, tally, over = Deliveries(len(observers)), Writing(now_us()), trio.Event()
    watches = [
        Watch(place, observer, {writer.agent: 0 for writer in writers})
        for place, observer in enumerate(observers)
    ]
    for watch in watches:
        while await watch.look(None):
            pass
    async with trio.open_nursery() as nursery:
        for watch in watches:
            nursery.start_soon(watch.follow, made, over)
        until_s = trio.current_time() + options.seconds
        async with trio.open_nursery() as writing:
            for place, writer in enumerate(writers):
                phase = place / len(writers)
                writing.start_soon(write_steadily, writer, phase, options, until_s, made, tally)
        over.set()
        nursery.cancel_scope.deadline = trio.current_time() + GRACE_S
    return made, tally


async def dht_sync_lag(cluster: Cluster, options: Options) -> list[Line]:
    """Writers write steadily, observers poll; the lag is from a write to when it has been read.

    It begins by the writer's clock, and has the observer's waiting for its next look in it.
    """
    name = f"dht_sync_lag, {len(cluster.members)} nodes"
    writers = cluster.members[: options.writers]
    observers = cluster.members[-options.observers :]
    with cluster.meter() as meter:
        made, tally = await spread(writers, observers, options)
    intended = round(options.seconds * options.rate * len(writers))
    return [
        count(f"{name}, writes intended", intended, "writes"),
        *deliveries(name, made, options.seconds, meter.cpu_s),
        count(f"{name}, writes refused", tally.refused, "writes"),
        count(f"{name}, writes that began late", tally.late, "writes"),
        *times(f"{name}, lag", made.lags_ms, p95=LAG_P95_MS),
    ]

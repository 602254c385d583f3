"""One node accepts connections and never answers: what that does to everything else."""

from collections import defaultdict
from collections.abc import Awaitable, Callable
from statistics import median
from time import perf_counter

import trio

from bench.accounting import at_most, count, percentile
from bench.cluster import Cluster, Member, Options
from bench.network_calls import READ_EVERY_S
from bench.network_reads import until_receipts
from bench.report import Line

ROUNDS = 4
SAMPLES_PER_ROUND = 40
SETTLE_S = 3.0
RECEIPTS = 4
"""A majority of the seven authorities that an author has besides itself."""
NODES_MIN = RECEIPTS + 2
"""An author, so many that are well and sign for it, and the silent one."""
RATIO_MAX = 1.1

Operation = Callable[[int], Awaitable[None]]


def operations(members: list[Member]) -> dict[str, Operation]:
    """What is timed, each at nodes that stay well."""
    writer, reader, callee = members[0], members[1], members[2]

    async def call(number: int) -> None:
        await members[number % len(members)].load("echo", value=number)

    async def write(number: int) -> None:
        await members[number % len(members)].load("stream", value=number)

    async def receipts(number: int) -> None:
        author = members[number % len(members)]
        await until_receipts(author, await author.load("stream", value=number), RECEIPTS)

    async def visible(number: int) -> None:
        action = await writer.load("write", value=number)
        while True:
            if await reader.load("read", hash=action) is not None:
                return
            await trio.sleep(READ_EVERY_S)

    async def activity(number: int) -> None:
        author = members[(number + 1) % len(members)]
        await members[number % len(members)].load("activity", agent=author.agent)

    async def remote(number: int) -> None:
        await writer.load("echo_at", agent=callee.agent, value=number)

    return {
        "call": call,
        "write": write,
        f"{RECEIPTS} receipts": receipts,
        "write to read elsewhere": visible,
        "chain of another": activity,
        "remote call": remote,
    }


async def unresponsive(cluster: Cluster, options: Options) -> list[Line]:
    """All well and one silent, in turn; the ratio of the p95s is what it costs the others.

    Chains grow all the while, so the turns mirror each other, and the p95 of either state is the
    median of its turns' own.
    """
    silent, well = cluster.members[-1], cluster.members[:-1]
    await well[2].load("open_echo")
    timed: dict[tuple[str, bool], list[float]] = defaultdict(list)
    work = operations(well)
    for turn in range(2 * ROUNDS):
        frozen = turn % 4 in (1, 2)
        if frozen:
            cluster.freeze(silent)
        else:
            cluster.thaw(silent)
        await trio.sleep(SETTLE_S)
        for name, operation in work.items():
            took = []
            for number in range(SAMPLES_PER_ROUND):
                began = perf_counter()
                await operation(number)
                took.append(1_000 * (perf_counter() - began))
            timed[name, frozen].append(percentile(took, 0.95))
    cluster.thaw(silent)
    title = f"unresponsive, {len(cluster.members)} nodes"
    lines = []
    for name in work:
        healthy, faulty = (median(timed[name, frozen]) for frozen in (False, True))
        runs = ROUNDS * SAMPLES_PER_ROUND
        ratio = faulty / healthy if healthy else 0.0
        lines += [
            count(f"{title}, {name}, p95, all well", healthy, "ms"),
            count(f"{title}, {name}, p95, one silent", faulty, "ms"),
            at_most(f"{title}, {name}, p95, ratio", ratio, "x", runs, RATIO_MAX),
        ]
    return lines

"""Who has signed, who can read, and what faults do to both."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from time import perf_counter

import trio

from bench.accounting import at_least, at_most, count, deliveries, times
from bench.cluster import Cluster, Member, Options
from bench.network_calls import timed
from bench.network_spread import Watch, now_us, spread
from bench.report import Line
from ioe_node.core.authority import authorities
from ioe_node.errors import IoeError

RECEIPT_EVERY_S = 0.01
RECEIPT_TIMEOUT_S = 60.0
RECEIPTS_PER_AUTHOR = 25
AUTHORS_AT_ONCE = 4
RECEIPTS_P95_MS = 2_000.0
CHAIN_WRITES = 100
READS = 150
READS_P50_MS = 103.0
"""What the field's best publishes for one call at 30 nodes; theirs to beat."""
DOWN_S = (1.0, 4.0)
UP_S = (2.0, 6.0)
VOLATILE_NODES = 3
VOLATILE_NODES_MIN = VOLATILE_NODES + 2
"""A writer and a reader besides."""
CATCH_UP_TIMEOUT_S = 120.0
SHARE_EVERY_S = 0.2
SHARE_TIMEOUT_S = 120.0
ZERO_ARC_NODES = 8


async def until_receipts(author: Member, action: bytes, enough: int | None) -> bool:
    """Wait until so many (all) authorities have signed for an action; False after a minute."""
    with trio.move_on_after(RECEIPT_TIMEOUT_S):
        while True:
            have, needed = await author.receipts(action)
            if have >= (needed if enough is None else min(enough, needed)):
                return True
            await trio.sleep(RECEIPT_EVERY_S)
    return False


async def validation_receipts(cluster: Cluster, options: Options) -> list[Line]:
    """From the call until the author has a receipt from each authority."""
    authors = cluster.members[:AUTHORS_AT_ONCE]
    samples: list[float] = []
    missing = 0

    async def write(author: Member) -> None:
        nonlocal missing
        for value in range(RECEIPTS_PER_AUTHOR):
            began = perf_counter()
            action = await author.load(options.function, value=value)
            if await until_receipts(author, action, None):
                samples.append(1_000 * (perf_counter() - began))
            else:
                missing += 1

    with cluster.meter() as meter:
        async with trio.open_nursery() as nursery:
            for author in authors:
                nursery.start_soon(write, author)
    name = f"validation_receipts, {len(cluster.members)} nodes"
    return [
        count(f"{name}, writes", len(authors) * RECEIPTS_PER_AUTHOR, "writes"),
        count(f"{name}, without all receipts", missing, "writes"),
        *times(name, samples, p95=RECEIPTS_P95_MS),
        count(f"{name}, CPU per write", 1_000 * meter.cpu_s / max(1, len(samples)), "ms"),
    ]


# -- get_agent_activity -----------------------------------------------------------------------


async def _read_chains(
    name: str, cluster: Cluster, writer: Member, readers: list[Member]
) -> list[Line]:
    """Read a whole chain again and again, at one reader after another."""
    for value in range(CHAIN_WRITES):
        action = await writer.load("stream", value=value)
    await until_receipts(writer, action, None)
    samples, short = [], 0
    with cluster.meter() as meter:
        for number in range(READS):
            took, found = await timed(
                readers[number % len(readers)], "activity", agent=writer.agent
            )
            samples.append(took)
            short += found["entries"] < CHAIN_WRITES
    return [
        count(f"{name}, reads", READS, "reads"),
        count(f"{name}, of a chain of at least", CHAIN_WRITES, "entries"),
        at_most(f"{name}, reads that fell short", short, "reads", READS, 0.0),
        *times(name, samples, p50=READS_P50_MS),
        count(f"{name}, CPU per read", 1_000 * meter.cpu_s / READS, "ms"),
    ]


async def get_agent_activity(cluster: Cluster, options: Options) -> list[Line]:
    """Another agent's whole chain, read at every node in turn."""
    writer, *readers = cluster.members
    name = f"get_agent_activity, {len(cluster.members)} nodes"
    return await _read_chains(name, cluster, writer, readers)


async def get_agent_activity_volatile(cluster: Cluster, options: Options) -> list[Line]:
    """As get_agent_activity, while nodes are killed and come back."""
    writer, *others = cluster.members
    readers, volatile = others[:-VOLATILE_NODES], others[-VOLATILE_NODES:]
    name = f"get_agent_activity_volatile, {len(cluster.members)} nodes"
    async with _coming_and_going(cluster, volatile):
        return await _read_chains(name, cluster, writer, readers)


@asynccontextmanager
async def _coming_and_going(cluster: Cluster, members: list[Member]) -> AsyncIterator[None]:
    """Kill and restart these, each in its own time; all run again at the end."""
    rng = Random(len(members))
    over = trio.Event()

    async def life(member: Member) -> None:
        while not over.is_set():
            await member.node.kill()
            await trio.sleep(rng.uniform(*DOWN_S))
            await cluster.restart(member)
            with trio.move_on_after(rng.uniform(*UP_S)):
                await over.wait()

    async with trio.open_nursery() as nursery:
        for member in members:
            nursery.start_soon(life, member)
        yield
        over.set()


# -- faults -----------------------------------------------------------------------------------


async def frozen_half(cluster: Cluster, options: Options) -> list[Line]:
    """Half of the nodes stand still while the others write; then how long until they have it.

    No partition: the frozen half writes nothing meanwhile, and its links stay open.  The
    simulator's `partition_heal` cuts two halves apart that both live on.
    """
    half = len(cluster.members) // 2
    awake, frozen = cluster.members[:half], cluster.members[half:]
    first = now_us()
    watches = [
        Watch(place, member, {writer.agent: 0 for writer in awake})
        for place, member in enumerate(frozen)
    ]
    for watch in watches:
        while await watch.look(None):
            pass
    for member in frozen:
        cluster.freeze(member)
    written = 0
    until_s = trio.current_time() + options.seconds / 2
    while trio.current_time() < until_s:
        for writer in awake:
            written += 1
            await writer.load("stream", value=first + written)
        await trio.sleep(1 / options.rate)
    thawed = perf_counter()
    for member in frozen:
        cluster.thaw(member)
    seen = [0] * len(watches)
    with cluster.meter() as meter, trio.move_on_after(CATCH_UP_TIMEOUT_S):
        while min(seen) < written:
            for watch in watches:
                seen[watch.place] += await watch.look(None)
    took = perf_counter() - thawed
    name = f"frozen_half, {len(cluster.members)} nodes, {len(frozen)} of them frozen"
    share = 100.0 * sum(seen) / (written * len(watches))
    return [
        count(f"{name}, writes of the others meanwhile", written, "writes"),
        count(f"{name}, deliveries expected", written * len(watches), "deliveries"),
        at_least(f"{name}, delivered", share, "%", len(watches), 100.0),
        at_most(f"{name}, from thawed until all have all", took, "s", 1, 10.0),
        count(f"{name}, CPU of catching up", meter.cpu_s, "s"),
    ]


async def join_large_network(cluster: Cluster, options: Options) -> list[Line]:
    """One more node: until it can read a chain, and until it holds what it is an authority for."""
    writer = cluster.members[0]
    written = (await writer.load("activity", agent=writer.agent))["actions"]
    began = perf_counter()
    with cluster.meter() as meter:
        newcomer = await cluster.add_one()
        joined = perf_counter() - began
        with trio.move_on_after(SHARE_TIMEOUT_S):
            while True:
                found = await newcomer.load("activity", agent=writer.agent)
                if found["actions"] >= written:
                    break
                await trio.sleep(SHARE_EVERY_S)
        readable = perf_counter() - began
        lacking = await _until_share(cluster, newcomer)
        shared = perf_counter() - began
    name = f"join_large_network, node {len(cluster.members)}"
    return [
        count(f"{name}, start to joined", joined, "s"),
        at_most(f"{name}, start to a whole chain read", readable, "s", 1, 10.0),
        at_most(f"{name}, start to holding its share", shared, "s", 1, 30.0),
        at_most(f"{name}, chains of its share still lacking", lacking, "chains", 1, 0.0),
        count(f"{name}, CPU of all nodes", meter.cpu_s, "s"),
    ]


async def _until_share(cluster: Cluster, newcomer: Member) -> int:
    """Wait until the newcomer holds each chain that it is an authority for; how many it lacks."""
    agents = [member.agent for member in cluster.members]
    lacking = [
        member
        for member in cluster.members
        if member is not newcomer and newcomer.agent in authorities(member.agent, agents)
    ]
    with trio.move_on_after(SHARE_TIMEOUT_S):
        while lacking:
            author = lacking[0]
            actions = (await author.control.ask("status"))["communities"][0]["actions"]
            held = await newcomer.control.ask(
                "chain_show", agent=author.agent, from_seq=actions - 1, limit=1
            )
            if held:
                del lacking[0]
            else:
                await trio.sleep(SHARE_EVERY_S)
    return len(lacking)


async def zero_arc_create_and_read(cluster: Cluster, options: Options) -> list[Line]:
    """Nodes that hold nothing but their own chain write, others of their kind read."""
    members = await cluster.grow(len(cluster.members) + ZERO_ARC_NODES, arc="zero")
    writers, observers = members[: ZERO_ARC_NODES // 2], members[ZERO_ARC_NODES // 2 :]
    with cluster.meter() as meter:
        made, _ = await spread(writers, observers, options)
    held = []
    for member in members:
        try:
            held.append((await member.control.ask("status"))["communities"][0]["ops_held"])
        except IoeError:
            continue
    name = f"zero_arc_create_and_read, {len(cluster.members)} nodes"
    return [
        *deliveries(name, made, options.seconds, meter.cpu_s),
        *times(f"{name}, lag", made.lags_ms, p95=5_000.0),
        count(f"{name}, most ops held by one", max(held, default=0), "ops"),
    ]

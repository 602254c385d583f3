"""Nothing but meters, by the thousand: what a network costs as it grows."""

import resource
from collections import Counter
from random import Random

import trio

from ioe_node.model.hashes import key_of
from ioe_node.workflows.locate import lookup
from sim.closest import Closest
from sim.home import Home
from sim.scenario import Run, scenario
from sim.scenarios.readings import read_within, record_due

READS = 100
LOOKUPS = 100
READ_PATIENCE_S = 10.0
KIB = 1_024
REST_S = 120.0
KINDS_SHOWN = 6
FOR_ACTIONS = ("Publish", "Held", "Get", "Records", "Activity", "Chain")
"""What carries what is written; the rest is upkeep: membership, gossip, warrants."""


@scenario(nodes=100, minutes=60, interval_s=5 * 60, check_every_s=60.0, limits={"churn": (0, 100)})
async def metering(run: Run, churn: float = 0.0) -> None:
    """Every home records a reading each 5 minutes; `churn` percent of them leave, others join.

    Gives what grows with the network and what must not: messages an action, storage and memory
    a node, requests a read, hops a lookup, messages at rest.
    """
    swarm, rng = run.swarm, run.rng("churn")
    before, kinds = swarm.trace.messages, swarm.trace.kinds.copy()
    written = sum(len(home.committed) for home in swarm.homes)
    from_us = swarm.clock.now_us()
    run.measure("messages to begin", before / len(swarm.homes), "per node")
    leaving = round(len(swarm.homes) * churn / 100)
    async with trio.open_nursery() as nursery:
        for home in swarm.homes:
            nursery.start_soon(_meter, run, home, from_us)
        for moment_s in sorted(rng.random() for _ in range(leaving)):
            at_s = run.begun_s + moment_s * run.options.virtual_s * 0.9
            nursery.start_soon(_exchange_one, run, at_s, Random(rng.random()), nursery)
        await run.pass_time()
    await swarm.settle(most_s=run.watch.patience_s)
    _count(run, swarm.trace.kinds - kinds, written)
    await _rest(run)
    await _look_up(run)
    await _read(run)


async def _meter(run: Run, home: Home, from_us: int) -> None:
    """Write what is due, at a moment of the home's own in each interval."""
    rng = run.rng(f"meter {home.number}")
    interval_us = run.swarm.definition.properties.interval_us
    interval_s = interval_us / 1_000_000
    offset_s = rng.random() * min(60.0, interval_s)
    while trio.current_time() + interval_s <= run.until_s:
        await trio.sleep(interval_s if home.starts > 1 else interval_s + offset_s)
        offset_s = 0.0
        if not home.running:
            return
        await record_due(run.swarm, home, from_us, rng)


async def _exchange_one(run: Run, at_s: float, rng: Random, nursery: trio.Nursery) -> None:
    """One home leaves without a word and for good, and another joins."""
    await trio.sleep_until(at_s)
    swarm = run.swarm
    leaver = rng.choice([home for home in swarm.running() if home.number])
    await swarm.crash(leaver)
    newcomer = await swarm.add()
    nursery.start_soon(_meter, run, newcomer, swarm.clock.now_us())


def _count(run: Run, kinds: Counter[str], written: int) -> None:
    """What the load took, beside what was `written` before it."""
    swarm = run.swarm
    running = swarm.running()
    actions = sum(len(home.committed) for home in swarm.homes)
    made = max(actions - written, 1)
    held = sum(home.store.ops_digest()[0] for home in running)
    records = sum(home.disk.records_held() for home in running)
    own = sum(len(home.committed) for home in running)
    used = sum(home.disk.used_bytes() for home in running)
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    carrying = sum(kinds[kind] for kind in FOR_ACTIONS)
    run.measure("actions", actions, "")
    run.measure("messages for an action", kinds.total() / made, "")
    run.measure("messages for an action, upkeep left out", carrying / made, "")
    run.measure("ops held", held / len(running), "per node")
    run.measure("ops held of each action", held / max(actions, 1), "")
    run.measure("records held", records / len(running), "per node")
    run.measure("records of others held", (records - own) / len(running), "per node")
    run.measure("storage", used / len(running) / KIB, "KiB per node")
    run.measure("memory at its peak", peak_kib / len(swarm.homes), "KiB per node")


async def _rest(run: Run) -> None:
    """What is sent while nobody writes anything."""
    swarm = run.swarm
    before = swarm.trace.kinds.copy()
    await trio.sleep(REST_S)
    sent = swarm.trace.kinds - before
    per = 60 / REST_S / len(swarm.running())
    run.measure("messages at rest", sent.total() * per, "per node and minute")
    for kind, count in sent.most_common(KINDS_SHOWN):
        run.measure(f"messages at rest, {kind}", count * per, "per node and minute")


async def _look_up(run: Run) -> None:
    """Lookups of random homes' keys by random homes: hops, asks, and whom they find."""
    rng, swarm = run.rng("lookups"), run.swarm
    closest = Closest([home.agent for home in swarm.running()])
    hops, asks, right = [], [], 0
    for _ in range(LOOKUPS):
        asker, sought = rng.choice(swarm.running()), rng.choice(swarm.running())
        done = await lookup(asker.cell.space, key_of(sought.agent))
        hops.append(done.hops)
        asks.append(done.asks)
        wanted = [agent for agent in closest.to(sought.agent) if agent != asker.agent]
        right += set(wanted) <= set(done.peers)
    run.measure("hops for a lookup", sum(hops) / LOOKUPS, "")
    run.measure("hops for a lookup, most", max(hops), "")
    run.measure("asks for a lookup", sum(asks) / LOOKUPS, "")
    run.measure("lookups that find all authorities", 100 * right / LOOKUPS, "%")


async def _read(run: Run) -> None:
    """Some reads by homes that may not hold what they read."""
    rng, swarm = run.rng("reads"), run.swarm
    asked, seconds = [], []
    for _ in range(READS):
        reader = rng.choice(swarm.running())
        author = rng.choice(swarm.running())
        transport = reader.transport
        assert transport is not None
        before = transport.asked
        hash_ = author.committed[rng.choice(list(author.committed))]
        took_s = await read_within(reader, hash_, READ_PATIENCE_S)
        run.expect("reads succeed", took_s is not None, f"home {reader.number} found no record")
        asked.append(transport.asked - before)
        if took_s is not None:
            seconds.append(took_s)
    run.measure("requests for a read", sum(asked) / len(asked), "")
    run.result.spread("read", seconds)

"""Nothing but meters, by the thousand: what a network costs as it grows."""

import resource
from random import Random

import trio

from sim.home import Home
from sim.scenario import Run, scenario
from sim.scenarios.readings import read_within, record_due

READS = 100
READ_PATIENCE_S = 10.0
KIB = 1_024


@scenario(nodes=100, minutes=60, interval_s=5 * 60, check_every_s=60.0)
async def metering(run: Run, churn: float = 0.0) -> None:
    """Every home records a reading each 5 minutes; `churn` percent of them leave, others join.

    Gives what grows with the network and what must not: messages an op, storage and memory a
    node, requests a read.
    """
    swarm, rng = run.swarm, run.rng("churn")
    before = swarm.trace.messages
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
    _count(run, swarm.trace.messages - before)
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


def _count(run: Run, messages: int) -> None:
    swarm = run.swarm
    running = swarm.running()
    actions = sum(len(home.committed) for home in swarm.homes)
    held = sum(home.store.ops_digest()[0] for home in running)
    used = sum(home.disk.used_bytes() for home in running)
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run.measure("actions", actions, "")
    run.measure("messages for an action", messages / max(actions, 1), "")
    run.measure("ops held", held / len(running), "per node")
    run.measure("ops held of each action", held / max(actions, 1), "")
    run.measure("storage", used / len(running) / KIB, "KiB per node")
    run.measure("memory at its peak", peak_kib / len(swarm.homes), "KiB per node")


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

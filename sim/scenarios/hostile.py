"""Every fault at once: what must hold, holds."""

from contextlib import suppress
from random import Random

import trio

from ioe_node.errors import IoeError
from sim import faults
from sim.home import Home
from sim.scenario import Options, Run, scenario
from sim.scenarios.readings import enrol, read_within, record_due

CALM_S = 60.0
"""At the end of the load nothing goes wrong any more."""

FAULTS_MIN_S = 60.0
PAUSE_S = 40.0
READ_PATIENCE_S = 10.0


def too_many(options: Options) -> str | None:
    """A network of which more than a quarter is dishonest may fail, and be right to."""
    offenders, most = int(options.settings["offenders"]), options.nodes // 4
    if offenders <= most:
        return None
    return f"of {options.nodes} nodes at most {most} may be offenders, not {offenders}"


@scenario(
    nodes=25,
    minutes=4,
    interval_s=60,
    nodes_min=8,  # a quarter may be dishonest: one that forks, one that does all else
    minutes_min=(CALM_S + FAULTS_MIN_S) / 60,
    limits={"offenders": (0, None), "rounds": (1, 100)},
    refuse=too_many,
)
async def hostile(run: Run, offenders: int = 4, rounds: int = 1) -> None:
    """Crashes, lost disks, wrong clocks, cuts, liars, forks, Sybils: all of it at once.

    `offenders` homes, a quarter at most, are dishonest; each kind of fault strikes `rounds` times.
    """
    swarm = run.swarm
    rng = run.rng("faults")
    guilty = sorted(rng.sample(range(1, len(swarm.homes)), offenders))
    swarm.offenders += [swarm.homes[number] for number in guilty]
    until_s = run.options.virtual_s - CALM_S
    schedule = faults.draw(rng, len(swarm.homes), guilty, until_s, rounds=rounds)
    reads: list[float | None] = []
    async with trio.open_nursery() as nursery:
        for home in swarm.honest():
            nursery.start_soon(_live, run, home, reads)
        nursery.start_soon(run.pass_time)
        await faults.strike(swarm, schedule, rng)
    run.measure("faults", len(schedule), "")
    run.measure("cells ended by an error", sum(len(home.failures) for home in swarm.homes), "")
    found = [read_s for read_s in reads if read_s is not None]
    run.measure("reads in the midst of it that were answered", len(found) / max(len(reads), 1), "")
    run.result.spread("read", found)


async def _live(run: Run, home: Home, reads: list[float | None]) -> None:
    """Meter, enrol, pay and read by lot until the load ends."""
    rng = run.rng(f"life of {home.number}")
    from_us = run.swarm.clock.now_us()
    number = 0
    while trio.current_time() < run.until_s:
        await trio.sleep(PAUSE_S * rng.random())
        if not home.running:
            continue
        await record_due(run.swarm, home, from_us, rng)
        number += 1
        with suppress(IoeError):
            if home.running and rng.random() < 0.3:
                await enrol(home, f"device {number}")
        with suppress(IoeError):
            if home.running and rng.random() < 0.3:
                payee = rng.choice([each for each in run.swarm.honest() if each is not home])
                payment = {"payee": payee.agent, "amount_micro": rng.randrange(1, 1_000)}
                await home.call("currency", "pay", payment)
        if home.running:
            reads.append(await _read(run, home, rng))


async def _read(run: Run, home: Home, rng: Random) -> float | None:
    """Read some honest author's record."""
    author = rng.choice([each for each in run.swarm.homes if each not in run.swarm.offenders])
    return await read_within(
        home, author.committed[rng.choice(list(author.committed))], READ_PATIENCE_S
    )

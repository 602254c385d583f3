"""What goes wrong, and when: a schedule drawn from the seed, and the functions that do it.

    schedule = draw(rng, homes=25, offenders=[3, 7], until_s=480.0)
    await strike(swarm, schedule, rng)

A fault begins, lasts, and is over: homes come back, disks work, clocks are right again.  All of
them are over at `until_s`.  What breaks no promise of the network's is not drawn: a disk is
lost only once others hold what is on it.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

import trio

from ioe_node.core.authority import authorities
from ioe_node.errors import IoeError
from sim.byzantine import ACTS
from sim.home import Home
from sim.surround import eclipse, sybils
from sim.swarm import Swarm

STEWARD = 0
SHORT_S, LONG_S = 5.0, 90.0
SKEW_US_MAX = 4 * 60 * 1_000_000
DRIFT_PPM_MAX = 200
SLOW_UPLINK_BYTES_PER_S = 20_000
ONE_WAY_CUTS = 4
LOST_DISK_RETRY_S = 1.0


@dataclass(frozen=True)
class Fault:
    """What happens, to whom, and how long it lasts; times from the schedule's begin."""

    at_s: float
    kind: str
    homes: tuple[int, ...]
    lasts_s: float


Strike = Callable[[Swarm, Sequence[Home], Fault, Random], Awaitable[None]]


async def crash(swarm: Swarm, homes: Sequence[Home], fault: Fault, rng: Random) -> None:
    """Killed as by kill -9, and started again on the file as it is."""
    struck = [home for home in homes if not home.ended.is_set()]
    for home in struck:
        await swarm.crash(home)
    await trio.sleep(fault.lasts_s)
    for home in struck:
        if home.ended.is_set():
            swarm.bring_back(home)


def held_elsewhere(swarm: Swarm, home: Home) -> bool:
    """Whether all who should hold a home's chain do, its head included."""
    head = home.store.head(home.agent)
    by_agent = {each.agent: each for each in swarm.honest()}
    closest = authorities(home.agent, by_agent)
    return all(by_agent[agent].store.head(home.agent) == head for agent in closest)


async def lost_disk(swarm: Swarm, homes: Sequence[Home], fault: Fault, rng: Random) -> None:
    """The file is gone; the node starts with an empty one, when the network is whole."""
    for home in homes:
        with trio.move_on_after(fault.lasts_s):
            while True:
                whole = swarm.network.whole_since_s < trio.current_time()
                if home.running and whole and held_elsewhere(swarm, home):
                    await swarm.lose_disk(home)
                    swarm.bring_back(home)
                    break
                await trio.sleep(LOST_DISK_RETRY_S)


def _failing(how: str) -> Strike:
    async def fail(swarm: Swarm, homes: Sequence[Home], fault: Fault, rng: Random) -> None:
        for home in homes:
            home.fail_disk(how)
        await trio.sleep(fault.lasts_s)
        for home in homes:
            home.fail_disk(None)

    return fail


async def clock_skew(swarm: Swarm, homes: Sequence[Home], fault: Fault, rng: Random) -> None:
    """Clocks that are some minutes wrong, and go wrong further."""
    for home in homes:
        home.clock.skew(
            rng.randrange(-SKEW_US_MAX, SKEW_US_MAX), rng.randrange(-DRIFT_PPM_MAX, DRIFT_PPM_MAX)
        )
    await trio.sleep(fault.lasts_s)
    for home in homes:
        home.clock.skew(0)
        home.mended_s = trio.current_time()


async def partition(swarm: Swarm, homes: Sequence[Home], fault: Fault, rng: Random) -> None:
    """Two groups that cannot reach each other."""
    agents = [home.agent for home in swarm.homes]
    rng.shuffle(agents)
    edge = rng.randrange(1, len(agents))
    swarm.network.partition((agents[:edge], agents[edge:]))
    await trio.sleep(fault.lasts_s)
    swarm.network.heal()


async def one_way_cuts(swarm: Swarm, homes: Sequence[Home], fault: Fault, rng: Random) -> None:
    """Some pairs of whom one hears the other and is not heard."""
    for _ in range(ONE_WAY_CUTS):
        sender, receiver = rng.sample(swarm.homes, 2)
        swarm.network.cut_one_way(sender.agent, receiver.agent)
    await trio.sleep(fault.lasts_s)
    swarm.network.heal()


async def unresponsive(swarm: Swarm, homes: Sequence[Home], fault: Fault, rng: Random) -> None:
    """Peers that take every request and never answer one."""
    for home in homes:
        home.hush(True)
    await trio.sleep(fault.lasts_s)
    for home in homes:
        home.hush(False)


async def bad_wires(swarm: Swarm, homes: Sequence[Home], fault: Fault, rng: Random) -> None:
    """Messages are lost, doubled and overtaken."""
    wires = swarm.network.wires
    before = wires.conditions
    wires.conditions = replace(
        before,
        loss_per_million=rng.randrange(300_000),
        duplicate_per_million=rng.randrange(300_000),
        reorder_per_million=rng.randrange(300_000),
    )
    await trio.sleep(fault.lasts_s)
    wires.conditions = before


async def slow_uplinks(swarm: Swarm, homes: Sequence[Home], fault: Fault, rng: Random) -> None:
    """Homes whose messages queue on a thin line."""
    for home in homes:
        swarm.network.wires.limit_uplink(home.agent, SLOW_UPLINK_BYTES_PER_S)
    await trio.sleep(fault.lasts_s)
    for home in homes:
        swarm.network.wires.limit_uplink(home.agent, 0)


def _sinful(name: str) -> Strike:
    acts = {**ACTS, "sybils": sybils, "eclipse": eclipse}

    async def sin(swarm: Swarm, homes: Sequence[Home], fault: Fault, rng: Random) -> None:
        for home in homes:
            if home.running and home.store.head(home.agent) is not None:
                await acts[name](swarm, home, rng)

    return sin


MISHAPS: dict[str, Strike] = {
    "crash": crash,
    "lost disk": lost_disk,
    "disk full": _failing("disk full"),
    "disk error": _failing("disk error"),
    "clock skew": clock_skew,
    "partition": partition,
    "one-way cuts": one_way_cuts,
    "unresponsive": unresponsive,
    "bad wires": bad_wires,
    "slow uplinks": slow_uplinks,
}
"""What happens to the honest."""

SINS: dict[str, Strike] = {name: _sinful(name) for name in (*ACTS, "sybils", "eclipse")}
"""What offenders do."""

STRIKES = {**MISHAPS, **SINS}


def draw(
    rng: Random,
    homes: int,
    offenders: Sequence[int],
    until_s: float,
    kinds: Sequence[str] = tuple(STRIKES),
    rounds: int = 2,
) -> list[Fault]:
    """Every kind so many times, at times and to homes drawn by lot; all over at `until_s`.

    The steward's disk and answers are left alone: it stands for the community's invitation.
    """
    schedule = []
    honest = [number for number in range(homes) if number not in offenders and number != STEWARD]
    for _ in range(rounds):
        for kind in kinds:
            if kind in SINS and not offenders:
                continue
            who = _sinners(kind, offenders) if kind in SINS else honest
            struck = rng.sample(who, 1 if kind in SINS else rng.randint(1, max(1, len(who) // 6)))
            lasts_s = min(rng.uniform(SHORT_S, LONG_S), until_s / 2)
            at_s = rng.uniform(0, until_s - lasts_s)
            schedule.append(Fault(round(at_s, 3), kind, tuple(struck), round(lasts_s, 3)))
    return sorted(schedule, key=lambda fault: (fault.at_s, fault.kind))


def _sinners(kind: str, offenders: Sequence[int]) -> list[int]:
    """Who may commit a sin.  Once warranted, a forker reaches nobody: the first only forks."""
    alone = len(offenders) > 1
    if kind == "fork":
        return list(offenders[:1])
    return list(offenders[1:] if alone else offenders)


async def strike(swarm: Swarm, schedule: Sequence[Fault], rng: Random) -> None:
    """Let it all happen; returns when the last is over."""
    begun_s = trio.current_time()

    async def one(fault: Fault, lots: Random) -> None:
        await trio.sleep_until(begun_s + fault.at_s)
        homes = [swarm.homes[number] for number in fault.homes]
        for home in homes:
            swarm.note("fault", home, fault.kind, round(fault.lasts_s * 1_000))
        try:
            await STRIKES[fault.kind](swarm, homes, fault, lots)
        except IoeError as error:  # what an offender attempts may be refused on its own disk
            swarm.note("failed", homes[0], fault.kind, str(error))

    async with trio.open_nursery() as nursery:
        for fault in schedule:
            nursery.start_soon(one, fault, Random(rng.random()))

"""What parts or dies is made good: a partition that ends, a third that is killed at once."""

import trio

from ioe_node.core.authority import REDUNDANCY
from ioe_node.hdi import ActionHash
from sim.home import Home
from sim.scenario import Run, scenario
from sim.scenarios.readings import enrol, read_within
from sim.swarm import Swarm, settled

RECORDS_PER_HOME = 5
READ_WITHIN_S = 2.0
READS_PER_S = 20
LOOK_EVERY_S = 0.5
REDUNDANT_WITHIN_S = 60.0
GIVEN_UP_AFTER_S = 300.0
READS_MISSED_PER_THOUSAND_MAX = 1


async def write_some(swarm: Swarm, records: int) -> None:
    """Every honest home that runs writes so many records, one after the other."""

    async def write(home: Home) -> None:
        for number in range(records):
            await enrol(home, f"{len(home.committed)} {number}")
            await trio.sleep(0.2)

    async with trio.open_nursery() as nursery:
        for home in swarm.honest():
            nursery.start_soon(write, home)


@scenario(nodes=16, minutes=10)
async def partition_heal(run: Run) -> None:
    """Two halves write for all the time without each other; then they meet again."""
    swarm = run.swarm
    await swarm.settle()
    agents = [home.agent for home in swarm.homes]
    run.rng("halves").shuffle(agents)
    swarm.network.partition((agents[::2], agents[1::2]))
    while trio.current_time() < run.until_s:
        await write_some(swarm, 1)
        await trio.sleep(run.options.virtual_s / 10)
        run.progress(trio.current_time() - run.begun_s)
    swarm.network.heal()
    begun_s, messages = trio.current_time(), swarm.trace.messages
    await swarm.settle()
    run.measure("healed after", trio.current_time() - begun_s, "s")
    run.measure(
        "messages to heal", (swarm.trace.messages - messages) / len(swarm.homes), "per node"
    )


@scenario(
    nodes=32,
    minutes=2,
    nodes_min=4,  # of fewer, a third is nobody
    limits={"percent": (1, 99), "records": (1, None)},
)
async def kill_third(run: Run, percent: int = 30, records: int = RECORDS_PER_HOME) -> None:
    """`percent` of all homes are killed at once: what was written is read, and held R times again.

    Reads of anything committed before, by random homes that live, for `--minutes`.
    """
    swarm, rng = run.swarm, run.rng("kill")
    await write_some(swarm, records)
    await swarm.settle()
    run.expect("all is at rest before", settled(swarm.running()), "the chains did not come to rest")
    written = [hash_ for home in swarm.homes for hash_ in home.committed.values()]
    victims = rng.sample(swarm.homes[1:], len(swarm.homes) * percent // 100)
    for victim in victims:
        await swarm.crash(victim)
    run.begun_s = trio.current_time()
    reads: list[float | None] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_redundant_again, run)
        nursery.start_soon(run.pass_time)
        while trio.current_time() < run.until_s:
            reader, hash_ = rng.choice(swarm.running()), rng.choice(written)
            nursery.start_soon(_read, reader, hash_, reads)
            await trio.sleep(rng.random() * 2 / READS_PER_S)
    found = [read_s for read_s in reads if read_s is not None]
    missed = len(reads) - len(found)
    run.measure("reads within 2 s", 100 * len(found) / max(len(reads), 1), "%")
    run.result.spread("read", found)
    run.expect(
        "reads survive the killing",
        missed * 1_000 <= READS_MISSED_PER_THOUSAND_MAX * len(reads),
        f"{missed} of {len(reads)} reads did not succeed within {READ_WITHIN_S:g} s",
    )


async def _read(reader: Home, hash_: ActionHash, reads: list[float | None]) -> None:
    reads.append(await read_within(reader, hash_, READ_WITHIN_S))


def holders(swarm: Swarm, author: Home) -> int:
    """How many living honest homes hold all that an author, dead or alive, ever committed."""
    newest = max(author.committed)
    found = 0
    for home in swarm.honest():
        head = home.store.head(author.agent)
        found += head is not None and head.seq >= newest
    return found


async def _redundant_again(run: Run) -> None:
    """How long until every chain, the dead's too, is on R living homes."""
    swarm, begun_s = run.swarm, trio.current_time()
    wanted = min(REDUNDANCY, len(swarm.running()))
    poor = [home for home in swarm.homes if holders(swarm, home) < wanted]
    run.measure("chains that lost a holder", len(poor), "")
    while poor and trio.current_time() - begun_s < GIVEN_UP_AFTER_S:
        await trio.sleep(LOOK_EVERY_S)
        poor = [home for home in poor if holders(swarm, home) < wanted]
    took_s = trio.current_time() - begun_s
    run.measure("redundant again after", took_s, "s")
    run.expect(
        "redundancy comes back",
        not poor and took_s <= REDUNDANT_WITHIN_S,
        f"after {took_s:g} s {len(poor)} chains are on fewer than {wanted} living homes",
    )

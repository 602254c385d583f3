"""Holochain's load scenarios that wait for what is written: reads, validations and receipts."""

from collections.abc import Sequence

import trio

from ioe_node.errors import Busy
from ioe_node.hdi import ActionHash
from sim.home import Home
from sim.load_dna import DNA
from sim.scenario import Run, scenario
from sim.scenarios.load_calls import acquainted, load, timed

LOOK_EVERY_S = 0.005
WAIT_MAX_S = 120.0
DOWN_S = (2.0, 10.0)
UP_S = (10.0, 30.0)
VOLATILE_ONE_IN = 3


@scenario(nodes=10, minutes=1, dna=DNA, limits={"samples": (1, None)})
async def write_read(run: Run, samples: int = 100) -> None:
    """Commit, then read by hash at another node that asks until it has it."""
    await acquainted(run)
    await _write_and_read(run, run.swarm.homes[0], run.swarm.homes[-1], samples)


@scenario(nodes=10, minutes=1, dna=DNA, limits={"samples": (1, None)})
async def zero_arc_create_and_read(run: Run, samples: int = 100) -> None:
    """As `write_read`, where both ends hold nothing for others."""
    await acquainted(run)
    writer, reader = [await run.swarm.add(holds=False) for _ in range(2)]
    await run.swarm.settle()
    await _write_and_read(run, writer, reader, samples)
    for home in (writer, reader):
        others = [author for author in home.store.authors() if author != home.agent]
        run.expect("a zero node holds its own", not others, f"it holds {len(others)} other chains")


async def _write_and_read(run: Run, writer: Home, reader: Home, samples: int) -> None:
    visible = []
    for value in range(samples):
        made = await load(writer, "write", value=value)
        began_s = trio.current_time()
        with trio.move_on_after(WAIT_MAX_S):
            while True:
                if await load(reader, "read", hash=made) is not None:
                    visible.append(trio.current_time() - began_s)
                    break
                await trio.sleep(LOOK_EVERY_S)
        run.progress(trio.current_time() - run.begun_s)
    never = samples - len(visible)
    run.measure("never read", never, "writes")
    run.expect("what is written is read", not never, f"{never} of {samples} writes were not")
    run.result.spread("commit to read elsewhere", visible)


@scenario(nodes=10, minutes=1, dna=DNA, limits={"samples": (1, None)})
async def write_validated(run: Run, samples: int = 100) -> None:
    """Create, update and link in one bundle, about our own record and about another's."""
    await acquainted(run)
    writer, other = run.swarm.homes[0], run.swarm.homes[1]
    target = await load(other, "write", value=0)
    await run.swarm.settle()
    fetched_s = (await timed(_until_written(writer, target)))[0]
    own = [(await timed(load(writer, "write_validated", value=n)))[0] for n in range(samples)]
    foreign = [
        (await timed(load(writer, "write_validated", value=n, about=target)))[0]
        for n in range(samples)
    ]
    run.measure("first write about another agent's, fetching it", fetched_s, "s")
    run.result.spread("about our own record", own)
    run.result.spread("about another agent's", foreign)


async def _until_written(writer: Home, target: ActionHash) -> None:
    """Write about a record that is not here yet, until it has been fetched."""
    with trio.fail_after(WAIT_MAX_S):
        while True:
            try:
                await load(writer, "write_validated", value=0, about=target)
                return
            except Busy:
                await trio.sleep(LOOK_EVERY_S)


async def _until_receipts(author: Home, action: ActionHash) -> bool:
    """Wait until every authority has signed for an action; False after two minutes."""
    with trio.move_on_after(WAIT_MAX_S):
        while True:
            found = author.cell.space.receipts(action)
            assert found is not None, "an action of its own"
            if found[0] >= found[1]:
                return True
            await trio.sleep(LOOK_EVERY_S)
    return False


@scenario(nodes=10, minutes=1, dna=DNA, limits={"samples": (1, None)})
async def validation_receipts(run: Run, samples: int = 100) -> None:
    """From the commit until the author has a receipt from each authority."""
    await acquainted(run)
    homes, took, missing = run.swarm.homes, list[float](), 0
    for value in range(samples):
        author = homes[value % len(homes)]
        action = await load(author, "stream", value=value)
        took_s, complete = await timed(_until_receipts(author, action))
        took += [took_s] if complete else []
        missing += not complete
        run.progress(trio.current_time() - run.begun_s)
    run.measure("without all receipts", missing, "writes")
    run.expect("every authority signs", not missing, f"{missing} of {samples} lack receipts")
    run.result.spread("receipts", took)


@scenario(nodes=10, minutes=1, dna=DNA, limits={"samples": (1, None)})
async def get_agent_activity(run: Run, volatile: bool = False, samples: int = 100) -> None:
    """Another agent's whole chain, read at every node in turn.

    With `volatile`, a third of the nodes are killed and come back all the while.
    """
    await acquainted(run)
    homes = run.swarm.homes
    changing = len(homes) // VOLATILE_ONE_IN if volatile else 0
    over = trio.Event()
    async with trio.open_nursery() as nursery:
        for home in homes[len(homes) - changing :]:
            nursery.start_soon(_come_and_go, run, home, over)
        await _read_chains(run, homes[1 : len(homes) - changing], samples)
        over.set()


async def _come_and_go(run: Run, home: Home, over: trio.Event) -> None:
    rng = run.rng(f"life of {home.number}")
    while not over.is_set():
        await run.swarm.kill(home)
        await trio.sleep(rng.uniform(*DOWN_S))
        await run.swarm.start(home)
        with trio.move_on_after(rng.uniform(*UP_S)):
            await over.wait()


async def _read_chains(run: Run, readers: Sequence[Home], samples: int) -> None:
    writer = run.swarm.homes[0]
    for value in range(samples):
        action = await load(writer, "stream", value=value)
    await _until_receipts(writer, action)
    took, short = [], 0
    for number in range(samples):
        reader = readers[number % len(readers)]
        took_s, found = await timed(load(reader, "activity", agent=writer.agent))
        took.append(took_s)
        short += found["entries"] < samples
        await trio.sleep(LOOK_EVERY_S)
        run.progress(trio.current_time() - run.begun_s)
    run.measure("reads that fell short", short, "reads")
    run.expect("whole chains are read", not short, f"{short} of {samples} reads fell short")
    run.result.spread("whole chain", took)

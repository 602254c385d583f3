"""Holochain's load scenarios on virtual time, by their names; `bench.network` has the real ones.

The swarm runs `sim.load_dna`.  Calls cost no virtual time but what the network takes, so these
tell round trips, deliveries and losses, and nothing of CPU.  Observers poll once a second.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from ioe_node.core.authority import authorities
from ioe_node.errors import Busy, IoeError
from ioe_node.hdi import ActionHash, AgentPubKey
from sim.load_dna import DNA
from sim.swarm import Home, Swarm, open_swarm
from sim.virtual_clock import run_virtual

POLL_S = 1.0
GRACE_S = 60.0
LOOK_EVERY_S = 0.005
WAIT_MAX_S = 120.0
ACQUAINTED_S = 120.0
DOWN_S = (2.0, 10.0)
UP_S = (10.0, 30.0)
SAMPLES = 100
SETTLE_AGAIN_S = 0.05
SIGNALS = 1_000
VOLATILE_HOMES = 3
SILENT_RATIO_SAMPLES = 50


@dataclass(frozen=True)
class LoadOptions:
    """How long, how fast and how many; as many homes as the swarm has may be writers."""

    seconds: float = 60.0
    rate: float = 2.0
    writers: int = 25
    observers: int = 5


@dataclass
class LoadResult:
    """Figures by name, with their units."""

    figures: dict[str, tuple[float, str]] = field(default_factory=dict)

    def measure(self, name: str, value: float, unit: str) -> None:
        """Put down a figure."""
        self.figures[name] = (value, unit)

    def spread(self, name: str, seconds: Sequence[float]) -> None:
        """Put down how many there were, the median, the 95th percentile and the longest."""
        ordered = sorted(seconds)
        self.measure(f"{name}, count", len(ordered), "")
        if ordered:
            self.measure(f"{name}, p50", ordered[len(ordered) // 2], "s")
            self.measure(f"{name}, p95", ordered[(len(ordered) - 1) * 95 // 100], "s")
            self.measure(f"{name}, longest", ordered[-1], "s")


Progress = Callable[[float], None]
LoadScenario = Callable[[Swarm, LoadOptions, LoadResult, Progress], Awaitable[None]]


async def load(home: Home, function: str, /, **payload: Any) -> Any:
    """One call of the load zome."""
    return await home.call("load", function, payload)


async def timed(call: Awaitable[Any]) -> tuple[float, Any]:
    """(virtual seconds, what it returned)."""
    began = trio.current_time()
    returned = await call
    return trio.current_time() - began, returned


# -- calls ------------------------------------------------------------------------------------


async def zome_call_single_value(
    swarm: Swarm, options: LoadOptions, result: LoadResult, progress: Progress
) -> None:
    """A function that does nothing takes no time of the network's."""
    home = swarm.homes[-1]
    result.spread("call", [(await timed(load(home, "echo", value=n)))[0] for n in range(SAMPLES)])


async def write_read(
    swarm: Swarm, options: LoadOptions, result: LoadResult, progress: Progress
) -> None:
    """Commit, then read by hash at another node that asks until it has it."""
    writer, reader = swarm.homes[0], swarm.homes[-1]
    visible = []
    for value in range(SAMPLES):
        made = await load(writer, "write", value=value)
        began = trio.current_time()
        with trio.move_on_after(WAIT_MAX_S):
            while True:
                if await load(reader, "read", hash=made) is not None:
                    visible.append(trio.current_time() - began)
                    break
                await trio.sleep(LOOK_EVERY_S)
        progress(trio.current_time())
    result.measure("never read", SAMPLES - len(visible), "writes")
    result.spread("commit to read elsewhere", visible)


async def write_validated(
    swarm: Swarm, options: LoadOptions, result: LoadResult, progress: Progress
) -> None:
    """Create, update and link in one bundle, about our own record and about another's."""
    writer, other = swarm.homes[0], swarm.homes[1]
    target = await load(other, "write", value=0)
    await swarm.settle()
    fetched = (await timed(_until_written(writer, target)))[0]
    own = [(await timed(load(writer, "write_validated", value=n)))[0] for n in range(SAMPLES)]
    foreign = [
        (await timed(load(writer, "write_validated", value=n, about=target)))[0]
        for n in range(SAMPLES)
    ]
    result.measure("first write about another agent's, fetching it", fetched, "s")
    result.spread("about our own record", own)
    result.spread("about another agent's", foreign)


async def _until_written(writer: Home, target: ActionHash) -> None:
    """Write about a record that is not here yet, until it has been fetched."""
    with trio.fail_after(WAIT_MAX_S):
        while True:
            try:
                await load(writer, "write_validated", value=0, about=target)
                return
            except Busy:
                await trio.sleep(LOOK_EVERY_S)


async def remote_call_rate(
    swarm: Swarm, options: LoadOptions, result: LoadResult, progress: Progress
) -> None:
    """A call that another node answers under a grant."""
    caller, callee = swarm.homes[0], swarm.homes[-1]
    await load(callee, "open_echo")
    samples = [
        (await timed(load(caller, "echo_at", agent=callee.agent, value=n)))[0]
        for n in range(SAMPLES)
    ]
    result.spread("remote call", samples)


async def local_signals(
    swarm: Swarm, options: LoadOptions, result: LoadResult, progress: Progress
) -> None:
    """Every signal of a call reaches the node's clients."""
    home, received = swarm.homes[-1], 0

    def count(value: dict[str, Any]) -> None:
        nonlocal received
        received += value.get("kind") == "app"

    before, home.cell.space.signal = home.cell.space.signal, count
    await load(home, "local_signal", n=SIGNALS)
    home.cell.space.signal = before
    result.measure("sent", SIGNALS, "signals")
    result.measure("received", received, "signals")


async def two_party_settlement(
    swarm: Swarm, options: LoadOptions, result: LoadResult, progress: Progress
) -> None:
    """Pairs pay each other back and forth, all at once; what is busy is tried again."""
    homes, samples, tries = swarm.homes, list[float](), 0
    until_s = trio.current_time() + options.seconds

    async def pair(payer: Home, payee: Home) -> None:
        nonlocal tries
        while trio.current_time() < until_s:
            began = trio.current_time()
            while True:
                tries += 1
                try:
                    payment = {"payee": payee.agent, "amount_micro": 1}
                    await payer.call("currency", "pay", payment)
                    break
                except IoeError:
                    await trio.sleep(SETTLE_AGAIN_S)
            samples.append(trio.current_time() - began)
            payer, payee = payee, payer

    async with trio.open_nursery() as nursery:
        for at in range(0, len(homes) - 1, 2):
            nursery.start_soon(pair, homes[at], homes[at + 1])
    progress(trio.current_time())
    result.measure("settlements", len(samples) / options.seconds, "/s")
    result.measure("tries", tries, "")
    stuck = sum(home.store.promised() is not None for home in homes)
    result.measure("chains in doubt at the end", stuck, "")
    result.spread("settlement", samples)


# -- receipts and reads -----------------------------------------------------------------------


async def until_receipts(author: Home, action: ActionHash) -> bool:
    """Wait until every authority has signed for an action; False after two minutes."""
    with trio.move_on_after(WAIT_MAX_S):
        while True:
            found = author.cell.space.receipts(action)
            assert found is not None, "an action of its own"
            if found[0] >= found[1]:
                return True
            await trio.sleep(LOOK_EVERY_S)
    return False


async def validation_receipts(
    swarm: Swarm, options: LoadOptions, result: LoadResult, progress: Progress
) -> None:
    """From the commit until the author has a receipt from each authority."""
    samples, missing = list[float](), 0
    for value in range(SAMPLES):
        author = swarm.homes[value % len(swarm.homes)]
        action = await load(author, "stream", value=value)
        took, complete = await timed(until_receipts(author, action))
        samples += [took] if complete else []
        missing += not complete
        progress(trio.current_time())
    result.measure("without all receipts", missing, "writes")
    result.spread("receipts", samples)


async def get_agent_activity(
    swarm: Swarm, options: LoadOptions, result: LoadResult, progress: Progress
) -> None:
    """Another agent's whole chain, read at every node in turn."""
    await _read_chains(swarm, result, swarm.homes[1:])


async def get_agent_activity_volatile(
    swarm: Swarm, options: LoadOptions, result: LoadResult, progress: Progress
) -> None:
    """The same while some nodes are killed and come back."""
    rng, over = swarm.rng("volatile"), trio.Event()

    async def life(home: Home) -> None:
        while not over.is_set():
            await swarm.kill(home)
            await trio.sleep(rng.uniform(*DOWN_S))
            await swarm.start(home)
            with trio.move_on_after(rng.uniform(*UP_S)):
                await over.wait()

    async with trio.open_nursery() as nursery:
        for home in swarm.homes[-VOLATILE_HOMES:]:
            nursery.start_soon(life, home)
        await _read_chains(swarm, result, swarm.homes[1:-VOLATILE_HOMES])
        over.set()


async def _read_chains(swarm: Swarm, result: LoadResult, readers: Sequence[Home]) -> None:
    writer = swarm.homes[0]
    for value in range(SAMPLES):
        action = await load(writer, "stream", value=value)
    await until_receipts(writer, action)
    samples, short = [], 0
    for number in range(SAMPLES):
        reader = readers[number % len(readers)]
        took, found = await timed(load(reader, "activity", agent=writer.agent))
        samples.append(took)
        short += found["entries"] < SAMPLES
        await trio.sleep(LOOK_EVERY_S)
    result.measure("reads that fell short", short, "reads")
    result.spread("whole chain", samples)


# -- spread -----------------------------------------------------------------------------------


@dataclass
class Observer:
    """One that reads what is new on the writers' chains, and when it saw each write."""

    home: Home
    cursors: dict[AgentPubKey, int]
    lags_s: dict[tuple[AgentPubKey, int], float] = field(default_factory=dict)

    async def look(self, now_us: Callable[[], int]) -> int:
        """Read what is new; how many entries."""
        before = len(self.lags_s)
        try:
            found = await load(self.home, "news", cursors=list(self.cursors.items()))
        except IoeError:
            return 0
        for agent, page in zip(list(self.cursors), found, strict=True):
            self.cursors[agent] = page["next_seq"]
            for entry in page["entries"]:
                lag_s = (now_us() - entry["created_us"]) / 1_000_000
                self.lags_s.setdefault((agent, entry["value"]), lag_s)
        return len(self.lags_s) - before


async def dht_sync_lag(
    swarm: Swarm, options: LoadOptions, result: LoadResult, progress: Progress
) -> None:
    """Writers write steadily, observers poll; the lag is from commit to seen."""
    writers = swarm.homes[: options.writers]
    observers = observers_of(swarm, writers, options)
    written = await write_and_watch(swarm, writers, observers, options, progress)
    report_deliveries(result, written, observers)


def observers_of(swarm: Swarm, writers: Sequence[Home], options: LoadOptions) -> list[Observer]:
    """The last homes, each with a cursor at the start of every writer's chain."""
    start = {writer.agent: 0 for writer in writers}
    return [Observer(home, dict(start)) for home in swarm.homes[-options.observers :]]


async def write_and_watch(
    swarm: Swarm,
    writers: Sequence[Home],
    observers: Sequence[Observer],
    options: LoadOptions,
    progress: Progress,
) -> int:
    """Write and observe for so long, then observe until all is seen; how many writes."""
    written, over = 0, trio.Event()
    until_s = trio.current_time() + options.seconds

    async def write(writer: Home) -> None:
        nonlocal written
        await trio.sleep(swarm.rng(f"phase {writer.number}").uniform(0, 1 / options.rate))
        value = 0
        while trio.current_time() < until_s:
            value += 1
            await load(writer, "stream", value=value)
            written += 1
            await trio.sleep(1 / options.rate)

    async def observe(observer: Observer) -> None:
        while not (over.is_set() and len(observer.lags_s) >= written):
            await observer.look(swarm.clock.now_us)
            await trio.sleep(POLL_S)
            progress(trio.current_time())

    async with trio.open_nursery() as nursery:
        for observer in observers:
            nursery.start_soon(observe, observer)
        async with trio.open_nursery() as writing:
            for writer in writers:
                writing.start_soon(write, writer)
        over.set()
        nursery.cancel_scope.deadline = trio.current_time() + GRACE_S
    return written


def report_deliveries(result: LoadResult, written: int, observers: Sequence[Observer]) -> None:
    """The raw counts and the lags."""
    lags = [lag for observer in observers for lag in observer.lags_s.values()]
    expected = written * len(observers)
    result.measure("writes", written, "")
    result.measure("deliveries expected", expected, "")
    result.measure("deliveries lost", expected - len(lags), "")
    result.measure("delivered", 100 * len(lags) / max(1, expected), "%")
    result.spread("lag", lags)


async def partition_heal(
    swarm: Swarm, options: LoadOptions, result: LoadResult, progress: Progress
) -> None:
    """Two halves cannot hear each other while both write; then how long until all is seen."""
    half = len(swarm.homes) // 2
    for one in swarm.homes[:half]:
        for other in swarm.homes[half:]:
            swarm.network.cut(one.agent, other.agent)
    writers = swarm.homes
    for value in range(round(options.seconds * options.rate)):
        for writer in writers:
            await load(writer, "stream", value=value)
        await trio.sleep(1 / options.rate)
        progress(trio.current_time())
    written = round(options.seconds * options.rate) * len(writers)
    swarm.network.heal()
    healed = trio.current_time()
    observers = observers_of(swarm, writers, options)
    with trio.move_on_after(WAIT_MAX_S):
        while any(len(observer.lags_s) < written for observer in observers):
            for observer in observers:
                await observer.look(swarm.clock.now_us)
            await trio.sleep(LOOK_EVERY_S)
    result.measure("until all have all", trio.current_time() - healed, "s")
    report_deliveries(result, written, observers)


async def join_large_network(
    swarm: Swarm, options: LoadOptions, result: LoadResult, progress: Progress
) -> None:
    """One more home: until it can read a chain, and until it holds its share."""
    writer = swarm.homes[0]
    for value in range(SAMPLES):
        await load(writer, "stream", value=value)
    await swarm.settle()
    began = trio.current_time()
    newcomer = await swarm.add()
    result.measure("joined", trio.current_time() - began, "s")
    with trio.move_on_after(WAIT_MAX_S):
        while True:
            found = await load(newcomer, "activity", agent=writer.agent)
            if found["entries"] >= SAMPLES:
                break
            await trio.sleep(POLL_S / 10)
    result.measure("a whole chain read", trio.current_time() - began, "s")
    agents = [home.agent for home in swarm.homes]
    share = [
        home
        for home in swarm.homes
        if home is not newcomer and newcomer.agent in authorities(home.agent, agents)
    ]
    with trio.move_on_after(WAIT_MAX_S):
        while share:
            held = newcomer.store.head(share[0].agent)
            if held == share[0].store.head(share[0].agent):
                del share[0]
            else:
                await trio.sleep(POLL_S / 10)
    result.measure("its share held", trio.current_time() - began, "s")
    result.measure("chains of its share still lacking", len(share), "")


async def unresponsive(
    swarm: Swarm, options: LoadOptions, result: LoadResult, progress: Progress
) -> None:
    """One node that nothing reaches: what others take, before and meanwhile."""
    silent, well = swarm.homes[-1], swarm.homes[:-1]
    for when in ("all well", "one silent"):
        if when == "one silent":
            swarm.network.cut_off(silent.agent)
        visible, chains = [], []
        for number in range(SILENT_RATIO_SAMPLES):
            writer, reader = well[number % len(well)], well[(number + 1) % len(well)]
            made = await load(writer, "write", value=number)
            began = trio.current_time()
            while True:
                if await load(reader, "read", hash=made) is not None:
                    break
                await trio.sleep(LOOK_EVERY_S)
            visible.append(trio.current_time() - began)
            chains.append((await timed(load(reader, "activity", agent=writer.agent)))[0])
        result.spread(f"write to read elsewhere, {when}", visible)
        result.spread(f"chain of another, {when}", chains)
    swarm.network.heal()


LOAD_SCENARIOS: dict[str, LoadScenario] = {
    each.__name__: each
    for each in (
        zome_call_single_value,
        write_read,
        write_validated,
        remote_call_rate,
        local_signals,
        two_party_settlement,
        validation_receipts,
        get_agent_activity,
        get_agent_activity_volatile,
        dht_sync_lag,
        partition_heal,
        join_large_network,
        unresponsive,
    )
}


async def play_load(
    name: str, directory: Path, homes: int, seed: int, options: LoadOptions, progress: Progress
) -> LoadResult:
    """Run a scenario on a swarm of its own, once everyone has met everyone."""
    result = LoadResult()
    async with open_swarm(directory, seed, homes, definition=DNA) as swarm:
        await trio.sleep(ACQUAINTED_S)
        await swarm.settle()
        await LOAD_SCENARIOS[name](swarm, options, result, progress)
    return result


def run_load(
    name: str,
    directory: Path,
    homes: int,
    seed: int = 0,
    options: LoadOptions | None = None,
    progress: Progress = lambda virtual_s: None,
) -> LoadResult:
    """`play_load` on virtual time."""
    chosen = options or LoadOptions()
    return run_virtual(play_load, name, directory, homes, seed, chosen, progress, seed=seed)

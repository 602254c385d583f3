"""What one call costs and takes: at a node, to another node, between two."""

from time import perf_counter
from typing import Any

import trio

from bench.accounting import at_least, at_most, count, times
from bench.cluster import Cluster, Control, Member, Options
from bench.report import Line
from ioe_node.errors import IoeError

CALLS = 2_000
CALLS_AT_ONCE = 8
WRITES = 200
REMOTE_CALLS = 500
SIGNALS_PER_BURST = (1_000, 10_000)
SIGNALS_WAIT_S = 10.0
SIGNAL_AGAIN_S = 0.05
SETTLEMENTS = 30
SETTLE_TRIES = 20
SETTLE_AGAIN_S = 0.05
READ_EVERY_S = 0.005
VISIBLE_TIMEOUT_S = 30.0

CALL_P50_MS = 1.5
WRITE_P50_MS = 5.0
VALIDATED_P50_MS = 10.0
REMOTE_P50_MS = 20.0
SETTLEMENTS_PER_S = 5.0


async def timed(member: Member, function: str, /, **payload: Any) -> tuple[float, Any]:
    """One call of the load zome: (milliseconds, what it returned)."""
    began = perf_counter()
    returned = await member.load(function, **payload)
    return 1_000 * (perf_counter() - began), returned


async def zome_call_single_value(cluster: Cluster, options: Options) -> list[Line]:
    """A function that does nothing, over the control socket: one client, then several."""
    member = cluster.members[-1]
    one = [(await timed(member, "echo", value=1))[0] for _ in range(CALLS)]
    clients = [await Control.open(member.node.home) for _ in range(CALLS_AT_ONCE)]

    async def calls(client: Control) -> None:
        for _ in range(CALLS // CALLS_AT_ONCE):
            await client.zome("load", "echo", value=1)

    with cluster.meter() as meter:
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(calls, client)
    for client in clients:
        await client.aclose()
    name = "zome_call_single_value"
    return [
        *times(name, one, p50=CALL_P50_MS),
        count(f"{name}, one client", 1_000 * len(one) / sum(one), "calls/s"),
        count(f"{name}, {CALLS_AT_ONCE} clients", CALLS / meter.seconds, "calls/s"),
        count(f"{name}, CPU per call", 1_000 * meter.cpu_s / CALLS, "ms"),
    ]


async def write_read(cluster: Cluster, options: Options) -> list[Line]:
    """Commit, then read by hash at a node that asks again and again until it has it."""
    writer, reader = cluster.members[0], cluster.members[-1]
    writes, visible, reads, lost = [], [], [], 0
    with cluster.meter() as meter:
        for value in range(WRITES):
            took, made = await timed(writer, "write", value=value)
            committed = perf_counter()
            writes.append(took)
            with trio.move_on_after(VISIBLE_TIMEOUT_S) as waiting:
                while True:
                    took, found = await timed(reader, "read", hash=made)
                    if found is not None:
                        break
                    await trio.sleep(READ_EVERY_S)
            if waiting.cancelled_caught:
                lost += 1
            else:
                visible.append(1_000 * (perf_counter() - committed))
                reads.append(took)
    name = f"write_read, {len(cluster.members)} nodes"
    return [
        *times(f"{name}, write", writes, p50=WRITE_P50_MS),
        *times(f"{name}, commit to read elsewhere", visible, p50=50.0, p95=200.0),
        *times(f"{name}, the read that found it", reads),
        count(f"{name}, writes", WRITES, "writes"),
        count(f"{name}, never read", lost, "writes"),
        count(f"{name}, pairs", WRITES / meter.seconds, "pairs/s"),
        count(f"{name}, CPU per pair", 1_000 * meter.cpu_s / WRITES, "ms"),
    ]


async def write_validated(cluster: Cluster, options: Options) -> list[Line]:
    """Create, update and link in one bundle, each with rules that read another record."""
    writer, other = cluster.members[0], cluster.members[1]
    target = await other.load("write", value=0)
    first_ms = await _until_written(writer, target)
    own, foreign = [], []
    with cluster.meter() as meter:
        for value in range(WRITES // 2):
            took, _ = await timed(writer, "write_validated", value=value)
            own.append(took)
        for value in range(WRITES // 2):
            took, _ = await timed(writer, "write_validated", value=value, about=target)
            foreign.append(took)
    name = f"write_validated, {len(cluster.members)} nodes"
    return [
        *times(f"{name}, about our own record", own, p50=VALIDATED_P50_MS),
        *times(f"{name}, about another agent's", foreign, p50=VALIDATED_P50_MS),
        count(f"{name}, the first about another's, fetching it", first_ms, "ms"),
        count(f"{name}, rate", 1_000 * WRITES / sum(own + foreign), "bundles/s"),
        count(f"{name}, CPU per bundle", 1_000 * meter.cpu_s / WRITES, "ms"),
    ]


async def _until_written(writer: Member, target: bytes) -> float:
    """Milliseconds until a write about a record that is not here yet is taken."""
    began = perf_counter()
    with trio.fail_after(VISIBLE_TIMEOUT_S):
        while True:
            try:
                await writer.load("write_validated", value=0, about=target)
                return 1_000 * (perf_counter() - began)
            except IoeError:
                await trio.sleep(READ_EVERY_S)


async def remote_call_rate(cluster: Cluster, options: Options) -> list[Line]:
    """A call that another node answers under a grant."""
    caller, callee = cluster.members[0], cluster.members[-1]
    await callee.load("open_echo")
    samples = []
    with cluster.meter() as meter:
        for value in range(REMOTE_CALLS):
            took, _ = await timed(caller, "echo_at", agent=callee.agent, value=value)
            samples.append(took)
    name = f"remote_call_rate, {len(cluster.members)} nodes"
    return [
        *times(name, samples, p50=REMOTE_P50_MS),
        count(f"{name}, rate", REMOTE_CALLS / meter.seconds, "calls/s"),
        count(f"{name}, CPU per call", 1_000 * meter.cpu_s / REMOTE_CALLS, "ms"),
    ]


async def local_signals(cluster: Cluster, options: Options) -> list[Line]:
    """Signals from a zome to a client of its node, in bursts; a gap must be said."""
    lines = []
    for burst in SIGNALS_PER_BURST:
        sent, received, missed, seconds = await _burst(cluster.members[-1], burst)
        name = f"local_signals, burst of {burst:,}"
        accounted = 100.0 * (received + missed) / sent
        lines += [
            count(f"{name}, received", received, "signals"),
            count(f"{name}, said to be missed", missed, "signals"),
            at_least(f"{name}, accounted for", accounted, "%", sent, 100.0),
            count(f"{name}, rate", received / seconds, "signals/s"),
        ]
    return lines


async def _burst(member: Member, burst: int) -> tuple[int, int, int, float]:
    """(sent, received, said to be missed, seconds) of a burst, until each is accounted for.

    What a client missed is said with the next signal that it has room for; so some follow.
    """
    follower = await Control.open(member.node.home)
    sent = received = missed = 0
    await follower.begin_to_follow()

    async def emit(signals: int) -> None:
        nonlocal sent
        sent += await member.load("local_signal", n=signals)

    async def emit_all() -> None:
        await emit(burst)
        while True:
            await trio.sleep(SIGNAL_AGAIN_S)
            await emit(1)

    began = perf_counter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(emit_all)
        with trio.move_on_after(SIGNALS_WAIT_S):
            while received + missed < max(burst, sent):
                signal = await follower.next_signal()
                received += signal.get("kind") == "app"
                missed += signal.get("missed", 0)
        nursery.cancel_scope.cancel()
    seconds = perf_counter() - began
    await follower.aclose()
    return max(sent, received + missed), received, missed, seconds


async def two_party_settlement(cluster: Cluster, options: Options) -> list[Line]:
    """Pairs pay each other back and forth, all pairs at once; what is busy is tried again."""
    members = cluster.members
    pairs = [(members[at], members[at + 1]) for at in range(0, len(members) - 1, 2)]
    samples: list[float] = []
    tries = failed = 0

    async def pair(payer: Member, payee: Member) -> None:
        nonlocal tries, failed
        for _ in range(SETTLEMENTS):
            began = perf_counter()
            for _ in range(SETTLE_TRIES):
                tries += 1
                try:
                    await payer.zome("currency", "pay", payee=payee.agent, amount_micro=1)
                except IoeError:
                    await trio.sleep(SETTLE_AGAIN_S)
                else:
                    samples.append(1_000 * (perf_counter() - began))
                    break
            else:
                failed += 1
            payer, payee = payee, payer

    with cluster.meter() as meter:
        async with trio.open_nursery() as nursery:
            for payer, payee in pairs:
                nursery.start_soon(pair, payer, payee)
    stuck = 0
    for member in members:
        status = await member.control.ask("status")
        stuck += status["communities"][0]["in_doubt"]
    name = f"two_party_settlement, {len(pairs)} pairs"
    return [
        count(f"{name}, settled", len(samples), "settlements"),
        count(f"{name}, tries", tries, "tries"),
        count(f"{name}, given up", failed, "settlements"),
        at_most(f"{name}, chains in doubt at the end", stuck, "chains", len(members), 0.0),
        at_least(
            f"{name}, rate", len(samples) / meter.seconds, "/s", len(samples), SETTLEMENTS_PER_S
        ),
        *times(name, samples),
        count(f"{name}, CPU per settlement", 1_000 * meter.cpu_s / max(1, len(samples)), "ms"),
    ]

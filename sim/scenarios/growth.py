"""Newcomers to a network that is there already, and one peer that never answers."""

from collections.abc import Awaitable
from contextlib import suppress
from random import Random
from typing import Any

import trio

from ioe_node.core.authority import authorities
from ioe_node.errors import IoeError
from ioe_node.hdi import ActionHash
from sim.home import Home
from sim.load_dna import DNA
from sim.scenario import Run, scenario
from sim.scenarios.healing import write_some
from sim.scenarios.load_calls import acquainted, load, timed
from sim.scenarios.readings import enrol, read_within

PATIENCE_S = 60.0
POLL_S = 0.02
LOOKED_AT = 40
"""Among so many records one is looked for that the reader does not hold."""
SLOWER_PER_CENT_MAX = 10


@scenario(nodes=100, minutes=5, limits={"newcomers": (1, 1_000), "records": (1, None)})
async def join_large_network(run: Run, newcomers: int = 5, records: int = 3) -> None:
    """Some join a network that has been running: how long until they are of use to each other."""
    swarm, rng = run.swarm, run.rng("joins")
    await write_some(swarm, records)
    await swarm.settle()
    settled = list(swarm.homes)
    begun_s, seen_s, wrote_s, messages = [], [], [], swarm.trace.messages
    for _ in range(newcomers):
        await trio.sleep(run.options.virtual_s / newcomers * rng.random())
        from_s = trio.current_time()
        newcomer = await swarm.add()
        begun_s.append(trio.current_time() - from_s)
        author = rng.choice(settled)
        hash_ = author.committed[max(author.committed)]
        read_s = await read_within(newcomer, hash_, PATIENCE_S)
        run.expect("newcomers can read", read_s is not None, f"home {newcomer.number} cannot")
        if read_s is not None:
            seen_s.append(trio.current_time() - from_s)
        await enrol(newcomer, "here I am")
        if await _held_by_all(run, newcomer):
            wrote_s.append(trio.current_time() - from_s)
        run.progress(trio.current_time() - run.begun_s)
    run.result.spread("first answer to a call", begun_s)
    run.result.spread("first read", seen_s)
    run.result.spread("first write, held by all authorities", wrote_s)
    run.measure("messages", (swarm.trace.messages - messages) / newcomers, "per newcomer")


async def _held_by_all(run: Run, author: Home) -> bool:
    """Wait until all living authorities of a home hold its chain to its head."""
    by_agent = {home.agent: home for home in run.swarm.honest()}
    closest = [by_agent[agent] for agent in authorities(author.agent, by_agent)]
    with trio.move_on_after(PATIENCE_S):
        while True:
            head = author.store.head(author.agent)
            if all(home.store.head(author.agent) == head for home in closest):
                return True
            await trio.sleep(POLL_S)
    return False


@scenario(nodes=16, minutes=8, dna=DNA, nodes_min=3, minutes_min=1, limits={"every_s": (0.1, None)})
async def unresponsive(run: Run, every_s: float = 6.0) -> None:
    """The same load twice, the second time with one peer that takes requests and never answers.

    Laid side by side is everything that a client may do: calls at home and at another's, writes
    until another can read them, reads of what the reader does not hold, reads of a whole chain,
    payments.  Each home pays one other, its neighbour: whom everybody pays is soon held by all,
    and there would be nothing left to read from afar.
    """
    swarm = run.swarm
    await acquainted(run)
    mute = swarm.homes[-1]
    others = swarm.homes[:-1]
    for home in others:
        await load(home, "open_echo")
    took: list[dict[str, list[float]]] = []
    for hushed in (False, True):
        mute.hush(hushed)
        took.append(await _load(run, others, every_s))
        run.progress(trio.current_time() - run.begun_s)
    mute.hush(False)
    for name, before in took[0].items():
        with_mute = took[1][name]
        run.result.spread(name, before)
        run.result.spread(f"{name}, one peer mute", with_mute)
        base_s, now_s = _p95(before), _p95(with_mute)
        ratio = now_s / base_s if base_s else 1.0 + now_s
        run.measure(f"{name}, p95 with by without", ratio, "")
        run.expect(
            "a mute peer slows nobody",
            100 * (ratio - 1) <= SLOWER_PER_CENT_MAX,
            f"{name}: p95 {now_s:.3f} s with, {base_s:.3f} s without",
        )


def _p95(seconds: list[float]) -> float:
    ordered = sorted(seconds)
    return ordered[(len(ordered) - 1) * 95 // 100] if ordered else 0.0


async def _read_at_last(reader: Home, hash_: ActionHash) -> None:
    """Read until it is found."""
    while True:
        if await load(reader, "read", hash=hash_) is not None:
            return
        await trio.sleep(POLL_S)


async def _load(run: Run, homes: list[Home], every_s: float) -> dict[str, list[float]]:
    """Half of the time; the same lots each time that it is called."""
    took: dict[str, list[float]] = {}
    written: list[ActionHash] = []
    until_s = trio.current_time() + run.options.virtual_s / 2

    async def note(name: str, call: Awaitable[Any]) -> Any:
        took_s, returned = await timed(call)
        took.setdefault(name, []).append(took_s)
        return returned

    async def one(home: Home, rng: Random) -> None:
        payee = homes[homes.index(home) - 1].agent
        while trio.current_time() < until_s:
            await trio.sleep(every_s * (0.5 + rng.random()))
            reader = rng.choice([each for each in homes if each is not home])
            written.append(await note("write", load(home, "write", value=len(written))))
            await note("written to readable", _read_at_last(reader, written[-1]))
            some = rng.sample(written, min(LOOKED_AT, len(written)))
            afar = [each for each in some if reader.store.record(each) is None]
            if afar:
                await note("read from afar", load(reader, "read", hash=afar[0]))
            await note("whole chain", load(reader, "activity", agent=home.agent))
            await note("remote call", load(home, "echo_at", agent=reader.agent, value=1))
            with suppress(IoeError):
                payment = {"payee": payee, "amount_micro": 1}
                await note("payment", home.call("currency", "pay", payment))

    async with trio.open_nursery() as nursery:
        for home in homes:
            nursery.start_soon(one, home, run.rng(f"load of {home.number}"))
    return took

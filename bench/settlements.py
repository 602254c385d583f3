"""Settlements between real node processes on loopback: how fast, how soon final, and with kills.

    python -m bench.settlements --settlements 400 --pairs 2
    python -m bench.settlements --settlements 1000 --pairs 3 --kills 30

Each pair's payer pays again and again, as fast as it is answered.  A settlement is signed by both
when the payer's call returns; it is final for the payee when the payee's own node says so, which is
asked every `LOOK_EVERY_S`.  With `--kills`, nodes are killed with SIGKILL at random moments and
started again; at the end no chain may be in doubt, every pair must settle once more, and once all
is delivered the balances must sum to zero at every node.
"""

import signal
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import perf_counter

import click
import trio

from bench.accounting import at_least, at_most, count, times
from bench.cluster import Cluster, Member, open_cluster
from bench.report import Line, show
from ioe_node.errors import IoeError

LOOK_EVERY_S = 0.05
LOOKED_BACK = 256
AGAIN_S = 0.02
FINAL_PATIENCE_S = 30.0
CALM_S = 120.0
DELIVERED_S_MAX = 900.0
"""What was signed while nodes were down has to reach everybody before all books are even."""
DOWN_S_MAX = 1.0
BETWEEN_S_MAX = 1.0
SIGNED_PER_S = 20.0
FINAL_P95_MS = 1_000.0
LOST = (IoeError, trio.BrokenResourceError, trio.ClosedResourceError, OSError)
"""What a call meets while its node is killed."""


@dataclass
class Pair:
    """Who pays whom; when each payment was begun and signed by both, in the order of the chain."""

    payer: Member
    payee: Member
    begun_s: list[float] = field(default_factory=list)
    signed_ms: list[float] = field(default_factory=list)
    final_ms: list[float] = field(default_factory=list)
    tries: int = 0
    seconds: float = 0.0

    async def pay(self) -> bool:
        """Pay once; False where it has to be tried again."""
        self.tries += 1
        began = perf_counter()
        try:
            terms = {"payee": self.payee.agent, "amount_micro": 1, "memo": str(len(self.begun_s))}
            await self.payer.zome("currency", "pay", **terms)
        except LOST:
            return False
        self.begun_s.append(began)
        self.signed_ms.append(1_000 * (perf_counter() - began))
        return True

    async def settle(self) -> None:
        """Pay, again until it is done."""
        while True:
            if await self.pay():
                return
            await trio.sleep(AGAIN_S)

    async def look(self) -> None:
        """Note what has become final for the payee since; everything before it is final too."""
        try:
            listed = await self.payee.zome("currency", "history", limit=LOOKED_BACK)
        except LOST:
            return
        seen = perf_counter()
        final = next((int(each["memo"]) + 1 for each in listed if each["final"]), 0)
        for at in range(len(self.final_ms), min(final, len(self.begun_s))):
            self.final_ms.append(1_000 * (seen - self.begun_s[at]))


async def measure(cluster: Cluster, pairs: list[Pair], settlements: int, pause_s: float) -> None:
    """So many settlements a pair, all pairs at once, until all are final."""

    async def pay(pair: Pair) -> None:
        began = perf_counter()
        for _ in range(settlements):
            await pair.settle()
            await trio.sleep(pause_s)
        pair.seconds = perf_counter() - began

    async def look(pair: Pair) -> None:
        watcher = await watching(pair.payee)
        seen = Pair(pair.payer, watcher, pair.begun_s, pair.signed_ms, pair.final_ms)
        while len(pair.final_ms) < settlements:
            await trio.sleep(LOOK_EVERY_S)
            await seen.look()

    async with trio.open_nursery() as nursery:
        for pair in pairs:
            nursery.start_soon(pay, pair)
            nursery.start_soon(look, pair)


async def watching(member: Member) -> Member:
    """The same node, over a connection of its own: a call does not wait for another."""
    control = type(member.control)
    return Member(member.node, await control.open(member.node.home), member.agent)


async def strike(cluster: Cluster, rng: Random, kills: int) -> None:
    """Kill a node at a random moment and start it again, so many times."""
    for struck in range(kills):
        await trio.sleep(rng.random() * BETWEEN_S_MAX)
        member = rng.choice(cluster.members)
        member.node.signal(signal.SIGKILL)
        assert member.node.process is not None
        await trio.to_thread.run_sync(member.node.process.wait)
        await trio.sleep(rng.random() * DOWN_S_MAX)
        await cluster.restart(member)
        click.echo(f"killed and started again: {struck + 1} of {kills}", err=True)


async def with_kills(
    cluster: Cluster, pairs: list[Pair], settlements: int, rng: Random, kills: int
) -> None:
    """So many settlements together, back and forth in each pair, while nodes are killed."""
    struck = False

    async def pay(pair: Pair) -> None:
        while not struck or sum(len(each.signed_ms) for each in pairs) < settlements:
            await pair.settle()
            pair.payer, pair.payee = pair.payee, pair.payer

    async with trio.open_nursery() as nursery:
        for pair in pairs:
            nursery.start_soon(pay, pair)
        await strike(cluster, rng, kills)
        struck = True


async def stuck(cluster: Cluster, pairs: list[Pair]) -> tuple[int, int, int, float]:
    """(chains in doubt, directions that settle no more, nodes that find no sum of zero), and how
    many seconds it took to find out."""
    began = perf_counter()
    doubtful = len(cluster.members)
    with trio.move_on_after(CALM_S):
        while doubtful:
            statuses = [await each.control.ask("status") for each in cluster.members]
            doubtful = sum(each["communities"][0]["in_doubt"] for each in statuses)
            await trio.sleep(AGAIN_S)
    unable = 0
    for pair in pairs:
        for _ in range(2):
            with trio.move_on_after(FINAL_PATIENCE_S) as waiting:
                await pair.settle()
            unable += waiting.cancelled_caught
            pair.payer, pair.payee = pair.payee, pair.payer
    uneven = len(cluster.members)
    with trio.move_on_after(DELIVERED_S_MAX):
        while uneven:
            audits = [await each.zome("currency", "audit") for each in cluster.members]
            uneven = sum(each["sum_micro"] != 0 for each in audits)
            await trio.sleep(AGAIN_S)
    return doubtful, unable, uneven, perf_counter() - began


async def play(
    directory: Path, settlements: int, pairs_wanted: int, kills: int, pause_s: float, seed: int
) -> list[Line]:
    """The figures of one cluster."""
    async with open_cluster(directory) as cluster:
        await cluster.grow(2 * pairs_wanted)
        members = cluster.members
        pairs = [Pair(members[at], members[at + 1]) for at in range(0, 2 * pairs_wanted, 2)]
        name = f"settlements, {pairs_wanted} pairs"
        with cluster.meter() as meter:
            if kills:
                await with_kills(cluster, pairs, settlements, Random(seed), kills)
            else:
                await measure(cluster, pairs, settlements // pairs_wanted, pause_s)
        signed = [each for pair in pairs for each in pair.signed_ms]
        lines = [
            count(f"{name}, settled", len(signed), "settlements"),
            count(f"{name}, tries", sum(pair.tries for pair in pairs), "tries"),
            *times(f"{name}, to both signed", signed),
        ]
        if kills:
            doubtful, unable, uneven, calm_s = await stuck(cluster, pairs)
            return [
                *lines,
                count(f"{name}, kills", kills, "kills"),
                at_most(f"{name}, chains in doubt", doubtful, "chains", len(members), 0.0),
                at_most(f"{name}, directions that settle no more", unable, "", 2 * len(pairs), 0.0),
                at_most(f"{name}, books that sum to anything", uneven, "nodes", len(members), 0.0),
                count(f"{name}, until all is even after the last kill", calm_s, "s"),
            ]
        rate = sum(len(pair.signed_ms) / pair.seconds for pair in pairs) / len(pairs)
        final = [each for pair in pairs for each in pair.final_ms]
        cpu_ms = 1_000 * meter.cpu_s / max(1, len(signed))
        return [
            *lines,
            at_least(f"{name}, rate of a pair", rate, "/s", len(signed), SIGNED_PER_S),
            *times(f"{name}, to final at the payee", final, p95=FINAL_P95_MS),
            count(f"{name}, CPU per settlement", cpu_ms, "ms"),
        ]


@click.command()
@click.option("--settlements", type=click.IntRange(1), default=200, show_default=True)
@click.option("--pairs", type=click.IntRange(1, 50), default=2, show_default=True)
@click.option("--kills", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--pause", type=click.FloatRange(0), default=0.0, help="Seconds between a pair's payments."
)
@click.option("--seed", default=1, show_default=True, help="Of whom is killed when.")
@click.option("--json", "in_json", is_flag=True, help="One JSON object a line.")
def main(settlements: int, pairs: int, kills: int, pause: float, seed: int, in_json: bool) -> None:
    """Settlements between real node processes; the exit code is 1 if an aim is missed."""
    with tempfile.TemporaryDirectory(prefix="ioe-bench-") as directory:
        lines = trio.run(play, Path(directory), settlements, pairs, kills, pause, seed)
    sys.exit(0 if show("settlements", lines, in_json) else 1)


if __name__ == "__main__":
    main()

"""Attacks on the currency, each with real chains in a simulated network, among honest traffic.

    python -m sim.attacks --trials 10000 --seed 1

Every attack is made by agents of its own (`sim.paper`) that keep to no rule; nothing but the rules
stands in their way, as honest homes charge nobody for what it sends.  An attack is refused where
no honest home holds what it forbids, or every one of them has shut out who signed it.  Honest
homes pay each other meanwhile; none of them may be shut out, and their balances must be what they
paid each other.
"""

import logging
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from random import Random

import click
import trio

from currency.ledger import sold
from currency.limit import Proven
from currency.value import g_co2_of
from dna.neighbourhood import DNA
from ioe_node.errors import IoeError
from ioe_node.hdi import ActionHash, AgentPubKey, Timestamp
from ioe_node.model.action import Create, Update
from ioe_node.model.codec import encode
from ioe_node.model.hashes import entry_hash
from ioe_node.model.record import Record
from ioe_node.net.messages import Sign
from sim.home import Home
from sim.paper import (
    SETTLEMENT,
    Paper,
    claiming,
    commit,
    invited,
    reading,
    running,
    settlement,
    signed,
    tell,
    until_judged,
)
from sim.swarm import Swarm, open_swarm
from sim.virtual_clock import run_virtual
from zomes.identity.integrity import Acknowledgement
from zomes.invoice.integrity import Invoice, Promise
from zomes.origin.holdings import Holdings, gained
from zomes.origin.integrity import Give, Issue, Plant
from zomes.origin.integrity import Side as Kept

HOMES = 6
"""The first is the steward, the last hands out what is signed on paper."""
ATTACKS_PER_NETWORK = 150
AT_ONCE = 50
SPREAD_S = 60.0
PAUSE_S = 8.0
PATIENCE_TRIES = 60
KWH = 1_000_000
DAY_US = 24 * 3_600 * KWH
LIMIT_MICRO = DNA.properties.credit_limit_micro


@dataclass
class Try:
    """An attack that was made: what nobody honest may hold of whose, and what refused it.

    `right` is what was rightly made for it and has to be held, or the attack shows nothing.  `won`
    says that it had what it wanted, where a home's own chain shows it.
    """

    name: str
    right: list[Record] = field(default_factory=list)
    forbidden: list[tuple[AgentPubKey, ActionHash]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    won: bool = False

    def forbid(self, *records: Record) -> None:
        """Nobody honest may hold these, unless it has shut out their author."""
        self.forbidden += [(each.action.author, each.hash) for each in records]


@dataclass
class Field:
    """Where attacks are made: the honest homes, and the accomplice that runs a node."""

    swarm: Swarm
    rng: Random

    @property
    def honest(self) -> list[Home]:
        """The homes that keep to the rules."""
        return self.swarm.homes[:-1]

    @property
    def courier(self) -> Home:
        """The home that hands out whatever it is given."""
        return self.swarm.homes[-1]

    async def agents(self, count: int) -> list[Paper]:
        """New agents, known to all."""
        made = [await invited(self.swarm, self.rng) for _ in range(count)]
        for each in made:
            await self.tell(each.chain)
        return made

    async def tell(self, chain: list[Record]) -> list[str]:
        """Hand a part of a chain to every honest home."""
        return await tell(self.courier, self.honest, chain)

    async def prepare(self, made: Try, *records: Record) -> None:
        """Hand out what is right, and has to be there for the attack."""
        made.right += records
        for each in records:
            await self.tell([each])


Attack = Callable[[Field, Try], Awaitable[None]]
ATTACKS: dict[str, Attack] = {}


def attack(function: Attack) -> Attack:
    """Have it tried as often as the others, under its own name."""
    ATTACKS[function.__name__.replace("_", " ")] = function
    return function


@attack
async def double_spend(on: Field, made: Try) -> None:
    """Two settlements at one place, each shown to half of the homes."""
    payer, first, second = await on.agents(3)
    sides = on.rng.sample(on.honest, len(on.honest))
    for payee, homes in ((first, sides[::2]), (second, sides[1::2])):
        halves = signed(on.swarm, settlement(payer, payee, LIMIT_MICRO), payer, payee)
        made.errors += await tell(on.courier, homes, halves[1:])
        made.errors += await tell(on.courier, homes, halves[:1])
        made.forbid(halves[0])


@attack
async def replay(on: Field, made: Try) -> None:
    """A settlement that was made, once more: at the payee's next place, or by the same message."""
    if on.rng.random() < 0.5:
        await _replay_to_home(on, made)
        return
    payer, payee = await on.agents(2)
    halves = commit(on.swarm, settlement(payer, payee, 1_000), payer, payee)
    await on.prepare(made, *halves)
    data = halves[1].entry
    assert data is not None
    sealed = payee.create(SETTLEMENT, data)
    made.forbid(sealed)
    made.errors += await on.tell([sealed])


async def _replay_to_home(on: Field, made: Try) -> None:
    payee = on.rng.choice(on.honest[1:])
    payment = {"payee": payee.agent, "amount_micro": 1}
    half: Record | None = None
    for _ in range(PATIENCE_TRIES):
        with suppress(IoeError):
            half = on.courier.store.record(await on.courier.call("currency", "pay", payment))
            break
        await trio.sleep(1)
    assert half is not None, "an accomplice pays as others do"
    assert half.entry is not None
    try:
        await on.courier.cell.space.ask(payee.agent, Sign(half.entry, half.proof.signature))
    except IoeError as error:
        made.errors.append(f"{type(error).__name__}: {error}")
    committed = payee.store.by_entry(entry_hash(half.entry))
    made.won = sum(each.action.author == payee.agent for each in committed) != 1


@attack
async def back_dated_reading(on: Field, made: Try) -> None:
    """A reading of an interval that is over, after a later one; or before its chain's last."""
    (meter,) = await on.agents(1)
    start, length = running(on.swarm)
    first = reading(start, length, 0, 5 * KWH, 5 * KWH)
    await on.prepare(made, meter.create("metering.IntervalReading", first))
    if on.rng.random() < 0.5:
        late = reading(start - length, length, 0, 5 * KWH, 10 * KWH)
        sealed = meter.create("metering.IntervalReading", late)
    else:
        next_ = reading(start + length, length, 0, 5 * KWH, 10 * KWH)
        sealed = meter.create("metering.IntervalReading", next_, timestamp_us=start - length)
    made.forbid(sealed)
    made.errors += await on.tell([sealed])


@attack
async def altered_invoice(on: Field, made: Try) -> None:
    """An invoice that is dearer once it was promised: changed, or settled so by accomplices."""
    payee, accomplice = await on.agents(2)
    honest = on.rng.choice(on.honest[1:])
    alter = on.rng.random() < 0.5
    payer = honest.agent if alter else accomplice.agent
    until = Timestamp(on.swarm.clock.now_us() + DAY_US)
    asked = payee.create("invoice.Invoice", Invoice(payer, 1_000, until, "eggs"))
    await on.prepare(made, asked)
    dear = Invoice(payer, 90_000, until, "eggs")
    if alter:
        await _promised(honest, asked)
        data = encode(dear)
        assert isinstance(asked.action, Create)
        altered = {
            "entry_type": "invoice.Invoice",
            "entry_hash": entry_hash(data),
            "original_action": asked.hash,
            "original_entry": asked.action.entry_hash,
        }
        sealed = [payee.write(Update, data, **altered)]
    else:
        await on.prepare(made, accomplice.create("invoice.Promise", Promise(asked.hash, until)))
        entry = settlement(accomplice, payee, 90_000, invoice=asked.hash, memo="eggs")
        sealed = commit(on.swarm, entry, accomplice, payee)
    made.forbid(*sealed)
    for each in sealed:
        made.errors += await on.tell([each])


async def _promised(payer: Home, asked: Record) -> None:
    why = ""
    for _ in range(PATIENCE_TRIES):
        try:
            await payer.call("invoice", "promise", {"invoice": asked.hash})
        except IoeError as error:
            why = str(error)
            await trio.sleep(1)
        else:
            return
    raise AssertionError(f"an honest home promises to pay what it is asked for: {why}")


@attack
async def revoked_key(on: Field, made: Try) -> None:
    """A device that its owner has revoked pays an accomplice, who passes it on."""
    device, accomplice, third = await on.agents(3)
    owner = on.rng.choice(on.honest[1:])
    named = {"device": device.agent, "kind": "storage", "name": "battery"}
    enrolled = await owner.call("identity", "enrol", named)
    word = Acknowledgement(owner.agent, enrolled)
    said = device.create("identity.Acknowledgement", word)
    await on.prepare(made, said)
    for home in on.honest:
        await until_judged(home, said)
    for _ in range(PATIENCE_TRIES):
        with suppress(IoeError):
            await owner.call("identity", "revoke", {"agent": device.agent, "reason": "stolen"})
            break
        await trio.sleep(1)
    await trio.sleep(SPREAD_S)
    loot = commit(on.swarm, settlement(device, accomplice, LIMIT_MICRO), device, accomplice)
    most = 2 * LIMIT_MICRO
    entry = settlement(accomplice, third, most)
    side = claiming(accomplice, loot[1], most)
    spent = commit(on.swarm, replace(entry, sides=(side, entry.sides[1])), accomplice, third)
    made.forbid(loot[0], spent[0])
    for each in (*loot, *spent):
        made.errors += await on.tell([each])


@attack
async def fake_export(on: Field, made: Try) -> None:
    """A limit raised by export: not sold, said to be sold, or sold and not finally paid for."""
    seller, buyer, payee = await on.agents(3)
    start, length = running(on.swarm)
    fed = 20 * KWH
    metered = seller.create("metering.IntervalReading", reading(start, length, 0, fed, fed))
    await on.prepare(made, metered)
    most = LIMIT_MICRO + 5 * KWH
    half = 2 * on.swarm.clock.now_us() // on.swarm.definition.properties.limit_window_us
    how = on.rng.randrange(3)
    if how == 2:
        entry = settlement(buyer, seller, fed, energy_milli_wh=fed, reading=metered.hash)
        account = sold(entry.sides[1].account, metered.action.action_seq, fed)
        assert account is not None, "its first sale"
        earned = replace(entry.sides[1], account=account)
        sale = commit(on.swarm, replace(entry, sides=(entry.sides[0], earned)), buyer, seller)
        await on.prepare(made, *sale)
        side = claiming(seller, sale[1], most + fed)
    else:
        side = settlement(seller, payee, most).sides[0]
    if how:
        account = replace(side.account, proven=Proven(half, fed, 0))
        side = replace(side, account=account)
    entry = settlement(seller, payee, most + fed if how == 2 else most)
    halves = commit(on.swarm, replace(entry, sides=(side, entry.sides[1])), seller, payee)
    made.forbid(halves[0])
    for each in halves:
        made.errors += await on.tell([each])


@attack
async def split_certificate(on: Field, made: Try) -> None:
    """A certificate that becomes more than itself: issued twice, or given and yet kept."""
    maker, accomplice = await on.agents(2)
    start, length = running(on.swarm)
    metered = maker.create("metering.IntervalReading", reading(start, length, 0, KWH, KWH))
    plant = maker.create("origin.Plant", Plant("pv_roof", "", 5_000_000))
    counted = Holdings(issued_seq=metered.action.action_seq, issued_milli_wh=KWH)
    weight, end = g_co2_of("pv_roof", DNA.properties.values), Timestamp(start + length)
    of_it = (metered.hash, Timestamp(start), end, KWH)
    whole = Issue(None, gained(counted, KWH), *of_it, "pv_roof", weight, "", "device")
    certificate = maker.create("origin.Issue", whole)
    await on.prepare(made, metered, plant, certificate)
    if on.rng.random() < 0.5:
        again = replace(whole, previous=certificate.hash, after=gained(whole.after, KWH))
        halves = [maker.create("origin.Issue", again)]
    else:
        sides = (Kept(certificate.hash, whole.after), Kept(None, gained(Holdings(), KWH)))
        parties, named = (maker.party(), accomplice.party()), certificate.hash
        gift = Give(parties, sides, named, named, KWH, None)
        halves = signed(on.swarm, gift, maker, accomplice, "origin.Give")
    made.forbid(*halves)
    made.errors += [error for each in halves for error in await on.tell([each])]


# -- the network ----------------------------------------------------------------------------------


@dataclass
class Report:
    """What came of one network: attacks by name and how they ended, and the honest homes."""

    seed: int
    tried: Counter[str]
    warranted: Counter[str]
    refused: Counter[str]
    won: list[str]
    blocked: int
    payments: int
    wrong_balances: int
    unprepared: int

    @property
    def faults(self) -> list[str]:
        """What must not be."""
        found = [f"succeeded: {each}" for each in self.won]
        found += [f"{self.blocked} honest homes shut out"] if self.blocked else []
        wrong, lacking = self.wrong_balances, self.unprepared
        found += [f"{wrong} honest homes with a wrong balance"] if wrong else []
        return found + ([f"{lacking} attacks were refused before they began"] if lacking else [])


async def fight(directory: Path, seed: int, attacks: int) -> Report:
    """One network, so many attacks, and what came of them."""
    properties = replace(DNA.properties, limit_share_bp=5_000)
    definition = replace(DNA, properties=properties)
    async with open_swarm(directory, seed, HOMES, definition) as swarm:
        assert await swarm.settle()
        swarm.offenders.append(swarm.homes[-1])
        on = Field(swarm, swarm.rng("attacks"))
        for home in on.honest:
            home.cell.space.quota.charge = lambda *_: None  # type: ignore[method-assign]
        names = list(ATTACKS)
        tries = [Try(names[(seed + number) % len(names)]) for number in range(attacks)]
        owed: Counter[AgentPubKey] = Counter()
        paid_times: list[int] = []
        async with trio.open_nursery() as nursery:
            for home in on.honest[1:]:
                nursery.start_soon(_trade, on, home, owed, paid_times)
            await _make(on, tries)
            await trio.sleep(SPREAD_S)
            nursery.cancel_scope.cancel()
        await trio.sleep(SPREAD_S)
        return await _report(on, seed, tries, owed, len(paid_times))


async def _make(on: Field, tries: list[Try]) -> None:
    """All attacks, so many at once."""
    room = trio.CapacityLimiter(AT_ONCE)

    async def one(each: Try) -> None:
        async with room:
            await ATTACKS[each.name](on, each)

    async with trio.open_nursery() as nursery:
        for each in tries:
            nursery.start_soon(one, each)


async def _trade(on: Field, home: Home, owed: Counter[AgentPubKey], times: list[int]) -> None:
    """Pay some other honest home, again and again."""
    while True:
        await trio.sleep(PAUSE_S * on.rng.random())
        payee = on.rng.choice([each for each in on.honest[1:] if each is not home])
        amount = on.rng.randrange(1, 1_000)
        with trio.CancelScope(shield=True), suppress(IoeError):
            payment = {"payee": payee.agent, "amount_micro": amount}
            await home.call("currency", "pay", payment)
            owed[home.agent] -= amount
            owed[payee.agent] += amount
            times.append(amount)


async def _report(
    on: Field, seed: int, tries: list[Try], owed: Counter[AgentPubKey], payments: int
) -> Report:
    report = Report(seed, Counter(), Counter(), Counter(), [], 0, payments, 0, 0)
    for each in tries:
        report.tried[each.name] += 1
        shut_out = bool(each.forbidden) and all(
            author in home.cell.space.blocked for author, _ in each.forbidden for home in on.honest
        )
        held = any(
            home.store.has(action) and author not in home.cell.space.blocked
            for author, action in each.forbidden
            for home in on.honest
        )
        report.unprepared += not all(
            any(home.store.has(record.hash) for home in on.honest) for record in each.right
        )
        if each.won or held:
            report.won.append(f"{each.name} (network {seed}): {each.errors[:3]}")
        elif shut_out:
            report.warranted[each.name] += 1
        else:
            report.refused[each.name] += 1
    agents = {home.agent for home in on.honest}
    report.blocked = sum(len(agents & set(home.cell.space.blocked)) for home in on.honest)
    given = await _given(on)
    for home in on.honest[1:]:
        found = await home.call("currency", "balance", {})
        right = owed[home.agent] + given[home.agent]
        report.wrong_balances += found["balance_micro"] != right
    return report


async def _given(on: Field) -> Counter[AgentPubKey]:
    """What the accomplice paid, by its own chain."""
    given: Counter[AgentPubKey] = Counter()
    for each in await on.courier.call("currency", "history", {"limit": 10_000}):
        given[each["with"]] -= each["amount_micro"]
    return given


def run_network(work: tuple[int, int], directory: Path) -> Report:
    """One network on files of its own: (seed, attacks)."""
    logging.getLogger("ioe").setLevel(logging.CRITICAL)
    seed, attacks = work
    with tempfile.TemporaryDirectory(dir=directory) as own:
        return run_virtual(partial(fight, Path(own), seed, attacks), seed=seed)


def run_attacks(trials: int, seed: int, processes: int = 1) -> list[Report]:
    """So many attacks, over as many networks as they need."""
    sizes = [
        min(ATTACKS_PER_NETWORK, trials - done) for done in range(0, trials, ATTACKS_PER_NETWORK)
    ]
    work = [(seed + number, size) for number, size in enumerate(sizes)]
    with tempfile.TemporaryDirectory() as directory:
        one = partial(run_network, directory=Path(directory))
        if processes == 1:
            return [one(each) for each in work]
        with ProcessPoolExecutor(processes) as pool:
            return list(pool.map(one, work))


@click.command()
@click.option("--trials", type=click.IntRange(1), default=600, show_default=True)
@click.option("--seed", default=1, show_default=True, help="Of the first network.")
@click.option("--processes", type=click.IntRange(1), default=os.cpu_count() or 1)
def main(trials: int, seed: int, processes: int) -> None:
    """Print what was tried and how it ended; the exit code is 1 if any attack had success."""
    begun_s = time.perf_counter()
    reports = run_attacks(trials, seed, processes)
    wall_s = time.perf_counter() - begun_s
    for name in ATTACKS:
        print(
            f"{name:20} {sum(each.tried[name] for each in reports):6} tried "
            f"{sum(each.warranted[name] for each in reports):6} shut out for it "
            f"{sum(each.refused[name] for each in reports):6} refused"
        )
    faults = [fault for each in reports for fault in each.faults]
    print(
        f"{sum(each.tried.total() for each in reports)} attacks in {len(reports)} networks, "
        f"{sum(len(each.won) for each in reports)} successes, "
        f"{sum(each.blocked for each in reports)} honest homes shut out, "
        f"{sum(each.payments for each in reports)} honest payments, "
        f"{sum(each.wrong_balances for each in reports)} wrong balances, {wall_s:.1f} s"
    )
    for fault in faults[:20]:
        print(f"  {fault}")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()

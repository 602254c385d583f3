"""What gates have matched is settled between real chains, by what both meters counted."""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from currency import ledger
from currency.coordinator import zome as currency_zome
from currency.delivery import SILENT_INTERVALS_MAX
from currency.fees import Fee
from currency.integrity import Settlement
from currency.market.match import Match
from currency.matches import PATIENCE_INTERVALS
from ioe_node.errors import Busy, IoeError
from ioe_node.hdi import ActionHash, AgentPubKey, Valid
from ioe_node.model.hashes import action_hash
from ioe_node.model.signing import SEED_BYTES, Signer
from sim.checkers import balance_of, faults
from sim.swarm import Home, Swarm, open_swarm
from sim.trace import Trace
from sim.virtual_clock import EPOCH_US, run_virtual
from tests.sim.announced import ANNOUNCED, INTERVAL_US, Gate
from zomes.metering import coordinator as metering

INTERVAL_S = INTERVAL_US // 1_000_000
KWH = 1_000_000
PRICE = 900_000
"""Between the grid's 0.5 and 1.5, below the community's 1.0."""

Story = Callable[[Swarm], Awaitable[Any]]
Play = Callable[..., Any]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """`play(story, homes=n)` runs `await story(swarm)` where the steward announces gates."""

    def run(story: Story, homes: int = 5, **properties: Any) -> Any:
        definition = replace(ANNOUNCED, properties=replace(ANNOUNCED.properties, **properties))

        async def main() -> Any:
            async with open_swarm(tmp_path, 1, homes, definition, trace=Trace()) as swarm:
                await swarm.settle()
                return await story(swarm)

        return run_virtual(main, seed=1)

    return run


async def meter(home: Home, imported: int, exported: int) -> ActionHash:
    """The next reading of a home."""
    before = await home.call("metering", "history", {"limit": 1})
    start = before[0]["end"] if before else EPOCH_US
    counted = [before[0][f"{way}_register_milli_wh"] if before else 0 for way in WAYS]
    reading = {
        "start": start,
        "end": start + INTERVAL_US,
        "import_milli_wh": imported,
        "export_milli_wh": exported,
        "import_register_milli_wh": counted[0] + imported,
        "export_register_milli_wh": counted[1] + exported,
        "quality": "measured",
        "method": "device",
    }
    (written,) = await home.call("metering", "record", {"readings": [reading]})
    return ActionHash(written)


WAYS = ("import", "export")


def matched(seller: Home, buyer: Home, energy: int = KWH, price: int = PRICE) -> Match:
    bid, ask = (action_hash(b"an order", home.agent) for home in (buyer, seller))
    return Match(bid, ask, buyer.agent, seller.agent, energy, price)


async def announce(by: Home, *matches: Match, interval: int = 0) -> ActionHash:
    gate = Gate(EPOCH_US + interval * INTERVAL_US, matches)
    return ActionHash(await by.call("market", "announce", {"gate": gate}))


async def passed(intervals: int) -> None:
    """Until so many intervals are over, and the readings of the last have rested."""
    await trio.sleep_until(intervals * INTERVAL_S + 5)


async def sell(home: Home) -> dict[str, int]:
    """As a schedule does: again, for whoever was busy."""
    total: Counter[str] = Counter()
    for _ in range(4):
        total.update(await home.call("currency", "sell", {}))
        await trio.sleep(3)
    return dict(total)


def test_what_was_matched_and_kept_is_paid_and_the_rest_is_shared_out(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        steward, seller, buyer, other = swarm.homes[:4]
        await announce(steward, matched(seller, buyer, KWH // 2))
        await meter(seller, 0, 700_000)
        await meter(buyer, 600_000, 0)
        await meter(other, 50_000, 0)
        assert (await sell(seller))["sold"] == 0, "the interval is not over"
        await passed(1)
        done = await sell(seller)
        assert done == {"sold": 3, "declined": 0, "energy_milli_wh": 650_000}
        assert balance_of(buyer) == -450_000 - 100_000
        assert balance_of(other) == -50_000
        assert (await sell(seller))["sold"] == (await sell(buyer))["sold"] == 0
        (first, second, third) = await seller.call("currency", "history", {})
        assert [each["matched"] for each in (first, second, third)] == [False, False, True]
        assert {each["seller"] for each in (first, second, third)} == {seller.agent}
        assert await swarm.settle()
        assert faults(swarm) == []

    play(story)


@pytest.mark.parametrize(
    ("exported", "imported", "owed"),
    [
        (KWH, KWH, 900_000),
        (KWH // 2, KWH, 450_000 - 300_000),
        (KWH, KWH // 4, 225_000 + 300_000),
        (KWH // 2, KWH // 4, 225_000 + 100_000),
        (KWH // 4, KWH // 2, 225_000 - 150_000),
        (KWH // 10, KWH, 90_000 - 540_000),
        (0, KWH, -600_000),
        (KWH, 0, 400_000),
        (0, 0, 0),
    ],
)
def test_what_was_not_kept_is_settled_against_the_grids_prices(
    play: Play, exported: int, imported: int, owed: int
) -> None:
    async def story(swarm: Swarm) -> None:
        steward, seller, buyer = swarm.homes[:3]
        await announce(steward, matched(seller, buyer))
        await meter(seller, 0, exported)
        await meter(buyer, imported, 0)
        await passed(1)
        done = await sell(seller)
        assert done["sold"] == bool(owed)
        assert done["energy_milli_wh"] == min(exported, imported)
        assert [balance_of(seller), balance_of(buyer)] == [owed, -owed]
        assert await swarm.settle()
        assert faults(swarm) == []

    play(story, homes=3)


def test_energy_that_was_sold_for_nothing_is_sold_all_the_same(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        steward, seller, buyer, other = swarm.homes[:4]
        await announce(steward, matched(seller, buyer, price=0))
        await meter(seller, 0, KWH)
        await meter(buyer, KWH, 0)
        await meter(other, KWH, 0)
        await passed(1)
        assert await sell(seller) == {"sold": 1, "declined": 0, "energy_milli_wh": KWH}
        assert (await sell(seller))["sold"] == 0
        assert [balance_of(home) for home in swarm.homes] == [0] * 5
        await buyer.call("currency", "pay", {"payee": seller.agent, "amount_micro": 7})
        await trio.sleep(60)
        await seller.call("currency", "pay", {"payee": buyer.agent, "amount_micro": 7})
        assert await swarm.settle()
        assert faults(swarm) == []

    play(story)


def test_a_buyer_claims_what_a_seller_does_not_come_to_pay(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        steward, seller, buyer, other = swarm.homes[:4]
        await announce(steward, matched(seller, other), matched(seller, buyer))
        for home, imported in ((seller, 0), (buyer, KWH), (other, KWH)):
            await meter(home, imported, 0)
        await passed(1)
        assert (await sell(buyer))["sold"] == 0, "the seller has its time"
        await passed(2)
        assert (await sell(buyer))["sold"] == 0, "another's match comes first"
        assert (await sell(other))["sold"] == (await sell(buyer))["sold"] == 1
        assert [balance_of(home) for home in (seller, buyer, other)] == [
            -1_200_000,
            600_000,
            600_000,
        ]
        assert (await sell(seller))["sold"] == 0
        assert await swarm.settle()
        assert faults(swarm) == []

    play(story)


@pytest.mark.parametrize(("missing", "owed"), [("seller", -600_000), ("buyer", 900_000)])
def test_a_meter_that_stays_silent_counts_as_what_is_worst_for_it(
    play: Play, missing: str, owed: int
) -> None:
    async def story(swarm: Swarm) -> None:
        steward, seller, buyer = swarm.homes[:3]
        gate = await announce(steward, matched(seller, buyer))
        silent, heard = (seller, buyer) if missing == "seller" else (buyer, seller)
        await (meter(buyer, KWH, 0) if missing == "seller" else meter(seller, 0, KWH))
        await passed(SILENT_INTERVALS_MAX)
        assert (await sell(seller))["sold"] == 0
        with pytest.raises(Busy, match="not every reading"):
            await _propose(seller, buyer, gate)
        await passed(SILENT_INTERVALS_MAX + 1)
        assert (await sell(seller))["sold"] == 1
        assert [balance_of(seller), balance_of(buyer)] == [owed, -owed]
        await (meter(seller, 0, KWH) if missing == "seller" else meter(buyer, KWH, 0))
        await trio.sleep(30)
        for home in (silent, heard):
            assert (await sell(home))["sold"] == 0, "what it says afterwards changes nothing"
        with pytest.raises(IoeError, match="settled already"):
            await _propose(seller, buyer, gate)
        assert await swarm.settle()
        assert faults(swarm) == []

    play(story, homes=3)


def test_a_meter_that_comes_back_in_time_is_heard(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        steward, seller, buyer = swarm.homes[:3]
        await announce(steward, matched(seller, buyer))
        await meter(buyer, KWH, 0)
        await passed(SILENT_INTERVALS_MAX - 1)
        assert (await sell(seller))["sold"] == 0
        await meter(seller, 0, KWH)
        await trio.sleep(5)
        assert (await sell(seller))["sold"] == 1
        assert balance_of(seller) == 900_000
        assert await swarm.settle()
        assert faults(swarm) == []

    play(story, homes=3)


def test_a_partner_that_is_away_is_waited_for_and_in_the_end_passed_over(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        steward, seller, away, there = swarm.homes[:4]
        first = await announce(steward, matched(seller, away), matched(seller, there))
        await announce(steward, matched(seller, away), matched(seller, there), interval=1)
        for home in (seller, away, there):
            for _ in range(2):
                await meter(home, 0 if home is seller else KWH, 2 * KWH if home is seller else 0)
        await passed(2)
        assert await swarm.settle()
        swarm.network.cut(seller.agent, away.agent)
        assert (await sell(seller))["sold"] == 0
        swarm.network.heal()
        await trio.sleep(30)
        assert (await sell(seller))["sold"] == 4
        assert [balance_of(home) for home in (seller, away, there)] == [
            3_600_000,
            -1_800_000,
            -1_800_000,
        ]
        last = await announce(steward, matched(seller, away), matched(seller, there), interval=2)
        for home in (seller, away, there):
            await meter(home, 0 if home is seller else KWH, 2 * KWH if home is seller else 0)
        await passed(3)
        assert await swarm.settle()
        swarm.network.cut(seller.agent, away.agent)
        assert (await sell(seller))["sold"] == 0
        await passed(3 + PATIENCE_INTERVALS)
        assert (await sell(seller))["sold"] == 1
        swarm.network.heal()
        await trio.sleep(60)
        for gate in (first, last):
            with pytest.raises(IoeError, match="settled already, or was passed over"):
                await _propose(away, seller, gate)
        assert balance_of(there) == -2_700_000
        assert await swarm.settle()
        assert faults(swarm) == []

    play(story)


async def _propose(by: Home, to: Home, gate: ActionHash, place: int = 0) -> Any:
    terms = {"partner": to.agent, "gate": gate, "place": place}
    return await by.call("market", "propose", terms)


def test_a_match_is_settled_once_and_by_the_gate_that_counts(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        steward, seller, buyer, mallory = swarm.homes[:4]
        gate = await announce(steward, matched(seller, buyer), matched(seller, buyer, KWH // 2))
        same = await announce(mallory, matched(seller, buyer), matched(seller, buyer, KWH // 2))
        own = await announce(mallory, matched(mallory, buyer, price=9 * PRICE))
        read = await meter(seller, 0, 2 * KWH)
        for home in (buyer, mallory):
            await meter(home, KWH, 0)
        await passed(1)
        assert await swarm.settle()
        for wrong, place, why in (
            (own, 0, "another gate of that interval"),
            (gate, 2, "no match at this place"),
            (gate, -1, "no match at this place"),
            (read, 0, "by the gate that made it"),
            (gate, 0, "by its seller and its buyer"),
        ):
            with pytest.raises(IoeError, match=why):
                await _propose(mallory, buyer, wrong, place)
        with pytest.raises(Busy, match="to be settled first"):
            await _propose(buyer, seller, gate, 1)
        await _propose(buyer, seller, same, 0)
        for again in (gate, same):
            with pytest.raises(IoeError, match="settled already"):
                await _propose(seller, buyer, again, 0)
        await sell(seller)
        assert balance_of(buyer) == -900_000 - 200_000, "what it did not take is owed for"
        assert balance_of(mallory) == -1_000_000, "who had no match has what is left"
        assert await swarm.settle()
        assert faults(swarm) == []

    play(story)


def agent_of(number: int) -> AgentPubKey:
    """The home of that number in a swarm of the seed 1."""
    return Signer(blake2b(f"1 home {number}".encode(), digest_size=SEED_BYTES).digest()).agent


def test_fees_accrue_by_what_a_seller_earns_and_are_paid_once_a_day(play: Play) -> None:
    fees = (
        Fee("platform", agent_of(3), 100),
        Fee("wires of Vic", agent_of(4), 200, "vic"),
        Fee("wires of Carlton", agent_of(4), 300, "vic/carlton"),
        Fee("a seller's own", agent_of(1), 400),
    )

    async def story(swarm: Swarm) -> None:
        steward, seller, buyer, platform, wires = swarm.homes
        ask, bid = [
            ActionHash(await home.call("market", "order", {"zone": zone}))
            for home, zone in ((seller, "vic/carlton"), (buyer, "vic"))
        ]
        here = replace(matched(seller, buyer, KWH // 2), bid=bid, ask=ask)
        for interval in range(2):
            await announce(steward, here, interval=interval)
            await meter(seller, 0, KWH // 2 + 100_000)
            for home in (buyer, platform, wires):
                await meter(home, KWH // 2 if home is buyer else 50_000 * (home is wires), 0)
        await passed(1)
        assert (await sell(seller))["sold"] == 2, "and the fees, which are no sales"
        assert balance_of(seller) == 450_000 + 50_000 - 4_500 - 500 - 13_500
        assert [balance_of(home) for home in (platform, wires)] == [5_000, -50_000 + 13_500]
        await passed(2)
        assert (await sell(seller))["sold"] == 2
        assert [balance_of(home) for home in (platform, wires)] == [5_000, -100_000 + 13_500]
        seen = await seller.call("currency", "balance", {})
        owed = sum(account_of(seller).fees_micro)
        assert owed == 5_000 + 13_500
        limit = swarm.definition.properties.credit_limit_micro
        assert seen["spendable_micro"] <= balance_of(seller) - owed + limit
        await trio.sleep(24 * 3_600)
        assert (await sell(seller))["sold"] == 0
        assert [balance_of(home) for home in (platform, wires)] == [10_000, -100_000 + 27_000]
        assert account_of(seller).fees_micro == (0, 0, 0, 0)
        with pytest.raises(IoeError, match="nothing is owed"):
            await seller.call("market", "propose_fee", {"partner": platform.agent, "place": 0})
        assert await swarm.settle()
        assert faults(swarm) == []

    play(story, fees=fees)


def account_of(home: Home) -> ledger.Account:
    (newest, *_) = home.store.of_type(home.agent, "currency.Settlement")
    entry = home.cell.space.rules.found(newest).entry
    place = [party.agent for party in entry.parties].index(home.agent)
    return entry.sides[place].account  # type: ignore[no-any-return]


def _twice(account: ledger.Account, start: int, place: int) -> ledger.Account:
    return replace(account, gate_start=start, gate_place=place)


def _dearer(entry: Settlement, other: ActionHash) -> Settlement:
    payer, payee = entry.sides
    return replace(
        entry,
        amount_micro=entry.amount_micro + 1,
        sides=(
            replace(payer, account=ledger.paid(payer.account, 1)),
            replace(payee, account=replace(ledger.received(payee.account, 1), receipts=1)),
        ),
    )


def _by_another_reading(entry: Settlement, other: ActionHash) -> Settlement:
    return replace(entry, reading=other)


def _by_another_match(entry: Settlement, other: ActionHash) -> Settlement:
    assert entry.matched is not None
    payee = replace(entry.sides[1], account=replace(entry.sides[1].account, gate_place=1))
    return replace(entry, matched=replace(entry.matched, place=1), sides=(entry.sides[0], payee))


def _without_a_reading(entry: Settlement, other: ActionHash) -> Settlement:
    assert entry.matched is not None
    return replace(entry, matched=replace(entry.matched, taken=None))


@pytest.mark.parametrize(
    ("forge", "why"),
    [
        (None, "settled already"),
        (_dearer, "another amount"),
        (_by_another_reading, "own reading of it"),
        (_by_another_match, "another amount"),
        (_without_a_reading, "while it may still come"),
    ],
)
@pytest.mark.parametrize("alone", [True, False])
def test_what_a_match_does_not_come_to_is_refused_and_warranted(
    play: Play, monkeypatch: pytest.MonkeyPatch, forge: Any, why: str, alone: bool
) -> None:
    """One that tries is told so; two who agree on it are shut out by everybody else."""
    honest = currency_zome.drafts["match"]

    async def story(swarm: Swarm) -> None:
        steward, seller, buyer = swarm.homes[:3]
        gate = await announce(steward, matched(seller, buyer), matched(seller, buyer, KWH // 2))
        other = [await meter(seller, 0, 3 * KWH) for _ in range(2)][1]
        await meter(buyer, 3 * KWH, 0)
        await passed(1)
        assert await swarm.settle()
        if forge is None:
            assert (await sell(seller))["sold"] >= 2
            assert await swarm.settle()
            names = {**vars(ledger), "settled": _twice}
            monkeypatch.setattr("currency.coordinator.ledger", SimpleNamespace(**names))
        else:

            async def forged(host: Any, parties: Any, gate: ActionHash, place: int) -> Any:
                return forge(await honest(host, parties, gate, place), other)

            monkeypatch.setitem(currency_zome.drafts, "match", forged)
            monkeypatch.setattr("ioe_node.workflows.settle.arguments", lambda f, t, skip: dict(t))
        if alone:
            with pytest.raises(IoeError, match=why):
                await _propose(seller, buyer, gate)
            assert not any(home.cell.space.blocked for home in swarm.homes)
            return
        for guilty in (seller, buyer):
            guilty.cell.space.rules.validate = lambda *args, **named: Valid  # type: ignore[method-assign]
            swarm.offenders.append(guilty)
        await _propose(seller, buyer, gate)
        await trio.sleep(120)
        for home in swarm.honest():
            assert {seller.agent, buyer.agent} <= set(home.cell.space.blocked)

    play(story)


def test_silence_lasts_as_long_here_as_for_the_meters() -> None:
    assert SILENT_INTERVALS_MAX == metering.SILENT_INTERVALS_MAX

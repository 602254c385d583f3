"""Settlements: what both parties signed, at their places, with the accounts that follow."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from currency.integrity import Carried, Settlement, Side, receipt_of, source_of
from currency.ledger import RUN_MAX, Account, carried, claimed, paid, received
from ioe_node.hdi import Invalid, Missing, Timestamp, Valid
from ioe_node.model.action import CloseChain
from ioe_node.model.hashes import action_hash
from ioe_node.model.record import Record
from zomes.metering.integrity import IntervalReading

TYPE = "currency.Settlement"
LIMIT_MICRO = 1_000
PRICE_BP = 5_000
LENGTH_US = 15 * 60 * 1_000_000
BEGIN_US = 1_700_000_100_000_000 // LENGTH_US * LENGTH_US


class Market:
    """Two members of one neighbourhood, and what they settle."""

    def __init__(self, neighbourhood: Any, sign_together: Callable[..., list[Record]]) -> None:
        self.neighbourhood = neighbourhood
        self.world = neighbourhood.world
        self.buyer, self.seller = neighbourhood.member(2), neighbourhood.member(3)
        self._sign_together = sign_together
        self.last: dict[bytes, Any] = {}
        self.accounts: dict[bytes, Account] = {}

    def side(self, author: Any, amount_micro: int, **changed: Any) -> Side:
        """What `author` pays (less than nothing) or receives."""
        before = self.accounts.get(author.agent, Account())
        after = paid(before, -amount_micro) if amount_micro < 0 else received(before, amount_micro)
        return Side(self.last.get(author.agent), replace(after, **changed))

    def claiming(
        self, author: Any, amount_micro: int, run: Sequence[Record], *claims: Record
    ) -> Side:
        """The same, with `claims` out of `run`, which are halves of its own."""
        before = self.accounts.get(author.agent, Account())
        hashes = tuple(each.hash for each in claims)
        found = [self.neighbourhood.rules.found(each) for each in run]
        receipts = [receipt for each in found if (receipt := receipt_of(each)) is not None]
        through = run[-1].hash if run else before.through
        account = claimed(before, receipts, hashes, through)
        assert account is not None
        after = (
            paid(account, -amount_micro) if amount_micro < 0 else received(account, amount_micro)
        )
        return Side(self.last.get(author.agent), after, hashes)

    def turned(self) -> None:
        """From now on the seller buys."""
        self.buyer, self.seller = self.seller, self.buyer

    def payment(self, amount_micro: int, **changed: Any) -> Settlement:
        """The buyer pays the seller, rightly."""
        parties = (self.buyer.party(), self.seller.party())
        sides = (self.side(self.buyer, -amount_micro), self.side(self.seller, amount_micro))
        return replace(Settlement(parties, sides, amount_micro, 0, None, ""), **changed)

    def sale(self, reading: Record, energy: int, sold: int, **changed: Any) -> Settlement:
        """`energy` of a reading, `sold` of it with this sale, rightly priced."""
        amount = energy * PRICE_BP // 10_000
        seq = reading.action.action_seq
        sides = (
            self.side(self.buyer, -amount),
            self.side(self.seller, amount, reading_seq=seq, sold_milli_wh=sold),
        )
        entry = self.payment(amount, sides=sides, energy_milli_wh=energy, reading=reading.hash)
        return replace(entry, **changed)

    def sign(self, entry: Settlement) -> list[Record]:
        authors = [
            next(a for a in (self.buyer, self.seller) if a.agent == party.agent)
            for party in entry.parties
        ]
        return self._sign_together(entry, TYPE, authors)

    def verdicts(self, entry: Settlement) -> list[Any]:
        return [self.world.judge(record) for record in self.sign(entry)]

    def settle(self, entry: Settlement) -> list[Record]:
        """Both halves are valid and held."""
        records = self.sign(entry)
        assert [self.world.judge(record) for record in records] == [Valid, Valid]
        for record, author in zip(records, (self.buyer, self.seller), strict=True):
            self.world.keep(record)
            author.take(record)
            self.last[author.agent] = record.hash
        for party, side in zip(entry.parties, entry.sides, strict=True):
            self.accounts[party.agent] = side.account
        return records

    def meter(self, author: Any, exported: int, number: int = 0) -> Record:
        """A reading of `author` that exports something."""
        start = BEGIN_US + number * LENGTH_US
        total = exported * (number + 1)
        reading = IntervalReading(
            Timestamp(start),
            Timestamp(start + LENGTH_US),
            0,
            exported,
            0,
            total,
            "measured",
            "device",
        )
        made: Record = self.neighbourhood.create(author, reading)
        return made


@pytest.fixture
def market(found_neighbourhood: Any, sign_together: Any) -> Market:
    network = found_neighbourhood(credit_limit_micro=LIMIT_MICRO, price_bp=PRICE_BP)
    return Market(network, sign_together)


def refused(market: Market, entry: Settlement, why: str) -> None:
    for verdict in market.verdicts(entry):
        assert isinstance(verdict, Invalid), verdict
        assert why in verdict.reason


def test_payments_follow_each_other_and_sum_to_zero(market: Market) -> None:
    for amount in (1, 300, 699):
        market.settle(market.payment(amount))
    balances = [account.balance_micro for account in market.accounts.values()]
    assert balances == [-LIMIT_MICRO, LIMIT_MICRO]


def test_past_the_credit_limit(market: Market) -> None:
    refused(market, market.payment(LIMIT_MICRO + 1), "credit limit")
    market.settle(market.payment(LIMIT_MICRO))
    refused(market, market.payment(1), "credit limit")


def test_amounts_and_memos(market: Market) -> None:
    for amount in (0, -5):
        refused(market, market.payment(amount), "at least one micro-credit")
    refused(market, market.payment(1, memo="x" * 141), "memo")
    assert market.verdicts(market.payment(1, memo="x" * 140)) == [Valid, Valid]


def test_accounts_that_do_not_follow(market: Market) -> None:
    market.settle(market.payment(10))
    right = market.payment(5)
    payer, payee = right.sides
    for sides in (
        (replace(payer, account=replace(payer.account, balance_micro=-14)), payee),
        (payer, replace(payee, account=replace(payee.account, balance_micro=16))),
        (payer, replace(payee, account=replace(payee.account, reading_seq=3))),
        (payer, replace(payee, account=replace(payee.account, sold_milli_wh=3))),
    ):
        refused(market, replace(right, sides=sides), "account is not what it was")
    for place in (0, 1):
        for wrong in (None, right.sides[1 - place].previous):
            sides = list(right.sides)
            sides[place] = replace(sides[place], previous=wrong)
            refused(market, replace(right, sides=tuple(sides)), "last one")
    refused(market, replace(right, sides=right.sides[:1]), "one payer and one payee")


def test_energy_is_sold_once(market: Market) -> None:
    reading = market.meter(market.seller, 100)
    market.settle(market.sale(reading, 60, sold=60))
    refused(market, market.sale(reading, 60, sold=120), "sold already")
    refused(market, market.sale(reading, 41, sold=101), "sold already")
    refused(market, market.sale(reading, 30, sold=30), "account is not what it was")
    market.settle(market.sale(reading, 40, sold=100))
    refused(market, market.sale(reading, 2, sold=102), "sold already")


def test_readings_are_sold_in_order(market: Market) -> None:
    first, second = (market.meter(market.seller, 100, number) for number in (0, 1))
    market.settle(market.sale(second, 10, sold=10))
    refused(market, market.sale(first, 10, sold=10), "sold already")


def test_a_payment_between_sales_forgets_nothing(market: Market) -> None:
    reading = market.meter(market.seller, 100)
    market.settle(market.sale(reading, 100, sold=100))
    market.settle(market.payment(5))
    refused(market, market.sale(reading, 10, sold=10), "sold already")


def test_a_sale_has_the_communitys_price_and_its_own_reading(market: Market) -> None:
    reading = market.meter(market.seller, 100)
    others = market.meter(market.buyer, 100)
    refused(market, market.sale(reading, 50, sold=50, amount_micro=26), "another price")
    dear = market.sale(reading, 50, sold=50)
    sides = (
        market.side(market.buyer, -26),
        market.side(market.seller, 26, reading_seq=reading.action.action_seq, sold_milli_wh=50),
    )
    refused(market, replace(dear, amount_micro=26, sides=sides), "another price")
    refused(market, market.sale(others, 50, sold=50), "no reading of the seller's")
    key = market.seller.chain[2]
    refused(market, market.sale(key, 50, sold=50), "no reading of the seller's")
    refused(market, market.payment(5, energy_milli_wh=10), "without a reading")
    unknown = action_hash(b"not here", market.seller.agent)
    verdicts = market.verdicts(replace(market.sale(reading, 50, sold=50), reading=unknown))
    assert verdicts == [Missing((unknown,))] * 2


def test_a_sale_of_no_energy_is_refused(market: Market) -> None:
    reading = market.meter(market.seller, 100)
    entry = market.sale(reading, 0, sold=0)
    sides = (
        market.side(market.buyer, -1),
        market.side(market.seller, 1, reading_seq=reading.action.action_seq),
    )
    refused(market, replace(entry, amount_micro=1, sides=sides), "no energy")


def test_forged_and_lacking_cosignatures(market: Market, neighbourhood: Any) -> None:
    for record in market.sign(market.payment(5)):
        proof = record.proof
        for cosignatures in (
            (bytes(64),),
            (proof.signature,),
            (),
            (*proof.cosignatures, *proof.cosignatures),
        ):
            forged = msgspec.structs.replace(
                record, proof=msgspec.structs.replace(proof, cosignatures=cosignatures)
            )
            assert isinstance(market.world.judge(forged), Invalid)


def test_a_settlement_sealed_by_one_alone(market: Market) -> None:
    record = market.buyer.create(market.payment(5))
    assert isinstance(market.world.judge(record), Invalid)


def test_parties_stand_at_the_next_places_of_their_own_chains(market: Market) -> None:
    ours, theirs = market.buyer.party(), market.seller.party()
    elsewhere = action_hash(b"not here", market.seller.agent)
    early = Timestamp(market.seller.head.timestamp_us - 1)
    key = market.seller.chain[1].hash
    for wrong in (
        replace(theirs, action_seq=theirs.action_seq + 1),
        replace(theirs, action_seq=theirs.action_seq - 1),
        replace(theirs, prev_action=ours.prev_action),
        replace(theirs, prev_action=key),
        replace(theirs, timestamp_us=early),
    ):
        entry = market.payment(5, parties=(ours, wrong))
        assert isinstance(market.verdicts(entry)[0], Invalid)
    entry = market.payment(5, parties=(ours, replace(theirs, prev_action=elsewhere)))
    assert market.verdicts(entry)[0] == Missing((elsewhere,))


def test_parties_are_two_and_distinct(market: Market) -> None:
    ours = market.buyer.party()
    alone = market.payment(5, parties=(ours, ours))
    assert isinstance(market.verdicts(alone)[0], Invalid)
    single = market.payment(5, parties=(ours,))
    assert isinstance(market.world.judge(market.sign(single)[0]), Invalid)


def test_a_countersigned_seal_on_anything_else_is_foreign(market: Market) -> None:
    record = market.buyer.create(
        IntervalReading(
            Timestamp(BEGIN_US), Timestamp(BEGIN_US + LENGTH_US), 0, 0, 0, 0, "measured", "device"
        )
    )
    assert market.world.judge(record) is Valid
    proof = msgspec.structs.replace(record.proof, cosignatures=(bytes(64),))
    forged = msgspec.structs.replace(record, proof=proof)
    assert market.world.judge(forged) == Invalid("a countersigned proof where none belongs")


def test_what_a_stored_chain_lacks_is_seen_by_the_rules(market: Market) -> None:
    rules = market.neighbourhood.rules
    for record in market.settle(market.payment(5)):
        assert rules.seal_fault(record) is None
        proof = msgspec.structs.replace(record.proof, cosignatures=(bytes(64),))
        assert rules.seal_fault(msgspec.structs.replace(record, proof=proof))
        assert rules.seal_fault(msgspec.structs.replace(record, entry=None))


def final(market: Market, *halves: Record) -> None:
    """What gave these credits is final."""
    rules = market.neighbourhood.rules
    market.world.final |= {source_of(rules.found(half)) for half in halves}


def test_what_is_received_is_spent_once_it_is_final(market: Market) -> None:
    (payers_half, half) = market.settle(market.payment(300))
    market.turned()
    refused(market, market.payment(LIMIT_MICRO + 1), "credit limit")
    spent = market.payment(LIMIT_MICRO + 300)
    mine = market.claiming(market.buyer, -LIMIT_MICRO - 300, [half], half)
    right = replace(spent, sides=(mine, spent.sides[1]))
    assert market.verdicts(right) == [Missing((), (), (payers_half.hash,))] * 2
    final(market, half)
    market.settle(right)
    assert market.accounts[market.buyer.agent].pending_micro == 0
    refused(market, market.payment(1), "credit limit")


def test_what_is_invalid_waits_for_nothing(market: Market) -> None:
    (_, half) = market.settle(market.payment(300))
    market.turned()
    sides = (
        market.claiming(market.buyer, -LIMIT_MICRO - 301, [half], half),
        market.side(market.seller, LIMIT_MICRO + 301),
    )
    refused(market, market.payment(LIMIT_MICRO + 301, sides=sides), "credit limit")


def test_a_credit_is_claimed_once_and_by_its_owner(market: Market) -> None:
    (theirs, half) = market.settle(market.payment(300))
    (_, later) = market.settle(market.payment(200))
    final(market, half, later)
    market.turned()
    entry = market.payment(10, sides=())
    other = market.side(market.seller, 10)
    good = market.claiming(market.buyer, -10, [half], half)
    account = good.account
    for wrong, why in (
        (replace(good, claims=(half.hash, half.hash)), "not pending"),
        (replace(good, claims=(later.hash,)), "not pending"),
        (replace(good, claims=(theirs.hash,)), "not pending"),
        (replace(good, claims=()), "not what it was"),
        (replace(good, account=replace(account, through=None)), "not pending"),
        (replace(good, account=replace(account, through=theirs.hash)), "another has settled"),
        (replace(good, account=replace(account, pending_micro=0)), "not what it was"),
        (replace(good, account=replace(account, through=market.buyer.chain[2].hash)), "no settlem"),
    ):
        refused(market, replace(entry, sides=(wrong, other)), why)
    (taken, _) = market.settle(replace(entry, sides=(good, other)))
    again = replace(market.side(market.buyer, -10), claims=(half.hash,))
    refused(
        market, replace(market.payment(10), sides=(again, market.side(market.seller, 10))), "not"
    )
    back = market.side(market.buyer, -10, through=None)
    entry = market.payment(10, sides=(back, market.side(market.seller, 10)))
    refused(market, entry, "goes back")
    past = market.claiming(market.buyer, -10, [later, taken], later)
    market.settle(market.payment(10, sides=(past, market.side(market.seller, 10))))
    assert market.accounts[market.buyer.agent].pending_micro == 0


def test_what_is_never_final_keeps_nobody_from_the_rest(market: Market) -> None:
    (_, stolen) = market.settle(market.payment(300))
    (_, good) = market.settle(market.payment(200))
    final(market, good)
    market.turned()
    mine = market.claiming(market.buyer, -10, [stolen, good], good)
    market.settle(market.payment(10, sides=(mine, market.side(market.seller, 10))))
    account = market.accounts[market.buyer.agent]
    assert (account.balance_micro, account.pending_micro) == (490, 300)
    assert [each.action for each in account.skipped] == [stolen.hash]
    later = market.claiming(market.buyer, -10, [], stolen)
    entry = market.payment(10, sides=(later, market.side(market.seller, 10)))
    assert isinstance(market.verdicts(entry)[0], Missing)
    final(market, stolen)
    market.settle(entry)
    assert market.accounts[market.buyer.agent].skipped == ()


def test_a_claim_goes_past_so_many_and_no_more(market: Market, monkeypatch: Any) -> None:
    monkeypatch.setattr("currency.integrity.RUN_MAX", 3)
    assert RUN_MAX > 3
    halves = [market.settle(market.payment(10))[1] for _ in range(4)]
    final(market, *halves)
    market.turned()
    mine = market.claiming(market.buyer, -10, halves, *halves)
    many = market.payment(10, sides=(mine, market.side(market.seller, 10)))
    refused(market, many, "past more than 3")
    mine = market.claiming(market.buyer, -10, halves[:3], *halves[:3])
    market.settle(market.payment(10, sides=(mine, market.side(market.seller, 10))))


def test_a_key_that_is_changed_makes_nothing_final(market: Market) -> None:
    """What was pending stays so, and what was free waits until the change itself is final."""
    place, old = market.neighbourhood, market.seller
    halves = [market.settle(market.payment(300))[1] for _ in range(2)]
    final(market, halves[0])
    mine = market.claiming(old, 50, halves[:1], halves[0])
    (_, last) = market.settle(market.payment(50, sides=(market.side(market.buyer, -50), mine)))
    before = market.accounts[old.agent]
    assert (before.balance_micro, before.free_micro) == (650, 300)
    heir = place.member(4)
    close = place.write(old, CloseChain, new_target=heir.agent)
    wrong = place.verdict(heir, Carried(close.hash, last.hash, 0, before))
    assert isinstance(wrong, Invalid)
    begun = place.create(heir, Carried(close.hash, last.hash, 300, carried(before)))
    market.buyer, market.seller = heir, market.buyer
    market.last[heir.agent], market.accounts[heir.agent] = begun.hash, carried(before)
    refused(market, market.payment(LIMIT_MICRO + 1), "credit limit")
    run = [halves[1], last, begun]
    mine = market.claiming(heir, -LIMIT_MICRO - 300, run, begun)
    spent = market.payment(
        LIMIT_MICRO + 300, sides=(mine, market.side(market.seller, LIMIT_MICRO + 300))
    )
    assert market.verdicts(spent)[0] == Missing((), (), (close.hash,))
    final(market, begun)
    market.settle(spent)
    left = market.accounts[heir.agent]
    assert (left.free_micro, left.pending_micro) == (-LIMIT_MICRO, 350)
    assert [each.amount_micro for each in left.skipped] == [300, 50]
    final(market, halves[1])
    mine = market.claiming(heir, -300, [], halves[1])
    market.settle(market.payment(300, sides=(mine, market.side(market.seller, 300))))


def test_an_account_goes_over_to_the_key_that_a_chain_was_closed_for(market: Market) -> None:
    """A debt goes with its debtor, whatever key they take."""
    place, old = market.neighbourhood, market.buyer
    (half, _) = market.settle(market.payment(700))
    heir, other = place.member(4), place.member(5)
    with_debt = Carried(half.hash, half.hash, 0, Account(-700))
    assert isinstance(place.verdict(heir, with_debt), Invalid), "nothing was closed"
    close = place.write(old, CloseChain, new_target=heir.agent)
    good = Carried(close.hash, half.hash, 0, Account(-700))
    for author, wrong, why in (
        (other, good, "not closed for its author"),
        (market.seller, good, "not closed for its author"),
        (heir, replace(good, account=Account()), "otherwise than it was"),
        (heir, replace(good, credit_micro=1), "otherwise than it was"),
        (heir, replace(good, previous=None), "another settlement than the last"),
        (heir, replace(good, previous=close.hash), "another settlement than the last"),
    ):
        verdict = place.verdict(author, wrong)
        assert isinstance(verdict, Invalid), wrong
        assert why in verdict.reason
    carried = place.create(heir, good)
    again = place.verdict(heir, good)
    assert isinstance(again, Invalid)
    assert "begun already" in again.reason

    market.buyer = heir
    refused(market, market.payment(300), "party's last one")
    market.last[heir.agent] = carried.hash
    market.accounts[heir.agent] = Account(-700)
    refused(market, market.payment(301), "credit limit")
    market.settle(market.payment(300))


def test_what_was_settled_already_is_not_carried_over(market: Market) -> None:
    place, old = market.neighbourhood, market.seller
    market.settle(market.payment(10))
    heir = place.member(4)
    market.seller = heir
    market.settle(market.payment(5))
    close = place.write(old, CloseChain, new_target=heir.agent)
    verdict = place.verdict(
        heir, Carried(close.hash, market.last[old.agent], 0, market.accounts[old.agent])
    )
    assert isinstance(verdict, Invalid)
    assert "begun already" in verdict.reason

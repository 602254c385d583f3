"""Fees: never more than the whole, never owed to oneself, paid as they are owed."""

from hypothesis import given
from hypothesis import strategies as st

from currency.fees import BASIS_POINTS, FEES_MAX, Fee, crosses, fault, parts
from currency.ledger import Account, accrued, fee_paid, paid, spendable
from ioe_node.hdi import AgentPubKey

SELLER, PLATFORM, WIRES = (AgentPubKey(bytes([number]) * 39) for number in range(3))
ZONES = ("", "vic", "vic/carlton", "vic/carlton/street", "vic/fitzroy", "nsw")


@st.composite
def fees(draw: st.DrawFn) -> list[Fee]:
    """Fees of a community, which are no more than the whole."""
    left, made = BASIS_POINTS, []
    for number in range(draw(st.integers(0, FEES_MAX))):
        part_bp = draw(st.integers(0, left))
        left -= part_bp
        payee, zone = (draw(st.sampled_from(each)) for each in ((SELLER, PLATFORM, WIRES), ZONES))
        made.append(Fee(f"fee {number}", payee, part_bp, zone))
    return made


@given(fees(), st.integers(0, 10**12), st.sampled_from(ZONES), st.sampled_from(ZONES))
def test_parts_are_rounded_down_and_never_more_than_the_whole(
    fees: list[Fee], earned: int, source: str, destination: str
) -> None:
    assert fault(fees) is None
    owed = parts(fees, SELLER, earned, source, destination)
    assert sum(owed) <= earned
    for fee, part in zip(fees, owed, strict=True):
        if fee.payee == SELLER or (fee.zone and not crosses(fee.zone, source, destination)):
            assert part == 0
        else:
            assert 0 <= earned * fee.part_bp - part * BASIS_POINTS < BASIS_POINTS


def test_a_border_is_crossed_by_what_has_one_end_inside() -> None:
    street = "vic/carlton/street"
    assert crosses("vic/carlton", street, "vic/fitzroy")
    assert crosses("vic/carlton", "vic", street)
    assert crosses(street, "vic/carlton", street)
    assert not crosses("vic", street, "vic/fitzroy")
    assert not crosses("vic/carlton", "vic/carltonia", "nsw")
    assert not crosses("nsw", street, street)


def test_what_no_community_can_ask_for() -> None:
    fee = Fee("platform", PLATFORM, 6_000)
    for wrong in ([fee, fee], [Fee("x" * 41, PLATFORM, 1)], [Fee("", PLATFORM, -1)]):
        assert fault(wrong) is not None
    assert fault([Fee("", PLATFORM, 1)] * (FEES_MAX + 1)) is not None


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), max_size=8))
def test_what_is_owed_cannot_be_spent_and_is_paid_whole(sales: list[tuple[int, int]]) -> None:
    account = Account(10**9)
    for owed in sales:
        account = accrued(account, owed)
    totals = tuple(sum(column) for column in zip(*sales, strict=True))
    assert account.fees_micro == totals
    assert spendable(account, 0) == 10**9 - sum(totals)
    for place, owed_micro in enumerate(totals):
        free = account.free_micro
        assert fee_paid(account, place, owed_micro + 1) is None
        after = fee_paid(paid(account, owed_micro), place, owed_micro)
        assert after is not None
        assert after.free_micro == free
        account = after
    assert fee_paid(account, len(totals), 0) is None
    assert fee_paid(account, -1, 0) is None
    assert account.fees_micro == (0,) * len(totals)

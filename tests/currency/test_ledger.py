"""Credits sum to zero and energy is shared out whole, whatever happens."""

from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from currency.ledger import (
    BASIS_POINTS,
    SKIPPED_MAX,
    Account,
    Receipt,
    carried,
    claimed,
    paid,
    passable,
    price_of,
    received,
    share_out,
    sold,
    spendable,
)
from ioe_node.hdi import ActionHash

KEYS = [bytes([number]) * 4 for number in range(8)]
energies = st.dictionaries(st.sampled_from(KEYS), st.integers(0, 10**12), max_size=8)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(1, 10**9)), max_size=60)
)
def test_balances_sum_to_zero_after_any_payments(payments: list[tuple[int, int, int]]) -> None:
    accounts = [Account() for _ in range(5)]
    for payer, payee, amount in payments:
        accounts[payer] = paid(accounts[payer], amount)
        accounts[payee] = received(accounts[payee], amount)
        assert sum(account.balance_micro for account in accounts) == 0


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 10**9)), max_size=40))
def test_sales_are_in_the_order_of_the_chain_and_counted_once(
    sales: list[tuple[int, int]],
) -> None:
    account, counted = Account(), dict[int, int]()
    for seq, energy in sales:
        after = sold(account, seq, energy)
        if after is None:
            assert seq < account.reading_seq
            continue
        counted[seq] = counted.get(seq, 0) + energy
        account = after
        assert (account.reading_seq, account.sold_milli_wh) == (seq, counted[seq])
        assert account.balance_micro == 0


@given(energies, energies)
def test_the_smaller_side_is_traded_whole(
    exports: dict[bytes, int], imports: dict[bytes, int]
) -> None:
    trades = share_out(exports, imports)
    assert sum(energy for _, _, energy in trades) == min(
        sum(exports.values()), sum(imports.values())
    )
    assert all(energy > 0 for _, _, energy in trades)
    assert len({(seller, buyer) for seller, buyer, _ in trades}) == len(trades)


@given(energies, energies)
def test_each_takes_part_in_proportion_and_within_what_it_metered(
    exports: dict[bytes, int], imports: dict[bytes, int]
) -> None:
    trades = share_out(exports, imports)
    traded = sum(energy for _, _, energy in trades)
    for side, metered in ((0, exports), (1, imports)):
        whole = sum(metered.values())
        for key, share in metered.items():
            got = sum(trade[2] for trade in trades if trade[side] == key)
            assert 0 <= got <= share
            if whole and traded:
                assert abs(got - share * traded / whole) <= len(metered) + share * 1e-12


@given(energies, energies, st.randoms(use_true_random=False))
def test_all_who_look_compute_the_same(
    exports: dict[bytes, int], imports: dict[bytes, int], random: st.DrawFn
) -> None:
    def shuffled(metered: dict[bytes, int]) -> dict[bytes, int]:
        keys = list(metered)
        random.shuffle(keys)  # type: ignore[attr-defined]
        return {key: metered[key] for key in keys}

    assert share_out(shuffled(exports), shuffled(imports)) == share_out(exports, imports)


def test_a_share_out_by_hand() -> None:
    a, b, c, d = KEYS[:4]
    assert share_out({a: 30, b: 10}, {c: 10, d: 10}) == [(a, c, 10), (a, d, 5), (b, d, 5)]
    assert share_out({a: 1, b: 1, c: 1}, {d: 2}) == [(a, d, 1), (b, d, 1)]
    assert share_out({a: 5}, {a: 5}) == [(a, a, 5)]
    assert share_out({}, {a: 5}) == share_out({a: 5}, {}) == share_out({a: 0}, {b: 5}) == []


@given(st.integers(0, 10**15), st.integers(0, 10**6))
def test_a_price_is_rounded_down_and_never_by_a_whole_micro_credit(energy: int, bp: int) -> None:
    exact = energy * bp
    assert 0 <= exact - price_of(energy, bp) * BASIS_POINTS < BASIS_POINTS


LIMIT = 1_000


def receipt(number: int, amount_micro: int) -> Receipt:
    return Receipt(ActionHash(number.to_bytes(39, "big")), amount_micro)


steps = st.lists(
    st.tuples(st.sampled_from(["in", "out", "final", "claim"]), st.integers(1, 2_000)), max_size=80
)


@given(steps)
def test_nobody_spends_more_than_its_own_and_what_became_final(
    steps: list[tuple[str, int]],
) -> None:
    """However receipts, finality, claims and payments come after each other."""
    account, all_in, open_, final = Account(), dict[ActionHash, int](), list[Receipt](), set[Any]()
    spent = 0
    for number, (what, amount) in enumerate(steps):
        if what == "in":
            came = receipt(number, amount)
            account = received(account, amount)
            open_.append(came)
            all_in[came.action] = amount
        elif what == "final" and all_in:
            final.add(sorted(all_in)[amount % len(all_in)])
        elif what == "claim":
            run = open_[: amount % (len(open_) + 1)]
            claims = [e.action for e in (*account.skipped, *run) if e.action in final]
            through = run[-1].action if run else account.through
            after = claimed(account, run, claims, through)
            assert after is not None
            account, open_ = after, open_[len(run) :]
            assert len(account.skipped) <= SKIPPED_MAX
        elif amount <= spendable(account, LIMIT):
            account = paid(account, amount)
            spent += amount
        assert spent <= LIMIT + sum(all_in[each] for each in final)
        assert account.balance_micro == sum(all_in.values()) - spent
        assert 0 <= account.pending_micro <= sum(all_in.values())
        assert spendable(carried(account), LIMIT) <= spendable(account, LIMIT)
    everything = [e.action for e in (*account.skipped, *open_)]
    whole = claimed(account, open_, everything, None)
    assert whole is not None
    assert whole.pending_micro == 0 or len(all_in) > SKIPPED_MAX


@given(st.lists(st.integers(1, 100), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_in_whatever_order_finality_comes_the_account_ends_the_same(
    amounts: list[int], random: Random
) -> None:
    run = [receipt(number, amount) for number, amount in enumerate(amounts[:SKIPPED_MAX])]
    account = Account()
    for each in run:
        account = received(account, each.amount_micro)
    passed = claimed(account, run, [], run[-1].action)
    assert passed is not None
    order = list(run)
    random.shuffle(order)
    for each in order:
        after = claimed(passed, [], [each.action], passed.through)
        assert after is not None
        passed = after
    assert passed == claimed(account, run, [each.action for each in run], run[-1].action)


def test_who_is_flooded_with_what_is_never_final_gives_up_the_smallest() -> None:
    run = [receipt(number, 1 + number % 7) for number in range(SKIPPED_MAX + 2)]
    account = Account()
    for each in run:
        account = received(account, each.amount_micro)
    after = claimed(account, run, [], run[-1].action)
    assert after is not None
    assert len(after.skipped) == SKIPPED_MAX
    assert [each for each in run if each not in after.skipped] == [run[0], run[7]]
    assert after.pending_micro == account.pending_micro
    for wrong in ([run[1].action] * 2, [run[0].action], [run[2].action, run[1].action]):
        assert claimed(after, [], wrong, after.through) is None


def test_what_may_still_be_spent() -> None:
    assert spendable(Account(), 5) == 5
    assert spendable(Account(-5), 5) == 0
    assert spendable(Account(-9), 5) == 0
    assert spendable(Account(3), 5) == 8
    assert spendable(received(Account(), 7), 5) == 5
    assert spendable(received(Account(-9), 7), 5) == 0


def test_how_far_a_claim_goes() -> None:
    run = [True, None, False, True, None]
    assert passable(0, run, 0, eager=False) == 1
    assert passable(0, run, 0, eager=True) == 4
    assert passable(SKIPPED_MAX, run, 0, eager=True) == 1, "there is no room for one more"
    assert passable(SKIPPED_MAX, run, 3, eager=True) == 4, "but what is stale makes room"
    lag = [False] * (SKIPPED_MAX + 1) + [True]
    assert passable(0, lag, 0, eager=True) == 0
    assert passable(0, lag, SKIPPED_MAX, eager=True) == 0
    assert passable(0, lag, SKIPPED_MAX + 1, eager=True) == len(lag)
    assert passable(0, [], 0, eager=True) == 0

"""Credits sum to zero and energy is shared out whole, whatever happens."""

from hypothesis import given
from hypothesis import strategies as st

from currency.ledger import BASIS_POINTS, Account, paid, price_of, share_out, sold, spendable

KEYS = [bytes([number]) * 4 for number in range(8)]
energies = st.dictionaries(st.sampled_from(KEYS), st.integers(0, 10**12), max_size=8)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(1, 10**9)), max_size=60)
)
def test_balances_sum_to_zero_after_any_payments(payments: list[tuple[int, int, int]]) -> None:
    accounts = [Account() for _ in range(5)]
    for payer, payee, amount in payments:
        accounts[payer] = paid(accounts[payer], -amount)
        accounts[payee] = paid(accounts[payee], amount)
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


def test_what_may_still_be_spent() -> None:
    assert spendable(Account(), 5) == 5
    assert spendable(Account(-5), 5) == 0
    assert spendable(Account(-9), 5) == 0
    assert spendable(Account(3), 5) == 8

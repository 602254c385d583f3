"""Random books, hostile ones among them, and the linear programs that judge their clearing.

The programs are solved by HiGHS, many to a call: they share no variable.  Its solution is
rounded to whole milli-Wh, checked against every constraint in integers, and valued in integers.
"""

from collections.abc import Callable, Iterable, Sequence
from random import Random

import highspy
import numpy as np

from currency.market.book import Order, Wants

AGENTS = [bytes([65 + number]) * 4 for number in range(6)]
ZONES = ("nem", "nem/vic", "nem/vic/carlton", "nem/vic/fitzroy", "nem/nsw", "wem")

Draw = Callable[[Random], int]
PRICES: tuple[Draw, ...] = (
    lambda rng: rng.randrange(50_000, 400_000),
    lambda rng: rng.choice((100_000, 100_001, 100_002)),
    lambda rng: 200_000,
    lambda rng: rng.choice((-(10**9), -1, 0, 1, 10**9)),
    lambda rng: rng.randrange(-(10**9), 10**9),
)
ENERGIES: tuple[Draw, ...] = (
    lambda rng: rng.randrange(1, 10**7),
    lambda rng: rng.randrange(4),
    lambda rng: 1_000,
    lambda rng: rng.choice((0, 1, 10**9)),
)


def order(side: str, energy_milli_wh: int, limit_micro: int, number: int = 0, **more) -> Order:  # type: ignore[no-untyped-def]
    """An order with a number for an id."""
    agent = more.pop("agent", AGENTS[number % len(AGENTS)])
    return Order(number.to_bytes(4, "big"), agent, side, energy_milli_wh, limit_micro, **more)  # type: ignore[arg-type]


def book(rng: Random, **more: Callable[[Random], object]) -> list[Order]:
    """Up to 16 orders: ties, one-sided, of no energy, identical, at extreme prices."""
    price, energy = rng.choice(PRICES), rng.choice(ENERGIES)
    sides = rng.choice((("bid", "ask"), ("bid", "ask"), ("bid", "ask"), ("bid",), ("ask",)))
    numbers = rng.sample(range(1_000), rng.randrange(17))
    return [
        order(
            rng.choice(sides),
            energy(rng),
            price(rng),
            number,
            **{name: draw(rng) for name, draw in more.items()},
        )
        for number in numbers
    ]


class Program:
    """Linear programs, side by side: maximise gain where every balance is nought."""

    def __init__(self) -> None:
        self.gains: list[int] = []
        self.most: list[int] = []
        self.owners: list[int] = []
        self.entries: list[list[tuple[int, int]]] = []
        self.rows: list[tuple[int, int]] = []
        self.count = 0

    def begin(self) -> None:
        """The next program."""
        self.count += 1

    def row(self, least: int = 0, most: int = 0) -> int:
        """A constraint: what its variables make lies between."""
        self.rows.append((least, most))
        return len(self.rows) - 1

    def variable(self, gain: int, most: int, entries: Iterable[tuple[int, int]]) -> None:
        """From 0 to `most`; `entries` are (row, coefficient)."""
        self.gains.append(gain)
        self.most.append(most)
        self.owners.append(self.count - 1)
        self.entries.append(list(entries))

    def solve(self) -> list[int]:
        """Each program's optimum, exact."""
        best = [0] * self.count
        if not self.gains:
            return best
        values = self._values()
        made = [0] * len(self.rows)
        for value, gain, most, owner, entries in zip(
            values, self.gains, self.most, self.owners, self.entries, strict=True
        ):
            assert 0 <= value <= most
            best[owner] += gain * value
            for row, coefficient in entries:
                made[row] += coefficient * value
        assert all(low <= sum_ <= high for sum_, (low, high) in zip(made, self.rows, strict=True))
        return best

    def _values(self) -> list[int]:
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = len(self.gains), len(self.rows)
        lp.col_cost_ = np.array(self.gains, dtype=float)
        lp.col_lower_ = np.zeros(lp.num_col_)
        lp.col_upper_ = np.array(self.most, dtype=float)
        lp.row_lower_ = np.array([low for low, _ in self.rows], dtype=float)
        lp.row_upper_ = np.array([high for _, high in self.rows], dtype=float)
        lp.sense_ = highspy.ObjSense.kMaximize
        lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        lp.a_matrix_.start_ = np.cumsum([0, *map(len, self.entries)])
        lp.a_matrix_.index_ = np.array([row for each in self.entries for row, _ in each])
        lp.a_matrix_.value_ = np.array([by for each in self.entries for _, by in each], dtype=float)
        solver = highspy.Highs()
        solver.silent()
        solver.passModel(lp)
        solver.run()
        assert solver.getModelStatus() == highspy.HighsModelStatus.kOptimal
        found = np.array(solver.getSolution().col_value)
        assert np.abs(found - np.rint(found)).max(initial=0) < 1e-3
        return [int(value) for value in np.rint(found)]


def optima(books: Iterable[Sequence[Order]]) -> list[int]:
    """Welfare that prices alone allow: bought equals sold."""
    program = Program()
    for orders in books:
        program.begin()
        row = program.row()
        for each in orders:
            sign = 1 if each.side == "bid" else -1
            program.variable(sign * each.limit_micro, each.energy_milli_wh, [(row, sign)])
    return program.solve()


def optima_of_pairs(
    books: Iterable[Sequence[Order]], may_meet: Callable[[Order, Order], bool]
) -> list[int]:
    """Welfare where only some bids may be served by some asks."""
    program = Program()
    for orders in books:
        program.begin()
        rows = {each.id: program.row(0, each.energy_milli_wh) for each in orders}
        for bid in (each for each in orders if each.side == "bid"):
            for ask in (each for each in orders if each.side == "ask"):
                if may_meet(bid, ask):
                    most = min(bid.energy_milli_wh, ask.energy_milli_wh)
                    gain = bid.limit_micro - ask.limit_micro
                    program.variable(gain, most, [(rows[bid.id], 1), (rows[ask.id], 1)])
    return program.solve()


def clean_if_wanted(bid: Order, ask: Order) -> bool:
    """Whether an ask may serve a bid."""
    wants: Wants | None = bid.wants
    return ask.clean or wants is None or not wants.clean_only

"""Orders and clearings: the words, the units, the tie rule and where every micro-credit goes.

**Units.**  Energy in milli-Wh, prices in micro-credits a kWh, both whole.  Welfare, what buyers
would have paid at most less what sellers wanted at least, is energy times price without a
division: in pico-credits, exact.

**The tie rule.**  The better price first.  At one price, the earlier place in time: only a
continuous market has more than one, in a periodic one every order stands at the gate.  At one
price and place, each in proportion to its energy, rounded down, and what rounding leaves goes
one milli-Wh each in the order of ids.  So nothing is gained by coming early to a periodic
market, by splitting an order, or (but for that milli-Wh) by choosing an id.  Who of those that
trade is paired with whom goes by price, then id; at a gate ids are drawn by lot (`gate.clear`), as
under pay-as-bid it matters whom one meets.

**Rounding.**  Every sum of money is energy times price over a kWh, rounded down (towards minus
infinity, where a price is negative).  Of a trade at one price, buyer and seller round the same.
Where fees stand between them, the parts never exceed the whole: the remainder, under one
micro-credit a part, is the community's, in the account `ROUNDING`.  Neither side's own price is
missed by a whole micro-credit.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

KWH_MILLI_WH = 1_000_000
ROUNDING = "rounding"

Fees = tuple[tuple[str, int], ...]
"""(account, micro-credits a kWh) of each fee on the way."""


class Wants(NamedTuple):
    """What an order asks for beside its price.

    `clean_only` binds a bid to clean energy.  `local_first` orders meet those of their own zone
    that say the same before all others, and an order with a `partner` that agent's, if its
    order names this agent as well; what is left of them joins the rest.
    """

    clean_only: bool = False
    local_first: bool = False
    partner: bytes | None = None


class Order(NamedTuple):
    """An agent's wish to buy (`bid`) or sell (`ask`) energy in the interval from `interval_us`.

    `limit_micro` is the most a bid pays and the least an ask takes, a kWh.  `placed_us` is its
    place in time; from `valid_until_us` on it stands no more.  `clean` is of what is sold.
    """

    id: bytes
    agent: bytes
    side: Literal["bid", "ask"]
    energy_milli_wh: int
    limit_micro: int
    interval_us: int = 0
    placed_us: int = 0
    valid_until_us: int = 1 << 62
    zone: str = ""
    clean: bool = False
    wants: Wants | None = None


class Trade(NamedTuple):
    """Energy from an ask to a bid, both by id, at a price in micro-credits a kWh."""

    bid: bytes
    ask: bytes
    energy_milli_wh: int
    price_micro: int


@dataclass(frozen=True)
class Trades:
    """Trades in columns, which spares the garbage collector a hundred thousand objects."""

    bids: list[bytes]
    asks: list[bytes]
    energies_milli_wh: list[int]
    prices_micro: list[int]

    def __iter__(self) -> Iterator[Trade]:
        columns = (self.bids, self.asks, self.energies_milli_wh, self.prices_micro)
        return map(Trade._make, zip(*columns, strict=True))

    def __len__(self) -> int:
        return len(self.bids)

    @staticmethod
    def of(trades: Iterable[Trade]) -> "Trades":
        """The columns of some trades."""
        rows = list(trades)
        return Trades(
            [row.bid for row in rows],
            [row.ask for row in rows],
            [row.energy_milli_wh for row in rows],
            [row.price_micro for row in rows],
        )


class Price(NamedTuple):
    """A price and the freedom there was to choose it, in micro-credits a kWh.

    At any price from `low_micro` to `high_micro` the same energy is traded; `price_micro` is
    their midpoint, rounded down, where a mechanism does not say otherwise.  `ask_micro` and
    `bid_micro` are the dearest ask and the lowest bid that traded.
    """

    low_micro: int
    high_micro: int
    price_micro: int
    ask_micro: int
    bid_micro: int


@dataclass(frozen=True)
class Clearing:
    """What a mechanism makes of a set of orders.

    `best_pico` is the welfare of the linear program that knows only prices.
    """

    trades: Trades
    prices: tuple[Price, ...]
    welfare_pico: int
    best_pico: int

    @property
    def given_up_pico(self) -> int:
        """The welfare that preferences, need or the order of events have cost."""
        return self.best_pico - self.welfare_pico


Mechanism = Callable[[Sequence[Order]], Clearing]


class Money(NamedTuple):
    """A trade in micro-credits: paid = earned + fees + rounding."""

    paid_micro: int
    earned_micro: int
    fees: Fees
    rounding_micro: int


def money_of(trade: Trade, bid_fees: Fees = (), ask_fees: Fees = ()) -> Money:
    """What the buyer pays and each other party gets; the buyer bears `bid_fees` atop the price."""
    energy, price = trade.energy_milli_wh, trade.price_micro
    fees = tuple((to, energy * fee // KWH_MILLI_WH) for to, fee in (*bid_fees, *ask_fees))
    paid = energy * (price + sum(fee for _, fee in bid_fees)) // KWH_MILLI_WH
    earned = energy * (price - sum(fee for _, fee in ask_fees)) // KWH_MILLI_WH
    return Money(paid, earned, fees, paid - earned - sum(fee for _, fee in fees))


def left_of(orders: Iterable[Order], trades: Iterable[Trade]) -> list[Order]:
    """What did not trade, in the order given; the partly filled with the rest of their energy."""
    traded: dict[bytes, int] = {}
    for trade in trades:
        traded[trade.bid] = traded.get(trade.bid, 0) + trade.energy_milli_wh
        traded[trade.ask] = traded.get(trade.ask, 0) + trade.energy_milli_wh
    return [
        order._replace(energy_milli_wh=rest) if order.id in traded else order
        for order in orders
        if (rest := order.energy_milli_wh - traded.get(order.id, 0)) > 0
    ]


def standing(orders: Iterable[Order], interval_us: int, at_us: int) -> list[Order]:
    """The orders of an interval that are still valid at a moment, each id once."""
    return list(
        {
            order.id: order
            for order in orders
            if order.interval_us == interval_us and order.valid_until_us > at_us
        }.values()
    )

"""Why a trader did what it did: a value to be logged, and one line for its owner."""

from typing import Literal, NamedTuple

from currency.market.book import KWH_MILLI_WH

Act = Literal["buy", "sell", "charge", "cover", "absorb", "hold", "full", "empty", "refill"]


class Reason(NamedTuple):
    """An act, its energy as expected, the price that it meets and what it was weighed against.

    Micro-credits a kWh at the meter, what the battery loses counted in; `days` is how many past
    days the weighing knows.
    """

    act: Act
    energy_milli_wh: int
    price_micro: int
    worth_micro: int
    days: int

    def text(self) -> str:
        """The one line: 'charge: the grid's 0.210 is below 0.430, what a kWh kept ...'."""
        price, worth = _credits(self.price_micro), _credits(self.worth_micro)
        known = f"by the last {self.days} days" if self.days else "with no day to learn from yet"
        energy = f"{_thousandths(self.energy_milli_wh, KWH_MILLI_WH)} kWh"
        return _TEXTS[self.act].format(price=price, worth=worth, known=known, energy=energy)


_TEXTS: dict[Act, str] = {
    "buy": "bid for {energy} at up to {price}: it saves us {worth}, {known}",
    "sell": "offer {energy} from {price} on: to keep it is worth {worth}, {known}",
    "charge": "charge: the grid's {price} is below {worth}, what a kWh kept will save, {known}",
    "refill": "charge: less is stored than is to be kept; the grid's price is {price}, {known}",
    "cover": "cover the home: the grid's {price} is above {worth}, what a kWh kept saves, {known}",
    "hold": "hold: the grid's {price} is not above {worth}, what a kWh kept will save, {known}",
    "absorb": "store the surplus: an exported kWh earns {price}, a kept one {worth}, {known}",
    "full": "rest: there is no room for a surplus, whose kWh would earn {price}, {known}",
    "empty": "rest: nothing is stored that may be used; the grid's price is {price}, {known}",
}


def _credits(micro: int) -> str:
    return _thousandths(micro, 1_000_000)


def _thousandths(amount: int, unit: int) -> str:
    """`amount` in units to three decimals, towards zero."""
    sign = "-" if amount < 0 else ""
    whole, rest = divmod(abs(amount), unit)
    return f"{sign}{whole}.{rest * 1_000 // unit:03}"

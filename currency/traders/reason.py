"""Why a trader did what it did: a value to be logged, and one line for its owner."""

from typing import Literal, NamedTuple

from currency.market.book import KWH_MILLI_WH

Act = Literal["buy", "sell", "charge", "cover", "absorb", "hold"]


class Reason(NamedTuple):
    """An act, its energy, the price that it meets and what it was weighed against.

    Micro-credits a kWh; `days` is how many past days the weighing knows.
    """

    act: Act
    energy_milli_wh: int
    price_micro: int
    worth_micro: int
    days: int

    def text(self) -> str:
        """The one line: 'charge: the grid's 0.210 is below 0.430, a stored kWh's worth ...'."""
        price, worth = _credits(self.price_micro), _credits(self.worth_micro)
        known = f"by the last {self.days} days" if self.days else "with no day to learn from yet"
        energy = f"{_thousandths(self.energy_milli_wh, KWH_MILLI_WH)} kWh"
        return _TEXTS[self.act].format(price=price, worth=worth, known=known, energy=energy)


_TEXTS: dict[Act, str] = {
    "buy": "bid for {energy} at up to {price}: it is worth {worth} to us, {known}",
    "sell": "offer {energy} from {price} on: it is worth {worth} to keep, {known}",
    "charge": "charge: the grid's {price} is below {worth}, what a stored kWh saves, {known}",
    "cover": "cover the home: the grid's {price} is above {worth}, a stored kWh's worth, {known}",
    "absorb": "store the surplus: to export earns {price}, a stored kWh saves {worth}, {known}",
    "hold": "hold: the grid's {price} is less than {worth}, what a stored kWh saves later, {known}",
}


def _credits(micro: int) -> str:
    return _thousandths(micro, 1_000_000)


def _thousandths(amount: int, unit: int) -> str:
    """`amount` in units to three decimals, towards zero."""
    sign = "-" if amount < 0 else ""
    whole, rest = divmod(abs(amount), unit)
    return f"{sign}{whole}.{rest * 1_000 // unit:03}"

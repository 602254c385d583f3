"""A trader that has watched a meter: its past out of interval readings, as the chain has them."""

from collections.abc import Mapping
from dataclasses import replace

from currency.traders.trader import DAYS, Trader


def remembering(trader: Trader, nets: Mapping[int, int], start_us: int) -> Trader:
    """The trader just before the interval from `start_us`; `nets` by the start of each interval.

    Of the last days, from the first reading on.  An interval without a reading, as the one that
    is not over, is taken to be as the one a day before, or without any energy.
    """
    length, day = trader.length_us, trader.intervals_a_day
    known = [each for each in nets if start_us - DAYS * day * length <= each < start_us]
    own: list[int] = []
    if known:
        for each in range(start_us - (start_us - min(known)) // length * length, start_us, length):
            own.append(nets.get(each, own[-day] if len(own) >= day else 0))
    return replace(trader, own=tuple(own))

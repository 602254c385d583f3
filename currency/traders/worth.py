"""What a stored kWh is worth: the water values of hydropower, for a battery, by its own past.

The worth of what is stored now is what it will save later, and that is found backwards, interval
by interval, from a day ahead.  In an interval a kWh can be put in at the grid's price or out of a
surplus that would earn only the export price, and can replace an import or be exported; of each
there is so much.  Later worth and present chances are both curves that fall, and the worth of
holding both is their merge, cut to the store.  What the interval will need is not known:
it is taken as it was in the same interval of each past day, and the mean of their worths is kept.

The curve stands as `CELLS` slopes, the worth of a kWh in each part of the store, in micro-credits
a kWh, falling.  Means round down.
Source: stochastic dual programming of reservoirs (Pereira and Pinto, 1991), in one dimension.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

from currency.delivery import Grid
from currency.traders.battery import PPM, Battery

CELLS = 32
"""Parts of the store that are told apart: of a home battery, a fifth of a kWh each."""

KEPT_MAX = 256

Slopes = tuple[int, ...]
NOTHING: Slopes = (0,) * CELLS


def cell_of(battery: Battery) -> int:
    """Milli-Wh of one cell: a part of what is usable, above the reserve."""
    return max(1, (battery.capacity_milli_wh - battery.reserve_milli_wh) // CELLS)


@lru_cache(KEPT_MAX)
def worth_before(
    battery: Battery, length_us: int, after: Slopes, price: Grid, nets: tuple[int, ...]
) -> Slopes:
    """The slopes before an interval, of those after it and of its `nets` on past days.

    Kept for a day: the batteries of one kind in a neighbourhood ask for the same.
    """
    if not nets:
        return after
    cell, total = cell_of(battery), [0] * CELLS
    below_empty = battery.stores(battery.energy_max(length_us))
    kept = [(slope, cell) for slope in after]
    for net in nets:
        pieces = sorted(kept + _chances(battery, length_us, price, net), reverse=True)
        for place, slope in enumerate(_cut(pieces, below_empty, cell)):
            total[place] += slope
    return tuple(worth // len(nets) for worth in total)


def _chances(battery: Battery, length_us: int, price: Grid, net: int) -> list[tuple[int, int]]:
    """(worth of a stored kWh, milli-Wh of store) of each use, from charging to exporting."""
    power = battery.energy_max(length_us)
    need, surplus = min(max(0, net), power), min(max(0, -net), power)
    into, out = battery.charge_ppm, battery.discharge_ppm
    return [
        (price.import_micro * PPM // into, battery.stores(power - surplus)),
        (price.export_micro * PPM // into, battery.stores(surplus)),
        (price.import_micro * out // PPM, battery.spends(need)),
        (price.export_micro * out // PPM, battery.spends(power - need)),
    ]


def _cut(pieces: Sequence[tuple[int, int]], skip: int, cell: int) -> list[int]:
    """Mean slopes of `CELLS` cells, after the first `skip` milli-Wh, which are below empty.

    The pieces are no shorter: what charging loses of them, discharging more than makes up.
    """
    values: list[int] = []
    begin, worth, at = 0, 0, skip
    for slope, width in pieces:
        while at <= begin + width and len(values) <= CELLS:
            values.append(worth + slope * (at - begin))
            at += cell
        begin += width
        worth += slope * width
    return [(after - before) // cell for before, after in pairwise(values)]

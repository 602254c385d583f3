"""One stretch of time and the energy in it; what every file and every query is made of."""

from collections.abc import Iterable
from typing import NamedTuple

from ioe_node.errors import LocalError

SECOND_US = 1_000_000
QUARTER_US = 900 * SECOND_US
POINTS_MAX = 100_000
"""In one file: almost three years of quarter hours."""
FILE_BYTES_MAX = 64 * 1024 * 1024
LENGTH_US_MAX = 31 * 86_400 * SECOND_US
ENERGY_MILLI_WH_MAX = 10**12
"""1 GWh in one point: sums of any number that fits a disk stay within 64 bits."""
TIME_US_MAX = 4_102_444_800 * SECOND_US
"""The year 2100: behind it no calendar's rules are known."""


class Point(NamedTuple):
    """Energy imported and exported from `start_us` to `end_us`; `estimated` if any of it is."""

    start_us: int
    end_us: int
    import_milli_wh: int
    export_milli_wh: int
    estimated: bool


class FileRefused(LocalError):
    """A file does not hold what its format promises; the text says where."""


def checked(points: Iterable[Point]) -> list[Point]:
    """The points of a file in order of time; raises `FileRefused` for what cannot be."""
    found = sorted(points)
    if len(found) > POINTS_MAX:
        raise FileRefused(f"more than {POINTS_MAX} points; import the file in parts")
    before_us = 0
    for each in found:
        if not 0 <= each.start_us < each.end_us <= TIME_US_MAX:
            raise FileRefused(f"a point from {each.start_us} to {each.end_us} us is no time")
        if each.end_us - each.start_us > LENGTH_US_MAX:
            raise FileRefused("a point longer than a month; points are intervals, not totals")
        if each.start_us < before_us:
            raise FileRefused(f"two points hold the same time, at {each.start_us} us")
        before_us = each.end_us
        if not 0 <= min(each[2:4]) <= max(each[2:4]) <= ENERGY_MILLI_WH_MAX:
            raise FileRefused("energy below zero, or more than 1 GWh in one point")
    return found

"""Carbon dioxide: by certificates as far as they go, by the grid for the rest, never guessed."""

from ioe_node.api.http_carbon import Certified, Weights, weigh
from ioe_node.api.http_household import Meter

KWH = 1_000_000
ROOF = Meter("roof", "roof", "generator")
GRID = Meter("grid", "grid", "monitor")
SUN = Certified("pv_roof", 3 * KWH, 41)


def rows(given: dict[Meter, int], certified: list[Certified], grid: int | None) -> object:
    found = weigh(given, certified, Weights({"roof": 41}, grid, 100))
    named = [(each.name, each.milli_wh, each.g_co2) for each in found.by_source]
    return found.import_milli_wh, found.g_co2, found.clean_bp, named


def test_what_nobody_says_is_not_known() -> None:
    assert rows({ROOF: 2 * KWH, GRID: 4 * KWH}, [], None) == (
        4 * KWH,
        None,
        None,
        [("roof", 2 * KWH, 82), ("grid", 4 * KWH, None)],
    )
    assert rows({}, [], 650) == (0, None, None, [])


def test_certificates_go_before_the_grid() -> None:
    assert rows({GRID: 4 * KWH}, [SUN], 650) == (
        4 * KWH,
        3 * 41 + 650,
        7_500,
        [("grid", KWH, 650), ("pv_roof", 3 * KWH, 123)],
    )
    assert rows({GRID: 4 * KWH}, [SUN], None) == (
        4 * KWH,
        None,
        None,
        [("grid", KWH, None), ("pv_roof", 3 * KWH, 123)],
    )


def test_where_certificates_cover_all_the_grid_need_not_be_known() -> None:
    assert rows({GRID: 3 * KWH}, [SUN], None) == (3 * KWH, 123, 10_000, [("pv_roof", 3 * KWH, 123)])
    assert rows({}, [SUN], None) == (3 * KWH, 123, 10_000, [("pv_roof", 3 * KWH, 123)])
    oil = Certified("oil", KWH, None)
    assert rows({}, [SUN, oil], 650)[:3] == (4 * KWH, None, None)  # type: ignore[index]


def test_grams_are_rounded_up() -> None:
    assert rows({GRID: 1}, [], 650) == (1, 1, 0, [("grid", 1, 1)])

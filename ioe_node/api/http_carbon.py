"""What the energy of a household weighs in carbon dioxide, by its meters and certificates.  Pure.

What comes in is of the sources that certificates name, as far as they go, and of the grid for the
rest.  Nothing is guessed: where a weight is not known, neither is the sum.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ioe_node.api.http_household import Meter
from ioe_node.api.http_types import Carbon, Source

BASIS_POINTS = 10_000
MILLI_WH_PER_KWH = 1_000_000


@dataclass(frozen=True)
class Certified:
    """Energy that came in by certificates: of a source, and what a kWh of it weighs."""

    source: str
    milli_wh: int
    g_co2_per_kwh: int | None


@dataclass(frozen=True)
class Weights:
    """Grams of CO2 a kWh: of what each meter gives, by its key; of the grid; at most, if clean."""

    made: Mapping[str, int | None]
    grid_g_co2_per_kwh: int | None
    clean_g_co2_max: int


def weigh(given: Mapping[Meter, int], certified: Sequence[Certified], weights: Weights) -> Carbon:
    """What meters gave in a span, in milli-Wh, and what came in, with its weight.

    What came in is what monitors counted, or what the certificates say where that is more.
    """
    drawn = sum(energy for meter, energy in given.items() if meter.kind == "monitor")
    by_certificates = sum(each.milli_wh for each in certified)
    named, left = [], by_certificates
    for meter, energy in given.items():
        if meter.kind == "monitor":
            covered = min(left, energy)
            left -= covered
            named.append(
                _source(meter.name, meter.kind, energy - covered, weights.grid_g_co2_per_kwh)
            )
        else:
            named.append(_source(meter.name, meter.kind, energy, weights.made.get(meter.agent)))
    named += [
        _source(each.source, "certificate", each.milli_wh, each.g_co2_per_kwh) for each in certified
    ]
    came = [(each.milli_wh, each.g_co2_per_kwh) for each in certified]
    came.append((max(0, drawn - by_certificates), weights.grid_g_co2_per_kwh))
    total = max(drawn, by_certificates)
    return Carbon(
        total,
        _grams(came) if total else None,
        _clean_bp(came, weights.clean_g_co2_max) if total else None,
        [each for each in named if each.milli_wh],
    )


def _source(name: str, kind: str, energy: int, weight: int | None) -> Source:
    return Source(name, kind, energy, _grams([(energy, weight)]))


def _grams(parts: Iterable[tuple[int, int | None]]) -> int | None:
    """The weight of all parts, rounded up to a gram; None where that of one is not known."""
    total = 0
    for energy, weight in parts:
        if energy and weight is None:
            return None
        total += energy * (weight or 0)
    return -(-total // MILLI_WH_PER_KWH)


def _clean_bp(parts: Sequence[tuple[int, int | None]], most: int) -> int | None:
    """The clean share, rounded down; None where the weight of a part is not known."""
    if any(energy and weight is None for energy, weight in parts):
        return None
    whole = sum(energy for energy, _ in parts)
    clean = sum(energy for energy, weight in parts if weight is not None and weight <= most)
    return clean * BASIS_POINTS // whole

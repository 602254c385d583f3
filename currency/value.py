"""What a kilowatt-hour is worth to a community, factor by factor (I-092, I-096 to I-099).

The value of energy is energy x clean x need x locality x trust x demand response, each in basis
points, multiplied as integers and rounded once, at the end.  A factor that the community says
nothing about is neutral, and so is one of which nothing is known.

Source: what a kilowatt-hour weighs are the medians over a plant's life of IPCC AR5 WG III, Annex
III, table A.III.2, in grams of CO2 equivalent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

NEUTRAL_BP = 10_000
BP_MAX = 100_000
"""Ten times: no community counts one kilowatt-hour for more."""
G_CO2_PER_KWH_MAX = 5_000
RESPONSES_FULL = 10
"""So many proven reductions earn a buyer the whole of the demand-response factor."""

Source = Literal[
    "biomass",
    "biomass_cofired",
    "coal",
    "csp",
    "gas",
    "geothermal",
    "hydro",
    "nuclear",
    "oil",
    "pv_roof",
    "pv_utility",
    "wind",
    "wind_offshore",
]
Trust = Literal["device", "meter", "substation", "verified"]

IPCC_G_CO2_PER_KWH: Mapping[Source, int] = MappingProxyType(
    {
        "biomass": 230,
        "biomass_cofired": 740,
        "coal": 820,
        "csp": 27,
        "gas": 490,
        "geothermal": 38,
        "hydro": 24,
        "nuclear": 12,
        "pv_roof": 41,
        "pv_utility": 48,
        "wind": 11,
        "wind_offshore": 12,
    }
)
"""The table has no oil: its figure is a community's to name, and unknown until it does."""


@dataclass(frozen=True)
class Carbon:
    """What a kilowatt-hour of a source weighs in this community, in grams of CO2 equivalent."""

    source: Source
    g_co2_per_kwh: int


@dataclass(frozen=True)
class Values:
    """What a community holds for more or less worth, in basis points; 10,000 is neutral.

    `clean_bp` for energy of at most `clean_g_co2_max` grams of CO2 a kWh (100 is the ceiling of the
    EU taxonomy), `dirty_bp` for more; `need_bp` where the zone makes nothing of what it draws, and
    in proportion where it makes some; `local_bp` where it is used in the zone that made it,
    `far_bp` elsewhere; `trust_bp` by who vouches: the device, a meter, a substation, a verifier;
    `response_bp` for a buyer that has proven `RESPONSES_FULL` reductions of its demand, in
    proportion for fewer.  `carbon` goes before the IPCC's figures.  `grid_g_co2_per_kwh` is what
    the grid outside weighs; None: nobody has said, and nobody shall guess.
    """

    clean_bp: int = NEUTRAL_BP
    dirty_bp: int = NEUTRAL_BP
    clean_g_co2_max: int = 100
    need_bp: int = NEUTRAL_BP
    local_bp: int = NEUTRAL_BP
    far_bp: int = NEUTRAL_BP
    trust_bp: tuple[int, int, int, int] = (NEUTRAL_BP, NEUTRAL_BP, NEUTRAL_BP, NEUTRAL_BP)
    response_bp: int = NEUTRAL_BP
    carbon: tuple[Carbon, ...] = ()
    grid_g_co2_per_kwh: int | None = None

    def __post_init__(self) -> None:
        """Refuse what nobody can count with; `ValueError` says what."""
        factors = (self.clean_bp, self.dirty_bp, self.need_bp, self.local_bp, self.far_bp)
        if not all(0 <= bp <= BP_MAX for bp in (*factors, *self.trust_bp, self.response_bp)):
            raise ValueError(f"a factor of a kWh's value is 0 to {BP_MAX} basis points")
        grams = [self.clean_g_co2_max, *(each.g_co2_per_kwh for each in self.carbon)]
        grams += [] if self.grid_g_co2_per_kwh is None else [self.grid_g_co2_per_kwh]
        if not all(0 <= each <= G_CO2_PER_KWH_MAX for each in grams):
            raise ValueError(f"a kWh weighs 0 to {G_CO2_PER_KWH_MAX} grams of CO2")


@dataclass(frozen=True)
class Kwh:
    """What is known of some energy and of who uses it; None where nobody can tell.

    `drawn_milli_wh` and `made_milli_wh` are what the zone's meters counted in the interval;
    `responses` are the reductions that the buyer has proven.
    """

    g_co2_per_kwh: int | None
    zone: str
    used_in: str | None
    drawn_milli_wh: int
    made_milli_wh: int
    trust: Trust
    responses: int | None


@dataclass(frozen=True)
class Factor:
    """One multiplier of a value, in basis points, and why it is that."""

    name: str
    bp: int
    reason: str


def g_co2_of(source: Source, values: Values) -> int | None:
    """Grams of CO2 a kWh of a source: the community's figure, else the IPCC's, else unknown."""
    for each in values.carbon:
        if each.source == source:
            return each.g_co2_per_kwh
    return IPCC_G_CO2_PER_KWH.get(source)


def explain(kwh: Kwh, values: Values) -> tuple[Factor, ...]:
    """Each factor of a value, with its reason in numbers."""
    return (
        _clean(kwh, values),
        _need(kwh, values),
        _locality(kwh, values),
        Factor(
            "trust",
            values.trust_bp[get_args(Trust).index(kwh.trust)],
            f"vouched for by: {kwh.trust}",
        ),
        _response(kwh, values),
    )


def worth(energy_milli_wh: int, factors: Sequence[Factor]) -> tuple[int, int]:
    """(micro-credits, remainder) that energy is worth; one credit a kWh where all is neutral.

    Rounds down, once.  The remainder is in parts of `NEUTRAL_BP ** len(factors)` of a
    micro-credit, and stays with whoever pays.
    """
    product = energy_milli_wh
    for factor in factors:
        product *= factor.bp
    whole: int = NEUTRAL_BP ** len(factors)
    return divmod(product, whole)


def milligrams(energy_milli_wh: int, g_co2_per_kwh: int) -> int:
    """Milligrams of CO2 of an energy; rounded up, so that no part of it weighs nothing."""
    return -(-energy_milli_wh * g_co2_per_kwh // 1_000)


def _clean(kwh: Kwh, values: Values) -> Factor:
    if kwh.g_co2_per_kwh is None:
        return Factor("clean", NEUTRAL_BP, "what it weighs in CO2 is not known")
    most = values.clean_g_co2_max
    if kwh.g_co2_per_kwh <= most:
        return Factor("clean", values.clean_bp, f"{kwh.g_co2_per_kwh} g CO2/kWh, at most {most}")
    return Factor("clean", values.dirty_bp, f"{kwh.g_co2_per_kwh} g CO2/kWh, over {most}")


def _need(kwh: Kwh, values: Values) -> Factor:
    drawn, made = kwh.drawn_milli_wh, kwh.made_milli_wh
    if drawn <= 0:
        return Factor("need", NEUTRAL_BP, "no meter drew anything in that interval")
    short = max(0, drawn - made)
    bp = NEUTRAL_BP + (values.need_bp - NEUTRAL_BP) * short // drawn
    return Factor("need", bp, f"{drawn} mWh drawn, {made} mWh made: short of {short} mWh")


def _locality(kwh: Kwh, values: Values) -> Factor:
    if kwh.used_in is None or not kwh.zone:
        return Factor("locality", NEUTRAL_BP, "where it is used or made is not known")
    if kwh.used_in == kwh.zone:
        return Factor("locality", values.local_bp, f"made and used in {kwh.zone}")
    return Factor("locality", values.far_bp, f"made in {kwh.zone}, used in {kwh.used_in}")


def _response(kwh: Kwh, values: Values) -> Factor:
    if kwh.responses is None:
        return Factor("demand response", NEUTRAL_BP, "nobody in particular uses it")
    counted = min(max(0, kwh.responses), RESPONSES_FULL)
    bp = NEUTRAL_BP + (values.response_bp - NEUTRAL_BP) * counted // RESPONSES_FULL
    reason = f"{counted} of {RESPONSES_FULL} reductions of demand proven"
    return Factor("demand response", bp, reason)

"""What a kWh is worth: neutral where nothing is said, one rounding, each factor explained."""

from dataclasses import replace
from fractions import Fraction
from math import prod
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from currency.value import (
    BP_MAX,
    NEUTRAL_BP,
    RESPONSES_FULL,
    Carbon,
    Factor,
    Kwh,
    Source,
    Trust,
    Values,
    explain,
    g_co2_of,
    milligrams,
    worth,
)

KWH = 1_000_000
ROOF = Kwh(41, "vic/carlton", "vic/carlton", 4 * KWH, KWH, "meter", 5)

bps = st.integers(0, BP_MAX)
energies = st.integers(0, 10**12)
known = st.builds(
    Kwh,
    st.none() | st.integers(0, 5_000),
    st.sampled_from(["", "vic", "nsw"]),
    st.sampled_from([None, "vic", "nsw"]),
    energies,
    energies,
    st.sampled_from(get_args(Trust)),
    st.none() | st.integers(0, 100),
)


@given(energies, known)
def test_where_nothing_is_said_a_kwh_is_a_credit(energy: int, kwh: Kwh) -> None:
    factors = explain(kwh, Values())
    assert {factor.bp for factor in factors} == {NEUTRAL_BP}
    assert worth(energy, factors) == (energy, 0)


@given(energies, st.lists(bps, max_size=5))
def test_a_value_is_rounded_once_and_its_remainder_is_named(
    energy: int, factors: list[int]
) -> None:
    micro, remainder = worth(energy, [Factor("", bp, "") for bp in factors])
    whole = NEUTRAL_BP ** len(factors)
    assert Fraction(energy * prod(factors), whole) == micro + Fraction(remainder, whole)
    assert 0 <= remainder < whole


@given(known, st.builds(Values, bps, bps, st.integers(0, 5_000), bps, bps, bps))
def test_a_factor_lies_between_neutral_and_what_the_community_says(
    kwh: Kwh, values: Values
) -> None:
    clean, need, locality, trust, response = explain(kwh, values)
    assert clean.bp in (NEUTRAL_BP, values.clean_bp, values.dirty_bp)
    assert min(NEUTRAL_BP, values.need_bp) <= need.bp <= max(NEUTRAL_BP, values.need_bp)
    assert locality.bp in (NEUTRAL_BP, values.local_bp, values.far_bp)
    assert {trust.bp, response.bp} == {NEUTRAL_BP}


def test_each_factor_says_why() -> None:
    values = Values(
        clean_bp=12_000,
        need_bp=14_000,
        local_bp=11_000,
        far_bp=9_000,
        trust_bp=(8_000, 10_000, 10_500, 11_000),
        response_bp=12_000,
    )
    factors = explain(ROOF, values)
    assert [(factor.name, factor.bp, factor.reason) for factor in factors] == [
        ("clean", 12_000, "41 g CO2/kWh, at most 100"),
        ("need", 13_000, "4000000 mWh drawn, 1000000 mWh made: short of 3000000 mWh"),
        ("locality", 11_000, "made and used in vic/carlton"),
        ("trust", 10_000, "vouched for by: meter"),
        ("demand response", 11_000, "5 of 10 reductions of demand proven"),
    ]
    assert worth(KWH, factors) == (1_887_600, 0)
    far = explain(
        replace(ROOF, used_in="nsw", trust="device", responses=3 * RESPONSES_FULL), values
    )
    assert [factor.bp for factor in far[2:]] == [9_000, 8_000, 12_000]
    dirty = explain(replace(ROOF, g_co2_per_kwh=820), Values(dirty_bp=5_000))
    assert (dirty[0].bp, dirty[0].reason) == (5_000, "820 g CO2/kWh, over 100")


def test_what_a_kwh_weighs() -> None:
    assert g_co2_of("pv_roof", Values()) == 41
    assert g_co2_of("biomass", Values()) == 230
    unknown = [source for source in get_args(Source) if g_co2_of(source, Values()) is None]
    assert unknown == ["oil"], "no median is published for it"
    values = Values(carbon=(Carbon("oil", 650), Carbon("pv_roof", 30)))
    assert (g_co2_of("oil", values), g_co2_of("pv_roof", values)) == (650, 30)
    assert milligrams(KWH, 41) == 41_000
    assert milligrams(1, 41) == 1, "no part of it weighs nothing"


@pytest.mark.parametrize(
    "wrong", [{"clean_bp": -1}, {"trust_bp": (1, 1, 1, BP_MAX + 1)}, {"grid_g_co2_per_kwh": -1}]
)
def test_what_nobody_can_count_with(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="kWh"):
        Values(**wrong)  # type: ignore[arg-type]

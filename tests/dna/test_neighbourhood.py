"""The neighbourhood's name covers what makes its rules; a clone is another network."""

import ast
from dataclasses import replace
from pathlib import Path

import pytest

from currency.fees import Fee
from currency.value import Values
from dna.neighbourhood import DNA, Properties
from ioe_node.errors import LocalError
from ioe_node.hdk import Modifiers, Zome
from ioe_node.model.codec import encode
from ioe_node.model.hashes import agent_key

STEWARD = agent_key(bytes(32))
FEE = Fee("platform", STEWARD, 100)
ROOT = Path(__file__).parents[2]


def test_its_zomes_and_types() -> None:
    assert [zome.integrity.name for zome in DNA.zomes] == [
        "community",
        "identity",
        "metering",
        "currency",
        "invoice",
        "market",
        "origin",
        "claims",
        "reputation",
        "demand",
    ]
    assert sorted(DNA.entry_types) == [
        "claims.Application",
        "claims.Approval",
        "claims.Claim",
        "claims.Delegation",
        "claims.Kept",
        "claims.Profile",
        "claims.SignedElsewhere",
        "claims.Status",
        "claims.Withdrawal",
        "community.Invitation",
        "currency.Carried",
        "currency.Settlement",
        "demand.Incentive",
        "demand.Reduction",
        "identity.Acceptance",
        "identity.Acknowledgement",
        "identity.Enrolment",
        "identity.Keyset",
        "identity.Offer",
        "identity.Release",
        "identity.Revocation",
        "invoice.Invoice",
        "invoice.Promise",
        "invoice.Refusal",
        "market.Gate",
        "market.Judged",
        "market.Order",
        "market.Tally",
        "metering.IntervalReading",
        "origin.Give",
        "origin.Issue",
        "origin.Plant",
        "origin.Retire",
        "origin.Store",
        "origin.Verification",
    ]
    assert DNA.entry_types["currency.Settlement"].countersigned
    assert not DNA.entry_types["metering.IntervalReading"].by_hash


def modules_imported(source: Path) -> set[Path]:
    """The files of the zomes' own packages that a module imports, but for packages' docstrings."""
    names = set()
    for node in ast.walk(ast.parse(source.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    files = {ROOT.joinpath(*name.split(".")).with_suffix(".py") for name in names}
    return {file for file in files if file.is_file() and not file.is_relative_to(ROOT / "ioe_node")}


@pytest.mark.parametrize("zome", DNA.zomes, ids=lambda zome: str(zome.integrity.name))
def test_a_zomes_digest_covers_every_module_that_its_rules_are_in(zome: Zome) -> None:
    digested = {Path(source) for source in zome.integrity._sources}
    assert set().union(*map(modules_imported, digested)) <= digested


def test_every_property_and_the_seed_make_another_network() -> None:
    names = {DNA.hash, replace(DNA, seed="x").hash}
    for changed in (
        {"stewards": (STEWARD,)},
        {"approvers": (STEWARD,)},
        {"approvers": (STEWARD, STEWARD[:-1] + b"x"), "approval_quorum": 2},
        {"stewards": (STEWARD,), "recovery": (bytes(32),)},
        {"interval_us": 60_000_000},
        {"price_bp": 1},
        {"credit_limit_micro": 1},
        {"limit_share_bp": 1},
        {"limit_window_us": 1},
        {"limit_raise_micro_max": 1},
        {"soft_limit_bp": 1},
        {"reserves": (STEWARD,)},
        {"reserve_limit_micro": 1},
        {"power_milli_w_max": 1},
        {"verifiers": (STEWARD,)},
        {"values": Values(clean_bp=12_000)},
        {"grid_import_micro": 2_000_000},
        {"grid_export_micro": -1},
        {"fees": (FEE,)},
        {"fees": (replace(FEE, zone="vic"),)},
        {"mechanism": "pay_as_bid"},
        {"gate_quorum": 2},
    ):
        names.add(replace(DNA, properties=replace(DNA.properties, **changed)).hash)
    assert len(names) == 24
    assert replace(DNA, name="only a name").hash == DNA.hash


def test_a_clone_is_made_again_from_its_modifiers() -> None:
    properties = replace(Properties(), stewards=(STEWARD,), price_bp=2_500, fees=(FEE,))
    clone = DNA.clone(Modifiers("our street", encode(properties)))
    assert clone.properties == properties
    assert DNA.clone(clone.modifiers).hash == clone.hash != DNA.hash
    some = DNA.clone(Modifiers("x", encode({"values": {"grid_g_co2_per_kwh": 650}})))
    assert some.properties.values == Values(grid_g_co2_per_kwh=650)


@pytest.mark.parametrize(
    "properties",
    [
        b"",
        b"\xc1",
        b"\x80\x80",
        encode({"price_bp": "dear"}),
        encode({"price_bp": -1}),
        encode({"limit_share_bp": -1}),
        encode({"limit_window_us": 0}),
        encode({"reserve_limit_micro": -1}),
        encode({"soft_limit_bp": 10_001}),
        encode({"grid_import_micro": 1, "grid_export_micro": 2}),
        encode({"grid_import_micro": -1, "grid_export_micro": -2}),
        encode({"fees": [replace(FEE, part_bp=10_001)]}),
        encode({"fees": [replace(FEE, part_bp=-1)]}),
        encode({"interval_us": 0}),
        encode({"mechanism": "lottery"}),
        encode({"gate_quorum": 0}),
        encode({"gate_quorum": 17}),
        encode({"interval_us": 1_500_000}),
        encode({"recovery": [bytes(32)]}),
        encode({"values": {"clean_bp": -1}}),
        encode({"values": {"carbon": [{"source": "magic", "g_co2_per_kwh": 1}]}}),
        encode({"values": {"grid_g_co2_per_kwh": 10_000}}),
        encode({"stewards": [STEWARD], "recovery": [bytes(31)]}),
    ],
)
def test_properties_that_do_not_fit(properties: bytes) -> None:
    with pytest.raises(LocalError, match="neighbourhood"):
        DNA.clone(Modifiers("x", properties))

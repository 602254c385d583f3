"""`ioe credit why`: a settlement told in numbers that add up."""

from typing import Any

from ioe_node.cli.credit import MEMO_CHARS, brief
from ioe_node.cli.why import lines
from ioe_node.model.hashes import action_hash, agent_key

SELLER, BUYER = agent_key(bytes(32)), agent_key(bytes([1]) * 32)
SOLD: dict[str, Any] = {
    "payer": BUYER,
    "payee": SELLER,
    "seller": SELLER,
    "amount_micro": 270_000,
    "energy_milli_wh": 400_000,
    "price_micro": 1_000_000,
    "match": None,
    "memo": "",
    "fees": [{"name": "wires", "micro": 6_750}],
    "certificates": [
        {
            "certificate": action_hash(b"c", SELLER),
            "energy_milli_wh": 400_000,
            "source": "pv_roof",
            "g_co2_per_kwh": 41,
        }
    ],
}
MATCH = {
    "start": 1_767_261_600_000_000,
    "mechanism": "uniform",
    "energy_milli_wh": 500_000,
    "price_micro": 800_000,
    "delivered_milli_wh": 400_000,
    "taken_milli_wh": 500_000,
    "grid_import_micro": 1_300_000,
    "grid_export_micro": 700_000,
}


def test_a_match_that_was_not_delivered_is_told_in_numbers() -> None:
    _, matched, metered, lacking, fee, origin = lines({**SOLD, "match": MATCH})
    assert "0.500 kWh" in matched
    assert "0.800 credits a kWh (uniform)" in matched
    assert "0.400 kWh delivered, 0.500 kWh taken; so 0.400 kWh are sold: 0.320 credits" in metered
    assert "0.100 kWh, which the grid gave for 0.500 more a kWh: less 0.050 credits" in lacking
    assert fee.startswith("fee wires: 0.006 credits")
    assert "0.400 kWh of pv_roof, 41 g CO2 a kWh" in origin
    assert "ioe certificate why uhCkk" in origin


def test_what_was_not_taken_and_what_was_not_metered_are_told() -> None:
    left = lines({**SOLD, "match": {**MATCH, "delivered_milli_wh": 500_000,
                                    "taken_milli_wh": 400_000}})  # fmt: skip
    assert "0.100 kWh, which the grid took for 0.100 less a kWh: plus 0.010 credits" in left[3]
    silent = lines({**SOLD, "match": {**MATCH, "delivered_milli_wh": None}})
    assert "worst" in silent[3]


def test_a_sale_without_a_match_and_a_payment() -> None:
    assert "at 1.000 credits a kWh, the community's price" in lines(SOLD)[1]
    assert lines({**SOLD, "seller": None, "memo": "eggs"})[1] == "a payment: eggs"


def test_a_memo_is_cut_to_what_a_table_has_room_for() -> None:
    assert brief("eggs") == "eggs"
    assert len(brief("x" * 137)) == MEMO_CHARS

"""`ioe certificate` on a real node, and its views as files."""

import json
from pathlib import Path
from typing import Any, get_args

from currency.value import Source
from ioe_node.cli.certificate import SOURCES
from ioe_node.cli.certificate_files import granular, recs
from ioe_node.hdi import AgentPubKey
from ioe_node.model.hashes import action_hash, agent_key, to_text

SOURCE_NAMES = {*get_args(Source), "storage", "none"}
ROOF = agent_key(bytes(32))
KETTLE = agent_key(bytes(31) + b"\1")
CERTIFICATE = action_hash(b"a certificate", AgentPubKey(ROOF))
HOUR_US = 3_600_000_000
KWH = 1_000_000


def test_what_a_machine_makes_energy_of_is_named_by_help_and_error(ioe: Any) -> None:
    assert set(SOURCES) == SOURCE_NAMES
    taught = ioe("certificate", "declare", "--help").out.replace(",", " ").replace(";", " ").split()
    assert set(taught) >= SOURCE_NAMES
    assert "'pv_utility'" in ioe("certificate", "declare", "solar", code=2).err


def held(energy_milli_wh: int, **changed: Any) -> dict[str, Any]:
    return {
        "certificate": CERTIFICATE,
        "issuer": ROOF,
        "issued_at_us": 3 * HOUR_US,
        "start_us": HOUR_US,
        "end_us": 2 * HOUR_US,
        "issued_milli_wh": 900_000,
        "source": "pv_roof",
        "g_co2_per_kwh": 41,
        "co2_mg": 0,
        "zone": "carlton",
        "trust": "device",
        "reading": CERTIFICATE,
        "stored": False,
        "state": "held",
        "energy_milli_wh": energy_milli_wh,
        **changed,
    }


def test_recs_are_whole_mwh_and_the_rest_is_said() -> None:
    most = held(999 * KWH)
    late = held(2 * KWH, end_us=9 * HOUR_US)
    used = held(2_000 * KWH, state="consumed")
    rows = recs([most, late, used])
    assert [(row["status"], row["certificates"], row["remainder_milli_wh"]) for row in rows] == [
        ("held", 1, 1 * KWH),
        ("consumed", 2, 0),
    ]
    assert (rows[0]["vintage_start_us"], rows[0]["vintage_end_us"]) == (HOUR_US, 9 * HOUR_US)
    assert recs([]) == []


def test_granular_certificates_have_whole_wh() -> None:
    plants: dict[bytes, Any] = {ROOF: {"capacity_milli_w": 5_000_000}}
    (row, other) = granular([held(1_999), held(5, issuer=KETTLE)], plants)
    assert (row["face_value_wh"], other["face_value_wh"]) == (1, 0)
    assert (row["device_capacity_w"], other["device_capacity_w"]) == (5_000, None)
    assert row["certificate_id"] == to_text(CERTIFICATE)
    assert json.loads(json.dumps(row)) == row


def test_a_life_is_told_in_lines(ioe: Any, monkeypatch: Any) -> None:
    def event(what: str, energy: int, **more: Any) -> dict[str, Any]:
        at = {"at_us": HOUR_US, "agent": ROOF, "action": CERTIFICATE}
        return {"what": what, "energy_milli_wh": energy, **at, **more}

    life = {
        "events": [
            event("issued", 900_000, source="pv_roof", start_us=HOUR_US),
            event("given", 700_000, to=KETTLE, sale=CERTIFICATE),
            event("stored", 100_000, stored_milli_wh=90_000),
            event("burned", 100_000, reason="lost\x1b[2J"),
        ],
        "sums": {"burned": 100_000, "not read": 700_000},
        "unread": ["the chain of one that held it"],
    }
    monkeypatch.setattr("ioe_node.cli.client.zome", lambda *_args, **_named: life)
    lines = ioe("certificate", "trace", to_text(CERTIFICATE)).out.splitlines()
    assert len(lines) == 6
    assert "0.900 kWh  issued by" in lines[0]
    assert lines[1].endswith("who bought it")
    assert lines[2].endswith("which keeps 0.090 kWh")
    assert "\x1b" not in lines[3]
    assert lines[4] == "in all: 0.100 kWh burned, 0.700 kWh not read"
    assert lines[5] == "could not be read: the chain of one that held it"


def test_on_a_node_of_ones_own(ioe: Any, daemon: Any, tmp_path: Path) -> None:
    ioe("init", "--address", "127.0.0.1")
    daemon("owner").wait_ready()
    values = json.dumps({"clean_bp": 12_000, "carbon": [{"source": "oil", "g_co2_per_kwh": 650}]})
    ioe("community", "create", "street", "--set", f"values={values}")
    assert "declared oil" in ioe("certificate", "declare", "oil", "--zone", "carlton").out
    assert (
        "one of"
        in ioe(
            *("certificate", "retire", to_text(CERTIFICATE), "--kwh", "1"),
            *("--burn", "x", "--set-aside", "y"),
            code=1,
        ).err
    )
    assert json.loads(ioe("certificate", "list", "--json").out) == []
    unknown = to_text(CERTIFICATE)
    assert "nobody who holds it" in ioe("certificate", "show", unknown, code=1).err
    file = tmp_path / "certificates.json"
    assert "0 rows" in ioe("certificate", "export", "--as", "rec", "--to", str(file)).out
    assert json.loads(file.read_text()) == []
    again = ioe("certificate", "export", "--as", "energytag", "--to", str(file), code=1)
    assert "is there already" in again.err

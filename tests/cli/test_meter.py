"""`ioe meter` against real processes: sums, files out and in, a meter's change."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from ioe_node.cli import meter
from ioe_node.cli.meter_files import read_file
from ioe_node.errors import LocalError
from tests.cli.test_street import INTERVAL_US, Street, code_of, make, owned


def test_a_history_goes_out_and_comes_in(ioe: Any, daemon: Any, tmp_path: Path) -> None:
    street = Street(ioe)
    make(ioe, tmp_path / "owner", mdns=False)
    daemon("owner").wait_ready()
    (address,) = street.read("status")["addresses"]
    make(ioe, tmp_path / "roof", False, address, kind="generator", power_milli_w=-36_000_000)
    roof = daemon("roof")
    ioe("community", "create", "street", "--set", f"interval_us={INTERVAL_US}")
    roof.wait_ready()
    street.until(lambda found: found["near"], "device", "list")
    ioe("device", "claim", "roof", code_of(roof))
    street.until(owned, "device", "list")
    by_hour = ("meter", "history", "roof", "--by", "hour")
    street.until(lambda found: sum(e["export_milli_wh"] for e in found) > 30_000, *by_hour)
    assert "kWh out" in ioe(*by_hour).out
    assert street.read("meter", "samples", home="roof")[0]["power_milli_w"] == -36_000_000

    for name in ("roof.csv", "roof.xml", "roof.parquet"):
        file = tmp_path / name
        assert "points in" in ioe("meter", "export", str(file), "--device", "roof").out
        if name != "roof.parquet":
            said = ioe("meter", "import", str(file), "--device", "roof", "--source", name).out
            assert "nothing of it is on a chain" in said
            again = tmp_path / f"again-{name}"
            ioe("meter", "export", str(again), "--device", "roof", "--source", name)
            kind = "espi" if name.endswith("xml") else "csv"
            assert read_file(again, kind) == read_file(file, kind)
    csv_file = str(tmp_path / "roof.csv")
    before = (tmp_path / "roof.csv").read_bytes()
    assert "--force" in ioe("meter", "export", csv_file, "--device", "roof", code=1).err
    assert (tmp_path / "roof.csv").read_bytes() == before
    ioe("meter", "export", csv_file, "--device", "roof", "--force")
    with (tmp_path / "roof.csv").open(newline="") as text:
        (row, *_) = csv.DictReader(text)
    assert row["import_kwh"] == "0"
    assert float(row["export_kwh"]) > 0
    listed = ioe("meter", "sources").out
    assert "imported: roof.xml" in listed
    assert "metered, on its chain" in listed

    (tmp_path / "bad.csv").write_text("start,end,import_kwh\nsoon,later,1\n")
    said = ioe("meter", "import", str(tmp_path / "bad.csv"), code=1).err
    assert "line 2" in said
    assert "nothing was imported" in said
    assert ioe("meter", "export", "/nowhere/x.csv", "--device", "roof", code=1).err

    ioe("meter", "changed", "roof", "--reason", "replaced", "--serial", "77-1")
    street.until(
        lambda found: [e for e in found if e["kind"] == "meter" and "replaced" in e["text"]],
        "alerts",
    )
    shown = street.read("meter", "history", json.loads(ioe("device", "list", "--json").out)[
        "owned"][0]["device"])  # fmt: skip
    assert [each["change"] for each in shown if each["change"]] == [
        {"reason": "replaced", "serial": "77-1"}
    ]
    assert "done" in ioe("meter", "rebuild").out
    assert street.read(*by_hour)
    assert "--by" in ioe("meter", "history", "--from", "2026-01-01", code=1).err


def test_a_file_too_large_is_not_even_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ioe_node.cli.meter_files.FILE_BYTES_MAX", 10)
    file = tmp_path / "large.xml"
    file.write_bytes(b"<" * 11)
    with pytest.raises(LocalError, match="more than 10 bytes"):
        read_file(file, "espi")


@pytest.mark.parametrize("at", [("--to", "0001-01-02"), ("--from", "9999-12-31"), ("--to", "soon")])
def test_a_time_that_no_calendar_here_has_is_said(ioe: Any, at: tuple[str, str]) -> None:
    ioe("init", "--address", "127.0.0.1")
    assert "is no date of 1970 to 2099" in ioe("meter", "history", "--by", "month", *at, code=1).err


def test_readings_go_on_under_the_keys_before(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {None: b"old", b"old": b"older", b"older": None}

    def zome(_home: Any, _community: Any, _zome: str, function: str, **payload: Any) -> Any:
        if function == "before":
            return keys[payload["device"]]
        return [{"of": payload["device"]}] * min(2, payload["limit"])

    monkeypatch.setattr(meter.client, "zome", zome)

    def newest(limit: int) -> list[Any]:
        return [each["of"] for each in meter._newest(Path(), None, None, limit)]

    assert newest(2) == [None, None]
    assert newest(5) == [None, None, b"old", b"old", b"older"]
    assert len(newest(9)) == 6

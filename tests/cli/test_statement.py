"""Statements as text and files."""

import csv
import io
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from ioe_node.cli.statement import INCOMPLETE, SHORT, _write, cells, columns, csv_of, notes, span_of
from ioe_node.cli.statement_page import page_of
from ioe_node.errors import LocalError
from ioe_node.model.hashes import agent_key

HOUR_US = 3_600_000_000
ROW: dict[str, Any] = {
    "member": agent_key(bytes(32)),
    "devices": 1,
    "complete": True,
    "imported_milli_wh": 5_000_000,
    "exported_milli_wh": 0,
    "bought_milli_wh": 1_234_567,
    "sold_milli_wh": 0,
    "paid_micro": 1_234_567,
    "earned_micro": 0,
    "fees_micro": 0,
    "sent_micro": 0,
    "received_micro": 0,
    "saved_micro": -370_370,
    "co2_milli_g": 82_000,
    "co2_saved_milli_g": None,
    "unweighed_milli_wh": 3_000_000,
}


def test_a_month_is_the_local_calendars() -> None:
    name, begin, end = span_of("2026-03", ZoneInfo("Europe/Berlin"))
    assert (name, end - begin) == ("2026-03", (31 * 24 - 1) * HOUR_US)
    assert span_of("2026-12", ZoneInfo("UTC"))[2] == span_of("2027-01", ZoneInfo("UTC"))[1]
    for wrong in ("2026", "2026-13", "1969-12", "May 2026"):
        with pytest.raises(LocalError, match="no month"):
            span_of(wrong, ZoneInfo("UTC"))


def test_a_table_is_exact() -> None:
    (row,) = csv.DictReader(io.StringIO(csv_of("2026-05", [ROW])))
    assert row["month"] == "2026-05"
    assert row["bought_milli_wh"] == "1234567"
    assert row["saved_micro"] == "-370370"
    assert (row["co2_milli_g"], row["co2_saved_milli_g"]) == ("82000", "")
    assert row["complete"] == "yes"


def test_co2_is_in_kilograms_or_not_known() -> None:
    said = dict(zip(columns(), cells(ROW), strict=True))
    assert said["CO2 of what was used, kg"] == "0.082"
    assert said["CO2 saved against the grid alone, kg"] == "not known"
    assert said["CO2 not known of, kWh"] == "3.000"
    assert len(SHORT) == len(columns())


def test_a_page_shows_every_figure_and_runs_nothing() -> None:
    page = page_of("2026-05", columns(), [cells(ROW)], notes([{**ROW, "complete": False}]))
    assert all(text in page for text in (*columns(), *cells(ROW), INCOMPLETE))
    assert "-0.370" in page
    hostile = "<script>alert('1')</script>"
    page = page_of(hostile, ["member", "x"], [[hostile, "1"], ["a&b", "2"]], [hostile])
    assert "<script" not in page
    assert "a&amp;b" in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_statement_overwrites_nothing(tmp_path: Path) -> None:
    path = tmp_path / "may.csv"
    _write(path, "first")
    with pytest.raises(LocalError, match="there already"):
        _write(path, "second")
    assert path.read_text() == "first"
    with pytest.raises(LocalError, match="another place"):
        _write(tmp_path / "nowhere" / "may.csv", "x")

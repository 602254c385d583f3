"""`ioe trader why`: the traders' decisions among those of all apps."""

import json
from typing import Any

import pytest

from ioe_node.cli import client

WHY = "offer 0.500 kWh from 0.100 on: to keep it is worth 0.000, by the last 14 days"
DECIDED: dict[str, Any] = {
    "at_us": 1_767_261_600_000_000,
    "what": "sell",
    "why": WHY,
    "micro_per_kwh": 100_000,
}
APPS: list[dict[str, Any]] = [
    {"device_name": "roof", "name": "trader", "decisions": [DECIDED]},
    {"device_name": "kettle", "name": "demand", "decisions": [DECIDED]},
]


def test_only_traders_are_shown(ioe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "call", lambda *_: APPS)
    said = " ".join(ioe("trader", "why").out.split())
    assert "roof" in said
    assert "0.100" in said
    assert "by the last 14 days" in said
    assert "kettle" not in said
    assert [each["device_name"] for each in json.loads(ioe("trader", "why", "--json").out)] == [
        "roof"
    ]


def test_without_a_trader_it_says_where_to_name_one(
    ioe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "call", lambda *_: APPS[1:])
    assert "[[app]]" in ioe("trader", "why").out

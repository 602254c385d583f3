"""`ioe app`: what a person reads of the apps beside all devices of an owner."""

import json
from typing import Any

import pytest

from ioe_node.cli import client
from ioe_node.model.signing import Signer

AGENT = Signer(b"a" * 32).agent
DECIDED: dict[str, Any] = {
    "at_us": 1_767_261_600_000_000,
    "what": "claimed",
    "why": "saved\x1b[2J",
    "micro_per_kwh": None,
    "threshold_micro": None,
    "saved_milli_wh": 78_000,
    "earns_micro": 39_000,
}
APPS: list[dict[str, Any]] = [
    {
        "device": AGENT,
        "device_name": "heater",
        "name": "demand",
        "settings": {"enabled": True},
        "schema": {},
        "decisions": [DECIDED],
        "why": "",
    },
    {
        "device": AGENT,
        "device_name": "kettle",
        "name": None,
        "settings": {},
        "schema": {},
        "decisions": [],
        "why": "its node does not answer",
    },
]


def test_the_apps_of_all_devices_are_listed_and_who_is_away(
    ioe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "call", lambda *_: APPS)
    said = ioe("app", "list").out
    for text in ("heater: demand", "enabled = True", "which earns 0.039"):
        assert text in said
    assert "kettle: its node does not answer" in said
    assert "\x1b" not in said
    assert json.loads(ioe("app", "list", "--json").out)[1]["name"] is None

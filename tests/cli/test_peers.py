"""`ioe peers` and `ioe warrant`: what a person reads of a charge, a fork, a lie."""

import json
from typing import Any

import pytest

from ioe_node.cli import client
from ioe_node.model.hashes import action_hash, to_text, warrant_hash
from ioe_node.model.signing import Signer

AGENT, ACCUSER = Signer(b"a" * 32).agent, Signer(b"b" * 32).agent
HASH = warrant_hash(b"a warrant")
AT_US = 1_767_261_600_000_000
PEER: dict[str, Any] = {
    "agent": AGENT,
    "name": "roof\x1b[2J",
    "role": "device",
    "arc": "full",
    "addresses": ["/ip4/192.0.2.7/tcp/4001"],
    "asked_at_us": AT_US,
    "score_points": 0,
    "charges": 0,
    "last_charge": "",
    "last_charge_us": 0,
    "shunned_s": 0,
    "slowed": False,
    "warranted": False,
    "refuses_us": "",
}
WARRANT: dict[str, Any] = {
    "hash": HASH,
    "agent": AGENT,
    "kind": "ChainFork",
    "accuser": ACCUSER,
    "accused": AGENT,
    "accused_at_us": AT_US,
    "kept_at_us": AT_US + 60_000_000,
    "reason": "",
}
EVIDENCE: dict[str, Any] = {
    "stands": True,
    "finding": "both signatures are the accused's own; nothing else is needed",
    "actions": [
        {
            "seq": 7,
            "type": "Create",
            "entry_type": "metering.IntervalReading",
            "hash": action_hash(bytes([number]), AGENT),
            "timestamp_us": AT_US,
            "bundle_place": 0,
            "bundle_size": 1,
        }
        for number in (1, 2)
    ],
    "bundle_actions": 2,
}


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Any:
    def set_to(value: Any) -> None:
        monkeypatch.setattr(client, "call", lambda *_, **__: value)

    return set_to


@pytest.mark.parametrize(
    ("changed", "seen"),
    [
        ({}, "good"),
        ({"asked_at_us": 0}, "never"),
        ({"arc": "zero"}, "zero"),
        ({"slowed": True, "score_points": 60}, "slowed"),
        ({"slowed": True, "shunned_s": 77}, "refused for 77 s"),
        ({"warranted": True, "shunned_s": 77}, "warranted"),
        ({"refuses_us": "no"}, "refuses us"),
        ({"charges": 3, "last_charge": "junk", "last_charge_us": AT_US}, ": junk"),
    ],
)
def test_a_peer_is_a_line(ioe: Any, answer: Any, changed: dict[str, Any], seen: str) -> None:
    answer([{**PEER, **changed}])
    shown = ioe("peers").out
    assert seen in shown
    assert to_text(AGENT) in shown
    assert "/ip4/192.0.2.7/tcp/4001" in shown
    assert "\x1b" not in shown


def test_warrants_are_listed_and_are_json(ioe: Any, answer: Any) -> None:
    answer([WARRANT])
    shown = ioe("warrant", "list").out
    assert "two different actions at one place" in shown
    assert to_text(HASH)[:13] in shown
    assert json.loads(ioe("warrant", "list", "--json").out)[0]["agent"] == to_text(AGENT)


def test_a_fork_is_explained_by_both_of_its_actions(ioe: Any, answer: Any) -> None:
    answer({**WARRANT, **EVIDENCE})
    shown = ioe("warrant", "show", to_text(HASH)[:9]).out
    assert shown.count("action 7, Create metering.IntervalReading, 2026-01-01") == 2
    assert "it stands: both signatures" in shown
    for agent in (AGENT, ACCUSER):
        assert to_text(agent) in shown


@pytest.mark.parametrize(
    ("changed", "seen"),
    [
        (
            {"kind": "InvalidRecord", "reason": "energy is\x1b never negative"},
            "the rule says: energy is\N{REPLACEMENT CHARACTER} never negative",
        ),
        ({"kind": "InvalidRecord", "bundle_actions": 9}, "with the 8 before it in its bundle"),
        ({"kind": "Revoked"}, "been revoked, by its owner or its key-holders"),
        (
            {"kind": "Revoked", "reason": "sto\x1blen"},
            "the reason given: sto\N{REPLACEMENT CHARACTER}len",
        ),
        ({"kind": "Revoked"}, "told by uhCAk"),
        ({"kind": "DoubleSeal"}, "sealed one action in two different bundles"),
        ({"kind": "FalseWarrant", "stands": False, "finding": "valid"}, "it stands: valid"),
        ({"kind": "FalseWarrant", "accused": ACCUSER}, "whom it accused: uhCAk"),
        ({"stands": False, "finding": "no"}, "it does NOT stand: no"),
        ({"stands": None, "finding": "not here"}, "cannot be said yet: not here"),
    ],
)
def test_evidence_is_told_in_words(
    ioe: Any, answer: Any, changed: dict[str, Any], seen: str
) -> None:
    answer({**WARRANT, **EVIDENCE, **changed})
    assert seen in ioe("warrant", "show", "uhC").out


def test_what_peers_refuse_us_by_is_plain_text(ioe: Any, answer: Any) -> None:
    said = "your key was\x1b[2J revoked"
    community = {
        **dict.fromkeys(("authorities_whole", "authorities", "median_lacks", "owed"), 0),
        **dict.fromkeys(("actions", "unpublished", "ops_held", "records_refused"), 0),
        **{"community": "street", "confirmed": True, "arc": "full", "peers": [], "slowed": []},
        **{"limbo_rows": 0, "faults": [f"most refuse us: {said}"], "refused_by": [said]},
    }
    node = {"role": "owner", "agent": AGENT, "code": None, "driver": None}
    node |= {"addresses": [], "serves": {}, "mqtt": None}
    answer({**node, "faults": [], "communities": [community], "alerts": []})
    shown = ioe("status").out
    assert "FAULT street: most refuse us: your key was" in shown
    assert "REFUSED by others in street: your key was" in shown
    assert "\x1b" not in shown

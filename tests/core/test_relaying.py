"""What a relay counts."""

import pytest

from ioe_node.core import relaying
from ioe_node.core.relaying import RESERVED_FOR_US, Ledger
from ioe_node.model.hashes import AgentPubKey
from ioe_node.model.signing import Signer

ONE, TWO, THREE = (Signer(bytes([each]) * 32).agent for each in (1, 2, 3))


def test_a_place_is_kept_for_its_time_and_renewed() -> None:
    ledger = Ledger()
    assert not ledger.holds(ONE, 0)
    assert ledger.reserve(ONE, 0)
    assert ledger.holds(ONE, RESERVED_FOR_US - 1)
    assert not ledger.holds(ONE, RESERVED_FOR_US)
    assert ledger.reserve(ONE, RESERVED_FOR_US - 1)
    assert ledger.holds(ONE, RESERVED_FOR_US + 1)


def test_a_full_relay_drops_nobody_for_a_newcomer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relaying, "RESERVATIONS_MAX", 2)
    ledger = Ledger()
    assert ledger.reserve(ONE, 0)
    assert ledger.reserve(TWO, 1)
    assert not ledger.reserve(THREE, 2)
    assert ledger.reserve(ONE, 2), "who has a place keeps it"
    assert ledger.reserve(THREE, RESERVED_FOR_US + 1), "a place that has ended is free"
    assert not ledger.holds(TWO, RESERVED_FOR_US + 1)


def test_circuits_are_counted_while_they_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relaying, "CIRCUITS_PER_PEER_MAX", 2)
    ledger = Ledger()
    with ledger.circuit(ONE, TWO), ledger.circuit(THREE, TWO):
        assert not ledger.has_room(ONE, TWO)
        assert ledger.has_room(ONE, THREE)
        monkeypatch.setattr(relaying, "CIRCUITS_MAX", 2)
        assert not ledger.has_room(ONE, THREE)
    assert ledger.circuits == 0
    assert ledger.has_room(ONE, TWO)
    forgotten: dict[AgentPubKey, int] = ledger._circuits
    assert set(forgotten) == set(), "who has none costs no memory"

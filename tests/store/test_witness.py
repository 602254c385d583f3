"""Duties are flushed and stay; certificates cover what they rest on."""

import sqlite3
from pathlib import Path

import pytest

from ioe_node.core.witness import Duty
from ioe_node.errors import StoreError
from ioe_node.model.finality import Certificate, Lineage, Mark
from ioe_node.model.hashes import action_hash
from ioe_node.model.record import Proof, WireRecord
from ioe_node.model.signing import Signer
from ioe_node.store import witness as witness_module
from ioe_node.store.store import Store
from ioe_node.store.witness import WitnessRows

AUTHOR = Signer(bytes(32)).agent
HASH = bytes(AUTHOR)
WIRE = WireRecord(b"action", Proof(bytes(64)), None)
LINEAGE = Lineage(WIRE, ())
DUTY = Duty(LINEAGE, ((1, HASH),), WIRE)


def certificate(seq: int) -> Certificate:
    return Certificate(seq, HASH, LINEAGE, (Mark(0, bytes(64)),))


def test_a_duty_is_there_after_a_restart(tmp_path: Path) -> None:
    store = Store(tmp_path / "a.db")
    rows = WitnessRows(store)
    assert rows.duty(AUTHOR) is None
    rows.bind(AUTHOR, DUTY)
    later = Duty(LINEAGE, ((1, HASH), (2, HASH)), WIRE, 3)
    rows.bind(AUTHOR, later)
    store.close()
    again = Store(tmp_path / "a.db")
    assert WitnessRows(again).duty(AUTHOR) == later
    again.close()


def test_a_duty_is_flushed_and_other_commits_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "a.db")
    rows = WitnessRows(store)
    levels: list[int] = []

    def level() -> int:
        return int(store._db.execute("PRAGMA synchronous").fetchone()[0])

    def noted(duty: Duty) -> bytes:
        levels.append(level())
        return b""

    normal = level()
    monkeypatch.setattr(witness_module, "encode", noted)
    rows.bind(AUTHOR, DUTY)
    assert levels == [2]
    assert level() == normal == 1
    store.close()


def test_what_is_not_written_is_not_promised(tmp_path: Path) -> None:
    store = Store(tmp_path / "a.db")
    rows = WitnessRows(store)
    with sqlite3.connect(tmp_path / "a.db") as other:
        other.execute("DROP TABLE duty")
    other.close()
    with pytest.raises(StoreError):
        rows.bind(AUTHOR, DUTY)
    assert store._db.execute("PRAGMA synchronous").fetchone()[0] == 1
    store.close()


def test_a_later_certificate_covers_an_earlier_action(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(witness_module, "CERTIFICATES_PER_AUTHOR_MAX", 2)
    store = Store(tmp_path / "a.db")
    rows = WitnessRows(store)
    assert rows.covering(AUTHOR, 0) is None
    for seq in (1, 5, 9):
        rows.save(AUTHOR, certificate(seq))
    assert rows.newest(AUTHOR) == certificate(9)
    assert rows.covering(AUTHOR, 6) == certificate(9)
    assert rows.covering(AUTHOR, 1) == certificate(5), "the oldest has gone"
    assert rows.covering(AUTHOR, 10) is None
    store.close()


def test_standings_are_remembered(tmp_path: Path) -> None:
    store = Store(tmp_path / "a.db")
    rows = WitnessRows(store)
    rows.save_standings([(AUTHOR, WIRE)])
    rows.save_standings([(AUTHOR, WIRE)])
    assert rows.standings() == [WIRE]
    rows.save_standings([], [AUTHOR])
    assert rows.standings() == []
    store.close()


def test_a_loss_ends_every_duty(tmp_path: Path) -> None:
    store = Store(tmp_path / "a.db")
    rows = WitnessRows(store)
    rows.bind(AUTHOR, DUTY)
    assert rows.lost_us() is None
    rows.forget(7)
    rows.forget(5)
    assert rows.lost_us() == 7, "a clock set back gives no memory back"
    assert rows.duty(AUTHOR) is None
    store.close()
    again = Store(tmp_path / "a.db")
    assert WitnessRows(again).lost_us() == 7
    again.close()


def test_what_was_shown_to_be_final_stays_so_without_its_chain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(witness_module, "CERTIFICATES_PER_AUTHOR_MAX", 2)
    store = Store(tmp_path / "a.db")
    rows = WitnessRows(store)
    action = action_hash(b"below", AUTHOR)
    assert not rows.is_final(action)
    assert rows.proved(action) is None
    rows.save_proved(action, AUTHOR, (certificate(5), (b"link",)))
    for seq in (7, 9, 11, 13):
        rows.save(AUTHOR, certificate(seq))
    assert rows.covering(AUTHOR, 6) == certificate(11), "the older have gone"
    store.close()
    again = Store(tmp_path / "a.db")
    rows = WitnessRows(again)
    assert rows.is_final(action)
    assert rows.certificate(action) == certificate(5)
    assert rows.proved(action) == (certificate(5), (b"link",))
    assert not rows.is_final(action_hash(b"other", AUTHOR))
    again.close()

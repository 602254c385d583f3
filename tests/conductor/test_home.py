"""The directory: one process at a time; small files whole or as they were."""

import errno
import os
from pathlib import Path

import pytest

from ioe_node.conductor.home import Home, Pending, State
from ioe_node.errors import DiskFull, LocalError, StoreError

STATE = State((b"one",), (Pending(b"n" * 39, b"d" * 39, "storage", "cellar"),), 3)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "node")
    home.create()
    return home


def test_the_directory_is_its_owners_alone(home: Home) -> None:
    home.keep(STATE)
    assert home.path.stat().st_mode & 0o777 == 0o700
    assert {each.stat().st_mode & 0o777 for each in home.path.glob("*.json")} == {0o600}


def test_a_directory_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalError, match="cannot make"):
        Home(tmp_path / "file" / "node").create()
    with pytest.raises(LocalError, match="cannot use"), Home(tmp_path / "none").lock():
        pass


def test_state_comes_back(home: Home) -> None:
    assert home.state() == State()
    home.keep(STATE)
    assert home.state() == STATE


def test_a_write_that_fails_leaves_what_was_there(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.keep(STATE)

    def fail(code: int) -> None:
        def fsync(descriptor: int) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "fsync", fsync)

    for code, error in ((errno.ENOSPC, DiskFull), (errno.EIO, StoreError)):
        fail(code)
        with pytest.raises(error, match=r"cannot write .*cells\.json"):
            home.keep(State())
        assert home.state() == STATE


def test_a_second_process_is_refused_and_the_lock_comes_free(home: Home) -> None:
    with home.lock(), pytest.raises(LocalError, match="already runs"), home.lock():
        pass
    with home.lock():
        pass


def test_wiping_leaves_the_machine_its_own_and_nothing_of_a_life(home: Home) -> None:
    for kept in (home.config, home.keystore, home.unlock, home.control):
        kept.write_text("kept")
    for gone in (home.path / "policy", home.path / "cells" / "one.sqlite-wal"):
        gone.write_text("gone")
    home.keep(STATE)
    home.wipe()
    home.wipe()
    left = {each.name for each in home.path.iterdir()}
    assert left == {"config.toml", "keystore", "unlock", "control.json", "cells", "cells.json"}
    assert not [*(home.path / "cells").iterdir()]
    assert home.state() == STATE, "until the state says otherwise it is wiped again"

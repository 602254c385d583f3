"""Verifying from the disk alone: every chain held, whoever wrote it, whatever else is broken."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from dna.neighbourhood import DNA
from ioe_node.conductor.home import Home
from ioe_node.conductor.verify import verify_home
from ioe_node.errors import LocalError

KNOWN = {DNA.name: DNA}


def store_of(node: Any) -> Path:
    (path,) = (node.home.path / "cells").glob("*.sqlite")
    return Path(path)


async def test_every_chain_held_is_named(claimed: Any, autojump: Any) -> None:
    owner, roof = await claimed()
    for node in (owner, roof):
        found = {each["agent"]: each for each in verify_home(node.home, KNOWN)}
        assert set(found) == {owner.agent, roof.agent}
        assert not any(each["fault"] for each in found.values())
        assert found[owner.agent]["actions"] == 6


async def test_a_break_in_one_chain_leaves_the_others_verified(claimed: Any, autojump: Any) -> None:
    owner, roof = await claimed()
    await owner.stop()
    with sqlite3.connect(store_of(owner)) as db:
        (agent,) = db.execute("SELECT id FROM agent WHERE key=?", (roof.agent,)).fetchone()
        db.execute("DELETE FROM record WHERE id = ?", (agent << 32 | 1,))
    db.close()
    found = {each["agent"]: each["fault"] for each in verify_home(owner.home, KNOWN)}
    assert found[owner.agent] is None
    assert found[roof.agent].startswith("action ")


async def test_a_file_that_is_no_database_is_one_row(claimed: Any, autojump: Any) -> None:
    owner, _ = await claimed()
    await owner.stop()
    store_of(owner).write_bytes(b"junk" * 4096)
    (found,) = verify_home(owner.home, KNOWN)
    assert found["agent"] is None
    assert "not a database" in found["fault"]


def test_a_home_that_is_none_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="ioe init"):
        verify_home(Home(tmp_path / "none"), KNOWN)
    home = Home(tmp_path / "node")
    home.create()
    assert verify_home(home, KNOWN) == []

"""Communities founded and joined, and what a broken or full disk does to a running node."""

import sqlite3
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio

from ioe_node.conductor import conductor as conductor_module
from ioe_node.conductor.home import State
from ioe_node.conductor.invitation import Invitation, parse_invitation
from ioe_node.errors import CallError, DiskFull, LocalError, StoreError, TransportError
from ioe_node.hdk import DnaDef
from ioe_node.model.codec import encode
from ioe_node.store.store import Store
from tests.conductor.steps import invited

HISTORY: dict[str, Any] = {"zome": "metering", "function": "history", "payload": {}}


def store_of(node: Any) -> Path:
    (path,) = (node.home.path / "cells").glob("*.sqlite")
    return Path(path)


async def test_an_invited_owner_joins_and_stays_over_a_restart(
    founded: Any, street: Any, autojump: Any
) -> None:
    owner, guest = await founded(), await street.owner("guest", b"g" * 32)
    line = await invited(owner, guest)
    joined = await guest.call("community_join", invitation=f" {line[:40]}\n{line[40:]} ")
    assert joined["community"].startswith("street-")
    await guest.until(lambda found: found["communities"][0]["peers"] == [owner.agent])
    await guest.stop()
    await guest.start()
    (found,) = await guest.call("community_list")
    assert not found["steward"]
    with pytest.raises(CallError, match="in that community already"):
        await guest.call("community_join", invitation=line)
    assert len(guest.home.state().cells) == 1


async def test_a_member_brings_devices_and_no_members(
    founded: Any, street: Any, autojump: Any
) -> None:
    owner = await founded()
    guest, third = await street.owner("guest", b"g" * 32), await street.owner("third", b"t" * 32)
    await guest.call("community_join", invitation=await invited(owner, guest))
    with pytest.raises(CallError, match="we may not invite here"):
        await invited(guest, third)
    await street.device()
    await guest.until(lambda found: found["near"], "device_list")
    await guest.call("device_claim", device="roof", code="1234-5678")
    await guest.until(
        lambda found: found["owned"] and found["owned"][0]["acknowledged"], "device_list"
    )
    await owner.until(lambda found: len(found["communities"][0]["peers"]) == 2)


async def test_an_invitation_that_is_cut_or_mistyped_says_so(
    founded: Any, street: Any, autojump: Any
) -> None:
    owner, guest = await founded(), await street.owner("guest", b"g" * 32)
    line = await invited(owner, guest)
    for broken in (line[:-9], line[:60], line[:50] + "~" + line[51:], "ioe1", "", "x" + line):
        with pytest.raises(CallError, match="paste the whole line"):
            await guest.call("community_join", invitation=broken)
    assert guest.home.state() == State()


async def test_an_invitation_for_another_agent_leaves_nothing_behind(
    founded: Any, street: Any, autojump: Any
) -> None:
    owner = await founded()
    guest, third = await street.owner("guest", b"g" * 32), await street.owner("third", b"t" * 32)
    line = await invited(owner, third)
    with pytest.raises(CallError, match="an invitation for another agent"):
        await guest.call("community_join", invitation=line)
    assert guest.home.state() == State()
    assert not [*(guest.home.path / "cells").iterdir()]
    assert (await guest.call("status"))["faults"] == []


async def test_an_invitation_to_other_rules_names_them(
    founded: Any, street: Any, autojump: Any
) -> None:
    owner, guest = await founded(), await street.owner("guest", b"g" * 32)
    good = parse_invitation(await invited(owner, guest))

    def changed(**fields: Any) -> str:
        before = {name: getattr(good, name) for name in good.__struct_fields__}
        return Invitation(**{**before, **fields}).text()

    for line, why in (
        (changed(dna_hash=owner.agent), "differ here"),
        (changed(seed="elsewhere"), "differ here"),
        (changed(dna_name="chess"), "add it to 'dnas'"),
        (changed(properties=encode([1])), "do not fit"),
    ):
        with pytest.raises(LocalError, match=why):
            await guest.call("community_join", invitation=line)
    assert guest.home.state() == State()


async def test_only_an_owner_founds_joins_and_claims(near: Any, autojump: Any) -> None:
    owner, roof = await near()
    asked = {"agent": roof.agent, "recovery": bytes(32)}
    line = await owner.call("community_invite", **asked)
    with pytest.raises(CallError, match="when it is claimed"):
        await roof.call("community_join", invitation=line["invitation"])
    with pytest.raises(CallError, match="only an owner"):
        await roof.call("community_create", name="mine", amend={})
    with pytest.raises(CallError, match="only an owner"):
        await roof.call("device_claim", device="roof", code="1234-5678")


@pytest.mark.parametrize("name", ["", "x" * 49, "a\x1b[2J", "two\nlines"])
async def test_a_community_has_a_name_that_fits(street: Any, autojump: Any, name: str) -> None:
    owner = await street.owner()
    with pytest.raises(CallError, match="a community's name"):
        await owner.call("community_create", name=name, amend={})


async def test_a_property_that_is_none_or_of_another_type_is_refused(
    street: Any, autojump: Any
) -> None:
    owner = await street.owner()
    with pytest.raises(CallError, match="no property 'prize_bp'"):
        await owner.call("community_create", name="street", amend={"prize_bp": 1})
    with pytest.raises(LocalError, match="do not fit"):
        await owner.call("community_create", name="street", amend={"price_bp": "much"})
    with pytest.raises(CallError, match="not in the config"):
        await owner.call("community_create", name="street", amend={}, dna="chess")
    assert owner.home.state() == State()


async def test_of_two_communities_one_must_be_named(founded: Any, autojump: Any) -> None:
    owner = await founded()
    await owner.call("community_create", name="feeder", amend={})
    with pytest.raises(CallError, match=r"--community: feeder-.*, street-"):
        await owner.call("zome_call", **HISTORY)
    assert await owner.call("zome_call", **HISTORY, community="feed") == []


async def test_a_call_in_no_community_says_how_to_get_into_one(street: Any, autojump: Any) -> None:
    owner = await street.owner()
    with pytest.raises(CallError, match="community create"):
        await owner.call("zome_call", **HISTORY)


async def test_corrupt_state_stops_the_start_in_one_line(founded: Any, autojump: Any) -> None:
    owner = await founded()
    await owner.stop()
    path = owner.home.path / "cells.json"
    good = path.read_bytes()
    for broken in (good[:-20], b"\xff" + good, b'{"cells": ["!"]}', b'{"cells": ["AAAA"]}'):
        path.write_bytes(broken)
        with pytest.raises(StoreError, match=r"cells\.json.*restore it") as refused:
            owner.home.invitations()
        assert "\n" not in str(refused.value)
        with pytest.RaisesGroup(pytest.RaisesExc(StoreError), flatten_subgroups=True):
            await owner.conductor.run()
    assert path.read_bytes() == b'{"cells": ["AAAA"]}', "what may be mended is not written over"


async def test_rules_that_changed_close_one_community_and_not_the_node(
    founded: Any, autojump: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = await founded()
    await owner.call("community_create", name="feeder", amend={})
    await owner.stop()
    definition = Invitation.definition

    def refuse_one(self: Invitation, known: dict[str, DnaDef]) -> DnaDef:
        if self.seed.startswith("street"):
            raise CallError("the rules of 'neighbourhood' differ here")
        return definition(self, known)

    monkeypatch.setattr(Invitation, "definition", refuse_one)
    await owner.start()
    found = await owner.call("status")
    assert [each["community"][:6] for each in found["communities"]] == ["feeder"]
    (fault,) = found["faults"]
    assert fault.startswith("street-")
    assert "differ here" in fault


def flip(path: Path, seq: int) -> None:
    """Turn one bit of the stored bytes of an action of the chain whose file this is."""
    with sqlite3.connect(path) as db:
        row, data = db.execute(
            "SELECT id, action FROM record WHERE id & 0xFFFFFFFF = ? LIMIT 1", (seq,)
        ).fetchone()
        spoilt = bytes([*data[:-1], data[-1] ^ 1])
        db.execute("UPDATE record SET action=? WHERE id=?", (spoilt, row))
    db.close()


@pytest.mark.parametrize("seq", [0, 1, 2])
async def test_a_flipped_bit_is_said_and_the_node_lives_on(
    founded: Any, autojump: Any, seq: int
) -> None:
    """The head of the chain (2) cannot be written on; before it, the rest still serves."""
    owner = await founded()
    await owner.stop()
    flip(store_of(owner), seq)
    await owner.start()
    found = await owner.until(lambda found: found["faults"])
    (fault,) = found["faults"]
    assert f"action {seq}" in fault
    assert "street-" in fault
    assert [each["kind"] for each in found["alerts"]].count("fault") == 1
    assert len(found["communities"]) == (0 if seq == 2 else 1)


async def test_a_file_that_is_no_database_is_said(founded: Any, autojump: Any) -> None:
    owner = await founded()
    await owner.stop()
    good = store_of(owner).read_bytes()
    store_of(owner).write_bytes(b"junk" * 4096)
    await owner.start()
    found = await owner.call("status")
    assert "not a database" in found["faults"][0]
    store_of(owner).write_bytes(good)
    await owner.until(lambda found: found["communities"] and not found["faults"])


Fill = Callable[[Any], Callable[[], None]]


@pytest.fixture
def fill(monkeypatch: pytest.MonkeyPatch) -> Fill:
    """Give a node's store no more pages, now and when it is opened again.

    What it returns gives them back.
    """

    def fill(node: Any) -> Callable[[], None]:
        (path,) = (cell.space.store.path for cell in node.conductor.cells.values())
        opened = Store.__init__
        full = True

        def limit(store: Store) -> None:
            found = store._db.execute("PRAGMA page_count").fetchone()[0]
            store._db.execute(f"PRAGMA max_page_count={found if full else 2**30}")

        def open_limited(self: Store, where: Path, *more: Any) -> None:
            opened(self, where, *more)
            if where == path:
                limit(self)

        def limit_open_ones() -> None:
            for cell in node.conductor.cells.values():
                limit(cell.space.store)

        def give_back() -> None:
            nonlocal full
            full = False
            limit_open_ones()

        monkeypatch.setattr(Store, "__init__", open_limited)
        limit_open_ones()
        return give_back

    return fill


async def test_a_full_disk_makes_readings_wait_and_loses_none(
    claimed: Any, autojump: Any, fill: Fill
) -> None:
    _, roof = await claimed()
    await roof.until(bool, "zome_call", **HISTORY)
    give_back = fill(roof)
    found = await roof.until(lambda found: "readings wait" in found["driver"]["why"])
    assert found["driver"]["state"] == "ok"
    assert "free space" in found["driver"]["why"]
    await trio.sleep(3)
    give_back()
    await roof.until(lambda found: found["driver"] == {"state": "ok", "why": "", "live": False})
    readings = await roof.call("zome_call", **HISTORY)
    assert len(readings) >= 3
    for newer, older in pairwise(readings):
        assert newer["start"] == older["end"]


async def test_a_full_disk_on_the_other_side_delays_and_loses_none(
    claimed: Any, autojump: Any, fill: Fill
) -> None:
    owner, roof = await claimed()
    give_back = fill(owner)
    found = await owner.until(lambda found: found["faults"])
    assert "free space" in found["faults"][0]
    with pytest.raises(CallError, match=r"closed: street-.*free space"):
        await owner.call("zome_call", **HISTORY)
    await roof.until(lambda found: len(found) > 20, "zome_call", **HISTORY)
    give_back()
    await owner.until(lambda found: not found["faults"])
    ours = await roof.call("zome_call", **HISTORY)
    theirs = {**HISTORY, "payload": {"device": roof.agent}}
    await owner.until(lambda found: found[-len(ours) :] == ours, "zome_call", **theirs)


async def test_a_device_that_is_away_or_refuses_is_in_the_status(
    claimed: Any, autojump: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, roof = await claimed()

    async def read(self: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("steady_meter.Steady.read", read)
        error: Exception = TransportError("the meter does not answer")
        found = await roof.until(lambda found: found["driver"]["state"] == "retrying")
        assert found["driver"]["why"] == "the meter does not answer"
    await roof.until(lambda found: found["driver"]["state"] == "ok")
    monkeypatch.setattr("steady_meter.Steady.read", read)
    error = LocalError("the meter wants another password")
    found = await roof.until(lambda found: found["driver"]["state"] == "stopped")
    assert found["driver"]["why"] == "the meter wants another password"
    assert len(found["communities"]) == 1, "it still holds what others wrote"


async def test_a_community_closed_by_a_full_disk_opens_again(
    founded: Any, autojump: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = await founded()
    await owner.stop()
    with monkeypatch.context() as patch:

        def full(self: Store) -> None:
            raise DiskFull("the disk refused to read warrants; free space, then retry")

        patch.setattr(Store, "warrants", full)
        await owner.start()
        found = await owner.call("status")
        assert "free space" in found["faults"][0]
        assert found["communities"] == []
        await trio.sleep(3 * conductor_module.CELL_RETRY_S)
        found = await owner.call("status")
        assert [each["kind"] for each in found["alerts"]] == ["fault"], "said once"
    found = await owner.until(lambda found: found["communities"])
    assert found["faults"] == []


async def test_a_community_that_cannot_be_written_down_is_not_founded(
    street: Any, autojump: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = await street.owner()

    def full(state: State) -> None:
        raise DiskFull("cannot write cells.json; free space")

    with monkeypatch.context() as patch:
        patch.setattr(owner.home, "keep", full)
        with pytest.raises(DiskFull, match="free space"):
            await owner.call("community_create", name="street", amend={})
    await trio.sleep(1)
    assert await owner.call("community_list") == []
    await owner.call("community_create", name="street", amend={})


async def test_two_nodes_do_not_share_a_directory(founded: Any, autojump: Any) -> None:
    owner = await founded()
    with pytest.raises(LocalError, match="already runs"):
        await owner.conductor.run()
    assert owner.home.control.exists(), "the first one's"
    assert len(await owner.call("community_list")) == 1

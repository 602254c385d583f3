"""Claiming: the right code, the wrong code, and a crash at each step between."""

import logging
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
import trio

from ioe_node.conductor import devices
from ioe_node.conductor.home import Home
from ioe_node.conductor.keystore import Keystore
from ioe_node.drivers.poller import CLOSED
from ioe_node.errors import CallError, LocalError, PairingRefused, StoreError, TransportError
from ioe_node.net.messages import Activity, Chain
from ioe_node.workflows import pages

CODE, WRONG = "1234-5678", "1111-2222"


async def test_a_claim_ends_in_both_words_and_a_meter_that_runs(
    claimed: Any, autojump: Any
) -> None:
    owner, roof = await claimed()
    assert roof.conductor.role == "device"
    found = await owner.call("device_list")
    assert [each["name"] for each in found["owned"]] == ["roof"]
    assert owner.home.state().pending == ()
    metered = await owner.until(
        bool, "zome_call", zome="metering", function="history", payload={"device": roof.agent}
    )
    assert metered[0]["export_milli_wh"] in (9_999, 10_000, 10_001)
    status = await roof.call("status")
    assert status["owner"] == owner.agent
    assert status["code"] is None
    assert status["driver"] == {"state": "ok", "why": "", "live": False}


async def test_a_wrong_code_is_refused_and_nothing_of_it_is_kept(near: Any, autojump: Any) -> None:
    owner, roof = await near()
    with pytest.raises(PairingRefused, match="read it off the device again") as refused:
        await owner.call("device_claim", device="roof", code=WRONG)
    assert refused.value.exit_code == 3
    assert owner.home.state().pending == ()
    with pytest.raises(LocalError, match="eight digits"):
        await owner.call("device_claim", device="roof", code="12")
    assert roof.conductor.role == "unowned"
    await owner.call("device_claim", device="roof", code=CODE)


async def test_attempts_are_limited_and_the_refusal_says_how_long(near: Any, autojump: Any) -> None:
    owner, roof = await near()
    for _ in range(5):
        with pytest.raises(PairingRefused, match="wrong"):
            await owner.call("device_claim", device="roof", code=WRONG)
    with pytest.raises(PairingRefused, match=r"try again in \d+ s"):
        await owner.call("device_claim", device="roof", code=CODE)
    assert roof.conductor.role == "unowned"


async def test_an_unknown_name_says_where_to_look(near: Any, autojump: Any) -> None:
    owner, _ = await near()
    for unknown in ("cellar", owner.agent):
        with pytest.raises(CallError, match="ioe device list"):
            await owner.call("device_claim", device=unknown, code=CODE)


async def test_an_owned_device_is_not_claimed_again(
    claimed: Any, autojump: Any, street: Any
) -> None:
    owner, roof = await claimed()
    other = await street.owner("other", b"o" * 32)
    await other.call("community_create", name="elsewhere", amend={})
    await other.until(lambda found: other.conductor.meeting.cards(), "status")
    for claimant in (owner, other):
        for name in ("roof", roof.agent):
            with pytest.raises(CallError, match="no such device without an owner"):
                await claimant.call("device_claim", device=name, code=CODE)


async def test_a_stale_card_of_an_owned_device_is_refused_by_name(
    near: Any, autojump: Any, street: Any
) -> None:
    """Between the claim and its new life the device still answers under its first key."""
    owner, _ = await near()
    card = owner.conductor.meeting.cards()[0]
    await owner.call("device_claim", device="roof", code=CODE)
    owner.conductor.meeting.nearby._cards[card.agent] = card
    with pytest.raises(PairingRefused, match="has an owner"):
        await owner.call("device_claim", device=card.agent, code=CODE)
    assert len(owner.home.state().pending) == 1


async def test_two_claims_at_once_are_one(near: Any, autojump: Any) -> None:
    owner, _ = await near()
    outcomes: list[object] = []

    async def claim() -> None:
        try:
            outcomes.append(await owner.call("device_claim", device="roof", code=CODE))
        except LocalError as error:
            outcomes.append(str(error))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(claim)
        nursery.start_soon(claim)
    assert sorted(type(each).__name__ for each in outcomes) == ["dict", "str"]
    assert any("claimed already" in str(each) for each in outcomes)
    found = await owner.until(lambda found: found["owned"], "device_list")
    assert len(found["owned"]) == 1


async def test_two_devices_of_one_name_are_told_apart_by_key(
    near: Any, autojump: Any, street: Any
) -> None:
    owner, _ = await near()
    twin = await street.device(folder="twin")
    await owner.until(lambda found: len(found["near"]) == 2, "device_list")
    with pytest.raises(CallError, match="several devices of that name"):
        await owner.call("device_claim", device="roof", code=CODE)
    await owner.call("device_claim", device=twin.agent, code=CODE)
    await twin.until(lambda found: found["role"] == "device")


async def test_two_devices_claimed_at_once_get_seeds_of_their_own(
    near: Any, autojump: Any, street: Any
) -> None:
    owner, _ = await near()
    await street.device("cellar")
    await owner.until(lambda found: len(found["near"]) == 2, "device_list")
    async with trio.open_nursery() as nursery:
        for name in ("roof", "cellar"):
            nursery.start_soon(lambda name=name: owner.call("device_claim", device=name, code=CODE))
    found = await owner.until(lambda found: len(found["owned"]) == 2, "device_list")
    assert len({each["device"] for each in found["owned"]}) == 2


async def test_an_owner_killed_after_the_claim_finishes_it(near: Any, autojump: Any) -> None:
    owner, roof = await near()
    await owner.call("device_claim", device="roof", code=CODE)
    owner.end()
    assert len(owner.home.state().pending) == 1
    await owner.stop()
    await owner.start()
    found = await owner.until(
        lambda found: found["owned"] and found["owned"][0]["acknowledged"], "device_list"
    )
    assert [each["device"] for each in found["owned"]] == [roof.agent]
    assert owner.home.state().pending == ()


async def test_an_owner_killed_after_enrolling_does_not_enrol_twice(
    near: Any, autojump: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, _ = await near()
    with monkeypatch.context() as patch:
        patch.setattr(devices, "_forget", lambda conductor, pending: None)
        await owner.call("device_claim", device="roof", code=CODE)
        await owner.until(lambda found: found["owned"], "device_list")
        await owner.stop()
    assert len(owner.home.state().pending) == 1
    await owner.start()
    await owner.until(lambda found: not owner.home.state().pending)
    assert len((await owner.call("device_list"))["owned"]) == 1


async def test_a_device_killed_right_after_keeping_the_grant_is_enrolled(
    near: Any, autojump: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, roof = await near()
    replace = roof.conductor.keystore.replace

    def replace_and_die(secrets: Mapping[str, bytes]) -> None:
        replace(secrets)
        trio.from_thread.run_sync(roof.end)

    monkeypatch.setattr(roof.conductor.keystore, "replace", replace_and_die)
    with pytest.raises(TransportError):
        await owner.call("device_claim", device="roof", code=CODE)
    assert len(owner.home.state().pending) == 1, "it may have taken the seed"
    await roof.stop()
    await roof.start()
    assert roof.conductor.role == "device"
    await owner.until(
        lambda found: found["owned"] and found["owned"][0]["acknowledged"], "device_list"
    )


async def test_a_device_killed_before_its_keys_are_kept_waits_for_an_owner_again(
    near: Any, autojump: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, roof = await near()
    monkeypatch.setattr(roof.conductor.keystore, "replace", lambda secrets: roof_dies())

    def roof_dies() -> None:
        trio.from_thread.run_sync(roof.end)
        raise StoreError("killed")

    with pytest.raises((TransportError, PairingRefused)):
        await owner.call("device_claim", device="roof", code=CODE)
    await roof.stop()
    await roof.start()
    assert roof.conductor.role == "unowned"
    await owner.call("device_claim", device="roof", code=CODE)
    await owner.until(lambda found: found["owned"], "device_list")


async def test_a_device_that_cannot_keep_its_keys_says_so_and_waits_on(
    near: Any, autojump: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, roof = await near()

    def full(self: Keystore, secrets: Mapping[str, bytes]) -> None:
        raise StoreError("no space")

    with monkeypatch.context() as patch:
        patch.setattr(Keystore, "replace", full)
        with pytest.raises(PairingRefused, match="cannot keep the claim: no space"):
            await owner.call("device_claim", device="roof", code=CODE)
    assert owner.home.state().pending == ()
    await owner.call("device_claim", device="roof", code=CODE)
    await roof.until(lambda found: found["role"] == "device")


async def test_an_owner_that_cannot_write_the_claim_gives_no_seed(
    near: Any, autojump: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, roof = await near()
    keep = Home.keep

    def full(self: Home, state: Any) -> None:
        if state.pending:
            raise StoreError("no space")
        keep(self, state)

    with monkeypatch.context() as patch:
        patch.setattr(Home, "keep", full)
        with pytest.raises(StoreError, match="no space"):
            await owner.call("device_claim", device="roof", code=CODE)
    await trio.sleep(2)
    assert roof.conductor.role == "unowned"
    await owner.call("device_claim", device="roof", code=CODE)


async def test_a_device_whose_chain_is_lost_and_nowhere_held_begins_no_other(
    claimed: Any, autojump: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, roof = await claimed()
    await roof.stop()
    for file in (roof.home.path / "cells").iterdir():
        file.unlink()
    honest = pages._activity

    def hold_nothing(space: Any, ask: Activity) -> Any:
        return Chain((), False) if space.agent == owner.agent else honest(space, ask)

    monkeypatch.setattr(pages, "_activity", hold_nothing)
    await roof.start()
    (fault,) = (await roof.call("status"))["faults"]
    assert "gone from its disk" in fault


async def test_a_device_goes_on_where_its_chain_ends(claimed: Any, autojump: Any) -> None:
    _, roof = await claimed()
    history = {"zome": "metering", "function": "history", "payload": {}}
    await roof.until(bool, "zome_call", **history)
    await roof.stop()
    await trio.sleep(3)
    await roof.start()
    count = len(await roof.call("zome_call", **history))
    found = await roof.until(lambda found: len(found) > count, "zome_call", **history)
    for newer, older in pairwise(found):
        assert newer["start"] == older["end"]
        grown = newer["export_register_milli_wh"] - older["export_register_milli_wh"]
        assert grown == newer["export_milli_wh"]


async def test_a_meter_whose_chain_is_closed_says_it_once_and_asks_no_more(
    claimed: Any, autojump: Any, caplog: pytest.LogCaptureFixture
) -> None:
    _, roof = await claimed()
    (cell,) = roof.conductor.cells.values()
    await roof.until(lambda found: found["driver"]["state"] == "ok")
    await cell.call("identity", "close", {"new_target": None})
    with caplog.at_level(logging.WARNING, "ioe.driver"):
        await trio.sleep(10)
    said = [each.getMessage() for each in caplog.records if each.name == "ioe.driver"]
    assert [each.partition(": ")[2] for each in said] == [CLOSED]
    status = await roof.call("status")
    assert status["driver"]["state"] == "ok"
    assert status["driver"]["why"].endswith(CLOSED)
    assert status["reading"]["switched_on"] is None

"""A policy on real nodes: given with the claim, changed later, and what a device then refuses."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from ioe_node.conductor.policy import StalePolicy, seal_policy
from ioe_node.conductor.policy_in_force import _devices, spread
from ioe_node.errors import (
    AgainstPolicy,
    Busy,
    CallError,
    Malformed,
    PairingRefused,
    Refused,
    StoreError,
    TransportError,
)
from ioe_node.hdi import AgentPubKey
from ioe_node.model.signing import Signer
from ioe_node.workflows.remote_call import call_remote
from tests.conductor.steps import invited

CODE = "1234-5678"
SCHEDULE = '[[schedule]]\nzome = "currency"\nfunction = "sell"\nevery_ms = 500\n[device.options]'


def policy(version: int, more: str = "") -> str:
    return f"version = {version}\n{more}"


def sealed(owner: Any, version: int, more: str = "") -> bytes:
    return seal_policy(owner.conductor.signer(), policy(version, more))


async def enrolled(owner: Any, name: str = "roof") -> None:
    await owner.call("device_claim", device="roof", code=CODE, name=name)
    await owner.until(
        lambda found: found["owned"] and found["owned"][0]["acknowledged"], "device_list"
    )


async def pay(payer: Any, payee: Any) -> Any:
    """The payee's meter may be writing just then, so a busy one is asked again."""
    payload = {"payee": payee.agent, "amount_micro": 1, "memo": ""}
    for _ in range(10):
        with suppress(Busy):
            return await payer.call("zome_call", zome="currency", function="pay", payload=payload)
        await trio.sleep(0.3)
    raise AssertionError("the payee is busy for good")


async def ask(asker: Any, asked: Any, zome: str, function: str) -> Any:
    (cell,) = asker.conductor.cells.values()
    return await call_remote(cell.space, asked.agent, zome, function, {}, None, 1)


async def test_a_device_lives_by_the_policy_that_came_with_its_claim(
    near: Any, autojump: Any
) -> None:
    owner, roof = await near()
    text = policy(1, "[automatic]\nsell = false\n[device.attic]\nvisibility = 'private'\n")
    assert await owner.call("policy_set", text=text) == {"version": 1}
    await enrolled(owner, "attic")
    for _ in range(2):
        shown = await roof.call("policy_show")
        assert (shown["source"], shown["text"]) == ("owner", text)
        assert shown["rules"]["visibility"] == "private", "by the name that its owner gave it"
        assert not shown["rules"]["automatic"]["sell"]
        await roof.stop()
        await roof.start()
    assert (await owner.call("policy_show"))["rules"]["automatic"]["sell"], "it is for devices"


async def test_without_a_policy_a_device_has_the_factorys_and_then_no_limits(
    near: Any, autojump: Any
) -> None:
    owner, roof = await near()
    shown = await roof.call("policy_show")
    assert shown["source"] == "factory"
    assert "pairing by its code" in shown["text"]
    assert shown["rules"]["deals"] == {"with": "nobody", "never": ()}
    assert roof.conductor.cells == {}
    await enrolled(owner)
    assert (await roof.call("policy_show"))["source"] == "default"
    with pytest.raises(CallError, match="only an owner's node"):
        await roof.call("policy_set", text=policy(1))


async def test_a_newer_one_replaces_it_and_no_older_one_and_nobody_elses(
    claimed: Any, autojump: Any
) -> None:
    owner, roof = await claimed()
    device = roof.conductor
    device.policy_received(sealed(owner, 2))
    device.policy_received(sealed(owner, 2))
    device.policy_received(sealed(owner, 5))
    for stale in (sealed(owner, 4), sealed(owner, 5, "visibility = 'private'")):
        with pytest.raises(StalePolicy):
            device.policy_received(stale)
    for alien in (seal_policy(Signer(b"x" * 32), policy(9)), b"", b"junk"):
        with pytest.raises(Malformed):
            device.policy_received(alien)
    told = [each["text"] for each in await roof.call("alerts") if each["kind"] == "policy"]
    assert [each.split()[2] for each in told] == ["2", "5"]
    await roof.stop()
    await roof.start()
    with pytest.raises(StalePolicy):
        roof.conductor.policy_received(sealed(owner, 4))


async def test_an_owner_is_told_which_version_is_next(founded: Any, autojump: Any) -> None:
    owner = await founded()
    await owner.call("policy_set", text=policy(3))
    with pytest.raises(CallError, match="give it version 4 or higher"):
        await owner.call("policy_set", text=policy(3, "visibility = 'private'"))
    with pytest.raises(CallError, match="no policy"):
        await owner.call("policy_set", text="version = ")
    assert (await owner.call("policy_show"))["text"] == policy(3)


async def test_with_whom_it_deals_is_kept_in_both_directions(claimed: Any, autojump: Any) -> None:
    owner, roof = await claimed()
    await pay(owner, roof)
    roof.conductor.policy_received(sealed(owner, 1, "[deals]\nwith = 'nobody'\n"))
    with pytest.raises(Refused, match="declined: this device deals with nobody") as refused:
        await pay(owner, roof)
    assert refused.value.code == "against-policy"
    with pytest.raises(AgainstPolicy, match="deals with nobody"):
        await pay(roof, owner)
    (peer,) = await roof.call("peers_list")
    assert peer["charges"] == 0, "the owner could not know"
    roof.conductor.policy_received(sealed(owner, 2, "[deals]\nwith = 'portfolio'\n"))
    await pay(owner, roof)


async def test_a_mere_member_is_not_of_the_portfolio_and_another_device_is(
    claimed: Any, street: Any, autojump: Any
) -> None:
    owner, roof = await claimed()
    guest = await street.owner("guest", b"g" * 32)
    await guest.call("community_join", invitation=await invited(owner, guest))
    cellar = await street.device("cellar")
    await owner.until(
        lambda found: "cellar" in [each["name"] for each in found["near"]], "device_list"
    )
    await owner.call("device_claim", device="cellar", code=CODE)
    await owner.until(lambda found: len(found["owned"]) == 2, "device_list")
    for node in (guest, cellar):
        await node.until(lambda found: roof.agent in found["communities"][0]["peers"])
    await roof.until(
        lambda found: cellar.agent in [each["device"] for each in found],
        "zome_call",
        zome="identity",
        function="portfolio",
        payload={"owner": owner.agent},
    )
    roof.conductor.policy_received(
        sealed(owner, 1, "[calls]\nby = 'portfolio'\n[deals]\nwith = 'portfolio'\n")
    )
    with pytest.raises(Refused, match="only the portfolio may call") as refused:
        await ask(guest, roof, "currency", "balance")
    assert refused.value.code == "against-policy"
    with pytest.raises(Refused, match="only with its owner") as refused:
        await pay(guest, roof)
    with pytest.raises(Refused, match="no capability"):
        await ask(cellar, roof, "currency", "balance")
    await pay(cellar, roof)


async def test_a_function_closed_to_others_is_open_to_the_owner_by_capability(
    claimed: Any, autojump: Any
) -> None:
    owner, roof = await claimed()
    roof.conductor.policy_received(sealed(owner, 1, "[calls]\nby = 'owner'\nclosed = ['metering']"))
    with pytest.raises(Refused, match="no capability") as refused:
        await ask(owner, roof, "metering", "history")
    assert refused.value.code == "unauthorised", "no policy gives what was not granted"


async def test_what_is_not_automatic_is_not_done(
    near: Any, autojump: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, roof = await near()
    await roof.stop()
    roof.text = roof.text.replace("[device.options]", "").replace(
        "power_milli_w = -36000000", SCHEDULE + "\npower_milli_w = -36000000"
    )
    await roof.start()
    await enrolled(owner)
    (cell,) = roof.conductor.cells.values()
    called: list[str] = []

    call = cell.call

    async def spied(zome: str, function: str, payload: Any) -> Any:
        called.append(function)
        return await call(zome, function, payload)

    monkeypatch.setattr(cell, "call", spied)
    await trio.sleep(2)
    assert "sell" in called
    roof.conductor.policy_received(sealed(owner, 1, "[automatic]\nsell = false\n"))
    called.clear()
    await trio.sleep(5)
    assert "sell" not in called


async def test_a_device_that_may_not_hold_gives_up_its_share(claimed: Any, autojump: Any) -> None:
    owner, roof = await claimed()
    await roof.until(lambda found: found["communities"][0]["arc"] == "full")
    roof.conductor.policy_received(sealed(owner, 1, "[automatic]\nhold = false\n"))
    await trio.sleep(2)
    await roof.until(
        lambda found: found["communities"] and found["communities"][0]["arc"] != "full"
    )
    (cell,) = roof.conductor.cells.values()
    assert not cell.space.holds


async def test_a_grant_with_a_false_policy_is_refused_whole(
    near: Any, autojump: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, roof = await near()
    false = seal_policy(Signer(b"x" * 32), policy(1))
    monkeypatch.setattr(type(owner.conductor.policy), "sealed", lambda self: false)
    with pytest.raises(PairingRefused, match="not the owner"):
        await owner.call("device_claim", device="roof", code=CODE)
    assert roof.conductor.role == "unowned"


async def test_a_damaged_policy_does_not_become_no_policy(claimed: Any, autojump: Any) -> None:
    owner, roof = await claimed()
    roof.conductor.policy_received(sealed(owner, 1, "[deals]\nwith = 'nobody'\n"))
    await roof.stop()
    path: Path = roof.home.path / "policy.json"
    for damaged in (b"", b"{", path.read_bytes().replace(b"A", b"B")):
        path.write_bytes(damaged)
        with pytest.raises(StoreError, match="restore it"):
            await roof.start()


async def test_every_device_gets_a_changed_policy_also_one_that_was_away(
    claimed: Any, autojump: Any, nursery: trio.Nursery
) -> None:
    owner, roof = await claimed()
    away, refuses = True, False
    sent: list[float] = []

    async def send(device: AgentPubKey, data: bytes) -> None:
        sent.append(trio.current_time())
        if away:
            raise TransportError("nobody is there")
        if refuses:
            raise Refused("stale-policy", "there is a newer one")
        assert device == roof.agent
        roof.conductor.policy_received(data)

    nursery.start_soon(spread, owner.conductor, send)
    await trio.sleep(100)
    assert sent == [], "there is none yet"
    await owner.call("policy_set", text=policy(1))
    await trio.sleep(1)
    assert len(sent) == 1, "at once"
    away = False
    await trio.sleep(100)
    assert len(sent) == 2, "and once it is back, only once"
    assert (await roof.call("policy_show"))["text"] == policy(1)
    refuses = True
    await owner.call("policy_set", text=policy(2))
    await trio.sleep(1_000)
    assert len(sent) == 3


async def test_a_community_may_open_while_devices_are_listed(
    founded: Any, autojump: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = await founded()
    cells = owner.conductor.cells
    (cell,) = cells.values()
    call = cell.call

    async def opening(*asked: Any) -> Any:
        cells[b"another"] = cell
        return await call(*asked)

    monkeypatch.setattr(cell, "call", opening)
    assert (await owner.call("device_list"))["owned"] == []
    del cells[b"another"]
    assert await _devices(owner.conductor) == []
    del cells[b"another"]

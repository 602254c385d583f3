"""What an owner is told of keys and owners that change: its own devices', and the community's."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from ioe_node.conductor import changes, conductor
from ioe_node.conductor.policy import Automatic, Rules
from ioe_node.config import parse_config
from ioe_node.model.hashes import to_text
from tests.conductor.test_life import CODE, ROOT, deed, joined, owns, sees, unowned

TOLD = ("new owner", "new keys", "revoked")


async def told(owner: Any, kind: str, agent: bytes) -> dict[str, Any]:
    """The one alert of this kind about an agent; waits for it."""

    def about(found: Any) -> list[Any]:
        alike = [each for each in found if each["kind"] == kind]
        return [each for each in alike if each["facts"]["agent"] == to_text(agent)]

    (alert,) = about(await owner.until(about, "alerts"))
    return dict(alert)


async def street_of_two(founded: Any, street: Any) -> tuple[Any, Any, Any]:
    owner = await founded()
    other = await joined(street, owner, "other", b"o" * 32)
    roof = await street.device()
    await sees(owner, roof)
    await owner.call("device_claim", device="roof", code=CODE)
    await owns(owner, "roof")
    return owner, other, roof


async def test_members_hear_of_a_devices_next_key_its_sale_and_its_end(
    founded: Any, street: Any, autojump: Any
) -> None:
    owner, other, roof = await street_of_two(founded, street)
    first = roof.agent
    await trio.sleep(changes.LOOK_EVERY_S)
    second = (await owner.call("device_rotate", device=first))["device"]
    for each in (owner, other):
        assert (await told(each, "new keys", first))["facts"]["successor"] == to_text(second)
    await deed(owner, "offer", device=second, buyer=other.agent)
    await trio.sleep(2 * changes.LOOK_EVERY_S)
    assert (await told(other, "offered", second))["facts"]["seller"] == to_text(owner.agent)
    await other.call("device_accept", seller=owner.agent)
    await unowned(roof)
    await sees(other, roof)
    await other.call("device_claim", device=roof.agent, code=roof.conductor.unowned.code)
    await owns(other, "roof")
    for each in (owner, other):
        alert = await told(each, "new owner", second)
        assert alert["facts"]["owner"] == to_text(other.agent)
    third = roof.agent
    await trio.sleep(changes.LOOK_EVERY_S)
    await deed(other, "revoke", agent=third, reason="stolen")
    for each in (owner, other):
        assert to_text(third) in (await told(each, "revoked", third))["text"]
        kinds = [alert["kind"] for alert in await each.call("alerts") if alert["kind"] in TOLD]
        assert sorted(kinds) == sorted(TOLD), "each of them once"
    late = await joined(street, owner, "late", b"l" * 32)
    await late.until(lambda found: third in found["communities"][0]["blocked"])
    assert [each for each in await late.call("alerts") if each["kind"] in TOLD] == []


async def test_members_hear_of_a_lost_key_and_of_who_goes_on_for_it(
    founded: Any, street: Any, autojump: Any
) -> None:
    owner, other, roof = await street_of_two(founded, street)
    old = owner.agent
    await owner.stop()
    again = await street.recovered(ROOT, roof)
    await owns(again, "roof")
    made = await again.call("key_recover", root=ROOT)
    await told(other, "revoked", old)
    assert (await told(other, "new keys", old))["facts"]["successor"] == to_text(made["agent"])


async def test_members_hear_of_an_owners_next_key_and_who_joins_later_does_not(
    founded: Any, street: Any, autojump: Any
) -> None:
    owner = await founded()
    other = await joined(street, owner, "other", b"o" * 32)
    old = owner.agent
    made = await owner.call("key_rotate", root=ROOT)
    await owner.until(lambda found: found["agent"] == made["agent"] != old)
    assert (await told(other, "new keys", old))["facts"]["successor"] == to_text(made["agent"])
    await owner.until(lambda found: found["communities"])
    late = await joined(street, owner, "late", b"l" * 32)
    await trio.sleep(changes.LOOK_EVERY_S)
    assert [each for each in await late.call("alerts") if each["kind"] in TOLD] == []


async def test_what_is_held_elsewhere_is_seen_in_the_portfolio(
    founded: Any, street: Any, autojump: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "_TYPES", ())
    owner, _, roof = await street_of_two(founded, street)
    old = roof.agent
    await trio.sleep(changes.LOOK_EVERY_S)
    new = (await owner.call("device_rotate", device=old))["device"]
    assert (await told(owner, "new keys", old))["facts"]["successor"] == to_text(new)


@pytest.mark.parametrize("config", [True, False])
@pytest.mark.parametrize("policy", [True, False])
async def test_who_relays_says_so_in_the_config_and_in_the_policy(
    config: bool, policy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    @asynccontextmanager
    async def open_transport(*args: Any) -> AsyncIterator[None]:
        given.append(args)
        yield None

    text = f'role = "owner"\n[network]\nrelay = {str(config).lower()}'
    rules = Rules(automatic=Automatic(relay=policy))
    monkeypatch.setattr("ioe_node.net.libp2p_transport.open_transport", open_transport)
    opened = conductor.open_libp2p(parse_config(text, "config.toml"), lambda: False, lambda: rules)
    async with opened(b"s" * 32, ()):
        pass
    assert given[0][4] is (config and policy)

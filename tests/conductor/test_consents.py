"""Key-holders: 3 of 5 give a device up, 2 do not, and who is no holder any more does not count."""

from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ioe_node.conductor import consents, holding, keytree
from ioe_node.conductor.consents import from_file, to_file
from ioe_node.errors import CallError, LocalError
from ioe_node.model.hashes import CORE
from ioe_node.model.signing import Signer
from tests.conductor.steps import invited

ROOT = b"r" * 32
HOLDERS = [Signer(bytes([number]) * 32) for number in range(1, 7)]


def keys(*holders: Signer) -> list[bytes]:
    return [holder.agent[CORE] for holder in holders]


async def named(
    owner: Any, threshold: int, *holders: Signer, by: Any = None, more: Any = ()
) -> Any:
    """Name key-holders, by those before: at first the words' key."""
    payload = {"threshold": threshold, "keys": [*keys(*holders), *more]}
    asked = await owner.call("key_ask", deed="set_keyset", payload=payload)
    if by is None:
        signed = (await owner.call("key_sign", request=asked["file"], root=ROOT))["file"]
    else:
        signed = to_file(consents.signed(from_file(asked["file"]), list(by)))
    return await owner.call("key_do", request=signed)


async def test_three_of_five_give_a_device_up_and_two_do_not(
    claimed: Any, street: Any, autojump: Any
) -> None:
    owner, roof = await claimed()
    payload = {"threshold": 3, "keys": keys(*HOLDERS[:5])}
    asked = await owner.call("key_ask", deed="set_keyset", payload=payload)
    assert not asked["enough"]
    with pytest.raises(LocalError, match="none of our keys"):
        await owner.call("key_sign", request=asked["file"])
    await named(owner, 3, *HOLDERS[:5])

    asked = await owner.call("key_ask", deed="release", payload={"device": roof.agent})
    assert asked["content"]["device"] == roof.agent
    assert asked["content"]["deed"] == "Release"
    parts = [to_file(consents.signed(from_file(asked["file"]), [one])) for one in HOLDERS[:3]]
    two = await owner.call("key_merge", requests=[parts[0], parts[1], parts[1]])
    assert (len(two["signed"]), two["enough"]) == (2, False)
    with pytest.raises(CallError, match="2 of 3 consents"):
        await owner.call("key_do", request=two["file"])
    # The chain's own rule, and not only this node's politeness.
    forged = replace(from_file(two["file"]), threshold=2)
    with pytest.raises(CallError):
        await owner.call("key_do", request=to_file(forged))
    assert roof.conductor.role == "device"

    three = await owner.call("key_merge", requests=[two["file"], parts[2]])
    await named(owner, 3, *HOLDERS[1:6], by=HOLDERS[:3])
    with pytest.raises(CallError):
        await owner.call("key_do", request=three["file"])

    asked = await owner.call("key_ask", deed="release", payload={"device": roof.agent})
    file = from_file(asked["file"])
    with pytest.raises(LocalError, match="none of our keys"):
        consents.signed(file, HOLDERS[:1])
    await owner.call("key_do", request=to_file(consents.signed(file, HOLDERS[2:5])))
    await roof.until(lambda found: found["role"] == "unowned")


async def test_another_owners_node_signs_as_a_holder(
    claimed: Any, street: Any, autojump: Any
) -> None:
    owner, roof = await claimed()
    friend = await street.owner("friend", b"f" * 32)
    key = (await friend.call("key_show"))["holder_key"]
    payload = {"threshold": 2, "keys": [key, *keys(HOLDERS[0])]}
    asked = await owner.call("key_ask", deed="set_keyset", payload=payload)
    with pytest.raises(LocalError, match="none of our keys"):
        await friend.call("key_sign", request=asked["file"])
    signed = await owner.call("key_sign", request=asked["file"], root=ROOT)
    await owner.call("key_do", request=signed["file"])
    asked = await owner.call("key_ask", deed="release", payload={"device": roof.agent})
    signed = await friend.call("key_sign", request=asked["file"])
    assert signed["signed"] == [key]
    both = consents.signed(from_file(signed["file"]), HOLDERS[:1])
    await owner.call("key_do", request=to_file(both))
    await roof.until(lambda found: found["role"] == "unowned")


REQUEST = consents.ConsentRequest("street", b"", "release", b"\x80", b"m", 1, (b"k" * 32,))


def test_files_come_back_and_of_different_deeds_are_not_merged() -> None:
    assert from_file(to_file(REQUEST)) == REQUEST
    with pytest.raises(LocalError, match="one and the same deed"):
        consents.merged([REQUEST, replace(REQUEST, deed="offer")])


def test_what_cannot_be_read_is_not_signed() -> None:
    holder = HOLDERS[0]
    with pytest.raises(LocalError, match="sign it not"):
        consents.signed(replace(REQUEST, keys=(holder.agent[CORE],)), [holder])


@given(st.binary(max_size=300))
def test_any_file_is_a_request_or_a_local_error(data: bytes) -> None:
    try:
        request = from_file(data)
    except LocalError:
        return
    assert from_file(to_file(request)) == request


@given(st.binary(max_size=200))
def test_any_message_is_shown_or_refused(message: bytes) -> None:
    for each in (message, consents.SIGNED_PREFIX + message):
        with pytest.raises(LocalError):
            consents.content_of(replace(REQUEST, message=each))


def test_the_holder_key_is_not_the_agents() -> None:
    kept = keytree.owner_secrets(ROOT)
    assert kept["authorisation"] != kept["agent"]


async def consented(owner: Any, deed: str, *holders: Signer) -> None:
    """Have key-holders sign what our new chain waits for."""
    (asked,) = await owner.until(
        lambda found: len(found) == 1 and found[0]["content"]["deed"] == deed, "key_owed"
    )
    assert not asked["enough"]
    signed = consents.signed(from_file(asked["file"]), list(holders))
    await owner.call("key_do", request=to_file(signed))


async def is_owned_by(owner: Any, roof: Any) -> None:
    await roof.until(lambda found: found["owner"] == owner.agent)
    await owner.until(
        lambda found: [each["acknowledged"] for each in found["owned"]] == [True], "device_list"
    )


async def test_key_holders_consent_to_the_owners_next_key(claimed: Any, autojump: Any) -> None:
    owner, roof = await claimed()
    await named(owner, 2, *HOLDERS[:3])
    made = await owner.call("key_rotate", root=ROOT)
    await owner.until(lambda found: found["agent"] == made["agent"])
    await trio.sleep(60)
    assert roof.conductor.keystore.secrets["owner"] != owner.agent, "not by the words alone"
    await consented(owner, "Keyset", *HOLDERS[1:3])
    await is_owned_by(owner, roof)
    (shown,) = (await owner.call("key_show"))["communities"]
    assert (shown["keyset"]["threshold"], len(shown["keyset"]["keys"])) == (2, 3)


async def test_key_holders_shut_a_lost_machine_out(
    claimed: Any, street: Any, autojump: Any
) -> None:
    owner, roof = await claimed()
    old = owner.agent
    await named(owner, 2, *HOLDERS[:3])
    await trio.sleep(5)
    await owner.stop()
    again = await street.recovered(ROOT, roof)
    await again.until(lambda found: found["owned"], "device_list")
    made = await again.call("key_recover", root=ROOT)
    await again.until(lambda found: found["agent"] == made["agent"] != old)
    await again.until(bool, "key_owed")
    with pytest.raises(CallError, match="revoked first"):
        await named(again, 1, HOLDERS[0])
    await consented(again, "Revocation", *HOLDERS[:2])
    await is_owned_by(again, roof)
    assert await again.call("key_owed") == []


async def test_consents_are_gathered_over_the_network(
    claimed: Any, street: Any, autojump: Any
) -> None:
    owner, roof = await claimed()
    friends = []
    for name in ("anna", "ben"):
        friend = await street.owner(name, name.encode().ljust(32, b"f"))
        await friend.call("community_join", invitation=await invited(owner, friend))
        friends.append(friend)
    shown = [(await friend.call("key_show"))["holder_key"] for friend in friends]
    await named(owner, 2, HOLDERS[0], more=shown)
    agents = [friend.agent for friend in friends]
    asked = await owner.call("key_ask", deed="release", payload={"device": roof.agent})
    made = await owner.call("key_gather", request=asked["file"], holders=[*agents, roof.agent])
    assert (made["signed"], [each["agent"] for each in made["silent"]]) == ([], [roof.agent])
    for friend in friends:
        (request,) = await friend.call("key_requests")
        assert (request["by"], request["content"]["device"]) == (owner.agent, roof.agent)
        await friend.stop()
        await friend.start()
        await friend.until(lambda found: found["communities"])
        await friend.call("key_decide", id=request["id"], consent=True)
    made = await owner.call("key_gather", request=made["file"], holders=agents)
    assert sorted(made["signed"]) == sorted(shown)
    await owner.call("key_do", request=made["file"])
    await roof.until(lambda found: found["role"] == "unowned")
    (anna, _) = friends
    await anna.call("key_decide", id=request["id"], consent=False)
    assert await anna.call("key_requests") == []
    with pytest.raises(CallError, match="nobody asks us"):
        await anna.call("key_decide", id=request["id"], consent=True)


async def test_a_holder_is_not_flooded_nor_asked_by_strangers(
    claimed: Any, street: Any, autojump: Any
) -> None:
    owner, _ = await claimed()
    friend = await street.owner("friend", b"f" * 32)
    key = (await friend.call("key_show"))["holder_key"]
    await named(owner, 2, HOLDERS[0], more=[key])
    asked = [
        await owner.call("key_ask", deed="set_keyset", payload={"threshold": 1, "keys": [each]})
        for each in keys(*HOLDERS[:5])
    ]
    ask = {"holders": [friend.agent]}
    made = await owner.call("key_gather", request=asked[0]["file"], **ask)
    assert "only a member" in made["silent"][0]["why"]
    await friend.call("community_join", invitation=await invited(owner, friend))
    await friend.until(lambda found: owner.agent in found["communities"][0]["peers"])
    foreign = to_file(
        replace(from_file(asked[0]["file"]), threshold=1, keys=tuple(keys(HOLDERS[4])))
    )
    made = await owner.call("key_gather", request=foreign, **ask)
    assert made["silent"]
    for place, each in enumerate(asked):
        made = await owner.call("key_gather", request=each["file"], **ask)
        assert bool(made["silent"]) == (place >= holding.ASKED_BY_ONE_MAX)
    assert len(await friend.call("key_requests")) == holding.ASKED_BY_ONE_MAX


async def test_no_two_requests_go_by_one_id(
    claimed: Any, street: Any, autojump: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or who asks for two at once has the one signed that was shown as the other."""
    owner, _ = await claimed()
    friend = await street.owner("friend", b"f" * 32)
    await friend.call("community_join", invitation=await invited(owner, friend))
    await friend.until(lambda found: owner.agent in found["communities"][0]["peers"])
    await named(owner, 2, HOLDERS[0], more=[(await friend.call("key_show"))["holder_key"]])
    monkeypatch.setattr(holding, "ID_BYTES", 0)
    for silent, each in enumerate(keys(*HOLDERS[:2])):
        payload = {"threshold": 1, "keys": [each]}
        asked = await owner.call("key_ask", deed="set_keyset", payload=payload)
        made = await owner.call("key_gather", request=asked["file"], holders=[friend.agent])
        assert len(made["silent"]) == silent
    assert len(await friend.call("key_requests")) == 1

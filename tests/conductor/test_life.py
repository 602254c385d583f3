"""A life from owner to owner: sold, released, renewed, revoked, recovered; and crashes between."""

from typing import Any

import pytest
import trio

from ioe_node.conductor import keytree, owner_calls
from ioe_node.conductor.home import State
from ioe_node.errors import CallError, IoeError, PairingRefused, Refused, TransportError

CODE = "1234-5678"
ROOT = b"r" * 32


async def deed(node: Any, name: str, **payload: Any) -> None:
    """A deed that takes nobody else's consent."""
    asked = await node.call("key_ask", deed=name, payload=payload)
    await node.call("key_do", request=asked["file"])


async def joined(street: Any, owner: Any, name: str, root: bytes) -> Any:
    """Another owner, in the first one's community."""
    guest = await street.owner(name, root)
    line = await owner.call("community_invite", agent=guest.agent)
    await guest.call("community_join", invitation=line["invitation"])
    await guest.until(lambda found: found["communities"][0]["confirmed"])
    return guest


async def unowned(roof: Any) -> None:
    await roof.until(lambda found: found["role"] == "unowned")


async def owns(owner: Any, *names: str) -> Any:
    """Wait until these are an owner's devices, by their word too."""
    return await owner.until(
        lambda found: sorted(e["name"] for e in found["owned"] if e["acknowledged"])
        == sorted(names),
        "device_list",
    )


async def test_a_released_device_is_as_new_and_anybodys(
    claimed: Any, street: Any, autojump: Any
) -> None:
    owner, roof = await claimed()
    old = roof.agent
    await roof.until(bool, "zome_call", zome="metering", function="history", payload={})
    enrolment = roof.conductor.keystore.secrets["enrolment"]
    await deed(owner, "release", device=old)
    await unowned(roof)
    assert set(roof.conductor.keystore.secrets) == {"enrolment"}
    assert roof.conductor.keystore.secrets["enrolment"] != enrolment
    assert roof.conductor.code not in (None, CODE)
    assert roof.home.state() == State(used=True)
    assert not [*(roof.home.path / "cells").iterdir()]
    await owns(owner)
    assert owner.home.state().departing == ()
    history = await owner.call("key_history", agent=old)
    assert [(each["agent"], each["how"]) for each in history] == [(old, "closed")]
    await owner.until(lambda found: found["near"], "device_list")
    with pytest.raises(PairingRefused, match="wrong"):
        await owner.call("device_claim", device=roof.agent, code=CODE)
    await owner.call("device_claim", device=roof.agent, code=roof.conductor.code)
    await owns(owner, "roof")
    assert roof.agent != old

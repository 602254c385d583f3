"""The steps that a device and its owners go through, as a person would take them."""

from typing import Any

import pytest
import trio

from ioe_node.conductor import owner_calls
from ioe_node.errors import Busy, CallError, Refused

CODE = "1234-5678"
ROOT = b"r" * 32
ASKED = (
    owner_calls.Release(None),
    owner_calls.Rotate(bytes(32), b""),
    owner_calls.SetPolicy(b""),
    owner_calls.ShowInvitations(),
)


async def deed(node: Any, name: str, **payload: Any) -> None:
    """A deed that takes nobody else's consent; what cannot be read yet is waited for."""
    with trio.fail_after(60):
        while True:
            try:
                asked = await node.call("key_ask", deed=name, payload=payload)
                await node.call("key_do", request=asked["file"])
                return
            except CallError as error:
                if "be read now" not in str(error):
                    raise
                await trio.sleep(1)


async def invited(owner: Any, guest: Any) -> str:
    """The line that admits another owner."""
    theirs = await guest.call("key_show")
    asked = {"agent": guest.agent, "recovery": theirs["recovery"]}
    return str((await owner.call("community_invite", **asked))["invitation"])


async def joined(street: Any, owner: Any, name: str, root: bytes) -> Any:
    """Another owner, in the first one's community."""
    guest = await street.owner(name, root)
    await guest.call("community_join", invitation=await invited(owner, guest))
    await guest.until(lambda found: found["communities"][0]["confirmed"])
    return guest


async def three(founded: Any, street: Any) -> tuple[Any, Any, Any]:
    """An owner, another member, and the owner's device; the device knows both addresses."""
    owner = await founded()
    other = await joined(street, owner, "other", b"o" * 32)
    roof = await street.device()
    await owner.until(lambda found: found["near"], "device_list")
    await owner.call("device_claim", device="roof", code=CODE)
    await owns(owner, "roof")
    return owner, other, roof


async def unowned(roof: Any) -> None:
    await roof.until(lambda found: found["role"] == "unowned")


async def sees(owner: Any, device: Any) -> None:
    """Wait until a device without an owner is heard of."""
    await owner.until(
        lambda found: (
            device.agent in [e["agent"] for e in found["near"] if e["state"] == "unowned"]
        ),
        "device_list",
    )


async def owns(owner: Any, *names: str) -> Any:
    """Wait until these are an owner's devices, by their word too."""
    return await owner.until(
        lambda found: (
            sorted(e["name"] for e in found["owned"] if e["acknowledged"]) == sorted(names)
        ),
        "device_list",
    )


async def hears(node: Any, kind: str, **facts: str) -> None:
    """Wait until a node has told its owner this."""
    await node.until(
        lambda found: [
            each
            for each in found
            if each["kind"] == kind and facts.items() <= each["facts"].items()
        ],
        "alerts",
    )


async def zome(node: Any, name: str, function: str, **payload: Any) -> Any:
    return await node.call("zome_call", zome=name, function=function, payload=payload)


async def readings(node: Any, device: bytes) -> Any:
    return await zome(node, "metering", "history", device=device, limit=10_000)


async def refused(node: Any, device: Any, why: str) -> None:
    """A device obeys no owner's call of this node."""
    for request in ASKED:
        with pytest.raises(Refused, match=why):
            await owner_calls.ask(node.conductor, device.agent, request)


async def balance(node: Any) -> int:
    return int((await zome(node, "currency", "balance"))["balance_micro"])


async def pay(payer: Any, payee: Any, amount: int) -> None:
    while True:
        try:
            await zome(payer, "currency", "pay", payee=payee.agent, amount_micro=amount)
            return
        except Busy:
            await trio.sleep(1)

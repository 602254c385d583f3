"""What owners, devices and key-holders say, through their cells."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import trio

from ioe_node.errors import Busy
from ioe_node.hdi import ActionHash
from ioe_node.model.consent import Consent, KeyHolders
from ioe_node.model.hashes import CORE
from ioe_node.model.signing import Signer
from sim.home import Home
from sim.swarm import Swarm


async def identity(home: Home, function: str, **payload: Any) -> Any:
    """Call a function of the identity zome."""
    return await home.call("identity", function, payload)


async def claim(swarm: Swarm, owner: Home, device: Home) -> None:
    """The owner enrols a device, which acknowledges it, and both are where they belong."""
    await identity(owner, "enrol", device=device.agent, kind="storage", name="battery")
    assert await swarm.settle()
    said = None
    while said is None:
        with suppress(Busy):  # what it rests on is being fetched
            said = await identity(device, "acknowledge", owner=owner.agent)
        await trio.sleep(1)
    assert await swarm.settle()


async def hold_keys(owner: Home, holders: KeyHolders) -> ActionHash:
    """The owner's first keyset."""
    keys = {"threshold": holders.threshold, "keys": holders.keys}
    return ActionHash(await identity(owner, "set_keyset", **keys))


async def with_consents(
    home: Home, deed: str, payload: dict[str, Any], signers: Sequence[Signer]
) -> ActionHash:
    """Do a deed with the consents of these key-holders, each asked apart."""
    asked = await identity(home, "consent_message", deed=deed, payload=payload)
    consents = sorted(
        (
            Consent(asked["keys"].index(signer.agent[CORE]), signer.sign(asked["message"]))
            for signer in signers
        ),
        key=lambda consent: consent.index,
    )
    return ActionHash(await identity(home, deed, **asked["payload"], consents=consents))

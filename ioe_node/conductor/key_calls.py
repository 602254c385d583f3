"""What the control socket does with keys and owners: shown, renewed, recovered, given up."""

from typing import TYPE_CHECKING, Any

import trio

from ioe_node.conductor import (
    communities,
    consents,
    devices,
    holding,
    keytree,
    recovery,
    succession,
)
from ioe_node.errors import CallError
from ioe_node.hdi import AgentPubKey
from ioe_node.model.consent import KEYS_MAX
from ioe_node.model.hashes import AGENT, CORE, check_hash
from ioe_node.model.signing import Signer

if TYPE_CHECKING:
    from ioe_node.conductor.cell import Cell
    from ioe_node.conductor.conductor import Conductor

MERGED_MAX = 64
OPEN_PATIENCE_S = 20.0


async def key_show(conductor: "Conductor") -> dict[str, Any]:
    """Our key, its generation, and who holds keys for us in each community."""
    _owner_only(conductor)
    secrets = conductor.keystore.secrets
    return {
        "agent": conductor.signer().agent,
        "generation": keytree.generation_of(secrets),
        "holder_key": Signer(secrets["authorisation"]).agent[CORE],
        "words_key": secrets["revocation_key"],
        "recovery": communities.recovery_digest(conductor),
        "succeeded_by": conductor.succeeded_by,
        "turning": conductor.home.state().turning is not None,
        "communities": [
            {
                "community": cell.space.rules.definition.seed,
                "keyset": await cell.call("identity", "keyset", {}),
            }
            for cell in conductor.cells_with("identity")
        ],
    }


def _owner_only(conductor: "Conductor") -> None:
    if conductor.role != "owner":
        raise CallError("only an owner's node does that; a device's keys are its owner's affair")


async def key_history(
    conductor: "Conductor", agent: bytes, community: str | None = None
) -> list[dict[str, Any]]:
    """Every key that an identity has had, oldest first."""
    check_hash(agent, AGENT)
    found: list[dict[str, Any]] = await conductor.cell(community).call(
        "identity", "history", {"agent": agent}
    )
    return found


async def key_rotate(conductor: "Conductor", root: bytes) -> dict[str, Any]:
    """Take our next key, by the words; or go on with what a crash has interrupted."""
    _owner_only(conductor)
    recovery.check_root(conductor, root)
    conductor.holder = Signer(keytree.revocation_seed(root))
    generation = keytree.generation_of(conductor.keystore.secrets)
    if conductor.home.state().before:
        return {"agent": conductor.signer().agent, "generation": generation}
    secrets = keytree.owner_secrets(root, generation + 1)
    return {"agent": succession.turn(conductor, secrets), "generation": generation + 1}


async def key_recover(conductor: "Conductor", root: bytes) -> dict[str, Any]:
    """Shut out whoever holds the machine that we have lost."""
    _owner_only(conductor)
    return await recovery.recover(conductor, root)


async def key_ask(
    conductor: "Conductor", deed: str, payload: dict[str, Any], community: str | None = None
) -> dict[str, Any]:
    """A request to the key-holders of a deed of ours, as a file; nobody may have to be asked."""
    _owner_only(conductor)
    if deed == "set_keyset":
        cell = conductor.cell(community)
        owed = await succession.next_deed(conductor, cell)
        # A chain that follows another says so with its first holders, and can never say it later.
        if owed is not None and owed[0] != deed:
            raise CallError("the old key is to be revoked first; run 'ioe key recover' again")
        follows = {} if owed is None else {"follows": owed[1].get("follows")}
        payload = {**payload, **follows}
    else:
        cell = await _cell_of(
            conductor, AgentPubKey(payload.get("device") or payload.get("agent") or b"")
        )
    return _shown(await consents.ask(conductor, cell, deed, payload))


async def key_owed(conductor: "Conductor") -> list[dict[str, Any]]:
    """Requests to the key-holders without whom our new chains do not go on."""
    _owner_only(conductor)
    found = []
    with trio.move_on_after(OPEN_PATIENCE_S):
        for invitation in conductor.home.invitations():
            await conductor.cell_when_open(invitation.dna_hash)
    for cell in conductor.cells_with("identity"):
        owed = await succession.next_deed(conductor, cell)
        if owed is not None:
            request = await consents.ask(conductor, cell, *owed)
            found += [] if request.enough else [_shown(request)]
    return found


async def key_sign(
    conductor: "Conductor", request: bytes, root: bytes | None = None
) -> dict[str, Any]:
    """The same file with our consent."""
    _owner_only(conductor)
    asked = consents.from_file(request)
    return _shown(consents.signed(asked, consents.signers_of(conductor, root)))


async def key_merge(conductor: "Conductor", requests: list[bytes]) -> dict[str, Any]:
    """One file with the consents of several, which are of one deed."""
    if not 1 <= len(requests) <= MERGED_MAX:
        raise CallError(f"at most {MERGED_MAX} files are put together at once")
    return _shown(consents.merged([consents.from_file(each) for each in requests]))


async def key_gather(
    conductor: "Conductor", request: bytes, holders: list[bytes]
) -> dict[str, Any]:
    """The file with what these agents, asked over the network, have consented to by now."""
    _owner_only(conductor)
    if len(holders) > KEYS_MAX:
        raise CallError(f"at most {KEYS_MAX} holders are asked at once")
    for holder in holders:
        check_hash(holder, AGENT)
    agents = [AgentPubKey(each) for each in holders]
    made, silent = await consents.gather(conductor, consents.from_file(request), agents)
    return {**_shown(made), "silent": [{"agent": a, "why": why} for a, why in silent.items()]}


async def key_requests(conductor: "Conductor") -> list[dict[str, Any]]:
    """What others ask us to consent to."""
    _owner_only(conductor)
    return [
        {"id": each.id, "by": each.by, "at_us": each.at_us, **_shown(each.request)}
        for each in holding.asked_of_us(conductor)
    ]


async def key_decide(
    conductor: "Conductor", id: str, consent: bool, root: bytes | None = None
) -> dict[str, Any]:
    """Consent to what another asks of us, or forget it."""
    _owner_only(conductor)
    found = holding.find(conductor, id).request
    if consent:
        found = holding.decide(conductor, id, root)
    else:
        holding.drop(conductor, id)
    return _shown(found)


async def key_do(conductor: "Conductor", request: bytes) -> dict[str, Any]:
    """Do a deed of ours that has all the consents that it takes."""
    _owner_only(conductor)
    return {"action": await consents.do(conductor, consents.from_file(request))}


def _shown(request: consents.ConsentRequest) -> dict[str, Any]:
    return {
        "file": consents.to_file(request),
        "community": request.community,
        "keys": list(request.keys),
        "threshold": request.threshold,
        "signed": [request.keys[each.index] for each in request.consents],
        "enough": request.enough,
        "content": consents.content_of(request) if request.message else {},
    }


async def _cell_of(conductor: "Conductor", device: AgentPubKey) -> "Cell":
    """The community in which a device is ours; raises `CallError`."""
    check_hash(device, AGENT)
    for cell in conductor.cells_with("identity"):
        if device in [each["device"] for each in await cell.call("identity", "portfolio", {})]:
            return cell
    raise CallError("that is no device of ours; see 'ioe device list'")


async def device_accept(
    conductor: "Conductor", seller: bytes, device: bytes | None = None
) -> list[dict[str, Any]]:
    """Accept what a seller offers us: one device, or all of them."""
    _owner_only(conductor)
    check_hash(seller, AGENT)
    accepted = []
    for cell in conductor.cells_with("identity"):
        for offer in await cell.call("identity", "offers_to_us", {"seller": seller}):
            if offer["accepted"] or device not in (None, offer["device"]):
                continue
            await cell.call("identity", "accept", {"offer": offer["offer"]})
            accepted.append({"device": offer["device"], "offer": offer["offer"]})
    if not accepted:
        raise CallError("nothing is offered to us there; the seller runs 'ioe device transfer'")
    return accepted


async def device_rotate(conductor: "Conductor", device: bytes) -> dict[str, Any]:
    """Have a device of ours take its next key."""
    _owner_only(conductor)
    agent = AgentPubKey(device)
    return {"device": await devices.rotate(conductor, await _cell_of(conductor, agent), agent)}

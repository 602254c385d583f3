"""Communities of an owner: founded, joined, joined again, and others invited."""

from secrets import token_hex
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from ioe_node.conductor.invitation import Invitation
from ioe_node.errors import CallError, LocalError
from ioe_node.hdi import AgentPubKey, Invalid, KeyHolders, holders_digest
from ioe_node.hdk import DnaDef, Modifiers
from ioe_node.model.codec import encode
from ioe_node.model.hashes import action_hash
from ioe_node.net.peer_id import join_address, split_address
from ioe_node.plugins import load

if TYPE_CHECKING:
    from ioe_node.conductor.cell import Cell
    from ioe_node.conductor.conductor import Conductor

COMMUNITY_NAME_CHARS_MAX = 48


def recovery_digest(conductor: "Conductor") -> bytes:
    """What names the key-holder of our words, who alone is to make our successor."""
    return holders_digest(KeyHolders(1, (conductor.keystore.secrets["revocation_key"],)))


async def create(conductor: "Conductor", name: str, amend: dict[str, Any], dna: str) -> Invitation:
    """Found a community with ourselves as its steward, and open it."""
    if conductor.role != "owner":
        raise CallError("only an owner's node founds communities")
    if not 1 <= len(name) <= COMMUNITY_NAME_CHARS_MAX or not name.isprintable():
        raise CallError(
            f"a community's name has 1 to {COMMUNITY_NAME_CHARS_MAX} characters that print"
        )
    base = conductor.known.get(dna)
    if base is None:
        raise CallError(f"DNA '{dna}' is not in the config")
    ours = {"stewards": [conductor.signer().agent], "recovery": [recovery_digest(conductor)]}
    known = _plain(base.properties)
    properties = {**known, **amend, **{name: ours[name] for name in ours if name in known}}
    unknown = set(properties) - set(known)
    if unknown:
        raise CallError(f"DNA '{dna}' has no property '{sorted(unknown)[0]}'")
    seed = f"{name}-{token_hex(4)}"
    definition = base.clone(Modifiers(seed, encode(properties)))
    return await join(conductor, _invitation(definition, None, ()))


def _plain(properties: Any) -> dict[str, Any]:
    return {name: getattr(properties, name) for name in properties.__dataclass_fields__}


def _invitation(definition: DnaDef, proof: bytes | None, bootstrap: tuple[str, ...]) -> Invitation:
    modifiers = definition.modifiers
    return Invitation(
        definition.name, definition.hash, modifiers.seed, modifiers.properties, proof, bootstrap
    )


async def join(conductor: "Conductor", invitation: Invitation) -> Invitation:
    """Join a community and keep it over restarts; on an error it is as if never tried."""
    if conductor.role != "owner":
        raise CallError("a device joins its owner's community when it is claimed")
    home = conductor.home
    if invitation.dna_hash in [each.dna_hash for each in home.invitations()]:
        raise CallError("this node is in that community already")
    for text in invitation.bootstrap:
        split_address(text)
    _check(conductor, invitation)
    scope = await conductor.open(invitation)
    try:
        if invitation.dna_hash not in conductor.cells:
            raise LocalError(conductor.faults.pop(invitation.dna_hash, "it could not be opened"))
        state = home.state()
        home.keep(replace(state, cells=(*state.cells, invitation.encoded())))
    except BaseException:
        scope.cancel()
        raise
    return invitation


async def join_again(conductor: "Conductor", invitation: Invitation) -> None:
    """Open a community in which we have written before; others give us our chain back."""
    home = conductor.home
    if invitation.dna_hash in [each.dna_hash for each in home.invitations()]:
        return
    _check(conductor, invitation)
    state = home.state()
    home.keep(replace(state, cells=(*state.cells, invitation.encoded())))
    await conductor.open(invitation)


def _check(conductor: "Conductor", invitation: Invitation) -> None:
    """Raise `CallError` unless the community admits us."""
    definition = invitation.definition(conductor.known)
    verdict = definition.admits(conductor.signer().agent, invitation.proof)
    if isinstance(verdict, Invalid):
        raise CallError(f"this community does not admit us: {verdict.reason}")


async def invite(
    conductor: "Conductor", cell: "Cell", agent: AgentPubKey, role: str, recovery: bytes = b""
) -> Invitation:
    """An invitation for one agent, vouched for by us and written on our chain.

    `recovery` is the digest of the key-holders who alone are to make that agent's successor.
    """
    space = cell.space
    vouch = load("zomes.community.integrity:vouch")
    definition, ours = space.rules.definition, space.membrane_proof

    def proof(written: Any) -> bytes:
        given: bytes = vouch(
            definition, space.agent, ours, agent, role, space.sign, written, recovery
        )
        return given

    anywhere = load("zomes.community.integrity:Written")(0, action_hash(b"", space.agent))
    verdict = definition.admits(agent, proof(anywhere))
    if isinstance(verdict, Invalid):
        raise CallError(f"we may not invite here: {verdict.reason}")
    written = await cell.call("community", "invite", {"agent": agent})
    bootstrap = tuple(
        join_address(space.agent, address) for address in conductor.transport.addresses()
    )
    return _invitation(definition, proof(written), bootstrap)

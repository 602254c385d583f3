"""What the control socket tells of peers: who they are, how they behave, what convicts them."""

from typing import TYPE_CHECKING, Any

from ioe_node.errors import CallError, Malformed
from ioe_node.hdi import AgentPubKey, Missing
from ioe_node.model.action import AgentValidationPkg, EntryAction, decode_action
from ioe_node.model.hashes import action_hash, to_text
from ioe_node.model.record import Proof, Record, open_record
from ioe_node.model.warrant import (
    ChainFork,
    DoubleSeal,
    InvalidRecord,
    Revoked,
    SignedWarrant,
    Warrant,
    decode_warrant,
    open_evidence,
    open_warrant,
)
from ioe_node.plugins import load
from ioe_node.workflows.evidence import signed_warrants
from ioe_node.workflows.integration import stands
from ioe_node.workflows.space import Space

if TYPE_CHECKING:
    from ioe_node.conductor.conductor import Conductor


async def peers_list(conductor: "Conductor", community: str | None = None) -> list[dict[str, Any]]:
    """Everyone we know of in one community, warranted or not, in key order."""
    space = conductor.cell(community).space
    names = {card.agent: card.name for card in conductor.meeting.cards()}
    known = {*space.peers.agents(), *space.admitted, *space.blocked} - {space.agent}
    return await space.run(_peers, space, sorted(known), names)


def _peers(
    space: Space, agents: list[AgentPubKey], names: dict[bytes, str]
) -> list[dict[str, Any]]:
    now_us = space.clock.now_us()
    listed = []
    for agent in agents:
        standing = space.quota.standing(agent, now_us)
        shown = {
            "agent": agent,
            "name": names.get(agent, ""),
            "role": _role(space, agent),
            "arc": _arc(space, agent),
            "addresses": list(space.peers.addresses(agent)),
            "asked_at_us": standing.asked_us if standing else 0,
            "score_points": standing.points if standing else 0,
            "charges": standing.charges if standing else 0,
            "last_charge": standing.last_reason if standing else "",
            "last_charge_us": standing.last_charge_us if standing else 0,
            "shunned_s": -(-space.quota.shunned_us(agent, now_us) // 1_000_000),
            "slowed": standing is not None and standing.divisor > 1,
            "warranted": agent in space.blocked,
            "refuses_us": space.refused_by.get(agent, ""),
        }
        listed.append(shown)
    return listed


def _arc(space: Space, agent: AgentPubKey) -> str:
    """ "full" or "zero" as a peer itself says; "" while it has told us nothing."""
    info = space.peers.info_of(agent)
    return "" if info is None else "full" if info.holds else "zero"


def _role(space: Space, agent: AgentPubKey) -> str:
    """ "steward", "member" or "device" by its membrane proof; "stranger" without a chain here."""
    record = space.store.record_at(agent, 1)
    if record is None or not isinstance(record.action, AgentValidationPkg):
        return "member" if agent in space.admitted else "stranger"
    role: str = load("zomes.community.coordinator:role_of")(record.action.membrane_proof)
    return role


async def warrant_list(
    conductor: "Conductor", community: str | None = None
) -> list[dict[str, Any]]:
    """The warrants kept here, in the order in which they came."""
    space = conductor.cell(community).space
    return [_summary(*row) for row in await space.run(space.store.warrant_rows)]


def _summary(hash_: bytes, convicted: bytes, data: bytes, kept_us: int) -> dict[str, Any]:
    warrant = decode_warrant(signed_warrants.decode(data))
    false = convicted != warrant.warrantee
    return {
        "hash": hash_,
        "agent": convicted,
        "kind": "FalseWarrant" if false else type(warrant).__name__,
        "accuser": warrant.accuser,
        "accused": warrant.warrantee,
        "accused_at_us": warrant.timestamp_us,
        "kept_at_us": kept_us,
        "reason": warrant.reason if isinstance(warrant, InvalidRecord) else "",
    }


async def warrant_show(
    conductor: "Conductor", which: str, community: str | None = None
) -> dict[str, Any]:
    """One warrant with its evidence, judged again now; by its hash or whom it convicts.

    `which` may be the beginning of either.
    """
    space = conductor.cell(community).space
    rows = [
        row
        for row in await space.run(space.store.warrant_rows)
        if which and any(to_text(each).startswith(which) for each in row[:2])
    ]
    if not rows:
        raise CallError(f"no warrant of '{which[:60]}' is kept here; see 'ioe warrant list'")
    if len(rows) > 1:
        raise CallError(f"'{which[:60]}' fits {len(rows)} warrants; write more of its hash")
    signed = signed_warrants.decode(rows[0][2])
    shown = _summary(*rows[0])
    shown["stands"], shown["finding"], lacks = await space.run(_again, space, signed)
    space.want(lacks.hashes, lacks.chains, lacks.finals)
    warrant = decode_warrant(signed)
    shown["actions"], shown["bundle_actions"] = _evidence(space, warrant)
    if isinstance(warrant, Revoked):
        entry = space.rules.found(open_record(warrant.record, space.dna)).entry
        shown["reason"] = getattr(entry, "reason", "")
    return shown


def _again(space: Space, signed: SignedWarrant) -> tuple[bool | None, str, Missing]:
    """Whether the accusation holds when it is checked now (None: not to be said), why, and what
    has to be fetched to say it.
    """
    nothing = Missing(())
    try:
        _, warrant = open_warrant(signed, space.dna)
        if not isinstance(warrant, InvalidRecord | Revoked):
            return True, "both signatures are the accused's own; nothing else is needed", nothing
        guilty = stands(space, warrant)
    except Malformed as error:
        return False, str(error), nothing
    if isinstance(guilty, Missing):
        return None, "what the record rests on is not here; it is being fetched, ask again", guilty
    if isinstance(warrant, Revoked):
        return _revoked_again(guilty)
    if guilty:
        return True, "the rules of this community, run again on the evidence, refuse it", nothing
    return False, "the rules of this community, run again on the evidence, find it valid", nothing


def _revoked_again(ended: bool | None) -> tuple[bool | None, str, Missing]:
    if ended is None:
        return None, "what came after it is known here, and keeps it from counting", Missing(())
    if ended:
        return True, "the rules of this community let its author end that agent", Missing(())
    return False, "by the rules of this community it ends nobody, or somebody else", Missing(())


def _evidence(space: Space, warrant: Warrant) -> tuple[list[dict[str, Any]], int]:
    """The actions that are accused, and how many the evidence shows."""
    match warrant:
        case ChainFork():
            both = [open_record(wire, space.dna) for wire in (warrant.first, warrant.second)]
            return [_action(record) for record in both], 2
        case DoubleSeal():
            wires = [_sealed(warrant.action, proof) for proof in (warrant.first, warrant.second)]
            return wires, 2
        case InvalidRecord():
            records = open_evidence(warrant, space.dna)
            return [_action(records[-1])], len(records)
        case Revoked():
            return [_action(open_record(warrant.record, space.dna))], 1


def _sealed(data: bytes, proof: Proof) -> dict[str, Any]:
    action = decode_action(data)
    return _action(Record(action_hash(data, action.author), action, data, proof, None))


def _action(record: Record) -> dict[str, Any]:
    action, proof = record.action, record.proof
    return {
        "seq": action.action_seq,
        "type": type(action).__name__,
        "entry_type": action.entry_type if isinstance(action, EntryAction) else None,
        "hash": record.hash,
        "timestamp_us": action.timestamp_us,
        "bundle_place": proof.index,
        "bundle_size": proof.size,
    }

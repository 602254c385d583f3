"""Revocations: a valid record that ends an agent, told and kept as a warrant is.

A revocation by whoever may end an agent (`hdi.IntegrityZome.revocation`) is proof enough: every
node that integrates one tells it as a warrant of the kind `Revoked`, and everyone whom it reaches
judges the record by the rules.  Two things no rule can see are judged by what is known here: that
something newer keeps it from counting, and that its author had been ended, or its chain closed,
before it wrote it.
"""

from collections.abc import Iterable

from ioe_node.errors import Malformed
from ioe_node.hdi import AgentPubKey, Invalid, Missing
from ioe_node.model.record import Record, open_record
from ioe_node.model.warrant import Revoked, SignedWarrant, Warrant, decode_warrant
from ioe_node.workflows.overlay import Overlay
from ioe_node.workflows.space import Space


def warrants_of(space: Space, records: Iterable[Record]) -> list[Revoked]:
    """The warrants of valid records here that end somebody; in any thread."""
    found = []
    for record in records:
        ended = space.rules.ended_by(record)
        if ended is not None and _counts(space, record):
            wire = space.store.alone(record).wire()
            found.append(Revoked(ended.agent, space.agent, space.clock.now_us(), wire))
    return found


def is_revoked(space: Space, warrant: Revoked) -> bool | Missing | None:
    """Whether a warrant's record ends its warrantee, in any thread; or what must be here first.

    None: it does by the rules, but what is known here keeps it from counting; nobody lied.
    """
    record = open_record(warrant.record, space.dna)
    try:
        if space.rules.seal_fault(record) is not None:
            return False  # evidence that its author did not sign as it is shown
    except Malformed:
        return False
    verdict = space.rules.validate_alone(record, Overlay(space.store))
    if isinstance(verdict, Missing):
        return verdict
    ended = None if isinstance(verdict, Invalid) else space.rules.ended_by(record)
    if ended is None or ended.agent != warrant.warrantee:
        return False
    return _counts(space, record) or None


def _counts(space: Space, record: Record) -> bool:
    author, seq = record.action.author, record.action.action_seq
    last_seq = space.ended.get(author)
    if last_seq is not None and seq > last_seq:
        return False
    # A key that its chain was closed for, or its copy, can still write beside that chain.
    head, known = space.store.head(author), space.store.record_at(author, seq)
    beside = head is not None and head.closed and seq > head.seq
    if beside or (known is not None and known.hash != record.hash):
        return False
    return not space.rules.overtaken(record, space.store)


def door_fault(space: Space, agent: AgentPubKey, proof: bytes | None) -> str | None:
    """Why an agent is not let in on its proof, as far as that is known here; raises `Malformed`.

    Whether others' chains say what the proof says that they do, its own chain is judged by.
    """
    definition = space.rules.definition
    verdict = definition.admits(agent, proof)
    if isinstance(verdict, Invalid):
        return verdict.reason
    if invited_too_late(space, agent, proof):
        return "whoever invited you did so with a key that had been revoked"
    return None


def invited_too_late(space: Space, agent: AgentPubKey, proof: bytes | None) -> bool:
    """Whether an agent whom the membrane admits is in by what a revoked key wrote after its end."""
    places = space.rules.definition.invitations(agent, proof)
    return any(place.seq > space.ended.get(place.author, place.seq) for place in places)


def on_a_revoked_word(space: Space, agent: AgentPubKey, proof: bytes | None) -> bool:
    """Whether a key that was revoked has invited an agent, or somebody who vouched for it.

    Whoever holds that key signs what it likes, with any place on its chain in it.
    """
    places = space.rules.definition.invitations(agent, proof)
    return any(place.author in space.ended for place in places)


def note_ended(space: Space, convicted: AgentPubKey, signed: SignedWarrant) -> None:
    """Remember where an agent ended, if that is what the warrant says that convicts it here."""
    warrant = decode_warrant(signed)
    if isinstance(warrant, Revoked) and warrant.warrantee == convicted:
        ended = space.rules.ended_by(open_record(warrant.record, space.dna))
        if ended is not None:
            space.ended[convicted] = ended.last_seq


def revoked_us(space: Space, warrant: Warrant) -> int | None:
    """When the warrantee was revoked, if that is what the warrant says."""
    if not isinstance(warrant, Revoked):
        return None
    return open_record(warrant.record, space.dna).action.timestamp_us

"""The source chain: what may come next, sealing a bundle, verifying a whole chain.

Invariant: action `n` names action `n-1` of the same author, its time is not earlier, and the
first three are the genesis.  A chain that keeps it can be checked from its bytes alone, at a
hash or two an action and one signature a bundle.
"""

from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b

from msgspec import Struct

from ioe_node.errors import ChainBroken, Malformed
from ioe_node.model.action import (
    AGENT_ENTRY,
    AgentValidationPkg,
    AnyAction,
    CloseChain,
    Create,
    Dna,
    EntryAction,
    decode_action,
)
from ioe_node.model.hashes import ACTION, CORE, LOCATION, ActionHash, AgentPubKey, DnaHash, core_of
from ioe_node.model.record import (
    Proof,
    Record,
    decode_proof,
    path_of,
    root_of,
    seal_message,
    tree_of,
)
from ioe_node.model.signing import verify

GENESIS_ACTIONS = 3
_GENESIS_PLACES: dict[type, int] = {Dna: 0, AgentValidationPkg: 1}
"""Where an action of the genesis belongs; all others stand from `GENESIS_ACTIONS` on."""
_OUT_OF_PLACE = {
    0: "a second Dna action",
    1: "the membrane proof belongs second on the chain",
    2: "the agent key belongs third on the chain",
}


class Head(Struct, frozen=True, gc=False):
    """The newest action of a chain."""

    seq: int
    hash: ActionHash
    timestamp_us: int
    closed: bool = False


class Draft(Struct, frozen=True, gc=False):
    """An action that is not sealed yet, its hash, its bytes and its entry's bytes."""

    hash: ActionHash
    action: AnyAction
    action_bytes: bytes
    entry: bytes | None


def seal(drafts: Sequence[Draft], dna: DnaHash, sign: Callable[[bytes], bytes]) -> list[Record]:
    """Seal consecutive drafts of one author in one network as one bundle, by one signature.

    The records of a bundle of several carry no paths: they are stored together, and whoever
    sends one alone computes its path (`store.Store.record`).
    """
    levels = tree_of([draft.hash[CORE] for draft in drafts])
    signature = sign(seal_message(dna, levels[-1][0]))
    size = len(drafts)
    return [
        Record(d.hash, d.action, d.action_bytes, Proof(signature, place, size), d.entry)
        for place, d in enumerate(drafts)
    ]


def with_path(record: Record, leaves: Sequence[bytes]) -> Record:
    """`record` with the path that its bundle's `leaves` (cores, in order) give it."""
    proof = record.proof
    path = path_of(tree_of(leaves), proof.index)
    sealed = Proof(proof.signature, proof.index, proof.size, path)
    return Record(record.hash, record.action, record.action_bytes, sealed, record.entry)


def follows(head: Head | None, action: AnyAction, dna: DnaHash) -> str | None:
    """Why `action` may not come after `head` (None: an empty chain), or None if it may."""
    if head is None:
        if not isinstance(action, Dna) or action.action_seq or action.prev_action is not None:
            return "a chain that does not begin with its Dna action"
        return None if action.dna_hash == dna else "a chain of another network"
    if head.closed:
        return "an action after the chain was closed"
    seq = action.action_seq
    if seq != head.seq + 1 or action.prev_action != head.hash:
        return "an action that does not follow the chain's head"
    if action.timestamp_us < head.timestamp_us:
        return "an action earlier than the one before it"
    place = _GENESIS_PLACES.get(type(action), GENESIS_ACTIONS)
    if isinstance(action, Create) and action.entry_type == AGENT_ENTRY:
        place = 2
    due = seq if seq < GENESIS_ACTIONS else GENESIS_ACTIONS
    return None if place == due else _OUT_OF_PLACE[min(place, due)]


def head_after(action: AnyAction, hash_: ActionHash) -> Head:
    """The head that a chain has once `action` is on it."""
    return Head(action.action_seq, hash_, action.timestamp_us, isinstance(action, CloseChain))


StoredRow = tuple[int, bytes, bytes | None, int, bytes | None]
"""(sequence, action, entry or None, place in its bundle, proof or None inside a bundle)."""


class _Reading:
    """A chain being read: its head so far, and the bundle whose signature comes next."""

    def __init__(
        self, author: AgentPubKey, dna: DnaHash, seal_fault: Callable[[Record], str | None]
    ) -> None:
        self.head: Head | None = None
        self._author = author
        self._dna = dna
        self._seal_fault = seal_fault
        self._location = author[LOCATION]
        self._proof: Proof | None = None
        self._leaves: list[bytes] = []

    def take(
        self, seq: int, data: bytes, entry: bytes | None, place: int, proof: bytes | None
    ) -> None:
        """The next row; raises `Malformed`, or `ChainBroken` for the bundle before it."""
        if proof is not None:
            self.end_bundle()
            self._proof, self._leaves = decode_proof(proof), []
        if self._proof is None or place != self._proof.index + len(self._leaves):
            raise Malformed("its bundle has a hole")
        action = decode_action(data)
        if action.author != self._author or action.action_seq != seq:
            raise Malformed("an action of another author or place")
        wrong = follows(self.head, action, self._dna)
        if wrong is not None:
            raise Malformed(wrong)
        core = blake2b(data, digest_size=32).digest()
        hash_ = ActionHash(ACTION + core + self._location)
        named = action.entry_hash[CORE] if isinstance(action, EntryAction) else None
        if entry is not None and core_of(entry) != named:
            raise Malformed("its entry does not hash to its name")
        if (entry is None and named is not None) or self._proof.cosignatures:
            fault = self._seal_fault(Record(hash_, action, data, self._proof, entry))
            if fault is not None:
                raise Malformed(fault)
        self._leaves.append(core)
        self.head = head_after(action, hash_)

    def end_bundle(self) -> None:
        """Check the signature of the bundle read last."""
        proof, leaves = self._proof, self._leaves
        if proof is None or self.head is None:
            return
        first = f"action {self.head.seq + 1 - len(leaves)}"
        alone = bool(proof.path or proof.cosignatures)
        if len(leaves) != (1 if alone else proof.size):
            raise ChainBroken(f"{first}: its bundle of {proof.size} is not complete")
        root = root_of(leaves[0], proof) if alone else tree_of(leaves)[-1][0]
        if not verify(self._author[CORE], seal_message(self._dna, root), proof.signature):
            raise ChainBroken(f"{first}: its bundle's signature does not fit")


def _no_fault(_record: Record) -> None:
    """No fault that only a DNA could see."""


def verify_chain(
    rows: Iterable[StoredRow],
    author: AgentPubKey,
    dna: DnaHash,
    seal_fault: Callable[[Record], str | None] = _no_fault,
) -> Head | None:
    """Check a stored chain from its first action: hashes, links, entries, signatures.

    `seal_fault` (`Rules.seal_fault`) judges what takes the DNA's types: entries that are not
    there, and other parties' signatures.  Returns the chain's head; raises `ChainBroken` that
    names the first bad action.
    """
    reading = _Reading(author, dna, seal_fault)
    try:
        for row in rows:
            reading.take(*row)
        reading.end_bundle()
    except (Malformed, TypeError) as error:
        seq = 0 if reading.head is None else reading.head.seq + 1
        raise ChainBroken(f"action {seq}: {error}") from None
    return reading.head

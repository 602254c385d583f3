"""The source chain: what may come next, sealing a bundle, verifying a whole chain.

Invariant: action `n` names action `n-1` of the same author, its time is not earlier, and the
first three are the genesis.  A chain that keeps it can be checked from its bytes alone, at a
hash or two an action and one signature a bundle.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
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
    Update,
    decode_action,
)
from ioe_node.model.hashes import ACTION, CORE, LOCATION, ActionHash, AgentPubKey, DnaHash
from ioe_node.model.record import (
    Proof,
    Record,
    decode_proof,
    node_of,
    path_of,
    root_of,
    seal_message,
    tree_of,
)
from ioe_node.model.signing import verify

GENESIS_ACTIONS = 3


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


def seal(drafts: Sequence[Draft], sign: Callable[[bytes], bytes]) -> list[Record]:
    """Seal consecutive drafts of one author as one bundle, by one signature.

    The records of a bundle of several carry no paths: they are stored together, and whoever
    sends one alone computes its path (`store.Store.record`).
    """
    levels = tree_of([draft.hash[CORE] for draft in drafts])
    signature = sign(seal_message(levels[-1][0]))
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
    if action.action_seq != head.seq + 1 or action.prev_action != head.hash:
        return "an action that does not follow the chain's head"
    if action.timestamp_us < head.timestamp_us:
        return "an action earlier than the one before it"
    if isinstance(action, AgentValidationPkg) != (action.action_seq == 1):
        return "the membrane proof belongs second on the chain"
    is_key = isinstance(action, Create) and action.entry_type == AGENT_ENTRY
    if is_key != (action.action_seq == 2):
        return "the agent key belongs third on the chain"
    return "a second Dna action" if isinstance(action, Dna) else None


def head_after(action: AnyAction, hash_: ActionHash) -> Head:
    """The head that a chain has once `action` is on it."""
    return Head(action.action_seq, hash_, action.timestamp_us, isinstance(action, CloseChain))


StoredRow = tuple[bytes, bytes, bytes | None, int, bytes | None]
"""(hash, action, entry or None, place in its bundle, proof or None inside a bundle)."""


@dataclass
class _Bundle:
    """A bundle being read: its proof and the leaves seen so far."""

    proof: Proof
    leaves: list[bytes]
    seq: int

    def check(self, author: AgentPubKey) -> None:
        proof, leaves = self.proof, self.leaves
        if proof.path or proof.cosignatures:
            root = root_of(leaves[0], proof)
        else:
            if len(leaves) != proof.size:
                raise ChainBroken(f"action {self.seq}: its bundle of {proof.size} is not complete")
            root = _root(leaves)
        if not verify(author[CORE], seal_message(root), proof.signature):
            raise ChainBroken(f"action {self.seq}: its bundle's signature does not fit")


def _root(leaves: list[bytes]) -> bytes:
    while len(leaves) > 1:
        odd = leaves[-1:] if len(leaves) % 2 else []
        pairs = iter(leaves)
        leaves = [node_of(left, right) for left, right in zip(pairs, pairs, strict=False)] + odd
    return leaves[0]


def verify_chain(rows: Iterable[StoredRow], author: AgentPubKey, dna: DnaHash) -> Head | None:
    """Check a stored chain from its first action: hashes, links, entries, signatures.

    Returns its head; raises `ChainBroken` that names the first bad action.
    """
    head: Head | None = None
    bundle: _Bundle | None = None
    location = author[LOCATION]
    for seq, (hash_, data, entry, place, proof) in enumerate(rows):
        core = blake2b(data, digest_size=32).digest()
        if hash_ != ACTION + core + location:
            raise ChainBroken(f"action {seq}: its bytes do not hash to its name")
        try:
            action = decode_action(data)
            if proof is not None:
                if bundle is not None:
                    bundle.check(author)
                bundle = _Bundle(decode_proof(proof), [], seq)
        except Malformed as error:
            raise ChainBroken(f"action {seq}: {error}") from None
        if bundle is None or (proof is None and place != len(bundle.leaves)):
            raise ChainBroken(f"action {seq}: its bundle has a hole")
        bundle.leaves.append(core)
        wrong = follows(head, action, dna)
        if wrong or action.author != author:
            raise ChainBroken(f"action {seq}: {wrong or 'another author'}")
        if entry is not None and not (
            isinstance(action, Create | Update)
            and action.entry_hash[CORE] == blake2b(entry, digest_size=32).digest()
        ):
            raise ChainBroken(f"action {seq}: its entry does not hash to its name")
        head = head_after(action, ActionHash(hash_))
    if bundle is not None:
        bundle.check(author)
    return head

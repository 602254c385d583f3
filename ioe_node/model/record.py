"""A record: an action, the proof that its author sealed it, and its entry.

The actions that one zome call commits are a *bundle*, sealed by one Ed25519 signature over the
root of a Merkle tree whose leaves are the cores of their action hashes.  Nodes are hashed with
a blake2b personalisation that no leaf has, and an odd node is carried up unchanged, so a
bundle of one has its action's core as root and an empty path.  A record that travels alone
carries its path.  A countersigned bundle has one action of each party, and every party's
signature over the one root.  What is signed names the network too, so that nothing that is
sealed in one can be shown in another.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Annotated

from msgspec import Meta, Struct

from ioe_node.errors import Malformed
from ioe_node.model.action import (
    ACTION_BYTES_MAX,
    AnyAction,
    Create,
    Update,
    decode_action,
)
from ioe_node.model.codec import Codec
from ioe_node.model.hashes import CORE, ActionHash, DnaHash, action_hash, entry_hash
from ioe_node.model.signing import verify

ENTRY_BYTES_MAX = 4_000_000
BUNDLE_ACTIONS_MAX = 10_000
BUNDLE_BYTES_MAX = 12 * 1024 * 1024
PARTIES_MAX = 8
PATH_NODES_MAX = BUNDLE_ACTIONS_MAX.bit_length()
RECORD_BYTES_MAX = ACTION_BYTES_MAX + ENTRY_BYTES_MAX + 4_096

Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]
Core = Annotated[bytes, Meta(min_length=32, max_length=32)]


class Proof(Struct, frozen=True, gc=False, array_like=True):
    """That the author sealed this action: place `index` of `size` in its bundle.

    `path` is the siblings from leaf to root (32 bytes each).  `cosignatures` are the other
    parties' signatures of a countersigned bundle, in the order of its parties.
    """

    signature: Signature
    index: Annotated[int, Meta(ge=0, lt=BUNDLE_ACTIONS_MAX)] = 0
    size: Annotated[int, Meta(ge=1, le=BUNDLE_ACTIONS_MAX)] = 1
    path: Annotated[tuple[Core, ...], Meta(max_length=PATH_NODES_MAX)] = ()
    cosignatures: Annotated[tuple[Signature, ...], Meta(max_length=PARTIES_MAX - 1)] = ()


class WireRecord(Struct, frozen=True, gc=False, array_like=True, tag="record"):
    """A record as it travels alone: canonical action bytes, proof, entry bytes."""

    action: Annotated[bytes, Meta(max_length=ACTION_BYTES_MAX)]
    proof: Proof
    entry: Annotated[bytes, Meta(max_length=ENTRY_BYTES_MAX)] | None = None


class WireBundle(Struct, frozen=True, gc=False, array_like=True, tag="bundle"):
    """A whole bundle of one author: needs no paths, one signature check."""

    actions: Annotated[
        tuple[Annotated[bytes, Meta(max_length=ACTION_BYTES_MAX)], ...],
        Meta(min_length=1, max_length=BUNDLE_ACTIONS_MAX),
    ]
    entries: Annotated[tuple[bytes | None, ...], Meta(max_length=BUNDLE_ACTIONS_MAX)]
    signature: Signature


class WirePrefix(Struct, frozen=True, gc=False, array_like=True, tag="prefix"):
    """The beginning of a bundle of one author, enough to check its seal and judge its last.

    `rest` is the leaves of the actions that are left out at the end, so it is never larger than
    the bundle itself.
    """

    actions: Annotated[
        tuple[Annotated[bytes, Meta(max_length=ACTION_BYTES_MAX)], ...],
        Meta(min_length=1, max_length=BUNDLE_ACTIONS_MAX),
    ]
    entries: Annotated[tuple[bytes | None, ...], Meta(max_length=BUNDLE_ACTIONS_MAX)]
    rest: Annotated[tuple[Core, ...], Meta(max_length=BUNDLE_ACTIONS_MAX)]
    signature: Signature


class Record(Struct, frozen=True, gc=False):
    """A decoded record; `entry` is None where the action has none or it is private."""

    hash: ActionHash
    action: AnyAction
    action_bytes: bytes
    proof: Proof
    entry: bytes | None

    def wire(self) -> WireRecord:
        """As it travels alone."""
        return WireRecord(self.action_bytes, self.proof, self.entry)


Parcel = WireRecord | WireBundle
"""What is published, parked and integrated together: a whole bundle."""

_codec: Codec[Parcel] = Codec(Parcel, "parcel", BUNDLE_BYTES_MAX)
_proof_codec: Codec[Proof] = Codec(Proof, "proof", 64 * (PATH_NODES_MAX + PARTIES_MAX) + 64)


def decode_proof(data: bytes) -> Proof:
    """A stored proof; raises `Malformed`."""
    return _proof_codec.decode(data)


def node_of(left: bytes, right: bytes) -> bytes:
    """The parent of two nodes of a bundle's tree: 32 bytes."""
    return blake2b(left + right, digest_size=32, person=b"ioe.bundle.node").digest()


def tree_of(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """Every level of the tree, leaves first; the last level is the root alone."""
    levels = [list(leaves)]
    while len(levels[-1]) > 1:
        below = levels[-1]
        level = [
            blake2b(below[i] + below[i + 1], digest_size=32, person=b"ioe.bundle.node").digest()
            for i in range(0, len(below) - 1, 2)
        ]
        if len(below) % 2:
            level.append(below[-1])
        levels.append(level)
    return levels


def path_of(levels: Sequence[Sequence[bytes]], index: int) -> tuple[bytes, ...]:
    """The siblings of leaf `index`, leaf to root."""
    path = []
    for level in levels[:-1]:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        index >>= 1
    return tuple(path)


def root_of(leaf: bytes, proof: Proof) -> bytes:
    """The root that `proof` leads to from `leaf`; raises `Malformed` if path and size differ."""
    node, index, last = leaf, proof.index, proof.size - 1
    if index > last:
        raise Malformed("a proof whose index is outside its bundle")
    path = iter(proof.path)
    try:
        while last:
            if index & 1:
                node = node_of(next(path), node)
            elif index < last:
                node = node_of(node, next(path))
            index, last = index >> 1, last >> 1
    except StopIteration:
        raise Malformed("a proof whose path is too short for its bundle") from None
    if next(path, None) is not None:
        raise Malformed("a proof whose path is too long for its bundle")
    return node


def seal_message(network: DnaHash, root: bytes) -> bytes:
    """What the authors of a bundle sign: a domain tag, the network and the root."""
    return b"ioe/bundle/1" + network + root


def check_entry(action: AnyAction, entry: bytes | None) -> None:
    """Raise `Malformed` unless `entry` is what the action names (None is for private ones)."""
    if entry is None:
        return
    if not isinstance(action, Create | Update):
        raise Malformed(f"a {type(action).__name__} carries no entry")
    if len(entry) > ENTRY_BYTES_MAX:
        raise Malformed(f"an entry of {len(entry)} bytes, at most {ENTRY_BYTES_MAX}")
    if entry_hash(entry) != action.entry_hash:
        raise Malformed("an entry that does not hash to what its action names")


def open_record(wire: WireRecord, network: DnaHash) -> Record:
    """Decode one travelling record and check its author's seal in `network`; raises `Malformed`.

    Cosignatures are checked where the parties are known: `core.countersign`.
    """
    action = decode_action(wire.action)
    hash_ = action_hash(wire.action, action.author)
    check_entry(action, wire.entry)
    root = root_of(hash_[CORE], wire.proof)
    if not verify(action.author[CORE], seal_message(network, root), wire.proof.signature):
        raise Malformed("a record whose signature does not fit its author")
    return Record(hash_, action, wire.action, wire.proof, wire.entry)


def open_bundle(bundle: WireBundle, network: DnaHash) -> list[Record]:
    """Decode a whole bundle with one signature check; raises `Malformed`.

    The actions must be consecutive links of one author's chain.  The records carry no paths:
    they are kept and sent together, and one that travels alone gets its path then.
    """
    whole = WirePrefix(bundle.actions, bundle.entries, (), bundle.signature)
    return open_prefix(whole, network)


def open_prefix(bundle: WirePrefix, network: DnaHash) -> list[Record]:
    """As `open_bundle`, for the beginning of a bundle."""
    if len(bundle.entries) != len(bundle.actions):
        raise Malformed("a bundle whose entries do not match its actions")
    if len(bundle.actions) + len(bundle.rest) > BUNDLE_ACTIONS_MAX:
        raise Malformed(f"a bundle of more than {BUNDLE_ACTIONS_MAX} actions")
    actions = [decode_action(data) for data in bundle.actions]
    author = actions[0].author
    hashes = [action_hash(data, author) for data in bundle.actions]
    for place, action in enumerate(actions):
        check_entry(action, bundle.entries[place])
        if action.author != author:
            raise Malformed("a bundle of more than one author")
        if place and (
            action.prev_action != hashes[place - 1]
            or action.action_seq != actions[place - 1].action_seq + 1
        ):
            raise Malformed("a bundle whose actions do not follow each other")
    levels = tree_of([*(hash_[CORE] for hash_ in hashes), *bundle.rest])
    if not verify(author[CORE], seal_message(network, levels[-1][0]), bundle.signature):
        raise Malformed("a bundle whose signature does not fit its author")
    size = len(levels[0])
    return [
        Record(
            hashes[place],
            actions[place],
            bundle.actions[place],
            Proof(bundle.signature, place, size),
            bundle.entries[place],
        )
        for place in range(len(actions))
    ]


def prefix_of(bundle: Sequence[Record], count: int) -> WirePrefix:
    """The first `count` records of a bundle of one author, fit to be judged without the rest."""
    shown = bundle[:count]
    return WirePrefix(
        tuple(record.action_bytes for record in shown),
        tuple(record.entry for record in shown),
        tuple(record.hash[CORE] for record in bundle[count:]),
        bundle[0].proof.signature,
    )


def open_parcel(parcel: Parcel, network: DnaHash) -> list[Record]:
    """The records of a parcel, sealed as it says; raises `Malformed`.

    One record alone is a bundle of one, a party's half of a countersigned bundle, or a part
    (`is_part`), which can stand on no chain.
    """
    if isinstance(parcel, WireBundle):
        return open_bundle(parcel, network)
    return [open_record(parcel, network)]


def is_part(parcel: Parcel) -> bool:
    """Whether it is one record of a bundle of several: what a chain takes whole or not at all."""
    if isinstance(parcel, WireBundle):
        return False
    return parcel.proof.size > 1 and not parcel.proof.cosignatures


def signature_of(parcel: Parcel) -> bytes:
    """The author's signature on a parcel."""
    return parcel.proof.signature if isinstance(parcel, WireRecord) else parcel.signature


def first_action(parcel: Parcel) -> bytes:
    """The canonical bytes of a parcel's first action."""
    return parcel.action if isinstance(parcel, WireRecord) else parcel.actions[0]


def decode_parcel(data: bytes) -> Parcel:
    """A parked parcel; raises `Malformed`."""
    return _codec.decode(data)


def parcels_of(records: Sequence[Record], withhold: Callable[[Record], bool]) -> list[Parcel]:
    """Pack a run of one chain, made of whole bundles, for another agent.

    `withhold(record)` says that its entry is private and stays here.
    """
    parcels: list[Parcel] = []
    at = 0
    while at < len(records):
        proof = records[at].proof
        size = 1 if proof.cosignatures else proof.size
        bundle = records[at : at + size]
        entries = tuple(None if withhold(record) else record.entry for record in bundle)
        if size == 1:
            parcels.append(WireRecord(bundle[0].action_bytes, proof, entries[0]))
        else:
            actions = tuple(record.action_bytes for record in bundle)
            parcels.append(WireBundle(actions, entries, proof.signature))
        at += size
    return parcels

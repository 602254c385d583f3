"""Bundles: every path leads to the root, every other claim is refused."""

from typing import Any

import pytest
from msgspec.structs import replace

from ioe_node.core.chain import with_path
from ioe_node.errors import Malformed
from ioe_node.model.action import Delete, decode_action
from ioe_node.model.hashes import CORE, ActionHash, core_of, entry_hash
from ioe_node.model.op import OpKind, all_kinds, ops_of
from ioe_node.model.record import (
    PATH_NODES_MAX,
    Proof,
    WireBundle,
    WireRecord,
    check_entry,
    is_part,
    open_bundle,
    open_parcel,
    open_record,
    parcels_of,
    path_of,
    root_of,
    tree_of,
)

NOTHING = bytes(64)


def leaves_of(size: int) -> list[bytes]:
    return [core_of(bytes([number])) for number in range(size)]


def root_by(leaf: bytes, index: int, size: int, path: tuple[bytes, ...]) -> bytes | None:
    try:
        return root_of(leaf, Proof(NOTHING, index, size, path))
    except Malformed:
        return None


@pytest.mark.parametrize("size", range(1, 71))
def test_every_leaf_of_every_size_has_its_path(size: int) -> None:
    leaves = leaves_of(size)
    levels = tree_of(leaves)
    root = levels[-1][0]
    for index, leaf in enumerate(leaves):
        path = path_of(levels, index)
        assert root_by(leaf, index, size, path) == root
        assert root_by(leaf, index, size, (*path, leaf)) is None
        assert root_by(leaf, size, size, path) is None
        assert not path or root_by(leaf, index, size, path[1:]) is None
        assert root_by(leaves[index - 1], index, size, path) != root or size == 1


@pytest.mark.parametrize("size", [2, 3, 5, 8, 13, 64, 70])
def test_another_index_or_node_leads_elsewhere(size: int) -> None:
    leaves = leaves_of(size)
    levels = tree_of(leaves)
    root = levels[-1][0]
    for index, leaf in enumerate(leaves):
        path = path_of(levels, index)
        others = [other for other in range(size) if other != index]
        assert all(root_by(leaf, other, size, path) != root for other in others)
        for at in range(len(path)):
            bad = (*path[:at], core_of(path[at]), *path[at + 1 :])
            assert root_by(leaf, index, size, bad) != root


def test_a_node_is_no_leaf() -> None:
    """An inner node shown as an action's core leads nowhere that a leaf leads."""
    left, right = leaves_of(2)
    assert tree_of([left, right])[-1][0] != core_of(left + right)
    assert 2**PATH_NODES_MAX >= 10_000


def wire_of(records: list[Any], **changed: Any) -> WireBundle:
    parts = {
        "actions": tuple(record.action_bytes for record in records),
        "entries": tuple(record.entry for record in records),
        "signature": records[0].proof.signature,
    }
    return WireBundle(**{**parts, **changed})


def test_a_bundle_opens_as_it_was_sealed(new_author: Any) -> None:
    author = new_author(1)
    author.genesis()
    records = author.bundle(5)
    assert open_bundle(wire_of(records), author.dna) == records
    assert parcels_of(author.chain, lambda _: False) == [
        wire_of(author.chain[:3]),
        wire_of(records),
    ]
    withheld = parcels_of(records, lambda record: record is records[2])[0]
    assert [record.entry is None for record in open_bundle(withheld, author.dna)] == [
        number == 2 for number in range(5)
    ]


def test_a_bundle_with_a_hole_or_out_of_order_or_of_others_is_refused(new_author: Any) -> None:
    author, other = new_author(1), new_author(2)
    author.genesis(), other.genesis()
    records, foreign = author.bundle(4), other.bundle(4)
    hole = [*records[:1], *records[2:]]
    mixed = [*records[:3], foreign[3]]
    for bad in (hole, records[::-1], mixed, records[:3], records[1:], [*records, records[3]]):
        with pytest.raises(Malformed):
            open_bundle(wire_of(bad), author.dna)
    for changed in (
        {"entries": ()},
        {"entries": (b"x",) * 4},
        {"entries": tuple(record.entry for record in records[::-1])},
        {"signature": foreign[0].proof.signature},
    ):
        with pytest.raises(Malformed):
            open_bundle(wire_of(records, **changed), author.dna)


def test_a_part_of_a_bundle_travels_with_its_path_and_is_known_as_one(new_author: Any) -> None:
    author = new_author(1)
    author.genesis()
    records = author.bundle(3)
    alone = with_path(records[1], [record.hash[CORE] for record in records]).wire()
    assert open_record(alone, author.dna).hash == records[1].hash
    assert open_parcel(alone, author.dna) == [open_record(alone, author.dna)]
    assert is_part(alone)
    assert not any(is_part(parcel) for parcel in parcels_of(records, lambda _: False))
    with pytest.raises(Malformed):
        open_record(records[1].wire(), author.dna)


def test_entries_belong_to_their_actions(new_author: Any) -> None:
    author = new_author(1)
    author.genesis()
    record = author.bundle(1)[0]
    for entry in (b"", b"another", record.entry + b"\0"):
        with pytest.raises(Malformed, match="hash"):
            open_record(WireRecord(record.action_bytes, record.proof, entry), author.dna)
    author.draft(Delete, deletes_action=record.hash, deletes_entry=entry_hash(record.entry))
    delete = author.seal()[0]
    with pytest.raises(Malformed, match="carries no entry"):
        open_record(WireRecord(delete.action_bytes, delete.proof, b"x"), author.dna)
    with pytest.raises(Malformed, match="at most"):
        check_entry(record.action, bytes(4_000_001))


def test_another_authors_seal_is_refused(new_author: Any) -> None:
    author, other = new_author(1), new_author(2)
    author.genesis(), other.genesis()
    mine, theirs = author.bundle(1)[0], other.bundle(1)[0]
    with pytest.raises(Malformed, match="signature"):
        open_record(replace(mine.wire(), proof=theirs.proof), author.dna)


def test_an_authors_kinds_are_the_kinds_of_its_ops(golden: Any) -> None:
    """The short way that commits take gives what the bases are listed for."""
    for name, vector in golden["actions"].items():
        action = decode_action(bytes.fromhex(vector["bytes"]))
        for by_hash in (False, True):
            kinds = OpKind(0)
            for kind, _ in ops_of(action, ActionHash(bytes(39)), by_hash):
                kinds |= kind
            assert all_kinds(action, by_hash) == kinds.value
            entry = by_hash and name in ("Create", "Update")
            assert bool(kinds & OpKind.CREATE_ENTRY) == entry

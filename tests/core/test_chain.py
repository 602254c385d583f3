"""What may follow what, and what a whole chain's check finds."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioe_node.core.chain import Head, StoredRow, follows, verify_chain, with_path
from ioe_node.errors import ChainBroken
from ioe_node.model.action import (
    AGENT_ENTRY,
    AgentValidationPkg,
    CloseChain,
    Create,
    Dna,
    InitZomesComplete,
)
from ioe_node.model.codec import encode
from ioe_node.model.hashes import CORE, dna_hash, entry_hash
from ioe_node.model.record import Record, open_record


def rows_of(chain: list[Record]) -> list[StoredRow]:
    """A chain as a store keeps it: a bundle's proof stands with its first action."""
    return [
        (at, r.action_bytes, r.entry, r.proof.index, None if r.proof.index else encode(r.proof))
        for at, r in enumerate(chain)
    ]


@pytest.fixture
def author(new_author: Any) -> Any:
    """Genesis, a bundle of five, one alone, a bundle of two."""
    made = new_author(1)
    made.genesis()
    for size in (5, 1, 2):
        made.bundle(size)
    return made


def check(author: Any, rows: list[StoredRow]) -> Head | None:
    return verify_chain(rows, author.agent, author.dna)


def test_a_whole_chain_is_verified_to_its_head(author: Any) -> None:
    assert check(author, rows_of(author.chain)) == author.head
    assert check(author, []) is None


def test_bundles_are_one_signature(author: Any) -> None:
    signatures = [record.proof.signature for record in author.chain]
    assert [signatures.index(each) for each in signatures] == [0, 0, 0, 3, 3, 3, 3, 3, 8, 9, 9]
    leaves = [record.hash[CORE] for record in author.chain[3:8]]
    for record in author.chain[3:8]:
        assert open_record(with_path(record, leaves).wire(), author.dna).hash == record.hash


def test_a_lost_row_is_noticed_wherever_it_was(author: Any) -> None:
    rows = rows_of(author.chain)
    for place in range(len(rows) - 1):
        with pytest.raises(ChainBroken, match="action"):
            check(author, rows[:place] + rows[place + 1 :])
    with pytest.raises(ChainBroken, match="not complete"):
        check(author, rows[:-1])


def test_rows_out_of_place_or_of_another_kind_are_noticed(author: Any) -> None:
    rows = rows_of(author.chain)
    for place, (seq, data, entry, index, proof) in enumerate(rows):
        for bad in (
            (seq + 1, data, entry, index, proof),
            (seq, data, entry, index + 1, proof),
            (seq, data, entry, index, None if proof else rows[0][4]),
            (seq, data, b"another entry", index, proof),
            (seq, b"", entry, index, proof),
            (seq, None, entry, index, proof),
            (seq, "text", entry, index, proof),
            (seq, 7, entry, index, proof),
            (seq, data, "text", index, proof),
            (seq, data, 7, index, proof),
            (seq, data, entry, None, proof),
            (seq, data, entry, index, "text"),
            (seq, data, entry, index, b""),
        ):
            with pytest.raises(ChainBroken):
                check(author, [*rows[:place], bad, *rows[place + 1 :]])  # type: ignore[list-item]


@given(data=st.data())
def test_any_flipped_bit_is_noticed(new_author: Any, data: Any) -> None:
    author = new_author(1)
    author.genesis()
    author.bundle(3)
    rows = rows_of(author.chain)
    place = data.draw(st.integers(0, len(rows) - 1))
    row = list(rows[place])
    column = data.draw(st.sampled_from([at for at in (1, 2, 4) if row[at]]))
    value = row[column]
    assert isinstance(value, bytes)
    bit = data.draw(st.integers(0, len(value) * 8 - 1))
    flipped = bytearray(value)
    flipped[bit // 8] ^= 1 << bit % 8
    row[column] = bytes(flipped)
    with pytest.raises(ChainBroken, match="action"):
        check(author, [*rows[:place], tuple(row), *rows[place + 1 :]])


def test_no_row_hides_behind_one_with_a_path(author: Any) -> None:
    """A path proves one action; a row after it that has no proof is not sealed by it."""
    rows = rows_of(author.chain)
    bundle = author.chain[-2:]
    alone = with_path(bundle[0], [record.hash[CORE] for record in bundle])
    rows[-2] = (*rows[-2][:4], encode(alone.proof))
    with pytest.raises(ChainBroken):
        check(author, rows)
    assert check(author, rows[:-1]) == Head(
        bundle[0].action.action_seq, bundle[0].hash, bundle[0].action.timestamp_us
    )


def test_another_author_or_network_is_noticed(author: Any, new_author: Any) -> None:
    rows = rows_of(author.chain)
    with pytest.raises(ChainBroken, match="another author"):
        verify_chain(rows, new_author(2).agent, author.dna)
    with pytest.raises(ChainBroken, match="another network"):
        verify_chain(rows, author.agent, dna_hash(b"elsewhere"))


def test_a_dna_may_find_more(author: Any) -> None:
    """What takes the DNA's types to see is asked of it: entries that are gone."""
    rows = rows_of(author.chain)
    rows[4] = (*rows[4][:2], None, *rows[4][3:])
    assert check(author, rows) == author.head
    with pytest.raises(ChainBroken, match="action 4: gone"):
        verify_chain(rows, author.agent, author.dna, lambda record: "gone")


def refusal(author: Any, kind: type[Any], **fields: Any) -> str | None:
    return follows(author.head, kind(**author.fields(**fields)), author.dna)


def test_the_first_three_are_the_genesis(new_author: Any) -> None:
    author = new_author(1)
    key = {"entry_type": AGENT_ENTRY, "entry_hash": entry_hash(author.agent)}
    other = {"entry_type": "a.B", "entry_hash": entry_hash(b"")}
    assert refusal(author, InitZomesComplete)
    assert refusal(author, Dna, dna_hash=author.dna, action_seq=1)
    assert refusal(author, Dna, dna_hash=dna_hash(b"elsewhere"))
    assert refusal(author, Dna, dna_hash=author.dna) is None
    author.draft(Dna, dna_hash=author.dna)
    assert refusal(author, Create, **key)
    assert refusal(author, Create, **other)
    assert refusal(author, Dna, dna_hash=author.dna)
    author.draft(AgentValidationPkg, membrane_proof=None)
    assert refusal(author, AgentValidationPkg, membrane_proof=None)
    assert refusal(author, Create, **other)
    assert refusal(author, Create, **key) is None
    author.draft(Create, author.agent, **key)
    assert refusal(author, Create, **key)
    assert refusal(author, Dna, dna_hash=author.dna)
    assert refusal(author, Create, **other) is None


def test_place_time_and_close_are_kept(author: Any, new_author: Any) -> None:
    entry = {"entry_type": "a.B", "entry_hash": entry_hash(b"")}
    head = author.head
    assert refusal(author, Create, **entry) is None
    assert refusal(author, Create, **entry, timestamp_us=head.timestamp_us) is None
    assert refusal(author, Create, **entry, timestamp_us=head.timestamp_us - 1)
    assert refusal(author, Create, **entry, action_seq=head.seq)
    assert refusal(author, Create, **entry, action_seq=head.seq + 2)
    assert refusal(author, Create, **entry, prev_action=author.chain[-2].hash)
    author.draft(CloseChain, new_target=None)
    assert author.head.closed
    assert refusal(author, Create, **entry) == "an action after the chain was closed"

"""What every DNA shares: undeclared is refused, what is missing is asked for, nothing crashes."""

from dataclasses import dataclass
from typing import Any

import pytest

from ioe_node.core.sys_validate import Rules
from ioe_node.errors import StoreError
from ioe_node.hdi import (
    ActionHash,
    CreateOp,
    DeleteOp,
    IntegrityZome,
    Invalid,
    LinkOp,
    Missing,
    UpdateOp,
    Valid,
    ValidationHost,
    Verdict,
)
from ioe_node.hdk import CoordinatorZome, DnaDef, Zome
from ioe_node.model.action import (
    CAP_GRANT_ENTRY,
    Create,
    CreateLink,
    Delete,
    DeleteLink,
    InitZomesComplete,
    Update,
)
from ioe_node.model.capability import CapGrant
from ioe_node.model.codec import encode
from ioe_node.model.hashes import action_hash, entry_hash
from ioe_node.model.record import Record

zome = IntegrityZome("test")


@zome.entry_type
@dataclass(frozen=True)
class Note:
    """May be amended, and removed by its author."""

    text: str
    after: ActionHash | None = None


@zome.entry_type
@dataclass(frozen=True)
class Stone:
    """May be neither."""

    text: str


@zome.entry_type(visibility="private")
@dataclass(frozen=True)
class Secret:
    """Stays at home."""

    text: str


@zome.validate_create
def a_note_comes_after(note: Note, op: CreateOp, host: ValidationHost) -> Verdict:
    if note.after is not None:
        host.must_get_record(note.after)
    return Valid if note.text != "divide" or 1 // 0 else Invalid("never reached")


@zome.validate_update
def a_note_grows(note: Note, op: UpdateOp, host: ValidationHost) -> Verdict:
    return Valid if len(note.text) > len(op.original.text) else Invalid("a note that shrinks")


@zome.validate_delete
def a_note_is_its_authors(note: Note, op: DeleteOp, host: ValidationHost) -> Verdict:
    return Valid if op.action.author == op.original_author else Invalid("another's note")


tagged = zome.link_type("tagged")
untended = zome.link_type("untended")


@zome.validate_link(tagged)
def a_link_has_a_tag(op: LinkOp, host: ValidationHost) -> Verdict:
    return Valid if op.link.tag else Invalid("a link without a tag")


RULES = Rules(DnaDef("test", (Zome(zome, CoordinatorZome(zome)),), properties=None))


@pytest.fixture
def world(new_world: Any) -> Any:
    return new_world(RULES)


@pytest.fixture
def join(world: Any, new_author: Any) -> Any:
    """`join(number)`: a member whose genesis is held."""

    def made(number: int) -> Any:
        author = new_author(number, RULES.hash)
        world.keep(*author.genesis())
        return author

    return made


def entry(author: Any, shape: Any) -> Record:
    made: Record = author.create(shape, f"test.{type(shape).__name__}")
    return made


def act(author: Any, kind: type[Any], data: bytes | None = None, **fields: Any) -> Record:
    author.draft(kind, data, **fields)
    made: Record = author.seal()[0]
    return made


def update(author: Any, original: Record, shape: Any, **changed: Any) -> Record:
    assert isinstance(original.action, Create)
    data = encode(shape)
    fields = {
        "original_action": original.hash,
        "original_entry": original.action.entry_hash,
        "entry_type": f"test.{type(shape).__name__}",
        "entry_hash": entry_hash(data),
    }
    return act(author, Update, data, **{**fields, **changed})


def refused(world: Any, record: Record, why: str) -> None:
    verdict = world.judge(record)
    assert isinstance(verdict, Invalid), verdict
    assert why in verdict.reason


def test_plain_actions_are_valid(world: Any, join: Any) -> None:
    author = join(1)
    world.keep(act(author, InitZomesComplete), entry(author, Stone("x")))


def test_an_undeclared_type_is_refused(world: Any, join: Any) -> None:
    refused(world, join(1).create(b"\x80", "test.Other"), "no entry type 'test.Other'")


def test_an_entry_that_was_not_sent_or_is_no_entry(world: Any, join: Any) -> None:
    author = join(1)
    record = entry(author, Stone("x"))
    bare = Record(record.hash, record.action, record.action_bytes, record.proof, None)
    refused(world, bare, "not sent")
    author.head = world._heads[author.agent]
    refused(world, author.create(b"\x81\xa4text\x07", "test.Stone"), "test.Stone")


def test_private_entries_are_judged_where_they_are(world: Any, join: Any) -> None:
    author = join(1)
    record = entry(author, Secret("x"))
    assert world.judge(record) is Valid
    bare = Record(record.hash, record.action, record.action_bytes, record.proof, None)
    assert world.judge(bare) is Valid
    assert RULES.seal_fault(bare) is None


def test_grants_are_private_and_of_their_shape(world: Any, join: Any) -> None:
    author = join(1)
    world.keep(author.create(CapGrant(tag="t"), CAP_GRANT_ENTRY))
    refused(world, author.create(b"\x80", CAP_GRANT_ENTRY), "capability grant")


def test_only_its_author_ends_a_grant(world: Any, join: Any) -> None:
    author, other = join(1), join(2)
    grant = author.create(CapGrant(tag="t"), CAP_GRANT_ENTRY)
    world.keep(grant)
    ends = {"deletes_action": grant.hash, "deletes_entry": grant.action.entry_hash}
    other.draft(Delete, **ends)
    refused(world, other.seal()[0], "only its author ends a capability")
    author.draft(Delete, **ends)
    world.keep(*author.seal())


def test_what_is_missing_is_asked_for(world: Any, join: Any) -> None:
    author, other = join(1), join(2)
    unknown = action_hash(b"unknown", other.agent)
    assert world.judge(entry(author, Note("x", unknown))) == Missing((unknown,))


def test_a_rule_that_fails_refuses(world: Any, join: Any) -> None:
    refused(world, entry(join(1), Note("divide")), "ZeroDivisionError")


def test_our_own_trouble_is_no_verdict(world: Any, join: Any, monkeypatch: Any) -> None:
    author = join(1)
    record = entry(author, Note("x", author.chain[0].hash))

    def fail(_hash: ActionHash) -> None:
        raise StoreError("cannot read records")

    monkeypatch.setattr(world, "record", fail)
    with pytest.raises(StoreError):
        world.judge(record)


def test_updates(world: Any, join: Any) -> None:
    author, other = join(1), join(2)
    note, stone = entry(author, Note("a")), entry(author, Stone("a"))
    world.keep(note, stone)
    world.keep(update(other, note, Note("ab")))
    head = author.head
    for record, why in (
        (lambda: update(author, note, Note("")), "shrinks"),
        (lambda: update(author, stone, Stone("b")), "cannot be updated"),
        (lambda: update(author, note, Stone("b")), "cannot be updated"),
        (lambda: update(author, stone, Note("b")), "another type"),
        (lambda: update(author, note, Note("b"), original_entry=entry_hash(b"")), "another type"),
    ):
        author.head = head
        refused(world, record(), why)
    author.head = head
    unknown = action_hash(b"unknown", other.agent)
    late = update(author, note, Note("b"), original_action=unknown)
    assert world.judge(late) == Missing((unknown,))


def test_deletes(world: Any, join: Any) -> None:
    author, other = join(1), join(2)
    note, stone = entry(author, Note("a")), entry(author, Stone("a"))
    world.keep(note, stone)
    for who, target, why in (
        (other, note, "another's note"),
        (author, stone, "cannot be deleted"),
        (author, author.chain[2], "cannot be deleted"),
        (author, author.chain[0], "no entry"),
    ):
        head = who.head
        named = getattr(target.action, "entry_hash", entry_hash(b""))
        refused(world, act(who, Delete, deletes_action=target.hash, deletes_entry=named), why)
        who.head = head
    wrong = act(author, Delete, deletes_action=note.hash, deletes_entry=entry_hash(b""))
    refused(world, wrong, "another entry")
    author.head = world._heads[author.agent]
    named = note.action.entry_hash  # type: ignore[union-attr]
    world.keep(act(author, Delete, deletes_action=note.hash, deletes_entry=named))


def test_links(world: Any, join: Any) -> None:
    author, other = join(1), join(2)
    base, target = author.chain[0].hash, author.chain[1].hash

    def link(kind: str, tag: bytes) -> Record:
        return act(author, CreateLink, base=base, target=target, link_type=kind, tag=tag)

    head = author.head
    refused(world, link("test.other", b""), "no link type")
    author.head = head
    refused(world, link(tagged, b""), "without a tag")
    author.head = head
    with_rule, without = link(tagged, b"t"), link(untended, b"")
    world.keep(with_rule, without)
    theirs = act(other, DeleteLink, base=base, create_link=without.hash)
    refused(world, theirs, "only its author")
    other.head = world._heads[other.agent]
    refused(world, act(other, DeleteLink, base=base, create_link=base), "no link")
    other.head = world._heads[other.agent]
    refused(world, act(other, DeleteLink, base=target, create_link=with_rule.hash), "no link")
    other.head = world._heads[other.agent]
    world.keep(act(other, DeleteLink, base=base, create_link=with_rule.hash))
    world.keep(act(author, DeleteLink, base=base, create_link=without.hash))


def test_an_agent_entry_is_its_authors_key(world: Any, new_author: Any) -> None:
    author, other = new_author(1, RULES.hash), new_author(2)
    records = author.genesis()
    world.keep(*records[:2])
    key = records[2]
    forged = Record(key.hash, key.action, key.action_bytes, key.proof, other.agent)
    refused(world, forged, "author's key")
    world.keep(key)

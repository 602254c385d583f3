"""A promise is taken back by the counterparty's word, and whoever breaks the word is convicted."""

from dataclasses import dataclass
from typing import Any

import pytest

from ioe_node.core.sys_validate import Rules
from ioe_node.core.void import check_evidence, fork, never_message, offence, taken_back
from ioe_node.errors import Malformed
from ioe_node.hdi import IntegrityZome, Invalid, Party, Valid
from ioe_node.hdk import CoordinatorZome, DnaDef, Zome
from ioe_node.model.action import InitZomesComplete, Void
from ioe_node.model.hashes import CORE, dna_hash
from ioe_node.model.record import Proof, Record, root_of, seal_message
from ioe_node.model.signing import Signer
from ioe_node.model.warrant import BrokenWord, ChainFork, Warrant, open_warrant, seal_warrant

zome = IntegrityZome("test")


@zome.entry_type(countersigned=True)
@dataclass(frozen=True)
class Pact:
    """What two agree on."""

    parties: tuple[Party, ...]


@zome.entry_type
@dataclass(frozen=True)
class Note:
    """What one writes alone."""

    text: str


RULES = Rules(DnaDef("test", (Zome(zome, CoordinatorZome(zome)),), properties=None))
JUDGE = Signer(b"judge".ljust(32))


@dataclass
class Deal:
    """Two authors at one place each, and their halves of a pact there."""

    world: Any
    proposer: Any
    other: Any
    half: Record
    theirs: Record

    @property
    def root(self) -> bytes:
        return root_of(self.half.hash[CORE], self.half.proof)

    def void(self, **changed: Any) -> Record:
        """The proposer takes the pact back; its chain stays where it was."""
        halves = sorted((self.half, self.theirs), key=lambda each: each.proof.index)
        fields = {
            "promised": tuple(each.action_bytes for each in halves),
            "word": self.other.signer.sign(never_message(RULES.hash, self.root)),
        }
        return self.write(Void, **{**fields, **changed})

    def write(self, kind: type[Any], **fields: Any) -> Record:
        head = self.proposer.head
        self.proposer.draft(kind, **fields)
        record: Record = self.proposer.seal()[0]
        self.proposer.head = head
        return record


@pytest.fixture(params=[False, True], ids=["proposer first", "proposer last"])
def deal(new_world: Any, new_author: Any, sign_together: Any, request: Any) -> Deal:
    world = new_world(RULES)
    pair = [new_author(number, RULES.hash) for number in (1, 2)]
    for author in pair:
        world.keep(*author.genesis())
    halves = sign_together(Pact(tuple(each.party() for each in pair)), "test.Pact", pair)
    if request.param:
        pair, halves = pair[::-1], halves[::-1]
    return Deal(world, *pair, *halves)


def lone(half: Record) -> Record:
    """A half as its author alone has signed it."""
    proof = half.proof
    return Record(
        half.hash,
        half.action,
        half.action_bytes,
        Proof(proof.signature, proof.index, proof.size, proof.path),
        half.entry,
    )


def stands(warrant: Warrant) -> bool:
    """Whether anyone would keep it."""
    try:
        check_evidence(RULES, open_warrant(seal_warrant(warrant, JUDGE.sign))[1])
    except Malformed:
        return False
    return True


def found(first: Record, second: Record) -> Warrant | None:
    return offence(RULES, JUDGE.agent, 1, first, second)


def test_a_void_takes_the_place_of_what_was_promised(deal: Deal) -> None:
    void = deal.void()
    assert deal.world.judge(void) is Valid
    promised = taken_back(RULES, void, deal.half)
    assert promised is not None
    assert promised.counterparty == deal.other.agent
    deal.world.keep(void)
    deal.proposer.take(void)
    deal.world.keep(deal.proposer.create(Note("on"), "test.Note"))


def test_who_signed_it_after_all_is_convicted_and_the_proposer_is_not(deal: Deal) -> None:
    void = deal.void()
    for pair in ((void, deal.half), (deal.half, void)):
        warrant = found(*pair)
        assert isinstance(warrant, BrokenWord)
        assert warrant.warrantee == deal.other.agent
        assert stands(warrant)
        assert found(lone(pair[0]), lone(pair[1])) is None
        assert not stands(fork(JUDGE.agent, 1, *pair))
        assert not stands(fork(JUDGE.agent, 1, lone(pair[0]), lone(pair[1])))


def test_a_proof_bent_to_another_shape_accuses_nobody(deal: Deal) -> None:
    """The same root from the same leaf, which as the second of two could be the last of three."""
    proof = deal.half.proof
    index, size = (2, 3) if proof.index else (0, 2)
    bent = Proof(proof.signature, index, size, proof.path)
    half = Record(deal.half.hash, deal.half.action, deal.half.action_bytes, bent, None)
    assert root_of(half.hash[CORE], bent) == deal.root
    assert found(deal.void(), half) is None
    assert not stands(fork(JUDGE.agent, 1, deal.void(), half))


def test_a_void_excuses_nothing_else(deal: Deal, sign_together: Any, new_author: Any) -> None:
    void = deal.void()
    third = new_author(3, RULES.hash)
    third.genesis()
    pact = Pact((deal.proposer.party(), third.party()))
    elsewhere = sign_together(pact, "test.Pact", [deal.proposer, third])[0]
    for other in (elsewhere, deal.write(InitZomesComplete)):
        warrant = found(void, other)
        assert isinstance(warrant, ChainFork)
        assert warrant.warrantee == deal.proposer.agent
        assert stands(warrant)


def test_an_accomplice_cannot_excuse_what_it_was_no_party_to(deal: Deal) -> None:
    """The word is over a root in which the second half is the accomplice's, of another kind."""
    note = deal.proposer.create(Note("mine"), "test.Note")
    deal.proposer.head = deal.world._heads[deal.proposer.agent]
    copy = deal.other.create(Note("mine"), "test.Note")
    word = deal.other.signer.sign(never_message(RULES.hash, note.hash[CORE]))
    void = deal.void(promised=(note.action_bytes, copy.action_bytes), word=word)
    assert isinstance(deal.world.judge(void), Invalid)
    assert isinstance(found(void, note), ChainFork)


def test_a_void_that_may_not_stand(deal: Deal) -> None:
    theirs, ours = deal.theirs.action_bytes, deal.half.action_bytes
    sign = deal.other.signer.sign
    wrong: dict[str, dict[str, Any]] = {
        "counterparty's word": {"word": sign(never_message(dna_hash(b"other"), deal.root))},
        "without its counterparty": {"word": sign(seal_message(deal.root))},
        "to another": {"promised": (ours, ours)},
        "not a valid action": {"promised": (ours, b"junk")},
    }
    for why, changed in wrong.items():
        verdict = deal.world.judge(deal.void(**changed))
        assert isinstance(verdict, Invalid)
        assert why in verdict.reason
    backwards = (theirs, ours) if deal.half.proof.index == 0 else (ours, theirs)
    assert isinstance(deal.world.judge(deal.void(promised=backwards)), Invalid)
    void = deal.void()
    deal.proposer.take(void)
    assert isinstance(void.action, Void)
    later = deal.write(Void, promised=void.action.promised, word=void.action.word)
    deal.world.keep(void)
    verdict = deal.world.judge(later)
    assert isinstance(verdict, Invalid)
    assert "another place" in verdict.reason


def test_a_void_is_a_bundle_of_its_own(deal: Deal) -> None:
    void = deal.void()
    assert isinstance(void.action, Void)
    deal.proposer.draft(Void, promised=void.action.promised, word=void.action.word)
    deal.proposer.draft(InitZomesComplete)
    verdict = deal.world.judge(deal.proposer.seal()[0])
    assert isinstance(verdict, Invalid)
    assert "in a bundle" in verdict.reason


def test_who_goes_on_from_what_it_has_taken_back_has_forked(deal: Deal) -> None:
    """An accomplice's word voids a settlement, not what was built on it."""
    void = deal.void()
    ends = {}
    for base in (void, deal.half):
        deal.proposer.take(base)
        ends[base.hash] = deal.write(InitZomesComplete)
        deal.proposer.head = deal.world._heads[deal.proposer.agent]
    assert stands(fork(JUDGE.agent, 1, void, ends[deal.half.hash]))
    assert not stands(fork(JUDGE.agent, 1, void, ends[void.hash]))
    assert not stands(fork(JUDGE.agent, 1, deal.half, ends[void.hash]))


def test_a_word_given_elsewhere_or_of_something_else_convicts_nobody(deal: Deal) -> None:
    sign, root = deal.other.signer.sign, deal.root
    word = sign(never_message(RULES.hash, root))
    seal = sign(seal_message(root))
    other = bytes(32)
    assert stands(BrokenWord(deal.other.agent, JUDGE.agent, 1, root, word, seal))
    for warrantee, over, said, sealed in (
        (deal.proposer.agent, root, word, seal),
        (deal.other.agent, other, word, seal),
        (deal.other.agent, root, word, sign(seal_message(other))),
        (deal.other.agent, root, sign(never_message(dna_hash(b"other"), root)), seal),
        (deal.other.agent, root, sign(never_message(RULES.hash, other)), seal),
    ):
        assert not stands(BrokenWord(warrantee, JUDGE.agent, 1, over, said, sealed))

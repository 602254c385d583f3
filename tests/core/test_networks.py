"""Nothing that was signed in one network is evidence in another."""

from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest

from ioe_node.core.chain import Draft, seal, verify_chain, with_path
from ioe_node.core.lineage import check_marks, check_prepared, next_view
from ioe_node.core.sys_validate import countersign_fault
from ioe_node.errors import ChainBroken, Malformed
from ioe_node.hdi import Party
from ioe_node.model.action import CloseChain, hash_of
from ioe_node.model.codec import encode
from ioe_node.model.finality import (
    Handover,
    Mark,
    Prepared,
    Retirement,
    View,
    open_sealed,
    open_standing,
    retirement_message,
    vote_message,
    witness_message,
)
from ioe_node.model.hashes import CORE, DnaHash, dna_hash
from ioe_node.model.record import (
    Record,
    WireRecord,
    open_parcel,
    open_prefix,
    open_record,
    parcels_of,
    prefix_of,
)
from ioe_node.model.signing import Signer
from ioe_node.model.warrant import (
    VALID,
    ChainFork,
    DoubleSeal,
    InvalidRecord,
    Receipt,
    Warrant,
    open_receipt,
    open_warrant,
    seal_receipt,
    seal_warrant,
)
from ioe_node.workflows.limbo import open_wire

HERE, THERE = dna_hash(b"one network"), dna_hash(b"another network")
ACCUSER = Signer(b"accuser".ljust(32))
NOW_US = 1_700_000_000_000_000


@dataclass(frozen=True)
class Terms:
    """Something to countersign."""

    parties: tuple[Party, ...]


@pytest.fixture
def author(new_author: Any) -> Any:
    """An agent with a genesis and a bundle of three, sealed in `HERE`."""
    made = new_author(1, HERE)
    made.genesis()
    made.bundle(3)
    return made


def sealed(author: Any, records: list[Record], network: DnaHash) -> list[Record]:
    """The same actions in one bundle, as their author would seal them in a network."""
    drafts = [Draft(each.hash, each.action, each.action_bytes, each.entry) for each in records]
    leaves = [each.hash[CORE] for each in records]
    return [with_path(each, leaves) for each in seal(drafts, network, author.signer.sign)]


def bare(record: Record) -> WireRecord:
    """As it travels alone, without its entry."""
    return WireRecord(record.action_bytes, record.proof)


def rival(author: Any, network: DnaHash) -> Record:
    """Another action at the place of the bundle's first."""
    first = author.chain[3].action
    action = CloseChain(
        author=author.agent,
        timestamp_us=first.timestamp_us,
        action_seq=first.action_seq,
        prev_action=first.prev_action,
        new_target=None,
    )
    hash_, data = hash_of(action)
    return seal([Draft(hash_, action, data, None)], network, author.signer.sign)[0]


def test_records_and_bundles_open_in_their_own_alone(author: Any) -> None:
    bundle = sealed(author, author.chain[3:6], HERE)
    parcels = [bundle[1].wire(), parcels_of(author.chain[3:6], lambda _: False)[0]]
    for parcel in parcels:
        assert open_parcel(parcel, HERE)
        assert isinstance(open_wire(encode(parcel), HERE), list)
        assert isinstance(open_wire(encode(parcel), THERE), str)
        with pytest.raises(Malformed, match="signature"):
            open_parcel(parcel, THERE)
    with pytest.raises(Malformed, match="signature"):
        open_prefix(prefix_of(bundle, 2), THERE)


def test_a_chain_that_names_this_network_and_was_sealed_for_another_is_broken(author: Any) -> None:
    for network in (HERE, THERE):
        proofs = [encode(sealed(author, [each], network)[0].proof) for each in author.chain]
        rows = [
            (at, each.action_bytes, each.entry, 0, proofs[at])
            for at, each in enumerate(author.chain)
        ]
        if network == HERE:
            assert verify_chain(rows, author.agent, HERE) == author.head
        else:
            with pytest.raises(ChainBroken, match="signature"):
                verify_chain(rows, author.agent, HERE)


def test_a_countersignature_binds_in_its_own_alone(new_author: Any, sign_together: Any) -> None:
    both = [new_author(number, HERE) for number in (1, 2)]
    for each in both:
        each.genesis()
    terms = Terms(tuple(each.party() for each in both))
    for half in sign_together(terms, "test.Terms", both):
        assert countersign_fault(half, HERE, terms.parties) is None
        assert "does not fit" in str(countersign_fault(half, THERE, terms.parties))


def test_a_receipt_holds_in_its_own_alone(author: Any) -> None:
    verdicts = tuple((record.hash, VALID) for record in author.chain)
    receipt = Receipt(ACCUSER.agent, NOW_US, verdicts)
    signed = seal_receipt(receipt, HERE, ACCUSER.sign)
    assert open_receipt(signed, HERE, ACCUSER.agent) == receipt
    with pytest.raises(Malformed, match="signature"):
        open_receipt(signed, THERE, ACCUSER.agent)


def both_seals(author: Any, one: DnaHash, other: DnaHash) -> list[Warrant]:
    """A fork and a double seal; what is shown in them was sealed in these two networks."""
    parties = (author.agent, ACCUSER.agent, NOW_US)
    alone = sealed(author, author.chain[3:4], one)[0]
    whole = sealed(author, author.chain[3:6], other)
    return [
        ChainFork(*parties, bare(alone), bare(rival(author, other))),
        DoubleSeal(*parties, alone.action_bytes, alone.proof, whole[0].proof),
    ]


def one_seal(author: Any, network: DnaHash) -> list[Warrant]:
    """A record that is said to be invalid, alone and in its bundle."""
    parties = (author.agent, ACCUSER.agent, NOW_US)
    alone = sealed(author, author.chain[3:4], network)[0].wire()
    whole = sealed(author, author.chain[3:6], network)
    return [
        InvalidRecord(*parties, alone, "why"),
        InvalidRecord(*parties, prefix_of(whole, 2), "why"),
    ]


def test_a_warrant_stands_where_all_that_it_shows_and_itself_were_signed(author: Any) -> None:
    for one, other, network in product((HERE, THERE), repeat=3):
        shown = both_seals(author, one, other)
        if one == other:
            shown += one_seal(author, one)
        for warrant in shown:
            signed = seal_warrant(warrant, network, ACCUSER.sign)
            if (one, other, network) == (HERE, HERE, HERE):
                assert open_warrant(signed, HERE)[1] == warrant
            else:
                with pytest.raises(Malformed):
                    open_warrant(signed, HERE)


def test_a_standing_and_what_a_witness_is_shown_are_of_their_own_alone(author: Any) -> None:
    standing = bare(sealed(author, author.chain[1:2], HERE)[0])
    assert open_standing(standing, HERE).agent == author.agent
    assert open_sealed(standing, HERE, author.agent).hash == author.chain[1].hash
    for opened in (
        lambda: open_standing(standing, THERE),
        lambda: open_sealed(standing, THERE, author.agent),
        lambda: open_record(standing, THERE),
    ):
        with pytest.raises(Malformed, match="signature"):
            opened()


def test_a_mark_a_vote_and_a_retirement_count_in_their_own_alone(author: Any) -> None:
    view = View(author.agent, 0, (ACCUSER.agent,))
    heirs, place = (ACCUSER.agent,), (3, author.chain[3].hash)

    mark = Mark(0, ACCUSER.sign(witness_message(HERE, view, *place)))
    check_marks(view, (mark,), witness_message(HERE, view, *place))
    vote = Prepared(1, heirs, (Mark(0, ACCUSER.sign(vote_message(HERE, view, 1, heirs))),))
    check_prepared(HERE, view, vote)
    shown = bare(sealed(author, author.chain[3:4], HERE)[0])

    def handover(dna: DnaHash) -> Handover:
        message = retirement_message(dna, view, 1, heirs, *place, NOW_US)
        return Handover(1, heirs, (Retirement(0, *place, NOW_US, shown, ACCUSER.sign(message)),))

    assert next_view(HERE, view, handover(HERE)).number == 1
    for refused in (
        lambda: check_marks(view, (mark,), witness_message(THERE, view, *place)),
        lambda: check_prepared(THERE, view, vote),
        lambda: next_view(THERE, view, handover(HERE)),
        lambda: next_view(THERE, view, handover(THERE)),
    ):
        with pytest.raises(Malformed, match="signature"):
            refused()

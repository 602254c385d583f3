"""A voided place: how a promise is taken back, and whom two actions at one place convict.

A proposer seals first.  Its counterparty could answer that it will never sign, wait until the
proposer has gone on, and sign after all: then two sealed actions stand at one place, and the
honest party is the one who forked.  So that answer is signed, and the place that was promised
takes nothing but a `Void` with the answer in it.  Whoever shows what the proposer wrote there
shows that word, too: nobody can accuse with the one action and leave out what excuses it.  Who
has signed both the word and the entry is convicted by these two signatures.

A void changes nothing but the promise, so it gains its author nothing, even if the counterparty
is its accomplice: whoever goes on from the settlement all the same has forked one place later.
"""

from typing import TYPE_CHECKING, NamedTuple

from ioe_node.errors import Malformed
from ioe_node.hdi import AgentPubKey, DnaHash
from ioe_node.model.action import Create, Void, decode_action
from ioe_node.model.hashes import CORE, ActionHash, action_hash
from ioe_node.model.record import Record, WireRecord, open_record, root_of, seal_message, tree_of
from ioe_node.model.signing import verify
from ioe_node.model.warrant import BrokenWord, ChainFork, Warrant

if TYPE_CHECKING:
    from ioe_node.core.sys_validate import Rules


class Promised(NamedTuple):
    """What a void takes back: the author's action, who was to sign it, and the root of both."""

    hash: ActionHash
    counterparty: AgentPubKey
    root: bytes


def never_message(dna: DnaHash, root: bytes) -> bytes:
    """What a party signs that will never sign the actions under this root.

    The network is in it: one key may serve in several, and only here is the entry unsigned.
    """
    return b"ioe/never/1" + dna + root


def promised_by(rules: "Rules", void: Void) -> Promised:
    """What a void takes back; raises `Malformed` unless it is what the author may have promised,
    and its counterparty has said never.
    """
    actions = [decode_action(data) for data in void.promised]
    hashes = [
        action_hash(data, action.author)
        for data, action in zip(void.promised, actions, strict=True)
    ]
    place = 0 if actions[0].author == void.author else 1
    ours, theirs = actions[place], actions[1 - place]
    if not isinstance(ours, Create) or not isinstance(theirs, Create):
        raise Malformed("a void of something that is no settlement")
    declared = rules.entry_types.get(ours.entry_type)
    shared = (ours.entry_type, ours.entry_hash) == (theirs.entry_type, theirs.entry_hash)
    if declared is None or not declared.countersigned or not shared:
        raise Malformed("a void of something that is no settlement")
    if ours.author != void.author or theirs.author == void.author:
        raise Malformed("a void of what its author did not promise to another")
    if (ours.action_seq, ours.prev_action) != (void.action_seq, void.prev_action):
        raise Malformed("a void of a promise at another place")
    root = tree_of([hash_[CORE] for hash_ in hashes])[-1][0]
    if not verify(theirs.author[CORE], never_message(rules.hash, root), void.word):
        raise Malformed("a void without its counterparty's word")
    return Promised(hashes[place], theirs.author, root)


def void_fault(rules: "Rules", record: Record, void: Void) -> str | None:
    """Why a void may not stand on a chain, or None; raises `Malformed`."""
    promised_by(rules, void)
    return None if record.proof.size == 1 else "a void in a bundle with other actions"


def taken_back(rules: "Rules", void: Record, half: Record) -> Promised | None:
    """What `void` takes back if that is `half` under the seal that it has, else None."""
    if not isinstance(void.action, Void):
        return None
    try:
        promised = promised_by(rules, void.action)
        root = root_of(half.hash[CORE], half.proof)
    except Malformed:
        return None
    return promised if (promised.hash, promised.root) == (half.hash, root) else None


def offence(
    rules: "Rules", accuser: AgentPubKey, now_us: int, first: Record, second: Record
) -> ChainFork | BrokenWord | None:
    """What two actions of one author at one place prove, and of whom; both have their paths.

    None: a settlement that was taken back, of which nobody shows the counterparty's signature.
    """
    for void, half in ((first, second), (second, first)):
        promised = taken_back(rules, void, half)
        if promised is not None and isinstance(void.action, Void):
            message = seal_message(promised.root)
            for seal in half.proof.cosignatures:
                if verify(promised.counterparty[CORE], message, seal):
                    word = void.action.word
                    offender = promised.counterparty
                    return BrokenWord(offender, accuser, now_us, promised.root, word, seal)
            return None
    return fork(accuser, now_us, first, second)


def fork(accuser: AgentPubKey, now_us: int, first: Record, second: Record) -> ChainFork:
    """The warrant of two actions that exclude each other; entries stay out of it."""
    bare = [WireRecord(each.action_bytes, each.proof, None) for each in (first, second)]
    return ChainFork(first.action.author, accuser, now_us, bare[0], bare[1])


def check_evidence(rules: "Rules", warrant: Warrant) -> None:
    """Raise `Malformed` for an opened warrant that proves nothing in this network."""
    if isinstance(warrant, BrokenWord):
        message = never_message(rules.hash, warrant.root)
        if not verify(warrant.warrantee[CORE], message, warrant.word):
            raise Malformed("a warrant of a broken word that was not given here")
    elif isinstance(warrant, ChainFork):
        first, second = open_record(warrant.first), open_record(warrant.second)
        if taken_back(rules, first, second) or taken_back(rules, second, first):
            raise Malformed("a warrant of a fork that was a settlement taken back")

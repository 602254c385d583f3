"""Places: does what we hold alone stand on its author's chain, as that is held elsewhere?

An author may show one action to those who hold its chain, and another of the same place to those
who hold only an entry or a link of it: neither side sees both.  So whoever holds a record alone
asks one of its author's authorities, drawn by lot, which action stands at its place.  The same: it
is settled.  Another: both together are a fork.  None: somebody is asked again later.

It is asked for the sake of few, not of speed: one message a round, about as many places as that
peer should know, and none while nothing is open.
"""

import trio

from ioe_node.core.authority import authorities
from ioe_node.core.share import within
from ioe_node.errors import IoeError, Malformed, PeerError
from ioe_node.hdi import ActionHash, AgentPubKey
from ioe_node.model.hashes import key_of, to_text
from ioe_node.model.record import open_record
from ioe_node.model.warrant import seal_warrant
from ioe_node.net.messages import PLACES_PER_MESSAGE_MAX, Get, Place, Placed, Places, Records
from ioe_node.store.alone import Unplaced
from ioe_node.workflows.integration import keep
from ioe_node.workflows.locate import ask_near
from ioe_node.workflows.space import Space, log
from ioe_node.workflows.validation import fork_of

ROUND_S = 180.0
UNPLACED_READ_MAX = 1_024
FIRST_ROW = -(2**63)
GUIDES = 3


async def compare_places(space: Space) -> None:
    """A round now and then, for ever; what nobody could place is passed over until all was seen."""
    after_row = FIRST_ROW
    while True:
        await trio.sleep(ROUND_S * (0.5 + space.rng.random()))
        unplaced = await space.run(space.store.unplaced, after_row, UNPLACED_READ_MAX)
        read_on = len(unplaced) == UNPLACED_READ_MAX
        after_row = unplaced[-1].row if read_on else FIRST_ROW
        try:
            await _round(space, unplaced)
        except IoeError as error:
            log.debug("comparing places: %s", error)


async def _round(space: Space, unplaced: list[Unplaced]) -> None:
    """Ask one peer for the places of all authors whose authority it is."""
    settled = [each for each in unplaced if each.author in space.blocked]
    unplaced = [each for each in unplaced if each.author not in space.blocked]
    if unplaced:
        author = space.rng.choice(sorted({each.author for each in unplaced}))
        holders = await _holders(space, author)
        if holders:
            peer = space.rng.choice(holders)
            share = space.membership.share(peer)
            asked = [
                each
                for each in unplaced
                if each.author == author or within(share, key_of(each.author))
            ]
            count = min(len(asked), PLACES_PER_MESSAGE_MAX)
            settled += await _compare(space, peer, space.rng.sample(asked, count))
    if settled:
        await space.run(space.store.place, settled)


async def _holders(space: Space, author: AgentPubKey) -> list[AgentPubKey]:
    """Who should hold an author's chain, as far as we know, or as one closer to it does.

    A whole lookup would cost more than all the rest; who was guessed wrongly holds nothing there.
    """
    known = space.authorities(author)
    guides = space.membership.closest(key_of(author), GUIDES, holders=True)
    if guides and space.agent not in known and not space.membership.knows_all():
        near = await ask_near(space, space.rng.choice(guides), key_of(author), holders=True)
        known = tuple(authorities(author, {*near, *known} - space.blocked))
    return [each for each in known if each != space.agent]


async def _compare(space: Space, peer: AgentPubKey, asked: list[Unplaced]) -> list[Unplaced]:
    """Which of these stand where they should; a fork is told."""
    try:
        ask = Places(tuple(Place(each.author, each.action_seq) for each in asked))
        answer = await space.ask(peer, ask)
        if not isinstance(answer, Placed) or len(answer.hashes) != len(asked):
            raise Malformed("places asked for, something else answered")
        for ours, theirs in zip(asked, answer.hashes, strict=True):
            if theirs is not None and theirs != ours.hash and ours.author not in space.blocked:
                await _accuse(space, peer, ours, ActionHash(theirs))
    except Malformed as error:
        space.charge(peer, str(error))
        raise
    found = zip(asked, answer.hashes, strict=True)
    return [ours for ours, theirs in found if theirs == ours.hash]


async def _accuse(space: Space, peer: AgentPubKey, ours: Unplaced, theirs: ActionHash) -> None:
    """Have the other action at a place shown to us, and make a warrant of the two."""
    log.info("%s holds another action than we at a place", to_text(peer)[:12])
    answer = await space.ask(peer, Get(theirs))
    if not isinstance(answer, Records):
        raise Malformed("a record asked for, something else answered")
    if not answer.records:
        raise PeerError("an action that is named and not shown")  # or let go of just now
    record = open_record(answer.records[0], space.dna)
    place = (record.action.author, record.action.action_seq)
    if record.hash != theirs or place != (ours.author, ours.action_seq):
        raise Malformed("another record than was asked for")
    known = space.store.record(ours.hash)
    if known is not None:
        fork = fork_of(space, space.store.alone(known), record.wire())
        await keep(space, seal_warrant(fork, space.dna, space.sign))

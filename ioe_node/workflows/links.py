"""Links: read page by page from one authority, from here if we are one; the first page from two.

Who answers with an empty page hides what others would show, and nobody can prove that anything is
missing.  So two authorities drawn by lot are asked, and what either shows is there.  Authorities
number what they hold each in its own order, so all further pages come from one of them; if it
fails on the way, the reader begins again with others.
"""

from collections.abc import Sequence
from typing import NamedTuple

import trio

from ioe_node.errors import IoeError, Malformed
from ioe_node.hdi import ActionHash, AgentPubKey
from ioe_node.model.action import CreateLink
from ioe_node.model.hashes import to_text
from ioe_node.model.record import Record, open_record
from ioe_node.net.messages import LinkPage, Links
from ioe_node.workflows.bell import Bell
from ioe_node.workflows.locate import authorities_of
from ioe_node.workflows.pages import all_links
from ioe_node.workflows.space import HEDGE_S, Space, log

LINK_PAGES_MAX = 64
READERS_TRIED_MAX = 3
FIRST_PAGES = 2
SECOND_WAIT_S = 0.5
"""So long is a second answer waited for when there is one."""


class FirstPage(NamedTuple):
    """Whose page it is, what is on it, and whether more follows."""

    peer: AgentPubKey
    records: list[Record]
    more: bool


async def retrieve_links(space: Space, base: bytes) -> list[Record]:
    """The CreateLinks and DeleteLinks at a base: `LINK_PAGES_MAX` pages at most."""
    authorities = await authorities_of(space, base)
    if space.agent in authorities:
        return await space.run(all_links, space, base)
    peers = list(authorities)
    for _ in range(READERS_TRIED_MAX):
        pages = await _first_pages(space, peers, base)
        if not pages:
            break
        longest = max(pages, key=lambda page: (page.more, len(page.records)))
        found = list(longest.records)
        try:
            if longest.more:
                found += await _rest(space, longest.peer, base, longest.records)
        except IoeError as error:
            log.info("reading links from %s: %s", to_text(longest.peer)[:12], error)
            peers.remove(longest.peer)
            continue
        shown = {record.hash for record in found}
        others = [record for page in pages for record in page.records]
        return found + list({each.hash: each for each in others if each.hash not in shown}.values())
    return []


async def _page(
    space: Space, peer: AgentPubKey, base: bytes, after: ActionHash | None
) -> tuple[list[Record], bool]:
    """One page of a peer's, every record of it checked; and whether more follows."""
    answer = await space.ask(peer, Links(base, after))
    if not isinstance(answer, LinkPage):
        raise Malformed("links answered by something else")
    return [open_record(wire, space.dna) for wire in answer.records], answer.more


async def _first_pages(space: Space, peers: Sequence[AgentPubKey], base: bytes) -> list[FirstPage]:
    """The first pages of two peers drawn by lot, of one where no other answers in time.

    Another is asked when one has failed, or leaves us waiting for `HEDGE_S`.
    """
    found: list[FirstPage] = []
    ended = Bell()
    asked = failed = 0

    async def one(peer: AgentPubKey) -> None:
        nonlocal failed
        try:
            found.append(FirstPage(peer, *await _page(space, peer, base, None)))
        except IoeError as error:
            if isinstance(error, Malformed):
                space.charge(peer, str(error))
            log.debug("asking %s for links: %s", to_text(peer)[:12], error)
            failed += 1
        ended.ring()

    by_lot = space.rng.sample(peers, len(peers))
    by_lot.sort(key=lambda peer: peer in space.slow)
    until_s, rung = float("inf"), True
    async with trio.open_nursery() as nursery:
        while len(found) < min(FIRST_PAGES, len(by_lot) - failed) and trio.current_time() < until_s:
            while asked < len(by_lot) and (asked - failed < FIRST_PAGES or not rung):
                nursery.start_soon(one, by_lot[asked])
                asked, rung = asked + 1, True
            rung = await ended.wait(min(HEDGE_S, until_s - trio.current_time()))
            if found:
                until_s = min(until_s, trio.current_time() + SECOND_WAIT_S)
        nursery.cancel_scope.cancel()
    return found


async def _rest(space: Space, peer: AgentPubKey, base: bytes, found: list[Record]) -> list[Record]:
    """The pages after the first; raises `Malformed` for one that does not go on."""
    rest: list[Record] = []
    page, more = found, True
    for _ in range(LINK_PAGES_MAX):
        made = [record.hash for record in page if isinstance(record.action, CreateLink)]
        if not made:
            raise Malformed("a page of links without a link, and more to come")
        page, more = await _page(space, peer, base, made[-1])
        rest += page
        if not more:
            break
    return rest

"""Links: read page by page from one authority, from here if we are one.

Authorities number what they hold each in its own order, so all pages come from the one that
answered first; if it fails on the way, the next begins again.
"""

import trio

from ioe_node.errors import IoeError, Malformed
from ioe_node.hdi import ActionHash, AgentPubKey
from ioe_node.model.action import CreateLink
from ioe_node.model.hashes import to_text
from ioe_node.model.record import Record, open_record
from ioe_node.net.messages import LinkPage, Links
from ioe_node.workflows.locate import authorities_of
from ioe_node.workflows.pages import all_links
from ioe_node.workflows.space import Space, log

LINK_PAGES_MAX = 64
READERS_TRIED_MAX = 3


async def retrieve_links(space: Space, base: bytes) -> list[Record]:
    """The CreateLinks and DeleteLinks at a base: `LINK_PAGES_MAX` pages at most."""
    authorities = await authorities_of(space, base)
    if space.agent in authorities:
        return await space.run(all_links, space, base)
    peers = list(authorities)
    for _ in range(READERS_TRIED_MAX):
        first = await _first_page(space, peers, base)
        if first is None:
            break
        peer, found, more = first
        try:
            return found + (await _rest(space, peer, base, found) if more else [])
        except IoeError as error:
            log.info("reading links from %s: %s", to_text(peer)[:12], error)
            peers.remove(peer)
    return []


async def _page(
    space: Space, peer: AgentPubKey, base: bytes, after: ActionHash | None
) -> tuple[list[Record], bool]:
    """One page of a peer's, every record of it checked; and whether more follows."""
    answer = await space.ask(peer, Links(base, after))
    if not isinstance(answer, LinkPage):
        raise Malformed("links answered by something else")
    return [open_record(wire) for wire in answer.records], answer.more


async def _first_page(
    space: Space, peers: list[AgentPubKey], base: bytes
) -> tuple[AgentPubKey, list[Record], bool] | None:
    """The first page of whoever answers first."""
    found: list[tuple[AgentPubKey, list[Record], bool]] = []

    async def one(peer: AgentPubKey, scope: trio.CancelScope) -> None:
        try:
            records, more = await _page(space, peer, base, None)
        except IoeError as error:
            log.debug("asking %s for links: %s", to_text(peer)[:12], error)
            return
        found.append((peer, records, more))
        scope.cancel()

    async with trio.open_nursery() as nursery:
        for peer in peers:
            nursery.start_soon(one, peer, nursery.cancel_scope)
    return found[0] if found else None


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

"""Chains that peers say they hold further than we: fetched a few at a time, each from whoever has
it.

Whoever says so may lie, or be gone before it gives, so nobody's word keeps another's out: a peer is
given `PER_PEER_MAX` of the `AT_ONCE_MAX` fetches, each author is fetched from one after another of
those who offer it, in the order in which they did, and who has not given what it offered is not
believed for `DOUBT_S`.
"""

from collections.abc import Sequence

import trio

from ioe_node.errors import Busy, IoeError
from ioe_node.hdi import AgentPubKey
from ioe_node.model.hashes import to_text
from ioe_node.workflows.incoming_ops import catch_up
from ioe_node.workflows.space import Space, log

AT_ONCE_MAX = 8
PER_PEER_MAX = 2
WAITING_PER_PEER_MAX = 256
WAITING_MAX = 4_096
DOUBT_S = 30.0


class Fetches:
    """What one cell fetches, and has yet to fetch."""

    def __init__(self, space: Space, nursery: trio.Nursery) -> None:
        self._space = space
        self._nursery = nursery
        self._waiting: dict[tuple[AgentPubKey, AgentPubKey], int] = {}
        """(author, peer): up to which action the peer says it has the chain; oldest first."""
        self._running: dict[AgentPubKey, AgentPubKey] = {}
        """From whom each author's chain is being fetched."""
        self._doubted_until_s: dict[AgentPubKey, float] = {}

    def offer(self, peer: AgentPubKey, ends: Sequence[tuple[AgentPubKey, int]]) -> None:
        """A peer says that it has these authors' chains up to such actions."""
        room = WAITING_PER_PEER_MAX - sum(by == peer for _, by in self._waiting)
        room = min(room, WAITING_MAX - len(self._waiting))
        for author, seq in ends:
            new = (author, peer) not in self._waiting
            if room >= new and author != self._space.agent:
                self._waiting[author, peer] = seq
                room -= new
        self._start()

    def _start(self) -> None:
        """Begin what may be begun, and forget what is here by now or from those in doubt."""
        now_s = trio.current_time()
        doubted = {peer: at_s for peer, at_s in self._doubted_until_s.items() if at_s > now_s}
        self._doubted_until_s = doubted
        for (author, peer), seq in list(self._waiting.items()):
            if len(self._running) >= AT_ONCE_MAX:
                return
            if peer in doubted or self._space.next_seq(author) > seq:
                del self._waiting[author, peer]
            elif (
                author not in self._running
                and list(self._running.values()).count(peer) < PER_PEER_MAX
            ):
                del self._waiting[author, peer]
                self._running[author] = peer
                self._nursery.start_soon(self._fetch, author, peer)

    async def _fetch(self, author: AgentPubKey, peer: AgentPubKey) -> None:
        try:
            await catch_up(self._space, author, [peer], offered=True)
        except IoeError as error:
            log.debug("catching up with %s: %s", to_text(author)[:12], error)
            if not isinstance(error, Busy):
                self._doubted_until_s[peer] = trio.current_time() + DOUBT_S
        finally:
            del self._running[author]
        self._start()

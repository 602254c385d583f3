"""Gossip: compare with neighbours and heal, round after round; and notice who is gone.

A round asks one neighbour whether it holds the same as we of what belongs to both: the heads of
chains as one digest, the ops outside their authors' neighbourhoods as sums over ranges of
locations (range-based set reconciliation, as in Meyer, "Range-based set reconciliation", 2023),
warrants as one digest.  Where nothing differs, that was all: one message each way.  Where chains
differ, their heads are exchanged, and each side fetches what it lacks, the chain that grew last
first; a chain is a log, so its missing end is all there is to fetch, and an interrupted fetch goes
on where it stopped.  Where a range of ops differs it is cut into `PARTS`, until few enough are left
to be named.  Then each gives what the other lacks.

So an authority set that changes heals itself: whoever comes into it finds in its first rounds
what it lacks.  The neighbours are asked in turn, in an order drawn by lot, so the death of one is
soon noticed by somebody, who tells all its neighbours, who look for themselves (after Das et al.,
"SWIM", 2002).  Rounds run beside each other: one that waits holds up none.
"""

import trio

from ioe_node.errors import IoeError, Malformed, TransportError
from ioe_node.hdi import ActionHash, AgentPubKey
from ioe_node.model.hashes import key_of, to_text
from ioe_node.model.record import WireRecord
from ioe_node.net.messages import (
    OPS_PER_MESSAGE_MAX,
    Compared,
    GetOps,
    HeadOf,
    Lacking,
    Offer,
    OpName,
    Records,
)
from ioe_node.workflows.compare import (
    compare_of,
    lacks,
    shared_heads,
    shared_ranges,
    spans_of,
)
from ioe_node.workflows.incoming_ops import catch_up, first_of, park
from ioe_node.workflows.locate import ask_near, learn_all
from ioe_node.workflows.publish import OPS_PER_PUBLISH_MAX
from ioe_node.workflows.publish_ops import Receipts, give
from ioe_node.workflows.space import Space, log
from ioe_node.workflows.spread import fetch_warrants

ROUND_S = 5.0
ROUND_QUIET_S = 10.0
URGENT_ROUND_S = 0.5
ROUNDS_AT_ONCE_MAX = 4
COMPARE_TIMEOUT_S = 4.0
NEIGHBOURS = 16
FAR_ONE_IN = 4
DEAD_ONE_IN = 4
IN_FLIGHT_US = 5 * 1_000_000
"""A chain that grew so recently is left to its publisher."""
STEPS_MAX = 16
FETCHES_AT_ONCE_MAX = 8


class Gossip:
    """The rounds of one cell."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._neighbours: list[AgentPubKey] = []
        self._urgent: list[AgentPubKey] = []
        self._turns: list[AgentPubKey] = []
        self._busy: set[AgentPubKey] = set()
        self._fetching: set[AgentPubKey] = set()
        self._fetches = trio.CapacityLimiter(FETCHES_AT_ONCE_MAX)
        self._differed = True
        self._seen_version = -1
        self._nursery: trio.Nursery

    async def run(self) -> None:
        """Rounds, for ever."""
        space = self._space
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            while True:
                self._look_around()
                peer = self._next()
                if peer is not None and peer not in self._busy:
                    nursery.start_soon(self._round, peer)
                pause_s = ROUND_S if self._differed else ROUND_QUIET_S
                if self._urgent:
                    pause_s = URGENT_ROUND_S
                if await space.gossip_bell.wait(pause_s * (0.5 + space.rng.random())):
                    await trio.sleep(URGENT_ROUND_S * space.rng.random())

    def _look_around(self) -> None:
        """Take up what others told us, and who our neighbours are."""
        space = self._space
        doubted, space.doubted = sorted(space.doubted), set()
        for agent in doubted:
            self._nursery.start_soon(self._probe, agent)
        offered, space.offered = space.offered, {}
        for author, peer in offered.items():
            self._nursery.start_soon(self._fetch, author, peer)
        if space.membership.version == self._seen_version:
            return
        self._seen_version = space.membership.version
        near = space.membership.closest(key_of(space.agent), NEIGHBOURS)
        if set(near) != set(self._neighbours):
            # Whoever comes or leaves changes the shares of all around: ask everyone once.
            self._neighbours, self._urgent = near, list(reversed(near))

    def _next(self) -> AgentPubKey | None:
        """Whom to ask now: neighbours in turn, at times somebody far away, or thought dead."""
        space, rng = self._space, self._space.rng
        if len(self._busy) >= ROUNDS_AT_ONCE_MAX:
            return None
        if self._urgent:
            return self._urgent.pop()
        dead, living = space.membership.dead(), space.others()
        if dead and (not living or rng.randrange(DEAD_ONE_IN) == 0):
            return rng.choice(dead)
        if len(living) > len(self._neighbours) and rng.randrange(FAR_ONE_IN) == 0:
            return rng.choice(living)
        if not self._turns:
            self._turns = rng.sample(self._neighbours, len(self._neighbours))
        return self._turns.pop() if self._turns else None

    async def _probe(self, peer: AgentPubKey) -> None:
        """Ask until the peer answers or counts as dead."""
        member = self._space.membership.get(peer)
        while member is not None and member.alive:
            try:
                await ask_near(self._space, peer, key_of(self._space.agent))
            except TransportError as error:
                log.debug("probing %s: %s", to_text(peer)[:12], error)
            except IoeError:
                return
            else:
                return

    async def _round(self, peer: AgentPubKey) -> None:
        self._busy.add(peer)
        try:
            await self._converse(peer)
        except TransportError as error:
            log.debug("comparing with %s: %s", to_text(peer)[:12], error)
            await self._probe(peer)
        except IoeError as error:
            if isinstance(error, Malformed):
                self._space.charge(peer, str(error))
            log.debug("comparing with %s: %s", to_text(peer)[:12], error)
        finally:
            self._busy.discard(peer)

    async def _converse(self, peer: AgentPubKey) -> None:
        """Compare with one peer, in smaller and smaller ranges, and heal both sides."""
        space = self._space
        spans = spans_of(space, shared_ranges(space, peer))
        for step in range(STEPS_MAX):
            ask = compare_of(space, peer, spans)
            answer = await space.ask(peer, ask, COMPARE_TIMEOUT_S)
            if not isinstance(answer, Compared):
                raise Malformed("a comparison answered by something else")
            if step == 0:
                learn_all(space, answer.infos, peer)
                self._differed = not answer.same_chains or bool(answer.listed or answer.spans)
                if not answer.same_warrants:
                    await fetch_warrants(space, peer)
                if not answer.same_chains:
                    await self._heal_chains(peer, answer.heads)
            await self._heal_ops(peer, answer)
            ours = spans_of(space, [(span.low, span.high) for span in answer.spans])
            spans = [one for one, other in zip(ours, answer.spans, strict=True) if one != other]
            if not spans:
                return

    async def _heal_chains(self, peer: AgentPubKey, theirs: tuple[HeadOf, ...]) -> None:
        """Fetch the chains that a peer holds further, the newest first; offer it the others."""
        space = self._space
        settled_us = space.clock.now_us() - IN_FLIGHT_US
        for head in sorted(theirs, key=lambda head: -head.timestamp_us):
            author, seq = AgentPubKey(head.author), head.action_seq
            if lacks(space, head):
                if space.is_authority(author) and head.timestamp_us < settled_us:
                    self._nursery.start_soon(self._fetch, author, peer)
            elif not space.store.on_chain(author, seq, ActionHash(head.hash)):
                space.want([ActionHash(head.hash)])  # another branch than ours: a fork
        named = {head.author: head.action_seq for head in theirs}
        ahead = [
            head
            for head in shared_heads(space, peer)
            if head.timestamp_us < settled_us and named.get(head.author, -1) < head.action_seq
        ]
        if ahead:
            answer = await space.ask(peer, Offer(tuple(ahead)), COMPARE_TIMEOUT_S)
            if not isinstance(answer, Lacking):
                raise Malformed("an offer answered by something else")

    async def _fetch(self, author: AgentPubKey, peer: AgentPubKey) -> None:
        if author in self._fetching or author == self._space.agent:
            return
        self._fetching.add(author)
        try:
            async with self._fetches:
                await catch_up(self._space, author, [peer])
        except IoeError as error:
            log.debug("catching up with %s: %s", to_text(author)[:12], error)
        finally:
            self._fetching.discard(author)

    async def _heal_ops(self, peer: AgentPubKey, answer: Compared) -> None:
        """Get from a peer what we lack in the ranges that it lists, and give it what it lacks."""
        space = self._space
        ours = [
            OpName(location, short)
            for low, high in answer.listed
            for location, short in space.store.list_ops(low, high, OPS_PER_MESSAGE_MAX)
        ]
        have, theirs = set(ours), set(answer.ops)
        lacking = [op for op in answer.ops if op not in have]
        if lacking:
            records = await space.ask(peer, GetOps(tuple(lacking)), COMPARE_TIMEOUT_S)
            if not isinstance(records, Records):
                raise Malformed("ops asked for, something else answered")
            await park(space, peer, self._welcome(records.records))
        spare = [op for op in ours if op not in theirs]
        given = [record for op in spare for record in space.store.ops_at(op.location, op.short)]
        settled_us = space.clock.now_us() - IN_FLIGHT_US
        old = [record for record in given if record.action.timestamp_us < settled_us]
        if old:
            await give(space, Receipts(), peer, old[:OPS_PER_PUBLISH_MAX])

    def _welcome(self, records: tuple[WireRecord, ...]) -> list[WireRecord]:
        """Those whose authors are not warranted."""
        return [wire for wire in records if first_of(wire)[1] not in self._space.blocked]

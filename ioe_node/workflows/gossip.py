"""Gossip: compare with neighbours and heal, round after round; and notice who is gone.

A round asks one neighbour whether it holds the same as we of what belongs to both: heads of chains
and ops outside their authors' neighbourhoods, each as digests over ranges of locations (range-based
set reconciliation, as in Meyer, "Range-based set reconciliation", 2023), warrants as one digest.
Where nothing differs, that was all: one message each way.  Where a range differs it is cut into
`PARTS`, until few enough are left in it to be named.  Then each side fetches the chains that it
lacks, the one that grew last first (a chain is a log, so its missing end is all there is to fetch,
and an interrupted fetch goes on where it stopped), and each gives the ops that the other lacks.

So an authority set that changes heals itself: whoever comes into it finds in its first rounds what
it lacks.  The less there was to heal, the rarer the rounds, up to `ROUND_MAX_S`; whoever comes,
goes or turns out to lack something makes them frequent again.

A round is also how we notice that somebody is gone.  Every other one asks the member that follows
us in the order of keys, so that each member is looked after by one other; the rest ask neighbours
in turn, in an order drawn by lot.  Who does not answer is told of to all neighbours, who look for
themselves (after Das et al., "SWIM", 2002).  Rounds run beside each other: one that waits holds up
none.
"""

from collections.abc import Sequence
from hashlib import blake2b

import trio

from ioe_node.errors import IoeError, Malformed, TransportError
from ioe_node.hdi import ActionHash, AgentPubKey
from ioe_node.model.hashes import key_of, to_text
from ioe_node.model.record import WireRecord
from ioe_node.net.messages import Compared, GetOps, Lacking, Offer, Records, encode
from ioe_node.workflows.compare import (
    ChainsHeld,
    authors_held,
    chains_ahead,
    check_answer,
    compare_of,
    lacks,
    ops_unlike,
    own_spans,
    ranges_of,
    shared_ranges,
)
from ioe_node.workflows.fetches import Fetches
from ioe_node.workflows.incoming_ops import first_of, park
from ioe_node.workflows.locate import ask_near, learn_all
from ioe_node.workflows.publish_ops import Receipts, give
from ioe_node.workflows.space import Space, log
from ioe_node.workflows.spread import fetch_warrants

ROUND_S = 5.0
ROUND_MAX_S = 30.0
ROUND_LONGER = 1.5
"""After each round that found nothing the next comes so much later, up to `ROUND_MAX_S`."""
URGENT_ROUND_S = 0.5
ROUNDS_AT_ONCE_MAX = 4
COMPARE_TIMEOUT_S = 4.0
NEIGHBOURS = 16
FAR_ONE_IN = 4
DEAD_ONE_IN = 4
DEAD_AT_ONCE = 4
"""Where one that was thought dead answers, a partition may have ended: so many others are asked."""
IN_FLIGHT_US = 5 * 1_000_000
"""A chain that grew so recently is left to its publisher."""
STEPS_MAX = 16
HEALED_KNOWN_MAX = 1_024


class Gossip:
    """The rounds of one cell."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._neighbours: list[AgentPubKey] = []
        self._dead: list[AgentPubKey] = []
        self._urgent: list[AgentPubKey] = []
        self._turns: list[AgentPubKey] = []
        self._busy: set[AgentPubKey] = set()
        self._healed: dict[AgentPubKey, bytes] = {}
        """A digest of what was healed last with a peer: the same again is no news."""
        self._pause_s = ROUND_S
        self._due_s = 0.0
        self._looks_after = False
        self._seen_version = -1
        self._nursery: trio.Nursery
        self._fetches: Fetches

    async def run(self) -> None:
        """Rounds, for ever."""
        space = self._space
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._fetches = Fetches(space, nursery)
            while True:
                self._look_around()
                now_s = trio.current_time()
                if now_s >= self._due_s:
                    peer = self._next()
                    if peer is not None and peer not in self._busy:
                        nursery.start_soon(self._round, peer)
                    pause_s = URGENT_ROUND_S if self._urgent else self._pause_s
                    self._due_s = now_s + pause_s * (0.5 + space.rng.random())
                if await space.gossip_bell.wait(self._due_s - now_s):
                    await trio.sleep(URGENT_ROUND_S * space.rng.random())

    def _look_around(self) -> None:
        """Take up what others told us, and who our neighbours are."""
        space = self._space
        doubted, space.doubted = sorted(space.doubted), set()
        for agent in doubted:
            self._nursery.start_soon(self._probe, agent)
        offered, space.offered = space.offered, {}
        for peer, ends in offered.items():
            self._fetches.offer(peer, list(ends.items()))
        if space.membership.version == self._seen_version:
            return
        self._seen_version = space.membership.version
        living, dead = set(space.others()), space.membership.dead()
        near = space.membership.closest(key_of(space.agent), NEIGHBOURS, holders=True)
        if any(agent not in living for agent in self._neighbours):
            # Who has left changes the shares of all around: ask everyone once.
            self._ask_soon(near)
        else:
            # Who has come is given what it lacks, and takes nothing from what others must hold.
            self._ask_soon([agent for agent in near if agent not in self._neighbours])
        if any(agent in living for agent in self._dead):
            self._ask_soon(space.rng.sample(dead, min(DEAD_AT_ONCE, len(dead))))
        self._neighbours, self._dead = near, dead

    def _ask_soon(self, peers: Sequence[AgentPubKey]) -> None:
        """Have peers asked before all others, the first of them first."""
        if peers:
            waiting = [peer for peer in self._urgent if peer not in peers]
            self._urgent = [*waiting, *reversed(peers)]
            self._pause_s = ROUND_S
            self._due_s = min(self._due_s, trio.current_time() + URGENT_ROUND_S)

    def _next(self) -> AgentPubKey | None:
        """Whom to ask now: who follows us, or a neighbour in turn, or one far away or dead."""
        space, rng = self._space, self._space.rng
        if len(self._busy) >= ROUNDS_AT_ONCE_MAX:
            return None
        if self._urgent:
            return self._urgent.pop()
        dead, living = space.membership.dead(), space.others()
        self._looks_after = not self._looks_after
        if self._looks_after and living:
            ours = key_of(space.agent)
            return min(living, key=lambda agent: (key_of(agent) - ours) % 2**32)
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
        shared = shared_ranges(space, peer)
        ops, chains = await own_spans(space, shared, shared)
        healed: list[bytes] = []
        for step in range(STEPS_MAX):
            ask = compare_of(space, ops, chains)
            answer = await space.ask(peer, ask, COMPARE_TIMEOUT_S)
            if not isinstance(answer, Compared):
                raise Malformed("a comparison answered by something else")
            check_answer(ask, answer)
            if step == 0:
                learn_all(space, answer.infos, peer)
                if not answer.same_warrants:
                    await fetch_warrants(space, peer)
            chains_differ = await self._heal_chains(peer, answer)
            if await self._heal_ops(peer, answer) or chains_differ:
                healed += map(encode, (*answer.heads, *answer.names))
            theirs = answer.ops.spans, answer.chains.spans
            ours = await own_spans(space, *map(ranges_of, theirs))
            ops, chains = (
                tuple(one for one, other in zip(*pair, strict=True) if one != other)
                for pair in zip(ours, theirs, strict=True)
            )
            if not (ops or chains):
                break
        space.counters.note_round(peer, space.clock.now_us())
        self._pace(peer, b"".join(healed))

    def _pace(self, peer: AgentPubKey, healed: bytes) -> None:
        """Rounds are frequent while they heal what they did not heal before, rarer after others.

        `healed` is empty if there was nothing to heal.
        """
        digest = blake2b(healed, digest_size=16).digest()
        if not healed or digest == self._healed.get(peer):
            self._pause_s = min(ROUND_MAX_S, self._pause_s * ROUND_LONGER)
            return
        if len(self._healed) >= HEALED_KNOWN_MAX:
            self._healed.clear()
        self._healed[peer] = digest
        self._pause_s = ROUND_S

    async def _heal_chains(self, peer: AgentPubKey, answer: Compared) -> bool:
        """Fetch the chains that a peer holds further, the newest first; offer it the others.

        Whether there was any.
        """
        space = self._space
        ends: list[tuple[AgentPubKey, int]] = []
        settled_us = space.clock.now_us() - IN_FLIGHT_US
        for head in sorted(answer.heads, key=lambda head: -head.timestamp_us):
            author, seq, hash_ = AgentPubKey(head.author), head.action_seq, ActionHash(head.hash)
            if lacks(space, head):
                if space.is_authority(author) and head.timestamp_us < settled_us:
                    ends.append((author, seq))
            elif author in space.blocked or author == space.agent:
                continue
            elif not space.store.on_chain(author, seq, hash_):
                space.want([hash_])  # another branch than ours: a fork
        self._fetches.offer(peer, ends)
        held = ChainsHeld(space.store, authors_held(space), dict(space.ended))
        ahead = await space.run(chains_ahead, held, answer, settled_us)
        if ahead:
            lacking = await space.ask(peer, Offer(tuple(ahead)), COMPARE_TIMEOUT_S)
            if not isinstance(lacking, Lacking):
                raise Malformed("an offer answered by something else")
        return bool(ends or ahead)

    async def _heal_ops(self, peer: AgentPubKey, answer: Compared) -> bool:
        """Get from a peer what we lack in the ranges that it lists, and give it what it lacks.

        Whether there was any.
        """
        space = self._space
        settled_us = space.clock.now_us() - IN_FLIGHT_US
        lacking, spare = await space.run(ops_unlike, space.store, answer, settled_us)
        if lacking:
            records = await space.ask(peer, GetOps(tuple(lacking)), COMPARE_TIMEOUT_S)
            if not isinstance(records, Records):
                raise Malformed("ops asked for, something else answered")
            await park(space, peer, self._welcome(records.records))
        if spare:
            await give(space, Receipts(), peer, spare)
        return bool(lacking or spare)

    def _welcome(self, records: tuple[WireRecord, ...]) -> list[WireRecord]:
        """Those whose authors are not warranted."""
        return [wire for wire in records if first_of(wire)[1] not in self._space.blocked]

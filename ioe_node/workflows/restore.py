"""Restore: before we show what we wrote, do others hold more of our own chain than this disk does?

A disk that was lost, or an older copy put back, must not make us publish a second action where
we have published one: that is a fork, and a warrant.  So those closest to us, who should hold our
chain, are asked what they have of it past what they have receipted; what is more than ours is
judged like anybody's, but for what lies on others' chains, and written.  Private content never
left this disk and does not come back.

One answer is not believed where more can be had: the chain is held, for a time, until most of
those who can be reached and three of them have told.  A node alone writes on after that, but
shows nothing of its chain to anybody until somebody has told (`Space.head_confirmed`), and goes
on asking.  Where nobody can be asked nobody can be published to, so that waiting costs nothing.
"""

from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import trio

from ioe_node.errors import IoeError, Malformed, StoreError, TransportError
from ioe_node.hdi import AgentPubKey, Invalid
from ioe_node.model.hashes import key_of, to_text
from ioe_node.model.record import Record, open_parcel
from ioe_node.net.messages import Activity, Chain
from ioe_node.workflows.genesis import genesis
from ioe_node.workflows.locate import ask_near, lookup_near_us
from ioe_node.workflows.overlay import Overlay
from ioe_node.workflows.space import Space, log

ASK_TIMEOUT_S = 3.0
PEERS_ASKED_MAX = 8
TELL_ENOUGH = 3
BEGIN_PATIENCE_S = 15.0
HEAD_PATIENCE_S = 5.0
RETRY_S = 1.0
RETRY_MAX_S = 30.0


class AnotherContinuation(StoreError):
    """Other nodes hold another continuation of our chain: an older copy was written to."""


def enough(told: int, reached: int, known: int) -> bool:
    """Whether so many of those reached, and of those known, have told what they hold of us."""
    return 2 * told > reached and told >= min(TELL_ENOUGH, known) if known else True


@dataclass
class Inquiry:
    """What others hold of our chain from `from_seq` on, and who has told it."""

    space: Space
    bootstrap: tuple[AgentPubKey, ...]
    from_seq: int
    told: set[AgentPubKey] = field(default_factory=set)
    reached: set[AgentPubKey] = field(default_factory=set)
    _liars: set[AgentPubKey] = field(default_factory=set)
    _lost_us: int = 0

    @property
    def known(self) -> int:
        """How many there are that could be asked, as far as we know."""
        return len({*self.space.peers.agents(), *self.bootstrap, *self.reached})

    @property
    def enough(self) -> bool:
        """Whether more answers need not be waited for."""
        return enough(len(self.told), len(self.reached), self.known)

    @property
    def likely(self) -> bool:
        """Whether most of those who can be reached have told, however few they are."""
        return enough(len(self.told), len(self.reached), min(1, self.known))

    async def wait(self, patience_s: float) -> None:
        """Ask again and again until enough have told, or for so long.

        What somebody has is fetched to its end, however long it takes.  The caller holds the
        chain.  Raises `AnotherContinuation` when what others hold does not follow it.
        """
        until_s = trio.current_time() + patience_s
        await self.round(nullcontext())
        while not self.enough and trio.current_time() < until_s:
            await trio.sleep(RETRY_S)
            await self.round(nullcontext())

    async def round(self, hold: AbstractAsyncContextManager[None]) -> None:
        """Ask those closest to us once, and take all that they have while we `hold` the chain."""
        peers = await self._keepers()
        self.reached = {*peers, *self.told} - self._liars
        while True:
            answers = await self._ask(peers)
            async with hold:
                for bundle in (bundle for answer in answers for bundle in answer):
                    await self._take(bundle)
            ends = [answer[-1][-1].action.action_seq for answer in answers if answer]
            if not ends:
                break
            self.from_seq = max(ends) + 1

    async def _keepers(self) -> list[AgentPubKey]:
        """Who should hold our chain: those closest to us, whom the bootstrap peers lead to."""
        space, near = self.space, key_of(self.space.agent)
        there: list[AgentPubKey] = []

        async def one(peer: AgentPubKey) -> None:
            try:
                await ask_near(space, peer, near)
                there.append(peer)
            except IoeError as error:
                log.debug("asking %s for peers: %s", to_text(peer)[:12], error)

        async with trio.open_nursery() as nursery:
            for peer in self.bootstrap:
                if peer not in space.admitted:
                    nursery.start_soon(one, peer)
        found = await lookup_near_us(space, PEERS_ASKED_MAX)
        return list(dict.fromkeys([*found, *sorted(there)]))[:PEERS_ASKED_MAX]

    async def _ask(self, peers: list[AgentPubKey]) -> list[list[list[Record]]]:
        """The bundles that each of those who answer holds from `from_seq` on."""
        answers: list[list[list[Record]]] = []

        async def one(peer: AgentPubKey) -> None:
            try:
                ask = Activity(self.space.agent, self.from_seq)
                answers.append(self._open(await self.space.ask(peer, ask, ASK_TIMEOUT_S)))
                self.told.add(peer)
            except Malformed as error:
                self._liars.add(peer)
                self.reached.discard(peer)
                self.space.charge(peer, str(error))
            except IoeError as error:
                log.debug("asking %s for our chain: %s", to_text(peer)[:12], error)

        async with trio.open_nursery() as nursery:
            for peer in peers:
                if peer not in self._liars:
                    nursery.start_soon(one, peer)
        return answers

    def _open(self, answer: object) -> list[list[Record]]:
        """The bundles of an answer, each sealed by us; raises `Malformed` for anything else.

        Nobody can make what we have not signed, so what passes here is ours.
        """
        if not isinstance(answer, Chain):
            raise Malformed("our chain asked for, something else answered")
        bundles = [open_parcel(parcel) for parcel in answer.parcels]
        if any(bundle[0].action.author != self.space.agent for bundle in bundles):
            raise Malformed("another chain than ours")
        if bundles:
            first, last = bundles[0][0].action.action_seq, bundles[0][-1].action.action_seq
            if not first <= self.from_seq <= last:
                raise Malformed("another place of our chain than was asked for")
        return bundles

    async def _take(self, records: list[Record]) -> None:
        """Write a bundle that we sealed once, if it is not here.

        What its rules look up was here then, and need not be.
        """
        space = self.space
        held = [space.store.record_at(space.agent, each.action.action_seq) for each in records]
        if all(
            mine is not None and mine.hash == each.hash
            for mine, each in zip(held, records, strict=True)
        ):
            return
        overlay = Overlay(space.store)
        for record in records:
            verdict = space.rules.validate(record, overlay.head(space.agent), overlay)
            if isinstance(verdict, Invalid):
                raise AnotherContinuation(
                    "other nodes hold another continuation of our chain than this disk: an older "
                    "copy was put back and written to; ask the steward for a new invitation of a "
                    "new node"
                )
            overlay.add(record)
        await self.note_loss(records[-1].action.timestamp_us)
        ops = [space.ops_held(record) for record in records]
        await space.run(space.store.close_pass, records, ops, space.by_hash(records), [])
        space.grants = None
        log.warning("restored %d actions of our own chain from other nodes", len(records))

    async def note_loss(self, at_least_us: int = 0) -> None:
        """This disk does not know what it witnessed until now, by our clock or what we wrote."""
        space = self.space
        at_us = max(at_least_us, self._lost_us or space.clock.now_us())
        if at_us > self._lost_us:
            self._lost_us = at_us
            async with space.witness_lock:
                await space.run(space.witness_rows.forget, at_us)


async def begin(space: Space, bootstrap: tuple[AgentPubKey, ...], begun: bool) -> None:
    """Our first time here: genesis, unless others already hold a chain of ours.

    `begun` says that this node has written here before, so that an empty store is a loss.
    Raises `TransportError` while nobody can be asked, `StoreError` when what is lost is nowhere.
    """
    founder = space.membrane_proof is None
    if begun or not founder:
        inquiry = Inquiry(space, bootstrap, 0)
        if begun:
            await inquiry.note_loss()
        await inquiry.wait(BEGIN_PATIENCE_S)
        if space.store.head(space.agent) is not None:
            return
        if not inquiry.told and inquiry.known:
            raise TransportError("no node of the community answers; is one of them running?")
        if begun:
            raise StoreError(
                "this node's chain is gone from its disk and nobody asked holds it; name a node "
                "that does under 'bootstrap' in the config"
            )
    await genesis(space)
    space.head_confirmed.set()
    space.ring_publish()


async def check_head(
    space: Space, bootstrap: tuple[AgentPubKey, ...], task_status: Any = trio.TASK_STATUS_IGNORED
) -> None:
    """Ask what others hold of our chain, which is held for a while; until enough have told.

    Once most of those who can be reached have told, we show it, however few they are.
    """
    inquiry = Inquiry(space, bootstrap, space.store.receipted_seq())
    async with space.chain_lock:
        task_status.started()
        if not await _checked(inquiry, inquiry.wait(HEAD_PATIENCE_S)):
            return
    pause_s = RETRY_S
    while True:
        if inquiry.enough or inquiry.likely:
            space.head_confirmed.set()
        if inquiry.enough:
            return
        await trio.sleep(pause_s * (0.5 + space.rng.random() / 2))
        pause_s = min(RETRY_MAX_S, 2 * pause_s)
        if not await _checked(inquiry, inquiry.round(space.chain_lock)):
            return


async def _checked(inquiry: Inquiry, asked: Awaitable[None]) -> bool:
    """Whether to go on: what the disk cannot take now is asked for again, a fork stays one."""
    try:
        await asked
    except StoreError as error:
        inquiry.space.fault(str(error))
        inquiry.told.clear()
        return not isinstance(error, AnotherContinuation)
    return True

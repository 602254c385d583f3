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

If what others hold excludes what was written here meanwhile, that can never leave: nothing more
is written (`Space.check_branch`), and the owner is told to move the file away and begin again.

Only who holds a share can tell: a member without one has nothing of us to tell of, and leads us
to the others.  Who is there and does not tell is waited for a few rounds and then left out, or one
could keep us silent for ever.  A fresh key, which this disk knows to have written nothing, leaves
out in the same way who is not there at all, once somebody has told: a street's books are full of
machines that are gone and of keys that have had their time.
"""

from collections import Counter
from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import trio

from ioe_node.errors import AnotherContinuation, IoeError, Malformed, StoreError, TransportError
from ioe_node.hdi import AgentPubKey, Invalid
from ioe_node.model.hashes import key_of, to_text
from ioe_node.model.record import Record, open_parcel
from ioe_node.net.messages import Activity, Chain
from ioe_node.workflows.genesis import genesis
from ioe_node.workflows.locate import ask_near, holds, lookup_near_us
from ioe_node.workflows.overlay import Overlay
from ioe_node.workflows.space import Space, log

ASK_TIMEOUT_S = 3.0
PEERS_ASKED_MAX = 8
TELL_ENOUGH = 3
FAILURES_MAX = 3
BEGIN_PATIENCE_S = 15.0
HEAD_PATIENCE_S = 5.0
RETRY_S = 1.0
RETRY_MAX_S = 30.0
NOTICE_AFTER_S = 180.0


def enough(told: int, reached: int, known: int) -> bool:
    """Whether so many of those reached, and of those known, have told what they hold of us."""
    return 2 * told > reached and told >= min(TELL_ENOUGH, known) if known else True


@dataclass
class Inquiry:
    """What others hold of our chain from `from_seq` on, and who has told it."""

    space: Space
    bootstrap: tuple[AgentPubKey, ...]
    from_seq: int
    fresh: bool = False
    told: set[AgentPubKey] = field(default_factory=set)
    _asked: set[AgentPubKey] = field(default_factory=set)
    _there: set[AgentPubKey] = field(default_factory=set)
    _led: bool = False
    _failures: Counter[AgentPubKey] = field(default_factory=Counter)
    _absences: Counter[AgentPubKey] = field(default_factory=Counter)
    _notice: str = ""
    _liars: set[AgentPubKey] = field(default_factory=set)
    _lost_us: int = 0

    @property
    def reached(self) -> set[AgentPubKey]:
        """Who answers and may yet tell, or has told."""
        silent = {peer for peer, rounds in self._failures.items() if rounds >= FAILURES_MAX}
        return ((self._there - silent) | self.told) - self._liars

    def known(self, named: bool) -> int:
        """How many there are that could tell, as far as we know.

        Those `named` to us whom nobody admitted may be invented: to wait for them has to end.
        Before anybody has answered, each member may know one that could.
        """
        return len(self._could_tell(named))

    def _could_tell(self, named: bool) -> set[AgentPubKey]:
        space = self.space
        others = {peer for peer in space.peers.agents() if named or peer in space.admitted}
        could = {peer for peer in {*others, *self.bootstrap} if holds(space, peer)}
        if not could and not self._led:
            could = others
        return (could - space.blocked) | self.reached

    @property
    def enough(self) -> bool:
        """Whether more answers need not be waited for."""
        return enough(len(self.told), len(self.reached), self.known(named=False))

    @property
    def likely(self) -> bool:
        """Whether most of those who can be reached have told, however few they are."""
        return enough(len(self.told), len(self.reached), min(1, self.known(named=False)))

    @property
    def _all_told(self) -> bool:
        """Whether enough have told, even if all that were named to us are there.

        For a fresh key, who is not there round after round is not waited for when others have told.
        """
        could = self._could_tell(named=True)
        if self.fresh and self.told:
            could -= {peer for peer, rounds in self._absences.items() if rounds >= FAILURES_MAX}
        return enough(len(self.told), len(self.reached), len(could))

    async def wait(self, patience_s: float) -> None:
        """Ask again and again until enough have told, or for so long.

        What somebody has is fetched to its end, however long it takes.  The caller holds the
        chain.  Raises `AnotherContinuation` when what others hold does not follow it.
        """
        until_s = trio.current_time() + patience_s
        await self.round(nullcontext())
        while not self._all_told and trio.current_time() < until_s:
            await trio.sleep(RETRY_S)
            await self.round(nullcontext())

    async def round(self, hold: AbstractAsyncContextManager[None]) -> None:
        """Ask those closest to us once, and take all that they have while we `hold` the chain."""
        peers = await self._keepers()
        self._there = {peer for peer in peers if holds(self.space, peer)}
        self._absences.update(self._could_tell(named=True) - self._there)
        self._asked |= self._there
        silent: set[AgentPubKey] = set()
        while True:
            answers = await self._ask(peers, silent)
            async with hold:
                for bundle in (bundle for answer in answers for bundle in answer):
                    await self._take(bundle)
            ends = [answer[-1][-1].action.action_seq for answer in answers if answer]
            if not ends:
                break
            self.from_seq = max(ends) + 1
        self._failures.update(silent)

    async def _keepers(self) -> list[AgentPubKey]:
        """Who should hold our chain: the holders closest to us, whom the bootstrap peers lead to.

        Where these are few, others too: one whose disk is full may have what it held before.
        """
        space, near = self.space, key_of(self.space.agent)
        there: list[AgentPubKey] = []

        async def one(peer: AgentPubKey) -> None:
            try:
                await ask_near(space, peer, near, holders=True)
                there.append(peer)
            except IoeError as error:
                log.debug("asking %s for peers: %s", to_text(peer)[:12], error)

        async with trio.open_nursery() as nursery:
            for peer in self.bootstrap:
                if peer not in space.admitted:
                    nursery.start_soon(one, peer)
        found = await lookup_near_us(space, PEERS_ASKED_MAX)
        answered = dict.fromkeys([*found, *sorted(there)])
        self._led = self._led or bool(answered)
        return sorted(answered, key=lambda peer: not holds(space, peer))[:PEERS_ASKED_MAX]

    async def _ask(
        self, peers: list[AgentPubKey], silent: set[AgentPubKey]
    ) -> list[list[list[Record]]]:
        """The bundles that each of those who answer holds from `from_seq` on.

        `silent` is kept up to date: those of the peers who did not answer when last asked.
        """
        answers: list[list[list[Record]]] = []

        async def one(peer: AgentPubKey) -> None:
            try:
                ask = Activity(self.space.agent, self.from_seq)
                answers.append(self._open(await self.space.ask(peer, ask, ASK_TIMEOUT_S)))
                silent.discard(peer)
                del self._failures[peer]
                if holds(self.space, peer):
                    self.told.add(peer)
            except Malformed as error:
                self._liars.add(peer)
                self.space.charge(peer, str(error))
            except IoeError as error:
                silent.add(peer)
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
        bundles = [open_parcel(parcel, self.space.dna) for parcel in answer.parcels]
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
                space.astray = (
                    "other nodes hold another continuation of our chain than this disk: an older "
                    f"copy was put back and written to; stop the node, move {space.store.path} "
                    "away and start again: it takes up what the others hold, and what was written "
                    "here meanwhile is lost"
                )
                raise AnotherContinuation(space.astray)
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

    def in_words(self) -> str:
        """Who was asked and who told, for the owner."""

        def names(peers: set[AgentPubKey]) -> str:
            return ", ".join(to_text(peer)[:12] for peer in sorted(peers)) or "nobody"

        return (
            "nothing of our chain is shown to others, as too few have told what they hold of it "
            f"(asked: {names(self._asked)}; told: {names(self.told)}); see that their nodes run "
            "and can be reached"
        )

    def notify(self, text: str) -> None:
        """Have this text, or none, in the status, in the place of the last."""
        if text != self._notice:
            space = self.space
            space.faults = [each for each in space.faults if each != self._notice]
            self._notice = text
            if text:
                space.fault(text)


async def begin(space: Space, bootstrap: tuple[AgentPubKey, ...], begun: bool) -> None:
    """Our first time here: genesis, unless others already hold a chain of ours.

    `begun` says that this node has written here before, so that an empty store is a loss.
    Raises `TransportError` while nobody can be asked, `StoreError` when what is lost is nowhere.
    """
    founder = space.membrane_proof is None
    if begun or not founder:
        inquiry = Inquiry(space, bootstrap, 0, fresh=not begun)
        if begun:
            await inquiry.note_loss()
        await inquiry.wait(BEGIN_PATIENCE_S)
        if space.store.head(space.agent) is not None:
            return
        if not inquiry.told and inquiry.known(named=True):
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

    Once most of those who can be reached have told, we show it, however few they are.  While they
    have not, the owner is told who was asked.
    """
    notice_at_s = trio.current_time() + NOTICE_AFTER_S
    inquiry = Inquiry(space, bootstrap, space.store.receipted_seq())
    async with space.chain_lock:
        task_status.started()
        if not await _checked(inquiry, inquiry.wait(HEAD_PATIENCE_S)):
            return
    pause_s = RETRY_S
    while True:
        if inquiry.enough or inquiry.likely:
            space.head_confirmed.set()
            inquiry.notify("")
        elif trio.current_time() >= notice_at_s:
            inquiry.notify(inquiry.in_words())
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

"""Hastening: have what was settled made final, while its author can still be believed.

Whoever is paid wants the payer's half final, and whoever paid owes it: so each party has its own
half witnessed at once, and somewhat later asks the other for its certificate, or does the other's
errand.  One errand a chain at a time, for its newest half: a later certificate covers the earlier.
"""

import trio

from ioe_node.core.sys_validate import party_actions
from ioe_node.errors import IoeError
from ioe_node.hdi import ActionHash, AgentPubKey
from ioe_node.model.action import Create
from ioe_node.model.record import Record
from ioe_node.workflows.bell import Bell
from ioe_node.workflows.certificates import learn
from ioe_node.workflows.finality import NeverFinal, finalise
from ioe_node.workflows.settle import Halves
from ioe_node.workflows.space import Space, log

OWN_PAUSE_S = 0.1
OTHERS_PAUSE_S = 0.4
"""For the other to do its own errand."""
SPACING_S = 0.4
"""Between two errands for one chain: who settles often has many made final at once."""
ERRAND_TIMEOUT_S = 10.0
RETRY_MIN_S = 2.0
RETRY_MAX_S = 300.0
RECALLED_MAX = 64
"""How many of our newest settlements are looked at after a start."""
CHAINS_MAX = 1_024


class Hastening:
    """The halves of one cell's settlements that are not final yet: the newest of each chain."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._due: dict[AgentPubKey, ActionHash] = {}
        self._running: set[AgentPubKey] = set()
        self._bell = Bell()

    def note(self, halves: Halves) -> None:
        """These are to become final; what has waited longest makes room for them."""
        for author, half in halves:
            self._due[author] = self._newer(self._due.pop(author, half), half)
        while len(self._due) > CHAINS_MAX:
            del self._due[next(iter(self._due))]
        self._bell.ring()

    def _newer(self, one: ActionHash, other: ActionHash) -> ActionHash:
        """Which of two of a chain is the later; of one that is not here yet it is that."""
        places = [self._space.store.record(each) for each in (one, other)]
        if places[0] is None or places[1] is None:
            return other
        return one if places[0].action.action_seq > places[1].action.action_seq else other

    async def run(self) -> None:
        """For ever, taking up what was left by a restart."""
        await self._space.run(self._recall)
        async with trio.open_nursery() as nursery:
            while True:
                for author in [each for each in self._due if each not in self._running]:
                    self._running.add(author)
                    nursery.start_soon(self._hasten, author)
                await self._bell.wait()

    def _recall(self) -> None:
        space = self._space
        for declared in space.rules.entry_types.values():
            if declared.countersigned:
                newest = space.store.of_type(space.agent, declared.name)
                for _, record in zip(range(RECALLED_MAX), newest, strict=False):
                    for author, half in self._halves(record):
                        if not space.witness_rows.is_final(half):
                            self._due.setdefault(author, half)

    def _halves(self, record: Record) -> list[tuple[AgentPubKey, ActionHash]]:
        action = record.action
        assert isinstance(action, Create), "a countersigned entry is created"
        parties = self._space.rules.found(record).entry.parties
        actions = party_actions(parties, action.entry_type, action.entry_hash)
        return [(party.agent, hash_) for party, (hash_, _) in zip(parties, actions, strict=True)]

    async def _hasten(self, author: AgentPubKey) -> None:
        """Until the newest half of a chain is final, or never can be."""
        await trio.sleep(OWN_PAUSE_S if author == self._space.agent else OTHERS_PAUSE_S)
        retry_s = RETRY_MIN_S
        while (half := self._due.get(author)) is not None:
            try:
                await self._have_final(author, half)
            except NeverFinal as error:
                log.info("a settlement that will not be final: %s", error)
            except IoeError as error:
                log.debug("a settlement is not final yet: %s", error)
                await trio.sleep(retry_s * (0.5 + self._space.rng.random() / 2))
                retry_s = min(RETRY_MAX_S, 2 * retry_s)
                continue
            retry_s = RETRY_MIN_S
            if self._due.get(author) == half:
                del self._due[author]
            await trio.sleep(SPACING_S)
        self._running.discard(author)

    async def _have_final(self, author: AgentPubKey, half: ActionHash) -> None:
        space = self._space
        if author != space.agent:
            await learn(space, [half], [author])
        await finalise(space, half, ERRAND_TIMEOUT_S)

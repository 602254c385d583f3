"""Release: let go of what others should hold, once they do; and stay within the disk's limit.

Whoever comes nearer takes an authority's place, and chains are fetched because something rests on
them: so a node comes to hold what is not its to hold.  What has been quiet here for
`RELEASE_AFTER_S` without our being an authority is offered to all who are, and dropped when each
of them says that it lacks nothing of it; who lacks something fetches it, and is asked again.  A
record held alone is given to the authorities of its bases, and dropped when enough of them have
given receipts.  At the limit of the disk all that happens at once, and if it makes no room we say
that we hold no share, until there is room again.
"""

from collections.abc import Callable, Sequence

import trio

from ioe_node.core.share import Range, within
from ioe_node.errors import IoeError, Malformed, TransportError
from ioe_node.hdi import ActionHash, AgentPubKey
from ioe_node.model.hashes import LOCATION, key_of, to_text
from ioe_node.model.op import foreign_bases
from ioe_node.model.record import Record
from ioe_node.net.messages import HeadOf, Lacking, Offer
from ioe_node.workflows.compare import our_share
from ioe_node.workflows.locate import authorities_of
from ioe_node.workflows.publish_ops import RECEIPTS_ENOUGH, Receipts, give
from ioe_node.workflows.space import Space, log

ROUND_S = 60.0
RELEASE_AFTER_S = 3_600.0
PRESSED_AFTER_S = 30.0
"""What has come in the last round is in use, however little room there is."""
OFFER_TIMEOUT_S = 4.0
CHAINS_PER_ROUND_MAX = 64
ALONE_PER_ROUND_MAX = 256
ALONE_KNOWN_MAX = 4_096
HOLD_AGAIN_PERCENT = 90
AT_THE_LIMIT = (
    "the disk limit is reached: this node holds nothing for others any more; raise"
    " limits.disk_mb_max in the config, or wait until it has let go of enough"
)


def arc_of(space: Space) -> str:
    """What we hold for others, for people."""
    if not space.holds:
        return "zero"
    return "full" if space.membership.holds else "zero until there is room on the disk"


class Release:
    """What one cell holds for nobody, since when, and what became of it."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._chains: dict[AgentPubKey, tuple[int, float]] = {}
        """Chains that are not ours to hold: their heads' places, and since when both is so."""
        self._alone: dict[ActionHash, float] = {}
        self._share: list[Range] | None = None
        self._seen_row = 0
        self._more_alone = False
        self._receipts = Receipts()

    async def run(self) -> None:
        """A round a minute, for ever."""
        while True:
            await trio.sleep(ROUND_S * (0.75 + self._space.rng.random() / 2))
            pressed = self._is_full()
            self._watch_chains()
            await self._watch_alone()
            try:
                await self._let_go(PRESSED_AFTER_S if pressed else RELEASE_AFTER_S)
            except TransportError as error:
                log.debug("letting go: %s", error)
            self._stay_within_limit()

    # -- what is not ours to hold -------------------------------------------------------------

    def _watch_chains(self) -> None:
        space, now_s = self._space, trio.current_time()
        watched: dict[AgentPubKey, tuple[int, float]] = {}
        for author in space.store.authors():
            if author == space.agent or space.is_authority(author):
                continue
            head = space.store.head(author)
            if head is not None:
                seq, since_s = self._chains.get(author, (-1, now_s))
                watched[author] = (head.seq, since_s if seq == head.seq else now_s)
        self._chains = watched

    async def _watch_alone(self) -> None:
        """Look through what has come since the last look, or through all when our share moved."""
        space = self._space
        share = our_share(space)
        if share != self._share or (self._more_alone and not self._alone):
            self._share, self._seen_row, self._more_alone, self._alone = share, 0, False, {}
        newest = space.store.alone_mark()
        while self._seen_row > newest and not self._more_alone:
            row, records = await space.run(
                space.store.alone_below, self._seen_row, ALONE_PER_ROUND_MAX
            )
            self._seen_row = row if records else newest
            for record in records:
                if self._is_stray(record):
                    self._alone[record.hash] = trio.current_time()
            self._more_alone = len(self._alone) >= ALONE_KNOWN_MAX

    def _is_stray(self, record: Record) -> bool:
        """Whether nothing of a record belongs here; a warranted author's nobody would take."""
        if record.action.author in self._space.blocked:
            return False
        bases = (record.hash, *self._bases(record))
        return not any(within(self._share or [], key_of(basis)) for basis in bases)

    def _bases(self, record: Record) -> list[bytes]:
        by_hash = self._space.rules.by_hash(record.action)
        return foreign_bases(record.action, record.hash, by_hash)

    # -- letting go ---------------------------------------------------------------------------

    async def _let_go(self, after_s: float) -> None:
        space, now_s = self._space, trio.current_time()
        ripe = [a for a, (_, since_s) in self._chains.items() if now_s - since_s >= after_s]
        alone = [hash_ for hash_, since_s in self._alone.items() if now_s - since_s >= after_s]
        if not (ripe or alone) or space.store.promised() is not None:
            return
        is_needed = self._needed()
        ripe = [author for author in ripe if not is_needed(author)]
        if ripe:
            await self._release_chains(ripe[:CHAINS_PER_ROUND_MAX])
        if alone:
            await self._release_alone(alone[:ALONE_PER_ROUND_MAX])

    def _needed(self) -> Callable[[AgentPubKey], bool]:
        """Tells whether what waits in limbo rests on an agent's chain, or may."""
        authors = set(self._space.store.limbo.authors())
        locations = {hash_[LOCATION] for hash_ in self._space.limbo.missing()}
        return lambda author: author in authors or author[LOCATION] in locations

    async def _release_chains(self, authors: Sequence[AgentPubKey]) -> None:
        """Offer chains to their authorities, and drop those that all of these have whole."""
        space = self._space
        heads: dict[AgentPubKey, HeadOf] = {}
        holders: dict[AgentPubKey, tuple[AgentPubKey, ...]] = {}
        for author in authors:
            head = space.store.head(author)
            group = await authorities_of(space, author)
            if head is not None and group and space.agent not in group:
                heads[author] = HeadOf(author, head.seq, head.hash, head.timestamp_us)
                holders[author] = group
        have = await self._offer(heads, holders)
        async with space.pass_lock:
            is_needed, share = self._needed(), our_share(space)
            for author, offered in heads.items():
                now = space.store.head(author)
                if (
                    have.get(author, 0) == len(holders[author])
                    and now is not None
                    and now.hash == offered.hash
                    and not (space.is_authority(author) or is_needed(author))
                    and space.store.promised() is None
                ):
                    await self._drop(author, share)

    async def _drop(self, author: AgentPubKey, share: Sequence[Range]) -> None:
        space = self._space

        def by_hash(record: Record) -> bool:
            return space.rules.by_hash(record.action)

        def keeps(record: Record) -> bool:
            return any(within(share, key_of(basis)) for basis in self._bases(record))

        count = await space.run(space.store.drop_chain, author, by_hash, keeps)
        self._chains.pop(author, None)
        log.info("let go of %d actions of %s", count, to_text(author)[:12])

    async def _offer(
        self,
        heads: dict[AgentPubKey, HeadOf],
        holders: dict[AgentPubKey, tuple[AgentPubKey, ...]],
    ) -> dict[AgentPubKey, int]:
        """How many of its holders have each chain as far as we do."""
        have: dict[AgentPubKey, int] = {}

        async def one(peer: AgentPubKey, offered: list[AgentPubKey]) -> None:
            try:
                ask = Offer(tuple(heads[author] for author in offered))
                answer = await self._space.ask(peer, ask, OFFER_TIMEOUT_S)
                if not isinstance(answer, Lacking):
                    raise Malformed("an offer answered by something else")
            except IoeError as error:
                if isinstance(error, Malformed):
                    self._space.charge(peer, str(error))
                log.debug("handing over to %s: %s", to_text(peer)[:12], error)
                return
            for author in offered:
                if author not in answer.authors:
                    have[author] = have.get(author, 0) + 1

        asked: dict[AgentPubKey, list[AgentPubKey]] = {}
        for author, group in holders.items():
            for peer in group:
                asked.setdefault(peer, []).append(author)
        async with trio.open_nursery() as nursery:
            for peer, offered in asked.items():
                nursery.start_soon(one, peer, offered)
        return have

    async def _release_alone(self, hashes: Sequence[ActionHash]) -> None:
        """Give single records to the authorities of their bases, and drop those that have come."""
        space = self._space
        groups: dict[ActionHash, list[tuple[AgentPubKey, ...]]] = {}
        records: dict[ActionHash, Record] = {}
        due: dict[AgentPubKey, list[Record]] = {}
        for hash_ in hashes:
            record = space.store.record(hash_)
            if record is None or space.store.on_chain(
                record.action.author, record.action.action_seq, hash_
            ):
                self._alone.pop(hash_, None)
                continue
            records[hash_] = record
            bases = self._bases(record) or [bytes(hash_)]
            groups[hash_] = [await authorities_of(space, basis) for basis in bases]
            for peer in dict.fromkeys(agent for group in groups[hash_] for agent in group):
                if peer != space.agent and not self._receipts.has(peer, record):
                    due.setdefault(peer, []).append(record)
        async with trio.open_nursery() as nursery:
            for peer, owed in due.items():
                nursery.start_soon(give, space, self._receipts, peer, owed)
        held = [
            record
            for hash_, record in records.items()
            if all(self._enough(group, record) for group in groups[hash_])
        ]
        async with space.pass_lock:
            share = our_share(space)
            if held and share == self._share and space.store.promised() is None:
                await space.run(space.store.drop_alone, held, space.by_hash(held))
                for record in held:
                    self._receipts.forget(record)
                    self._alone.pop(record.hash, None)

    def _enough(self, group: Sequence[AgentPubKey], record: Record) -> bool:
        have = sum(self._receipts.has(peer, record) for peer in group)
        return bool(group) and have >= min(RECEIPTS_ENOUGH, len(group))

    # -- the disk -----------------------------------------------------------------------------

    def _is_full(self) -> bool:
        return self._space.store.used_bytes() >= self._space.limits.disk_bytes_max

    def _stay_within_limit(self) -> None:
        """Hold a share or none, by what room there is."""
        space = self._space
        if not space.holds:
            return
        if space.membership.holds:
            if self._is_full():
                space.fault(AT_THE_LIMIT)
                self._hold(False)
        elif space.store.used_bytes() * 100 < space.limits.disk_bytes_max * HOLD_AGAIN_PERCENT:
            space.faults = [text for text in space.faults if text != AT_THE_LIMIT]
            self._hold(True)

    def _hold(self, holds: bool) -> None:
        self._space.membership.set_holds(holds)
        self._space.members_changed()

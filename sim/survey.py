"""What every home holds, as the simulator knows it: read bit by bit while the run goes on.

A survey keeps, for each home and each author, how far it has read and checked that chain there,
and from that what no node can know: which chains are forked, who has which half of a
settlement, what everybody's balance is.  It reads new rows only, and a home's from the start
again after each start of it: a crash may have torn what was whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import trio

from ioe_node.core.chain import Head, follows, head_after, verify_chain
from ioe_node.core.sys_validate import Rules
from ioe_node.errors import ChainBroken, StoreError
from ioe_node.hdi import ActionHash, AgentPubKey
from ioe_node.model.action import EntryAction
from ioe_node.model.hashes import CORE, to_text
from ioe_node.model.record import Record, root_of, seal_message, tree_of
from ioe_node.model.signing import verify
from sim.home import Home

SETTLEMENT = "currency.Settlement"


@dataclass(frozen=True)
class Fork:
    """Two actions at place `seq` of one chain, seen first at a virtual second."""

    seq: int
    seen_s: float


@dataclass
class Settlement:
    """A settlement: its parties, and who has it on its own chain."""

    parties: tuple[AgentPubKey, ...]
    seen_s: float
    committed: list[AgentPubKey] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether every party has it."""
        return len(self.committed) == len(self.parties)


class Survey:
    """See the module docstring."""

    def __init__(self, rules: Rules) -> None:
        self.places: dict[tuple[AgentPubKey, int], ActionHash] = {}
        self.forks: dict[AgentPubKey, Fork] = {}
        self.settlements: dict[bytes, Settlement] = {}
        self.balances: dict[AgentPubKey, int] = {}
        self.broken: list[str] = []
        self._rules = rules
        self._heads: dict[int, dict[AgentPubKey, Head]] = {}
        self._starts: dict[int, int] = {}
        self._seals: dict[bytes, bytes] = {}

    def reach(self, home: Home, author: AgentPubKey) -> int:
        """The place up to which a home holds a chain; -1 for nothing of it."""
        head = self._heads.get(home.number, {}).get(author)
        return -1 if head is None else head.seq

    def reach_elsewhere(self, author: AgentPubKey, home: Home) -> int:
        """The place up to which anybody but `home` was seen to hold a chain."""
        return max(
            (
                heads[author].seq
                for number, heads in self._heads.items()
                if number != home.number and author in heads
            ),
            default=-1,
        )

    def read(self, homes: Sequence[Home]) -> None:
        """Read what is new at each home, and check it."""
        for home in homes:
            if self._starts.get(home.number) != home.starts:
                self._starts[home.number] = home.starts
                self._heads[home.number] = {}
            heads = self._heads[home.number]
            held = home.store.authors()
            for author in held:
                try:
                    self._read_chain(home, author, heads)
                except ChainBroken as error:
                    text = f"home {home.number}, chain of {to_text(author)[:13]}: {error}"
                    if text not in self.broken:
                        self.broken.append(text)
                except StoreError:
                    break  # its disk fails now; what it holds is read when it works again
            for author in [each for each in heads if each not in held]:
                del heads[author]

    def _read_chain(self, home: Home, author: AgentPubKey, heads: dict[AgentPubKey, Head]) -> None:
        newest, known = home.store.head(author), heads.get(author)
        if newest == known:
            return
        if newest is None:
            del heads[author]
            return
        if known is not None and known.seq >= newest.seq:
            known = None
        records = home.store.chain(author, 0 if known is None else known.seq + 1)
        if not records:
            raise ChainBroken(f"its head is action {newest.seq}, which is not there")
        if not self._continues(known, records, author):
            # Its own words for what is wrong; a chain that passes here is whole all the same.
            rows = home.store.rows(author)
            verify_chain(rows, author, self._rules.hash, self._rules.seal_fault)
            records = home.store.chain(author)
        last = records[-1]
        heads[author] = head_after(last.action, last.hash)
        for record in records:
            self._take(home, record)

    def _continues(self, head: Head | None, records: Sequence[Record], author: AgentPubKey) -> bool:
        """Whether whole bundles, rightly sealed, follow `head`."""
        at = 0
        while at < len(records):
            proof = records[at].proof
            alone = bool(proof.path or proof.cosignatures)
            bundle = records[at : at + (1 if alone else proof.size)]
            leaves = [record.hash[CORE] for record in bundle]
            root = root_of(leaves[0], proof) if alone else tree_of(leaves)[-1][0]
            if self._seals.get(proof.signature) != root:
                if not verify(author[CORE], seal_message(self._rules.hash, root), proof.signature):
                    return False
                if any(self._rules.seal_fault(record) is not None for record in bundle):
                    return False
                self._seals[proof.signature] = root
            for record in bundle:
                if follows(head, record.action, self._rules.hash) is not None:
                    return False
                head = head_after(record.action, record.hash)
            at += len(bundle)
        return True

    def _take(self, home: Home, record: Record) -> None:
        author, seq = record.action.author, record.action.action_seq
        if self.places.setdefault((author, seq), record.hash) != record.hash:
            self.forks.setdefault(author, Fork(seq, trio.current_time()))
        is_settlement = isinstance(record.action, EntryAction) and (
            record.action.entry_type == SETTLEMENT
        )
        if author != home.agent or not is_settlement or record.entry is None:
            return
        entry = self._rules.found(record).entry
        agents = tuple(party.agent for party in entry.parties)
        made = self.settlements.setdefault(record.entry, Settlement(agents, trio.current_time()))
        if author not in made.committed:
            made.committed.append(author)
        self.balances[author] = int(entry.sides[agents.index(author)].account.balance_micro)

    def forget_disk(self, home: Home) -> int:
        """A home's disk is lost: forget what nobody else was seen to hold of its own chain.

        The place of the first action that is lost for ever.
        """
        first_lost = self.reach_elsewhere(home.agent, home) + 1
        seq = first_lost
        while self.places.pop((home.agent, seq), None) is not None:
            seq += 1
        self._heads.pop(home.number, None)
        self._starts.pop(home.number, None)
        return first_lost

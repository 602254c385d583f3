"""What a rule may see: the store, and on top of it what is staged and not yet written."""

from collections import defaultdict
from dataclasses import dataclass, field

from ioe_node.core.chain import Head, head_after
from ioe_node.core.sys_validate import Rules
from ioe_node.hdi import ActionHash, AgentPubKey, Invalid, Missing
from ioe_node.model.action import EntryAction
from ioe_node.model.record import Record
from ioe_node.store.store import Store
from ioe_node.store.witness import WitnessRows


@dataclass
class Overlay:
    """Staged records over `below`, which is the store or another overlay."""

    below: "Store | Overlay"
    records: dict[ActionHash, Record] = field(default_factory=dict)
    _heads: dict[AgentPubKey, Head] = field(default_factory=dict)
    _places: dict[tuple[AgentPubKey, int], Record] = field(default_factory=dict)
    _of_type: defaultdict[tuple[AgentPubKey, str], list[Record]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def add(self, record: Record) -> None:
        """Stage a record that was found valid and follows its chain's head."""
        action, author = record.action, record.action.author
        self.records[record.hash] = record
        self._places[author, action.action_seq] = record
        self._heads[author] = head_after(action, record.hash)
        if isinstance(action, EntryAction):
            self._of_type[author, action.entry_type].append(record)

    def take(self, trial: "Overlay") -> None:
        """Stage all that `trial` has staged on top of us."""
        self.records.update(trial.records)
        self._places.update(trial._places)
        self._heads.update(trial._heads)
        for key, records in trial._of_type.items():
            self._of_type[key].extend(records)

    def head(self, author: AgentPubKey) -> Head | None:
        """The newest action of a chain."""
        return self._heads.get(author) or self.below.head(author)

    def record(self, hash_: ActionHash) -> Record | None:
        """A record by its action's hash."""
        return self.records.get(hash_) or self.below.record(hash_)

    def record_at(self, author: AgentPubKey, seq: int) -> Record | None:
        """A record by its place."""
        return self._places.get((author, seq)) or self.below.record_at(author, seq)

    def newest_of_type(
        self, author: AgentPubKey, entry_type: str, before_seq: int = 2**32
    ) -> Record | None:
        """The newest record of a type before a place on a chain."""
        for record in reversed(self._of_type.get((author, entry_type), ())):
            if record.action.action_seq < before_seq:
                return record
        return self.below.newest_of_type(author, entry_type, before_seq)

    def is_final(self, hash_: ActionHash) -> bool:
        """Whether an action is known to be final; what is staged makes nothing so."""
        below = self.below
        return (below if isinstance(below, Overlay) else WitnessRows(below)).is_final(hash_)


def judge(
    rules: Rules, overlay: Overlay, records: list[Record], sealed: bool = True
) -> tuple[Record, Invalid | Missing] | None:
    """Judge a bundle as a whole.

    None: it is valid, and now staged in `overlay`.  Otherwise the first record that is not,
    with its verdict, and `overlay` is as before.  Without `sealed`, a countersigned entry is
    judged before it has its signatures.
    """
    alone = len(records) == 1  # nothing to take back, so no trial
    trial = overlay if alone else Overlay(overlay)
    for record in records:
        verdict = rules.validate(record, trial.head(record.action.author), trial, sealed)
        if isinstance(verdict, Invalid | Missing):
            return record, verdict
        trial.add(record)
    if not alone:
        overlay.take(trial)
    return None

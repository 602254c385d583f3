"""Whether any energy is counted twice, by the chains of all who hold certificates.  Pure.

Whatever an action brought its author, the author has used, given, or still has: no more than that.
And whatever was taken, somebody gave.  What the chains at hand do not show is named.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ioe_node.hdi import ActionHash, AgentPubKey, Found
from zomes.origin.holdings import Holdings
from zomes.origin.integrity import Give, Issue, Retire, Store, halves_of, holdings_of, number_of


@dataclass(frozen=True)
class Audit:
    """The sums of all ledgers in milliwatt-hours, by what became of it, and what is wrong.

    `doubled` are actions of which more was used than they brought; `unchecked` what was taken and
    whose giver's half is not at hand.
    """

    sums: Mapping[str, int]
    doubled: tuple[ActionHash, ...]
    unchecked: tuple[ActionHash, ...]


def audited(ledgers: Mapping[AgentPubKey, Sequence[Found]]) -> Audit:
    """The audit of whole ledgers, each of all its steps, oldest first."""
    sums: Counter[str] = Counter()
    doubled: list[ActionHash] = []
    given = {step.hash for agent, steps in ledgers.items() for step in steps if gave(step, agent)}
    unchecked: list[ActionHash] = []
    for agent, steps in ledgers.items():
        held = holdings_of(steps[-1]) if steps else Holdings()
        out = _out(agent, steps)
        for step in steps:
            if gave(step, agent):
                continue
            what, brought = _brought(step)
            if what:
                sums[what] += brought
            if isinstance(step.entry, Retire):
                continue
            if isinstance(step.entry, Give) and halves_of(step)[0] not in given:
                unchecked.append(step.hash)
            here = held.energy_of(number_of(step))
            sums["in batteries" if isinstance(step.entry, Store) else "held"] += here
            if out[step.hash] + here > brought:
                doubled.append(step.hash)
    return Audit({what: sums[what] for what in sorted(sums)}, tuple(doubled), tuple(unchecked))


def gave(step: Found, agent: AgentPubKey) -> bool:
    """Whether an agent gave something away by a step of its ledger."""
    return isinstance(step.entry, Give) and step.entry.parties[0].agent == agent


def _out(agent: AgentPubKey, steps: Sequence[Found]) -> Counter[ActionHash]:
    """How much was taken from what each action brought."""
    out: Counter[ActionHash] = Counter()
    for step in steps:
        if isinstance(step.entry, Issue):
            if step.entry.store is not None:
                out[step.entry.store] += step.entry.energy_milli_wh
        elif not isinstance(step.entry, Give) or gave(step, agent):
            out[step.entry.came] += step.entry.energy_milli_wh
    return out


def _brought(step: Found) -> tuple[str, int]:
    """(what it is called in the sums, energy) of what a step did; '' for what is only taken."""
    entry = step.entry
    if isinstance(entry, Store):
        return "stored", entry.stored_milli_wh
    energy: int = entry.energy_milli_wh
    if isinstance(entry, Retire):
        return entry.purpose, energy
    if isinstance(entry, Issue):
        return ("issued" if entry.store is None else "discharged"), energy
    return "", energy

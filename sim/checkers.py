"""What must hold whenever a swarm has come to rest; each checker lists what it finds wrong.

Offenders, whom a scenario knows beforehand, are left out: what they hold binds nobody.  What is
checked all the while stands in `sim.watch`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from ioe_node.core.chain import verify_chain
from ioe_node.errors import ChainBroken
from ioe_node.hdi import ActionHash, AgentPubKey
from ioe_node.model.hashes import to_text
from ioe_node.model.op import ops_of
from ioe_node.model.record import Record
from sim.closest import Closest
from sim.survey import SETTLEMENT, Survey
from sim.swarm import Home, Swarm

Checker = Callable[[Sequence[Home]], list[str]]


def _name(agent: AgentPubKey) -> str:
    return to_text(agent)[:13]


def _settlements(home: Home) -> Iterator[Record]:
    """A home's own, newest first."""
    return home.store.of_type(home.agent, SETTLEMENT)


def chains_verify(homes: Sequence[Home]) -> list[str]:
    """Every chain, wherever it is held, verifies from its first action."""
    faults = []
    for home in homes:
        for author in home.store.authors():
            try:
                rules = home.cell.space.rules
                verify_chain(home.store.rows(author), author, rules.hash, rules.seal_fault)
            except ChainBroken as error:
                faults.append(f"home {home.number}, chain of {_name(author)}: {error}")
    return faults


def agents_of(homes: Iterable[Home]) -> set[AgentPubKey]:
    """Their keys."""
    return {home.agent for home in homes}


def ops_arrived(homes: Sequence[Home], others: Sequence[Home] = ()) -> list[str]:
    """Every op of these homes is held by those of them that are its authorities.

    `others` run too: they take an authority's place, and nothing is asked of them.
    """
    closest = Closest([home.agent for home in (*homes, *others) if home.holds])
    by_agent = {home.agent: home for home in homes}
    missing: dict[tuple[int, int], int] = {}
    for home in homes:
        for record in home.store.chain(home.agent):
            by_hash = home.cell.space.rules.by_hash(record.action)
            holders = {
                agent
                for _, basis in ops_of(record.action, record.hash, by_hash)
                for agent in closest.to(basis)
                if agent in by_agent
            }
            for agent in sorted(holders):
                if not by_agent[agent].store.has(record.hash):
                    pair = (home.number, by_agent[agent].number)
                    missing[pair] = missing.get(pair, 0) + 1
    return [
        f"{count} actions of home {author} have not arrived at home {holder}"
        for (author, holder), count in missing.items()
    ]


def credits_sum_to_zero(homes: Sequence[Home]) -> list[str]:
    """What one earned another paid."""
    total = sum(balance_of(home) for home in homes)
    return [f"the balances sum to {total} micro-credits"] if total else []


def balance_of(home: Home) -> int:
    """A home's balance in micro-credits, by its own chain."""
    newest = next(_settlements(home), None)
    if newest is None:
        return 0
    entry = home.cell.space.rules.found(newest).entry
    place = [party.agent for party in entry.parties].index(home.agent)
    return int(entry.sides[place].account.balance_micro)


def settled_by_both(homes: Sequence[Home]) -> list[str]:
    """Each settlement is on both chains, and no promise is left open."""
    faults = [
        f"home {home.number} is left with an open promise"
        for home in homes
        if home.store.promised() is not None
    ]
    by_agent = {home.agent: home for home in homes}
    entries = {home.agent: {record.entry for record in _settlements(home)} for home in homes}
    for home in homes:
        for record in _settlements(home):
            for party in home.cell.space.rules.found(record).entry.parties:
                if party.agent in by_agent and record.entry not in entries[party.agent]:
                    seq = record.action.action_seq
                    other = by_agent[party.agent].number
                    faults.append(f"home {other} lacks its half of home {home.number}'s {seq}")
    return faults


def energy_sold_once(homes: Sequence[Home]) -> list[str]:
    """Nobody has sold more of a reading than it exported."""
    faults = []
    for home in homes:
        rules = home.cell.space.rules
        sold: dict[ActionHash, int] = {}
        for record in _settlements(home):
            entry = rules.found(record).entry
            if entry.reading is not None and entry.parties[1].agent == home.agent:
                sold[entry.reading] = sold.get(entry.reading, 0) + entry.energy_milli_wh
        for hash_, energy_milli_wh in sold.items():
            reading = home.store.record(hash_)
            exported = 0 if reading is None else rules.found(reading).entry.export_milli_wh
            if energy_milli_wh > exported:
                faults.append(f"home {home.number} sold {energy_milli_wh} mWh of {exported}")
    return faults


def no_silent_fork(homes: Sequence[Home]) -> list[str]:
    """Where two homes hold different actions of one place, both have blocked the author."""
    seen: dict[tuple[AgentPubKey, int], bytes] = {}
    forked: set[AgentPubKey] = set()
    for home in homes:
        for author in home.store.authors():
            for record in home.store.chain(author):
                place = (author, record.action.action_seq)
                if seen.setdefault(place, record.hash) != record.hash:
                    forked.add(author)
    return [
        f"home {home.number} has not noticed the fork of {_name(author)}"
        for author in sorted(forked)
        for home in homes
        if home.agent != author and author not in home.cell.space.blocked
    ]


CHECKERS: dict[str, Checker] = {
    "every chain verifies": chains_verify,
    "every op is where it belongs": ops_arrived,
    "credits sum to zero": credits_sum_to_zero,
    "settlements are on both chains": settled_by_both,
    "no energy is sold twice": energy_sold_once,
    "no fork goes unnoticed": no_silent_fork,
}


def warrants_are_just(homes: Sequence[Home], offenders: Sequence[Home]) -> list[str]:
    """Everyone has blocked each offender, and nobody else."""
    guilty = sorted(offender.agent for offender in offenders)
    return [
        f"home {home.number} has blocked {len(blocked)} agents, not the {len(guilty)} offenders"
        for home in homes
        if (blocked := sorted(home.cell.space.blocked)) != guilty
    ]


def nothing_lost(homes: Sequence[Home], survey: Survey) -> list[str]:
    """What these homes ever committed is on their own chains, but for what a disk took along."""
    faults = []
    for home in homes:
        reach = survey.reach(home, home.agent)
        for seq, hash_ in home.committed.items():
            if seq > reach or survey.places.get((home.agent, seq)) != hash_:
                elsewhere = survey.reach_elsewhere(home.agent, home) >= seq
                where = "though others hold it" if elsewhere else "and nobody holds it"
                faults.append(f"home {home.number} has lost its action {seq}, {where}")
    return faults


AT_REST = ("every op is where it belongs", "no energy is sold twice", "nothing committed is lost")


def at_rest(swarm: Swarm, survey: Survey) -> dict[str, list[str]]:
    """What only a swarm at rest must hold, by the names of `AT_REST`."""
    homes = swarm.honest()
    others = [home for home in swarm.running() if home in swarm.offenders]
    found = (
        ops_arrived(homes, others),
        energy_sold_once(homes),
        nothing_lost(homes, survey),
    )
    return dict(zip(AT_REST, found, strict=True))


def check(swarm: Swarm, offenders: Sequence[Home] = ()) -> dict[str, list[str]]:
    """Every checker's findings, by its name; all lists are empty when all is well."""
    homes = [home for home in swarm.running() if home not in offenders]
    found = {name: checker(homes) for name, checker in CHECKERS.items()}
    found["warrants are just"] = warrants_are_just(homes, offenders)
    return found


def faults(swarm: Swarm, offenders: Sequence[Home] = ()) -> list[str]:
    """All that `check` finds, one line each."""
    found = check(swarm, offenders)
    return [f"{name}: {fault}" for name, faulty in found.items() for fault in faulty]

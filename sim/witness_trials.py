"""An adversary against the rules of finality alone: `core.witness` without a network or a disk.

A trial draws a community, an author whose chain has branches, and up to a minority of its
witnesses who sign whatever is asked; then the adversary does as it likes: asks any witnesses in
any order for any action under any lineage it has put together, holds votes by halves, lets
retirements lie where they do, shows each member other members, lets days pass, lets others join,
breaks honest witnesses' disks.
What it ends with are certificates; `Trial.double` says whether two that anyone would accept
stand on different branches.  Everything is drawn from the seed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from random import Random

from ioe_node.core.chain import Draft, seal
from ioe_node.core.lineage import (
    FOUNDING_US,
    SPREAD_US,
    check_certificate,
    closest,
    extend,
    founders_of,
    next_view,
    open_target,
    plausible,
    quorum,
    views_of,
)
from ioe_node.core.witness import (
    BEHIND,
    Ask,
    Declines,
    Duty,
    Signs,
    Verdict,
    retire,
    retirement_of,
    vote,
    witness,
)
from ioe_node.errors import Malformed
from ioe_node.hdi import AgentPubKey
from ioe_node.model.action import AgentValidationPkg, AnyAction, Create, Dna, hash_of
from ioe_node.model.finality import (
    WITNESSES,
    Certificate,
    Handover,
    Lineage,
    Mark,
    Prepared,
    Retirement,
    Standing,
    View,
    open_standing,
    retirement_message,
    vote_message,
    witness_message,
)
from ioe_node.model.hashes import dna_hash, entry_hash, key_of
from ioe_node.model.record import Record, WireRecord
from ioe_node.model.signing import SEED_BYTES, Signer

DNA = dna_hash(b"a network for trials of witnesses")
STEWARD = Signer(blake2b(b"steward of trials", digest_size=SEED_BYTES).digest())
HOUR_US = 3_600 * 1_000_000
DAY_US = 24 * HOUR_US
JOINED_US = 1_700_000_000_000_000
GRIND_KEYS = 16
MOVES = 60
LINES_KEPT_MAX = 24


def admits(agent: AgentPubKey, proof: bytes | None, witness: bool = False) -> bool:
    """The trials' membrane: the steward's signature over the key; all may witness."""
    return proof == STEWARD.sign(b"trial" + agent)


def sealed(signer: Signer, actions: list[AnyAction]) -> list[Record]:
    """Seal actions one by one."""
    records = []
    for action in actions:
        hash_, data = hash_of(action)
        records += seal([Draft(hash_, action, data, None)], DNA, signer.sign)
    return records


def genesis(signer: Signer, since_us: int) -> list[Record]:
    """Dna and AgentValidationPkg."""
    dna = Dna(
        author=signer.agent, timestamp_us=since_us, action_seq=0, prev_action=None, dna_hash=DNA
    )
    admission = AgentValidationPkg(
        author=signer.agent,
        timestamp_us=since_us,
        action_seq=1,
        prev_action=hash_of(dna)[0],
        membrane_proof=STEWARD.sign(b"trial" + signer.agent),
    )
    return sealed(signer, [dna, admission])


def grow(signer: Signer, chain: list[Record], count: int, what: str) -> list[Record]:
    """A chain with `count` more actions; `what` tells branches apart."""
    grown = list(chain)
    for number in range(count):
        head = grown[-1]
        action = Create(
            author=signer.agent,
            timestamp_us=head.action.timestamp_us + 1,
            action_seq=head.action.action_seq + 1,
            prev_action=head.hash,
            entry_type="trial.Payment",
            entry_hash=entry_hash(f"{what} {number}".encode()),
        )
        grown += sealed(signer, [action])
    return grown


@dataclass
class Member:
    """A member: honest ones follow the rules and keep their duty; the others sign anything."""

    signer: Signer
    standing: Standing
    honest: bool
    known: dict[AgentPubKey, Standing] = field(default_factory=dict)
    duty: Duty | None = None
    lost_us: int | None = None


@dataclass
class Line:
    """A lineage that the adversary has, and what it has collected under it."""

    lineage: Lineage
    view: View
    marks: dict[int, dict[int, Mark]] = field(default_factory=dict)
    votes: dict[tuple[int, tuple[AgentPubKey, ...]], dict[int, Mark]] = field(default_factory=dict)
    prepared: list[Prepared] = field(default_factory=list)
    retired: dict[tuple[int, tuple[AgentPubKey, ...]], dict[int, Retirement]] = field(
        default_factory=dict
    )


class Trial:
    """One seeded attack; `run` it, then see `certificates` and `double`."""

    def __init__(self, seed: int, attack: bool = True, older: int | None = None) -> None:
        self.rng = rng = Random(f"witness trial {seed}")
        self.seed = seed
        self.author = self._signer("author")
        self.now_us = JOINED_US + DAY_US
        trunk = genesis(self.author, self.now_us)
        self.standing = open_standing(trunk[1].wire(), DNA)
        self.targets: list[tuple[Record, list[Record]]] = []
        shared = grow(self.author, trunk, rng.randrange(3), "shared")
        names = ("left", "right") if attack else ("only",)
        self.branches = [grow(self.author, shared, rng.randrange(1, 4), name) for name in names]
        for branch in self.branches:
            self.targets += [(record, branch) for record in branch[1:]]
        self.members: dict[AgentPubKey, Member] = {}
        count = rng.choice((3, 4, 5, 7, 8, 9, 16, 24, 32)) if older is None else older
        colluding = (min(count, WITNESSES) - 1) // 2 if attack else 0
        for number in range(count):
            since_us = JOINED_US + rng.randrange(HOUR_US)
            self._join(f"member {number}", since_us, honest=number >= colluding)
        for member in self.members.values():
            member.known = {
                agent: other.standing
                for agent, other in self.members.items()
                if other.honest or not attack or rng.random() < 0.8
            }
        self.lines: list[Line] = []
        self.certificates: list[Certificate] = []
        self._found()

    def _signer(self, name: str) -> Signer:
        data = f"{self.seed} {name}".encode()
        return Signer(blake2b(data, digest_size=SEED_BYTES).digest())

    def _join(self, name: str, since_us: int, honest: bool) -> Member:
        """A newcomer; one who colludes has ground its key to lie beside the author's."""
        signers = [self._signer(name)]
        if not honest:
            signers += [self._signer(f"{name} {number}") for number in range(GRIND_KEYS)]
        key = key_of(self.author.agent)
        signer = min(signers, key=lambda each: key_of(each.agent) ^ key)
        standing = open_standing(genesis(signer, since_us)[1].wire(), DNA)
        member = Member(signer, standing, honest)
        self.members[signer.agent] = member
        return member

    # -- what the adversary does --------------------------------------------------------------

    def run(self, moves: int = MOVES) -> "Trial":
        """So many moves by lot."""
        choices: list[tuple[Callable[[], None], int]] = [
            (self._collect, 8),
            (self._vote, 6),
            (self._retire, 6),
            (self._hand_over, 6),
            (self._found, 2),
            (self._relief, 6),
            (self._newcomer, 2),
            (self._wave, 1),
            (self._wait, 1),
            (self._break_disk, 3),
        ]
        kinds, weights = zip(*choices, strict=True)
        for _ in range(moves):
            self.rng.choices(kinds, weights)[0]()
        return self

    def _some(self, view: View) -> list[tuple[int, Member]]:
        """Whom of a view a message reaches."""
        chance = self.rng.choice((0.4, 0.7, 0.9, 1.0))
        return [
            (index, self.members[agent])
            for index, agent in enumerate(view.members)
            if self.rng.random() < chance
        ]

    def _line(self) -> Line:
        """Mostly the newest lineage, else any."""
        return self.lines[-1] if self.rng.random() < 0.6 else self.rng.choice(self.lines)

    def _add(self, lineage: Lineage) -> None:
        if any(line.lineage == lineage for line in self.lines):
            return
        try:
            views = views_of(DNA, lineage, admits)
        except Malformed:
            return
        self.lines = [*self.lines[-LINES_KEPT_MAX + 1 :], Line(lineage, views[-1])]

    def _found(self) -> None:
        """View 0 as some member sees it."""
        seer = self.rng.choice(list(self.members.values()))
        founders = founders_of(self.standing, seer.known.values())
        wires = tuple(self.members[agent].standing.wire for agent in founders)
        self._add(Lineage(self.standing.wire, wires))
        if not self.lines:
            self._add(Lineage(self.standing.wire, self._all_founders()))

    def _all_founders(self) -> tuple[WireRecord, ...]:
        known = [member.standing for member in self.members.values()]
        return tuple(
            self.members[agent].standing.wire for agent in founders_of(self.standing, known)
        )

    def _newcomer(self) -> None:
        """An honest member that came after the author, or one who colludes and says otherwise."""
        name = f"newcomer {len(self.members)}"
        newcomer = self._join(name, self.now_us, honest=True)
        newcomer.known = {agent: each.standing for agent, each in self.members.items()}
        for member in self.members.values():
            if self.rng.random() < 0.8:
                member.known[newcomer.signer.agent] = newcomer.standing

    def _wave(self) -> None:
        """So many join at once that they could be all the witnesses."""
        for _ in range(2 * WITNESSES):
            self._newcomer()

    def _wait(self) -> None:
        self.now_us += self.rng.choice((SPREAD_US, HOUR_US, FOUNDING_US))

    def _break_disk(self) -> None:
        """A witness forgets all it has bound itself to; it notices, and goes on from there."""
        member = self.members[self.rng.choice(self._line().view.members)]
        member.duty, member.lost_us = None, self.now_us

    def _ask(self, member: Member, line: Line) -> Ask:
        views = views_of(DNA, line.lineage, admits)
        for wire in line.lineage.founders:
            standing = open_standing(wire, DNA)
            member.known.setdefault(standing.agent, standing)
        likely = plausible(DNA, line.lineage, member.known.values())
        agent = member.signer.agent
        return Ask(DNA, agent, line.lineage, views, likely, self.now_us, member.lost_us)

    def _bound(self, member: Member, verdict: Verdict) -> bytes | None:
        if not isinstance(verdict, Signs):
            return None
        member.duty = verdict.duty
        return member.signer.sign(verdict.message)

    def _collect(self) -> None:
        """Have an action witnessed by whom it reaches."""
        line = self._line()
        number = self.rng.randrange(len(self.targets))
        record, branch = self.targets[number]
        marks = line.marks.setdefault(number, {})
        for index, member in self._some(line.view):
            signature = self._signature(member, line, record, branch)
            if signature is not None:
                marks[index] = Mark(index, signature)
        if len(marks) >= quorum(len(line.view.members)):
            ordered = tuple(marks[index] for index in sorted(marks))
            self.certificates.append(
                Certificate(record.action.action_seq, record.hash, line.lineage, ordered)
            )

    def _signature(
        self, member: Member, line: Line, record: Record, branch: list[Record]
    ) -> bytes | None:
        seq = record.action.action_seq
        if not member.honest:
            return member.signer.sign(witness_message(DNA, line.view, seq, record.hash))
        ask = self._ask(member, line)
        verdict: Verdict = Declines(BEHIND)
        for shown in ((), branch[1:seq]):
            links = [each.action_bytes for each in shown]
            target = open_target(record.wire(), links, DNA, self.author.agent)
            verdict = witness(member.duty, ask, target)
            if verdict != Declines(BEHIND):
                break
        return self._bound(member, verdict)

    def _heirs(self, member: Member, view: View) -> tuple[AgentPubKey, ...]:
        """Whom a member would name, by whom it can reach."""
        near = sorted(
            (each for each in member.known.values() if each.agent != self.author.agent),
            key=lambda each: (each.place ^ self.standing.place, each.agent),
        )
        chance = self.rng.choice((0.2, 0.5, 0.9, 1.0))
        live = [each for each in near if self.rng.random() < chance][:WITNESSES]
        rest = [each for each in near if each not in live]
        filled = live + rest[: max(0, len(view.members) - len(live))]
        return closest(self.standing.place, filled)

    def _vote(self) -> None:
        """Hold a ballot, or a part of one, on some member's heirs or those once carried."""
        self._ballot(self._line(), self.rng.randrange(1, 6))

    def _relief(self) -> None:
        """A whole handover, as far as it gets."""
        line = self._line()
        carried = len(line.prepared)
        self._ballot(line, self.rng.randrange(1, 6), agreed=True)
        if len(line.prepared) > carried:
            self._give(line, line.prepared[-1])
            self._join_up(line)

    def _ballot(self, line: Line, ballot: int, agreed: bool = False) -> None:
        rng = self.rng
        member = rng.choice([self.members[agent] for agent in line.view.members])
        heirs = self._heirs(member, line.view)
        shown = None
        if line.prepared and rng.random() < 0.5:
            shown = rng.choice(line.prepared)
            heirs = tuple(AgentPubKey(agent) for agent in shown.heirs)
        votes = line.votes.setdefault((ballot, heirs), {})
        message = vote_message(DNA, line.view, ballot, heirs)
        for index, voter in self._some(line.view):
            signature: bytes | None
            if not voter.honest:
                signature = voter.signer.sign(message)
            else:
                ours = heirs if agreed or rng.random() < 0.8 else self._heirs(voter, line.view)
                ask = self._ask(voter, line)
                verdict = vote(voter.duty, ask, ballot, heirs, shown, ours)
                signature = self._bound(voter, verdict)
            if signature is not None:
                votes[index] = Mark(index, signature)
        if len(votes) >= quorum(len(line.view.members)):
            ordered = tuple(votes[index] for index in sorted(votes))
            line.prepared.append(Prepared(ballot, heirs, ordered))

    def _retire(self) -> None:
        """Have some retire for what a ballot has carried; who colludes names any action."""
        line = self._line()
        if line.prepared:
            self._give(line, self.rng.choice(line.prepared))

    def _give(self, line: Line, prepared: Prepared) -> None:
        heirs = tuple(AgentPubKey(agent) for agent in prepared.heirs)
        given = line.retired.setdefault((prepared.ballot, heirs), {})
        for index, member in self._some(line.view):
            if member.honest:
                verdict = retire(member.duty, self._ask(member, line), prepared)
                signature = self._bound(member, verdict)
                if signature is not None and isinstance(verdict, Signs):
                    agent = member.signer.agent
                    given[index] = retirement_of(verdict.duty, line.view, agent, signature)
                continue
            record, _ = self.rng.choice(self.targets)
            seq = record.action.action_seq
            at_us = self.now_us + self.rng.choice((-DAY_US, 0, DAY_US))
            message = retirement_message(
                DNA, line.view, prepared.ballot, heirs, seq, record.hash, at_us
            )
            wire, signature = record.wire(), member.signer.sign(message)
            given[index] = Retirement(index, seq, record.hash, at_us, wire, signature)

    def _hand_over(self) -> None:
        """Put a handover together of some retirements of one ballot."""
        self._join_up(self._line())

    def _join_up(self, line: Line) -> None:
        for (ballot, heirs), given in line.retired.items():
            needed = quorum(len(line.view.members))
            if len(given) >= needed:
                chosen = sorted(self.rng.sample(sorted(given), needed))
                step = Handover(ballot, heirs, tuple(given[index] for index in chosen))
                try:
                    next_view(DNA, line.view, step)
                except Malformed:
                    continue
                self._add(extend(line.lineage, step))
                return

    # -- what came of it ----------------------------------------------------------------------

    def final(self) -> list[Certificate]:
        """The certificates that some honest member accepts, by what it knows."""
        judges = [member for member in self.members.values() if member.honest]
        return [each for each in self.certificates if any(self._stands(each, j) for j in judges)]

    def _stands(self, certificate: Certificate, judge: Member) -> bool:
        try:
            check_certificate(DNA, certificate, judge.known.values(), admits)
        except Malformed:
            return False
        return True

    def double(self) -> bool:
        """Whether two of them stand on different branches."""
        found = {(each.seq, bytes(each.hash)) for each in self.final()}
        lines = [{(r.action.action_seq, bytes(r.hash)) for r in branch} for branch in self.branches]
        return bool(found) and not any(found <= line for line in lines)

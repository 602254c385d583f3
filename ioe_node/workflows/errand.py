"""An errand: one author's action, carried to all its witnesses at once, round after round.

Each witness is led up the chain from where it stands; what it refuses with teaches the errand
(other members, a later view, a later action), and the next round goes on from there.
"""

from dataclasses import dataclass, field
from functools import partial

import trio

from ioe_node.core.lineage import (
    check_certificate,
    check_prepared,
    plausible,
    quorum,
    views_of,
)
from ioe_node.core.witness import FORGOT, UNSURE
from ioe_node.errors import IoeError, Malformed, TransportError
from ioe_node.hdi import AgentPubKey
from ioe_node.model.finality import (
    LINKS_MAX,
    STANDING_SEQ,
    Certificate,
    Lineage,
    Mark,
    Prepared,
    Standing,
    View,
    open_sealed,
    open_standing,
    witness_message,
)
from ioe_node.model.hashes import CORE, to_text
from ioe_node.model.record import Record, WireRecord
from ioe_node.model.signing import verify
from ioe_node.net.messages import (
    Answer,
    Relieve,
    Unwitnessed,
    Witness,
    Witnessed,
)
from ioe_node.workflows.space import Space, log
from ioe_node.workflows.standing import (
    admits,
    own_founders,
    take_standings,
)
from ioe_node.workflows.witnessing import accuse, on_relieve, on_witness

WITNESS_TIMEOUT_S = 2.0
TURNS_PER_WITNESS_MAX = 64


@dataclass
class Errand:
    """One attempt after another to have one author's action witnessed."""

    space: Space
    author: Standing
    target: Record
    lineage: Lineage
    view: View
    reached_seq: int = STANDING_SEQ
    marks: dict[int, Mark] = field(default_factory=dict)
    silent: list[AgentPubKey] = field(default_factory=list)
    whys: list[str] = field(default_factory=list)
    passed: list[Record] = field(default_factory=list)
    locks: list[Prepared] = field(default_factory=list)
    ballot: int = 0
    news: bool = False

    @property
    def needed(self) -> int:
        """How many must sign."""
        return quorum(len(self.view.members))

    def begin(self) -> None:
        """Forget what the last attempt met."""
        self.marks, self.silent, self.whys, self.passed = {}, [], [], []
        self.news = False

    def follow(self, lineage: Lineage) -> None:
        """Take a lineage that reaches further than ours, or other founders than we thought."""
        space = self.space
        views = views_of(space.dna, lineage, partial(admits, space))
        if views[0].author != self.author.agent:
            raise Malformed("a lineage of another author")
        later = views[-1].number > self.view.number
        if later and plausible(space.dna, lineage, space.seats.values()):
            self.lineage, self.view, self.news = lineage, views[-1], True
            self.locks, self.ballot = [], 0

    async def heed(self, answer: Unwitnessed) -> None:
        """Learn from a refusal; raises `Malformed` for what does not stand."""
        self.whys.append(answer.why)
        if await take_standings(self.space, answer.standings):
            self.news = True
        if answer.lineage is not None:
            self.follow(answer.lineage)
        self.ballot = max(self.ballot, answer.ballot)
        if answer.lock is not None:
            try:
                check_prepared(self.space.dna, self.view, answer.lock)
            except Malformed:
                return  # of another view than ours
            self.locks.append(answer.lock)


def standing_wire(space: Space, author: AgentPubKey) -> WireRecord | None:
    """An author's standing, as we know it."""
    known = space.standings.get(author)
    return None if known is None else known.wire


def errand_for(space: Space, target: Record) -> Errand:
    """Begin where the newest certificate, our own duty, or else the founders are."""
    author = target.action.author
    wire = standing_wire(space, author)
    if wire is None:
        raise TransportError("its author's standing is not here yet; try again")
    newest, duty = space.witness_rows.newest(author), space.witness_rows.duty(author)
    lineages = [each.lineage for each in (newest, duty) if each is not None]
    standing = open_standing(wire, space.dna)
    founded = Lineage(wire, own_founders(space, standing))
    lineage = max(lineages, key=lambda each: len(each.steps), default=founded)
    if not lineage.steps and not newest:
        lineage = founded
    views = views_of(space.dna, lineage, partial(admits, space))
    reached = newest.seq if newest is not None else STANDING_SEQ
    return Errand(space, standing, target, lineage, views[-1], reached)


async def ask_witness(
    space: Space, agent: AgentPubKey, request: Witness | Relieve, timeout_s: float
) -> Answer:
    """One request to one witness, who may be ourselves."""
    if agent != space.agent:
        return await space.ask(agent, request, timeout_s)
    if isinstance(request, Witness):
        return await on_witness(space, request)
    return await on_relieve(space, request)


async def accuse_author(errand: Errand, held: Record, other: Record) -> None:
    first = errand.space.store.alone(held).wire()
    bare = WireRecord(first.action, first.proof, None)
    await accuse(errand.space, errand.author.agent, bare, other.wire())


async def collect(errand: Errand) -> Certificate | None:
    """Ask every witness of the view at once, until a quorum has signed."""
    errand.begin()
    async with trio.open_nursery() as nursery:
        for index, agent in enumerate(errand.view.members):
            nursery.start_soon(_ask_one, errand, index, agent, nursery.cancel_scope)
    if len(errand.marks) < errand.needed:
        return None
    space, target = errand.space, errand.target
    marks = tuple(errand.marks[index] for index in sorted(errand.marks))
    certificate = Certificate(target.action.action_seq, target.hash, errand.lineage, marks)
    known = space.seats.values()
    check_certificate(space.dna, certificate, known, partial(admits, space))
    await space.run(space.witness_rows.save, errand.author.agent, certificate)
    errand.reached_seq = target.action.action_seq
    space.signal({"kind": "final", "author": errand.author.agent, "hash": target.hash})
    return certificate


async def _ask_one(errand: Errand, index: int, agent: AgentPubKey, scope: trio.CancelScope) -> None:
    lineage, view = errand.lineage, errand.view
    try:
        mark = await _lead(errand, lineage, view, index, agent)
    except TransportError:
        errand.silent.append(agent)
    except IoeError as error:
        log.info("witness %s: %s", to_text(agent)[:12], error)
        if isinstance(error, Malformed):
            errand.space.charge(agent, str(error))
    else:
        if mark is not None:
            errand.marks[index] = mark
        if len(errand.marks) >= errand.needed:
            scope.cancel()


async def _lead(
    errand: Errand, lineage: Lineage, view: View, index: int, agent: AgentPubKey
) -> Mark | None:
    """Lead one witness up the chain from where it stands to the target; its mark, or None."""
    space, author = errand.space, errand.author.agent
    target, from_seq = errand.target, errand.reached_seq
    for _ in range(TURNS_PER_WITNESS_MAX):
        step = _step(space, author, from_seq, target)
        links = space.store.chain(author, from_seq, newest_seq=step.action.action_seq - 1)
        shown = tuple(link.action_bytes for link in links)
        request = Witness(sealed(space, step), shown, lineage)
        answer = await ask_witness(space, agent, request, WITNESS_TIMEOUT_S)
        if isinstance(answer, Witnessed):
            message = witness_message(space.dna, view, step.action.action_seq, step.hash)
            if not verify(agent[CORE], message, answer.signature):
                raise Malformed("a witness' signature that does not fit")
            if step is target:
                return Mark(index, answer.signature)
            from_seq = step.action.action_seq
            continue
        if not isinstance(answer, Unwitnessed):
            raise Malformed("a witness' answer that is none")
        await errand.heed(answer)
        if answer.why in (FORGOT, UNSURE):
            errand.silent.append(agent)
            return None
        highest = await _compare(errand, answer)
        bounds = _bounds(errand, lineage, highest)
        if answer.why != "behind" or bounds >= from_seq:
            return None
        from_seq = bounds
    return None


def _bounds(errand: Errand, lineage: Lineage, highest: int | None) -> int:
    """The lowest sequence that a witness who is behind must be shown."""
    elders = [each.seq for each in lineage.steps[-1].retirements] if lineage.steps else []
    return min([STANDING_SEQ if highest is None and not elders else highest or 2**32, *elders])


async def _compare(errand: Errand, answer: Unwitnessed) -> int | None:
    """The sequence of a witness' highest action; notes one past ours, accuses for a fork."""
    if answer.record is None:
        return None
    shown = open_sealed(answer.record, errand.space.dna, errand.author.agent)
    seq = shown.action.action_seq
    if seq > errand.target.action.action_seq:
        errand.passed.append(shown)
        return seq
    held = errand.space.store.record_at(errand.author.agent, seq)
    if held is not None and held.hash != shown.hash:
        await accuse_author(errand, held, shown)
    return seq


def _step(space: Space, author: AgentPubKey, from_seq: int, target: Record) -> Record:
    """The target, or as far towards it as one message can lead."""
    if target.action.action_seq - from_seq <= LINKS_MAX:
        return target
    step = space.store.record_at(author, from_seq + LINKS_MAX)
    return target if step is None else step


def sealed(space: Space, record: Record) -> WireRecord:
    alone = space.store.alone(record)
    return WireRecord(alone.action_bytes, alone.proof, None)

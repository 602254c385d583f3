"""What a witness may sign; and an adversary who tries everything against the rules."""

from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ioe_node.core import lineage as lineage_module
from ioe_node.core import witness as witness_module
from ioe_node.core.lineage import (
    CLOCK_SKEW_US_MAX,
    FOUNDING_US,
    check_certificate,
    check_links,
    extend,
    founders_of,
    next_view,
    open_target,
    outlived,
    plausible,
    quorum,
    views_of,
)
from ioe_node.core.witness import (
    BEHIND,
    CONFLICT,
    FORGOT,
    LATE,
    NOT_OURS,
    OLD,
    OUTVOTED,
    PASSED,
    RETIRED,
    UNLIKE,
    Ask,
    Declines,
    Duty,
    Forked,
    Signs,
    duties,
    retire,
    retirement_of,
    vote,
    witness,
)
from ioe_node.errors import Malformed
from ioe_node.hdi import AgentPubKey
from ioe_node.model.codec import encode
from ioe_node.model.finality import Certificate, Handover, Lineage, Mark, Prepared, witness_message
from ioe_node.model.record import Record
from sim import witness_trials
from sim.witness_trials import DNA, Member, Trial, admits

MOVES = 60


@pytest.mark.parametrize(
    ("count", "needed"), [(1, 1), (2, 2), (3, 3), (4, 3), (5, 4), (6, 5), (7, 6), (8, 6)]
)
def test_two_quorums_share_an_honest_witness(count: int, needed: int) -> None:
    assert quorum(count) == needed
    colluding = (count - 1) // 2
    for one in combinations(range(count), needed):
        for other in combinations(range(count), needed):
            assert len(set(one) & set(other)) > colluding


class Bench:
    """An author with two branches, its witnesses, and their duties; nobody colludes."""

    def __init__(self, seed: int = 1, older: int = 24) -> None:
        self.trial = Trial(seed, older=older)
        for member in self.trial.members.values():
            member.honest = True
            member.known = {a: m.standing for a, m in self.trial.members.items()}
        wires = self.trial._all_founders()
        self.lineage = Lineage(self.trial.standing.wire, wires)
        self.now_us = self.trial.now_us
        self.left, self.right = self.trial.branches

    def members(self, lineage: Lineage | None = None) -> list[Member]:
        view = views_of(DNA, lineage or self.lineage, admits)[-1]
        return [self.trial.members[agent] for agent in view.members]

    def ask(self, member: Member, lineage: Lineage | None = None) -> Ask:
        chosen = lineage or self.lineage
        likely = plausible(DNA, chosen, member.known.values())
        views = views_of(DNA, chosen, admits)
        agent = member.signer.agent
        return Ask(DNA, agent, chosen, views, likely, self.now_us, member.lost_us)

    def sign(
        self, member: Member, record: Record, branch: list[Record], lineage: Lineage | None = None
    ) -> object:
        """A mark's signature, or why there is none."""
        links = [each.action_bytes for each in branch[1 : record.action.action_seq]]
        target = open_target(record.wire(), links, DNA, self.trial.author.agent)
        verdict = witness(member.duty, self.ask(member, lineage), target)
        if not isinstance(verdict, Signs):
            return verdict
        member.duty = duties.decode(encode(verdict.duty))
        return member.signer.sign(verdict.message)

    def certify(self, branch: list[Record], lineage: Lineage | None = None) -> Certificate:
        record, chosen = branch[-1], lineage or self.lineage
        marks = []
        for index, member in enumerate(self.members(chosen)):
            signature = self.sign(member, record, branch, chosen)
            if isinstance(signature, bytes):
                marks.append(Mark(index, signature))
        seq = record.action.action_seq
        return Certificate(seq, record.hash, chosen, tuple(marks))

    def check(self, certificate: Certificate) -> None:
        known = [member.standing for member in self.trial.members.values()]
        check_certificate(DNA, certificate, known, admits)

    def others(self) -> tuple[AgentPubKey, ...]:
        """Eight members that are no founders."""
        founders = [member.signer.agent for member in self.members()]
        free = [each for each in self.trial.members if each not in founders]
        return tuple(sorted(free)[:8])

    def carry(self, heirs: tuple[AgentPubKey, ...], ballot: int = 1) -> Prepared:
        votes = []
        for index, member in enumerate(self.members()):
            verdict = vote(member.duty, self.ask(member), ballot, heirs, None, heirs)
            assert isinstance(verdict, Signs), verdict
            member.duty = verdict.duty
            votes.append(Mark(index, member.signer.sign(verdict.message)))
        return Prepared(ballot, heirs, tuple(votes))

    def hand_over(self, heirs: tuple[AgentPubKey, ...]) -> Lineage:
        prepared = self.carry(heirs)
        view = views_of(DNA, self.lineage, admits)[-1]
        given = []
        for member in self.members()[:6]:
            verdict = retire(member.duty, self.ask(member), prepared)
            assert isinstance(verdict, Signs), verdict
            member.duty = verdict.duty
            signature = member.signer.sign(verdict.message)
            given.append(retirement_of(verdict.duty, view, member.signer.agent, signature))
        return extend(self.lineage, Handover(1, heirs, tuple(given)))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_quorum_certifies_and_less_does_not(bench: Bench) -> None:
    certificate = bench.certify(bench.left)
    assert len(certificate.marks) == 8
    bench.check(certificate)
    six = replace_marks(certificate, certificate.marks[:6])
    bench.check(six)
    with pytest.raises(Malformed, match="fewer"):
        bench.check(replace_marks(certificate, certificate.marks[:5]))
    with pytest.raises(Malformed, match="fewer"):
        bench.check(replace_marks(certificate, (*certificate.marks[:5], certificate.marks[0])))
    with pytest.raises(Malformed, match="does not fit"):
        bench.check(Certificate(99, certificate.hash, certificate.lineage, certificate.marks))


def replace_marks(certificate: Certificate, marks: tuple[Mark, ...]) -> Certificate:
    return Certificate(certificate.seq, certificate.hash, certificate.lineage, marks)


def test_founders_left_out_are_noticed(bench: Bench) -> None:
    known = [member.standing for member in bench.trial.members.values()]
    wires = bench.lineage.founders[1:]
    assert not plausible(DNA, Lineage(bench.lineage.standing, wires), known)
    assert plausible(DNA, bench.lineage, known[:3])


def test_who_comes_later_never_founds(bench: Bench) -> None:
    """A network that has grown would else have another view 0, and knows nothing of the first."""
    standing = bench.trial.standing
    before = founders_of(standing, [m.standing for m in bench.trial.members.values()])
    for _ in range(10):
        bench.trial._wave()
    assert before == founders_of(standing, [m.standing for m in bench.trial.members.values()])
    late = bench.trial.members[list(bench.trial.members)[-1]].standing
    forged = Lineage(bench.lineage.standing, (late.wire,))
    with pytest.raises(Malformed, match="after its author"):
        views_of(DNA, forged, admits)


def test_view_0_is_taken_up_early_or_never(bench: Bench) -> None:
    member = bench.members()[0]
    bench.now_us += FOUNDING_US + 1
    assert bench.sign(member, bench.left[1], bench.left) == Declines(LATE)
    bench.now_us -= FOUNDING_US
    assert isinstance(bench.sign(member, bench.left[1], bench.left), bytes)
    bench.now_us += FOUNDING_US
    assert isinstance(bench.sign(member, bench.left[-1], bench.left), bytes)


def test_one_line_is_signed_and_shown(bench: Bench) -> None:
    member = bench.members()[0]
    left, right = bench.left[-1], bench.right[-1]
    alone = open_target(left.wire(), (), DNA, bench.trial.author.agent)
    if left.action.action_seq > 2:
        assert witness(None, bench.ask(member), alone) == Declines(BEHIND)
    assert isinstance(bench.sign(member, left, bench.left), bytes)
    assert isinstance(bench.sign(member, left, bench.left), bytes)
    refused = bench.sign(member, right, bench.right)
    assert isinstance(refused, Declines | Forked)
    assert bench.sign(member, bench.left[1], bench.left) == Declines(PASSED)


def test_the_other_branch_is_refused_at_whatever_place() -> None:
    """Payments at different places of two branches: neither hash is ever asked for twice."""
    for seed in range(40):
        bench = Bench(seed)
        member = bench.members()[0]
        shorter, longer = sorted(bench.trial.branches, key=len)
        if len(shorter) == len(longer):
            continue
        assert isinstance(bench.sign(member, shorter[-1], shorter), bytes)
        assert bench.sign(member, longer[-1], longer) == Declines(CONFLICT)
        return
    pytest.fail("no seed gives branches of two lengths")


def test_a_fork_at_one_place_is_proved() -> None:
    for seed in range(40):
        bench = Bench(seed)
        if len(bench.left) == len(bench.right):
            member = bench.members()[0]
            bench.sign(member, bench.left[-1], bench.left)
            refused = bench.sign(member, bench.right[-1], bench.right)
            assert isinstance(refused, Forked)
            assert refused.first.action == bench.left[-1].action_bytes
            return
    pytest.fail("no seed gives branches of one length")


def test_heirs_take_up_what_was_signed(bench: Bench) -> None:
    first = bench.certify(bench.left)
    bench.check(first)
    later = bench.hand_over(bench.others())
    heir = bench.members(later)[0]
    assert bench.sign(heir, bench.right[-1], bench.right, later) == Declines(CONFLICT) or (
        len(bench.right) < len(bench.left)
    )
    certificate = bench.certify(bench.left, later)
    assert len(certificate.marks) == 8
    bench.check(certificate)
    old = bench.members()[0]
    assert bench.sign(old, bench.left[-1], bench.left) == Declines(RETIRED)
    assert bench.sign(heir, bench.left[-1], bench.left) == Declines(NOT_OURS)


def test_an_heir_need_not_be_shown_what_its_elders_have_seen(bench: Bench) -> None:
    """A chain grows for years; nobody could lead a newcomer up all of it."""
    bench.certify(bench.left)
    later = bench.hand_over(bench.others())
    heir = bench.members(later)[0]
    alone = open_target(bench.left[-1].wire(), (), DNA, bench.trial.author.agent)
    assert isinstance(witness(heir.duty, bench.ask(heir, later), alone), Signs)


def test_no_new_finality_by_the_old_once_they_have_retired(bench: Bench) -> None:
    """Left under the old and right under the new: the one who retires signs no more."""
    shared = bench.left[:2]
    bench.certify(shared)
    later = bench.hand_over(bench.others())
    with pytest.raises(Malformed, match="fewer"):
        bench.check(bench.certify(bench.left))
    bench.check(bench.certify(bench.right, later))


def test_what_the_retired_go_on_to_sign_is_known_by_who_follows_them(bench: Bench) -> None:
    early = bench.certify(bench.left[:2])
    forged = replace_seq(early, len(bench.left))
    assert not outlived(forged, bench.lineage)
    later = bench.hand_over(bench.others())
    assert outlived(forged, later)
    assert not outlived(early, later), "that was before"
    assert not outlived(bench.certify(bench.right, later), later)


def replace_seq(certificate: Certificate, seq: int) -> Certificate:
    return Certificate(seq, certificate.hash, certificate.lineage, certificate.marks)


def test_links_lead_from_what_is_certified_to_what_rests_below(bench: Bench) -> None:
    branch, other = bench.left, bench.right
    author = bench.trial.author.agent
    top = bench.certify(branch)
    links = tuple(each.action_bytes for each in branch[2:])
    check_links(top, (), branch[-1].hash, author)
    check_links(top, links, branch[1].hash, author)
    stranger = bench.others()[0]
    for wrong, below, by in (
        (links, branch[0].hash, author),
        (links[1:], branch[1].hash, author),
        ((), branch[1].hash, author),
        (links[:-1], branch[1].hash, author),
        ((*links, links[-1]), branch[1].hash, author),
        (tuple(each.action_bytes for each in other[2:]), branch[1].hash, author),
        (links, branch[1].hash, stranger),
        ((b"no action", *links[1:]), branch[1].hash, author),
    ):
        with pytest.raises(Malformed):
            check_links(top, wrong, below, by)
    with pytest.raises(Malformed):
        check_links(replace_seq(top, top.seq + 1), links, branch[1].hash, author)


def test_a_split_vote_is_held_again_and_the_retired_stay_true(bench: Bench) -> None:
    bench.certify(bench.left[:2])
    heirs = bench.others()
    other = tuple(sorted((*heirs[1:], bench.members()[0].signer.agent)))
    one, two = bench.members()[:2]
    for member, named in ((one, heirs), (two, other)):
        verdict = vote(member.duty, bench.ask(member), 1, named, None, named)
        assert isinstance(verdict, Signs)
        member.duty = verdict.duty
    assert vote(one.duty, bench.ask(one), 1, other, None, other) == Declines(OUTVOTED)
    assert vote(two.duty, bench.ask(two), 2, heirs, None, other) == Declines(UNLIKE)
    prepared = bench.carry(heirs, 2)
    verdict = retire(one.duty, bench.ask(one), prepared)
    assert isinstance(verdict, Signs)
    one.duty = verdict.duty
    assert vote(one.duty, bench.ask(one), 3, other, None, other) == Declines(RETIRED)
    assert isinstance(vote(one.duty, bench.ask(one), 3, heirs, prepared, other), Signs)
    assert isinstance(vote(two.duty, bench.ask(two), 3, heirs, prepared, other), Signs)
    forged = Prepared(9, other, prepared.votes)
    with pytest.raises(Malformed):
        vote(one.duty, bench.ask(one), 9, other, forged, other)


def test_views_never_shrink(bench: Bench) -> None:
    bench.certify(bench.left[:2])
    view = views_of(DNA, bench.lineage, admits)[-1]
    step = bench.hand_over(bench.others()[:7]).steps[-1]
    with pytest.raises(Malformed, match="fewer heirs"):
        next_view(DNA, view, step)


def test_an_older_view_is_not_signed_under_again(bench: Bench) -> None:
    bench.certify(bench.left[:2])
    stays = bench.members()[0]
    heirs = tuple(sorted((*bench.others()[:7], stays.signer.agent)))
    later = bench.hand_over(heirs)
    assert isinstance(bench.sign(stays, bench.left[-1], bench.left, later), bytes)
    assert bench.sign(stays, bench.left[-1], bench.left) == Declines(OLD)


def test_a_word_without_its_seal_binds_no_heir(bench: Bench) -> None:
    """Who colludes could else name an action that never was, and no heir would ever sign."""
    bench.certify(bench.left[:2])
    later = bench.hand_over(bench.others())
    bare = extend(later, later.steps[-1]).steps[0]
    assert all(each.record is None for each in bare.retirements)
    stripped = Lineage(later.standing, later.founders, (bare,))
    heir = bench.members(later)[0]
    assert bench.sign(heir, bench.left[-1], bench.left, stripped) == Declines(UNLIKE)


def test_who_lost_its_memory_sits_out_what_it_may_have_signed(bench: Bench) -> None:
    bench.certify(bench.left[:2])
    member = bench.members()[0]
    member.duty, member.lost_us = None, bench.now_us
    for branch in (bench.left, bench.right):
        assert bench.sign(member, branch[-1], branch) == Declines(FORGOT)
    heirs = bench.others()
    assert vote(None, bench.ask(member), 1, heirs, None, heirs) == Declines(NOT_OURS)
    member.lost_us = bench.trial.standing.since_us - CLOCK_SKEW_US_MAX
    assert bench.sign(member, bench.left[-1], bench.left) == Declines(FORGOT)
    member.lost_us -= 1
    assert isinstance(bench.sign(member, bench.left[-1], bench.left), bytes)


@pytest.mark.parametrize("lost_first", [True, False])
def test_it_serves_in_a_view_that_came_after_the_loss(bench: Bench, lost_first: bool) -> None:
    bench.certify(bench.left)
    heir = bench.trial.members[bench.others()[0]]
    lost_us = bench.now_us
    if lost_first:
        bench.now_us += CLOCK_SKEW_US_MAX + 1
    later = bench.hand_over(bench.others())
    heir.lost_us = lost_us
    signed = bench.sign(heir, bench.left[-1], bench.left, later)
    assert isinstance(signed, bytes) if lost_first else signed == Declines(FORGOT)


def test_one_retires_at_one_time_alone(bench: Bench) -> None:
    """An heir that forgot would else take an old handover, put together anew, for a new one."""
    bench.certify(bench.left[:2])
    prepared = bench.carry(bench.others())
    member = bench.members()[0]
    view = views_of(DNA, bench.lineage, admits)[-1]
    times = set()
    for _ in range(2):
        verdict = retire(member.duty, bench.ask(member), prepared)
        assert isinstance(verdict, Signs)
        member.duty = duties.decode(encode(verdict.duty))
        times.add(retirement_of(verdict.duty, view, member.signer.agent, bytes(64)).at_us)
        bench.now_us += FOUNDING_US
    assert times == {bench.now_us - 2 * FOUNDING_US}


def test_a_view_of_the_future_is_not_taken_up(bench: Bench) -> None:
    bench.certify(bench.left)
    bench.now_us += CLOCK_SKEW_US_MAX + 1
    later = bench.hand_over(bench.others())
    heir = bench.members(later)[0]
    bench.now_us -= CLOCK_SKEW_US_MAX + 1
    assert bench.sign(heir, bench.left[-1], bench.left, later) == Declines(UNLIKE)
    bench.now_us += 1
    assert isinstance(bench.sign(heir, bench.left[-1], bench.left, later), bytes)


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(20, MOVES))
def test_no_adversary_gets_two_branches_final(seed: int, moves: int) -> None:
    assert not Trial(seed).run(moves).double()


def planted(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Break one rule."""
    descends = witness_module._descends

    def places_only(duty: Duty | None, ask: Ask, target: object) -> object:
        if duty is None or duty.number != ask.view.number:
            return descends(duty, ask, target)  # type: ignore[arg-type]
        seq, hash_ = duty.signed[-1]
        at, what = target.seq, target.hash  # type: ignore[attr-defined]
        return Declines(PASSED) if at < seq or (at == seq and what != hash_) else None

    def no_elders(duty: Duty | None, ask: Ask, target: object) -> object:
        bare = Lineage(ask.lineage.standing, ask.lineage.founders)
        return descends(duty, replace(ask, lineage=bare), target)  # type: ignore[arg-type]

    if name == "majority":
        for module in (lineage_module, witness_trials):
            monkeypatch.setattr(module, "quorum", lambda count: count // 2 + 1)
    elif name == "no memory of a loss":
        monkeypatch.setattr(witness_module, "begun_after", lambda view_us, lost_us: True)
    else:
        broken = {"places only": places_only, "no elders": no_elders}[name]
        monkeypatch.setattr(witness_module, "_descends", broken)


@pytest.mark.parametrize(
    ("name", "seeds"),
    [
        ("majority", (71, 103)),
        ("places only", (5, 30)),
        ("no elders", (27, 61)),
        ("no memory of a loss", (11, 67)),
    ],
)
def test_the_adversary_finds_a_planted_bug(
    monkeypatch: pytest.MonkeyPatch, name: str, seeds: tuple[int, ...]
) -> None:
    assert not any(Trial(seed).run(100).double() for seed in seeds)
    planted(monkeypatch, name)
    assert any(Trial(seed).run(100).double() for seed in seeds)


def test_what_is_witnessed_is_signed_for_one_view_alone(bench: Bench) -> None:
    later = bench.hand_over(bench.others()) if bench.certify(bench.left[:2]) else bench.lineage
    old, new = views_of(DNA, later, admits)
    record = bench.left[-1]
    seq = record.action.action_seq
    assert witness_message(DNA, old, seq, record.hash) != witness_message(
        DNA, new, seq, record.hash
    )

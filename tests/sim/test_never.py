"""A counterparty that says never and signs all the same: it is convicted, the proposer is not."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
import trio

from ioe_node.errors import Busy, IoeError, PeerError
from ioe_node.hdi import AgentPubKey
from ioe_node.model.action import Void
from ioe_node.model.record import Record, WireRecord, open_record
from ioe_node.model.warrant import BrokenWord, ChainFork, decode_warrant, seal_warrant
from ioe_node.net.messages import Drafted, Never, Outcome, Publish, Sign, Signed, Warrants
from ioe_node.workflows.settle import Shared, half_of
from ioe_node.workflows.spread import warrants
from sim.checkers import faults
from sim.swarm import Home, Swarm

SPREADS_S = 120


def blocked_by(swarm: Swarm, agent: bytes) -> list[int]:
    return [home.number for home in swarm.homes if agent in home.cell.space.blocked]


def enrolment(device: Home, name: str) -> dict[str, Any]:
    return {"device": device.agent, "kind": "monitor", "name": name}


async def pay(payer: Home, payee: Home) -> None:
    while True:
        try:
            payment = {"payee": payee.agent, "amount_micro": 1_000_000}
            await payer.call("currency", "pay", payment)
            return
        except Busy:
            await trio.sleep(payer.cell.space.rng.uniform(0.1, 2.0))


@dataclass
class Liar:
    """A payee that never signs when it is asked, and keeps what it was sent."""

    home: Home
    asked: Sign | None = None
    meanwhile: Callable[[], Awaitable[None]] | None = None

    def __post_init__(self) -> None:
        self.home.cell._settlements.on_sign = self._on_sign  # type: ignore[method-assign]

    async def _on_sign(self, proposer: AgentPubKey, ask: Sign) -> Signed:
        self.asked = ask
        if self.meanwhile is not None:
            await self.meanwhile()
        raise Busy("this chain is being written; try again")

    def victims_half(self) -> Record:
        """The proposer's record, with the seal that the liar has said it would never give."""
        assert self.asked is not None
        space = self.home.cell.space
        shared = Shared(space, "currency", self.asked.entry)
        signatures = [self.asked.signature, self.asked.signature]
        signatures[shared.place] = space.sign(shared.message)
        return half_of(1 - shared.place, shared.actions, shared.entry, signatures)

    async def publish(self, to: list[Home]) -> None:
        """Tell others of it as if it had been settled."""
        for home in to:
            with suppress(IoeError):
                message = Publish((self.victims_half().wire(),))
                await self.home.cell.space.ask(home.agent, message)


async def refused(payer: Home, payee: Home) -> None:
    with pytest.raises(Busy):
        await payer.call("currency", "pay", {"payee": payee.agent, "amount_micro": 1_000_000})


@pytest.mark.parametrize("when", ["before the void", "after it", "later"])
def test_a_word_broken_convicts_who_gave_it(play: Callable[..., Any], when: str) -> None:
    async def story(swarm: Swarm) -> None:
        await swarm.settle()
        victim, other = swarm.homes[1:3]
        liar = Liar(swarm.homes[3])
        swarm.offenders.append(liar.home)
        judges = [home for home in swarm.homes if home not in (victim, liar.home)]
        if when == "before the void":
            liar.meanwhile = lambda: liar.publish(judges)
        await refused(victim, liar.home)
        void = victim.store.head(victim.agent)
        assert void is not None
        if when == "later":
            await victim.call("identity", "enrol", enrolment(other, "clock"))
            assert await swarm.settle()
        if when != "before the void":
            assert blocked_by(swarm, liar.home.agent) == []
            await liar.publish(judges)
        await trio.sleep(SPREADS_S)
        assert blocked_by(swarm, victim.agent) == []
        assert {home.number for home in (*judges, victim)} <= set(
            blocked_by(swarm, liar.home.agent)
        )
        signed = [data for _, data in victim.store.warrants()]
        assert isinstance(decode_warrant(warrants.decode(signed[0])), BrokenWord)
        await pay(victim, other)
        assert await swarm.settle(swarm.honest())
        for home in judges:
            assert home.store.head(victim.agent) == victim.store.head(victim.agent)
            record = home.store.record(void.hash)
            assert record is not None
            assert isinstance(record.action, Void)
            assert not home.store.has(liar.victims_half().hash)
            home.store.check_file()

    play(story, homes=6)


@pytest.mark.parametrize("sealed", [True, False], ids=["by both", "by one"])
def test_no_fork_can_be_made_of_a_promise_taken_back(
    play: Callable[..., Any], sealed: bool
) -> None:
    async def story(swarm: Swarm) -> None:
        await swarm.settle()
        victim, judge = swarm.homes[1:3]
        liar = Liar(swarm.homes[3])
        await refused(victim, liar.home)
        assert await swarm.settle()
        wire = liar.victims_half().wire()
        if not sealed:
            proof = wire.proof
            lone = type(proof)(proof.signature, proof.index, proof.size, proof.path)
            wire = WireRecord(wire.action, lone, None)
        stands = liar.home.store.record_at(victim.agent, open_record(wire).action.action_seq)
        assert stands is not None
        assert isinstance(stands.action, Void)
        now_us = swarm.clock.now_us()
        for pair in ((stands.wire(), wire), (wire, stands.wire())):
            claim = ChainFork(victim.agent, liar.home.agent, now_us, *pair)
            told = Warrants((seal_warrant(claim, liar.home.signer.sign),))
            with pytest.raises(PeerError, match="taken back"):
                await liar.home.cell.space.ask(judge.agent, told)
        with suppress(IoeError):
            await liar.home.cell.space.ask(judge.agent, Publish((wire,)))
        await trio.sleep(SPREADS_S)
        assert blocked_by(swarm, victim.agent) == []

    play(story, homes=4)


def test_an_accomplices_word_undoes_nothing_that_was_built_on_it(play: Callable[..., Any]) -> None:
    """A payer settles with its accomplice, pays others from there, and then shows a void."""

    async def story(swarm: Swarm) -> None:
        await swarm.settle()
        forker, payee, judge = swarm.homes[1:4]
        accomplice = Liar(swarm.homes[4])
        space = forker.cell.space
        taken: list[Record] = []

        async def keep(record: Record) -> None:
            taken.append(record)
            await space.run(space.store.release, record.action.action_seq)

        committing = forker.cell._settlements._commit
        forker.cell._settlements._commit = keep  # type: ignore[method-assign]
        await refused(forker, accomplice.home)
        forker.cell._settlements._commit = committing  # type: ignore[method-assign]
        assert isinstance(taken[0].action, Void)
        await committing(accomplice.victims_half())
        await pay(forker, payee)
        await trio.sleep(SPREADS_S)
        for home in (payee, judge):
            with suppress(IoeError):
                await accomplice.home.cell.space.ask(home.agent, Publish((taken[0].wire(),)))
        await trio.sleep(SPREADS_S)
        assert len(blocked_by(swarm, forker.agent)) >= len(swarm.homes) - 2
        assert judge.store.has(accomplice.victims_half().hash)

    play(story, homes=6)


@pytest.mark.parametrize("arrives", [True, False], ids=["after", "before"])
@pytest.mark.parametrize("fate", ["payer", "payee", "cut"])
def test_a_word_is_kept_over_a_crash(play: Callable[..., Any], fate: str, arrives: bool) -> None:
    """One side dies, or the wire is cut, just before or after the word arrives."""

    async def story(swarm: Swarm) -> None:
        await swarm.settle()
        payer, payee, other = swarm.homes[1:4]
        liar = Liar(payee)
        struck = trio.Event()

        def passes(message: Any) -> bool:
            if struck.is_set() or message.kind != "Never":
                return True
            struck.set()
            if fate == "cut":
                swarm.network.cut(payer.agent, payee.agent)
            return arrives

        async def strike() -> None:
            await struck.wait()
            victim = {"payer": payer, "payee": payee}.get(fate)
            if victim is not None:
                await swarm.kill(victim)
            await trio.sleep(40)
            swarm.network.heal()
            if victim is not None:
                await swarm.start(victim)

        swarm.network.passes = passes
        async with trio.open_nursery() as nursery:
            nursery.start_soon(strike)
            with suppress(IoeError):
                payment = {"payee": payee.agent, "amount_micro": 1_000_000}
                await payer.call("currency", "pay", payment)
        assert await swarm.settle()
        assert payer.store.promised() is None
        assert liar.asked is not None
        shared = Shared(payer.cell.space, "currency", liar.asked.entry)
        stands = payer.store.record_at(payer.agent, shared.ours.action_seq)
        assert stands is not None
        assert isinstance(stands.action, Void)
        assert payee.store.sworn_us() >= shared.theirs.timestamp_us
        await pay(payer, other)
        assert await swarm.settle()
        assert faults(swarm) == []

    play(story, homes=4)


def test_what_the_word_was_given_on_is_never_drafted_again(play: Callable[..., Any]) -> None:
    """Not even after a restart that finds the clock a second back, and the same places free."""

    async def story(swarm: Swarm) -> None:
        await swarm.settle()
        asker, honest = swarm.homes[1:3]
        drafted: list[bytes] = []
        ask = asker.cell.space.ask

        async def guess(peer: AgentPubKey, request: Any, *more: Any) -> Any:
            answer = await ask(peer, request, *more)
            if isinstance(answer, Drafted):
                drafted.append(answer.entry)
                raise Busy("not yet")
            return answer

        asker.cell.space.ask = guess  # type: ignore[assignment]
        await refused(asker, honest)
        word = await ask(honest.agent, Outcome("currency", drafted[0]))
        assert isinstance(word, Never)
        said = Shared(asker.cell.space, "currency", drafted[0]).theirs
        sign = Sign(drafted[0], asker.cell.space.sign(b"anything"))
        with pytest.raises(Busy, match="propose it again"):
            await ask(honest.agent, sign)
        await swarm.kill(honest)
        honest.clock.skew(-1_000_000)
        await swarm.start(honest)
        await honest.cell.space.head_confirmed.wait()
        await refused(asker, honest)
        again = Shared(asker.cell.space, "currency", drafted[1]).theirs
        assert (again.action_seq, again.prev_action) == (said.action_seq, said.prev_action)
        assert again.timestamp_us > said.timestamp_us

    play(story, homes=3)


@pytest.mark.parametrize("when", ["drafting", "promised", "in doubt", "taken back"])
def test_no_word_is_given_on_our_own_proposal(play: Callable[..., Any], when: str) -> None:
    """The proposer has sealed it first: with its word as well, it would be the one convicted."""

    async def story(swarm: Swarm) -> None:
        await swarm.settle()
        proposer, other = swarm.homes[1:3]
        settlements = other.cell._settlements
        on_propose = settlements.on_propose
        entries: list[bytes] = []
        answers: list[Any] = []

        async def ask_back() -> None:
            try:
                question = Outcome("currency", entries[0])
                answers.append(await other.cell.space.ask(proposer.agent, question))
            except IoeError as error:
                answers.append(error)

        async def draft(*arguments: Any) -> Drafted:
            answer = await on_propose(*arguments)
            entries.append(answer.entry)
            if when == "drafting":
                await ask_back()
            return answer

        async def on_sign(*_: Any) -> Signed:
            if when == "promised":
                await ask_back()
            raise Busy("not yet")

        settlements.on_propose = draft  # type: ignore[assignment]
        settlements.on_sign = on_sign  # type: ignore[assignment]
        if when == "in doubt":
            swarm.network.passes = lambda each: (
                (each.sender, each.kind) != (proposer.agent, "Outcome")
            )
        await refused(proposer, other)
        if when in ("in doubt", "taken back"):
            await ask_back()
        swarm.network.passes = None
        assert isinstance(answers[0], PeerError if when == "taken back" else Busy)
        assert await swarm.settle()

    play(story, homes=3)

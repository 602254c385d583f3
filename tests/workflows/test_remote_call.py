"""Remote calls: under a grant, bounded, and never holding a chain while a peer is waited for."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import trio

from dna.neighbourhood import DNA
from ioe_node.errors import CallError, Malformed, Refused, TransportError
from ioe_node.hdi import IntegrityZome
from ioe_node.hdk import ActionHash, AgentPubKey, CapGrant, CoordinatorZome, Host, Zome
from ioe_node.model.action import CAP_GRANT_ENTRY
from ioe_node.model.codec import pack
from ioe_node.net.messages import (
    CALL_BYTES_MAX,
    CALL_DEPTH_MAX,
    Call,
    Failed,
    Returned,
    answers,
    encode,
)
from ioe_node.net.transport import REQUEST_TIMEOUT_S
from sim.network import Message
from sim.swarm import Home, Swarm, open_swarm
from sim.virtual_clock import run_virtual

SECRET = bytes(range(64))

integrity = IntegrityZome("talk")


@integrity.entry_type
@dataclass(frozen=True)
class Word:
    """Something said."""

    text: str


coordinator = CoordinatorZome(integrity)


@coordinator.function
async def grant(
    host: Host, functions: list[str], assigned: AgentPubKey | None = None
) -> ActionHash:
    return await host.create(
        CapGrant(
            tag="talk",
            functions=tuple(functions),
            secret=None if assigned is None else SECRET,
            agents=() if assigned is None else (assigned,),
        )
    )


@coordinator.function
async def revoke(host: Host, grant: ActionHash) -> ActionHash:
    return await host.delete(grant)


@coordinator.function
async def say(host: Host, text: str) -> ActionHash:
    return await host.create(Word(text))


@coordinator.function
async def echo(host: Host, value: Any) -> Any:
    return value


@coordinator.function
async def large(host: Host, size: int) -> bytes:
    return bytes(size)


@coordinator.function
async def slow(host: Host, seconds: int) -> None:
    await trio.sleep(seconds)
    await host.create(Word("at last"))


@coordinator.function
async def ask(
    host: Host, agent: AgentPubKey, function: str, payload: dict[str, Any], secret: bytes | None
) -> Any:
    return await host.call_remote(agent, "talk", function, payload, secret)


@coordinator.function
async def say_and_ask(host: Host, agent: AgentPubKey) -> None:
    await host.create(Word("first"))
    await host.call_remote(agent, "talk", "echo", {"value": 1})


@coordinator.function
async def say_through(host: Host, agent: AgentPubKey, back: AgentPubKey | None) -> ActionHash:
    """Have `agent` have us (`back`) say something, then say something ourselves."""
    if back is not None:
        there = {"agent": back, "back": None}
        await host.call_remote(agent, "talk", "say_through", there)
    else:
        await host.call_remote(agent, "talk", "say", {"text": "back"})
    return await host.create(Word("through"))


@coordinator.function
async def ping_pong(host: Host, agent: AgentPubKey) -> Any:
    """For ever, if nothing ended it."""
    us = host.agent_info().agent
    return await host.call_remote(agent, "talk", "ping_pong", {"agent": us})


TALK = replace(DNA, zomes=(*DNA.zomes, Zome(integrity, coordinator)))
EVERYTHING = ["talk.echo", "talk.say", "talk.say_through", "talk.ping_pong", "talk.large"]


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Callable[[Swarm], Awaitable[None]]], None]:
    def run(story: Callable[[Swarm], Awaitable[None]]) -> None:
        async def main() -> None:
            async with open_swarm(tmp_path, 1, 3, definition=TALK) as swarm:
                assert await swarm.settle()
                await story(swarm)

        run_virtual(main, seed=1)

    return run


async def asked(
    caller: Home, callee: Home, function: str, secret: bytes | None = None, **payload: Any
) -> Any:
    arguments = {
        "agent": callee.agent,
        "function": function,
        "payload": payload,
        "secret": secret,
    }
    return await caller.call("talk", "ask", arguments)


Play = Callable[[Callable[[Swarm], Awaitable[None]]], None]


def test_a_granted_function_answers_anyone_with_what_it_was_given(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        one, two, _ = swarm.homes
        await two.call("talk", "grant", {"functions": ["talk.echo", "talk.say"]})
        assert await asked(one, two, "echo", value=[1, b"x", None]) == [1, b"x", None]
        said = await asked(one, two, "say", text="hello")
        assert two.store.has(said), "the callee writes on its own chain"
        assert two.store.record(said).action.author == two.agent  # type: ignore[union-attr]

    play(story)


def test_nothing_is_run_for_whom_nothing_was_granted(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        one, two, three = swarm.homes
        with pytest.raises(Refused, match=r"no capability to call talk\.echo") as refused:
            await asked(one, two, "echo", value=1)
        assert refused.value.code == "unauthorised"
        await two.call("talk", "grant", {"functions": ["talk.echo"], "assigned": one.agent})
        assert await asked(one, two, "echo", SECRET, value=1) == 1
        for caller, secret in ((one, None), (one, bytes(64)), (three, SECRET)):
            with pytest.raises(Refused, match="no capability"):
                await asked(caller, two, "echo", secret, value=1)
        with pytest.raises(Refused, match="no capability"):
            await asked(one, two, "say", SECRET, text="x")
        assert not two.cell.space.quota.charges(one.agent), "to be refused is no misbehaviour"

    play(story)


def test_a_grant_holds_until_it_is_ended_and_is_looked_up_once(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        one, two, _ = swarm.homes
        looked_up, of_type = 0, two.store.of_type

        def counted(agent: AgentPubKey, entry_type: str, **rest: Any) -> Any:
            nonlocal looked_up
            looked_up += entry_type == CAP_GRANT_ENTRY
            return of_type(agent, entry_type, **rest)

        two.store.of_type = counted  # type: ignore[method-assign]
        for _ in range(3):
            with pytest.raises(Refused, match="no capability"):
                await asked(one, two, "echo", value=1)
        granted = await two.call("talk", "grant", {"functions": ["talk.echo"]})
        await two.call("talk", "say", {"text": "something else"})
        for _ in range(3):
            assert await asked(one, two, "echo", value=1) == 1
        await two.call("talk", "revoke", {"grant": granted})
        for _ in range(3):
            with pytest.raises(Refused, match="no capability"):
                await asked(one, two, "echo", value=1)
        assert looked_up == 3

    play(story)


def test_what_the_function_refuses_comes_back_as_its_refusal(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        one, two, _ = swarm.homes
        await two.call("talk", "grant", {"functions": [*EVERYTHING, "talk.nothing"]})
        for function, payload, text in (
            ("nothing", {}, "no function 'nothing'"),
            ("echo", {}, "needs 'value'"),
            ("echo", {"value": 1, "more": 2}, "takes no 'more'"),
            ("say", {"text": 1}, "'text'"),
            ("large", {"size": CALL_BYTES_MAX}, "a result of"),
        ):
            with pytest.raises(Refused, match=text) as refused:
                await asked(one, two, function, **payload)
            assert refused.value.code == "call-error"

    play(story)


def test_a_payload_that_cannot_be_sent_is_refused_at_home(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        one, two, _ = swarm.homes
        with pytest.raises(CallError, match="cannot be sent"):
            await asked(one, two, "echo", value=1.5)
        with pytest.raises(CallError, match="at most"):
            await asked(one, two, "echo", value=bytes(CALL_BYTES_MAX))

    play(story)


def test_bytes_that_are_no_payload_are_charged(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        one, two, _ = swarm.homes
        space = one.cell.space
        for payload in (b"", b"\xc1", pack([1]), b"\x81\xa1a\xd0\x01"):
            call = Call("talk", "echo", payload, None, 1)
            with pytest.raises((Refused, Malformed)):
                await space.ask(two.agent, call)
        assert two.cell.space.quota.charges(one.agent) == 4

    play(story)


def test_whoever_has_written_may_not_call_away(play: Play) -> None:
    """Two that hold their chains and wait for each other would wait for ever."""

    async def story(swarm: Swarm) -> None:
        one, two, _ = swarm.homes
        await two.call("talk", "grant", {"functions": EVERYTHING})
        head = one.store.head(one.agent)
        with pytest.raises(CallError, match="before anything is written"):
            await one.call("talk", "say_and_ask", {"agent": two.agent})
        assert one.store.head(one.agent) == head

    play(story)


def test_a_call_that_calls_back_and_writes_on_both_chains_ends(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        one, two, _ = swarm.homes
        for home in (one, two):
            await home.call("talk", "grant", {"functions": EVERYTHING})
        with trio.fail_after(REQUEST_TIMEOUT_S / 2):
            arguments = {"agent": two.agent, "back": one.agent}
            await one.call("talk", "say_through", arguments)
        words = [
            record.entry
            for home in (one, two)
            for record in home.store.of_type(home.agent, "talk.Word")
        ]
        assert len(words) == 3

    play(story)


def test_two_that_call_each_other_for_ever_come_to_an_end(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        one, two, _ = swarm.homes
        for home in (one, two):
            await home.call("talk", "grant", {"functions": EVERYTHING})
        calls = 0

        def count(message: Message) -> bool:
            nonlocal calls
            calls += message.kind == "Call"
            return True

        swarm.network.passes = count
        with trio.fail_after(REQUEST_TIMEOUT_S), pytest.raises(Refused, match="deeper than"):
            await one.call("talk", "ping_pong", {"agent": two.agent})
        assert calls == CALL_DEPTH_MAX

    play(story)


def test_the_callee_gives_up_when_the_caller_does(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        one, two, _ = swarm.homes
        await two.call("talk", "grant", {"functions": ["talk.slow"]})
        began = trio.current_time()
        seconds = round(REQUEST_TIMEOUT_S) + 5
        with pytest.raises(TransportError):
            await asked(one, two, "slow", seconds=seconds)
        assert trio.current_time() - began < REQUEST_TIMEOUT_S + 1
        await trio.sleep(2 * seconds)
        assert not list(two.store.of_type(two.agent, "talk.Word"))

    play(story)


def test_an_agent_that_is_gone_is_a_transport_error(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        one, two, _ = swarm.homes
        await swarm.kill(two)
        with pytest.raises(TransportError):
            await asked(one, two, "echo", value=1)

    play(story)


@pytest.mark.parametrize("depth", [1, CALL_DEPTH_MAX])
def test_a_call_may_hang_from_so_many_others(depth: int) -> None:
    call = Call("z", "f", pack({}), None, depth)
    assert call.depth == depth
    assert answers.decode(encode(Returned(b"\xc0"))) == Returned(b"\xc0")
    assert answers.decode(encode(Failed("busy", "later"))) == Failed("busy", "later")

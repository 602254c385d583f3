"""A zome call: every function of `hdk.Host` on a scratch, committed as one bundle or not at all."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import trio

from dna.neighbourhood import DNA
from ioe_node.errors import CallError, RuleBroken, Unauthorised
from ioe_node.hdi import (
    CreateOp,
    DeleteOp,
    IntegrityZome,
    Invalid,
    UpdateOp,
    Valid,
    ValidationHost,
    Verdict,
)
from ioe_node.hdk import ActionHash, AgentPubKey, CapClaim, CapGrant, CoordinatorZome, Host, Zome
from sim.swarm import Swarm, open_swarm
from sim.virtual_clock import run_virtual

SECRET = bytes(range(64))

integrity = IntegrityZome("notes")


@integrity.entry_type
@dataclass(frozen=True)
class Note:
    """A text; never empty."""

    text: str


@integrity.entry_type(visibility="private")
@dataclass(frozen=True)
class Diary:
    """For its author's eyes."""

    text: str


@integrity.entry_type
@dataclass(frozen=True)
class Number:
    """Of any size that can be encoded."""

    value: int


about = integrity.link_type("about")


@integrity.validate_create
def a_note_says_something(note: Note, op: CreateOp, host: ValidationHost) -> Verdict:
    return Valid if note.text else Invalid("an empty note")


@integrity.validate_update
def only_longer(note: Note, op: UpdateOp, host: ValidationHost) -> Verdict:
    return Valid if len(note.text) > len(op.original.text) else Invalid("a shorter note")


@integrity.validate_delete
def by_its_author(note: Note, op: DeleteOp, host: ValidationHost) -> Verdict:
    return Valid if op.original_author == op.action.author else Invalid("another's note")


coordinator = CoordinatorZome(integrity)


@coordinator.function
async def write(host: Host, texts: list[str]) -> list[ActionHash]:
    return [await host.create(Note(text)) for text in texts]


@coordinator.function
async def keep_diary(host: Host, text: str) -> ActionHash:
    return await host.create(Diary(text))


@coordinator.function
async def number(host: Host, value: int) -> ActionHash:
    return await host.create(Number(value))


@coordinator.function
async def amend(host: Host, note: ActionHash, text: str) -> ActionHash:
    return await host.update(note, Note(text))


@coordinator.function
async def erase(host: Host, note: ActionHash) -> ActionHash:
    return await host.delete(note)


@coordinator.function
async def tie(host: Host, base: bytes, target: bytes) -> ActionHash:
    link = await host.create_link(base, target, about, b"tag")
    assert [each.hash for each in await host.get_links(base, about)] == [link]
    return link


@coordinator.function
async def untie(host: Host, link: ActionHash) -> ActionHash:
    return await host.delete_link(link)


@coordinator.function
async def tied(host: Host, base: bytes) -> list[bytes]:
    return [each.target for each in await host.get_links(base, about)]


@coordinator.function
async def read(host: Host, note: ActionHash) -> str | None:
    found = await host.get(note)
    return None if found is None or found.entry is None else str(found.entry.text)


@coordinator.function
async def twice(host: Host, text: str) -> int:
    """Through another call, on the same scratch: what it wrote is seen before it is committed."""
    await host.call("notes", "write", {"texts": [text, text]})
    host.emit_signal({"wrote": text})
    return len([n for n in await host.query(Note) if n.entry.text == text])


@coordinator.function
async def say_half(host: Host) -> None:
    await host.create(Note("unheard"))
    host.emit_signal({"half": 0.5})


@coordinator.function
async def grant(host: Host, to: AgentPubKey) -> ActionHash:
    return await host.create(
        CapGrant(tag="reading", functions=("notes.read",), secret=SECRET, agents=(to,))
    )


@coordinator.function
async def claim(host: Host, grantor: AgentPubKey) -> ActionHash:
    return await host.create(CapClaim(tag="reading", grantor=grantor, secret=SECRET))


NOTES = replace(DNA, zomes=(*DNA.zomes, Zome(integrity, coordinator)))
Story = Callable[[Swarm], Awaitable[None]]


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Story], None]:
    def run(story: Story) -> None:
        async def main() -> None:
            async with open_swarm(tmp_path, 1, 3, definition=NOTES) as swarm:
                await swarm.settle()
                await story(swarm)

        run_virtual(main, seed=1)

    return run


def test_a_call_whose_signal_cannot_be_sent_writes_nothing(play: Callable[[Story], None]) -> None:
    async def story(swarm: Swarm) -> None:
        one = swarm.homes[0]
        before = one.store.head(one.agent)
        with pytest.raises(CallError, match="signal that cannot be sent: a float"):
            await one.call("notes", "say_half", {})
        assert one.store.head(one.agent) == before

    play(story)


def test_what_a_call_writes_is_one_bundle_that_others_can_read(
    play: Callable[[Story], None],
) -> None:
    async def story(swarm: Swarm) -> None:
        one, two, _ = swarm.homes
        notes = await one.call("notes", "write", {"texts": ["a", "b", "c"]})
        assert await swarm.settle()
        records = [two.store.record(each) for each in notes]
        assert [r.proof.size for r in records if r] == [3, 3, 3]
        assert await two.call("notes", "read", {"note": notes[1]}) == "b"
        assert await one.call("notes", "twice", {"text": "d"}) == 2

    play(story)


def test_an_entry_is_amended_and_deleted_as_the_rules_say(play: Callable[[Story], None]) -> None:
    async def story(swarm: Swarm) -> None:
        one, two, _ = swarm.homes
        (note,) = await one.call("notes", "write", {"texts": ["long"]})
        assert await swarm.settle()
        with pytest.raises(RuleBroken, match="a shorter note"):
            await one.call("notes", "amend", {"note": note, "text": "no"})
        with pytest.raises(RuleBroken, match="another's note"):
            await two.call("notes", "erase", {"note": note})
        amended = await one.call("notes", "amend", {"note": note, "text": "longer"})
        gone = await one.call("notes", "erase", {"note": note})
        assert await swarm.settle()
        assert [each.hash for each in two.store.amendments(note)] == [amended, gone]

    play(story)


def test_a_link_is_found_at_its_base_until_it_is_removed(play: Callable[[Story], None]) -> None:
    async def story(swarm: Swarm) -> None:
        one, two, _ = swarm.homes
        base, target = one.agent, two.agent
        link = await one.call("notes", "tie", {"base": base, "target": target})
        assert await swarm.settle()
        assert await two.call("notes", "tied", {"base": base}) == [target]
        with pytest.raises(RuleBroken, match="only its author"):
            await two.call("notes", "untie", {"link": link})
        await one.call("notes", "untie", {"link": link})
        assert await swarm.settle()
        assert await two.call("notes", "tied", {"base": base}) == []

    play(story)


def test_private_content_never_leaves_but_its_action_does(play: Callable[[Story], None]) -> None:
    async def story(swarm: Swarm) -> None:
        one, two, _ = swarm.homes
        page = await one.call("notes", "keep_diary", {"text": "dear diary"})
        assert await swarm.settle()
        held = two.store.record(page)
        assert held is not None
        assert held.entry is None
        assert await two.call("notes", "read", {"note": page}) is None
        assert await one.call("notes", "read", {"note": page}) == "dear diary"
        for each in (two, swarm.homes[2]):
            assert b"dear diary" not in b"".join(
                path.read_bytes() for path in each.path.parent.glob(each.path.name + "*")
            )

    play(story)


@pytest.mark.parametrize(
    ("function", "payload", "error"),
    [
        ("write", {"texts": ["good", ""]}, RuleBroken),
        ("write", {"texts": "no list"}, CallError),
        ("write", {}, CallError),
        ("write", {"texts": [], "more": 1}, CallError),
        ("number", {"value": 2**64}, CallError),
        ("number", {"value": 2**80}, CallError),
        ("read", {"note": b"no hash"}, CallError),
        ("nothing", {}, CallError),
    ],
)
def test_a_call_that_fails_writes_nothing(
    play: Callable[[Story], None], function: str, payload: dict[str, Any], error: type[Exception]
) -> None:
    async def story(swarm: Swarm) -> None:
        one = swarm.homes[0]
        before = one.store.head(one.agent)
        with pytest.raises(error):
            await one.call("notes", function, payload)
        assert one.store.head(one.agent) == before
        with trio.fail_after(1):  # and the chain is free again
            await one.call("notes", "write", {"texts": ["next"]})

    play(story)


def test_another_agent_calls_only_what_it_was_granted(play: Callable[[Story], None]) -> None:
    async def story(swarm: Swarm) -> None:
        one, two, three = swarm.homes
        (note,) = await one.call("notes", "write", {"texts": ["shared"]})
        granted = await one.call("notes", "grant", {"to": two.agent})
        await two.call("notes", "claim", {"grantor": one.agent})
        assert await swarm.settle()
        asked = ("notes", "read", {"note": note})
        assert await one.cell.call(*asked, caller=two.agent, secret=SECRET) == "shared"
        for caller, secret in ((two.agent, None), (two.agent, bytes(64)), (three.agent, SECRET)):
            with pytest.raises(Unauthorised):
                await one.cell.call(*asked, caller=caller, secret=secret)
        with pytest.raises(Unauthorised):
            await one.cell.call("notes", "write", {"texts": ["x"]}, caller=two.agent, secret=SECRET)
        held = two.store.record(granted)
        assert held is not None
        assert held.entry is None

    play(story)

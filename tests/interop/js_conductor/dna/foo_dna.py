"""A DNA with the functions that the npm package's own tests call, in Python."""

from dataclasses import dataclass
from typing import Any, Literal

import trio

from ioe_node.api.conductor_dump import action_shape
from ioe_node.hdi import IntegrityZome
from ioe_node.hdk import (
    ActionHash,
    CallError,
    CoordinatorZome,
    DnaDef,
    Host,
    Zome,
)
from ioe_node.model.hashes import ACTION, AGENT, ENTRY, check_hash
from ioe_node.model.hashes import DNA as DNA_PREFIX

integrity = IntegrityZome("foo")
A = integrity.link_type("a")


@integrity.entry_type
@dataclass(frozen=True)
class TestString:
    """A text."""

    text: str


zome = CoordinatorZome(integrity)


@zome.function
async def foo(host: Host) -> str:
    return "foo"


@zome.function
async def bar(host: Host) -> str:
    return "bar"


@zome.function
async def create_an_entry(host: Host) -> ActionHash:
    return await host.create(TestString("bar"))


@zome.function
async def get_an_entry(host: Host, action: ActionHash) -> dict[str, Any] | None:
    found = await host.get(action)
    return None if found is None else {"hash": found.hash, "text": found.entry.text}


@zome.function
async def emitter(host: Host) -> str:
    host.emit_signal("i am a signal")
    return "bar"


@zome.function
async def burst(host: Host, count: int) -> int:
    for number in range(count):
        host.emit_signal(number)
    return count


@zome.function
async def refuse(host: Host) -> None:
    raise CallError("refused, as always")


@zome.function
async def echo_app_entry_def(
    host: Host, entry_index: int, zome_index: int, visibility: Literal["Public", "Private"]
) -> None:
    """Take a map whose names are parameters."""


@zome.function
async def waste_some_time(host: Host) -> str:
    await trio.sleep(2)
    return "wasted"


@zome.function
async def create_and_get_link(host: Host, tag: list[int]) -> dict[str, Any]:
    agent = host.agent_info().agent
    made = await host.create_link(agent, agent, A, bytes(tag))
    found = next(each for each in await host.get_links(agent, A) if each.hash == made)
    return {
        "author": found.author,
        "base": agent,
        "target": found.target,
        "timestamp": host.now_us(),
        "zome_index": 0,
        "link_type": 0,
        "tag": found.tag,
        "create_link_hash": made,
    }


@zome.function
async def create_and_delete_link(host: Host) -> ActionHash:
    agent = host.agent_info().agent
    made = await host.create_link(agent, agent, A)
    return await host.delete_link(made)


@zome.function
async def get_agent_activity(host: Host, chain_top: ActionHash) -> list[dict[str, Any]]:
    newest = await host.newest(host.agent_info().agent, 10)
    shapes = [action_shape(each.action) for each in newest]
    for shape in shapes:
        if "link_type" in shape["data"]:
            shape["link_type"] = shape["data"]["link_type"] = 0
    return [{"action": {"hashed": {"content": shape}}} for shape in shapes]


@zome.function
async def enum_serialization(host: Host, value: Literal["Input"]) -> dict[str, str]:
    return {"Output": "success"}


@zome.function
async def decode_as_agentpubkey(host: Host, value: list[int]) -> bytes:
    return _checked(value, AGENT)


@zome.function
async def decode_as_entryhash(host: Host, value: list[int]) -> bytes:
    return _checked(value, ENTRY)


@zome.function
async def decode_as_actionhash(host: Host, value: list[int]) -> bytes:
    return _checked(value, ACTION)


@zome.function
async def decode_as_dnahash(host: Host, value: list[int]) -> bytes:
    return _checked(value, DNA_PREFIX)


def _checked(value: list[int], prefix: bytes) -> bytes:
    check_hash(bytes(value), prefix)
    return bytes(value)


@dataclass(frozen=True)
class Properties:
    """Nothing that matters."""

    progenitor: bytes = b""


DNA = DnaDef(name="foo", zomes=(Zome(integrity, zome),), properties=Properties())

"""Closing a chain and going on: after a close nothing, before an open the right close."""

from typing import Any

from ioe_node.core.chain import follows
from ioe_node.core.sys_validate import OPENED_WITHIN_ACTIONS, Rules
from ioe_node.errors import Malformed
from ioe_node.hdi import Invalid, Missing, Valid
from ioe_node.hdk import CoordinatorZome, DnaDef, IntegrityZome, Zome
from ioe_node.model.action import CloseChain, InitZomesComplete, OpenChain
from ioe_node.model.hashes import EXTERNAL, action_hash, dna_hash

PLAIN = IntegrityZome("plain")
NOBODY_IS_SOLD = DnaDef("plain", (Zome(PLAIN, CoordinatorZome(PLAIN)),), ())


def pair(new_world: Any, new_author: Any) -> tuple[Any, Any, Any]:
    """A network without a rule on who goes on for whom, and two agents in it."""
    rules = Rules(NOBODY_IS_SOLD)
    world = new_world(rules)
    one, other = new_author(1, rules.hash), new_author(2, rules.hash)
    for author in (one, other):
        world.keep(*author.genesis())
    return world, one, other


def close(world: Any, author: Any, target: bytes | None) -> Any:
    author.draft(CloseChain, new_target=target)
    (record,) = author.seal()
    world.keep(record)
    return record


def opened(world: Any, author: Any, prev: bytes, hash_: bytes) -> Any:
    author.draft(OpenChain, prev_target=prev, close_hash=hash_)
    return world.judge(author.seal()[0])


def test_nothing_follows_a_close(new_world: Any, new_author: Any) -> None:
    world, one, other = pair(new_world, new_author)
    close(world, one, other.agent)
    one.draft(InitZomesComplete)
    (record,) = one.seal()
    assert world.judge(record) == Invalid("an action after the chain was closed")
    assert follows(one.head, record.action, world.rules.hash)


def test_a_close_names_an_agent_a_network_or_nobody(new_world: Any, new_author: Any) -> None:
    world, one, other = pair(new_world, new_author)
    for target in (other.agent, dna_hash(b"elsewhere"), None):
        assert world.rules.validate_alone(close_draft(one, target), world) is Valid
    for target in (bytes(39), EXTERNAL + other.agent[3:], action_hash(b"x", one.agent)):
        assert isinstance(world.rules.validate_alone(close_draft(one, target), world), Invalid)


def close_draft(author: Any, target: bytes | None) -> Any:
    head, chain = author.head, list(author.chain)
    author.draft(CloseChain, new_target=target)
    (record,) = author.seal()
    author.head, author.chain = head, chain
    return record


def test_the_one_named_goes_on(new_world: Any, new_author: Any) -> None:
    world, one, other = pair(new_world, new_author)
    end = close(world, one, other.agent)
    assert opened(world, other, one.agent, end.hash) is Valid


def test_who_does_not_go_on(new_world: Any, new_author: Any) -> None:
    world, one, other = pair(new_world, new_author)
    third = new_author(3, world.rules.hash)
    world.keep(*third.genesis())
    unknown = action_hash(b"not here", one.agent)
    assert opened(world, new_copy(third), one.agent, unknown) == Missing((unknown,))
    assert isinstance(opened(world, new_copy(third), one.agent, one.chain[1].hash), Invalid)
    end = close(world, one, other.agent)
    assert isinstance(opened(world, new_copy(third), one.agent, end.hash), Invalid)
    assert isinstance(opened(world, new_copy(other), third.agent, end.hash), Invalid)
    for target in (None, dna_hash(b"elsewhere")):
        stopped = new_author(10 + (target is None), world.rules.hash)
        world.keep(*stopped.genesis())
        end = close(world, stopped, target)
        assert isinstance(opened(world, new_copy(third), stopped.agent, end.hash), Invalid)


def test_a_chain_says_early_what_it_continues(new_world: Any, new_author: Any) -> None:
    world, one, other = pair(new_world, new_author)
    end = close(world, one, other.agent)
    for _ in range(OPENED_WITHIN_ACTIONS - 3):
        other.draft(InitZomesComplete)
        world.keep(*other.seal())
    assert isinstance(opened(world, other, one.agent, end.hash), Invalid)


def new_copy(author: Any) -> Any:
    """The same chain, to be written on without a trace."""
    copy = type(author)(int.from_bytes(author.signer.seed, "big"), author.dna)
    copy.head = author.head
    return copy


def test_no_hash_upsets_it(new_world: Any, new_author: Any) -> None:
    world, one, other = pair(new_world, new_author)
    author = new_copy(other)
    author.draft(OpenChain, prev_target=bytes(39), close_hash=one.chain[0].hash)
    try:
        verdict = world.rules.validate_alone(author.seal()[0], world)
    except Malformed:
        raise AssertionError("a malformed hash is a verdict, not an error") from None
    assert isinstance(verdict, Invalid)

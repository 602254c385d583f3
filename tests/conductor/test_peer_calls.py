"""What the node tells of its peers: who they are, how they behave, what convicts them."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio.testing

from ioe_node.core.chain import Draft, seal
from ioe_node.core.quota import Fault
from ioe_node.errors import CallError
from ioe_node.model.action import Create, hash_of
from ioe_node.model.hashes import entry_hash, to_text
from ioe_node.model.record import Record, WireRecord
from ioe_node.model.warrant import ChainFork, InvalidRecord, seal_warrant
from ioe_node.workflows.integration import keep

Claimed = Callable[..., Awaitable[tuple[Any, Any]]]


def next_record(node: Any, space: Any, entry: bytes) -> Record:
    """An action of another node's that follows its chain as `space` holds it; a rule breaks it."""
    signer = node.conductor.signer()
    head = space.store.head(signer.agent)
    action = Create(
        author=signer.agent,
        timestamp_us=head.timestamp_us,
        action_seq=head.seq + 1,
        prev_action=head.hash,
        entry_type="metering.IntervalReading",
        entry_hash=entry_hash(entry),
    )
    hash_, data = hash_of(action)
    return seal([Draft(hash_, action, data, entry)], space.dna, signer.sign)[0]


def bare(record: Record) -> WireRecord:
    return WireRecord(record.action_bytes, record.proof, None)


async def test_a_peer_is_told_with_its_role_name_and_charges(
    claimed: Claimed, autojump: trio.testing.MockClock
) -> None:
    owner, roof = await claimed()
    space = owner.conductor.cell().space
    peers = await owner.until(lambda found: found and found[0]["role"] == "device", "peers_list")
    (peer,) = peers
    assert peer["agent"] == roof.agent
    assert peer["asked_at_us"] > 0
    assert peer["arc"] == "full"
    assert (peer["charges"], peer["score_points"], peer["slowed"]) == (0, 0, False)
    while not space.quota.shunned_us(roof.agent, space.clock.now_us()):
        space.charge(roof.agent, "junk", Fault.MALFORMED)
    (peer,) = await owner.call("peers_list")
    assert peer["last_charge"] == "junk"
    assert peer["shunned_s"] > 0
    assert peer["slowed"]
    status = await owner.call("status")
    assert status["communities"][0]["slowed"] == [roof.agent]
    steward = await roof.call("peers_list")
    assert [each["role"] for each in steward] == ["steward"]


async def test_a_warrant_is_explained_and_judged_again(
    claimed: Claimed, autojump: trio.testing.MockClock
) -> None:
    owner, roof = await claimed()
    space = owner.conductor.cell().space
    assert await owner.call("warrant_list") == []
    await owner.until(lambda found: found and found[0]["role"] == "device", "peers_list")
    lie = next_record(roof, space, b"no reading")
    await roof.stop()
    now_us = space.clock.now_us()
    accused = InvalidRecord(roof.agent, owner.agent, now_us, lie.wire(), "it is none")
    await keep(space, seal_warrant(accused, space.dna, space.sign))
    (listed,) = await owner.call("warrant_list")
    assert (listed["kind"], listed["agent"], listed["reason"]) == (
        "InvalidRecord",
        roof.agent,
        "it is none",
    )
    assert listed["kept_at_us"] >= now_us
    for which in (to_text(roof.agent), to_text(listed["hash"])[:20]):
        shown = await owner.call("warrant_show", which=which)
        assert shown["stands"] is True
        assert "refuse it" in shown["finding"]
        assert shown["actions"][0]["hash"] == lie.hash
        assert shown["bundle_actions"] == 1
    for which in ("uhCAkNobody", ""):
        with pytest.raises(CallError, match="no warrant"):
            await owner.call("warrant_show", which=which)
    (peer,) = await owner.call("peers_list")
    assert peer["warranted"]


async def test_a_fork_shows_both_actions(
    claimed: Claimed, autojump: trio.testing.MockClock
) -> None:
    owner, roof = await claimed()
    space = owner.conductor.cell().space
    await owner.until(lambda found: found and found[0]["role"] == "device", "peers_list")
    both = [bare(next_record(roof, space, entry)) for entry in (b"one", b"two")]
    fork = ChainFork(roof.agent, owner.agent, space.clock.now_us(), *both)
    await keep(space, seal_warrant(fork, space.dna, space.sign))
    shown = await owner.call("warrant_show", which=to_text(roof.agent))
    assert (shown["kind"], shown["stands"]) == ("ChainFork", True)
    assert len({action["hash"] for action in shown["actions"]}) == 2
    assert len({action["seq"] for action in shown["actions"]}) == 1


async def test_a_revocation_is_shown_with_its_reason(
    claimed: Claimed, autojump: trio.testing.MockClock
) -> None:
    owner, roof = await claimed()
    cell = owner.conductor.cell()
    await owner.until(
        lambda found: found["owned"] and found["owned"][0]["acknowledged"], "device_list"
    )
    made = await cell.call("identity", "revoke", {"agent": roof.agent, "reason": "stolen"})
    (listed,) = await owner.call("warrant_list")
    assert (listed["kind"], listed["agent"]) == ("Revoked", roof.agent)
    shown = await owner.call("warrant_show", which=to_text(roof.agent))
    assert (shown["stands"], shown["reason"]) == (True, "stolen")
    assert shown["actions"][0]["hash"] == made
    assert await cell.call("identity", "portfolio", {}) == []
    assert await cell.call("identity", "enrolled", {}) == [roof.agent]


async def test_the_digest_is_told_on_demand(
    claimed: Claimed, autojump: trio.testing.MockClock
) -> None:
    owner, roof = await claimed()

    def same(found: dict[str, Any]) -> bool:
        return bool(found["ops_held"])

    ours = await owner.until(same, "ops_digest")
    assert len(ours["ops_digest"]) == 32
    status = await owner.call("status")
    assert "ops_digest" not in status["communities"][0]
    assert status["communities"][0]["ops_held"] >= ours["ops_held"]
    assert roof.conductor.cells

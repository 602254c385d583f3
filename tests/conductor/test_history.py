"""Histories kept by running nodes: what the chains say, whatever happens in between."""

from typing import Any

import msgspec
import pytest
import trio

from ioe_node.conductor import history, machine
from ioe_node.conductor.policy import seal_policy
from ioe_node.errors import CallError, Malformed
from ioe_node.history.periods import STEPS
from ioe_node.history.point import POINTS_MAX, QUARTER_US, Point
from ioe_node.model.codec import encode
from ioe_node.model.hashes import to_text
from tests.conductor.steps import hears, readings

EVER_US = 4_000_000_000_000_000


async def kept(node: Any, device: bytes, step: str = "15m", source: str | None = None) -> Any:
    answer = await node.call(
        "meter_history", device=device, from_us=0, to_us=EVER_US, step=step, source=source
    )
    assert answer["complete"]
    return msgspec.msgpack.decode(answer["points"], type=list[Point])


async def agrees(node: Any, device: bytes) -> None:
    """A node's history of a device, by any step, is what its growing chain says meanwhile."""
    for step in STEPS:
        before = sum(each["export_milli_wh"] for each in await readings(node, device))
        points = await kept(node, device, step)
        after = sum(each["export_milli_wh"] for each in await readings(node, device))
        assert before > 0
        assert before <= sum(each.export_milli_wh for each in points) <= after


async def grown(node: Any, device: bytes) -> None:
    """Wait for a few more readings than there are."""
    had = len(await readings(node, device))
    payload = {"device": device, "limit": 10_000}
    await node.until(
        lambda found: len(found) >= had + 5,
        "zome_call",
        zome="metering",
        function="history",
        payload=payload,
    )


async def test_device_and_owner_keep_what_the_chain_says(claimed: Any, autojump: Any) -> None:
    owner, roof = await claimed()
    await trio.sleep(60)
    for node in (owner, roof):
        await agrees(node, roof.agent)
    (own,) = await owner.call("meter_sources")
    assert (own["device"], own["chain"]) == (roof.agent, True)
    samples = await roof.call("meter_samples", limit=10)
    assert len(samples) == 10
    assert samples[0]["power_milli_w"] == -36_000_000
    assert await owner.call("meter_samples") == [], "nobody else has them"


@pytest.mark.parametrize("loss", ["crash", "file lost", "file damaged"])
async def test_a_history_that_fell_behind_is_read_on_from_the_chain(
    claimed: Any, autojump: Any, monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    owner, roof = await claimed()
    await grown(owner, roof.agent)
    with monkeypatch.context() as patch:

        async def away(*_: Any) -> None:
            raise Malformed("killed between the chain and its history")

        patch.setattr(history, "_read_on", away)
        await grown(owner, roof.agent)
        await roof.stop()
        await owner.stop()
    for path in roof.home.path.glob("history.sqlite*") if loss != "crash" else ():
        path.unlink() if loss == "file lost" else path.write_bytes(b"\0damaged" * 1_000)
    await owner.start()
    await roof.start()
    await roof.until(lambda found: found["communities"])
    await grown(owner, roof.agent)
    for node in (owner, roof):
        await agrees(node, roof.agent)
    if loss == "file damaged":
        told = [each["text"] for each in await roof.call("alerts")]
        assert any("history of meters was damaged" in text for text in told)
    await roof.call("meter_rebuild")
    await agrees(roof, roof.agent)


async def test_an_owner_says_from_afar_that_a_meter_was_replaced(
    claimed: Any, autojump: Any
) -> None:
    owner, roof = await claimed()
    await grown(owner, roof.agent)
    await owner.call("meter_changed", device=roof.agent, reason="replaced", serial="77-1")
    for node in (owner, roof):
        await hears(node, "meter", reason="replaced", serial="77-1")
    changed = [each for each in await readings(owner, roof.agent) if each["change"]]
    assert [each["change"] for each in changed] == [{"reason": "replaced", "serial": "77-1"}]
    await grown(owner, roof.agent)
    with pytest.raises(CallError, match="reads no meter"):
        await owner.call("meter_changed", reason="replaced")
    with pytest.raises(CallError, match="a reason is one of"):
        await owner.call("meter_changed", reason="stolen")


async def test_a_device_that_lost_its_count_goes_on_and_says_so(
    claimed: Any, autojump: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, roof = await claimed()
    await grown(owner, roof.agent)
    now_us = roof.conductor.clock.now_us()
    monkeypatch.setattr("steady_meter.BEGAN_US", now_us)
    await hears(owner, "meter", reason="reset")
    await grown(owner, roof.agent)
    status = await roof.call("status")
    assert (status["driver"]["state"], status["driver"]["why"]) == ("ok", "")
    newest = (await readings(owner, roof.agent))[0]
    assert newest["export_register_milli_wh"] < 10_000_000
    await agrees(owner, roof.agent)


async def test_a_count_that_jumps_is_told_once(
    claimed: Any, autojump: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, roof = await claimed()
    await grown(owner, roof.agent)
    monkeypatch.setattr("steady_meter.BEGAN_US", 1_000_000_000_000_000)
    await hears(roof, "fault")
    await trio.sleep(30)
    told = [each["text"] for each in await roof.call("alerts") if each["kind"] == "fault"]
    assert len(told) == 1
    assert "roof: the export register went from" in told[0]
    assert "ioe meter changed" in told[0]
    await roof.call("meter_changed", reason="replaced")
    await hears(owner, "meter", reason="replaced")
    await grown(owner, roof.agent)


async def test_imports_are_all_or_nothing_and_on_no_chain(claimed: Any, autojump: Any) -> None:
    owner, roof = await claimed()
    points = [
        Point(at, at + QUARTER_US, 5, 6, False) for at in range(0, 96 * QUARTER_US, QUARTER_US)
    ]
    done = await owner.call(
        "meter_import", device=roof.agent, source="grid.csv", points=encode(points)
    )
    assert done == {"points": 96}
    assert await kept(owner, roof.agent, source="grid.csv") == points
    seqs = (await owner.call("status"))["communities"][0]["actions"]
    twice = encode([*points, points[0]])
    chain = next(each["source"] for each in await roof.call("meter_sources") if each["chain"])
    many = [Point(at, at + 1, 0, 0, False) for at in range(POINTS_MAX + 1)]
    for source, data, why in (
        ("grid.csv", twice, "same time"),
        ("grid.csv", encode([]), "no points"),
        ("grid.csv", encode(many), "more than"),
        ("grid.csv", b"\xc1junk", "are no points"),
        ("grid.csv", encode([(0, 1, "a", 2, False)]), "are no points"),
        ("\x1b[2J", encode(points), "characters that print"),
        ("", encode(points), "characters that print"),
    ):
        with pytest.raises(Exception, match=why):
            await owner.call("meter_import", device=roof.agent, source=source, points=data)
    with pytest.raises(CallError, match="take another"):
        await roof.call("meter_import", source=chain, points=encode(points))
    assert await kept(owner, roof.agent, source="grid.csv") == points
    assert (await owner.call("status"))["communities"][0]["actions"] == seqs


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"step": "fortnight"}, "no step 'fortnight'"),
        ({"from_us": 5, "to_us": 4}, "in this order"),
        ({"from_us": -1}, "in this order"),
        ({"to_us": 2**62}, "in this order"),
    ],
)
async def test_questions_that_make_no_sense(
    founded: Any, autojump: Any, asked: dict[str, Any], why: str
) -> None:
    owner = await founded()
    with pytest.raises(CallError, match=why):
        await owner.call("meter_history", **{"from_us": 0, "to_us": 9, "step": "day", **asked})


async def test_who_asks_is_not_kept_waiting_for_a_chain(
    claimed: Any, autojump: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, roof = await claimed()
    await grown(owner, roof.agent)
    await kept(owner, roof.agent)

    async def away(*_: Any) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(history, "_read_on", away)
    with trio.fail_after(2):
        found = await history.points(owner.conductor, roof.agent, 0, EVER_US, "day")
    assert found.points
    assert not found.complete


async def test_a_history_goes_on_under_the_next_key(claimed: Any, autojump: Any) -> None:
    owner, roof = await claimed()
    await grown(owner, roof.agent)
    old = roof.agent
    new = (await owner.call("device_rotate", device=old))["device"]
    await roof.until(lambda found: found["agent"] == new)
    await owner.until(lambda found: [e["device"] for e in found["owned"]] == [new], "device_list")
    await grown(owner, new)

    async def total(node: Any) -> int:
        return sum(each.export_milli_wh for each in await kept(node, new))

    before = sum(each["export_milli_wh"] for each in await readings(owner, old))
    for node in (owner, roof):
        both = before + sum(each["export_milli_wh"] for each in await readings(node, new))
        assert await total(node) >= both > before
    # The old chain is no device's any more, and is read again all the same.
    await owner.call("meter_rebuild")
    assert await total(owner) > before
    asked = {"zome": "metering", "function": "before"}
    assert await owner.call("zome_call", **asked, payload={"device": new}) == old
    assert await owner.call("zome_call", **asked, payload={"device": old}) is None


async def test_what_an_owner_does_not_share_stays_on_the_device(
    claimed: Any, autojump: Any
) -> None:
    owner, roof = await claimed()
    await grown(owner, roof.agent)

    def share(version: int, what: str) -> None:
        text = f'version = {version}\nshare = "{what}"'
        roof.conductor.policy_received(seal_policy(owner.conductor.signer(), text))

    async def counted() -> int:
        return sum(each.export_milli_wh for each in await kept(roof, roof.agent))

    def register() -> int:
        chain = to_text(roof.conductor.cell().space.dna)
        found = roof.conductor.history.file.unshared_until(roof.agent, chain)
        return int(found[2])

    share(1, "nothing")
    await trio.sleep(10)
    shared = await readings(owner, roof.agent)
    first = shared[-1]
    began = first["export_register_milli_wh"] - first["export_milli_wh"]
    for _ in range(2):
        await trio.sleep(60)
        assert await readings(owner, roof.agent) == shared
        await roof.stop()
        await roof.start()
        await roof.until(lambda found: found["communities"])
    assert (await machine.look_at(owner.conductor, roof.agent)).share == "nothing"
    assert register() > shared[0]["export_register_milli_wh"]
    assert await counted() == register() - began
    await roof.call("meter_rebuild")
    assert await counted() == register() - began

    share(2, "readings")
    await grown(owner, roof.agent)
    again = [each for each in await readings(owner, roof.agent) if each["change"]]
    assert [each["change"]["reason"] for each in again] == ["unshared"]
    newest = (await readings(roof, roof.agent))[0]["export_register_milli_wh"] - began
    assert await counted() >= newest
    assert again[0]["export_milli_wh"] < register() - shared[0]["export_register_milli_wh"]

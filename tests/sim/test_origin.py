"""Certificates in a network: from one home's panel to another's socket, told by a third."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import trio

from currency.value import Values
from ioe_node.errors import CallError, PeerError
from ioe_node.hdi import Valid
from ioe_node.workflows.call_zome import perform
from sim.checkers import faults
from sim.swarm import Home, Swarm
from sim.virtual_clock import EPOCH_US
from tests.sim.conftest import INTERVAL_US
from zomes.origin import coordinator, holdings
from zomes.origin.integrity import Give, Issue, Retire, Side
from zomes.origin.ledger import standing

Play = Callable[..., Any]
STAFFED_S = 100
REST_S = 5
FINAL_S = 60


async def origin(home: Home, function: str, **payload: Any) -> Any:
    return await home.call("origin", function, payload)


async def metered(home: Home, *flows: tuple[int, int]) -> None:
    """Readings of a home from the first interval on: (import, export) of each."""
    registers = [0, 0]
    for number, flow in enumerate(flows):
        registers = [registers[side] + flow[side] for side in (0, 1)]
        start = EPOCH_US + number * INTERVAL_US
        reading = {
            "start": start,
            "end": start + INTERVAL_US,
            "import_milli_wh": flow[0],
            "export_milli_wh": flow[1],
            "import_register_milli_wh": registers[0],
            "export_register_milli_wh": registers[1],
            "quality": "measured",
            "method": "device",
        }
        await home.call("metering", "record", {"readings": [reading]})


async def kept(home: Home) -> dict[str, int]:
    """A home keeps its certificates once, and what it did is final."""
    done: dict[str, int] = await origin(home, "keep")
    await trio.sleep(FINAL_S)
    return done


def told(life: Any) -> list[tuple[str, int]]:
    return [(each["what"], each["energy_milli_wh"]) for each in life["events"]]


def test_from_panel_to_socket(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        await trio.sleep(STAFFED_S)
        roof, kettle, reader = swarm.homes[1:4]
        await origin(roof, "declare", source="pv_roof", zone="vic/carlton")
        for home in swarm.homes:
            await metered(home, {roof: (0, 900), kettle: (700, 0)}.get(home, (0, 0)))
        assert await kept(roof) == {"given": 0, "issued": 1}
        assert (await roof.call("currency", "sell", {}))["energy_milli_wh"] == 700
        assert await kept(roof) == {"given": 1}
        assert await kept(kettle) == {"given": 0, "consumed": 1}
        assert [await kept(roof), await kept(kettle)] == [{"given": 0}] * 2
        of = {"from_us": 0, "until_us": EPOCH_US + 100 * INTERVAL_US, "agent": kettle.agent}
        month = await reader.call("currency", "statement", of)
        assert (month["co2_milli_g"], month["unweighed_milli_wh"]) == (700 * 41 // 1_000, 0)
        (sale,) = await reader.call("currency", "history", {"agent": kettle.agent})
        why = await reader.call("currency", "why", {"settlement": sale["hash"]})
        (given,) = why["certificates"]
        assert (given["energy_milli_wh"], given["g_co2_per_kwh"]) == (700, 41)
        (left,) = await origin(reader, "holdings", agent=roof.agent)
        assert (left["state"], left["energy_milli_wh"]) == ("held", 200)
        assert left["certificate"] == given["certificate"]
        assert (left["source"], left["g_co2_per_kwh"]) == ("pv_roof", 41)
        life = await origin(reader, "trace", certificate=left["certificate"])
        assert told(life) == [
            ("metered", 900),
            ("issued", 900),
            ("given", 700),
            ("held", 200),
            ("consumed", 700),
        ]
        assert life["sums"] == {"held": 200, "consumed": 700}
        assert life["unread"] == []
        assert await origin(reader, "holdings", agent=kettle.agent) == []
        (used,) = await origin(reader, "holdings", agent=kettle.agent, retired=8)
        assert (used["state"], used["energy_milli_wh"]) == ("consumed", 700)
        span = {"from_us": 0, "to_us": EPOCH_US + INTERVAL_US, "agent": kettle.agent}
        (summed,) = await origin(reader, "used", **span)
        assert (summed["issuer"], summed["energy_milli_wh"]) == (roof.agent, 700)
        assert await origin(reader, "used", **{**span, "to_us": EPOCH_US}) == []
        audit = await origin(reader, "audit")
        assert audit["sums"] == {"consumed": 700, "held": 200, "issued": 900}
        assert (audit["doubled"], audit["unchecked"]) == ((), ())
        assert await swarm.settle()
        assert faults(swarm) == []

    play(story, homes=6)


async def issued(home: Home, *exports: int) -> list[Any]:
    """A home with a roof certifies what it gave; its certificates."""
    await origin(home, "declare", source="pv_roof", zone="vic/carlton")
    await metered(home, *((0, each) for each in exports))
    await kept(home)
    return [each["certificate"] for each in await origin(home, "holdings")]


def test_a_battery_keeps_the_origin_and_loses_what_it_must(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        await trio.sleep(STAFFED_S)
        roof, battery, kettle, reader = swarm.homes[1:5]
        await origin(roof, "declare", source="pv_roof", zone="vic/carlton")
        await origin(battery, "declare", source="storage", efficiency_bp=9_000, decay_bp=50)
        flows = {
            roof: [(0, 1_000), (0, 0)],
            battery: [(1_000, 0), (0, 800)],
            kettle: [(0, 0), (700, 0)],
        }
        for home in swarm.homes:
            await metered(home, *flows.get(home, [(0, 0), (0, 0)]))
        await trio.sleep(REST_S)
        for home in (roof, battery):
            await home.call("currency", "sell", {})
        await kept(roof)
        assert await kept(roof) == {"given": 1}
        assert await kept(battery) == {"given": 0, "stored": 1, "discharged": 1}
        assert await kept(battery) == {"given": 1}
        assert await kept(kettle) == {"given": 0, "consumed": 1}
        (first, lot) = await origin(battery, "holdings", retired=9)
        assert (lot["state"], lot["energy_milli_wh"]) == ("stored", 100)
        assert (first["state"], first["energy_milli_wh"]) == ("held", 100)
        assert (first["source"], first["g_co2_per_kwh"], first["stored"]) == ("pv_roof", 41, True)
        life = await origin(reader, "trace", certificate=first["certificate"])
        assert [each["what"] for each in life["events"]] == [
            "metered",
            "issued",
            "stored",
            "metered",
            "discharged",
            "given",
            "held",
            "consumed",
        ]
        assert life["sums"] == {"held": 100, "consumed": 700}
        whole = await origin(reader, "trace", certificate=life["events"][1]["action"])
        assert whole["sums"] == {
            "lost in a battery": 100,
            "in a battery": 100,
            "held": 100,
            "consumed": 700,
        }
        assert (life["unread"], whole["unread"]) == ([], [])
        audit = await origin(reader, "audit")
        assert (audit["doubled"], audit["unchecked"]) == ((), ())
        assert audit["sums"] == {
            "consumed": 700,
            "discharged": 800,
            "held": 100,
            "in batteries": 100,
            "issued": 1_000,
            "stored": 900,
        }
        assert await swarm.settle()
        assert faults(swarm) == []

    play(story, homes=6)


def test_what_is_not_held_or_not_drawn_is_refused(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        await trio.sleep(STAFFED_S)
        roof, kettle = swarm.homes[1:3]
        (certificate,) = await issued(roof, 900)
        await metered(kettle, (500, 0))

        async def hand(giver: Home, taker: Home, energy: int) -> None:
            terms = {"agent": taker.agent, "energy_milli_wh": energy}
            await origin(giver, "hand", certificate=certificate, **terms)
            await trio.sleep(FINAL_S)

        async def retire(home: Home, energy: int) -> None:
            terms = {"energy_milli_wh": energy, "purpose": "consumed"}
            await origin(home, "retire", certificate=certificate, **terms)

        for energy in (901, 0, -5):
            with pytest.raises(CallError, match="do not hold so much"):
                await hand(roof, kettle, energy)
        await hand(roof, kettle, 600)
        with pytest.raises(CallError, match="do not hold so much"):
            await hand(roof, kettle, 301)
        with pytest.raises(CallError, match="more than our meter drew"):
            await retire(kettle, 501)
        await retire(kettle, 500)
        with pytest.raises(CallError, match="more than our meter drew"):
            await retire(kettle, 1)
        await hand(kettle, roof, 100)
        with pytest.raises(CallError, match="do not hold so much"):
            await hand(kettle, roof, 1)
        assert await kept(roof) == {"given": 0}, "its reading is certified"
        assert faults(swarm) == []

    play(story, homes=6)


async def forge(home: Home, entry: Any) -> None:
    """Commit what no rule allows."""
    space = home.cell.space
    space.rules.validate = lambda *_args, **_named: Valid  # type: ignore[method-assign]
    await perform(space, home.cell._settlements, lambda host: host.create(entry))


Forged = Callable[[Issue, Any, Any], Any]


def again(last: Issue, issue: Any, roof: Any) -> Any:
    """The same reading once more."""
    return replace(last, previous=issue, after=holdings.gained(last.after, last.energy_milli_wh))


def of_wind(last: Issue, issue: Any, roof: Any) -> Any:
    """The rest of it is of another source."""
    return replace(again(last, issue, roof), source="wind", g_co2_per_kwh=11)


def used_up(last: Issue, issue: Any, roof: Any) -> Any:
    """What no meter of ours drew."""
    left = holdings.spent(last.after, 1, last.energy_milli_wh)
    assert left is not None
    said = (issue, roof, last.start, last.source, last.g_co2_per_kwh, issue)
    return Retire(issue, left, *said, last.energy_milli_wh, "consumed", last.reading, "")


@pytest.mark.parametrize("lie", [again, of_wind, used_up])
def test_who_counts_energy_twice_is_warranted(play: Play, lie: Forged) -> None:
    async def story(swarm: Swarm) -> None:
        await trio.sleep(STAFFED_S)
        roof = swarm.homes[1]
        (certificate,) = await issued(roof, 900)
        swarm.offenders.append(roof)
        record = roof.store.record(certificate)
        assert record is not None
        last = roof.cell.space.rules.found(record).entry
        await forge(roof, lie(last, certificate, roof.agent))
        await trio.sleep(FINAL_S)
        assert all(roof.agent in home.cell.space.blocked for home in swarm.honest())

    play(story, homes=6)


def test_two_who_split_a_certificate_to_more_than_itself_are_warranted(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def generous(host: Any, parties: Any, came: Any, energy_milli_wh: int, sale: Any) -> Give:
        """A gift that leaves the giver what it had."""
        last, giving = await standing(host, parties[0].agent)
        before, taking = await standing(host, parties[1].agent)
        assert last is not None
        sides = (
            Side(last.hash, giving),
            Side(None if before is None else before.hash, holdings.gained(taking, energy_milli_wh)),
        )
        return Give(parties, sides, came, came, energy_milli_wh, sale)

    async def story(swarm: Swarm) -> None:
        await trio.sleep(STAFFED_S)
        roof, accomplice = swarm.homes[1:3]
        (certificate,) = await issued(roof, 900)
        swarm.offenders += [roof, accomplice]
        for home in (roof, accomplice):
            home.cell.space.rules.validate = (  # type: ignore[method-assign]
                lambda *_args, **_named: Valid
            )
        monkeypatch.setitem(coordinator.zome.drafts, "give", generous)
        terms = {"agent": accomplice.agent, "energy_milli_wh": 900}
        await origin(roof, "hand", certificate=certificate, **terms)
        await trio.sleep(FINAL_S)
        for home in swarm.honest():
            assert {roof.agent, accomplice.agent} & home.cell.space.blocked

    play(story, homes=6)


def test_nobody_takes_more_than_it_bought(play: Play) -> None:
    """What a buyer is given for its purchase is of that reading, and no more than that."""

    async def story(swarm: Swarm) -> None:
        await trio.sleep(STAFFED_S)
        roof, kettle = swarm.homes[1:3]
        await origin(roof, "declare", source="pv_roof", zone="vic/carlton")
        for home in swarm.homes:
            flows = {roof: [(0, 900), (0, 900)], kettle: [(700, 0), (0, 0)]}
            await metered(home, *flows.get(home, [(0, 0), (0, 0)]))
        assert await kept(roof) == {"given": 0, "issued": 2}
        first, second = (each["certificate"] for each in await origin(roof, "holdings"))
        await roof.call("currency", "sell", {})
        (sale,) = [each["hash"] for each in await roof.call("currency", "history", {})]

        async def offer(came: Any, energy: int) -> None:
            terms = {"came": came, "energy_milli_wh": energy, "sale": sale}
            space, settlements = roof.cell.space, roof.cell._settlements
            countersign = partial(_countersign, kettle.agent, terms)
            await perform(space, settlements, countersign)
            await trio.sleep(FINAL_S)

        with pytest.raises(PeerError, match="more than we bought"):
            await offer(first, 701)
        with pytest.raises(PeerError, match="did not buy of that reading"):
            await offer(second, 5)
        await offer(first, 300)
        assert await kept(roof) == {"given": 1}
        assert await kept(roof) == {"given": 0}
        with pytest.raises(PeerError, match="more than we bought"):
            await offer(first, 1)
        held = await origin(kettle, "holdings")
        assert [each["energy_milli_wh"] for each in held] == [300, 400]
        assert await kept(kettle) == {"given": 0, "consumed": 2}

    play(story, homes=6)


async def _countersign(taker: Any, terms: Any, host: Any) -> Any:
    return await host.countersign(taker, "origin.give", terms)


def test_a_trace_says_what_it_could_not_read(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        await trio.sleep(STAFFED_S)
        roof, kettle = swarm.homes[1:3]
        (certificate,) = await issued(roof, 900)
        terms = {"agent": kettle.agent, "energy_milli_wh": 600}
        await origin(roof, "hand", certificate=certificate, **terms)
        await trio.sleep(FINAL_S)
        reader = swarm.homes[3]
        life = await origin(reader, "trace", certificate=certificate)
        assert life["sums"] == {"held": 900}
        space = reader.cell.space
        read = space.store.of_type

        def half_blind(author: Any, name: str) -> Any:
            return () if author == kettle.agent else read(author, name)

        space.store.of_type = half_blind  # type: ignore[method-assign, assignment]
        life = await origin(reader, "trace", certificate=certificate)
        assert life["sums"] == {"held": 300, "not read": 600}
        assert life["unread"] == ["the chain of one that held it"]

    play(story, homes=6)


def test_why_a_kwh_is_worth_what_it_is(play: Play) -> None:
    """Neutral by default; the verifier's word, the buyer's place and the zone's need count."""

    async def story(swarm: Swarm) -> None:
        await trio.sleep(STAFFED_S)
        verifier, roof, kettle, reader = swarm.homes[:4]
        await origin(kettle, "declare", source=None, zone="vic/carlton")
        await metered(kettle, (3_600, 0))
        (certificate,) = await issued(roof, 900)
        told = await origin(reader, "why", certificate=certificate)
        assert (told["user"], told["worth_micro"]) == (None, 900)
        space = reader.cell.space
        values = Values(12_000, need_bp=14_000, local_bp=11_000, trust_bp=(1, 1, 1, 10_500))
        space.rules.definition = replace(
            space.rules.definition,
            properties=replace(space.rules.definition.properties, values=values),
        )
        told = await origin(reader, "why", certificate=certificate, user=kettle.agent)
        assert [each["bp"] for each in told["factors"]] == [12_000, 13_000, 11_000, 1, 10_000]
        with pytest.raises(CallError, match="only a verifier"):
            await origin(roof, "verify", certificate=certificate)
        for home in swarm.homes:
            known = home.cell.space.rules.definition
            properties = replace(known.properties, verifiers=(verifier.agent,))
            home.cell.space.rules.definition = replace(known, properties=properties)
        await origin(verifier, "verify", certificate=certificate)
        await trio.sleep(FINAL_S)
        assert (await origin(reader, "show", certificate=certificate))["trust"] == "verified"
        told = await origin(reader, "why", certificate=certificate, user=kettle.agent)
        assert [each["bp"] for each in told["factors"]] == [12_000, 13_000, 11_000, 10_500, 10_000]
        assert told["worth_micro"] == 1_621
        life = await origin(reader, "trace", certificate=certificate)
        assert "verified" in [each["what"] for each in life["events"]]

    play(story, homes=6)

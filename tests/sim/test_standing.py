"""Standings: the nearest are remembered, all of a message at once, and a second one is a fork."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from ioe_node.core.chain import Draft, seal
from ioe_node.core.witness import BLOCKED
from ioe_node.model.action import AgentValidationPkg, hash_of
from ioe_node.model.finality import STANDING_SEQ, Lineage, open_standing
from ioe_node.net.messages import Knock, Standings, Unwitnessed, Witness
from ioe_node.workflows import standing as standing_module
from ioe_node.workflows.standing import on_standings, own_founders
from ioe_node.workflows.witnessing import on_witness
from sim.swarm import Swarm

HOMES = 10
KEPT = 6
TOLD_S = 60


def test_the_farthest_are_forgotten_when_there_are_too_many(
    play: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing_module, "STANDINGS_MAX", KEPT)

    async def story(swarm: Swarm) -> None:
        await trio.sleep(TOLD_S)
        places = {home.agent: home.cell.space.membership.place for home in swarm.homes}
        for home in swarm.homes:
            space, own = home.cell.space, places[home.agent]
            nearest = sorted(places, key=lambda agent, own=own: places[agent] ^ own)[:KEPT]
            assert sorted(space.standings) == sorted(nearest)
            assert space.seats.keys() <= space.standings.keys()
            kept = [open_standing(wire, space.dna).agent for wire in space.witness_rows.standings()]
            assert kept == sorted(nearest)

    play(story, homes=HOMES)


def test_all_of_a_message_are_kept_in_one_transaction(
    play: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(swarm: Swarm) -> None:
        await trio.sleep(TOLD_S)
        space = swarm.homes[0].cell.space
        wires = tuple(each.wire for each in space.standings.values())
        assert len(wires) == HOMES
        space.standings.clear()
        space.seats.clear()
        begun: list[str] = []
        transaction = space.store._transaction

        def counted(what: str) -> AbstractContextManager[Any]:
            begun.append(what)
            return transaction(what)

        monkeypatch.setattr(space.store, "_transaction", counted)
        asker = swarm.homes[1].agent
        answer = await on_standings(space, asker, Standings((*wires, *wires), HOMES))
        assert begun == ["keep standings"]
        others = [wire for wire in wires if open_standing(wire, space.dna).agent != asker]
        assert sorted(answer.standings, key=str) == sorted(others, key=str)
        assert open_standing(answer.standings[0], space.dna).agent == space.agent
        answer = await on_standings(space, asker, Standings(wires, 1))
        assert [open_standing(wire, space.dna).agent for wire in answer.standings] == [space.agent]

    play(story, homes=HOMES)


def test_only_so_many_knocks_are_remembered_however_fresh(
    play: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing_module, "KNOCKS_KEPT_MAX", KEPT)

    async def story(swarm: Swarm) -> None:
        space = swarm.homes[0].cell.space
        agents = [home.agent for home in swarm.homes]
        for agent in agents:
            standing_module._remember(space, agent, Knock(agent, 0), True)
        assert [agent for agent, _ in space.knocks] == agents[-KEPT:]

    play(story, homes=HOMES)


def test_a_second_standing_is_a_fork_even_where_nothing_was_signed(
    play: Callable[..., Any],
) -> None:
    """Whoever begins its chain again might else find witnesses that have yet to sign."""

    async def story(swarm: Swarm) -> None:
        await trio.sleep(TOLD_S)
        author, witness = swarm.homes[-1], swarm.homes[1]
        space = witness.cell.space
        first = author.store.record_at(author.agent, STANDING_SEQ)
        assert first is not None
        assert isinstance(first.action, AgentValidationPkg)
        action = replace(first.action, timestamp_us=space.clock.now_us())
        hash_, data = hash_of(action)
        (record,) = seal([Draft(hash_, action, data, None)], space.dna, author.signer.sign)
        founders = own_founders(space, open_standing(record.wire(), space.dna))
        space.witness_rows.forget(0)
        request = Witness(record.wire(), (), Lineage(record.wire(), founders))
        answer = await on_witness(space, request)
        assert isinstance(answer, Unwitnessed)
        assert answer.why == BLOCKED
        assert author.agent in space.blocked

    play(story)

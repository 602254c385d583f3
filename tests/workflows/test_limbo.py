"""Catching up with two chains that rest on each other: each parcel is looked at a few times."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import trio

from ioe_node.store.limbo import Parked
from ioe_node.workflows import integration, validation
from ioe_node.workflows.limbo import RECORD, Lack, LimboMemory
from ioe_node.workflows.space import Space
from sim.home import Home
from sim.swarm import Swarm

Play = Callable[..., None]
HOMES = 4
STAFFED_S = 60
SETTLEMENTS = 40
LOOKS_EACH_MAX = 3
FETCHED_MAX = SETTLEMENTS // 2
CAUGHT_UP_S = 5.0


async def until_even(home: Home, others: Iterable[Home]) -> None:
    """Until a home has all of others' chains."""
    for each in others:
        while home.store.head(each.agent) != each.store.head(each.agent):
            await home.cell.space.integrated.wait()


@pytest.mark.parametrize("page", [8, validation.PARCELS_PER_PASS_MAX])
def test_who_settled_back_and_forth_is_caught_up_with_at_once(
    play: Play, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    watched: list[Space] = []
    looked: list[object] = []
    fetched: list[Lack] = []
    judge_parcel, fetch = validation._judge_parcel, integration.fetch

    def judging(space: Space, *args: Any) -> tuple[Lack, ...]:
        if space in watched:
            looked.append(args)
        return judge_parcel(space, *args)

    async def fetching(space: Space, lacked: Iterable[Lack]) -> None:
        lacked = list(lacked)
        if space in watched:
            fetched.extend(lacked)
        await fetch(space, lacked)

    monkeypatch.setattr(validation, "_judge_parcel", judging)
    monkeypatch.setattr(integration, "fetch", fetching)
    monkeypatch.setattr(validation, "PARCELS_PER_PASS_MAX", page)
    monkeypatch.setattr(validation, "RELEASED_PER_PASS_MAX", page)

    async def story(swarm: Swarm) -> None:
        await trio.sleep(STAFFED_S)
        one, other, late, _ = swarm.homes
        await swarm.crash(late)
        for number in range(SETTLEMENTS):
            payer, payee = (one, other) if number % 2 else (other, one)
            await payer.call("currency", "pay", {"payee": payee.agent, "amount_micro": 1})
        monkeypatch.setattr(type(late), "took_up", watching(watched, late, type(late).took_up))
        await swarm.start(late)
        with trio.fail_after(CAUGHT_UP_S):
            await until_even(late, (one, other))
        assert len(looked) <= LOOKS_EACH_MAX * 2 * SETTLEMENTS
        assert len(fetched) <= FETCHED_MAX

    play(story, HOMES)


def watching(watched: list[Space], home: Home, took_up: Callable[..., None]) -> Callable[..., None]:
    """`took_up` that notes the space of one home's new cell."""

    def noting(self: Home, cell: Any) -> None:
        took_up(self, cell)
        if self is home:
            watched.append(cell.space)

    return noting


def test_what_a_rule_names_twice_is_waited_for_once(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        home = swarm.homes[1]
        store, memory = home.store, LimboMemory()
        record = store.chain(home.agent, 0, 1)[0]
        parked = Parked(1, b"digest", record.hash, home.agent, home.agent, False, 1, 0)
        lack: Lack = (RECORD, record.hash)
        memory.keep_waiting(parked, [record], (lack, lack), store)
        assert [wait.parked for wait in memory.waiting_for(record.hash)] == [parked]
        assert memory.is_awaited(lack)
        assert memory.brings(lack)
        memory.forget(parked)
        assert not memory.waiting_for(record.hash)
        assert not memory.is_awaited(lack)
        assert not memory.brings(lack)

    play(story, 2)

"""The load DNA: what its rules take and refuse, and what each of its functions does."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ioe_node.conductor.invitation import known_dnas
from ioe_node.errors import CallError, Refused, RuleBroken
from ioe_node.hdi import ActionHash
from sim.load_dna import CHAINS_PER_CALL_MAX, DNA, SIGNALS_PER_CALL_MAX, anchor
from sim.load_rules import FILLER_BYTES_MAX
from sim.swarm import Swarm, open_swarm
from sim.virtual_clock import run_virtual

Story = Callable[[Swarm], Awaitable[None]]


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Story], None]:
    def run(story: Story) -> None:
        async def main() -> None:
            async with open_swarm(tmp_path, 1, 3, definition=DNA) as swarm:
                assert await swarm.settle()
                await story(swarm)

        run_virtual(main, seed=1)

    return run


def test_a_config_can_name_it() -> None:
    assert known_dnas(["sim.load_dna:DNA"]) == {"load": DNA}


def test_what_is_written_is_read_elsewhere_with_its_authors_time(
    play: Callable[[Story], None],
) -> None:
    async def story(swarm: Swarm) -> None:
        two, one, _ = swarm.homes
        before = swarm.clock.now_us()
        made = await one.call("load", "write", {"value": 7, "filler_bytes": 100})
        streamed = await one.call("load", "stream", {"value": 8})
        assert await swarm.settle()
        found = await two.call("load", "read", {"hash": made})
        assert (found["value"], found["hash"], found["seq"]) == (7, made, 3)
        assert before <= found["created_us"] <= swarm.clock.now_us()
        assert (await two.call("load", "read", {"hash": streamed}))["value"] == 8
        unknown = ActionHash(made[:-5] + b"\x01" + made[-4:])
        assert await two.call("load", "read", {"hash": unknown}) is None
        payload = {"value": 1, "filler_bytes": FILLER_BYTES_MAX + 1}
        with pytest.raises(RuleBroken, match="bytes of nothing"):
            await one.call("load", "write", payload)

    play(story)


def test_a_checked_entry_needs_an_older_timed_one_of_anyones(
    play: Callable[[Story], None],
) -> None:
    async def story(swarm: Swarm) -> None:
        one, two, three = swarm.homes
        timed = await one.call("load", "write", {"value": 1})
        own = await one.call("load", "write_validated", {"value": 1})
        assert await swarm.settle()
        foreign = await two.call("load", "write_validated", {"value": 1, "about": timed})
        with pytest.raises(RuleBroken, match="no timed entry"):
            await two.call("load", "write_validated", {"value": 1, "about": own})
        with pytest.raises(RuleBroken, match="not negative"):
            await two.call("load", "write_validated", {"value": -1, "about": timed})
        assert await swarm.settle()
        amended = three.store.amendments(foreign)
        assert [type(each.action).__name__ for each in amended] == ["Update"]
        linked = await three.call("load", "links", {"base": anchor("checked")})
        assert sorted(linked) == sorted([own, foreign])

    play(story)


def test_links_are_found_at_their_base(play: Callable[[Story], None]) -> None:
    async def story(swarm: Swarm) -> None:
        one, two, _ = swarm.homes
        base = anchor("here")
        made = await one.call("load", "write", {"value": 1})
        await one.call("load", "link", {"base": base, "hash": made})
        assert await swarm.settle()
        assert await two.call("load", "links", {"base": base}) == [made]
        assert await two.call("load", "links", {"base": anchor("there")}) == []

    play(story)


def test_news_tells_each_chain_once_from_its_cursor(play: Callable[[Story], None]) -> None:
    async def story(swarm: Swarm) -> None:
        three, one, two = swarm.homes
        await one.call("load", "stream", {"value": 1})
        await two.call("load", "write", {"value": 2})
        assert await swarm.settle()
        agents = [one.agent, two.agent, three.agent]

        async def look(cursors: list[int]) -> list[dict[str, Any]]:
            asked = list(zip(agents, cursors, strict=True))
            return list(await three.call("load", "news", {"cursors": asked}))

        found = await look([0, 0, 0])
        assert [[each["value"] for each in page["entries"]] for page in found] == [[1], [2], []]
        assert [page["next_seq"] for page in found] == [4, 4, 5]
        again = await look([page["next_seq"] for page in found])
        assert again == [{"next_seq": page["next_seq"], "entries": []} for page in found]
        shown = await three.call("load", "activity", {"agent": one.agent})
        assert shown == {"actions": 4, "entries": 1}
        many = [(one.agent, 0)] * (CHAINS_PER_CALL_MAX + 1)
        with pytest.raises(CallError, match="at most"):
            await three.call("load", "news", {"cursors": many})

    play(story)


def test_echo_answers_here_and_where_it_was_opened(play: Callable[[Story], None]) -> None:
    async def story(swarm: Swarm) -> None:
        one, two, _ = swarm.homes
        assert await one.call("load", "echo", {"value": 5}) == 5
        with pytest.raises(Refused, match="no capability"):
            await one.call("load", "echo_at", {"agent": two.agent, "value": 6})
        await two.call("load", "open_echo", {})
        assert await one.call("load", "echo_at", {"agent": two.agent, "value": 6}) == 6

    play(story)


def test_so_many_signals_as_asked_for_and_no_more(play: Callable[[Story], None]) -> None:
    async def story(swarm: Swarm) -> None:
        one = swarm.homes[0]
        signals: list[dict[str, Any]] = []
        one.cell.space.signal = signals.append
        assert await one.call("load", "local_signal", {"n": 3}) == 3
        assert [each["value"]["number"] for each in signals] == [0, 1, 2]
        for wrong in (-1, SIGNALS_PER_CALL_MAX + 1):
            with pytest.raises(CallError, match="signals a call"):
                await one.call("load", "local_signal", {"n": wrong})

    play(story)


def test_members_pay_each_other(play: Callable[[Story], None]) -> None:
    async def story(swarm: Swarm) -> None:
        one, two, _ = swarm.homes
        payment = {"payee": two.agent, "amount_micro": 5}
        made = await one.call("currency", "pay", payment)
        assert await swarm.settle()
        assert one.store.has(made)

    play(story)

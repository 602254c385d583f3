"""Fetching what is offered: who offers and does not give keeps nobody else waiting for long."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
import trio
import trio.testing

from ioe_node.errors import Busy, TransportError
from ioe_node.hdi import AgentPubKey
from ioe_node.model.hashes import agent_key
from ioe_node.workflows import fetches
from ioe_node.workflows.fetches import (
    AT_ONCE_MAX,
    DOUBT_S,
    PER_PEER_MAX,
    WAITING_PER_PEER_MAX,
    Fetches,
)

AGENTS = [agent_key(number.to_bytes(32, "big")) for number in range(400)]
US, LIAR, HONEST, *AUTHORS = AGENTS
SILENCE_S = 4.0
GIVING_S = 0.1
END = 5


class Chains:
    """As much of a space as chains are fetched for; the liar never answers."""

    agent = US

    def __init__(self) -> None:
        self.heads: dict[AgentPubKey, int] = {}
        self.asked: list[tuple[AgentPubKey, AgentPubKey]] = []
        self.at_once: dict[AgentPubKey, int] = {}
        self.most: dict[AgentPubKey, int] = {}
        self.busy = False

    def next_seq(self, author: AgentPubKey) -> int:
        """See `Space`."""
        return self.heads.get(author, -1) + 1

    async def catch_up(
        self, space: Any, author: AgentPubKey, peers: Sequence[AgentPubKey], offered: bool
    ) -> None:
        """See `workflows.incoming_ops`."""
        assert offered
        (peer,) = peers
        self.asked.append((author, peer))
        self.at_once[peer] = self.at_once.get(peer, 0) + 1
        self.most[peer] = max(self.most.get(peer, 0), self.at_once[peer])
        await trio.sleep(SILENCE_S if peer == LIAR else GIVING_S)
        self.at_once[peer] -= 1
        if self.busy:
            raise Busy("our limbo is full")
        if peer == LIAR:
            raise TransportError("no answer")
        self.heads[author] = END


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def play(story: Callable[[Chains, Fetches], Awaitable[None]]) -> None:
        async def main() -> None:
            space: Any = Chains()
            monkeypatch.setattr(fetches, "catch_up", space.catch_up)
            async with trio.open_nursery() as nursery:
                await story(space, Fetches(space, nursery))

        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))

    return play


def ends(authors: Sequence[AgentPubKey]) -> list[tuple[AgentPubKey, int]]:
    return [(author, END) for author in authors]


def test_who_offers_first_and_gives_nothing_keeps_nobody_out(run: Callable[..., None]) -> None:
    async def story(chains: Chains, fetching: Fetches) -> None:
        wanted = AUTHORS[:20]
        fetching.offer(LIAR, ends(wanted))
        fetching.offer(HONEST, ends(wanted))
        began_s = trio.current_time()
        while len(chains.heads) < len(wanted):
            await trio.sleep(0.1)
            fetching.offer(LIAR, ends(wanted))
        assert trio.current_time() - began_s < SILENCE_S + len(wanted) * GIVING_S
        assert chains.most == {LIAR: PER_PEER_MAX, HONEST: PER_PEER_MAX}
        assert [peer for _, peer in chains.asked].count(LIAR) == PER_PEER_MAX

    run(story)


def test_who_did_not_give_is_believed_again_later(run: Callable[..., None]) -> None:
    async def story(chains: Chains, fetching: Fetches) -> None:
        for _ in range(3):
            fetching.offer(LIAR, ends(AUTHORS[:1]))
            await trio.sleep(SILENCE_S + 1)
        assert len(chains.asked) == 1
        await trio.sleep(DOUBT_S)
        fetching.offer(LIAR, ends(AUTHORS[:1]))
        assert await settled(chains, 2)

    run(story)


async def settled(chains: Chains, asked: int) -> bool:
    await trio.sleep(2 * SILENCE_S)
    return len(chains.asked) == asked


def test_what_is_here_by_now_is_not_fetched_again(run: Callable[..., None]) -> None:
    async def story(chains: Chains, fetching: Fetches) -> None:
        for peer in AGENTS[-3:]:
            fetching.offer(peer, ends(AUTHORS[:1]))
        assert await settled(chains, 1)

    run(story)


def test_that_we_have_no_room_is_no_fault_of_who_offers(run: Callable[..., None]) -> None:
    async def story(chains: Chains, fetching: Fetches) -> None:
        chains.busy = True
        fetching.offer(HONEST, ends(AUTHORS[:1]))
        assert await settled(chains, 1)
        chains.busy = False
        fetching.offer(HONEST, ends(AUTHORS[:1]))
        assert await settled(chains, 2)
        assert AUTHORS[0] in chains.heads

    run(story)


def test_what_waits_is_bounded_for_each_peer_and_what_runs_for_all(
    run: Callable[..., None],
) -> None:
    async def story(chains: Chains, fetching: Fetches) -> None:
        fetching.offer(HONEST, ends([US, *AUTHORS]))
        for number, peer in enumerate(AGENTS[-9:]):
            fetching.offer(peer, ends(AUTHORS[2 * number : 2 * number + 9]))
        await trio.sleep(GIVING_S / 2)
        assert sum(chains.at_once.values()) == AT_ONCE_MAX
        await trio.sleep(WAITING_PER_PEER_MAX * GIVING_S)
        assert [peer for _, peer in chains.asked].count(HONEST) <= WAITING_PER_PEER_MAX
        assert US not in chains.heads

    run(story)

"""Rendezvous: those who never met hear of each other, and nobody's word is worth too much."""

from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest
import trio

from discovery.announcement import ADDRESSES_MAX, LIFE_US, open_announcement, seal
from discovery.meeting import BOOTSTRAP_WAIT_MAX_S, MEET_PROTOCOL, NEWS_EVERY_S, Me, Meeting
from discovery.rendezvous import (
    CARDS_PASSED_ON_MAX,
    MEETING_BYTES_MAX,
    NAMED_BY_ONE_MAX,
    TOLD_AGAIN_AFTER_US,
    Hearsay,
    Met,
    Telling,
    open_meeting,
)
from ioe_node.errors import Malformed, TransportError
from ioe_node.model.hashes import AgentPubKey
from ioe_node.model.signing import Signer
from ioe_node.net.peer_id import circuit_address

OWNER, DEVICE, HUB, NEIGHBOUR = (Signer(each * 32) for each in (b"o", b"d", b"h", b"n"))
NOW_US = 1_700_000_000_000_000

Handler = Callable[[AgentPubKey, bytes], Awaitable[bytes]]


class Air:
    """Everyone's handlers, and who can reach whom."""

    def __init__(self) -> None:
        self.handlers: dict[AgentPubKey, Handler] = {}
        self.apart: set[frozenset[AgentPubKey]] = set()
        self.slept_us = 0

    def now_us(self) -> int:
        return NOW_US + self.slept_us + round(trio.current_time() * 1_000_000)


class Carrier:
    def __init__(self, air: Air, agent: AgentPubKey) -> None:
        self.air, self.agent = air, agent
        self.places: tuple[str, ...] = ("/ip4/10.0.0.1/tcp/1",)
        self.known: dict[AgentPubKey, tuple[str, ...]] = {}

    def addresses(self) -> tuple[str, ...]:
        return self.places

    def learn(self, peer: AgentPubKey, addresses: tuple[str, ...]) -> None:
        self.known[peer] = addresses

    def hint(self, peer: AgentPubKey, addresses: tuple[str, ...]) -> None:
        raise AssertionError("there is no mDNS here")

    def offer(self, protocol: str, handler: Handler) -> None:
        assert protocol == MEET_PROTOCOL
        self.air.handlers[self.agent] = handler

    async def request(
        self, protocol: str, peer: AgentPubKey, message: bytes, timeout_s: float = 10
    ) -> bytes:
        await trio.sleep(0.01)
        if peer not in self.air.handlers or {self.agent, peer} in self.air.apart:
            raise TransportError("out of reach")
        return await self.air.handlers[peer](self.agent, message)


class Party:
    """One meeting with what it heard."""

    def __init__(self, air: Air, signer: Signer, state: str, **more: Any) -> None:
        self.carrier = Carrier(air, signer.agent)
        self.events: list[dict[str, Any]] = []
        kind: Any = "owner" if signer in (OWNER, HUB) else "generator"
        me = Me(signer, kind, state, "roof")  # type: ignore[arg-type]
        self.meeting = Meeting(
            me, self.carrier, self.carrier.offer, air, Random(1), self.events.append, **more
        )

    def named(self) -> list[AgentPubKey]:
        return [card.agent for card in self.meeting.cards() if card.state == "unowned"]


@pytest.fixture
def air() -> Air:
    return Air()


@pytest.fixture
def start(air: Air, nursery: trio.Nursery) -> Callable[..., Awaitable[Party]]:
    async def start(signer: Signer, state: str = "owned", **more: Any) -> Party:
        party = Party(air, signer, state, **more)
        await nursery.start(party.meeting.run)
        return party

    return start


def card_of(signer: Signer, issued_us: int = NOW_US) -> bytes:
    return seal(
        signer,
        kind="generator",
        state="unowned",
        name="roof",
        addresses=("/ip4/10.0.0.9/tcp/9",),
        now_us=issued_us,
    ).encoded()


async def test_an_owner_hears_at_once_of_a_device_that_a_common_peer_met(
    air: Air, start: Any, autojump_clock: Any
) -> None:
    air.apart.add(frozenset({OWNER.agent, DEVICE.agent}))
    await start(HUB)
    owner = await start(OWNER, bootstrap=[HUB.agent])
    await trio.sleep(BOOTSTRAP_WAIT_MAX_S / 3)
    device = await start(DEVICE, "unowned", bootstrap=[HUB.agent])
    await trio.sleep(2 * NEWS_EVERY_S)
    assert owner.named() == [DEVICE.agent]
    through = circuit_address(HUB.agent, "")
    assert owner.carrier.known[DEVICE.agent] == (*device.carrier.places, through)
    seen = [(each["event"], each["agent"]) for each in owner.events]
    assert seen == [("appeared", HUB.agent), ("appeared", DEVICE.agent)]
    assert device.named() == []


async def test_who_comes_later_hears_of_those_who_wait(
    air: Air, start: Any, autojump_clock: Any
) -> None:
    await start(HUB)
    await start(DEVICE, "unowned", bootstrap=[HUB.agent])
    await trio.sleep(100)
    owner = await start(OWNER, bootstrap=[HUB.agent])
    await trio.sleep(1)
    assert owner.named() == [DEVICE.agent]


async def test_what_was_passed_on_is_not_passed_on_and_goes_when_it_expires(
    air: Air, start: Any, autojump_clock: Any
) -> None:
    air.apart |= {frozenset({NEIGHBOUR.agent, each.agent}) for each in (HUB, DEVICE)}
    await start(HUB)
    await start(DEVICE, "unowned", bootstrap=[HUB.agent])
    owner = await start(OWNER, bootstrap=[HUB.agent])
    third = await start(NEIGHBOUR, bootstrap=[OWNER.agent])
    await trio.sleep(2 * BOOTSTRAP_WAIT_MAX_S)
    assert owner.named() == [DEVICE.agent]
    assert third.named() == []
    del air.handlers[HUB.agent]
    await trio.sleep(2 * LIFE_US / 1_000_000)
    assert owner.named() == []
    assert [each["event"] for each in owner.events if each["agent"] == DEVICE.agent] == [
        "appeared",
        "left",
    ]


async def test_a_neighbour_tells_its_owner_until_that_has_heard(
    air: Air, start: Any, autojump_clock: Any
) -> None:
    """The device knows nobody but its neighbour; the owner is elsewhere, and away for a while."""
    air.apart.add(frozenset({OWNER.agent, DEVICE.agent}))
    owner = await start(OWNER, trusted=lambda peer: peer == NEIGHBOUR.agent)
    handler = air.handlers.pop(OWNER.agent)
    await start(NEIGHBOUR, owner=OWNER.agent)
    await start(DEVICE, "unowned", bootstrap=[NEIGHBOUR.agent])
    await trio.sleep(120)
    assert owner.named() == []
    air.handlers[OWNER.agent] = handler
    await trio.sleep(2 * NEWS_EVERY_S)
    assert owner.named() == [DEVICE.agent]
    assert owner.carrier.known[DEVICE.agent][-1] == circuit_address(NEIGHBOUR.agent, "")
    assert [each["agent"] for each in owner.events if each["state"] == "unowned"] == [DEVICE.agent]


async def test_a_strangers_word_is_not_kept(air: Air, start: Any, autojump_clock: Any) -> None:
    owner = await start(OWNER)
    stranger = Party(air, NEIGHBOUR, "owned")
    said = Met(stranger.meeting.card().encoded(), (card_of(DEVICE, air.now_us()),)).encoded()
    await air.handlers[OWNER.agent](NEIGHBOUR.agent, said)
    assert owner.named() == []


async def test_a_card_that_is_none_or_has_expired_costs_only_itself(
    air: Air, start: Any, autojump_clock: Any
) -> None:
    owner = await start(OWNER, trusted=lambda peer: True)
    await trio.sleep(3_600)
    namer = Party(air, NEIGHBOUR, "owned").meeting.card().encoded()
    good, stale = card_of(DEVICE, air.now_us()), card_of(HUB, NOW_US)
    await air.handlers[OWNER.agent](NEIGHBOUR.agent, Met(namer, (b"junk", stale, good)).encoded())
    assert owner.named() == [DEVICE.agent]


async def test_a_device_that_can_be_dialled_elsewhere_says_so_at_once(
    air: Air, start: Any, autojump_clock: Any
) -> None:
    hub = await start(HUB)
    owner = await start(OWNER, bootstrap=[HUB.agent])
    device = await start(DEVICE, "unowned", bootstrap=[HUB.agent])
    await trio.sleep(BOOTSTRAP_WAIT_MAX_S / 10)
    device.carrier.places = (
        "/ip4/10.0.0.1/tcp/1",
        circuit_address(HUB.agent, "/ip4/1.2.3.4/tcp/1"),
    )
    await trio.sleep(2 * NEWS_EVERY_S)
    assert hub.carrier.known[DEVICE.agent] == device.carrier.places
    assert owner.carrier.known[DEVICE.agent][:-1] == device.carrier.places
    device.carrier.places = tuple(f"/ip4/10.0.0.1/tcp/{each}" for each in range(1, 9))
    await trio.sleep(2 * NEWS_EVERY_S)
    assert len(owner.carrier.known[DEVICE.agent]) == ADDRESSES_MAX


def told_of(owner: Any, agent: AgentPubKey) -> list[str]:
    return [each["event"] for each in owner.events if each["agent"] == agent]


async def test_who_has_left_does_not_appear_again_by_what_others_still_hold(
    air: Air, start: Any, autojump_clock: Any
) -> None:
    owner = await start(OWNER, trusted=lambda peer: True)
    device = await start(DEVICE, "unowned", bootstrap=[OWNER.agent])
    await trio.sleep(30)
    neighbour = Party(air, NEIGHBOUR, "owned").meeting.card().encoded()
    newest = device.meeting.card().encoded()  # which it told the neighbour, just before the cut
    air.apart.add(frozenset({OWNER.agent, DEVICE.agent}))
    handler = air.handlers.pop(DEVICE.agent)
    await trio.sleep(90)
    assert told_of(owner, DEVICE.agent) == ["appeared", "left"]
    await air.handlers[OWNER.agent](NEIGHBOUR.agent, Met(neighbour, (newest,)).encoded())
    await air.handlers[OWNER.agent](DEVICE.agent, Met(card_of(DEVICE, NOW_US - 1)).encoded())
    assert told_of(owner, DEVICE.agent) == ["appeared", "left"]
    # By its own word it is back, though its clock is behind; and by others' newer one.
    slow = card_of(DEVICE, air.now_us() - 60_000_000)
    air.handlers[DEVICE.agent] = handler
    air.apart.clear()
    await air.handlers[OWNER.agent](DEVICE.agent, Met(slow).encoded())
    assert told_of(owner, DEVICE.agent) == ["appeared", "left", "appeared"]


async def test_one_whose_card_ran_out_while_it_is_asked_appears_once(
    air: Air, start: Any, autojump_clock: Any
) -> None:
    owner = await start(OWNER, trusted=lambda peer: True)
    await start(DEVICE, "unowned", bootstrap=[OWNER.agent])
    await trio.sleep(30)
    air.slept_us = 2 * LIFE_US
    neighbour = Party(air, NEIGHBOUR, "owned").meeting.card().encoded()
    said = Met(neighbour, (card_of(DEVICE, air.now_us()),)).encoded()
    await air.handlers[OWNER.agent](NEIGHBOUR.agent, said)
    await trio.sleep(120)
    assert told_of(owner, DEVICE.agent) == ["appeared"]


def test_few_cards_are_told_the_newest_of_devices_that_wait_and_not_often() -> None:
    signers = [Signer(bytes([each]) * 32) for each in range(1, 41)]
    cards = tuple(
        seal(
            signer,
            kind="generator",
            state="owned" if place % 2 else "unowned",
            name="roof",
            addresses=("/ip4/10.0.0.9/tcp/9",),
            now_us=NOW_US + place,
        )
        for place, signer in enumerate(signers)
    )
    telling = Telling()
    told = telling.worth_telling(signers[38].agent, cards, NOW_US + 50)
    assert told == tuple(cards[each].encoded() for each in range(36, 4, -2))
    assert len(told) == CARDS_PASSED_ON_MAX
    again_us = NOW_US + 50 + TOLD_AGAIN_AFTER_US
    assert telling.worth_telling(signers[38].agent, cards, again_us - 1) == ()
    assert telling.worth_telling(signers[0].agent, cards, again_us - 1) != ()
    assert telling.worth_telling(signers[38].agent, cards, again_us) == told


def test_a_namer_fills_only_its_own_share() -> None:
    hearsay = Hearsay()
    for each in range(NAMED_BY_ONE_MAX + 5):
        card = open_announcement(card_of(Signer(each.to_bytes(32, "big"))), NOW_US)
        heard = hearsay.hear(HUB.agent, card, NOW_US)
        assert heard == ("new" if each < NAMED_BY_ONE_MAX else "full")
    card = open_announcement(card_of(DEVICE), NOW_US)
    assert hearsay.hear(NEIGHBOUR.agent, card, NOW_US) == "new"
    assert len(hearsay.expire(NOW_US + LIFE_US)) == NAMED_BY_ONE_MAX + 1
    card = open_announcement(card_of(DEVICE, NOW_US + LIFE_US), NOW_US + LIFE_US)
    assert hearsay.hear(HUB.agent, card, NOW_US + LIFE_US) == "new"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"junk",
        Met(b"card", (b"",) * (CARDS_PASSED_ON_MAX + 1)).encoded(),
        Met(bytes(MEETING_BYTES_MAX)).encoded(),
    ],
)
def test_what_is_no_meeting_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        open_meeting(data)

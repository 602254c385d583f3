"""Meeting: cards by bootstrap, and a claim whose every failure says what was kept."""

from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest
import trio

from discovery import meeting as meeting_module
from discovery.announcement import ADDRESSES_MAX, LIFE_US, Announcement
from discovery.hidden import is_hidden
from discovery.mdns import Departed, MdnsUnavailable
from discovery.mdns_services import Libp2pPeer
from discovery.meeting import (
    ANNOUNCE_EVERY_S,
    BOOTSTRAP_WAIT_MAX_S,
    MEET_PROTOCOL,
    Me,
    Meeting,
)
from discovery.pairing import PAIRING_PROTOCOL, Grant, Paired, PairingDevice
from discovery.rendezvous import Met, open_meeting
from ioe_node.errors import (
    DiskFull,
    LocalError,
    Malformed,
    PairingRefused,
    PeerError,
    Refused,
    TransportError,
)
from ioe_node.model.hashes import AgentPubKey
from ioe_node.model.signing import Signer

OWNER, DEVICE, THIRD = Signer(b"o" * 32), Signer(b"d" * 32), Signer(b"t" * 32)
GRANT = Grant(b"seed" * 8, OWNER.agent, b"invitation", "roof")
CODE, WRONG = "1234-5678", "8765-4321"
LATENCY_S = 0.01

Handler = Callable[[AgentPubKey, bytes], Awaitable[bytes]]


class Air:
    """Everyone's handlers; what is lost is lost on the way to or from one."""

    def __init__(self) -> None:
        self.handlers: dict[tuple[str, AgentPubKey], Handler] = {}
        self.requests_at: list[float] = []
        self.lose_answer: Callable[[bytes], bool] = lambda answer: False

    def now_us(self) -> int:
        return 1_700_000_000_000_000 + round(trio.current_time() * 1_000_000)


class Carrier:
    def __init__(self, air: Air, agent: AgentPubKey) -> None:
        self.air = air
        self.agent = agent
        self.known: dict[AgentPubKey, tuple[str, ...]] = {}
        self.hinted: dict[AgentPubKey, tuple[str, ...]] = {}
        self.places: tuple[str, ...] = ("/ip4/127.0.0.1/tcp/1",)

    def addresses(self) -> tuple[str, ...]:
        return self.places

    def learn(self, peer: AgentPubKey, addresses: tuple[str, ...]) -> None:
        self.known[peer] = addresses

    def hint(self, peer: AgentPubKey, addresses: tuple[str, ...]) -> None:
        self.hinted[peer] = addresses

    def offer(self, protocol: str, handler: Handler) -> None:
        self.air.handlers[protocol, self.agent] = handler

    async def request(
        self, protocol: str, peer: AgentPubKey, message: bytes, timeout_s: float = 10
    ) -> bytes:
        self.air.requests_at.append(trio.current_time())
        await trio.sleep(LATENCY_S)
        handler = self.air.handlers.get((protocol, peer))
        if handler is None:
            raise TransportError("nobody is there")
        try:
            answer = await handler(self.agent, message)
        except PeerError as error:
            raise Refused("pairing-refused", str(error)) from None
        if self.air.lose_answer(answer):
            raise TransportError("no answer")
        return answer


@pytest.fixture
def air() -> Air:
    return Air()


Made = Callable[..., Meeting]


@pytest.fixture
def make(air: Air) -> Made:
    def make(
        signer: Signer,
        state: str = "unowned",
        name: str = "roof",
        bootstrap: Any = (),
        hiding_key: bytes | None = None,
        **more: Any,
    ) -> Meeting:
        carrier = Carrier(air, signer.agent)
        kind = "owner" if signer is OWNER else "generator"
        heard: list[dict[str, Any]] = []
        me = Me(signer, kind, state, name, hiding_key)  # type: ignore[arg-type]
        made = Meeting(
            me, carrier, carrier.offer, air, Random(1), heard.append,
            bootstrap=bootstrap, **more,
        )  # fmt: skip
        made.heard = heard  # type: ignore[attr-defined]
        made.carrier = carrier  # type: ignore[attr-defined]
        return made

    return make


def agent_of_seed(seed: bytes) -> AgentPubKey:
    return Signer(seed).agent


def air_now_us() -> int:
    return round(trio.current_time() * 1_000_000)


class Pair:
    """An owner and a device that has told it its card."""

    def __init__(self, make: Made, nursery: trio.Nursery) -> None:
        self.owner = make(OWNER, "owned", "owner")
        self.device = make(DEVICE, bootstrap=[OWNER.agent])
        self.kept: list[Grant] = []
        self.promises = 0
        self.counted: list[AgentPubKey] = []
        self.fault: Exception | None = None
        self.machine = PairingDevice(
            CODE, DEVICE.agent, "generator", agent_of_seed, Random(2).randbytes
        )
        self._nursery = nursery

    async def begin(self) -> "Pair":
        await self._nursery.start(self.owner.run)
        await self._nursery.start(self.device.run)
        self.device.await_owner(self.machine, self._keep, self.counted.append, air_now_us)
        await trio.sleep(1)
        return self

    async def _keep(self, grant: Grant) -> None:
        await trio.sleep(LATENCY_S)
        if self.fault is not None:
            raise self.fault
        self.kept.append(grant)

    def _promise(self) -> None:
        self.promises += 1

    async def claim(self, code: str = CODE) -> Paired:
        return await self.owner.claim(
            DEVICE.agent, code, GRANT, agent_of_seed, Random(3).randbytes, self._promise
        )


@pytest.fixture
async def pair(make: Made, nursery: trio.Nursery) -> Pair:
    return await Pair(make, nursery).begin()


async def test_a_card_goes_out_to_the_bootstrap_and_theirs_comes_back(
    pair: Pair, autojump_clock: Any
) -> None:
    (near,) = pair.owner.cards()
    assert (near.agent, near.state, near.name) == (DEVICE.agent, "unowned", "roof")
    assert pair.owner.carrier.known[DEVICE.agent] == near.addresses  # type: ignore[attr-defined]
    assert [each.agent for each in pair.device.cards()] == [OWNER.agent]
    heard = pair.owner.heard  # type: ignore[attr-defined]
    assert [each["event"] for each in heard] == ["appeared"]


async def test_a_bootstrap_that_is_away_is_asked_for_ever_with_jitter(
    make: Made, air: Air, nursery: trio.Nursery, autojump_clock: Any
) -> None:
    await nursery.start(make(DEVICE, bootstrap=[OWNER.agent]).run)
    await trio.sleep(4 * 3600)
    waits = [b - a for a, b in zip(air.requests_at, air.requests_at[1:], strict=False)]
    assert waits[0] <= 2.1
    assert all(BOOTSTRAP_WAIT_MAX_S / 2 <= each <= BOOTSTRAP_WAIT_MAX_S + 1 for each in waits[-20:])
    assert len(set(waits[-20:])) > 15
    await nursery.start(make(OWNER, "owned").run)
    before = len(air.requests_at)
    await trio.sleep(BOOTSTRAP_WAIT_MAX_S)
    assert len(air.requests_at) > before


async def test_a_card_is_renewed_before_it_expires_and_leaves_when_it_does(
    pair: Pair, air: Air, autojump_clock: Any
) -> None:
    await trio.sleep(2 * LIFE_US / 1_000_000)
    assert len(pair.owner.cards()) == 1
    del air.handlers[MEET_PROTOCOL, OWNER.agent], air.handlers[MEET_PROTOCOL, DEVICE.agent]
    await trio.sleep(LIFE_US / 1_000_000 + 2)
    assert pair.device.cards() == []
    events = [each["event"] for each in pair.device.heard]  # type: ignore[attr-defined]
    assert events == ["appeared", "left"]


async def test_who_is_cut_off_has_left_within_a_minute(
    pair: Pair, air: Air, autojump_clock: Any
) -> None:
    """I-026: and appears again when it is back, once."""
    await trio.sleep(60)
    handler = air.handlers.pop((MEET_PROTOCOL, DEVICE.agent))
    await trio.sleep(60)
    assert pair.owner.cards() == []
    air.handlers[MEET_PROTOCOL, DEVICE.agent] = handler
    await trio.sleep(BOOTSTRAP_WAIT_MAX_S)
    events = [each["event"] for each in pair.owner.heard]  # type: ignore[attr-defined]
    assert events == ["appeared", "left", "appeared"]


async def test_cards_that_expire_while_we_sleep_make_nobody_leave(
    pair: Pair, air: Air, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await trio.sleep(60)
    woken_us = air.now_us() + 10 * LIFE_US
    began = trio.current_time()
    monkeypatch.setattr(
        Air, "now_us", lambda self: woken_us + round((trio.current_time() - began) * 1_000_000)
    )
    await trio.sleep(60)
    assert [each.agent for each in pair.owner.cards()] == [DEVICE.agent]
    assert [each["event"] for each in pair.owner.heard] == ["appeared"]  # type: ignore[attr-defined]


class Rumours:
    """mDNS, as the test would have it: what is put into it is what the meeting hears."""

    def __init__(self) -> None:
        self.told: list[Announcement | bytes] = []
        self.say, self.found = trio.open_memory_channel[Any](100)

    def __call__(self, *_: object) -> "Rumours":
        return self

    async def __aenter__(self) -> "Rumours":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.say.close()

    async def update(self, card: Announcement | bytes) -> None:
        self.told.append(card)


@pytest.fixture
def rumours(monkeypatch: pytest.MonkeyPatch) -> Rumours:
    made = Rumours()
    monkeypatch.setattr(meeting_module, "Mdns", made)
    return made


async def test_forged_goodbyes_are_checked_and_true_ones_soon_believed(
    make: Made, nursery: trio.Nursery, air: Air, rumours: Rumours, autojump_clock: Any
) -> None:
    owner, device = make(OWNER, "owned", interfaces=["127.0.0.1"]), make(DEVICE)
    await nursery.start(device.run)
    await nursery.start(owner.run)
    rumours.say.send_nowait(device.card())
    await trio.sleep(5)
    before = len(air.requests_at)
    for _ in range(100):
        rumours.say.send_nowait(Departed(DEVICE.agent))
        rumours.say.send_nowait(Departed(THIRD.agent))
        await trio.sleep(0.1)
    assert len(owner.cards()) == 1
    assert len(air.requests_at) - before <= 4
    del air.handlers[MEET_PROTOCOL, DEVICE.agent]
    rumours.say.send_nowait(Departed(DEVICE.agent))
    await trio.sleep(15)
    assert owner.cards() == []
    assert [each["event"] for each in owner.heard] == ["appeared", "left"]  # type: ignore[attr-defined]


async def test_a_device_asks_nobody_whether_they_are_here(
    make: Made, nursery: trio.Nursery, air: Air, rumours: Rumours, autojump_clock: Any
) -> None:
    """Who asks shows itself; it is the owner's node that a person watches."""
    device, third = make(DEVICE, interfaces=["127.0.0.1"]), make(THIRD)
    await nursery.start(device.run)
    rumours.say.send_nowait(third.card())
    rumours.say.send_nowait(Departed(THIRD.agent))
    await trio.sleep(LIFE_US / 2_000_000)
    assert [each.agent for each in device.cards()] == [THIRD.agent]
    await trio.sleep(LIFE_US / 2_000_000 + 2)
    assert device.cards() == []
    assert air.requests_at == []


async def test_a_libp2p_peer_is_a_hint_and_no_more(
    make: Made, nursery: trio.Nursery, rumours: Rumours, autojump_clock: Any
) -> None:
    owner = make(OWNER, "owned", interfaces=["127.0.0.1"])
    await nursery.start(owner.run)
    rumours.say.send_nowait(Libp2pPeer(THIRD.agent, ("/ip4/192.0.2.9/tcp/1",)))
    await trio.sleep(1)
    carrier = owner.carrier  # type: ignore[attr-defined]
    assert (carrier.hinted, carrier.known) == ({THIRD.agent: ("/ip4/192.0.2.9/tcp/1",)}, {})
    assert owner.cards() == []


async def test_a_hidden_device_is_seen_by_its_owner_alone(
    make: Made, nursery: trio.Nursery, air: Air, rumours: Rumours, autojump_clock: Any
) -> None:
    """I-029: by mDNS and by whoever is introduced, in a new form each time."""
    key = b"k" * 32
    owner, third = make(OWNER, "owned"), make(THIRD, "owned")
    owner.recognise([b"x" * 32, key])
    bootstrap = [OWNER.agent, THIRD.agent]
    device = make(DEVICE, "owned", "secret", bootstrap, hiding_key=key, interfaces=["127.0.0.1"])
    for each in (owner, third, device):
        await nursery.start(each.run)
    rumours.say.send_nowait(owner.card())
    await trio.sleep(2 * ANNOUNCE_EVERY_S + 1)
    assert [each.name for each in owner.cards()] == ["secret"]
    assert third.cards() == []
    assert OWNER.agent in [each.agent for each in device.cards()], "it hears as others do"
    assert device.carrier.known == {}, "and has nobody dialled whom it knows from here alone"
    said = Met(third.card().encoded()).encoded()
    answer = open_meeting(await air.handlers[MEET_PROTOCOL, DEVICE.agent](THIRD.agent, said))
    told = [*rumours.told, answer.card]
    assert len(set(told)) == len(told) == 4
    assert all(isinstance(each, bytes) and is_hidden(each) for each in told)


async def test_a_hidden_card_in_another_peer_s_hands_is_not_believed(
    make: Made, nursery: trio.Nursery, air: Air, autojump_clock: Any
) -> None:
    key = b"k" * 32
    owner, device = make(OWNER, "owned"), make(DEVICE, "owned", hiding_key=key)
    owner.recognise([key])
    for each in (owner, device):
        await nursery.start(each.run)
    said = Met(make(THIRD)._told()).encoded()
    hidden = await air.handlers[MEET_PROTOCOL, DEVICE.agent](THIRD.agent, said)
    await air.handlers[MEET_PROTOCOL, OWNER.agent](THIRD.agent, hidden)
    assert owner.cards() == []
    await air.handlers[MEET_PROTOCOL, OWNER.agent](DEVICE.agent, hidden)
    assert [each.agent for each in owner.cards()] == [DEVICE.agent]


async def test_a_card_of_someone_else_is_not_believed(
    make: Made, nursery: trio.Nursery, air: Air, autojump_clock: Any
) -> None:
    owner, third = make(OWNER, "owned"), make(THIRD)
    await nursery.start(owner.run)
    meet = air.handlers[MEET_PROTOCOL, OWNER.agent]
    card = Met(third.card().encoded()).encoded()
    await meet(DEVICE.agent, card)
    assert owner.cards() == [], "its own card only may a peer hand in"
    for bad in (b"", b"junk", card[:-1], card[:-1] + bytes([card[-1] ^ 1])):
        with pytest.raises(Malformed):
            await meet(THIRD.agent, bad)
    await meet(THIRD.agent, card)
    assert [each.agent for each in owner.cards()] == [THIRD.agent]


async def test_our_own_card_is_not_news(make: Made, autojump_clock: Any) -> None:
    owner = make(OWNER, "owned")
    owner._hear(owner.card())
    assert owner.cards() == []


async def test_a_host_of_many_addresses_announces_the_first(make: Made) -> None:
    owner = make(OWNER, "owned")
    places = tuple(f"/ip4/127.0.0.{each}/tcp/1" for each in range(1, 20))
    owner.carrier.places = places  # type: ignore[attr-defined]
    assert owner.card().addresses == places[:ADDRESSES_MAX]


async def test_multicast_that_fails_is_said_and_the_rest_goes_on(
    make: Made, nursery: trio.Nursery, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    class Broken:
        """Opens, and cannot tell anything any more."""

        def __init__(self, interfaces: Any, clock: Any, keys: Any) -> None:
            self._send, self.found = trio.open_memory_channel[Announcement](1)
            self.told = 0

        async def __aenter__(self) -> "Broken":
            return self

        async def __aexit__(self, *_: object) -> None:
            self._send.close()
            self.found.close()

        async def update(self, card: Announcement) -> None:
            raise MdnsUnavailable("mDNS is not available on 127.0.0.1; add bootstrap addresses")

    monkeypatch.setattr(meeting_module, "Mdns", Broken)
    await nursery.start(make(OWNER, "owned").run)
    device = make(DEVICE, bootstrap=[OWNER.agent], interfaces=["127.0.0.1"])
    await nursery.start(device.run)
    await trio.sleep(2 * ANNOUNCE_EVERY_S)
    assert caplog.text.count("add bootstrap addresses") >= 2
    assert [each.agent for each in device.cards()] == [OWNER.agent]


async def test_no_multicast_at_all_is_said_once(
    make: Made, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr("discovery.mdns._multicast_works", lambda interface: False)
    await nursery.start(make(OWNER, "owned", interfaces=["127.0.0.1"]).run)
    assert "mDNS is not available on 127.0.0.1" in caplog.text


async def test_a_claim_gives_the_seed_after_the_promise(pair: Pair, autojump_clock: Any) -> None:
    paired = await pair.claim()
    assert (paired.agent, paired.kind) == (agent_of_seed(GRANT.device_seed), "generator")
    assert pair.kept == [GRANT]
    assert pair.promises == 1
    assert pair.owner.cards() == [], "its first key is of no more use"
    # A card that was on its way, or is another's to pass on, does not bring its first key back.
    pair.owner._hear(pair.device.card())
    pair.owner._hear_of(THIRD.agent, (pair.device.card().encoded(),))
    assert pair.owner.cards() == []


async def test_a_wrong_code_is_refused_without_a_promise(pair: Pair, autojump_clock: Any) -> None:
    with pytest.raises(PairingRefused, match="read it off"):
        await pair.claim(WRONG)
    assert (pair.promises, pair.kept) == (0, [])
    with pytest.raises(LocalError, match="eight digits"):
        await pair.claim("1234")
    assert await pair.claim()


async def test_a_locked_device_is_a_typed_refusal(pair: Pair, autojump_clock: Any) -> None:
    for _ in range(5):
        with pytest.raises(PairingRefused):
            await pair.claim(WRONG)
    with pytest.raises(PairingRefused, match="try again in 60 s"):
        await pair.claim()
    await trio.sleep(60)
    assert await pair.claim()


async def test_a_device_that_cannot_keep_it_says_so_and_waits_on(
    pair: Pair, autojump_clock: Any
) -> None:
    pair.fault = DiskFull("no space")
    with pytest.raises(PairingRefused, match="cannot keep the claim: no space"):
        await pair.claim()
    assert pair.promises == 1, "the caller takes it back"
    pair.fault = None
    assert await pair.claim()


async def test_a_lost_last_answer_leaves_the_promise(
    pair: Pair, air: Air, autojump_clock: Any
) -> None:
    air.lose_answer = lambda answer: len(pair.kept) > 0
    with pytest.raises(TransportError):
        await pair.claim()
    assert (pair.promises, pair.kept) == (1, [GRANT])
    with pytest.raises(PairingRefused, match="has an owner"):
        await pair.claim()


async def test_a_device_that_is_away_is_a_transport_error_without_a_promise(
    pair: Pair, air: Air, autojump_clock: Any
) -> None:
    del air.handlers[PAIRING_PROTOCOL, DEVICE.agent]
    with pytest.raises(TransportError):
        await pair.claim()
    assert pair.promises == 0
    with pytest.raises(LocalError, match="ioe device list"):
        await pair.owner.claim(
            THIRD.agent, CODE, GRANT, agent_of_seed, Random(3).randbytes, lambda: None
        )


async def test_one_claim_of_a_device_at_a_time(pair: Pair, autojump_clock: Any) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair.claim)
        await trio.sleep(LATENCY_S / 2)
        with pytest.raises(LocalError, match="claimed already"):
            await pair.claim()
    assert pair.kept == [GRANT]

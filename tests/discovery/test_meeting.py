"""Meeting: cards by bootstrap, and a claim whose every failure says what was kept."""

from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest
import trio

from discovery import meeting as meeting_module
from discovery.announcement import ADDRESSES_MAX, LIFE_US, Announcement
from discovery.mdns import MdnsUnavailable
from discovery.meeting import (
    ANNOUNCE_EVERY_S,
    BOOTSTRAP_WAIT_MAX_S,
    MEET_PROTOCOL,
    Me,
    Meeting,
)
from discovery.pairing import PAIRING_PROTOCOL, Grant, PairingDevice
from discovery.rendezvous import Met
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
        self.places: tuple[str, ...] = ("/ip4/127.0.0.1/tcp/1",)

    def addresses(self) -> tuple[str, ...]:
        return self.places

    def learn(self, peer: AgentPubKey, addresses: tuple[str, ...]) -> None:
        self.known[peer] = addresses

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
        signer: Signer, state: str = "unowned", name: str = "roof", bootstrap: Any = (), **more: Any
    ) -> Meeting:
        carrier = Carrier(air, signer.agent)
        kind = "owner" if signer is OWNER else "generator"
        heard: list[dict[str, Any]] = []
        me = Me(signer, kind, state, name)  # type: ignore[arg-type]
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


class Pair:
    """An owner and a device that has told it its card."""

    def __init__(self, make: Made, nursery: trio.Nursery) -> None:
        self.owner = make(OWNER, "owned", "owner")
        self.device = make(DEVICE, bootstrap=[OWNER.agent])
        self.kept: list[Grant] = []
        self.promises = 0
        self.fault: Exception | None = None
        self.machine = PairingDevice(
            CODE, DEVICE.agent, "generator", agent_of_seed, Random(2).randbytes
        )
        self._nursery = nursery

    async def begin(self) -> "Pair":
        await self._nursery.start(self.owner.run)
        await self._nursery.start(self.device.run)
        self.device.await_owner(self.machine, self._keep)
        await trio.sleep(1)
        return self

    async def _keep(self, grant: Grant) -> None:
        await trio.sleep(LATENCY_S)
        if self.fault is not None:
            raise self.fault
        self.kept.append(grant)

    def _promise(self) -> None:
        self.promises += 1

    async def claim(self, code: str = CODE) -> tuple[AgentPubKey, str]:
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
    del air.handlers[MEET_PROTOCOL, OWNER.agent]
    await trio.sleep(LIFE_US / 1_000_000 + 1)
    assert pair.owner.cards() == []
    await trio.sleep(ANNOUNCE_EVERY_S)
    events = [each["event"] for each in pair.owner.heard]  # type: ignore[attr-defined]
    assert events == ["appeared", "left"]


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

        def __init__(self, interfaces: Any, clock: Any) -> None:
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
    agent, kind = await pair.claim()
    assert (agent, kind) == (agent_of_seed(GRANT.device_seed), "generator")
    assert pair.kept == [GRANT]
    assert pair.promises == 1
    assert pair.owner.cards() == [], "its first key is of no more use"


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

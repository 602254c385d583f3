"""Meeting: our card goes out, the neighbours' come in, an owner claims a device.

One `Meeting` an identity and transport.  Cards travel by mDNS where there is multicast, and to
every bootstrap address over the transport, so that a device on a quiet network is found too.
A named address is asked for ever, with a wait that doubles to five minutes and jitters, so
that a street after a power cut does not dial its one neighbour in step.  (I-023, I-033..I-040)

A private device tells its card in the form of `hidden` only, a fresh one each time, and dials
nobody whom it knows from here alone.  An owner's node asks those who are near whether they still
are (`presence`), for it is a person who wants to know at once; a device lets their cards expire.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

import trio

from discovery.announcement import (
    ADDRESSES_MAX,
    LIFE_US,
    Announcement,
    Kind,
    Nearby,
    State,
    seal,
)
from discovery.hidden import NONCE_BYTES, hide, open_card
from discovery.mdns import Departed, Mdns, MdnsUnavailable
from discovery.mdns_services import Libp2pPeer
from discovery.pairing import (
    CONFIRM_S,
    PAIRING_PROTOCOL,
    PAIRING_SESSION_S,
    AgentOfSeed,
    Grant,
    Paired,
    PairingDevice,
    PairingOwner,
)
from discovery.presence import PROBE_TIMEOUT_US, SECOND_US, Presence
from ioe_node.clock import Clock
from ioe_node.errors import IoeError, LocalError, PairingRefused, Refused, TransportError
from ioe_node.model.hashes import AgentPubKey, to_text
from ioe_node.model.signing import Signer

log = logging.getLogger("ioe.meeting")

MEET_PROTOCOL = "/ioe/meet/1"
ANNOUNCE_EVERY_S = LIFE_US / 2_000_000
BOOTSTRAP_WAIT_MIN_S = 1.0
BOOTSTRAP_WAIT_MAX_S = 300.0
WATCH_EVERY_S = 1.0
CONFIRM_POLL_S = 1.0
PRESS = "the code is right; now press the button of the device, or run 'ioe device confirm' on it"


class Carrier(Protocol):
    """What a meeting needs of the node's transport (`ioe_node.net.transport`)."""

    def addresses(self) -> tuple[str, ...]:
        """Where we can be dialled."""

    def learn(self, peer: AgentPubKey, addresses: tuple[str, ...]) -> None:
        """Where a peer can be dialled."""

    def hint(self, peer: AgentPubKey, addresses: tuple[str, ...]) -> None:
        """Where a peer may be, on nobody's signature."""

    async def request(
        self, protocol: str, peer: AgentPubKey, message: bytes, timeout_s: float = ...
    ) -> bytes:
        """One request to one peer."""


Handler = Callable[[AgentPubKey, bytes], Awaitable[bytes]]


@dataclass(frozen=True)
class Me:
    """Who we are on this network: `kind` and `name` go on the card.

    With a `hiding_key` the card is for those alone who have the key: for our owner.
    """

    signer: Signer
    kind: Kind
    state: State
    name: str
    hiding_key: bytes | None = None


class Meeting:
    """See the module docstring.

    `offer(protocol, handler)` makes the transport answer a protocol that is open to everyone.
    `notify(event)` is told of devices that appear and leave.
    """

    def __init__(
        self,
        me: Me,
        carrier: Carrier,
        offer: Callable[[str, Handler], None],
        clock: Clock,
        rng: Random,
        notify: Callable[[dict[str, Any]], None],
        interfaces: Sequence[str] = (),
        bootstrap: Sequence[AgentPubKey] = (),
    ) -> None:
        self._me = me
        self._carrier = carrier
        self._offer = offer
        self._clock = clock
        self._rng = rng
        self._notify = notify
        self._interfaces = interfaces
        self._bootstrap = bootstrap
        self._claiming: set[AgentPubKey] = set()
        self._keys: tuple[bytes, ...] = ()
        self._presence = Presence(rng)
        self.nearby = Nearby()

    def recognise(self, keys: Sequence[bytes]) -> None:
        """From now on open the cards that are hidden under these keys: those of our devices."""
        self._keys = tuple(keys)

    def card(self) -> Announcement:
        """Our own card, fresh."""
        me = self._me
        return seal(
            me.signer,
            kind=me.kind,
            state=me.state,
            name=me.name,
            addresses=self._carrier.addresses()[:ADDRESSES_MAX],
            now_us=self._clock.now_us(),
        )

    def cards(self) -> list[Announcement]:
        """Who is near now."""
        return list(self.nearby.cards(self._clock.now_us()))

    def _told(self) -> bytes:
        """What we tell of ourselves: our card, or its hidden form."""
        data, key = self.card().encoded(), self._me.hiding_key
        return data if key is None else hide(data, key, self._rng.randbytes(NONCE_BYTES))

    def _open(self, data: bytes) -> Announcement | None:
        return open_card(data, self._keys, self._clock.now_us())

    def _hear(self, card: Announcement) -> None:
        if card.agent == self._me.signer.agent:
            return
        news = self.nearby.hear(card, self._clock.now_us())
        if news in ("new", "newer"):
            self._carrier.learn(card.agent, card.addresses)
            if self._me.kind == "owner":
                self._presence.heard(card.agent, _monotonic_us())
        if news == "new":
            self._notify(_event("appeared", card))

    def _lose(self, agent: AgentPubKey) -> None:
        self._presence.forget(agent)
        card = self.nearby.forget(agent)
        if card is not None:
            self._notify(_event("left", card))

    async def run(self, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """Tell and hear until cancelled."""
        self._offer(MEET_PROTOCOL, self._met)
        async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
            if self._interfaces:
                try:
                    opened = Mdns(self._interfaces, self._clock, lambda: self._keys)
                    mdns = await stack.enter_async_context(opened)
                    nursery.start_soon(self._listen, mdns)
                    nursery.start_soon(self._announce, mdns)
                except MdnsUnavailable as error:
                    log.warning("%s", error)
            for peer in self._bootstrap:
                nursery.start_soon(self._introduce, peer)
            task_status.started()
            await self._watch(nursery)

    async def _announce(self, mdns: Mdns) -> None:
        """Tell our card by mDNS, anew before it expires; for ever."""
        while True:
            told = self.card() if self._me.hiding_key is None else self._told()
            try:
                await mdns.update(told)
            except MdnsUnavailable as error:
                log.warning("%s", error)
            await trio.sleep(ANNOUNCE_EVERY_S)

    async def _listen(self, mdns: Mdns) -> None:
        async for item in mdns.found:
            if isinstance(item, Departed):
                self._presence.doubt(item.agent, _monotonic_us())
            elif isinstance(item, Libp2pPeer):
                self._carrier.hint(item.agent, item.addresses)
            else:
                self._hear(item)

    async def _watch(self, nursery: trio.Nursery) -> None:
        """Find out who has gone; for ever.

        Whoever answers probes is asked before an expired card is taken for an absence: all cards
        expire at once on a machine that wakes from sleep.
        """
        while True:
            now_us = _monotonic_us()
            for card in self.nearby.expired(self._clock.now_us()):
                if self._presence.answers(card.agent):
                    self._presence.doubt(card.agent, now_us)
                else:
                    self._lose(card.agent)
            for agent in self._presence.due(now_us):
                nursery.start_soon(self._probe, agent)
            await trio.sleep(WATCH_EVERY_S)

    async def _probe(self, agent: AgentPubKey) -> None:
        """Ask an agent for its card; only it itself can answer."""
        ask, timeout_s = self._carrier.request, PROBE_TIMEOUT_US / SECOND_US
        try:
            answer = await ask(MEET_PROTOCOL, agent, self._told(), timeout_s)
        except TransportError:
            if self._presence.silent(agent, _monotonic_us()):
                self._lose(agent)
            return
        except IoeError as error:
            log.debug("%s answers: %s", to_text(agent)[:12], error)
        else:
            self._take(agent, answer)
        self._presence.answered(agent, _monotonic_us())
        if self.nearby.get(agent, self._clock.now_us()) is None:
            self._lose(agent)

    def _take(self, peer: AgentPubKey, data: bytes) -> None:
        """Hear the card that a peer told of itself, if it is good."""
        try:
            card = self._open(data)
        except IoeError as error:
            log.debug("the card of %s: %s", to_text(peer)[:12], error)
            return
        if card is not None and card.agent == peer:
            self._hear(card)

    async def _met(self, peer: AgentPubKey, message: bytes) -> bytes:
        card = self._open(message)
        if card is not None and card.agent == peer:
            self._hear(card)
        return self._told()

    async def _introduce(self, peer: AgentPubKey) -> None:
        """Give our card to a bootstrap peer, for ever."""
        wait_s = BOOTSTRAP_WAIT_MIN_S
        while True:
            try:
                self._take(peer, await self._carrier.request(MEET_PROTOCOL, peer, self._told()))
                wait_s = BOOTSTRAP_WAIT_MAX_S
            except IoeError as error:
                log.debug("meeting %s: %s", to_text(peer)[:12], error)
                wait_s = min(2 * wait_s, BOOTSTRAP_WAIT_MAX_S)
            await trio.sleep(wait_s * (0.5 + self._rng.random() / 2))

    def await_owner(
        self,
        device: PairingDevice,
        keep: Callable[[Grant], Awaitable[None]],
        heard: Callable[[AgentPubKey], None],
        now_us: Callable[[], int],
    ) -> None:
        """Answer pairing; `keep(grant)` stores what an owner gave before it is acknowledged.

        `heard(owner)` is called after each message and before its answer, so that an attempt is
        counted on disk before anybody can learn from it.
        """

        async def handle(owner: AgentPubKey, message: bytes) -> bytes:
            try:
                reply = device.handle(owner, message, now_us())
            finally:
                heard(owner)
            if reply.grant is not None:
                try:
                    await keep(reply.grant)
                except IoeError as error:
                    device.reopen()
                    raise PairingRefused(f"the device cannot keep the claim: {error}") from error
                except BaseException:
                    device.reopen()
                    raise
            return reply.message

        self._offer(PAIRING_PROTOCOL, handle)

    async def claim(
        self,
        device: AgentPubKey,
        code: str,
        grant: Grant,
        agent_of_seed: AgentOfSeed,
        entropy: Callable[[int], bytes],
        promise: Callable[[], None],
    ) -> Paired:
        """Pair with a device that is near, waiting for its button if it has one.

        `promise()` is called once the device has proved the code and before it gets the seed:
        from then on only a `PairingRefused` says that the device has not kept it.

        Raises `LocalError` when it is not near, is being claimed already, or the code has no
        code's form; `PairingRefused` for a wrong code and for whatever else the device refuses;
        `TransportError` when it does not answer.
        """
        if self.nearby.get(device, self._clock.now_us()) is None:
            raise LocalError("no such device is near; see 'ioe device list'")
        if device in self._claiming:
            raise LocalError("this device is being claimed already; see 'ioe device list'")
        owner = PairingOwner(code, device, grant, agent_of_seed, entropy)
        ask = self._carrier.request
        self._claiming.add(device)
        try:
            finish = owner.finish(await ask(PAIRING_PROTOCOL, device, owner.start()))
            promise()
            paired = owner.enrolled(await ask(PAIRING_PROTOCOL, device, finish))
            if paired is None:
                paired = await self._pressed(owner, device)
        except Refused as refusal:
            raise PairingRefused(refusal.text) from None
        finally:
            self._claiming.discard(device)
        self._presence.forget(device)
        self.nearby.forget(device)
        return paired

    async def _pressed(self, owner: PairingOwner, device: AgentPubKey) -> Paired:
        """What the device has become once somebody has pressed its button."""
        self._notify({"kind": "confirm", "agent": device, "text": PRESS})
        with trio.move_on_after(CONFIRM_S + PAIRING_SESSION_S):
            while True:
                await trio.sleep(CONFIRM_POLL_S)
                answer = await self._carrier.request(PAIRING_PROTOCOL, device, owner.again())
                if (paired := owner.enrolled(answer)) is not None:
                    return paired
        raise TransportError("the device waits for its button for too long; claim it again")


def _event(what: str, card: Announcement) -> dict[str, Any]:
    return {
        "kind": "device",
        "event": what,
        "agent": card.agent,
        "device_kind": card.kind,
        "state": card.state,
        "name": card.name,
    }


def _monotonic_us() -> int:
    return round(trio.current_time() * SECOND_US)

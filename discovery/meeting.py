"""Meeting: our card goes out, the neighbours' come in, an owner claims a device.

One `Meeting` an identity and transport.  Cards travel by mDNS where there is multicast, and to
every bootstrap address over the transport, so that a device on a quiet network is found too.
A named address is asked for ever, with a wait that doubles to five minutes and jitters, so
that a street after a power cut does not dial its one neighbour in step.  (I-023, I-033..I-040)

Those whom we met hear of each other through us (`rendezvous`): whoever meets us is answered with
the devices that wait for an owner, and owners are told of a new one at once, ours above all,
wherever they are: that is how a device behind one NAT is found from behind another, and how a
neighbour calls its owner to a device that knows nobody.

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
    open_announcement,
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
from discovery.presence import PROBE_TIMEOUT_US, SECOND_US, Gone, Presence
from discovery.rendezvous import (
    CARDS_PASSED_ON_MAX,
    Hearsay,
    Met,
    Telling,
    is_for_all,
    open_meeting,
)
from ioe_node.clock import Clock
from ioe_node.errors import (
    IoeError,
    LocalError,
    Malformed,
    PairingRefused,
    Refused,
    TransportError,
)
from ioe_node.model.hashes import AgentPubKey, to_text
from ioe_node.model.signing import Signer
from ioe_node.net.peer_id import circuit_address

log = logging.getLogger("ioe.meeting")

MEET_PROTOCOL = "/ioe/meet/1"
ANNOUNCE_EVERY_S = LIFE_US / 2_000_000
BOOTSTRAP_WAIT_MIN_S = 1.0
BOOTSTRAP_WAIT_MAX_S = 300.0
MOVED_LOOK_S = 2.0
NEWS_EVERY_S = 5.0
OWNERS_TOLD_MAX = 32
WATCH_EVERY_S = 1.0
MEET_TIMEOUT_S = 10.0
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
    `notify(event)` is told of devices that appear and leave.  `owner` is whose device we are;
    `trusted(peer)` says whether a peer's word is worth our memory: a bootstrap's always is.
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
        owner: AgentPubKey | None = None,
        trusted: Callable[[AgentPubKey], bool] = lambda peer: False,
    ) -> None:
        self._me = me
        self._carrier = carrier
        self._offer = offer
        self._clock = clock
        self._rng = rng
        self._notify = notify
        self._interfaces = interfaces
        self._bootstrap = bootstrap
        self._owner = owner
        self._trusted = trusted
        self._claiming: set[AgentPubKey] = set()
        self._moved = trio.Event()
        self._news: dict[AgentPubKey, Announcement] = {}
        self._telling = Telling()
        self._keys: tuple[bytes, ...] = ()
        self._presence = Presence(rng)
        self._gone = Gone()
        self.nearby = Nearby()
        self.hearsay = Hearsay()

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
        """Who is near now, and who is elsewhere and was named to us."""
        now_us = self._clock.now_us()
        return [*self.nearby.cards(now_us), *self.hearsay.nearby.cards(now_us)]

    def find(self, agent: AgentPubKey) -> Announcement | None:
        """The card of an agent, near or named to us."""
        now_us = self._clock.now_us()
        return self.nearby.get(agent, now_us) or self.hearsay.nearby.get(agent, now_us)

    def _told(self) -> bytes:
        """What we tell of ourselves: our card, or its hidden form."""
        data, key = self.card().encoded(), self._me.hiding_key
        return data if key is None else hide(data, key, self._rng.randbytes(NONCE_BYTES))

    def _open(self, data: bytes) -> Announcement | None:
        return open_card(data, self._keys, self._clock.now_us())

    def _hear(self, card: Announcement) -> None:
        """Somebody told us its own card."""
        past = self._gone.is_past(card.agent, card.issued_us, by_itself=True)
        if past or card.agent == self._me.signer.agent:
            return
        before = self.nearby.get(card.agent, self._clock.now_us())
        known = self.hearsay.forget(card.agent) is not None
        news = self.nearby.hear(card, self._clock.now_us())
        if news in ("new", "newer"):
            # What the transport knows it may dial, and to be dialled tells who dials.
            if self._me.hiding_key is None:
                self._carrier.learn(card.agent, card.addresses)
            if self._me.kind == "owner":
                self._presence.heard(card.agent, _monotonic_us())
            if is_for_all(card) and (before is None or before.addresses != card.addresses):
                self._news[card.agent] = card
                if len(self._news) > CARDS_PASSED_ON_MAX:
                    del self._news[next(iter(self._news))]
        if news == "new" and not known:
            self._notify(_event("appeared", card))

    def _hear_of(self, namer: AgentPubKey, others: Sequence[bytes]) -> None:
        """A peer told us the cards of others; one that is none, or has expired on its way, is lost.

        It may be out of our reach where it is, and have a place at who heard it.
        """
        if namer not in self._bootstrap and not self._trusted(namer):
            return
        for data in others:
            try:
                card = open_announcement(data, self._clock.now_us())
            except Malformed as error:
                log.debug("passed on by %s: %s", to_text(namer)[:12], error)
                continue
            past = self._gone.is_past(card.agent, card.issued_us, by_itself=False)
            if past or card.agent in self.nearby or card.agent == self._me.signer.agent:
                continue
            news = self.hearsay.hear(namer, card, self._clock.now_us())
            if news in ("new", "newer"):
                through = circuit_address(namer, "")
                self._carrier.learn(card.agent, (*card.addresses[: ADDRESSES_MAX - 1], through))
            if news == "new":
                self._notify(_event("appeared", card))

    def _lose(self, agent: AgentPubKey) -> None:
        self._presence.forget(agent)
        card = self.nearby.forget(agent)
        if card is not None:
            self._gone.left(agent, card.issued_us, self._clock.now_us())
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
            nursery.start_soon(self._look_where_we_are)
            nursery.start_soon(self._tell_owners)
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
            with trio.move_on_after(ANNOUNCE_EVERY_S):
                await self._moved.wait()

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
            for card in self.hearsay.expire(self._clock.now_us()):
                self._notify(_event("left", card))
            for agent in self._presence.due(now_us):
                nursery.start_soon(self._probe, agent)
            await trio.sleep(WATCH_EVERY_S)

    async def _probe(self, agent: AgentPubKey) -> None:
        """Ask an agent for its card; only it itself can answer."""
        try:
            await self._meet(agent, (), PROBE_TIMEOUT_US / SECOND_US)
        except TransportError:
            if self._presence.silent(agent, _monotonic_us()):
                self._lose(agent)
            return
        except IoeError as error:
            log.debug("%s answers: %s", to_text(agent)[:12], error)
        self._presence.answered(agent, _monotonic_us())
        if self.nearby.get(agent, self._clock.now_us()) is None:
            self._lose(agent)

    def _take(self, peer: AgentPubKey, said: Met) -> None:
        """Hear the card that a peer told of itself, and those of others; raises `Malformed`."""
        card = self._open(said.card)
        if card is not None and card.agent == peer:
            self._hear(card)
        self._hear_of(peer, said.others)

    async def _met(self, peer: AgentPubKey, message: bytes) -> bytes:
        self._take(peer, open_meeting(message))
        now_us = self._clock.now_us()
        others = self._telling.worth_telling(peer, self.nearby.cards(now_us), now_us)
        return Met(self._told(), others).encoded()

    async def _meet(
        self, peer: AgentPubKey, others: tuple[bytes, ...] = (), timeout_s: float = MEET_TIMEOUT_S
    ) -> None:
        """Tell a peer our card and others', and hear its; raises `IoeError`."""
        message = Met(self._told(), others).encoded()
        answer = await self._carrier.request(MEET_PROTOCOL, peer, message, timeout_s)
        try:
            self._take(peer, open_meeting(answer))
        except Malformed as error:
            log.debug("what %s told: %s", to_text(peer)[:12], error)

    async def _introduce(self, peer: AgentPubKey) -> None:
        """Give our card to a bootstrap peer, for ever, and at once when we are elsewhere."""
        wait_s = BOOTSTRAP_WAIT_MIN_S
        while True:
            moved = self._moved
            try:
                await self._meet(peer)
                wait_s = BOOTSTRAP_WAIT_MAX_S
            except IoeError as error:
                log.debug("meeting %s: %s", to_text(peer)[:12], error)
                wait_s = min(2 * wait_s, BOOTSTRAP_WAIT_MAX_S)
            with trio.move_on_after(wait_s * (0.5 + self._rng.random() / 2)):
                await moved.wait()

    async def _look_where_we_are(self) -> None:
        """Ring when we can be dialled at other addresses than before; for ever."""
        addresses = self._carrier.addresses()
        while True:
            await trio.sleep(MOVED_LOOK_S)
            if self._carrier.addresses() != addresses:
                addresses = self._carrier.addresses()
                self._moved.set()
                self._moved = trio.Event()

    async def _tell_owners(self) -> None:
        """Tell the owners that we met, and ours until it has heard, of devices that have none."""
        while True:
            await trio.sleep(NEWS_EVERY_S)
            now_us = self._clock.now_us()
            news = [card for card in self._news.values() if card.expires_us > now_us]
            self._news.clear()
            if not news:
                continue
            owners = [card.agent for card in self.nearby.cards(now_us) if card.kind == "owner"]
            told = [one for one in owners if one != self._owner][:OWNERS_TOLD_MAX]
            async with trio.open_nursery() as nursery:
                for owner in told if self._owner is None else (self._owner, *told):
                    nursery.start_soon(self._tell, owner, news)

    async def _tell(self, owner: AgentPubKey, news: list[Announcement]) -> None:
        try:
            await self._meet(owner, tuple(card.encoded() for card in news))
        except IoeError as error:
            log.debug("telling %s of devices: %s", to_text(owner)[:12], error)
            if owner == self._owner:
                self._news = {**{card.agent: card for card in news}, **self._news}

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
        if self.find(device) is None:
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
        self.hearsay.forget(device)
        self._gone.claimed(device)
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

"""Meeting: our card goes out, the neighbours' come in, an owner claims a device.

One `Meeting` an identity and transport.  Cards travel by mDNS where there is multicast, and to
every bootstrap address over the transport, so that a device on a quiet network is found too.
A named address is asked for ever, with a wait that doubles to five minutes and jitters, so
that a street after a power cut does not dial its one neighbour in step.

Those whom we met hear of each other through us (`rendezvous`): whoever meets us is answered with
the devices that wait for an owner, and owners are told of a new one at once, ours above all,
wherever they are: that is how a device behind one NAT is found from behind another, and how a
neighbour calls the owner to a device that knows nobody.  (I-023, I-033..I-040)
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
from discovery.mdns import Departed, Mdns, MdnsUnavailable
from discovery.pairing import (
    PAIRING_PROTOCOL,
    AgentOfSeed,
    Grant,
    PairingDevice,
    PairingOwner,
)
from discovery.rendezvous import (
    CARDS_PASSED_ON_MAX,
    Hearsay,
    Met,
    Telling,
    is_for_all,
    open_meeting,
)
from ioe_node.clock import Clock
from ioe_node.errors import IoeError, LocalError, Malformed, PairingRefused, Refused
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
CLAIMED_MAX = 256


class Carrier(Protocol):
    """What a meeting needs of the node's transport (`ioe_node.net.transport`)."""

    def addresses(self) -> tuple[str, ...]:
        """Where we can be dialled."""

    def learn(self, peer: AgentPubKey, addresses: tuple[str, ...]) -> None:
        """Where a peer can be dialled."""

    async def request(
        self, protocol: str, peer: AgentPubKey, message: bytes, timeout_s: float = ...
    ) -> bytes:
        """One request to one peer."""


Handler = Callable[[AgentPubKey, bytes], Awaitable[bytes]]


@dataclass(frozen=True)
class Me:
    """Who we are on this network: `kind` and `name` go on the card."""

    signer: Signer
    kind: Kind
    state: State
    name: str


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
        self._claimed: dict[AgentPubKey, None] = {}
        self._moved = trio.Event()
        self._news: dict[AgentPubKey, Announcement] = {}
        self._telling = Telling()
        self.nearby = Nearby()
        self.hearsay = Hearsay()

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

    def _hear(self, card: Announcement) -> None:
        """Somebody told us its own card."""
        if card.agent == self._me.signer.agent:
            return
        before = self.nearby.get(card.agent, self._clock.now_us())
        known = self.hearsay.forget(card.agent) is not None
        news = self.nearby.hear(card, self._clock.now_us())
        if news in ("new", "newer"):
            self._carrier.learn(card.agent, card.addresses)
        if news == "new" and not known:
            self._notify(_event("appeared", card))
        moved = before is None or before.addresses != card.addresses
        if news in ("new", "newer") and moved and is_for_all(card):
            self._news[card.agent] = card
            if len(self._news) > CARDS_PASSED_ON_MAX:
                del self._news[next(iter(self._news))]

    def _hear_of(self, namer: AgentPubKey, others: Sequence[bytes]) -> None:
        """A peer told us the cards of others; those that are none cost it nothing but their loss.

        They may have expired on their way.
        """
        if namer not in self._bootstrap and not self._trusted(namer):
            return
        for data in others:
            try:
                card = open_announcement(data, self._clock.now_us())
            except Malformed as error:
                log.debug("passed on by %s: %s", to_text(namer)[:12], error)
                continue
            near = self.nearby.get(card.agent, self._clock.now_us())
            if near is not None or card.agent in (self._me.signer.agent, *self._claimed):
                continue
            news = self.hearsay.hear(namer, card, self._clock.now_us())
            if news in ("new", "newer"):
                # It may be out of our reach where it is, and have a place at who heard it.
                through = circuit_address(namer, "")
                self._carrier.learn(card.agent, (*card.addresses[: ADDRESSES_MAX - 1], through))
            if news == "new":
                self._notify(_event("appeared", card))

    def _lose(self, card: Announcement | None) -> None:
        if card is not None:
            self._notify(_event("left", card))

    async def run(self, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """Tell and hear until cancelled."""
        self._offer(MEET_PROTOCOL, self._met)
        async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
            mdns: Mdns | None = None
            if self._interfaces:
                try:
                    opened = Mdns(self._interfaces, self._clock)
                    mdns = await stack.enter_async_context(opened)
                    nursery.start_soon(self._listen, mdns)
                except MdnsUnavailable as error:
                    log.warning("%s", error)
            for peer in self._bootstrap:
                nursery.start_soon(self._introduce, peer)
            nursery.start_soon(self._look_where_we_are)
            nursery.start_soon(self._tell_owners)
            task_status.started()
            while True:
                if mdns is not None:
                    try:
                        await mdns.update(self.card())
                    except MdnsUnavailable as error:
                        log.warning("%s", error)
                with trio.move_on_after(ANNOUNCE_EVERY_S):
                    await self._moved.wait()
                now_us = self._clock.now_us()
                for card in (*self.nearby.expire(now_us), *self.hearsay.expire(now_us)):
                    self._lose(card)

    async def _listen(self, mdns: Mdns) -> None:
        async for item in mdns.found:
            if isinstance(item, Departed):
                self._lose(self.nearby.forget(item.agent))
            else:
                self._hear(item)

    async def _met(self, peer: AgentPubKey, message: bytes) -> bytes:
        said = open_meeting(message)
        card = open_announcement(said.card, self._clock.now_us())
        if card.agent == peer:
            self._hear(card)
        self._hear_of(peer, said.others)
        now_us = self._clock.now_us()
        others = self._telling.worth_telling(peer, self.nearby.cards(now_us), now_us)
        return Met(self.card().encoded(), others).encoded()

    async def _meet(self, peer: AgentPubKey, others: tuple[bytes, ...] = ()) -> None:
        """Tell a peer our card and others', and hear its; raises `IoeError`."""
        message = Met(self.card().encoded(), others).encoded()
        said = open_meeting(await self._carrier.request(MEET_PROTOCOL, peer, message))
        card = open_announcement(said.card, self._clock.now_us())
        if card.agent == peer:
            self._hear(card)
        self._hear_of(peer, said.others)

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
        """Ring when we can be dialled at other addresses than before."""
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
        others = tuple(card.encoded() for card in news if card.agent != owner)
        try:
            await self._meet(owner, others)
        except IoeError as error:
            log.debug("telling %s of devices: %s", to_text(owner)[:12], error)
            if owner == self._owner:
                self._news = {**{card.agent: card for card in news}, **self._news}

    def await_owner(
        self,
        device: PairingDevice,
        keep: Callable[[Grant], Awaitable[None]],
    ) -> None:
        """Answer pairing; `keep(grant)` stores what an owner gave before it is acknowledged."""

        async def handle(owner: AgentPubKey, message: bytes) -> bytes:
            reply = device.handle(owner, message, self._clock.now_us())
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
    ) -> tuple[AgentPubKey, str]:
        """Pair with a device that is near; (its agent key, its kind).

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
        except Refused as refusal:
            raise PairingRefused(refusal.text) from None
        finally:
            self._claiming.discard(device)
        self.nearby.forget(device)
        self.hearsay.forget(device)
        # Others go on naming the key under which it waited, until its card expires.
        self._claimed[device] = None
        if len(self._claimed) > CLAIMED_MAX:
            del self._claimed[next(iter(self._claimed))]
        return paired.agent, paired.kind


def _event(what: str, card: Announcement) -> dict[str, Any]:
    return {
        "kind": "device",
        "event": what,
        "agent": card.agent,
        "device_kind": card.kind,
        "state": card.state,
        "name": card.name,
    }

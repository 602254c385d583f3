"""Whether we can be reached from outside, and through whom if we cannot.

A peer that we reach and that cannot reach us back is on the far side of a NAT: it is asked for
a place as our relay.  So the test and the remedy need one and the same peer, and nobody's word is
taken for how the network lies.  Who is asked for what:

    we      are these our addresses?  ──►   the peer dials those that have the host from which
                                            our connection comes, and no others, lest it be sent
    we      ◄── you were reached, or not    to knock at a stranger's door
    we      RESERVE, if not           ──►   a relay keeps a place, over the connection that is up

Those asked are the first that this host learnt of: what the configuration names, then those met
first.  Two relays are kept; a place is asked for anew every `KEEP_EVERY_S`, which also keeps the
NAT's door open and finds a relay that died without a word.
"""

import logging
import re
from collections.abc import Callable
from typing import Any, Literal

import msgspec
import trio
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from ioe_node.core.quota import MICRO, Bucket
from ioe_node.errors import Busy, Malformed, TransportError
from ioe_node.model.hashes import AgentPubKey, to_text
from ioe_node.net.libp2p_circuit import Circuits
from ioe_node.net.libp2p_dialling import ADDRESSES_PER_PEER_MAX, DIAL_DEADLINE_S, Dialling, id_of
from ioe_node.net.libp2p_relay import is_relayed
from ioe_node.net.peer_id import circuit_address, relay_of
from ioe_node.net.transport import Service, Transport

REACH_PROTOCOL = "/ioe/reach/1"
RELAYS_KEPT = 2
REACHED_ENOUGH = 2
CANDIDATES_MAX = 16
LOOK_EVERY_S = 1.0
KEEP_EVERY_S = 30.0
AGAIN_FIRST_S = 5.0
AGAIN_MAX_S = 60.0
AGAIN_REACHED_S = 600.0
KNOCKS_AT_ONCE_MAX = 8
KNOCKS_PER_S = 1
KNOCKS_BURST = 16
KNOCK_ADDRESSES_MAX = 2
ADDRESS_CHARS_MAX = 128
ASK_TIMEOUT_S = 12.0

log = logging.getLogger("ioe.net")

Mode = Literal["auto", "relay", "direct"]
"""What is done to be reached: relays if need be, relays in any case, nothing."""

_ADDRESS = re.compile(r"/(ip4|ip6)/([0-9A-Fa-f.:]+)/tcp/(\d{1,5})(/ws)?", re.ASCII)


class Seen(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Whether the asker was reached when it was dialled back, and as whom it is seen.

    The latter is where its newest connection comes from, as multiaddr text; empty if none is seen.
    """

    reached: bool
    seen_as: str


_places = msgspec.msgpack.Decoder(tuple[str, ...])
_seen = msgspec.msgpack.Decoder(Seen)


class _Candidate:
    """How a peer has fared as our relay."""

    def __init__(self) -> None:
        self.again_at = trio.current_time()
        self.wait_s = AGAIN_FIRST_S
        self.reached = False

    def later(self, wait_s: float | None = None) -> None:
        """Leave it alone, longer every time unless it is said how long."""
        self.again_at = trio.current_time() + (self.wait_s if wait_s is None else wait_s)
        self.wait_s = min(2 * self.wait_s, AGAIN_MAX_S)


class Reach:
    """See the module docstring.  `transport` carries what we ask; we listen at `direct()`."""

    def __init__(
        self,
        swarm: Any,
        transport: Transport,
        dialling: Dialling,
        circuits: Circuits,
        mode: Mode,
        direct: Callable[[], tuple[str, ...]],
    ) -> None:
        self._swarm = swarm
        self._direct = direct
        self._transport = transport
        self._dialling = dialling
        self._circuits = circuits
        self._mode = mode
        self._relays: dict[AgentPubKey, tuple[str, float]] = {}
        self._seen_as: dict[AgentPubKey, str] = {}
        self._candidates: dict[AgentPubKey, _Candidate] = {}
        self._knocks = 0
        self._knocking = Bucket(KNOCKS_PER_S, KNOCKS_BURST, _now_us())
        transport.offer(REACH_PROTOCOL, Service(lambda: b"", lambda *_: None, self._answer))

    def addresses(self) -> tuple[str, ...]:
        """Where we are reached through our relays."""
        return tuple(address for address, _ in self._relays.values())

    def seen_as(self) -> tuple[str, ...]:
        """Whom our relays see when we come from where we listen; as the newest relay says first."""
        found = (self._seen_as.get(relay, "") for relay in reversed(self._relays))
        return tuple(dict.fromkeys(filter(None, found)))

    def source(self) -> tuple[str, int] | None:
        """The host and port on which we listen by TCP; a NAT may show another one for it."""
        found = (_ADDRESS.fullmatch(each) for each in self._direct())
        return next(((one[2], int(one[3])) for one in found if one and not one[4]), None)

    async def run(self) -> None:
        """Have relays if need be, for ever."""
        if self._mode == "direct":
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep)
            nursery.start_soon(self._seek)

    async def _keep(self) -> None:
        while True:
            for relay, (address, kept_at) in list(self._relays.items()):
                if not self._connected(relay):
                    self._drop(relay, "it hung up")
                elif trio.current_time() >= kept_at + KEEP_EVERY_S:
                    await self._renew(relay, address)
            await trio.sleep(LOOK_EVERY_S)

    async def _renew(self, relay: AgentPubKey, address: str) -> None:
        try:
            await self._circuits.reserve(relay)
            self._relays[relay] = (address, trio.current_time())
        except Exception as error:
            self._drop(relay, str(error))

    def _drop(self, relay: AgentPubKey, why: str) -> None:
        log.info("not reached through %s any more: %s", to_text(relay)[:12], why)
        del self._relays[relay]
        self._seen_as.pop(relay, None)
        self._circuits.allowed.discard(relay)
        self._candidates.setdefault(relay, _Candidate()).later()

    async def _seek(self) -> None:
        while True:
            if len(self._relays) < RELAYS_KEPT and not self._is_reached():
                peer = self._worth_asking()
                if peer is not None:
                    await self._try(peer)
            await trio.sleep(LOOK_EVERY_S)

    def _is_reached(self) -> bool:
        found = sum(one.reached for one in self._candidates.values())
        return self._mode == "auto" and not self._relays and found >= REACHED_ENOUGH

    def _connected(self, peer: AgentPubKey) -> bool:
        return not all(map(is_relayed, self._dialling.connections(peer)))

    def _worth_asking(self) -> AgentPubKey | None:
        """The first of the first known that is no relay of ours, if its time has come."""
        now = trio.current_time()
        for peer, addresses in list(self._dialling.known.items())[:CANDIDATES_MAX]:
            candidate = self._candidates.get(peer)
            waits = candidate is not None and candidate.again_at > now
            if peer not in self._relays and not waits and any(map(_is_dialled, addresses)):
                return peer
        return None

    async def _try(self, peer: AgentPubKey) -> None:
        """Have a relay in `peer`, if it cannot reach us itself."""
        candidate = self._candidates.setdefault(peer, _Candidate())
        try:
            await self._dialling.connect(peer, relays=0)
            candidate.reached = self._mode == "auto" and (await self._ask(peer)).reached
            if candidate.reached:
                candidate.later(AGAIN_REACHED_S)
                return
            await self._show_the_port(peer)
            if not self._is_dialled_where_it_says(peer):
                raise TransportError("it cannot be dialled from outside either")
            self._circuits.allowed.add(peer)
            await self._circuits.reserve(peer)
        except Exception as error:
            log.debug("no relay at %s: %r", to_text(peer)[:12], error)
            self._circuits.allowed.discard(peer)
            candidate.later()
            return
        candidate.wait_s = AGAIN_FIRST_S
        self._relays[peer] = (circuit_address(peer, self._dialled(peer)), trio.current_time())
        log.info("reached through %s", to_text(peer)[:12])

    def _dialled(self, peer: AgentPubKey) -> str:
        """Where a peer is dialled directly, the last good address first; empty if nowhere."""
        return next(filter(_is_dialled, self._dialling.known.get(peer, ())), "")

    def _is_dialled_where_it_says(self, peer: AgentPubKey) -> bool:
        """Not so for whom we met through a NAT of its own: others could not do that."""
        known, places = self._dialling.known[peer], self._places_of(peer)
        return any(one == each or one == f"{each}/ws" for one in known for each in places)

    async def _ask(self, peer: AgentPubKey) -> Seen:
        message = msgspec.msgpack.encode(self._direct()[:ADDRESSES_PER_PEER_MAX])
        answer = await self._transport.request(REACH_PROTOCOL, peer, message, ASK_TIMEOUT_S)
        seen: Seen = _decoded(_seen, answer)
        return seen

    async def _show_the_port(self, relay: AgentPubKey) -> None:
        """Be seen by a relay as who comes from the port on which we listen, which peers may dial.

        By a second connection, from that port; the NAT keeps the way back as long as it is up.
        """
        source = self.source()
        if source is None:
            return
        with trio.move_on_after(DIAL_DEADLINE_S):
            try:
                where = Multiaddr(self._dialled(relay))
                await self._swarm.dial_addr(where, id_of(relay), source)
                seen_as = (await self._ask(relay)).seen_as
                if _host_of(seen_as):
                    self._seen_as[relay] = str(Multiaddr(seen_as))
            except Exception as error:
                log.debug("%s does not see where we listen: %r", to_text(relay)[:12], error)

    # -- dialling back -----------------------------------------------------------------------

    async def _answer(self, peer: AgentPubKey, message: bytes) -> bytes:
        """Dial an asker at the addresses that are of the host it comes from."""
        if len(message) > ADDRESSES_PER_PEER_MAX * (ADDRESS_CHARS_MAX + 3) + 3:
            raise Malformed("too many addresses to dial back")
        texts = _decoded(_places, message)
        self._knocking.refill(_now_us())
        if self._knocks >= KNOCKS_AT_ONCE_MAX or self._knocking.level_micro < MICRO:
            raise Busy("too many ask to be dialled back; try again later")
        self._knocking.spend(1)
        places = self._places_of(peer)
        hosts = [_host_of(each) for each in places]
        theirs = [text for text in texts if _host_of(text) in hosts][:KNOCK_ADDRESSES_MAX]
        self._knocks += 1
        try:
            reached = False
            for text in theirs:
                reached = reached or await self._knock(text, id_of(peer))
        finally:
            self._knocks -= 1
        return msgspec.msgpack.encode(Seen(reached, places[0] if places else ""))

    def _places_of(self, peer: AgentPubKey) -> tuple[str, ...]:
        """Where a peer's connections come from, the newest first."""
        direct = [one for one in self._dialling.connections(peer) if not is_relayed(one)]
        return tuple(str(each) for one in direct[::-1] for each in one.get_transport_addresses())

    async def _knock(self, address: str, peer: ID) -> bool:
        """Whether `peer` itself answers at an address, on a connection that is closed at once."""
        with trio.move_on_after(DIAL_DEADLINE_S):
            try:
                where = Multiaddr(address)
                raw = await self._swarm.transport_manager.transport_for_dialing(where).dial(where)
                try:
                    await self._swarm.upgrader.upgrade_security(raw, True, peer)
                finally:
                    await raw.close()
            except Exception as error:
                log.debug("%s was not reached at %s: %r", peer, address, error)
                return False
            return True
        return False


def _host_of(address: str) -> str:
    """The host of a direct address; empty for any other."""
    found = _ADDRESS.fullmatch(address) if len(address) <= ADDRESS_CHARS_MAX else None
    return found[2] if found else ""


def _is_dialled(address: str) -> bool:
    try:
        return relay_of(address) is None
    except Malformed:
        return False


def _decoded(decoder: Any, data: bytes) -> Any:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeError, OverflowError):
        raise Malformed("not a message of reach") from None


def _now_us() -> int:
    return round(trio.current_time() * 1_000_000)

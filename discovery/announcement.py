"""An announcement: one agent's signed, expiring card; and `Nearby`, the cards heard lately.

Canonical msgpack, an array in the order of the fields; the signature, last, is over the domain
tag and the same array with an empty signature.  Bytes that would not re-encode to themselves are
refused, so one card has one form.  The name is printed to people, so it holds only characters
that print.  (I-023, I-025, I-033, I-042)
"""

import re
from typing import Literal

import msgspec
from msgspec.structs import replace

from ioe_node.errors import LocalError, Malformed
from ioe_node.model.hashes import AGENT, CORE, AgentPubKey, check_hash
from ioe_node.model.signing import Signer, verify

ANNOUNCEMENT_BYTES_MAX = 1024
ADDRESSES_MAX = 8
ADDRESS_CHARS_MAX = 128
NAME_CHARS_MAX = 48
LIFE_US_MAX = 3600 * 1_000_000
LIFE_US = 600 * 1_000_000
"""How long an announcement is good for unless the caller says otherwise."""
CLOCK_SKEW_US_MAX = 120 * 1_000_000
NEARBY_PEERS_MAX = 1024

Kind = Literal["consumer", "generator", "storage", "monitor", "owner"]
State = Literal["unowned", "owned"]
Heard = Literal["new", "newer", "known", "full"]

_DOMAIN = b"ioe announcement 1\x00"
_ADDRESS = re.compile(r"(/[A-Za-z0-9._:%+-]+){2,}", re.ASCII)


class Announcement(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Who `agent` is and where it can be dialled, from `issued_us` until `expires_us`.

    `agent` is the enrolment key of a device in state "unowned", else the agent key; `addresses`
    are multiaddr text without the peer id.
    """

    agent: AgentPubKey
    kind: Kind
    state: State
    name: str
    addresses: tuple[str, ...]
    issued_us: int
    expires_us: int
    signature: bytes = b""

    def encoded(self) -> bytes:
        """The canonical bytes: what is broadcast and what `open_announcement` takes."""
        return _encoder.encode(self)

    def _signed_bytes(self) -> bytes:
        return _DOMAIN + _encoder.encode(replace(self, signature=b""))


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Announcement)


def seal(
    signer: Signer,
    *,
    kind: Kind,
    state: State,
    name: str,
    addresses: tuple[str, ...],
    now_us: int,
    life_us: int = LIFE_US,
) -> Announcement:
    """Sign a card for `signer.agent`, good from now for `life_us`.

    Raises `LocalError` if a name or an address is one that no receiver would take.
    """
    card = Announcement(signer.agent, kind, state, name, addresses, now_us, now_us + life_us)
    fault = _fault(card, now_us)
    if not fault:
        card = replace(card, signature=signer.sign(card._signed_bytes()))
        fault = _oversize(card.encoded())
    if fault:
        raise LocalError(f"cannot announce: {fault}")
    return card


def open_announcement(data: bytes, now_us: int) -> Announcement:
    """Decode and judge a card.  Raises `Malformed` for anything that is not one, good now."""
    fault = _oversize(data)
    if fault:
        raise Malformed(f"announcement: {fault}")
    try:
        card = _decoder.decode(data)
        canonical = card.encoded()
    except (msgspec.DecodeError, UnicodeError, OverflowError):
        raise Malformed("announcement: the bytes are not one") from None
    if canonical != data:
        raise Malformed("announcement: the bytes are not canonical")
    check_hash(card.agent, AGENT)
    fault = _fault(card, now_us)
    if fault:
        raise Malformed(f"announcement: {fault}")
    if not verify(card.agent[CORE], card._signed_bytes(), card.signature):
        raise Malformed("announcement: the signature is not its agent's")
    return card


def is_address(text: str) -> bool:
    """Whether `text` has the form of a multiaddr, and a length that a card may hold."""
    return len(text) <= ADDRESS_CHARS_MAX and _ADDRESS.fullmatch(text) is not None


def _oversize(data: bytes) -> str:
    over = len(data) > ANNOUNCEMENT_BYTES_MAX
    return f"{len(data)} bytes, over {ANNOUNCEMENT_BYTES_MAX}" if over else ""


def _fault(card: Announcement, now_us: int) -> str:
    """What is wrong with the contents, or nothing."""
    if not 1 <= len(card.name) <= NAME_CHARS_MAX or not card.name.isprintable():
        return f"the name must be 1 to {NAME_CHARS_MAX} characters that print"
    if not 1 <= len(card.addresses) <= ADDRESSES_MAX:
        return f"there must be 1 to {ADDRESSES_MAX} addresses"
    for address in card.addresses:
        if not is_address(address):
            return "an address is not multiaddr text"
    if not 0 < card.expires_us - card.issued_us <= LIFE_US_MAX:
        return f"it must live at most {LIFE_US_MAX // 1_000_000} s"
    if card.issued_us > now_us + CLOCK_SKEW_US_MAX:
        return "it is issued in the future; one of the two clocks is wrong"
    if card.expires_us <= now_us:
        return "it has expired"
    return ""


class Nearby:
    """The newest good card of each agent heard of, at most `NEARBY_PEERS_MAX`.

    When it is full a newcomer waits until a card expires: a flood of fresh keys cannot push out
    those who were here first.
    """

    def __init__(self) -> None:
        self._cards: dict[AgentPubKey, Announcement] = {}

    def __len__(self) -> int:
        return len(self._cards)

    def __contains__(self, agent: AgentPubKey) -> bool:
        """Whether a card of `agent` is held, though it may have expired."""
        return agent in self._cards

    def hear(self, card: Announcement, now_us: int) -> Heard:
        """Keep an opened `card` if it is the newest of its agent, and say what it was to us.

        "known" is also the answer to a card that is older than the one held, or has expired.
        """
        held = self._cards.get(card.agent)
        if card.expires_us <= now_us or (held and card.issued_us <= held.issued_us):
            return "known"
        if held is None and len(self._cards) >= NEARBY_PEERS_MAX:
            return "full"
        self._cards[card.agent] = card
        return "newer" if held else "new"

    def expired(self, now_us: int) -> tuple[Announcement, ...]:
        """The cards that have expired and are held until they are forgotten. (I-026)"""
        return tuple(card for card in self._cards.values() if card.expires_us <= now_us)

    def forget(self, agent: AgentPubKey) -> Announcement | None:
        """Drop and return the card of an agent that has gone."""
        return self._cards.pop(agent, None)

    def get(self, agent: AgentPubKey, now_us: int) -> Announcement | None:
        """The card of `agent`, if one is held that has not expired."""
        card = self._cards.get(agent)
        return card if card and card.expires_us > now_us else None

    def cards(self, now_us: int) -> tuple[Announcement, ...]:
        """Every card that has not expired, by name, then by agent."""
        live = (card for card in self._cards.values() if card.expires_us > now_us)
        return tuple(sorted(live, key=lambda card: (card.name, card.agent)))

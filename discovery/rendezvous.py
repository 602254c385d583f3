"""Rendezvous: cards passed on, so that those hear of each other who never met.

Pure.  Two behind different NATs know a third; a device in a cellar hears only its neighbour.  So
whoever meets tells its own card and, of those that it met itself, the cards of devices that wait
for an owner: they want to be found, and say nothing of anybody's home.  What was passed on to us we
do not pass on, so that nothing goes round, and believe of it what its own signature says.

A namer can only spend its own share of our memory: so many cards, until they expire.
"""

import msgspec

from discovery.announcement import Announcement, Heard, Nearby
from discovery.hidden import HIDDEN_BYTES
from ioe_node.errors import Malformed
from ioe_node.model.hashes import AgentPubKey

CARDS_PASSED_ON_MAX = 16
NAMED_BY_ONE_MAX = 64
TOLD_AGAIN_AFTER_US = 5 * 1_000_000
TOLD_MAX = 1_024
MEETING_BYTES_MAX = (1 + CARDS_PASSED_ON_MAX) * (HIDDEN_BYTES + 8)


class Met(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What one says to another: its own card, and those of others that it met."""

    card: bytes
    others: tuple[bytes, ...] = ()

    def encoded(self) -> bytes:
        """The bytes that `open_meeting` takes."""
        return _encoder.encode(self)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Met)


def open_meeting(data: bytes) -> Met:
    """Decode what was said; its cards are still to be opened.  Raises `Malformed`."""
    if len(data) > MEETING_BYTES_MAX:
        raise Malformed(f"meeting: {len(data)} bytes, over {MEETING_BYTES_MAX}")
    try:
        met = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeError, OverflowError):
        raise Malformed("meeting: the bytes are not one") from None
    if len(met.others) > CARDS_PASSED_ON_MAX:
        raise Malformed(f"meeting: over {CARDS_PASSED_ON_MAX} cards")
    return met


def is_for_all(card: Announcement) -> bool:
    """Whether a card may be passed on to whoever asks."""
    return card.state == "unowned"


class Hearsay:
    """The cards that others passed on to us, each with who did."""

    def __init__(self) -> None:
        self.nearby = Nearby()
        self._namers: dict[AgentPubKey, AgentPubKey] = {}

    def hear(self, namer: AgentPubKey, card: Announcement, now_us: int) -> Heard:
        """Keep an opened card that `namer` passed on, if there is room; see `Nearby.hear`."""
        named = sum(one == namer for one in self._namers.values())
        if card.agent not in self._namers and named >= NAMED_BY_ONE_MAX:
            return "full"
        heard = self.nearby.hear(card, now_us)
        if heard == "new":
            self._namers[card.agent] = namer
        return heard

    def forget(self, agent: AgentPubKey) -> Announcement | None:
        """Drop and return the card of an agent that we know better now, or that has gone."""
        self._namers.pop(agent, None)
        return self.nearby.forget(agent)

    def expire(self, now_us: int) -> tuple[Announcement, ...]:
        """Drop and return the cards that have expired."""
        gone = self.nearby.expired(now_us)
        for card in gone:
            self.forget(card.agent)
        return gone


class Telling:
    """What we pass on to those who meet us, each at most once in `TOLD_AGAIN_AFTER_US`."""

    def __init__(self) -> None:
        self._told_us: dict[AgentPubKey, int] = {}

    def worth_telling(
        self, asker: AgentPubKey, met: tuple[Announcement, ...], now_us: int
    ) -> tuple[bytes, ...]:
        """The newest of those that we met, the asker left out, as they go on the wire."""
        told_us = self._told_us.get(asker)
        if told_us is not None and now_us < told_us + TOLD_AGAIN_AFTER_US:
            return ()
        self._told_us.pop(asker, None)
        self._told_us[asker] = now_us
        if len(self._told_us) > TOLD_MAX:
            del self._told_us[next(iter(self._told_us))]
        named = [card for card in met if is_for_all(card) and card.agent != asker]
        named.sort(key=lambda card: (-card.issued_us, card.agent))
        return tuple(card.encoded() for card in named[:CARDS_PASSED_ON_MAX])

"""Room on the transport: which connections go when nearly all places are taken.

libp2p refuses the newest connection once all places are taken.  By itself that would let anyone
who can dial keep everybody else out, since a connection needs no invitation.  So a few places
are kept free: when they are needed, connections on which nobody was ever admitted to a network
go first, the oldest of them first, and then those that have been silent the longest.  One that
was heard of within `BUSY_S` stays, so a flood of newcomers displaces nobody who is at work.

A peer may open so many links a second and no more: each costs a judgement of its membrane proof.
"""

from typing import NamedTuple

from ioe_node.core.quota import MICRO, Bucket
from ioe_node.model.hashes import AgentPubKey

CONNECTIONS_MAX = 300
PLACES_KEPT_FREE_MAX = 16
ROOM_EVERY_S = 5.0
STRANGER_S = 10.0
BUSY_S = 60.0
OPENINGS_PER_S = 1
OPENINGS_BURST = 32
OPENERS_MAX = 1_024


class Place(NamedTuple):
    """A connection by its id, how long it is open, and since when no admitted link was heard.

    `silent_s` is None where no link of the peer was ever admitted.
    """

    id: int
    open_s: float
    silent_s: float | None


def places_kept_free(connections_max: int) -> int:
    """How many places a transport of so many keeps free."""
    return max(1, min(PLACES_KEPT_FREE_MAX, connections_max // 8))


def to_close(places: list[Place], connections_max: int) -> list[int]:
    """The ids of the connections to close, so that newcomers find a place."""
    excess = len(places) - (connections_max - places_kept_free(connections_max))
    if excess <= 0:
        return []
    strangers = [one for one in places if one.silent_s is None and one.open_s > STRANGER_S]
    idle = [one for one in places if one.silent_s is not None and one.silent_s > BUSY_S]
    strangers.sort(key=lambda one: -one.open_s)
    idle.sort(key=lambda one: -(one.silent_s or 0))
    return [one.id for one in (*strangers, *idle)][:excess]


class Openings:
    """How fast each peer opens links; the oldest of `OPENERS_MAX` are forgotten."""

    def __init__(self) -> None:
        self._buckets: dict[AgentPubKey, Bucket] = {}

    def allow(self, peer: AgentPubKey, now_us: int) -> bool:
        """Whether the peer may open another link now."""
        bucket = self._buckets.pop(peer, None) or Bucket(OPENINGS_PER_S, OPENINGS_BURST, now_us)
        self._buckets[peer] = bucket
        if len(self._buckets) > OPENERS_MAX:
            del self._buckets[next(iter(self._buckets))]
        bucket.refill(now_us)
        if bucket.level_micro < MICRO:
            return False
        bucket.spend(1)
        return True

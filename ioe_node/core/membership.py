"""Whom we keep contact with, who of them lives, and so who is an authority: pure.

A network may have more members than one node can know.  As in Kademlia we keep at most
`BUCKET_PEERS_MAX` for each power of two of XOR distance: few of the many far away, all of the few
close by, and the `NEAREST` in any case, and as many of the nearest holders: where most members
hold nothing, those of our share are farther away.  So what is close to us we judge ourselves, and
for the rest there is `core.lookup`; in a network of some dozens everyone simply knows everyone.
There are two spaces of that kind: the *key* of an agent says what it holds, its *place* whose
witness it is.

An authority set counts only who is alive, as far as we see: who answers is, and who has left
`FAILURES_MAX` requests unanswered is not until it is heard again.  The dead keep their place here
until a newcomer needs it or they are forgotten.
Source: Maymounkov and Mazières, "Kademlia" (2002), sections 2.2 and 2.4.
"""

from bisect import bisect_left, insort
from collections.abc import Callable
from dataclasses import dataclass
from heapq import nsmallest

from ioe_node.core.authority import REDUNDANCY
from ioe_node.core.share import Range, share_of
from ioe_node.model.hashes import CORE, AgentPubKey, key_of

BUCKET_PEERS_MAX = 20
PLACE_BUCKET_PEERS_MAX = REDUNDANCY
"""Fewer: places far away are for lookups only, and each contact costs messages."""
NEAREST = 3 * REDUNDANCY
"""Kept whatever their bucket, of members and of holders: enough that our share's other authorities
are all among them."""
FAILURES_MAX = 2
AUTHORITIES_CACHED_MAX = 16_384
SHARES_CACHED_MAX = 1_024
FORGET_AFTER_US = 7 * 24 * 3_600 * 1_000_000


@dataclass
class Member:
    """One member: where it stands, and when we last heard it."""

    agent: AgentPubKey
    key: int
    place: int
    holds: bool
    heard_us: int
    failures: int = 0

    @property
    def alive(self) -> bool:
        """Whether it counts."""
        return self.failures < FAILURES_MAX


class Buckets:
    """Which members one key space keeps; index `i` holds distances of `i` bits."""

    def __init__(self, us: int, at: Callable[[Member], int], size: int) -> None:
        self._us = us
        self._at = at
        self._size = size
        self._buckets: dict[int, list[AgentPubKey]] = {}
        self._distances: list[int] = []
        """Of all whom either space keeps, in order."""
        self._holders: list[int] = []
        """Of those among them who hold a share."""
        self.was_full = False
        """Whether there may be members that we do not know.  Who was turned away is not remembered,
        so that lasts when there is room again."""

    def _distance(self, member: Member) -> int:
        return self._at(member) ^ self._us

    def _bucket(self, member: Member) -> list[AgentPubKey]:
        return self._buckets.setdefault(self._distance(member).bit_length(), [])

    def has_room(self, at: int, holds: bool) -> bool:
        """Whether somebody there may enter without anyone leaving."""
        distance = at ^ self._us
        if len(self._buckets.get(distance.bit_length(), ())) < self._size:
            return True
        near = bisect_left(self._distances, distance) < NEAREST
        return near or (holds and bisect_left(self._holders, distance) < NEAREST)

    def add(self, member: Member, all_: dict[AgentPubKey, Member]) -> AgentPubKey | None:
        """Take it in if there is room, or in the place of one that is dead, who is returned."""
        bucket = self._bucket(member)
        gone = None
        if not self.has_room(self._at(member), member.holds):
            dead = [agent for agent in bucket if not all_[agent].alive]
            if not dead:
                return None
            gone = min(dead, key=lambda agent: (all_[agent].heard_us, agent))
            bucket.remove(gone)
        bucket.append(member.agent)
        self.was_full = self.was_full or len(bucket) >= self._size
        return gone

    def discard(self, member: Member) -> None:
        """It is not kept any more."""
        bucket = self._bucket(member)
        if member.agent in bucket:
            bucket.remove(member.agent)

    def count(self, member: Member) -> None:
        """Some space keeps it."""
        for kept in self._counted(member):
            insort(kept, self._distance(member))

    def uncount(self, member: Member) -> None:
        """No space keeps it any more."""
        for kept in self._counted(member):
            del kept[bisect_left(kept, self._distance(member))]

    def _counted(self, member: Member) -> list[list[int]]:
        return [self._distances, self._holders] if member.holds else [self._distances]

    def keeps(self, member: Member) -> bool:
        """Whether it is in its bucket."""
        return member.agent in self._bucket(member)


class Membership:
    """The members that one agent keeps, ourselves left out.

    `version` counts what changed, `near_version` what changed among the `NEAREST` by key, of
    members and of holders: of them alone it depends what we hold and who else does.
    """

    def __init__(self, us: AgentPubKey, place: int, holds: bool = True) -> None:
        self.us = us
        self.place = place
        self.holds = holds
        self.version = 0
        self.near_version = 0
        self._members: dict[AgentPubKey, Member] = {}
        self._by_key = Buckets(key_of(us), lambda member: member.key, BUCKET_PEERS_MAX)
        self._by_place = Buckets(place, lambda member: member.place, PLACE_BUCKET_PEERS_MAX)
        self._spaces = (self._by_key, self._by_place)
        self._authorities: dict[int, tuple[AgentPubKey, ...]] = {}
        self._shares: dict[tuple[AgentPubKey, int], list[Range]] = {}
        self._alive: list[Member] | None = None

    def _changed(self, who: Member | None = None) -> None:
        """Somebody has come, gone, died or come to life; None: we ourselves are another."""
        self._authorities.clear()
        self._shares.clear()
        self._alive = None
        self.version += 1
        self.near_version += who is None or self.is_near(who.key, who.holds)

    def is_near(self, key: int, holds: bool) -> bool:
        """Whether fewer than `NEAREST` of the living are closer to us, or of the holders who live
        than a holder there.
        """
        ours = key_of(self.us)
        closer = [one.holds for one in self._living() if one.key ^ ours < key ^ ours]
        return len(closer) < NEAREST or (holds and sum(closer) < NEAREST)

    def _living(self) -> list[Member]:
        """Everyone kept who lives, in key order; worked out once a change."""
        if self._alive is None:
            living = [member for member in self._members.values() if member.alive]
            self._alive = sorted(living, key=lambda member: member.agent)
        return self._alive

    def set_holds(self, holds: bool) -> None:
        """Whether we hold a share ourselves."""
        if holds != self.holds:
            self.holds = holds
            self._changed()

    def welcome(self, agent: AgentPubKey, place: int, holds: bool, now_us: int) -> bool:
        """A member that the membrane has admitted; True if it is kept."""
        if agent == self.us:
            return False
        known = self._members.get(agent)
        if known is not None:
            if (known.place, known.holds) == (place, holds):
                return True
            self.forget(agent)
        member = Member(agent, key_of(agent), place, holds, now_us)
        pushed = [space.add(member, self._members) for space in self._spaces]
        kept = self._is_kept(member)
        if kept:
            self._members[agent] = member
            for space in self._spaces:
                space.count(member)
            self._changed(member)
        for gone in pushed:
            other = self._members.get(gone) if gone is not None else None
            if other is not None and not self._is_kept(other):
                self.forget(other.agent)
        return kept

    def _is_kept(self, member: Member) -> bool:
        return any(space.keeps(member) for space in self._spaces)

    def has_room(self, agent: AgentPubKey, place: int, holds: bool) -> bool:
        """Whether an agent would be kept without pushing anyone out."""
        by_key = self._by_key.has_room(key_of(agent), holds)
        return by_key or self._by_place.has_room(place, holds)

    def forget(self, agent: AgentPubKey) -> None:
        """It is warranted, or has not been heard of for long."""
        member = self._members.pop(agent, None)
        if member is not None:
            for space in self._spaces:
                space.discard(member)
                space.uncount(member)
            self._changed(member)

    def forget_silent(self, now_us: int) -> list[AgentPubKey]:
        """Forget who is dead and was last heard longer ago than `FORGET_AFTER_US`."""
        silent = [
            member.agent
            for member in self._members.values()
            if not member.alive and now_us - member.heard_us > FORGET_AFTER_US
        ]
        for agent in silent:
            self.forget(agent)
        return silent

    def heard(self, agent: AgentPubKey, now_us: int) -> bool:
        """It has answered or asked; True if it was thought dead."""
        member = self._members.get(agent)
        if member is None:
            return False
        was_dead = not member.alive
        member.heard_us, member.failures = max(member.heard_us, now_us), 0
        if was_dead:
            self._changed(member)
        return was_dead

    def failed(self, agent: AgentPubKey) -> bool:
        """It left a request unanswered; True if it is thought dead from now on."""
        member = self._members.get(agent)
        if member is None or not member.alive:
            return False
        member.failures += 1
        if member.alive:
            return False
        self._changed(member)
        return True

    def get(self, agent: AgentPubKey) -> Member | None:
        """What is known of one member."""
        return self._members.get(agent)

    def alive(self) -> list[AgentPubKey]:
        """Everyone kept who lives, in key order."""
        return [member.agent for member in self._living()]

    def dead(self) -> list[AgentPubKey]:
        """Everyone kept who does not answer, in key order."""
        return sorted(agent for agent, member in self._members.items() if not member.alive)

    def holders(self) -> list[AgentPubKey]:
        """Those of the living who hold a share, in key order."""
        return [member.agent for member in self._living() if member.holds]

    def share(self, agent: AgentPubKey, redundancy: int = REDUNDANCY) -> list[Range]:
        """The locations to which an agent is among so many closest, as far as we know; by default
        those that it is an authority for.
        """
        found = self._shares.get((agent, redundancy))
        if found is None:
            if len(self._shares) >= SHARES_CACHED_MAX:
                self._shares.clear()
            holders = [*self.holders(), self.us]
            found = self._shares[agent, redundancy] = share_of(agent, holders, redundancy)
        return found

    def knows_all(self) -> bool:
        """Whether no member was ever left out for lack of room."""
        return not self._by_key.was_full

    def closest(self, key: int, count: int, holders: bool = False) -> list[AgentPubKey]:
        """The living members, or the holders among them, closest to a key, closest first, ourselves
        left out.
        """
        candidates = [each for each in self._living() if each.holds or not holders]
        found = nsmallest(count, candidates, key=lambda each: (each.key ^ key, each.agent[CORE]))
        return [member.agent for member in found]

    def closest_by_place(self, place: int, count: int) -> list[AgentPubKey]:
        """The living holders whose place is closest to `place`, ourselves included."""
        places = [
            (member.place ^ place, member.agent[CORE], member.agent)
            for member in self._living()
            if member.holds
        ]
        if self.holds:
            places.append((self.place ^ place, self.us[CORE], self.us))
        return [agent for _, _, agent in nsmallest(count, places)]

    def authorities(self, key: int) -> tuple[AgentPubKey, ...]:
        """The authorities of a key among who is kept, lives and holds; closest first."""
        found = self._authorities.get(key)
        if found is None:
            candidates = [
                (member.key ^ key, member.agent[CORE], member.agent)
                for member in self._living()
                if member.holds
            ]
            if self.holds:
                candidates.append((key_of(self.us) ^ key, self.us[CORE], self.us))
            found = tuple(agent for _, _, agent in nsmallest(REDUNDANCY, candidates))
            if len(self._authorities) >= AUTHORITIES_CACHED_MAX:
                self._authorities.clear()
            self._authorities[key] = found
        return found

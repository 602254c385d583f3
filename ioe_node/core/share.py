"""An agent's share of the key space, as ranges of locations: pure.

Agent `a` is among the R closest to a location `x` when fewer than R members are closer to `x`.  Of
two agents whose keys first differ in bit `j`, the closer to `x` is the one that agrees with `x`
there.  So let `c_j` be the number of members whose key first differs from `a`'s in bit `j`: the
members closer to `x` than `a` are the sum of `c_j` over the bits in which `x` and `a` differ.  The
share is every `x` for which that sum is less than R, and it is found bit by bit: below the last bit
that counts, whole ranges belong to it or do not.
"""

from collections.abc import Iterable, Sequence

from ioe_node.core.authority import REDUNDANCY
from ioe_node.model.hashes import AgentPubKey, key_of

KEY_BITS = 32
Range = tuple[int, int]
"""Both ends included."""


def share_of(
    agent: AgentPubKey, others: Iterable[AgentPubKey], redundancy: int = REDUNDANCY
) -> list[Range]:
    """The locations that `agent` is an authority for among `others` and itself, in order."""
    key = key_of(agent)
    closer = [0] * KEY_BITS
    for other in others:
        apart = (key_of(other) ^ key).bit_length()
        if apart and other != agent:
            closer[KEY_BITS - apart] += 1
    last = max((bit for bit in range(KEY_BITS) if closer[bit]), default=-1)
    found: list[Range] = []

    def descend(bit: int, low: int, sum_closer: int) -> None:
        if bit > last:
            found.append((low, low | (1 << (KEY_BITS - bit)) - 1))
            return
        weight = 1 << (KEY_BITS - 1 - bit)
        ours = key & weight
        for side in (0, weight):
            nearer = sum_closer + (closer[bit] if side != ours else 0)
            if nearer < redundancy:
                descend(bit + 1, low | side, nearer)

    descend(0, 0, 0)
    return _joined(found)


def _joined(ranges: Sequence[Range]) -> list[Range]:
    """Neighbouring ranges made one."""
    joined: list[Range] = []
    for low, high in ranges:
        if joined and joined[-1][1] + 1 == low:
            joined[-1] = (joined[-1][0], high)
        else:
            joined.append((low, high))
    return joined


def common(ours: Sequence[Range], theirs: Sequence[Range]) -> list[Range]:
    """Where two shares overlap."""
    found: list[Range] = []
    at = 0
    for low, high in ours:
        while at < len(theirs) and theirs[at][1] < low:
            at += 1
        place = at
        while place < len(theirs) and theirs[place][0] <= high:
            found.append((max(low, theirs[place][0]), min(high, theirs[place][1])))
            place += 1
    return found


def within(ranges: Sequence[Range], location: int) -> bool:
    """Whether a location is in one of these."""
    return any(low <= location <= high for low, high in ranges)


def split(span: Range, parts: int) -> list[Range]:
    """A range in so many parts as equal as can be, none of them empty."""
    low, high = span
    size = high - low + 1
    count = min(parts, size)
    edges = [low + size * part // count for part in range(count + 1)]
    return [(edges[part], edges[part + 1] - 1) for part in range(count)]

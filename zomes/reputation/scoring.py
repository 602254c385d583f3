"""What evidence counts for: points, whole numbers, that add up to the score.

What counts is what a stranger cannot make for itself: dealings with us, the word of the
community's approvers and of issuers whom the owner's weights name, proofs of misbehaviour.
Anybody else's word weighs nothing, however many say it.  Uptime alone is the meter's own word,
at most `uptime` points of it; an owner who believes no meter sets that to 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ioe_node.hdi import AgentPubKey

POINTS_MAX = 1_000_000
ISSUERS_MAX = 256
SETTLEMENTS_COUNTED_MAX = 100


@dataclass(frozen=True)
class IssuerWeight:
    """What a standing claim by this issuer counts for; its key need be no agent's here."""

    issuer: AgentPubKey
    points: int


@dataclass(frozen=True)
class Weights:
    """An owner's idea of good and bad, in points.

    `uptime` is for a meter that missed nothing, `settlement` for each that was completed with
    us, `credential` for a device that the community's approvers approved, `warrant` for each
    proof of misbehaviour.
    """

    uptime: int
    settlement: int
    credential: int
    warrant: int
    issuers: tuple[IssuerWeight, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what would not stay a whole number of 64 bits; `ValueError` says what."""
        points = [self.uptime, self.settlement, self.credential, self.warrant]
        points += [each.points for each in self.issuers]
        if max(map(abs, points)) > POINTS_MAX or len(self.issuers) > ISSUERS_MAX:
            raise ValueError(f"a weight is at most {POINTS_MAX} points, for {ISSUERS_MAX} issuers")


@dataclass(frozen=True)
class ClaimSeen:
    """A claim that stands: whose word, in which capacity, and whether that issuer is convicted."""

    claim: bytes
    issuer: AgentPubKey
    kind: str
    issuer_convicted: bool


@dataclass(frozen=True)
class Seen:
    """All that was found out about an agent; `measured` of `intervals` its meter was there."""

    measured: int = 0
    intervals: int = 0
    settlements: int = 0
    credentials: tuple[bytes, ...] = ()
    warrants: tuple[tuple[bytes, str], ...] = ()
    claims: tuple[ClaimSeen, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """One piece: `count` of `of`, times `weight`; `source` is the action or warrant, if one."""

    kind: str
    what: str
    count: int
    of: int
    weight: int
    source: bytes | None = None

    @property
    def contribution(self) -> int:
        """Points, rounded down; what is lost is under one point."""
        return self.weight * self.count // self.of


def weigh(seen: Seen, weights: Weights) -> list[Evidence]:
    """Each piece of evidence with its weight, in a fixed order."""
    pieces = []
    if seen.intervals:
        what = f"metered {seen.measured} of {seen.intervals} intervals"
        pieces.append(Evidence("uptime", what, seen.measured, seen.intervals, weights.uptime))
    if seen.settlements:
        counted = min(seen.settlements, SETTLEMENTS_COUNTED_MAX)
        what = f"{seen.settlements} settlements with us, {counted} counted"
        pieces.append(Evidence("settlements", what, counted, 1, weights.settlement))
    for source in seen.credentials:
        what = "approved by the community's approvers"
        pieces.append(Evidence("credential", what, 1, 1, weights.credential, source))
    for source, offence in seen.warrants:
        pieces.append(Evidence("warrant", offence, 1, 1, weights.warrant, source))
    return pieces + _claims(seen.claims, weights)


def _claims(claims: Sequence[ClaimSeen], weights: Weights) -> list[Evidence]:
    """The claims of named issuers; who says the same twice has said it once."""
    points = {each.issuer: each.points for each in weights.issuers}
    pieces = []
    said = set()
    for claim in claims:
        if claim.issuer not in points or (claim.issuer, claim.kind) in said:
            continue
        said.add((claim.issuer, claim.kind))
        what = claim.kind or "signed elsewhere"
        if claim.issuer_convicted:
            what += ", by an issuer who is convicted"
        weight = 0 if claim.issuer_convicted else points[claim.issuer]
        pieces.append(Evidence("claim", what, 1, 1, weight, claim.claim))
    return pieces


def score(pieces: Sequence[Evidence]) -> int:
    """The sum of what the pieces contribute."""
    return sum(piece.contribution for piece in pieces)

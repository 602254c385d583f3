"""The membrane: an invitation by a steward, a member's word for its device, a successor's right.

A membrane proof is a chain of vouchers.  The first is by a steward whom the DNA's properties
name; each other by the agent whom the one before it admits.  Stewards need no proof.  A voucher
names the network, so none fits another community, and the place on its author's chain where that
says whom it invites: a signature alone has no time, and whoever steals a key would go on inviting
when it is revoked.

A *successor* goes on for an agent, with all that this one may do: a steward's successor is a
steward.  The key-holders whom the agent's voucher (for a steward, the property `recovery`) names by
their digest make it, also when the agent's key is lost, and nobody else does: a key that is stolen,
or was revoked, cannot pass the membership on.  Whoever named none has to be invited anew.  A
device, which stands where others can take it, vouches for nobody: its owner vouches for its next
key, as for its first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ioe_node.hdi import (
    DIGEST_BYTES,
    ActionHash,
    AgentPubKey,
    Consent,
    CreateOp,
    DnaHash,
    IntegrityZome,
    Invalid,
    Invited,
    KeyHolders,
    Network,
    Valid,
    ValidationHost,
    Verdict,
    agreed,
    consent_message,
    decode,
    encode,
    holders_digest,
    verify,
)

VOUCHERS_MAX = 16
SUCCESSOR = "successor"

zome = IntegrityZome("community")

Role = Literal["member", "device", "successor"]
Invitee = Literal["member", "device"]
Rank = Literal["steward", "member", "device"]


@zome.entry_type
@dataclass(frozen=True)
class Invitation:
    """The author invites `agent`: as a member, or as a device of its own."""

    agent: AgentPubKey


@dataclass(frozen=True)
class Written:
    """The place of an `Invitation` on its author's chain."""

    seq: int
    action: ActionHash


@dataclass(frozen=True)
class Voucher:
    """`voucher` vouches for `agent` in this network.

    `recovery` is the digest of the key-holders who alone make its successor, or empty.
    `written` is where the voucher's chain says so; a successor's, which the end of that chain
    names, says nothing there.
    """

    network: DnaHash
    agent: AgentPubKey
    voucher: AgentPubKey
    role: Role
    recovery: bytes = b""
    written: Written | None = None


@dataclass(frozen=True)
class Recovery:
    """The key-holders that a predecessor's voucher names, and their consents to a voucher."""

    holders: KeyHolders
    consents: tuple[Consent, ...]


@dataclass(frozen=True)
class SignedVoucher:
    """A voucher's canonical bytes and the voucher's signature; of a successor, its key-holders'."""

    body: bytes
    signature: bytes
    recovery: Recovery | None = None


@dataclass(frozen=True)
class Place:
    """What a chain of vouchers leads to: whom, as what, on whose word, who succeeds it."""

    agent: AgentPubKey
    rank: Rank
    sponsor: AgentPubKey
    recovery: bytes


def message_of(voucher: Voucher) -> bytes:
    """What the voucher signs."""
    return b"ioe/voucher/1" + encode(voucher)


def successor_message(voucher: Voucher, holders: KeyHolders) -> bytes:
    """What the key-holders of the agent that is succeeded sign."""
    return consent_message(voucher.network, holders_digest(holders), SUCCESSOR, encode(voucher))


def encode_proof(vouchers: tuple[SignedVoucher, ...]) -> bytes:
    """A membrane proof."""
    return encode(vouchers)


def decode_proof(proof: bytes) -> tuple[SignedVoucher, ...]:
    """The vouchers of a membrane proof; raises `Malformed`."""
    vouchers: tuple[SignedVoucher, ...] = decode(tuple[SignedVoucher, ...], proof)
    return vouchers


def place_in(network: Network, agent: AgentPubKey, proof: bytes | None) -> Place | Invalid:
    """Where a membrane proof places `agent`, or why it does not; raises `Malformed`."""
    if agent in network.properties.stewards:
        return _steward(network, agent)
    if not proof:
        return Invalid("no invitation; ask a steward for one ('ioe community invite')")
    vouchers = decode_proof(proof)
    if not 1 <= len(vouchers) <= VOUCHERS_MAX:
        return Invalid(f"a proof has 1 to {VOUCHERS_MAX} vouchers")
    first: Voucher = decode(Voucher, vouchers[0].body)
    if first.voucher not in network.properties.stewards:
        return Invalid("an invitation by someone who may not invite here")
    place = _steward(network, first.voucher)
    for signed in vouchers:
        voucher: Voucher = decode(Voucher, signed.body)
        wrong = _fault(network, place, voucher, signed)
        if wrong:
            return Invalid(wrong)
        place = _after(place, voucher)
    return place if place.agent == agent else Invalid("an invitation for another agent")


def _steward(network: Network, agent: AgentPubKey) -> Place:
    named = dict(zip(network.properties.stewards, network.properties.recovery, strict=False))
    return Place(agent, "steward", agent, named.get(agent, b""))


def _fault(network: Network, place: Place, voucher: Voucher, signed: SignedVoucher) -> str | None:
    """Why whoever is at `place` does not admit anyone by this voucher, or None."""
    if voucher.voucher != place.agent or voucher.network != network.hash:
        return "an invitation by someone who may not invite here"
    if voucher.role == "member" and place.rank != "steward":
        return "a member may vouch for its devices and its successor only"
    if place.rank == "device":
        return "a device vouches for nobody; its owner does, for its next key too"
    if (voucher.written is None) != (voucher.role == SUCCESSOR):
        return "an invitation that does not stand on the chain of whoever invites"
    if len(voucher.recovery) not in (0, DIGEST_BYTES):
        return f"key-holders are named by {DIGEST_BYTES} bytes"
    if voucher.role == SUCCESSOR:
        return _recovery_fault(place, voucher, signed)
    if signed.recovery is not None:
        return "key-holders' consents where none are asked for"
    if not verify(voucher.voucher[3:35], message_of(voucher), signed.signature):
        return "an invitation whose signature does not fit"
    return None


def _recovery_fault(place: Place, voucher: Voucher, signed: SignedVoucher) -> str | None:
    shown = signed.recovery
    if shown is None or signed.signature or holders_digest(shown.holders) != place.recovery:
        return "only the key-holders who are named for an agent make its successor"
    if not agreed(shown.holders, shown.consents, successor_message(voucher, shown.holders)):
        return "fewer of the key-holders agree to a successor than must"
    return None


def _after(place: Place, voucher: Voucher) -> Place:
    """Where the agent that a sound voucher admits stands."""
    if voucher.role == "successor":
        return Place(voucher.agent, place.rank, place.sponsor, voucher.recovery)
    sponsor = voucher.agent if place.rank == "steward" else place.sponsor
    return Place(voucher.agent, voucher.role, sponsor, voucher.recovery)


@zome.membrane
def admitted(agent: AgentPubKey, proof: bytes | None, network: Network) -> Verdict:
    """Whether `proof` leads from a steward to `agent`."""
    place = place_in(network, agent, proof)
    return place if isinstance(place, Invalid) else Valid


@zome.validate_create
def somebody_else(entry: Invitation, op: CreateOp, host: ValidationHost) -> Verdict:
    return Invalid("nobody invites itself") if entry.agent == op.action.author else Valid


@zome.invitations
def written_at(agent: AgentPubKey, proof: bytes | None, network: Network) -> list[Invited]:
    """Where the chains of those who vouched, from a steward to `agent`, say so."""
    return [
        Invited(voucher.voucher, written.seq, written.action)
        for voucher, written in _written(network.properties, agent, proof)
    ]


@zome.validate_admission
def as_their_chains_say(agent: AgentPubKey, proof: bytes | None, host: ValidationHost) -> Verdict:
    """Whether each who vouched invited so; until that is here the newcomer waits."""
    vouched = _written(host.properties, agent, proof)
    records = host.must_get_records([written.action for _, written in vouched])
    for (voucher, written), found in zip(vouched, records, strict=True):
        if (found.action.author, found.action.action_seq) != (voucher.voucher, written.seq):
            return Invalid("an invitation that is not at that place of its author's chain")
        if not isinstance(found.entry, Invitation) or found.entry.agent != voucher.agent:
            return Invalid("an invitation whose author's chain names somebody else there")
    return Valid


def _written(
    properties: Any, agent: AgentPubKey, proof: bytes | None
) -> list[tuple[Voucher, Written]]:
    """The vouchers of an admitted agent's proof that stand on chains; a steward needs none."""
    if not proof or agent in properties.stewards:
        return []
    vouchers: list[Voucher] = [decode(Voucher, each.body) for each in decode_proof(proof)]
    return [(each, each.written) for each in vouchers if each.written is not None]


@zome.sponsor
def sponsor(agent: AgentPubKey, proof: bytes | None, network: Network) -> AgentPubKey:
    """Whom a steward admitted: the member that a device is in by, the first that a successor
    goes on for; everybody else stands for itself.

    Were a successor to stand for itself, a member could make as many as it likes.
    """
    place = place_in(network, agent, proof)
    return agent if isinstance(place, Invalid) else place.sponsor


def vouch(
    network: Network,
    voucher: AgentPubKey,
    own_proof: bytes | None,
    agent: AgentPubKey,
    role: Invitee,
    sign: Callable[[bytes], bytes],
    written: Written,
    recovery: bytes = b"",
) -> bytes:
    """A membrane proof for `agent`, signed by `voucher`, whose own proof it continues."""
    body = Voucher(network.hash, agent, voucher, role, recovery, written)
    return _continued(own_proof, SignedVoucher(encode(body), sign(message_of(body))))


def succeed(
    old_proof: bytes | None, voucher: Voucher, holders: KeyHolders, consents: Sequence[Consent]
) -> bytes:
    """A successor's membrane proof, by consents to `successor_message(voucher, holders)`."""
    recovery = Recovery(holders, tuple(consents))
    return _continued(old_proof, SignedVoucher(encode(voucher), b"", recovery))


def _continued(proof: bytes | None, signed: SignedVoucher) -> bytes:
    before = decode_proof(proof) if proof else ()
    return encode_proof((*before, signed))


def recovery_of(network: Network, agent: AgentPubKey, proof: bytes | None) -> bytes:
    """The digest of the key-holders who alone make an agent's successor; empty for none."""
    place = place_in(network, agent, proof)
    return b"" if isinstance(place, Invalid) else place.recovery

"""The membrane: an invitation signed by a steward, or a member's word for its device.

A membrane proof is a chain of one or two vouchers.  The first is signed by a steward whom the
DNA's properties name; a second, for a device, by the agent whom the first admits.  Stewards
need no proof.  A voucher carries the community's seed, so none fits another community.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ioe_node.hdi import (
    AgentPubKey,
    IntegrityZome,
    Invalid,
    Network,
    Valid,
    Verdict,
    decode,
    encode,
    verify,
)

VOUCHERS_MAX = 2

zome = IntegrityZome("community")


@dataclass(frozen=True)
class Voucher:
    """`voucher` vouches for `agent` in the community of this seed.

    All else that is signed names the DNA hash; a membrane is shown the seed and the properties
    only.  The seed's four random bytes keep communities apart that are not made alike on purpose,
    and whoever makes one with another's seed gains no more than a membrane of its own choice.
    """

    seed: str
    agent: AgentPubKey
    voucher: AgentPubKey
    role: Literal["member", "device"]


@dataclass(frozen=True)
class SignedVoucher:
    """A voucher's canonical bytes and its signature."""

    body: bytes
    signature: bytes


def message_of(voucher: Voucher) -> bytes:
    """What is signed."""
    return b"ioe/voucher/1" + encode(voucher)


def encode_proof(vouchers: tuple[SignedVoucher, ...]) -> bytes:
    """A membrane proof."""
    return encode(vouchers)


def decode_proof(proof: bytes) -> tuple[SignedVoucher, ...]:
    """The vouchers of a membrane proof; raises `Malformed`."""
    vouchers: tuple[SignedVoucher, ...] = decode(tuple[SignedVoucher, ...], proof)
    return vouchers


@zome.membrane
def admitted(agent: AgentPubKey, proof: bytes | None, network: Network) -> Verdict:
    """Whether `proof` leads from a steward to `agent`."""
    if agent in network.properties.stewards:
        return Valid
    if not proof:
        return Invalid("no invitation; ask a steward for one ('ioe community invite')")
    vouchers = decode_proof(proof)
    if not 1 <= len(vouchers) <= VOUCHERS_MAX:
        return Invalid(f"a proof has one or {VOUCHERS_MAX} vouchers")
    signer: AgentPubKey | None = None
    for place, signed in enumerate(vouchers):
        voucher = decode(Voucher, signed.body)
        right = (
            voucher.voucher in network.properties.stewards
            if place == 0
            else voucher.voucher == signer
        )
        if not right or voucher.seed != network.seed:
            return Invalid("an invitation by someone who may not invite here")
        if place and voucher.role != "device":
            return Invalid("a member may vouch for its devices only")
        if not verify(voucher.voucher[3:35], message_of(voucher), signed.signature):
            return Invalid("an invitation whose signature does not fit")
        signer = voucher.agent
    return Valid if signer == agent else Invalid("an invitation for another agent")


@zome.sponsor
def sponsor(agent: AgentPubKey, proof: bytes | None, network: Network) -> AgentPubKey:
    """The member that vouches for an admitted device; everybody else stands for itself."""
    if not proof or agent in network.properties.stewards:
        return agent
    first: Voucher = decode(Voucher, decode_proof(proof)[0].body)
    return first.agent


def vouch(
    network: Network,
    voucher: AgentPubKey,
    own_proof: bytes | None,
    agent: AgentPubKey,
    role: Literal["member", "device"],
    sign: Callable[[bytes], bytes],
) -> bytes:
    """A membrane proof for `agent`, signed by `voucher`, whose own proof it continues."""
    body = Voucher(network.seed, agent, voucher, role)
    signed = SignedVoucher(encode(body), sign(message_of(body)))
    before = () if own_proof is None else decode_proof(own_proof)
    return encode_proof((*before, signed))

"""Where an agent can be dialled in one network: signed by it, expiring, newest wins."""

from collections.abc import Callable
from typing import Annotated

from msgspec import Meta, Struct

from ioe_node.errors import Malformed
from ioe_node.model.action import Hash39, TimestampUs
from ioe_node.model.codec import Codec, encode
from ioe_node.model.hashes import AGENT, CORE, DNA, AgentPubKey, DnaHash, check_hash
from ioe_node.model.record import Core, Signature
from ioe_node.model.signing import verify

ADDRESSES_MAX = 8
ADDRESS_BYTES_MAX = 256
INFO_BYTES_MAX = 4_096
INFO_LIFE_US = 2 * 3_600 * 1_000_000
CLOCK_SKEW_US_MAX = 5 * 60 * 1_000_000


class AgentInfo(Struct, frozen=True, array_like=True):
    """`agent` takes part in `network` and can be dialled at `addresses` until `expires_us`.

    `proof` is the digest of its membrane proof; `holds` says that it holds a share for others.
    """

    agent: Hash39
    network: Hash39
    proof: Core
    holds: bool
    addresses: Annotated[
        tuple[Annotated[str, Meta(max_length=ADDRESS_BYTES_MAX)], ...],
        Meta(max_length=ADDRESSES_MAX),
    ]
    issued_us: TimestampUs
    expires_us: TimestampUs


class SignedInfo(Struct, frozen=True, array_like=True):
    """The bytes of an `AgentInfo` and its agent's signature over them."""

    info: Annotated[bytes, Meta(max_length=INFO_BYTES_MAX)]
    signature: Signature


_info: Codec[AgentInfo] = Codec(AgentInfo, "agent info", INFO_BYTES_MAX)


def _message(info: bytes) -> bytes:
    return b"ioe/agent-info/1" + info


def seal_info(
    agent: AgentPubKey,
    network: DnaHash,
    proof: bytes,
    holds: bool,
    addresses: tuple[str, ...],
    now_us: int,
    sign: Callable[[bytes], bytes],
) -> SignedInfo:
    """Say where we are, for the next `INFO_LIFE_US`."""
    until_us = now_us + INFO_LIFE_US
    info = encode(
        AgentInfo(agent, network, proof, holds, addresses[:ADDRESSES_MAX], now_us, until_us)
    )
    return SignedInfo(info, sign(_message(info)))


def open_info(signed: SignedInfo, network: DnaHash, now_us: int | None) -> AgentInfo:
    """Check and decode; raises `Malformed` when forged, expired, from the future or elsewhere.

    Without a time the times are not judged: what this disk remembers may be old and still help.
    """
    info = _info.decode(signed.info)
    check_hash(info.agent, AGENT)
    check_hash(info.network, DNA)
    if info.network != network:
        raise Malformed("agent info of another network")
    life_us = info.expires_us - info.issued_us
    if now_us is not None:
        if info.issued_us > now_us + CLOCK_SKEW_US_MAX or life_us > INFO_LIFE_US:
            raise Malformed("agent info from the future")
        if info.expires_us < now_us:
            raise Malformed("agent info that has expired")
    if not verify(info.agent[CORE], _message(signed.info), signed.signature):
        raise Malformed("agent info whose signature does not fit")
    return info

"""A signed zome call: what the caller signed, checked over the bytes that came.

The signature is Ed25519 over the SHA-512 of the call's msgpack bytes, by the key in its
`provenance`.  Those bytes are never encoded again: another encoder may choose other lengths.
"""

from hashlib import sha512
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from ioe_node.api.conductor_auth import Nonces, NotAuthentic
from ioe_node.api.conductor_frames import CellId, Name
from ioe_node.errors import Malformed
from ioe_node.model.action import Hash39
from ioe_node.model.hashes import AGENT, CORE
from ioe_node.model.signing import verify_once


class SignedCall(Struct):
    """The argument of `call_zome`."""

    said: bytes = msgspec.field(name="bytes")
    signature: bytes


class ZomeCall(Struct):
    """What was signed; `payload` is msgpack, for the function to read."""

    provenance: Hash39
    cell_id: CellId
    zome_name: Name
    fn_name: Name
    payload: bytes
    nonce: bytes
    expires_at: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
    cap_secret: bytes | None = None


_calls = msgspec.msgpack.Decoder(ZomeCall)


def open_call(signed: SignedCall, nonces: Nonces, now_us: int) -> ZomeCall:
    """The call; raises `Malformed`, or `NotAuthentic` for one that is forged, stale or repeated.

    A nonce is taken only by who has signed for it.
    """
    try:
        call = _calls.decode(signed.said)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Malformed(f"not a zome call: {error}") from None
    if call.provenance[:3] != AGENT:
        raise NotAuthentic("the provenance is no agent's key")
    if not verify_once(call.provenance[CORE], sha512(signed.said).digest(), signed.signature):
        raise NotAuthentic("the signature is not the provenance's over these bytes")
    nonces.use(call.provenance, call.nonce, call.expires_at, now_us)
    return call

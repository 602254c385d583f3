"""An invitation: what an agent needs to join a community, as one line of text.

It names the rules (a DNA that the joiner has installed, and the hash that they must give),
the modifiers, the proof that admits the joiner, and whom to meet first.  The line ends in a
checksum, so that a mistyped letter is said to be one.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from hashlib import blake2b
from typing import Annotated

from msgspec import Meta, Struct

from ioe_node.errors import CallError, Malformed
from ioe_node.hdk import DnaDef, Modifiers
from ioe_node.model.action import MEMBRANE_PROOF_BYTES_MAX, Hash39
from ioe_node.model.codec import Codec, encode
from ioe_node.plugins import load

INVITATION_BYTES_MAX = 60_000
BOOTSTRAP_MAX = 16
PREFIX = "ioe1"
CHECKSUM_BYTES = 4
MISTYPED = "an invitation that is cut or mistyped; paste the whole line"


class Invitation(Struct, frozen=True, array_like=True):
    """See the module docstring; `bootstrap` is multiaddr text that ends in /p2p/<peer id>."""

    dna_name: Annotated[str, Meta(max_length=64)]
    dna_hash: Hash39
    seed: Annotated[str, Meta(max_length=256)]
    properties: Annotated[bytes, Meta(max_length=16_384)]
    proof: Annotated[bytes, Meta(max_length=MEMBRANE_PROOF_BYTES_MAX)] | None
    bootstrap: Annotated[
        tuple[Annotated[str, Meta(max_length=256)], ...], Meta(max_length=BOOTSTRAP_MAX)
    ]

    def encoded(self) -> bytes:
        """Canonical bytes."""
        return encode(self)

    def text(self) -> str:
        """One line, to be pasted."""
        data = self.encoded()
        return PREFIX + urlsafe_b64encode(data + _checksum(data)).decode().rstrip("=")

    def definition(self, known: dict[str, DnaDef]) -> DnaDef:
        """The DNA that it names, among those known here; raises `CallError`."""
        base = known.get(self.dna_name)
        if base is None:
            raise CallError(
                f"this invitation is for DNA '{self.dna_name}'; add it to 'dnas' in the config"
            )
        definition = base.clone(Modifiers(self.seed, self.properties))
        if definition.hash != self.dna_hash:
            raise CallError(
                f"the rules of '{self.dna_name}' differ here from the community's; "
                "install the version that it runs"
            )
        return definition


def known_dnas(names: Iterable[str]) -> dict[str, DnaDef]:
    """The DNAs of a config's dotted names, by their own names; raises `ConfigError`."""
    return {dna.name: dna for dna in map(load, names)}


_codec: Codec[Invitation] = Codec(Invitation, "invitation", INVITATION_BYTES_MAX)


def decode_invitation(data: bytes) -> Invitation:
    """Of canonical bytes; raises `Malformed`."""
    return _codec.decode(data)


def parse_invitation(text: str) -> Invitation:
    """Of a pasted line; raises `CallError`: who pastes is at this machine, and no peer."""
    body = "".join(text.split())
    if not body.startswith(PREFIX):
        raise CallError(f"an invitation begins with '{PREFIX}'; paste the whole line")
    try:
        data = urlsafe_b64decode(body[len(PREFIX) :].encode("ascii") + b"==")
        if _checksum(data[:-CHECKSUM_BYTES]) != data[-CHECKSUM_BYTES:]:
            raise Malformed("another checksum than the invitation's")
        invitation = decode_invitation(data[:-CHECKSUM_BYTES])
    except (ValueError, Malformed):
        raise CallError(MISTYPED) from None
    # Base64 passes over other letters, and over the last letter's spare bits.
    if invitation.text() != body:
        raise CallError(MISTYPED)
    return invitation


def _checksum(data: bytes) -> bytes:
    return blake2b(data, digest_size=CHECKSUM_BYTES).digest()

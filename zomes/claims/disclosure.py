"""Selective disclosure: a claim holds commitments, its subject holds what opens them.

A commitment is blake2b over the field's name, value and salt and over whom the claim is by and
about: a digest that is copied into another claim opens nothing there.  A salt is drawn for each
field and shown with it only, so that a revealed field says nothing of its neighbours and a
value that could be guessed cannot be tried out.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

from ioe_node.hdi import ActionHash, AgentPubKey, Malformed, decode, encode

DIGEST_BYTES = 32
SALT_BYTES = 32
FIELDS_MAX = 16
VALUE_CHARS_MAX = 1_000


@dataclass(frozen=True)
class Field:
    """A field as everyone sees it: its name, and what its value was committed to."""

    name: str
    digest: bytes


@dataclass(frozen=True)
class Opening:
    """What opens a field: its name, its value and its own salt."""

    name: str
    value: str
    salt: bytes


@dataclass(frozen=True)
class Disclosure:
    """Some fields of a claim with what opens them; all of them is a slip."""

    claim: ActionHash
    openings: tuple[Opening, ...]


def commit(issuer: AgentPubKey, subject: AgentPubKey, opening: Opening) -> Field:
    """The field that `opening` opens in a claim by `issuer` about `subject`."""
    message = encode((issuer, subject, opening.name, opening.value, opening.salt))
    digest = blake2b(message, digest_size=DIGEST_BYTES, person=b"ioe.claim.field").digest()
    return Field(opening.name, digest)


def decode_disclosure(data: bytes) -> Disclosure:
    """A disclosure of its canonical bytes; raises `Malformed`."""
    shown: Disclosure = decode(Disclosure, data)
    check_openings(shown.openings)
    return shown


def check_openings(openings: tuple[Opening, ...]) -> None:
    """Raise `Malformed` unless there are as many, as long and as salted as a claim may have."""
    names = [opening.name for opening in openings]
    if not 1 <= len(names) <= FIELDS_MAX or len(set(names)) != len(names):
        raise Malformed(f"between 1 and {FIELDS_MAX} fields, each of another name, are shown")
    for opening in openings:
        if len(opening.salt) != SALT_BYTES or len(opening.value) > VALUE_CHARS_MAX:
            raise Malformed(
                f"a field has a salt of {SALT_BYTES} bytes and at most {VALUE_CHARS_MAX} characters"
            )


def unopened(
    issuer: AgentPubKey,
    subject: AgentPubKey,
    fields: Iterable[Field],
    openings: tuple[Opening, ...],
) -> list[str]:
    """The names of what is shown and opens no field of the claim, in the order shown."""
    committed = {field.name: field.digest for field in fields}
    return [
        opening.name
        for opening in openings
        if committed.get(opening.name) != commit(issuer, subject, opening).digest
    ]

"""Deeds that key-holders sign: asked for as a file, signed apart, put together, done.

What is signed says all that it is: the network, the keyset in force, the deed and its content.  So
whoever is asked reads it out of the very bytes that they sign, and needs not trust the file.
"""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta, Struct

from ioe_node.conductor import keytree, leaving
from ioe_node.conductor.owner_calls import REQUEST_FILE_BYTES_MAX, Consented, Consider
from ioe_node.conductor.owner_calls import ask as ask_peer
from ioe_node.errors import CallError, IoeError, LocalError, Malformed
from ioe_node.hdi import (
    AgentPubKey,
    Consent,
    DnaHash,
    KeyHolders,
    agreed,
    consent_message,
    holders_fault,
)
from ioe_node.model import consent
from ioe_node.model.codec import pack, unpack
from ioe_node.model.hashes import CORE
from ioe_node.model.signing import Signer
from ioe_node.plugins import load

if TYPE_CHECKING:
    from ioe_node.conductor.cell import Cell
    from ioe_node.conductor.conductor import Conductor

REQUEST_BYTES_MAX = 64 * 1024
SIGNED_PREFIX = b"ioe/consent/1"

Bytes = Annotated[bytes, Meta(max_length=REQUEST_BYTES_MAX)]


class ConsentRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """One file: a deed of an owner's, whose consents it takes, and the consents so far.

    `payload` is the call that does the deed; `message` is what is signed, empty where nobody is
    asked.
    """

    community: Annotated[str, Meta(max_length=256)]
    network: Bytes
    deed: Annotated[str, Meta(max_length=64)]
    payload: Bytes
    message: Bytes
    threshold: Annotated[int, Meta(ge=0, le=consent.KEYS_MAX)]
    keys: Annotated[tuple[Bytes, ...], Meta(max_length=consent.KEYS_MAX)]
    consents: Annotated[tuple[Consent, ...], Meta(max_length=consent.KEYS_MAX)] = ()

    @property
    def holders(self) -> KeyHolders:
        """Who is asked."""
        return KeyHolders(self.threshold, self.keys)

    @property
    def enough(self) -> bool:
        """Whether the deed can be done."""
        return not self.message or agreed(self.holders, self.consents, self.message)


def to_file(request: ConsentRequest) -> bytes:
    """The file's bytes: JSON, bytes as base64."""
    return msgspec.json.format(msgspec.json.encode(request)) + b"\n"


def from_file(data: bytes) -> ConsentRequest:
    """A request out of a file; raises `LocalError`."""
    try:
        if len(data) > REQUEST_FILE_BYTES_MAX:
            raise msgspec.ValidationError("it is too long")
        request = msgspec.json.decode(data, type=ConsentRequest)
    except msgspec.DecodeError as error:
        raise LocalError(f"this is no request to key-holders: {error}") from None
    fault = holders_fault(request.holders) if request.message else None
    if fault:
        raise LocalError(f"this is no request to key-holders: {fault}")
    return request


def content_of(request: ConsentRequest) -> dict[str, Any]:
    """What the signed bytes say: network, keyset, deed and its fields; raises `LocalError`."""
    try:
        dna, keyset, name, body = msgspec.msgpack.decode(
            request.message.removeprefix(SIGNED_PREFIX), type=tuple[bytes, bytes, str, bytes]
        )
        if consent_message(DnaHash(dna), keyset, name, body) != request.message:
            raise Malformed("it is not in its one form")
        declared = load("zomes.identity.integrity:zome").entry_types.get(f"identity.{name}")
        if declared is None:
            raise Malformed(f"it knows no deed '{name[:40]}'")
        entry = asdict(declared.decode(body))
    except (msgspec.DecodeError, Malformed) as error:
        raise LocalError(f"what is to be signed cannot be read, sign it not: {error}") from None
    entry.pop("consents")
    return {"network": dna, "keyset": keyset, "deed": name, **entry}


def signed(request: ConsentRequest, signers: list[Signer]) -> ConsentRequest:
    """The request with the consents of those signers who are asked; raises `LocalError`."""
    content_of(request)
    ours = [signer for signer in signers if signer.agent[CORE] in request.keys]
    if not ours:
        raise LocalError(
            "none of our keys is asked; 'ioe key show' shows ours, and --words signs with that "
            "of the 24 words"
        )
    given = [
        Consent(request.keys.index(signer.agent[CORE]), signer.sign(request.message))
        for signer in ours
    ]
    return _with(request, given)


def merged(requests: list[ConsentRequest]) -> ConsentRequest:
    """One request with the consents of all; raises `LocalError` if they are of different deeds."""
    first = requests[0]
    if any(msgspec.structs.replace(r, consents=first.consents) != first for r in requests):
        raise LocalError("these files are not of one and the same deed")
    return _with(first, [each for request in requests for each in request.consents])


def _with(request: ConsentRequest, consents: list[Consent]) -> ConsentRequest:
    every = consent.merge(request.holders, request.message, (*request.consents, *consents))
    return msgspec.structs.replace(request, consents=every)


async def ask(
    conductor: "Conductor", cell: "Cell", deed: str, payload: dict[str, Any]
) -> ConsentRequest:
    """A deed of ours, and whose consents it takes; the keys that are here sign at once."""
    asked = await cell.call("identity", "consent_message", {"deed": deed, "payload": payload})
    request = ConsentRequest(
        cell.space.rules.definition.seed,
        cell.space.dna,
        deed,
        pack(asked["payload"]),
        asked["message"],
        asked["threshold"],
        tuple(asked["keys"]),
    )
    here = [each for each in signers_of(conductor) if each.agent[CORE] in request.keys]
    return signed(request, here) if here else request


async def do(conductor: "Conductor", request: ConsentRequest) -> bytes:
    """Do a deed of ours that has its consents; the action that says so.  Raises `CallError`."""
    cell = conductor.cell_of(request.network)
    if cell is None:
        raise CallError(f"'{request.community}' is not open here; see 'ioe community list'")
    if not request.enough:
        raise CallError(
            f"{len(request.consents)} of {request.threshold} consents are here; have more sign"
        )
    payload = unpack(request.payload)
    consents = [asdict(each) for each in request.consents]
    done: bytes = await cell.call("identity", request.deed, {**payload, "consents": consents})
    _remember(conductor, cell, request.deed, payload, done)
    return done


def _remember(
    conductor: "Conductor", cell: "Cell", deed: str, payload: dict[str, Any], done: bytes
) -> None:
    """What a deed leaves for this node to see to."""
    if deed in ("offer", "release"):
        buyer = payload.get("buyer")
        if buyer == cell.space.agent:
            leaving.keep_back(conductor, payload["device"])
        else:
            leaving.let_go(conductor, cell, payload["device"], buyer)
    if deed == "revoke":
        leaving.keep_back(conductor, payload["agent"])
        state = conductor.home.state()
        before = tuple(
            msgspec.structs.replace(each, revocation=done)
            if (each.network, each.agent) == (cell.space.dna, payload["agent"])
            else each
            for each in state.before
        )
        conductor.home.keep(msgspec.structs.replace(state, before=before))


async def gather(
    conductor: "Conductor", request: ConsentRequest, holders: list[AgentPubKey]
) -> tuple[ConsentRequest, dict[bytes, str]]:
    """The request with what these holders have consented to, and why some have not answered.

    Whoever has not seen it yet is asked by this; asking again collects.
    """
    silent: dict[bytes, str] = {}
    for holder in holders:
        try:
            answer = await ask_peer(conductor, holder, Consider(to_file(request)))
        except IoeError as error:
            silent[holder] = str(error)
            continue
        if isinstance(answer, Consented):
            request = _with(request, list(answer.consents))
    return request, silent


def signers_of(conductor: "Conductor", root: bytes | None = None) -> list[Signer]:
    """The keys by which we consent: our node's, and that of the words while they are here."""
    ours = [Signer(conductor.keystore.secrets["authorisation"])]
    if root is not None:
        return [*ours, Signer(keytree.revocation_seed(root))]
    return ours if conductor.holder is None else [*ours, conductor.holder]

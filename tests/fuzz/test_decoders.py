"""Every decoder of what peers and clients send to the node, against spoiled bytes.

What is signed or boxed is also held to this: whatever still opens is what was sealed.
"""

import gzip
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from bench import conductor_client
from ioe_node.api import conductor_frames, conductor_requests
from ioe_node.api.conductor_auth import Nonces, NotAuthentic
from ioe_node.api.conductor_bundle import BundleError, pack_app, pack_dna, unpack_app
from ioe_node.api.conductor_frames import CellId
from ioe_node.api.conductor_signing import SignedCall, open_call
from ioe_node.conductor.frames import decode_body
from ioe_node.conductor.frames import encode_frame as encode_control
from ioe_node.core.chain import Draft, seal, with_path
from ioe_node.errors import PeerError
from ioe_node.model import capability
from ioe_node.model.action import (
    AGENT_ENTRY,
    AgentValidationPkg,
    AnyAction,
    CloseChain,
    Create,
    CreateLink,
    Delete,
    DeleteLink,
    Dna,
    InitZomesComplete,
    OpenChain,
    Update,
    decode_action,
    hash_of,
)
from ioe_node.model.agent_info import open_info, seal_info
from ioe_node.model.codec import encode, pack, unpack
from ioe_node.model.hashes import (
    AGENT,
    CORE,
    dna_hash,
    entry_hash,
    from_text,
    to_text,
)
from ioe_node.model.record import (
    Parcel,
    Proof,
    Record,
    WireRecord,
    decode_parcel,
    decode_proof,
    open_parcel,
    open_record,
    parcels_of,
    prefix_of,
    seal_message,
    tree_of,
)
from ioe_node.model.signing import Signer
from ioe_node.model.warrant import (
    ChainFork,
    DoubleSeal,
    InvalidRecord,
    Receipt,
    Revoked,
    open_receipt,
    open_warrant,
    seal_receipt,
    seal_warrant,
)
from ioe_node.net import framing, kad_messages, messages
from ioe_node.net.peer_id import join_address, peer_id_bytes, split_address

Fuzz = Callable[..., None]

NOW_US = 1_767_225_600_000_000
ALICE = Signer(b"a" * 32)
BOB = Signer(b"b" * 32)
NETWORK = dna_hash(b"a network")
ENTRY_BYTES = pack({"energy_milli_wh": 1_234, "name": "plug"})


def chain_of_all_types() -> list[AnyAction]:
    """Ten actions, one of each type, each on the one before."""
    made: list[AnyAction] = []

    def link(kind: Any, **more: Any) -> None:
        prev = hash_of(made[-1])[0] if made else None
        seq = len(made)
        made.append(
            kind(
                author=ALICE.agent,
                timestamp_us=NOW_US + seq,
                action_seq=seq,
                prev_action=prev,
                **more,
            )
        )

    link(Dna, dna_hash=NETWORK)
    link(AgentValidationPkg, membrane_proof=b"proof")
    link(Create, entry_type=AGENT_ENTRY, entry_hash=entry_hash(ALICE.agent))
    link(InitZomesComplete)
    link(Create, entry_type="metering.IntervalReading", entry_hash=entry_hash(ENTRY_BYTES))
    created, entry = hash_of(made[-1])[0], entry_hash(ENTRY_BYTES)
    link(
        Update,
        original_action=created,
        original_entry=entry,
        entry_type="metering.IntervalReading",
        entry_hash=entry,
    )
    link(Delete, deletes_action=created, deletes_entry=entry)
    link(CreateLink, base=entry, target=BOB.agent, link_type="identity.owns", tag=b"tag")
    link(DeleteLink, base=entry, create_link=hash_of(made[-1])[0])
    link(OpenChain, prev_target=NETWORK, close_hash=created)
    link(CloseChain, new_target=NETWORK)
    return made


def draft(action: AnyAction) -> Draft:
    hash_, data = hash_of(action)
    named = getattr(action, "entry_hash", None)
    entry = ENTRY_BYTES if named == entry_hash(ENTRY_BYTES) else None
    return Draft(hash_, action, data, entry)


ACTIONS = chain_of_all_types()
DRAFTS = [draft(action) for action in ACTIONS]
SINGLE = seal(DRAFTS[4:5], NETWORK, ALICE.sign)
BUNDLE = seal(DRAFTS, NETWORK, ALICE.sign)


def alone(records: list[Record]) -> list[WireRecord]:
    leaves = [record.hash[CORE] for record in records]
    return [with_path(record, leaves).wire() for record in records]


def countersigned() -> WireRecord:
    """Alice's half of a bundle of two authors."""
    mine = DRAFTS[4]
    levels = tree_of([mine.hash[CORE], entry_hash(b"Bob's half")[CORE]])
    message = seal_message(NETWORK, levels[-1][0])
    proof = Proof(ALICE.sign(message), 0, 2, (levels[0][1],), (BOB.sign(message),))
    return WireRecord(mine.action_bytes, proof, mine.entry)


def shared(_record: Record) -> bool:
    return False


PARCELS: list[Parcel] = [*parcels_of(SINGLE + BUNDLE, shared), countersigned()]
KNOWN_ACTIONS = {bytes(one.hash) for one in DRAFTS}
FORKED = seal(
    [
        draft(
            InitZomesComplete(
                author=ALICE.agent,
                timestamp_us=NOW_US + 9,
                action_seq=4,
                prev_action=DRAFTS[3].hash,
            )
        )
    ],
    NETWORK,
    ALICE.sign,
)[0].wire()
INFO = seal_info(
    ALICE.agent, NETWORK, bytes(32), True, ("/ip4/127.0.0.1/tcp/4001",), NOW_US, ALICE.sign
)
WARRANTS = (
    seal_warrant(
        InvalidRecord(ALICE.agent, BOB.agent, NOW_US, SINGLE[0].wire(), "too much"),
        NETWORK,
        BOB.sign,
    ),
    seal_warrant(
        ChainFork(
            ALICE.agent,
            BOB.agent,
            NOW_US,
            WireRecord(SINGLE[0].action_bytes, SINGLE[0].proof),
            FORKED,
        ),
        NETWORK,
        BOB.sign,
    ),
    seal_warrant(
        InvalidRecord(ALICE.agent, BOB.agent, NOW_US, prefix_of(BUNDLE, 4), "too much"),
        NETWORK,
        BOB.sign,
    ),
    seal_warrant(
        DoubleSeal(
            ALICE.agent,
            BOB.agent,
            NOW_US,
            SINGLE[0].action_bytes,
            SINGLE[0].proof,
            alone(BUNDLE)[4].proof,
        ),
        NETWORK,
        BOB.sign,
    ),
    seal_warrant(Revoked(BOB.agent, BOB.agent, NOW_US, alone(BUNDLE)[4]), NETWORK, BOB.sign),
)
RECEIPT = seal_receipt(
    Receipt(BOB.agent, NOW_US, tuple((one.hash, place % 3) for place, one in enumerate(DRAFTS))),
    NETWORK,
    BOB.sign,
)


def open_known(parcel: Parcel) -> None:
    """A spoiled parcel may lose an entry or a cosignature, but no action may change."""
    assert {bytes(record.hash) for record in open_parcel(parcel, NETWORK)} <= KNOWN_ACTIONS


def open_message(message: object) -> None:
    """Do with a message what a node does: open all that is sealed in it."""
    for parcel in getattr(message, "parcels", ()):
        open_known(parcel)
    for wire in getattr(message, "records", ()):
        assert bytes(open_record(wire, NETWORK).hash) in KNOWN_ACTIONS
    for warrant in getattr(message, "warrants", ()):
        open_warrant(warrant, NETWORK)
        assert warrant in WARRANTS
    infos = getattr(message, "infos", ())
    for info in (*infos, message.info) if isinstance(message, messages.Hello) else infos:
        open_info(info, NETWORK, NOW_US)
        assert info == INFO
    if isinstance(message, messages.Held):
        open_receipt(message.receipt, NETWORK, BOB.agent)
        assert message.receipt == RECEIPT


SPAN = messages.Span(0, 2**32 - 1, bytes(16))
DIFFERING = messages.Differing((SPAN,), ((0, 5),))
HEAD = messages.HeadOf(BOB.agent, 7, DRAFTS[0].hash, NOW_US)
REQUESTS: list[messages.Request] = [
    messages.Publish(tuple(PARCELS)),
    messages.Get(DRAFTS[0].hash),
    messages.Activity(ALICE.agent, 3),
    messages.Links(entry_hash(b"x"), DRAFTS[0].hash),
    messages.Find(7, True),
    messages.Compare((SPAN,), (SPAN,), bytes(16), (BOB.agent,), (INFO, INFO)),
    messages.Offer((HEAD,)),
    messages.GetOps((messages.OpName(3, -4),)),
    messages.Places((messages.Place(BOB.agent, 3),)),
    messages.GetWarrants((BOB.agent,)),
    messages.Warrants(WARRANTS),
    messages.Propose("currency", "draft_sale", b"terms", 7, DRAFTS[6].hash, NOW_US),
    messages.Sign(ENTRY_BYTES, bytes(64)),
    messages.Outcome(entry_hash(ENTRY_BYTES)),
    messages.GetCertificate(DRAFTS[0].hash),
]
ANSWERS: list[messages.Answer] = [
    messages.Held(RECEIPT),
    messages.Records((*alone(BUNDLE), countersigned())),
    messages.Chain(tuple(PARCELS), True),
    messages.LinkPage((*alone(BUNDLE),), True),
    messages.Peers((INFO,)),
    messages.Compared(DIFFERING, (messages.OpName(5, 6),), DIFFERING, (HEAD,), True, (INFO,)),
    messages.Lacking((BOB.agent,)),
    messages.Placed((BOB.agent, None)),
    messages.Warrants(WARRANTS),
    messages.Drafted(ENTRY_BYTES, (DRAFTS[0].hash,)),
    messages.Signed(bytes(64)),
    messages.Never(),
    messages.Done(),
]


def test_actions(fuzz: Fuzz) -> None:
    fuzz([one.action_bytes for one in DRAFTS], decode_action)


def test_parcels(fuzz: Fuzz) -> None:
    fuzz([encode(one) for one in PARCELS], lambda data: open_known(decode_parcel(data)))


def test_stored_proofs(fuzz: Fuzz) -> None:
    proofs = [SINGLE[0].proof, countersigned().proof, *(one.proof for one in alone(BUNDLE))]
    fuzz([encode(proof) for proof in proofs], decode_proof)


def test_requests(fuzz: Fuzz) -> None:
    fuzz(
        [encode(one) for one in REQUESTS], lambda data: open_message(messages.requests.decode(data))
    )


def test_answers(fuzz: Fuzz) -> None:
    fuzz([encode(one) for one in ANSWERS], lambda data: open_message(messages.answers.decode(data)))


def test_hellos(fuzz: Fuzz) -> None:
    hellos = [messages.Hello(INFO, None), messages.Hello(INFO, b"proof")]
    fuzz([encode(one) for one in hellos], lambda data: open_message(messages.hellos.decode(data)))


def test_warrants(fuzz: Fuzz) -> None:
    """The bytes inside, resealed: what a hostile accuser can write."""

    def judge(body: bytes) -> None:
        open_warrant(type(WARRANTS[0])(body, BOB.sign(b"ioe/warrant/1" + NETWORK + body)), NETWORK)

    fuzz([one.body for one in WARRANTS], judge)


def test_receipts(fuzz: Fuzz) -> None:
    def judge(body: bytes) -> None:
        open_receipt(
            type(RECEIPT)(body, BOB.sign(b"ioe/receipt/1" + NETWORK + body)), NETWORK, BOB.agent
        )

    fuzz([RECEIPT.body], judge)


def test_agent_infos(fuzz: Fuzz) -> None:
    def judge(body: bytes) -> None:
        open_info(type(INFO)(body, ALICE.sign(b"ioe/agent-info/1" + body)), NETWORK, NOW_US)

    fuzz([INFO.info], judge)


def test_capabilities(fuzz: Fuzz) -> None:
    secret = bytes(range(64))
    grants = [
        capability.CapGrant(tag="anyone"),
        capability.CapGrant(tag="t", functions=("currency.pay",), secret=secret),
        capability.CapGrant(tag="a", secret=secret, agents=(BOB.agent,)),
    ]
    claim = encode(capability.CapClaim(tag="t", grantor=BOB.agent, secret=secret))

    def judge(data: bytes) -> None:
        if data == claim:
            capability.claims.decode(data)
            return
        try:
            capability.claims.decode(data)
        except PeerError:
            granted = capability.grants.decode(data)
            capability.allows(granted, BOB.agent, secret, "currency.pay")

    fuzz([*map(encode, grants), claim], judge)


PLAIN = [
    None,
    {"a": [1, -1, 2**63, -(2**63), True, None], "b": {"c": b"\x00" * 300, "d": "é" * 40}},
    [[[[]]], {}, "", b""],
]


def test_plain_values(fuzz: Fuzz) -> None:
    fuzz([pack(value) for value in PLAIN], lambda data: pack(unpack(data)))


def test_control_frames(fuzz: Fuzz) -> None:
    frames = [{"id": 1, "call": "status"}, {"id": 2, "call": "pay", "payload": {"micro": 5}}]
    fuzz([encode_control(frame)[4:] for frame in frames], decode_body)


def test_link_frames(fuzz: Fuzz) -> None:
    frames: list[framing.Frame] = [
        framing.Hello(b"hello"),
        framing.Request(7, encode(REQUESTS[1])),
        framing.Response(7, encode(ANSWERS[4])),
        framing.failure(framing.LINK_ID, "membrane", "no proof"),
    ]
    encoded = [framing.encode_frame(frame) for frame in frames]

    def judge(data: bytes) -> None:
        reader = framing.FrameReader(framing.HELLO_BYTES_MAX)
        got = []
        for at in range(0, len(data), 7):
            reader.feed(data[at : at + 7])
            while (frame := reader.next_frame()) is not None:
                got.append(frame)
        reader.finish()
        assert b"".join(map(framing.encode_frame, got)) == data

    fuzz([*encoded, b"".join(encoded)], judge)


def test_kad_messages(fuzz: Fuzz) -> None:
    where = ("/ip4/127.0.0.1/tcp/4001", "/dns4/example.org/tcp/443/tls/ws")
    named = [kad_messages.kad_peer_of((one.agent, where)) for one in (ALICE, BOB)]
    closer = tuple(one for one in named if one is not None)
    sent = [
        kad_messages.KadMessage(kad_messages.Kind.PING),
        kad_messages.KadMessage(kad_messages.Kind.FIND_NODE, peer_id_bytes(ALICE.agent)),
        kad_messages.KadMessage(kad_messages.Kind.FIND_NODE, closer=closer),
    ]
    encoded = [kad_messages.encode_kad(one) for one in sent]

    def judge(data: bytes) -> None:
        reader = kad_messages.KadReader()
        for at in range(0, len(data), 7):
            reader.feed(data[at : at + 7])
            while (message := reader.next_message()) is not None:
                for peer in message.closer:
                    located = kad_messages.located_of(peer)
                    assert located is None or kad_messages.kad_peer_of(located) is not None
        reader.finish()

    fuzz([*encoded, b"".join(encoded)], judge)


def test_texts_that_name_peers(fuzz: Fuzz) -> None:
    address = join_address(ALICE.agent, "/ip4/127.0.0.1/tcp/4001")

    def judge(data: bytes) -> None:
        text = data.decode("utf-8", "surrogateescape")
        try:
            agent, rest = split_address(text)
            assert join_address(agent, rest) == text
        except PeerError:
            assert to_text(from_text(text, AGENT)) == text

    fuzz([address.encode(), to_text(BOB.agent).encode()], judge)


def test_messages_to_the_conductors_doors(fuzz: Fuzz) -> None:
    """The envelope, the request inside it, and every shape that a request may have."""
    grant = conductor_client.Caller((bytes(NETWORK), bytes(ALICE.agent))).grant()
    infos = [{"agent_infos": ["{}"]}, {"installed_app_id": "app", "include_revoked": True}]
    values = [None, 7, {"token": [1, 2]}, {"token": b"12"}, grant, *infos, b"payload"]
    names = "Authenticate InstallApp GrantCapability AddInfos CreateClone WhichClone WhichMetrics"
    shapes = (*(getattr(conductor_requests, name) for name in names.split()), CellId)

    def judge(data: bytes) -> None:
        asked = conductor_frames.decode_tagged(conductor_frames.decode_envelope(data).data)
        for shape in shapes:
            with suppress(PeerError):
                conductor_frames.decode_as(shape, asked.value)
        conductor_frames.decode_plain(bytes(asked.value))

    inner = [encode({"type": "call", "value": value}) for value in values]
    fuzz([encode({"type": "request", "id": 1, "data": one}) for one in inner], judge)


def test_signed_zome_calls(fuzz: Fuzz) -> None:
    """Whatever is still taken is what was signed, and it is taken once."""
    caller = conductor_client.Caller((bytes(NETWORK), bytes(ALICE.agent)))
    good = caller.signed("zome", "function", {"a": 1}, expires_at=NOW_US + 1)

    def judge(data: bytes) -> None:
        signed = conductor_frames.decode_as(SignedCall, data)
        nonces = Nonces()
        open_call(signed, nonces, NOW_US)
        assert signed.said == good["bytes"]
        with pytest.raises(NotAuthentic):
            open_call(signed, nonces, NOW_US)

    fuzz([encode(good)], judge)


def test_app_bundles(fuzz: Fuzz) -> None:
    app = zlib.decompress(pack_app("app", [("one", "a:A")], 3, True), wbits=31)
    dna = encode({"manifest": {}, "resources": {"x": pack_dna("a:A")}})
    with suppress(BundleError):
        unpack_app(gzip.compress(dna))
    fuzz([app], lambda data: unpack_app(gzip.compress(data, 1)))


def test_a_failure_names_its_seed_and_bytes(fuzz: Fuzz, fuzz_seed: int) -> None:
    def fragile(data: bytes) -> None:
        if data != b"abc":
            raise KeyError(data)

    with pytest.raises(AssertionError, match=rf"KeyError escaped; IOE_FUZZ_SEED={fuzz_seed} case"):
        fuzz([b"abc"], fragile)

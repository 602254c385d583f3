"""Every decoder of the packages around the engine, against spoiled bytes.

Zomes, invitations, announcements, the pairing conversation, and what a device answers.
"""

import copy
import typing
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from hashlib import shake_256
from types import NoneType, UnionType
from typing import Any

import h11
import pytest
import trio
from trio.testing import memory_stream_pair

from discovery.announcement import ADDRESSES_MAX, open_announcement, seal
from discovery.hidden import KEY_BYTES, NONCE_BYTES, hide, open_card
from discovery.mdns_services import libp2p_peer, libp2p_service
from discovery.pairing import Grant, PairingDevice, PairingOwner
from discovery.pairing_code import Entropy, pairing_uri, parse_code, parse_uri
from discovery.rendezvous import CARDS_PASSED_ON_MAX, Met, open_meeting
from dna.neighbourhood import DNA
from ioe_node.conductor.invitation import Invitation, parse_invitation
from ioe_node.conductor.policy import TEMPLATE, open_policy, parse_policy, seal_policy
from ioe_node.drivers import shelly
from ioe_node.drivers.http_digest import Answer, Digest, exchange
from ioe_node.errors import PeerError, TransportError
from ioe_node.hdi import Consent, KeyHolders, Valid, holders_digest
from ioe_node.hdk import Modifiers
from ioe_node.model.codec import encode
from ioe_node.model.hashes import ACTION, AGENT, ENTRY, AgentPubKey, DnaHash, action_hash, dna_hash
from ioe_node.model.hashes import DNA as DNA_PREFIX
from ioe_node.model.signing import Signer
from zomes.community import integrity as community

Fuzz = Callable[..., None]

NOW_US = 1_767_225_600_000_000
ALICE = Signer(b"a" * 32)
BOB = Signer(b"b" * 32)
DEVICE = Signer(b"d" * 32)
KEY = b"k" * KEY_BYTES


# --- zomes and DNA -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Stewards:
    """The properties that the membrane reads."""

    stewards: tuple[AgentPubKey, ...]
    recovery: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Community:
    """A network whose steward is Alice."""

    hash: DnaHash
    properties: Stewards


def test_membrane_proofs(fuzz: Fuzz) -> None:
    holders = KeyHolders(1, tuple(sorted(one.agent[3:35] for one in (ALICE, DEVICE))))
    stewards = Stewards((ALICE.agent,), (holders_digest(holders),))
    network = Community(dna_hash(b"fuzz"), stewards)

    def written(signer: Signer, role: Any) -> community.Written | None:
        place = community.Written(3, action_hash(b"", signer.agent))
        return None if role == "successor" else place

    def vouch(
        agent: AgentPubKey, signer: Signer, role: Any, recovery: bytes = b""
    ) -> community.SignedVoucher:
        voucher = community.Voucher(
            network.hash, agent, signer.agent, role, recovery, written(signer, role)
        )
        signature = signer.sign(community.message_of(voucher))
        return community.SignedVoucher(encode(voucher), signature)

    member, plug = vouch(BOB.agent, ALICE, "member"), vouch(DEVICE.agent, BOB, "device")
    old = vouch(BOB.agent, ALICE, "member", holders_digest(holders))
    first = holders.keys.index(ALICE.agent[3:35])

    def succeeds(new: AgentPubKey, old: AgentPubKey, *proof: community.SignedVoucher) -> bytes:
        after = community.Voucher(network.hash, new, old, "successor")
        consent = Consent(first, ALICE.sign(community.successor_message(after, holders)))
        before = community.encode_proof(proof) if proof else None
        return community.succeed(before, after, holders, (consent,))

    recovered = succeeds(DEVICE.agent, BOB.agent, old)
    (steward_by,) = community.decode_proof(succeeds(BOB.agent, ALICE.agent))
    good = [
        recovered,
        *(
            community.encode_proof(vouchers)
            for vouchers in [
                (member,),
                (old,),
                (member, plug),
                (vouch(DEVICE.agent, ALICE, "device"),),
                (steward_by, vouch(DEVICE.agent, BOB, "device")),
            ]
        ),
    ]
    assert [verdict_on(network, data, DEVICE.agent) for data in good] == [
        *(True, False, False, True, True, True)
    ]

    def judge(data: bytes) -> None:
        admitted = [verdict_on(network, data, agent) for agent in (BOB.agent, DEVICE.agent)]
        assert any(admitted) == (data in good)
        community.sponsor(BOB.agent, data, network)

    fuzz(good, judge)


def verdict_on(network: Community, proof: bytes, agent: AgentPubKey) -> bool:
    """Whether the membrane lets an agent in by this proof."""
    return community.admitted(agent, proof, network) is Valid


def sample_of(hint: Any) -> Any:
    """A value that an entry's field of this type hint may hold."""
    plain = {int: 900_000_000, str: "plug", bytes: b"\x01", bool: True, NoneType: None}
    kinds = {"AgentPubKey": AGENT, "ActionHash": ACTION, "EntryHash": ENTRY, "DnaHash": DNA_PREFIX}
    name, origin, args = (
        getattr(hint, "__name__", ""),
        typing.get_origin(hint),
        typing.get_args(hint),
    )
    if name in kinds:
        return kinds[name] + BOB.agent[3:]
    if hasattr(hint, "__supertype__"):
        return sample_of(hint.__supertype__)
    if is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        made: Any = hint
        return made(**{one.name: sample_of(hints[one.name]) for one in fields(hint)})
    if origin is typing.Literal:
        return args[0]
    if origin in (UnionType, typing.Union):
        return sample_of(args[0])
    if origin is tuple:
        return (sample_of(args[0]),) * 2 if args[1:] == (...,) else tuple(map(sample_of, args))
    return plain[hint]


@pytest.mark.parametrize("name", sorted(DNA.entry_types))
def test_entries(fuzz: Fuzz, name: str) -> None:
    entry_type = DNA.entry_types[name]
    fuzz([encode(sample_of(entry_type.cls))], entry_type.decode)


def test_invitations(fuzz: Fuzz) -> None:
    """The text as it is pasted, and the bytes in it."""
    own = DNA.modifiers
    bootstrap = ("/ip4/127.0.0.1/tcp/4001/p2p/x",)
    invitation = Invitation(DNA.name, DNA.hash, own.seed, own.properties, b"proof", bootstrap)

    def judge(data: bytes) -> None:
        opened = parse_invitation(data.decode("utf-8", "surrogateescape"))
        opened.definition({DNA.name: DNA})

    fuzz([invitation.text().encode()], judge)


def test_properties_of_a_network(fuzz: Fuzz) -> None:
    own = DNA.modifiers

    def judge(data: bytes) -> None:
        assert DNA.clone(Modifiers(own.seed, data)).hash

    fuzz([own.properties], judge)


# --- discovery ---------------------------------------------------------------------------------


def test_announcements(fuzz: Fuzz) -> None:
    cards = [
        seal(
            DEVICE,
            kind="consumer",
            state="unowned",
            name="kitchen plug",
            addresses=addresses,
            now_us=NOW_US,
        )
        for addresses in [("/ip4/127.0.0.1/tcp/4001",), ("/ip6/::1/tcp/1", "/dns/a/tcp/2")]
    ]
    sealed = [card.encoded() for card in cards]

    def judge(data: bytes) -> None:
        assert open_announcement(data, NOW_US).encoded() == data
        assert data in sealed

    fuzz(sealed, judge)

    def unhidden(data: bytes) -> None:
        card = open_card(data, [KEY], NOW_US)
        assert card is None or data in hidden

    hidden = [hide(data, KEY, bytes(NONCE_BYTES)) for data in sealed]
    fuzz(hidden, unhidden)

    def passed_on(data: bytes) -> None:
        assert len(open_meeting(data).others) <= CARDS_PASSED_ON_MAX

    fuzz([Met(sealed[0], (sealed[1],)).encoded(), Met(hidden[0]).encoded()], passed_on)


def test_libp2p_s_mdns(fuzz: Fuzz) -> None:
    told = libp2p_service("x", DEVICE.agent, ("/ip4/127.0.0.1/tcp/4001", "/ip6/::1/tcp/1"))

    def judge(data: bytes) -> None:
        found = libp2p_peer([data])
        assert found is None or 1 <= len(found.addresses) <= ADDRESSES_MAX

    fuzz([told.text], judge)


def repeatable(name: bytes) -> Entropy:
    """Entropy that is the same in every run."""
    count = 0

    def entropy(size: int) -> bytes:
        nonlocal count
        count += 1
        return shake_256(name + count.to_bytes(8, "big")).digest(size)

    return entropy


def agent_of_seed(seed: bytes) -> AgentPubKey:
    return Signer(seed).agent


GRANT = Grant(b"seed" * 8, ALICE.agent, b"invitation", "kitchen plug")


def pairing() -> tuple[PairingDevice, PairingOwner]:
    """Both ends, before the first message."""
    code = "1234-5678"
    return (
        PairingDevice(code, DEVICE.agent, "consumer", agent_of_seed, repeatable(b"device")),
        PairingOwner(code, DEVICE.agent, GRANT, agent_of_seed, repeatable(b"owner")),
    )


def test_pairing_on_the_device(fuzz: Fuzz) -> None:
    """It answers any start, and gives itself only to the finish that was sealed for it."""
    device, owner = pairing()
    start = owner.start()
    finish = owner.finish(device.handle(ALICE.agent, start, NOW_US).message)

    def judge(data: bytes) -> None:
        fresh = copy.copy(device)
        reply = fresh.handle(ALICE.agent, data, NOW_US)
        assert fresh.owned == (data == finish)
        assert reply.grant == (GRANT if data == finish else None)

    fuzz([start, finish], judge)


def test_pairing_at_the_owner(fuzz: Fuzz) -> None:
    device, owner = pairing()
    start = owner.start()
    waiting = copy.copy(owner)
    waiting._party = copy.copy(owner._party)  # a party finishes once
    answer = device.handle(ALICE.agent, start, NOW_US).message
    enrolled = device.handle(ALICE.agent, owner.finish(answer), NOW_US).message

    def judge(data: bytes) -> None:
        """The reply of the first step, then of the second; nothing else may pass for either."""
        first = copy.copy(waiting)
        first._party = copy.copy(waiting._party)
        if data == answer:
            assert first.finish(data)
            return
        with pytest.raises(PeerError):
            first.finish(data)
        assert copy.copy(owner).enrolled(data).agent == agent_of_seed(GRANT.device_seed)
        assert data == enrolled

    fuzz([answer, enrolled], judge)


def test_pairing_with_a_button(fuzz: Fuzz) -> None:
    """Whatever comes, the device stays its maker's until its button is pressed."""
    device, owner = pairing()
    device._confirm = True
    finish = owner.finish(device.handle(ALICE.agent, owner.start(), NOW_US).message)
    asked = copy.copy(device)
    waits = asked.handle(ALICE.agent, finish, NOW_US).message
    assert owner.enrolled(waits) is None
    again = owner.again()

    def judge(data: bytes) -> None:
        fresh, pressed = copy.copy(asked), copy.copy(asked)
        assert pressed.confirm(NOW_US) == ALICE.agent
        reply = fresh.handle(ALICE.agent, data, NOW_US)
        assert reply.grant is None
        assert not fresh.owned
        assert pressed.handle(ALICE.agent, data, NOW_US).grant == (GRANT if data == again else None)

    fuzz([again], judge)


def test_pairing_lines(fuzz: Fuzz) -> None:
    line = pairing_uri(DEVICE.agent, "1234-5678")

    def judge(data: bytes) -> None:
        text = data.decode("utf-8", "replace")
        assert pairing_uri(*parse_uri(text)) == text.strip()

    fuzz([line.encode()], judge, tokens=["٣".encode(), b"&code=", b"uhCAk", b"=", b"-"])


def test_policies(fuzz: Fuzz) -> None:
    """What still opens is what its owner has signed."""
    sealed = seal_policy(ALICE, TEMPLATE)

    def judge(data: bytes) -> None:
        policy, text = open_policy(data, ALICE.agent)
        assert (policy, text, data) == (parse_policy(TEMPLATE), TEMPLATE, sealed)

    fuzz([sealed], judge)


def test_policy_files(fuzz: Fuzz) -> None:
    differs = b'[device."south roof".automatic]\nsell = false\n'
    fuzz(
        [TEMPLATE.encode(), TEMPLATE.encode() + differs],
        lambda data: parse_policy(data.decode("utf-8", "replace")),
        tokens=[b"[deals]", b"version", b"'nobody'", b"[device.x]", b"[[deals]]", b"nan", b"\n"],
    )


def test_typed_pairing_codes(fuzz: Fuzz) -> None:
    fuzz(
        [b"1234-5678", b"1234 5678"],
        lambda data: parse_code(data.decode("utf-8", "replace")),
        tokens=["٣".encode(), "²".encode(), b"-", b"0"],
    )


# --- drivers -----------------------------------------------------------------------------------

STATUS = b"""{"id":1,"src":"shellyplugsg3","dst":"ioe-node","result":{"switch:0":{"id":0,
"output":true,"apower":12.34,"voltage":230.1,"aenergy":{"total":1234.567,"by_minute":[1.5,2,3],
"minute_ts":1767225600},"ret_aenergy":{"total":0.5}},"sys":{"unixtime":1767225600}}}"""
INFO = b"""{"id":1,"result":{"id":"shellyplugsg3-1","model":"S3PL","gen":3,"ver":"1.4.4",
"auth_en":true}}"""
REFUSAL = b'{"id":1,"error":{"code":-103,"message":"no such component"}}'
NUMBERS = (b"1e9999999", b"-1e-9999999", b"NaN", b"-0", b"9" * 400, b"1e400", b"true", b"null")
JSON = (*NUMBERS, b"{}", b"[]", b'""', b"\\ud800", b'"switch:0":', b'"total":', b'"unixtime":')


def read(answer: Answer) -> None:
    """As a status and as a device's own word on itself."""
    result = shelly.decode_answer(answer)
    if "switch:0" in result:
        shelly.decode_status(result, 0, NOW_US)
    else:
        shelly.decode_device_info(result)


def test_shelly_answers(fuzz: Fuzz) -> None:
    fuzz(
        [STATUS, INFO],
        lambda data: read(Answer(200, "", data)),
        tokens=JSON,
        may_raise=(TransportError,),
    )


def test_shelly_challenges(fuzz: Fuzz) -> None:
    challenge = b'Digest qop="auth", realm="shellyplugsg3-1", nonce="60dc2c69", algorithm=SHA-256'

    def judge(data: bytes) -> None:
        digest = Digest.parse(data.decode("latin-1"), "admin", "secret")
        header = digest.authorise("POST", "/rpc")
        h11.Request(
            method="POST", target="/rpc", headers=[("Host", "x"), ("Authorization", header)]
        )

    fuzz([challenge, challenge.replace(b"auth", b"auth, auth-int") + b', opaque="x"'], judge)


def test_shelly_over_http(fuzz: Fuzz) -> None:
    def response(status: bytes, body: bytes, extra: bytes = b"") -> bytes:
        head = b"HTTP/1.1 %b\r\nContent-Length: %d\r\n%b\r\n" % (status, len(body), extra)
        return head + body

    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (
        len(INFO),
        INFO,
    )
    request = h11.Request(method="POST", target="/rpc", headers=[("Host", "x")])

    async def exchanged(data: bytes) -> Answer:
        ours, theirs = memory_stream_pair()
        await theirs.send_all(data)
        await theirs.send_eof()
        return await exchange(ours, request, b"")

    fuzz(
        [response(b"200 OK", STATUS), response(b"200 OK", INFO, b"X-A: b\r\n"), chunked],
        lambda data: read(trio.run(exchanged, data)),
        tokens=(*JSON, b"\r\n", b"HTTP/1.1 401 No\r\n", b"Content-Length: 9", b"chunked"),
        may_raise=(TransportError,),
    )

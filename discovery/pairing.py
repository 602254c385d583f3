"""Pairing: an owner who has read eight digits off a device takes it into the portfolio.

    owner                                   device
      Start(X)             ────────────►      one of PAIRING_ATTEMPTS_MAX tries is spent
                           ◄────────────    Answer(Y, device's confirmation)
      Finish(owner's confirmation, box{device seed, owner, invitation, name})
                           ────────────►      owned
                           ◄────────────    Enrolled(box{agent key, kind})

X and Y are SPAKE2 messages over the code, with the owner's agent key and the device's enrolment
key (as the transport has proved them) bound in.  SPAKE2 lets whoever sits in the middle test one
code a session and learn nothing to test more against offline; so a session *is* a guess.  The
device therefore counts it when it answers, not when it hears that the guess was wrong: a
guesser who has seen the answer has no reason to come back.  Too many sessions that did not
finish, from whomever (keys cost nothing), and the device refuses all for a minute, then two, up
to an hour: at that rate 10^8 codes take ten thousand years.

The device seed crosses only inside the second box, once both sides have proved the code.  Both
ends are state machines without IO; what the device must keep comes out beside its last message,
so that the caller stores it first and sends it then.  (I-024, I-034, I-041, I-044, decision 8)
"""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from hmac import compare_digest
from typing import Literal, TypeVar

import msgspec
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox
from spake2 import SPAKE2_A, SPAKE2_B, SPAKEError
from spake2.ed25519_basic import NotOnCurve

from ioe_node.errors import LocalError, Malformed, PairingRefused
from ioe_node.model.hashes import AgentPubKey

PAIRING_PROTOCOL = "/ioe/pairing/1"
PAIRING_ATTEMPTS_MAX = 5
PAIRING_LOCK_S = 60
PAIRING_LOCK_S_MAX = 3600
PAIRING_SESSION_S = 30
PAIRING_BYTES_MAX = 64 * 1024
INVITATION_BYTES_MAX = 60 * 1024
NAME_CHARS_MAX = 48
SEED_BYTES = 32
CODE_DIGITS = 8

DeviceKind = Literal["consumer", "generator", "storage", "monitor"]
Entropy = Callable[[int], bytes]
AgentOfSeed = Callable[[bytes], AgentPubKey]

_SPAKE_BYTES = 33
_US = 1_000_000


class BadPairingCode(LocalError):
    """What was typed is not a pairing code: eight digits, as in 1234-5678."""


def new_code(entropy: Entropy) -> str:
    """A fresh code, `1234-5678`, uniform over 10^8 to within 2^-100."""
    digits = f"{int.from_bytes(entropy(16), 'big') % 10**CODE_DIGITS:0{CODE_DIGITS}}"
    return f"{digits[:4]}-{digits[4:]}"


def parse_code(text: str) -> str:
    """The code in its one form, `1234-5678`, however it was spaced or dashed when typed."""
    digits = "".join(char for char in text if not char.isspace() and char not in "-–—_.")
    if len(digits) != CODE_DIGITS or not digits.isascii() or not digits.isdigit():
        raise BadPairingCode("a pairing code has eight digits, as in 1234-5678; type it again")
    return f"{digits[:4]}-{digits[4:]}"


class _Message(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A pairing message, or what is inside a box."""


class Start(_Message, frozen=True, tag="start"):
    """The owner's SPAKE2 message, 33 bytes."""

    spake: bytes


class Answer(_Message, frozen=True, tag="answer"):
    """The device's SPAKE2 message, 33 bytes, and its proof of the code, 32 bytes."""

    spake: bytes
    confirmation: bytes


class Finish(_Message, frozen=True, tag="finish"):
    """The owner's proof of the code, 32 bytes, and a box that holds a `Grant`."""

    confirmation: bytes
    box: bytes


class Enrolled(_Message, frozen=True, tag="enrolled"):
    """A box that holds a `Paired`."""

    box: bytes


class Grant(_Message, frozen=True):
    """What the owner gives: a 32-byte seed, the owner's key, an opaque invitation, a name."""

    device_seed: bytes
    owner: AgentPubKey
    invitation: bytes
    name: str


class Paired(_Message, frozen=True):
    """What the owner gets: the device's agent key, made on the device from its seed."""

    agent: AgentPubKey
    kind: DeviceKind


@dataclass(frozen=True)
class Reply:
    """The device's next message; store `grant`, if there is one, before sending it."""

    message: bytes
    grant: Grant | None = None


_encoder = msgspec.msgpack.Encoder()
_request_decoder = msgspec.msgpack.Decoder(Start | Finish)
_answer_decoder = msgspec.msgpack.Decoder(Answer)
_enrolled_decoder = msgspec.msgpack.Decoder(Enrolled)
_grant_decoder = msgspec.msgpack.Decoder(Grant)
_paired_decoder = msgspec.msgpack.Decoder(Paired)


_T = TypeVar("_T")


def _decode(decoder: "msgspec.msgpack.Decoder[_T]", data: bytes) -> _T:
    """Decode one message; raises `Malformed` for any other bytes, of any size."""
    if len(data) > PAIRING_BYTES_MAX:
        raise Malformed(f"pairing: {len(data)} bytes, over {PAIRING_BYTES_MAX}")
    try:
        value = decoder.decode(data)
        canonical = _encoder.encode(value)
    except (msgspec.DecodeError, UnicodeError, OverflowError):
        raise Malformed("pairing: the bytes are not the message that is due") from None
    if canonical != data:
        raise Malformed("pairing: the bytes are not canonical")
    return value


@dataclass(frozen=True)
class _Channel:
    """The two proofs and the two boxes that a shared SPAKE2 key gives."""

    shared: bytes

    def _subkey(self, purpose: bytes) -> bytes:
        return blake2b(key=self.shared, person=purpose, digest_size=32).digest()

    @property
    def owner_confirmation(self) -> bytes:
        return self._subkey(b"owner confirms")

    @property
    def device_confirmation(self) -> bytes:
        return self._subkey(b"device confirms")

    def seal(self, side: bytes, content: _Message, entropy: Entropy) -> bytes:
        """A secretbox by `side`, with its nonce in front."""
        box = SecretBox(self._subkey(side + b" seals"))
        return bytes(box.encrypt(_encoder.encode(content), entropy(SecretBox.NONCE_SIZE)))

    def open(self, side: bytes, box: bytes) -> bytes:
        try:
            return bytes(SecretBox(self._subkey(side + b" seals")).decrypt(box))
        except (CryptoError, ValueError):
            raise Malformed("pairing: the box does not open") from None


def _agree(party: SPAKE2_A | SPAKE2_B, message: bytes) -> _Channel:
    """The channel that `party` and the sender of a 33-byte SPAKE2 message now share."""
    if len(message) != _SPAKE_BYTES:
        raise Malformed(f"pairing: a SPAKE2 message has {_SPAKE_BYTES} bytes")
    try:
        return _Channel(party.finish(message))
    except (SPAKEError, NotOnCurve, ValueError):
        raise Malformed("pairing: the SPAKE2 message is no point of the group") from None


def _fault(grant: Grant) -> str:
    """What is wrong with the sizes of a grant, or nothing."""
    if len(grant.device_seed) != SEED_BYTES:
        return f"a device seed has {SEED_BYTES} bytes"
    if len(grant.invitation) > INVITATION_BYTES_MAX:
        return f"an invitation has at most {INVITATION_BYTES_MAX} bytes"
    if not 1 <= len(grant.name) <= NAME_CHARS_MAX or not grant.name.isprintable():
        return f"a name has 1 to {NAME_CHARS_MAX} characters that print"
    return ""


@dataclass(frozen=True)
class _Session:
    """A device's conversation with one owner, after the answer and before the end."""

    owner: AgentPubKey
    channel: _Channel
    deadline_us: int


class PairingDevice:
    """The device's side, for as long as it has no owner: one session at a time.

    `device` is its enrolment key, `agent_of_seed` makes an agent key of a device seed (the key
    tree's business).  A device that was sold pairs with its `buyer` only.  Used as the pairing
    protocol's request handler.
    """

    def __init__(
        self,
        code: str,
        device: AgentPubKey,
        kind: DeviceKind,
        agent_of_seed: AgentOfSeed,
        entropy: Entropy,
        buyer: AgentPubKey | None = None,
    ) -> None:
        self._buyer = buyer
        self._password = parse_code(code).encode()
        self._device = device
        self._kind = kind
        self._agent_of_seed = agent_of_seed
        self._entropy = entropy
        self._session: _Session | None = None
        self._locked_until_us = 0
        self.attempts = 0
        """Sessions answered that did not end in enrolment."""
        self.owned = False

    def handle(self, owner: AgentPubKey, message: bytes, now_us: int) -> Reply:
        """Answer one request of `owner`, whose key the transport has proved.

        Raises `PairingRefused` (already owned, locked, busy, too late, wrong code) or
        `Malformed`; either goes to the owner, and its text into the log.
        """
        if self.owned:
            raise PairingRefused("this device has an owner; ask the owner to transfer it")
        if self._buyer not in (None, owner):
            raise PairingRefused("this device was sold, and only its buyer may claim it")
        request = _decode(_request_decoder, message)
        if isinstance(request, Start):
            return self._start(owner, request, now_us)
        return self._finish(owner, request, now_us)

    def reopen(self) -> None:
        """The grant could not be stored: nothing of it was kept, and pairing is open again."""
        self.owned = False

    def locked_s(self, now_us: int) -> int:
        """Seconds until a new session may start; 0 if one may now."""
        return max(0, -(-(self._locked_until_us - now_us) // _US))

    def _start(self, owner: AgentPubKey, request: Start, now_us: int) -> Reply:
        if wait_s := self.locked_s(now_us):
            raise PairingRefused(
                f"{self.attempts} pairing attempts have failed; try again in {wait_s} s"
            )
        session = self._session
        if session and session.owner != owner and now_us < session.deadline_us:
            wait_s = -(-(session.deadline_us - now_us) // _US)
            raise PairingRefused(f"someone else is pairing; try again in {wait_s} s")
        party = SPAKE2_B(self._password, idA=owner, idB=self._device, entropy_f=self._entropy)
        spake = party.start()
        channel = _agree(party, request.spake)
        self._spend_attempt(now_us)
        self._session = _Session(owner, channel, now_us + PAIRING_SESSION_S * _US)
        return Reply(_encoder.encode(Answer(spake, channel.device_confirmation)))

    def _spend_attempt(self, now_us: int) -> None:
        self.attempts += 1
        over = self.attempts - PAIRING_ATTEMPTS_MAX
        if over >= 0:
            lock_s = min(PAIRING_LOCK_S_MAX, PAIRING_LOCK_S << min(over, 16))
            self._locked_until_us = now_us + lock_s * _US

    def _finish(self, owner: AgentPubKey, request: Finish, now_us: int) -> Reply:
        session = self._session
        if session is None or session.owner != owner:
            raise Malformed("pairing: a finish without a start")
        # Whatever comes of it, one answer admits one finish: a second is a second guess.
        self._session = None
        if now_us >= session.deadline_us:
            raise PairingRefused(f"pairing took over {PAIRING_SESSION_S} s; start again")
        channel = session.channel
        if not compare_digest(request.confirmation, channel.owner_confirmation):
            raise PairingRefused("the pairing code is wrong; read it off the device again")
        grant = _decode(_grant_decoder, channel.open(b"owner", request.box))
        fault = _fault(grant)
        if grant.owner != owner:
            fault = "the grant names another owner than the one who sent it"
        if fault:
            raise Malformed(f"pairing: {fault}")
        paired = Paired(self._agent_of_seed(grant.device_seed), self._kind)
        self.owned = True
        self.attempts = 0
        self._locked_until_us = 0
        box = channel.seal(b"device", paired, self._entropy)
        return Reply(_encoder.encode(Enrolled(box)), grant)


class PairingOwner:
    """The owner's side of one session: `start`, `finish`, `enrolled`, each once and in turn.

    `device` is the enrolment key that was announced and that the transport proves.  Raises
    `LocalError` for a code or a grant that cannot be.
    """

    def __init__(
        self,
        code: str,
        device: AgentPubKey,
        grant: Grant,
        agent_of_seed: AgentOfSeed,
        entropy: Entropy,
    ) -> None:
        fault = _fault(grant)
        if fault:
            raise LocalError(f"cannot pair: {fault}")
        self._grant = grant
        self.agent = agent_of_seed(grant.device_seed)
        """The key that the device will have: if its last message is lost, look out for this."""
        self._entropy = entropy
        self._party: SPAKE2_A | None = SPAKE2_A(
            parse_code(code).encode(), idA=grant.owner, idB=device, entropy_f=entropy
        )
        self._channel: _Channel | None = None

    def start(self) -> bytes:
        """The first message to the device."""
        assert self._party is not None, "start comes first"
        return _encoder.encode(Start(self._party.start()))

    def finish(self, answer: bytes) -> bytes:
        """The second message, made from the device's answer.

        Raises `PairingRefused` when the device does not hold the code that was typed (nothing
        has been sent that could help it), or `Malformed`.
        """
        reply = _decode(_answer_decoder, answer)
        party, self._party = self._party, None
        if party is None:
            raise Malformed("pairing: a second answer")
        channel = _agree(party, reply.spake)
        if not compare_digest(reply.confirmation, channel.device_confirmation):
            raise PairingRefused("the pairing code is wrong; read it off the device again")
        self._channel = channel
        box = channel.seal(b"owner", self._grant, self._entropy)
        return _encoder.encode(Finish(channel.owner_confirmation, box))

    def enrolled(self, message: bytes) -> Paired:
        """The device's agent key and kind.  Raises `Malformed` if it is not our seed's key."""
        reply = _decode(_enrolled_decoder, message)
        channel, self._channel = self._channel, None
        if channel is None:
            raise Malformed("pairing: enrolled without a finish")
        paired = _decode(_paired_decoder, channel.open(b"device", reply.box))
        if paired.agent != self.agent:
            raise Malformed("pairing: the device's key is not made of the seed that we sent")
        return paired

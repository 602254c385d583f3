"""Pairing: an owner who has read eight digits off a device takes it into the portfolio.

    owner                                   device
      Start(X)             ────────────►      one of PAIRING_ATTEMPTS_MAX tries is spent
                           ◄────────────    Answer(Y, device's confirmation)
      Finish(owner's confirmation, box{device seed, owner, invitation, name, policy})
                           ────────────►
                           ◄────────────    Wait, where the device wants its button pressed
      Again                ────────────►
                           ◄────────────    Enrolled(box{agent key, kind, failed attempts})

X and Y are SPAKE2 messages over the code, with the owner's agent key and the device's enrolment
key (as the transport has proved them) bound in.  SPAKE2 lets whoever sits in the middle test one
code a session and learn nothing to test more against offline; so a session *is* a guess.  The
device therefore counts it when it answers, not when it hears that the guess was wrong: a
guesser who has seen the answer has no reason to come back.  Too many sessions that did not
finish, from whomever (keys cost nothing), and the device refuses all for a minute, then two, up
to an hour: at that rate 10^8 codes take ten thousand years.  The caller keeps the count on disk
before it sends an answer; after a restart the lock of that count runs anew, since a machine
without a clock of its own cannot know how long it was off.  Whoever stands at the device can
open it for one session all the same (`open_once`), or somebody who keeps guessing would keep
its owner out for ever.

The device seed crosses only inside the owner's box, once the device has proved the code, and is
taken once the owner has, and, where it is so configured, once the button is pressed after
that: a code that was read off a sticker is then not enough.  Both ends are state machines
without IO; what the device must keep comes out beside its last message, so that the caller
stores it first and sends it then.  (I-024, I-034, I-041, I-044, decision 8)
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import blake2b
from hmac import compare_digest
from typing import Literal, TypeVar

import msgspec
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox
from spake2 import SPAKE2_A, SPAKE2_B, SPAKEError
from spake2.ed25519_basic import NotOnCurve

from discovery.pairing_code import Entropy, parse_code
from ioe_node.errors import LocalError, Malformed, PairingRefused
from ioe_node.model.hashes import AgentPubKey

PAIRING_PROTOCOL = "/ioe/pairing/1"
PAIRING_ATTEMPTS_MAX = 5
PAIRING_LOCK_S = 60
PAIRING_LOCK_S_MAX = 3600
PAIRING_SESSION_S = 30
PAIRING_BYTES_MAX = 96 * 1024
INVITATION_BYTES_MAX = 60 * 1024
POLICY_BYTES_MAX = 20 * 1024
NAME_CHARS_MAX = 48
SEED_BYTES = 32
CONFIRM_S = 60
OPEN_S = 120

DeviceKind = Literal["consumer", "generator", "storage", "monitor"]
AgentOfSeed = Callable[[bytes], AgentPubKey]

_SPAKE_BYTES = 33
_US = 1_000_000


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


class Again(_Message, frozen=True, tag="again"):
    """The owner asks whether the button has been pressed."""


class Wait(_Message, frozen=True, tag="wait"):
    """The owner has proved the code; the device waits for its button."""


class Enrolled(_Message, frozen=True, tag="enrolled"):
    """A box that holds a `Paired`."""

    box: bytes


class Grant(_Message, frozen=True):
    """What the owner gives: a 32-byte seed, the owner's key, an opaque invitation, the device's
    name, and the owner's signed policy (b"" for none)."""

    device_seed: bytes
    owner: AgentPubKey
    invitation: bytes
    name: str
    policy: bytes = b""


class Paired(_Message, frozen=True):
    """What the owner gets: the device's agent key, made on the device from its seed, and how many
    attempts to pair had failed before."""

    agent: AgentPubKey
    kind: DeviceKind
    failed: int


@dataclass(frozen=True)
class Reply:
    """The device's next message; store `grant`, if there is one, before sending it."""

    message: bytes
    grant: Grant | None = None


_encoder = msgspec.msgpack.Encoder()
_request_decoder = msgspec.msgpack.Decoder(Start | Finish | Again)
_answer_decoder = msgspec.msgpack.Decoder(Answer)
_enrolled_decoder = msgspec.msgpack.Decoder(Enrolled | Wait)
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
    if len(grant.policy) > POLICY_BYTES_MAX:
        return f"a policy has at most {POLICY_BYTES_MAX} bytes"
    if not 1 <= len(grant.name) <= NAME_CHARS_MAX or not grant.name.isprintable():
        return f"a name has 1 to {NAME_CHARS_MAX} characters that print"
    return ""


def lock_s(attempts: int) -> int:
    """For how many seconds pairing is locked after so many attempts that came to nothing."""
    over = attempts - PAIRING_ATTEMPTS_MAX
    return 0 if over < 0 else min(PAIRING_LOCK_S_MAX, PAIRING_LOCK_S << min(over, 16))


@dataclass(frozen=True)
class _Session:
    """A device's conversation with one owner, after the answer and before the end.

    `grant` is there once the owner has proved the code and the button is waited for.
    """

    owner: AgentPubKey
    channel: _Channel
    deadline_us: int
    grant: Grant | None = None
    confirmed: bool = False


class PairingDevice:
    """The device's side, for as long as it has no owner: one session at a time.

    `device` is its enrolment key, `agent_of_seed` makes an agent key of a device seed (the key
    tree's business); `attempts` were counted before a restart.  All times are of one clock
    that nobody sets: somebody who could set it could end a lock.  Used as the pairing
    protocol's request handler.
    """

    def __init__(
        self,
        code: str,
        device: AgentPubKey,
        kind: DeviceKind,
        agent_of_seed: AgentOfSeed,
        entropy: Entropy,
        *,
        confirm: bool = False,
        attempts: int = 0,
        now_us: int = 0,
    ) -> None:
        self._password = parse_code(code).encode()
        self._device = device
        self._kind = kind
        self._agent_of_seed = agent_of_seed
        self._entropy = entropy
        self._confirm = confirm
        self._session: _Session | None = None
        self._opened: tuple[int, AgentPubKey | None] | None = None
        """Until when one session is let in though pairing is locked, and whose, or anyone's."""
        self._locked_until_us = now_us + lock_s(attempts) * _US
        self.attempts = attempts
        """Sessions answered that did not end in enrolment."""
        self.owned = False

    def handle(self, owner: AgentPubKey, message: bytes, now_us: int) -> Reply:
        """Answer one request of `owner`, whose key the transport has proved.

        Raises `PairingRefused` (already owned, locked, busy, too late, wrong code) or
        `Malformed`; either goes to the owner, and its text into the log.
        """
        if self.owned:
            raise PairingRefused("this device has an owner; ask the owner to transfer it")
        request = _decode(_request_decoder, message)
        if isinstance(request, Start):
            return self._start(owner, request, now_us)
        if isinstance(request, Finish):
            return self._finish(owner, request, now_us)
        return self._again(owner, now_us)

    def reopen(self) -> None:
        """The grant could not be stored: nothing of it was kept, and pairing is open again."""
        self.owned = False

    def locked_s(self, now_us: int) -> int:
        """Seconds until a new session may start; 0 if one may now."""
        return max(0, -(-(self._locked_until_us - now_us) // _US))

    def failed(self, now_us: int) -> int:
        """Attempts that have come to nothing; the one under way is not judged yet."""
        session = self._session
        return self.attempts - (session is not None and now_us < session.deadline_us)

    def proven(self, now_us: int) -> AgentPubKey | None:
        """The owner who has proved the code and for whom the button is waited for."""
        session = self._session
        waits = session is not None and session.grant is not None and now_us < session.deadline_us
        return session.owner if session is not None and waits else None

    def confirm(self, now_us: int) -> AgentPubKey | None:
        """Let the owner in who has proved the code, and return it; None if none has."""
        owner = self.proven(now_us)
        if owner is not None and self._session is not None:
            self._session = replace(self._session, confirmed=True)
        return owner

    def open_once(self, now_us: int, owner: AgentPubKey | None = None) -> None:
        """Let one session in, of `owner` or of whoever comes first, within `OPEN_S`.

        It counts as an attempt as any other does.
        """
        self._opened = (now_us + OPEN_S * _US, owner)

    def _is_open_to(self, owner: AgentPubKey, now_us: int) -> bool:
        if self._opened is None:
            return False
        until_us, whom = self._opened
        return now_us < until_us and whom in (None, owner)

    def _start(self, owner: AgentPubKey, request: Start, now_us: int) -> Reply:
        opened = self._is_open_to(owner, now_us)
        wait_s = 0 if opened else self.locked_s(now_us)
        if wait_s:
            raise PairingRefused(
                f"{self.attempts} pairing attempts have failed; try again in {wait_s} s, or run "
                "'ioe device unlock' on the device"
            )
        session = self._session
        taken = session and session.owner != owner and now_us < session.deadline_us
        if session and taken and not (opened and session.grant is None):
            wait_s = -(-(session.deadline_us - now_us) // _US)
            raise PairingRefused(f"someone else is pairing; try again in {wait_s} s")
        party = SPAKE2_B(self._password, idA=owner, idB=self._device, entropy_f=self._entropy)
        spake = party.start()
        channel = _agree(party, request.spake)
        self.attempts += 1
        if lock := lock_s(self.attempts):
            self._locked_until_us = now_us + lock * _US
        if opened:
            self._opened = None
        self._session = _Session(owner, channel, now_us + PAIRING_SESSION_S * _US)
        return Reply(_encoder.encode(Answer(spake, channel.device_confirmation)))

    def _finish(self, owner: AgentPubKey, request: Finish, now_us: int) -> Reply:
        session = self._session
        if session is None or session.owner != owner or session.grant is not None:
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
        if not self._confirm:
            return self._take(channel, grant)
        self._session = _Session(owner, channel, now_us + CONFIRM_S * _US, grant)
        return Reply(_encoder.encode(Wait()))

    def _again(self, owner: AgentPubKey, now_us: int) -> Reply:
        session = self._session
        if session is None or session.owner != owner or session.grant is None:
            raise Malformed("pairing: nothing is waited for")
        if session.confirmed:
            return self._take(session.channel, session.grant)
        if now_us >= session.deadline_us:
            self._session = None
            raise PairingRefused(
                f"nobody pressed the button of the device within {CONFIRM_S} s; start again"
            )
        return Reply(_encoder.encode(Wait()))

    def _take(self, channel: _Channel, grant: Grant) -> Reply:
        agent = self._agent_of_seed(grant.device_seed)
        paired = Paired(agent, self._kind, self.attempts - 1)
        self.owned = True
        self.attempts = 0
        self._locked_until_us = 0
        self._session = None
        box = channel.seal(b"device", paired, self._entropy)
        return Reply(_encoder.encode(Enrolled(box)), grant)


class PairingOwner:
    """The owner's side of one session: `start`, `finish`, then `enrolled` until it has an answer.

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

    def again(self) -> bytes:
        """The message that asks once more, while `enrolled` gives None."""
        return _encoder.encode(Again())

    def enrolled(self, message: bytes) -> Paired | None:
        """What the device has become; None while it waits for its button.

        Raises `Malformed` if its key is not our seed's.
        """
        reply = _decode(_enrolled_decoder, message)
        if self._channel is None:
            raise Malformed("pairing: enrolled without a finish")
        if isinstance(reply, Wait):
            return None
        channel, self._channel = self._channel, None
        paired = _decode(_paired_decoder, channel.open(b"device", reply.box))
        if paired.agent != self.agent:
            raise Malformed("pairing: the device's key is not made of the seed that we sent")
        return paired

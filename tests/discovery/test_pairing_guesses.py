"""Whoever guesses codes gets nowhere: not by many guesses, and not by one recorded conversation."""

from hashlib import blake2b, sha256
from itertools import cycle

import pytest
from spake2 import SPAKE2_A

from discovery.pairing import (
    OPEN_S,
    PAIRING_ATTEMPTS_MAX,
    PAIRING_LOCK_S,
    PairingDevice,
    PairingOwner,
    Reply,
    lock_s,
)
from ioe_node.errors import PairingRefused
from ioe_node.model.hashes import AgentPubKey
from ioe_node.model.signing import Signer
from tests.discovery.test_pairing import (
    CODE,
    DEVICE,
    GRANT,
    OWNER,
    SECOND,
    STRANGER,
    agent_of_seed,
    repeatable,
)

DAY_S = 86_400
MONTH_S = 30 * DAY_S
CODES = 10**8
STRANGERS: list[AgentPubKey] = [Signer(bytes([each]) * 32).agent for each in range(40)]
TRULY_TRIED = 20
"""How many guesses are checked against the device's answer; the others cost only a session."""


def waiting(attempts: int = 0) -> PairingDevice:
    """A device that has counted so many attempts before its restart."""
    entropy = repeatable(b"device")
    return PairingDevice(CODE, DEVICE, "consumer", agent_of_seed, entropy, attempts=attempts)


def owner(code: str = CODE) -> PairingOwner:
    return PairingOwner(code, DEVICE, GRANT, agent_of_seed, repeatable(b"owner"))


def paired(here: PairingDevice, there: PairingOwner, now_us: int) -> Reply:
    answer = here.handle(OWNER, there.start(), now_us)
    return here.handle(OWNER, there.finish(answer.message), now_us)


class Guesser:
    """Guesses one code after another, each under another key, and counts what is answered."""

    def __init__(self, device: PairingDevice) -> None:
        self.device = device
        self.admitted = 0
        self.refused = 0
        self._keys = cycle(STRANGERS)
        self._canned = owner().start()

    def guess(self, now_us: int) -> None:
        """Codes from 0000-0000 upwards; CODE is none of the first ten thousand."""
        who = next(self._keys)
        if self.device.locked_s(now_us):
            with pytest.raises(PairingRefused, match="try again in"):
                self.device.handle(who, self._canned, now_us)
            self.refused += 1
            return
        there = owner(f"0000-{self.admitted:04}") if self.admitted < TRULY_TRIED else None
        start = self._canned if there is None else there.start()
        answer = self.device.handle(OWNER, start, now_us)
        self.admitted += 1
        if there is None:
            return
        with pytest.raises(PairingRefused, match="code is wrong"):
            there.finish(answer.message)


def test_ten_thousand_guesses_in_a_month_get_nowhere() -> None:
    """Acceptance: rate limit and lock; the alert is tested where it is told."""
    device = waiting()
    guesser = Guesser(device)
    for number in range(10_000):
        guesser.guess(number * MONTH_S * SECOND // 10_000)
    print(
        f"10,000 guesses in 30 days: {guesser.admitted} admitted, {guesser.refused} refused; "
        f"chance of the code 1 in {CODES // guesser.admitted:,}"
    )
    assert guesser.admitted + guesser.refused == 10_000
    assert guesser.admitted <= MONTH_S // 3600 + 12
    assert not device.owned
    assert device.attempts == guesser.admitted
    assert device.locked_s(MONTH_S * SECOND) > 0


def test_a_guesser_who_is_back_the_moment_a_lock_ends_has_24_guesses_a_day() -> None:
    device = waiting()
    guesser = Guesser(device)
    now_s = 0
    while now_s < 4 * DAY_S:
        guesser.guess(now_s * SECOND)
        now_s += device.locked_s(now_s * SECOND)
    print(f"at every end of a lock for 4 days: {guesser.admitted} admitted")
    assert guesser.admitted <= 24 * 4 + 12
    assert not device.owned


def test_a_restart_forgives_no_guess() -> None:
    """Power taken away again and again gives no more guesses than waiting does."""
    admitted, attempts = 0, 0
    for _ in range(50):
        device = waiting(attempts)
        assert device.locked_s(0) == lock_s(attempts)
        guesser = Guesser(device)
        guesser.guess(0)
        admitted += guesser.admitted
        attempts = device.attempts
    assert admitted == attempts == PAIRING_ATTEMPTS_MAX


def locked() -> PairingDevice:
    device = waiting()
    guesser = Guesser(device)
    for _ in range(PAIRING_ATTEMPTS_MAX):
        guesser.guess(0)
    assert device.locked_s(0) == PAIRING_LOCK_S
    return device


def test_whoever_stands_at_the_device_opens_it_for_one_session() -> None:
    device = locked()
    device.open_once(0)
    assert paired(device, owner(), 1).grant == GRANT
    device = locked()
    device.open_once(0)
    device.handle(STRANGER, owner().start(), 1)
    with pytest.raises(PairingRefused, match="attempts have failed"):
        device.handle(OWNER, owner().start(), 2)
    assert device.attempts == PAIRING_ATTEMPTS_MAX + 1, "it was a guess like any other"


def test_opened_for_one_owner_nobody_else_takes_the_turn() -> None:
    device = locked()
    device.open_once(0, OWNER)
    with pytest.raises(PairingRefused, match="attempts have failed"):
        device.handle(STRANGER, owner().start(), 1)
    assert paired(device, owner(), 2).grant == GRANT
    device = waiting(PAIRING_ATTEMPTS_MAX + 2)
    device.open_once(0, OWNER)
    with pytest.raises(PairingRefused, match="attempts have failed"):
        device.handle(OWNER, owner().start(), OPEN_S * SECOND)


def test_opened_the_owner_need_not_wait_for_a_guesser_to_give_up() -> None:
    device = waiting()
    device.handle(STRANGER, owner().start(), 0)
    with pytest.raises(PairingRefused, match="someone else"):
        device.handle(OWNER, owner().start(), 1)
    device.open_once(1, OWNER)
    assert paired(device, owner(), 2).grant == GRANT


def conversation(code: str, salt: bytes) -> list[bytes]:
    """The four messages of one good pairing, as a machine in the middle would record them."""
    here = PairingDevice(code, DEVICE, "consumer", agent_of_seed, repeatable(b"device" + salt))
    there = owner(code)
    there._entropy = repeatable(b"owner" + salt)
    there._party = SPAKE2_A(code.encode(), idA=OWNER, idB=DEVICE, entropy_f=there._entropy)
    start = there.start()
    answer = here.handle(OWNER, start, 0).message
    finish = there.finish(answer)
    return [start, answer, finish, here.handle(OWNER, finish, 0).message]


def windows(messages: list[bytes], size: int) -> set[bytes]:
    return {
        message[at : at + size] for message in messages for at in range(len(message) - size + 1)
    }


def functions_of(code: str, messages: list[bytes]) -> list[bytes]:
    """What somebody who tries a code offline can compute without a secret of either side.

    The group elements with the code's mask taken off are in here only by their hashes with the
    constants that lie at hand: the shared key hashes xy·G too, and to find that from xG and yG
    is the Diffie-Hellman problem.
    """
    password = code.encode()
    scalar = SPAKE2_A(password).pw_scalar
    group = SPAKE2_A(password).params.group
    start, answer = messages[0], messages[1]
    spakes = (start[-33:], answer[-67:-34])
    found = [sha256(password).digest(), password, group.scalar_to_bytes(scalar)]
    for shared in (b"", group.Zero.to_bytes(), group.Base.to_bytes(), bytes(32)):
        parts = (password, OWNER, DEVICE)
        key = sha256(
            b"".join([*(sha256(each).digest() for each in parts), *spakes, shared])
        ).digest()
        found.append(key)
        for purpose in (b"owner confirms", b"device confirms", b"owner seals", b"device seals"):
            found.append(blake2b(key=key, person=purpose, digest_size=32).digest())
    return found


def test_a_recorded_conversation_has_nothing_to_try_codes_against() -> None:
    """Why: X = xG + c·M and Y = yG + c·N with x and y fresh and secret.  For *every* code c' there
    are x' and y' that give the same X and Y, so these two say nothing about c.  The two
    confirmations and the two boxes are made of a key that hashes xy·G, which nobody has who has
    neither x nor y; a candidate c' gives x'G and y'G, and then asks for their Diffie-Hellman
    product.  So no value that crosses is a function of the code alone: shown here by trying a whole
    shortened space of 10^4 codes, the right one among them, against every 32 bytes that crossed.
    """
    code = "0000-4711"
    messages = conversation(code, b"")
    crossed = windows(messages, 32)
    for each in range(10_000):
        candidate = f"0000-{each:04}"
        for value in functions_of(candidate, messages):
            assert value[:32] not in crossed, candidate
    assert code.encode() not in b"".join(messages)
    assert b"00004711" not in b"".join(messages)


def test_every_code_explains_the_same_two_points() -> None:
    """X - c'M and Y - c'N lie in the group of G for whatever c', so each has its x' and y'."""
    messages = conversation("0000-4711", b"")
    order = SPAKE2_A(b"").params.group.order()
    for masked, blind in ((messages[0][-33:], "M"), (messages[1][-67:-34], "N")):
        for candidate in ("0000-4711", "0000-0000", "9999-9999", "1234-5678"):
            party = SPAKE2_A(candidate.encode())
            group = party.params.group
            mask = getattr(party.params, blind).scalarmult(-party.pw_scalar)
            point = group.bytes_to_element(masked[1:]).add(mask)
            assert point.scalarmult(order).to_bytes() == group.Zero.to_bytes()


def test_conversations_of_one_code_are_no_more_alike_than_of_two() -> None:
    """Nothing repeats from one pairing to the next by which the same code would be known."""
    first = windows(conversation(CODE, b"1"), 16)
    assert not first & windows(conversation(CODE, b"2"), 16)
    assert not first & windows(conversation("8765-4321", b"3"), 16)

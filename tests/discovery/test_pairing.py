"""Pairing: two real state machines joined back to back, and everything that may come between."""

from hashlib import shake_256

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discovery.pairing import (
    INVITATION_BYTES_MAX,
    PAIRING_ATTEMPTS_MAX,
    PAIRING_BYTES_MAX,
    PAIRING_LOCK_S,
    PAIRING_LOCK_S_MAX,
    PAIRING_SESSION_S,
    Grant,
    PairingDevice,
    PairingOwner,
    Reply,
)
from discovery.pairing_code import Entropy
from ioe_node.errors import LocalError, Malformed, PairingRefused
from ioe_node.model.hashes import AgentPubKey
from ioe_node.model.signing import Signer

CODE = "1234-5678"
WRONG = "8765-4321"
OWNER = Signer(b"o" * 32).agent
STRANGER = Signer(b"x" * 32).agent
DEVICE = Signer(b"d" * 32).agent
GRANT = Grant(b"seed" * 8, OWNER, b"invitation", "kitchen plug")
NOW_US = 1_700_000_000_000_000
SECOND = 1_000_000


def agent_of_seed(seed: bytes) -> AgentPubKey:
    return Signer(seed).agent


def repeatable(name: bytes) -> Entropy:
    """Entropy that never gives the same bytes twice, and gives the same in every run."""
    count = 0

    def entropy(size: int) -> bytes:
        nonlocal count
        count += 1
        return shake_256(name + count.to_bytes(8, "big")).digest(size)

    return entropy


def device(code: str = CODE) -> PairingDevice:
    return PairingDevice(code, DEVICE, "consumer", agent_of_seed, repeatable(b"device"))


def owner(code: str = CODE, grant: Grant = GRANT, to: AgentPubKey = DEVICE) -> PairingOwner:
    return PairingOwner(code, to, grant, agent_of_seed, repeatable(b"owner"))


def paired(here: PairingDevice, there: PairingOwner, now_us: int = NOW_US) -> Reply:
    """The whole conversation; the device's last reply."""
    answer = here.handle(OWNER, there.start(), now_us)
    assert answer.grant is None
    return here.handle(OWNER, there.finish(answer.message), now_us)


def flipped(message: bytes, bit: int) -> bytes:
    changed = bytearray(message)
    changed[bit // 8 % len(changed)] ^= 1 << bit % 8
    return bytes(changed)


def test_an_owner_with_the_code_enrols_the_device() -> None:
    """I-024, I-041, I-044: keys only after the owner is validated."""
    here, there = device(), owner()
    reply = paired(here, there)
    assert reply.grant == GRANT
    result = there.enrolled(reply.message)
    assert result.agent == there.agent == agent_of_seed(GRANT.device_seed)
    assert result.kind == "consumer"
    assert here.owned
    assert here.attempts == 0


def test_nothing_secret_crosses_in_clear() -> None:
    here, there = device(), owner()
    start = there.start()
    answer = here.handle(OWNER, start, NOW_US).message
    finish = there.finish(answer)
    last = here.handle(OWNER, finish, NOW_US).message
    crossed = start + answer + finish + last
    for secret in (GRANT.device_seed, GRANT.invitation, b"kitchen", b"1234-5678", b"12345678"):
        assert secret not in crossed
    assert crossed.find(there.agent) < 0


def test_a_wrong_code_is_refused_on_the_owners_side_before_anything_is_sent() -> None:
    here, there = device(), owner(WRONG)
    answer = here.handle(OWNER, there.start(), NOW_US)
    with pytest.raises(PairingRefused, match="wrong"):
        there.finish(answer.message)
    assert here.attempts == 1
    assert not here.owned


def test_a_guesser_who_sends_a_finish_is_refused_by_the_device() -> None:
    here, there, guesser = device(), owner(), owner(WRONG)
    finish_of_another = there.finish(device().handle(OWNER, there.start(), NOW_US).message)
    here.handle(OWNER, guesser.start(), NOW_US)
    with pytest.raises(PairingRefused, match="wrong"):
        here.handle(OWNER, finish_of_another, NOW_US)
    assert not here.owned


def test_one_answer_admits_one_finish() -> None:
    here, there, guesser = device(), owner(), owner(WRONG)
    wrong = guesser.finish(device(WRONG).handle(OWNER, guesser.start(), NOW_US).message)
    answer = here.handle(OWNER, there.start(), NOW_US)
    with pytest.raises(PairingRefused):
        here.handle(OWNER, wrong, NOW_US)
    with pytest.raises(Malformed, match="without a start"):
        here.handle(OWNER, there.finish(answer.message), NOW_US)


def test_a_session_is_a_guess_even_if_it_is_not_finished() -> None:
    here = device()
    for _ in range(PAIRING_ATTEMPTS_MAX):
        here.handle(STRANGER, owner(WRONG).start(), NOW_US)
    with pytest.raises(PairingRefused, match=f"try again in {PAIRING_LOCK_S} s"):
        here.handle(OWNER, owner().start(), NOW_US)


def test_the_lock_doubles_is_capped_and_never_bars_the_owner_for_good() -> None:
    here, now_us = device(), NOW_US
    for _ in range(PAIRING_ATTEMPTS_MAX - 1):
        here.handle(STRANGER, owner(WRONG).start(), now_us)
        assert here.locked_s(now_us) == 0
    locks = []
    for _ in range(9):
        here.handle(STRANGER, owner(WRONG).start(), now_us)
        locks.append(here.locked_s(now_us))
        with pytest.raises(PairingRefused, match="try again"):
            here.handle(STRANGER, owner(WRONG).start(), now_us + locks[-1] * SECOND - 1)
        now_us += locks[-1] * SECOND
    doubled = [PAIRING_LOCK_S << turn for turn in range(9)]
    assert locks == [min(PAIRING_LOCK_S_MAX, each) for each in doubled]
    assert paired(here, owner(), now_us).grant == GRANT
    assert here.locked_s(now_us) == 0


def test_the_fifth_attempt_may_still_be_the_right_one() -> None:
    here = device()
    for _ in range(PAIRING_ATTEMPTS_MAX - 1):
        here.handle(OWNER, owner(WRONG).start(), NOW_US)
    assert paired(here, owner()).grant == GRANT


def test_one_session_at_a_time_with_a_deadline() -> None:
    here, there = device(), owner()
    answer = here.handle(OWNER, there.start(), NOW_US)
    with pytest.raises(PairingRefused, match=f"someone else .* {PAIRING_SESSION_S} s"):
        here.handle(STRANGER, owner().start(), NOW_US)
    deadline_us = NOW_US + PAIRING_SESSION_S * SECOND
    finish = there.finish(answer.message)
    with pytest.raises(PairingRefused, match="start again"):
        here.handle(OWNER, finish, deadline_us)
    here.handle(STRANGER, owner().start(), deadline_us)


def test_a_stranger_cannot_end_or_take_over_a_session() -> None:
    here, there = device(), owner()
    finish = there.finish(here.handle(OWNER, there.start(), NOW_US).message)
    for message in (finish, b"", b"junk"):
        with pytest.raises(Malformed):
            here.handle(STRANGER, message, NOW_US)
    assert here.handle(OWNER, finish, NOW_US).grant == GRANT


def test_an_owner_may_start_again() -> None:
    here = device()
    here.handle(OWNER, owner().start(), NOW_US)
    assert paired(here, owner()).grant == GRANT


def test_an_owned_device_refuses_and_reopens_if_nothing_was_kept() -> None:
    here, there = device(), owner()
    reply = paired(here, there)
    for message in (owner().start(), reply.message, b"junk"):
        with pytest.raises(PairingRefused, match="has an owner"):
            here.handle(OWNER, message, NOW_US)
    here.reopen()
    assert paired(here, owner()).grant == GRANT


def test_replayed_and_reordered_messages_are_malformed() -> None:
    here, there = device(), owner()
    start = there.start()
    answer = here.handle(OWNER, start, NOW_US)
    finish = there.finish(answer.message)
    with pytest.raises(Malformed, match="second answer"):
        there.finish(answer.message)
    with pytest.raises(Malformed, match="without a start"):
        device().handle(OWNER, finish, NOW_US)
    # The same start again is a new session with a new answer: the old finish does not fit it.
    assert here.handle(OWNER, start, NOW_US).message != answer.message
    with pytest.raises(PairingRefused, match="wrong"):
        here.handle(OWNER, finish, NOW_US)
    with pytest.raises(Malformed):
        here.handle(OWNER, answer.message, NOW_US)
    with pytest.raises(Malformed):
        there.enrolled(finish)


def test_a_reflected_answer_is_malformed() -> None:
    there = owner()
    spake = msgspec.msgpack.decode(there.start())[1]
    with pytest.raises(Malformed):
        there.finish(msgspec.msgpack.encode(["answer", spake, bytes(32)]))


def test_both_identities_are_bound_in() -> None:
    """A relay that shows its own key to either side cannot pass the conversation on."""
    here, there = device(), owner(to=STRANGER)
    with pytest.raises(PairingRefused):
        there.finish(here.handle(OWNER, there.start(), NOW_US).message)
    here, there = device(), owner()
    with pytest.raises(PairingRefused):
        there.finish(here.handle(STRANGER, there.start(), NOW_US).message)


def test_the_granted_owner_is_the_one_who_speaks() -> None:
    here = device()
    there = owner()
    there._grant = msgspec.structs.replace(GRANT, owner=STRANGER)
    with pytest.raises(Malformed, match="another owner"):
        paired(here, there)
    assert not here.owned


@pytest.mark.parametrize(
    "bad",
    [
        msgspec.structs.replace(GRANT, device_seed=b"short"),
        msgspec.structs.replace(GRANT, invitation=bytes(INVITATION_BYTES_MAX + 1)),
        msgspec.structs.replace(GRANT, name=""),
        msgspec.structs.replace(GRANT, name="a\x1b[2Jb"),
        msgspec.structs.replace(GRANT, name="n" * 49),
    ],
)
def test_a_bad_grant_is_refused_both_ways(bad: Grant) -> None:
    with pytest.raises(LocalError, match="cannot pair"):
        owner(grant=bad)
    here, there = device(), owner()
    there._grant = bad
    with pytest.raises(Malformed):
        paired(here, there)
    assert not here.owned


def test_the_largest_grant_fits() -> None:
    full = msgspec.structs.replace(
        GRANT, invitation=bytes(INVITATION_BYTES_MAX), name="\N{HOUSE BUILDING}" * 48
    )
    here, there = device(), owner(grant=full)
    assert paired(here, there).grant == full


def test_an_enrolled_that_is_not_our_seeds_is_malformed() -> None:
    here = PairingDevice(CODE, DEVICE, "consumer", lambda _: STRANGER, repeatable(b"device"))
    there = owner()
    reply = paired(here, there)
    with pytest.raises(Malformed, match="not made of the seed"):
        there.enrolled(reply.message)


@pytest.mark.parametrize(
    "spake", [b"", b"A", b"A" + bytes(32), b"A\x01" + bytes(31), b"A" + b"\xff" * 32, b"B" * 33]
)
def test_points_outside_the_group_are_malformed(spake: bytes) -> None:
    here = device()
    with pytest.raises(Malformed):
        here.handle(OWNER, msgspec.msgpack.encode(["start", spake]), NOW_US)
    assert here.attempts == 0, "nothing was answered, so nothing was guessed"


@given(st.binary(max_size=120))
def test_any_bytes_are_malformed_to_either_side(data: bytes) -> None:
    here, there = device(), owner()
    for take in (lambda: here.handle(OWNER, data, NOW_US), lambda: there.finish(data)):
        with pytest.raises(Malformed):
            take()
    with pytest.raises(Malformed):
        there.enrolled(data)


fields = st.lists(
    st.sampled_from(["start", "answer", "finish", "enrolled"])
    | st.binary(max_size=70)
    | st.binary(min_size=32, max_size=33)
    | st.integers(-(2**63), 2**64 - 1)
    | st.none(),
    max_size=4,
)


@given(fields)
def test_any_msgpack_array_is_malformed(parts: list[object]) -> None:
    here, there = device(), owner()
    data = msgspec.msgpack.encode(parts)
    with pytest.raises(Malformed):
        here.handle(OWNER, data, NOW_US)
    there.start()
    with pytest.raises((Malformed, PairingRefused)):
        there.finish(data)
    with pytest.raises(Malformed):
        there.enrolled(data)


def test_oversize_is_malformed() -> None:
    with pytest.raises(Malformed, match="over"):
        device().handle(OWNER, bytes(PAIRING_BYTES_MAX + 1), NOW_US)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2), st.integers(0, 8 * 400))
def test_any_flipped_bit_ends_in_a_peer_error_and_no_owner(which: int, bit: int) -> None:
    here, there = device(), owner()

    def converse() -> None:
        start = there.start()
        answer = here.handle(OWNER, flipped(start, bit) if which == 0 else start, NOW_US).message
        finish = there.finish(flipped(answer, bit) if which == 1 else answer)
        here.handle(OWNER, flipped(finish, bit) if which == 2 else finish, NOW_US)

    with pytest.raises((Malformed, PairingRefused)):
        converse()
    assert not here.owned


@given(st.integers(0, 8 * 200))
@settings(max_examples=40, deadline=None)
def test_a_flipped_bit_in_the_last_message_is_malformed(bit: int) -> None:
    there = owner()
    last = paired(device(), there).message
    with pytest.raises(Malformed):
        there.enrolled(flipped(last, bit))

"""Origins, tokens and nonces: what is let in once, for a while, or not at all."""

from hashlib import sha512
from random import Random

import pytest

from ioe_node.api import conductor_auth
from ioe_node.api.conductor_auth import NONCE_BYTES, Nonces, NotAuthentic, Tokens, allowed
from ioe_node.api.conductor_frames import encode
from ioe_node.api.conductor_signing import SignedCall, open_call
from ioe_node.errors import Busy, CallError, Malformed
from ioe_node.model.hashes import DNA
from ioe_node.model.signing import Signer

NOW_US = 1_767_225_600_000_000
MINUTE_US = 60_000_000
ALICE = Signer(b"a" * 32)
CELL = (DNA + bytes(36), bytes(ALICE.agent))


@pytest.fixture
def tokens() -> Tokens:
    return Tokens(Random(1).randbytes)


@pytest.mark.parametrize(
    ("origins", "origin", "good"),
    [
        ("*", "https://anywhere.example", True),
        ("ioe", "ioe", True),
        ("page, ioe", "ioe", True),
        ("ioe", "https://ioe", False),
        ("ioe", "IOE", False),
        ("*", None, False),
        ("*", "", False),
        ("", "", False),
    ],
)
def test_origins(origins: str, origin: str | None, good: bool) -> None:
    assert allowed(origins, origin) is good


def test_a_token_for_one_use_opens_once(tokens: Tokens) -> None:
    token, expires_us = tokens.issue("app", 30, True, NOW_US)
    assert expires_us == NOW_US + 30_000_000
    assert tokens.redeem(token, NOW_US) == "app"
    assert tokens.redeem(token, NOW_US) is None


def test_a_token_opens_again_and_again_until_it_expires(tokens: Tokens) -> None:
    token, _ = tokens.issue("app", 30, False, NOW_US)
    assert tokens.redeem(token, NOW_US + 29_999_999) == "app"
    assert tokens.redeem(token, NOW_US + 29_999_999) == "app"
    assert tokens.redeem(token, NOW_US + 30_000_000) is None


def test_a_token_without_an_end_ends_when_it_is_revoked(tokens: Tokens) -> None:
    token, expires_us = tokens.issue("app", 0, False, NOW_US)
    assert expires_us is None
    assert tokens.redeem(token, NOW_US + 10**15) == "app"
    tokens.revoke(token)
    assert tokens.redeem(token, NOW_US) is None


def test_an_app_that_is_gone_takes_its_tokens_along(tokens: Tokens) -> None:
    token, _ = tokens.issue("app", 0, False, NOW_US)
    other, _ = tokens.issue("other", 0, False, NOW_US)
    tokens.forget("app")
    assert tokens.redeem(token, NOW_US) is None
    assert tokens.redeem(other, NOW_US) == "other"


def test_tokens_are_bounded(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conductor_auth, "TOKENS_MAX", 2)
    tokens.issue("app", 1, True, NOW_US)
    tokens.issue("app", 0, True, NOW_US)
    with pytest.raises(Busy):
        tokens.issue("app", 0, True, NOW_US)
    tokens.issue("app", 0, True, NOW_US + 1_000_000)
    with pytest.raises(CallError, match="expires after"):
        tokens.issue("app", 10**12, True, NOW_US)


def signed(signer: Signer = ALICE, **more: object) -> SignedCall:
    said = {
        "provenance": ALICE.agent,
        "cell_id": CELL,
        "zome_name": "foo",
        "fn_name": "bar",
        "payload": b"\xc0",
        "nonce": bytes(NONCE_BYTES),
        "expires_at": NOW_US + 5 * MINUTE_US,
        **more,
    }
    data = encode(said)
    return SignedCall(data, signer.sign(sha512(data).digest()))


def test_a_call_is_taken_once() -> None:
    nonces = Nonces()
    assert open_call(signed(), nonces, NOW_US).fn_name == "bar"
    with pytest.raises(NotAuthentic, match="made before"):
        open_call(signed(), nonces, NOW_US + MINUTE_US)
    open_call(signed(nonce=b"1" * NONCE_BYTES), nonces, NOW_US)


def test_a_call_of_another_expiry_is_another_use_of_the_same_nonce() -> None:
    """Two calls with one nonce in one slice are refused; no replay can change its expiry."""
    nonces = Nonces()
    open_call(signed(), nonces, NOW_US)
    with pytest.raises(NotAuthentic):
        open_call(signed(expires_at=NOW_US + 5 * MINUTE_US + 1), nonces, NOW_US)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"expires_at": NOW_US}, "expired"),
        ({"expires_at": NOW_US - 1}, "expired"),
        ({"expires_at": NOW_US + 6 * MINUTE_US}, "within 5 minutes"),
        ({"nonce": bytes(31)}, "32 bytes"),
        ({"provenance": DNA + bytes(36)}, "no agent"),
    ],
)
def test_a_stale_or_strange_call_is_refused(more: dict[str, object], why: str) -> None:
    with pytest.raises(NotAuthentic, match=why):
        open_call(signed(**more), Nonces(), NOW_US)


def test_somebody_elses_signature_is_refused_and_takes_no_nonce() -> None:
    nonces = Nonces()
    with pytest.raises(NotAuthentic, match="signature"):
        open_call(signed(Signer(b"b" * 32)), nonces, NOW_US)
    good = signed()
    with pytest.raises(NotAuthentic, match="signature"):
        open_call(SignedCall(good.said, bytes(64)), nonces, NOW_US)
    with pytest.raises(NotAuthentic, match="signature"):
        open_call(SignedCall(good.said, good.signature[:63]), nonces, NOW_US)
    open_call(good, nonces, NOW_US)


def test_the_bytes_that_came_are_what_is_checked() -> None:
    """Another encoding of the same call is another message."""
    good = signed()
    assert b"\xc0" in good.said
    longer = good.said.replace(b"\xa7fn_name", b"\xd9\x07fn_name")
    with pytest.raises(NotAuthentic):
        open_call(SignedCall(longer, good.signature), Nonces(), NOW_US)
    resigned = SignedCall(longer, ALICE.sign(sha512(longer).digest()))
    assert open_call(resigned, Nonces(), NOW_US).fn_name == "bar"


def test_what_is_no_call_is_malformed() -> None:
    with pytest.raises(Malformed):
        open_call(SignedCall(b"\x80", bytes(64)), Nonces(), NOW_US)


def test_nonces_are_forgotten_with_their_calls_and_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(conductor_auth, "NONCES_MAX", 2)
    nonces = Nonces()
    for number in range(2):
        nonces.use(CELL[1], bytes([number]) * 32, NOW_US + MINUTE_US, NOW_US)
    with pytest.raises(Busy):
        nonces.use(CELL[1], b"x" * 32, NOW_US + MINUTE_US, NOW_US)
    later_us = NOW_US + 2 * MINUTE_US
    nonces.use(CELL[1], b"x" * 32, later_us + MINUTE_US, later_us)

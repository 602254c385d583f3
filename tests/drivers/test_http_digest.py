import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioe_node.drivers.http_digest import Digest, digest_response, sha256_hex
from ioe_node.errors import LocalError


def test_the_example_of_rfc_7616_section_3_9_1() -> None:
    assert (
        digest_response(
            sha256_hex("Mufasa:http-auth@example.org:Circle of Life"),
            "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
            "00000001",
            "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            sha256_hex("GET:/dir/index.html"),
        )
        == "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
    )


@pytest.mark.parametrize(
    "challenge",
    [
        "Basic realm=x",
        'Digest realm="x", nonce="y", qop="auth"',
        'Digest realm="x", nonce="y", qop="auth", algorithm=MD5',
        'Digest realm="x", nonce="y", qop="auth-int", algorithm=SHA-256',
        'Digest realm="x", qop="auth", algorithm=SHA-256',
        'Digest realm="é", nonce="y", qop="auth", algorithm=SHA-256',
    ],
)
def test_other_challenges_are_refused(challenge: str) -> None:
    with pytest.raises(LocalError, match="SHA-256"):
        Digest.parse(challenge, "admin", "secret")


@given(st.text())
def test_any_challenge_is_answered_or_refused(challenge: str) -> None:
    for text in (challenge, f'Digest qop="auth", algorithm=SHA-256, nonce="{challenge}"'):
        try:
            header = Digest.parse(text, "admin", "secret").authorise("POST", "/rpc")
        except LocalError:
            continue
        assert header.isascii()
        assert header.isprintable()

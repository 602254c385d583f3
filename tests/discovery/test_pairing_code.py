"""Codes and lines: read however they are typed, and whatever else is named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discovery.pairing_code import BadPairingCode, new_code, pairing_uri, parse_code, parse_uri
from ioe_node.model.hashes import ACTION, AGENT, from_text, to_text
from ioe_node.model.signing import Signer

CODE = "1234-5678"
DEVICE = Signer(b"d" * 32).agent
LINE = pairing_uri(DEVICE, CODE)


@given(st.binary(min_size=16, max_size=16))
def test_a_new_code_parses(noise: bytes) -> None:
    code = new_code(lambda size: noise[:size])
    assert parse_code(code) == code
    assert len(code) == 9


@pytest.mark.parametrize("text", ["12345678", " 1234 5678\n", "12-34-56-78", "1234–5678", CODE])
def test_a_code_is_read_however_it_is_typed(text: str) -> None:
    assert parse_code(text) == CODE


@pytest.mark.parametrize("text", ["", "1234567", "123456789", "1234-567a", "١٢٣٤٥٦٧٨", "²" * 8])
def test_a_bad_code_is_named(text: str) -> None:
    with pytest.raises(BadPairingCode, match="eight digits"):
        parse_code(text)


@given(st.text(max_size=40))
def test_any_text_is_a_code_or_a_bad_code(text: str) -> None:
    try:
        code = parse_code(text)
    except BadPairingCode:
        return
    assert parse_code(code) == code


def test_a_line_holds_the_code_and_the_one_device_that_it_is_of() -> None:
    assert f"ioe:claim?device={to_text(DEVICE)}&code=1234-5678" == LINE
    assert parse_uri(f" {LINE}\n") == (DEVICE, CODE)
    assert from_text(LINE[17:70], AGENT) == DEVICE


@pytest.mark.parametrize(
    "text",
    [
        "",
        CODE,
        LINE[:-1],
        LINE + "9",
        LINE.replace("ioe:", "http:"),
        LINE.replace("uhCAk", "uhCEk"),
        LINE.replace("1234-5678", "12345678"),
        LINE.replace("1234-5678", "١٢٣٤-٥٦٧٨"),
        LINE.replace("claim?", "claim?x=1&"),
        LINE.replace(to_text(DEVICE), to_text(bytes([*ACTION, *DEVICE[3:]]))),
    ],
)
def test_any_other_line_is_named(text: str) -> None:
    with pytest.raises(BadPairingCode, match="scan it again"):
        parse_uri(text)

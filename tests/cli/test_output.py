"""What people see: exact amounts, and nothing of a peer's that steers the terminal."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioe_node.cli import output
from ioe_node.cli.output import credits_text, kwh, parse_amount, plain, printable, table, when
from ioe_node.errors import LocalError
from ioe_node.model.signing import Signer

AGENT = Signer(b"a" * 32).agent


@given(st.integers(0, 10**17))
def test_an_amount_comes_back(micro: int) -> None:
    assert parse_amount(f"{micro // 10**6}.{micro % 10**6:06}") == micro


@pytest.mark.parametrize("text", ["", "-1", "1,5", "1.0000001", "1e3", ".5", "1.", "9" * 13])
def test_what_is_no_amount_is_said(text: str) -> None:
    with pytest.raises(LocalError, match=r"2\.5"):
        parse_amount(text)


def test_energy_and_credits_are_rounded_towards_zero() -> None:
    assert kwh(1_999_999) == "1.999"
    assert credits_text(-1_999_999) == "-1.999"
    assert credits_text(0) == "0.000"


@given(st.integers(-(2**63), 2**63 - 1))
def test_any_time_has_a_text(at_us: int) -> None:
    assert when(at_us)


def test_plain_values_are_json(capsys: pytest.CaptureFixture[str]) -> None:
    value: dict[str, Any] = {"agent": AGENT, "bytes": b"\x00\xff", "list": [AGENT, (1, None)]}
    output.show(value, True, lambda: None)
    found = json.loads(capsys.readouterr().out)
    assert found["agent"].startswith("uhCAk")
    assert found["bytes"] == "00ff"
    assert found == plain(value)


def test_a_key_is_never_folded_or_cut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    table("near", ("name", "agent", "owner"), [("roof", plain(AGENT), plain(AGENT))])
    assert capsys.readouterr().out.count(plain(AGENT)) == 2


@pytest.mark.parametrize("text", ["[/bold]", "[red]x", ":smile:", "\x1b[2J", "a\rb\n", "\u202e"])
def test_a_peers_text_is_shown_as_it_is(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    table("", ("memo",), [(text,)])
    shown = capsys.readouterr().out
    assert printable(text) in shown
    assert "\x1b" not in shown
    assert "\r" not in shown

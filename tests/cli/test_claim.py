"""`ioe claim`, `credential`, `profile` and `reputation`, as a person uses them."""

import json
from pathlib import Path
from typing import Any

import pytest

from ioe_node.cli import claim, client
from ioe_node.cli.claim import SALT_BYTES
from ioe_node.model.hashes import action_hash, to_text
from ioe_node.model.signing import Signer
from zomes.claims import disclosure

MAKER, SUBJECT = Signer(b"m" * 32), Signer(b"s" * 32).agent
CLAIM = action_hash(b"a claim", SUBJECT)
AT_US = 1_767_261_600_000_000
VERIFIED: dict[str, Any] = {
    "claim": CLAIM,
    "type": "Claim",
    "issuer": MAKER.agent,
    "subject": SUBJECT,
    "standing": "stands",
    "issued_at": AT_US,
    "kind": "installer",
    "valid_from": AT_US,
    "valid_until": AT_US + 1,
    "shown": [{"name": "licence", "value": "NSW\x1b[2J"}],
    "hidden": ["address"],
}


def answering(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[dict[str, Any]]:
    """Zome calls are answered so; what they were called with."""
    asked = []

    def zome(home: Path, community: str | None, zome: str, function: str, /, **payload: Any) -> Any:
        asked.append(payload)
        return answer

    monkeypatch.setattr(client, "zome", zome)
    return asked


def test_salts_are_as_long_as_commitments_want_them() -> None:
    assert disclosure.SALT_BYTES == SALT_BYTES


def test_every_field_has_a_salt_of_its_own(ioe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, {"claim": CLAIM, "slip": b"a slip"})
    for _ in range(2):
        said = ioe("claim", "issue", to_text(SUBJECT), "maker", "a=1", "b==x")
    assert said.out.startswith("ioe-slip-")
    assert "for the subject alone" in said.err
    fields = [field for payload in asked for field in payload["fields"]]
    assert [(field["name"], field["value"]) for field in fields[:2]] == [("a", "1"), ("b", "=x")]
    assert len({field["salt"] for field in fields}) == 4
    assert {len(field["salt"]) for field in fields} == {SALT_BYTES}


def test_what_is_revealed_is_text_that_comes_back_as_it_was(
    ioe: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for size in range(1, 9):
        answering(monkeypatch, bytes(range(size)))
        text = ioe("claim", "reveal", to_text(CLAIM), "licence").out
        asked = answering(monkeypatch, VERIFIED)
        ioe("claim", "verify", text.strip())
        (tmp_path / "shown.txt").write_text(text)
        ioe("claim", "verify", str(tmp_path / "shown.txt"))
        assert [payload["disclosure"] for payload in asked] == [bytes(range(size))] * 2


def test_a_check_says_what_stands_and_fails_when_it_does_not(
    ioe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = "ioe-shown-AAAA"
    answering(monkeypatch, VERIFIED)
    said = ioe("claim", "verify", shown).out
    assert "stands: installer" in said
    assert "licence = NSW" in said
    assert "\x1b" not in said
    assert "not shown: address" in said
    answering(monkeypatch, {**VERIFIED, "standing": "withdrawn"})
    assert "it proves nothing now" in ioe("claim", "verify", shown, code=1).err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("claim", "issue", to_text(SUBJECT), "maker", "novalue"), "NAME=VALUE"),
        (("claim", "issue", "nobody", "maker", "a=1"), "no agent key"),
        (("claim", "keep", "no such file"), "ioe-slip-"),
        (("claim", "keep", "ioe-slip-"), "copy all of it"),
        (("claim", "keep", "ioe-slip-AAA?"), "copy all of it"),
        (("claim", "keep", "ioe-shown-AAAA"), "ioe-slip-"),
        (("claim", "verify", "ioe-shown-AAAAA"), "copy all of it"),
        (("claim", "revoke", "uhCkk"), "no action"),
        (("credential", "update", to_text(CLAIM)), "--hardware"),
        (("profile", "delegate"), "--end"),
        (("profile", "delegate", "nobody"), "no agent key"),
    ],
)
def test_mistakes_are_one_line_that_says_what_to_do(
    ioe: Any, words: tuple[str, ...], why: str
) -> None:
    said = ioe(*words, code=1)
    assert why in said.err
    assert said.err.count("\n") == 1


def test_a_makers_file_is_linked_with_its_key(
    ioe: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "word.json").write_bytes(b"{}")
    asked = answering(monkeypatch, CLAIM)
    key, signature = MAKER.agent[3:35].hex(), MAKER.sign(b"{}").hex()
    words = ("claim", "link", to_text(SUBJECT), str(tmp_path / "word.json"))
    ioe(*words, "--key", key, "--signature", signature)
    assert asked == [
        {
            "subject": SUBJECT,
            "signer": MAKER.agent,
            "body": b"{}",
            "signature": bytes.fromhex(signature),
        }
    ]
    for wrong in ("xyz", key[:-2]):
        assert "64" in ioe(*words, "--key", wrong, "--signature", signature, code=1).err


def test_a_node_claims_tells_of_itself_and_sees_others_by_its_config(
    ioe: Any, daemon: Any, tmp_path: Path
) -> None:
    ioe("init", "--address", "127.0.0.1")
    path = tmp_path / "owner" / "config.toml"
    path.write_text(path.read_text().replace('mdns = ["127.0.0.1"]', "mdns = []"))
    daemon("owner").wait_ready()
    approvers = f"approvers={to_text(SUBJECT)},{to_text(MAKER.agent)}"
    fee = f"wires={to_text(SUBJECT)}:250:vic/carlton"
    also = ("--set", "approval_quorum=2", "--fee", fee)
    ioe("community", "create", "street", "--set", approvers, *also)

    ioe("claim", "issue", to_text(SUBJECT), "maker", "year=2026")
    (made,) = json.loads(ioe("claim", "show", to_text(SUBJECT), "--json").out)
    assert (made["kind"], made["fields"], made["standing"]) == ("maker", ["year"], "stands")
    ioe("claim", "revoke", made["claim"], "--reason", "a mistake")
    assert "withdrawn" in ioe("claim", "show", to_text(SUBJECT)).out
    assert "no application" in ioe("credential", "show", to_text(SUBJECT)).out

    ioe("profile", "set", "Ann", "--about", "number 7")
    assert "Ann" in ioe("profile", "show").out
    ioe("profile", "delegate", "https://id.example.net/ann")
    assert "answered for by https://id.example.net/ann" in ioe("profile", "show").out
    assert "ended" in ioe("profile", "delegate", "--end").out

    assert json.loads(ioe("reputation", "show", "--json").out) == {"views": [], "left_out": 0}
    us = json.loads(ioe("status", "--json").out)["agent"]
    ioe("claim", "issue", to_text(SUBJECT), "maker", "year=2026")
    assert "0 points" in ioe("reputation", "explain", to_text(SUBJECT)).out
    path.write_text(path.read_text().replace('# "uhCAk..." = 50', f'"{us}" = 30'))
    explained = json.loads(ioe("reputation", "explain", to_text(SUBJECT), "--json").out)
    assert explained["score"] == 30
    assert [each["what"] for each in explained["evidence"]] == ["maker"]
    assert ioe("reputation", "show", to_text(SUBJECT)).out.startswith("30 ")
    path.write_text(path.read_text().replace(us, "uhCAk-nobody"))
    assert "is no agent key" in ioe("reputation", "show", code=1).err


def test_pairs_keep_what_follows_the_first_equals_sign() -> None:
    assert claim.parse_pairs(("a=b=c", "d=")) == [("a", "b=c"), ("d", "")]

"""Every command: its help teaches, its reading is also JSON, its errors are one line."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from ioe_node.cli import client
from ioe_node.cli.commands import cli
from ioe_node.cli.main import run
from ioe_node.model.hashes import AGENT as AGENT_PREFIX
from ioe_node.model.hashes import AgentPubKey, action_hash, from_text, to_text

READING = {
    "app list",
    "trader why",
    "demand offers",
    "demand claims",
    "bundle list",
    "doctor",
    "driver list",
    "driver scan",
    "driver test",
    "status",
    "alerts",
    "device list",
    "device code",
    "policy show",
    "meter read",
    "meter history",
    "meter sources",
    "meter samples",
    "credit balance",
    "credit history",
    "credit invoices",
    "credit statement",
    "credit why",
    "credit audit",
    "certificate audit",
    "certificate list",
    "certificate show",
    "certificate trace",
    "certificate why",
    "market book",
    "market matches",
    "market watch",
    "chain show",
    "chain final",
    "chain receipts",
    "chain verify",
    "community list",
    "peers",
    "warrant list",
    "warrant show",
    "claim show",
    "claim verify",
    "credential show",
    "profile show",
    "reputation show",
    "reputation explain",
    "key show",
    "key history",
    "key requests",
    "api token list",
}
ACTING = {
    "app set",
    "demand offer",
    "bundle token",
    "bundle pack",
    "meter changed",
    "meter rebuild",
    "meter export",
    "meter import",
    "init",
    "backup",
    "restore",
    "run",
    "device claim",
    "device confirm",
    "device unlock",
    "policy set",
    "device transfer",
    "device accept",
    "device release",
    "device revoke",
    "device switch",
    "page",
    "api token create",
    "api token revoke",
    "key rotate",
    "key recover",
    "key holders",
    "key sign",
    "key refuse",
    "key gather",
    "key merge",
    "credit pay",
    "credit invoice",
    "credit promise",
    "credit decline",
    "certificate declare",
    "certificate give",
    "certificate retire",
    "certificate verify",
    "certificate export",
    "market offer",
    "market bid",
    "market cancel",
    "community create",
    "community invite",
    "community join",
    "data fetch",
    "claim issue",
    "claim keep",
    "claim reveal",
    "claim revoke",
    "claim link",
    "claim apply",
    "claim approve",
    "credential update",
    "profile set",
    "profile delegate",
}
# It is JSON lines and nothing else.
STREAMING = {"signals"}


def commands(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))
        else:
            yield " ".join((*words, name)), command


ALL = dict(commands(cli))


def test_every_command_is_told_apart_here() -> None:
    assert set(ALL) == READING | ACTING | STREAMING


@pytest.mark.parametrize("name", sorted(READING))
def test_a_reading_command_has_json(name: str) -> None:
    assert "--json" in [flag for option in ALL[name].params for flag in option.opts]


@pytest.mark.parametrize("name", sorted(ALL))
def test_help_teaches(ioe: Any, name: str) -> None:
    shown = ioe(*name.split(), "--help").out
    command = ALL[name]
    assert len(command.help) > 20
    for option in command.params:
        if isinstance(option, click.Option) and option.name != "help":
            assert option.help, f"{name} {option.opts} says nothing"
        else:
            assert (option.metavar or option.name.upper()) in command.help, f"{name}: {option.name}"
    units = ("kWh", "credit", "second", "JSON", "  ioe ")
    assert any(each in shown for each in units), f"{name}: no example, no unit"


@pytest.mark.parametrize(
    "group",
    [
        "device",
        "driver",
        "meter",
        "credit",
        "certificate",
        "market",
        "chain",
        "community",
        "data",
        "warrant",
        "policy",
    ],
)
def test_a_group_lists_its_verbs(ioe: Any, group: str) -> None:
    shown = ioe(group, "--help").out
    for name in ALL:
        if name.startswith(f"{group} "):
            assert name.split()[1] in shown


def test_the_first_help_shows_first_steps_and_exit_codes(ioe: Any) -> None:
    shown = ioe("--help").out
    for word in ("ioe init", "ioe run", "ioe device claim", "Exit codes", "IOE_HOME"):
        assert word in shown
    assert ioe("--version").out.strip().startswith("ioe")


@pytest.mark.parametrize(
    "words",
    [
        ("nothing",),
        ("--nothing",),
        ("device",),
        ("device", "claim"),
        ("credit", "pay", "x"),
        ("meter", "history", "--limit", "0"),
        ("meter", "history", "--limit", "many"),
        ("chain", "show", "--from", "-1"),
        ("init", "--role", "boss"),
        ("init", "--port", "70000"),
    ],
)
def test_wrong_usage_is_exit_code_2(ioe: Any, words: tuple[str, ...]) -> None:
    ioe(*words, code=2)


AGENT = "uhCAkWCsAgoKkkfwyJAglj30xX_GLLV-3BXuFy436a2SqpcEwyBzm"
ACTION = to_text(action_hash(b"an action", AgentPubKey(from_text(AGENT, AGENT_PREFIX))))


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("device", "list"),
        ("device", "claim", "roof", "1234-5678"),
        ("device", "code"),
        ("device", "confirm"),
        ("device", "unlock", AGENT),
        ("alerts",),
        ("alerts", "--follow"),
        ("policy", "show"),
        ("meter", "read"),
        ("meter", "history"),
        ("credit", "balance"),
        ("credit", "history"),
        ("credit", "audit"),
        ("certificate", "list"),
        ("certificate", "trace", ACTION),
        ("certificate", "why", ACTION),
        ("market", "book"),
        ("market", "offer", "1", "0.2"),
        ("market", "cancel", ACTION),
        ("market", "matches"),
        ("market", "watch"),
        ("chain", "show"),
        ("chain", "receipts", ACTION),
        ("community", "list"),
        ("peers",),
        ("warrant", "list"),
        ("warrant", "show", "uhCAk"),
        ("community", "create", "street"),
        ("community", "join", "ioe1x"),
        ("signals",),
    ],
)
def test_without_a_node_every_command_says_so(ioe: Any, words: tuple[str, ...]) -> None:
    said = ioe(*words, code=4)
    assert said.err.startswith("ioe: no node runs in ")
    assert said.err.rstrip().endswith("start it with 'ioe run'")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("credit", "pay", "nobody", "1"), "'nobody' is no agent key; 'ioe status' shows ours"),
        (("credit", "pay", "nobody", "1"), "'ioe peers' others'"),
        (("meter", "history", "uhCAk"), "'uhCAk' is no agent key"),
        (("credit", "pay", AGENT[:-1] + "\n", "1"), "is no agent key"),
        (("credit", "pay", AGENT, "-1"), "'-1' is no amount"),
        (("credit", "pay", AGENT, "\N{ARABIC-INDIC DIGIT TWO}"), "is no amount"),
        (("market", "bid", "one", "0.2"), "'one' is no amount"),
        (("market", "offer", "1", "dear"), "'dear' is no amount"),
        (("market", "cancel", "that"), "'that' is no action"),
        (("community", "create", "x", "--set", "price_bp"), "PROPERTY=NUMBER"),
        (("community", "create", "x", "--set", "price_bp=²"), "PROPERTY=NUMBER"),
        (("community", "create", "x", "--set", "price_bp=--1"), "PROPERTY=NUMBER"),
        (("certificate", "retire", ACTION, "--kwh", "x"), "'x' is no amount"),
        (("certificate", "show", AGENT), "is no action"),
        (("community", "create", "x", "--fee", f"platform={AGENT}"), "NAME=AGENT:BASIS_POINTS"),
        (("community", "create", "x", "--fee", f"platform={AGENT}:1²"), "NAME=AGENT:BASIS_POINTS"),
        (("community", "create", "x", "--fee", f"={AGENT}:1"), "NAME=AGENT:BASIS_POINTS"),
        (("community", "create", "x", "--fee", "platform=nobody:1"), "'nobody' is no agent key"),
        (("chain", "verify"), "ioe init"),
        (("run",), "ioe init"),
        (("run", "--check-config"), "ioe init"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_1(
    ioe: Any, words: tuple[str, ...], named: str
) -> None:
    said = ioe(*words, code=1)
    assert named in said.err
    assert said.err.startswith("ioe: ")


def test_data_says_its_folder_once(ioe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(say: Callable[[str], None]) -> Path:
        say("the homes are in /somewhere")
        return Path("/somewhere")

    monkeypatch.setattr("ioe_node.drivers.citylearn.fetch", fetch)
    assert ioe("data", "fetch").out == "the homes are in /somewhere\n"


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ({"code": "1234-5678", "driver": None}, "waits for an owner, with the pairing code 1234-"),
        ({"code": None, "driver": None}, "this node has no device"),
        ({"code": None, "driver": {"why": "no answer"}}, "no answer"),
    ],
)
def test_why_nothing_is_read_is_said(
    ioe: Any, monkeypatch: pytest.MonkeyPatch, status: dict[str, Any], why: str
) -> None:
    monkeypatch.setattr(client, "call", lambda *_: {"reading": None, **status})
    assert why in ioe("meter", "read", code=1).err


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (OSError(36, "File name too long", "/x"), 1, "ioe: File name too long: /x"),
        (OSError(28, "No space left on device"), 1, "ioe: No space left on device"),
        (KeyboardInterrupt(), 130, "ioe: interrupted"),
        (BaseExceptionGroup("trio", [KeyboardInterrupt()]), 130, "ioe: interrupted"),
    ],
)
def test_what_ends_a_command_is_one_line(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, line: str
) -> None:
    def load() -> click.Group:
        raise error

    with pytest.raises(SystemExit) as left:
        run("ioe", load)
    assert left.value.code == code
    assert capsys.readouterr().err == f"{line}\n"


@pytest.mark.parametrize(
    ("imported", "unwanted"),
    [
        ("ioe_node.cli.commands", {"cryptography", "httpx", "paho", "sqlite_utils", "starlette"}),
        ("ioe_node.conductor.conductor", {"httpx", "libp2p", "paho", "starlette"}),
    ],
)
def test_what_is_not_asked_for_is_not_imported(imported: str, unwanted: set[str]) -> None:
    """Help in a third of a second, and a node without MQTT and without a door pays for neither."""
    code = f"import sys, {imported}; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert not unwanted & set(said.split())

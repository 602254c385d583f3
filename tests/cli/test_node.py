"""`ioe init` and `ioe run`: keys, the config, and a process that starts and stops cleanly."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ioe_node.cli.node import PASSPHRASE_VARIABLE
from ioe_node.conductor import keytree
from ioe_node.conductor.home import Home
from ioe_node.conductor.keystore import Keystore
from ioe_node.config import load_config
from ioe_node.errors import DiskFull
from ioe_node.model.signing import Signer
from ioe_node.net.peer_id import peer_id_of

DEVICE = ("init", "--role", "device", "--kind", "generator", "--address", "127.0.0.1")
STEADY = ("--driver", "steady_meter:Steady", "--option", "power_milli_w=-1000")
STOP_MAX_S = 20.0
STRANGER = "uhCAkWCsAgoKkkfwyJAglj30xX_GLLV-3BXuFy436a2SqpcEwyBzm"


def words_of(text: str) -> str:
    (line,) = re.findall(r"^  ((?:[a-z]+ ){23}[a-z]+)$", text, re.MULTILINE)
    return str(line)


def secrets_of(home: Path) -> dict[str, bytes]:
    return dict(Keystore.open(home / "keystore", b"of the test").secrets)


def test_an_owner_is_made_once_and_its_words_make_it_again(
    ioe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = words_of(ioe("init", "--address", "127.0.0.1").out)
    assert "already" in ioe("init", code=1).err
    monkeypatch.setattr("sys.stdin", io.StringIO(f"  {words.upper()} \n"))
    said = ioe("init", "--recover", "--address", "127.0.0.1", home="again")
    assert words not in said.out
    kept = keytree.owner_secrets(keytree.from_mnemonic(words))
    assert secrets_of(tmp_path / "owner") == secrets_of(tmp_path / "again") == kept
    assert Home(tmp_path / "again").state().recovering
    assert not Home(tmp_path / "owner").state().recovering


def test_a_word_that_is_wrong_is_named_and_nothing_is_made(
    ioe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for typed, why in (("abandn " * 24, "did you mean 'abandon'"), ("", "or pipe them in")):
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        said = ioe("init", "--recover", "--address", "127.0.0.1", code=1)
        assert why in said.err
        assert said.err.count("\n") == 1
    assert not (tmp_path / "owner" / "keystore").exists()
    monkeypatch.undo()


def test_a_device_seals_its_own(ioe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSPHRASE_VARIABLE)
    ioe(*DEVICE, "--name", "roof", *STEADY, home="roof")
    home = tmp_path / "roof"
    secrets = Keystore.open(home / "keystore", (home / "unlock").read_bytes()).secrets
    assert set(secrets) == {"enrolment"}
    assert {each.stat().st_mode & 0o777 for each in home.iterdir() if each.is_file()} == {0o600}


def test_a_maker_s_peers_are_the_device_s_bootstrap(ioe: Any, tmp_path: Path) -> None:
    """I-040: whom it meets first, on a network without multicast."""
    ids = [peer_id_of(Signer(bytes([each]) * 32).agent) for each in range(2)]
    peers = [f"/ip4/192.0.2.{place}/tcp/4001/p2p/{id_}" for place, id_ in enumerate(ids)]
    ioe(*DEVICE, "--name", "roof", *STEADY, "--peer", peers[0], "--peer", peers[1], home="roof")
    assert load_config(tmp_path / "roof" / "config.toml").network.bootstrap == tuple(peers)


@pytest.mark.parametrize("name", ['a "b" \\c', "Dach süd 🏠", "'''", "{kind}"])
def test_a_name_and_options_come_through_as_typed(ioe: Any, name: str) -> None:
    ioe(*DEVICE, "--name", name, *STEADY, home="roof")
    assert "good" in ioe("run", "--check-config", home="roof").out


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("-7", -7),
        ("true", True),
        ("007", "007"),
        ("roof", "roof"),
        ('["home:1"]', ["home:1"]),
        ('"quoted"', "quoted"),
        ('a"b', 'a"b'),
        ("1.5", "1.5"),
        ("1\nkind = 2", "1\nkind = 2"),
        ("²", "²"),
        ("\x7f\x00", "\x7f\x00"),
        ("", ""),
    ],
)
def test_an_option_is_a_number_a_list_or_text(text: str, value: object) -> None:
    import tomllib

    from ioe_node.cli.node import toml_options

    ((key, written),) = toml_options((f"key={text}",)).items()
    assert tomllib.loads(f"{key} = {written}") == {"key": value}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (DEVICE, "--name"),
        ((*DEVICE, "--name", "x" * 49), "$.device.name"),
        ((*DEVICE, "--name", "roof", "--recover"), "from its owner"),
        ((*DEVICE, "--name", "roof", "--option", "x"), "KEY=VALUE"),
        ((*DEVICE, "--name", "roof", "--option", "a b=1"), "KEY=VALUE"),
        (("init", "--address", "192.0.2.7"), "no address of this machine"),
        (("init", "--peer", "/ip4/192.0.2.7/tcp/4001"), "network.bootstrap"),
        (("init", "--peer", 'a"b'), "network.bootstrap"),
        ((*DEVICE, "--name", "roof"), "sources"),
        ((*DEVICE, "--name", "roof", "--driver", "steady_meter:Steady"), "power_milli_w"),
        ((*DEVICE, "--name", "roof", "--driver", "steady_meter:Stedy"), "Stedy"),
        ((*DEVICE, "--name", "roof", "--driver", "no.such:Driver"), "no.such"),
    ],
)
def test_what_cannot_be_made_leaves_nothing(
    ioe: Any, tmp_path: Path, words: tuple[str, ...], named: str
) -> None:
    said = ioe(*words, code=1)
    assert named in said.err
    assert said.err.count("\n") == 1
    assert not (tmp_path / "owner").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("init", *DEVICE[3:]),
        ("init", "--name", "roof"),
        ("init", "--option", "x=1"),
        ("init", "--driver", "x:Y"),
    ],
)
def test_what_is_a_devices_is_wrong_usage_for_an_owner(
    ioe: Any, tmp_path: Path, words: tuple[str, ...]
) -> None:
    assert "--role device" in ioe(*words, code=2).err
    assert not (tmp_path / "owner").exists()


def test_an_empty_passphrase_is_refused_and_nothing_is_left(
    ioe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "")
    said = ioe("init", "--address", "127.0.0.1", home="new/owner", code=1)
    assert "empty passphrase" in said.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words", [("--address", "127.0.0.1"), (*DEVICE[1:], "--name", "x", *STEADY)]
)
def test_an_init_that_fails_late_takes_back_what_it_made_and_no_more(
    ioe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    def fail(home: Home, path: Path, data: bytes) -> None:
        if path == home.config:
            path.with_name("config.toml.new").write_bytes(data[:9])
            raise DiskFull("no space")
        path.write_bytes(data)

    monkeypatch.setattr(Home, "write", fail)
    (tmp_path / "owner").mkdir()
    (tmp_path / "owner" / "mine").write_text("mine")
    said = ioe("init", *words, code=1)
    assert said.err == "ioe: no space\n"
    assert said.out == "", "no words are shown of keys that are gone"
    assert [path.name for path in (tmp_path / "owner").iterdir()] == ["mine"]


def test_the_words_are_the_last_thing_shown(ioe: Any) -> None:
    shown = ioe("init", "--address", "127.0.0.1").out
    assert shown.rstrip().endswith(words_of(shown))


@pytest.mark.parametrize("words", [("init", "--address", "127.0.0.1"), ("run",), ("status",)])
def test_a_home_of_an_impossible_name_is_one_line(ioe: Any, words: tuple[str, ...]) -> None:
    said = ioe(*words, home="x" * 300, code=None)
    assert said.code in (1, 4)
    assert said.err.startswith("ioe: ")
    assert said.err.count("\n") == 1


def test_a_typo_in_the_config_is_one_line(ioe: Any, tmp_path: Path) -> None:
    ioe("init", "--address", "127.0.0.1")
    path = tmp_path / "owner" / "config.toml"
    assert "good" in ioe("run", "--check-config").out
    path.write_text(path.read_text().replace("bootstrap", "bootstrp"))
    for words in (("run", "--check-config"), ("run",)):
        said = ioe(*words, code=1)
        assert "bootstrp" in said.err
        assert said.err.count("\n") == 1


def test_a_wrong_passphrase_is_one_line(ioe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ioe("init", "--address", "127.0.0.1")
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "of another test")
    said = ioe("run", code=1)
    assert "the passphrase does not open" in said.err
    assert said.err.count("\n") == 1


def test_state_that_cannot_be_read_is_one_line(ioe: Any, tmp_path: Path) -> None:
    ioe("init", "--address", "127.0.0.1")
    (tmp_path / "owner" / "cells.json").write_bytes(b'{"cells": ["AAAA"')
    for words in (("run",), ("chain", "verify")):
        said = ioe(*words, code=1)
        assert "cells.json" in said.err
        assert "restore it" in said.err
        assert [line for line in said.err.splitlines() if line.startswith("ioe: ")] == [
            said.err.splitlines()[-1]
        ]
        assert "Traceback" not in said.err


def test_where_nobody_types_the_variable_is_named(ioe: Any, tmp_path: Path) -> None:
    ioe("init", "--address", "127.0.0.1")
    environment = {key: value for key, value in os.environ.items() if key != PASSPHRASE_VARIABLE}
    command = [sys.executable, "-W", "ignore", "-m", "ioe_node.cli.main"]
    done = subprocess.run(
        [*command, "--home", str(tmp_path / "owner"), "run"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment,
        check=False,
        start_new_session=True,
    )
    assert done.returncode == 1
    assert b"set IOE_PASSPHRASE" in done.stderr.splitlines()[-1]


def test_one_process_through_its_life(ioe: Any, daemon: Any, tmp_path: Path) -> None:
    """Signals, a second one on its directory, kill -9 and what it leaves behind."""
    ioe("init", "--address", "127.0.0.1")
    home = tmp_path / "owner"
    # A goodbye by mDNS takes half a second more, and its registering one that is not cut short.
    config = home / "config.toml"
    config.write_text(config.read_text().replace('mdns = ["127.0.0.1"]', "mdns = []"))
    node = daemon("owner").wait_ready()
    agent = json.loads(ioe("status", "--json").out)["agent"]
    second = ioe("run", code=1)
    assert "already runs" in second.err
    assert json.loads(ioe("status", "--json").out)["agent"] == agent
    for number in (signal.SIGTERM, signal.SIGINT):
        code, took_s = node.signal(number)
        assert code == 0, node.said()
        assert took_s < STOP_MAX_S
        assert node.said().splitlines()[-1] == "stopped"
        assert "Traceback" not in node.said()
        assert not (home / "control.json").exists()
        assert "no node runs" in ioe("status", code=4).err
        node.restart()
    ioe("community", "create", "street")
    assert "that is you" in ioe("credit", "pay", agent, "1", code=1).err
    assert "not a member known here" in ioe("credit", "pay", STRANGER, "1", code=1).err
    node.wait_for(lambda: len(json.loads(ioe("chain", "show", "--json").out)) == 4)
    actions = json.loads(ioe("chain", "show", "--json").out)
    assert "0 of 0 receipts" in ioe("chain", "receipts", actions[0]["hash"]).out
    other = actions[0]["hash"][:-1] + "A"
    assert "no action of ours" in ioe("chain", "receipts", other, code=1).err
    assert "is no action's hash" in ioe("chain", "receipts", agent, code=1).err
    code, _ = node.signal(signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert (home / "control.json").exists(), "nobody was there to remove it"
    assert "no node runs" in ioe("status", code=4).err
    assert "1 chain verifies" in ioe("chain", "verify").out
    node.restart()
    assert json.loads(ioe("chain", "show", "--json").out) == actions
    assert json.loads(ioe("status", "--json").out)["faults"] == []
    assert "uhCAk" in ioe("status").out


def test_a_signal_while_starting_stops_it_too(ioe: Any, daemon: Any) -> None:
    ioe("init", "--address", "127.0.0.1")
    node = daemon("owner")
    node.wait_for((node.home / "lock").exists)
    code, took_s = node.signal(signal.SIGTERM)
    assert code == 0, node.said()
    assert took_s < STOP_MAX_S

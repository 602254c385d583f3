"""Holochain's own JavaScript client, unmodified, drives a real node: two versions of it."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ioe_node.api.conductor_bundle import pack_app
from ioe_node.cli import client as control
from tests.api.running_node import FOO, running_node

VERSIONS = ("0.20.8", "0.21.0")
TIMEOUT_S = 60


@pytest.fixture(scope="module", params=VERSIONS)
def report(
    request: pytest.FixtureRequest,
    js_script: Callable[[str, str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """What the client found."""
    script = js_script("js_conductor", "client.mjs")
    directory = tmp_path_factory.mktemp("js_conductor")
    bundle = directory / "foo.happ"
    bundle.write_bytes(pack_app("foo", [("foo", FOO)], 2, False))
    with running_node(directory / "owner") as node:
        url = f"ws://127.0.0.1:{node.admin_port}"
        done = subprocess.run(
            ["node", str(script), request.param, url, str(bundle)],
            timeout=TIMEOUT_S,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode() + node.log.read_text()
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["version"] == request.param
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_a_page_calls_what_its_owner_already_runs(
    version: str, js_script: Callable[[str, str], Path], tmp_path: Path
) -> None:
    script = js_script("js_conductor", "page.mjs")
    with running_node(tmp_path / "owner") as node:
        control.call(node.home, "community_create", name="street", amend={})
        given = json.dumps(control.call(node.home, "bundle_token", sign=True))
        done = subprocess.run(
            ["node", str(script), version, given],
            timeout=TIMEOUT_S,
            capture_output=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert found["app"] == "ioe"
    assert found["role_name"].startswith("street-")
    assert found["portfolio"] == []


def test_an_app_comes_and_goes(report: dict[str, Any]) -> None:
    assert report["installed"] == {"type": "disabled", "value": {"type": "never_started"}}
    assert report["enabled"] == report["reconnected"] == {"type": "enabled"}
    assert report["disabled"] == {"type": "disabled", "value": {"type": "user"}}
    assert report["agentIsOurs"]
    assert report["manifestRole"] == "foo"
    assert (report["cells"], report["dnas"], report["apps"]) == (1, 1, ["first"])
    assert report["doors"] == ["page,ioe"]
    assert report["goneInfo"]["name"] == "AppNotFound"
    assert report["left"] == 0


def test_calls_are_answered(report: dict[str, Any]) -> None:
    assert (report["foo"], report["byRole"], report["entry"]) == ("foo", "bar", "bar")
    assert report["namedParameters"] is None
    assert report["listed"] == report["inClone"] == "foo"


def test_signals_arrive_or_are_told_to_be_missing(report: dict[str, Any]) -> None:
    assert (report["signal"], report["signalZome"]) == ("i am a signal", "foo")
    assert report["burst"] == {"heard": 10_000, "missed": 0}
    assert report["inOrder"]


def test_clones_are_managed(report: dict[str, Any]) -> None:
    assert report["cloneId"] == "foo.0"
    assert report["enabledAgain"]
    assert "CellAlreadyExists" in report["sameClone"]["text"]
    assert "CloneCellLimitExceeded" in report["tooManyClones"]["text"]
    assert "disable" in report["deleteRunning"]["text"]
    assert "no such cell" in report["disabledClone"]["text"]
    assert "no such clone" in report["deletedClone"]["text"]


def test_the_inside_is_shown(report: dict[str, Any]) -> None:
    assert report["dump"] == {"first": "Dna", "summary": "string"}
    assert report["fullDump"]
    assert report["storage"] == ["first"]
    assert report["dnaZomes"] == ["foo"]
    assert report["backend"] == "libp2p"
    assert report["metrics"]
    assert report["infos"] == ["string"]
    assert report["session"] is None
    assert (report["grants"], report["secretBytes"]) == (["assigned"], 64)


@pytest.mark.parametrize(
    ("attempt", "name"),
    [
        ("wrongOrigin", "ConnectionError"),
        ("wrongAppOrigin", "ConnectionError"),
        ("twice", "internal_error"),
        ("noBundle", "dna_read_error"),
        ("unsigned", "NoSigningCredentialsForCell"),
        ("noFunction", "internal_error"),
        ("noZome", "internal_error"),
        ("refused", "ribosome_error"),
        ("wrongPayload", "ribosome_error"),
        ("badSignature", "deserialization"),
        ("revoked", "zome_call_unauthorized"),
        ("notListed", "zome_call_unauthorized"),
        ("noFunctions", "deserialization"),
        ("foreignInfo", "deserialization"),
        ("coordinators", "internal_error"),
        ("noSession", "countersigning_session_error"),
        ("whileDisabled", "internal_error"),
    ],
)
def test_errors_are_typed(report: dict[str, Any], attempt: str, name: str) -> None:
    assert report[attempt]["typed"]
    assert report[attempt]["name"] == name
    assert report[attempt]["text"]


@pytest.mark.parametrize("attempt", ["usedToken", "wrongToken"])
def test_a_token_that_opens_nothing_is_an_error(report: dict[str, Any], attempt: str) -> None:
    """The client waits 10 ms for the end of its connection; where it comes later, it says so."""
    names = ("InvalidTokenError", "ClientClosedWithPendingRequests", "WebsocketClosedError")
    assert report[attempt]["name"] in names
    assert report[attempt]["typed"]

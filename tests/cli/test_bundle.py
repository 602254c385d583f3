"""`ioe bundle`: bundles are written, tokens shown, and doors that are shut are said to be."""

import json
from pathlib import Path
from typing import Any

import pytest

from ioe_node.api.conductor_bundle import unpack_app
from ioe_node.cli import client
from tests.cli.conftest import Ioe


def open_doors(home: Path) -> None:
    config = home / "config.toml"
    config.write_text(config.read_text().replace("enabled = false", "enabled = true"))


def test_a_bundle_names_its_dnas(ioe: Ioe, tmp_path: Path) -> None:
    path = tmp_path / "street.happ"
    options = ("--name", "street", "--role", "street=dna.neighbourhood:DNA", "--clone-limit", "3")
    assert "Wrote" in ioe("bundle", "pack", str(path), *options).out
    app = unpack_app(path.read_bytes())
    assert (app.name, app.deferred_proofs) == ("street", False)
    assert [(role.name, role.dna, role.clone_limit) for role in app.roles] == [
        ("street", "dna.neighbourhood:DNA", 3)
    ]


@pytest.mark.parametrize("role", ["street", "=dna.neighbourhood:DNA", "a.b=c:D", "street="])
def test_a_role_that_cannot_be_is_refused(ioe: Ioe, tmp_path: Path, role: str) -> None:
    path = tmp_path / "street.happ"
    assert ioe("bundle", "pack", str(path), "--name", "x", "--role", role, code=1).err
    assert not path.exists()


def test_doors_are_shut_until_the_config_opens_them(ioe: Ioe, tmp_path: Path) -> None:
    ioe("init", "--address", "127.0.0.1")
    for words in (("bundle", "list"), ("bundle", "token")):
        assert "[api.conductor]" in ioe(*words, code=1).err
    open_doors(tmp_path / "owner")
    ioe("run", "--check-config")
    assert "no node runs" in ioe("bundle", "list", code=4).err


def test_a_token_is_asked_for_and_shown(
    ioe: Ioe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def call(_home: Path, name: str, /, **arguments: Any) -> dict[str, Any]:
        asked[name] = arguments
        return {"port": 40_123, "token": [1, 2]}

    ioe("init", "--address", "127.0.0.1")
    open_doors(tmp_path / "owner")
    monkeypatch.setattr(client, "call", call)
    said = ioe("bundle", "token", "street", "--expiry-s", "60", "--once", "--sign")
    assert json.loads(said.out) == {"port": 40_123, "token": [1, 2]}
    assert asked["bundle_token"] == {"app": "street", "expiry_s": 60, "once": True, "sign": True}

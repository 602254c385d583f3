"""`ioe doctor` finds what was broken, says what to do, and changes nothing."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ioe_node.cli import doctor as doctor_module


def examined(ioe: Any, code: int = 0) -> dict[str, dict[str, str]]:
    return {each["what"]: each for each in json.loads(ioe("doctor", "--json", code=code).out)}


def test_a_good_node_stopped_and_running(ioe: Any, daemon: Any, tmp_path: Path) -> None:
    ioe("init", "--address", "127.0.0.1")
    before = sorted(path.name for path in (tmp_path / "owner").iterdir())
    found = examined(ioe)
    assert found["node"]["do"] == "start it: ioe run"
    assert {found[what]["result"] for what in ("config", "directory", "disk", "keys")} == {"good"}
    (port,) = (what for what in found if what.startswith("port "))
    assert found[port]["found"] == "it is free"
    assert found["mDNS on 127.0.0.1"]["result"] == "good"
    assert before == sorted(path.name for path in (tmp_path / "owner").iterdir())
    daemon("owner").wait_ready()
    found = examined(ioe)
    assert found[port]["found"] == "it answers"
    assert found["communities"]["result"] == "look"
    ioe("community", "create", "street")
    (street,) = (each for what, each in examined(ioe).items() if what.startswith("community "))
    assert street["found"] == "nobody else is reached"
    assert "-> see that others run" in ioe("doctor").out


def open_to_all(home: Path) -> None:
    home.chmod(0o755)


def keys_open_to_all(home: Path) -> None:
    (home / "keystore").chmod(0o644)


def no_keys(home: Path) -> None:
    (home / "keystore").unlink()


def wrong_key(home: Path) -> None:
    (home / "unlock").write_bytes(b"another")


@pytest.mark.parametrize(
    ("breaks", "what", "do"),
    [
        (open_to_all, "directory", "chmod 700"),
        (keys_open_to_all, "keys", "chmod 600"),
        (no_keys, "keys", "ioe restore"),
        (wrong_key, "keys", "ioe restore"),
    ],
)
def test_what_is_broken_is_named_with_its_mend(
    ioe: Any, tmp_path: Path, breaks: Callable[[Path], None], what: str, do: str
) -> None:
    ioe("init", "--address", "127.0.0.1")
    breaks(tmp_path / "owner")
    found = examined(ioe, code=1)[what]
    assert found["result"] == "bad"
    assert do in found["do"]


def test_a_config_that_cannot_be_read_ends_it(ioe: Any, tmp_path: Path) -> None:
    ioe("init", "--address", "127.0.0.1")
    (tmp_path / "owner" / "config.toml").write_text("role = 3")
    assert set(examined(ioe, code=1)) == {"clock", "config"}


def test_a_port_that_another_has(ioe: Any, tmp_path: Path) -> None:
    ioe("init", "--address", "127.0.0.1")
    (port,) = (what for what in examined(ioe) if what.startswith("port "))
    with socket.socket() as other:
        other.bind(("127.0.0.1", int(port.split()[1])))
        other.listen()
        assert examined(ioe, code=1)[port]["found"] == "Address already in use"


def test_the_ports_of_the_page_and_of_the_doors(ioe: Any, daemon: Any, tmp_path: Path) -> None:
    ioe("init", "--address", "127.0.0.1")
    (page,) = (what for what in examined(ioe) if what.startswith("page at 127.0.0.1:"))
    with socket.socket() as other, socket.socket() as another:
        for each, port in ((other, int(page.rpartition(":")[2])), (another, 0)):
            each.bind(("127.0.0.1", port))
            each.listen()
        admin_port = another.getsockname()[1]
        config = tmp_path / "owner" / "config.toml"
        text = config.read_text().replace("enabled = false", "enabled = true")
        config.write_text(text.replace("admin_port = 0", f"admin_port = {admin_port}"))
        (tmp_path / "owner" / "apps.json").write_text("{")
        assert "apps.json" in examined(ioe, code=1)["apps"]["found"]
        (tmp_path / "owner" / "apps.json").unlink()
        door = f"admin door at 127.0.0.1:{admin_port}"
        found = examined(ioe, code=1)
        for what, key in ((page, "api.http"), (door, "api.conductor.admin_port")):
            assert (found[what]["result"], found[what]["found"]) == (
                "bad",
                "Address already in use",
            )
            assert key in found[what]["do"]
    daemon("owner").wait_ready()
    found = examined(ioe)
    assert (found[page]["found"], found[door]["found"]) == ("it answers", "it answers")


@pytest.mark.parametrize(
    ("said", "result"), [("yes", "good"), ("no", "look"), ("", "look"), (None, "look")]
)
def test_the_clock(monkeypatch: pytest.MonkeyPatch, said: str | None, result: str) -> None:
    class Shown:
        stdout = f"{said}\n"

    def run(*_: Any, **__: Any) -> Any:
        if said is None:
            raise FileNotFoundError
        return Shown

    monkeypatch.setattr(doctor_module.subprocess, "run", run)
    assert doctor_module._clock().result == result


def test_what_a_running_node_tells_of_itself() -> None:
    community = {"community": "s", "faults": [], "refused_by": [], "peers": [1], "unpublished": 0}
    status = {"driver": None, "faults": [], "communities": [community]}
    life = lambda **changed: list(doctor_module._life({**status, **changed}))  # noqa: E731
    assert [each.result for each in life()] == ["good"]
    assert life(driver={"state": "stopped", "why": "no meter"})[0].found == "stopped: no meter"
    assert life(driver={"state": "ok", "why": ""})[0].result == "good"
    assert life(faults=["disk"])[0].result == "bad"
    for changed, result in (
        ({"faults": ["broken"]}, "bad"),
        ({"refused_by": ["x"]}, "bad"),
        ({"unpublished": 3}, "look"),
    ):
        assert life(communities=[{**community, **changed}])[0].result == result

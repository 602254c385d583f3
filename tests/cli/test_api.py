"""`ioe page`, `ioe api token` and `ioe device switch`, against a running node."""

import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import httpx
import pytest

from ioe_node.cli import api, client


def test_the_page_and_tokens_of_a_running_node(
    ioe: Any, daemon: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ioe("init", "--address", "127.0.0.1")
    running = daemon("owner").wait_ready()
    opened: list[tuple[str, str]] = []

    def browser(address: str) -> None:
        file = Path(url2pathname(urlsplit(address).path))
        assert file.stat().st_mode & 0o777 == 0o600
        opened.append((address, file.read_text()))

    monkeypatch.setattr(api.webbrowser, "open", browser)
    monkeypatch.setattr(api, "READ_WITHIN_S", 0.0)
    url = ioe("page").out.strip()
    ((address, text),) = opened
    assert address.startswith("file:///")
    assert f'content="0; url={url}"' in text
    assert not list((tmp_path / "owner").glob("page-*"))
    base, _, token = url.partition("/#token=")
    assert base in ioe("status").out
    assert ioe("page", "--no-open").out.strip() != url
    assert len(opened) == 1

    grafana = ioe("api", "token", "create", "grafana", "--may", "read", "--expires", "30d")
    for each, status in ((token, 200), (grafana.out.strip(), 200), ("x", 401)):
        headers = {"Authorization": f"Bearer {each}"}
        assert httpx.get(f"{base}/api/v1/status", headers=headers).status_code == status
    listed = json.loads(ioe("api", "token", "list", "--json").out)
    (found,) = (each for each in listed if each["name"] == "grafana")
    assert found["may"] == ["read"]
    assert found["expires_us"] - found["made_us"] == 30 * 86_400_000_000
    assert "grafana" in ioe("api", "token", "list").out

    ioe("api", "token", "revoke", "grafana")
    headers = {"Authorization": f"Bearer {grafana.out.strip()}"}
    assert httpx.get(f"{base}/api/v1/status", headers=headers).status_code == 401
    ioe("api", "token", "revoke", "grafana", code=1)
    assert running.signal(15)[0] == 0


@pytest.mark.parametrize("span", ["", "0d", "1", "d", "1y", "-1d", "9999999d"])
def test_what_is_no_span_of_time_is_said(ioe: Any, span: str) -> None:
    said = ioe("api", "token", "create", "x", "--may", "read", "--expires", span, code=1)
    assert "12h" in said.err


def test_a_node_that_serves_nothing_says_so(ioe: Any, daemon: Any, tmp_path: Path) -> None:
    ioe("init", "--address", "127.0.0.1")
    config = tmp_path / "owner" / "config.toml"
    lines = config.read_text().splitlines()
    config.write_text("\n".join('http = ""' if x.startswith("http = ") else x for x in lines))
    daemon("owner").wait_ready()
    said = ioe("page", "--no-open", code=1)
    assert "[api]" in said.err


def test_a_port_that_is_taken_is_named(ioe: Any, daemon: Any, tmp_path: Path) -> None:
    ioe("init", "--address", "127.0.0.1")
    ioe("init", "--address", "127.0.0.1", home="second")
    daemon("owner").wait_ready()
    url = json.loads(ioe("status", "--json").out)["serves"]["http"]
    config = tmp_path / "second" / "config.toml"
    lines = config.read_text().splitlines()
    port = f'http = "{url.removeprefix("http://")}"'
    config.write_text("\n".join(port if x.startswith("http = ") else x for x in lines))
    second = daemon("second")
    deadline = time.monotonic() + 20
    while second.process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert second.process.returncode == 1
    assert "api.http" in second.said()


def test_a_switch_is_asked_for_by_name(ioe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def call(home: Path, name: str, /, **arguments: Any) -> Any:
        if name == "device_list":
            return {"near": [], "owned": [{"name": "kettle", "device": b"k"}]}
        asked.append(arguments)
        return arguments

    monkeypatch.setattr(client, "call", call)
    assert ioe("device", "switch", "kettle", "off").out == "kettle is off\n"
    ioe("device", "switch", "self", "on")
    assert asked == [{"device": b"k", "on": False}, {"device": None, "on": True}]
    ioe("device", "switch", "kettle", "dim", code=2)

"""The doors of a real node: who gets in, what they may do, and what stays over a restart."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from bench.conductor_client import Caller, Client, Closed, Refused, called, encode
from ioe_node.api.conductor_bundle import pack_app
from tests.api.running_node import FOO, RunningNode, running_node


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    with running_node(tmp_path_factory.mktemp("doors") / "owner") as found:
        yield found


@pytest.fixture
def admin(node: RunningNode) -> Iterator[Client]:
    client = Client(node.admin_port)
    yield client
    client.close()


class App:
    """An installed app and a client of it."""

    def __init__(self, admin: Client, name: str, **more: Any) -> None:
        self.admin, self.name = admin, name
        source = {"type": "bytes", "value": pack_app("foo", [("foo", FOO)], 2, False)}
        request = {"source": source, "installed_app_id": name, "network_seed": name, **more}
        info = admin.ask("install_app", request)
        self.cell = info["cell_info"]["foo"][0]["value"]["cell_id"]
        admin.ask("enable_app", {"installed_app_id": name})
        self.port = admin.ask("attach_app_interface", {"allowed_origins": "ioe"})["port"]
        self.client = self.connect()
        self.caller = Caller(self.cell)
        self.grant = admin.ask("grant_zome_call_capability", self.caller.grant())

    def token(self, **more: Any) -> list[int]:
        request = {"installed_app_id": self.name, **more}
        issued: dict[str, list[int]] = self.admin.ask("issue_app_authentication_token", request)
        return issued["token"]

    def connect(self, **more: Any) -> Client:
        client = Client(self.port)
        client.authenticate(self.token(**more))
        return client

    def call(self, function: str, payload: Any = None, **more: Any) -> Any:
        signed = self.caller.signed("foo", function, payload, **more)
        return called(self.client.ask("call_zome", signed))


@pytest.fixture
def app(admin: Client, request: pytest.FixtureRequest) -> Iterator[App]:
    found = App(admin, request.node.name[:60])
    yield found
    found.client.close()
    admin.ask("uninstall_app", {"installed_app_id": found.name})


def refused(client: Client, tag: str, value: Any = None) -> tuple[str, str]:
    with pytest.raises(Refused) as error:
        client.ask(tag, value)
    return error.value.name, error.value.text


# -- getting in -------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", ["https://evil.example", None, "*"])
def test_another_origin_gets_no_websocket(node: RunningNode, origin: str | None) -> None:
    with pytest.raises(Closed, match="403"):
        Client(node.admin_port, origin)


def test_a_secret_keeps_the_admin_door(tmp_path: Path) -> None:
    with running_node(tmp_path / "owner", 'admin_secret = "sesame"\n') as node:
        with pytest.raises(Closed, match="403"):
            Client(node.admin_port)
        with pytest.raises(Closed, match="403"):
            Client(node.admin_port, path="/sesam")
        assert Client(node.admin_port, path="/sesame").ask("list_apps", {}) == []


def test_a_wrong_or_used_token_closes_at_once(app: App) -> None:
    token = app.token()
    first = Client(app.port)
    first.authenticate(token)
    assert first.ask("app_info")["installed_app_id"] == app.name
    for bad in (token, [0], [], [1] * 32):
        began = time.monotonic()
        client = Client(app.port)
        client.authenticate(bad)
        with pytest.raises(Closed, match="1008"):
            client.receive()
        assert time.monotonic() - began < 1


def test_a_revoked_token_opens_nothing(app: App, admin: Client) -> None:
    token = app.token(single_use=False, expiry_seconds=0)
    admin.ask("revoke_app_authentication_token", token)
    client = Client(app.port)
    client.authenticate(token)
    with pytest.raises(Closed):
        client.receive()


def test_a_request_before_the_token_closes(app: App) -> None:
    client = Client(app.port)
    client.start("app_info")
    with pytest.raises(Closed):
        client.receive()


def test_a_door_for_one_app_takes_no_other_token(app: App, admin: Client) -> None:
    other = App(admin, "other")
    port = admin.ask(
        "attach_app_interface", {"allowed_origins": "ioe", "installed_app_id": "other"}
    )["port"]
    client = Client(port)
    client.authenticate(app.token())
    with pytest.raises(Closed):
        client.receive()
    client = Client(port)
    client.authenticate(other.token())
    assert client.ask("app_info")["installed_app_id"] == "other"
    admin.ask("uninstall_app", {"installed_app_id": "other"})


@pytest.mark.parametrize("noise", [b"", b"\xc0", b"\x80", b"\x93abc", Random(1).randbytes(64)])
def test_noise_closes_one_connection_and_no_more(app: App, admin: Client, noise: bytes) -> None:
    client = app.connect()
    client.send(noise)
    with pytest.raises(Closed):
        client.ask("app_info")
    assert admin.ask("list_apps", {})


@pytest.mark.parametrize(
    "noise",
    [
        b"\r\n" * 9_000,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET //[ HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
        b"Origin: ioe\r\n\r\n",
        b"\x16\x03\x01" + bytes(200),
        b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000,
    ],
)
def test_noise_in_place_of_a_handshake_harms_nobody(
    node: RunningNode, admin: Client, noise: bytes
) -> None:
    address = ("127.0.0.1", node.admin_port)
    with socket.create_connection(address, timeout=5) as stranger, suppress(OSError):
        stranger.sendall(noise)
        stranger.shutdown(socket.SHUT_WR)
        while stranger.recv(65_536):
            pass
    assert admin.ask("list_apps", {}) == []


def test_a_client_that_vanishes_is_missed_by_nobody(app: App, admin: Client) -> None:
    """What it has asked for is done; its connection's end reaches nobody else."""
    for _ in range(3):
        gone = app.connect()
        gone.start("call_zome", app.caller.signed("foo", "create_an_entry"))
        gone.start("call_zome", app.caller.signed("foo", "burst", 2_000))
        gone.close()
    time.sleep(0.3)
    assert app.call("foo") == "foo"
    dump = json.loads(admin.ask("dump_state", {"cell_id": app.cell}))[0]
    types = [each["action"]["type"] for each in dump["source_chain_dump"]["records"]]
    assert types.count("Create") == 1 + 1 + 3  # the agent's key, the grant, the entries


def test_a_client_that_closes_is_let_go_at_once(app: App) -> None:
    """Though a call of its own is still under way."""
    client = app.connect()
    client.start("call_zome", app.caller.signed("foo", "waste_some_time"))
    client.ask("app_info")
    began = time.monotonic()
    client.say_goodbye()
    with pytest.raises(Closed, match="code"):
        client.receive()
    with pytest.raises(Closed, match="the node has closed"):
        client.receive()
    assert time.monotonic() - began < 1


def test_a_request_that_cannot_be_read_is_answered(app: App, admin: Client) -> None:
    assert refused(admin, "install_app", {"source": 1})[0] == "deserialization"
    assert refused(admin, "no_such_thing")[0] == "internal_error"
    assert refused(app.client, "install_app", {})[0] == "internal_error"
    client = app.connect()
    client.send(encode({"type": "request", "id": 5, "data": b"\xc1"}))
    with pytest.raises(Refused, match="deserialization"):
        client.answer()


# -- signed calls -----------------------------------------------------------------------------


def test_a_call_twice_a_stale_one_and_a_forged_one_are_refused(app: App) -> None:
    assert app.call("foo") == "foo"
    signed = app.caller.signed("foo", "foo")
    assert called(app.client.ask("call_zome", signed)) == "foo"
    again = refused(app.connect(), "call_zome", signed)
    assert again[0] == "zome_call_authentication_failed"
    assert "made before" in again[1]
    stale = app.caller.signed("foo", "foo", expires_at=time.time_ns() // 1_000 - 1)
    assert "expired" in refused(app.client, "call_zome", stale)[1]
    late = app.caller.signed("foo", "foo", expires_at=2**60)
    assert "5 minutes" in refused(app.client, "call_zome", late)[1]
    forged = {**app.caller.signed("foo", "foo"), "signature": bytes(64)}
    assert refused(app.client, "call_zome", forged)[0] == "zome_call_authentication_failed"


def test_a_grant_is_for_its_key_its_secret_and_its_functions(app: App, admin: Client) -> None:
    other = Caller(app.cell)
    assert refused(app.client, "call_zome", other.signed("foo", "foo"))[0] == (
        "zome_call_unauthorized"
    )
    borrowed = other.signed("foo", "foo", cap_secret=app.caller.secret)
    assert refused(app.client, "call_zome", borrowed)[0] == "zome_call_unauthorized"
    without = app.caller.signed("foo", "foo", cap_secret=None)
    assert refused(app.client, "call_zome", without)[0] == "zome_call_unauthorized"
    some = {"type": "listed", "value": [["foo", "foo"]]}
    admin.ask("grant_zome_call_capability", other.grant(some))
    assert called(app.client.ask("call_zome", other.signed("foo", "foo"))) == "foo"
    assert refused(app.client, "call_zome", other.signed("foo", "bar"))[0] == (
        "zome_call_unauthorized"
    )


def test_a_grant_of_nothing_is_not_taken_for_one_of_everything(app: App, admin: Client) -> None:
    grant = app.caller.grant({"type": "listed", "value": []})
    assert refused(admin, "grant_zome_call_capability", grant)[0] == "deserialization"
    grant = app.caller.grant()
    grant["cap_grant"]["access"]["value"]["assignees"] = []
    assert refused(admin, "grant_zome_call_capability", grant)[0] == "deserialization"


def test_a_revoked_grant_is_over_at_once(app: App, admin: Client) -> None:
    assert app.call("foo") == "foo"
    revoke = {"cell_id": app.cell, "action_hash": app.grant}
    admin.ask("revoke_zome_call_capability", revoke)
    assert refused(app.client, "call_zome", app.caller.signed("foo", "foo"))[0] == (
        "zome_call_unauthorized"
    )
    listing = {"installed_app_id": app.name, "include_revoked": True}
    [[cell, [grant]]] = admin.ask("list_capability_grants", listing)
    assert (cell, grant["action_hash"]) == (app.cell, app.grant)
    assert grant["revoked_at"] >= grant["created_at"]
    assert admin.ask("list_capability_grants", {**listing, "include_revoked": False}) == []


def test_no_client_calls_another_apps_cell(app: App, admin: Client) -> None:
    other = App(admin, "other")
    signed = other.caller.signed("foo", "foo")
    assert refused(app.client, "call_zome", signed) == ("internal_error", "no such cell runs here")
    admin.ask("uninstall_app", {"installed_app_id": "other"})


def test_calls_at_once_are_answered_by_their_ids(app: App) -> None:
    slow = app.client.start("call_zome", app.caller.signed("foo", "waste_some_time"))
    quick = app.client.start("call_zome", app.caller.signed("foo", "foo"))
    assert app.client.answer()[0] == quick
    assert app.client.answer()[0] == slow


def test_a_payload_is_named_or_one_parameter_or_nothing(app: App) -> None:
    assert app.call("burst", {"count": 1}) == 1
    assert app.call("burst", 1) == 1
    assert app.call("foo", {}) == "foo"
    for payload in ("x", {"none": 1}, None, 1.5, [1]):
        signed = app.caller.signed("foo", "burst", payload)
        assert refused(app.client, "call_zome", signed)[0] == "ribosome_error"
    broken = app.caller.signed("foo", "foo")
    assert refused(app.client, "call_zome", {**broken, "bytes": b"\x80"})[0] == "deserialization"


# -- signals ----------------------------------------------------------------------------------


def test_signals_are_numbered_and_come_before_their_answer(app: App) -> None:
    app.call("burst", 3)
    values = [each["value"] for each in app.client.signals]
    assert [each["seq"] for each in values] == [0, 1, 2]
    assert [each["cell_id"] for each in values] == [app.cell] * 3


def test_a_client_that_does_not_read_is_told_what_it_missed(app: App) -> None:
    """40,000 signals while nothing is read: more than the socket and the queue hold."""
    deaf = app.connect()
    assert deaf.ask("app_info")["installed_app_id"] == app.name
    for _ in range(8):
        app.call("burst", 5_000)
        app.client.signals.clear()
    heard, missed, last = 0, 0, -1
    while heard + missed < 40_000:
        signal = deaf.next_signal()
        if signal["type"] == "app":
            assert signal["value"]["seq"] == last + 1
            last = signal["value"]["seq"]
            heard += 1
        else:
            notice = signal["value"]["SignalsMissed"]
            missed += notice["missed"]
            last = notice["next_seq"] - 1
    assert heard + missed == 40_000
    assert missed > 0
    assert last == 39_999


# -- apps -------------------------------------------------------------------------------------


def test_an_app_awaits_its_proofs(admin: Client) -> None:
    source = {"type": "bytes", "value": pack_app("later", [("foo", FOO)], 0, True)}
    info = admin.ask("install_app", {"source": source, "network_seed": "later"})
    assert info["status"] == {"type": "awaiting_memproofs"}
    port = admin.ask("attach_app_interface", {"allowed_origins": "ioe"})["port"]
    issued = admin.ask("issue_app_authentication_token", {"installed_app_id": "later"})
    client = Client(port)
    client.authenticate(issued["token"])
    assert refused(client, "enable_app")[1] == "Other: app not in correct state to enable"
    client.ask("provide_memproofs", {"foo": b"proof"})
    assert client.ask("app_info")["status"] == {
        "type": "disabled",
        "value": {"type": "not_started_after_providing_memproofs"},
    }
    client.ask("enable_app")
    assert client.ask("app_info")["status"] == {"type": "enabled"}
    admin.ask("uninstall_app", {"installed_app_id": "later"})
    assert client.ask("app_info") is None


def test_what_is_not_known_is_not_installed(admin: Client) -> None:
    def install(data: bytes, **more: Any) -> tuple[str, str]:
        source = {"type": "bytes", "value": data}
        return refused(admin, "install_app", {"source": source, **more})

    unknown = pack_app("x", [("r", "os:path")], 0, False)
    assert "not in the config" in install(unknown)[1]
    good = pack_app("x", [("foo", FOO)], 0, False)
    assert "no such agent" in install(good, agent_key=bytes(39))[1]
    assert (
        "no role" in install(good, roles_settings={"bar": {"type": "provisioned", "value": {}}})[1]
    )
    more = {"type": "provisioned", "value": {"modifiers": {"properties": {"none": 1}}}}
    assert "no property 'none'" in install(good, roles_settings={"foo": more})[1]
    unread = {"type": "provisioned", "value": {"init_properties": b"x"}}
    assert "init_properties" in install(good, roles_settings={"foo": unread})[1]
    shared = {"type": "use_existing", "value": {"cell_id": [bytes(39)] * 2}}
    assert "not shared" in install(good, roles_settings={"foo": shared})[1]
    path = {"source": {"type": "path", "value": "/no/such.happ"}}
    assert refused(admin, "install_app", path)[0] == "dna_read_error"
    assert admin.ask("list_apps", {}) == []


def test_apps_doors_and_clones_outlive_a_restart(tmp_path: Path) -> None:
    with running_node(tmp_path / "owner") as node:
        app = App(Client(node.admin_port), "lasting")
        made = app.call("create_an_entry")
        asked = {"role_name": "foo", "modifiers": {"network_seed": "clone"}}
        clone = app.client.ask("create_clone_cell", asked)
        node.stop()
        node.start()
        admin = Client(node.admin_port)
        assert [each["port"] for each in admin.ask("list_app_interfaces")] == [app.port]
        [info] = admin.ask("list_apps", {"status_filter": "enabled"})
        assert info["cell_info"]["foo"][1]["value"]["clone_id"] == clone["clone_id"]
        app.admin = admin
        app.client = app.connect()
        assert app.call("get_an_entry", made)["text"] == "bar"
        old = Client(app.port)
        old.authenticate([0] * 32)
        with pytest.raises(Closed):
            old.receive()
        assert node.home.joinpath("apps.json").exists()
        admin.ask("uninstall_app", {"installed_app_id": "lasting"})
        assert list((node.home / "cells").iterdir()) == []


def test_the_communities_of_the_node_are_the_app_ioe(tmp_path: Path) -> None:
    from ioe_node.cli import client as control

    with running_node(tmp_path / "owner") as node:
        admin = Client(node.admin_port)
        assert admin.ask("list_apps", {}) == []
        made = control.call(node.home, "community_create", name="a.street", amend={})
        issued = control.call(node.home, "bundle_token", app="ioe")
        client = Client(issued["port"])
        client.authenticate(issued["token"])
        info = client.ask("app_info")
        [[role, [cell]]] = info["cell_info"].items()
        assert role == made["community"].replace(".", "_")
        caller = Caller(cell["value"]["cell_id"])
        admin.ask("grant_zome_call_capability", caller.grant())
        signed = caller.signed("identity", "portfolio")
        assert called(client.ask("call_zome", signed)) is not None
        for tag in ("disable_app", "uninstall_app", "enable_app"):
            assert "node itself" in refused(admin, tag, {"installed_app_id": "ioe"})[1]


def test_two_nodes_meet_by_the_infos_that_are_carried_between_them(tmp_path: Path) -> None:
    with running_node(tmp_path / "one") as one, running_node(tmp_path / "two") as two:
        apps = [App(Client(node.admin_port), "both") for node in (one, two)]
        infos = [app.admin.ask("agent_info", {"dna_hashes": None}) for app in apps]
        assert [len(each) for each in infos] == [1, 1]
        assert apps[0].client.ask("agent_info", {"dna_hashes": [app_dna(apps[0])]}) == infos[0]
        assert refused(apps[0].client, "agent_info", {"dna_hashes": [bytes(39)]})
        apps[1].admin.ask("add_agent_info", {"agent_infos": infos[0]})
        made = apps[0].call("create_an_entry")
        wait(lambda: apps[1].call("get_an_entry", made) is not None)
        assert len(apps[1].admin.ask("agent_info", {"dna_hashes": None})) == 2
        url = json.loads(json.loads(infos[0][0])["agentInfo"])["url"]
        wait(lambda: apps[1].admin.ask("peer_meta_info", {"url": url}))
        [meta] = apps[1].client.ask("peer_meta_info", {"url": url}).values()
        assert int(meta["gossip:completed_rounds"]["meta_value"]) >= 1
        assert meta["gossip:last_timestamp"]["expires_at"] > 0
        asked = {"dna_hash": app_dna(apps[1]), "include_dht_summary": True}
        [metrics] = apps[1].client.ask("dump_network_metrics", asked).values()
        assert metrics["gossip_state_summary"]["peer_meta"][url]["completed_rounds"] >= 1
        stats = apps[1].client.ask("dump_network_stats")
        assert stats["transport_stats"]["peer_urls"] == stats["peer_urls"] != []


def app_dna(app: App) -> bytes:
    dna: bytes = app.cell[0]
    return dna


def wait(ready: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.1)

"""Cells of apps over the lives of a conductor; in one process, on virtual time."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio

from ioe_node.api import conductor_clones as clones
from ioe_node.api import conductor_hosting
from ioe_node.api.conductor_apps import Apps
from ioe_node.api.conductor_bundle import Modifiers, pack_app, unpack_app
from ioe_node.api.conductor_info import app_info
from ioe_node.clock import SystemClock
from ioe_node.conductor import keytree
from ioe_node.conductor.conductor import REBIRTH_AFTER_S, Conductor
from ioe_node.conductor.home import Home
from ioe_node.conductor.keystore import MINIMAL, Keystore
from ioe_node.config import parse_config
from ioe_node.errors import CallError
from ioe_node.hdi import AgentPubKey
from ioe_node.model.signing import Signer
from ioe_node.net.transport import Transport
from ioe_node.store.store import Store
from sim.network import Network

DNA = "sim.load_dna:DNA"
CONFIG = f'role = "owner"\nsynchronous = "NORMAL"\ndnas = ["{DNA}"]\n'


@pytest.fixture
async def apps(tmp_path: Path, nursery: trio.Nursery) -> Apps:
    """The apps of a running conductor, on a network in memory."""
    home = Home(tmp_path / "owner")
    home.create()
    own = keytree.owner_secrets(b"r" * 32)
    keystore = Keystore.create(home.keystore, b"", own, cost=MINIMAL)
    clock = SystemClock()
    network = Network(Random(1), clock)

    @asynccontextmanager
    async def open_transport(seed: bytes, listen: Any) -> AsyncIterator[Transport]:
        agent = Signer(seed).agent
        async with trio.open_nursery() as wires:
            try:
                yield network.join(agent, wires)
            finally:
                network.leave(agent)
                wires.cancel_scope.cancel()

    config = parse_config(CONFIG, "config.toml")
    conductor = Conductor(home, config, keystore, clock, Random(1), open_transport)
    found = Apps(conductor)
    conductor.beside.append(found.live)
    await nursery.start(conductor.run)
    return found


async def install(apps: Apps, name: str, agent: AgentPubKey | None = None) -> bytes:
    """Install and enable an app; its network."""
    agent = agent or await apps.hosting.make_agent(secrets.token_bytes)
    planned = unpack_app(pack_app(name, [("load", DNA)], 1, False))
    stewards = Modifiers(properties={"stewards": [agent]})
    app = await apps.install(planned, name, agent, "seed", {"load": (None, stewards)})
    await apps.enable(name)
    return app.roles[0].cell.dna_hash


async def until(ready: Any) -> None:
    with trio.fail_after(10):
        while not ready():  # noqa: ASYNC110  # what is awaited rings no bell
            await trio.sleep(0.01)


async def test_apps_live_on_after_a_rebirth(apps: Apps) -> None:
    owner = apps.conductor.signer().agent
    keys = [(await install(apps, name, agent), agent) for name, agent in (("ours", owner),)]
    await install(apps, "theirs")
    before = set(map(id, apps.hosting.cells.values()))
    assert len(before) == 2
    apps.conductor.rebirth()
    await trio.sleep(2 * REBIRTH_AFTER_S)
    await until(lambda: len(apps.hosting.cells) == 2)
    assert before.isdisjoint(map(id, apps.hosting.cells.values()))
    for cell in apps.hosting.cells.values():
        assert await cell.call("load", "echo", {"value": 7}) == 7
    assert apps.cell(keys[0], "ours").space.agent == owner


async def test_what_an_app_says_is_heard_by_its_own_clients_only(apps: Apps) -> None:
    """The node's own signals are what its page, its API and `ioe signals` tell."""
    owner = apps.conductor.signer().agent
    await install(apps, "theirs", owner)
    (cell,) = apps.hosting.cells.values()
    of_node: list[Any] = []
    of_app: list[Any] = []
    with (
        apps.conductor.signals.tapped(of_node.append),
        apps.signals("theirs").tapped(of_app.append),
    ):
        cell.space.signal({"kind": "app", "dna": cell.space.dna, "zome": "load", "value": 1})
    assert [each["kind"] for each in of_app] == ["app"]
    assert of_node == []


async def test_two_agents_of_a_node_know_each_other(apps: Apps) -> None:
    first, second = [await apps.hosting.make_agent(secrets.token_bytes) for _ in range(2)]
    planned = unpack_app(pack_app("app", [("load", DNA)], 1, False))
    both = Modifiers(properties={"stewards": [first, second]})
    for name, agent in (("first", first), ("second", second)):
        await apps.install(planned, name, agent, "seed", {"load": (None, both)})
        await apps.enable(name)
    spaces = [cell.space for cell in apps.hosting.cells.values()]
    await until(lambda: all(space.others() for space in spaces))
    assert spaces[0].others() == [spaces[1].agent]


async def test_an_agent_has_one_cell_in_a_network(apps: Apps) -> None:
    agent = await apps.hosting.make_agent(secrets.token_bytes)
    await install(apps, "first", agent)
    with pytest.raises(CallError, match="CellAlreadyExists"):
        await install(apps, "second", agent)


async def test_an_agent_begins_no_second_chain_where_it_has_left(apps: Apps) -> None:
    """Whoever holds the first would take the second for a fork."""
    agent = await apps.hosting.make_agent(secrets.token_bytes)
    await install(apps, "first", agent)
    seed = Modifiers(network_seed="clone")
    _, _, clone = await clones.create(apps, "first", "load", seed, None, "clone")
    await clones.disable(apps, "first", clone.cell.dna_hash)
    await clones.delete(apps, "first", clone.cell.dna_hash)
    with pytest.raises(CallError, match="has left that network"):
        await clones.create(apps, "first", "load", seed, None, "clone")
    await apps.uninstall("first")
    with pytest.raises(CallError, match="has left that network"):
        await install(apps, "first", agent)
    again = Apps(apps.conductor)
    assert len(again._left) == 2
    await install(apps, "first")


async def test_an_app_that_never_ran_has_left_nothing(apps: Apps) -> None:
    agent = await apps.hosting.make_agent(secrets.token_bytes)
    planned = unpack_app(pack_app("idle", [("load", DNA)], 1, False))
    stewards = Modifiers(properties={"stewards": [agent]})
    for _ in range(2):
        await apps.install(planned, "idle", agent, "seed", {"load": (None, stewards)})
        await apps.uninstall("idle")


async def test_what_keeps_a_cell_from_running_is_its_apps_status(
    apps: Apps, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: Any) -> None:
        raise CallError("no disk")

    await install(apps, "first")
    await apps.disable("first")
    monkeypatch.setattr("ioe_node.conductor.running.Store", broken)
    await apps.enable("first")
    info = app_info(apps, "first")
    assert info is not None
    assert info["status"] == {
        "type": "disabled",
        "value": {"type": "error", "value": "load: no disk"},
    }
    assert apps.cells_of("first") == []
    await apps.disable("first")
    monkeypatch.undo()
    await apps.enable("first")
    assert len(apps.cells_of("first")) == 1


async def test_a_network_has_begun_whenever_its_cell_was_first_opened(
    apps: Apps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later loss of the file is then a loss, and no reason to begin anew."""

    def broken(*_args: Any) -> None:
        raise CallError("no disk")

    monkeypatch.setattr(conductor_hosting, "CELL_RETRY_S", 0.01)
    monkeypatch.setattr("ioe_node.conductor.running.Store", broken)
    dna = await install(apps, "first")
    assert apps.get("first").begun == ()
    monkeypatch.setattr("ioe_node.conductor.running.Store", Store)
    await until(lambda: apps.cells_of("first"))
    assert apps.get("first").begun == (dna,)


async def test_an_agents_transport_closes_with_its_last_cell(apps: Apps) -> None:
    await install(apps, "first")
    assert len(apps.hosting._transports) == 1
    await apps.disable("first")
    assert apps.hosting._transports == {}
    await apps.uninstall("first")
    assert list((apps.conductor.home.path / "cells").iterdir()) == []

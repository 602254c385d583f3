"""Nodes with an API on a real port; the network between the nodes is in memory."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
import trio

from ioe_node.api.http_server import serve_http
from ioe_node.api.http_tokens import Scope, Tokens
from ioe_node.clock import SystemClock
from ioe_node.conductor import calls, keytree
from ioe_node.conductor.conductor import Conductor
from ioe_node.conductor.home import Home
from ioe_node.conductor.keystore import MINIMAL, Keystore
from ioe_node.config import parse_config
from ioe_node.model.hashes import to_text
from ioe_node.model.signing import Signer
from ioe_node.net.peer_id import join_address
from ioe_node.net.transport import Transport
from sim.network import Network

PASSPHRASE = b"of the test"
DRIVERS = Path(__file__).parent / "drivers"
INTERVAL_US = 1_000_000
API = '[api]\nhttp = "127.0.0.1:0"\n{api}\n'
DEVICE = """
[device]
kind = "{kind}"
name = "{name}"
driver = "tame_machine:Tame"
code = "1234-5678"
poll_ms = 50
[device.options]
power_milli_w = {power}
"""
EVERYTHING: tuple[Scope, ...] = ("read", "control", "pay", "admin")


class Served:
    """One running node; `http` is a client with a token for everything."""

    def __init__(self, conductor: Conductor, url: str) -> None:
        self.conductor = conductor
        self.url = url
        self.token = self.make_token("all", EVERYTHING)
        self.http = self.client(self.token)

    def make_token(self, name: str, may: tuple[Scope, ...], for_us: int | None = None) -> str:
        return Tokens(self.conductor).create(name, may, for_us, Random(name).randbytes(32))

    def client(self, token: str = "") -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=20)

    @property
    def agent(self) -> str:
        return to_text(self.conductor.signer().agent)

    async def call(self, what: str, /, **arguments: Any) -> Any:
        return await calls.CALLS[what](self.conductor, **arguments)

    async def get(self, path: str, status: int = 200, **query: Any) -> Any:
        found = await self.http.get(path, params=query)
        assert found.status_code == status, found.text
        return found.json()

    async def post(self, path: str, status: int = 200, **body: Any) -> Any:
        found = await self.http.post(path, json=body)
        assert found.status_code == status, found.text
        return found.json()

    async def until(self, path: str, ready: Callable[[Any], bool], **query: Any) -> Any:
        with trio.fail_after(20):
            while True:
                found = await self.get(path, **query)
                if ready(found):
                    return found
                await trio.sleep(0.05)


class Lane:
    """Nodes that know the first of them."""

    def __init__(self, folder: Path, nursery: trio.Nursery) -> None:
        self._folder = folder
        self._nursery = nursery
        self._network = Network(Random(7), SystemClock())
        self._bootstrap: list[str] = []
        self.served: list[Served] = []

    @asynccontextmanager
    async def _open(self, seed: bytes, listen: Sequence[str]) -> AsyncIterator[Transport]:
        agent = Signer(seed).agent
        async with trio.open_nursery() as nursery:
            try:
                yield self._network.join(agent, nursery)
            finally:
                self._network.leave(agent)
                nursery.cancel_scope.cancel()

    async def _serve(self, name: str, secrets: dict[str, bytes], config: str, api: str) -> Served:
        home = Home(self._folder / name)
        home.create()
        Keystore.create(home.keystore, PASSPHRASE, secrets, cost=MINIMAL)
        bootstrap = f"[network]\nbootstrap = {self._bootstrap}\n".replace("'", '"')
        text = config.format(shared=bootstrap + API.format(api=api))
        conductor = Conductor(
            home,
            parse_config(text, "config.toml"),
            Keystore.open(home.keystore, PASSPHRASE),
            SystemClock(),
            Random(7),
            self._open,
        )
        await self._nursery.start(conductor.run)
        url: str = await self._nursery.start(serve_http, conductor)
        made = Served(conductor, url)
        self.served.append(made)
        return made

    async def owner(self, name: str = "owner", api: str = "requests_per_s = 100000") -> Served:
        root = name.encode().ljust(32, b".")
        made = await self._serve(name, keytree.owner_secrets(root), 'role = "owner"\n{shared}', api)
        agent = Signer(keytree.owner_agent_seed(root)).agent
        self._bootstrap.append(join_address(agent, "/ip4/127.0.0.1/tcp/1"))
        return made

    async def device(self, name: str, kind: str, power: int, more: str = "") -> Served:
        table = DEVICE.format(kind=kind, name=name, power=power) + more
        secrets = {"enrolment": name.encode().ljust(32, b".")}
        return await self._serve(name, secrets, 'role = "device"\n{shared}' + table, "")


@pytest.fixture
async def lane(
    tmp_path: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Lane]:
    monkeypatch.syspath_prepend(DRIVERS)
    made = Lane(tmp_path, nursery)
    yield made
    for each in made.served:
        await each.http.aclose()


@pytest.fixture
async def owner(lane: Lane) -> Served:
    """An owner with a community of one-second intervals."""
    made = await lane.owner()
    await made.call("community_create", name="street", amend={"interval_us": INTERVAL_US})
    return made


@pytest.fixture
def claimed(lane: Lane, owner: Served) -> Callable[..., Awaitable[Served]]:
    """Devices that are the owner's."""

    async def make(
        name: str = "kettle", kind: str = "consumer", power: int = 36_000_000, more: str = ""
    ) -> Served:
        made = await lane.device(name, kind, power, more)
        found = await owner.until("/api/v1/near", lambda near: any(e["name"] == name for e in near))
        key = next(each["agent"] for each in found if each["name"] == name)
        await owner.post("/api/v1/claims", device=key, code="1234-5678", name=name)
        await owner.until(
            "/api/v1/devices",
            lambda ours: any(e["name"] == name and e["state"] == "ok" for e in ours),
        )
        return made

    return make


@pytest.fixture
async def neighbour(lane: Lane, owner: Served) -> Served:
    """Another owner in the same community."""
    other = await lane.owner("other")
    theirs = await other.call("key_show")
    asked = {"agent": theirs["agent"], "recovery": theirs["recovery"]}
    invited = await owner.call("community_invite", **asked)
    await other.call("community_join", invitation=invited["invitation"])
    await owner.until("/api/v1/members", lambda found: len(found) == 2)
    return other


@pytest.fixture
def paid(owner: Served) -> Callable[[dict[str, Any]], Awaitable[Any]]:
    """The owner's payments, made as soon as what the payee's chain holds has come."""

    async def pay(body: dict[str, Any]) -> Any:
        with trio.fail_after(20):
            while True:
                found = await owner.http.post("/api/v1/payments", json=body)
                if found.status_code != 503:
                    return found.json()
                await trio.sleep(0.1)

    return pay

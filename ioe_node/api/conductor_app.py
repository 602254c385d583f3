"""What an app door answers: one app's info, its zome calls, its clones, its networks."""

from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Raw

from ioe_node.api import conductor_clones as clones
from ioe_node.api import conductor_network as network
from ioe_node.api.conductor_apps import NOT_TO_BE_ENABLED, OWN_APP, Apps
from ioe_node.api.conductor_auth import Nonces
from ioe_node.api.conductor_errors import NoSession, ZomeFailed
from ioe_node.api.conductor_frames import (
    CellId,
    Name,
    app_signal,
    decode_as,
    decode_plain,
    encode,
    system_signal,
)
from ioe_node.api.conductor_info import app_info, clone_info
from ioe_node.api.conductor_requests import (
    CreateClone,
    MembraneProof,
    WhichClone,
    WhichDnas,
    WhichMetrics,
    WhichPeer,
)
from ioe_node.api.conductor_signing import SignedCall, open_call
from ioe_node.conductor.cell import Cell
from ioe_node.errors import CallError, IoeError, TransportError, Unauthorised
from ioe_node.hdi import AgentPubKey
from ioe_node.hdk import as_payload
from ioe_node.workflows.call_zome import authorise, functions_of


class AppSession:
    """One client of one app."""

    def __init__(self, apps: Apps, app: str, nonces: Nonces) -> None:
        self._apps = apps
        self._nonces = nonces
        self.app = app

    async def answer(self, tag: str, value: Raw) -> tuple[str, Any]:
        """(tag, value) of the answer to a request; raises `IoeError`."""
        handler = HANDLERS.get(tag)
        if handler is None:
            raise CallError(f"an app door answers no '{tag[:60]}'")
        return await handler(self, value)

    def signal(self, put: Callable[[Callable[[int], bytes]], None], said: dict[str, Any]) -> None:
        """Have one of the app's signals sent, if it is for a client."""
        if said.get("kind") == "app":
            cell = self._cell_of(said["dna"])
            if cell is not None:
                id_ = (cell.space.dna, cell.space.agent)
                put(lambda seq: app_signal(id_, said["zome"], said["value"], seq))
        elif self.app == OWN_APP:
            put(lambda _seq: system_signal(said))

    def _cell_of(self, dna: bytes) -> Cell | None:
        cells = self._apps.cells_of(self.app)
        return next((cell for cell in cells if cell.space.dna == dna), None)

    # -- zome calls ---------------------------------------------------------------------------

    async def call_zome(self, value: Raw) -> tuple[str, Any]:
        """Run a signed call; the result is msgpack inside msgpack."""
        now_us = self._apps.conductor.clock.now_us()
        call = open_call(decode_as(SignedCall, value), self._nonces, now_us)
        cell = self._apps.cell(call.cell_id, self.app)
        zome, name, caller = call.zome_name, call.fn_name, AgentPubKey(call.provenance)
        authorise(cell.space, caller, call.cap_secret, zome, name)
        function = functions_of(cell.space.rules.definition, zome).get(name)
        if function is None:
            raise CallError(f"zome '{zome}' has no function '{name}'")
        payload = decode_plain(call.payload)
        try:
            given = as_payload(function, payload, skip=1)
            result = await cell.call(zome, name, given, caller, call.cap_secret)
            return "zome_called", encode(result)
        except (Unauthorised, TransportError):
            raise
        except (IoeError, TypeError) as error:
            raise ZomeFailed(str(error)) from error

    # -- the app ------------------------------------------------------------------------------

    async def app_info(self, _value: Raw) -> tuple[str, Any]:
        """The app, or nil when it is gone."""
        return "app_info", app_info(self._apps, self.app)

    async def provide_memproofs(self, value: Raw) -> tuple[str, Any]:
        """Give the membrane proofs that the app awaits."""
        proofs = decode_as(dict[Name, MembraneProof], value)
        async with self._apps.changing:
            await self._apps.provide_proofs(self.app, proofs)
        return "ok", None

    async def enable_app(self, _value: Raw) -> tuple[str, Any]:
        """Enable the app, once, after its membrane proofs were given."""
        async with self._apps.changing:
            if self._apps.get(self.app).status not in (
                "enabled",
                "not_started_after_providing_memproofs",
            ):
                raise CallError(NOT_TO_BE_ENABLED)
            await self._apps.enable(self.app)
        return "ok", None

    async def create_clone_cell(self, value: Raw) -> tuple[str, Any]:
        """Clone a role of the app."""
        asked = decode_as(CreateClone, value)
        async with self._apps.changing:
            found = await clones.create(
                self._apps,
                self.app,
                asked.role_name,
                asked.modifiers,
                asked.membrane_proof,
                asked.name or asked.role_name,
            )
        return "clone_cell_created", clone_info(*found)

    async def enable_clone_cell(self, value: Raw) -> tuple[str, Any]:
        """Run a disabled clone again."""
        wanted = decode_as(WhichClone, value).clone_cell_id.value
        async with self._apps.changing:
            found = await clones.enable(self._apps, self.app, wanted)
        return "clone_cell_enabled", clone_info(*found)

    async def disable_clone_cell(self, value: Raw) -> tuple[str, Any]:
        """Stop a clone."""
        wanted = decode_as(WhichClone, value).clone_cell_id.value
        async with self._apps.changing:
            await clones.disable(self._apps, self.app, wanted)
        return "clone_cell_disabled", None

    # -- networks -----------------------------------------------------------------------------

    async def agent_info(self, value: Raw) -> tuple[str, Any]:
        """The infos of the agents that are known in the app's networks."""
        wanted = decode_as(WhichDnas, value).dna_hashes
        return "agent_info", network.agent_infos(network.of_dnas(self._cells(), wanted))

    async def peer_meta_info(self, value: Raw) -> tuple[str, Any]:
        """What is known of one peer."""
        asked = decode_as(WhichPeer, value)
        cells = network.of_dnas(self._cells(), asked.dna_hashes)
        return "peer_meta_info", network.peer_meta_info(cells, asked.url)

    async def dump_network_stats(self, _value: Raw) -> tuple[str, Any]:
        """Where the app's agents are reached."""
        return "network_stats_dumped", network.stats(self._cells())

    async def dump_network_metrics(self, value: Raw) -> tuple[str, Any]:
        """How the app's networks fare."""
        asked = decode_as(WhichMetrics, value)
        wanted = None if asked.dna_hash is None else [asked.dna_hash]
        cells = network.of_dnas(self._cells(), wanted)
        return "network_metrics_dumped", network.metrics(cells)

    def _cells(self) -> list[Cell]:
        return self._apps.cells_of(self.app)

    # -- countersigning -----------------------------------------------------------------------

    async def get_countersigning_session_state(self, value: Raw) -> tuple[str, Any]:
        """Nil: our settlements end by themselves, by certificates, and wait for no client."""
        self._apps.cell(decode_as(CellId, value), self.app)
        return "countersigning_session_state", None

    async def end_countersigning_session(self, value: Raw) -> tuple[str, Any]:
        """There is none to abandon or to publish."""
        self._apps.cell(decode_as(CellId, value), self.app)
        raise NoSession("SessionNotFound: settlements here end by themselves")


Handler = Callable[[AppSession, Raw], Awaitable[tuple[str, Any]]]
HANDLERS: dict[str, Handler] = {
    "call_zome": AppSession.call_zome,
    "app_info": AppSession.app_info,
    "provide_memproofs": AppSession.provide_memproofs,
    "enable_app": AppSession.enable_app,
    "create_clone_cell": AppSession.create_clone_cell,
    "enable_clone_cell": AppSession.enable_clone_cell,
    "disable_clone_cell": AppSession.disable_clone_cell,
    "agent_info": AppSession.agent_info,
    "peer_meta_info": AppSession.peer_meta_info,
    "dump_network_stats": AppSession.dump_network_stats,
    "dump_network_metrics": AppSession.dump_network_metrics,
    "get_countersigning_session_state": AppSession.get_countersigning_session_state,
    "abandon_countersigning_session": AppSession.end_countersigning_session,
    "publish_countersigning_session": AppSession.end_countersigning_session,
}

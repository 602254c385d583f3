"""What the admin door answers: apps, keys, capabilities, doors and tokens, and looks inside."""

import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import trio
from msgspec import Raw

from ioe_node.api import conductor_clones as clones
from ioe_node.api import conductor_dump
from ioe_node.api import conductor_network as network
from ioe_node.api.conductor_apps import OWN_APP, Apps
from ioe_node.api.conductor_auth import EXPIRY_S_DEFAULT, Tokens
from ioe_node.api.conductor_bundle import BUNDLE_BYTES_MAX, BundleError, Modifiers, unpack_app
from ioe_node.api.conductor_frames import CellId, decode_as
from ioe_node.api.conductor_info import app_info, dna_definition, grant_info
from ioe_node.api.conductor_requests import (
    AddInfos,
    AttachInterface,
    DeleteClone,
    FromBytes,
    FromPath,
    GrantCapability,
    InstallApp,
    IssueToken,
    ListApps,
    ListGrants,
    RevokeCapability,
    Token,
    UseExisting,
    WhichApp,
    WhichCell,
    WhichDnas,
    WhichMetrics,
    WhichPeer,
)
from ioe_node.conductor.cell import Cell
from ioe_node.errors import CallError
from ioe_node.hdi import ActionHash
from ioe_node.workflows.grants import granted


class Doors(Protocol):
    """What opens app doors; the server does, and a test."""

    async def attach(self, port: int, origins: str, app: str | None) -> int:
        """Open a door and keep it over restarts; its port."""


class AdminSession:
    """One client of the admin door."""

    def __init__(self, apps: Apps, tokens: Tokens, doors: Doors) -> None:
        self._apps = apps
        self._tokens = tokens
        self._doors = doors

    async def answer(self, tag: str, value: Raw) -> tuple[str, Any]:
        """(tag, value) of the answer to a request; raises `IoeError`."""
        handler = HANDLERS.get(tag)
        if handler is None:
            raise CallError(f"the admin door answers no '{tag[:60]}'")
        return await handler(self, value)

    # -- apps ---------------------------------------------------------------------------------

    async def generate_agent_pub_key(self, _value: Raw) -> tuple[str, Any]:
        """A key for apps, kept here."""
        made = await self._apps.hosting.make_agent(secrets.token_bytes)
        return "agent_pub_key_generated", made

    async def install_app(self, value: Raw) -> tuple[str, Any]:
        """Install a bundle; the app is disabled until it is enabled."""
        asked = decode_as(InstallApp, value)
        planned = unpack_app(await _bundle(asked.source))
        settings: dict[str, tuple[bytes | None, Modifiers | None]] = {}
        for role, given in (asked.roles_settings or {}).items():
            if isinstance(given, UseExisting):
                raise CallError(f"role '{role}': cells are not shared between apps here")
            if given.value.init_properties is not None:
                raise CallError(f"role '{role}': zomes have no init that init_properties reach")
            settings[role] = (given.value.membrane_proof, given.value.modifiers)
        async with self._apps.changing:
            app = await self._apps.install(
                planned, asked.installed_app_id, asked.agent_key, asked.network_seed, settings
            )
        return "app_installed", app_info(self._apps, app.name)

    async def enable_app(self, value: Raw) -> tuple[str, Any]:
        """Run an app's cells."""
        name = decode_as(WhichApp, value).installed_app_id
        async with self._apps.changing:
            await self._apps.enable(name)
        return "app_enabled", app_info(self._apps, name)

    async def disable_app(self, value: Raw) -> tuple[str, Any]:
        """Stop an app's cells."""
        async with self._apps.changing:
            await self._apps.disable(decode_as(WhichApp, value).installed_app_id)
        return "app_disabled", None

    async def uninstall_app(self, value: Raw) -> tuple[str, Any]:
        """Forget an app, its tokens, and what it stored here."""
        name = decode_as(WhichApp, value).installed_app_id
        async with self._apps.changing:
            await self._apps.uninstall(name)
        self._tokens.forget(name)
        return "app_uninstalled", None

    async def list_apps(self, value: Raw) -> tuple[str, Any]:
        """The apps, the newest first as Holochain lists them; the node's own last."""
        wanted = decode_as(ListApps | None, value)
        names = [app.name for app in reversed(self._apps.all())] + [OWN_APP]
        infos = [info for name in names if (info := app_info(self._apps, name)) is not None]
        status_filter = wanted.status_filter if wanted else None
        if status_filter is not None:
            enabled = status_filter in ("enabled", "running")
            infos = [each for each in infos if (each["status"]["type"] == "enabled") == enabled]
        return "apps_listed", infos

    async def list_dnas(self, _value: Raw) -> tuple[str, Any]:
        """The networks of all apps, enabled or not."""
        installed = [role.cell.dna_hash for app in self._apps.all() for role in app.roles]
        own = [cell.space.dna for cell in self._apps.own_cells()]
        return "dnas_listed", list(dict.fromkeys([*installed, *own]))

    async def list_cell_ids(self, _value: Raw) -> tuple[str, Any]:
        """The cells that run."""
        cells = self._apps.every_cell()
        return "cell_ids_listed", [(cell.space.dna, cell.space.agent) for cell in cells]

    async def get_dna_definition(self, value: Raw) -> tuple[str, Any]:
        """The zomes and modifiers of a cell's DNA."""
        cell = self._apps.cell(decode_as(CellId, value))
        return "dna_definition_returned", dna_definition(cell.space.rules.definition)

    async def update_coordinators(self, _value: Raw) -> tuple[str, Any]:
        """Refused: coordinators are Python modules of this installation."""
        raise CallError("coordinators are installed with the node: upgrade its package, restart it")

    async def revoke_agent_key(self, _value: Raw) -> tuple[str, Any]:
        """Refused: keys follow one another by the owner's words."""
        raise CallError("a key is ended by its owner: see 'ioe key rotate --help'")

    async def delete_clone_cell(self, value: Raw) -> tuple[str, Any]:
        """Forget a disabled clone for good."""
        asked = decode_as(DeleteClone, value)
        async with self._apps.changing:
            await clones.delete(self._apps, asked.app_id, asked.clone_cell_id.value)
        return "clone_cell_deleted", None

    # -- doors and tokens ---------------------------------------------------------------------

    async def attach_app_interface(self, value: Raw) -> tuple[str, Any]:
        """Open an app door; it is opened again after a restart."""
        asked = decode_as(AttachInterface, value)
        app = asked.installed_app_id
        return "app_interface_attached", {
            "port": await self._doors.attach(asked.port or 0, asked.allowed_origins, app)
        }

    async def list_app_interfaces(self, _value: Raw) -> tuple[str, Any]:
        """The app doors that were attached."""
        shown = [
            {
                "port": door.port,
                "allowed_origins": door.allowed_origins,
                "installed_app_id": door.app,
            }
            for door in self._apps.doors
        ]
        return "app_interfaces_listed", shown

    async def issue_app_authentication_token(self, value: Raw) -> tuple[str, Any]:
        """A token that opens an app's door; after 30 s or one use it is void, unless asked."""
        asked = decode_as(IssueToken, value)
        if not self._apps.is_known(asked.installed_app_id):
            raise CallError(f"no app '{asked.installed_app_id[:60]}' is installed")
        seconds = EXPIRY_S_DEFAULT if asked.expiry_seconds is None else asked.expiry_seconds
        token, expires_us = self._tokens.issue(
            asked.installed_app_id,
            seconds,
            asked.single_use is not False,
            self._apps.conductor.clock.now_us(),
        )
        issued = {"token": list(token), "expires_at": expires_us}
        return "app_authentication_token_issued", issued

    async def revoke_app_authentication_token(self, value: Raw) -> tuple[str, Any]:
        """Have a token open nothing any more."""
        self._tokens.revoke(bytes(decode_as(Token, value)))
        return "app_authentication_token_revoked", None

    # -- capabilities -------------------------------------------------------------------------

    async def grant_zome_call_capability(self, value: Raw) -> tuple[str, Any]:
        """Write a grant on a cell's chain; its action hash."""
        asked = decode_as(GrantCapability, value)
        cell = self._apps.cell(asked.cell_id)
        return "zome_call_capability_granted", await cell.grant(asked.cap_grant.ours())

    async def revoke_zome_call_capability(self, value: Raw) -> tuple[str, Any]:
        """End a grant."""
        asked = decode_as(RevokeCapability, value)
        await self._apps.cell(asked.cell_id).end_grant(ActionHash(asked.action_hash))
        return "zome_call_capability_revoked", None

    async def list_capability_grants(self, value: Raw) -> tuple[str, Any]:
        """The grants of an app's cells that run."""
        asked = decode_as(ListGrants, value)
        shown = []
        for cell in self._apps.cells_of(asked.installed_app_id):
            space = cell.space
            found = await space.run(granted, space, asked.include_revoked)
            grants = [
                {
                    "cap_grant": grant_info(each.grant),
                    "action_hash": each.action,
                    "created_at": each.given_us,
                    "revoked_at": each.ended_us,
                }
                for each in found
            ]
            if grants:
                shown.append(((space.dna, space.agent), grants))
        return "capability_grants_info", shown

    # -- looks inside -------------------------------------------------------------------------

    async def dump_state(self, value: Raw) -> tuple[str, Any]:
        """A cell's chain and figures, as JSON text."""
        cell = self._apps.cell(decode_as(WhichCell, value).cell_id)
        return "state_dumped", await conductor_dump.dump(cell)

    async def dump_full_state(self, value: Raw) -> tuple[str, Any]:
        """A cell's chain and a page of the ops that it holds."""
        asked = decode_as(WhichCell, value)
        cell = self._apps.cell(asked.cell_id)
        found = await conductor_dump.full_dump(cell, asked.dht_ops_cursor or 0)
        return "full_state_dumped", found

    async def storage_info(self, _value: Raw) -> tuple[str, Any]:
        """The bytes on the disk, by cell and the apps that use it."""
        found: dict[int, tuple[Cell, list[str]]] = {}
        for name in [OWN_APP, *(app.name for app in self._apps.all())]:
            for cell in self._apps.cells_of(name):
                found.setdefault(id(cell), (cell, []))[1].append(name)
        return "storage_info", conductor_dump.storage(list(found.values()))

    async def agent_info(self, value: Raw) -> tuple[str, Any]:
        """The infos of the agents that are known in all networks, or in some."""
        asked = decode_as(WhichDnas | None, value)
        wanted = asked.dna_hashes if asked else None
        cells = [
            cell for cell in self._apps.every_cell() if wanted is None or cell.space.dna in wanted
        ]
        return "agent_info", network.agent_infos(cells)

    async def add_agent_info(self, value: Raw) -> tuple[str, Any]:
        """Learn of agents that another node has shown."""
        network.add_infos(self._apps.every_cell(), decode_as(AddInfos, value).agent_infos)
        return "agent_info_added", None

    async def peer_meta_info(self, value: Raw) -> tuple[str, Any]:
        """What is known of one peer."""
        asked = decode_as(WhichPeer, value)
        cells = network.of_dnas(self._apps.every_cell(), asked.dna_hashes)
        return "peer_meta_info", network.peer_meta_info(cells, asked.url)

    async def dump_network_stats(self, _value: Raw) -> tuple[str, Any]:
        """Where this node's agents are reached."""
        return "network_stats_dumped", network.stats(self._apps.every_cell())

    async def dump_network_metrics(self, value: Raw) -> tuple[str, Any]:
        """How the networks fare."""
        asked = decode_as(WhichMetrics, value)
        wanted = None if asked.dna_hash is None else [asked.dna_hash]
        cells = network.of_dnas(self._apps.every_cell(), wanted)
        return "network_metrics_dumped", network.metrics(cells)


Handler = Callable[[AdminSession, Raw], Awaitable[tuple[str, Any]]]
HANDLERS: dict[str, Handler] = {
    handler.__name__: handler
    for handler in (
        *(AdminSession.generate_agent_pub_key, AdminSession.install_app),
        *(AdminSession.enable_app, AdminSession.disable_app, AdminSession.uninstall_app),
        *(AdminSession.list_apps, AdminSession.list_dnas, AdminSession.list_cell_ids),
        *(AdminSession.get_dna_definition, AdminSession.update_coordinators),
        *(AdminSession.revoke_agent_key, AdminSession.delete_clone_cell),
        *(AdminSession.attach_app_interface, AdminSession.list_app_interfaces),
        *(
            AdminSession.issue_app_authentication_token,
            AdminSession.revoke_app_authentication_token,
        ),
        *(AdminSession.grant_zome_call_capability, AdminSession.revoke_zome_call_capability),
        *(AdminSession.list_capability_grants, AdminSession.storage_info),
        *(AdminSession.dump_state, AdminSession.dump_full_state),
        *(AdminSession.agent_info, AdminSession.add_agent_info, AdminSession.peer_meta_info),
        *(AdminSession.dump_network_stats, AdminSession.dump_network_metrics),
    )
}


async def _bundle(source: FromPath | FromBytes) -> bytes:
    """The bytes of a bundle; raises `BundleError`."""
    if isinstance(source, FromBytes):
        return source.value
    path = Path(source.value)
    try:
        if await trio.to_thread.run_sync(lambda: path.stat().st_size) > BUNDLE_BYTES_MAX:
            raise BundleError(f"{path} has more than {BUNDLE_BYTES_MAX} bytes")
        return await trio.Path(path).read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from None

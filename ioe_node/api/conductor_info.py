"""Apps, cells, DNAs and grants in the shapes that Holochain's clients read."""

from typing import Any

from ioe_node.api.conductor_apps import OWN_APP, Apps
from ioe_node.api.conductor_clones import clone_id
from ioe_node.api.conductor_state import App, Clone, Role
from ioe_node.conductor.invitation import Invitation
from ioe_node.hdk import DnaDef
from ioe_node.model.capability import CapGrant
from ioe_node.model.hashes import core_of, location_of

WASM = bytes.fromhex("842a24")
OWN_MANIFEST: dict[str, Any] = {
    "manifest_version": "0",
    "name": OWN_APP,
    "description": "The communities of this node",
    "roles": [],
    "allow_deferred_memproofs": False,
}


def app_info(apps: Apps, name: str) -> dict[str, Any] | None:
    """An app as clients see it; None if there is none, or the node is in no community."""
    if name == OWN_APP:
        return _own_info(apps)
    found = [app for app in apps.all() if app.name == name]
    return _info(apps, found[0]) if found else None


def _info(apps: Apps, app: App) -> dict[str, Any]:
    return {
        "installed_app_id": app.name,
        "agent_pub_key": app.agent,
        "cell_info": {role.name: _cells(app, role) for role in app.roles},
        "status": status(apps, app),
        "manifest": app.manifest,
        "installed_at": app.installed_at_us,
    }


def status(apps: Apps, app: App) -> dict[str, Any]:
    """Whether an app runs, and why not."""
    if app.status == "awaiting_memproofs":
        return {"type": "awaiting_memproofs"}
    if app.status != "enabled":
        return {"type": "disabled", "value": {"type": app.status}}
    fault = apps.fault(app)
    if fault is not None:
        return {"type": "disabled", "value": {"type": "error", "value": fault}}
    return {"type": "enabled"}


def _modifiers(cell: Invitation) -> dict[str, Any]:
    return {"network_seed": cell.seed, "properties": cell.properties}


def _cells(app: App, role: Role) -> list[dict[str, Any]]:
    if role.clone_only:
        stem = {
            "original_dna_hash": role.cell.dna_hash,
            "dna": role.cell.dna_hash,
            "dna_modifiers": _modifiers(role.cell),
            "name": role.name,
        }
        first = {"type": "stem", "value": stem}
    else:
        provisioned = {
            "cell_id": (role.cell.dna_hash, app.agent),
            "dna_modifiers": _modifiers(role.cell),
            "name": role.name,
        }
        first = {"type": "provisioned", "value": provisioned}
    clones = [{"type": "cloned", "value": clone_info(app, role, each)} for each in role.clones]
    return [first, *clones]


def clone_info(app: App, role: Role, clone: Clone) -> dict[str, Any]:
    """A clone as clients see it."""
    return {
        "cell_id": (clone.cell.dna_hash, app.agent),
        "clone_id": clone_id(role, clone),
        "original_dna_hash": role.cell.dna_hash,
        "dna_modifiers": _modifiers(clone.cell),
        "name": clone.name,
        "enabled": clone.enabled,
    }


def _own_info(apps: Apps) -> dict[str, Any] | None:
    cells = apps.own_cells()
    if not cells:
        return None
    shown: dict[str, list[dict[str, Any]]] = {}
    for cell in cells:
        modifiers = cell.space.rules.definition.modifiers
        # A full stop would make clients take the role for a clone.
        shown[modifiers.seed.replace(".", "_")] = [
            {
                "type": "provisioned",
                "value": {
                    "cell_id": (cell.space.dna, cell.space.agent),
                    "dna_modifiers": {
                        "network_seed": modifiers.seed,
                        "properties": modifiers.properties,
                    },
                    "name": cell.name,
                },
            }
        ]
    return {
        "installed_app_id": OWN_APP,
        "agent_pub_key": cells[0].space.agent,
        "cell_info": shown,
        "status": {"type": "enabled"},
        "manifest": OWN_MANIFEST,
        "installed_at": 0,
    }


def dna_definition(definition: DnaDef) -> dict[str, Any]:
    """A DNA; what Holochain calls a WASM's hash is the digest of a Python zome's source here."""
    modifiers = definition.modifiers
    integrity = [
        [
            each.integrity.name,
            {"wasm_hash": _wasm_hash(each.integrity.source_digest()), "dependencies": []},
        ]
        for each in definition.zomes
    ]
    coordinators = [
        [
            each.coordinator.name,
            {
                "wasm_hash": _wasm_hash(each.coordinator.name.encode()),
                "dependencies": [each.integrity.name],
            },
        ]
        for each in definition.zomes
    ]
    return {
        "name": definition.name,
        "modifiers": {"network_seed": modifiers.seed, "properties": modifiers.properties},
        "lineage": [],
        "integrity_zomes": integrity,
        "coordinator_zomes": coordinators,
    }


def _wasm_hash(digest: bytes) -> bytes:
    core = core_of(digest)
    return WASM + core + location_of(core)


def grant_info(grant: CapGrant) -> dict[str, Any]:
    """A capability grant; whoever may read it here is its author, who knows the secret."""
    access: dict[str, Any]
    if grant.secret is None:
        access = {"type": "unrestricted"}
    elif not grant.agents:
        access = {"type": "transferable", "value": {"secret": grant.secret}}
    else:
        value = {"secret": grant.secret, "assignees": grant.agents}
        access = {"type": "assigned", "value": value}
    functions: dict[str, Any] = {"type": "all"}
    if grant.functions:
        listed = [each.split(".", 1) for each in grant.functions]
        functions = {"type": "listed", "value": listed}
    return {"tag": grant.tag, "access": access, "functions": functions}

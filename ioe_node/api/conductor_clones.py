"""Clones: further cells of a role, each a network of its own by another seed or properties."""

from msgspec.structs import replace

from ioe_node.api.conductor_apps import Apps, amended
from ioe_node.api.conductor_bundle import Modifiers
from ioe_node.api.conductor_state import App, Clone, Role
from ioe_node.errors import CallError

Found = tuple[App, Role, Clone]


def clone_id(role: Role, clone: Clone) -> str:
    """What clients call a clone: `role.0` is the first of its role."""
    return f"{role.name}.{clone.number}"


def find(apps: Apps, name: str, wanted: str | bytes) -> Found:
    """A clone of an app, by its clone id or the hash of its DNA; raises `CallError`."""
    app = apps.get(name)
    for role in app.roles:
        for clone in role.clones:
            if wanted in (clone_id(role, clone), clone.cell.dna_hash):
                return app, role, clone
    raise CallError("this app has no such clone")


async def create(
    apps: Apps, app_name: str, role_name: str, modifiers: Modifiers, proof: bytes | None, name: str
) -> Found:
    """Clone a role and run the clone; raises `CallError`."""
    app = apps.get(app_name)
    role = next((each for each in app.roles if each.name == role_name), None)
    if role is None:
        raise CallError(f"this app has no role '{role_name[:60]}'")
    if app.status != "enabled":
        raise CallError("enable the app before cloning a role of it")
    if len(role.clones) >= role.clone_limit:
        raise CallError(
            f"CloneCellLimitExceeded: role '{role.name}' has {len(role.clones)} clones of "
            f"{role.clone_limit}; delete one, or set a higher clone_limit in the bundle"
        )
    base = role.cell.definition(apps.conductor.known)
    cell = amended(base, (modifiers,), proof)
    apps.check_alone([cell], app.agent)
    apps.check(cell, app.agent)
    clone = Clone(role.next_clone, cell, name)
    grown = replace(role, clones=(*role.clones, clone), next_clone=role.next_clone + 1)
    apps.put(_with(app, grown))
    await apps.open_cell(app_name, cell)
    return find(apps, app_name, cell.dna_hash)


async def enable(apps: Apps, app_name: str, wanted: str | bytes) -> Found:
    """Run a disabled clone again."""
    app, role, clone = find(apps, app_name, wanted)
    _amend(apps, app, role, clone, True)
    if app.status == "enabled":
        await apps.open_cell(app_name, clone.cell)
    return find(apps, app_name, wanted)


async def disable(apps: Apps, app_name: str, wanted: str | bytes) -> None:
    """Stop a clone; it stays installed."""
    app, role, clone = find(apps, app_name, wanted)
    _amend(apps, app, role, clone, False)
    await apps.hosting.close((clone.cell.dna_hash, app.agent))


async def delete(apps: Apps, app_name: str, wanted: str | bytes) -> None:
    """Forget a disabled clone for good, and what it stored here."""
    app, role, clone = find(apps, app_name, wanted)
    if clone.enabled:
        raise CallError("disable the clone before deleting it")
    left = tuple(each for each in role.clones if each.number != clone.number)
    await apps.drop(_with(app, replace(role, clones=left)), clone.cell)


def _amend(apps: Apps, app: App, role: Role, clone: Clone, enabled: bool) -> None:
    clones = tuple(
        replace(each, enabled=enabled) if each.number == clone.number else each
        for each in role.clones
    )
    apps.put(_with(app, replace(role, clones=clones)))


def _with(app: App, role: Role) -> App:
    roles = tuple(role if each.name == role.name else each for each in app.roles)
    return replace(app, roles=roles)

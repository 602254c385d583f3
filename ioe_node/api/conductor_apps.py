"""Apps: installed, enabled, disabled, given their proofs, uninstalled; and the node's own.

Every change is written to `apps.json` before it is answered, and one change runs at a time.
"""

import logging
import secrets
from collections.abc import Mapping, Sequence
from functools import partial

import trio
from msgspec.structs import replace

from ioe_node.api import conductor_state
from ioe_node.api.conductor_bundle import BundleError, Modifiers, PlannedApp
from ioe_node.api.conductor_hosting import Hosting, Key
from ioe_node.api.conductor_state import App, Door, Kept, Role
from ioe_node.conductor.cell import Cell
from ioe_node.conductor.conductor import Conductor
from ioe_node.conductor.invitation import Invitation
from ioe_node.conductor.signals import Signals
from ioe_node.errors import CallError
from ioe_node.hdi import AgentPubKey, Invalid
from ioe_node.hdk import DnaDef
from ioe_node.hdk import Modifiers as DnaModifiers
from ioe_node.model.codec import encode
from ioe_node.plugins import load

log = logging.getLogger("ioe.api")

OWN_APP = "ioe"
"""The app that the node's communities are."""
APPS_MAX = 1_000
NOT_TO_BE_ENABLED = "Other: app not in correct state to enable"
"""What Holochain says, word for word: programs look for it."""


class Apps:
    """The installed apps and their cells."""

    def __init__(self, conductor: Conductor) -> None:
        self.conductor = conductor
        self.hosting = Hosting(conductor, self._has_begun, self._note_begun)
        kept = conductor_state.read(conductor.home)
        self._apps = {app.name: app for app in kept.apps}
        self.doors: tuple[Door, ...] = kept.doors
        self._left = kept.left
        self._signals: dict[str, Signals] = {}
        self._dnas: dict[str, DnaDef] = {name: load(name) for name in conductor.config.dnas}
        self.changing = trio.Lock()

    # -- lives --------------------------------------------------------------------------------

    async def live(self, _conductor: Conductor) -> None:
        """Run the cells of all enabled apps during one life of the conductor."""
        try:
            async with trio.open_nursery() as nursery:
                self.hosting.begin(nursery)
                async with self.changing:
                    for app in self.all():
                        if app.status == "enabled":
                            await self._open_all(app)
                await trio.sleep_forever()
        finally:
            self.hosting.end()

    async def _open_all(self, app: App) -> None:
        for cell in app.cells():
            await self.open_cell(app.name, cell)

    async def open_cell(self, name: str, cell: Invitation) -> None:
        """Open one cell of an app; `hosting.faults` says what keeps it from running."""
        await self.hosting.open(cell, self._apps[name].agent, self.signals(name))

    def _has_begun(self, key: Key) -> bool:
        return any(app.agent == key[1] and key[0] in app.begun for app in self._apps.values())

    def _note_begun(self, key: Key) -> None:
        """An agent writes in a network from now on, whenever its cell was opened."""
        for app in self._apps.values():
            ours = app.agent == key[1] and key[0] in [cell.dna_hash for cell in app.cells()]
            if ours and key[0] not in app.begun:
                return self.put(replace(app, begun=(*app.begun, key[0])))
        return None

    # -- looking ------------------------------------------------------------------------------

    def all(self) -> list[App]:
        """The installed apps, the oldest first."""
        return list(self._apps.values())

    def get(self, name: str) -> App:
        """An installed app; raises `CallError`."""
        if name == OWN_APP:
            raise CallError("app 'ioe' is the node itself; see 'ioe community --help'")
        app = self._apps.get(name)
        if app is None:
            raise CallError(f"no app '{name[:60]}' is installed")
        return app

    def is_known(self, name: str) -> bool:
        """Whether clients may come for this app."""
        return name == OWN_APP or name in self._apps

    def own_cells(self) -> list[Cell]:
        """The node's communities, by name."""
        cells = self.conductor.cells.values()
        return sorted(cells, key=lambda cell: cell.space.rules.definition.seed)

    def cells_of(self, name: str) -> list[Cell]:
        """The running cells of an app."""
        if name == OWN_APP:
            return self.own_cells()
        app = self._apps.get(name)
        if app is None or app.status != "enabled":
            return []
        keys = [(cell.dna_hash, app.agent) for cell in app.cells()]
        return [self.hosting.cells[key] for key in keys if key in self.hosting.cells]

    def every_cell(self) -> list[Cell]:
        """Every running cell of this node."""
        return [*self.own_cells(), *self.hosting.cells.values()]

    def cell(self, key: Key, app: str | None = None) -> Cell:
        """A running cell by its id, of one app if it is named; raises `CallError`."""
        dna, agent = key
        cell = self.hosting.cells.get((dna, agent))
        if cell is not None:
            if app is None or self._has(app, key):
                return cell
        elif app in (None, OWN_APP):
            cell = self.conductor.cells.get(dna)
            if cell is not None and cell.space.agent == agent:
                return cell
        fault = self.hosting.faults.get((dna, agent))
        raise CallError(f"that cell does not run: {fault}" if fault else "no such cell runs here")

    def _has(self, name: str, key: Key) -> bool:
        app = self._apps.get(name)
        if app is None or app.status != "enabled" or app.agent != key[1]:
            return False
        return any(cell.dna_hash == key[0] for cell in app.cells())

    def signals(self, name: str) -> Signals:
        """Where an app's signals are heard."""
        if name == OWN_APP:
            return self.conductor.signals
        return self._signals.setdefault(name, Signals())

    # -- changing -----------------------------------------------------------------------------

    def put(self, app: App) -> None:
        """Keep an app as it is now."""
        self._keep({**self._apps, app.name: app}, self.doors, self._left)

    def put_doors(self, doors: tuple[Door, ...]) -> None:
        """Keep the app doors that are open now."""
        self._keep(self._apps, doors, self._left)

    def _keep(
        self, apps: Mapping[str, App], doors: tuple[Door, ...], left: tuple[Key, ...]
    ) -> None:
        conductor_state.keep(self.conductor.home, Kept(tuple(apps.values()), doors, left))
        self._apps, self.doors, self._left = dict(apps), doors, left

    async def install(
        self,
        planned: PlannedApp,
        name: str | None,
        agent: bytes | None,
        seed: str | None,
        settings: Mapping[str, tuple[bytes | None, Modifiers | None]],
    ) -> App:
        """Install an app, disabled; raises `CallError` and nothing is kept.

        `settings` gives roles a membrane proof and modifiers; `seed` is for all of them.
        """
        name = planned.name if name is None else name
        if self.is_known(name) or not 0 < len(name) <= 128:
            raise CallError(f"an app '{name[:60]}' is installed already, or that is no name")
        if len(self._apps) >= APPS_MAX:
            raise CallError(f"at most {APPS_MAX} apps are installed; uninstall some")
        unknown = set(settings) - {role.name for role in planned.roles}
        if unknown:
            raise CallError(f"the app has no role '{sorted(unknown)[0]}'")
        if agent is None:
            agent = await self.hosting.make_agent(secrets.token_bytes)
        self.hosting.signer(agent)
        deferred = planned.deferred_proofs and not any(p for p, _ in settings.values())
        roles = []
        for role in planned.roles:
            proof, amended = settings.get(role.name, (None, None))
            last = (Modifiers(network_seed=seed), *((amended,) if amended else ()))
            cell = self.network(role.dna, (*role.modifiers, *last), proof)
            if not deferred and not role.clone_only:
                self.check(cell, agent)
            roles.append(Role(role.name, cell, role.clone_limit, role.clone_only))
        self.check_alone([role.cell for role in roles if not role.clone_only], agent)
        app = App(
            name,
            bytes(agent),
            tuple(roles),
            "awaiting_memproofs" if deferred else "never_started",
            self.conductor.clock.now_us(),
            planned.manifest,
        )
        self.put(app)
        return app

    def network(self, dna: str, modifiers: Sequence[Modifiers], proof: bytes | None) -> Invitation:
        """A DNA of the config under these modifiers, the later ones over the earlier."""
        base = self._dnas.get(dna)
        if base is None:
            raise BundleError(f"DNA '{dna[:120]}' is not in the config; add it to 'dnas'")
        return amended(base, modifiers, proof)

    def check(self, cell: Invitation, agent: bytes) -> None:
        """Raise `CallError` unless a network admits the agent."""
        definition = cell.definition(self.conductor.known)
        verdict = definition.admits(AgentPubKey(agent), cell.proof)
        if isinstance(verdict, Invalid):
            raise CallError(f"{cell.dna_name} does not admit this agent: {verdict.reason}")

    def check_alone(self, cells: Sequence[Invitation], agent: bytes) -> None:
        """Raise `CallError` if an agent has, or had, a cell in one of these networks."""
        hashes = [cell.dna_hash for cell in cells]
        taken = {
            cell.dna_hash
            for app in self._apps.values()
            if app.agent == agent
            for role in app.roles
            for cell in (role.cell, *(clone.cell for clone in role.clones))
        }
        if agent == self.conductor.signer().agent:
            taken |= {each.dna_hash for each in self.conductor.home.invitations()}
        if len(set(hashes)) != len(hashes) or taken & set(hashes):
            raise CallError("CellAlreadyExists: another network_seed or agent makes another cell")
        if any((each, agent) in self._left for each in hashes):
            raise CallError(
                "this agent has left that network, and others may hold its chain: begin it with "
                "another agent_key or network_seed"
            )

    async def enable(self, name: str) -> App:
        """Run an app's cells; what keeps one from running is `fault`, and it is tried again."""
        app = self.get(name)
        if app.status == "awaiting_memproofs":
            raise CallError(NOT_TO_BE_ENABLED)
        self.put(replace(app, status="enabled"))
        await self._open_all(app)
        return self.get(name)

    async def disable(self, name: str) -> None:
        """Stop an app's cells until it is enabled again."""
        app = self.get(name)
        if app.status == "enabled":
            self.put(replace(app, status="user"))
            await self.close_cells(app)

    async def close_cells(self, app: App) -> None:
        """Close the cells of an app that run."""
        for cell in app.cells():
            await self.hosting.close((cell.dna_hash, app.agent))

    async def uninstall(self, name: str) -> None:
        """Forget an app and delete what its cells have stored here; what others hold stays."""
        app = self.get(name)
        await self.close_cells(app)
        cells = [
            cell for role in app.roles for cell in (role.cell, *(each.cell for each in role.clones))
        ]
        left = self._left + tuple(key for cell in cells for key in self._written(app, cell))
        others = {key: each for key, each in self._apps.items() if key != name}
        self._keep(others, self.doors, left)
        self._signals.pop(name, None)
        for cell in cells:
            await self._delete(cell, app.agent)

    @staticmethod
    def _written(app: App, cell: Invitation) -> tuple[Key, ...]:
        key = (cell.dna_hash, app.agent)
        return (key,) if cell.dna_hash in app.begun else ()

    async def drop(self, app: App, cell: Invitation) -> None:
        """Keep an app as it is now, without a closed cell that it had; delete that one's file."""
        left = self._left + self._written(app, cell)
        begun = tuple(each for each in app.begun if each != cell.dna_hash)
        self._keep({**self._apps, app.name: replace(app, begun=begun)}, self.doors, left)
        await self._delete(cell, app.agent)

    async def _delete(self, cell: Invitation, agent: bytes) -> None:
        path = self.conductor.home.store_path(cell, AgentPubKey(agent))
        for each in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
            await trio.to_thread.run_sync(partial(each.unlink, missing_ok=True))

    async def provide_proofs(self, name: str, proofs: Mapping[str, bytes]) -> None:
        """Give an app that has not begun its membrane proofs, by role."""
        app = self.get(name)
        if app.status not in ("awaiting_memproofs", "never_started"):
            raise CallError("this app has begun and awaits no membrane proofs")
        roles = []
        for role in app.roles:
            cell = replace(role.cell, proof=proofs.get(role.name))
            if not role.clone_only:
                self.check(cell, app.agent)
            roles.append(replace(role, cell=cell))
        status = "not_started_after_providing_memproofs"
        self.put(replace(app, roles=tuple(roles), status=status))

    def fault(self, app: App) -> str | None:
        """What keeps a cell of an enabled app from running."""
        keys = [(cell.dna_hash, app.agent) for cell in app.cells()]
        return next((self.hosting.faults[key] for key in keys if key in self.hosting.faults), None)


def amended(base: DnaDef, modifiers: Sequence[Modifiers], proof: bytes | None) -> Invitation:
    """The network that a DNA makes under these modifiers; raises `CallError`."""
    seed, properties = base.seed, base.modifiers.properties
    for each in modifiers:
        seed = seed if each.network_seed is None else each.network_seed
        if each.properties is not None:
            if not isinstance(each.properties, dict):
                raise CallError(f"the properties of DNA '{base.name}' are a map, one key each")
            before = base.clone(DnaModifiers(seed, properties)).properties
            plain = {name: getattr(before, name) for name in before.__dataclass_fields__}
            unknown = sorted(str(name) for name in set(each.properties) - set(plain))
            if unknown:
                raise CallError(f"DNA '{base.name}' has no property '{unknown[0]:.60}'")
            properties = encode({**plain, **each.properties})
    made = base.clone(DnaModifiers(seed, properties))
    return Invitation(made.name, made.hash, seed, made.modifiers.properties, proof, ())

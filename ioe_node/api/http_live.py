"""Live values: our devices are asked how they are, while somebody watches or asks.

A device's own node answers for its own machine.  What was asked less than `FRESH_S` ago is not
asked again, whoever asks, so that twenty browsers cost a device no more than one.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trio

from ioe_node.api.http_cells import cells_of, name_of
from ioe_node.api.http_types import Decision, Kind, Machine, RunningApp
from ioe_node.conductor import machine
from ioe_node.conductor.app_calls import app_list
from ioe_node.conductor.owner_calls import Looked
from ioe_node.errors import CallError, IoeError
from ioe_node.hdi import AgentPubKey
from ioe_node.model.hashes import to_text

if TYPE_CHECKING:
    from ioe_node.conductor.conductor import Conductor

FRESH_S = 2.0
APPS_FRESH_S = 5.0
"""Apps look at prices seldomer than meters are read."""
LOOK_WAIT_S = 3.0
DEVICES_AT_ONCE_MAX = 16
DEVICES_MAX = 256
WHY_AWAY = "its node does not answer"


@dataclass(frozen=True)
class Owned:
    """A device of ours as the chains know it."""

    agent: AgentPubKey
    name: str
    kind: Kind
    community: str


@dataclass
class Live:
    """What our devices last said."""

    conductor: "Conductor"
    _ours: tuple[Owned, ...] = ()
    _ours_at: float = -FRESH_S
    _seen: dict[AgentPubKey, Machine] = field(default_factory=dict)
    _seen_at: float = -FRESH_S
    _apps: tuple[RunningApp, ...] = ()
    _apps_at: float = -APPS_FRESH_S
    _one: trio.Lock = field(default_factory=trio.Lock)
    _one_of_apps: trio.Lock = field(default_factory=trio.Lock)
    _room: trio.CapacityLimiter = field(
        default_factory=lambda: trio.CapacityLimiter(DEVICES_AT_ONCE_MAX)
    )

    async def ours(self) -> tuple[Owned, ...]:
        """Our devices, or this node's own; `DEVICES_MAX` at most."""
        if trio.current_time() - self._ours_at >= FRESH_S:
            self._ours = await _ours(self.conductor)
            self._ours_at = trio.current_time()
        return self._ours

    async def machines(self) -> list[Machine]:
        """How each device of ours is, asked now if nobody has just asked."""
        async with self._one:
            if trio.current_time() - self._seen_at >= FRESH_S:
                await self._look()
                self._seen_at = trio.current_time()
        return list(self._seen.values())

    async def apps(self) -> list[RunningApp]:
        """What runs beside each device, asked now if nobody has just asked."""
        async with self._one_of_apps:
            if trio.current_time() - self._apps_at >= APPS_FRESH_S:
                # Before it is asked, so that a change meanwhile has it asked again.
                self._apps_at = trio.current_time()
                self._apps = tuple([_running(each) for each in await app_list(self.conductor)])
        return list(self._apps)

    async def find(self, agent: AgentPubKey) -> Owned | None:
        """A device of ours; asked of the chains again before it is said not to be."""
        for _ in range(2):
            for each in await self.ours():
                if each.agent == agent:
                    return each
            self._ours_at = -FRESH_S
        return None

    def changed(self) -> None:
        """Ask again at the next occasion: a device was claimed, or told something."""
        self._ours_at, self._seen_at, self._apps_at = -FRESH_S, -FRESH_S, -APPS_FRESH_S

    async def _look(self) -> None:
        ours = await self.ours()
        found: dict[AgentPubKey, Machine] = {}
        async with trio.open_nursery() as nursery:
            for each in ours:
                nursery.start_soon(self._look_at, each, found)
        self._seen = {each.agent: found[each.agent] for each in ours}

    async def _look_at(self, owned: Owned, found: dict[AgentPubKey, Machine]) -> None:
        async with self._room:
            looked, why = None, WHY_AWAY
            with trio.move_on_after(LOOK_WAIT_S):
                try:
                    looked = await machine.look_at(self.conductor, owned.agent)
                except CallError as error:
                    why = str(error)
                except IoeError as error:
                    why = f"{WHY_AWAY}: {error}"
        found[owned.agent] = _machine(owned, looked, why)


def _machine(owned: Owned, looked: Looked | None, why: str) -> Machine:
    who = (to_text(owned.agent), owned.name, owned.kind, owned.community)
    if looked is None:
        return Machine(*who, "away", None, None, None, None, None, None, [], None, None, why)
    return Machine(
        *who,
        looked.state,
        looked.visibility,
        looked.share,
        looked.power_milli_w,
        looked.import_milli_wh,
        looked.export_milli_wh,
        looked.switched_on,
        list(looked.can),
        looked.stored_bp,
        looked.at_us,
        looked.why,
    )


def _running(row: dict[str, Any]) -> RunningApp:
    decisions = [Decision(**each) for each in row["decisions"]]
    return RunningApp(**{**row, "device": to_text(row["device"]), "decisions": decisions})


async def _ours(conductor: "Conductor") -> tuple[Owned, ...]:
    device = conductor.config.device
    if device is not None:
        names = [name_of(cell) for cell in cells_of(conductor, "metering")]
        community = names[0] if names else ""
        return (Owned(conductor.signer().agent, device.name, device.kind, community),)
    found: dict[AgentPubKey, Owned] = {}
    for cell in cells_of(conductor, "identity"):
        for each in await cell.call("identity", "portfolio", {}):
            owned = _owned(each, name_of(cell))
            found.setdefault(owned.agent, owned)
    return tuple(found.values())[:DEVICES_MAX]


def _owned(each: dict[str, Any], community: str) -> Owned:
    return Owned(AgentPubKey(each["device"]), each["name"], each["kind"], community)

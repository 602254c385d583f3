"""The machine behind a device's node: how it is, and what it is told to do.

An owner's node asks its devices (`owner_calls`), a device's own node asks its driver; both get
the same answers, by the same functions.
"""

from collections.abc import Awaitable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import trio

from ioe_node.conductor import owner_calls
from ioe_node.conductor.owner_calls import (
    QUANTITY_MAX,
    STATE_CHARS_MAX,
    WHY_CHARS_MAX,
    Ability,
    Done,
    Looked,
    SetLimit,
    SetSwitch,
    Unable,
)
from ioe_node.drivers.driver import Battery, Meter, PowerLimit, Switch
from ioe_node.errors import CallError, IoeError, NotTheOwner, TransportError
from ioe_node.hdi import AgentPubKey
from ioe_node.model.hashes import AGENT, check_hash
from ioe_node.workflows.space import log

if TYPE_CHECKING:
    from ioe_node.conductor.conductor import Conductor
    from ioe_node.drivers.poller import Poller

BATTERY_WAIT_S = 2.0
COMMAND_WAIT_S = 8.0
"""Shorter than an owner waits for its device's answer."""


def abilities(meter: Meter) -> tuple[Ability, ...]:
    """What may be asked of a machine besides its registers."""
    found: list[Ability] = []
    if isinstance(meter, Switch):
        found.append("switch")
    if isinstance(meter, PowerLimit):
        found.append("limit")
    if isinstance(meter, Battery):
        found.append("battery")
    return tuple(found)


async def look(conductor: "Conductor") -> Looked:
    """This node's own machine, as it was read last; raises `CallError` where there is none."""
    poller, device = _poller(conductor), conductor.config.device
    assert device is not None, "who polls has a device in the config"
    latest = poller.latest
    return Looked(
        device.visibility,
        conductor.policy.rules.share,
        poller.state[:STATE_CHARS_MAX],
        poller.why[:WHY_CHARS_MAX],
        abilities(poller.meter),
        None if latest is None else latest.at_us,
        None if latest is None else latest.import_milli_wh,
        None if latest is None else latest.export_milli_wh,
        None if latest is None else latest.power_milli_w,
        None if latest is None else latest.switched_on,
        await _stored_bp(poller.meter),
    )


async def _stored_bp(meter: Meter) -> int | None:
    if not isinstance(meter, Battery):
        return None
    with trio.move_on_after(BATTERY_WAIT_S):
        try:
            return await meter.stored_bp()
        except IoeError as error:
            log.info("how full the battery is: %s", error)
    return None


async def switch(conductor: "Conductor", on: bool) -> None:
    """Switch this node's own machine; raises `CallError`, or as its driver does."""
    poller = _poller(conductor)
    await _obeyed(poller.set_on(on))
    if poller.latest is not None:
        poller.latest = replace(poller.latest, switched_on=on)


async def limit(conductor: "Conductor", milli_w: int | None) -> None:
    """Bound this node's own machine's power; raises `CallError`, or as its driver does."""
    poller = _poller(conductor)
    if not isinstance(poller.meter, PowerLimit):
        raise CallError("the power of this device cannot be limited")
    await _obeyed(poller.meter.limit_power(milli_w))


async def _obeyed(command: Awaitable[None]) -> None:
    """Wait for a driver to do what it was told; somebody's fault in one must not end the node."""
    with trio.move_on_after(COMMAND_WAIT_S) as waiting:
        try:
            await command
        except IoeError:
            raise
        except Exception as error:
            log.exception("the driver failed")
            raise TransportError(f"the driver failed: {error!r}; see the log") from None
    if waiting.cancelled_caught:
        raise TransportError("the device does not answer; try again")


async def look_at(conductor: "Conductor", device: AgentPubKey | None) -> Looked:
    """How a machine of ours is: that of `device`, or this node's own.

    Raises `TransportError` (away), `Refused`, `Malformed` or `CallError`.
    """
    if _own(conductor, device):
        return await look(conductor)
    found = await owner_calls.ask(conductor, _checked(device), owner_calls.Look())
    if not isinstance(found, Looked):
        raise NotTheOwner("that device does not take us for its owner")
    return found


async def device_switch(
    conductor: "Conductor", on: bool, device: bytes | None = None
) -> dict[str, Any]:
    """Switch a machine of ours, or this node's own; raises as `look_at` does."""
    if not isinstance(on, bool):
        raise CallError("a machine is switched on (true) or off (false)")
    if _own(conductor, device):
        await switch(conductor, on)
    else:
        await _tell(conductor, device, SetSwitch(on))
    return {"on": on}


async def device_limit(
    conductor: "Conductor", milli_w: int | None, device: bytes | None = None
) -> dict[str, Any]:
    """Bound the power of a machine of ours, or this node's own; raises as `look_at` does."""
    if milli_w is not None and not (type(milli_w) is int and 0 <= milli_w <= QUANTITY_MAX):
        raise CallError(f"a limit is 0 to {QUANTITY_MAX} milliwatts, or none")
    if _own(conductor, device):
        await limit(conductor, milli_w)
    else:
        await _tell(conductor, device, SetLimit(milli_w))
    return {"milli_w": milli_w}


def _own(conductor: "Conductor", device: bytes | None) -> bool:
    return device is None or device == conductor.signer().agent


def _checked(device: bytes | None) -> AgentPubKey:
    if not isinstance(device, bytes):
        raise CallError("a device is named by its agent key")
    check_hash(device, AGENT)
    return AgentPubKey(device)


async def _tell(
    conductor: "Conductor", device: bytes | None, command: SetSwitch | SetLimit
) -> None:
    answer = await owner_calls.ask(conductor, _checked(device), command)
    if isinstance(answer, Unable):
        raise CallError(answer.why)
    if not isinstance(answer, Done):
        raise NotTheOwner("that device does not take us for its owner")


def _poller(conductor: "Conductor") -> "Poller":
    if conductor.poller is None:
        raise CallError("this node reads no machine now; see 'ioe status'")
    return conductor.poller

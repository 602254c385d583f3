"""A device does at its owner's word what its machine can, and says so where it cannot."""

from typing import Any

import pytest
import trio

from ioe_node.conductor import machine, owner_calls
from ioe_node.drivers.driver import Reading
from ioe_node.errors import Busy, CallError, LocalError, NotTheOwner, Refused, TransportError


class Tame:
    """A machine with a switch and a limit; `fault` is raised by whatever it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.fault: BaseException | None = None
        self.delay_s = 0.0
        self.on = True

    async def read(self) -> Reading:
        return Reading(1, 2, 3, 4, self.on)

    async def set_on(self, on: bool) -> None:
        await self._do(on)
        self.on = on

    async def limit_power(self, milli_w: int | None) -> None:
        await self._do(milli_w)

    async def stored_bp(self) -> int:
        await self._do("full?")
        return 7_000

    async def _do(self, told: Any) -> None:
        await trio.sleep(self.delay_s)
        if self.fault is not None:
            raise self.fault
        self.told.append(told)


async def tamed(claimed: Any) -> tuple[Any, Any, Tame]:
    """(owner, device, its machine), once it was read."""
    owner, roof = await claimed()
    meter = Tame()
    roof.conductor.poller.meter = meter
    roof.conductor.poller.latest = await meter.read()
    return owner, roof, meter


async def test_the_owner_looks_and_is_obeyed(claimed: Any, autojump: Any) -> None:
    owner, roof, meter = await tamed(claimed)
    looked = await machine.look_at(owner.conductor, roof.agent)
    assert looked == await machine.look_at(roof.conductor, None)
    assert (looked.can, looked.stored_bp) == (("switch", "limit", "battery"), 7_000)
    assert looked.visibility == "public"
    meter.told.clear()
    await owner.call("device_switch", device=roof.agent, on=False)
    await owner.call("device_limit", device=roof.agent, milli_w=5)
    await roof.call("device_limit", milli_w=None)
    assert meter.told == [False, 5, None]
    assert (await machine.look_at(owner.conductor, roof.agent)).switched_on is False


async def test_a_stranger_and_a_device_command_no_other(
    claimed: Any, street: Any, autojump: Any
) -> None:
    owner, roof, meter = await tamed(claimed)
    stranger = await street.owner("stranger", b"s" * 32)
    for asker, asked in ((stranger, roof), (roof, owner), (stranger, owner)):
        with pytest.raises((Refused, NotTheOwner)):
            await asker.call("device_switch", device=asked.agent, on=False)
        with pytest.raises((Refused, NotTheOwner)):
            await machine.look_at(asker.conductor, asked.agent)
    assert meter.told == []


async def test_what_a_machine_cannot_is_said_and_not_tried_again(
    claimed: Any, autojump: Any
) -> None:
    owner, roof = await claimed()
    for name, value in (("device_switch", {"on": True}), ("device_limit", {"milli_w": 1})):
        for node, device in ((owner, roof.agent), (roof, None)):
            with pytest.raises(CallError, match=r"nothing to switch|cannot be limited"):
                await node.call(name, device=device, **value)


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        (TransportError("no answer"), Busy),
        (ValueError("a bug"), Busy),
        (LocalError("another password"), CallError),
    ],
)
async def test_a_driver_that_fails_does_not_take_the_node_down(
    claimed: Any, autojump: Any, fault: Exception, seen: type[Exception]
) -> None:
    owner, roof, meter = await tamed(claimed)
    meter.fault = fault
    with pytest.raises(seen):
        await owner.call("device_switch", device=roof.agent, on=True)
    with pytest.raises((TransportError, LocalError)):
        await roof.call("device_switch", on=True)
    meter.fault = None
    await owner.call("device_switch", device=roof.agent, on=True)


async def test_a_machine_that_does_not_answer_is_waited_for_only_so_long(
    claimed: Any, autojump: Any
) -> None:
    owner, roof, meter = await tamed(claimed)
    meter.delay_s = 1_000.0
    began = trio.current_time()
    assert (await machine.look_at(owner.conductor, roof.agent)).stored_bp is None
    with pytest.raises(TransportError):
        await owner.call("device_switch", device=roof.agent, on=True)
    waited = trio.current_time() - began
    assert waited <= machine.BATTERY_WAIT_S + machine.COMMAND_WAIT_S + 1


async def test_what_is_no_command_is_refused_here(claimed: Any, autojump: Any) -> None:
    owner, roof, meter = await tamed(claimed)
    for name, value in (
        ("device_switch", {"on": 1}),
        ("device_switch", {"on": True, "device": "roof"}),
        ("device_limit", {"milli_w": -1}),
        ("device_limit", {"milli_w": True}),
        ("device_limit", {"milli_w": owner_calls.QUANTITY_MAX + 1}),
    ):
        with pytest.raises(CallError):
            await owner.call(name, **{"device": roof.agent, **value})
    with pytest.raises(CallError, match="no machine"):
        await owner.call("device_switch", on=True)
    assert meter.told == []

"""SunSpec inverters, meters and batteries over Modbus TCP.

A device strings its information models together behind the mark `SunS`; the chain is walked once
and remembered, and every later read checks that the model still stands where it stood.  One class
for each set of abilities, so that a device is only asked what it can do: `SunSpecMeter` is read,
`SunSpecInverter` can also be told to give less (model 704, or 123), `SunSpecBattery` tells how
full it is besides (802, 713, or 124).  Devices take few connections: one is opened per call.
"""

from collections.abc import AsyncIterator, Container, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Self

import msgspec
import trio

from ioe_node.clock import Clock, SystemClock
from ioe_node.drivers.driver import Reading, parse_options
from ioe_node.drivers.modbus import ModbusRefused, Unit, connected
from ioe_node.drivers.sunspec_models import (
    CHARGES,
    COUNTERS,
    FULL_POWER,
    LIMITS,
    Counter,
    Limit,
    Point,
    Registers,
    scale_factor,
    text,
)
from ioe_node.errors import ConfigError, LocalError, TransportError

EXCHANGE_DEADLINE_S = 10.0
PROBE_DEADLINE_S = 3.0
PROBES_AT_ONCE_MAX = 32
MODELS_MAX = 64
BASES = (40_000, 50_000, 0)
MARK = (0x5375, 0x6E53)  # "SunS"
COMMON, END = 1, 0xFFFF
COMMON_REGISTERS = 66
ADDRESS_MAX = 0xFFFF


class SunSpecOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`model` is the one whose energy is counted; the chain's first that counts any, if not given.

    `export_positive` is for meters that tell what is exported as positive power; the models mean
    it to be negative, but not every maker does.
    """

    host: Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 502
    unit: Annotated[int, msgspec.Meta(ge=0, le=255)] = 1
    model: int | None = None
    export_positive: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """A model in the device's registers: where its ID stands, and how long it is with it."""

    address: int
    length: int


Chain = Mapping[int, Place]


@dataclass(frozen=True, slots=True)
class Found:
    """A SunSpec device that a probe found."""

    host: str
    port: int
    unit: int
    maker: str
    product: str
    version: str
    serial: str
    models: tuple[int, ...]


class SunSpecMeter:
    """A `Meter`."""

    def __init__(
        self, options: SunSpecOptions, clock: Clock, deadline_s: float = EXCHANGE_DEADLINE_S
    ) -> None:
        self._options, self._clock, self._deadline_s = options, clock, deadline_s
        self._chain: Chain | None = None
        self._turn = trio.Lock()

    @classmethod
    def from_options(cls, options: Mapping[str, object], clock: Clock | None = None) -> Self:
        """ConfigError names the key."""
        parsed = parse_options(options, SunSpecOptions, "sunspec")
        if parsed.model is not None and parsed.model not in COUNTERS:
            known = ", ".join(map(str, COUNTERS))
            raise ConfigError(f"driver sunspec: model: {parsed.model} is none of {known}")
        return cls(parsed, clock or SystemClock())

    async def read(self) -> Reading:
        """Energy and power of the model that counts, at our own time."""
        wanted = self._options.model
        async with self._open() as (unit, chain):
            model = first_of([wanted] if wanted is not None else chain, COUNTERS, chain)
            if model is None:
                raise LocalError("no such model counts energy: set `model` to one that it has")
            registers = await read_model(unit, chain, model, COUNTERS[model].span)
        reading = decode_counter(registers, COUNTERS[model], self._clock.now_us())
        if self._options.export_positive and not COUNTERS[model].generates:
            return replace(reading, power_milli_w=negated(reading.power_milli_w))
        return reading

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[tuple[Unit, Chain]]:
        """A connection of our own, with the chain at hand; errors name the device."""
        options = self._options
        try:
            async with (
                self._turn,
                connected(options.host, options.port, options.unit, self._deadline_s) as unit,
            ):
                self._chain = self._chain or await scan(unit)
                yield unit, self._chain
        except (LocalError, TransportError) as failure:
            # Whatever went wrong, the next walk along the chain finds what now is there.
            self._chain = None
            raise type(failure)(f"sunspec {options.host}:{options.port}: {failure}") from None


class SunSpecInverter(SunSpecMeter):
    """A `Meter` and a `PowerLimit`: the limit bounds what the device gives."""

    async def limit_power(self, milli_w: int | None) -> None:
        """Set or lift the bound; done when the device tells it back."""
        async with self._open() as (unit, chain):
            model = first_of(LIMITS, LIMITS, chain)
            if model is None:
                raise LocalError("the device offers no power limit (model 704 or 123)")
            limit, address = LIMITS[model], chain[model].address
            if milli_w is not None:
                full = await full_power(unit, chain, limit)
                registers = await read_model(unit, chain, model, limit.percent.end)
                asked = percent_register(milli_w, full, registers, limit.percent)
                await unit.write(address + limit.percent.offset, [asked])
            await unit.write(address + limit.enabled, [int(milli_w is not None)])
            registers = await read_model(unit, chain, model, limit.percent.end)
        taken = registers[limit.enabled] == int(milli_w is not None)
        if not taken or (milli_w is not None and registers[limit.percent.offset] != asked):
            raise LocalError("the device did not take the power limit: allow it remote control")


class SunSpecBattery(SunSpecInverter):
    """A `Meter`, a `PowerLimit` and a `Battery`."""

    async def stored_bp(self) -> int:
        """Its state of charge."""
        async with self._open() as (unit, chain):
            model = first_of((713, 802, 124), CHARGES, chain)
            if model is None:
                raise LocalError("the device tells no state of charge (model 713, 802 or 124)")
            registers = await read_model(unit, chain, model, CHARGES[model].end)
            stored = CHARGES[model].scaled(registers, 2)
        if stored is None:
            raise TransportError("the device does not tell its state of charge now")
        return min(max(stored, 0), 10_000)


async def probe(hosts: Iterable[str], port: int = 502, unit: int = 1) -> list[Found]:
    """The SunSpec devices among `hosts`, in their order; those that do not answer are left out."""
    found: dict[str, Found] = {}
    limiter = trio.CapacityLimiter(PROBES_AT_ONCE_MAX)

    async def ask(host: str) -> None:
        try:
            async with limiter, connected(host, port, unit, PROBE_DEADLINE_S) as device:
                chain = await scan(device)
                common = await read_model(device, chain, COMMON, COMMON_REGISTERS)
        except (LocalError, TransportError):
            return
        maker, product, version, serial = (
            text(common[start:end]) for start, end in ((2, 18), (18, 34), (42, 50), (50, 66))
        )
        found[host] = Found(host, port, unit, maker, product, version, serial, tuple(chain))

    asked = list(dict.fromkeys(hosts))
    async with trio.open_nursery() as nursery:
        for host in asked:
            nursery.start_soon(ask, host)
    return [found[host] for host in asked if host in found]


async def scan(unit: Unit) -> Chain:
    """Walk the chain of models; LocalError where there is none.

    Of two models of one kind the first counts.
    """
    address = await _base(unit) + len(MARK)
    chain: dict[int, Place] = {}
    for _ in range(MODELS_MAX):
        if address + 2 > ADDRESS_MAX:
            raise LocalError("its chain of models leads beyond the last register")
        model, length = await unit.read(address, 2)
        if model == END:
            return chain
        chain.setdefault(model, Place(address, length + 2))
        address += length + 2
    raise LocalError(f"it has more than {MODELS_MAX} models: it is no SunSpec device")


async def _base(unit: Unit) -> int:
    for base in BASES:
        try:
            if await unit.read(base, len(MARK)) == MARK:
                return base
        except ModbusRefused:
            continue
    raise LocalError("it has no SunSpec models: check `host`, `port` and `unit`")


async def read_model(unit: Unit, chain: Chain, model: int, count: int) -> Registers:
    """The first `count` registers of a model, its ID among them."""
    place = chain.get(model)
    if place is None or place.length < count:
        raise LocalError(f"it has no complete model {model}")
    registers = await unit.read(place.address, count)
    if registers[0] != model:
        raise TransportError(f"its model {model} is no longer where it was")
    return registers


async def full_power(unit: Unit, chain: Chain, limit: Limit) -> int:
    """What a limit's 100 % is, in milliwatts."""
    for model in limit.of:
        if model in chain:
            registers = await read_model(unit, chain, model, FULL_POWER[model].end)
            milli_w = FULL_POWER[model].scaled(registers, 3)
            if milli_w:
                return milli_w
    raise LocalError("the device does not tell its full power, which limits are counted from")


# --- decoding (pure) ---------------------------------------------------------------------------


def first_of(wanted: Iterable[int], known: Container[int], chain: Chain) -> int | None:
    """The first model wanted that is known to us and in the chain."""
    return next((model for model in wanted if model in known and model in chain), None)


def decode_counter(registers: Registers, counter: Counter, now_us: int) -> Reading:
    """A model's registers as a Reading; TransportError while it tells no energy."""
    exported = counter.exported.scaled(registers, 3)
    imported = 0 if counter.imported is None else counter.imported.scaled(registers, 3)
    if exported is None or imported is None:
        raise TransportError("the device does not tell its energy now")
    if exported < 0 or imported < 0:
        raise LocalError("the device counts less than nothing")
    power = counter.power.scaled(registers, 3)
    return Reading(now_us, imported, exported, negated(power) if counter.generates else power)


def negated(power: int | None) -> int | None:
    """The same power seen from the other side."""
    return None if power is None else -power


def percent_register(milli_w: int, full_milli_w: int, model: Registers, percent: Point) -> int:
    """The bound as the device wants it: no more than asked, at most 100 %, whole steps."""
    assert percent.scale is not None
    exponent = scale_factor(model[percent.scale]) or 0
    hundred = 100 * 10 ** max(-exponent, 0)
    step = full_milli_w * 10 ** max(exponent, 0)
    steps: int = min(max(milli_w, 0), full_milli_w) * hundred // step
    if steps >= 0xFFFF:
        raise LocalError(f"the device tells a scale factor of {exponent}, too fine for a limit")
    return steps

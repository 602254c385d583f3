"""What the control socket answers about meters: their history, its imports, a meter's change."""

from typing import TYPE_CHECKING, Any

import msgspec
import trio

from ioe_node.conductor import history, owner_calls
from ioe_node.drivers.slicer import Change, Reason
from ioe_node.errors import CallError
from ioe_node.hdi import AgentPubKey
from ioe_node.history.periods import Step
from ioe_node.history.point import Point, checked
from ioe_node.model.codec import encode
from ioe_node.model.hashes import AGENT, check_hash

if TYPE_CHECKING:
    from ioe_node.conductor.conductor import Conductor

SOURCE_CHARS_MAX = 64
SERIAL_CHARS_MAX = 64
SAMPLES_SHOWN_MAX = 10_000
REASONS: tuple[Reason, ...] = ("replaced", "reset", "clock")
_points = msgspec.msgpack.Decoder(list[Point])


def _meter(conductor: "Conductor", device: bytes | None) -> AgentPubKey:
    if device is None:
        return conductor.signer().agent
    check_hash(device, AGENT)
    return AgentPubKey(device)


async def meter_history(
    conductor: "Conductor",
    from_us: int,
    to_us: int,
    step: Step,
    device: bytes | None = None,
    source: str | None = None,
) -> dict[str, Any]:
    """Points as one packed list of `Point`s, and whether they are all."""
    meter = _meter(conductor, device)
    found = await history.points(conductor, meter, from_us, to_us, step, source)
    return {"points": encode(found.points), "complete": found.complete}


async def meter_sources(conductor: "Conductor") -> list[dict[str, Any]]:
    """The histories that are kept here: of chains, and imported ones by their sources."""
    found = await trio.to_thread.run_sync(conductor.history.file.series)
    return [each._asdict() for each in found]


async def meter_samples(conductor: "Conductor", limit: int = 100) -> list[dict[str, Any]]:
    """The newest raw samples of our own meter, newest first; they are nowhere else."""
    if not 1 <= limit <= SAMPLES_SHOWN_MAX:
        raise CallError(f"limit is 1 to {SAMPLES_SHOWN_MAX}")
    kept = conductor.history
    await trio.to_thread.run_sync(kept.flush)
    found = await trio.to_thread.run_sync(kept.file.samples, limit)
    return [each._asdict() for each in found]


async def meter_import(
    conductor: "Conductor", source: str, points: bytes, device: bytes | None = None
) -> dict[str, Any]:
    """Keep points as a device's history by somebody else's word, all or none; never on a chain."""
    if not 1 <= len(source) <= SOURCE_CHARS_MAX or not source.isprintable():
        raise CallError(f"a source has a name of 1 to {SOURCE_CHARS_MAX} characters that print")
    meter, kept = _meter(conductor, device), conductor.history.file

    def put() -> int:
        try:
            found = checked(_points.decode(points))
        except msgspec.DecodeError as error:
            raise CallError(f"these are no points: {error}") from None
        if not found:
            raise CallError("no points in it; nothing was imported")
        if any(each.chain and each.source == source for each in kept.series()):
            raise CallError(f"'{source}' is the name of a community's chain; take another")
        kept.put(meter, source, found)
        return len(found)

    return {"points": await trio.to_thread.run_sync(put)}


async def meter_rebuild(conductor: "Conductor") -> dict[str, Any]:
    """Read the history of all our meters from their chains again; imported ones stay."""
    await trio.to_thread.run_sync(conductor.history.file.forget_chains)
    return {"complete": await history.catch_up(conductor)}


async def meter_changed(
    conductor: "Conductor", reason: str, serial: str = "", device: bytes | None = None
) -> dict[str, Any]:
    """The owner's word that a count begins anew: here, or on a device of ours."""
    if reason not in REASONS or len(serial) > SERIAL_CHARS_MAX or not (serial + " ").isprintable():
        raise CallError(f"a reason is one of {', '.join(REASONS)}; a number has 64 letters at most")
    change = Change(reason, serial)
    if device is not None and device != conductor.signer().agent:
        request = owner_calls.MeterChanged(change.reason, serial)
        await owner_calls.ask(conductor, _meter(conductor, device), request)
    else:
        begin_anew(conductor, change)
    return {"reason": reason, "serial": serial}


def begin_anew(conductor: "Conductor", change: Change) -> None:
    """Have our own meter's count begin anew; raises `CallError` where none is read."""
    if conductor.poller is None:
        raise CallError("this node reads no meter; name the device whose meter was changed")
    conductor.poller.slicer.begin_anew(change)

"""What was metered, kept where a question of any year is answered at once (`store.history`).

A node keeps the history of its own meter and of its owner's devices, as their chains say it, and
reads on where it has left off: after a crash, and from the beginning where the file is missing.
A device that took its next key is one meter still: its chain says which key it had before.
`points` is the door for whoever draws or exports; the raw samples of our own meter go no further
than this machine.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import trio

from ioe_node.conductor.cell import Cell
from ioe_node.config import Metering
from ioe_node.drivers.driver import Reading
from ioe_node.errors import CallError, DiskFull, IoeError, StoreError
from ioe_node.hdi import AgentPubKey
from ioe_node.history.periods import STEPS, Step, zone_of
from ioe_node.history.point import ENERGY_MILLI_WH_MAX, LENGTH_US_MAX, TIME_US_MAX, Point
from ioe_node.model.hashes import to_text
from ioe_node.store.history import History, Sample

if TYPE_CHECKING:
    from ioe_node.conductor.conductor import Conductor

log = logging.getLogger("ioe.history")

READ_EVERY_S = 15.0
CHAIN_WAIT_S = 1.0
"""Who asks is not kept waiting for members that are away: what is here is told."""
POINTS_PER_ANSWER_MAX = 40_000
SAMPLES_WAITING_MAX = 10_000
DAY_US = 86_400_000_000


class Answer(NamedTuple):
    """Points, oldest first; `complete` unless there are more, or the chain was not to be read."""

    points: list[Point]
    complete: bool


@dataclass
class Kept:
    """The open file, and what of our own meter's samples is not in it yet."""

    file: History
    settings: Metering
    heard: list[Sample] = field(default_factory=list)

    def hear(self, reading: Reading) -> None:
        """Keep a raw sample; one that is written too late pushes nothing out of the memory."""
        if len(self.heard) < SAMPLES_WAITING_MAX:
            self.heard.append(
                Sample(
                    reading.at_us,
                    reading.import_milli_wh,
                    reading.export_milli_wh,
                    reading.power_milli_w,
                )
            )

    def flush(self) -> None:
        """Write the samples that wait."""
        heard, self.heard = self.heard, []
        if heard and self.settings.samples_max:
            oldest_us = heard[-1].at_us - self.settings.samples_days * DAY_US
            self.file.keep_samples(heard, oldest_us, self.settings.samples_max)

    def close(self) -> None:
        """Write what waits, and close the file."""
        try:
            self.flush()
        except StoreError as error:
            log.error("the last samples are not kept: %s", error)
        self.file.close()


@asynccontextmanager
async def opened(conductor: "Conductor") -> AsyncIterator[Kept]:
    """The open file; one that is damaged is put aside, said, and made again from the chains."""
    settings, path = conductor.config.metering, conductor.home.path / "history.sqlite"
    zone = zone_of(settings.timezone)
    try:
        file = await trio.to_thread.run_sync(History, path, zone)
    except DiskFull:
        raise
    except StoreError as error:
        aside = _put_aside(path)
        text = f"the history of meters was damaged ({error}) and is made anew; it lies in {aside}"
        conductor.alert({"kind": "fault", "text": text})
        file = await trio.to_thread.run_sync(History, path, zone)
    kept = Kept(file, settings)
    try:
        yield kept
    finally:
        kept.close()


def _put_aside(path: Path) -> Path:
    aside = path.with_suffix(".damaged")
    try:
        path.replace(aside)
        for rest in ("-wal", "-shm"):
            path.with_name(path.name + rest).unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"cannot put {path} aside: {error.strerror}; mend it") from None
    return aside


# -- reading chains -------------------------------------------------------------------------------


async def keep(conductor: "Conductor") -> None:
    """Read on, and write samples; for ever."""
    while True:
        await catch_up(conductor)
        await trio.to_thread.run_sync(conductor.history.flush)
        await trio.sleep(READ_EVERY_S)


async def catch_up(conductor: "Conductor", only: bytes | None = None) -> bool:
    """Read on the chains of all our meters, or of one; False if one could not be read."""
    whole = True
    for cell in conductor.cells_with("metering"):
        try:
            for device in await _meters(conductor, cell, only):
                await _read_keys(conductor, cell, device)
        except DiskFull:
            raise
        except IoeError as error:  # a community that closes, or whose members are away
            log.info("reading meters: %s", error)
            whole = False
    return whole


async def _meters(conductor: "Conductor", cell: Cell, only: bytes | None) -> list[AgentPubKey]:
    """Ours in a community; only this one, if it is ours."""
    if conductor.role == "device":
        ours = [cell.space.agent]
    elif only is not None and await _is_begun(conductor, cell, only):
        ours = [AgentPubKey(only)]
    else:
        found = await cell.call("identity", "portfolio", {}) if cell.has("identity") else []
        ours = [AgentPubKey(each["device"]) for each in found]
    return [each for each in ours if only in (None, each)]


async def _is_begun(conductor: "Conductor", cell: Cell, device: bytes) -> bool:
    next_seq = conductor.history.file.next_seq
    return await trio.to_thread.run_sync(next_seq, device, to_text(cell.space.dna)) > 0


async def _read_keys(conductor: "Conductor", cell: Cell, device: AgentPubKey) -> None:
    """Read on a device's chain, and those of the keys that it had before, as they say so."""
    read = 0
    while True:
        keys = await trio.to_thread.run_sync(conductor.history.file.keys, device)
        if read == len(keys):
            return
        await _read_on(conductor, cell, AgentPubKey(keys[read]))
        read += 1


async def _read_on(conductor: "Conductor", cell: Cell, device: AgentPubKey) -> None:
    file, chain = conductor.history.file, to_text(cell.space.dna)
    while True:
        from_seq = await trio.to_thread.run_sync(file.next_seq, device, chain)
        found = await cell.call("metering", "after", {"device": device, "from_seq": from_seq})
        next_seq = found["next_seq"]
        if next_seq == from_seq:
            return
        points = [_point(each) for each in found["readings"] if _is_kept(each)]
        added: bool = await trio.to_thread.run_sync(
            file.add, device, chain, from_seq, next_seq, points, found["before"]
        )
        if added:
            for each in found["readings"]:
                if each["change"] is not None:
                    _tell(conductor, device, each)


def _is_kept(reading: dict[str, Any]) -> bool:
    """A community may have rules by which its readings fit no calendar."""
    length_us = reading["end"] - reading["start"]
    sound = 0 <= reading["start"] < reading["end"] <= TIME_US_MAX
    return sound and bool(length_us <= LENGTH_US_MAX)


def _point(reading: dict[str, Any]) -> Point:
    return Point(
        reading["start"],
        reading["end"],
        min(reading["import_milli_wh"], ENERGY_MILLI_WH_MAX),
        min(reading["export_milli_wh"], ENERGY_MILLI_WH_MAX),
        reading["quality"] == "estimated",
    )


def _tell(conductor: "Conductor", device: AgentPubKey, reading: dict[str, Any]) -> None:
    change = reading["change"]
    conductor.alert(
        {
            "kind": "meter",
            "agent": device,
            "reason": change["reason"],
            "serial": change["serial"],
            "at_us": reading["start"],
            "import_milli_wh": reading["import_register_milli_wh"] - reading["import_milli_wh"],
            "export_milli_wh": reading["export_register_milli_wh"] - reading["export_milli_wh"],
        }
    )


# -- answering ------------------------------------------------------------------------------------


async def points(
    conductor: "Conductor",
    device: AgentPubKey,
    from_us: int,
    to_us: int,
    step: Step,
    source: str | None = None,
    limit: int = POINTS_PER_ANSWER_MAX,
) -> Answer:
    """What a device metered, by local periods that begin in a span, its first one whole.

    With a `source`, what was imported from there.  Raises `CallError` for a span or a step that
    is none.
    """
    if step not in STEPS:
        raise CallError(f"no step '{str(step)[:20]}'; there are: {', '.join(STEPS)}")
    if not 0 <= from_us <= to_us <= TIME_US_MAX:
        raise CallError("from_us and to_us are microseconds since 1970, in this order")
    limit = max(1, min(limit, POINTS_PER_ANSWER_MAX))
    whole = source is not None
    with trio.move_on_after(CHAIN_WAIT_S):
        whole = whole or await catch_up(conductor, device)
    file = conductor.history.file
    found = await trio.to_thread.run_sync(
        file.points, device, source, from_us, to_us, step, limit + 1
    )
    return Answer(found[:limit], whole and len(found) <= limit)

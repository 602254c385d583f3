"""Record readings; read anyone's."""

from typing import Any

from ioe_node.hdi import OpenChain
from ioe_node.hdk import ActionHash, AgentPubKey, CoordinatorZome, Found, Host
from zomes.metering.integrity import IntervalReading
from zomes.metering.integrity import zome as integrity

HISTORY_MAX = 10_000
SILENT_INTERVALS_MAX = 8
EXPORTS_MAX = 96
PRESENCE_RECORDS = 256
REST_US = 2_000_000

zome = CoordinatorZome(integrity)


@zome.function
async def record(host: Host, readings: list[IntervalReading]) -> list[ActionHash]:
    """Commit interval readings, oldest first, as one bundle."""
    hashes = [await host.create(reading) for reading in readings]
    for reading in readings:
        host.emit_signal(
            {
                "metered": reading.end,
                "import_milli_wh": reading.import_milli_wh,
                "export_milli_wh": reading.export_milli_wh,
            }
        )
    return hashes


@zome.function
async def history(
    host: Host, device: AgentPubKey | None = None, limit: int = 96
) -> list[dict[str, Any]]:
    """A device's readings (ours by default), newest first."""
    found = await host.query(IntervalReading, author=device, limit=min(limit, HISTORY_MAX))
    return [_shown(each) for each in found]


def _shown(found: Found) -> dict[str, Any]:
    reading: IntervalReading = found.entry
    change = reading.change
    return {
        "hash": found.hash,
        "seq": found.action.action_seq,
        "start": reading.start,
        "end": reading.end,
        "import_milli_wh": reading.import_milli_wh,
        "export_milli_wh": reading.export_milli_wh,
        "import_register_milli_wh": reading.import_register_milli_wh,
        "export_register_milli_wh": reading.export_register_milli_wh,
        "quality": reading.quality,
        "method": reading.method,
        "change": change and {"reason": change.reason, "serial": change.serial},
    }


@zome.function
async def after(host: Host, device: AgentPubKey, from_seq: int) -> dict[str, Any]:
    """The next readings of a device from a place on its chain on, oldest first.

    `next_seq` is where to go on, and `from_seq` itself when there is no more.  `before` is the
    key that the device had before, where these records say so: a sale is no such thing.
    """
    found = await host.activity(device, from_seq)
    return {
        "before": await _before(host, found),
        "readings": [_shown(each) for each in found if isinstance(each.entry, IntervalReading)],
        "next_seq": found[-1].action.action_seq + 1 if found else from_seq,
    }


async def _before(host: Host, records: list[Found]) -> AgentPubKey | None:
    for each in records:
        if isinstance(each.action, OpenChain):
            closed = await host.get(each.action.close_hash)
            target = getattr(closed.action, "new_target", None) if closed else each.action.author
            if target == each.action.author:
                return AgentPubKey(each.action.prev_target)
    return None


@zome.function
async def before(host: Host, device: AgentPubKey | None = None) -> AgentPubKey | None:
    """The key that a device (we by default) had before this one; None where it had none."""
    return await _before(host, await host.activity(device or host.agent_info().agent))


@zome.function
async def summed(host: Host, device: AgentPubKey, from_us: int, until_us: int) -> dict[str, Any]:
    """What a meter's readings of the intervals that begin in a time add up to.

    `complete` is False where more readings have come since than are looked through.
    """
    found = await host.query(
        IntervalReading,
        author=device,
        limit=HISTORY_MAX,
        enough=lambda each: each.entry.start < from_us,
    )
    inside = [each.entry for each in found if from_us <= each.entry.start < until_us]
    return {
        "import_milli_wh": sum(each.import_milli_wh for each in inside),
        "export_milli_wh": sum(each.export_milli_wh for each in inside),
        "complete": len(found) < HISTORY_MAX,
    }


@zome.function
async def presence(host: Host, device: AgentPubKey) -> dict[str, int] | None:
    """How much of the time a device metered of late; None for one that says nothing.

    Of the newest `PRESENCE_RECORDS` of its chain: intervals measured and written down when they
    were over, and all intervals, with those that were told late or estimated and those since
    its last word.  It is the meter's own word: nobody else was there.
    """
    newest = await host.newest(device, PRESENCE_RECORDS)
    readings = [each for each in newest if isinstance(each.entry, IntervalReading)]
    if not readings:
        return None
    patience_us = SILENT_INTERVALS_MAX * host.properties.interval_us
    since_us = host.now_us() - readings[0].entry.end
    silent = max(0, (since_us - patience_us) // host.properties.interval_us)
    measured = sum(
        each.entry.quality == "measured"
        and each.action.timestamp_us <= each.entry.end + patience_us
        for each in readings
    )
    return {"measured": measured, "intervals": len(readings) + silent}


@zome.function
async def exports(host: Host, from_seq: int) -> list[dict[str, Any]]:
    """Our readings that exported something, from a place on our chain on, oldest first.

    `age` counts our readings since.  The newest `EXPORTS_MAX` only, and none that is younger
    than `REST_US`: the neighbours' readings of the same interval are on their way.
    """
    found = await host.query(
        IntervalReading, limit=EXPORTS_MAX, enough=lambda each: each.action.action_seq <= from_seq
    )
    rested_us = host.now_us() - REST_US
    wanted = [
        {
            "hash": each.hash,
            "seq": each.action.action_seq,
            "start": each.entry.start,
            "age": age,
        }
        for age, each in enumerate(found)
        if each.entry.export_milli_wh
        and each.action.action_seq >= from_seq
        and each.action.timestamp_us <= rested_us
    ]
    return wanted[::-1]


@zome.function
async def of(host: Host, device: AgentPubKey, start: int) -> ActionHash | None:
    """A device's reading of the interval that begins at `start`; None while there is none."""
    found = await host.query(
        IntervalReading, author=device, enough=lambda each: each.entry.start <= start
    )
    return found[-1].hash if found and found[-1].entry.start == start else None


@zome.function
async def at(host: Host, start: int) -> list[dict[str, Any]]:
    """Every meter's reading of the interval that begins at `start`, in key order.

    `present` is False for a device at work that has said nothing about this interval yet; one
    that stays silent while others go on for `SILENT_INTERVALS_MAX` is left out, and then of each
    interval at once until it speaks again.
    """
    at_work = await host.call("identity", "at_work", {})
    agents = sorted({*await host.agents(), *at_work})
    chains = [
        (
            agent,
            await host.query(
                IntervalReading, author=agent, enough=lambda each: each.entry.start <= start
            ),
        )
        for agent in agents
    ]
    newest = max((found[0].entry.start for _, found in chains if found), default=start)
    patience_us = SILENT_INTERVALS_MAX * host.properties.interval_us
    listed = []
    for agent, found in chains:
        spoken_until = found[0].entry.end if found else start
        waiting = newest - min(start, spoken_until) < patience_us
        silent = found[0].entry.start < start if found else agent in at_work
        if silent and waiting:
            listed.append({"agent": agent, "present": False})
        elif found and found[-1].entry.start == start:
            reading = found[-1].entry
            listed.append(
                {
                    "agent": agent,
                    "present": True,
                    "method": reading.method,
                    "import_milli_wh": reading.import_milli_wh,
                    "export_milli_wh": reading.export_milli_wh,
                }
            )
    return listed

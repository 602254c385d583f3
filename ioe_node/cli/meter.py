"""`ioe meter`: what was metered."""

from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click

from ioe_node.cli import client
from ioe_node.cli.meter_files import export, fetch_points, import_, local_zone, span
from ioe_node.cli.output import (
    community_option,
    console,
    home_of,
    json_option,
    kwh,
    limit_option,
    our_device,
    parse_agent,
    plain,
    printable,
    show,
    table,
    when,
)
from ioe_node.errors import LocalError
from ioe_node.hdi import AgentPubKey
from ioe_node.history.periods import STEPS, Step, moment
from ioe_node.history.point import Point

KEYS_MAX = 32
"""So many keys of one device are followed back."""


@click.group()
def meter() -> None:
    """Interval readings, ours and others'.  Import is energy drawn, export energy given."""


meter.add_command(export)
meter.add_command(import_)


@meter.command()
@json_option
@click.pass_context
def read(context: click.Context, as_json: bool) -> None:
    """What the driver read last (on a device's node): power in kW, registers in kWh."""
    found = client.call(home_of(context), "status")
    reading = found["reading"]
    if reading is None:
        raise LocalError(f"nothing read yet: {_why_unread(found)}")

    def people() -> None:
        power = reading["power_milli_w"]
        flow = "-" if power is None else f"{'-' if power < 0 else ''}{kwh(abs(power))} kW"
        console.print(
            f"{when(reading['at_us'])}  power {flow}  import {kwh(reading['import_milli_wh'])} kWh"
            f"  export {kwh(reading['export_milli_wh'])} kWh"
        )
        if found["driver"] and found["driver"]["why"]:
            console.print(f"driver {found['driver']['state']}: {printable(found['driver']['why'])}")

    show(reading, as_json, people)


def _why_unread(status: dict[str, Any]) -> str:
    if status["code"]:
        return f"this device waits for an owner, with the pairing code {status['code']}"
    return (status["driver"] or {}).get("why") or "this node has no device"


by_option = click.option(
    "--by", type=click.Choice(STEPS), help="Sum up by local quarter hours, hours, days, ..."
)
from_option = click.option("--from", "since", metavar="DATE", help="2026-03-29, or a time.")
to_option = click.option("--to", "until", metavar="DATE", help="The first moment left out.")
source_option = click.option(
    "--source", metavar="NAME", help="What was imported under this name; see 'ioe meter sources'."
)


@meter.command()
@click.argument("agent", required=False)
@by_option
@from_option
@to_option
@source_option
@limit_option(24, 10_000)
@community_option
@json_option
@click.pass_context
def history(
    context: click.Context,
    agent: str | None,
    by: Step | None,
    since: str | None,
    until: str | None,
    source: str | None,
    limit: int,
    community: str | None,
    as_json: bool,
) -> None:
    """What AGENT (a device of ours by name, or any by key; this node by default) metered, in kWh.

    \b
      ioe meter history                      this device's newest interval readings
      ioe meter history uhCAk... --limit 96  another member's, as held here
      ioe meter history roof --by day        sums of the last weeks, oldest first
      ioe meter history roof --by hour --from 2026-03-29 --to 2026-03-30

    Sums are of this node's own meter and of our own devices.
    """
    home = home_of(context)
    if by is not None:
        device = our_device(home, agent) if agent else None
        found = fetch_points(home, device, span(home, by, since, until), by, source)
        zone = local_zone(home)
        show([each._asdict() for each in found], as_json, lambda: _sums(found, by, zone))
        return
    if since or until or source:
        raise LocalError("say by what to sum up, too: --by day")
    readings = _newest(home, community, parse_agent(agent) if agent else None, limit)
    show(readings, as_json, lambda: _readings(readings))


def _newest(
    home: Path, community: str | None, device: AgentPubKey | None, limit: int
) -> list[dict[str, Any]]:
    """A device's newest readings, those under the keys that it had before last."""

    def asked(function: str, **payload: Any) -> Any:
        return client.zome(home, community, "metering", function, **payload)

    found: list[dict[str, Any]] = asked("history", device=device, limit=limit)
    for _ in range(KEYS_MAX):
        if len(found) >= limit:
            break
        device = asked("before", device=device)
        if device is None:
            break
        found += asked("history", device=device, limit=limit - len(found))
    return found


def _sums(points: list[Point], by: Step, zone: ZoneInfo) -> None:
    rows = [
        (
            moment(each.start_us, zone).strftime(
                "%Y-%m-%d %H:%M %Z" if by in ("15m", "hour") else "%Y-%m-%d"
            ),
            kwh(each.import_milli_wh),
            kwh(each.export_milli_wh),
            "partly" if each.estimated else "",
        )
        for each in points
    ]
    table("", (by, "kWh in", "kWh out", "estimated"), rows)


def _readings(readings: list[dict[str, Any]]) -> None:
    rows = [
        (
            when(each["start"]),
            kwh(each["import_milli_wh"]),
            kwh(each["export_milli_wh"]),
            each["quality"],
            each["method"],
            _change(each["change"]),
        )
        for each in readings
    ]
    table("", ("from", "kWh in", "kWh out", "quality", "verified by", "count began anew"), rows)


def _change(change: dict[str, str] | None) -> str:
    return f"{change['reason']} {change['serial']}".strip() if change else ""


@meter.command()
@json_option
@click.pass_context
def sources(context: click.Context, as_json: bool) -> None:
    """The histories kept here: of chains, and imported ones, which --source of 'history' takes."""
    found = client.call(home_of(context), "meter_sources")

    def people() -> None:
        rows = [
            (
                plain(each["device"]),
                "metered, on its chain" if each["chain"] else f"imported: {each['source']}",
                when(each["from_us"]) if each["from_us"] is not None else "-",
                when(each["to_us"]) if each["to_us"] is not None else "-",
            )
            for each in found
        ]
        table("", ("device", "source", "from", "to"), rows)

    show(found, as_json, people)


@meter.command()
@limit_option(24, 10_000)
@json_option
@click.pass_context
def samples(context: click.Context, limit: int, as_json: bool) -> None:
    """The newest raw readings of this node's meter; they are kept on this machine only."""
    found = client.call(home_of(context), "meter_samples", limit=limit)

    def people() -> None:
        rows = [
            (when(each["at_us"]), kwh(each["import_milli_wh"]), kwh(each["export_milli_wh"]))
            for each in found
        ]
        table("", ("at", "kWh in", "kWh out"), rows)

    show(found, as_json, people)


@meter.command()
@click.argument("agent", required=False)
@click.option(
    "--reason",
    type=click.Choice(("replaced", "reset", "clock")),
    required=True,
    help="Another meter, the same with a new count, or a time that made no sense.",
)
@click.option("--serial", default="", help="The new meter's number, for the record.")
@click.pass_context
def changed(context: click.Context, agent: str | None, reason: str, serial: str) -> None:
    """Say that the meter of AGENT, a device of ours (this one by default), was changed.

    \b
      ioe meter changed roof --reason replaced --serial 77-1204

    Its count begins anew where it broke, or with the next reading: what flowed in between is not
    known, and counts as nothing.  The chain says so, to everybody.
    """
    home = home_of(context)
    device = our_device(home, agent) if agent else None
    client.call(home, "meter_changed", device=device, reason=reason, serial=serial)
    console.print("the count begins anew with the next readings; 'ioe alerts' tells when")


@meter.command()
@click.pass_context
def rebuild(context: click.Context) -> None:
    """Make the history of our meters anew from their chains; imported data stay.

    It takes some ten seconds for each million interval readings.
    """
    if not client.call(home_of(context), "meter_rebuild")["complete"]:
        raise LocalError("not all chains could be read now; the rest follows by itself")
    console.print("done")

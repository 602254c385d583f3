"""`ioe meter`: what was metered."""

from typing import Any

import click

from ioe_node.cli import client
from ioe_node.cli.output import (
    community_option,
    console,
    home_of,
    json_option,
    kwh,
    limit_option,
    parse_agent,
    printable,
    show,
    table,
    when,
)
from ioe_node.errors import LocalError


@click.group()
def meter() -> None:
    """Interval readings, ours and others'.  Import is energy drawn, export energy given."""


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


@meter.command()
@click.argument("agent", required=False)
@limit_option(24, 10_000)
@community_option
@json_option
@click.pass_context
def history(
    context: click.Context, agent: str | None, limit: int, community: str | None, as_json: bool
) -> None:
    """Interval readings of AGENT (ours by default), newest first, in kWh.

    \b
      ioe meter history                      of this device
      ioe meter history uhCAk... --limit 96  of another member's, as held here
    """
    device = parse_agent(agent) if agent else None
    home = home_of(context)
    found = client.zome(home, community, "metering", "history", device=device, limit=limit)

    def people() -> None:
        rows = [
            (
                when(each["start"]),
                kwh(each["import_milli_wh"]),
                kwh(each["export_milli_wh"]),
                each["quality"],
                each["method"],
            )
            for each in found
        ]
        table("", ("from", "kWh in", "kWh out", "quality", "verified by"), rows)

    show(found, as_json, people)

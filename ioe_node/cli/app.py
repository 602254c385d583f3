"""`ioe app`: the smart energy apps beside a device: what they do, why, and their settings."""

from typing import Any

import click
import msgspec

from ioe_node.cli import client
from ioe_node.cli.output import (
    console,
    credits_text,
    home_of,
    json_option,
    kwh,
    printable,
    show,
    table,
    when,
)
from ioe_node.errors import LocalError


@click.group()
def app() -> None:
    """Smart energy apps: programs beside a device that switch it for a reason.

    \b
      demand     off while power costs more than so many percent over the average
      trader     buys and sells for the device; see 'ioe trader'

    An app runs where the device's config names it ([[app]]); its owner's policy has its settings.
    """


@app.command("list")
@json_option
@click.pass_context
def list_(context: click.Context, as_json: bool) -> None:
    """The apps beside our devices, or this one, with their settings and what they did last."""
    found = client.call(home_of(context), "app_list")
    show(found, as_json, lambda: _people(found))


def _people(found: list[dict[str, Any]]) -> None:
    for each in found:
        if each["name"] is not None:
            console.print(f"{printable(each['device_name'])}: {printable(each['name'])}")
        if each["why"]:
            console.print(f"{printable(each['device_name'])}: {printable(each['why'])}")
        for name, value in each["settings"].items():
            console.print(f"  {printable(name)} = {printable(str(value))}")
        rows = [
            (when(made["at_us"]), printable(made["what"]), _because(made))
            for made in each["decisions"]
        ]
        if rows:
            table("", ("when", "did", "because"), rows)


def _because(made: dict[str, Any]) -> str:
    """Why, with the figures that the decision rests on or has brought."""
    why = printable(made["why"])
    if made.get("saved_milli_wh") and made.get("earns_micro") is not None:
        earns = credits_text(made["earns_micro"])
        return f"{why}: {kwh(made['saved_milli_wh'])} kWh, which earns {earns}"
    price, limit = made.get("micro_per_kwh"), made.get("threshold_micro")
    if price is None or limit is None:
        return why
    return f"{why}: {credits_text(price)} now, the limit is {credits_text(limit)}"


@app.command("set")
@click.argument("name")
@click.argument("settings", nargs=-1, required=True)
@click.option("--device", help="Only for this device of ours, by its name or agent key.")
@click.pass_context
def set_(context: click.Context, name: str, settings: tuple[str, ...], device: str | None) -> None:
    """Change SETTINGS of the app NAME in our policy, which every device of ours then lives by.

    \b
      ioe app set demand over_average_percent=30
      ioe app set demand enabled=false --device kettle
      ioe app set trader export_micro=null         as if it had never been set
    """
    read = dict(_read(each) for each in settings)
    made = client.call(home_of(context), "app_set", name=name, settings=read, device=device)
    console.print(f"policy version {made['version']} is in force")


def _read(setting: str) -> tuple[str, Any]:
    """`name=value`, the value as JSON or else as text."""
    name, equals, value = setting.partition("=")
    if not equals:
        raise LocalError(f"'{setting[:60]}' is no setting; write NAME=VALUE")
    try:
        return name, msgspec.json.decode(value)
    except msgspec.DecodeError:
        return name, value

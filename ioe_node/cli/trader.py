"""`ioe trader`: what the traders beside our devices bid and offered, and why."""

from typing import Any

import click

from ioe_node.cli import client
from ioe_node.cli.output import (
    console,
    credits_text,
    home_of,
    json_option,
    printable,
    show,
    table,
    when,
)

APP = "trader"


@click.group()
def trader() -> None:
    """The app that buys and sells for a device, in the market's next interval.

    It runs where the device's config names it, with the grid's prices as its feed ([[app]]); how
    it trades is in its owner's policy: 'ioe app set trader policy=clean-only'.  It watches the
    meter for a day before it trades.  What the device has orders for already, placed by hand, it
    does not order again.
    """


@trader.command()
@json_option
@click.pass_context
def why(context: click.Context, as_json: bool) -> None:
    """The newest decisions of each trader, and what each was weighed against."""
    found = [each for each in client.call(home_of(context), "app_list") if each["name"] == APP]
    show(found, as_json, lambda: _people(found))


def _people(found: list[dict[str, Any]]) -> None:
    if not found:
        console.print("no device of ours runs the app 'trader': name it in its config ([[app]])")
    for each in found:
        console.print(printable(each["device_name"]))
        rows = [
            (when(made["at_us"]), printable(made["what"]), _price(made), printable(made["why"]))
            for made in each["decisions"]
        ]
        table("", ("when", "did", "price", "because"), rows)


def _price(made: dict[str, Any]) -> str:
    price = made.get("micro_per_kwh")
    return "" if price is None else credits_text(price)

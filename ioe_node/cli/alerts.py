"""`ioe alerts`: what happened to this node and its devices."""

import json
from typing import Any

import click

from ioe_node.cli import client
from ioe_node.cli.output import console, home_of, json_option, printable, show, when


def line(alert: dict[str, Any]) -> str:
    """One alert as people read it."""
    return f"{alert['id']:>5}  {when(alert['at_us'])}  {printable(alert['text'])}"


def people(found: list[dict[str, Any]]) -> None:
    """Print alerts as people read them, one a line."""
    for each in found:
        console.print(line(each))


@click.command()
@click.option("--follow", is_flag=True, help="Go on with each new one until Ctrl-C.")
@click.option("--since", default=0, type=click.IntRange(0), help="Only those after this number.")
@json_option
@click.pass_context
def alerts(context: click.Context, follow: bool, since: int, as_json: bool) -> None:
    """What happened: devices that came, went or changed hands, guessed codes, faults.

    \b
      ioe alerts --since 120
      ioe alerts --follow --json             one JSON object a line

    To have each one sent on, see [alerts] in the config.
    """
    home = home_of(context)
    if not follow:
        found = client.call(home, "alerts", since=since)
        show(found, as_json, lambda: people(found))
        return
    last = since

    def tell(found: list[dict[str, Any]]) -> None:
        nonlocal last
        for each in found:
            if each["id"] > last:
                last = each["id"]
                click.echo(json.dumps(each) if as_json else line(each))

    for signal in client.follow(home, lambda: tell(client.call(home, "alerts", since=last))):
        # A gap in the signals is closed from what the node has kept.
        if signal["kind"] in ("alert", "gap"):
            tell(client.call(home, "alerts", since=last))

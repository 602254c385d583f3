"""`ioe device`: who is near, what is ours, and the claim."""

import click

from ioe_node.cli import client
from ioe_node.cli.output import (
    community_option,
    console,
    home_of,
    json_option,
    parse_agent,
    plain,
    show,
    table,
    when,
)


@click.group()
def device() -> None:
    """Devices near, and the devices that are ours."""


@device.command("list")
@json_option
@click.pass_context
def list_(context: click.Context, as_json: bool) -> None:
    """Devices that announce themselves near here, and our portfolio."""
    found = client.call(home_of(context), "device_list")

    def people() -> None:
        near = [(e["name"], e["kind"], e["state"], plain(e["agent"])) for e in found["near"]]
        table("near", ("name", "kind", "state", "agent"), near)
        ours = [
            (e["name"], e["kind"], when(e["claimed_at"]), e["acknowledged"], plain(e["device"]))
            for e in found["owned"]
        ]
        table("ours", ("name", "kind", "claimed", "acknowledged", "agent"), ours)

    show(found, as_json, people)


@device.command()
@click.argument("which")
@click.argument("code")
@click.option("--name", help="What to call it.  [default: the name that it shows]")
@community_option
@click.pass_context
def claim(
    context: click.Context, which: str, code: str, name: str | None, community: str | None
) -> None:
    """Claim the device WHICH (its name or agent key) with the pairing CODE that it shows.

    \b
      ioe device claim roof 1234-5678 --name "south roof"

    The device gets its keys inside the paired channel, joins our community and acknowledges
    us as its owner.
    """
    target: str | bytes = which
    if which.startswith("uhCAk"):
        target = parse_agent(which)
    made = client.call(
        home_of(context), "device_claim", device=target, code=code, name=name, community=community
    )
    console.print(f"claimed {made['kind']} '{made['name']}': {plain(made['device'])}")

"""`ioe device`: who is near, what is ours, and the claim."""

from pathlib import Path

import click

from ioe_node.cli import client
from ioe_node.cli.key import carry_out
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


out_option = click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Where to write a request, if key-holders have to consent.",
)


@device.command()
@click.argument("device")
@click.argument("buyer")
@out_option
@click.pass_context
def transfer(context: click.Context, device: str, buyer: str, out: Path | None) -> None:
    """Offer our DEVICE to BUYER, both agent keys; to ourselves takes an offer back.

    \b
      ioe device transfer uhCAk...device uhCAk...buyer      we
      ioe device accept uhCAk...us                          the buyer
      ioe device claim roof 1234-5678                       the buyer, with the new code it shows

    Once both have signed, the device settles its balance with us, closes its chain and forgets
    us and all that it kept; then only the buyer can claim it.  It does so while this node runs.
    """
    payload = {"device": parse_agent(device), "buyer": parse_agent(buyer)}
    if carry_out(home_of(context), "offer", payload, out, None):
        console.print("offered; when the buyer has accepted, the device leaves us")


@device.command()
@click.argument("seller")
@click.option("--device", help="Only this one of the devices that are offered.")
@click.pass_context
def accept(context: click.Context, seller: str, device: str | None) -> None:
    """Accept what SELLER (an agent key) offers us with 'ioe device transfer'.

    \b
      ioe device accept uhCAk...seller --device uhCAk...device

    The device then leaves the seller by itself; claim it with the code that it shows.
    """
    which = None if device is None else parse_agent(device)
    found = client.call(home_of(context), "device_accept", seller=parse_agent(seller), device=which)
    for each in found:
        console.print(f"accepted {plain(each['device'])}")


@device.command()
@click.argument("device")
@out_option
@click.pass_context
def release(context: click.Context, device: str, out: Path | None) -> None:
    """Give our DEVICE up: it forgets us and all that it kept, and shows a new code.

    \b
      ioe device release uhCAk...device

    Whoever has that code can claim it then.  It settles its balance with us first.
    """
    if carry_out(home_of(context), "release", {"device": parse_agent(device)}, out, None):
        console.print("released; it leaves as soon as it can be reached ('ioe device list')")


@device.command()
@click.argument("device")
@click.option("--reason", default="", help="A line for everybody, up to 140 characters.")
@out_option
@click.pass_context
def revoke(context: click.Context, device: str, reason: str, out: Path | None) -> None:
    """Shut our DEVICE out, as it is lost or stolen: everybody refuses its key from now on.

    \b
      ioe device revoke uhCAk...device --reason "stolen from the roof"

    This cannot be taken back.  The machine itself, if it comes back, has to be made anew.
    """
    payload = {"agent": parse_agent(device), "reason": reason}
    if carry_out(home_of(context), "revoke", payload, out, None):
        console.print("revoked; it is refused wherever this becomes known")

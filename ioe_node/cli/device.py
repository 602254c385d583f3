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
    our_device,
    parse_agent,
    plain,
    show,
    table,
    when,
)
from ioe_node.cli.qr import qr_png, qr_text

OWN = "self"


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
@click.argument("code", required=False)
@click.option("--name", help="What to call it.  [default: the name that it shows]")
@community_option
@click.pass_context
def claim(
    context: click.Context, which: str, code: str | None, name: str | None, community: str | None
) -> None:
    """Claim the device WHICH (its name or agent key) with the pairing CODE that it shows.

    \b
      ioe device claim roof 1234-5678 --name "south roof"
      ioe device claim "ioe:claim?device=uhCAk...&code=1234-5678"

    The second form is the line of its QR code.  The device gets its keys inside the paired channel,
    joins our community and acknowledges us as its owner.  If it is set to ask for its button, press
    that within 60 seconds.
    """
    target: str | bytes = which
    if which.startswith("uhCAk"):
        target = parse_agent(which)
    made = client.call(
        home_of(context), "device_claim", device=target, code=code, name=name, community=community
    )
    console.print(f"claimed {made['kind']} '{made['name']}': {plain(made['device'])}")
    if made["failed"]:
        console.print(f"attempts to pair with it that had failed before: {made['failed']}")


@device.command("code")
@click.option(
    "--png", type=click.Path(path_type=Path, dir_okay=False), help="Write the QR code there."
)
@json_option
@click.pass_context
def code_(context: click.Context, png: Path | None, as_json: bool) -> None:
    """The pairing code of this device, as digits and as a QR code.

    \b
      ioe --home plug device code --png sticker.png
    """
    found = client.call(home_of(context), "device_code")
    if png is not None:
        qr_png(found["uri"], png)

    def people() -> None:
        console.print(f"pairing code: {found['code']}")
        console.print(f"{qr_text(found['uri'])}\n{found['uri']}")
        if found["failed"]:
            console.print(f"failed attempts: {found['failed']}; see 'ioe alerts'")
        if found["locked_s"]:
            console.print(f"locked for {found['locked_s']} s; 'ioe device unlock' opens it once")
        if found["proven"]:
            console.print(f"waits for 'ioe device confirm' to take {plain(found['proven'])}")

    show(found, as_json, people)


@device.command()
@click.pass_context
def confirm(context: click.Context) -> None:
    """Press this device's button: take the owner who has proved its code.

    \b
      ioe device code                    shows who that is
      ioe --home plug device confirm
    """
    made = client.call(home_of(context), "device_confirm")
    console.print(f"confirmed: this device takes {plain(made['owner'])} as its owner")


@device.command()
@click.argument("owner", required=False)
@click.pass_context
def unlock(context: click.Context, owner: str | None) -> None:
    """Let one attempt to pair in, although others have guessed and pairing is locked.

    \b
      ioe --home plug device unlock uhCAk...

    With OWNER, the agent key that 'ioe status' shows on the owner's node, nobody else can take that
    one attempt.
    """
    whose = None if owner is None else parse_agent(owner)
    made = client.call(home_of(context), "device_unlock", owner=whose)
    console.print(f"open for one attempt within {made['seconds']} s")


@device.command("switch")
@click.argument("name")
@click.argument("to", type=click.Choice(["on", "off"]))
@click.pass_context
def switch_(context: click.Context, name: str, to: str) -> None:
    """Switch our device NAME (its name or agent key): TO is on or off.

    \b
      ioe device switch kettle off
      ioe --home plug device switch self on      on the device's own node

    It is told when the device has confirmed it.
    """
    home = home_of(context)
    which = None if name == OWN else our_device(home, name)
    client.call(home, "device_switch", device=which, on=to == "on")
    console.print(f"{name} is {to}")


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
    """Offer our DEVICE (its name or agent key) to BUYER (an agent key).

    \b
      ioe device transfer roof uhCAk...buyer      we; to ourselves takes an offer back
      ioe device accept uhCAk...us                the buyer
      ioe device claim roof 1234-5678             the buyer, with the new code it shows

    Once both have signed, the device settles its balance with us, closes its chain and forgets
    us and all that it kept; then only the buyer can claim it.  It does so while this node runs.
    """
    home = home_of(context)
    payload = {"device": our_device(home, device), "buyer": parse_agent(buyer)}
    if carry_out(home, "offer", payload, out, None):
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
      ioe device release roof                     by its name or agent key

    Whoever has that code can claim it then.  It settles its balance with us first.
    """
    home = home_of(context)
    if carry_out(home, "release", {"device": our_device(home, device)}, out, None):
        console.print("released; it leaves as soon as it can be reached ('ioe device list')")


@device.command()
@click.argument("device")
@click.option("--reason", default="", help="A line for everybody, up to 140 characters.")
@out_option
@click.pass_context
def revoke(context: click.Context, device: str, reason: str, out: Path | None) -> None:
    """Shut our DEVICE out, as it is lost or stolen: everybody refuses its key from now on.

    \b
      ioe device revoke roof --reason "stolen from the roof"      by its name or agent key

    This cannot be taken back.  The machine itself, if it comes back, has to be made anew.
    """
    home = home_of(context)
    payload = {"agent": our_device(home, device), "reason": reason}
    if carry_out(home, "revoke", payload, out, None):
        console.print("revoked; it is refused wherever this becomes known")

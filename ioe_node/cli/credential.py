"""`ioe credential`: what a device is approved as, by whom, and how its hardware is."""

import click

from ioe_node.cli import client
from ioe_node.cli.output import (
    community_option,
    console,
    home_of,
    json_option,
    parse_action,
    parse_agent,
    plain,
    printable,
    show,
)
from ioe_node.errors import LocalError


@click.group()
def credential() -> None:
    """Credentials of devices: the owner applies, a quorum of approvers makes it one.

    See 'ioe claim apply' and 'ioe claim approve'.
    """


@credential.command("show")
@click.argument("device")
@community_option
@json_option
@click.pass_context
def show_(context: click.Context, device: str, community: str | None, as_json: bool) -> None:
    """The applications for a DEVICE, newest first, who approved them, and its state."""
    found = client.zome(
        home_of(context), community, "claims", "credentials", device=parse_agent(device)
    )

    def people() -> None:
        for each in found:
            voices = f"{len(each['approved_by'])} of {each['quorum']} approvals"
            console.print(f"{each['standing']} ({voices}): {plain(each['application'])}")
            console.print(f"  owner    {plain(each['owner'])}")
            for approver in each["approved_by"]:
                console.print(f"  approver {plain(approver)}")
            for one in each["attributes"]:
                console.print(f"  {printable(one['name'])} = {printable(one['value'])}")
            console.print(f"  hardware {printable(each['hardware']) or '-'}")
            console.print(f"  pool     {printable(each['pool']) or '-'}")
        if not found:
            console.print("no application; its owner makes one with 'ioe claim apply'")

    show(found, as_json, people)


@credential.command()
@click.argument("application")
@click.option("--hardware", help="What state the device is in.")
@click.option("--pool", help="Which pool it works in.")
@community_option
@click.pass_context
def update(
    context: click.Context,
    application: str,
    hardware: str | None,
    pool: str | None,
    community: str | None,
) -> None:
    """Tell the state of a device of ours, named by its APPLICATION; what is left out stays.

    \b
      ioe credential update uhCkk... --hardware "inverter replaced"
    """
    if hardware is None and pool is None:
        raise LocalError("say what has changed: --hardware, --pool, or both")
    made = client.zome(
        home_of(context),
        community,
        "claims",
        "set_status",
        application=parse_action(application),
        hardware=hardware,
        pool=pool,
    )
    console.print(f"updated: {plain(made)}")

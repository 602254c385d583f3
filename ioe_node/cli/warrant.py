"""`ioe warrant`: who was convicted of what, and the evidence, judged again."""

from typing import Any

import click

from ioe_node.cli import client
from ioe_node.cli.output import (
    community_option,
    console,
    home_of,
    json_option,
    plain,
    printable,
    short,
    show,
    table,
    when,
)

OFFENCES = {
    "InvalidRecord": "published a record that breaks a rule of the community",
    "ChainFork": "signed two different actions at one place of its chain",
    "DoubleSeal": "sealed one action in two different bundles",
    "Revoked": "been revoked, by its owner or its key-holders",
    "FalseWarrant": "accused another agent of what the rules allow",
}


@click.group()
def warrant() -> None:
    """Warrants: signed proofs of misbehaviour, which shut an agent out for good."""


@warrant.command("list")
@community_option
@json_option
@click.pass_context
def list_(context: click.Context, community: str | None, as_json: bool) -> None:
    """The warrants that this node keeps, oldest first.

    \b
      ioe warrant list
    """
    found = client.call(home_of(context), "warrant_list", community=community)

    def people() -> None:
        rows = [
            (
                plain(each["hash"])[:13],
                short(each["agent"]),
                OFFENCES[each["kind"]],
                short(each["accuser"]),
                when(each["kept_at_us"]),
            )
            for each in found
        ]
        table("", ("warrant", "convicted", "of having", "accuser", "came"), rows)

    show(found, as_json, people)


@warrant.command("show")
@click.argument("which")
@community_option
@json_option
@click.pass_context
def show_(context: click.Context, which: str, community: str | None, as_json: bool) -> None:
    """Explain one warrant, WHICH by its hash or by the agent that it convicts.

    \b
      ioe warrant show uhCwk5-vTqm2
      ioe warrant show uhCAkWCsAgoKk

    The beginning of either will do.  The evidence is in the warrant, so the node does not take
    the accuser's word: it checks it again each time you ask.
    """
    found = client.call(home_of(context), "warrant_show", which=which, community=community)
    show(found, as_json, lambda: _explain(found))


def _explain(found: dict[str, Any]) -> None:
    console.print(f"{plain(found['agent'])}")
    console.print(f"  {OFFENCES[found['kind']]}")
    revoked = found["kind"] == "Revoked"
    if found["reason"]:
        who = "the reason given" if revoked else "the rule says"
        console.print(f"  {who}: {printable(found['reason'])}")
    if found["kind"] == "FalseWarrant":
        console.print(f"  whom it accused: {plain(found['accused'])}")
    for action in found["actions"]:
        console.print(f"  {_action(action)}")
    if found["bundle_actions"] > len(found["actions"]):
        console.print(f"  with the {found['bundle_actions'] - 1} before it in its bundle")
    console.print(f"  {'told' if revoked else 'accused'} by {plain(found['accuser'])}")
    console.print(f"  on {when(found['accused_at_us'])}, here since {when(found['kept_at_us'])}")
    console.print(f"  checked again now: {_finding(found)}")
    console.print(f"  warrant {plain(found['hash'])}")


def _action(action: dict[str, Any]) -> str:
    what = f"{action['type']} {action['entry_type']}" if action["entry_type"] else action["type"]
    place = f"{action['bundle_place'] + 1}/{action['bundle_size']} of its bundle"
    at = when(action["timestamp_us"])
    return f"action {action['seq']}, {printable(what)}, {at}, {place}: {plain(action['hash'])}"


def _finding(found: dict[str, Any]) -> str:
    """Whether the conviction stands; of a false warrant it does when the accusation does not."""
    if found["stands"] is None:
        return f"cannot be said yet: {found['finding']}"
    stands = found["stands"] != (found["kind"] == "FalseWarrant")
    return f"{'it stands' if stands else 'it does NOT stand'}: {found['finding']}"

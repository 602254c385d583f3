"""`ioe community`: found, invite, join."""

import re
import sys
from typing import Any

import click

from ioe_node.cli import client
from ioe_node.cli.output import (
    community_option,
    console,
    home_of,
    json_option,
    parse_agent,
    parse_digest,
    plain,
    show,
    table,
)
from ioe_node.errors import LocalError

WORD = re.compile(r"[a-z][a-z_]{0,63}")


@click.group()
def community() -> None:
    """Communities: each a network of its own, with its own rules and members."""


@community.command()
@click.argument("name")
@click.option("--dna", default="neighbourhood", show_default=True, help="Which rules.")
@click.option(
    "--set", "amend", multiple=True, metavar="PROPERTY=VALUE", help="Set a property of the rules."
)
@click.option(
    "--fee",
    "fees",
    multiple=True,
    metavar="NAME=AGENT:BP[:ZONE]",
    help="A part of what sellers earn, in basis points: always, or over a zone's border.",
)
@click.pass_context
def create(
    context: click.Context, name: str, dna: str, amend: tuple[str, ...], fees: tuple[str, ...]
) -> None:
    """Found a community NAME with ourselves as its steward.

    \b
      ioe community create street
      ioe community create street --set price_bp=8000 --set interval_us=900000000
      ioe community create street --set mechanism=pay_as_bid
      ioe community create street --set approvers=uhCAk...,uhCAk... --set approval_quorum=2
      ioe community create street --fee platform=uhCAk...:100 --fee wires=uhCAk...:250:vic/carlton
    """
    values: dict[str, Any] = {}
    for pair in amend:
        key, _, value = pair.partition("=")
        try:
            if value.startswith("uhCAk"):
                values[key] = [*map(parse_agent, value.split(","))]
            else:
                values[key] = value if WORD.fullmatch(value) else int(value)
        except ValueError:
            raise LocalError(
                f"--set '{pair}': write PROPERTY=NUMBER, a word, or keys with commas"
            ) from None
    if fees:
        values["fees"] = [_parse_fee(text) for text in fees]
    made = client.call(home_of(context), "community_create", name=name, amend=values, dna=dna)
    console.print(f"founded {made['community']}: {plain(made['dna'])}")


def _parse_fee(text: str) -> dict[str, Any]:
    """`platform=uhCAk...:100` or `wires=uhCAk...:250:vic/carlton`; raises LocalError."""
    name, _, terms = text.partition("=")
    payee, _, rest = terms.partition(":")
    part_bp, _, zone = rest.partition(":")
    if not (name and part_bp.isascii() and part_bp.isdecimal()):
        raise LocalError(f"--fee '{text}': write NAME=AGENT:BASIS_POINTS, or with a :ZONE")
    return {"name": name, "payee": parse_agent(payee), "part_bp": int(part_bp), "zone": zone}


@community.command("list")
@json_option
@click.pass_context
def list_(context: click.Context, as_json: bool) -> None:
    """The communities that this node is in."""
    found = client.call(home_of(context), "community_list")

    def people() -> None:
        rows = [
            (e["community"], e["steward"], len(e["peers"]), e["ops_held"], plain(e["dna"]))
            for e in found
        ]
        table("", ("community", "steward", "peers", "ops held", "network"), rows)

    show(found, as_json, people)


@community.command()
@click.argument("agent")
@click.argument("recovery")
@community_option
@click.pass_context
def invite(context: click.Context, agent: str, recovery: str, community: str | None) -> None:
    """Print an invitation that admits AGENT, and only AGENT; give it to them.

    \b
      ioe community invite uhCAk... 51d0...      (they read both in 'ioe key show')

    RECOVERY names who alone may put another key in the place of AGENT's: whoever has their 24
    words, and nobody who only steals their machine.
    """
    made = client.call(
        home_of(context),
        "community_invite",
        agent=parse_agent(agent),
        recovery=parse_digest(recovery),
        community=community,
    )
    click.echo(made["invitation"])


@community.command()
@click.argument("invitation")
@click.pass_context
def join(context: click.Context, invitation: str) -> None:
    """Join a community by an INVITATION ('-' reads it from standard input).

    \b
      ioe community join ioe1...
      ioe community join - < invitation.txt
    """
    text = sys.stdin.read() if invitation == "-" else invitation
    made = client.call(home_of(context), "community_join", invitation=text)
    console.print(f"joined {made['community']}: {plain(made['dna'])}")

"""`ioe peers`: who else is in the community, and how they behave."""

from typing import Any

import click

from ioe_node.cli import client
from ioe_node.cli.output import (
    community_option,
    home_of,
    json_option,
    plain,
    short,
    show,
    table,
    when,
)


@click.command()
@community_option
@json_option
@click.pass_context
def peers(context: click.Context, community: str | None, as_json: bool) -> None:
    """Everyone that this node knows of in the community, and what it holds against them.

    \b
      ioe peers
      ioe peers --json | jq '.[] | select(.slowed)'

    A peer with a full arc holds a share of what the others write; one with a zero arc only its
    own chain.

    A peer that sends what it must not, or asks faster than [limits] in the config allows, is
    charged points.  They halve every five minutes.  From 50 on the peer is slowed to an eighth of
    its rates, from 150 on it is refused until they have halved.  That is forgotten in the end;
    only a warrant is for good: see 'ioe warrant list'.
    """
    found = client.call(home_of(context), "peers_list", community=community)

    def people() -> None:
        rows = [
            (
                short(each["agent"]),
                each["name"],
                each["role"],
                each["arc"],
                when(each["asked_at_us"]) if each["asked_at_us"] else "never",
                each["score_points"],
                state_of(each),
                charges_of(each),
                " ".join(each["addresses"]),
                plain(each["agent"]),
            )
            for each in found
        ]
        columns = ("peer", "name", "role", "arc", "last asked us", "score", "state")
        table("", (*columns, "charges", "addresses", "agent"), rows)

    show(found, as_json, people)


def state_of(peer: dict[str, Any]) -> str:
    """What this node does with a peer now, in a word or two."""
    if peer["warranted"]:
        return "warranted"
    if peer["shunned_s"]:
        return f"refused for {peer['shunned_s']} s"
    if peer["slowed"]:
        return "slowed"
    return "refuses us" if peer["refuses_us"] else "good"


def charges_of(peer: dict[str, Any]) -> str:
    """How often a peer was charged, and the last reason."""
    if not peer["charges"]:
        return ""
    return f"{peer['charges']}, last {when(peer['last_charge_us'])}: {peer['last_charge']}"

"""`ioe chain`: show it through the node; verify it straight from the disk."""

import click

from ioe_node.cli import client
from ioe_node.cli.output import (
    community_option,
    console,
    home_of,
    json_option,
    limit_option,
    parse_action,
    parse_agent,
    plain,
    short,
    show,
    table,
    when,
)
from ioe_node.conductor.home import Home
from ioe_node.errors import LocalError, Malformed, TransportError
from ioe_node.model.hashes import ACTION, from_text

WAIT_MAX_S = 100


@click.group()
def chain() -> None:
    """Source chains: the signed history of an agent."""


@chain.command("show")
@click.argument("agent", required=False)
@click.option(
    "--from",
    "from_seq",
    default=0,
    type=click.IntRange(0, 2**32 - 1),
    help="First sequence number.",
    show_default=True,
)
@limit_option(50, 1_000)
@community_option
@json_option
@click.pass_context
def show_(
    context: click.Context,
    agent: str | None,
    from_seq: int,
    limit: int,
    community: str | None,
    as_json: bool,
) -> None:
    """The actions of AGENT's chain (ours by default) as held here, oldest first.

    \b
      ioe chain show --from 100 --limit 20
    """
    found = client.call(
        home_of(context),
        "chain_show",
        agent=parse_agent(agent) if agent else None,
        from_seq=from_seq,
        limit=limit,
        community=community,
    )

    def people() -> None:
        rows = [
            (
                each["seq"],
                each["type"],
                each["entry_type"] or "",
                when(each["timestamp_us"]),
                f"{each['bundle_place'] + 1}/{each['bundle_size']}",
                plain(each["hash"])[:13],
            )
            for each in found
        ]
        table("", ("seq", "action", "entry", "when", "bundle", "hash"), rows)

    show(found, as_json, people)


@chain.command()
@click.argument("action")
@community_option
@json_option
@click.pass_context
def receipts(context: click.Context, action: str, community: str | None, as_json: bool) -> None:
    """How many authorities have signed that they hold ACTION, a hash on our own chain."""
    try:
        hash_ = from_text(action, ACTION)
    except Malformed:
        text = f"'{action[:60]}' is no action's hash; 'ioe chain show --json' lists ours"
        raise LocalError(text) from None
    found = client.call(home_of(context), "receipts", action=hash_, community=community)
    show(found, as_json, lambda: console.print(f"{found['have']} of {found['needed']} receipts"))


@chain.command()
@click.argument("action", required=False, metavar="[HASH|SEQ]")
@click.option("--agent", metavar="KEY", help="Whose chain SEQ is a place of (ours by default).")
@click.option(
    "--wait",
    "wait_s",
    default=0,
    type=click.IntRange(0, WAIT_MAX_S),
    metavar="SECONDS",
    help="Ask its witnesses until it is final, for so long.",
    show_default=True,
)
@community_option
@json_option
@click.pass_context
def final(
    context: click.Context,
    action: str | None,
    agent: str | None,
    wait_s: int,
    community: str | None,
    as_json: bool,
) -> None:
    """Whether an action is final: the newest of our chain, or [HASH|SEQ].

    \b
      ioe chain final --wait 10
      ioe chain final 42 --agent uhCAk...

    Exit codes: 0 final, 4 not yet or not to be had (ask again, or --wait), 1 it never will be.
    """
    by_seq = action is not None and action.isascii() and action.isdecimal()
    found = client.call(
        home_of(context),
        "chain_final",
        agent=parse_agent(agent) if agent else None,
        seq=int(action) if action and by_seq else None,
        hash=parse_action(action) if action and not by_seq else None,
        wait_s=wait_s,
        community=community,
    )
    text = f"action {found['seq']} of {short(found['author'])}"
    count = f"{found['signed']} of {found['needed']} witnesses needed have signed"
    show(found, as_json, lambda: console.print(f"{text}: {found['state']}, {count}"))
    if found["state"] == "pending":
        raise TransportError(f"{text} is not final yet ({count}); ask again with --wait 10")
    if found["state"] == "impossible":
        raise LocalError(f"{text} will never be final; see 'ioe status' for warrants")


@chain.command()
@json_option
@click.pass_context
def verify(context: click.Context, as_json: bool) -> None:
    """Check every chain held here, byte by byte, from the disk alone.

    Works while the node runs and while it does not.  A chain that fails is named with its
    first bad action, and the exit code is 1.
    """
    from ioe_node.conductor.invitation import known_dnas
    from ioe_node.conductor.verify import verify_home
    from ioe_node.config import load_config

    home = Home(home_of(context))
    found = verify_home(home, known_dnas(load_config(home.config).dnas))

    def people() -> None:
        rows = [
            (e["community"], short(e["agent"]), e["actions"], e["fault"] or "verified")
            for e in found
        ]
        table("", ("community", "agent", "actions", "result"), rows)

    show(found, as_json, people)
    broken = [each for each in found if each["fault"]]
    if broken:
        raise LocalError(
            f"{len(broken)} of {len(found)} chains do not verify; stop the node, move the file "
            f"out of {home_of(context) / 'cells'} and start it again: the other nodes give back "
            "what they hold (an old backup would be behind them)"
        )
    if not as_json:
        console.print("1 chain verifies" if len(found) == 1 else f"{len(found)} chains verify")

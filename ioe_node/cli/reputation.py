"""`ioe reputation`: how we see others, by our own weights, and why."""

from pathlib import Path
from typing import Any

import click

from ioe_node.cli import client
from ioe_node.cli.output import (
    community_option,
    console,
    home_of,
    json_option,
    limit_option,
    parse_agent,
    plain,
    printable,
    short,
    show,
    table,
)
from ioe_node.cli.warrant import OFFENCES
from ioe_node.conductor.home import Home
from ioe_node.conductor.weighing import weights_of
from ioe_node.config import load_config

AGENTS_MAX = 32


@click.group()
def reputation() -> None:
    """Reputation: your own view of others, from evidence, by the weights in your config.

    Nobody else sees it and nobody agrees on it.  Change [reputation] in config.toml and look
    again: it is read each time.
    """


def _weights(home: Path) -> dict[str, Any]:
    """The `[reputation]` table as the zome takes it; raises `ConfigError`."""
    path = Home(home).config
    return weights_of(load_config(path).reputation, str(path))


@reputation.command("show")
@click.argument("agent", required=False)
@limit_option(AGENTS_MAX, AGENTS_MAX)
@community_option
@json_option
@click.pass_context
def show_(
    context: click.Context, agent: str | None, limit: int, community: str | None, as_json: bool
) -> None:
    """The score of AGENT, or of everyone known here, best first, in points."""
    home = home_of(context)
    weights = _weights(home)
    if agent:
        view = _view(home, community, agent, weights)
        show(view, as_json, lambda: console.print(f"{view['score']}  {plain(view['agent'])}"))
        return
    found = client.zome(home, community, "reputation", "show", weights=weights, limit=limit)

    def people() -> None:
        rows = [
            (
                "-" if each["score"] is None else each["score"],
                plain(each["agent"]),
                each["why"] or f"{each['pieces']} pieces of evidence",
            )
            for each in found["views"]
        ]
        table("", ("points", "agent", "from"), rows)
        if found["left_out"]:
            console.print(f"and {found['left_out']} more; name one to see it")

    show(found, as_json, people)


@reputation.command()
@click.argument("agent")
@community_option
@json_option
@click.pass_context
def explain(context: click.Context, agent: str, community: str | None, as_json: bool) -> None:
    """Each piece of evidence on AGENT, its weight and what it contributes; they add up.

    \b
      ioe reputation explain uhCAk...
    """
    home = home_of(context)
    found = _view(home, community, agent, _weights(home))

    def people() -> None:
        rows = [
            (
                each["contribution"],
                each["weight"],
                each["kind"],
                OFFENCES.get(each["what"], each["what"]),
                plain(each["source"]) if each["source"] else "-",
            )
            for each in found["evidence"]
        ]
        table("", ("points", "weight", "kind", "evidence", "source"), rows)
        console.print(f"{found['score']} points: {printable(short(found['agent']))}")

    show(found, as_json, people)


def _view(home: Path, community: str | None, agent: str, weights: dict[str, Any]) -> dict[str, Any]:
    view: dict[str, Any] = client.zome(
        home, community, "reputation", "explain", agent=parse_agent(agent), weights=weights
    )
    return view

"""`ioe profile`: what the public may know of an agent, and who answers for it."""

import click

from ioe_node.cli import client
from ioe_node.cli.output import (
    community_option,
    console,
    home_of,
    json_option,
    parse_agent,
    plain,
    printable,
    show,
)
from ioe_node.errors import LocalError


@click.group()
def profile() -> None:
    """Public profiles: our own, or left to a provider that we name and can dismiss."""


@profile.command("show")
@click.argument("agent", required=False)
@community_option
@json_option
@click.pass_context
def show_(context: click.Context, agent: str | None, community: str | None, as_json: bool) -> None:
    """The public profile of AGENT (ours by default), and who answers for it."""
    who = parse_agent(agent) if agent else None
    found = client.zome(home_of(context), community, "claims", "profile", subject=who)

    def people() -> None:
        console.print(f"{printable(found['name']) or 'no profile'}  {plain(found['subject'])}")
        if found["about"]:
            console.print(f"  {printable(found['about'])}")
        if found["provider"] or found["url"]:
            provider = plain(found["provider"]) if found["provider"] else found["url"]
            console.print(f"  answered for by {printable(provider)}")

    show(found, as_json, people)


@profile.command("set")
@click.argument("name")
@click.option("--about", default="", help="A line about the agent.")
@click.option("--for", "subject", metavar="AGENT", help="An agent who named us its provider.")
@community_option
@click.pass_context
def set_(
    context: click.Context, name: str, about: str, subject: str | None, community: str | None
) -> None:
    """Publish our profile under NAME, or that of an agent whose provider we are.

    \b
      ioe profile set Ann --about "sun on the roof, number 7"
    """
    made = client.zome(
        home_of(context),
        community,
        "claims",
        "set_profile",
        name=name,
        about=about,
        subject=parse_agent(subject) if subject else None,
    )
    console.print(f"published: {plain(made)}")


@profile.command()
@click.argument("provider", required=False)
@click.option("--end", is_flag=True, help="Let nobody answer for us any more.")
@community_option
@click.pass_context
def delegate(
    context: click.Context, provider: str | None, end: bool, community: str | None
) -> None:
    """Let PROVIDER, an agent's key or a URL, answer for our public profile.

    \b
      ioe profile delegate uhCAk...
      ioe profile delegate https://id.example.net/ann
      ioe profile delegate --end
    """
    if end == (provider is not None):
        raise LocalError("name a provider, or end with --end, one of them")
    home = home_of(context)
    if provider is None:
        ended = client.zome(home, community, "claims", "end_delegation")
        console.print("ended: we answer for ourselves" if ended else "nobody answered for us")
        return
    by_url = "://" in provider
    made = client.zome(
        home,
        community,
        "claims",
        "delegate",
        agent=None if by_url else parse_agent(provider),
        url=provider if by_url else "",
    )
    console.print(f"delegated: {plain(made)}")

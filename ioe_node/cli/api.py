"""`ioe page`, `ioe api`: the page in a browser, and tokens for programs."""

import re
import webbrowser

import click

from ioe_node.cli import client
from ioe_node.cli.output import console, home_of, json_option, show, table, when
from ioe_node.errors import LocalError

UNIT_US = {"h": 3_600_000_000, "d": 86_400_000_000, "w": 604_800_000_000}
SPAN = re.compile(r"([1-9][0-9]{0,5})([hdw])")


@click.command()
@click.option("--open/--no-open", "opens", default=True, help="Open it in this machine's browser.")
@json_option
@click.pass_context
def page(context: click.Context, opens: bool, as_json: bool) -> None:
    """The node's page: print its address with a fresh token, and open it.

    \b
      ioe page
      ioe page --no-open           where no browser is

    Whoever has the address may use the node as you do, for half a day; 'ioe api token revoke' ends
    it at once.  From another machine: ssh -L, or a certificate in [api] in the config.
    """
    found = client.call(home_of(context), "api_page")
    show(found, as_json, lambda: console.print(found["url"]))
    if opens and not as_json:
        webbrowser.open(found["url"])


@click.group()
def api() -> None:
    """REST, live stream and metrics for programs; 'ioe status --json' tells where."""


@api.group()
def token() -> None:
    """Tokens: what each program may do."""


@token.command()
@click.argument("name")
@click.option(
    "--may",
    multiple=True,
    required=True,
    type=click.Choice(["read", "control", "pay", "admin"]),
    help="read values; control devices; pay credits and trade; admin settings.",
)
@click.option("--expires", metavar="SPAN", help="Such as 12h, 30d or 8w.  [default: never]")
@json_option
@click.pass_context
def create(
    context: click.Context, name: str, may: tuple[str, ...], expires: str | None, as_json: bool
) -> None:
    """Make a token for the program NAME; it is shown once.

    \b
      ioe api token create grafana --may read --expires 30d
      ioe api token create heating --may read --may control
    """
    for_us = None if expires is None else _span_us(expires)
    made = client.call(
        home_of(context), "api_token_create", name=name, may=list(may), expires_us=for_us
    )
    show(made, as_json, lambda: console.print(made["token"]))


def _span_us(text: str) -> int:
    match = SPAN.fullmatch(text)
    if match is None:
        raise LocalError(f"'{text[:20]}' is no span of time; write 12h, 30d or 8w")
    return int(match[1]) * UNIT_US[match[2]]


@token.command("list")
@json_option
@click.pass_context
def list_(context: click.Context, as_json: bool) -> None:
    """The tokens that may be used."""
    found = client.call(home_of(context), "api_token_list")

    def people() -> None:
        rows = [
            (
                each["name"],
                ", ".join(each["may"]),
                when(each["made_us"]),
                "-" if each["expires_us"] is None else when(each["expires_us"]),
            )
            for each in found
        ]
        table("", ("name", "may", "made", "ends"), rows)

    show(found, as_json, people)


@token.command()
@click.argument("name")
@click.pass_context
def revoke(context: click.Context, name: str) -> None:
    """End the token NAME at once.

    \b
      ioe api token revoke grafana
    """
    client.call(home_of(context), "api_token_revoke", name=name)
    console.print(f"revoked '{name}'")

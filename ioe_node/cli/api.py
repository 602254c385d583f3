"""`ioe page`, `ioe api`: the page in a browser, and tokens for programs."""

import html
import re
import tempfile
import time
import webbrowser
from pathlib import Path

import click

from ioe_node.cli import client
from ioe_node.cli.output import console, home_of, json_option, show, table, when
from ioe_node.errors import LocalError

UNIT_US = {"h": 3_600_000_000, "d": 86_400_000_000, "w": 604_800_000_000}
READ_WITHIN_S = 5.0
"""How long a browser has to read the file that leads to the page."""
LEADS_TO = """\
<!doctype html>
<meta charset="utf-8">
<meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0; url={}">
"""
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
    home = home_of(context)
    found = client.call(home, "api_page")
    show(found, as_json, lambda: console.print(found["url"]))
    if opens and not as_json:
        _open(home, found["url"])


def _open(home: Path, url: str) -> None:
    """Have a browser open an address that other users of this machine must not see.

    They see how each program was called: the browser is given a file that leads there, which only
    we may read, and which is gone once it was read.
    """
    descriptor, name = tempfile.mkstemp(".html", "page-", home)
    path = Path(name)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(LEADS_TO.format(html.escape(url)))
        webbrowser.open(path.absolute().as_uri())
        time.sleep(READ_WITHIN_S)
    except OSError as error:
        raise LocalError(f"cannot write {path}: {error.strerror}; try --no-open") from None
    finally:
        path.unlink(missing_ok=True)


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

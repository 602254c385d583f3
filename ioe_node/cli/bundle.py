"""`ioe bundle`: apps of other programs, by Holochain's protocol; packed, listed, let in."""

import json
from pathlib import Path
from typing import Any

import click

from ioe_node.api.conductor_bundle import CLONES_MAX, pack_app
from ioe_node.cli import client
from ioe_node.cli.output import console, home_of, json_option, plain, show, table
from ioe_node.conductor.home import Home
from ioe_node.config import load_config
from ioe_node.errors import CallError, LocalError


@click.group()
def bundle() -> None:
    """Apps that programs install and use by the protocol of Holochain's conductor.

    Its doors are opened by 'enabled' under [api.conductor] in config.toml.  The node's own
    communities are the app 'ioe'.
    """


@bundle.command("list")
@json_option
@click.pass_context
def list_(context: click.Context, as_json: bool) -> None:
    """The installed apps, and the port of the admin door."""
    found = client.call(_open_home(context), "bundle_list")
    show(found, as_json, lambda: _people(found))


def _open_home(context: click.Context) -> Path:
    """The node's directory; raises `LocalError` if its config keeps the doors shut."""
    home = home_of(context)
    if not load_config(Home(home).config).api.conductor.enabled:
        raise LocalError("the doors are shut; set 'enabled' under [api.conductor] in config.toml")
    return home


def _people(found: dict[str, Any]) -> None:
    console.print(f"admin door: ws://127.0.0.1:{found['admin_port']}")
    rows = [(each["app"], plain(each["agent"]), each["status"]) for each in found["apps"]]
    table("", ("app", "agent", "status"), rows)


@bundle.command()
@click.argument("name", default="ioe")
@click.option(
    "--expiry-s",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Seconds until the token is void; 0 is when the node stops.",
)
@click.option("--once", is_flag=True, help="Void after one connection.")
@click.option(
    "--sign",
    is_flag=True,
    help="Grant a new key every call to the app's cells, and show it: whoever has it acts as us.",
)
@click.pass_context
def token(context: click.Context, name: str, expiry_s: int, once: bool, sign: bool) -> None:
    """A token for the app NAME (the communities of this node, if none is named), as JSON.

    \b
      ioe bundle token            {"app": "ioe", "port": 40123, "token": [12, 250, ...], ...}

    With it a program connects: AppWebsocket.connect({ url: "ws://127.0.0.1:40123", token, ... }).
    With --sign it can call zomes, too: each of "credentials" is for setSigningCredentials.
    """
    home = _open_home(context)
    found = client.call(home, "bundle_token", app=name, expiry_s=expiry_s, once=once, sign=sign)
    click.echo(json.dumps(found))


@bundle.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--name", required=True, help="The app's name.")
@click.option(
    "--role",
    "roles",
    multiple=True,
    required=True,
    metavar="ROLE=MODULE:NAME",
    help="A role and its DNA, as 'dnas' in the config names it; may be given again.",
)
@click.option(
    "--clone-limit",
    type=click.IntRange(0, CLONES_MAX),
    default=0,
    show_default=True,
    help="Clones of each role at most.",
)
@click.option(
    "--deferred-memproofs",
    is_flag=True,
    help="Let the app be installed before its membrane proofs are known.",
)
def pack(
    file: Path, name: str, roles: tuple[str, ...], clone_limit: int, deferred_memproofs: bool
) -> None:
    """Write the app bundle FILE (.happ) that names DNAs of this installation.

    \b
      ioe bundle pack street.happ --name street --role street=dna.neighbourhood:DNA
    """
    pairs = [(role, dna) for role, _, dna in (each.partition("=") for each in roles)]
    if not all(role and dna for role, dna in pairs):
        raise CallError("write each role as ROLE=MODULE:NAME")
    file.write_bytes(pack_app(name, pairs, clone_limit, deferred_memproofs))
    console.print(f"Wrote {file}.")

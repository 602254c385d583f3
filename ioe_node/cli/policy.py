"""`ioe policy`: what devices may do, with whom, and what by themselves."""

from pathlib import Path

import click

from ioe_node.cli import client
from ioe_node.cli.output import console, home_of, json_option, show
from ioe_node.errors import LocalError


@click.group()
def policy() -> None:
    """The owner's rules for devices: what they may do, with whom, and what by themselves."""


@policy.command("show")
@json_option
@click.pass_context
def show_(context: click.Context, as_json: bool) -> None:
    """The policy that is in force here, or, where none was set, one to begin with.

    \b
      ioe policy show > policy.toml
    """
    found = client.call(home_of(context), "policy_show")
    show(found, as_json, lambda: click.echo(found["text"], nl=False))


@policy.command("set")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.pass_context
def set_(context: click.Context, file: Path) -> None:
    """Sign the policy in FILE and put it in force; its version must be higher than the last.

    \b
      ioe policy set policy.toml
    """
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise LocalError(f"{file} is no text") from None
    made = client.call(home_of(context), "policy_set", text=text)
    console.print(f"policy version {made['version']} is in force")

"""How the commands take the name of a scenario, and the file of one that is not in the package."""

from difflib import get_close_matches
from pathlib import Path

import click

from sim.scenario import load
from sim.scenarios import SCENARIOS


def unknown(name: str) -> str:
    """What to say of a name that no scenario has."""
    alike = get_close_matches(name, SCENARIOS, n=1)
    meant = f"did you mean '{alike[0]}'? " if alike else ""
    return f"there is no scenario '{name}'; {meant}'ioe-sim list' names them"


def registered(text: str) -> str:
    """The name of a scenario, if there is one; raises `BadParameter`."""
    if text not in SCENARIOS:
        raise click.BadParameter(unknown(text))
    return text


def _load(ctx: click.Context, param: click.Parameter, path: Path | None) -> None:
    if path is not None:
        load(path)


load_option = click.option(
    "--load",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    callback=_load,
    is_eager=True,
    expose_value=False,
    help="Import this Python file first: a scenario of your own.",
)

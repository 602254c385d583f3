"""The `ioe-sim` command: which scenarios there are, running one, and what runs have left."""

import logging
import signal
import sys

import click

from ioe_node.cli.main import INTERRUPTED
from ioe_node.cli.main import run as run_command
from sim.afterwards import plot, replay, show_results, sweep
from sim.naming import load_option, unknown
from sim.running import run_command_of
from sim.scenarios import SCENARIOS

TERMINATED = 128 + signal.SIGTERM


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="ioe-node")
def cli() -> None:
    """Swarms of real nodes in one process, on virtual time.

    \b
    Exit codes: 0 every checker passed, 1 one did not or a run crashed (its seed is printed),
    2 wrong usage, 130 interrupted, 143 terminated; what is temporary is removed in any case.
    """
    logging.basicConfig(level=logging.CRITICAL)


@cli.command(name="list")
def list_scenarios() -> None:
    """Name the scenarios."""
    for name, chosen in SCENARIOS.items():
        click.echo(f"{name}: {chosen.summary}")


class Scenarios(click.Group):
    """One command for every scenario that is registered."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(SCENARIOS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        chosen = SCENARIOS.get(cmd_name)
        return None if chosen is None else run_command_of(chosen)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in SCENARIOS and not args[0].startswith("-"):
            ctx.fail(unknown(args[0]))
        return super().resolve_command(ctx, args)


@cli.group(cls=Scenarios)
@load_option
def run() -> None:
    """Run a scenario and check what it leaves."""


for _command in (replay, sweep, show_results, plot):
    cli.add_command(_command)


def main() -> None:
    """Run `ioe-sim`.  SIGTERM ends it as Ctrl-C does, but for the exit code.

    A shell's background job is begun with SIGINT ignored; SIGTERM has to reach it all the same.
    """
    terminated = False

    def terminate(number: int, frame: object) -> None:
        nonlocal terminated
        terminated = True
        signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, terminate)
    try:
        run_command("ioe-sim", lambda: cli)
    except SystemExit as leave:
        sys.exit(TERMINATED if terminated and leave.code == INTERRUPTED else leave.code)


if __name__ == "__main__":
    main()

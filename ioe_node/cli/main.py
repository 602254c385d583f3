"""Where `ioe` begins: any end of a command as one line and an exit code."""

import sys
from collections.abc import Callable

import click

from ioe_node.errors import IoeError, LocalError

INTERRUPTED = 130


def run(name: str, load: Callable[[], click.Group]) -> None:
    """Run the command line that `load` imports; whatever is expected is one line on stderr.

    Loading takes long enough to be interrupted, so it is done in here.
    """
    try:
        load().main(prog_name=name, standalone_mode=False)
    except IoeError as error:
        _leave(f"{name}: {error}", error.exit_code)
    except click.exceptions.Exit as leave:
        sys.exit(leave.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        _leave(f"{name}: interrupted", INTERRUPTED)
    except BaseExceptionGroup as group:
        if group.subgroup(KeyboardInterrupt) is None:
            raise
        _leave(f"{name}: interrupted", INTERRUPTED)
    except OSError as error:
        parts = (name, error.strerror or str(error), error.filename)
        _leave(": ".join(str(part) for part in parts if part is not None), LocalError.exit_code)


def _leave(line: str, exit_code: int) -> None:
    click.echo(line, err=True)
    sys.exit(exit_code)


def _ioe() -> click.Group:
    from ioe_node.cli.commands import cli

    return cli


def main() -> None:
    """Run `ioe`."""
    run("ioe", _ioe)


if __name__ == "__main__":
    main()

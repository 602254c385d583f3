"""The README says what is true: its files exist, its commands and options are there."""

import re
from pathlib import Path

import click
import pytest

from ioe_node.cli.commands import cli as ioe
from sim.cli import cli as ioe_sim

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
STAGES = 10


def commands(group: click.Group, prefix: str) -> dict[str, click.Command]:
    """Every command below `group`, by its words."""
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        words = f"{prefix} {name}"
        found[words] = command
        if isinstance(command, click.Group):
            found.update(commands(command, words))
    return found


COMMANDS = {**commands(ioe, "ioe"), **commands(ioe_sim, "ioe-sim")}


def parse_line(words: list[str]) -> None:
    """Take a command line as its program would, up to running it; raises where that would."""
    program = ioe if words[0] == "ioe" else ioe_sim
    rest = words[3:] if words[1] == "--home" else words[1:]
    command: click.Command | None = program
    context = click.Context(program)
    while isinstance(command, click.Group):
        _, command, rest = command.resolve_command(context, rest)
    assert command is not None, words
    command.make_context(words[0], list(rest), parent=context)


def test_every_path_it_names_exists() -> None:
    named = set(
        re.findall(r"`((?:ioe_node|zomes|currency|dna|discovery|sim|bench|tests)/[\w./]*)`", README)
    )
    assert len(named) > 20
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_the_table_has_a_file_for_every_stage() -> None:
    rows = re.findall(r"^\| (\d+) \|.*?\| (`[^|]+) \|", README, flags=re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, STAGES + 1))
    for _, files in rows:
        assert all((ROOT / path).is_file() for path in re.findall(r"`([^`]+)`", files))


@pytest.mark.parametrize(("program", "least"), [(ioe, 10), (ioe_sim, 6)], ids=["ioe", "ioe-sim"])
def test_every_command_line_it_shows_can_be_parsed(program: click.Group, least: int) -> None:
    name = "ioe" if program is ioe else "ioe-sim"
    blocks = re.findall(r"^```\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    shown = [line.split("#")[0].split() for line in lines if line.startswith(f"{name} ")]
    assert len(shown) >= least
    for words in shown:
        parse_line(words)


def test_every_command_is_in_the_table() -> None:
    table = "\n".join(line for line in README.splitlines() if line.startswith("| `ioe"))
    for words, command in COMMANDS.items():
        if not isinstance(command, click.Group):
            assert re.search(rf"\b{words.split()[-1]}\b", table), words


@pytest.mark.parametrize("target", sorted(set(re.findall(r"(?:`|^)make (\w+)", README, re.M))))
def test_every_make_target_it_names_exists(target: str) -> None:
    assert re.search(rf"^{target}:", MAKEFILE, flags=re.MULTILINE)

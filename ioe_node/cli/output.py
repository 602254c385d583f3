"""What people see: tables, units, times; and the same as JSON."""

import json
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

import click
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from ioe_node.cli import client
from ioe_node.errors import LocalError, Malformed
from ioe_node.hdi import ActionHash, AgentPubKey
from ioe_node.model.hashes import ACTION, AGENT, from_text, to_text
from ioe_node.model.plain import plain as plain

F = TypeVar("F", bound=Callable[..., Any])
# What peers write (names, memos) is text and never markup.
console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
TABLE_CHARS_MAX = 1_000
NUMBERS = ("kWh in", "kWh out", "credits", "balance", "seq", "kWh", "points", "weight")
DIGEST_BYTES = 32
AMOUNT = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,6}))?")


def show(value: Any, as_json: bool, people: Callable[[], None]) -> None:
    """Print `value` as JSON, or let `people` print it."""
    if as_json:
        click.echo(json.dumps(plain(value), indent=2))
    else:
        people()


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """One table, as wide as it is: a key that is folded cannot be copied; numbers stand right."""
    made = Table(title=title, title_justify="left")
    for column in columns:
        justify: Literal["right", "left"] = "right" if column in NUMBERS else "left"
        made.add_column(column, justify=justify, no_wrap=True)
    for row in rows:
        made.add_row(*(printable(str(cell)) for cell in row))
    whole = console.options.update(max_width=TABLE_CHARS_MAX)
    width = Measurement.get(console, whole, made).maximum
    Console(width=width, highlight=False, markup=False, emoji=False).print(made)


def printable(text: str) -> str:
    """`text` without what would steer the terminal; a peer may have written it."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def short(agent: bytes | None) -> str:
    """The first characters of an agent's text: enough to tell neighbours apart."""
    return to_text(agent)[:13] if agent else "-"


def kwh(milli_wh: int) -> str:
    """kWh with three decimals, rounded down."""
    return f"{milli_wh // 1_000_000}.{milli_wh % 1_000_000 // 1_000:03}"


def credits_text(micro: int) -> str:
    """Credits with three decimals and a sign where negative; rounded towards zero."""
    sign = "-" if micro < 0 else ""
    return sign + kwh(abs(micro))


def when(at_us: int) -> str:
    """Local time; the bare number where no calendar reaches, as a peer may write any."""
    try:
        return datetime.fromtimestamp(at_us // 1_000_000).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return str(at_us)


def parse_amount(text: str) -> int:
    """Micro-credits of a decimal text, exactly; raises `LocalError`."""
    match = AMOUNT.fullmatch(text.strip())
    if match is None:
        raise LocalError(f"'{text}' is no amount; write credits with up to six decimals: 2.5")
    whole, fraction = match.groups()
    return int(whole) * 1_000_000 + int((fraction or "").ljust(6, "0"))


def parse_agent(text: str) -> AgentPubKey:
    """An agent's key of its text; raises `LocalError`."""
    try:
        return AgentPubKey(from_text(text, AGENT))
    except Malformed:
        raise LocalError(
            f"'{text[:60]}' is no agent key; 'ioe status' shows ours, 'ioe peers' others'"
        ) from None


def our_device(home: Path, text: str) -> AgentPubKey:
    """The key of a device of ours, of its key or its name; raises `LocalError`."""
    if text.startswith("uhCAk"):
        return parse_agent(text)
    listed = client.call(home, "device_list")["owned"]
    found = [each["device"] for each in listed if each["name"] == text]
    if len(found) != 1:
        many = "several devices" if found else "no device"
        raise LocalError(
            f"{many} of ours of the name '{text[:60]}'; 'ioe device list' shows their keys"
        )
    return AgentPubKey(found[0])


def parse_action(text: str) -> ActionHash:
    """An action's hash of its text; raises `LocalError`."""
    try:
        return ActionHash(from_text(text, ACTION))
    except Malformed:
        raise LocalError(
            f"'{text[:60]}' is no action; 'ioe chain show --json' shows hashes and places"
        ) from None


def parse_digest(text: str) -> bytes:
    """32 bytes of their hex; raises `LocalError`."""
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b"?"
    if len(found) != DIGEST_BYTES:
        raise LocalError(f"'{text[:70]}' is not 32 bytes in hex, 64 letters; see 'ioe key show'")
    return found


def home_of(context: click.Context) -> Path:
    """The node's directory, from --home."""
    home: Path = context.find_root().obj
    return home


json_option = click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print JSON: milli-Wh, milli-W, micro-credits, microseconds since 1970 UTC.",
)


def limit_option(default: int, most: int) -> Callable[[F], F]:
    """How many rows a reading command shows."""
    return click.option(
        "--limit",
        default=default,
        show_default=True,
        type=click.IntRange(1, most),
        help="How many rows at most.",
    )


community_option = click.option(
    "--community", metavar="NAME", help="Which community, by the beginning of its name."
)

"""`ioe credit statement`: a member's month, on the screen or as a file."""

import csv
import io
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click

from ioe_node.cli import client
from ioe_node.cli.meter_files import YEARS, local_zone
from ioe_node.cli.output import (
    community_option,
    console,
    credits_text,
    home_of,
    json_option,
    kwh,
    parse_agent,
    plain,
    show,
    table,
)
from ioe_node.cli.statement_page import page_of
from ioe_node.errors import LocalError
from ioe_node.hdi import AgentPubKey
from ioe_node.history.periods import instant_us

ENERGY = {
    "imported_milli_wh": "imported",
    "exported_milli_wh": "exported",
    "bought_milli_wh": "bought",
    "sold_milli_wh": "sold",
}
MONEY = {
    "paid_micro": "paid for energy",
    "earned_micro": "earned by energy",
    "fees_micro": "fees",
    "sent_micro": "other payments",
    "received_micro": "other income",
    "saved_micro": "saved against the grid alone",
}
CARBON = {
    "co2_milli_g": "CO2 of what was used",
    "co2_saved_milli_g": "CO2 saved against the grid alone",
}
UNWEIGHED = "CO2 not known of"
SHORT = (
    "member",
    *ENERGY.values(),
    *("paid", "earned", "fees", "sent", "received", "saved"),
    *("CO2", "CO2 saved", "CO2 not known of"),
)
"""What the figures of several members are called, so that a line holds them."""
INCOMPLETE = "more has been metered or settled since than is read; not all of the month is counted"


@click.command()
@click.option("--member", metavar="AGENT", help="Whose, with all devices; ours by default.")
@click.option("--everyone", is_flag=True, help="A row for each member of the community.")
@click.option("--month", metavar="YYYY-MM", help="Of the local calendar; this month by default.")
@click.option(
    "--csv", "table_file", type=click.Path(dir_okay=False, path_type=Path), help="Write a table."
)
@click.option(
    "--html", "page_file", type=click.Path(dir_okay=False, path_type=Path), help="Write a page."
)
@community_option
@json_option
@click.pass_context
def statement(
    context: click.Context,
    member: str | None,
    everyone: bool,
    month: str | None,
    table_file: Path | None,
    page_file: Path | None,
    community: str | None,
    as_json: bool,
) -> None:
    """What a member imported, exported, bought, sold, paid, earned and saved in a month.

    \b
      ioe credit statement --month 2026-05 --html may.html

    CO2 is what certificates of origin say, and the grid's, where the community knows it, for energy
    without one, as for the newest hour's until its certificates have come.

    The page needs nothing beside itself: open it and print it, to paper or as a PDF.
    """
    if member is not None and everyone:
        raise click.UsageError("one member or everyone")
    home = home_of(context)
    name, from_us, until_us = span_of(month, local_zone(home))
    if everyone:
        members = _members(home, community)
    else:
        members = [parse_agent(member) if member else None]
    asked = {"from_us": from_us, "until_us": until_us}
    rows: list[dict[str, Any]] = [
        client.zome(home, community, "currency", "statement", agent=each, **asked)
        for each in members
    ]
    if table_file is not None:
        _write(table_file, csv_of(name, rows))
    if page_file is not None:
        _write(page_file, page_of(name, columns(), [cells(each) for each in rows], notes(rows)))
    show({"month": name, "statements": rows}, as_json, lambda: _print(name, rows))


def _members(home: Path, community: str | None) -> list[AgentPubKey | None]:
    """Who is nobody's device, in key order."""
    listed = client.zome(home, community, "community", "members")
    return [
        each["agent"]
        for each in listed
        if client.zome(home, community, "identity", "owner_of", device=each["agent"]) is None
    ]


def span_of(month: str | None, zone: ZoneInfo) -> tuple[str, int, int]:
    """A month's name, its first moment and the first one after it; raises `LocalError`."""
    text = month or datetime.now(zone).strftime("%Y-%m")
    try:
        begin = datetime.strptime(text, "%Y-%m").replace(tzinfo=zone)
        if begin.year not in YEARS:
            raise ValueError
    except ValueError:
        raise LocalError(f"'{text[:20]}' is no month of 1970 to 2099; write 2026-05") from None
    years, month_after = divmod(begin.month, 12)
    end = begin.replace(year=begin.year + years, month=month_after + 1)
    return begin.strftime("%Y-%m"), instant_us(begin), instant_us(end)


def columns() -> list[str]:
    """What a statement's figures are called, with their units."""
    return [
        "member",
        *(f"{each}, kWh" for each in ENERGY.values()),
        *(f"{each}, credits" for each in MONEY.values()),
        *(f"{each}, kg" for each in CARBON.values()),
        f"{UNWEIGHED}, kWh",
    ]


def cells(row: dict[str, Any]) -> list[str]:
    """A statement as people read it."""
    figures = [kwh(row[each]) for each in ENERGY] + [credits_text(row[each]) for each in MONEY]
    carbon = [kg(row[each]) for each in CARBON]
    return [plain(row["member"]), *figures, *carbon, kwh(row["unweighed_milli_wh"])]


def kg(milli_g: int | None) -> str:
    """Kilograms with three decimals; so many milligrams are a kg as milliwatt-hours a kWh."""
    return "not known" if milli_g is None else credits_text(milli_g)


def notes(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What has to be said of these statements."""
    return [] if all(each["complete"] for each in rows) else [INCOMPLETE]


def csv_of(month: str, rows: Sequence[dict[str, Any]]) -> str:
    """One row a member; exact, in milliwatt-hours and micro-credits."""
    made = io.StringIO()
    writer = csv.writer(made)
    figures = [*ENERGY, *MONEY, *CARBON, "unweighed_milli_wh"]
    writer.writerow(["month", "member", *figures, "complete"])
    for each in rows:
        whole = "yes" if each["complete"] else "no"
        writer.writerow([month, plain(each["member"]), *(each[name] for name in figures), whole])
    return made.getvalue()


def _write(path: Path, text: str) -> None:
    """A new file; a statement that somebody may have signed for is never overwritten."""
    try:
        with path.open("x", encoding="utf-8", newline="") as file:
            file.write(text)
    except FileExistsError:
        raise LocalError(f"{path} is there already; name another file") from None
    except OSError as error:
        raise LocalError(f"{path}: {error.strerror}; write to another place") from None
    console.print(f"written: {path}")


def _print(month: str, rows: Sequence[dict[str, Any]]) -> None:
    if len(rows) == 1:
        table(f"statement of {month}", ("", ""), list(zip(columns(), cells(rows[0]), strict=True)))
    else:
        shown = [[each[0][:13], *each[1:]] for each in map(cells, rows)]
        title = f"statements of {month}: energy in kWh, money in credits, CO2 in kg"
        table(title, SHORT, shown)
    for note in notes(rows):
        console.print(note)

"""`ioe meter export` and `import`: histories as files, and how they are fetched from the node.

Files are read and written here and not in the node: a hostile one harms nobody but who opens it.
"""

from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import click
import msgspec

from ioe_node.cli import client
from ioe_node.cli.output import console, home_of, our_device
from ioe_node.conductor.home import Home
from ioe_node.config import load_config
from ioe_node.errors import LocalError
from ioe_node.hdi import AgentPubKey
from ioe_node.history.csv_file import read_csv, write_csv
from ioe_node.history.espi import read_espi, write_espi
from ioe_node.history.parquet import write_parquet
from ioe_node.history.periods import STEPS, Calendar, Step, instant_us, zone_of
from ioe_node.history.point import FILE_BYTES_MAX, FileRefused, Point
from ioe_node.model.codec import encode

FORMATS = ("csv", "espi", "parquet")
SHOWN_DAYS: dict[Step, int] = {
    **{"15m": 1, "hour": 2, "day": 31},
    **{"week": 26 * 7, "month": 366, "year": 3_660},
}
YEARS = range(1970, 2100)
_points = msgspec.msgpack.Decoder(list[Point])


def local_zone(home: Path) -> ZoneInfo:
    """Where the node's days begin."""
    return zone_of(load_config(Home(home).config).metering.timezone)


def span(home: Path, step: Step, since: str | None, until: str | None) -> tuple[int, int]:
    """From when to when to show; the last of it where nothing is said."""
    zone = local_zone(home)
    end = _moment(until, zone) if until else datetime.now(zone)
    begin = _moment(since, zone) if since else end - timedelta(days=SHOWN_DAYS[step])
    return max(0, instant_us(begin)), max(0, instant_us(end))


def _moment(text: str, zone: ZoneInfo) -> datetime:
    """A date or a time, local unless it brings its offset."""
    try:
        at = datetime.fromisoformat(text)
        if at.year not in YEARS:
            raise ValueError
    except ValueError:
        raise LocalError(
            f"'{text[:40]}' is no date of 1970 to 2099; write 2026-03-29 or 2026-03-29T14:00"
        ) from None
    return at if at.tzinfo else at.replace(tzinfo=zone)


def fetch_points(
    home: Path,
    device: AgentPubKey | None,
    of: tuple[int, int],
    step: Step,
    source: str | None,
) -> list[Point]:
    """All points of a span, asked for page by page."""
    found: list[Point] = []
    from_us, to_us = of
    while True:
        answer = client.call(
            home,
            "meter_history",
            device=device,
            from_us=from_us,
            to_us=to_us,
            step=step,
            source=source,
        )
        page = _points.decode(answer["points"])
        found += page
        if answer["complete"] or not page or page[-1].end_us >= to_us:
            return found
        from_us = page[-1].end_us


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--device", metavar="AGENT", help="A device of ours; this node by default.")
@click.option(
    "--format", "kind", type=click.Choice(FORMATS), help="By the file's name if not said."
)
@click.option(
    "--by",
    type=click.Choice(STEPS),
    default="15m",
    show_default=True,
    help="What a row or a reading of the file sums up, by local time.",
)
@click.option("--from", "since", metavar="DATE", default="1970-01-01", help="All, if not said.")
@click.option("--to", "until", metavar="DATE", help="The first moment left out; now by default.")
@click.option("--source", metavar="NAME", help="What was imported under this name.")
@click.option("--force", is_flag=True, help="Write over a FILE that is there.")
@click.pass_context
def export(
    context: click.Context,
    file: Path,
    device: str | None,
    kind: str | None,
    by: Step,
    since: str,
    until: str | None,
    source: str | None,
    force: bool,
) -> None:
    """Write a history to FILE: CSV, Green Button (ESPI 4.0, .xml) or Parquet.

    \b
      ioe meter export roof.csv --device roof --from 2026-01-01
      ioe meter export roof.xml --by hour
    """
    home = home_of(context)
    if file.exists() and not force:
        raise LocalError(f"{file} is there already; export to another place, or with --force")
    kind = kind or {".xml": "espi", ".parquet": "parquet"}.get(file.suffix, "csv")
    agent = our_device(home, device) if device else None
    points = fetch_points(home, agent, span(home, by, since, until), by, source)
    zone = local_zone(home)
    try:
        if kind == "parquet":
            write_parquet(file, points)
        elif kind == "espi":
            with file.open("wb") as feed:
                now_us = instant_us(datetime.now(zone))
                write_espi(feed, points, device or file.stem, Calendar(zone), now_us)
        else:
            with file.open("w", encoding="utf-8", newline="") as text:
                write_csv(text, points, zone)
    except OSError as error:
        raise LocalError(f"{file}: {error.strerror}; export to another place") from None
    console.print(f"{len(points)} points in {file}")


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--device", metavar="AGENT", help="Whose meter; this node by default.")
@click.option(
    "--format", "kind", type=click.Choice(("csv", "espi")), help="By its name if not said."
)
@click.option("--source", metavar="NAME", help="Under what name to keep it; the file's by default.")
@click.pass_context
def import_(
    context: click.Context,
    file: Path,
    device: str | None,
    kind: str | None,
    source: str | None,
) -> None:
    """Read a history from FILE: CSV as 'export' writes it, or Green Button (ESPI) XML.

    \b
      ioe meter import usage.xml --source "grid operator"
      ioe meter history --by month --source "grid operator"

    It is kept on this machine beside what was metered, under the name of its source, all of it or
    nothing.  No chain says it, since no meter of ours did.  Imported again, it is replaced.
    """
    home = home_of(context)
    agent = our_device(home, device) if device else None
    points = read_file(file, kind or ("espi" if file.suffix == ".xml" else "csv"))
    name = source or file.name
    done = client.call(home, "meter_import", device=agent, source=name, points=encode(points))
    console.print(f"{done['points']} points imported as '{name}'; nothing of it is on a chain")


def read_file(path: Path, kind: str) -> list[Point]:
    """The points of a file; raises `FileRefused` or `LocalError`."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise FileRefused(f"more than {FILE_BYTES_MAX} bytes; import the file in parts")
        if kind == "espi":
            with path.open("rb") as feed:
                return read_espi(feed)
        with path.open(encoding="utf-8-sig", newline="") as text:
            return read_csv(text)
    except OSError as error:
        raise LocalError(f"{path}: {error.strerror}") from None
    except FileRefused as error:
        raise FileRefused(f"{path.name}: {error}; nothing was imported") from None

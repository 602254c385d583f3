"""Runs on disk: one SQLite file with the tables `run`, `checker` and `metric`; CSV and Parquet.

A run's row has all that repeats it; `metric` has its figures, and with `series` set what was
taken at every look of the checkers.
"""

import csv
import importlib.util
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from ioe_node.errors import LocalError
from sim.conditions import Conditions
from sim.result import Finding, Result
from sim.scenario import Options

NO_PARQUET = "Parquet needs pyarrow: pip install 'ioe-node[parquet]'"
COLUMNS = ("run", "scenario", "nodes", "seed", "passed", "name", "value", "unit", "at_s")


def packed(options: Options) -> str:
    """Options as text, the same for the same options."""
    return json.dumps(asdict(options), sort_keys=True)


def unpacked(text: str) -> Options:
    """The inverse of `packed`."""
    fields = json.loads(text)
    return Options(**{**fields, "conditions": Conditions(**fields["conditions"])})


SQLITE = b"SQLite format 3\0"
"""What a database begins with; an empty file is one without tables."""

TABLES = ("run", "checker", "metric")


def _tables(path: Path) -> tuple[Database, list[str]]:
    """A file and its tables; raises `LocalError` where it is no database."""
    if path.exists():
        with path.open("rb") as file:
            begin = file.read(len(SQLITE))
        if begin not in (b"", SQLITE):
            raise LocalError(f"{path} is no file of results: it is not SQLite")
    database = Database(path)
    return database, database.table_names()


def must_write(path: Path, parquet: bool = False) -> None:
    """Raise `LocalError` if a file could not be written there, before there is what to write."""
    if not path.parent.is_dir():
        raise LocalError(f"there is no folder {path.parent} for {path.name}")
    if parquet and importlib.util.find_spec("pyarrow") is None:
        raise LocalError(NO_PARQUET)


def must_add(path: Path) -> None:
    """Raise `LocalError` if no run could be added to that file."""
    must_write(path)
    if path.exists():
        database, names = _tables(path)
        database.close()
        if names and not set(TABLES) <= set(names):
            raise LocalError(f"{path} is a database of something else")


def _open(path: Path) -> Database:
    database, names = _tables(path)
    if "run" not in names:
        database["run"].create(
            {
                "id": int,
                "scenario": str,
                "nodes": int,
                "seed": int,
                "options": str,
                "virtual_s": float,
                "wall_s": float,
                "passed": bool,
                "trace_hash": str,
            },
            pk="id",
        )
        database["checker"].create(
            {"run": int, "name": str, "passed": bool, "at_s": float, "text": str},
            foreign_keys=[("run", "run", "id")],
        )
        database["metric"].create(
            {"run": int, "name": str, "value": float, "unit": str, "at_s": float, "series": bool},
            foreign_keys=[("run", "run", "id")],
        )
    return database


def save(path: Path, options: Options, result: Result) -> int:
    """Add a run; its number."""
    database = _open(path)
    with database.conn:
        row = {
            "scenario": result.scenario,
            "nodes": result.nodes,
            "seed": result.seed,
            "options": packed(options),
            "virtual_s": result.virtual_s,
            "wall_s": result.wall_s,
            "passed": result.passed,
            "trace_hash": result.trace_hash,
        }
        number = int(database["run"].insert(row).last_pk)
        for name in result.checks:
            found = [each for each in result.findings if each.checker == name]
            rows: list[tuple[bool, float | None, str | None]] = [
                (False, each.at_s, each.text) for each in found
            ]
            for passed, at_s, text in rows or [(True, None, None)]:
                database["checker"].insert(
                    {"run": number, "name": name, "passed": passed, "at_s": at_s, "text": text}
                )
        for series, metrics in ((False, result.metrics), (True, result.series)):
            database["metric"].insert_all(
                {"run": number, **metric._asdict(), "series": series} for metric in metrics
            )
    return number


def _existing(path: Path) -> Database:
    if not path.is_file():
        raise LocalError(f"there are no results at {path}")
    database, names = _tables(path)
    if not set(TABLES) <= set(names):
        raise LocalError(f"{path} holds no results of ioe-sim")
    return database


def runs(path: Path) -> list[dict[str, Any]]:
    """Every run's row, oldest first."""
    return list(_existing(path)["run"].rows_where(order_by="id"))


def figures(path: Path, series: bool = False) -> list[dict[str, Any]]:
    """Every figure with its run: rows of `COLUMNS`."""
    return list(
        _existing(path).query(
            "SELECT run.id AS run, scenario, nodes, seed, passed, name, value, unit, at_s"
            " FROM metric JOIN run ON run.id = metric.run WHERE series = ?"
            " ORDER BY run.id, metric.rowid",
            [series],
        )
    )


def findings(path: Path, run: int) -> list[Finding]:
    """What the checkers of a run found wrong."""
    rows = _existing(path)["checker"].rows_where("run = ? AND NOT passed", [run])
    return [Finding(row["name"], row["at_s"], row["text"]) for row in rows]


def figures_of(result: Result) -> list[dict[str, Any]]:
    """One run's figures as `figures` gives them."""
    head = (0, result.scenario, result.nodes, result.seed, int(result.passed))
    return [dict(zip(COLUMNS, (*head, *metric), strict=True)) for metric in result.metrics]


def write_csv(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Rows of `COLUMNS` as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Rows of `COLUMNS` as Parquet; raises `LocalError` without pyarrow."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise LocalError(NO_PARQUET) from None
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)

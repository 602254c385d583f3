"""The same seed gives the same run, in any process."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio
from trio._core import _run as scheduler

from sim.virtual_clock import EPOCH_US, VirtualClock, run_virtual

ROOT = Path(__file__).parents[2]


async def _race(tasks: int) -> list[int]:
    order: list[int] = []

    async def one(number: int) -> None:
        await trio.sleep(1)
        order.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(tasks):
            nursery.start_soon(one, number)
    return order


def test_tasks_that_wake_together_run_in_an_order_of_the_seed() -> None:
    first, again, other = (run_virtual(_race, 20, seed=seed) for seed in (1, 1, 2))
    assert first == again != other
    assert sorted(first) == list(range(20)) != first


def test_a_virtual_day_takes_no_time_and_the_scheduler_is_given_back() -> None:
    before = scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r

    async def day() -> int:
        await trio.sleep(86_400)
        return VirtualClock().now_us()

    begun_s = time.perf_counter()
    assert run_virtual(day, seed=0) == EPOCH_US + 86_400 * 1_000_000
    assert time.perf_counter() - begun_s < 5
    with pytest.raises(ZeroDivisionError):
        run_virtual(_fail, seed=0)
    assert (scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r) == before


async def _fail() -> None:
    raise ZeroDivisionError


SELLING = ("neighbourhood", "--nodes", "4", "--hours", "1")
HOSTILE = ("hostile", "--nodes", "8", "--minutes", "2", "--offenders", "2")


def _trace_hash(scenario: tuple[str, ...], seed: int, hash_seed: str) -> str:
    command = ["run", *scenario, "--seed", str(seed)]
    done = subprocess.run(
        [sys.executable, "-m", "sim.cli", *command, "--trace-hash"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    assert not re.search(r"sales +│ 0 ", done.stdout)
    return done.stdout.split()[-1]


@pytest.mark.parametrize("scenario", [SELLING, HOSTILE], ids=["neighbourhood", "hostile"])
def test_the_same_seed_gives_the_same_trace_under_any_hash_seed(scenario: tuple[str, ...]) -> None:
    runs = [(7, "0"), (7, "1"), (8, "0")]
    hashes = [_trace_hash(scenario, seed, hash_seed) for seed, hash_seed in runs]
    assert len(hashes[0]) == 32
    assert hashes[0] == hashes[1] != hashes[2]

"""What the swarm tests share: a swarm on virtual time, and readings."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from sim.swarm import Swarm, open_swarm
from sim.trace import Trace
from sim.virtual_clock import EPOCH_US, run_virtual

INTERVAL_US = 15 * 60 * 1_000_000

Play = Callable[..., Any]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """`play(story, homes=n, seed=s)` runs `await story(swarm)` and gives what it returns."""

    def run(story: Callable[[Swarm], Awaitable[Any]], homes: int = 4, seed: int = 1) -> Any:
        async def main() -> Any:
            async with open_swarm(tmp_path, seed, homes, trace=Trace()) as swarm:
                return await story(swarm)

        return run_virtual(main, seed=seed)

    return run


@pytest.fixture
def reading() -> Callable[..., dict[str, Any]]:
    """`reading(imported, exported)`: a meter's first interval, in milliwatt-hours."""

    def make(imported: int, exported: int) -> dict[str, Any]:
        return {
            "start": EPOCH_US,
            "end": EPOCH_US + INTERVAL_US,
            "import_milli_wh": imported,
            "export_milli_wh": exported,
            "import_register_milli_wh": imported,
            "export_register_milli_wh": exported,
            "quality": "measured",
            "method": "device",
        }

    return make

"""Whole homes in memory, for the tests that tell a story of them."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from sim.swarm import Swarm, open_swarm
from sim.virtual_clock import run_virtual

Story = Callable[[Swarm], Awaitable[None]]
HOMES = 5


@pytest.fixture
def play(tmp_path: Path) -> Callable[..., None]:
    def run(story: Story, homes: int = HOMES) -> None:
        async def main() -> None:
            async with open_swarm(tmp_path, 1, homes) as swarm:
                await swarm.settle()
                await story(swarm)

        run_virtual(main, seed=1)

    return run

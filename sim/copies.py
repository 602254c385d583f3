"""What owners do to a node's file: take it away, or put back an older copy of it."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from ioe_node.core.chain import Head
from sim.disk import lose
from sim.swarm import Home, Swarm


async def put_aside(swarm: Swarm, home: Home, copy: Path) -> None:
    """Copy a home's file while it is off, and go on."""
    await swarm.kill(home)
    shutil.copy(home.path, copy)
    await swarm.start(home)


async def put_back(swarm: Swarm, home: Home, copy: Path) -> None:
    """Replace a home's file by the older copy; the home stays off."""
    await swarm.kill(home)
    lose(home.path)
    shutil.copy(copy, home.path)


async def take_away(swarm: Swarm, home: Home) -> Head | None:
    """Take a home's file away once all hold its chain; the home stays off.  Its head."""
    assert await swarm.settle()
    head = home.store.head(home.agent)
    await swarm.kill(home)
    lose(home.path)
    return head


def cut_off(swarm: Swarm, home: Home, reached: Sequence[Home] = ()) -> None:
    """Leave a home nobody but these."""
    for each in swarm.homes:
        if each is not home and each not in reached:
            swarm.network.cut(home.agent, each.agent)

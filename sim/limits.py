"""What no node may grow beyond, and how the simulator measures it.

The bounds are the node's own constants; a checker holds them against what is there.
"""

from collections.abc import Callable
from typing import NamedTuple

from ioe_node.core import quota
from ioe_node.core.peer_book import PEERS_MAX
from ioe_node.core.quota import Limits
from ioe_node.workflows.incoming_ops import (
    ALONE_BYTES_PER_AUTHOR_MAX,
    ALONE_ROWS_PER_AUTHOR_MAX,
    LIMBO_BYTES_PER_PEER_MAX,
)
from ioe_node.workflows.space import REFUSED_BY_MAX, STRANGERS_MAX, WANTED_MAX
from ioe_node.workflows.standing import KNOCKS_KEPT_MAX, STANDINGS_MAX
from sim.home import Home

LIMBO_LOOKED_AT_MAX = 1_000
TASKS_MAX = 2_000
"""Handlers that one node may have open at once, whoever asks."""


class Limit(NamedTuple):
    """A quantity, its measure at a home, and the most that there may be."""

    name: str
    measure: Callable[[Home], int]
    most: int


def _limbo(home: Home) -> list[tuple[int, int]]:
    """(rows, bytes) in limbo of each sender, what it sent and what was fetched from it."""
    senders = {parked.sender for parked in home.store.limbo.page(0, LIMBO_LOOKED_AT_MAX)}
    return [
        home.store.limbo.load(sender, fetched)
        for sender in sorted(senders)
        if sender != home.agent
        for fetched in (False, True)
    ]


LIMITS = [
    Limit(
        "rows in limbo of one peer",
        lambda home: max((rows for rows, _ in _limbo(home)), default=0),
        Limits().limbo_rows,
    ),
    Limit(
        "bytes in limbo of one peer",
        lambda home: max((size for _, size in _limbo(home)), default=0),
        LIMBO_BYTES_PER_PEER_MAX,
    ),
    Limit(
        "records of one author held alone",
        lambda home: home.store.alone_load_most()[0],
        ALONE_ROWS_PER_AUTHOR_MAX,
    ),
    Limit(
        "bytes of one author held alone",
        lambda home: home.store.alone_load_most()[1],
        ALONE_BYTES_PER_AUTHOR_MAX,
    ),
    Limit("peers known", lambda home: len(home.cell.space.peers.agents()), PEERS_MAX),
    Limit("strangers known", lambda home: len(home.cell.space.named), STRANGERS_MAX),
    Limit("peers accounted for", lambda home: home.cell.space.quota.peers(), quota.PEERS_MAX),
    Limit("standings known", lambda home: len(home.cell.space.standings), STANDINGS_MAX),
    Limit("knocks remembered", lambda home: len(home.cell.space.knocks), KNOCKS_KEPT_MAX),
    Limit("records wanted", lambda home: len(home.cell.space.wanted), WANTED_MAX),
    Limit("refusals remembered", lambda home: len(home.cell.space.refused_by), REFUSED_BY_MAX),
    Limit(
        "handlers open",
        lambda home: 0 if home.transport is None else home.transport.handlers,
        TASKS_MAX,
    ),
]

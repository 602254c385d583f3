"""Chains of others that were read lately, in memory: only their new ends are asked for."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable

from ioe_node.hdi import AgentPubKey
from ioe_node.model.record import Record

RECORDS_REMEMBERED_MAX = 20_000
RECORDS_READ_MAX = 200_000
READS_MAX = 2
"""A chain that goes on as two branches is read twice and then left alone."""

ReadFrom = Callable[[int], Awaitable[list[Record]]]
"""The next records of a chain from a place on; empty at its end."""


class ChainsRead:
    """The chains that one cell has read, `RECORDS_REMEMBERED_MAX` records and one chain in all."""

    def __init__(self) -> None:
        self._chains: OrderedDict[AgentPubKey, list[Record]] = OrderedDict()
        self._count = 0

    async def up_to_date(self, author: AgentPubKey, read: ReadFrom) -> list[Record]:
        """A chain up to its end as `read` shows it now, oldest first."""
        known, begun = list(self._chains.get(author, [])), 1
        while len(known) < RECORDS_READ_MAX and (page := await read(len(known))):
            if known and page[0].action.prev_action != known[-1].hash:
                known, begun = [], begun + 1  # another branch than before: read it all again
                if begun > READS_MAX:
                    break
                continue
            known += page
        self._count += len(known) - len(self._chains.pop(author, []))
        self._chains[author] = known
        while self._count > RECORDS_REMEMBERED_MAX and len(self._chains) > 1:
            self._count -= len(self._chains.popitem(last=False)[1])
        return known

"""Payments that are asked for by name, and made once however often they are asked for.

A program that got no answer cannot tell whether it paid.  It asks again by the same name: within
`KEPT_US` it gets the first answer.  Where the node was cut off in between, its own chain decides:
the oldest settlement since then of the same payee, amount and memo, that no other request was
answered with, is what came of it; without one, and once no settlement is in doubt, it was not made.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import trio

from ioe_node.conductor.cell import Cell
from ioe_node.errors import CallError, IoeError, TransportError
from ioe_node.hdi import ActionHash, AgentPubKey
from ioe_node.model.codec import pack
from ioe_node.store.requests import Request, RequestRows

KEPT_US = 24 * 3_600 * 1_000_000
SETTLEMENT = "currency.Settlement"
DOUBT = "whether this was paid is not known yet; ask again by the same name"


class OtherTerms(CallError):
    """A name that another payment was asked for by."""


class InDoubt(TransportError):
    """It is not known yet whether a payment was made; ask again by the same name."""


class Payments:
    """The payments that programs ask of one node, one at a time."""

    def __init__(self, cells: Callable[[], Sequence[Cell]]) -> None:
        """`cells` are those with a currency."""
        self._cells = cells
        self._lock = trio.Lock()

    async def pay(self, cell: Cell, name: str, terms: Mapping[str, Any]) -> ActionHash:
        """The settlement of `terms` (payee, amount_micro, memo); made anew if there is no name.

        Raises as the payment does, `OtherTerms`, or `InDoubt`.
        """
        async with self._lock:
            for request in RequestRows(cell.space.store).open():
                await _settle(cell, request)
            if not name:
                return await _call(cell, terms)
            known = self._known(cell, name, pack(dict(terms)))
            if known is None:
                return await _begin(cell, name, terms)
            if known.answer is None:
                raise InDoubt(DOUBT)
            return known.answer

    def _known(self, cell: Cell, name: str, terms: bytes) -> Request | None:
        for each in self._cells():
            found = RequestRows(each.space.store).named(name)
            if found is None or (_old(cell, found) and found.answer is not None):
                continue
            if each is not cell or found.terms != terms:
                raise OtherTerms("another payment was asked for by this name; choose a new one")
            return found
        return None


def _old(cell: Cell, request: Request) -> bool:
    return request.begun_us < cell.space.clock.now_us() - KEPT_US


async def _call(cell: Cell, terms: Mapping[str, Any]) -> ActionHash:
    made: ActionHash = await cell.call("currency", "pay", terms)
    return made


async def _begin(cell: Cell, name: str, terms: Mapping[str, Any]) -> ActionHash:
    space, rows = cell.space, RequestRows(cell.space.store)
    head = space.store.head(space.agent)
    now_us = space.clock.now_us()
    request = Request(name, pack(dict(terms)), now_us, space.agent, head.seq if head else -1)
    await space.run(rows.begin, request, now_us - KEPT_US)
    try:
        made = await _call(cell, terms)
    except IoeError:
        found = await _settle(cell, request)
        if found is not None:
            return found
        if space.store.promised() is not None:
            raise InDoubt(DOUBT) from None
        raise
    await space.run(rows.answer, name, made)
    return made


async def _settle(cell: Cell, request: Request) -> ActionHash | None:
    """What came of an open request, kept; None where nothing did or it is still in doubt."""
    space, rows = cell.space, RequestRows(cell.space.store)
    found = _on_chain(cell, request, rows)
    if found is not None:
        await space.run(rows.answer, request.name, found)
    elif space.store.promised() is None:
        await space.run(rows.forget, request.name)
    return found


def _on_chain(cell: Cell, request: Request, rows: RequestRows) -> ActionHash | None:
    oldest = None
    for record in cell.space.store.of_type(request.author, SETTLEMENT):
        if record.action.action_seq <= request.seq:
            break
        entry = cell.space.rules.found(record).entry
        if _terms(entry, request.author) == request.terms and not rows.answered_by(record.hash):
            oldest = record.hash
    return oldest


def _terms(entry: Any, payer: AgentPubKey) -> bytes | None:
    """What a settlement pays, as it was asked for; None for a sale and for what we received."""
    if entry.reading is not None or entry.parties[0].agent != payer:
        return None
    payee = entry.parties[1].agent
    return pack({"payee": payee, "amount_micro": entry.amount_micro, "memo": entry.memo})

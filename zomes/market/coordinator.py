"""Place an order, take it back, read an interval's book."""

from typing import Any

from ioe_node.hdk import ActionHash, CallError, CoordinatorZome, Host
from zomes.market.integrity import BOOK, Order, basis_of
from zomes.market.integrity import zome as integrity

BOOK_ORDERS_MAX = 10_000
OWN_ORDERS_MAX = 1_000

zome = CoordinatorZome(integrity)


@zome.function
async def place(host: Host, order: Order) -> ActionHash:
    """Commit an order and list it in its interval's book; the order's name is its hash."""
    placed = await host.create(order)
    await host.create_link(basis_of(order.start), placed, BOOK)
    host.emit_signal({"placed": placed, "start": order.start})
    return placed


@zome.function
async def cancel(host: Host, order: ActionHash) -> None:
    """Take back an order of ours, before its interval begins."""
    found = await host.get(order)
    if found is None or not isinstance(found.entry, Order):
        raise CallError("no order of that name; `book` lists those that stand")
    us = host.agent_info().agent
    listed = await host.get_links(basis_of(found.entry.start), BOOK)
    ours = [link.hash for link in listed if link.target == order and link.author == us]
    if not ours:
        raise CallError("that order is not ours, or is taken back already")
    for link in ours:
        await host.delete_link(link)
    await host.delete(order)
    host.emit_signal({"cancelled": order, "start": found.entry.start})


@zome.function
async def book(host: Host, start: int) -> list[dict[str, Any]]:
    """The orders of the interval that begins at `start`, valid now, in the order of their names.

    Of those that have arrived: a gate that is signed fixes which count.
    """
    listed = await host.get_links(basis_of(start), BOOK)
    names = sorted({ActionHash(link.target) for link in listed})[:BOOK_ORDERS_MAX]
    found = [each for name in names if (each := await host.get(name)) is not None]
    return [
        {
            "id": each.hash,
            "agent": each.action.author,
            "placed_us": each.action.timestamp_us,
            "side": each.entry.side,
            "energy_milli_wh": each.entry.energy_milli_wh,
            "limit_micro": each.entry.limit_micro,
            "valid_until": each.entry.valid_until,
            "zone": each.entry.zone,
            "clean": each.entry.clean,
            "clean_only": each.entry.clean_only,
            "local_first": each.entry.local_first,
            "partner": each.entry.partner,
        }
        for each in found
        if isinstance(each.entry, Order) and each.entry.valid_until > host.now_us()
    ]


@zome.function
async def ordered(host: Host, from_start: int) -> list[int]:
    """The intervals from `from_start` on for which we placed orders, oldest first."""
    placed = await host.query(Order, limit=OWN_ORDERS_MAX)
    return sorted({each.entry.start for each in placed if each.entry.start >= from_start})


@zome.function
async def gate_of(host: Host, start: int) -> dict[str, Any] | None:
    """The gate of an interval that counts here, and its matches; None without one."""
    return None

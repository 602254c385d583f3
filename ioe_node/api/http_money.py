"""Routes about credits and the market.

The market is a zome of the community's, called by name: `market.book`, `market.place` and
`market.cancel`.
"""

from typing import TYPE_CHECKING, Any

import msgspec

from ioe_node.api.http_cells import agent_of, cell_for, hash_of
from ioe_node.api.http_errors import Unfit
from ioe_node.api.http_routes import Nothing, route
from ioe_node.api.http_types import (
    Cancelled,
    InCommunity,
    Market,
    NewOrder,
    OrderOf,
    Paid,
    Payment,
    Placed,
    Statement,
    StatementEntry,
    Wallet,
)
from ioe_node.conductor.cell import Cell
from ioe_node.hdi import ActionHash
from ioe_node.model.hashes import ACTION, to_text
from ioe_node.model.plain import plain
from ioe_node.workflows.finality import certificate_of

if TYPE_CHECKING:
    from ioe_node.api.http_app import Api


@route("GET", "/api/v1/wallet", "read", fails=(404, 409))
async def wallet(api: "Api", asked: Statement) -> Wallet:
    """Our balance and the newest entries of our statement."""
    cell = cell_for(api.conductor, asked.community, "currency")
    found = await cell.call("currency", "balance", {})
    most = asked.after + asked.limit
    listed = await cell.call("currency", "history", {"limit": most + 1})
    entries = [_entry(cell, each) for each in listed[asked.after : most]]
    return Wallet(
        found["balance_micro"],
        found.get("pending_micro", 0),
        found["credit_limit_micro"],
        entries,
        most if len(listed) > most else None,
    )


def _entry(cell: Cell, each: dict[str, Any]) -> StatementEntry:
    amount, energy = each["amount_micro"], each["energy_milli_wh"]
    certificate = certificate_of(cell.space, ActionHash(each["hash"]))
    return StatementEntry(
        each["timestamp_us"],
        "in" if amount >= 0 else "out",
        to_text(each["with"]),
        abs(amount),
        "sale" if energy else "payment",
        energy or None,
        each.get("final", certificate is not None),
        each["memo"],
        to_text(each["hash"]),
    )


@route("POST", "/api/v1/payments", "pay", fails=(404, 409))
async def pay(api: "Api", asked: Nothing, body: Payment) -> Paid:
    """Pay another member; answered when both chains have it."""
    cell = cell_for(api.conductor, body.community, "currency")
    payload = {
        "payee": agent_of(body.to),
        "amount_micro": body.micro_credits,
        "memo": body.memo,
    }
    return Paid(to_text(await cell.call("currency", "pay", payload)))


@route("GET", "/api/v1/market", "read", fails=(404, 409))
async def market(api: "Api", asked: InCommunity) -> Market:
    """The open book and the newest trades; 409 where the community's rules have no market."""
    cell = cell_for(api.conductor, asked.community, "market")
    return msgspec.convert(plain(await cell.call("market", "book", {})), Market)


@route("POST", "/api/v1/market/orders", "pay", fails=(404, 409))
async def place(api: "Api", asked: Nothing, body: NewOrder) -> Placed:
    """Place an offer or a bid."""
    if body.end_us <= body.start_us:
        raise Unfit("an order's span ends after it begins")
    cell = cell_for(api.conductor, body.community, "market")
    payload = {
        "side": body.side,
        "milli_wh": body.milli_wh,
        "price_micro_credits_per_kwh": body.price_micro_credits_per_kwh,
        "start_us": body.start_us,
        "end_us": body.end_us,
    }
    return Placed(to_text(await cell.call("market", "place", payload)))


@route("DELETE", "/api/v1/market/orders/{hash}", "pay", fails=(404, 409))
async def cancel(api: "Api", asked: OrderOf) -> Cancelled:
    """Take an order of ours back."""
    order = hash_of(asked.hash, ACTION)
    cell = cell_for(api.conductor, asked.community, "market")
    await cell.call("market", "cancel", {"order": order})
    return Cancelled(asked.hash)

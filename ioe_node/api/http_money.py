"""Routes about credits."""

from typing import TYPE_CHECKING, Any

from ioe_node.api.http_cells import agent_of, cell_for
from ioe_node.api.http_routes import Nothing, route
from ioe_node.api.http_types import (
    Paid,
    Payment,
    Statement,
    StatementEntry,
    Wallet,
)
from ioe_node.conductor.cell import Cell
from ioe_node.hdi import ActionHash
from ioe_node.model.hashes import to_text
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
        "payment" if each["seller"] is None else "sale",
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

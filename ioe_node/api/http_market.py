"""Routes about the market: open orders, and what was traded.

Orders stand in the book of one settlement interval each.  Who offers or bids for a longer span has
one order in each interval of it, the energy shared out evenly.  The newest trades are all matches
of the gates of the last intervals, and this node's own sales and purchases.
"""

from typing import TYPE_CHECKING, Any

from ioe_node.api.http_cells import cell_for, hash_of
from ioe_node.api.http_errors import Unfit
from ioe_node.api.http_routes import Nothing, route
from ioe_node.api.http_types import (
    Cancelled,
    InCommunity,
    Market,
    Match,
    NewOrder,
    Order,
    OrderOf,
    Placed,
)
from ioe_node.conductor.cell import Cell
from ioe_node.hdi import AgentPubKey
from ioe_node.model.hashes import ACTION, to_text

if TYPE_CHECKING:
    from ioe_node.api.http_app import Api

BOOKS_SHOWN = 64
"""The books of so many intervals to come are shown; each is a question to the DHT."""
INTERVALS_PER_ORDER_MAX = 96
GATES_SHOWN = 32
TRADES_SHOWN = 50
MICRO_PER_BP = 100
MILLI_WH_PER_KWH = 1_000_000
SIDES = {"offer": "ask", "bid": "bid"}


@route("GET", "/api/v1/market", "read", fails=(404, 409))
async def market(api: "Api", asked: InCommunity) -> Market:
    """The open orders of the next intervals, the newest trades, and the price.

    That is what the last interval cleared at; where none of late had a trade, the community's.
    """
    cell = cell_for(api.conductor, asked.community, "market")
    properties = cell.space.rules.definition.properties
    length_us = properties.interval_us
    first_us = api.conductor.clock.now_us() // length_us * length_us + length_us
    orders = [
        _order(cell.space.agent, start_us, start_us + length_us, each)
        for start_us in range(first_us, first_us + BOOKS_SHOWN * length_us, length_us)
        for each in await cell.call("market", "book", {"start": start_us})
    ]
    gates = await cell.call("market", "cleared", {"intervals": GATES_SHOWN})
    prices = [each["price_micro"] for each in gates if each["price_micro"] is not None]
    price_micro = prices[0] if prices else properties.price_bp * MICRO_PER_BP
    trades = [_match(gate["start"], each) for gate in gates for each in gate["matches"]]
    trades = sorted([*trades, *await _settled(cell)], key=lambda each: -each.at_us)
    return Market(orders, trades[:TRADES_SHOWN], price_micro)


def _order(us: AgentPubKey, start_us: int, end_us: int, each: dict[str, Any]) -> Order:
    return Order(
        to_text(each["id"]),
        to_text(each["agent"]),
        "offer" if each["side"] == "ask" else "bid",
        each["energy_milli_wh"],
        each["limit_micro"],
        start_us,
        end_us,
        each["agent"] == us,
    )


def _match(start_us: int, each: dict[str, Any]) -> Match:
    return Match(
        start_us,
        to_text(each["seller"]),
        to_text(each["buyer"]),
        each["energy_milli_wh"],
        each["price_micro"],
        "an offer met a bid at the gate of this interval",
    )


async def _settled(cell: Cell) -> list[Match]:
    """Our sales and purchases of what no gate had matched; that is shown as it was matched."""
    settled = await cell.call("currency", "history", {"limit": 4 * TRADES_SHOWN})
    shared = [each for each in settled if each["energy_milli_wh"] and not each["matched"]]
    return [_sale(cell.space.agent, each) for each in shared[:TRADES_SHOWN]]


def _sale(us: AgentPubKey, each: dict[str, Any]) -> Match:
    amount, energy = each["amount_micro"], each["energy_milli_wh"]
    seller, buyer = each["seller"], each["with"] if each["seller"] == us else us
    return Match(
        each["timestamp_us"],
        to_text(seller),
        to_text(buyer),
        energy,
        abs(amount) * MILLI_WH_PER_KWH // energy,
        "shared out by what both meters counted in the same interval, at the community's price",
    )


@route("POST", "/api/v1/market/orders", "pay", fails=(404, 409))
async def place(api: "Api", asked: Nothing, body: NewOrder) -> Placed:
    """Place an offer or a bid: one order an interval, answered with the first one's name."""
    cell = cell_for(api.conductor, body.community, "market")
    length_us = cell.space.rules.definition.properties.interval_us
    count = (body.end_us - body.start_us) // length_us
    if body.start_us % length_us or body.end_us % length_us or count < 1:
        raise Unfit(f"an order's span is made of whole intervals of {length_us // 1_000_000} s")
    if count > INTERVALS_PER_ORDER_MAX or count > body.milli_wh:
        raise Unfit(f"an order is for {INTERVALS_PER_ORDER_MAX} intervals at most, with energy")
    share, rest = divmod(body.milli_wh, count)
    placed = [
        await cell.call("market", "place", {"order": _fields(body, start_us, share + (at < rest))})
        for at, start_us in enumerate(range(body.start_us, body.end_us, length_us))
    ]
    return Placed(to_text(placed[0]))


def _fields(body: NewOrder, start_us: int, milli_wh: int) -> dict[str, Any]:
    """The zome's order for one interval, without preferences."""
    return {
        "side": SIDES[body.side],
        "energy_milli_wh": milli_wh,
        "limit_micro": body.price_micro_credits_per_kwh,
        "start": start_us,
        "valid_until": start_us,
        "zone": "",
        "clean": False,
        "clean_only": False,
        "local_first": False,
        "partner": None,
    }


@route("DELETE", "/api/v1/market/orders/{hash}", "pay", fails=(404, 409))
async def cancel(api: "Api", asked: OrderOf) -> Cancelled:
    """Take an order of ours back."""
    order = hash_of(asked.hash, ACTION)
    cell = cell_for(api.conductor, asked.community, "market")
    await cell.call("market", "cancel", {"order": order})
    return Cancelled(asked.hash)

"""Preferences under any mechanism: partners first, then neighbours, then all; clean for the clean.

Orders whose agents name each other clear in a book of their own, then those of one zone that
both come `local_first`, and what is left of them joins everyone's book.  To ask binds nobody
else: only those that ask are set apart.

A bid for clean energy only is never served with other energy.  If a book's clearing would do
so, it parts: clean asks serve the bids that want them, other asks the other bids, and what is
left of the clean the other bids that are left.  Under the uniform price this loses nothing of
the linear program that knows who may serve whom: if its optimum without that rule breaks it, one
with it uses clean energy for those bids alone.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from currency.market.book import Clearing, Mechanism, Order, Trades, left_of
from currency.market.merit import best_pico, wants_clean

Key = tuple[bytes, bytes] | str | None


def cleared(orders: Sequence[Order], mechanism: Mechanism) -> Clearing:
    """Clear by a mechanism as far as the orders' wishes let it."""
    if not any(order.wants for order in orders):
        return mechanism(orders)
    done: list[Clearing] = []
    rest = list(orders)
    for key_of in (_partners, _neighbours):
        stage = [each for book in _apart(rest, key_of) for each in _clean_kept(book, mechanism)]
        rest = left_of(rest, (trade for each in stage for trade in each.trades))
        done += stage
    done += _clean_kept(rest, mechanism)
    return Clearing(
        Trades.of(trade for each in done for trade in each.trades),
        tuple(price for each in done for price in each.prices),
        sum(each.welfare_pico for each in done),
        best_pico(orders),
    )


def _partners(order: Order) -> Key:
    """(buyer, seller) of an order that names its partner."""
    if order.wants is None or order.wants.partner is None:
        return None
    pair = (order.agent, order.wants.partner)
    return pair if order.side == "bid" else pair[::-1]


def _neighbours(order: Order) -> Key:
    return order.zone if order.wants is not None and order.wants.local_first else None


def _apart(orders: Iterable[Order], key_of: Callable[[Order], Key]) -> list[list[Order]]:
    """The orders that share a key, with both sides there, in the order of keys."""
    books: defaultdict[Key, list[Order]] = defaultdict(list)
    for order in orders:
        key = key_of(order)
        if key is not None:
            books[key].append(order)
    return [book for _, book in sorted(books.items()) if len({order.side for order in book}) == 2]


def _clean_kept(orders: Sequence[Order], mechanism: Mechanism) -> list[Clearing]:
    """Clear one book; in three parts if it must be to keep clean energy for those it is due."""
    whole = mechanism(orders)
    by_id = {order.id: order for order in orders}
    if all(by_id[each.ask].clean or not wants_clean(by_id[each.bid]) for each in whole.trades):
        return [whole]
    parts = []
    rest = list(orders)
    for book in (_clean, _other, _unbound):
        parts.append(mechanism([order for order in rest if book(order)]))
        rest = left_of(rest, parts[-1].trades)
    return parts


def _clean(order: Order) -> bool:
    return wants_clean(order) if order.side == "bid" else order.clean


def _other(order: Order) -> bool:
    return not _clean(order)


def _unbound(order: Order) -> bool:
    return order.side == "ask" or not wants_clean(order)

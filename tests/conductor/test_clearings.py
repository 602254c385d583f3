"""Who hears of a clearing: every node's own clients, once, whoever wrote it; and its feed."""

from typing import Any

import trio

from ioe_node.conductor.market_feed import INTERVALS_KEPT, MarketFeed
from ioe_node.config import OWNER_TEMPLATE
from tests.conductor.test_life import joined

INTERVAL_US = 16_000_000
SCHEDULE = OWNER_TEMPLATE.replace("every_ms = 10000", "every_ms = 500")


async def test_the_clients_of_every_node_hear_of_a_clearing_once(
    street: Any, autojump: Any
) -> None:
    owner = await street.owner()
    await owner.call("community_create", name="street", amend={"interval_us": INTERVAL_US})
    other = await joined(street, owner, "other", b"o" * 32)
    for node in (owner, other):
        await node.stop()
        node.text += SCHEDULE
        await node.start()
    heard: list[list[Any]] = [[], []]
    for node, told in zip((owner, other), heard, strict=True):
        await node.until(
            lambda found: found["communities"] and found["communities"][0]["confirmed"]
        )

        def take(signal: Any, told: list[Any] = told) -> None:
            if signal["kind"] == "app" and "cleared" in signal["value"]:
                told.append(signal["value"])

        street.nursery.start_soon(tapped, node, take)
    await trio.sleep(5)
    start = street.clock.now_us() // INTERVAL_US * INTERVAL_US + INTERVAL_US
    for node, side in ((owner, "bid"), (other, "ask")):
        order = {
            "side": side,
            "energy_milli_wh": 1_000,
            "limit_micro": 200_000,
            "start": start,
            "valid_until": start,
            "zone": "",
            "clean": False,
            "clean_only": False,
            "local_first": False,
            "partner": None,
        }
        payload = {"order": order}
        await node.call("zome_call", zome="market", function="place", payload=payload)
    await trio.sleep(2 * INTERVAL_US / 1e6)
    cleared = {"cleared": start, "price_micro": 200_000, "energy_milli_wh": 1_000}
    assert heard == [[cleared], [cleared]]
    (cell,) = other.conductor.cells.values()
    feed = MarketFeed(cell)
    told = {each.start_us: each.price_micro_per_kwh for each in await feed.periods()}
    usual = cell.space.rules.definition.properties.price_bp * 100
    assert len(told) == INTERVALS_KEPT
    assert told.pop(start) == 200_000
    newest = told.pop(max(told))
    assert newest in (200_000, usual)  # while the interval is voted on, as the one before
    assert set(told.values()) == {usual}
    await trio.sleep(INTERVAL_US / 1e6)
    again = await feed.periods()
    assert len(again) == INTERVALS_KEPT
    assert [each.price_micro_per_kwh for each in again if each.start_us == start] == [200_000]
    assert again[-1].start_us == max(each.start_us for each in again) > max(told)


async def tapped(node: Any, take: Any) -> None:
    with node.conductor.signals.tapped(take):
        await trio.sleep_forever()

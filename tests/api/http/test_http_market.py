"""The market over REST: placed by whole intervals, shown, taken back."""

from typing import Any

import trio

US = 1_000_000
PRICE = "price_micro_credits_per_kwh"


def order(owner: Any, side: str, milli_wh: int, intervals: int = 1, price: int = 250_000) -> Any:
    start_us = owner.conductor.clock.now_us() // US * US + 12 * US
    span = {"start_us": start_us, "end_us": start_us + intervals * US}
    return {"side": side, "milli_wh": milli_wh, PRICE: price, **span}


async def test_an_order_for_a_span_is_one_in_each_interval(owner: Any) -> None:
    made = order(owner, "offer", 1_001, intervals=3)
    placed = await owner.post("/api/v1/market/orders", **made)
    found = await owner.until("/api/v1/market", lambda each: len(each["orders"]) == 3)
    assert [each["milli_wh"] for each in found["orders"]] == [334, 334, 333]
    assert {each["side"] for each in found["orders"]} == {"offer"}
    assert {each[PRICE] for each in found["orders"]} == {250_000}
    assert all(each["ours"] for each in found["orders"])
    assert (found["matches"], found[PRICE]) == ([], 1_000_000)
    gone = await owner.http.delete(f"/api/v1/market/orders/{placed['hash']}")
    assert gone.status_code == 200
    left = await owner.until("/api/v1/market", lambda each: len(each["orders"]) == 2)
    assert placed["hash"] not in [each["hash"] for each in left["orders"]]


async def test_a_span_of_no_whole_intervals_is_refused(owner: Any) -> None:
    good = order(owner, "bid", 100)
    for wrong in (
        {"end_us": good["end_us"] + 1},
        {"start_us": good["end_us"]},
        {"end_us": good["start_us"] + 97 * US},
        {"milli_wh": 1, "end_us": good["start_us"] + 2 * US},
    ):
        refused = await owner.post("/api/v1/market/orders", 422, **{**good, **wrong})
        assert refused["error"] == "Unfit"
    past = {"start_us": good["start_us"] - 600 * US, "end_us": good["end_us"] - 600 * US}
    assert (await owner.post("/api/v1/market/orders", 409, **{**good, **past}))["error"]


async def test_what_the_gate_matched_is_shown_with_its_price(lane: Any) -> None:
    """Whoever reads it: the owner's book has its own bid, and a device's offer."""
    owner = await lane.owner()
    await owner.call("community_create", name="street", amend={"interval_us": 8 * US})
    made = await lane.device("kettle", "consumer", 36_000_000)
    found = await owner.until("/api/v1/near", bool)
    await owner.post("/api/v1/claims", device=found[0]["agent"], code="1234-5678", name="kettle")
    await owner.until("/api/v1/devices", lambda ours: ours and ours[0]["state"] == "ok")
    start_us = (owner.conductor.clock.now_us() // (8 * US) + 1) * 8 * US
    for node, side, price in ((owner, "bid", 300_000), (made, "offer", 200_000)):
        span = {"start_us": start_us, "end_us": start_us + 8 * US}
        await node.post(
            "/api/v1/market/orders", side=side, milli_wh=1_000, **{PRICE: price}, **span
        )
    with trio.fail_after(30):
        while not (found := (await owner.get("/api/v1/market"))["matches"]):
            for node in (owner, made):
                await node.call("zome_call", zome="market", function="keep", payload={})
            await trio.sleep(0.3)
    (match,) = found
    assert (match["at_us"], match["milli_wh"], match[PRICE]) == (start_us, 1_000, 250_000)
    assert match["buyer"] == owner.agent
    assert (await made.get("/api/v1/market"))["matches"] == [match]
    assert (await owner.get("/api/v1/market"))[PRICE] == 250_000

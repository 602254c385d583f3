"""The trader beside a real device's node: it offers what the meter has exported, and says why."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from currency import app
from currency.traders import trader
from dna.neighbourhood import Properties
from sim.virtual_clock import EPOCH_US
from tests.conductor.steps import owns

FEED = """
[[app]]
name = "trader"
feed = "ioe_node.drivers.feed_csv:CsvFeed"
[app.options]
path = "{path}"
"""
SHORT_DAY_US = 4_000_000
"""Four of the street's intervals, so that the trader soon has a day to learn from."""


async def test_a_roof_offers_its_next_interval(
    founded: Any, street: Any, tmp_path: Path, autojump: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trader, "DAY_US", SHORT_DAY_US)
    monkeypatch.setattr(app, "DAY_US", SHORT_DAY_US)
    start = datetime.fromtimestamp(EPOCH_US // 1_000_000, UTC)
    path = tmp_path / "prices.csv"
    path.write_text(f"start,end,price\n{start.isoformat()},2999-01-01T00:00:00+00:00,1.3\n")
    owner = await founded()
    boxed = street.boxed("roof")
    boxed.text += FEED.format(path=path)
    await boxed.start()
    await owner.until(lambda found: found["near"], "device_list")
    await owner.call("device_claim", device="roof", code="1234-5678")
    await owns(owner, "roof")
    await owner.call("app_set", name="trader", settings={"sell_min_micro": 100_000})

    def sold(found: Any) -> bool:
        return bool(found) and "sell" in [each["what"] for each in found[0]["decisions"]]

    (shown,) = await owner.until(sold, "app_list")
    (sale, *_) = [each for each in shown["decisions"] if each["what"] == "sell"]
    said = "offer 0.010 kWh from 0.700 on: to keep it is worth 0.700, by the last "
    assert sale["why"].startswith(said)
    assert sale["micro_per_kwh"] == Properties.grid_export_micro

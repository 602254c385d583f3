"""Who offers to pay for reductions pays for each once, whatever else it has paid since."""

from types import SimpleNamespace
from typing import Any

import pytest

from zomes.demand import coordinator
from zomes.demand.integrity import Incentive, Reduction

PAYER, DEVICE = b"p" * 39, b"d" * 39
OFFER, CLAIM = b"o" * 39, b"c" * 39


class Payer:
    """A `Host` of one who has made one offer, under which one device has claimed once."""

    def __init__(self) -> None:
        self.paid: list[dict[str, Any]] = []

    async def query(self, kind: type, author: Any = None, limit: int = 0) -> list[Any]:
        def found(hash_: bytes, entry: Any, at_us: int) -> list[Any]:
            action = SimpleNamespace(timestamp_us=at_us)
            return [SimpleNamespace(hash=hash_, entry=entry, action=action)]

        if kind is Incentive:
            return found(OFFER, SimpleNamespace(micro_per_kwh=1_000_000, budget_micro=900), 10)
        assert kind is Reduction
        return found(CLAIM, SimpleNamespace(incentive=OFFER, saved_milli_wh=400), 11)

    async def call(self, zome: str, function: str, payload: dict[str, Any]) -> Any:
        if function == "at_work":
            return [DEVICE]
        if function == "pay":
            self.pays(payload["amount_micro"], payload["memo"])
            return None
        assert (zome, function) == ("currency", "history")
        return self.paid[: payload["limit"]]

    def pays(self, amount_micro: int, memo: str) -> None:
        at_us = 20 + len(self.paid)
        self.paid.insert(0, {"amount_micro": -amount_micro, "memo": memo, "timestamp_us": at_us})

    async def get_judged(self, action: bytes) -> None:
        assert action == CLAIM


async def test_a_reduction_is_paid_once_though_its_payment_is_long_past(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(coordinator, "PAYMENTS_READ", 3)
    payer: Any = Payer()
    assert (await coordinator.reward(payer))["paid"] == 1
    assert (await coordinator.reward(payer))["paid"] == 0
    for _ in range(3):
        payer.pays(5, "rent")
    assert (await coordinator.reward(payer))["paid"] == 0
    assert [each["memo"].split()[0] for each in payer.paid].count("saved") == 1

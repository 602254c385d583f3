"""Who offers to pay for reductions pays for each once, whatever else it has paid since."""

from collections import OrderedDict
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
        self.read: list[int] = []
        self.network = object()

    def agent_info(self) -> Any:
        return SimpleNamespace(agent=PAYER, dna=self.network)

    async def query(self, kind: type, author: Any = None, limit: int = 0) -> list[Any]:
        def found(hash_: bytes, entry: Any, at_us: int) -> list[Any]:
            action = SimpleNamespace(timestamp_us=at_us)
            return [SimpleNamespace(hash=hash_, entry=entry, action=action)]

        if kind is Incentive:
            return found(OFFER, SimpleNamespace(budget_micro=900), 10)
        assert kind is Reduction
        return found(CLAIM, SimpleNamespace(incentive=OFFER, saved_milli_wh=9, earns_micro=400), 11)

    async def call(self, zome: str, function: str, payload: dict[str, Any]) -> Any:
        if function == "at_work":
            return [DEVICE]
        if function == "pay":
            self.pays(payload["amount_micro"], payload["memo"])
            return None
        assert (zome, function) == ("currency", "history")
        hashes = [each["hash"] for each in self.paid]
        known = hashes.index(payload["after"]) if payload["after"] in hashes else len(hashes)
        listed = self.paid[: min(known, payload["limit"])]
        self.read.append(len(listed))
        return listed

    def pays(self, amount_micro: int, memo: str) -> None:
        at_us = 20 + len(self.paid)
        made = {"hash": b"%d" % at_us, "timestamp_us": at_us}
        self.paid.insert(0, {"amount_micro": -amount_micro, "memo": memo, **made})

    async def get_judged(self, action: bytes) -> None:
        assert action == CLAIM


async def test_a_reduction_is_paid_once_though_its_payment_is_long_past(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(coordinator, "PAYMENTS_READ", 3)
    payer: Any = Payer()
    assert await coordinator.reward(payer) == {"paid": 1, "amount_micro": 400, "waiting": 0}
    assert (await coordinator.reward(payer))["paid"] == 0
    for _ in range(3):
        payer.pays(5, "rent")
    assert (await coordinator.reward(payer))["paid"] == 0
    assert [each["memo"].split()[0] for each in payer.paid].count("saved") == 1


async def test_a_run_reads_what_was_settled_since_the_last() -> None:
    payer: Any = Payer()
    for _ in range(5):
        payer.pays(5, "rent")
    for _ in range(3):
        await coordinator.reward(payer)
    payer.pays(5, "rent")
    assert (await coordinator.reward(payer))["paid"] == 0
    assert payer.read == [5, 1, 0, 1]
    assert [each["memo"].split()[0] for each in payer.paid].count("saved") == 1


async def test_a_restart_reads_it_all_again_and_pays_nothing_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    payer: Any = Payer()
    await coordinator.reward(payer)
    monkeypatch.setattr(coordinator, "_remembered", OrderedDict())
    assert (await coordinator.reward(payer))["paid"] == 0


async def test_what_is_remembered_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinator, "_remembered", OrderedDict())
    for _ in range(coordinator.PAYERS_REMEMBERED_MAX + 1):
        payer: Any = Payer()
        await coordinator.reward(payer)
    assert len(coordinator._remembered) == coordinator.PAYERS_REMEMBERED_MAX

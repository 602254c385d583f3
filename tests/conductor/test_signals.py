"""Signals: in order, bounded, and with a gap that is said."""

import pytest
import trio

from ioe_node.conductor import signals as signals_module
from ioe_node.conductor.signals import Signals


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Signals:
    monkeypatch.setattr(signals_module, "SIGNALS_PER_CLIENT_MAX", 3)
    return Signals()


def heard(client: "trio.MemoryReceiveChannel[dict[str, object]]") -> list[object]:
    found: list[object] = []
    while True:
        try:
            each = client.receive_nowait()
        except trio.WouldBlock:
            return found
        found.append(each.get("number", ("gap", each.get("missed"))))


async def test_a_gap_is_said_where_it_is(small: Signals) -> None:
    client = small.follow()
    for number in range(5):
        small.emit({"number": number})
    assert heard(client) == [0, 1, 2]
    small.emit({"number": 5})
    assert heard(client) == [("gap", 2), 5]
    small.emit({"number": 6})
    assert heard(client) == [6]
    client.close()


async def test_a_gap_notice_that_fills_the_last_place_counts_what_it_pushed_out(
    small: Signals,
) -> None:
    client = small.follow()
    for number in range(4):
        small.emit({"number": number})
    client.receive_nowait()
    small.emit({"number": 4})
    assert heard(client) == [1, 2, ("gap", 1)]
    small.emit({"number": 5})
    assert heard(client) == [("gap", 1), 5]
    client.close()


async def test_one_slow_client_does_not_hold_up_another(small: Signals) -> None:
    slow, quick = small.follow(), small.follow()
    got: list[object] = []
    for number in range(10):
        small.emit({"number": number})
        got += heard(quick)
    assert got == list(range(10))
    assert heard(slow) == [0, 1, 2]
    slow.close()
    quick.close()


async def test_a_client_that_has_gone_costs_nothing(small: Signals) -> None:
    small.follow().close()
    small.emit({"number": 1})
    assert not small._clients


async def test_a_tap_hears_each_signal_at_once_until_it_is_shut(small: Signals) -> None:
    heard_at_once: list[object] = []
    with small.tapped(lambda signal: heard_at_once.append(signal["number"])):
        for number in range(5):
            small.emit({"number": number})
        assert heard_at_once == list(range(5))
    small.emit({"number": 5})
    assert heard_at_once == list(range(5))

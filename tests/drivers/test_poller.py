"""The poller: when to ask again, when to stop, and that no interval is lost on the way."""

import logging
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest
import trio

from ioe_node.drivers.driver import Reading
from ioe_node.drivers.poller import BACKOFF_MAX_S, INTERVALS_PER_RECORD_MAX, Poller
from ioe_node.drivers.slicer import Change, Interval, Slicer
from ioe_node.errors import CallError, DiskFull, IoeError, LocalError, TransportError

SECOND_US = 1_000_000
BEGAN_US = 1_700_000_000 * SECOND_US
POWER_MILLI_WH_PER_S = 7


def now_us() -> int:
    return BEGAN_US + round(trio.current_time() * SECOND_US)


class FakeMeter:
    """Energy grows by the virtual clock; `faults` are raised first, in turn."""

    def __init__(self, *faults: Exception) -> None:
        self.faults = list(faults)
        self.reads_at: list[float] = []

    async def read(self) -> Reading:
        self.reads_at.append(trio.current_time())
        if self.faults:
            raise self.faults.pop(0)
        at_us = now_us()
        return Reading(at_us, (at_us - BEGAN_US) * POWER_MILLI_WH_PER_S // SECOND_US, 0, 25_200)


class Ledger:
    """What was recorded; refuses while `refusal` is set."""

    def __init__(self) -> None:
        self.kept: list[Interval] = []
        self.pages: list[int] = []
        self.refusal: IoeError | None = None

    async def record(self, intervals: list[Interval]) -> None:
        await trio.lowlevel.checkpoint()
        if self.refusal is not None:
            raise self.refusal
        self.pages.append(len(intervals))
        self.kept += intervals

    def resume(self) -> tuple[int, int, int]:
        last = self.kept[-1]
        return last.end_us, last.import_register_milli_wh, last.export_register_milli_wh

    def check(self) -> None:
        for before, after in zip(self.kept, self.kept[1:], strict=False):
            assert after.start_us == before.end_us
            grown = after.import_register_milli_wh - before.import_register_milli_wh
            assert grown == after.import_milli_wh


Start = Callable[..., Awaitable[Poller]]


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def start(nursery: trio.Nursery, ledger: Ledger) -> Callable[..., Poller]:
    def start(meter: Any, poll_s: float = 1.0, resume: Any = None) -> Poller:
        slicer = Slicer(SECOND_US, resume)
        poller = Poller(meter, slicer, poll_s, Random(1), ledger.record)
        nursery.start_soon(poller.run)
        return poller

    return start


async def test_it_reads_at_its_pace_and_hands_on_whole_intervals(
    start: Any, ledger: Ledger, autojump_clock: Any
) -> None:
    meter = FakeMeter()
    poller = start(meter)
    assert poller.state == "starting"
    await trio.sleep(10.5)
    assert (poller.state, poller.why) == ("ok", "")
    assert meter.reads_at == pytest.approx(range(11))
    assert poller.latest is not None
    assert poller.latest.power_milli_w == 25_200
    assert len(ledger.kept) == 10
    assert sum(each.import_milli_wh for each in ledger.kept) == 70
    assert {each.quality for each in ledger.kept} == {"measured"}


async def test_a_device_that_is_away_is_asked_ever_more_seldom_and_nothing_is_lost(
    start: Any, ledger: Ledger, autojump_clock: Any
) -> None:
    meter = FakeMeter(*[TransportError("the plug does not answer")] * 7)
    poller = start(meter)
    await trio.sleep(0.1)
    assert (poller.state, poller.why) == ("retrying", "the plug does not answer")
    await trio.sleep(1_000)
    waits = [
        later - sooner for sooner, later in zip(meter.reads_at, meter.reads_at[1:], strict=False)
    ][:7]
    for turn, wait_s in enumerate(waits, 1):
        assert min(BACKOFF_MAX_S, 2**turn) * 0.5 <= wait_s <= min(BACKOFF_MAX_S, 2**turn)
    assert (poller.state, poller.why) == ("ok", "")
    assert meter.reads_at[-1] - meter.reads_at[-2] == pytest.approx(1)


async def test_the_wait_is_bounded_however_long_the_device_is_away(
    start: Any, autojump_clock: Any
) -> None:
    meter = FakeMeter(*[TransportError("away")] * 200)
    start(meter)
    await trio.sleep(100 * BACKOFF_MAX_S)
    last = [b - a for a, b in zip(meter.reads_at[-20:], meter.reads_at[-19:], strict=False)]
    assert all(BACKOFF_MAX_S / 2 <= wait_s <= BACKOFF_MAX_S for wait_s in last)
    assert len(set(last)) > 10, "jitter parts the devices of a street"


async def test_energy_of_a_silence_is_counted_when_the_device_is_back(
    start: Any, ledger: Ledger, autojump_clock: Any
) -> None:
    meter = FakeMeter()
    start(meter)
    await trio.sleep(5.5)
    meter.faults = [TransportError("away")] * 4
    await trio.sleep(60)
    ledger.check()
    assert ledger.kept[-1].end_us >= now_us() - 2 * SECOND_US
    assert ledger.kept[-1].import_register_milli_wh == pytest.approx(
        (ledger.kept[-1].end_us - BEGAN_US) * 7 // SECOND_US, abs=1
    )
    assert "estimated" in {each.quality for each in ledger.kept}


@pytest.mark.parametrize("error", [LocalError("wrong password"), CallError("no such meter")])
async def test_what_trying_again_cannot_mend_stops_it(
    start: Any, autojump_clock: Any, error: LocalError
) -> None:
    meter = FakeMeter(error)
    poller = start(meter)
    await trio.sleep(1_000)
    assert (poller.state, poller.why) == ("stopped", str(error))
    assert len(meter.reads_at) == 1


async def test_registers_that_do_not_follow_are_said_once_and_read_on(
    nursery: trio.Nursery, ledger: Ledger, autojump_clock: Any
) -> None:
    class Replaced(FakeMeter):
        extra = 0

        async def read(self) -> Reading:
            reading = await super().read()
            return Reading(reading.at_us, reading.import_milli_wh + self.extra, 0)

    meter, said, heard = Replaced(), list[str](), list[Reading]()
    slicer = Slicer(SECOND_US, None, 1_000)
    poller = Poller(
        meter, slicer, 1, Random(1), ledger.record, heard=heard.append, refused=said.append
    )
    nursery.start_soon(poller.run)
    await trio.sleep(5.5)
    meter.extra = 10**9
    await trio.sleep(10)
    assert poller.state == "retrying"
    assert said == [poller.why]
    assert "ioe meter changed" in poller.why
    assert len(ledger.kept) == 5
    slicer.begin_anew(Change("replaced"))
    await trio.sleep(5)
    assert (poller.state, poller.why) == ("ok", "")
    assert [each.change for each in ledger.kept if each.change] == [Change("replaced")]
    assert len(heard) == len(meter.reads_at)
    # Nothing of the one second in which the meter was replaced.
    assert sum(each.import_milli_wh for each in ledger.kept) == 7 * (len(ledger.kept) - 1)


async def test_a_driver_with_a_bug_is_retried_and_said(start: Any, autojump_clock: Any) -> None:
    meter = FakeMeter(KeyError("apower"), ZeroDivisionError())
    poller = start(meter)
    await trio.sleep(0.1)
    assert poller.state == "retrying"
    assert "KeyError('apower')" in poller.why
    await trio.sleep(30)
    assert (poller.state, poller.why) == ("ok", "")


async def test_intervals_that_cannot_be_recorded_wait_in_order(
    start: Any, ledger: Ledger, autojump_clock: Any
) -> None:
    poller = start(FakeMeter())
    await trio.sleep(3.5)
    ledger.refusal = DiskFull("the disk is full; free space")
    await trio.sleep(20)
    assert poller.state == "ok", "the device itself is well"
    assert poller.why == "20 readings wait: the disk is full; free space"
    assert len(ledger.kept) == 3
    ledger.refusal = None
    await trio.sleep(1)
    assert (poller.state, poller.why) == ("ok", "")
    assert len(ledger.kept) == 24
    ledger.check()


async def test_a_long_wait_is_recorded_page_by_page(
    start: Any, ledger: Ledger, autojump_clock: Any
) -> None:
    start(FakeMeter())
    ledger.refusal = CallError("a settlement is in doubt")
    await trio.sleep(INTERVALS_PER_RECORD_MAX * 2 + 10.5)
    ledger.refusal = None
    await trio.sleep(1)
    assert ledger.pages == [INTERVALS_PER_RECORD_MAX, INTERVALS_PER_RECORD_MAX, 11]
    ledger.check()


async def test_a_restart_loses_nothing_even_of_what_waited(
    nursery: trio.Nursery, ledger: Ledger, autojump_clock: Any
) -> None:
    async with trio.open_nursery() as life:
        life.start_soon(Poller(FakeMeter(), Slicer(SECOND_US), 1, Random(1), ledger.record).run)
        await trio.sleep(5.5)
        ledger.refusal = DiskFull("full")
        await trio.sleep(5)
        life.cancel_scope.cancel()
    ledger.refusal = None
    await trio.sleep(20)
    slicer = Slicer(SECOND_US, ledger.resume())
    nursery.start_soon(Poller(FakeMeter(), slicer, 1, Random(1), ledger.record).run)
    await trio.sleep(3)
    ledger.check()
    # Rounded down at the last boundary, and made up for at the next.
    assert 7 * len(ledger.kept) - sum(each.import_milli_wh for each in ledger.kept) in (0, 1)
    assert ledger.kept[-1].end_us > now_us() - 2 * SECOND_US


# --- devices that tell -------------------------------------------------------------------------


class Telling(FakeMeter):
    """Tells whatever is put into `news`: a reading, or what its connection breaks with."""

    def __init__(self, *faults: Exception) -> None:
        super().__init__(*faults)
        self.news, self._news = trio.open_memory_channel[Reading | Exception](10)
        self.watched_at: list[float] = []

    async def watch(self, tell: Callable[[Reading], None]) -> None:
        self.watched_at.append(trio.current_time())
        async for each in self._news:
            if isinstance(each, Exception):
                raise each
            tell(each)

    def now(self, **changed: Any) -> None:
        at_us = now_us()
        counted = (at_us - BEGAN_US) * POWER_MILLI_WH_PER_S // SECOND_US
        self.news.send_nowait(Reading(at_us, counted, 0, **changed))


async def test_what_a_device_tells_is_seen_at_once_and_counts_as_read(
    start: Any, ledger: Ledger, autojump_clock: Any
) -> None:
    meter = Telling()
    poller = start(meter, poll_s=60)
    await trio.sleep(5.5)
    assert not poller.live
    changed = poller.changed
    meter.now(switched_on=False)
    await trio.sleep(0.01)
    assert changed.is_set()
    assert poller.live
    assert poller.latest is not None
    assert poller.latest.switched_on is False
    assert len(ledger.kept) == 5, "told energy is recorded like any other"
    await trio.sleep(70)
    assert meter.reads_at == pytest.approx([0, 65.5], abs=0.1), "the poll was put off, not left out"
    ledger.check()


async def test_while_the_connection_is_gone_it_is_polled_and_tried_again(
    start: Any, ledger: Ledger, autojump_clock: Any
) -> None:
    meter = Telling()
    poller = start(meter)
    meter.now()
    await trio.sleep(0.5)
    for fault in (TransportError("the device hung up"), KeyError("a bug")):
        meter.news.send_nowait(fault)
        await trio.sleep(0.1)
        assert not poller.live
        await trio.sleep(10)
        assert (poller.state, poller.why) == ("ok", "")
    assert len(meter.watched_at) == 3
    meter.now()
    await trio.sleep(0.1)
    assert poller.live
    ledger.check()


async def test_watching_that_never_works_is_tried_ever_more_seldom(
    start: Any, autojump_clock: Any
) -> None:
    class Deaf(FakeMeter):
        tried = 0

        async def watch(self, tell: Any) -> None:
            self.tried += 1
            raise TransportError("no such channel")

    meter = Deaf()
    start(meter)
    await trio.sleep(3_000)
    assert meter.tried < 30
    assert len(meter.reads_at) > 2_900


async def test_a_device_that_cannot_be_watched_is_polled(start: Any, autojump_clock: Any) -> None:
    meter = Telling()
    poller = start(meter)
    meter.news.send_nowait(LocalError("it has no such channel"))
    await trio.sleep(100)
    assert len(meter.watched_at) == 1
    assert (poller.state, poller.live) == ("ok", False)


async def test_what_is_told_ends_a_backoff(start: Any, autojump_clock: Any) -> None:
    meter = Telling(*[TransportError("away")] * 20)
    poller = start(meter)
    await trio.sleep(500)
    assert poller.state == "retrying"
    meter.now()
    await trio.sleep(0.01)
    assert (poller.state, poller.why) == ("ok", "")


async def test_a_switch_is_looked_at_once_it_is_switched(start: Any, autojump_clock: Any) -> None:
    class Lamp(FakeMeter):
        on = True

        async def set_on(self, on: bool) -> None:
            self.on = on

        async def read(self) -> Reading:
            reading = await super().read()
            return Reading(reading.at_us, reading.import_milli_wh, 0, switched_on=self.on)

    poller = start(Lamp(), poll_s=60)
    await trio.sleep(5)
    await poller.set_on(False)
    await trio.sleep(0.01)
    assert poller.latest.switched_on is False
    with pytest.raises(CallError, match="nothing to switch"):
        await start(FakeMeter()).set_on(True)


# --- chains that cannot be written -------------------------------------------------------------


async def test_a_closed_chain_is_said_once_and_not_asked_again_until_it_is_open(
    start: Any, ledger: Ledger, autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    poller = start(FakeMeter())
    asked = 0
    is_open = False

    async def record(intervals: list[Interval]) -> None:
        nonlocal asked
        asked += 1
        await ledger.record(intervals)

    poller.record, poller.is_open = record, lambda: is_open
    with caplog.at_level(logging.INFO, "ioe.driver"):
        await trio.sleep(100.5)
    assert asked == 0
    assert [each.getMessage() for each in caplog.records] == [
        "1 readings wait: the chain is closed: they are recorded when it is open"
    ]
    assert poller.state == "ok"
    assert poller.why.startswith("100 readings wait: the chain is closed")
    is_open = True
    await trio.sleep(1)
    assert len(ledger.kept) == 101
    ledger.check()


async def test_one_reason_to_wait_is_said_once_and_the_next_again(
    start: Any, ledger: Ledger, autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    start(FakeMeter())
    with caplog.at_level(logging.INFO, "ioe.driver"):
        for refusal in (DiskFull("full"), None, DiskFull("full"), CallError("in doubt")):
            ledger.refusal = refusal
            await trio.sleep(10)
    assert [each.getMessage().partition(": ")[2] for each in caplog.records] == [
        "full",
        "full",
        "in doubt",
    ]

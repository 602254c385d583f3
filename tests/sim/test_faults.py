"""Each fault does what it says and is over when it says; the schedule hangs on the seed alone."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio

from ioe_node.errors import DiskFull, IoeError, StoreError
from ioe_node.model.hashes import key_of
from sim import faults
from sim.disk import SimulatedStore
from sim.faults import Fault
from sim.home import Home
from sim.scenarios.readings import enrol, read_within
from sim.surround import ground_near
from sim.swarm import Swarm
from sim.virtual_clock import EPOCH_US
from sim.watch import Watch

FAULT_S = 20.0


async def struck(swarm: Swarm, kind: str, *homes: int, lasts_s: float = FAULT_S) -> None:
    await faults.strike(swarm, [Fault(0.0, kind, homes, lasts_s)], swarm.rng("strike"))


async def begun(swarm: Swarm) -> list[Home]:
    assert await swarm.settle()
    for home in swarm.homes:
        await enrol(home, "before")
    assert await swarm.settle()
    return swarm.homes


async def mends(swarm: Swarm, found: Watch) -> None:
    """All runs again, and no checker finds anything."""
    await trio.sleep(30)
    assert len(swarm.running()) == len(swarm.homes)
    assert await swarm.settle()
    found.look_once()
    await found.close()
    assert found.findings == []


def test_a_schedule_is_of_the_seed_and_over_in_time() -> None:
    one, again, other = (faults.draw(Random(seed), 25, [3, 7], 300.0) for seed in (1, 1, 2))
    assert one == again != other
    assert {fault.kind for fault in one} == set(faults.STRIKES)
    assert all(fault.at_s + fault.lasts_s <= 300.0 for fault in one)
    for fault in one:
        guilty = {number in (3, 7) for number in fault.homes}
        assert guilty == {fault.kind in faults.SINS}
        assert faults.STEWARD not in fault.homes


@pytest.mark.parametrize("kind", sorted(faults.MISHAPS))
def test_what_befalls_the_honest_is_mended(play: Callable[..., Any], kind: str) -> None:
    async def story(swarm: Swarm) -> None:
        homes = await begun(swarm)
        found = Watch(swarm)

        async def write() -> None:
            for number in range(20):
                await trio.sleep(2)
                for home in homes:
                    with suppress(IoeError):
                        if home.running:
                            await enrol(home, f"meanwhile {number}")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            await struck(swarm, kind, 2)
        await mends(swarm, found)
        assert len(homes[2].committed) > 10

    play(story, homes=5)


def test_a_crash_leaves_the_log_unfolded_and_torn_and_loses_nothing(
    play: Callable[..., Any],
) -> None:
    async def story(swarm: Swarm) -> None:
        homes = await begun(swarm)
        head = homes[1].store.head(homes[1].agent)
        log = Path(f"{homes[1].path}-wal")
        size = log.stat().st_size
        await swarm.crash(homes[1])
        assert log.stat().st_size > size > 0
        await swarm.start(homes[1])
        assert homes[1].store.head(homes[1].agent) == head
        homes[1].store.check_file()

    play(story)


@pytest.mark.parametrize("logs", [True, False])
def test_without_a_log_a_store_is_one_file_and_comes_back(tmp_path: Path, logs: bool) -> None:
    store = SimulatedStore(tmp_path / "a.db", lambda records: None, logs)
    store.promise(3, b"body")
    assert (tmp_path / "a.db-wal").exists() is logs
    store.tear(Random(1))
    again = SimulatedStore(tmp_path / "a.db", lambda records: None, logs)
    assert logs or again.promised() == (3, b"body")
    again.close()


def test_what_was_not_committed_dies_with_the_process(tmp_path: Path) -> None:
    store = SimulatedStore(tmp_path / "a.db", lambda records: None)
    with store._transaction("save a peer") as db:
        db.execute("INSERT INTO peer VALUES (x'01', x'01')")
    store._db.execute("BEGIN IMMEDIATE")
    store._db.execute("INSERT INTO peer VALUES (x'02', x'02')")
    store.tear(Random(1))
    again = SimulatedStore(tmp_path / "a.db", lambda records: None)
    assert again.peers() == [b"\x01"]
    again.check_file()
    again.close()


def test_a_failing_disk_refuses_until_it_works_again(play: Callable[..., Any]) -> None:
    async def story(swarm: Swarm) -> None:
        homes = await begun(swarm)
        homes[1].fail_disk("disk full")
        with pytest.raises(DiskFull):
            await enrol(homes[1], "no room")
        homes[1].fail_disk("disk error")
        with pytest.raises(StoreError):
            homes[1].store.chain(homes[1].agent)
        await enrol(homes[2], "others go on")
        await trio.sleep(30)
        homes[1].fail_disk(None)
        await trio.sleep(30)
        assert await swarm.settle()
        await enrol(homes[1], "room again")

    play(story)


def test_clocks_go_wrong_and_right_again(play: Callable[..., Any]) -> None:
    async def story(swarm: Swarm) -> None:
        clock = swarm.homes[1].clock
        clock.skew(-60_000_000, 100)
        await trio.sleep(10)
        true_us = EPOCH_US + round(trio.current_time() * 1e6)
        assert clock.now_us() == true_us - 60_000_000 + 1_000
        clock.skew(0)
        assert clock.now_us() == true_us

    play(story)


def test_a_lost_disk_waits_until_others_hold_what_is_on_it(play: Callable[..., Any]) -> None:
    async def story(swarm: Swarm) -> None:
        homes = await begun(swarm)
        swarm.network.cut_off(homes[2].agent)
        await enrol(homes[2], "nobody knows")
        await struck(swarm, "lost disk", 2, lasts_s=10)
        assert homes[2].starts == 1
        swarm.network.heal()
        await struck(swarm, "lost disk", 2, lasts_s=60)
        await trio.sleep(30)
        assert homes[2].starts == 2
        assert len(homes[2].store.chain(homes[2].agent)) == 5

    play(story)


@pytest.mark.parametrize("kind", sorted(faults.SINS))
def test_the_honest_live_through_what_offenders_do(play: Callable[..., Any], kind: str) -> None:
    async def story(swarm: Swarm) -> None:
        homes = await begun(swarm)
        swarm.offenders.append(homes[4])
        found = Watch(swarm)
        await struck(swarm, kind, 4)
        for home in swarm.honest():
            await enrol(home, "after the sin")
        with suppress(IoeError):
            await enrol(homes[4], "goes on as if nothing had been")
        await trio.sleep(150)
        assert await swarm.settle()
        found.look_once()
        assert found.findings == []
        for reader, author in ((0, 1), (1, 2), (2, 3)):
            newest = homes[author].committed[max(homes[author].committed)]
            assert await read_within(homes[reader], newest, 10) is not None
        if kind in ("fork", "invalid record", "false warrant"):
            blocked = [homes[4].agent in home.cell.space.blocked for home in swarm.honest()]
            assert all(blocked)

    play(story, homes=6)


def test_keys_are_ground_to_the_victim() -> None:
    victim = ground_near(bytes(39), 0, Random(1)).agent  # type: ignore[arg-type]
    near = ground_near(victim, 8, Random(2)).agent
    assert key_of(near) >> 24 == key_of(victim) >> 24
    assert near != victim

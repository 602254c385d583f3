"""A charge point that the `ocpp` package plays, with us as its central system."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from ioe_node.drivers.driver import Meter, PowerLimit, Reading, Switch
from ioe_node.drivers.ocpp import ChargePoint
from ioe_node.drivers.ocpp_station import REMOTE_ID_TAG

RunPeer = Callable[..., Any]


class Stage:
    """The driver, listening, and all that it told."""

    def __init__(self, **options: object) -> None:
        self.told: list[Reading] = []
        self.driver = ChargePoint.from_options(
            {"name": "garage", "port": 0, "listen": "127.0.0.1", **options}
        )

    async def listen(self, nursery: trio.Nursery) -> str:
        nursery.start_soon(self.driver.watch, self.told.append)
        while not self.driver.port:
            await trio.testing.wait_all_tasks_blocked()
        return f"ws://127.0.0.1:{self.driver.port}/garage"


@asynccontextmanager
async def booted(
    run_peer: RunPeer, url: str, password: str = ""
) -> AsyncIterator[tuple[Any, Callable[..., Any]]]:
    async with run_peer("ocpp_charge_point.py", url, password) as peer:

        async def seen(what: str) -> dict[str, Any]:
            line = json.loads(await peer.line())
            assert line.pop("what") == what, line
            return dict(line)

        assert await seen("booted") == {"status": "Accepted", "protocol": "ocpp1.6"}
        assert (await seen("beat"))["now"].endswith("Z")
        yield peer, seen


async def test_a_session(run_peer: RunPeer, nursery: trio.Nursery) -> None:
    stage = Stage(id_tags=["anna"])
    driver = stage.driver
    assert isinstance(driver, Meter)
    assert isinstance(driver, Switch)
    assert isinstance(driver, PowerLimit)
    async with booted(run_peer, await stage.listen(nursery)) as (peer, seen):
        reading = await driver.read()
        assert (reading.import_milli_wh, reading.power_milli_w) == (1_500_000, 7_360_000)
        assert reading.switched_on is False
        assert await seen("trigger") == {"message": "MeterValues", "connector": 1}
        for tag, status in (("anna", "Accepted"), ("bob", "Invalid")):
            await peer.tell(f"authorize {tag}")
            assert await seen("authorized") == {"info": {"status": status}}

        await driver.set_on(True)
        assert await seen("remote start") == {"id_tag": REMOTE_ID_TAG}
        await peer.tell(f"start {REMOTE_ID_TAG}")
        started = await seen("started")
        assert started["info"] == {"status": "Accepted"}
        await driver.set_on(True)  # it does already: nothing is sent
        assert (await driver.read()).switched_on is True
        await seen("trigger")

        await driver.limit_power(7_000_000)
        assert await seen("profile") == {"connector": 1, "limit": "10.1"}
        await driver.limit_power(None)
        assert await seen("clear") == {"criteria": {"id": 1}}

        await driver.set_on(False)
        assert await seen("remote stop") == {"transaction": started["transaction"]}
        await peer.tell(f"stop {started['transaction']}")
        await seen("stopped")
        assert stage.told[-1].switched_on is False
        assert stage.told[-1].import_milli_wh == 2_500_000
        assert stage.told[-1] == driver._station.latest


async def test_it_is_heard_when_it_says_much(run_peer: RunPeer, nursery: trio.Nursery) -> None:
    stage = Stage()
    async with booted(run_peer, await stage.listen(nursery)) as (peer, seen):
        await peer.tell("flood 100")
        took = (await seen("flooded"))["seconds"]
        print(f"{100 / took:.0f} MeterValues/s")
        assert len(stage.told) == 100
        assert stage.told[-1].import_milli_wh == 51_000_000


async def test_a_password(run_peer: RunPeer, nursery: trio.Nursery, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("hütte 9\n", "utf-8")
    stage = Stage(password_file=str(secret))
    url = await stage.listen(nursery)
    for address, word, status in (
        (url, "", 401),
        (url, "wrong", 401),
        (url.replace("garage", "cellar"), "hütte 9", 404),
    ):
        async with run_peer("ocpp_charge_point.py", address, word) as peer:
            assert json.loads(await peer.line()) == {"what": "refused", "status": status}
    async with booted(run_peer, url, "hütte 9"):
        pass


async def test_the_newest_connection_counts(run_peer: RunPeer, nursery: trio.Nursery) -> None:
    stage = Stage()
    url = await stage.listen(nursery)
    async with booted(run_peer, url), booted(run_peer, url) as (_, seen):
        await stage.driver.read()
        await seen("trigger")

"""SunSpec devices whose registers pysunspec2 lays out and pymodbus serves."""

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from sunspec2.modbus.client import SunSpecModbusClientDeviceTCP

from ioe_node.drivers.driver import Reading
from ioe_node.drivers.sunspec import Found, SunSpecBattery, SunSpecInverter, SunSpecMeter, probe
from ioe_node.drivers.sunspec_models import (
    CHARGES,
    COUNTERS,
    FULL_POWER,
    LIMITS,
    Point,
)
from ioe_node.errors import LocalError, TransportError

DATA = files("sunspec2")
DER_1547 = str(DATA / "tests" / "test_data" / "device_1547.json")
NOW_US = 1_767_225_600_000_000
COMMON = {"ID": 1, "L": None, "Mn": "Sonne", "Md": "X 5", "Vr": "1.0", "SN": "77", "DA": 1}

RunPeer = Callable[..., Any]


class StoppedClock:
    def now_us(self) -> int:
        return NOW_US


def options(port: str, **more: object) -> dict[str, object]:
    return {"host": "127.0.0.1", "port": int(port), **more}


def device_file(tmp_path: Path, *models: dict[str, object]) -> str:
    path = tmp_path / "device.json"
    path.write_text(json.dumps({"name": "device", "models": [COMMON, *models]}))
    return str(path)


async def test_a_der_of_ieee_1547(run_peer: RunPeer) -> None:
    async with run_peer("sunspec_server.py", DER_1547) as peer:
        port = await peer.line()
        battery = SunSpecBattery.from_options(options(port), StoppedClock())
        assert await battery.read() == Reading(NOW_US, 0, 150_000_000, -9_800_000)
        with pytest.raises(TransportError, match="state of charge"):  # its file tells none
            await battery.stored_bp()

        await battery.limit_power(4_999_999)
        seen = SunSpecModbusClientDeviceTCP(slave_id=1, ipaddr="127.0.0.1", ipport=int(port))
        seen.scan()
        model = seen.models[704][0]
        assert (model.WMaxLimPctEna.value, model.WMaxLimPct.cvalue) == (1, 49)
        await battery.limit_power(99_000_000)
        model.read()
        assert model.WMaxLimPct.cvalue == 100
        await battery.limit_power(None)
        model.read()
        assert model.WMaxLimPctEna.value == 0
        seen.close()


async def test_it_is_found(run_peer: RunPeer) -> None:
    async with run_peer("sunspec_server.py", DER_1547) as peer:
        port = await peer.line()
        (found,) = await probe(["127.0.0.1", "127.0.0.1"], int(port))
        models = (1, *range(701, 714))
        maker = ("SunSpecTest", "Test-1547-1", "1.2.3", "sn-123456789")
        assert found == Found("127.0.0.1", int(port), 1, *maker, models)
        assert await probe(["127.0.0.1"], int(port), unit=9) == []


OLD_HYBRID: list[dict[str, object]] = [
    {"ID": 103, "L": None, "W": -512, "W_SF": -1, "WH": 12_345_678, "WH_SF": 1, "A_SF": 0},
    {"ID": 120, "L": None, "WRtg": 60, "WRtg_SF": 2},
    {"ID": 121, "L": None, "WMax": 50, "WMax_SF": 2},
    {"ID": 123, "L": None, "WMaxLimPct": 10_000, "WMaxLimPct_SF": -2, "WMaxLim_Ena": 0},
    {"ID": 124, "L": None, "ChaState": 805, "ChaState_SF": -1},
    {
        "ID": 203,
        "L": None,
        "W": 31_000,
        "W_SF": -2,
        "TotWhExp": 77,
        "TotWhImp": 4_294_967_295,
        "TotWh_SF": -1,
    },
    {"ID": 213, "L": None, "W": -1234.5, "TotWhExp": 16_777_215.0, "TotWhImp": 0.375},
    {"ID": 802, "L": None, "SoC": 42, "SoC_SF": 0},
]


async def test_an_older_inverter_with_a_meter_and_a_battery(
    run_peer: RunPeer, tmp_path: Path
) -> None:
    async with run_peer("sunspec_server.py", device_file(tmp_path, *OLD_HYBRID)) as peer:
        port = await peer.line()
        inverter = SunSpecInverter.from_options(options(port), StoppedClock())
        assert await inverter.read() == Reading(NOW_US, 0, 123_456_780_000, 51_200)
        meter = SunSpecMeter.from_options(options(port, model=203), StoppedClock())
        assert await meter.read() == Reading(NOW_US, 429_496_729_500, 7_700, 310_000)
        turned = SunSpecMeter.from_options(
            options(port, model=203, export_positive=True), StoppedClock()
        )
        assert (await turned.read()).power_milli_w == -310_000
        fine = SunSpecMeter.from_options(options(port, model=213), StoppedClock())
        assert await fine.read() == Reading(NOW_US, 375, 16_777_215_000, -1_234_500)
        assert await SunSpecBattery.from_options(options(port)).stored_bp() == 4_200

        await inverter.limit_power(1_234_567)
        seen = SunSpecModbusClientDeviceTCP(slave_id=1, ipaddr="127.0.0.1", ipport=int(port))
        seen.scan()
        model = seen.models[123][0]
        assert (model.WMaxLim_Ena.value, model.WMaxLimPct.value) == (1, 2469)  # of 5 kW
        await inverter.limit_power(None)
        model.read()
        assert model.WMaxLim_Ena.value == 0
        seen.close()


async def test_what_it_does_not_implement(run_peer: RunPeer, tmp_path: Path) -> None:
    models: list[dict[str, object]] = [
        {"ID": 101, "L": None, "WH": 5, "WH_SF": 0},
        {"ID": 124, "L": None},
        {"ID": 701, "L": None, "W": 7, "W_SF": 0},
    ]
    async with run_peer("sunspec_server.py", device_file(tmp_path, *models)) as peer:
        port = await peer.line()
        battery = SunSpecBattery.from_options(options(port), StoppedClock())
        assert await battery.read() == Reading(NOW_US, 0, 5000, None)
        with pytest.raises(TransportError, match="state of charge"):
            await battery.stored_bp()
        with pytest.raises(LocalError, match="power limit"):
            await battery.limit_power(1)
        with pytest.raises(TransportError, match="energy"):
            await SunSpecMeter.from_options(options(port, model=701)).read()
        with pytest.raises(LocalError, match="model"):
            await SunSpecMeter.from_options(options(port, model=203)).read()


def offsets(model: int) -> dict[str, tuple[int, str, str | None]]:
    """Each point of the published model: its offset, its type and its scale factor's name."""
    definition = json.loads((DATA / "models" / "json" / f"model_{model}.json").read_text())
    found, at = {}, 0
    for point in definition["group"]["points"]:
        found[point["name"]] = (at, point["type"], point.get("sf"))
        at += point["size"]
    return found


NAMES = {
    **dict.fromkeys((101, 102, 103, 111, 112, 113), ("W", "WH", None)),
    **dict.fromkeys((*range(201, 205), *range(211, 215)), ("W", "TotWhExp", "TotWhImp")),
    701: ("W", "TotWhInj", "TotWhAbs"),
}
SINGLE = {124: "ChaState", 713: "SoC", 802: "SoC", 120: "WRtg", 121: "WMax", 702: "WMax"}


def same(point: Point | None, model: int, name: str | None) -> bool:
    if point is None or name is None:
        return point is name
    published = offsets(model)
    at, kind, scale = published[name]
    return point == Point(at, kind, None if scale is None else published[scale][0])  # type: ignore[arg-type]


def test_our_table_agrees_with_the_published_models() -> None:
    assert set(COUNTERS) == set(NAMES)
    for model, counter in COUNTERS.items():
        power, exported, imported = NAMES[model]
        assert same(counter.power, model, power)
        assert same(counter.exported, model, exported)
        assert same(counter.imported, model, imported)
    for model, point in {**CHARGES, **FULL_POWER}.items():
        assert same(point, model, SINGLE[model])
    for model, enabled in ((704, "WMaxLimPctEna"), (123, "WMaxLim_Ena")):
        assert same(LIMITS[model].percent, model, "WMaxLimPct")
        assert LIMITS[model].enabled == offsets(model)[enabled][0]

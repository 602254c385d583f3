"""A real Home Assistant shows our plug and switches it, through a real broker.

It takes minutes and hundreds of megabytes the first time, so it runs by night: IOE_NIGHTLY=1.
Home Assistant is set up over its own REST interface only: the first user, a token, the MQTT
integration.  It installs what that needs while it runs, with pip, into an environment of its own.
"""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import trio

from ioe_node.clock import SystemClock
from ioe_node.conductor.home_assistant import HomeAssistant
from ioe_node.config import parse_config
from ioe_node.drivers.mqtt_broker import parse_broker
from ioe_node.drivers.poller import Poller
from ioe_node.drivers.shelly import Shelly
from ioe_node.drivers.slicer import Slicer
from sim.shelly_plug import Plug
from sim.shelly_server import serve

VERSION = "2024.3.3"  # the last for Python 3.11
INSTALL_MAX_S, START_MAX_S = 900, 300
PATIENCE_S = 60
CONFIG = """
homeassistant: {{name: test, time_zone: UTC, unit_system: metric}}
http: {{server_host: 127.0.0.1, server_port: {port}}}
auth:
api:
config:
onboarding:
"""
OURS = """
role = "device"
[device]
kind = "consumer"
name = "kettle"
driver = "shelly"
"""

pytestmark = [
    pytest.mark.skipif(os.environ.get("IOE_NIGHTLY") != "1", reason="set IOE_NIGHTLY=1"),
    pytest.mark.skipif(shutil.which("python3.11") is None, reason="needs python3.11"),
]


@pytest.fixture(scope="session")
def hass() -> Path:
    """Home Assistant's program, in an environment of its own under the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = cache / "ioe-node" / f"homeassistant-{VERSION}"
    if not (home / "installed").exists():
        subprocess.run(["python3.11", "-m", "venv", "--clear", home], check=True)
        wanted = [f"homeassistant=={VERSION}", "josepy<2"]
        pip = [home / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
        subprocess.run(pip, check=True, timeout=INSTALL_MAX_S)
        (home / "installed").touch()
    return home / "bin" / "hass"


class Rest:
    """Home Assistant's REST interface, as its owner."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = httpx.AsyncClient(base_url=url, timeout=START_MAX_S)

    async def post(self, path: str, **fields: Any) -> Any:
        answer = await self.client.post(path, json=fields)
        answer.raise_for_status()
        return answer.json()

    async def begin(self) -> None:
        """Wait for it, make the first user, take a token."""
        with trio.fail_after(START_MAX_S):
            while True:
                try:
                    if (await self.client.get("/api/onboarding")).status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                await trio.sleep(0.5)
        user = {"name": "T", "username": "t", "password": "t", "language": "en"}
        made = await self.post("/api/onboarding/users", client_id=f"{self.url}/", **user)
        asked = {"grant_type": "authorization_code", "code": made["auth_code"]}
        answer = await self.client.post("/auth/token", data={**asked, "client_id": f"{self.url}/"})
        answer.raise_for_status()
        self.client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    async def meet(self, port: int) -> None:
        """Add the MQTT integration with our broker, by its config flow."""
        path = "/api/config/config_entries/flow"
        flow = await self.post(path, handler="mqtt", show_advanced_options=False)
        made = await self.post(f"{path}/{flow['flow_id']}", broker="127.0.0.1", port=port)
        assert made["type"] == "create_entry", made

    async def until(self, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The states by entity, once they fit."""
        with trio.fail_after(PATIENCE_S):
            while True:
                states = (await self.client.get("/api/states")).json()
                found = {each["entity_id"]: each for each in states}
                if fits(found):
                    return found
                await trio.sleep(0.2)


def our_node(poller: Poller, broker_url: str) -> HomeAssistant:
    conductor: Any = SimpleNamespace(
        poller=poller,
        keystore=SimpleNamespace(secrets={"enrolment": b"d" * 32}),
        config=parse_config(OURS, "config.toml"),
        rng=Random(1),
    )
    return HomeAssistant(conductor, parse_broker(broker_url))


async def record(intervals: Any) -> None:
    await trio.lowlevel.checkpoint()


async def test_home_assistant_shows_and_switches_our_plug(
    hass: Path, nursery: trio.Nursery, tmp_path: Path, mosquitto: Callable[..., Any]
) -> None:
    plug = Plug(lambda at_us: (40_000, 1_234_567), SystemClock())
    plug._counted_milli_wh = 1_234_567
    port = await nursery.start(serve, plug)
    meter = Shelly("127.0.0.1", port, 0, None, SystemClock())
    poller = Poller(meter, Slicer(900_000_000), 10, Random(1), record)
    nursery.start_soon(poller.run)
    broker = mosquitto()
    nursery.start_soon(our_node(poller, broker.url).run)

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    rest_port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    (tmp_path / "configuration.yaml").write_text(CONFIG.format(port=rest_port))
    with (tmp_path / "log").open("wb") as log:
        command = [str(hass), "--config", str(tmp_path)]
        process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: ASYNC220
    try:
        rest = Rest(f"http://127.0.0.1:{rest_port}")
        async with rest.client:
            await rest.begin()
            await rest.meet(broker.port)
            states = await rest.until(
                lambda found: (
                    found.get("switch.kettle_switch", {}).get("state") == "on"
                    and found.get("sensor.kettle_power", {}).get("state") == "40.000"
                )
            )
            shown = {
                name: (each["state"], each["attributes"].get("state_class"))
                for name, each in states.items()
                if "kettle" in name
            }
            print(shown)
            assert shown == {
                "sensor.kettle_import": ("1.234567", "total_increasing"),
                "sensor.kettle_export": ("0.000000", "total_increasing"),
                "sensor.kettle_power": ("40.000", "measurement"),
                "switch.kettle_switch": ("on", None),
            }
            energy = states["sensor.kettle_import"]["attributes"]
            assert (energy["device_class"], energy["unit_of_measurement"]) == ("energy", "kWh")
            await rest.post("/api/services/switch/turn_off", entity_id="switch.kettle_switch")
            await rest.until(lambda found: found["switch.kettle_switch"]["state"] == "off")
            assert not plug.on
            plug.press()  # by hand
            await rest.until(lambda found: found["switch.kettle_switch"]["state"] == "on")
    finally:
        process.terminate()
        process.wait(60)

"""Whatever a config names must be there and fit, before anything is started with it."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import AddressValueError, IPv4Address

from ioe_node.config import Alerting, AppConfig, Config, Device, Mqtt
from ioe_node.drivers.mqtt_connection import Broker, parse_broker
from ioe_node.errors import ConfigError, IoeError
from ioe_node.hdk import DnaDef
from ioe_node.net.peer_id import split_address
from ioe_node.plugins import load, load_driver

LISTEN = re.compile(r"/ip[46]/[0-9a-fA-F.:]+/tcp/\d{1,5}(/ws)?")
WEBHOOK = re.compile(r"https?://[^\s/?#]+\S*")


def check(config: Config) -> None:
    """Raise `ConfigError` that names the key whose value cannot be used."""
    for text in config.network.listen:
        if not LISTEN.fullmatch(text):
            raise ConfigError(
                f"network.listen: '{text}' is no address like /ip4/192.0.2.7/tcp/4001"
            )
    for text in config.network.mdns:
        with _naming("network.mdns"):
            IPv4Address(text)
    for text in config.network.bootstrap:
        with _naming("network.bootstrap"):
            split_address(text)
    _check_alerts(config.alerts)
    if broker_of(config.mqtt) is not None and config.device is None:
        raise ConfigError("mqtt.publish: only a device's node has something to tell there")
    with _naming("discovery"):
        load(config.discovery)
    functions, apps = set(), set()
    for name in config.dnas:
        with _naming("dnas"):
            dna = load(name)
        if not isinstance(dna, DnaDef):
            raise ConfigError(f"dnas: '{name}' is no DNA")
        for zome in dna.zomes:
            functions |= {(zome.coordinator.name, each) for each in zome.coordinator.functions}
        apps |= {app.name for app in dna.apps}
    for schedule in config.schedule:
        if (schedule.zome, schedule.function) not in functions:
            raise ConfigError(
                f"schedule: no DNA here has the function {schedule.zome}.{schedule.function}"
            )
    for app in config.app:
        _check_app(app, apps)
    if config.device is not None:
        _check_device(config.device)


def _check_app(app: AppConfig, known: set[str]) -> None:
    if app.name not in known:
        raise ConfigError(f"app: no DNA here has '{app.name}'; there are: {sorted(known)}")
    if app.feed:
        with _naming(f"app '{app.name}': feed"):
            load(app.feed).from_options(app.options)


def _check_alerts(alerts: Alerting) -> None:
    if alerts.command and shutil.which(alerts.command[0]) is None:
        raise ConfigError(f"alerts.command: there is no program '{alerts.command[0]}'")
    if alerts.webhook and not WEBHOOK.fullmatch(alerts.webhook):
        raise ConfigError(f"alerts.webhook: '{alerts.webhook}' is no address like https://host/x")


def broker_of(mqtt: Mqtt) -> Broker | None:
    """Where Home Assistant is told of us; None if it is not."""
    if not mqtt.publish:
        return None
    with _naming("mqtt"):
        return parse_broker(mqtt.publish, mqtt.user, mqtt.password_file, mqtt.ca_file)


def _check_device(device: Device) -> None:
    if device.code:
        with _naming("device.code"):
            load("discovery.pairing_code:parse_code")(device.code)
    with _naming("device.driver"):
        driver = load_driver(device.driver)
    if not hasattr(driver, "from_options"):
        raise ConfigError(f"device.driver: '{device.driver}' is no driver: it has no from_options")
    with _naming("device.options"):
        driver.from_options(device.options)


@contextmanager
def _naming(key: str) -> Iterator[None]:
    try:
        yield
    except (IoeError, AddressValueError) as error:
        raise ConfigError(f"{key}: {error}") from None

"""Whatever a config names must be there and fit, before anything is started with it."""

import re
import shutil
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import AddressValueError, IPv4Address, ip_address

from ioe_node.conductor.market_feed import MARKET
from ioe_node.config import Alerting, Api, AppConfig, Config, Device, Mqtt
from ioe_node.drivers.mqtt_broker import Broker, parse_broker
from ioe_node.errors import ConfigError, IoeError
from ioe_node.hdk import DnaDef
from ioe_node.net.peer_id import split_address
from ioe_node.plugins import load, load_driver

LISTEN = re.compile(r"/ip(?P<version>[46])/(?P<address>[^/]+)/tcp/(?P<port>[0-9]{1,5})(/ws)?")
PORT_MAX = 65_535
WEBHOOK = re.compile(r"https?://[^\s/?#]+\S*")


def check(config: Config) -> None:
    """Raise `ConfigError` that names the key whose value cannot be used."""
    for text in config.network.listen:
        if not _is_listen(text):
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
    _check_api(config.api)
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


def _is_listen(text: str) -> bool:
    found = LISTEN.fullmatch(text)
    try:
        version = ip_address(found["address"]).version if found else 0
    except ValueError:
        return False
    return found is not None and str(version) == found["version"] and int(found["port"]) <= PORT_MAX


def _check_app(app: AppConfig, known: set[str]) -> None:
    if app.name not in known:
        raise ConfigError(f"app: no DNA here has '{app.name}'; there are: {sorted(known)}")
    if app.feed == MARKET:
        if app.options:
            raise ConfigError(f"app '{app.name}': feed '{MARKET}' takes no options")
    elif app.feed:
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


def http_address(text: str) -> tuple[str, int]:
    """(IP address, port) of "127.0.0.1:8080" or "[::1]:8080"; raises `ConfigError`."""
    host, _, port = text.rpartition(":")
    try:
        address = str(ip_address(host.removeprefix("[").removesuffix("]")))
        if not port.isascii() or not port.isdigit() or int(port) > PORT_MAX:
            raise ValueError
    except ValueError:
        raise ConfigError(f"api.http: '{text}' is no address like 127.0.0.1:8080") from None
    return address, int(port)


def _check_api(api: Api) -> None:
    if bool(api.tls_cert) != bool(api.tls_key):
        raise ConfigError("api.tls_cert and api.tls_key go together: a certificate and its key")
    if api.tls_cert:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(api.tls_cert, api.tls_key)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"api.tls_cert, api.tls_key: {error}; both are PEM files, as 'openssl req -x509 "
                "-newkey rsa:2048 -nodes -keyout key.pem -out cert.pem' makes them"
            ) from None
    if api.http and not api.tls_cert and not ip_address(http_address(api.http)[0]).is_loopback:
        raise ConfigError(
            f"api.http: '{api.http}' would show tokens and readings to the whole network: give a "
            "certificate (tls_cert, tls_key), or listen on 127.0.0.1 and let a proxy or "
            "'ssh -L' lead there"
        )


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

"""`ioe driver`: which devices can be read, and whether one of them is."""

import shlex
import tomllib
from collections.abc import Mapping
from sys import modules
from typing import TYPE_CHECKING, Any

import click
import trio

from ioe_node.cli.node import addresses, toml_options, toml_text, toml_value
from ioe_node.cli.output import console, json_option, kwh, printable, show, table, when
from ioe_node.drivers.driver import Battery, Button, Meter, PowerLimit, Reading, Switch, Watch
from ioe_node.drivers.mqtt_broker import Broker, parse_broker
from ioe_node.errors import ConfigError, IoeError, LocalError, TransportError
from ioe_node.plugins import drivers, load, load_driver

if TYPE_CHECKING:
    from ioe_node.drivers.scan import Found, Value

READ_DEADLINE_S = 90.0
NAME_CHARS_MAX = 48
ABILITIES = {
    "switch": Switch,
    "button": Button,
    "battery": Battery,
    "limit": PowerLimit,
    "live": Watch,
}
SCHEMES = {"http": ("shelly", "url")}
"""What a bare address is taken for: the driver, and its option."""


@click.group()
def driver() -> None:
    """What reads devices.  These commands need no running node."""


@driver.command("list")
@json_option
def list_(as_json: bool) -> None:
    """The drivers by their short names, those of other packages included."""
    rows = []
    for name, dotted in drivers().items():
        try:
            loaded = load(dotted)
        except ConfigError as error:
            rows.append({"name": name, "driver": dotted, "can": [], "about": str(error)})
            continue
        about = (modules[loaded.__module__].__doc__ or "").strip().partition("\n")[0]
        rows.append({"name": name, "driver": dotted, "can": _abilities(loaded), "about": about})

    def people() -> None:
        told = [(each["name"], ", ".join(each["can"]), each["about"]) for each in rows]
        table("", ("driver", "can also", "what it reads"), told)

    show(rows, as_json, people)


def _abilities(kind: type) -> list[str]:
    return [name for name, protocol in ABILITIES.items() if issubclass(kind, protocol)]


@driver.command()
@click.argument("target", required=False)
@click.option("--driver", "name", help="Its short name, or package.module:NAME.")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="For the driver.")
@json_option
def test(target: str | None, name: str | None, options: tuple[str, ...], as_json: bool) -> None:
    """Read a device once; TARGET is its URL, or the short name of its driver.

    \b
      ioe driver test http://192.168.1.20
      ioe driver test tasmota --option broker=mqtt://192.168.1.5 --option topic=plug
      ioe driver test --driver my.package:Meter --option unit=3
    """
    given = _values(options)
    if target is not None and "://" in target:
        found = SCHEMES.get(target.partition("://")[0])
        if found is None:
            raise LocalError(f"which driver reads {target}?  See 'ioe driver list', say --driver")
        name = name or found[0]
        given.setdefault(found[1], target)
    name = name or target
    if name is None:
        raise click.UsageError("say the device's URL, or --driver and its --option")
    meter = load_driver(name).from_options(given)
    reading: Reading = trio.run(_read, meter)
    said: dict[str, Any] = {
        "at_us": reading.at_us,
        "import_milli_wh": reading.import_milli_wh,
        "export_milli_wh": reading.export_milli_wh,
        "power_milli_w": reading.power_milli_w,
        "switched_on": reading.switched_on,
        "can": _abilities(type(meter)),
    }

    def people() -> None:
        console.print(
            f"{when(reading.at_us)}  import {kwh(reading.import_milli_wh)} kWh"
            f"  export {kwh(reading.export_milli_wh)} kWh"
        )
        if reading.power_milli_w is not None:
            console.print(f"power {_watts(reading.power_milli_w)} W (+ drawn, - given)")
        if reading.switched_on is not None:
            console.print(f"switched {'on' if reading.switched_on else 'off'}")
        console.print(f"this driver can also: {', '.join(said['can']) or 'nothing'}")

    show(said, as_json, people)


def _values(options: tuple[str, ...]) -> dict[str, Any]:
    """The options as they would stand in a config."""
    lines = "\n".join(f"{key} = {value}" for key, value in toml_options(options).items())
    return tomllib.loads(lines)


def _watts(milli_w: int) -> str:
    return f"{'-' if milli_w < 0 else ''}{abs(milli_w) // 1000}.{abs(milli_w) % 1000:03}"


async def _read(meter: Meter) -> Reading:
    try:
        with trio.fail_after(READ_DEADLINE_S):
            return await meter.read()
    except trio.TooSlowError:
        raise TransportError(f"no reading within {READ_DEADLINE_S:g} s") from None


@driver.command()
@click.option("--mqtt", metavar="URL", help="Also what announced itself to this broker.")
@click.option("--user", default="", help="The broker's user for us.")
@click.option("--password-file", help="Where that user's password stands.")
@click.option("--ca-file", help="The broker's certificate authority.")
@click.option("--address", multiple=True, help="IPv4 address of ours to look from.  [default: all]")
@click.option(
    "--seconds",
    default=3,
    show_default=True,
    type=click.IntRange(1, 60),
    help="How long answers by mDNS are waited for.",
)
@json_option
def scan(
    mqtt: str | None,
    user: str,
    password_file: str | None,
    ca_file: str | None,
    address: tuple[str, ...],
    seconds: int,
    as_json: bool,
) -> None:
    """Look for devices that can be read, and show the line that makes a node of each.

    \b
      ioe driver scan
      ioe driver scan --mqtt mqtt://192.168.1.5 --user ioe --password-file secret

    By mDNS: Shelly.  At a broker: Tasmota, and whatever announces itself to Home Assistant.
    """
    broker = None if mqtt is None else parse_broker(mqtt, user, password_file, ca_file)
    named = {"broker": mqtt, "user": user, "password_file": password_file, "ca_file": ca_file}
    options = {key: value for key, value in named.items() if value}
    faults: list[str] = []
    found = trio.run(_scan, address or addresses(), seconds, broker, options, faults)
    rows: list[dict[str, Any]] = [
        {
            "driver": each.driver,
            "name": each.name,
            "model": each.model,
            "note": each.note,
            "options": dict(each.options),
            "init": _init_line(each),
            "config": _config_lines(each),
        }
        for each in found
    ]

    def people() -> None:
        for row in rows:
            console.print(printable(f"{row['driver']}  {row['name']}  {row['model']}"))
            if row["note"]:
                console.print(printable(f"  {row['note']}"))
            console.print(f"  {printable(row['init'])}\n")
        for fault in faults:
            console.print(printable(fault))
        if not rows:
            console.print("nothing found; a device that you know of: ioe driver test --help")

    show({"found": rows, "faults": faults}, as_json, people)


async def _scan(
    interfaces: list[str],
    seconds: int,
    broker: Broker | None,
    options: Mapping[str, str],
    faults: list[str],
) -> "list[Found]":
    # What asks devices takes long to import, and no other command wants it.
    from ioe_node.drivers.scan import SHELLY, ask_broker, ask_services

    found: list[Found] = []
    try:
        services = await load("discovery.mdns_scan:scan")(interfaces, [SHELLY], seconds)
        found += await ask_services(services)
    except IoeError as error:
        faults.append(str(error))
    try:
        found += await ask_broker(broker, options) if broker is not None else []
    except IoeError as error:
        faults.append(str(error))
    return found


def _init_line(found: "Found") -> str:
    name = printable(found.name)[:NAME_CHARS_MAX] or "device"
    words = ["ioe", "--home", _file_name(name), "init", "--role", "device", "--kind", "consumer"]
    words += [f"--name={name}", "--driver", found.driver]
    for key, value in found.options.items():
        words += ["--option", f"{key}={_typed(value)}"]
    return shlex.join(words)


def _config_lines(found: "Found") -> str:
    lines = [f"{key} = {_toml(value)}" for key, value in found.options.items()]
    return "\n".join([f"driver = {toml_text(found.driver)}", "[device.options]", *lines])


def _toml(value: "Value") -> str:
    return toml_text(value) if isinstance(value, str) else str(value).lower()


def _typed(value: "Value") -> str:
    """As `--option` takes it: a text that would be read as something else stands in quotes."""
    written = _toml(value)
    return str(value) if written == toml_value(str(value)) else written


def _file_name(name: str) -> str:
    return "".join(each if each.isalnum() and each.isascii() else "-" for each in name)

"""`ioe init`, `ioe run`, `ioe status`, `ioe signals`: the node itself."""

import json
import os
import secrets
import signal
import socket
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from random import SystemRandom
from typing import TYPE_CHECKING, Any

import click
import ifaddr
import trio
from click.core import ParameterSource

from ioe_node.cli import alerts, client
from ioe_node.cli.key import typed_words
from ioe_node.cli.logs import LEVELS, Level, log_to_stderr
from ioe_node.cli.output import (
    console,
    home_of,
    json_option,
    plain,
    printable,
    short,
    show,
    table,
)
from ioe_node.cli.qr import qr_text
from ioe_node.clock import SystemClock
from ioe_node.conductor import keytree
from ioe_node.conductor.check import check
from ioe_node.conductor.home import Home, State
from ioe_node.conductor.hooks import PASSPHRASE_VARIABLE
from ioe_node.conductor.keystore import INTERACTIVE, MINIMAL, Keystore
from ioe_node.config import (
    DEVICE_TEMPLATE,
    OWNER_TEMPLATE,
    TEMPLATE,
    Config,
    load_config,
    parse_config,
)
from ioe_node.errors import ConfigError, LocalError

if TYPE_CHECKING:
    from ioe_node.api.conductor_server import ConductorDoors
    from ioe_node.conductor.conductor import Conductor


def addresses() -> list[str]:
    """Every IPv4 address of this machine that others can reach; loopback if there is none."""
    found = [
        str(ip.ip)
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
        if ip.is_IPv4 and not str(ip.ip).startswith("127.")
    ]
    return found or ["127.0.0.1"]


def _free_port(address: str) -> int:
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            raise ConfigError(f"{address} is no address of this machine: {error}") from None
        port: int = probe.getsockname()[1]
        return port


def _passphrase(home: Home, confirm: bool) -> bytes:
    if home.unlock.exists():
        return home.unlock.read_bytes()
    given = os.environ.get(PASSPHRASE_VARIABLE)
    if given is not None:
        return given.encode()
    try:
        typed: str = click.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        raise LocalError(f"nobody types a passphrase here; set {PASSPHRASE_VARIABLE}") from None
    return typed.encode()


def toml_value(text: str) -> str:
    """An option's value as TOML: numbers, true, false, lists as they are, the rest as text."""
    stripped = text.strip()
    try:
        read = tomllib.loads(f"value = {stripped}")
    except tomllib.TOMLDecodeError:
        return toml_text(stripped)
    plain_value = len(read) == 1 and isinstance(read["value"], int | list | str)
    return stripped if plain_value else toml_text(stripped)


def toml_text(text: str) -> str:
    """A TOML string; JSON's escapes are TOML's."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def toml_options(pairs: tuple[str, ...]) -> Mapping[str, str]:
    """`KEY=VALUE` by its key, the value as TOML; raises `ConfigError`."""
    options = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not (key.isidentifier() and key.isascii()):
            raise ConfigError(f"--option '{pair}': write KEY=VALUE")
        options[key] = toml_value(value)
    return options


@click.command()
@click.option(
    "--role",
    type=click.Choice(["owner", "device"]),
    default="owner",
    show_default=True,
    help="A person's node or a machine's.",
)
@click.option(
    "--arc",
    type=click.Choice(["full", "zero"]),
    default="full",
    show_default=True,
    help="Hold a share of what others write, or nothing but this node's own.",
)
@click.option("--address", help="IPv4 address to listen on.  [default: this machine's]")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="0 picks a free one.")
@click.option(
    "--peer",
    "peers",
    multiple=True,
    metavar="MULTIADDR",
    help="A peer to meet first, as 'ioe status' there shows it; may be given again.",
)
@click.option(
    "--kind",
    type=click.Choice(["consumer", "generator", "storage", "monitor"]),
    help="A device's kind.",
)
@click.option("--name", help="A device's name, shown to its owner.")
@click.option(
    "--driver",
    default="profile",
    show_default=True,
    help="What reads the device: see 'ioe driver list', or package.module:NAME.",
)
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="For the driver.")
@click.option("--recover", is_flag=True, help="Make an owner's keys again from 24 words.")
@click.pass_context
def init(
    context: click.Context,
    role: str,
    arc: str,
    address: str | None,
    port: int,
    peers: tuple[str, ...],
    kind: str | None,
    name: str | None,
    driver: str,
    options: tuple[str, ...],
    recover: bool,
) -> None:
    """Make a node: its directory, config and keys.

    \b
      ioe init
      ioe --home plug init --role device --kind consumer --name plug \\
          --driver shelly --option url=http://192.0.2.7

    An owner's root key is shown once as 24 words; whoever has them has everything, and this
    machine keeps less.  With --recover the words are asked for: the node then finds our devices
    near it, or by 'bootstrap' in the config, and through them our communities and chains; see
    'ioe key recover --help' if the old machine may be in other hands.

    The key store is sealed by a passphrase: typed, or from IOE_PASSPHRASE.  A device seals its own
    with a random one beside it (file 'unlock'), since nobody is there to type.
    """
    home = Home(home_of(context))
    if home.config.exists() or home.keystore.exists():
        raise LocalError(f"{home.path} holds a node already; choose another --home")
    listen = address or addresses()[0]
    at = f"/ip4/{listen}/tcp/{port or _free_port(listen)}"
    http_port = _free_port("127.0.0.1")
    fields = {"role": role, "arc": arc, "listen": at, "http_port": http_port}
    bootstrap = ", ".join(toml_text(peer.strip()) for peer in peers)
    text = TEMPLATE.format(mdns=listen, bootstrap=bootstrap, **fields)
    if role == "device":
        if kind is None or name is None or recover:
            raise ConfigError("a device needs --kind and --name, and gets its keys from its owner")
        lines = "\n".join(f"{key} = {value}" for key, value in toml_options(options).items())
        shown, named = toml_text(name), toml_text(driver)
        text += DEVICE_TEMPLATE.format(kind=kind, name=shown, driver=named, options=lines)
    else:
        _refuse_of_an_owner(context)
        text += OWNER_TEMPLATE
    check(parse_config(text, "the new config"))
    with _all_or_nothing(home):
        root = _make_keys(home, role, recover)
        home.write(home.config, text.encode())
        console.print(f"Made a node in {home.path}.  Look at config.toml, then: ioe run")
        if root is not None and not recover:
            console.print("\nWrite these words down and keep them offline; they are shown once:\n")
            console.print(f"  {keytree.to_mnemonic(root)}\n")


def _refuse_of_an_owner(context: click.Context) -> None:
    for parameter in ("kind", "name", "driver", "options"):
        if context.get_parameter_source(parameter) is not ParameterSource.DEFAULT:
            option = f"--{parameter.removesuffix('s')}"
            raise click.UsageError(f"{option} is a device's; add --role device, or leave it out")


@contextmanager
def _all_or_nothing(home: Home) -> Iterator[None]:
    """Make the directory; whatever fails then, what was made in it is gone again, and it too."""
    cells = home.path / "cells"
    made = [path for path in (cells, *cells.parents) if not path.exists()]
    before = set(home.path.iterdir()) if home.path.exists() else set()
    try:
        home.create()
        yield
    except BaseException:
        for path in set(home.path.iterdir()) - before - {cells} if home.path.exists() else ():
            path.unlink()
        for path in made:
            with suppress(OSError):
                path.rmdir()
        raise


def _make_keys(home: Home, role: str, recover: bool) -> bytes | None:
    """Write the key store; an owner's root seed."""
    if role == "device":
        home.write(home.unlock, secrets.token_hex(32).encode())
        made = {"enrolment": secrets.token_bytes(32)}
        Keystore.create(home.keystore, home.unlock.read_bytes(), made, cost=MINIMAL)
        return None
    if recover:
        root = typed_words()
    else:
        root = keytree.new_root_seed(secrets.token_bytes)
    passphrase = _passphrase(home, confirm=True)
    if not passphrase:
        raise LocalError(f"an empty passphrase keeps nothing safe; see {PASSPHRASE_VARIABLE}")
    Keystore.create(home.keystore, passphrase, keytree.owner_secrets(root), cost=INTERACTIVE)
    if recover:
        home.keep(State(recovering=True))
    return root


@click.command()
@click.option("--check-config", is_flag=True, help="Read the config, say what is wrong, stop.")
@click.option(
    "--log-level",
    type=click.Choice(LEVELS),
    default="info",
    envvar="IOE_LOG_LEVEL",
    show_default=True,
    help="How much to log on standard error.",
)
@click.option("--log-json", is_flag=True, envvar="IOE_LOG_JSON", help="One JSON object a line.")
@click.pass_context
def run(context: click.Context, check_config: bool, log_level: Level, log_json: bool) -> None:
    """Run the node until Ctrl-C or SIGTERM.

    \b
      ioe run --check-config                 before a restart
      IOE_PASSPHRASE=... ioe run             where nobody is there to type
      IOE_LOG_JSON=1 ioe run                 for a log collector
    """
    home = Home(home_of(context))
    config = load_config(home.config)
    check(config)
    if check_config:
        console.print(f"{home.config}: good")
        return
    log_to_stderr(log_level, log_json)
    keystore = Keystore.open(home.keystore, _passphrase(home, confirm=False))
    try:
        trio.run(_run, home, config, keystore)
    except BaseExceptionGroup as group:
        raise _innermost(group) from group


async def _run(home: Home, config: Config, keystore: Keystore) -> None:
    from ioe_node.api import http_calls
    from ioe_node.conductor.conductor import Conductor
    from ioe_node.conductor.unowned import device_code

    conductor = Conductor(home, config, keystore, SystemClock(), SystemRandom())
    doors = _doors(conductor)
    async with trio.open_nursery() as nursery:
        await nursery.start(_stop_on_signal, nursery.cancel_scope)
        await nursery.start(conductor.run)
        http_calls.offer()
        if config.api.http:
            # What serves takes memory, and is imported only where it is wanted.
            from ioe_node.api.http_server import serve_http

            await nursery.start(serve_http, conductor)
        if doors is not None:
            await nursery.start(doors.run)
            console.print(f"admin door: ws://127.0.0.1:{doors.admin_port}")
        console.print(f"ready: {conductor.role} {short(conductor.signer().agent)}")
        if conductor.unowned:
            shown = await device_code(conductor)
            console.print(f"pairing code: {shown['code']}")
            console.print(f"{qr_text(shown['uri'])}\n{shown['uri']}")
    console.print("stopped")


def _doors(conductor: "Conductor") -> "ConductorDoors | None":
    """The doors of Holochain's protocol, if the config wants them."""
    if not conductor.config.api.conductor.enabled:
        return None
    from ioe_node.api.conductor_server import ConductorDoors

    return ConductorDoors(conductor, conductor.config.api.conductor)


async def _stop_on_signal(
    scope: trio.CancelScope, task_status: Any = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()


def _innermost(error: BaseException) -> BaseException:
    """The one error inside nested groups that says what happened."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


@click.command()
@json_option
@click.pass_context
def status(context: click.Context, as_json: bool) -> None:
    """Who this node is, whom it knows, and how it fares."""
    found = client.call(home_of(context), "status")
    show(found, as_json, lambda: _people(found))


def _publishing(each: dict[str, Any]) -> str:
    """One line: how far our chain has come, and what we hold for others."""
    whole, of = each["authorities_whole"], each["authorities"]
    text = f"{whole} of {of} authorities hold our whole chain"
    if each["median_lacks"]:
        text += f", the median one lacks {each['median_lacks']} actions"
    if each["owed"]:
        text += f", {each['owed']} records are owed elsewhere"
    if not each["confirmed"]:
        text = "nothing is shown to others until they have told what they hold of our chain"
    return f"{text}; arc {each['arc']}"


def _people(found: dict[str, Any]) -> None:
    console.print(f"{found['role']} {plain(found['agent'])}")
    for address in found["addresses"]:
        console.print(f"  at {address}")
    for name, address in sorted(found["serves"].items()):
        console.print(
            f"  {name}: {address}" + ("  ('ioe page' opens it)" if name == "http" else "")
        )
    if found["code"]:
        console.print(f"  waiting for an owner; pairing code {found['code']}")
    if found["driver"]:
        live = ", told at once" if found["driver"]["live"] else ""
        why = printable(found["driver"]["why"])
        console.print(f"  driver {found['driver']['state']}{live} {why}")
    if found["mqtt"]:
        told = found["mqtt"]
        console.print(f"  Home Assistant by {told['broker']}: {told['state']} {told['why']}")
    for fault in found["faults"]:
        console.print(f"  FAULT {fault}")
    for each in found["communities"]:
        console.print(f"  {each['community']}: {_publishing(each)}", markup=False)
        for fault in each["faults"]:
            console.print(f"  FAULT {each['community']}: {printable(fault)}", markup=False)
        waiting = f"{each['limbo_rows']} records wait to be validated" if each["limbo_rows"] else ""
        slowed = f"{len(each['slowed'])} peers are slowed: ioe peers" if each["slowed"] else ""
        if waiting or slowed:
            text = ", ".join(part for part in (waiting, slowed) if part)
            console.print(f"  {each['community']}: {text}", markup=False)
        for text in each["refused_by"]:
            said = printable(text)
            console.print(f"  REFUSED by others in {each['community']}: {said}", markup=False)
    rows = [
        (
            each["community"],
            len(each["peers"]),
            each["actions"],
            each["unpublished"],
            each["ops_held"],
            each["records_refused"],
        )
        for each in found["communities"]
    ]
    if rows:
        columns = ("community", "peers", "our actions", "unpublished", "ops held", "refused")
        table("", columns, rows)
    alerts.people(found["alerts"])


@click.command()
@click.pass_context
def signals(context: click.Context) -> None:
    """Follow the node's signals, one JSON object a line, until Ctrl-C."""
    for each in client.follow(home_of(context)):
        click.echo(json.dumps(plain(each)))

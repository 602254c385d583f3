"""`ioe doctor`: what on this machine keeps a node from working, and what to do about it."""

import os
import shutil
import socket
import stat
import struct
import subprocess
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Literal, NamedTuple

import click

from ioe_node.cli import client
from ioe_node.cli.output import console, home_of, json_option, printable, show
from ioe_node.conductor.check import check, http_address
from ioe_node.conductor.home import Home
from ioe_node.conductor.keystore import Keystore
from ioe_node.config import Config, load_config
from ioe_node.errors import IoeError, LocalError, StoreError, TransportError

LOOPBACK = "127.0.0.1"
MDNS_GROUP, MDNS_PORT = "224.0.0.251", 5353
FREE_MB_MIN = 256
COMMAND_TIMEOUT_S = 10
MEGABYTE = 1_000_000

Result = Literal["good", "look", "bad"]


class Finding(NamedTuple):
    """One thing looked at; `do` says what to do unless it is good."""

    what: str
    result: Result
    found: str
    do: str = ""


@click.command()
@json_option
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Check this machine and this node: clock, ports, mDNS, disk, keys, config, communities.

    \b
      ioe doctor                 exit code 1 when something is bad
      ioe doctor --json

    Nothing is changed.  It looks at more when the node runs.
    """
    findings = list(_examine(Home(home_of(context))))
    show([each._asdict() for each in findings], as_json, lambda: _people(findings))
    bad = [each.what for each in findings if each.result == "bad"]
    if bad:
        raise LocalError(f"bad: {', '.join(bad)}")


def _people(findings: list[Finding]) -> None:
    for each in findings:
        console.print(f"{each.result:5} {each.what}: {printable(each.found)}")
        if each.result != "good":
            console.print(f"      -> {each.do}")


def _examine(home: Home) -> Iterator[Finding]:
    yield _clock()
    try:
        config = load_config(home.config)
        check(config)
    except IoeError as error:
        yield Finding("config", "bad", str(error), f"edit {home.config}, then 'ioe doctor' again")
        return
    yield Finding("config", "good", str(home.config))
    yield from _directory(home)
    yield _keys(home)
    status = _status(home)
    try:
        yield from _ports(home, config, running=status is not None)
    except StoreError as error:
        yield Finding("apps", "bad", str(error), "ioe restore, or delete it and install them again")
    yield from map(_mdns, config.network.mdns)
    if status is None:
        yield Finding("node", "look", "it does not run", "start it: ioe run")
        return
    yield Finding("node", "good", f"it runs as {status['role']}")
    yield from _life(status)


def _clock() -> Finding:
    """Whether something keeps the clock right; members refuse what is five minutes ahead."""
    do = "switch time synchronisation on: sudo timedatectl set-ntp true"
    try:
        shown = subprocess.run(
            ["timedatectl", "show", "--property=NTPSynchronized", "--value"],
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        shown = ""
    if shown == "yes":
        return Finding("clock", "good", "kept right over the network")
    said = "not kept right over the network" if shown == "no" else "nothing tells who keeps it"
    return Finding("clock", "look", said, do)


def _directory(home: Home) -> Iterator[Finding]:
    mode = stat.S_IMODE(home.path.stat().st_mode)
    if mode & 0o077:
        do = f"chmod 700 {home.path}"
        yield Finding("directory", "bad", f"others of this machine may enter {home.path}", do)
    else:
        yield Finding("directory", "good", f"{home.path} is its owner's alone")
    free_mb = shutil.disk_usage(home.path).free // MEGABYTE
    probe = home.path / "doctor.new"
    try:
        with probe.open("wb") as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        yield Finding("disk", "bad", f"cannot write: {error.strerror}", "free space or mend it")
        return
    finally:
        probe.unlink(missing_ok=True)
    if free_mb < FREE_MB_MIN:
        do = "free space, or lower limits.disk_mb_max in the config"
        yield Finding("disk", "look", f"{free_mb} MB are free", do)
    else:
        yield Finding("disk", "good", f"written to, {free_mb:,} MB are free")


def _keys(home: Home) -> Finding:
    mend = "take the directory back from a backup (ioe restore), or the keys from the 24 words"
    try:
        if stat.S_IMODE(home.keystore.stat().st_mode) & 0o077:
            return Finding("keys", "bad", "others may read them", f"chmod 600 {home.keystore}")
        if home.unlock.is_file():
            Keystore.open(home.keystore, home.unlock.read_bytes())
            return Finding("keys", "good", "they open by what lies beside them, as a device's do")
    except OSError as error:
        return Finding("keys", "bad", f"{home.keystore}: {error.strerror}", mend)
    except IoeError as error:
        return Finding("keys", "bad", str(error), mend)
    return Finding("keys", "good", "sealed with your passphrase, which was not asked for")


def _status(home: Home) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = client.call(home.path, "status")
    except TransportError:
        return None
    return found


class Listened(NamedTuple):
    """Where the node listens, and what to change if another program does."""

    what: str
    host: str
    port: int
    key: str


def _listened(home: Home, config: Config) -> Iterator[Listened]:
    for text in config.network.listen:
        _, _, host, _, port, *_ = text.split("/")
        yield Listened(f"port {port} of {host}", host, int(port), "network.listen of the config")
    api = config.api
    if api.http:
        host, http_port = http_address(api.http)
        yield Listened(f"page at {api.http}", host, http_port, "api.http of the config")
    if api.conductor.enabled:
        admin_port, key = api.conductor.admin_port, "api.conductor.admin_port of the config"
        yield Listened(f"admin door at {LOOPBACK}:{admin_port}", LOOPBACK, admin_port, key)
        # It takes long to import, for the few who enable it.
        from ioe_node.api import conductor_state

        for door in conductor_state.read(home).doors:
            what = f"app door at {LOOPBACK}:{door.port}"
            yield Listened(what, LOOPBACK, door.port, "the program that attached it")


def _ports(home: Home, config: Config, running: bool) -> Iterator[Finding]:
    for what, host, port, key in _listened(home, config):
        kind = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            _try_port(kind, host, port, running)
        except OSError as error:
            if running:
                do = "see what 'ioe run' says; a firewall of this machine may be in between"
            else:
                do = f"choose another in {key}, or stop whoever has it"
            yield Finding(what, "bad", error.strerror or str(error), do)
        else:
            answers = "it answers" if port else "it is any free one; 'ioe status' says which"
            yield Finding(what, "good", answers if running else "it is free")


def _try_port(kind: socket.AddressFamily, host: str, port: int, running: bool) -> None:
    """Dial a running node's port, or take a stopped one's for a moment; port 0 is any."""
    with socket.socket(kind) as probe:
        probe.settimeout(COMMAND_TIMEOUT_S)
        if not running:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
        elif port:
            probe.connect((host, port))


def _mdns(interface: str) -> Finding:
    """Whether a multicast packet that we send is heard by us."""
    what = f"mDNS on {interface}"
    do = "let UDP 5353 and multicast pass in the firewall; some guest networks never do"
    word = b"ioe doctor " + os.urandom(8)
    try:
        with closing(_listener(interface)) as ear, socket.socket(type=socket.SOCK_DGRAM) as mouth:
            mouth.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(interface))
            mouth.sendto(word, (MDNS_GROUP, ear.getsockname()[1]))
            heard = ear.recv(len(word)) == word
    except OSError as error:
        return Finding(what, "bad", error.strerror or str(error), do)
    if not heard:
        return Finding(what, "look", "another packet came instead of ours", "try again")
    return Finding(what, "good", "multicast is sent and heard")


def _listener(interface: str) -> socket.socket:
    """A socket in the group, on a port of its own: 5353 is the node's."""
    ear = socket.socket(type=socket.SOCK_DGRAM)
    try:
        ear.settimeout(2)
        ear.bind(("", 0))
        member = struct.pack("4s4s", socket.inet_aton(MDNS_GROUP), socket.inet_aton(interface))
        ear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    except OSError:
        ear.close()
        raise
    return ear


def _life(status: dict[str, Any]) -> Iterator[Finding]:
    driver = status["driver"]
    if driver and driver["state"] not in ("ok", "starting"):
        do = "see to the device or to device.options in the config"
        yield Finding("driver", "bad", f"{driver['state']}: {driver['why']}", do)
    elif driver:
        yield Finding("driver", "good", driver["state"])
    for fault in status["faults"]:
        yield Finding("node", "bad", fault, "see 'ioe status' and the log")
    if not status["communities"]:
        do = "ioe community create NAME, or join one; a device is claimed by its owner"
        yield Finding("communities", "look", "none is open", do)
    for each in status["communities"]:
        yield _community(each)


def _community(each: dict[str, Any]) -> Finding:
    what = f"community {each['community']}"
    for fault in (*each["faults"], *each["refused_by"]):
        return Finding(what, "bad", fault, "see 'ioe status'")
    if not each["peers"]:
        do = "see that others run, and that network.bootstrap or mdns leads to one"
        return Finding(what, "look", "nobody else is reached", do)
    if each["unpublished"]:
        do = "it goes out by itself; if it stays, see 'ioe peers'"
        return Finding(what, "look", f"{each['unpublished']} ops wait to be delivered", do)
    return Finding(what, "good", f"{len(each['peers'])} others are reached")

"""One commented TOML file: what this node is, where it listens, what it reads.

Read into frozen dataclasses; an unknown key, a wrong type or a value out of range is refused
with its place and what fits.  `TEMPLATE` is what `ioe init` writes.
"""

import tomllib
import zoneinfo
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from ioe_node.errors import ConfigError

Kind = Literal["consumer", "generator", "storage", "monitor"]
Role = Literal["owner", "device"]
Arc = Literal["full", "zero"]
Visibility = Literal["public", "private"]
Port = Annotated[int, Meta(ge=0, le=65_535)]
PositiveMs = Annotated[int, Meta(ge=10, le=86_400_000)]


class Network(Struct, frozen=True, forbid_unknown_fields=True):
    """Where we listen and whom we look for first."""

    listen: Annotated[tuple[str, ...], Meta(min_length=1)] = ("/ip4/127.0.0.1/tcp/0",)
    bootstrap: tuple[str, ...] = ()
    mdns: tuple[str, ...] = ()
    relay: bool = True
    reach: Literal["auto", "relay", "direct"] = "auto"


class Device(Struct, frozen=True, forbid_unknown_fields=True):
    """What machine this node speaks for, how it is read, and whether neighbours hear of it."""

    kind: Kind
    name: Annotated[str, Meta(min_length=1, max_length=48)]
    driver: str
    visibility: Visibility = "public"
    method: Literal["device", "meter", "substation"] = "device"
    poll_ms: PositiveMs = 10_000
    code: str = ""
    confirm: Literal["none", "button"] = "none"
    options: dict[str, Any] = {}


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """How much of this machine others may use."""

    requests_per_s: Annotated[int, Meta(ge=1, le=100_000)] = 200
    bytes_per_s: Annotated[int, Meta(ge=10_000, le=10_000_000_000)] = 8_000_000
    connections_max: Annotated[int, Meta(ge=8, le=10_000)] = 300
    limbo_rows: Annotated[int, Meta(ge=16, le=10_000_000)] = 10_000
    requests_mb_max: Annotated[int, Meta(ge=16, le=1_000_000)] = 128
    disk_mb_max: Annotated[int, Meta(ge=64, le=1_000_000_000)] = 8_192


class Alerting(Struct, frozen=True, forbid_unknown_fields=True):
    """Where alerts are sent on."""

    command: tuple[str, ...] = ()
    webhook: str = ""


class Mqtt(Struct, frozen=True, forbid_unknown_fields=True):
    """The broker by which Home Assistant sees our device."""

    publish: str = ""
    user: str = ""
    password_file: str | None = None
    ca_file: str | None = None
    prefix: Annotated[str, Meta(pattern=r"^[\w-]{1,64}$")] = "homeassistant"


class ConductorApi(Struct, frozen=True, forbid_unknown_fields=True):
    """The doors that Holochain's clients know, on loopback; off unless enabled."""

    enabled: bool = False
    admin_port: Port = 0
    admin_secret: Annotated[str, Meta(max_length=128, pattern="^[A-Za-z0-9_-]*$")] = ""
    origins: Annotated[tuple[str, ...], Meta(min_length=1, max_length=64)] = ("ioe",)


class Api(Struct, frozen=True, forbid_unknown_fields=True):
    """Where programs and browsers reach this node, and how much of it they may use."""

    http: str = "127.0.0.1:0"
    tls_cert: str = ""
    tls_key: str = ""
    names: Annotated[tuple[str, ...], Meta(max_length=64)] = ()
    requests_per_s: Annotated[int, Meta(ge=1, le=1_000_000)] = 200
    connections_max: Annotated[int, Meta(ge=4, le=10_000)] = 200
    conductor: ConductorApi = ConductorApi()


class Schedule(Struct, frozen=True, forbid_unknown_fields=True):
    """A zome function to call again and again."""

    zome: str
    function: str
    every_ms: PositiveMs


class AppConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """A smart energy app that runs beside this device, and where its prices come from."""

    name: str
    feed: str = ""
    options: dict[str, Any] = {}


Points = Annotated[int, Meta(ge=-1_000_000, le=1_000_000)]


class Reputation(Struct, frozen=True, forbid_unknown_fields=True):
    """What this owner holds for good and bad in others, in points; `issuers` by key."""

    uptime: Points = 100
    settlement: Points = 1
    credential: Points = 50
    warrant: Points = -1_000
    issuers: Annotated[dict[str, Points], Meta(max_length=256)] = {}


class Metering(Struct, frozen=True, forbid_unknown_fields=True):
    """How the history of meters is kept; `timezone` "" is the machine's."""

    timezone: str = ""
    samples_days: Annotated[int, Meta(ge=1, le=3_660)] = 30
    samples_max: Annotated[int, Meta(ge=0, le=100_000_000)] = 300_000


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    role: Role
    arc: Arc = "full"
    network: Network = Network()
    limits: Limits = Limits()
    reputation: Reputation = Reputation()
    alerts: Alerting = Alerting()
    metering: Metering = Metering()
    mqtt: Mqtt = Mqtt()
    api: Api = Api()
    device: Device | None = None
    schedule: tuple[Schedule, ...] = ()
    app: Annotated[tuple[AppConfig, ...], Meta(max_length=16)] = ()
    dnas: tuple[str, ...] = ("dna.neighbourhood:DNA",)
    discovery: str = "discovery.meeting:Meeting"
    control_port: Port = 0
    synchronous: Literal["NORMAL", "FULL"] = "FULL"


def parse_config(text: str, where: str) -> Config:
    """The config of a TOML text; raises `ConfigError` that names the key."""
    try:
        config = msgspec.convert(tomllib.loads(text), Config)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: not TOML: {error}") from None
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {error}") from None
    if (config.role == "device") != (config.device is not None):
        raise ConfigError(f'{where}: role = "device" goes with a [device] table, and only it')
    if config.device is not None and not config.device.name.isprintable():
        raise ConfigError(f"{where}: device.name is shown to people: use characters that print")
    try:
        zoneinfo.ZoneInfo(config.metering.timezone or "UTC")
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(
            f"{where}: metering.timezone: no such place; write one like 'Europe/Berlin'"
        ) from None
    return config


def load_config(path: Path) -> Config:
    """Read and check one file; raises `ConfigError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; 'ioe init' writes one") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8: {error.reason}; 'ioe init' writes one") from None
    return parse_config(text, str(path))


TEMPLATE = """\
# An ioe-node.  Check this file with: ioe run --check-config

# "owner": a person's node; "device": a machine's.
role = "{role}"

# "full": this node holds its share of what the others write, as they hold this one's.  "zero": it
# holds nothing but its own chain, and reads all else from the others: for a small machine, or one
# that is seldom on.  It may be changed: what must move, moves after the next start.
arc = "{arc}"

# Rules that this node knows; an invitation names one of them.
dnas = ["dna.neighbourhood:DNA"]

# FULL: a commit is on the disk before anyone hears of it.  NORMAL is faster and survives a
# crash of the node but not a power cut: a node that forgets what it has published would fork its
# own chain.  Only for tests.
synchronous = "FULL"

[network]
# Addresses to listen on: "/ip4/192.0.2.7/tcp/4001" for TCP, the same with "/ws" behind it for
# WebSocket, on a port of its own.  Write concrete ones, not 0.0.0.0.
listen = ["{listen}"]
# Peers to meet first: "/ip4/192.0.2.7/tcp/4001/p2p/12D3Koo..." (see: ioe status).  A maker may
# have written some here (ioe init --peer); a network without multicast needs one.
bootstrap = [{bootstrap}]
# Interfaces, by their IPv4 address, on which to announce and look for devices by mDNS: those of
# IoE and, as one libp2p node to another, those of libp2p.
mdns = ["{mdns}"]
# Whether others that cannot be dialled, being behind a router, may be reached through this node.
relay = true
# How this node is reached itself.  "auto": through two peers that relay, if those cannot dial it;
# "relay": through them in any case; "direct": only where it listens.
reach = "auto"

# What others may use of this machine.  Who goes past it is answered later, or told to come back;
# nothing of what it sent is lost.  See: ioe peers.
[limits]
# Requests and bytes a second of one peer in one community, on average; bursts of 4 seconds pass.
requests_per_s = 200
bytes_per_s = 8000000
# Connections to peers at most.  When they are nearly all taken, those that are no members go first.
connections_max = 300
# Records of one peer that wait to be validated, at most.
limbo_rows = 10000
# Memory, in MB, for the requests that are being answered at once, of all peers together.
requests_mb_max = 128
# Disk, in MB, for what is held in each community.  At the limit the node holds nothing more for
# others, and says so, until what it may let go of has made room; its own writes go on.
disk_mb_max = 8192

# What counts for and against others in your own view of them, in points; nobody else sees it.
# See: ioe reputation show, ioe reputation explain AGENT.
[reputation]
# A meter that by its own word missed nothing of late; one that missed half gets half.
uptime = 100
# Each settlement completed with this node, the first hundred.
settlement = 1
# A device that the community's approvers approved.
credential = 50
# Each proof of misbehaviour.
warrant = -1000

# Whose claims about others count, and for how much; anybody else's count for nothing.
[reputation.issuers]
# "uhCAk..." = 50

# Where alerts are sent on, besides 'ioe alerts': a device appeared, left or changed hands, somebody
# guesses codes, a fault.
[alerts]
# A program and its arguments, run for each alert with the alert as JSON on its standard input.
command = []
# An address to which each alert is POSTed as JSON: "https://...".
webhook = ""

# The history of meters, in a file of this node's own: 'ioe meter history --by day'.
[metering]
# Where days begin: "Europe/Berlin"; "" takes the machine's time zone.
timezone = ""
# Every reading of our own meter is kept here and given to nobody, for so many days, and no more
# than so many readings (0: none; a million takes some 40 MB).
samples_days = 30
samples_max = 300000

# The page and the API, for browsers and programs that bring a token: 'ioe page', 'ioe api token'.
[api]
# Where they listen: "127.0.0.1:PORT" for this machine only; "" for nowhere.  Another address of
# this machine serves others, and needs the two files below.
http = "127.0.0.1:{http_port}"
# A certificate and its key, PEM files, for https.
tls_cert = ""
tls_key = ""
# Names by which browsers may call this node, besides its IP addresses and localhost.
names = []
# Requests a second of one token or, before a token is shown, of one address; bursts of 4 seconds
# pass.  Connections at most.
requests_per_s = 200
connections_max = 200

# Doors on 127.0.0.1 for programs that speak the protocol of Holochain's conductor, such as the npm
# package @holochain/client: an admin door, and app doors, which are attached through it or by
# 'ioe bundle token'.
[api.conductor]
enabled = false
# 0 picks a free one, which 'ioe run' and 'ioe bundle list' show.
admin_port = 0
# Who reaches the admin door may do everything with all apps, so every user of this machine may.
# With a secret, only who knows it: the door is then ws://127.0.0.1:PORT/SECRET.
admin_secret = ""
# Where clients of the admin door come from.  A page always says so truly: "https://example.org";
# other programs say what they like, so "ioe".  "*" lets every page in: never do that here.
origins = ["ioe"]
"""

OWNER_TEMPLATE = """
# Pay, out of what was offered for it ('ioe demand offer'), for what others have saved.
[[schedule]]
zome = "demand"
function = "reward"
every_ms = 60000

# Vote on the market's interval that has begun, where this node holds its book.
[[schedule]]
zome = "market"
function = "keep"
every_ms = 10000
"""

DEVICE_TEMPLATE = """
# Home Assistant sees this device by an MQTT broker: its energy, its power, its switch.
[mqtt]
# "mqtt://192.168.1.5", or "mqtts://..." for TLS; empty: it is not told.
publish = ""
# user = "ioe"
# password_file = "/etc/ioe/mqtt"
# The certificate authority of the broker, where it is no public one:
# ca_file = "/etc/ioe/ca.pem"
# Under which Home Assistant looks for announcements.
prefix = "homeassistant"

[device]
# consumer, generator, storage or monitor.
kind = "{kind}"
name = {name}
# "public": everyone on the local network hears of this device: its kind, name, key and address.
# "private": once it has an owner, nobody but its owner does.  It then announces itself under names
# and keys that are new each time, and listens on a new port after each start, whatever
# `listen` says.  What the network itself tells stays: the machine's hardware and IP addresses.
# Members of its community see it either way.
visibility = "public"
# See: ioe driver list.  One of your own by "package.module:NAME".
driver = {driver}
# Who vouches for the figures: device, meter or substation.
method = "device"
# How often the device is read, in milliseconds.
poll_ms = 10000
# "button": whoever has the code must also press the device's button (or run 'ioe device confirm'
# on it) before the device takes an owner.
confirm = "none"

[device.options]
{options}

# Sell what the device exports, whenever somebody's reading shows an import.
[[schedule]]
zome = "currency"
function = "sell"
every_ms = 60000

# Keep its certificates of origin: certify what it makes, once 'ioe certificate declare' has said of
# what; give them with what is sold, and use up those of what it drew.
[[schedule]]
zome = "origin"
function = "keep"
every_ms = 60000

# Vote on the market's interval that has begun, where this device holds its book.
[[schedule]]
zome = "market"
function = "keep"
every_ms = 10000

# A smart energy app beside this device: switch it off while power is dear.  See: ioe app.
# feed = "market", without options: the prices of the community's own market.
# [[app]]
# name = "demand"
# feed = "ioe_node.drivers.feed_csv:CsvFeed"
# [app.options]
# path = "/home/pi/prices.csv"
# Another bids and offers for it in the market, by the grid's prices in credits.  See: ioe trader.
# A file of prices has a line 'start,end,price', then such as
# 2026-07-01T00:00+02:00,2026-07-01T06:00+02:00,0.21
# [[app]]
# name = "trader"
# feed = "ioe_node.drivers.feed_csv:CsvFeed"
# [app.options]
# path = "/home/pi/prices.csv"
"""

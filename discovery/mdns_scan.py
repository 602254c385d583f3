"""Which devices of other makers tell of themselves by DNS-SD on this network, asked once.

What is heard is a hint that nobody has signed: names and addresses are shown to a person, or
tried, and no more.  Blocking work is zeroconf's and is done in a worker thread.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import trio
from zeroconf import Error, IPVersion, ServiceBrowser, ServiceInfo, ServiceListener, Zeroconf

from discovery.mdns import MdnsUnavailable

SERVICES_MAX = 256
TXT_ITEMS_MAX = 32
RESOLVE_MS = 500


@dataclass(frozen=True)
class Service:
    """One service instance; `texts` are its TXT record's, `host` an IPv4 address."""

    kind: str
    name: str
    host: str
    port: int
    texts: dict[str, str]


async def scan(interfaces: Sequence[str], kinds: Sequence[str], seconds: float) -> list[Service]:
    """The services of these `kinds` (`_shelly._tcp.local.`) that answer within `seconds`.

    `interfaces` are IPv4 addresses of this machine; raises `MdnsUnavailable`.
    """
    return await trio.to_thread.run_sync(_scan, interfaces, kinds, seconds)


def _scan(interfaces: Sequence[str], kinds: Sequence[str], seconds: float) -> list[Service]:
    names: dict[tuple[str, str], None] = {}

    class Ears(ServiceListener):
        def add_service(self, zc: Zeroconf, type_: str, name: str) -> None:
            if len(names) < SERVICES_MAX:
                names[type_, name] = None

        def update_service(self, zc: Zeroconf, type_: str, name: str) -> None:
            pass

        def remove_service(self, zc: Zeroconf, type_: str, name: str) -> None:
            names.pop((type_, name), None)

    try:
        zeroconf = Zeroconf(interfaces=list(interfaces), ip_version=IPVersion.V4Only)
    except (OSError, Error) as error:
        raise MdnsUnavailable(f"mDNS is not available here ({error})") from error
    try:
        ServiceBrowser(zeroconf, list(kinds), listener=Ears())
        time.sleep(seconds)
        found = [_resolve(zeroconf, kind, name) for kind, name in sorted(names)]
    finally:
        zeroconf.close()
    return [each for each in found if each is not None]


def _resolve(zeroconf: Zeroconf, kind: str, name: str) -> Service | None:
    info = ServiceInfo(kind, name)
    if not info.request(zeroconf, RESOLVE_MS) or info.port is None:
        return None
    hosts = info.parsed_addresses(IPVersion.V4Only)
    if not hosts:
        return None
    texts = {
        key.decode("utf-8", "replace"): (value or b"").decode("utf-8", "replace")
        for key, value in list(info.properties.items())[:TXT_ITEMS_MAX]
    }
    return Service(kind, name.removesuffix(f".{kind}"), hosts[0], info.port, texts)

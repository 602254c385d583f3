"""A scan over real multicast on loopback, for what another program registers."""

from collections.abc import Iterator

import pytest
from zeroconf import IPVersion, ServiceInfo, Zeroconf

from discovery import mdns
from discovery.mdns_scan import Service, scan

LOOPBACK = ["127.0.0.1"]
KIND = "_shelly._tcp.local."

pytestmark = pytest.mark.skipif(
    not mdns._multicast_works(LOOPBACK[0]), reason="this machine's loopback has no multicast"
)


@pytest.fixture
def plug() -> Iterator[str]:
    """A Shelly's registration, as its firmware makes it."""
    name = "shellyplusplugs-a8032ab1c2d3"
    zeroconf = Zeroconf(interfaces=LOOPBACK, ip_version=IPVersion.V4Only)
    info = ServiceInfo(
        KIND,
        f"{name}.{KIND}",
        port=80,
        properties={"app": "PlusPlugS", "ver": "1.4.4", "gen": "2"},
        server=f"{name}.local.",
        parsed_addresses=LOOPBACK,
    )
    zeroconf.register_service(info, cooperating_responders=True)
    yield name
    zeroconf.close()


async def test_a_plug_is_found_with_its_address(plug: str) -> None:
    texts = {"app": "PlusPlugS", "ver": "1.4.4", "gen": "2"}
    assert await scan(LOOPBACK, [KIND], 1.5) == [Service(KIND, plug, "127.0.0.1", 80, texts)]
    assert await scan(LOOPBACK, ["_other._tcp.local."], 0.3) == []

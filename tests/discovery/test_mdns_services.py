"""Services: what is told of a card, and what a neighbour's TXT records are taken for."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zeroconf import ServiceInfo

from discovery.announcement import ADDRESSES_MAX, Announcement, seal
from discovery.hidden import HIDDEN_BYTES
from discovery.mdns_services import (
    LIBP2P_TYPE,
    Libp2pPeer,
    card_bytes,
    hidden_service,
    libp2p_peer,
    libp2p_service,
    open_service,
)
from ioe_node.model.signing import Signer
from ioe_node.net.peer_id import join_address

SIGNER, OTHER = Signer(b"d" * 32), Signer(b"o" * 32)
ADDRESS = "/ip4/192.0.2.7/tcp/4001"
RSA_PEER = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"


def card(name: str = "plug", addresses: tuple[str, ...] = (ADDRESS,)) -> Announcement:
    return seal(
        SIGNER, kind="storage", state="unowned", name=name, addresses=addresses, now_us=10**15
    )


def received(info: ServiceInfo) -> ServiceInfo:
    return ServiceInfo(info.type, info.name, properties=info.text)


def txt(*strings: str | bytes) -> bytes:
    data = [each.encode() if isinstance(each, str) else each for each in strings]
    return b"".join(bytes([len(each)]) + each for each in data)


def dnsaddr(address: str, signer: Signer = SIGNER) -> str:
    return f"dnsaddr={join_address(signer.agent, address)}"


def test_a_service_carries_the_whole_announcement() -> None:
    addresses = tuple(f"/dns4/{'a' * 60}{n}/tcp/{n}" for n in range(ADDRESSES_MAX))
    long = card("\N{ELECTRIC PLUG}" * 48, addresses)
    info = open_service(long)
    assert card_bytes(received(info)) == long.encoded()
    assert len(info.name.split(".")[0]) <= 63


def test_kind_state_and_name_port_and_addresses_stand_beside_it() -> None:
    info = open_service(card("Dach süd", (f"{ADDRESS}/ws", "/ip4/192.0.2.8/tcp/4002")))
    assert info.port == 4001
    assert info.parsed_addresses() == ["192.0.2.7", "192.0.2.8"]
    shown = {key: received(info).properties[key] for key in (b"kind", b"state", b"name")}
    assert shown == {b"kind": b"storage", b"state": b"unowned", b"name": "Dach süd".encode()}


def test_a_hidden_service_says_nothing_else() -> None:
    data = Random(1).randbytes(HIDDEN_BYTES)
    info = hidden_service(data)
    assert card_bytes(received(info)) == data
    assert (info.port, info.parsed_addresses()) == (0, [])
    assert all(key.startswith(b"a") for key in info.properties)
    again = hidden_service(Random(2).randbytes(HIDDEN_BYTES))
    assert (again.name != info.name, again.server != info.server) == (True, True)


def test_libp2p_s_service_is_read_back() -> None:
    addresses = (ADDRESS, "/ip4/192.0.2.7/tcp/4002/ws")
    info = libp2p_service("x" * 32, SIGNER.agent, addresses)
    assert info.type == LIBP2P_TYPE
    assert libp2p_peer([info.text]) == Libp2pPeer(SIGNER.agent, addresses)


def test_an_address_too_long_for_a_string_is_left_out() -> None:
    info = libp2p_service("x", SIGNER.agent, (f"/dns4/{'a' * 220}/tcp/1", ADDRESS))
    assert libp2p_peer([info.text]) == Libp2pPeer(SIGNER.agent, (ADDRESS,))


def test_a_relay_s_address_is_for_the_card_alone() -> None:
    relayed = f"{join_address(OTHER.agent, '/ip4/198.51.100.1/tcp/1')}/p2p-circuit"
    both = (relayed, ADDRESS)
    assert libp2p_peer([libp2p_service("x", SIGNER.agent, both).text]) == Libp2pPeer(
        SIGNER.agent, (ADDRESS,)
    )
    info = open_service(card(addresses=both))
    assert (info.parsed_addresses(), info.port) == (["192.0.2.7"], 4001)


def test_addresses_may_come_in_a_record_each() -> None:
    two = "/ip4/192.0.2.8/tcp/1"
    records = [txt(dnsaddr(ADDRESS)), txt("other=1"), txt(dnsaddr(two))]
    assert libp2p_peer(records) == Libp2pPeer(SIGNER.agent, (ADDRESS, two))


@pytest.mark.parametrize(
    "strings",
    [
        (),
        ("dnsaddr=",),
        ("dnsaddr=junk",),
        (f"dnsaddr={ADDRESS}",),
        (f"dnsaddr={ADDRESS}/p2p/{RSA_PEER}",),
        (b"dnsaddr=\xff/p2p/x",),
        (dnsaddr("/ip4/1.2.3.4/tcp/1 2"),),
        (dnsaddr(f"{join_address(OTHER.agent, ADDRESS)}/p2p-circuit"),),
    ],
)
def test_what_names_nobody_whom_we_could_dial_is_nothing(strings: tuple[str | bytes, ...]) -> None:
    assert libp2p_peer([txt(*strings)]) is None


def test_a_second_peer_s_addresses_are_left_out() -> None:
    records = [txt(dnsaddr(ADDRESS), dnsaddr("/ip4/192.0.2.66/tcp/6", OTHER))]
    assert libp2p_peer(records) == Libp2pPeer(SIGNER.agent, (ADDRESS,))


def test_a_flood_of_addresses_is_cut() -> None:
    found = libp2p_peer(txt(dnsaddr(f"/ip4/192.0.2.7/tcp/{port}")) for port in range(1, 5000))
    assert found is not None
    assert len(found.addresses) == ADDRESSES_MAX


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_any_bytes_are_somebody_or_nobody(texts: list[bytes]) -> None:
    assert libp2p_peer(texts) is None


@given(st.binary(max_size=1200))
def test_any_txt_record_is_some_bytes(text: bytes) -> None:
    info = ServiceInfo("_ioe._tcp.local.", "x._ioe._tcp.local.", properties=text)
    assert isinstance(card_bytes(info), bytes)

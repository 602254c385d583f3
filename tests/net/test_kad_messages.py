"""kad-dht's messages: what is written is read alike, by libp2p's own code too; the rest refused."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from libp2p.kad_dht.pb import kademlia_pb2
from multiaddr import Multiaddr

from ioe_node.errors import Malformed
from ioe_node.model.hashes import agent_key
from ioe_node.net.kad_messages import (
    ADDRESS_BYTES_MAX,
    ADDRESSES_PER_PEER_MAX,
    ADDRESSES_READ_PER_PEER_MAX,
    KAD_MESSAGE_BYTES_MAX,
    KEY_BYTES_MAX,
    PEER_ID_BYTES_MAX,
    PEERS_PER_MESSAGE_MAX,
    Connection,
    KadMessage,
    KadPeer,
    KadReader,
    Kind,
    address_bytes,
    address_text,
    decode_kad,
    encode_kad,
    kad_peer_of,
    located_of,
)
from ioe_node.net.peer_id import peer_id_bytes, peer_id_of

ALICE = agent_key(b"a" * 32)
TCP = "/ip4/127.0.0.1/tcp/4001"

addresses = st.lists(st.binary(max_size=40), max_size=ADDRESSES_PER_PEER_MAX).map(tuple)
kad_peers = st.builds(
    KadPeer,
    st.binary(min_size=1, max_size=PEER_ID_BYTES_MAX),
    addresses,
    st.sampled_from(Connection),
)
kad_messages = st.builds(
    KadMessage,
    st.sampled_from(Kind),
    st.binary(max_size=KEY_BYTES_MAX),
    st.lists(kad_peers, max_size=PEERS_PER_MESSAGE_MAX).map(tuple),
)


def read_all(reader: KadReader, data: bytes) -> list[KadMessage]:
    reader.feed(data)
    found = []
    while (message := reader.next_message()) is not None:
        found.append(message)
    return found


@given(st.lists(kad_messages, max_size=4), st.integers(1, 64))
def test_messages_survive_any_cutting(sent: list[KadMessage], piece_bytes: int) -> None:
    stream = b"".join(map(encode_kad, sent))
    reader, got = KadReader(), []
    for start in range(0, len(stream), piece_bytes):
        got += read_all(reader, stream[start : start + piece_bytes])
    reader.finish()
    assert got == sent


@given(kad_messages)
def test_libp2p_reads_the_same(message: KadMessage) -> None:
    reader = KadReader()
    [again] = read_all(reader, encode_kad(message))
    theirs = kademlia_pb2.Message(type=message.kind, key=message.key)
    for peer in message.closer:
        theirs.closerPeers.add(id=peer.id, addrs=peer.addresses, connection=peer.connection)
    data = theirs.SerializeToString()
    assert decode_kad(data) == message == again
    assert encode_kad(message).endswith(data)


@given(st.binary(max_size=300))
def test_any_bytes_give_a_message_or_malformed(data: bytes) -> None:
    for decode in (decode_kad, lambda data: read_all(KadReader(), data)):
        try:
            decode(data)
        except Malformed:
            continue


@given(kad_messages, st.data())
def test_an_end_inside_a_message_is_malformed(message: KadMessage, data: st.DataObject) -> None:
    stream = encode_kad(replace(message, kind=Kind.PING))  # at least a byte long
    reader = KadReader()
    assert read_all(reader, stream[: data.draw(st.integers(1, len(stream) - 1))]) == []
    with pytest.raises(Malformed):
        reader.finish()


def theirs(**fields: object) -> bytes:
    data: bytes = kademlia_pb2.Message(**fields).SerializeToString()
    return data


def their_peer(**fields: object) -> bytes:
    return theirs(closerPeers=[kademlia_pb2.Message.Peer(**fields)])


@pytest.mark.parametrize(
    "data",
    [
        b"\x08\x06",  # no such type
        b"\x08\xff\xff\xff\xff\x0f",  # type -1
        b"\x12\x05key",  # cut
        b"GET / HTTP/1.1",
        theirs(key=bytes(KEY_BYTES_MAX + 1)),
        theirs(closerPeers=[kademlia_pb2.Message.Peer(id=b"x")] * (PEERS_PER_MESSAGE_MAX + 1)),
        their_peer(id=b""),
        their_peer(id=bytes(PEER_ID_BYTES_MAX + 1)),
        their_peer(id=b"x", addrs=[b"y"] * (ADDRESSES_READ_PER_PEER_MAX + 1)),
        their_peer(id=b"x", addrs=[bytes(ADDRESS_BYTES_MAX + 1)]),
        b"\x42\x05\x0a\x01x\x18\x04",  # no such connection
        bytes(KAD_MESSAGE_BYTES_MAX + 1),
    ],
)
def test_what_exceeds_a_bound_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        decode_kad(data)


@pytest.mark.parametrize("length", [b"\x81\x80\x04", b"\x80\x80\x80\x01", b"\x80\x00", b"\xff" * 9])
def test_an_overlong_length_is_refused_unbuffered(length: bytes) -> None:
    with pytest.raises(Malformed):
        read_all(KadReader(), length)


def test_the_longest_message_may_come() -> None:
    assert read_all(KadReader(), b"\x80\x80\x04") == []  # 64 KiB: wait for them


def test_records_and_providers_are_skipped() -> None:
    record = kademlia_pb2.Record(key=b"k", value=b"v")
    provider = kademlia_pb2.Message.Peer(id=b"x")
    data = theirs(type=4, key=b"k", record=record, providerPeers=[provider], clusterLevelRaw=1)
    assert decode_kad(data) == KadMessage(Kind.FIND_NODE, b"k")


def test_a_peer_and_its_addresses_are_read_as_they_were_written() -> None:
    peer = kad_peer_of((ALICE, ("nonsense", TCP, "/dns4/example.org/tcp/1")))
    assert peer is not None
    assert peer.id == peer_id_bytes(ALICE)
    assert peer.addresses[0] == Multiaddr(TCP).to_bytes()
    assert located_of(peer) == (ALICE, (TCP, "/dns4/example.org/tcp/1"))


def test_the_own_peer_id_after_an_address_is_left_out() -> None:
    long = Multiaddr(f"{TCP}/p2p/{peer_id_of(ALICE)}").to_bytes()
    peer = KadPeer(peer_id_bytes(ALICE), (long, Multiaddr(TCP).to_bytes()))
    assert located_of(peer) == (ALICE, (TCP,))


def test_whom_we_cannot_dial_or_name_is_left_out() -> None:
    assert kad_peer_of((ALICE, ())) is None
    assert kad_peer_of((ALICE, ("/memory/abc",))) is None
    assert located_of(KadPeer(peer_id_bytes(ALICE), ())) is None
    assert located_of(KadPeer(b"\x12\x20" + bytes(32), (Multiaddr(TCP).to_bytes(),))) is None
    many = tuple(Multiaddr(f"/ip4/127.0.0.1/tcp/{port}").to_bytes() for port in range(1, 65))
    found = located_of(KadPeer(peer_id_bytes(ALICE), many))
    assert found is not None
    assert len(found[1]) == ADDRESSES_PER_PEER_MAX


@given(st.binary(max_size=60))
def test_any_bytes_give_an_address_or_none(data: bytes) -> None:
    text = address_text(data, ALICE)
    assert text == "" or address_bytes(text) == data or data.endswith(peer_id_bytes(ALICE))

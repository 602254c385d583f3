"""Peer routing between real hosts on loopback."""

import os

import pytest
import trio

from ioe_node.errors import LocalError, PeerError, TransportError
from ioe_node.model.hashes import AgentPubKey
from ioe_node.net.foreign_peers import ForeignPeers, closest_to
from ioe_node.net.kad import REQUEST_DEADLINE_S
from ioe_node.net.libp2p_routing import KAD_STREAMS_PER_PEER_MAX
from ioe_node.net.libp2p_transport import Libp2pTransport, open_transport
from ioe_node.net.peer_id import peer_id_bytes
from ioe_node.net.transport import CLOSEST_PEERS_MAX, Located, Routing

KAD = "/ioe/test/kad/1.0.0"


class Table:
    """Whoever spoke to us is passed on."""

    def __init__(self, transport: Libp2pTransport) -> None:
        self.foreign = ForeignPeers()
        transport.offer_routing(KAD, Routing(self._closest, self._seen))

    def _seen(self, peer: AgentPubKey, addresses: tuple[str, ...]) -> None:
        self.foreign.seen(peer, addresses, 0)

    def _closest(self, key: bytes, asker: AgentPubKey) -> list[Located]:
        known = [located for located in self.foreign.known(0) if located[0] != asker]
        return closest_to(key, known, CLOSEST_PEERS_MAX)


async def test_two_that_speak_to_a_third_find_each_other(open_host) -> None:
    meeting_point, left, right = await open_host(), await open_host(), await open_host()
    table = Table(meeting_point)
    for host in (left, right):
        Table(host)
        host.learn(meeting_point.agent, meeting_point.addresses())
    assert await left.find_node(KAD, meeting_point.agent, b"anybody") == []
    found = await right.find_node(KAD, meeting_point.agent, peer_id_bytes(left.agent))
    assert found == [(left.agent, left.addresses())]
    assert dict(table.foreign.known(0)).keys() == {left.agent, right.agent}


async def test_a_peer_that_comes_back_elsewhere_is_passed_on_there(open_host) -> None:
    meeting_point, asker, seed = await open_host(), await open_host(), os.urandom(32)
    Table(meeting_point)
    asker.learn(meeting_point.agent, meeting_point.addresses())
    for _ in range(2):
        async with open_transport(seed, "/ip4/127.0.0.1/tcp/0") as mover:
            Table(mover)
            mover.learn(meeting_point.agent, meeting_point.addresses())
            await mover.find_node(KAD, meeting_point.agent, b"key")
            found = await asker.find_node(KAD, meeting_point.agent, peer_id_bytes(mover.agent))
            assert found == [(mover.agent, mover.addresses())]


async def test_who_does_not_serve_is_answered_but_not_passed_on(open_host) -> None:
    server, client = await open_host(), await open_host()
    table = Table(server)
    client.learn(server.agent, server.addresses())
    assert await client.find_node(KAD, server.agent, b"key") == []
    assert table.foreign.known(0) == []


async def test_who_does_not_speak_it_or_is_gone_is_a_transport_error(open_host) -> None:
    asker, mute = await open_host(), await open_host()
    with pytest.raises(TransportError, match="cannot be reached"):
        await asker.find_node(KAD, mute.agent, b"key")
    asker.learn(mute.agent, mute.addresses())
    with pytest.raises(TransportError, match="does not answer"):
        await asker.find_node(KAD, mute.agent, b"key")
    with pytest.raises(LocalError):
        await asker.find_node(KAD, asker.agent, b"key")


async def test_a_withdrawn_protocol_is_not_answered(open_host) -> None:
    asker, answerer = await open_host(), await open_host()
    Table(answerer)
    asker.learn(answerer.agent, answerer.addresses())
    await asker.find_node(KAD, answerer.agent, b"key")
    answerer.withdraw_routing(KAD)
    with pytest.raises(TransportError):
        await asker.find_node(KAD, answerer.agent, b"key")
    Table(answerer)  # and may be offered again
    await asker.find_node(KAD, answerer.agent, b"key")


async def test_a_refusal_closes_the_stream_and_is_charged(open_host) -> None:
    def refuse(_peer: AgentPubKey, _addresses: tuple[str, ...]) -> None:
        raise PeerError("warranted")

    asker, answerer = await open_host(), await open_host()
    answerer.offer_routing(KAD, Routing(lambda _key, _asker: [], refuse))
    asker.learn(answerer.agent, answerer.addresses())
    with pytest.raises(TransportError):
        await asker.find_node(KAD, answerer.agent, b"key")
    assert answerer.charges == {asker.agent: 1}


async def test_garbage_costs_a_stream_and_a_charge(open_host) -> None:
    asker, answerer = await open_host(), await open_host()
    Table(answerer)
    asker.learn(answerer.agent, answerer.addresses())
    for number in range(10):
        stream = await asker._open_stream(KAD, answerer.agent)
        await stream.write(b"\xff\xff\xff" + os.urandom(100))
        with trio.fail_after(REQUEST_DEADLINE_S / 2):
            try:
                while await stream.read(1_000):
                    pass
            except TransportError:
                pass
        assert answerer.charges[asker.agent] == number + 1
        await stream.reset()
    assert await asker.find_node(KAD, answerer.agent, b"key") == []


async def test_a_peer_holds_few_streams_and_stalls_nobody(open_host) -> None:
    hoarder, asker, answerer = await open_host(), await open_host(), await open_host()
    Table(answerer)
    for host in (hoarder, asker):
        host.learn(answerer.agent, answerer.addresses())
    held = []
    for _ in range(3 * KAD_STREAMS_PER_PEER_MAX):
        try:
            held.append(await hoarder._open_stream(KAD, answerer.agent))
        except TransportError:
            break
    # Whether the opener learns of the refusal at once is a matter of what is on its way.
    assert len(held) >= KAD_STREAMS_PER_PEER_MAX
    assert len(answerer._routing._offered[KAD]) == KAD_STREAMS_PER_PEER_MAX
    with trio.fail_after(5):
        assert await asker.find_node(KAD, answerer.agent, b"key") == []
    for stream in held:
        await stream.reset()
    await trio.sleep(0.2)  # the resets are on their way
    assert await hoarder.find_node(KAD, answerer.agent, b"key") == []
    assert not answerer.charges

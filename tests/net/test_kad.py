"""Asker and answerer joined back to back in memory, and each against one that breaks the rules."""

from collections.abc import Sequence

import pytest
import trio

from ioe_node.errors import Malformed, PeerError, TransportError
from ioe_node.model.hashes import AgentPubKey, agent_key
from ioe_node.net.kad import REQUEST_DEADLINE_S, KadStream, answer_kad, ask_kad
from ioe_node.net.kad_messages import KadMessage, KadPeer, Kind, encode_kad
from ioe_node.net.peer_id import peer_id_bytes
from ioe_node.net.transport import CLOSEST_PEERS_MAX, Located, Routing

HERE = ("/ip4/127.0.0.1/tcp/4001",)


def agent(number: int) -> AgentPubKey:
    return agent_key(number.to_bytes(32, "big"))


ASKER = agent(1_000)


class Table:
    """A `Routing` that names `known` and remembers what it is told."""

    def __init__(self, known: Sequence[Located]) -> None:
        self.known = known
        self.told: list[tuple[AgentPubKey, tuple[str, ...]]] = []
        self.asked: list[tuple[bytes, AgentPubKey]] = []

    def routing(self) -> Routing:
        return Routing(self._closest, lambda peer, addresses: self.told.append((peer, addresses)))

    def _closest(self, key: bytes, asker: AgentPubKey) -> Sequence[Located]:
        self.asked.append((key, asker))
        return self.known


async def answer(stream, routing: Routing) -> None:
    await answer_kad(stream, ASKER, routing, lambda: HERE)


async def test_one_stream_carries_several_requests(memory_streams) -> None:
    left, right = memory_streams
    table = Table([(agent(1), HERE), (agent(2), ()), (agent(3), HERE)])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer, right, table.routing())
        assert await ask_kad(left, b"one") == [(agent(1), HERE), (agent(3), HERE)]
        stream = KadStream(left)
        await stream.send(KadMessage(Kind.PING))
        assert await stream.receive() == KadMessage(Kind.PING)
        assert len(await ask_kad(left, b"two")) == 2
        await left.stream.send_stream.aclose()
    assert table.asked == [(b"one", ASKER), (b"two", ASKER)]
    assert table.told == [(ASKER, HERE)] * 3


async def test_no_more_than_k_are_named(memory_streams) -> None:
    left, right = memory_streams
    known = [(agent(n), HERE) for n in range(50)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer, right, Table(known).routing())
        assert await ask_kad(left, b"") == known[:CLOSEST_PEERS_MAX]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"GET / HTTP/1.1\r\nHost: somewhere\r\n" * 3, Malformed),
        (b"\xff\xff\xff\xff", Malformed),
        (encode_kad(KadMessage(Kind.PUT_VALUE)), TransportError),
        (encode_kad(KadMessage(Kind.GET_PROVIDERS, b"key")), TransportError),
    ],
)
async def test_what_is_no_question_for_peers_ends_the_stream(memory_streams, sent, error) -> None:
    left, right = memory_streams
    await left.write(sent)
    with pytest.raises(error):
        await answer(right, Table([]).routing())


async def test_a_refused_asker_learns_nothing(memory_streams) -> None:
    def refuse(_peer: AgentPubKey, _addresses: tuple[str, ...]) -> None:
        raise PeerError("you are warranted")

    left, right = memory_streams
    await left.write(encode_kad(KadMessage(Kind.FIND_NODE, b"key")))
    table = Table([(agent(1), HERE)])
    with pytest.raises(PeerError, match="warranted"):
        await answer(right, Routing(table.routing().closest, refuse))
    assert table.asked == []


async def test_an_idle_asker_and_a_mute_answerer_are_left(memory_streams, autojump_clock) -> None:
    left, right = memory_streams
    with pytest.raises(TransportError, match="asked nothing"):
        await answer(right, Table([]).routing())
    assert trio.current_time() == pytest.approx(REQUEST_DEADLINE_S)
    with pytest.raises(TransportError, match="no answer in time"):
        await ask_kad(left, b"key")


async def test_a_closed_stream_and_another_answer_are_errors(memory_streams) -> None:
    left, right = memory_streams
    await right.write(encode_kad(KadMessage(Kind.PING)))
    with pytest.raises(Malformed):
        await ask_kad(left, b"key")
    await right.stream.send_stream.aclose()
    with pytest.raises(TransportError, match="closed"):
        await ask_kad(left, b"key")


async def test_what_nobody_can_dial_or_twice_is_left_out(memory_streams) -> None:
    left, right = memory_streams
    here = KadPeer(peer_id_bytes(agent(1)), (b"\x04\x7f\x00\x00\x01\x06\x0f\xa1",))
    named = (
        KadPeer(b"\x12\x20" + bytes(32), here.addresses),  # a key that is no agent's
        here,
        KadPeer(peer_id_bytes(agent(2)), (b"nonsense",)),
        here,
    )
    await right.write(encode_kad(KadMessage(Kind.FIND_NODE, closer=named)))
    assert await ask_kad(left, b"key") == [(agent(1), HERE)]

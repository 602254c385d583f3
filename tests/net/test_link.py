"""Askers and answerers back to back, over memory streams on virtual time."""

import pytest
import trio
import trio.testing

from ioe_node.errors import (
    Busy,
    LocalError,
    Malformed,
    PairingRefused,
    PeerError,
    Refused,
    Shunned,
    TransportError,
)
from ioe_node.model.hashes import AgentPubKey, agent_key
from ioe_node.net.framing import FrameReader, Hello, Request, Response, encode_frame
from ioe_node.net.link import (
    HELLO_DEADLINE_S,
    REQUESTS_IN_FLIGHT_PER_PEER_MAX,
    Answerer,
    Asker,
    InHand,
    Wire,
)
from ioe_node.net.transport import MESSAGE_BYTES_MAX

US, THEM = agent_key(b"u" * 32), agent_key(b"t" * 32)


@pytest.fixture
def charged() -> list[PeerError]:
    return []


@pytest.fixture
async def join(nursery, memory_streams, make_service, charged):
    """Open a link to a service of our making, and give its asker."""

    async def join_link(**service) -> Asker:
        left, right = memory_streams
        answerer = Answerer(Wire(right), US, make_service(**service), charge)
        asker = Asker(Wire(left))

        async def answer() -> None:
            if await answerer.open():
                await answerer.run()

        nursery.start_soon(answer)
        await asker.open(THEM, make_service())
        nursery.start_soon(asker.run)
        return asker

    def charge(peer: AgentPubKey, error: PeerError) -> None:
        assert peer == US
        charged.append(error)

    return join_link


async def test_answers_find_their_requests_in_any_order(join, nursery, autojump_clock) -> None:
    async def late_first(_peer: AgentPubKey, message: bytes) -> bytes:
        await trio.sleep(1 / message[0])
        return message

    asker = await join(handle=late_first)
    answered = []

    async def ask(number: int) -> None:
        assert await asker.ask(bytes([number])) == bytes([number])
        answered.append(number)

    async with trio.open_nursery() as askers:
        for number in range(1, 30):
            askers.start_soon(ask, number)
    assert answered == list(range(29, 0, -1))


@pytest.mark.parametrize(
    ("raised", "seen", "charges"),
    [
        (Malformed("bad op"), "malformed: bad op", 1),
        (PairingRefused("wrong code"), "pairing-refused: wrong code", 1),
        (Refused("x", "a third peer's refusal"), "internal: ", 0),
        (LocalError("disk"), "internal: ", 0),
        (ZeroDivisionError("secret"), "internal: ", 0),
        (ExceptionGroup("two", [ValueError("secret")]), "internal: ", 0),
    ],
)
async def test_what_a_handler_raises_is_a_typed_refusal(
    join, charged, raised: Exception, seen: str, charges: int
) -> None:
    async def fail(_peer: AgentPubKey, _message: bytes) -> bytes:
        raise raised

    asker = await join(handle=fail)
    for _ in range(2):
        with pytest.raises(Refused) as refusal:
            await asker.ask(b"?")
        assert str(refusal.value).startswith(seen)
        assert "secret" not in str(refusal.value)
    assert len(charged) == 2 * charges


async def test_busy_comes_back_as_busy(join) -> None:
    async def busy(_peer: AgentPubKey, _message: bytes) -> bytes:
        raise Busy("settling with another")

    with pytest.raises(Busy, match="settling"):
        await (await join(handle=busy)).ask(b"?")


async def test_an_oversized_answer_is_refused(join) -> None:
    async def too_much(_peer: AgentPubKey, _message: bytes) -> bytes:
        return bytes(MESSAGE_BYTES_MAX + 1)

    with pytest.raises(Refused, match="internal"):
        await (await join(handle=too_much)).ask(b"?")


async def test_a_given_up_request_leaves_the_link_in_use(join, autojump_clock) -> None:
    async def slow(_peer: AgentPubKey, message: bytes) -> bytes:
        await trio.sleep(1 if message == b"slow" else 0)
        return message

    asker = await join(handle=slow)
    for _ in range(3 * REQUESTS_IN_FLIGHT_PER_PEER_MAX):
        with trio.move_on_after(0.1):
            await asker.ask(b"slow")
    assert await asker.ask(b"quick") == b"quick"


async def test_the_asker_holds_back_what_the_answerer_would_refuse(join, autojump_clock) -> None:
    now = most = 0

    async def count(_peer: AgentPubKey, message: bytes) -> bytes:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await trio.sleep(1)
        now -= 1
        return message

    asker = await join(handle=count)
    async with trio.open_nursery() as askers:
        for _ in range(3 * REQUESTS_IN_FLIGHT_PER_PEER_MAX):
            askers.start_soon(asker.ask, b"?")
    assert most == REQUESTS_IN_FLIGHT_PER_PEER_MAX


async def test_a_greedy_asker_is_told_to_wait(
    nursery, memory_streams, make_service, autojump_clock
) -> None:
    async def forever(_peer: AgentPubKey, _message: bytes) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    left, right = memory_streams
    answerer = Answerer(Wire(right), US, make_service(handle=forever), lambda *_: None)
    nursery.start_soon(left.write, encode_frame(Hello(b"sesame")))
    assert await answerer.open()
    nursery.start_soon(answerer.run)
    for number in range(1, REQUESTS_IN_FLIGHT_PER_PEER_MAX + 2):
        await left.write(encode_frame(Request(number, b"?")))
    reader = FrameReader()
    reader.feed(await left.read(4096))
    assert isinstance(reader.next_frame(), Hello)
    while (frame := reader.next_frame()) is None:
        reader.feed(await left.read(4096))
    assert (frame.id, frame.code) == (REQUESTS_IN_FLIGHT_PER_PEER_MAX + 1, "busy")
    nursery.cancel_scope.cancel()


async def test_no_proof_no_answer(join, charged) -> None:
    def nobody(_peer: AgentPubKey, _hello: bytes) -> None:
        raise PeerError("members only")

    with pytest.raises(Refused, match="membrane: members only"):
        await join(admit=nobody)
    assert len(charged) == 1


async def test_we_do_not_ask_whom_we_do_not_admit(join) -> None:
    with pytest.raises(Refused, match="membrane"):
        await join(hello=b"not sesame", admit=lambda _peer, _hello: None)


async def test_nothing_is_said_to_one_who_says_nothing(
    memory_streams, make_service, autojump_clock
) -> None:
    left, right = memory_streams
    started = trio.current_time()
    with pytest.raises(TransportError, match="no hello"):
        await Answerer(Wire(right), US, make_service(), lambda *_: None).open()
    assert trio.current_time() - started == pytest.approx(HELLO_DEADLINE_S)
    with trio.move_on_after(1) as nothing_came:
        await left.read(1)
    assert nothing_came.cancelled_caught


@pytest.mark.parametrize(
    "sent",
    [
        encode_frame(Request(1, b"")),
        encode_frame(Response(1, b"")),
        b"GET / HTTP/1.1\r\n\r\n",
        encode_frame(Hello(bytes(100_000))),
    ],
)
async def test_a_stranger_who_does_not_start_with_a_hello_is_malformed(
    nursery, memory_streams, make_service, sent: bytes
) -> None:
    left, right = memory_streams
    nursery.start_soon(left.write, sent)
    with pytest.raises(Malformed):
        await Answerer(Wire(right), US, make_service(), lambda *_: None).open()
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "sent",
    [
        encode_frame(Hello(b"sesame")),
        encode_frame(Request(0, b"")),
        encode_frame(Request(1, b"")) * 2,
        encode_frame(Response(1, b"")),
        b"\xff" * 100,
    ],
)
async def test_an_admitted_asker_who_misbehaves_is_malformed(
    nursery, memory_streams, make_service, sent: bytes
) -> None:
    async def forever(_peer: AgentPubKey, _message: bytes) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    left, right = memory_streams
    answerer = Answerer(Wire(right), US, make_service(handle=forever), lambda *_: None)
    nursery.start_soon(left.write, encode_frame(Hello(b"sesame")) + sent)
    assert await answerer.open()
    with pytest.raises(Malformed):
        await answerer.run()


async def test_an_answer_to_nothing_is_malformed_and_ends_the_asking(
    nursery, memory_streams, make_service
) -> None:
    left, right = memory_streams
    asker = Asker(Wire(left))
    nursery.start_soon(right.write, encode_frame(Hello(b"sesame")))
    await asker.open(THEM, make_service())
    nursery.start_soon(right.write, encode_frame(Response(7, b"")))
    with pytest.raises(Malformed):
        await asker.run()
    with pytest.raises(TransportError):
        await asker.ask(b"?")


async def test_a_broken_link_wakes_everyone_who_waits(
    nursery, memory_streams, make_service
) -> None:
    left, right = memory_streams
    asker = Asker(Wire(left))
    nursery.start_soon(right.write, encode_frame(Hello(b"sesame")))
    await asker.open(THEM, make_service())
    nursery.start_soon(asker.run)
    woken = 0

    async def ask() -> None:
        nonlocal woken
        with pytest.raises(TransportError):
            await asker.ask(b"?")
        woken += 1

    async with trio.open_nursery() as askers:
        for _ in range(2 * REQUESTS_IN_FLIGHT_PER_PEER_MAX):
            askers.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        await right.stream.aclose()
    assert woken == 2 * REQUESTS_IN_FLIGHT_PER_PEER_MAX


async def test_a_shunned_asker_hears_it_once_and_its_link_ends(join, autojump_clock) -> None:
    heard = []

    async def shun(_peer: AgentPubKey, message: bytes) -> bytes:
        heard.append(message)
        raise Shunned("you misbehaved; come back in 7 s")

    asker = await join(handle=shun)
    with pytest.raises(Refused, match="come back in 7 s") as refused:
        await asker.ask(b"one")
    assert refused.value.code == "shunned"
    with trio.move_on_after(60) as unanswered:
        await asker.ask(b"two")
    assert unanswered.cancelled_caught
    assert heard == [b"one"]


async def test_all_links_together_have_so_much_in_hand_and_no_more(
    nursery, make_service, new_memory_streams, autojump_clock
) -> None:
    in_hand, go_on = InHand(1_000), trio.Event()

    async def slow(_peer: AgentPubKey, message: bytes) -> bytes:
        await go_on.wait()
        return message[:1]

    askers = []
    for _ in range(2):
        left, right = new_memory_streams()
        service = make_service(handle=slow)
        answerer = Answerer(Wire(right), US, service, lambda *_: None, in_hand)

        async def answer(answerer: Answerer = answerer) -> None:
            assert await answerer.open()
            await answerer.run()

        nursery.start_soon(answer)
        asker = Asker(Wire(left))
        await asker.open(THEM, make_service())
        nursery.start_soon(asker.run)
        askers.append(asker)
    answers = []

    async def ask(asker: Asker, size: int) -> None:
        answers.append(await asker.ask(bytes(size)))

    async with trio.open_nursery() as asking:
        asking.start_soon(ask, askers[0], 5_000)  # one is always taken, however large
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(Busy):
            await askers[1].ask(bytes(1))
        go_on.set()
    assert in_hand.bytes == 0
    assert await askers[1].ask(bytes(1)) == bytes(1)

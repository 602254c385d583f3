"""The live stream over a real WebSocket: who may watch, what is told, what was missed."""

import json
from typing import Any

import pytest
import trio
from trio_websocket import ConnectionClosed, open_websocket_url

from ioe_node.api import http_hub, http_stream
from ioe_node.api.http_hub import Watcher

WAIT_S = 10


def watched(node: Any, token: str = "", **more: Any) -> Any:
    protocols = ["ioe.v1", f"ioe.token.{token or node.token}"]
    url = node.url.replace("http", "ws") + "/api/v1/stream"
    return open_websocket_url(url, subprotocols=protocols, **more)


async def heard(socket: Any, kind: str) -> Any:
    with trio.fail_after(WAIT_S):
        while True:
            found = json.loads(await socket.get_message())
            if found["kind"] == kind:
                return found


async def closed(socket: Any) -> int:
    with trio.fail_after(WAIT_S), pytest.raises(ConnectionClosed) as why:
        await heard(socket, "nothing of this kind")
    await socket._stream.aclose()  # which it leaves to the collector when the other end was first
    return int(why.value.reason.code)


async def watching(node: Any, many: int) -> None:
    """Wait until so many watch."""
    line = f"ioe_stream_watchers {many}.0"
    with trio.fail_after(WAIT_S):
        while line not in (await node.http.get("/metrics")).text:  # noqa: ASYNC110  # over HTTP
            await trio.sleep(0.02)


async def test_signals_come_with_their_number(owner: Any) -> None:
    async with watched(owner) as socket:
        assert socket.subprotocol == "ioe.v1"
        await watching(owner, 1)
        for number in range(3):
            owner.conductor.signals.emit({"kind": "fault", "text": str(number), "hash": b"\x01"})
        found = [await heard(socket, "fault") for _ in range(3)]
    assert [each["text"] for each in found] == ["0", "1", "2"]
    first = found[0]["seq"]
    assert [each["seq"] for each in found] == [first, first + 1, first + 2]
    assert found[0]["hash"] == "01"


async def test_live_values_come_while_somebody_watches(
    owner: Any, claimed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_hub, "LIVE_EVERY_S", 0.2)
    kettle = await claimed()
    async with watched(owner) as socket:
        found = await heard(socket, "live")
        assert (found["device"], found["power_milli_w"]) == (kettle.agent, 36_000_000)
        await owner.post(f"/api/v1/devices/{kettle.agent}/switch", on=False)
        while found["power_milli_w"]:
            found = await heard(socket, "live")
        assert found["switched_on"] is False
    await watching(owner, 0)


async def test_the_token_may_come_as_the_first_message(owner: Any) -> None:
    url = owner.url.replace("http", "ws") + "/api/v1/stream"
    async with open_websocket_url(url) as socket:
        await socket.send_message(json.dumps({"token": owner.token}))
        await watching(owner, 1)
        owner.conductor.signals.emit({"kind": "fault"})
        await heard(socket, "fault")
    for first in ("{}", "[", json.dumps({"token": "wrong"})):
        async with open_websocket_url(url) as socket:
            await socket.send_message(first)
            assert await closed(socket) == 4401


async def test_who_may_not_read_or_says_too_much_is_closed(owner: Any) -> None:
    payer = owner.make_token("p", ("pay",))
    async with watched(owner, payer) as socket:
        assert await closed(socket) == 4403
    async with watched(owner, "wrong") as socket:
        assert await closed(socket) == 4401
    async with watched(owner) as socket:
        await socket.send_message("hello")
        assert await closed(socket) == 1008


async def test_a_token_that_ends_ends_the_stream(
    owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_stream, "TOKEN_CHECKED_EVERY_S", 0.05)
    token = owner.make_token("short", ("read",), 300_000)
    async with watched(owner, token) as socket:
        assert await closed(socket) == 4401


async def test_another_sites_page_cannot_watch(owner: Any) -> None:
    ours = owner.url.encode()
    async with watched(owner, extra_headers=[(b"Origin", ours)]):
        pass
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    for origin in ("https://evil.example", "null", owner.url + "0"):
        found = await owner.http.get("/api/v1/stream", headers={**upgrade, "Origin": origin})
        assert found.status_code == 403


async def test_twenty_browsers_hear_the_same(owner: Any) -> None:
    messages = 200
    got: list[list[str]] = []

    async def browser(task_status: Any) -> None:
        async with watched(owner) as socket:
            task_status.started()
            mine = [await heard(socket, "app") for _ in range(messages)]
            got.append([each["seq"] for each in mine])

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            await nursery.start(browser)
        await watching(owner, 20)
        for number in range(messages):
            owner.conductor.signals.emit({"kind": "app", "number": number})
    assert len(got) == 20
    assert all(each == got[0] for each in got)


async def test_of_a_burst_everything_comes_or_the_gap_is_said(owner: Any) -> None:
    burst = 10_000
    async with watched(owner) as socket:
        await watching(owner, 1)
        for number in range(burst):
            owner.conductor.signals.emit({"kind": "app", "number": number})
        came = missed = 0
        with trio.fail_after(30):
            while came + missed < burst:
                found = json.loads(await socket.get_message())
                came += found["kind"] == "app"
                missed += found.get("missed", 0)
    assert came + missed == burst
    assert came >= http_hub.WAITING_MAX - 10


async def test_a_gap_stands_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_hub, "WAITING_MAX", 3)
    watcher = Watcher()
    for number in range(5):
        watcher.put(str(number))
    assert [await watcher.next() for _ in range(4)] == ["0", "1", "2", http_hub.gap(2)]
    for number in range(5, 9):
        watcher.put(str(number))
    assert await watcher.next() == "5"
    assert await watcher.next() == "6"
    watcher.put("9")
    assert [await watcher.next() for _ in range(3)] == ["7", http_hub.gap(1), "9"]


async def test_a_few_long_messages_fill_a_watchers_room_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_hub, "WAITING_CHARS_MAX", 10)
    watcher = Watcher()
    for text in ("12345", "1234", "12", "1"):
        watcher.put(text)
    came = [await watcher.next() for _ in range(4)]
    assert came == ["12345", "1234", http_hub.gap(1), "1"]
    watcher.put("x" * 10)
    assert await watcher.next() == "x" * 10


@pytest.mark.parametrize("value", ["\ud800", object()])
async def test_what_json_cannot_say_troubles_nobody_who_signals(owner: Any, value: Any) -> None:
    async with watched(owner) as socket:
        await watching(owner, 1)
        owner.conductor.signals.emit({"kind": "app", "value": value, "seq": "mine"})
        owner.conductor.signals.emit({"kind": "app", "value": 1})
        untold = await heard(socket, "untold")
        assert (await heard(socket, "app"))["seq"] == untold["seq"] + 1

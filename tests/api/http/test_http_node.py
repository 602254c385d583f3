"""REST over a real port: who may ask, what is told, what is done."""

from typing import Any

import httpx
import pytest
import trio

from ioe_node.model.hashes import to_text
from ioe_node.model.signing import Signer


async def test_who_this_node_is(owner: Any) -> None:
    found = await owner.get("/api/v1/status")
    assert (found["role"], found["name"], found["agent"]) == ("owner", "owner", owner.agent)
    (street,) = found["communities"]
    assert street["name"].startswith("street-")
    assert (street["agent"], street["members"]) == (owner.agent, 1)
    assert (await owner.get("/readyz")) == {"ok": True}


async def test_a_device_is_claimed_switched_and_bound(owner: Any, claimed: Any) -> None:
    kettle = await claimed()
    (found,) = await owner.get("/api/v1/devices")
    assert found["agent"] == kettle.agent
    assert (found["name"], found["kind"]) == ("kettle", "consumer")
    assert (found["switched_on"], found["power_milli_w"]) == (True, 36_000_000)
    assert (found["can"], found["stored_bp"]) == (["switch", "limit", "battery"], 5_000)
    place = f"/api/v1/devices/{kettle.agent}"
    assert await owner.post(f"{place}/switch", on=False) == {"on": False}
    await owner.until("/api/v1/devices", lambda each: each[0]["power_milli_w"] == 0)
    assert await owner.post(f"{place}/limit", milli_w=1_000) == {"milli_w": 1_000}
    assert kettle.conductor.poller.meter.limit_milli_w == 1_000
    # The same routes on the device's own node.
    assert await kettle.post(f"{place}/switch", on=True) == {"on": True}
    (own,) = await kettle.get("/api/v1/devices")
    assert (own["agent"], own["switched_on"]) == (kettle.agent, True)


async def test_a_device_that_is_not_ours_is_not_found(owner: Any, claimed: Any) -> None:
    stranger = to_text(Signer(bytes(32)).agent)
    for agent in (stranger, owner.agent, stranger[:-1] + "A"):
        found = await owner.post(f"/api/v1/devices/{agent}/switch", 404, on=True)
        assert found["error"] == "NotFound"


async def test_credits_are_paid_and_stated(owner: Any, neighbour: Any, paid: Any) -> None:
    made = await paid({"to": neighbour.agent, "micro_credits": 250, "memo": "bread"})
    views = await owner.get("/api/v1/members", reputation=True)
    assert {each["agent"]: each["reputation"] for each in views} == {
        owner.agent: None,
        neighbour.agent: 1,
    }
    assert {each["kind"] for each in views} == {"steward", "member"}
    wallet = await owner.get("/api/v1/wallet")
    (entry,) = wallet["entries"]
    assert (wallet["balance_micro_credits"], wallet["next"]) == (-250, None)
    assert (entry["direction"], entry["counterparty"], entry["micro_credits"]) == (
        "out",
        neighbour.agent,
        250,
    )
    assert (entry["hash"], entry["why"], entry["kind"]) == (made["hash"], "bread", "payment")
    (peer,) = await owner.get("/api/v1/peers")
    assert peer["agent"] == neighbour.agent


async def test_a_statement_is_read_page_by_page(owner: Any) -> None:
    found = await owner.get("/api/v1/wallet", limit=1, after=3)
    assert (found["entries"], found["next"]) == ([], None)


async def test_an_unknown_community_is_said(owner: Any) -> None:
    for path in ("/api/v1/wallet", "/api/v1/members", "/api/v1/peers", "/api/v1/market"):
        assert (await owner.get(path, 404, community="nowhere"))["error"] == "NotFound"


async def test_each_token_may_what_it_says_and_no_more(owner: Any) -> None:
    reader, payer = owner.make_token("r", ("read",)), owner.make_token("p", ("pay",))
    body = {"to": owner.agent, "micro_credits": 1}
    for token, path, status in (
        ("", "/api/v1/status", 401),
        ("wrong", "/api/v1/status", 401),
        (reader, "/api/v1/status", 200),
        (payer, "/api/v1/status", 403),
    ):
        async with owner.client(token) as client:
            found = await client.get(path)
        assert found.status_code == status
        assert found.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)
    async with owner.client(reader) as client:
        assert (await client.post("/api/v1/payments", json=body)).status_code == 403


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:1", 200),
        ("localhost", 200),
        ("[::1]:80", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("", 403),
    ],
)
async def test_another_sites_name_is_no_name_of_ours(owner: Any, host: str, status: int) -> None:
    found = await owner.http.get("/healthz", headers={"Host": host})
    assert found.status_code == status
    assert "default-src 'self'" in found.headers["content-security-policy"]
    assert "access-control-allow-origin" not in found.headers


async def test_what_is_not_json_or_too_much_is_refused_by_its_type(owner: Any) -> None:
    path, json = "/api/v1/payments", {"Content-Type": "application/json"}
    for content, headers, status, error in (
        (b"{", json, 400, "BadRequest"),
        (b"\xff", json, 400, "BadRequest"),
        (b"[" * 20 + b"]" * 20, json, 400, "BadRequest"),
        (b'{"to": 1}', json, 422, "Unfit"),
        (b"{}", {}, 415, "NotJson"),
        (b" " * 70_000, json, 413, "TooLarge"),
    ):
        found = await owner.http.post(path, content=content, headers=headers)
        assert (found.status_code, found.json()["error"]) == (status, error)
    assert (await owner.get("/api/v1/nothing", 404))["error"] == "NotFound"
    assert (await owner.post("/healthz", 405))["error"] == "NotAllowed"


async def test_alerts_after_a_number(owner: Any) -> None:
    for number in range(3):
        owner.conductor.alert({"kind": "fault", "text": f"no {number}"})
    found = await owner.get("/api/v1/alerts", since=1)
    assert [each["text"] for each in found] == ["no 1", "no 2"]


async def test_who_asks_too_often_waits(lane: Any) -> None:
    made = await lane.owner(api="requests_per_s = 100")
    async with made.client("wrong") as client:
        answers = [await client.get("/api/v1/status") for _ in range(40)]
    assert answers[0].status_code == 401
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) >= 1


async def test_a_body_that_never_ends_is_cut_off(
    owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ioe_node.api.http_routes.BODY_WAIT_S", 0.2)
    url = httpx.URL(owner.url)
    stream = await trio.open_tcp_stream(url.host, url.port)
    head = (
        "POST /api/v1/payments HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {owner.token}\r\nContent-Length: 50\r\n\r\n{{"
    )
    async with stream:
        await stream.send_all(head.encode())
        with trio.fail_after(5):
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 408")

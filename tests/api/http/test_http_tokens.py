"""Tokens: hashed on disk, ending when they should, gone with the file."""

from typing import Any

import pytest

from ioe_node.api import http_calls
from ioe_node.api.http_tokens import TOKENS_MAX, Tokens
from ioe_node.errors import CallError, StoreError


async def test_no_token_is_on_the_disk(owner: Any) -> None:
    made = await http_calls.api_token_create(owner.conductor, "grafana", ["read"], None)
    folder = owner.conductor.home.path
    for path in folder.rglob("*"):
        if path.is_file():
            assert made["token"].encode() not in path.read_bytes()
    assert (folder / "tokens.json").stat().st_mode & 0o777 == 0o600
    listed = await http_calls.api_token_list(owner.conductor)
    assert [(each["name"], each["may"]) for each in listed] == [
        ("all", ["admin", "control", "pay", "read"]),
        ("grafana", ["read"]),
    ]
    assert made["token"] not in str(listed)


async def test_a_token_ends_by_time_and_by_word(owner: Any) -> None:
    tokens = Tokens(owner.conductor)
    short = owner.make_token("short", ("read",), 1)
    long = owner.make_token("long", ("read",), 3_600_000_000)
    assert tokens.known(short) is None
    assert tokens.known(long) is not None
    await http_calls.api_token_revoke(owner.conductor, "long")
    assert tokens.known(long) is None
    with pytest.raises(CallError):
        await http_calls.api_token_revoke(owner.conductor, "long")
    async with owner.client(long) as client:
        assert (await client.get("/api/v1/status")).status_code == 401


async def test_what_is_no_name_no_scope_or_too_many_is_refused(owner: Any) -> None:
    for name, may, for_us in (
        ("", ["read"], None),
        ("x" * 49, ["read"], None),
        ("all", ["read"], None),
        ("x", [], None),
        ("x", ["everything"], None),
        ("x", ["read"], 0),
        ("x", ["read"], True),
    ):
        with pytest.raises(CallError):
            await http_calls.api_token_create(owner.conductor, name, may, for_us)
    for number in range(TOKENS_MAX - 1):
        owner.make_token(f"t{number}", ("read",))
    with pytest.raises(CallError, match="revoke one"):
        owner.make_token("one more", ("read",))


async def test_tokens_go_with_their_file_and_a_damaged_one_opens_nothing(owner: Any) -> None:
    path = owner.conductor.home.path / "tokens.json"
    path.write_bytes(b"{")
    with pytest.raises(StoreError):
        Tokens(owner.conductor).known(owner.token)
    assert (await owner.get("/api/v1/status", 503))["error"] == "StoreError"
    path.unlink()
    await owner.get("/api/v1/status", 401)


async def test_the_page_opens_with_a_fresh_token_and_old_ones_give_way(owner: Any) -> None:
    opened = [
        await http_calls.api_page(owner.conductor) for _ in range(http_calls.PAGE_TOKENS_MAX + 3)
    ]
    base, _, token = opened[-1]["url"].partition("/#token=")
    assert base == owner.url
    tokens = Tokens(owner.conductor)
    assert tokens.known(token) is not None
    known = [tokens.known(each["token"]) is not None for each in opened]
    assert known == [False] * 3 + [True] * http_calls.PAGE_TOKENS_MAX

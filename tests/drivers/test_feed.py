import json
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from ioe_node.drivers import feed_csv, feed_http
from ioe_node.drivers.feed import Period, PriceFeed, Row, level_of, periods_of, price_micro
from ioe_node.drivers.feed_csv import CsvFeed
from ioe_node.drivers.feed_http import HttpFeed, HttpOptions
from ioe_node.drivers.http_fetch import BODY_BYTES_MAX
from ioe_node.errors import ConfigError, LocalError, TransportError

HOUR_US = 3_600_000_000
DAY_US = 1_767_225_600_000_000  # 2026-01-01
OPTIONS = HttpOptions(url="http://a")


# --- pure --------------------------------------------------------------------------------------


def test_prices_are_rounded_down_and_bounded() -> None:
    assert price_micro(Decimal("0.2345678")) == 234_567
    assert price_micro(Decimal("-0.0000001")) == -1
    assert price_micro(Decimal("46.15"), "MWh") == 46_150
    for each in ("NaN", "sNaN", "Infinity", "1e7", "-1e400"):
        with pytest.raises(LocalError, match="price"):
            price_micro(Decimal(each))


@pytest.mark.parametrize("number", ["-1", "4", "1.5", "NaN", "sNaN", "1e400"])
def test_levels_are_few(number: str) -> None:
    with pytest.raises(LocalError, match="levels go from 0 to 3"):
        level_of(Decimal(number))


def row(start: int, end: int | None = None, price: str = "1") -> Row:
    return Row(start, end, Decimal(price), None)


def test_rows_without_an_end_follow_on_each_other() -> None:
    periods = periods_of([row(20), row(0), row(10)], "s", "EUR")
    assert [(each.start_us, each.end_us) for each in periods] == [(0, 10), (10, 20), (20, 30)]
    assert periods[0] == Period(0, 10, "s", 1_000_000, "EUR")


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        ([row(0)], "only period"),
        ([row(5, 5)], "no length"),
        ([row(0, 10), row(5, 15)], "two of its periods"),
        ([row(0), row(0)], "no length"),
    ],
)
def test_tables_that_contradict_themselves(rows: list[Row], word: str) -> None:
    with pytest.raises(LocalError, match=word):
        periods_of(rows, "s", "")


@given(st.binary() | st.text().map(str.encode), st.booleans())
def test_any_file_is_read_or_refused(data: bytes, headed: bool) -> None:
    with suppress(LocalError):
        list(feed_csv.decode_rows(b"start,end,price,level\n" * headed + data))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: (
        st.lists(children)
        | st.dictionaries(st.sampled_from(["start", "end", "price", "level"]), children)
    ),
)


@given(JSON)
def test_any_answer_is_read_or_refused(value: object) -> None:
    for body in (json.dumps(value).encode(), json.dumps([value]).encode()):
        with suppress(LocalError):
            periods_of(feed_http.decode_rows(body, OPTIONS), "s", "")


# --- files -------------------------------------------------------------------------------------


async def test_a_tariff_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "tariff.csv"
    feed = CsvFeed.from_options({"path": str(path), "currency": "AUD"})
    assert isinstance(feed, PriceFeed)
    with pytest.raises(TransportError, match="No such file"):
        await feed.periods()
    path.write_text(
        "\ufeffstart,price,level,comment\n2026-01-01T00:00Z,0.30,,night\n"
        "2026-01-01T11:00+10:00,,2,\n2026-01-01T02:00,-0.05,0,\n",
        "utf-8",
    )
    name = "tariff.csv"
    assert await feed.periods() == (
        Period(DAY_US, DAY_US + HOUR_US, name, 300_000, "AUD"),
        Period(DAY_US + HOUR_US, DAY_US + 2 * HOUR_US, name, None, "AUD", 2),
        Period(DAY_US + 2 * HOUR_US, DAY_US + 3 * HOUR_US, name, -50_000, "AUD", 0),
    )


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "first line"),
        ("start,end\n", "first line"),
        ("start,price\nnow,1\n", "line 2: 'now' is no time"),
        ("start,price\n2026-01-01,cheap\n", "line 2: 'cheap' is no number"),
        ('start,price\n"2026', "no CSV"),
        ("start,price\n" + "2026-01-01T00:00,1\n" * 60_000, "bytes"),
    ],
)
async def test_files_that_are_no_tariff(tmp_path: Path, text: str, word: str) -> None:
    path = tmp_path / "tariff.csv"
    path.write_text(text, "utf-8")
    with pytest.raises(LocalError, match=word):
        await CsvFeed.from_options({"path": str(path)}).periods()


# --- web services ------------------------------------------------------------------------------


async def service(nursery: trio.Nursery, answer: bytes, seen: Callable[[bytes], None]) -> str:
    async def talk(stream: trio.SocketStream) -> None:
        seen(bytes(await stream.receive_some(65536)))
        with suppress(trio.BrokenResourceError):
            await stream.send_all(answer)

    serve = partial(trio.serve_tcp, talk, 0, host="127.0.0.1")
    (listener,) = await nursery.start(serve)
    return f"http://127.0.0.1:{listener.socket.getsockname()[1]}/prices"


def response(body: bytes, status: int = 200) -> bytes:
    return f"HTTP/1.1 {status} S\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def test_a_spot_price_service(nursery: trio.Nursery, tmp_path: Path) -> None:
    rows = [
        {"start_timestamp": 1_767_225_600_000 + hour * 3_600_000, "marketprice": price}
        for hour, price in enumerate((46.15, -3.5))
    ]
    requests: list[bytes] = []
    body = json.dumps({"object": {"data": rows}}).encode()
    url = await service(nursery, response(body), requests.append)
    secret = tmp_path / "token"
    secret.write_text("s3cret\n")
    feed = HttpFeed.from_options(
        {
            "url": url,
            "list": "object.data",
            "start": "start_timestamp",
            "price": "marketprice",
            "per": "MWh",
            "currency": "EUR",
            "token_file": str(secret),
        }
    )
    assert isinstance(feed, PriceFeed)
    assert await feed.periods() == (
        Period(DAY_US, DAY_US + HOUR_US, url, 46_150, "EUR"),
        Period(DAY_US + HOUR_US, DAY_US + 2 * HOUR_US, url, -3_500, "EUR"),
    )
    assert b"Authorization: Bearer s3cret\r\n" in requests[0]


@pytest.mark.parametrize(
    ("answer", "family", "word"),
    [
        (b"", TransportError, "http feed"),
        (b"\xff" * 100, TransportError, "http feed"),
        (response(b"", 503), TransportError, "HTTP 503"),
        (response(b"", 429), TransportError, "HTTP 429"),
        (response(b"", 404), LocalError, "HTTP 404: check `url`"),
        (response(b"x" * (BODY_BYTES_MAX + 1)), LocalError, "bytes"),
        (response(b"[" * 100_000), LocalError, "JSON"),
        (response(b'[{"start": 1, "price": NaN}]'), LocalError, "JSON"),
        (response(b"{}"), LocalError, "`list`"),
        (response(b"[1]"), LocalError, "no objects"),
        (response(b'[{"start": 1}]'), LocalError, "lacks a field"),
        (response(b'[{"start": true, "price": 1}]'), LocalError, "times"),
        (response(b'[{"start": 1e3, "price": 1}]'), LocalError, "times"),
        (response(b'[{"start": 1, "price": []}]'), LocalError, "numbers"),
    ],
)
async def test_services_that_misbehave(
    nursery: trio.Nursery, answer: bytes, family: type[Exception], word: str
) -> None:
    url = await service(nursery, answer, lambda _: None)
    with pytest.raises(family, match=word):
        await HttpFeed.from_options({"url": url}).periods()


async def test_a_service_that_is_away() -> None:
    with pytest.raises(TransportError, match="http feed"):
        await HttpFeed.from_options({"url": "http://127.0.0.1:1"}).periods()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({}, "url"),
        ({"url": "ftp://a"}, "url"),
        ({"url": "http://a", "per": "GWh"}, "per"),
        ({"url": "http://a", "token_file": "/nowhere"}, "token_file"),
    ],
)
def test_options(options: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        HttpFeed.from_options(options)

"""What a node makes of the votes and gates that it is shown, and the price that it tells."""

from types import SimpleNamespace
from typing import Any

import pytest
import trio

from currency.market.match import Match
from dna.neighbourhood import DNA
from ioe_node.hdi import Timestamp, external_hash
from ioe_node.hdk import Busy, LinkFound
from zomes.market import coordinator
from zomes.market.integrity import GATES, TALLIES, Gate, Tally

LENGTH_US: int = DNA.properties.interval_us
START = 100 * LENGTH_US
ALICE, BOB, CAROL, DAVE, MALLORY = (bytes([number]) * 8 for number in range(1, 6))
AUTHORITIES = (ALICE, BOB, CAROL, MALLORY)


class Shown:
    """A host that is shown whatever links an authority likes."""

    properties = DNA.properties

    def __init__(self) -> None:
        self.records: dict[bytes, Any] = {}
        self.links: dict[str, list[LinkFound]] = {TALLIES: [], GATES: []}

    def show(self, author: bytes, kind: str, entry: Any, by: bytes | None = None) -> bytes:
        target = external_hash(repr((author, entry)).encode())
        action = SimpleNamespace(author=author)
        self.records[target] = SimpleNamespace(hash=target, action=action, entry=entry)
        name = len(self.links[kind]).to_bytes(4, "big")
        self.links[kind].append(LinkFound(name, by or author, target, b""))  # type: ignore[arg-type]
        return target

    def now_us(self) -> int:
        return START + LENGTH_US * 2

    def agent_info(self) -> Any:
        return SimpleNamespace(agent=ALICE)

    async def authorities(self, basis: bytes) -> tuple[bytes, ...]:
        return AUTHORITIES

    async def get_links(self, base: bytes, link_type: str) -> list[LinkFound]:
        return self.links[link_type]

    async def get_judged(self, action: bytes) -> Any:
        if action not in self.records:
            raise Busy("not judged here")
        return self.records[action]

    async def query(self, *_: Any, **__: Any) -> list[Any]:
        return []


@pytest.fixture
def host() -> Any:
    return Shown()


def tally(start: int = START, round_: int = 1, *orders: bytes) -> Tally:
    return Tally(Timestamp(start), round_, orders)  # type: ignore[arg-type]


def test_each_authority_votes_once_a_round_whatever_it_shows(host: Any) -> None:
    """Again, another in the same round, of another interval, of another's, and what is none."""
    true = [host.show(author, TALLIES, tally()) for author in (ALICE, BOB)]
    first = host.show(MALLORY, TALLIES, tally())
    host.show(MALLORY, TALLIES, tally())
    host.show(MALLORY, TALLIES, tally(START, 1, b"left out"))
    host.show(DAVE, TALLIES, tally(), by=CAROL)
    host.show(CAROL, TALLIES, tally(START - LENGTH_US))
    host.show(CAROL, TALLIES, SimpleNamespace())
    votes = trio.run(coordinator._votes, host, START, AUTHORITIES)
    assert sorted(each.hash for each in votes) == sorted([*true, first])


def test_a_gate_counts_for_no_other_interval_than_its_own(host: Any) -> None:
    """Its votes are true; who answers for this interval shows it for this one."""
    before = START - LENGTH_US
    votes = tuple(host.show(author, TALLIES, tally(before)) for author in AUTHORITIES)
    host.show(ALICE, GATES, Gate(Timestamp(before), (), (), votes), by=MALLORY)
    host.show(ALICE, GATES, SimpleNamespace(), by=MALLORY)
    assert trio.run(coordinator._gate_of, host, START, AUTHORITIES) is None
    assert trio.run(coordinator._gate_of, host, before, AUTHORITIES) is not None


def test_nobody_hides_the_gate_behind_others_of_its_own(host: Any) -> None:
    """An authority shows as many as are read, which nobody can judge."""
    for number in range(coordinator.GATES_READ_MAX):
        del host.records[host.show(MALLORY, GATES, number)]
    votes = tuple(host.show(author, TALLIES, tally()) for author in AUTHORITIES)
    gate = host.show(ALICE, GATES, Gate(Timestamp(START), (), (), votes))
    found = trio.run(coordinator._gate_of, host, START, AUTHORITIES)
    assert found is not None
    assert found.hash == gate


def test_an_interval_that_waits_for_ever_holds_up_no_other(
    host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs_us = START + 2 * LENGTH_US

    async def voted(_: Any, start: int) -> bytes | None:
        return b"a vote" if start == runs_us else None

    async def waits(*_: Any) -> bool:
        raise Busy("not every order of that gate is here yet")

    monkeypatch.setattr(coordinator, "tally", voted)
    monkeypatch.setattr(coordinator, "_gate_of", waits)
    host.show(ALICE, TALLIES, tally(runs_us - LENGTH_US, 1, b"an order"))
    host.show(BOB, TALLIES, tally(runs_us - LENGTH_US, 1, b"an order"))
    host.show(CAROL, TALLIES, tally(runs_us - LENGTH_US, 1, b"an order"))
    assert trio.run(coordinator.keep, host) == {"tallied": 1, "gated": 0}


def match(buyer: bytes, energy: int, price: int) -> Match:
    return Match(b"bid", b"ask", buyer, DAVE, energy, price)  # type: ignore[arg-type]


def test_two_who_trade_with_each_other_do_not_make_the_price() -> None:
    honest = [match(ALICE, 100, 200_000), match(BOB, 300, 200_001), match(ALICE, 100, 200_003)]
    washed = [match(MALLORY, 25_000_000, 1_000_000_000) for _ in range(8)]
    assert coordinator._price_micro([]) is None
    assert coordinator._price_micro([match(ALICE, 1, 7), match(BOB, 9, 9)]) == 7
    assert coordinator._price_micro([*honest, *washed]) == 200_001
    assert coordinator._price_micro([*honest]) == 200_001

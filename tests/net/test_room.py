"""Room: strangers go before members, whoever is at work stays, links are not opened at will."""

from hypothesis import given
from hypothesis import strategies as st

from ioe_node.model.signing import Signer
from ioe_node.net.room import (
    BUSY_S,
    OPENERS_MAX,
    OPENINGS_BURST,
    STRANGER_S,
    Openings,
    Place,
    places_kept_free,
    to_close,
)

PEER = Signer(b"a" * 32).agent
times = st.floats(0, 1_000)
lots = st.lists(st.tuples(times, st.none() | times), max_size=60)


@given(lots, st.integers(8, 40))
def test_no_more_go_than_are_too_many_and_nobody_at_work(
    seen: list[tuple[float, float | None]], most: int
) -> None:
    places = [Place(number, *each) for number, each in enumerate(seen)]
    gone = to_close(places, most)
    assert len(gone) <= max(0, len(places) - (most - places_kept_free(most)))
    for number in gone:
        one = places[number]
        if one.silent_s is None:
            assert one.open_s > STRANGER_S
        else:
            assert one.silent_s > BUSY_S


def test_strangers_go_first_the_oldest_of_them_then_who_was_silent_longest() -> None:
    places = [
        Place(0, 900, 61),
        Place(1, 900, 800),
        Place(2, 11, None),
        Place(3, 500, None),
        Place(4, 900, 1),
        Place(5, 1, None),
        *(Place(number, 900, 0) for number in range(6, 11)),
    ]
    assert to_close(places, 8) == [3, 2, 1, 0]
    assert to_close(places, 11) == [3]
    assert to_close(places, 12) == []


def test_a_peer_opens_links_in_a_burst_and_then_one_a_second() -> None:
    openings = Openings()
    opened = [openings.allow(PEER, 1_000_000) for _ in range(3 * OPENINGS_BURST)]
    assert sum(opened) == OPENINGS_BURST
    assert not openings.allow(PEER, 1_000_001)
    assert openings.allow(PEER, 2_100_000)


def test_openers_are_forgotten_beyond_a_limit() -> None:
    openings = Openings()
    for number in range(OPENERS_MAX + 10):
        assert openings.allow(Signer(number.to_bytes(32, "big")).agent, 0)
    assert len(openings._buckets) == OPENERS_MAX

"""Hidden cards: their owner opens them; to all others they are random bytes of one length."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discovery.announcement import ADDRESSES_MAX, ANNOUNCEMENT_BYTES_MAX, Announcement, Kind, seal
from discovery.hidden import (
    HIDDEN_BYTES,
    KEY_BYTES,
    NONCE_BYTES,
    hide,
    is_hidden,
    open_card,
    unhide,
)
from ioe_node.errors import Malformed
from ioe_node.model.signing import Signer

NOW_US = 1_700_000_000_000_000
KEY, OTHER = b"k" * KEY_BYTES, b"o" * KEY_BYTES
NONCE = bytes(range(NONCE_BYTES))


def card(name: str = "plug", kind: Kind = "consumer", addresses: int = 1) -> Announcement:
    return seal(
        Signer(b"d" * 32),
        kind=kind,
        state="owned",
        name=name,
        addresses=tuple(f"/ip4/192.0.2.7/tcp/{4001 + place}" for place in range(addresses)),
        now_us=NOW_US,
    )


def test_who_has_the_key_opens_it_among_many() -> None:
    mine = card()
    hidden = hide(mine.encoded(), KEY, NONCE)
    keys = [Random(place).randbytes(KEY_BYTES) for place in range(100)]
    assert open_card(hidden, keys, NOW_US) is None
    assert open_card(hidden, [*keys, KEY], NOW_US) == mine
    assert open_card(mine.encoded(), keys, NOW_US) == mine, "an open one needs no key"


def test_a_card_inside_is_judged_as_any_other() -> None:
    hidden = hide(card().encoded(), KEY, NONCE)
    with pytest.raises(Malformed, match="expired"):
        open_card(hidden, [KEY], card().expires_us)
    for inside in (b"", b"junk", b"\xff" * ANNOUNCEMENT_BYTES_MAX):
        with pytest.raises(Malformed):
            open_card(hide(inside, KEY, NONCE), [KEY], NOW_US)


def test_all_are_of_one_length_and_share_nothing() -> None:
    rng = Random(1)
    cards = [card(), card("x" * 48, "storage", ADDRESSES_MAX), card(), card()]
    hidden = [hide(each.encoded(), KEY, rng.randbytes(NONCE_BYTES)) for each in cards]
    assert {len(each) for each in hidden} == {HIDDEN_BYTES}
    grams = [{each[at : at + 4] for at in range(len(each) - 3)} for each in hidden]
    assert not set.intersection(*grams[:2])
    assert not set.intersection(*grams[2:])


@given(st.integers(0, HIDDEN_BYTES * 8 - 1))
def test_one_changed_bit_and_it_does_not_open(bit: int) -> None:
    changed = bytearray(hide(card().encoded(), KEY, NONCE))
    changed[bit // 8] ^= 1 << bit % 8
    assert unhide(bytes(changed), [KEY]) is None


def test_a_box_under_another_nonce_does_not_open() -> None:
    """What was overheard proves nothing in another card, nor do two cards share a box."""
    one = hide(card().encoded(), KEY, NONCE)
    two = hide(card().encoded(), KEY, bytes(NONCE_BYTES))
    assert unhide(two[: NONCE_BYTES + 16] + one[NONCE_BYTES + 16 :], [KEY]) is None
    assert unhide(one, [OTHER]) is None


@given(st.binary(max_size=HIDDEN_BYTES + 8))
def test_what_is_neither_is_malformed(data: bytes) -> None:
    if is_hidden(data):
        assert open_card(data, [KEY], NOW_US) is None
    else:
        with pytest.raises(Malformed):
            open_card(data, [KEY], NOW_US)

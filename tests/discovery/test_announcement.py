"""Announcements: what is sealed opens, anything else is `Malformed`; `Nearby` is bounded."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from discovery import announcement as subject
from discovery.announcement import (
    ADDRESS_CHARS_MAX,
    ADDRESSES_MAX,
    ANNOUNCEMENT_BYTES_MAX,
    CLOCK_SKEW_US_MAX,
    LIFE_US,
    LIFE_US_MAX,
    Announcement,
    Nearby,
    open_announcement,
    seal,
)
from ioe_node.errors import LocalError, Malformed
from ioe_node.model.hashes import AgentPubKey
from ioe_node.model.signing import Signer

NOW_US = 1_700_000_000_000_000
SIGNER = Signer(b"s" * 32)
ADDRESSES = ("/ip4/127.0.0.1/tcp/4001", "/dns4/plug.local/tcp/4001")


def card(signer: Signer = SIGNER, now_us: int = NOW_US, name: str = "plug") -> Announcement:
    return seal(
        signer, kind="consumer", state="unowned", name=name, addresses=ADDRESSES, now_us=now_us
    )


def resigned(changed: Announcement) -> bytes:
    """`changed`, honestly signed: only its contents are at fault."""
    return replace(changed, signature=SIGNER.sign(changed._signed_bytes())).encoded()


names = st.text(min_size=1, max_size=20).filter(str.isprintable)
kinds = st.sampled_from(["consumer", "generator", "storage", "monitor", "owner"])
states = st.sampled_from(["unowned", "owned"])
addresses = st.lists(
    st.from_regex(r"/ip4/[0-9]{1,3}/tcp/[0-9]{1,5}", fullmatch=True), min_size=1, max_size=8
).map(lambda texts: tuple(text for text in texts if text.isascii()) or ADDRESSES)


@given(names, kinds, states, addresses, st.integers(1, LIFE_US_MAX), st.data())
def test_what_is_sealed_opens(
    name: str,
    kind: subject.Kind,
    state: subject.State,
    where: tuple[str, ...],
    life_us: int,
    data: st.DataObject,
) -> None:
    sealed = seal(
        SIGNER,
        kind=kind,
        state=state,
        name=name,
        addresses=where,
        now_us=NOW_US,
        life_us=life_us,
    )
    when_us = NOW_US + data.draw(st.integers(0, life_us - 1))
    assert open_announcement(sealed.encoded(), when_us) == sealed


@given(st.data())
def test_any_flipped_bit_is_malformed(data: st.DataObject) -> None:
    flipped = bytearray(card().encoded())
    bit = data.draw(st.integers(0, len(flipped) * 8 - 1))
    flipped[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Malformed):
        open_announcement(bytes(flipped), NOW_US)


@given(st.binary(max_size=ANNOUNCEMENT_BYTES_MAX + 10))
def test_any_bytes_are_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        open_announcement(data, NOW_US)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=9)
    | st.binary(max_size=70),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)  # fmt: skip


@given(st.lists(values, max_size=10))
def test_any_msgpack_array_is_malformed(fields: list[object]) -> None:
    with pytest.raises(Malformed):
        open_announcement(msgspec.msgpack.encode(fields), NOW_US)


@given(st.integers(0, 7), values)
def test_any_field_changed_under_an_honest_card_is_malformed(place: int, value: object) -> None:
    fields = msgspec.msgpack.decode(card().encoded())
    if fields[place] == value:
        return
    fields[place] = value
    with pytest.raises(Malformed):
        open_announcement(msgspec.msgpack.encode(fields), NOW_US)


def test_not_canonical_is_malformed() -> None:
    whole = card().encoded()
    assert whole[0] == 0x98, "an array of eight"
    with pytest.raises(Malformed, match="canonical"):
        open_announcement(b"\xdc\x00\x08" + whole[1:], NOW_US)
    with pytest.raises(Malformed):
        open_announcement(whole + b"\x00", NOW_US)


def test_forged_is_malformed() -> None:
    other = Signer(b"o" * 32)
    forged = replace(card(), signature=other.sign(card()._signed_bytes()))
    with pytest.raises(Malformed, match="signature"):
        open_announcement(forged.encoded(), NOW_US)
    stolen = replace(card(), agent=other.agent)
    with pytest.raises(Malformed, match="signature"):
        open_announcement(stolen.encoded(), NOW_US)
    with pytest.raises(Malformed, match="location"):
        open_announcement(
            resigned(replace(card(), agent=AgentPubKey(SIGNER.agent[:35] + b"\0\0\0\0"))), NOW_US
        )


def test_expired_future_and_long_lived_are_malformed() -> None:
    with pytest.raises(Malformed, match="expired"):
        open_announcement(card().encoded(), NOW_US + LIFE_US)
    open_announcement(card().encoded(), NOW_US - CLOCK_SKEW_US_MAX)
    with pytest.raises(Malformed, match="future"):
        open_announcement(card().encoded(), NOW_US - CLOCK_SKEW_US_MAX - 1)
    with pytest.raises(Malformed, match="live"):
        open_announcement(
            resigned(replace(card(), expires_us=NOW_US + LIFE_US_MAX + 1)), NOW_US
        )  # fmt: skip
    with pytest.raises(Malformed, match="live"):
        open_announcement(resigned(replace(card(), expires_us=NOW_US)), NOW_US)


BAD_ADDRESSES = [
    (),
    ADDRESSES * ADDRESSES_MAX,
    ("127.0.0.1:4001",),
    ("/ip4",),
    ("/ip4/127.0.0.1/tcp/4001 ",),
    ("/ip4//tcp/1",),
    ("/dns4/\x1b[2J/tcp/1",),
    ("/dns4/" + "a" * ADDRESS_CHARS_MAX,),
]


@pytest.mark.parametrize("bad", BAD_ADDRESSES)
def test_bad_addresses_are_refused_both_ways(bad: tuple[str, ...]) -> None:
    with pytest.raises(LocalError, match="address"):
        seal(SIGNER, kind="owner", state="owned", name="x", addresses=bad, now_us=NOW_US)
    with pytest.raises(Malformed):
        open_announcement(resigned(replace(card(), addresses=bad)), NOW_US)


@pytest.mark.parametrize("bad", ["", "x" * 49, "plug\n", "\x1b[31mred", "a\u202eb", "\ud800"])
def test_bad_names_are_refused_both_ways(bad: str) -> None:
    with pytest.raises(LocalError, match="name"):
        card(name=bad)
    if bad != "\ud800":
        with pytest.raises(Malformed, match="name"):
            open_announcement(resigned(replace(card(), name=bad)), NOW_US)


def test_oversize_is_refused_both_ways() -> None:
    long = tuple(f"/dns4/{'a' * 110}{place}/tcp/1" for place in range(ADDRESSES_MAX))
    with pytest.raises(LocalError, match="over"):
        seal(SIGNER, kind="owner", state="owned", name="x" * 48, addresses=long, now_us=NOW_US)
    with pytest.raises(Malformed, match="over"):
        open_announcement(bytes(ANNOUNCEMENT_BYTES_MAX + 1), NOW_US)


def test_nearby_keeps_the_newest_of_each_agent() -> None:
    nearby = Nearby()
    old, new = card(name="old"), card(now_us=NOW_US + 1, name="new")
    assert nearby.hear(old, NOW_US) == "new"
    assert nearby.hear(new, NOW_US) == "newer"
    assert nearby.hear(new, NOW_US) == "known"
    assert nearby.hear(old, NOW_US) == "known"
    assert nearby.cards(NOW_US) == (new,)
    assert nearby.get(SIGNER.agent, NOW_US) == new


def test_nearby_tells_who_is_gone() -> None:
    """I-026: the manager is alerted when a device is removed."""
    nearby = Nearby()
    first, second = card(), card(Signer(b"2" * 32), NOW_US + 5)
    nearby.hear(first, NOW_US)
    nearby.hear(second, NOW_US)
    assert nearby.expired(NOW_US + LIFE_US - 1) == ()
    assert nearby.get(first.agent, NOW_US + LIFE_US) is None
    assert nearby.cards(NOW_US + LIFE_US) == (second,)
    assert nearby.expired(NOW_US + LIFE_US) == (first,)
    assert nearby.forget(first.agent) == first
    assert nearby.forget(second.agent) == second
    assert nearby.forget(second.agent) is None
    assert len(nearby) == 0
    assert nearby.hear(first, first.expires_us) == "known", "an expired card is not kept"
    assert len(nearby) == 0


def test_nearby_is_bounded_and_a_flood_pushes_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "NEARBY_PEERS_MAX", 3)
    nearby = Nearby()
    cards = [card(Signer(bytes([place]) * 32), NOW_US + place) for place in range(5)]
    assert [nearby.hear(each, NOW_US) for each in cards] == ["new"] * 3 + ["full"] * 2
    assert nearby.cards(NOW_US) == tuple(sorted(cards[:3], key=lambda each: each.agent))
    for gone in nearby.expired(cards[0].expires_us):
        nearby.forget(gone.agent)
    assert nearby.hear(cards[4], cards[0].expires_us) == "new"


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2 * LIFE_US)), max_size=30))
def test_nearby_ends_alike_in_any_order(heard: list[tuple[int, int]]) -> None:
    # One signing a card is enough: `Nearby` takes opened cards and checks no signatures.
    signers = [Signer(bytes([place]) * 32) for place in range(4)]
    cards = [
        replace(card(signers[who]), issued_us=NOW_US + at, expires_us=NOW_US + at + LIFE_US)
        for who, at in heard
    ]
    forward, backward = Nearby(), Nearby()
    for each in cards:
        forward.hear(each, NOW_US)
    for each in reversed(cards):
        backward.hear(each, NOW_US)
    assert forward.cards(NOW_US) == backward.cards(NOW_US)
    newest = {
        each.agent: max(c.issued_us for c in cards if c.agent == each.agent) for each in cards
    }
    assert {each.agent: each.issued_us for each in forward.cards(NOW_US)} == newest

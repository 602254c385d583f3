"""The policy file: read, signed, opened, replaced by newer ones only, and what it comes to."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioe_node.conductor.policy import (
    DEVICES_MAX,
    FACTORY,
    POLICY_CHARS_MAX,
    TEMPLATE,
    VERSION_MAX,
    Automatic,
    Calls,
    Deals,
    PolicyError,
    Rules,
    StalePolicy,
    newer_policy,
    open_policy,
    parse_policy,
    runs_by_itself,
    seal_policy,
    why_no_call,
    why_no_deal,
)
from ioe_node.errors import Malformed
from ioe_node.model.hashes import to_text
from ioe_node.model.signing import Signer

OWNER, NEXT, OTHER = Signer(b"o" * 32), Signer(b"n" * 32), Signer(b"x" * 32)
ROOF = Signer(b"d" * 32).agent
FULL = f"""
version = 4
visibility = "private"
[automatic]
sell = false
[deals]
with = "portfolio"
never = ["{to_text(OTHER.agent)}"]
[calls]
by = "owner"
closed = ["metering"]
[device.cellar]
visibility = "public"
[device.cellar.automatic]
sell = true
buy = false
[device.{to_text(ROOF)}.deals]
with = "members"
"""


def test_a_file_is_read_table_by_table() -> None:
    policy = parse_policy(FULL)
    assert policy.version == 4
    assert policy.rules == Rules(
        "private",
        Automatic(sell=False),
        Deals("portfolio", (to_text(OTHER.agent),)),
        Calls("owner", ("metering",)),
    )
    cellar = policy.rules_of("cellar", OWNER.agent)
    assert cellar.visibility == "public"
    assert cellar.automatic == Automatic(sell=True, buy=False)
    assert cellar.deals == policy.rules.deals
    by_key = policy.rules_of("cellar", ROOF)
    assert by_key.deals.whom == "members"
    assert by_key.deals.never == policy.rules.deals.never
    assert policy.rules_of("attic", OWNER.agent) == policy.rules


def test_the_file_to_begin_with_allows_what_a_device_does_without_one() -> None:
    policy = parse_policy(TEMPLATE)
    assert (policy.version, policy.rules, policy.devices) == (1, Rules(), {})


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "int"),
        ("version = 0", ">= 1"),
        ("version = 1.5", "int"),
        ("version = true", "int"),
        ("version = 1\nsell = true", "sell"),
        ("version = 1\n[automatic]\nsel = true", "sel"),
        ("version = 1\n[automatic]\nsell = 'yes'", "$.automatic.sell"),
        ("version = 1\n[deals]\nwith = 'friends'", "friends"),
        ("version = 1\n[deals]\nnever = ['bob']", "deals.never: 'bob' is no agent key"),
        ("version = 1\n[device.roof]\nsell = true", "sell"),
        ("version = 1\ndevice = 3", "object"),
        ("version = 1\n[device]\nroof = 3", "object"),
        ("version = ", "Invalid value"),
        ("version = 1\n#" + "x" * POLICY_CHARS_MAX, "at most"),
        ("version = 1\nx = " + "[" * 5_000, "no policy"),
        ("version = 1\n" + "".join(f"[device.d{n}]\n" for n in range(DEVICES_MAX + 1)), "names"),
    ],
)
def test_what_is_no_policy_is_named(text: str, named: str) -> None:
    with pytest.raises(PolicyError) as refused:
        parse_policy(text)
    assert named in str(refused.value)
    with pytest.raises(PolicyError):
        seal_policy(OWNER, text)


@given(st.text(max_size=200))
def test_any_text_is_a_policy_or_an_error(text: str) -> None:
    with suppress(PolicyError):
        parse_policy("version = 1\n" + text)


def test_only_the_owners_own_words_open() -> None:
    sealed = seal_policy(OWNER, FULL)
    assert open_policy(sealed, OWNER.agent) == (parse_policy(FULL), FULL)
    with pytest.raises(Malformed, match="not the owner"):
        open_policy(sealed, NEXT.agent)
    for at in range(0, len(sealed), 7):
        changed = bytearray(sealed)
        changed[at] ^= 1
        with pytest.raises(Malformed):
            open_policy(bytes(changed), OWNER.agent)


def test_an_older_one_never_replaces_a_newer_one() -> None:
    def of(version: int, signer: Signer = OWNER, more: str = "") -> bytes:
        return seal_policy(signer, f"version = {version}\n{more}")

    held = of(3)
    assert newer_policy(of(1), b"", OWNER.agent).version == 1
    assert newer_policy(of(4), held, OWNER.agent).version == 4
    assert newer_policy(held, held, OWNER.agent).version == 3
    for stale in (of(2), of(3, more="visibility = 'private'")):
        with pytest.raises(StalePolicy, match="give it version 4 or higher"):
            newer_policy(stale, held, OWNER.agent)
    with pytest.raises(Malformed):
        newer_policy(of(9, OTHER), held, OWNER.agent)
    # The owner's key has changed: who stole the one before could have counted to the end.
    counted = of(VERSION_MAX)
    assert newer_policy(of(2, NEXT), counted, NEXT.agent).version == 2
    with pytest.raises(Malformed):
        newer_policy(counted, of(2, NEXT), NEXT.agent)


@pytest.mark.parametrize(
    ("by", "allowed"),
    [("owner", ["owner"]), ("portfolio", ["owner", "portfolio"]),
     ("members", ["owner", "portfolio", "members"])],
)  # fmt: skip
def test_who_may_call(by: str, allowed: list[str]) -> None:
    rules = Rules(calls=Calls(by, ("metering", "currency.pay")))  # type: ignore[arg-type]
    for circle in ("owner", "portfolio", "members"):
        why = why_no_call(rules, circle, "currency", "balance")  # type: ignore[arg-type]
        assert (why == "") is (circle in allowed), why
        for zome, function in (("metering", "history"), ("currency", "pay")):
            why = why_no_call(rules, circle, zome, function)  # type: ignore[arg-type]
            assert (why == "") is (circle == "owner")


@pytest.mark.parametrize(
    ("whom", "dealt"),
    [("nobody", []), ("portfolio", ["owner", "portfolio"]),
     ("members", ["owner", "portfolio", "members"])],
)  # fmt: skip
def test_with_whom_is_dealt(whom: str, dealt: list[str]) -> None:
    rules = Rules(deals=Deals(whom, (to_text(OTHER.agent),)))  # type: ignore[arg-type]
    for circle in ("owner", "portfolio", "members"):
        for by_us in (True, False):
            why = why_no_deal(rules, circle, NEXT.agent, "currency.sale", by_us)  # type: ignore[arg-type]
            assert (why == "") is (circle in dealt), why
            assert why_no_deal(rules, circle, OTHER.agent, "currency.sale", by_us)  # type: ignore[arg-type]


def test_what_is_automatic() -> None:
    sells = Rules(automatic=Automatic(buy=False, other=False))
    assert runs_by_itself(sells, "currency", "sell")
    assert not runs_by_itself(sells, "metering", "anything")
    assert not why_no_deal(sells, "members", NEXT.agent, "currency.sale", True)
    assert "does not buy" in why_no_deal(sells, "members", NEXT.agent, "currency.sale", False)
    assert not why_no_deal(sells, "members", NEXT.agent, "currency.transfer", False)
    buys = Rules(automatic=Automatic(sell=False))
    assert not runs_by_itself(buys, "currency", "sell")
    assert runs_by_itself(buys, "metering", "anything")
    assert "does not sell" in why_no_deal(buys, "members", NEXT.agent, "currency.sale", True)


def test_who_holds_a_share_votes_on_the_markets_in_it() -> None:
    assert runs_by_itself(Rules(automatic=Automatic(other=False)), "market", "keep")
    assert not runs_by_itself(Rules(automatic=Automatic(hold=False)), "market", "keep")


def test_the_factory_lets_nobody_in() -> None:
    assert why_no_call(FACTORY, "members", "metering", "history")
    assert why_no_call(FACTORY, "portfolio", "metering", "history")
    assert why_no_deal(FACTORY, "owner", OWNER.agent, "currency.sale", True)
    assert not runs_by_itself(FACTORY, "currency", "sell")
    assert not runs_by_itself(FACTORY, "metering", "anything")

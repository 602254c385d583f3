"""The messages between an owner and its device: whole, or refused; and for nobody else."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ioe_node.conductor import owner_calls
from ioe_node.conductor.owner_calls import (
    AMOUNT_MAX,
    APPS_MAX,
    DECISIONS_MAX,
    INVITATIONS_MAX,
    MESSAGE_BYTES_MAX,
    POLICY_BYTES_MAX,
    SETTINGS_CHARS_MAX,
    WHY_CHARS_MAX,
    AppShown,
    AppsShown,
    Consented,
    Consider,
    Decided,
    Done,
    Look,
    Looked,
    Owes,
    Release,
    Rotate,
    SetLimit,
    SetPolicy,
    SetSwitch,
    ShowApps,
    ShowInvitations,
    Shown,
    Succeeded,
    Unable,
    answers,
    requests,
)
from ioe_node.conductor.policy import TEMPLATE, seal_policy
from ioe_node.errors import Malformed, Refused
from ioe_node.hdi import Consent
from ioe_node.model.codec import encode
from ioe_node.model.signing import Signer

HASH = b"\x84 $" + bytes(36)

REQUESTS = (
    Release(None),
    Release(HASH),
    Rotate(bytes(32), b"i"),
    SetPolicy(b"p"),
    ShowInvitations(),
    Consider(b"c"),
    Look(),
    SetSwitch(True),
    SetLimit(1_000),
    SetLimit(None),
    ShowApps(),
)
DECIDED = Decided(1, "off", "dear", 500_000, -1, None, AMOUNT_MAX)
APP = AppShown("demand", '{"enabled":true}', (DECIDED,) * DECISIONS_MAX)
LOOKED = Looked(
    "private", "readings", "ok", "", ("switch", "limit", "battery"), 1, 2, 3, -4, True, 10_000
)
ANSWERS = (
    *(Done(), Owes(HASH, 1), Shown((b"i",)), Succeeded(HASH), Consented((Consent(0, b"s"),))),
    *(Unable("no"), LOOKED, replace(LOOKED, at_us=None, stored_bp=None, can=())),
    *(AppsShown(()), AppsShown((APP,) * APPS_MAX)),
)


def test_every_message_comes_back() -> None:
    for request in REQUESTS:
        assert requests.decode(encode(request)) == request
    for answer in ANSWERS:
        assert answers.decode(encode(answer)) == answer


@pytest.mark.parametrize(
    "message",
    [
        SetPolicy(bytes(POLICY_BYTES_MAX + 1)),
        Release(HASH[:-1]),
        Shown((b"",) * (INVITATIONS_MAX + 1)),
        Owes(HASH, 0),
        SetLimit(-1),
        replace(LOOKED, why="?" * (WHY_CHARS_MAX + 1)),
        replace(LOOKED, stored_bp=10_001),
        AppsShown((APP,) * (APPS_MAX + 1)),
        AppsShown((replace(APP, decisions=(DECIDED,) * (DECISIONS_MAX + 1)),)),
        AppsShown((replace(APP, settings="?" * (SETTINGS_CHARS_MAX + 1)),)),
        AppsShown((replace(APP, decisions=(replace(DECIDED, earns_micro=AMOUNT_MAX + 1),)),)),
    ],
)
def test_what_is_out_of_bounds_is_malformed(message: Any) -> None:
    for codec in (requests, answers):
        with pytest.raises(Malformed):
            codec.decode(encode(message))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_malformed(data: bytes) -> None:
    for codec in (requests, answers):
        with suppress(Malformed):
            assert encode(codec.decode(data)) == data


def test_an_endless_message_is_malformed() -> None:
    with pytest.raises(Malformed):
        requests.decode(bytes(MESSAGE_BYTES_MAX + 1))


async def test_a_stranger_is_refused_before_anything_is_read(
    claimed: Any, street: Any, autojump: Any
) -> None:
    owner, roof = await claimed()
    stranger = await street.owner("stranger", b"s" * 32)
    for request in REQUESTS:
        for device in (roof, owner):
            with pytest.raises(Refused, match=r"not-the-owner|malformed"):
                await owner_calls.ask(stranger.conductor, device.agent, request)
    assert roof.conductor.role == "device"


async def test_the_owner_alone_cannot_have_it_leave_without_saying_so_on_its_chain(
    claimed: Any, autojump: Any
) -> None:
    owner, roof = await claimed()
    for request in (Release(None), Release(owner.agent)):
        with pytest.raises(Exception, match="the chains do not say so"):
            await owner_calls.ask(owner.conductor, roof.agent, request)
    assert roof.home.state().leaving is None


async def test_a_device_lives_by_the_policy_that_its_owner_sets(
    claimed: Any, autojump: Any
) -> None:
    owner, roof = await claimed()
    await owner.call("policy_set", text=TEMPLATE)
    await roof.until(lambda found: found["source"] == "owner", "policy_show")
    forged = seal_policy(Signer(bytes(32)), TEMPLATE.replace("version = 1", "version = 2"))
    with pytest.raises(Refused):
        await owner_calls.ask(owner.conductor, roof.agent, SetPolicy(forged))
    assert roof.conductor.policy.text == TEMPLATE

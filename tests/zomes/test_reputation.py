"""A view of another agent: only what cannot be made up counts, and its pieces add up."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from dna.neighbourhood import DNA
from ioe_node.errors import CallError, Malformed
from ioe_node.hdi import AgentPubKey
from ioe_node.model.codec import encode
from ioe_node.model.hashes import agent_key
from ioe_node.model.signing import Signer
from ioe_node.model.warrant import ChainFork, SignedWarrant
from ioe_node.workflows import call_zome
from ioe_node.workflows.call_zome import CallHost
from ioe_node.workflows.space import Space
from sim.swarm import Home, Swarm, open_swarm
from sim.virtual_clock import run_virtual
from zomes.reputation.scoring import (
    ISSUERS_MAX,
    POINTS_MAX,
    SETTLEMENTS_COUNTED_MAX,
    ClaimSeen,
    IssuerWeight,
    Seen,
    Weights,
    score,
    weigh,
)

ONE, TWO = agent_key(bytes(31) + b"\x01"), agent_key(bytes(31) + b"\x02")
PLAIN = Weights(uptime=100, settlement=1, credential=50, warrant=-1_000)
POINTS = st.integers(-POINTS_MAX, POINTS_MAX)


def claim(issuer: AgentPubKey, kind: str = "maker", convicted: bool = False) -> ClaimSeen:
    return ClaimSeen(b"claim", issuer, kind, convicted)


# -- scoring ----------------------------------------------------------------------------------


def test_nothing_is_known_of_a_stranger() -> None:
    assert weigh(Seen(), PLAIN) == []
    assert score([]) == 0


def test_each_piece_counts_as_the_owner_says() -> None:
    seen = Seen(
        measured=75,
        intervals=100,
        settlements=3,
        credentials=(b"credential",),
        warrants=((b"warrant", "ChainFork"),),
        claims=(claim(ONE),),
    )
    pieces = weigh(seen, replace(PLAIN, issuers=(IssuerWeight(ONE, 7),)))
    counted = {piece.kind: piece.contribution for piece in pieces}
    assert counted == {
        "uptime": 75,
        "settlements": 3,
        "credential": 50,
        "warrant": -1_000,
        "claim": 7,
    }
    assert score(pieces) == sum(counted.values())
    assert [piece.source for piece in pieces[2:]] == [b"credential", b"warrant", b"claim"]


@given(st.lists(st.builds(claim, st.sampled_from([ONE, TWO]), st.text(max_size=4)), max_size=40))
def test_claims_of_whom_the_owner_does_not_name_weigh_nothing(claims: list[ClaimSeen]) -> None:
    assert weigh(Seen(claims=tuple(claims)), PLAIN) == []
    named = replace(PLAIN, issuers=(IssuerWeight(TWO, 5),))
    pieces = weigh(Seen(claims=tuple(claims)), named)
    said = {each.kind for each in claims if each.issuer == TWO}
    assert score(pieces) == 5 * len(said), "who says the same twice has said it once"


def test_the_word_of_a_convicted_issuer_is_shown_and_weighs_nothing() -> None:
    named = replace(PLAIN, issuers=(IssuerWeight(ONE, 5),))
    (piece,) = weigh(Seen(claims=(claim(ONE, convicted=True),)), named)
    assert (piece.weight, piece.contribution) == (0, 0)
    assert "convicted" in piece.what


@given(
    st.builds(
        Seen,
        st.integers(0, 300),
        st.integers(0, 10**12),
        st.integers(0, 10**6),
        st.tuples() | st.just((b"credential",)),
        st.lists(st.tuples(st.binary(), st.text()), max_size=3).map(tuple),
        st.lists(st.builds(claim, st.sampled_from([ONE, TWO])), max_size=5).map(tuple),
    ),
    st.builds(
        Weights,
        POINTS,
        POINTS,
        POINTS,
        POINTS,
        st.lists(st.builds(IssuerWeight, st.sampled_from([ONE, TWO]), POINTS), max_size=3).map(
            tuple
        ),
    ),
)
def test_pieces_add_up_in_whole_numbers_that_can_be_sent(seen: Seen, weights: Weights) -> None:
    seen = replace(seen, measured=min(seen.measured, seen.intervals))
    pieces = weigh(seen, weights)
    assert score(pieces) == sum(piece.contribution for piece in pieces)
    assert all(isinstance(piece.contribution, int) for piece in pieces)
    assert all(abs(piece.contribution) <= POINTS_MAX * SETTLEMENTS_COUNTED_MAX for piece in pieces)
    assert abs(score(pieces)) < 2**63


def test_a_weight_has_its_bounds() -> None:
    for wrong in (
        {"uptime": POINTS_MAX + 1},
        {"warrant": -POINTS_MAX - 1},
        {"issuers": (IssuerWeight(ONE, POINTS_MAX + 1),)},
        {"issuers": (IssuerWeight(ONE, 1),) * (ISSUERS_MAX + 1)},
    ):
        with pytest.raises(ValueError, match="at most"):
            replace(PLAIN, **wrong)  # type: ignore[arg-type]


# -- evidence between cells -------------------------------------------------------------------

INTERVAL_US = DNA.properties.interval_us
Story = Callable[[Swarm], Awaitable[None]]
WEIGHTS = {"uptime": 100, "settlement": 10, "credential": 50, "warrant": -1_000, "issuers": []}


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Story], None]:
    def run(story: Story) -> None:
        async def main() -> None:
            async with open_swarm(tmp_path, 1, 4) as swarm:
                await swarm.settle()
                await story(swarm)

        run_virtual(main, seed=1)

    return run


async def explain(reader: Home, agent: Home, **weights: Any) -> dict[str, int]:
    """What each kind of evidence contributes; it must add up to the score."""
    asked = {"agent": agent.agent, "weights": {**WEIGHTS, **weights}}
    found = await reader.call("reputation", "explain", asked)
    assert found["score"] == sum(each["contribution"] for each in found["evidence"])
    return {each["kind"]: each["contribution"] for each in found["evidence"]}


async def meter(swarm: Swarm, home: Home, qualities: list[str]) -> None:
    """Readings up to now, oldest first."""
    start = (swarm.clock.now_us() // INTERVAL_US - len(qualities)) * INTERVAL_US
    readings = [
        {
            "start": start + place * INTERVAL_US,
            "end": start + (place + 1) * INTERVAL_US,
            "import_milli_wh": 0,
            "export_milli_wh": 0,
            "import_register_milli_wh": 0,
            "export_register_milli_wh": 0,
            "quality": quality,
            "method": "device",
        }
        for place, quality in enumerate(qualities)
    ]
    await home.call("metering", "record", {"readings": readings})
    assert await swarm.settle()


def test_a_meter_is_seen_over_time_and_silence_counts(play: Callable[[Story], None]) -> None:
    async def story(swarm: Swarm) -> None:
        reader, device = swarm.homes[:2]
        assert await explain(reader, device) == {}
        await meter(swarm, device, ["measured"] * 6 + ["estimated"] * 2)
        assert await explain(reader, device) == {"uptime": 75}
        await trio.sleep(INTERVAL_US // 1_000_000 * 16)  # of which eight are forgiven
        assert await explain(reader, device) == {"uptime": 37}

    play(story)


def test_a_past_that_is_made_up_in_one_go_is_no_uptime(play: Callable[[Story], None]) -> None:
    async def story(swarm: Swarm) -> None:
        reader, device = swarm.homes[:2]
        await meter(swarm, device, ["measured"] * 200)
        assert await explain(reader, device) == {"uptime": 4}  # the newest eight of them

    play(story)


def test_only_dealings_with_us_count(play: Callable[[Story], None]) -> None:
    async def story(swarm: Swarm) -> None:
        reader, subject, friend, _ = swarm.homes
        for _ in range(3):
            await friend.call("currency", "pay", {"payee": subject.agent, "amount_micro": 1})
        assert await explain(reader, subject) == {}
        await reader.call("currency", "pay", {"payee": subject.agent, "amount_micro": 1})
        await subject.call("currency", "pay", {"payee": reader.agent, "amount_micro": 1})
        assert await explain(reader, subject) == {"settlements": 20}
        assert await explain(friend, subject, settlement=1) == {"settlements": 3}

    play(story)


async def claimed(swarm: Swarm, issuer: Home, subject: Home) -> bytes:
    now_us = swarm.clock.now_us()
    made = await issuer.call(
        "claims",
        "issue",
        {
            "subject": subject.agent,
            "kind": "maker",
            "fields": [{"name": "year", "value": "2026", "salt": bytes(32)}],
            "valid_from": now_us,
            "valid_until": now_us + INTERVAL_US,
        },
    )
    assert await swarm.settle()
    return bytes(made["claim"])


def test_a_crowd_of_unknown_issuers_lifts_nobody(play: Callable[[Story], None]) -> None:
    async def story(swarm: Swarm) -> None:
        reader, subject, trusted, sybil = swarm.homes
        for _ in range(4):
            await claimed(swarm, sybil, subject)
        assert await explain(reader, subject) == {}
        issuers = [{"issuer": trusted.agent, "points": 30}]
        assert await explain(reader, subject, issuers=issuers) == {}
        made = await claimed(swarm, trusted, subject)
        assert await explain(reader, subject, issuers=issuers) == {"claim": 30}
        await trusted.call("claims", "revoke", {"entry": made})
        assert await swarm.settle()
        assert await explain(reader, subject, issuers=issuers) == {}
        await claimed(swarm, trusted, subject)
        assert await explain(reader, subject, issuers=issuers) == {"claim": 30}
        await trio.sleep(2 * INTERVAL_US // 1_000_000)
        assert await explain(reader, subject, issuers=issuers) == {}, "it has expired"

    play(story)


def test_a_makers_word_counts_where_it_names_the_key(play: Callable[[Story], None]) -> None:
    async def story(swarm: Swarm) -> None:
        reader, subject, linker, _ = swarm.homes
        maker = Signer(bytes(31) + b"\x63")
        issuers = [{"issuer": maker.agent, "points": 30}]
        for body, counted in (
            (b"serial 12", {}),
            (b"key " + subject.agent[3:35].hex().encode(), {"claim": 30}),
        ):
            signed = {"body": body, "signature": maker.sign(body), "signer": maker.agent}
            await linker.call("claims", "link", {"subject": subject.agent, **signed})
            assert await swarm.settle()
            assert await explain(reader, subject, issuers=issuers) == counted

    play(story)


def convict(reader: Home, offender: Home) -> None:
    """A warrant against `offender` is kept by `reader`."""
    wire = offender.store.chain(offender.agent)[0].wire()
    fork = ChainFork(offender.agent, reader.agent, 7, wire, wire)
    signed = encode(SignedWarrant(encode(fork), bytes(64)))
    assert reader.store.add_warrant(bytes(39), offender.agent, signed, 8)


def test_a_warrant_weighs_and_takes_the_weight_of_its_issuers_claims(
    play: Callable[[Story], None],
) -> None:
    async def story(swarm: Swarm) -> None:
        reader, subject, trusted, _ = swarm.homes
        issuers = [{"issuer": trusted.agent, "points": 30}]
        await claimed(swarm, trusted, subject)
        convict(reader, trusted)
        assert await explain(reader, trusted) == {"warrant": -1_000}
        assert await explain(reader, subject, issuers=issuers) == {"claim": 0}

    play(story)


def test_a_credential_counts_once_it_is_approved(play: Callable[[Story], None]) -> None:
    async def story(swarm: Swarm) -> None:
        steward, owner, device, reader = swarm.homes
        named = {"device": device.agent, "kind": "generator", "name": "roof"}
        await owner.call("identity", "enrol", named)
        assert await swarm.settle()
        await device.call("identity", "acknowledge", {"owner": owner.agent})
        assert await swarm.settle()
        asked = {"device": device.agent, "attributes": []}
        for application in [await owner.call("claims", "apply", asked) for _ in range(2)]:
            assert await swarm.settle()
            await steward.call("claims", "approve", {"application": application})
            assert await swarm.settle()
            assert await explain(reader, device) == {"credential": 50}

    play(story)


def test_everyone_is_listed_best_first_without_a_whole_chain(
    play: Callable[[Story], None],
) -> None:
    async def story(swarm: Swarm) -> None:
        reader, good, bad, plain = swarm.homes
        await reader.call("currency", "pay", {"payee": good.agent, "amount_micro": 1})
        convict(reader, bad)

        async def whole(*arguments: Any) -> Any:
            raise AssertionError("a whole chain is read for a listing")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(call_zome, "read_whole_chain", whole)
            patch.setattr(Space, "is_authority", lambda space, author: False)
            found = await reader.call("reputation", "show", {"weights": WEIGHTS})
        assert [each["agent"] for each in found["views"]] == [good.agent, plain.agent, bad.agent]
        assert [each["score"] for each in found["views"]] == [10, 0, -1_000]
        assert found["left_out"] == 0
        found = await reader.call("reputation", "show", {"weights": WEIGHTS, "limit": 1})
        assert [each["agent"] for each in found["views"]] == [good.agent]
        assert found["left_out"] == 2
        with pytest.raises(CallError, match="at most"):
            await explain(reader, good, uptime=POINTS_MAX + 1)

    play(story)


def test_one_who_cannot_be_read_spoils_no_listing(play: Callable[[Story], None]) -> None:
    async def story(swarm: Swarm) -> None:
        reader, good, bad, _ = swarm.homes
        read = CallHost.newest

        async def newest(host: CallHost, agent: AgentPubKey, limit: int) -> Any:
            if agent == bad.agent:
                raise Malformed("a chain of junk")
            return await read(host, agent, limit)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(CallHost, "newest", newest)
            found = await reader.call("reputation", "show", {"weights": WEIGHTS})
        (last,) = [each for each in found["views"] if each["score"] is None]
        assert (last["agent"], last["why"]) == (bad.agent, "a chain of junk")
        assert found["views"][-1] == last
        assert good.agent in [each["agent"] for each in found["views"]]

    play(story)

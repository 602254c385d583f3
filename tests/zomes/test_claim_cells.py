"""Claims between cells: issued, kept, shown by the field, taken back; credentials; profiles."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest
import trio

from dna.neighbourhood import DNA
from ioe_node.core.authority import REDUNDANCY
from ioe_node.errors import CallError, RuleBroken, TransportError
from ioe_node.hdi import ActionHash, AgentPubKey, encode
from ioe_node.model.hashes import action_hash
from ioe_node.model.signing import Signer
from ioe_node.workflows import call_zome
from ioe_node.workflows.call_zome import CallHost
from sim.swarm import Home, Swarm, open_swarm
from sim.virtual_clock import run_virtual
from zomes.claims.disclosure import SALT_BYTES, Disclosure, decode_disclosure

SEED = 1
MINUTE_US = 60_000_000
LICENCE = {"name": "licence", "value": "NSW-8812"}
HOME_OF = {"name": "address", "value": "7 Rose Street", "salt": b"\x01" * SALT_BYTES}
Story = Callable[[Swarm], Awaitable[None]]
Play = Callable[[Story], None]


def agent_of(number: int) -> AgentPubKey:
    """The key that the swarm gives its home of this number."""
    return Signer(blake2b(f"{SEED} home {number}".encode(), digest_size=32).digest()).agent


TWO_APPROVERS = replace(
    DNA,
    properties=replace(DNA.properties, approvers=(agent_of(0), agent_of(3)), approval_quorum=2),
)


@pytest.fixture
def play(tmp_path: Path) -> Play:
    def run(story: Story) -> None:
        async def main() -> None:
            async with open_swarm(tmp_path, SEED, 4, definition=TWO_APPROVERS) as swarm:
                await swarm.settle()
                await story(swarm)

        run_virtual(main, seed=SEED)

    return run


async def issued(
    swarm: Swarm, issuer: Home, subject: Home, minutes: int = 60, salt: int = 0
) -> dict[str, Any]:
    """A claim about `subject` and its slip, settled."""
    now_us = swarm.clock.now_us()
    made: dict[str, Any] = await issuer.call(
        "claims",
        "issue",
        {
            "subject": subject.agent,
            "kind": "installer",
            "fields": [{**LICENCE, "salt": bytes([salt]) * SALT_BYTES}, HOME_OF],
            "valid_from": now_us,
            "valid_until": now_us + minutes * MINUTE_US,
        },
    )
    assert await swarm.settle()
    return made


def test_one_field_is_shown_and_the_others_stay_hidden(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        issuer, subject, reader, _ = swarm.homes
        made = await issued(swarm, issuer, subject)
        with pytest.raises(CallError, match="no slip"):
            await subject.call("claims", "reveal", {"claim": made["claim"], "names": ["licence"]})
        with pytest.raises(CallError, match="only its subject"):
            await reader.call("claims", "keep", {"slip": made["slip"]})
        await subject.call("claims", "keep", {"slip": made["slip"]})
        with pytest.raises(CallError, match="address, licence"):
            await subject.call("claims", "reveal", {"claim": made["claim"], "names": ["age"]})
        shown = await subject.call(
            "claims", "reveal", {"claim": made["claim"], "names": ["licence"]}
        )
        found = await reader.call("claims", "verify", {"disclosure": shown})
        assert found["shown"] == [{"name": "licence", "value": "NSW-8812"}]
        assert found["hidden"] == ["address"]
        assert (found["standing"], found["issuer"]) == ("stands", issuer.agent)

        assert await swarm.settle()
        assert b"NSW-8812" in shown
        for secret in (b"Rose Street", HOME_OF["salt"]):
            assert secret not in shown
            for home in (issuer, reader):
                files = home.path.parent.glob(home.path.name + "*")
                assert secret not in b"".join(path.read_bytes() for path in files)

    play(story)


def test_a_claim_is_not_believed_where_nobody_shows_whether_it_was_withdrawn(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        issuer, subject, reader, _ = swarm.homes
        made = await issued(swarm, issuer, subject)

        async def nothing(*arguments: Any) -> list[Any]:
            return []

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(call_zome, "retrieve_links", nothing)
            found = await reader.call("claims", "verify", {"disclosure": made["slip"]})
        assert found["standing"] == "unconfirmed"

    play(story)


def test_a_claim_is_read_and_its_withdrawal_seen_from_afar(tmp_path: Path) -> None:
    """By one who holds neither, and though the subject's key is heaped with links."""

    async def story() -> None:
        async with open_swarm(tmp_path, SEED, REDUNDANCY + 6, definition=TWO_APPROVERS) as swarm:
            assert await swarm.settle()
            await trio.sleep(120)  # everyone knows everyone
            issuer, subject, spammer = swarm.homes[:3]
            made = await issued(swarm, issuer, subject)
            for _ in range(5):
                await issued(swarm, spammer, subject)
            reader = next(
                home
                for home in swarm.homes[3:]
                if not {issuer.agent, subject.agent}
                & {each.agent for each in swarm.homes if home.cell.space.is_authority(each.agent)}
            )
            asked = {"subject": subject.agent, "issuers": [issuer.agent]}
            for standing in ("stands", "withdrawn"):
                found = await reader.call("claims", "verify", {"disclosure": made["slip"]})
                assert found["standing"] == standing
                (listed,) = await reader.call("claims", "about", asked)
                assert listed["standing"] == standing
                if standing == "stands":
                    await issuer.call("claims", "revoke", {"entry": made["claim"]})
                    assert await swarm.settle()
                    await trio.sleep(60)

    run_virtual(story, seed=SEED)


def test_what_was_changed_or_is_of_another_claim_proves_nothing(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        issuer, subject, reader, _ = swarm.homes
        made = await issued(swarm, issuer, subject)
        copied = await issued(swarm, issuer, subject, salt=2)
        slip = decode_disclosure(made["slip"])
        forged = replace(slip.openings[1], value="NSW-0000")
        for wrong in (
            Disclosure(slip.claim, (forged,)),
            Disclosure(copied["claim"], slip.openings),
        ):
            with pytest.raises(CallError, match="believe none"):
                await reader.call("claims", "verify", {"disclosure": encode(wrong)})
        with pytest.raises(CallError, match="does not open"):
            await subject.call(
                "claims", "keep", {"slip": encode(Disclosure(slip.claim, slip.openings[:1]))}
            )
        with pytest.raises(CallError):
            await reader.call("claims", "verify", {"disclosure": made["slip"][:-1]})
        unknown = Disclosure(action_hash(b"nowhere", subject.agent), slip.openings)
        with pytest.raises(TransportError, match="try again"):
            await reader.call("claims", "verify", {"disclosure": encode(unknown)})

    play(story)


def test_a_claim_stands_until_it_expires_or_is_taken_back(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        issuer, subject, reader, _ = swarm.homes
        first = await issued(swarm, issuer, subject)
        short = await issued(swarm, issuer, subject, minutes=20)

        async def standing(made: dict[str, Any]) -> str:
            found = await reader.call("claims", "verify", {"disclosure": made["slip"]})
            return str(found["standing"])

        assert [await standing(each) for each in (first, short)] == ["stands", "stands"]
        with pytest.raises(CallError, match="only whoever made"):
            await subject.call("claims", "revoke", {"entry": first["claim"]})
        await issuer.call("claims", "revoke", {"entry": first["claim"], "reason": "fraud"})
        assert await swarm.settle()
        await trio.sleep(21 * 60)
        assert [await standing(each) for each in (first, short)] == ["withdrawn", "expired"]
        listed = await reader.call("claims", "about", {"subject": subject.agent})
        assert [each["standing"] for each in listed] == ["expired", "withdrawn"]

    play(story)


def test_claims_are_read_by_issuer_however_many_others_make(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        issuer, subject, reader, other = swarm.homes
        first = await issued(swarm, issuer, subject)
        for _ in range(5):
            await issued(swarm, other, subject)
        read = []

        async def get(host: CallHost, action: ActionHash) -> Any:
            read.append(action)
            return await found_by(host, action)

        found_by = CallHost.get
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(CallHost, "get", get)
            listed = await reader.call(
                "claims", "about", {"subject": subject.agent, "issuers": [issuer.agent]}
            )
        assert [each["issuer"] for each in listed] == [issuer.agent]
        assert read == [first["claim"]]
        assert len(await reader.call("claims", "about", {"subject": subject.agent})) == 6
        newest = await reader.call("claims", "about", {"subject": subject.agent, "limit": 2})
        assert [each["issuer"] for each in newest] == [other.agent] * 2

    play(story)


def test_a_makers_word_is_linked_and_says_whether_it_names_the_device(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        linker, subject, reader, _ = swarm.homes
        maker = Signer(bytes(31) + b"\x63")
        for body in (b"serial 12", b"key " + subject.agent[3:35].hex().encode()):
            signed = {"body": body, "signature": maker.sign(body), "signer": maker.agent}
            await linker.call("claims", "link", {"subject": subject.agent, **signed})
        with pytest.raises(RuleBroken, match="signature"):
            await linker.call("claims", "link", {"subject": subject.agent, **signed, "body": b"?"})
        assert await swarm.settle()
        listed = await reader.call(
            "claims", "about", {"subject": subject.agent, "issuers": [maker.agent]}
        )
        assert [each["names_subject"] for each in listed] == [True, False]
        assert {each["linked_by"] for each in listed} == {linker.agent}

    play(story)


async def owned(swarm: Swarm, owner: Home, device: Home) -> None:
    """`device` is enrolled by `owner` and has acknowledged it."""
    named = {"device": device.agent, "kind": "generator", "name": "roof"}
    await owner.call("identity", "enrol", named)
    assert await swarm.settle()
    assert await device.call("identity", "acknowledge", {"owner": owner.agent})
    assert await swarm.settle()


def test_a_device_has_a_credential_while_a_quorum_approves(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        steward, owner, device, approver = swarm.homes
        asked = {"device": device.agent, "attributes": [{"name": "model", "value": "SB-5000"}]}
        with pytest.raises(TransportError, match="no owner yet"):
            await owner.call("claims", "apply", asked)
        await owned(swarm, owner, device)
        with pytest.raises(RuleBroken, match="only its owner"):
            await approver.call("claims", "apply", asked)
        application = await owner.call("claims", "apply", asked)
        assert await swarm.settle()

        async def read() -> dict[str, Any]:
            assert await swarm.settle()
            (found,) = await approver.call("claims", "credentials", {"device": device.agent})
            return dict(found)

        with pytest.raises(RuleBroken, match="no approver"):
            await owner.call("claims", "approve", {"application": application})
        for _ in range(2):  # one approver is one voice
            approval = await steward.call("claims", "approve", {"application": application})
        assert (await read())["standing"] == "applied"
        await approver.call("claims", "approve", {"application": application})
        found = await read()
        assert found["standing"] == "approved"
        assert found["approved_by"] == sorted([steward.agent, approver.agent])
        assert found["attributes"] == asked["attributes"]

        told = {"application": application, "hardware": "sound", "pool": "pool 7"}
        await owner.call("claims", "set_status", told)
        await owner.call("claims", "set_status", {"application": application, "hardware": "worn"})
        assert {**found, "hardware": "worn", "pool": "pool 7"} == await read()
        with pytest.raises(RuleBroken, match="owner who applied"):
            await device.call("claims", "set_status", told)

        with pytest.raises(CallError, match="approved an application"):
            await device.call("claims", "revoke", {"entry": application})
        await steward.call("claims", "revoke", {"entry": approval})
        assert len((await read())["approved_by"]) == 2, "the other one of two of the same stands"
        await steward.call("claims", "revoke", {"entry": application})
        found = await read()
        assert (found["standing"], found["approved_by"]) == ("applied", [approver.agent])
        await owner.call("claims", "revoke", {"entry": application})
        assert (await read())["standing"] == "withdrawn"

    play(story)


def test_a_provider_answers_until_it_is_dismissed(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        us, provider, reader, other = swarm.homes

        async def read() -> tuple[Any, str]:
            assert await swarm.settle()
            found = await reader.call("claims", "profile", {"subject": us.agent})
            return found["by"], found["name"]

        assert await read() == (None, "")
        await us.call("claims", "set_profile", {"name": "Ann"})
        assert await read() == (us.agent, "Ann")
        with pytest.raises(CallError, match="ioe profile delegate"):
            await other.call("claims", "set_profile", {"name": "x", "subject": us.agent})
        await us.call("claims", "delegate", {"agent": provider.agent})
        assert await read() == (None, "")
        for name in ("Ann B.", "Ann C."):
            await provider.call("claims", "set_profile", {"name": name, "subject": us.agent})
        assert await read() == (provider.agent, "Ann C.")

        await us.call("claims", "delegate", {"url": "https://id.example.net/ann"})
        assert await read() == (None, "")
        found = await reader.call("claims", "profile", {"subject": us.agent})
        assert (found["provider"], found["url"]) == (None, "https://id.example.net/ann")
        assert await us.call("claims", "end_delegation", {})
        assert not await us.call("claims", "end_delegation", {})
        assert await read() == (us.agent, "Ann")
        await us.call("claims", "delegate", {"agent": provider.agent})
        assert await read() == (None, ""), "what was said under the first delegation is past"

    play(story)

"""Credits that were never rightfully paid are spent by nobody, whatever software one runs."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import trio

from ioe_node.errors import Busy, IoeError
from ioe_node.hdi import ActionHash, AgentPubKey, Missing, Valid, Verdict
from ioe_node.net.messages import GetCertificate, requests
from ioe_node.workflows.call_zome import CallHost
from ioe_node.workflows.limbo import LIMBO_AGE_US_MAX
from sim.checkers import faults
from sim.memory_transport import Handle
from sim.scenarios.owners import claim, identity
from sim.swarm import Home, Swarm
from tests.sim.test_finality import enrolled

Play = Callable[..., Any]
SPREADS_S = 120
SOON_S = 0.5
STAFFED_S = 100
TRIES = 8
CREDIT = 1_000_000
LIMIT = 100 * CREDIT


class Nobody(set[Any]):
    """Who is shut out by software that shuts out nobody."""

    def add(self, _: Any) -> None:
        """Nobody is."""


def turn(home: Home) -> None:
    """From now on a home heeds no warrant, and takes everything for final."""
    space = home.cell.space
    space.blocked = Nobody()
    space.block = lambda agent: None  # type: ignore[method-assign]
    space.witness_rows.is_final = lambda hash_: True  # type: ignore[method-assign]
    judged = space.rules.validate

    def validate(*args: Any, **named: Any) -> Verdict:
        verdict = judged(*args, **named)
        return Valid if isinstance(verdict, Missing) and verdict.finals else verdict

    space.rules.validate = validate  # type: ignore[method-assign]


async def mute(handle: Handle, asker: AgentPubKey, data: bytes) -> bytes:
    """Who answers nothing when asked what shows its claims to be final."""
    if isinstance(requests.decode(data), GetCertificate):
        await trio.sleep_forever()
    return await handle(asker, data)


async def balance(home: Home, of: Home | None = None) -> Any:
    return await home.call("currency", "balance", {"agent": (of or home).agent})


async def pay(payer: Home, payee: Home, amount_micro: int, tries: int = TRIES) -> ActionHash:
    """Pay, again while somebody is busy."""
    payment = {"payee": payee.agent, "amount_micro": amount_micro}
    for _ in range(tries - 1):
        try:
            return ActionHash(await payer.call("currency", "pay", payment))
        except IoeError:
            await trio.sleep(2)
    return ActionHash(await payer.call("currency", "pay", payment))


def test_an_accomplice_passes_on_nothing_of_what_a_revoked_key_pays(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        await trio.sleep(STAFFED_S)
        owner, stolen, accomplice, second, before, honest = swarm.homes[1:7]
        await claim(swarm, owner, stolen)
        await pay(stolen, before, 60 * CREDIT)
        await trio.sleep(10)
        guilty = [stolen, accomplice, second]
        swarm.offenders += guilty
        await identity(owner, "revoke", agent=stolen.agent, reason="stolen")
        for home in guilty:
            turn(home)
        await trio.sleep(SPREADS_S)
        assert all(stolen.agent in home.cell.space.blocked for home in swarm.honest())
        loot = await pay(stolen, accomplice, 40 * CREDIT)
        assert await swarm.settle()
        await trio.sleep(SPREADS_S)
        held = [home.store.head(accomplice.agent) for home in swarm.honest()]
        assert set(held) == {accomplice.store.head(accomplice.agent)}, "a right entry of its chain"
        seen = await balance(honest, accomplice)
        assert seen["balance_micro"] == seen["pending_micro"] == 40 * CREDIT
        assert seen["spendable_micro"] == LIMIT
        assert not any(home.cell.space.witness_rows.is_final(loot) for home in swarm.honest())

        await pay(accomplice, honest, LIMIT)
        assert await swarm.settle()
        with pytest.raises(Busy, match="wait for finality"):
            await pay(accomplice, honest, 1)
        for home in (accomplice, second):
            home.spoil(mute)
        spent = await pay(accomplice, second, 40 * CREDIT)
        await trio.sleep(SPREADS_S)
        made = await enrolled(before)
        await trio.sleep(SOON_S)
        assert all(home.store.has(made) for home in swarm.honest()), "nothing else waits"
        assert not any(home.store.has(spent) for home in swarm.honest())
        with pytest.raises(IoeError):
            await pay(second, honest, 1)
        for home in swarm.honest():
            assert not {accomplice.agent, second.agent} & home.cell.space.blocked

        await pay(before, honest, LIMIT + 60 * CREDIT)
        late = await swarm.add()
        assert await swarm.settle()
        for home in swarm.honest():
            assert late.store.head(home.agent) == home.store.head(home.agent)
        earned = await balance(late, honest)
        assert earned["balance_micro"] == 2 * LIMIT + 60 * CREDIT
        for home in guilty:
            await swarm.kill(home)
        await trio.sleep(1.1 * LIMBO_AGE_US_MAX / 1e6)
        assert [home.store.limbo.rows() for home in swarm.honest()] == [0] * len(swarm.honest())

    play(story, homes=8)


def test_of_two_that_a_payer_pays_at_once_nobody_spends_what_is_not_final(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        await trio.sleep(STAFFED_S)
        forker, *payees = swarm.homes[2:5]
        reader = swarm.homes[5]
        swarm.offenders.append(forker)
        space = forker.cell.space

        async def forget(_: Any, record: Any) -> None:
            await space.run(space.store.release, record.action.action_seq)

        forker.cell._settlements._commit = forget  # type: ignore[method-assign]
        for payee in payees:
            for home in swarm.homes:
                if home not in (forker, payee):
                    swarm.network.cut(payee.agent, home.agent)
        halves = [await pay(forker, payee, LIMIT) for payee in payees]
        assert halves[0] != halves[1]
        places = [payee.store.record(half) for payee, half in zip(payees, halves, strict=True)]
        assert len({place.action.action_seq for place in places if place is not None}) == 1
        swarm.network.heal()
        await trio.sleep(SPREADS_S)
        final = [
            home.cell.space.witness_rows.is_final(h) for home, h in zip(payees, halves, strict=True)
        ]
        assert sum(final) <= 1
        for payee, is_final in zip(payees, final, strict=True):
            assert forker.agent in payee.cell.space.blocked
            await pay(payee, reader, LIMIT)
            if is_final:
                await pay(payee, reader, 1)
            else:
                with pytest.raises(Busy, match="wait for finality"):
                    await pay(payee, reader, 1)
        assert await swarm.settle()
        for home in swarm.honest():
            for payee in payees:
                assert home.store.head(payee.agent) == payee.store.head(payee.agent)
                assert payee.agent not in home.cell.space.blocked

    play(story, homes=8)


def test_credits_wait_no_longer_than_it_takes(play: Play) -> None:
    """They are there to be spent soon after; paying within the limit waits for nothing."""

    async def story(swarm: Swarm) -> None:
        await trio.sleep(STAFFED_S)
        first, second, third = swarm.homes[1:4]
        witnesses = [home for home in swarm.homes if home not in (first, second, third)]
        for home in witnesses:
            for one in (first, second, third):
                swarm.network.cut(one.agent, home.agent)
        await pay(first, second, LIMIT)
        await pay(second, third, LIMIT)
        seen = await balance(second)
        assert (seen["balance_micro"], seen["pending_micro"], seen["spendable_micro"]) == (
            0,
            LIMIT,
            0,
        )
        (sent, came) = await second.call("currency", "history", {})
        assert (sent["final"], came["final"]) == (False, False)
        with pytest.raises(Busy, match="100 credits wait for finality"):
            await pay(second, third, 1)
        swarm.network.heal()
        await trio.sleep(60)
        assert (await balance(second))["spendable_micro"] == LIMIT
        await pay(second, third, LIMIT, 1)
        await trio.sleep(10)
        assert [each["final"] for each in await second.call("currency", "history", {})] == [
            True
        ] * 3
        assert faults(swarm, []) == []

    play(story, homes=7)


@pytest.mark.parametrize("homes", [2, 3])
def test_few_are_enough_to_spend_what_one_was_paid(play: Play, homes: int) -> None:
    async def story(swarm: Swarm) -> None:
        steward, member = swarm.homes[:2]
        for payer, payee in ((steward, member), (member, steward)):
            await pay(payer, payee, LIMIT)
            await trio.sleep(STAFFED_S)
            await pay(payee, payer, 2 * LIMIT)
            await trio.sleep(STAFFED_S)
            await pay(payer, payee, LIMIT)
            await trio.sleep(STAFFED_S)
        assert await swarm.settle()
        assert faults(swarm, []) == []

    play(story, homes=homes)


def test_an_account_that_goes_over_is_spent_once_the_change_is_final(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        await trio.sleep(STAFFED_S)
        payer, old, new, reader = swarm.homes[1:5]
        await pay(payer, old, LIMIT)
        await trio.sleep(10)
        close = await identity(old, "close", new_target=new.agent)
        assert await swarm.settle()
        await identity(new, "open", prev_target=old.agent, close_hash=close)
        assert await new.call("currency", "carry", {"close": close}) is not None
        seen = await balance(new)
        assert (seen["balance_micro"], seen["pending_micro"]) == (LIMIT, LIMIT)
        await pay(new, reader, LIMIT)
        await trio.sleep(60)
        await pay(new, reader, LIMIT)
        assert await swarm.settle()
        late = await swarm.add()
        assert await swarm.settle()
        assert (await balance(late, reader))["balance_micro"] == 2 * LIMIT

    play(story, homes=6)


def test_a_payee_that_withholds_what_is_final_has_its_payer_pass_over_nothing(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is passed over may be given up in the end, so a payer goes by all that it knows."""
    honest = CallHost.which_final

    async def story(swarm: Swarm) -> None:
        await trio.sleep(STAFFED_S)
        payer, withholding, *givers = swarm.homes[1:5]
        for giver in givers:
            await pay(giver, payer, LIMIT)
        await trio.sleep(30)

        async def which_final(
            host: CallHost, actions: Sequence[ActionHash], ask: bool = True
        ) -> list[ActionHash]:
            found = await honest(host, actions, ask)
            if host.space.agent == withholding.agent:
                host.finals -= set(found[:1])
                return found[1:]
            return found

        monkeypatch.setattr(CallHost, "which_final", which_final)
        with pytest.raises(Busy, match="has yet to learn what is final"):
            await pay(payer, withholding, 2 * LIMIT)
        monkeypatch.undo()
        await pay(payer, withholding, 3 * LIMIT)

    play(story, homes=6)


def test_a_payment_is_final_for_its_payee_within_a_second(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        await trio.sleep(STAFFED_S)
        payer, payee = swarm.homes[1:3]
        for micro in (5, 7):
            await pay(payer, payee, micro)
            await trio.sleep(1)
            (newest, *_) = await payee.call("currency", "history", {"limit": 1})
            assert newest["final"]

    play(story, homes=6)

"""A key that was revoked invites nobody any more, whatever it signs."""

from collections.abc import Callable
from typing import Any

import pytest
import trio

from ioe_node.errors import IoeError
from ioe_node.hdi import ActionHash
from ioe_node.model.signing import Signer
from ioe_node.workflows import cascade
from ioe_node.workflows.integration import fetch
from ioe_node.workflows.limbo import RECORD
from ioe_node.workflows.standing import take_standings
from sim.scenarios.owners import hold_keys, with_consents
from sim.swarm import Home, Swarm
from tests.sim.test_former_powers import written_at
from tests.sim.test_swarm import pay, pay_once
from tests.workflows.test_activity import stranger_to
from zomes.community.integrity import Invitation, Invitee, Written, vouch

Play = Callable[..., Any]
SPREADS_S = 120
NUMBER = 600


def signer(number: int) -> Signer:
    return Signer(number.to_bytes(32, "big"))


async def revoked(
    swarm: Swarm, stolen: Home, heir: Home, holders: Any, cut: ActionHash | None = None
) -> ActionHash:
    """The last good action (by default the newest) of a key that all know to be revoked."""
    cut = cut or stolen.committed[max(stolen.committed)]
    payload = {"agent": stolen.agent, "cut": cut, "successor": heir.agent}
    await with_consents(heir, "revoke", payload, holders.signers)
    await trio.sleep(SPREADS_S)
    for home in swarm.homes:
        assert home in (stolen, *swarm.offenders) or stolen.agent in home.cell.space.ended
    return cut


async def comes(swarm: Swarm, number: int, proof: bytes, known: list[Home]) -> Home:
    """A newcomer with a proof, who knows these homes; some time after it has started."""
    home = Home(
        len(swarm.homes), signer(number), proof, swarm.homes[0].path.with_name(f"{number}.db")
    )
    home.knows = [(each.agent, swarm._info_of(each)) for each in known]
    swarm.homes.append(home)
    swarm.offenders.append(home)
    await swarm.start(home)
    await trio.sleep(SPREADS_S)
    return home


async def is_powerless(home: Home, honest: list[Home], reading: dict[str, Any]) -> None:
    """Nobody holds its chain or settles with it, whoever begins."""
    await home.call("metering", "record", {"readings": [reading]})
    for each in honest[:2]:
        for payer, payee in ((home, each), (each, home)):
            with pytest.raises(IoeError):
                await pay_once(payer, payee)
    await trio.sleep(SPREADS_S)
    for each in honest:
        assert each.store.head(home.agent) is None, each.number
        assert await each.call("metering", "history", {"device": home.agent}) == []


@pytest.mark.parametrize(("who", "role"), [(1, "device"), (0, "member")])
def test_a_revoked_key_invites_nobody(
    play: Play, new_holders: Any, reading: Callable[..., Any], who: int, role: Invitee
) -> None:
    """A stolen laptop no device, a stolen steward's key no member."""

    async def story(swarm: Swarm) -> None:
        stolen, heir = swarm.homes[who], swarm.homes[2]
        holders, honest = new_holders(1, 1), [h for h in swarm.homes if h is not stolen]
        await hold_keys(stolen, holders.shown)
        early = await swarm.voucher(stolen, signer(NUMBER).agent, role)
        cut = await revoked(swarm, stolen, heir, holders)
        before = stolen.store.record(cut)
        assert before is not None
        agent = signer(NUMBER + 1).agent
        real = await stolen.call("community", "invite", {"agent": agent})
        forked = written_at(stolen, stolen.store.record_at(stolen.agent, 2), Invitation(agent))
        said = {
            "where it is": real,
            "too early": Written(before.action.action_seq, real.action),
            "what is no invitation": Written(before.action.action_seq, cut),
            "beside its chain": Written(3, forked.hash),
        }
        for number, written in enumerate(said.values(), NUMBER + 1):
            sign, key = stolen.signer.sign, signer(number).agent
            given = (swarm.definition, stolen.agent, stolen.proof, key, role, sign)
            late = await comes(swarm, number, vouch(*given, written), [*honest, stolen])
            late.store.keep_alone([forked], [False])
            await is_powerless(late, honest, reading(1, 0))
            assert not any(late.agent in each.cell.space.seats for each in honest)
        welcome = await comes(swarm, NUMBER, early, honest)
        await pay(welcome, heir)
        assert heir.store.head(welcome.agent) is not None
        assert (welcome.agent in heir.cell.space.seats) == (role == "member")

    play(story, homes=6)


def test_whom_a_stolen_key_has_invited_before_it_was_missed_witnesses_no_more(
    play: Play, new_holders: Any
) -> None:
    async def story(swarm: Swarm) -> None:
        steward, heir, judge = swarm.homes[:3]
        holders, known = new_holders(1, 1), list(swarm.homes)
        await hold_keys(steward, holders.shown)
        cut = steward.committed[max(steward.committed)]
        proof = await swarm.voucher(steward, signer(NUMBER).agent, "member")
        late = await comes(swarm, NUMBER, proof, known)
        space, wire = judge.cell.space, late.cell.space.standings[late.agent].wire
        assert late.agent in space.seats
        await revoked(swarm, steward, heir, holders, cut)
        for home in known[1:]:
            assert late.agent not in home.cell.space.seats
        assert not await take_standings(space, [wire])
        assert heir.agent in space.seats
        for payer, payee in ((late, judge), (judge, late)):
            with pytest.raises(IoeError):
                await pay_once(payer, payee)
        await swarm.kill(judge)
        await swarm.start(judge)
        assert late.agent in judge.cell.space.uninvited

    play(story, homes=6)


def test_what_a_revoked_chain_says_counts_and_what_is_written_beside_it_not(
    play: Play, new_holders: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For those, too, who hold nothing of that chain by now and are shown one record."""

    async def story(swarm: Swarm) -> None:
        stolen, heir, liar = swarm.homes[1:4]
        holders = new_holders(1, 1)
        await hold_keys(stolen, holders.shown)
        early = await stolen.call("community", "invite", {"agent": signer(NUMBER).agent})
        assert await swarm.settle()
        await revoked(swarm, stolen, heir, holders)
        genesis = stolen.store.record_at(stolen.agent, 2)
        assert genesis is not None
        forked = written_at(stolen, genesis, Invitation(signer(NUMBER + 1).agent))
        judge = stranger_to(swarm, stolen)
        judge.store.drop_chain(stolen.agent, lambda record: False)

        await fetch(judge.cell.space, [(RECORD, early.action)])
        await trio.sleep(1)
        assert judge.store.has(early.action)

        async def shows(*_: Any) -> Any:
            return liar.agent, forked

        monkeypatch.setattr(cascade, "find_record", shows)
        for _ in range(2):
            await fetch(judge.cell.space, [(RECORD, forked.hash)])
            await trio.sleep(1)
        assert not judge.store.has(forked.hash)

    play(story, homes=14)

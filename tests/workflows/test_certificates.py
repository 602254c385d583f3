"""Certificates are taken from anybody, and liars and the silent keep nobody from them."""

from collections.abc import Callable

import pytest
import trio
from msgspec.structs import replace

from ioe_node.hdi import ActionHash, AgentPubKey
from ioe_node.net.messages import Certified, GetCertificate, encode, requests
from ioe_node.workflows import integration
from ioe_node.workflows.certificates import LEARN_TIMEOUT_S, learn
from ioe_node.workflows.finality import finalise
from ioe_node.workflows.limbo import FINAL
from sim.memory_transport import Handle, Twist
from sim.swarm import Home, Swarm
from tests.sim.test_finality import enrolled

Play = Callable[..., None]
STAFFED_S = 100


def answering(answer: Certified | None) -> Twist:
    """Whoever asks for a certificate gets this; None: gets no answer."""

    async def twist(handle: Handle, asker: AgentPubKey, data: bytes) -> bytes:
        if not isinstance(requests.decode(data), GetCertificate):
            return await handle(asker, data)
        if answer is None:
            await trio.sleep_forever()
        return encode(answer)

    return twist


async def certified(home: Home, asked: Home, action: ActionHash) -> Certified:
    shown = await home.cell.space.ask(asked.agent, GetCertificate(action))
    assert isinstance(shown, Certified)
    return shown


def test_it_is_had_from_who_has_it_in_spite_of_liars(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        await trio.sleep(STAFFED_S)
        author, knower, liar, mute, asker = swarm.homes[1:6]
        early = await enrolled(author, "a")
        await enrolled(author, "b")
        top = await enrolled(author, "c")
        assert await swarm.settle()
        await finalise(knower.cell.space, top)
        rows = asker.cell.space.witness_rows
        shown = await certified(asker, knower, early)
        assert shown.certificate is not None
        assert len(shown.links) == 2
        assert not rows.is_final(early)
        assert await certified(asker, mute, early) == Certified(None)
        spoilt = replace(shown, certificate=replace(shown.certificate, seq=3))
        for wrong in (spoilt, replace(shown, links=()), replace(shown, links=(b"x",) * 2)):
            before = asker.cell.space.quota.charges(liar.agent)
            liar.spoil(answering(wrong))
            mute.spoil(answering(None))
            await learn(asker.cell.space, [early], [mute.agent, liar.agent])
            assert not rows.is_final(early)
            assert asker.cell.space.quota.charges(liar.agent) > before
        began_s = trio.current_time()
        await learn(asker.cell.space, [early], [mute.agent, liar.agent, knower.agent])
        assert trio.current_time() - began_s < LEARN_TIMEOUT_S
        assert rows.is_final(early)
        assert await certified(knower, asker, early) == shown, "and hands it on"

    play(story, homes=7)


@pytest.mark.parametrize("revoked", [False, True])
def test_past_its_end_a_revoked_key_is_no_witness_of_its_own(play: Play, revoked: bool) -> None:
    async def story(swarm: Swarm) -> None:
        founder, reader = swarm.homes
        space = reader.cell.space
        late = await enrolled(founder, "a")
        await finalise(founder.cell.space, late)
        head = founder.store.head(founder.agent)
        assert head is not None
        if revoked:
            space.ended[founder.agent] = head.seq - 1
        await learn(space, [late], [founder.agent])
        assert space.witness_rows.is_final(late) is not revoked

    play(story, homes=2)


def test_who_claims_a_lot_crowds_out_its_own(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integration, "FETCHES_AT_ONCE_MAX", 4)

    async def story(swarm: Swarm) -> None:
        greedy, modest, home = swarm.homes
        lacks = [(FINAL, bytes([number])) for number in range(50)]
        asked = {lack: [modest.agent if lack == lacks[20] else greedy.agent] for lack in lacks}
        monkeypatch.setattr(home.cell.space.limbo, "askers", lambda _: asked)
        chosen = integration._fair_share(home.cell.space, lacks)
        assert len(chosen) == 4
        assert chosen[lacks[20]] == [modest.agent]

    play(story, homes=3)

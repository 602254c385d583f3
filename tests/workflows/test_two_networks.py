"""The same agents in two communities: what one of them signs in one is nothing in the other."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import trio

from dna.neighbourhood import DNA
from ioe_node.errors import IoeError
from ioe_node.model.record import WireRecord
from ioe_node.model.warrant import ChainFork, InvalidRecord, SignedWarrant, seal_warrant
from ioe_node.net.messages import Publish, Warrants
from ioe_node.workflows.integration import keep
from sim.scenarios.readings import enrol
from sim.swarm import Home, Swarm, open_swarm
from sim.virtual_clock import run_virtual

HOMES = 4
JUDGED_S = 10.0
OTHER = replace(DNA, properties=replace(DNA.properties, price_bp=1))


async def acquits(swarm: Swarm, judge: Home, bearer: Home, told: Publish | Warrants) -> None:
    """The judge blames whoever brings it and convicts nobody."""
    space = judge.cell.space
    charges = space.quota.charges(bearer.agent)
    with suppress(IoeError):
        await bearer.cell.space.ask(judge.agent, told)
    await trio.sleep(JUDGED_S)
    assert space.quota.charges(bearer.agent) > charges
    assert [home.cell.space.blocked for home in swarm.homes] == [set()] * HOMES


def test_what_is_signed_in_one_network_convicts_nobody_in_another(tmp_path: Path) -> None:
    async def story(here: Swarm, there: Swarm) -> None:
        victim, bearer, judge = there.homes[1:]
        assert [home.agent for home in here.homes] == [home.agent for home in there.homes]
        assert here.definition.hash != there.definition.hash
        shown: list[WireRecord] = []
        for swarm in (here, there):
            made = await enrol(swarm.homes[1], "meter")
            assert await swarm.settle()
            record = swarm.homes[3].store.record(made)
            assert record is not None
            shown.append(swarm.homes[3].store.alone(record).wire())
        elsewhere = shown[0]
        bare = [WireRecord(each.action, each.proof) for each in shown]
        now_us, sign = there.clock.now_us(), bearer.signer.sign
        fork = ChainFork(victim.agent, bearer.agent, now_us, bare[0], bare[1])
        false = InvalidRecord(victim.agent, judge.agent, now_us, elsewhere, "I do not like it")

        def signed(network: Swarm) -> SignedWarrant:
            return seal_warrant(fork, network.definition.hash, sign)

        await acquits(there, judge, bearer, Publish((elsewhere,)))
        await acquits(there, judge, bearer, Warrants((signed(there),)))
        await acquits(there, judge, bearer, Warrants((signed(here),)))

        lie = seal_warrant(false, here.definition.hash, judge.signer.sign)
        assert await keep(here.homes[0].cell.space, lie)
        assert here.homes[0].cell.space.blocked == {judge.agent}
        await acquits(there, there.homes[0], bearer, Warrants((lie,)))

    async def main() -> None:
        for name in ("here", "there"):
            (tmp_path / name).mkdir()
        async with (
            open_swarm(tmp_path / "here", 1, HOMES) as here,
            open_swarm(tmp_path / "there", 1, HOMES, OTHER) as there,
        ):
            await story(here, there)

    run_virtual(main, seed=1)

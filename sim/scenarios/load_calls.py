"""Holochain's load scenarios that measure calls, by their names.

They run `sim.load_dna`.  A call costs no virtual time but what the network takes, so these tell
round trips, deliveries and losses, and nothing of CPU; `bench.network` plays the same on real
processes.
"""

from collections.abc import Awaitable
from typing import Any

import trio

from ioe_node.errors import IoeError
from sim.home import Home
from sim.load_dna import DNA
from sim.scenario import Run, scenario

ACQUAINTED_S = 120.0
"""So long everyone has to meet everyone before a measurement begins."""

SETTLE_AGAIN_S = 0.05


async def load(home: Home, function: str, /, **payload: Any) -> Any:
    """One call of the load zome."""
    return await home.call("load", function, payload)


async def timed(call: Awaitable[Any]) -> tuple[float, Any]:
    """(virtual seconds, what it returned)."""
    began_s = trio.current_time()
    returned = await call
    return trio.current_time() - began_s, returned


async def acquainted(run: Run) -> None:
    """Wait until everyone has met everyone; the load begins now."""
    await trio.sleep(ACQUAINTED_S)
    await run.swarm.settle()
    run.begun_s = trio.current_time()


@scenario(nodes=3, minutes=1, dna=DNA, limits={"samples": (1, None)})
async def zome_call_single_value(run: Run, samples: int = 100) -> None:
    """A function that does nothing takes no time of the network's."""
    await acquainted(run)
    home = run.swarm.homes[-1]
    took = [(await timed(load(home, "echo", value=n)))[0] for n in range(samples)]
    run.result.spread("call", took)


@scenario(nodes=5, minutes=1, dna=DNA, limits={"samples": (1, None)})
async def remote_call_rate(run: Run, samples: int = 100) -> None:
    """A call that another node answers under a grant."""
    await acquainted(run)
    caller, callee = run.swarm.homes[0], run.swarm.homes[-1]
    await load(callee, "open_echo")
    took = []
    for number in range(samples):
        took_s, echoed = await timed(load(caller, "echo_at", agent=callee.agent, value=number))
        run.expect("remote calls are answered", echoed == number, f"call {number} gave {echoed}")
        took.append(took_s)
    run.result.spread("remote call", took)


@scenario(nodes=2, minutes=1, dna=DNA, limits={"signals": (1, None)})
async def local_signals(run: Run, signals: int = 1_000) -> None:
    """Every signal of a call reaches the node's clients."""
    home, received = run.swarm.homes[-1], 0

    def count(value: dict[str, Any]) -> None:
        nonlocal received
        received += value.get("kind") == "app"

    before, home.cell.space.signal = home.cell.space.signal, count
    await load(home, "local_signal", n=signals)
    home.cell.space.signal = before
    run.measure("sent", signals, "signals")
    run.measure("received", received, "signals")
    run.expect("signals arrive", received == signals, f"{received} of {signals}")


@scenario(nodes=10, minutes=1, dna=DNA)
async def two_party_settlement(run: Run) -> None:
    """Pairs pay each other back and forth, all at once; what is busy is tried again."""
    await acquainted(run)
    homes, samples, tries = run.swarm.homes, list[float](), 0

    async def pair(payer: Home, payee: Home) -> None:
        nonlocal tries
        while trio.current_time() < run.until_s:
            began_s = trio.current_time()
            while True:
                tries += 1
                try:
                    payment = {"payee": payee.agent, "amount_micro": 1}
                    await payer.call("currency", "pay", payment)
                    break
                except IoeError:
                    await trio.sleep(SETTLE_AGAIN_S)
            samples.append(trio.current_time() - began_s)
            payer, payee = payee, payer

    async with trio.open_nursery() as nursery:
        for at in range(0, len(homes) - 1, 2):
            nursery.start_soon(pair, homes[at], homes[at + 1])
        await run.pass_time()
    run.measure("settlements", len(samples) / run.options.virtual_s, "/s")
    run.measure("tries", tries, "")
    stuck = sum(home.store.promised() is not None for home in homes)
    run.measure("chains in doubt at the end", stuck, "")
    run.result.spread("settlement", samples)

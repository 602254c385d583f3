"""A swarm of the very nodes that run at home, in one process, on virtual time.

`virtual_clock` runs it repeatably, `network` stands for the wires, `swarm` starts, kills and
restarts ordinary `Cell`s on real SQLite files (`home`, `disk`), `faults` says what goes wrong
and when, `watch` and `checkers` look at what the nodes hold, and `scenarios` say what happens.
Invariant: everything that is drawn by lot is drawn from the seed, so the same seed gives the
same trace, in any process.

How to write a scenario
-----------------------
A scenario is one decorated async function.  In a file of your own it needs no change here:
`ioe-sim run --load FILE.py many_pay_one` imports the file first, and so do `sweep --load` and
`replay --load`.  Those of this package are in `sim/scenarios/`, whose `__init__` imports them.
It has a docstring, whose first line `ioe-sim list` shows; what follows
`run` in its signature are its own options, each an int, float, str or bool with a default of
that type, and each becomes an option of `ioe-sim run <scenario>`.  None may be called as one that
every scenario has (`nodes`, `seed`, `loss`, `results`...: `sim.scenario.RESERVED`).  What cannot
be a scenario is refused, in a line, when its file is loaded.

    from contextlib import suppress

    import trio

    from ioe_node.errors import IoeError
    from sim.home import Home
    from sim.scenario import Run, scenario

    @scenario(nodes=20, minutes=5, interval_s=60, limits={"every_s": (0.1, 60)})
    async def many_pay_one(run: Run, amount_micro: int = 5, every_s: float = 2.0) -> None:
        \"\"\"Everybody pays the same home, over and over.\"\"\"
        payee = run.swarm.homes[0]
        rng = run.rng("pauses")
        waits = []

        async def pay(home: Home) -> None:
            while trio.current_time() < run.until_s:
                begun_s = trio.current_time()
                with suppress(IoeError):
                    await home.call(
                        "currency", "pay", {"payee": payee.agent, "amount_micro": amount_micro}
                    )
                    waits.append(trio.current_time() - begun_s)
                await trio.sleep(every_s * rng.random())

        async with trio.open_nursery() as nursery:
            for home in run.swarm.homes[1:]:
                nursery.start_soon(pay, home)
            await run.pass_time()
        run.result.spread("payment", waits)

`nodes` and `minutes` are the defaults of `--nodes` and `--minutes`, `nodes_min` and
`minutes_min` the least with which it shows anything, `limits` the least and most of its own
options (None: no most), `refuse` says what is wrong with options together, and the community
runs the neighbourhood's DNA with that metering interval unless the decorator names a `dna`.  When
the function begins, so many homes run and have met nobody but the first.  It lasts until
`run.until_s`.  `Home.call` calls a zome function as the home's own client, `Home.get` reads a
record as `host.get` does; `swarm.kill`, `crash`, `lose_disk`, `start`, `bring_back` and `add`
move homes, `swarm.network` has `cut`, `cut_one_way`, `cut_off`, `partition` and `heal`,
`swarm.network.wires.conditions` the latency, loss and bandwidth, and `faults.draw` and
`faults.strike` a whole schedule of faults.  Draw lots only from `run.rng(name)`, and never
iterate over a set: both would make two runs of one seed differ.  Put figures down by
`run.measure` and `run.result.spread`.  The checkers look every few virtual seconds without
being asked; whoever a scenario makes dishonest belongs in `swarm.offenders` before it sins.
When the function returns, the swarm comes to rest and is checked as a whole (`settle=False` in
the decorator leaves that out, as for pure measurements with homes still dead).
"""

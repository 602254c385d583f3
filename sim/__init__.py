"""A swarm of the very nodes that run at home, in one process, on virtual time.

`virtual_clock` runs it repeatably, `network` stands for the wires, `swarm` starts, kills and
restarts ordinary `Cell`s on real SQLite files, `checkers` look at what they hold in the end,
and `scenarios` say what happens.  Invariant: everything that is drawn by lot is drawn from the
seed, so the same seed gives the same trace, in any process.
"""

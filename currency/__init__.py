"""Mutual credit: a promise between members, summing to zero, that no one can spend twice.

`ledger` is the arithmetic, pure and exact.  `integrity` makes it a rule of the DNA: each
settlement is one entry that both parties commit, names each party's previous one and states
its account after it, so a validator takes one step and not the history.  `delivery` says what a
match comes to once both meters have counted, `fees` who has a part of what is earned.
`coordinator` pays and reads balances; `selling` settles what `matches` finds due and shares out
the rest; `reports` tells a member's month and audits everybody.  `limit` says how far below zero
a member may go, `market` clears orders, both purely.  One credit is one kWh; one micro-credit one
mWh.
"""

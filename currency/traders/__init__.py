"""Traders: what an owner's agent bids, offers and lets the battery do, by policy, with a reason.

`trader` decides; `policy` is what the owner may ask for, `battery` the store and its set points,
`worth` what a stored kWh is worth, `reason` the why of each decision.  All of it is pure and in
integers.  The one invariant: *nothing of the future is known but what is published*.  A tariff
is published a day ahead and may be known; load and sun are not, and are only ever learned from
the same interval of past days: the owner's own meters, and the sum over the neighbourhood's,
which every member reads in the DHT.
"""

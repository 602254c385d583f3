"""The runtime of an Internet of Energy node; it knows no zome and no community.

An agent's source chain (`core`, `store`) becomes DHT ops that the closest agents validate,
hold and answer for (`workflows`, `cascade`), carried by a transport (`net`), driven by one
process that hosts cells (`conductor`), fed by devices (`drivers`) and used through a control
socket (`cli`).  Rules and functions live above, in `zomes`, `currency` and `dna`, and are
reached only by dotted name (`plugins`).
"""

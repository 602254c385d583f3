"""The shapes that everything else speaks of: hashes, actions, records, ops, warrants.

One invariant holds here: *bytes are canonical*.  Whatever is hashed or signed has exactly one
encoding; decoding refuses every other, so the bytes received are the bytes verified and no
one re-encodes them.  Everything in this package is pure: no clock, no disk, no network.
`ioe_node.core` builds its rules on these shapes, `ioe_node.store` keeps them,
`ioe_node.net` carries them.
"""

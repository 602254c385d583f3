"""How programs and browsers use a running node.

`http_*` is REST, a live stream, metrics and the page's files, on one port; a bearer token, which
is a capability grant, says what its holder may do.  Everything here is a client of the conductor:
it reads and calls what `ioe` reads and calls, and keeps nothing of its own but tokens.

Invariant: nothing that comes in over the wire ends the node, holds up its event loop, or makes it
keep more than the bounds that each module names.
"""

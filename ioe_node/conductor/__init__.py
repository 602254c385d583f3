"""The process that hosts cells: keys, cells, and the control socket that clients use.

A *cell* is one DNA run by one agent; the conductor owns the agent's transport and key store,
opens and closes cells, and runs their tasks in one nursery.  Invariant: one process a data
directory (a lock file says so).

A key's life: `keytree` makes it, `devices` gives a device its own, `succession` goes on to the next
one, `leaving` ends a device's life with its owner, `recovery` begins an owner's again from the
words.  Each of these is taken up after a crash where it was: what is under way stands in `home`.
"""

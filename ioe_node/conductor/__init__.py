"""The process that hosts cells: keys, cells, and the control socket that clients use.

A *cell* is one DNA run by one agent; the conductor owns the agent's transport and key store,
opens and closes cells, and runs their tasks in one nursery.  Invariant: one process a data
directory (a lock file says so).
"""

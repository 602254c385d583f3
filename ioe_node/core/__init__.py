"""The rules of chain and DHT, pure: what may follow, who holds what, what was agreed.

Functions of their arguments; time and randomness come in, bytes and verdicts come out.
`core/x` holds the rule and `workflows/x` drives it, so that the daemon and the simulator run
the same code.  Neighbours: `ioe_node.model` below, `ioe_node.workflows` above.
"""

"""What a cell keeps on disk: one SQLite file a cell (WAL), and all SQL of the node.

Invariant: only validated records are in the `record` table, and a bundle is there whole or
not at all, with everything that its commit implies, in one transaction.  Bytes that fail
their own hash when read raise; they are never handed on.  Above: `ioe_node.cascade` and
`ioe_node.workflows`.  Beside the cells' files stands one a node, the history of its meters.
"""

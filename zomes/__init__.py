"""The modules of the Internet of Energy, one folder a zome.

`integrity.py` holds a zome's data and rules and is pure: its bytes are part of the DNA's hash,
so changing a line of it makes another network.  `coordinator.py` holds the functions that
clients call and may change freely.  Zomes import `ioe_node.hdi` and `ioe_node.hdk` and never
each other: they meet at run time, by name.  The mutual credit is a zome like these and lives
in `currency`.
"""

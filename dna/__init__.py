"""DNAs: which zomes make a network, and the properties that a community may set.

A clone with its own seed or properties is another network with other members.
"""

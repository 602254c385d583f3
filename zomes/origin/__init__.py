"""Certificates of origin: what made a kilowatt-hour, who held it, and how it ended.

Each agent's ledger of certificates is its own chain, step by step, as its credit is: so no energy
is counted twice, and anyone can follow a kilowatt-hour from panel to socket.
"""

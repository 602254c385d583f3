"""A match: what a gate says that two members trade of one interval's energy, and at what price.

It is all that a settlement knows of a market: how it came about is the gate's affair.
"""

from dataclasses import dataclass

from ioe_node.hdi import ActionHash, AgentPubKey


@dataclass(frozen=True)
class Match:
    """Energy from `seller` to `buyer`, for their orders `ask` and `bid`.

    `price_micro` is in micro-credits a kWh.
    """

    bid: ActionHash
    ask: ActionHash
    buyer: AgentPubKey
    seller: AgentPubKey
    energy_milli_wh: int
    price_micro: int

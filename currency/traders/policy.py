"""What an owner may ask of a trader: a policy by name, and bounds that hold under any of them."""

from dataclasses import dataclass

BASIS_POINTS = 10_000
MICRO_MAX = 1_000_000_000
"""What an order's limit may come to at all: a thousand credits a kWh."""


@dataclass(frozen=True)
class Policy:
    """How to trade.  Every policy seeks the lowest cost within what it is bound to.

    `clean_only` buys ahead and stores nothing but clean energy; what the home draws beyond comes
    as it comes.  `local_first` meets neighbours that wish the same before all others.  No bid is
    above `buy_max_micro`, no ask below `sell_min_micro`, and `reserve_bp` of the battery's
    capacity is never sold or used.
    """

    name: str = "lowest-cost"
    clean_only: bool = False
    local_first: bool = False
    buy_max_micro: int = MICRO_MAX
    sell_min_micro: int = -MICRO_MAX
    reserve_bp: int = 0


POLICIES = {
    policy.name: policy
    for policy in (
        Policy(),
        Policy("clean-only", clean_only=True),
        Policy("local-first", local_first=True),
        Policy("reserve", reserve_bp=2_000),
    )
}
"""By name; `reserve` keeps a fifth, which most inverters ship with."""

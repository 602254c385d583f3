"""The neighbourhood: devices with owners, metered energy, mutual credit.

Amend a property with `ioe community create --set NAME=VALUE`; the properties are part of the
network's name, so they hold for everyone in it.
"""

from dataclasses import dataclass

import currency.reports
import zomes.claims.coordinator
import zomes.claims.credential
import zomes.claims.profile
import zomes.community.coordinator
import zomes.demand.coordinator
import zomes.identity.coordinator
import zomes.invoice.coordinator
import zomes.market.coordinator
import zomes.metering.coordinator
import zomes.origin.coordinator
import zomes.origin.views
import zomes.reputation.coordinator
from currency import fees
from currency.app import Trading
from currency.fees import Fee
from currency.market.gate import MECHANISMS
from currency.value import Values
from ioe_node.hdi import DIGEST_BYTES
from ioe_node.hdk import AgentPubKey, DnaDef, Zome
from zomes.demand.app import Demand
from zomes.market.integrity import TALLIES_PER_GATE_MAX

SECOND_US = 1_000_000
NEUTRAL = Values()
BASIS_POINTS = 10_000


@dataclass(frozen=True)
class Properties:
    """What a community fixes for all its members.

    `stewards` may invite, and `recovery` names the key-holders of each, in the same order, by
    their digest (empty for none; `()` for none at all); `approvers` (the stewards, if none are
    named) approve devices, by `approval_quorum` of their voices; `interval_us` is the settlement
    period; `price_bp` is what a kWh costs, in basis points of a credit; `credit_limit_micro` is
    how far below zero any member may go, and `limit_share_bp` how much further for each kWh that
    it sold of late, up to `limit_raise_micro_max`: for half to a whole `limit_window_us`; past
    `soft_limit_bp` of its limit a member is warned; `grid_import_micro` and `grid_export_micro`
    are what the grid takes and pays for a kWh, in micro-credits: what was matched and not kept is
    settled against them; `fees` are parts of what sellers earn; `reserves` are the agents that
    give credits for cash and cash for credits, and may owe up to `reserve_limit_micro` each;
    `power_milli_w_max` is the largest connection's rating.
    `mechanism` clears the market, at gates that `gate_quorum` members have signed, or more.
    `verifiers` may vouch for certificates of origin, and `values` (`currency.value`) is what makes
    a kWh worth more or less, and what it weighs in CO2.
    """

    stewards: tuple[AgentPubKey, ...] = ()
    recovery: tuple[bytes, ...] = ()
    approvers: tuple[AgentPubKey, ...] = ()
    approval_quorum: int = 1
    interval_us: int = 15 * 60 * 1_000_000
    price_bp: int = 10_000
    credit_limit_micro: int = 100_000_000
    limit_share_bp: int = 0
    limit_window_us: int = 90 * 24 * 3_600 * SECOND_US
    limit_raise_micro_max: int = 100_000_000
    soft_limit_bp: int = 8_000
    grid_import_micro: int = 1_300_000
    grid_export_micro: int = 700_000
    fees: tuple[Fee, ...] = ()
    reserves: tuple[AgentPubKey, ...] = ()
    reserve_limit_micro: int = 0
    power_milli_w_max: int = 100_000_000
    verifiers: tuple[AgentPubKey, ...] = ()
    values: Values = NEUTRAL
    mechanism: str = "uniform"
    gate_quorum: int = 1

    def __post_init__(self) -> None:
        """Refuse what no community can run on; `ValueError` says what."""
        if len(self.recovery) not in (0, len(self.stewards)):
            raise ValueError("recovery names the key-holders of every steward, or of none")
        if any(len(digest) not in (0, DIGEST_BYTES) for digest in self.recovery):
            raise ValueError(f"recovery names key-holders by {DIGEST_BYTES} bytes, or by none")
        if self.interval_us <= 0 or self.interval_us % SECOND_US:
            raise ValueError("interval_us is a whole number of seconds, in microseconds")
        if min(self.price_bp, self.credit_limit_micro, self.power_milli_w_max) < 0:
            raise ValueError("price_bp, credit_limit_micro and power_milli_w_max are not negative")
        if self.limit_window_us <= 0 or min(self.limit_share_bp, self.limit_raise_micro_max) < 0:
            raise ValueError("limit_window_us is positive; what raises a limit is not negative")
        if self.reserve_limit_micro < 0:
            raise ValueError("reserve_limit_micro is not negative")
        if not 0 <= self.soft_limit_bp <= BASIS_POINTS:
            raise ValueError("soft_limit_bp is a part of the limit, in basis points")
        if self.grid_import_micro < max(0, self.grid_export_micro):
            raise ValueError("grid_import_micro is not negative, nor less than grid_export_micro")
        if (fault := fees.fault(self.fees)) is not None:
            raise ValueError(fault)
        if not 1 <= self.approval_quorum <= max(1, len(set(self.approvers or self.stewards))):
            raise ValueError("approval_quorum is at least 1, and at most as many as may approve")
        if self.mechanism not in MECHANISMS:
            raise ValueError(f"mechanism is one of {', '.join(MECHANISMS)}")
        if not 1 <= self.gate_quorum <= TALLIES_PER_GATE_MAX:
            raise ValueError(f"gate_quorum is 1 to {TALLIES_PER_GATE_MAX}")


def _zome(module: object) -> Zome:
    coordinator = module.zome  # type: ignore[attr-defined]  # every coordinator module has one
    return Zome(coordinator.integrity, coordinator)


DNA = DnaDef(
    name="neighbourhood",
    zomes=(
        _zome(zomes.community.coordinator),
        _zome(zomes.identity.coordinator),
        _zome(zomes.metering.coordinator),
        _zome(currency.reports),
        _zome(zomes.invoice.coordinator),
        _zome(zomes.market.coordinator),
        _zome(zomes.origin.coordinator),
        _zome(zomes.claims.coordinator),
        _zome(zomes.reputation.coordinator),
        _zome(zomes.demand.coordinator),
    ),
    properties=Properties(),
    apps=(Demand, Trading),
)

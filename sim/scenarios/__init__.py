"""The scenarios, one file a group; importing this package registers them all.

`sim.scenario` says what one is; `ioe-sim list` names them.
"""

from sim.scenario import SCENARIOS, Options, Run, Scenario, run_scenario, scenario
from sim.scenarios.growth import join_large_network, unresponsive
from sim.scenarios.healing import kill_third, partition_heal
from sim.scenarios.hostile import hostile
from sim.scenarios.load_calls import (
    local_signals,
    remote_call_rate,
    two_party_settlement,
    zome_call_single_value,
)
from sim.scenarios.load_reads import (
    get_agent_activity,
    validation_receipts,
    write_read,
    write_validated,
    zero_arc_create_and_read,
)
from sim.scenarios.load_spread import dht_sync_lag
from sim.scenarios.metering import metering
from sim.scenarios.neighbourhood import HOUR_S, neighbourhood

__all__ = [
    "HOUR_S",
    "SCENARIOS",
    "Options",
    "Run",
    "Scenario",
    "dht_sync_lag",
    "get_agent_activity",
    "hostile",
    "join_large_network",
    "kill_third",
    "local_signals",
    "metering",
    "neighbourhood",
    "partition_heal",
    "remote_call_rate",
    "run_scenario",
    "scenario",
    "two_party_settlement",
    "unresponsive",
    "validation_receipts",
    "write_read",
    "write_validated",
    "zero_arc_create_and_read",
    "zome_call_single_value",
]

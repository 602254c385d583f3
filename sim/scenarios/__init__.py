"""The scenarios, one file a group; importing this package registers them all.

`sim.scenario` says what one is; `ioe-sim list` names them.
"""

from sim.scenario import SCENARIOS, Options, Run, Scenario, run_scenario, scenario
from sim.scenarios.growth import join_large_network, unresponsive
from sim.scenarios.healing import kill_third, partition_heal
from sim.scenarios.hostile import hostile
from sim.scenarios.metering import metering
from sim.scenarios.neighbourhood import HOUR_S, neighbourhood

__all__ = [
    "HOUR_S",
    "SCENARIOS",
    "Options",
    "Run",
    "Scenario",
    "hostile",
    "join_large_network",
    "kill_third",
    "metering",
    "neighbourhood",
    "partition_heal",
    "run_scenario",
    "scenario",
    "unresponsive",
]

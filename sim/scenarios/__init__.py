"""The scenarios, one file a group; importing this package registers them all.

`sim.scenario` says what one is; `ioe-sim list` names them.
"""

from sim.scenario import SCENARIOS, Options, Run, Scenario, run_scenario, scenario
from sim.scenarios.hostile import hostile
from sim.scenarios.neighbourhood import HOUR_S, neighbourhood

__all__ = [
    "HOUR_S",
    "SCENARIOS",
    "Options",
    "Run",
    "Scenario",
    "hostile",
    "neighbourhood",
    "run_scenario",
    "scenario",
]

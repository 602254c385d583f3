"""Each fault shown on the host as shipped, and gone with its own mend alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ioe_node.net.libp2p_faults import AS_SHIPPED, mend_host

SCRIPT = Path(__file__).with_name("fault_scenarios.py")
ROOT = Path(__file__).parents[2]
SLOTS, DIALS = 3, 9  # as in the script


@pytest.mark.parametrize(
    ("scenario", "as_shipped", "mended"),
    [
        ("deaf", SLOTS, DIALS),
        ("cancelled-write", False, True),
        ("escaping-exception", False, True),
        ("stale-identity", False, True),
    ],
)
def test_the_fault_is_there_and_its_mend_mends_it(
    scenario: str, as_shipped: object, mended: object
) -> None:
    def run(state: str) -> object:
        done = subprocess.run(
            [sys.executable, str(SCRIPT), scenario, state],
            capture_output=True,
            check=True,
            timeout=60,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        return json.loads(done.stdout)

    assert run("as-shipped") == as_shipped
    assert run("mended") == mended


def test_all_mends_apply_at_once_and_any_number_of_times() -> None:
    for _ in range(2):
        mend_host()
        for (owner, name), original in AS_SHIPPED.items():
            assert getattr(owner, name) is not original

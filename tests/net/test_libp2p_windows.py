"""Credit by the half window: fewer frames, and nothing that waits for ever."""

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("window_scenario.py")
ROOT = Path(__file__).parents[2]
ROUNDS = 20  # as in the script
BULK_BYTES = 2 * 3 * 1024 * 1024


def test_short_messages_need_few_updates_and_long_ones_come_through() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT)],
        capture_output=True,
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    found = json.loads(done.stdout)
    assert found["as_shipped"] >= 2 * ROUNDS, "it is mended upstream: the module can go"
    assert found["mended"] <= found["as_shipped"] / 4
    assert found["bulk"] == BULK_BYTES

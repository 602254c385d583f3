"""Acceptance: two homes behind NATs, in network namespaces, with real nodes (`sim.nat`)."""

import subprocess
import sys
from pathlib import Path

import pytest

from sim.nat import SKIPPED, why_not

ROOT = Path(__file__).parents[2]


def test_a_device_behind_one_nat_is_owned_from_behind_another_though_relays_die(
    capsys: pytest.CaptureFixture[str],
) -> None:
    if reason := why_not():
        with capsys.disabled():
            print(f"\nSKIPPED, the two homes behind NATs: {reason}")
        pytest.skip(reason)
    done = subprocess.run(
        [sys.executable, "-m", "sim.nat"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    print(done.stdout)
    assert done.returncode not in (1, SKIPPED), done.stdout + done.stderr
    assert done.returncode == 0, done.stderr
    assert "took over from" in done.stdout
    assert "the direct path took over" in done.stdout

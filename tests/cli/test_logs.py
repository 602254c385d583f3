"""What a running node logs: lines, or JSON objects that a collector takes."""

import json
import logging
import subprocess
import sys

import pytest

from ioe_node.cli.logs import JsonLines

SAY = """
import logging
from ioe_node.cli.logs import log_to_stderr
log_to_stderr({level!r}, {as_json!r})
logging.getLogger("ioe.test").info("käse\\n%s", 1)
logging.getLogger("libp2p.host").warning("noise")
logging.getLogger("ioe.test").error("late")
"""


@pytest.mark.parametrize(
    ("level", "said"),
    [("debug", ["käse", "noise", "late"]), ("info", ["käse", "late"]), ("error", ["late"])],
)
def test_levels(level: str, said: list[str]) -> None:
    command = [sys.executable, "-c", SAY.format(level=level, as_json=True)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    lines = [json.loads(line) for line in shown.splitlines()]
    assert [line["text"].split("\n")[0] for line in lines] == said
    assert {line["logger"] for line in lines} <= {"ioe.test", "libp2p.host"}


def test_an_error_is_one_line_too() -> None:
    try:
        raise ValueError("why")
    except ValueError:
        record = logging.getLogger("ioe").makeRecord(
            "ioe", logging.ERROR, "f", 1, "failed", (), sys.exc_info()
        )
    line = JsonLines().format(record)
    assert "\n" not in line
    said = json.loads(line)
    assert (said["level"], said["text"]) == ("error", "failed")
    assert said["error"].endswith("ValueError: why")
    assert said["at"].endswith("+00:00")

"""The tutorial does what it says: its own boxes, run as they stand, by real processes.

Only the clock is turned faster: a settlement period of a second, a price that changes every few.
"""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import click
import pytest

from ioe_node.conductor.policy import TEMPLATE as POLICY
from ioe_node.config import DEVICE_TEMPLATE, OWNER_TEMPLATE, TEMPLATE
from tests.test_readme import COMMANDS, parse_line

ROOT = Path(__file__).parents[1]
TUTORIAL = (ROOT / "examples/smart_plug/README.md").read_text(encoding="utf-8")
BOXES = re.findall(r"^```(sh|bash)\n(.*?)^```", TUTORIAL, flags=re.MULTILINE | re.DOTALL)
CHAPTERS = (
    "Needs|Set-up|Controls|Identity|Discovery|Driver|Currency and grammar|Neighbours|Front end"
    "|What happens inside|Write your own|Troubleshooting|Clear away"
)
FASTER = (
    ("interval_us=10000000", "interval_us=1000000"),
    ("poll_ms = 2000", "poll_ms = 200"),
    ("every_ms = 10000/", "every_ms = 1000/"),
    ("cheap, dear, at = 90, 60,", "cheap, dear, at = 11, 6,"),
    ("min_off_s=10 min_on_s=10 override_s=15", "min_off_s=1 min_on_s=1 override_s=2"),
)
TIME_MAX_S = 240
IOE = """\
#!{python}
import sys
sys.path.insert(0, {root!r})
import zomes.demand.app
zomes.demand.app.LOOK_EVERY_S = 1
from ioe_node.cli.main import main
main()
"""


def test_its_chapters_are_those_that_a_plugs_life_has() -> None:
    assert "|".join(re.findall(r"^## \d+ (.*)$", TUTORIAL, flags=re.MULTILINE)) == CHAPTERS


def test_every_path_it_names_exists() -> None:
    named = re.findall(r"`((?:ioe_node|zomes|currency)/[\w./]*)`", TUTORIAL)
    assert len(named) > 10
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_command_line_in_its_boxes_can_be_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("policy.toml").touch()
    script = "\n".join(text for _, text in BOXES).replace("\\\n", " ")
    lines = re.findall(r"\bioe (?:(?! 2>)[^|&;><)\n])*", script)
    assert len(lines) > 40
    for line in lines:
        parse_line(shlex.split(line))


def test_every_command_that_its_text_names_exists() -> None:
    lines = re.findall(r"`(ioe [^`]*)`", TUTORIAL)
    assert len(lines) > 15
    for line in lines:
        words = re.sub(r"--home \w+ ", "", line).split()
        command = COMMANDS.get(" ".join(words[:2]))
        if isinstance(command, click.Group):
            command = COMMANDS.get(" ".join(words[:3]))
        assert command is not None, line
        known = {name for each in command.params for name in each.opts}
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known, line


@pytest.mark.parametrize("text", [POLICY, TEMPLATE, OWNER_TEMPLATE, DEVICE_TEMPLATE])
def test_every_command_that_a_template_names_exists(text: str) -> None:
    for first, second in re.findall(r"\bioe ([a-z]+)(?: ([a-z]+))?", text):
        command = COMMANDS.get(f"ioe {first}")
        assert command is not None, first
        if isinstance(command, click.Group) and second:
            assert f"ioe {first} {second}" in COMMANDS


def faster(port: int) -> str:
    script = "\n".join(text for kind, text in BOXES if kind == "sh").replace("8099", str(port))
    for slow, fast in FASTER:
        assert slow in script
        script = script.replace(slow, fast)
    return f"set -e\n{script}"


def test_the_plug_is_claimed_switches_off_while_power_is_dear_and_is_paid(tmp_path: Path) -> None:
    command = tmp_path / "bin" / "ioe"
    command.parent.mkdir()
    command.write_text(IOE.format(python=sys.executable, root=str(ROOT)))
    command.chmod(0o700)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    path = f"{command.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "HOME": str(tmp_path), "PATH": path, "PYTHONPATH": str(ROOT)}
    log = tmp_path / "log"
    with log.open("wb") as out:
        shell = subprocess.Popen(
            ["bash", "-c", faster(port)],
            env=environment | {"COLUMNS": "200"},
            cwd=tmp_path,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = shell.wait(TIME_MAX_S)
        finally:
            with suppress(ProcessLookupError):  # nobody is left where all went well
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
    said = log.read_text()
    assert code == 0, said
    seen = (
        r"switched on",
        r"claimed consumer 'heater'",
        r"heater is off",
        r"│ claimed +│ saved while off: 0\.\d+ kWh, which earns 0\.\d+",
        r"│ off +│ the price is more than 20 % above the average: 0\.450 now",
        r"│ final +│ saved|│ pending +│ saved",
        r"sum 0\.000",
        r"joined street-",
        r"paid 0\.1 to uhCAk",
        r"deals only with its owner",
        r"http://127\.0\.0\.1:\d+/#token=",
        r"power 100\.000 W",
        r"longest_s = 3600",
        r"good +driver: ok",
    )
    assert [each for each in seen if not re.search(each, said)] == [], said

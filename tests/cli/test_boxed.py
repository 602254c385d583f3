"""A boxed device and its owner as real processes: the code, the QR code, the button, the alerts."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ioe_node.cli.alerts import line

DEVICE = ("init", "--role", "device", "--kind", "generator", "--name", "roof")
STEADY = ("--driver", "steady_meter:Steady", "--option", "power_milli_w=-1000")
HERE = ("--address", "127.0.0.1")


def change(home: Path, before: str, after: str) -> None:
    config = home / "config.toml"
    text = config.read_text()
    assert text.count(before) == 1
    config.write_text(text.replace(before, after))


def following(home: Path) -> "subprocess.Popen[str]":
    words = [sys.executable, "-m", "ioe_node.cli.main", "--home", str(home)]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    return subprocess.Popen(
        [*words, "alerts", "--follow", "--json"], stdout=subprocess.PIPE, text=True, env=environment
    )


def test_from_the_box_to_its_owner(ioe: Any, daemon: Any, tmp_path: Path) -> None:
    out = tmp_path / "hook"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ncat >> {out}\necho >> {out}\n")
    program.chmod(0o700)
    ioe("init", *HERE)
    change(tmp_path / "owner", "command = []", f'command = ["{program}"]')
    owner = daemon("owner").wait_ready()
    ioe("community", "create", "street")
    (address,) = json.loads(ioe("status", "--json").out)["addresses"]
    ioe(*DEVICE, *STEADY, *HERE, home="roof")
    change(tmp_path / "roof", "bootstrap = []", f'bootstrap = ["{address}"]')
    change(tmp_path / "roof", 'confirm = "none"', 'confirm = "button"')
    roof = daemon("roof").wait_ready()
    shown = json.loads(ioe("device", "code", "--json", home="roof").out)
    png = tmp_path / "sticker.png"
    people = ioe("device", "code", "--png", str(png), home="roof").out
    for said in (people, roof.said()):
        assert shown["code"] in said
        assert shown["uri"] in said
        assert "█▀" in said
    assert png.read_bytes().startswith(b"\x89PNG")
    assert ioe("policy", "show", home="roof").out.startswith("# The factory policy")

    policy = tmp_path / "policy.toml"
    policy.write_text(ioe("policy", "show").out.replace("sell = true\nbuy", "sell = false\nbuy"))
    assert "version 1 is in force" in ioe("policy", "set", str(policy)).out
    owner.wait_for(lambda: "roof" in ioe("device", "list").out)
    wrong = shown["uri"][:-1] + str((int(shown["uri"][-1]) + 1) % 10)
    assert "code is wrong" in ioe("device", "claim", wrong, code=3).err
    with following(tmp_path / "roof") as follower:
        claim = subprocess.Popen(
            [sys.executable, "-m", "ioe_node.cli.main", "--home", str(tmp_path / "owner"), "device",
             "claim", shown["uri"]],
            stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )  # fmt: skip
        roof.wait_for(lambda: "waits for" in ioe("device", "code", home="roof", code=None).out)
        assert "takes uhCAk" in ioe("device", "confirm", home="roof").out
        said, _ = claim.communicate(timeout=20)
        assert "claimed generator 'roof'" in said
        assert "attempts to pair with it that had failed before: 1" in said
        assert follower.stdout is not None
        kinds: list[str] = []
        while "owned" not in kinds:
            kinds.append(json.loads(follower.stdout.readline())["kind"])
        follower.kill()
    assert kinds.index("confirm") < kinds.index("owned")
    assert ioe("policy", "show", home="roof").out == policy.read_text()
    owner.wait_for(lambda: out.exists() and '"appeared"' in out.read_text())
    first = json.loads(out.read_text().splitlines()[0])
    assert first in json.loads(ioe("alerts", "--json").out)
    assert line(first) in ioe("alerts").out
    assert line(first) not in ioe("alerts", "--since", str(first["id"])).out
    assert "roof" in ioe("status").out

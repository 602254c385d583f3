"""The wheel holds what the checkout holds, under the same names, with its licence and scripts."""

import shutil
import subprocess
import sys
import tomllib
from email.message import Message
from email.parser import Parser
from importlib import import_module
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
DIST_INFO = f"ioe_node-{PROJECT['version']}.dist-info"
PACKAGES = {"ioe_node", "zomes", "dna", "discovery", "currency", "sim"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    """Built from this checkout, without a network."""
    to = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(to)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (built,) = to.glob("*.whl")
    return ZipFile(built)


@pytest.fixture(scope="module")
def metadata(wheel: ZipFile) -> Message:
    return Parser().parsestr(wheel.read(f"{DIST_INFO}/METADATA").decode())


def test_the_wheel_holds_the_six_packages_and_nothing_beside_them(wheel: ZipFile) -> None:
    assert {name.partition("/")[0] for name in wheel.namelist()} == {*PACKAGES, DIST_INFO}


def test_every_module_of_the_checkout_is_in_the_wheel(wheel: ZipFile) -> None:
    sources = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
    }
    assert {name for name in wheel.namelist() if name.endswith(".py")} == sources


def test_the_licence_is_in_the_wheel_and_named(wheel: ZipFile, metadata: Message) -> None:
    assert metadata["License-Expression"] == "GPL-3.0-or-later"
    assert metadata.get_all("License-File") == ["LICENSE"]
    text = wheel.read(f"{DIST_INFO}/licenses/LICENSE")
    assert text == (ROOT / "LICENSE").read_bytes()
    assert b"GNU GENERAL PUBLIC LICENSE" in text
    assert b"Version 3, 29 June 2007" in text


def test_the_metadata_says_what_a_package_index_shows(metadata: Message) -> None:
    assert metadata["Name"] == "ioe-node"
    assert metadata["Requires-Python"] == ">=3.11"
    assert "libp2p==0.8.1" in metadata.get_all("Requires-Dist", [])


def test_the_scripts_lead_to_functions(wheel: ZipFile) -> None:
    lines = wheel.read(f"{DIST_INFO}/entry_points.txt").decode().split("\n")
    scripts = dict(line.split(" = ") for line in lines if " = " in line)
    assert scripts == {"ioe": "ioe_node.cli.main:main", "ioe-sim": "sim.cli:main"}
    for target in scripts.values():
        module, _, function = target.partition(":")
        assert callable(getattr(import_module(module), function)), target


def test_the_image_is_built_of_what_is_here() -> None:
    lines = (ROOT / "packaging" / "Dockerfile").read_text("utf-8").splitlines()
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY") and "--" not in line]
    named = {name for names in copied for name in names}
    assert all((ROOT / name).exists() for name in named)
    assert named >= PACKAGES


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here to judge it")
def test_systemd_takes_the_unit() -> None:
    command = ["systemd-analyze", "verify", str(ROOT / "packaging" / "ioe-node.service")]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stderr
    faults = [line for line in said.splitlines() if "/opt/ioe-node/bin/ioe" not in line]
    assert not [line for line in faults if line.startswith("ioe-node.service")]

"""JavaScript peers: their locked packages, installed once a lock into the user's cache."""

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

NODE_MAJOR_MIN = 20  # as the package.json files say
HERE = Path(__file__).parent


def node_major() -> int:
    """The major version of node; 0 where there is none that tells."""
    if shutil.which("node") is None:
        return 0
    told = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False)
    version = re.match(r"v(\d+)\.", told.stdout)
    return int(version[1]) if version else 0


@pytest.fixture(scope="session")
def js_script() -> Callable[[str, str], Path]:
    """`js_script(folder, script)`: the script with its packages beside it, ready for node."""
    if node_major() < NODE_MAJOR_MIN or shutil.which("npm") is None:
        pytest.skip(f"needs node {NODE_MAJOR_MIN} or later, and npm")

    def prepare(folder: str, script: str) -> Path:
        source = HERE / folder
        lock = source.joinpath("package-lock.json").read_bytes()
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        home = cache / "ioe-node" / f"{folder}-{hashlib.sha256(lock).hexdigest()[:16]}"
        home.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json", script):
            shutil.copy(source / name, home / name)
        installed = home / "installed"
        if not installed.exists():
            flags = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
            subprocess.run(["npm", "ci", *flags], cwd=home, check=True, timeout=300)
            installed.touch()
        return home / script

    return prepare

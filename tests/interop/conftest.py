"""JavaScript peers, ready to run."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def js_script(js_packages: Callable[[Path], Path]) -> Callable[[str, str], Path]:
    """`js_script(folder, script)`: the script with its packages beside it, ready for node."""

    def prepare(folder: str, script: str) -> Path:
        source = HERE / folder
        home = js_packages(source)
        shutil.copy(source / script, home / script)
        return home / script

    return prepare

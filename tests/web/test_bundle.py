"""The built page that is committed: small, all of its own, and what the source builds to."""

import gzip
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WEB = ROOT / "web"
BUILT = ROOT / "ioe_node" / "api" / "page"
GZIP_BYTES_MAX = 60_000
SOURCES = ("index.html", "package.json", "tsconfig.json", "vite.config.js", "src", "public")
LANGUAGES = sorted(WEB.glob("src/i18n/*.json"))
# Keys that are put together from what the node says, or from a view's, a span's or a source's name.
COMPOSED = re.compile(
    r"(alert|app|connection|day|did|entry|flow|help|kind|language|market|setting|source|span|state"
    r"|theme|view)\."
)


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def catalogue(path: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads(path.read_text("utf-8"))
    return found


def test_it_is_small() -> None:
    sizes = {name: len(gzip.compress(data, 9)) for name, data in files(BUILT).items()}
    print(sizes)
    assert sum(sizes.values()) <= GZIP_BYTES_MAX, sizes


def test_it_loads_nothing_from_elsewhere_and_runs_nothing_inline() -> None:
    """So that the content security policy can be: its own files, and nothing else."""
    page = (BUILT / "index.html").read_text("utf-8")
    assert re.findall(r"<script(?![^>]* src=)", page) == []
    assert not re.search(r"<style|\sstyle=|\son\w+=", page)
    for address in re.findall(r'(?:src|href)="([^"]*)"', page):
        assert (BUILT / address).is_file(), address
    styles = (BUILT / "page.css").read_text("utf-8")
    assert "url(" not in styles
    assert "@import" not in styles


def test_it_is_what_the_source_builds_to(
    js_packages: Callable[[Path], Path], tmp_path: Path
) -> None:
    """`npm run build` in web/ makes it again; tsc has no complaint."""
    home = js_packages(WEB)
    source = tmp_path / "web"
    source.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (WEB / name).is_dir() else shutil.copy
        copy(WEB / name, source / name)
    (source / "node_modules").symlink_to(home / "node_modules")
    done = subprocess.run(
        ["npm", "run", "build"], cwd=source, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    made, kept = files(tmp_path / "ioe_node" / "api" / "page"), files(BUILT)
    assert sorted(made) == sorted(kept)
    differ = [name for name in made if made[name] != kept[name]]
    assert not differ, f"{differ} are older than web/src: npm run build in web/, and commit"


@pytest.mark.parametrize("path", LANGUAGES, ids=lambda path: str(path.stem))
def test_no_language_lacks_a_text(path: Path) -> None:
    english, found = catalogue(WEB / "src/i18n/en.json"), catalogue(path)
    assert list(found) == list(english)
    assert all(found.values())
    for key, text in english.items():
        assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", found[key]))


def test_every_text_is_used_and_every_text_used_is_there() -> None:
    source = "\n".join(path.read_text("utf-8") for path in sorted(WEB.glob("src/**/*.ts*")))
    english = catalogue(WEB / "src/i18n/en.json")
    used = set(re.findall(r'\bt\(\s*"([^"]+)"', source))
    assert used <= set(english)
    mentioned = set(re.findall(r'"([a-z_]+(?:\.[a-z0-9_]+)*)"', source))
    assert [key for key in english if key not in mentioned and not COMPOSED.match(key)] == []
    assert len(LANGUAGES) >= 2

"""Our hashes are byte for byte those of Holochain's own JavaScript client library."""

import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ioe_node.model import hashes
from ioe_node.model.hashes import LOCATION, agent_key, check_hash, from_text, location_of, to_text

CORES = [bytes(32), b"\xff" * 32, bytes(range(32))] + [
    hashlib.sha256(number.to_bytes(2, "big")).digest() for number in range(64)
]


@pytest.fixture(scope="session")
def theirs(js_script: Callable[[str, str], Path]) -> list[dict[str, object]]:
    """What the library makes of `CORES`."""
    script = js_script("js_hashes", "holochain_hashes.mjs")
    command = ["node", str(script), *(core.hex() for core in CORES)]
    done = subprocess.run(command, check=True, timeout=60, capture_output=True)
    report: list[dict[str, object]] = json.loads(done.stdout)
    return report


def test_locations_agree(theirs: list[dict[str, object]]) -> None:
    assert [one["location"] for one in theirs] == [location_of(core).hex() for core in CORES]


@pytest.mark.parametrize("kind", ["agent", "entry", "dna", "external", "warrant", "action", "op"])
def test_hashes_and_texts_agree(theirs: list[dict[str, object]], kind: str) -> None:
    prefix = {name: prefix for prefix, name in hashes.KIND_OF_PREFIX.items()}[kind]
    for core, one in zip(CORES, theirs, strict=True):
        made = prefix + core + location_of(core)
        assert one["hashes"][kind] == {"hex": made.hex(), "text": to_text(made)}  # type: ignore[index]
        assert from_text(to_text(made), prefix) == made


def test_an_agent_is_its_public_key(theirs: list[dict[str, object]]) -> None:
    for core, one in zip(CORES, theirs, strict=True):
        assert agent_key(core).hex() == one["hashes"]["agent"]["hex"]  # type: ignore[index]


def test_an_action_has_its_authors_location_instead(theirs: list[dict[str, object]]) -> None:
    author = agent_key(CORES[3])
    ours = hashes.action_hash(b"an action", author)
    check_hash(ours, hashes.ACTION)
    assert ours[LOCATION] == author[LOCATION]

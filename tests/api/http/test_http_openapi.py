"""The document says what is served, and what is served is in the document; fuzzed against it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
from starlette.routing import BaseRoute, Mount, Route

from ioe_node.api.http_app import Api, routes_of
from ioe_node.api.http_openapi import WHY, document
from ioe_node.api.http_routes import ROUTES, depth_of

FUZZ_SECONDS = int(os.environ.get("IOE_FUZZ_SECONDS", "0"))
EXAMPLES_PER_ROUTE = 12
UNDOCUMENTED = {"/{path:path}"}
"""The page's files."""
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "ignored_auth",
)


async def test_every_route_is_in_the_document(owner: Any) -> None:
    found = await owner.get("/openapi.json")
    served = {under + each.path for under, each in _flat(routes_of(Api(owner.conductor)))}
    assert served - UNDOCUMENTED == set(found["paths"])
    assert json.loads(json.dumps(document(ROUTES))) == found


def _flat(routes: Sequence[BaseRoute], under: str = "") -> Iterator[tuple[str, Route]]:
    for each in routes:
        if isinstance(each, Mount):
            yield from _flat(each.routes, under + each.path)
        elif isinstance(each, Route):
            yield under, each


def test_every_part_of_a_route_is_documented() -> None:
    made = document(ROUTES)
    for path, methods in made["paths"].items():
        for method, found in methods.items():
            where = f"{method} {path}"
            assert found["summary"], where
            assert all(each["schema"] for each in found["parameters"]), where
            assert all(each["description"] for each in found["responses"].values()), where
    for name, schema in made["components"]["schemas"].items():
        assert schema.get("description"), name
    for each in ROUTES:
        assert set(each.statuses) <= set(WHY)


def test_the_document_refers_to_nothing_that_it_does_not_have() -> None:
    made = document(ROUTES)
    text = json.dumps(made)
    for part in text.split('"#/components/schemas/')[1:]:
        assert part.partition('"')[0] in made["components"]["schemas"]


@pytest.mark.parametrize(
    ("text", "depth"), [("{}", 1), ('[[{"]]]": "\\"["}]]', 3), ("1", 0), ('"[[["', 0)]
)
def test_depth_leaves_out_what_is_in_strings(text: str, depth: int) -> None:
    assert depth_of(text.encode()) == depth


async def test_no_input_finds_a_fault_or_an_answer_that_is_not_documented(
    owner: Any, claimed: Any, tmp_path: Path
) -> None:
    """schemathesis makes up good and bad requests from the document that is served."""
    await claimed()
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{owner.url}/openapi.json"),
        *("--header", f"Authorization: Bearer {owner.token}", "--checks", ",".join(CHECKS)),
        *("--phases", "examples,coverage,fuzzing"),
        *("--max-examples", str(EXAMPLES_PER_ROUTE), "--no-color", "--continue-on-failure"),
        *("--suppress-health-check", "all", "--warnings", "off"),
        *(
            ("--max-time", str(FUZZ_SECONDS), "--generation-database", "none")
            if FUZZ_SECONDS
            else ("--generation-deterministic",)
        ),
    ]
    done = await trio.run_process(
        command, capture_stdout=True, stderr=subprocess.STDOUT, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout.decode()[-20_000:]

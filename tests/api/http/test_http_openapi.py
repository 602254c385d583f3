"""The document says what is served, and what is served is in the document; fuzzed against it."""

import json
import os
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import httpx
import pytest
import schemathesis
import trio
from hypothesis import HealthCheck, settings
from schemathesis.checks import load_all_checks
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import FailureGroup
from starlette.routing import Route as Path

from ioe_node.api.http_app import Api, routes_of
from ioe_node.api.http_openapi import WHY, document
from ioe_node.api.http_routes import ROUTES, depth_of

FUZZ_SECONDS = int(os.environ.get("IOE_FUZZ_SECONDS", "8"))
EXAMPLES_PER_ROUTE = 15
UNDOCUMENTED = {"/{path:path}"}
"""The page's files."""


async def test_every_route_is_in_the_document(owner: Any) -> None:
    found = await owner.get("/openapi.json")
    served = {route.path for route in routes_of(Api(owner.conductor)) if isinstance(route, Path)}
    assert served - UNDOCUMENTED == set(found["paths"])
    assert json.loads(json.dumps(document(ROUTES))) == found


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
    schemathesis.openapi.from_dict(made).validate()


@pytest.mark.parametrize(
    ("text", "depth"), [("{}", 1), ('[[{"]]]": "\\"["}]]', 3), ("1", 0), ('"[[["', 0)]
)
def test_depth_leaves_out_what_is_in_strings(text: str, depth: int) -> None:
    assert depth_of(text.encode()) == depth

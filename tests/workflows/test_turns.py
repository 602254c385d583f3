"""Turns: what a request costs."""

from typing import Any

import pytest

from ioe_node.model.signing import Signer
from ioe_node.model.warrant import SignedWarrant
from ioe_node.net.messages import (
    Activity,
    Compare,
    Find,
    Get,
    Links,
    Outcome,
    Publish,
    Span,
    Warrants,
)
from ioe_node.workflows.turns import PARCELS_PER_REQUEST, SPANS_PER_REQUEST, cost_of

HASH = bytes(Signer(b"a" * 32).agent)
DIGEST = bytes(16)
SPANS = tuple(Span(at, at, DIGEST) for at in range(3 * SPANS_PER_REQUEST))
WARRANT = SignedWarrant(b"", bytes(64))


@pytest.mark.parametrize(
    ("request_", "more"),
    [
        (Get(HASH), 0),
        (Outcome("currency", b""), 0),
        (Publish(()), 0),
        (Activity(HASH, 0), 3),
        (Links(HASH), 3),
        (Find(0, False), 1),
        (Compare((), (), DIGEST, (), ()), 1),
        (Compare(SPANS, SPANS, DIGEST, (), ()), 1 + 2 * 3),
        (Warrants(()), 0),
        (Warrants((WARRANT, WARRANT)), 16),
    ],
)
def test_a_request_costs_by_what_it_makes_us_do(request_: Any, more: int) -> None:
    assert cost_of(request_) == more


def test_a_publish_costs_by_its_parcels(new_author: Any) -> None:
    author = new_author(1)
    author.genesis()
    wires = tuple(author.create(b"x", "t.Blob").wire() for _ in range(3 * PARCELS_PER_REQUEST))
    assert cost_of(Publish(wires)) == 3

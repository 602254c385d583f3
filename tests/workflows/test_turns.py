"""Turns: what a request costs."""

from typing import Any

import pytest

from ioe_node.model.finality import Handover, Lineage, Retirement
from ioe_node.model.record import Proof, WireRecord
from ioe_node.model.signing import Signer
from ioe_node.model.warrant import SignedWarrant
from ioe_node.net.messages import (
    LINKS_MAX,
    Activity,
    Compare,
    Find,
    Get,
    Knock,
    Links,
    Outcome,
    Publish,
    Relieve,
    Span,
    Standings,
    Warrants,
    Witness,
)
from ioe_node.workflows.turns import (
    LINKS_PER_REQUEST,
    PARCELS_PER_REQUEST,
    SEALS_PER_REQUEST,
    SPANS_PER_REQUEST,
    cost_of,
)

HASH = bytes(Signer(b"a" * 32).agent)
DIGEST = bytes(16)
SPANS = tuple(Span(at, at, DIGEST) for at in range(3 * SPANS_PER_REQUEST))
WIRE = WireRecord(b"", Proof(bytes(64)), None)
STEP = Handover(1, (HASH,), (Retirement(0, 1, HASH, 0, None, bytes(64)),) * 8)
LINEAGE = Lineage(WIRE, (WIRE,) * 7, (STEP,))
WARRANT = SignedWarrant(b"", bytes(64))


@pytest.mark.parametrize(
    ("request_", "more"),
    [
        (Get(HASH), 0),
        (Outcome(HASH), 0),
        (Publish(()), 0),
        (Activity(HASH, 0), 3),
        (Links(HASH), 3),
        (Find(0, False), 1),
        (Compare((), (), DIGEST, (), ()), 1),
        (Compare(SPANS, SPANS, DIGEST, (), ()), 1 + 2 * 3),
        (Warrants(()), 0),
        (Warrants((WARRANT, WARRANT)), 16),
        (Knock(HASH, 0), 0),
        (Standings(()), 3),
        (Standings((WIRE,) * 256), 3 + 256 // SEALS_PER_REQUEST),
        (Witness(WIRE, (), Lineage(WIRE, ())), 3),
        (Witness(WIRE, (b"",) * LINKS_MAX, LINEAGE), 3 + LINKS_MAX // LINKS_PER_REQUEST + 1),
        (Relieve(LINEAGE, 1, (HASH,), None, False, ()), 16),
    ],
)
def test_a_request_costs_by_what_it_makes_us_do(request_: Any, more: int) -> None:
    assert cost_of(request_) == more


def test_a_publish_costs_by_its_parcels(new_author: Any) -> None:
    author = new_author(1)
    author.genesis()
    wires = tuple(author.create(b"x", "t.Blob").wire() for _ in range(3 * PARCELS_PER_REQUEST))
    assert cost_of(Publish(wires)) == 3

"""A payment that is asked for by name is made once, whatever comes in between."""

from typing import Any

import pytest
import trio

from ioe_node.conductor import payments
from ioe_node.conductor.payments import KEPT_US
from ioe_node.store.requests import RequestRows

PATH = "/api/v1/payments"


@pytest.fixture
def bread(neighbour: Any) -> dict[str, Any]:
    body = {"to": neighbour.agent, "micro_credits": 250, "memo": "bread"}
    return {**body, "request": "5d1f"}


async def entries(owner: Any) -> int:
    return len((await owner.get("/api/v1/wallet"))["entries"])


async def test_the_same_request_is_paid_once(owner: Any, paid: Any, bread: Any) -> None:
    first = await paid(bread)
    assert await paid(bread) == first
    answers = set()

    async def again() -> None:
        answers.add((await paid({**bread, "request": "2"}))["hash"])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(again)
        nursery.start_soon(again)
    assert len(answers) == 1
    assert answers != {first["hash"]}
    assert await entries(owner) == 2
    assert (await paid({**bread, "request": ""}))["hash"] not in {*answers, first["hash"]}


async def test_one_name_for_two_payments_is_refused(owner: Any, paid: Any, bread: Any) -> None:
    await paid(bread)
    for changed in ({"micro_credits": 251}, {"memo": "cake"}, {"to": owner.agent}):
        found = await owner.post(PATH, 422, **(bread | changed))
        assert "choose a new one" in found["text"]
    assert await entries(owner) == 1


async def test_the_chain_says_what_a_crash_left_unsaid(
    owner: Any, paid: Any, bread: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as cut:
        cut.setattr(RequestRows, "answer", lambda *ignored: None)
        made = await paid(bread)
    # As after a restart: what is known is on the disk, and another payment comes first.
    other = await paid({**bread, "request": "another"})
    assert other != made
    assert await paid(bread) == made
    assert await entries(owner) == 2


async def test_what_was_cut_off_before_it_was_paid_is_paid_by_asking_again(
    owner: Any, paid: Any, bread: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cut_off(*ignored: Any) -> None:
        raise RuntimeError("the power")

    await paid({**bread, "request": "before"})
    with monkeypatch.context() as cut:
        cut.setattr(payments, "_call", cut_off)
        await owner.post(PATH, 500, **bread)
    await paid(bread)
    assert await entries(owner) == 2


async def test_while_a_settlement_is_in_doubt_so_is_the_payment(
    owner: Any, paid: Any, bread: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = owner.conductor.cell("street").space.store

    async def cut_off(*ignored: Any) -> None:
        raise RuntimeError("the power")

    with monkeypatch.context() as cut:
        cut.setattr(payments, "_call", cut_off)
        await owner.post(PATH, 500, **bread)
        cut.setattr(store, "promised", lambda: (9, b""))
        found = await owner.post(PATH, 503, **bread)
    assert "ask again by the same name" in found["text"]
    assert await paid(bread) == await paid(bread)


async def test_a_failed_payment_takes_no_name(owner: Any, paid: Any, bread: Any) -> None:
    await owner.post(PATH, 409, **(bread | {"to": owner.agent}))
    assert "hash" in await paid(bread)


async def test_a_name_is_free_again_after_a_day(
    owner: Any, paid: Any, bread: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await paid(bread)
    monkeypatch.setattr(payments, "KEPT_US", -KEPT_US)
    assert await paid(bread) != first

"""Invoices between nodes: asked, promised, declined, paid once; and what is refused."""

from collections.abc import Callable
from typing import Any

import pytest
import trio

from ioe_node.errors import CallError, IoeError
from sim.swarm import Home, Swarm

TOLD_S = 30
DAY_S = 24 * 3_600


async def invoice(home: Home, function: str, **payload: Any) -> Any:
    return await home.call("invoice", function, payload)


async def states(home: Home, function: str) -> list[tuple[str, str]]:
    return [(each["memo"], each["state"]) for each in await invoice(home, function)]


def test_an_invoice_is_promised_and_paid_once(play: Callable[..., Any]) -> None:
    async def story(swarm: Swarm) -> None:
        await swarm.settle()
        payee, payer, other = swarm.homes[1:4]
        eggs = await invoice(payee, "send", payer=payer.agent, amount_micro=5, memo="eggs")
        await trio.sleep(1)
        ham = await invoice(payee, "send", payer=payer.agent, amount_micro=7, memo="ham", days=1)
        await trio.sleep(TOLD_S)
        assert await states(payer, "received") == [("ham", "open"), ("eggs", "open")]
        assert await states(other, "received") == []
        await invoice(payer, "promise", invoice=eggs)
        await invoice(payer, "decline", invoice=ham, reason="too dear")
        with pytest.raises(CallError, match="no invoice for us"):
            await invoice(other, "promise", invoice=eggs)
        await trio.sleep(TOLD_S)
        assert await states(payee, "sent") == [("ham", "declined"), ("eggs", "promised")]
        await payer.call("currency", "pay_invoice", {"invoice": eggs})
        await trio.sleep(TOLD_S)
        with pytest.raises(CallError, match="paid already"):
            await payer.call("currency", "pay_invoice", {"invoice": eggs})
        again = {"payee": payee.agent, "amount_micro": 5, "memo": "eggs", "invoice": eggs}
        with pytest.raises(IoeError, match="paid already"):
            await payer.call("currency", "pay", again)
        dearer = {"payee": payee.agent, "amount_micro": 8, "memo": "ham", "invoice": ham}
        with pytest.raises(IoeError, match="something else"):
            await payer.call("currency", "pay", dearer)
        assert await states(payee, "sent") == [("ham", "declined"), ("eggs", "paid")]
        balance = await payee.call("currency", "balance", {})
        assert balance["balance_micro"] == 5
        await trio.sleep(DAY_S)
        assert await states(payer, "received") == [("ham", "expired"), ("eggs", "paid")]
        with pytest.raises(CallError, match="expired"):
            await payer.call("currency", "pay_invoice", {"invoice": ham})

    play(story)

"""Send an invoice, list those that were sent, promise or refuse to pay one."""

from typing import Any

from ioe_node.hdk import (
    ActionHash,
    AgentPubKey,
    CallError,
    CoordinatorZome,
    Found,
    Host,
    Timestamp,
)
from zomes.invoice.integrity import SENT, Invoice, Promise, Refusal
from zomes.invoice.integrity import zome as integrity

LISTED_MAX = 200
DAY_US = 24 * 3_600 * 1_000_000

zome = CoordinatorZome(integrity)


@zome.function
async def send(
    host: Host, payer: AgentPubKey, amount_micro: int, memo: str = "", days: int = 14
) -> ActionHash:
    """Ask another member for an amount, for so many days; the invoice's name is its hash."""
    if payer not in await host.agents():
        raise CallError("the payer is not a member known here; see 'ioe community list'")
    valid_until = Timestamp(host.now_us() + days * DAY_US)
    made = await host.create(Invoice(payer, amount_micro, valid_until, memo))
    await host.create_link(payer, made, SENT)
    return made


@zome.function
async def promise(host: Host, invoice: ActionHash, pay_by: Timestamp | None = None) -> ActionHash:
    """Promise to pay an invoice by a time, by default as long as it stands."""
    found = await _open(host, invoice)
    return await host.create(Promise(invoice, pay_by or found.entry.valid_until))


@zome.function
async def decline(host: Host, invoice: ActionHash, reason: str = "") -> ActionHash:
    """Say that we shall not pay an invoice."""
    await _open(host, invoice)
    return await host.create(Refusal(invoice, reason))


async def _open(host: Host, invoice: ActionHash) -> Found:
    """An invoice for us, which is neither paid nor past; raises `CallError` or `Busy`."""
    found = await host.get_judged(invoice)
    if not isinstance(found.entry, Invoice) or found.entry.payer != host.agent_info().agent:
        raise CallError("no invoice for us of that name; 'ioe credit invoices' lists them")
    if found.entry.valid_until <= host.now_us():
        raise CallError("that invoice has expired; ask for another one")
    if await _paid(host, found.entry.payer, [found]):
        raise CallError("that invoice is paid already")
    return found


async def _paid(host: Host, payer: AgentPubKey, invoices: list[Found]) -> list[ActionHash]:
    """Which of these invoices for one payer it has paid, by its chain."""
    since_us = min(each.action.timestamp_us for each in invoices)
    asked = {"agent": payer, "since_us": since_us}
    paid = set(await host.call("currency", "invoices_paid", asked))
    return [each.hash for each in invoices if each.hash in paid]


@zome.function
async def sent(host: Host) -> list[dict[str, Any]]:
    """Our own invoices, newest first, and what became of them."""
    return await _shown(host, await host.query(Invoice, limit=LISTED_MAX))


@zome.function
async def received(host: Host) -> list[dict[str, Any]]:
    """The newest invoices for us, newest first, and what became of them."""
    links = await host.get_links(host.agent_info().agent, SENT)
    found = [await host.get(ActionHash(link.target)) for link in links[-LISTED_MAX:]]
    known = [each for each in found if each is not None and isinstance(each.entry, Invoice)]
    ours = [each for each in known if each.entry.payer == host.agent_info().agent]
    return await _shown(host, sorted(ours, key=lambda each: -each.action.timestamp_us))


async def _shown(host: Host, invoices: list[Found]) -> list[dict[str, Any]]:
    states: dict[ActionHash, str] = {}
    for payer in sorted({each.entry.payer for each in invoices}):
        theirs = [each for each in invoices if each.entry.payer == payer]
        states |= await _states(host, payer, theirs)
    return [
        {
            "invoice": each.hash,
            "payee": each.action.author,
            "payer": each.entry.payer,
            "amount_micro": each.entry.amount_micro,
            "timestamp_us": each.action.timestamp_us,
            "valid_until_us": each.entry.valid_until,
            "memo": each.entry.memo,
            "state": states[each.hash],
        }
        for each in invoices
    ]


async def _states(host: Host, payer: AgentPubKey, invoices: list[Found]) -> dict[ActionHash, str]:
    """ "paid", "expired", "promised", "declined" or "open" for each of a payer's invoices."""
    since_us = min(each.action.timestamp_us for each in invoices)
    words: dict[ActionHash, tuple[int, str]] = {}
    for kind, state in ((Promise, "promised"), (Refusal, "declined")):
        for found in await host.query(
            kind, author=payer, enough=lambda each: each.action.timestamp_us < since_us
        ):
            said = (found.action.action_seq, state)
            words[found.entry.invoice] = max(said, words.get(found.entry.invoice, said))
    states = {each.hash: words.get(each.hash, (0, "open"))[1] for each in invoices}
    past = [each for each in invoices if each.entry.valid_until <= host.now_us()]
    states |= {each.hash: "expired" for each in past}
    return states | dict.fromkeys(await _paid(host, payer, invoices), "paid")


@zome.function
async def to_pay(host: Host, invoice: ActionHash) -> dict[str, Any]:
    """What an invoice for us that is open asks for; raises `CallError` or `Busy`."""
    found = await _open(host, invoice)
    return {
        "payee": found.action.author,
        "amount_micro": found.entry.amount_micro,
        "memo": found.entry.memo,
    }

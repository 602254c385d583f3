"""Pay, sell what was metered, and read balances."""

from dataclasses import replace
from typing import Any

from currency import ledger, limit, matches, selling
from currency.accounts import account_of, standing
from currency.integrity import (
    Carried,
    Matched,
    Settlement,
    Side,
    fees_of,
    invoiced,
    is_invoice,
    limit_at,
    limit_of,
    previous_of,
    proven_by,
    receipt_of,
    source_of,
)
from currency.integrity import zome as integrity
from currency.ledger import RUN_MAX, Account, Receipt
from ioe_node.hdk import (
    ActionHash,
    AgentPubKey,
    Busy,
    CallError,
    CoordinatorZome,
    Found,
    Host,
    Party,
)

HISTORY_MAX = 10_000
CLAIMED_EVERY = 16
"""So many receipts are left pending, while nobody needs them: each claim has others look."""
GIVEN_UP_AFTER_US = 7 * 24 * 3_600 * 1_000_000

zome = CoordinatorZome(integrity)


async def _claiming(
    host: Host, last: Found | None, account: Account, payment_micro: int, now_us: int
) -> tuple[Account, tuple[ActionHash, ...]]:
    """An account with what is known to be final claimed, and the claims.

    What is needed for a payment, over what is not final; else now and then, and in the order in
    which it came.  `now_us` is the time of the settlement that claims.
    """
    if last is None or not account.pending_micro:
        return account, ()
    limit_micro = limit_at(account, last.action.author, now_us, host.properties)
    needed = payment_micro > ledger.spendable(account, limit_micro)
    due = account.receipts > 0 and account.receipts % CLAIMED_EVERY == 0
    if not needed and not due:
        return account, ()
    run = await _unclaimed(host, last, account)
    pending = await _pending(host, account, run)
    finals = await host.which_final([source_of(found) for found in pending], ask=needed)
    final = [found.hash for found in pending if source_of(found) in finals]
    waiting = sum(each.action not in final for each in account.skipped)
    known = [None if receipt_of(found) is None else found.hash in final for found in run]
    stale = sum(found.action.timestamp_us < now_us - GIVEN_UP_AFTER_US for found in run)
    passed = ledger.passable(waiting, known, stale, needed)
    taken = run[:passed]
    here = {each.action for each in (*account.skipped, *_receipts(taken))}
    claims = tuple(each for each in final if each in here)
    through = taken[-1].hash if taken else account.through
    after = ledger.claimed(account, _receipts(taken), claims, through)
    assert after is not None, "what is claimed is pending"
    claimed = [found for found in pending if found.hash in claims]
    return proven_by(after, claimed, host.properties), claims


async def _pending(host: Host, account: Account, run: list[Found]) -> list[Found]:
    """What gave the credits that may be claimed next: those skipped, and those not come to."""
    skipped = [await _must_get(host, each.action) for each in account.skipped]
    return [*skipped, *(found for found in run if receipt_of(found) is not None)]


def _receipts(run: list[Found]) -> list[Receipt]:
    return [receipt for found in run if (receipt := receipt_of(found)) is not None]


async def _unclaimed(host: Host, last: Found | None, account: Account) -> list[Found]:
    """The next settlements that a claim may go past, oldest first."""
    run: list[Found] = []
    found = last
    while found is not None and found.hash != account.through:
        run.append(found)
        previous = previous_of(found)
        found = None if previous is None else await _must_get(host, previous)
    return run[: -RUN_MAX - 1 : -1]


async def _must_get(host: Host, action: ActionHash) -> Found:
    found = await host.get(action)
    if found is None:
        raise Busy("a settlement that this account rests on is not here yet; try again")
    return found


@zome.draft
async def transfer(
    host: Host,
    parties: tuple[Party, Party],
    amount_micro: int,
    memo: str,
    invoice: ActionHash | None = None,
) -> Settlement:
    """The proposer pays the counterparty."""
    payer, payee = parties
    paying = await _paying(host, parties, payer, amount_micro)
    if invoice is not None:
        found = await host.get(invoice)
        if found is None:
            raise Busy("the invoice is not here yet; try again")
        account = invoiced(paying.account, parties, found) if is_invoice(found) else None
        if account is None:
            raise CallError(
                "no invoice, one that is past or paid already, or too many paid that still stand"
            )
        paying = replace(paying, account=account)
    earning = await _earning(host, payee, amount_micro)
    return Settlement(parties, (paying, earning), amount_micro, 0, None, memo, invoice=invoice)


async def _paying(
    host: Host, parties: tuple[Party, Party], party: Party, amount_micro: int
) -> Side:
    last, account = await standing(host, party.agent)
    account, claims = await _claiming(host, last, account, amount_micro, party.timestamp_us)
    after = ledger.paid(account, amount_micro)
    limit_micro = limit_of(after, party, parties, host.properties)
    if after.free_micro < -limit_micro <= after.balance_micro:
        raise Busy(_waits(account))
    return Side(None if last is None else last.hash, after, claims)


async def _earning(host: Host, party: Party, amount_micro: int) -> Side:
    last, account = await standing(host, party.agent)
    account, claims = await _claiming(host, last, account, 0, party.timestamp_us)
    after = ledger.received(account, amount_micro)
    return Side(None if last is None else last.hash, after, claims)


def _waits(account: Account) -> str:
    return (
        f"{_credits(account.pending_micro)} credits wait for finality, "
        "as those who paid them could have paid them twice; try again"
    )


@zome.draft
async def sale(
    host: Host, parties: tuple[Party, Party], reading: ActionHash, energy_milli_wh: int
) -> Settlement:
    """The proposer sells energy of its reading to the counterparty, who pays."""
    seller, buyer = parties
    found = await host.get(reading)
    if found is None:
        raise Busy("the reading that is sold from is not here yet; try again")
    if buyer.agent == host.agent_info().agent:
        await selling.check_offer(host, found, buyer.agent, energy_milli_wh)
    amount_micro = ledger.price_of(energy_milli_wh, host.properties.price_bp)
    paying = await _paying(host, parties, buyer, amount_micro)
    earning = await _earning(host, seller, amount_micro)
    sides = (paying, _selling(earning, found, energy_milli_wh))
    entry = Settlement((buyer, seller), sides, amount_micro, energy_milli_wh, reading, "")
    return _owing_fees(host, entry, "", "")


def _owing_fees(host: Host, entry: Settlement, source: str, destination: str) -> Settlement:
    """The same, with the fees that its seller owes by it."""
    parts = fees_of(entry, source, destination, host.properties)
    seller = [party.agent for party in entry.parties].index(entry.seller)  # type: ignore[arg-type]
    sides = list(entry.sides)
    sides[seller] = replace(sides[seller], account=ledger.accrued(sides[seller].account, parts))
    return replace(entry, sides=tuple(sides))


@zome.draft
async def fee(host: Host, parties: tuple[Party, Party], place: int) -> Settlement:
    """The proposer pays all that it owes of one of the community's fees."""
    payer, payee = parties
    last, account = await standing(host, payer.agent)
    if not 0 <= place < len(account.fees_micro) or not account.fees_micro[place]:
        raise CallError("nothing is owed of this fee")
    owed_micro = account.fees_micro[place]
    account, claims = await _claiming(host, last, account, owed_micro, payer.timestamp_us)
    after = ledger.fee_paid(ledger.paid(account, owed_micro), place, owed_micro)
    assert after is not None, "what is owed is paid"
    if after.free_micro < -limit_of(after, payer, parties, host.properties):
        raise Busy(_waits(account))
    paying = Side(None if last is None else last.hash, after, claims)
    sides = (paying, await _earning(host, payee, owed_micro))
    memo = host.properties.fees[place].name
    return Settlement(parties, sides, owed_micro, 0, None, memo, fee=place)


def _selling(side: Side, reading: Found, energy_milli_wh: int) -> Side:
    after = ledger.sold(side.account, reading.action.action_seq, energy_milli_wh)
    if after is None:
        raise CallError("readings are sold in the order of the chain; this one is past")
    return replace(side, account=after)


@zome.draft
async def match(
    host: Host, parties: tuple[Party, Party], gate: ActionHash, place: int
) -> Settlement:
    """Either party settles a match of a gate, by what both meters counted of it."""
    due = await matches.at(host, gate, place, min(party.timestamp_us for party in parties))
    owed, sold = due.terms
    names = [due.match.buyer, due.match.seller]
    by_agent = {party.agent: party for party in parties}
    if sorted(by_agent) != sorted(names):
        raise CallError("a match is settled by its seller and its buyer")
    if not owed and not sold:
        raise CallError("that match comes to nothing: there is nothing to settle")
    if due.match.seller == parties[1].agent == host.agent_info().agent:
        await selling.check_order(host, due)
    payer, payee = [by_agent[agent] for agent in (names if owed >= 0 else names[::-1])]
    paying = await _paying(host, parties, payer, abs(owed))
    sides = [paying, await _earning(host, payee, abs(owed))]
    seller = int(owed >= 0)
    after = ledger.settled(sides[seller].account, due.gate.entry.start, place)
    if after is None:
        raise CallError("that match is settled already, or was passed over by its seller")
    sides[seller] = replace(sides[seller], account=after)
    if due.reading is not None and sold:
        sides[seller] = _selling(sides[seller], due.reading, sold)
    reading, taken = [None if each is None else each.hash for each in (due.reading, due.taken)]
    matched = Matched(gate, place, taken, owed < 0)
    entry = Settlement((payer, payee), tuple(sides), abs(owed), sold, reading, "", matched)
    return _owing_fees(host, entry, *await matches.zones(host, due.match))


@zome.function
async def sell(host: Host) -> dict[str, int]:
    """Settle what our gates have matched and sell what else we export, oldest interval first.

    Run it on a schedule; see `selling.sell`.
    """
    return await selling.sell(host)


def _credits(micro: int) -> str:
    """Exactly, as a person types it: 2.5."""
    return f"{micro // 1_000_000}.{micro % 1_000_000:06}".rstrip("0").rstrip(".")


@zome.function
async def pay_invoice(host: Host, invoice: ActionHash) -> ActionHash:
    """Pay what an invoice for us asks for, once."""
    asked = await host.call("invoice", "to_pay", {"invoice": invoice})
    return await pay(host, **asked, invoice=invoice)


@zome.function
async def invoices_paid(host: Host, agent: AgentPubKey, since_us: int) -> list[ActionHash]:
    """The invoices that an agent has paid since a time."""
    found = await host.query(
        Settlement, author=agent, enough=lambda each: each.action.timestamp_us < since_us
    )
    return [
        each.entry.invoice
        for each in found
        if each.entry.invoice is not None and each.entry.parties[0].agent == agent
    ]


@zome.function
async def pay(
    host: Host,
    payee: AgentPubKey,
    amount_micro: int,
    memo: str = "",
    invoice: ActionHash | None = None,
) -> ActionHash:
    """Pay another member, both chains or neither; `pay_invoice` pays what one asks for."""
    us = host.agent_info().agent
    if payee == us:
        raise CallError("that is you; pay another member")
    if payee not in await host.agents():
        raise CallError("the payee is not a member known here; see 'ioe community list'")
    last, account = await standing(host, us)
    claimed, _ = await _claiming(host, last, account, amount_micro, host.now_us())
    limit_micro = limit_at(claimed, us, host.now_us(), host.properties)
    if amount_micro > account.balance_micro + limit_micro:
        spendable = ledger.spendable(account, limit_micro)
        raise CallError(f"only {_credits(spendable)} credits may be spent; pay that or less")
    if amount_micro > ledger.spendable(claimed, limit_micro):
        run = await _unclaimed(host, last, account)
        host.hasten([source_of(each) for each in await _pending(host, account, run)])
        raise Busy(_waits(claimed))
    terms = {"amount_micro": amount_micro, "memo": memo, "invoice": invoice}
    return await host.countersign(payee, "currency.transfer", terms)


@zome.function
async def carry(host: Host, close: ActionHash) -> ActionHash | None:
    """Go on with the account of our last key, whose chain `close` closed; once.

    None where there is nothing to go on with: a device that was sold has settled its own.
    """
    us = host.agent_info().agent
    if (await standing(host, us))[0] is not None:
        return None
    closing = await host.get(close)
    if closing is None:
        raise Busy("the end of our last key's chain is not here yet; try again")
    if getattr(closing.action, "new_target", None) != us:
        return None
    last, account = await standing(host, closing.action.author)
    if last is None:
        return None
    credit_micro = max(0, account.free_micro)
    host.hasten([close])
    return await host.create(Carried(close, last.hash, credit_micro, ledger.carried(account)))


@zome.function
async def balance(host: Host, agent: AgentPubKey | None = None) -> dict[str, int]:
    """An agent's balance, what of it is pending and what it may spend, in micro-credits.

    Pending is what is not known here to be final.  `near_limit` warns of the credit limit before
    a payment fails at it.
    """
    who, now_us = agent or host.agent_info().agent, host.now_us()
    last, account = await standing(host, who)
    everything = account.balance_micro + limit_at(account, who, now_us, host.properties)
    claimed, _ = await _claiming(host, last, account, everything, now_us)
    limit_micro = limit_at(claimed, who, now_us, host.properties)
    return {
        "balance_micro": account.balance_micro,
        "pending_micro": claimed.pending_micro,
        "credit_limit_micro": limit_micro,
        "spendable_micro": ledger.spendable(claimed, limit_micro),
        "near_limit": limit.is_near(claimed.free_micro, limit_micro, host.properties.soft_limit_bp),
    }


@zome.function
async def history(
    host: Host,
    agent: AgentPubKey | None = None,
    limit: int = 100,
    after: ActionHash | None = None,
) -> list[dict[str, Any]]:
    """An agent's settlements, newest first; amounts are negative where it paid.

    With `after`, those that came after that one.  `final` says whether the payer's half is known
    here to be final.
    """
    who = agent or host.agent_info().agent
    listed = []
    newest = await host.query(
        Settlement,
        author=who,
        limit=min(limit, HISTORY_MAX),
        enough=lambda found: found.hash == after,
    )
    for found in newest:
        if found.hash == after:
            break
        entry = found.entry
        payer, payee = (party.agent for party in entry.parties)
        sign = -1 if payer == who else 1
        listed.append(
            {
                "hash": found.hash,
                "timestamp_us": found.action.timestamp_us,
                "with": payee if payer == who else payer,
                "amount_micro": sign * entry.amount_micro,
                "balance_micro": account_of(found).balance_micro,
                "final": await host.is_final(source_of(found)),
                "energy_milli_wh": entry.energy_milli_wh,
                "seller": entry.seller,
                "matched": entry.matched is not None,
                "memo": entry.memo,
            }
        )
    return listed


@zome.function
async def audit(host: Host) -> dict[str, Any]:
    """Every balance known here, those that went over to a next key once, and their sum: zero."""
    accounts, over = {}, set()
    for agent in await host.agents():
        accounts[agent] = (await standing(host, agent))[1]
        for carried in await host.query(Carried, author=agent, limit=1):
            closing = await host.get(carried.entry.close)
            over |= set() if closing is None else {closing.action.author}
    balances = [
        {"agent": agent, "balance_micro": account.balance_micro}
        for agent, account in accounts.items()
        if agent not in over
    ]
    return {"balances": balances, "sum_micro": sum(each["balance_micro"] for each in balances)}

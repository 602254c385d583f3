"""Mutual credit arithmetic: integers, no clock, no rounding that is not said.

An account is where an agent's last settlement left it.  What one side pays the other earns,
so the sum over a community is zero after any sequence.  A credit that was received is *pending*
until it is claimed as final: it is in the balance and cannot be spent, so that whoever passes on
what was never rightfully paid can spend no more than its own.  A seller's account also remembers
the reading it last sold from and how much of it is sold, so that no metered energy is sold twice:
readings are sold in the order of the chain.  So are matches settled in the order of their
gates: it remembers the last.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from currency.limit import NOTHING, Proven
from ioe_node.hdi import ActionHash

BASIS_POINTS = 10_000
RUN_MAX = 128
"""How many settlements one claim may go past."""
SKIPPED_MAX = 32
INVOICES_MAX = 32
"""How many invoices that have not expired an account remembers as paid."""


@dataclass(frozen=True)
class Receipt:
    """A credit received, and the action of the receiver's chain that says so."""

    action: ActionHash
    amount_micro: int


@dataclass(frozen=True)
class InvoicePaid:
    """An invoice that its payer has paid, and when it would have expired."""

    invoice: ActionHash
    valid_until_us: int


@dataclass(frozen=True)
class Account:
    """An agent's standing: balance (micro-credits), last reading sold from, energy sold of it.

    `reading_seq` is that reading's place on the seller's chain, -1 before the first sale.
    `pending_micro` of the balance is not claimed as final yet: all that was received, `receipts`
    times, since the settlement `through`, what is `skipped` of before, and what was given up.
    `proven` is what it sold and was paid for, which raises its credit limit; `invoices` it has
    paid and could pay again, had it forgotten them.
    `gate_start` is the interval of the last match that it settled as a seller, and `gate_place` the
    match's place in its gate, -1 before the first.  `fees_micro` is what it owes of what it sold,
    in the order of the community's fees.
    """

    balance_micro: int = 0
    reading_seq: int = -1
    sold_milli_wh: int = 0
    pending_micro: int = 0
    receipts: int = 0
    through: ActionHash | None = None
    skipped: tuple[Receipt, ...] = ()
    proven: Proven = NOTHING
    invoices: tuple[InvoicePaid, ...] = ()
    gate_start: int = -1
    gate_place: int = -1
    fees_micro: tuple[int, ...] = ()

    @property
    def free_micro(self) -> int:
        """The balance without what is pending and what is owed in fees; a debt counts in full."""
        return self.balance_micro - self.pending_micro - sum(self.fees_micro)


def paid(account: Account, amount_micro: int) -> Account:
    """The account after it paid `amount_micro`."""
    return replace(account, balance_micro=account.balance_micro - amount_micro)


def invoiced(account: Account, invoice: InvoicePaid, at_us: int) -> Account | None:
    """The account once it has paid an invoice; None for one that is past, or paid already.

    Also None while `INVOICES_MAX` others that it paid have not expired.
    """
    kept = tuple(each for each in account.invoices if each.valid_until_us > at_us)
    if invoice.valid_until_us <= at_us or len(kept) == INVOICES_MAX:
        return None
    if any(each.invoice == invoice.invoice for each in kept):
        return None
    return replace(account, invoices=(*kept, invoice))


def received(account: Account, amount_micro: int) -> Account:
    """The account after it received `amount_micro`, which is pending; nothing is no receipt."""
    return replace(
        account,
        balance_micro=account.balance_micro + amount_micro,
        pending_micro=account.pending_micro + amount_micro,
        receipts=account.receipts + bool(amount_micro),
    )


def claimed(
    account: Account,
    run: Sequence[Receipt],
    claims: Sequence[ActionHash],
    through: ActionHash | None,
) -> Account | None:
    """The account once `claims` are no longer pending; None where they are not open, or not once.

    `run` are the receipts after `account.through` up to `through`, oldest first; claims are in the
    order of those skipped before and these.  What is not claimed of both is skipped.  Who floods
    an account with what will never be final must not keep it from the rest: of more than
    `SKIPPED_MAX` the smallest, the oldest among equals, is given up: it stays pending for good.
    """
    unclaimed = (*account.skipped, *run)
    wanted = set(claims)
    taken = [each for each in unclaimed if each.action in wanted]
    if [each.action for each in taken] != list(claims):
        return None
    left = [each for each in unclaimed if each.action not in wanted]
    while len(left) > SKIPPED_MAX:
        left.remove(min(left, key=lambda each: each.amount_micro))
    return replace(
        account,
        pending_micro=account.pending_micro - sum(each.amount_micro for each in taken),
        receipts=account.receipts - len(run),
        through=through,
        skipped=tuple(left),
    )


def passable(waiting: int, run: Sequence[bool | None], stale: int, eager: bool) -> int:
    """How many of `run` a claim should go past: True is final, False not yet, None no receipt.

    `waiting` of those skipped before are not final.  Who is not `eager` passes over nothing; who is
    passes over no more than can be skipped, but for the first `stale` of the run, which have waited
    so long that the smallest may be given up for the rest.
    """
    passed = 0
    for place, final in enumerate(run, 1):
        if final:
            passed = place
        elif final is False:
            waiting += 1
            if not eager or (waiting > SKIPPED_MAX and place > stale):
                break
    return passed


def carried(account: Account) -> Account:
    """The account under its agent's next key: a debt at once, a credit once the change is final."""
    credit_micro = max(0, account.free_micro)
    return replace(
        account,
        reading_seq=-1,
        sold_milli_wh=0,
        gate_start=-1,
        gate_place=-1,
        pending_micro=account.pending_micro + credit_micro,
        receipts=account.receipts + bool(credit_micro),
    )


def sold(account: Account, reading_seq: int, energy_milli_wh: int) -> Account | None:
    """The account after a sale out of a reading; None for a reading before the last one."""
    if reading_seq < account.reading_seq:
        return None
    before = account.sold_milli_wh if reading_seq == account.reading_seq else 0
    return replace(account, reading_seq=reading_seq, sold_milli_wh=before + energy_milli_wh)


def settled(account: Account, gate_start: int, gate_place: int) -> Account | None:
    """The account of a seller after a match; None for one before the last, and for that itself."""
    if (gate_start, gate_place) <= (account.gate_start, account.gate_place):
        return None
    return replace(account, gate_start=gate_start, gate_place=gate_place)


def accrued(account: Account, parts_micro: Sequence[int]) -> Account:
    """The account of a seller that owes more fees."""
    if not parts_micro:
        return account
    before = account.fees_micro or (0,) * len(parts_micro)
    fees_micro = tuple(owed + part for owed, part in zip(before, parts_micro, strict=True))
    return replace(account, fees_micro=fees_micro)


def fee_paid(account: Account, place: int, amount_micro: int) -> Account | None:
    """The account once it has paid a fee, all that it owes of it; None for another amount."""
    owed = account.fees_micro
    if not 0 <= place < len(owed) or owed[place] != amount_micro:
        return None
    return replace(account, fees_micro=(*owed[:place], 0, *owed[place + 1 :]))


def price_of(energy_milli_wh: int, price_bp: int) -> int:
    """Micro-credits for an energy at `price_bp` basis points of a credit a kWh.

    Rounds down; the remainder, under one micro-credit, stays with the buyer.
    """
    return energy_milli_wh * price_bp // BASIS_POINTS


def spendable(account: Account, credit_limit_micro: int) -> int:
    """How much the account may still pay, of what is its own and of the credit given to it."""
    return max(0, account.free_micro + credit_limit_micro)


def share_out(
    exports: Mapping[bytes, int], imports: Mapping[bytes, int]
) -> list[tuple[bytes, bytes, int]]:
    """(seller, buyer, energy) of one interval, so that all who look compute the same.

    The smaller of export and import is traded.  Each side's agents take part in proportion to
    what they metered, rounded down, and what rounding leaves goes to the first in key order.
    Sellers are then matched to buyers, both in key order.  Everything in milliwatt-hours.
    """
    total_export, total_import = sum(exports.values()), sum(imports.values())
    if not total_export or not total_import:
        return []
    traded = min(total_export, total_import)
    supply = _portions(exports, traded)
    demand = _portions(imports, traded)
    matches: list[tuple[bytes, bytes, int]] = []
    buyers = sorted(demand)
    at, left = 0, demand[buyers[0]]
    for seller in sorted(supply):
        offered = supply[seller]
        while offered:
            while not left:
                at += 1
                left = demand[buyers[at]]
            energy = min(offered, left)
            matches.append((seller, buyers[at], energy))
            offered -= energy
            left -= energy
    return matches


def _portions(shares: Mapping[bytes, int], total: int) -> dict[bytes, int]:
    """`total` split in proportion to `shares`; what rounding leaves goes to the first keys."""
    whole = sum(shares.values())
    portions = {key: share * total // whole for key, share in sorted(shares.items())}
    rest = total - sum(portions.values())
    for key in sorted(shares):
        extra = min(rest, shares[key] - portions[key])
        portions[key] += extra
        rest -= extra
    return portions

"""`ioe credit`: balances, payments and the proof that all sums to zero."""

from typing import Any

import click

from ioe_node.cli import client
from ioe_node.cli.audit import audit
from ioe_node.cli.invoice import decline, invoice, invoices, promise
from ioe_node.cli.output import (
    community_option,
    console,
    credits_text,
    home_of,
    json_option,
    kwh,
    limit_option,
    our_device,
    parse_action,
    parse_agent,
    parse_amount,
    plain,
    show,
    table,
    when,
)
from ioe_node.cli.statement import statement
from ioe_node.cli.why import why

MEMO_CHARS = 24


@click.group()
def credit() -> None:
    """Mutual credit: one credit is one kWh, and all balances sum to zero."""


def brief(memo: str) -> str:
    """A memo as a table has room for; `--json` has the whole."""
    return memo if len(memo) <= MEMO_CHARS else f"{memo[: MEMO_CHARS - 1]}\N{HORIZONTAL ELLIPSIS}"


def warn(found: dict[str, Any]) -> None:
    """Say that a balance nears its credit limit, where it does."""
    if found["near_limit"]:
        console.print(
            f"near the credit limit: {credits_text(found['spendable_micro'])} of "
            f"{credits_text(found['credit_limit_micro'])} left; sell or be paid before you pay more"
        )


@credit.command()
@click.argument("agent", required=False)
@community_option
@json_option
@click.pass_context
def balance(
    context: click.Context, agent: str | None, community: str | None, as_json: bool
) -> None:
    """The balance of AGENT (ours by default), what of it is pending, what it may spend.

    AGENT is a key, or the name of a device of ours: each device has an account of its own.

    What was received is pending until it is final that it was paid.
    """
    home = home_of(context)
    who = our_device(home, agent) if agent else None
    found = client.zome(home, community, "currency", "balance", agent=who)

    def people() -> None:
        console.print(
            f"balance {credits_text(found['balance_micro'])}  "
            f"pending {credits_text(found['pending_micro'])}  "
            f"spendable {credits_text(found['spendable_micro'])}  "
            f"(credit limit {credits_text(found['credit_limit_micro'])})"
        )
        warn(found)

    show(found, as_json, people)


# An amount may look like an option: -1 is no amount, and is not "no such option" either.
@credit.command(context_settings={"ignore_unknown_options": True})
@click.argument("payee", required=False)
@click.argument("amount", required=False)
@click.option("--memo", default="", help="A line for both.")
@click.option("--invoice", metavar="INVOICE", help="Pay what this invoice asks for.")
@community_option
@click.pass_context
def pay(
    context: click.Context,
    payee: str | None,
    amount: str | None,
    memo: str,
    invoice: str | None,
    community: str | None,
) -> None:
    """Pay AMOUNT credits to the agent PAYEE, or an invoice; both chains take it, or neither.

    \b
      ioe credit pay uhCAk... 2.5 --memo "for the eggs"
      ioe credit pay --invoice uhCkk...
    """
    home = home_of(context)
    if invoice is not None:
        if payee is not None or memo:
            raise click.UsageError("an invoice says itself who is paid, how much and what for")
        named = {"invoice": parse_action(invoice)}
        made = client.zome(home, community, "currency", "pay_invoice", **named)
        console.print(f"paid the invoice {invoice[:13]}: {plain(made)}")
    elif payee is None or amount is None:
        raise click.UsageError("name PAYEE and AMOUNT, or --invoice INVOICE")
    else:
        terms = {"amount_micro": parse_amount(amount), "memo": memo}
        made = client.zome(home, community, "currency", "pay", payee=parse_agent(payee), **terms)
        console.print(f"paid {amount} to {payee[:13]}: {plain(made)}")
    warn(client.zome(home, community, "currency", "balance"))


@credit.command()
@click.argument("agent", required=False)
@limit_option(24, 10_000)
@community_option
@json_option
@click.pass_context
def history(
    context: click.Context, agent: str | None, limit: int, community: str | None, as_json: bool
) -> None:
    """Settlements of AGENT (ours by default), newest first, in credits and kWh.

    \b
      ioe credit history kettle          of a device of ours, by its name
      ioe credit why uhCkk...            how one came to its amount
    """
    home = home_of(context)
    who = our_device(home, agent) if agent else None
    found = client.zome(home, community, "currency", "history", agent=who, limit=limit)

    def people() -> None:
        rows = [
            (
                when(each["timestamp_us"]),
                plain(each["with"])[:13],
                credits_text(each["amount_micro"]),
                kwh(each["energy_milli_wh"]),
                credits_text(each["balance_micro"]),
                "final" if each["final"] else "pending",
                brief(each["memo"]),
                plain(each["hash"]),
            )
            for each in found
        ]
        table(
            "", ("when", "with", "credits", "kWh", "balance", "state", "memo", "settlement"), rows
        )
        if not found:
            console.print("nothing paid or received; a device's has its own: name the device")

    show(found, as_json, people)


for command in (audit, invoice, invoices, promise, decline, statement, why):
    credit.add_command(command)

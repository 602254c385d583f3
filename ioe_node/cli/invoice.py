"""`ioe credit invoice`, `invoices`, `promise`, `decline`: what is asked for before it is paid."""

from typing import Any

import click

from ioe_node.cli import client
from ioe_node.cli.output import (
    community_option,
    console,
    credits_text,
    home_of,
    json_option,
    parse_action,
    parse_agent,
    parse_amount,
    plain,
    show,
    table,
    when,
)

DAYS_MAX = 90


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("payer")
@click.argument("amount")
@click.option("--memo", default="", help="What it is for.")
@click.option(
    "--days",
    type=click.IntRange(1, DAYS_MAX),
    default=14,
    show_default=True,
    help="How long it stands.",
)
@community_option
@click.pass_context
def invoice(
    context: click.Context, payer: str, amount: str, memo: str, days: int, community: str | None
) -> None:
    """Ask the agent PAYER for AMOUNT credits.

    \b
      ioe credit invoice uhCAk... 2.5 --memo "eggs in May"
    """
    made = client.zome(
        home_of(context),
        community,
        "invoice",
        "send",
        payer=parse_agent(payer),
        amount_micro=parse_amount(amount),
        memo=memo,
        days=days,
    )
    console.print(f"asked {payer[:13]} for {amount}: {plain(made)}")


@click.command()
@click.option("--sent", is_flag=True, help="Those that we have sent, in place of those for us.")
@community_option
@json_option
@click.pass_context
def invoices(context: click.Context, sent: bool, community: str | None, as_json: bool) -> None:
    """Invoices for us, newest first, and what became of them."""
    function = "sent" if sent else "received"
    found: list[dict[str, Any]] = client.zome(home_of(context), community, "invoice", function)

    def people() -> None:
        rows = [
            (
                plain(each["invoice"]),
                plain(each["payer" if sent else "payee"])[:13],
                credits_text(each["amount_micro"]),
                when(each["valid_until_us"]),
                each["state"],
                each["memo"],
            )
            for each in found
        ]
        columns = ("invoice", "to" if sent else "from", "credits", "until", "state", "memo")
        table("", columns, rows)

    show(found, as_json, people)


@click.command()
@click.argument("invoice")
@community_option
@click.pass_context
def promise(context: click.Context, invoice: str, community: str | None) -> None:
    """Promise to pay INVOICE while it stands; 'ioe credit pay --invoice' then pays it."""
    named = {"invoice": parse_action(invoice)}
    client.zome(home_of(context), community, "invoice", "promise", **named)
    console.print(f"promised to pay {invoice[:13]}")


@click.command()
@click.argument("invoice")
@click.option("--reason", default="", help="Why, for the one who asks.")
@community_option
@click.pass_context
def decline(context: click.Context, invoice: str, reason: str, community: str | None) -> None:
    """Say that we shall not pay INVOICE."""
    named = {"invoice": parse_action(invoice), "reason": reason}
    client.zome(home_of(context), community, "invoice", "decline", **named)
    console.print(f"declined {invoice[:13]}")

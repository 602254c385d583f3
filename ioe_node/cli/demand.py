"""`ioe demand`: who pays for energy that is saved, and what was saved."""

from typing import Any

import click

from ioe_node.cli import client
from ioe_node.cli.output import (
    community_option,
    console,
    credits_text,
    home_of,
    json_option,
    kwh,
    parse_agent,
    parse_amount,
    plain,
    short,
    show,
    table,
    when,
)
from ioe_node.clock import SystemClock

HOUR_US = 3_600 * 1_000_000


@click.group()
def demand() -> None:
    """Demand management: members are paid for drawing less than their baseline.

    A device earns by the 'demand' app beside it: see 'ioe app'.
    """


@demand.command()
@click.argument("amount")
@click.option("--budget", required=True, help="Credits to spend in all, at most.")
@click.option(
    "--device-day",
    help="Credits that one device can earn in a day, at most; a tenth of the budget if not given.",
)
@click.option(
    "--hours",
    type=click.IntRange(1, 8_784),
    default=24,
    show_default=True,
    help="How long it stands.",
)
@community_option
@click.pass_context
def offer(
    context: click.Context,
    amount: str,
    budget: str,
    device_day: str | None,
    hours: int,
    community: str | None,
) -> None:
    """Offer AMOUNT credits for each kWh that a member saves, from now on.

    \b
      ioe demand offer 0.5 --budget 20 --hours 48

    This node pays by itself while it runs ([[schedule]] in its config), until the budget is spent.
    """
    now_us = SystemClock().now_us()
    made = client.zome(
        home_of(context),
        community,
        "demand",
        "offer",
        start_us=now_us,
        end_us=now_us + hours * HOUR_US,
        micro_per_kwh=parse_amount(amount),
        budget_micro=parse_amount(budget),
        device_day_micro=None if device_day is None else parse_amount(device_day),
    )
    console.print(f"offered: {plain(made)}")


@demand.command()
@community_option
@json_option
@click.pass_context
def offers(context: click.Context, community: str | None, as_json: bool) -> None:
    """What is offered now for each kWh that is saved, the best first."""
    found = client.zome(home_of(context), community, "demand", "offers")

    def people() -> None:
        rows = [
            (
                short(each["payer"]),
                credits_text(each["micro_per_kwh"]),
                credits_text(each["budget_micro"]),
                credits_text(each["device_day_micro"]),
                when(each["start_us"]),
                when(each["end_us"]),
            )
            for each in found
        ]
        table("", ("payer", "credits", "budget", "a device a day", "from", "to"), rows)

    show(found, as_json, people)


@demand.command()
@click.argument("device", required=False)
@community_option
@json_option
@click.pass_context
def claims(
    context: click.Context, device: str | None, community: str | None, as_json: bool
) -> None:
    """What DEVICE (an agent key; ours by default) has saved by its readings, newest first."""
    who = parse_agent(device) if device else None
    found: list[dict[str, Any]] = client.zome(
        home_of(context), community, "demand", "claims", device=who
    )

    def people() -> None:
        rows = [
            (when(each["at_us"]), kwh(each["saved_milli_wh"]), credits_text(each["earns_micro"]))
            for each in found
        ]
        table("", ("claimed", "kWh", "credits"), rows)

    show(found, as_json, people)

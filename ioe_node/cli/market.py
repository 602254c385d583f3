"""`ioe market`: orders by hand, who sells what to whom, and each clearing as it comes."""

import json
from datetime import datetime
from pathlib import Path
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
    parse_action,
    parse_agent,
    parse_amount,
    plain,
    short,
    show,
    table,
    when,
)
from ioe_node.clock import SystemClock
from ioe_node.errors import LocalError

TIMES = ("%H:%M", "%Y-%m-%d %H:%M")
SIDES = {"ask": "offer", "bid": "bid"}

at_option = click.option(
    "--at",
    metavar="TIME",
    help="The interval that holds this local time, '18:30' or '2026-07-01 18:30'; "
    "by default the next one.",
)
partner_option = click.option(
    "--partner", metavar="AGENT", help="Meet this agent first, if it asks for us as well."
)


@click.group()
def market() -> None:
    """The community's market: offers and bids for the energy of an interval.

    \b
      ioe market offer 1.5 0.20          sell up to 1.5 kWh, for 0.20 credits a kWh or more
      ioe market bid 2 0.28              buy up to 2 kWh, for 0.28 credits a kWh or less
      ioe market book                    what stands
      ioe market matches                 what came of it

    A book closes when its interval begins.  Those who hold it then vote on which orders count, and
    everybody computes the same matches of them.  What is metered is settled: who promised more
    than its meter says makes good the difference.
    """


def start_of(home: Path, community: str | None, at: str | None, now_us: int) -> int:
    """The start of the interval that is meant; raises `LocalError` for what is no time."""
    terms: dict[str, int] = client.zome(home, community, "market", "terms")
    if at is None:
        return terms["next_us"]
    return moment_us(at, now_us) // terms["interval_us"] * terms["interval_us"]


def moment_us(text: str, now_us: int) -> int:
    """A local time as people write it, today's where no day is named."""
    for form in TIMES:
        try:
            read = datetime.strptime(text.strip(), form)
        except ValueError:
            continue
        if form == TIMES[0]:
            today = datetime.fromtimestamp(now_us // 1_000_000)
            read = today.replace(hour=read.hour, minute=read.minute, second=0, microsecond=0)
        return int(read.timestamp()) * 1_000_000
    raise LocalError(f"'{text[:40]}' is no time; write 18:30 or 2026-07-01 18:30")


def _place(
    context: click.Context,
    order: dict[str, Any],
    at: str | None,
    partner: str | None,
    community: str | None,
) -> None:
    """Place an order of this side, energy, limit and wish for clean, and say so."""
    home = home_of(context)
    start = start_of(home, community, at, SystemClock().now_us())
    rest = {"start": start, "valid_until": start, "zone": "", "local_first": False}
    rest["partner"] = parse_agent(partner) if partner else None
    made = client.zome(home, community, "market", "place", order={**order, **rest})
    energy, limit = kwh(order["energy_milli_wh"]), credits_text(order["limit_micro"])
    console.print(f"{SIDES[order['side']]} of {energy} kWh at {limit} from {when(start)}:")
    console.print(plain(made))


@market.command()
@click.argument("energy", metavar="KWH")
@click.argument("price")
@at_option
@click.option("--clean", is_flag=True, help="This energy is of the sun, wind or water.")
@partner_option
@community_option
@click.pass_context
def offer(
    context: click.Context,
    energy: str,
    price: str,
    at: str | None,
    clean: bool,
    partner: str | None,
    community: str | None,
) -> None:
    """Offer to sell KWH in one interval, for PRICE credits a kWh or more.

    \b
      ioe market offer 1.5 0.20 --at 12:00 --clean

    Under the uniform price all pay and get the same, between what is asked and what is bid; an
    offer at what the energy is worth to you is never the worse for it.
    """
    limits = {"energy_milli_wh": parse_amount(energy), "limit_micro": parse_amount(price)}
    order = {"side": "ask", **limits, "clean": clean, "clean_only": False}
    _place(context, order, at, partner, community)


@market.command()
@click.argument("energy", metavar="KWH")
@click.argument("price")
@at_option
@click.option("--clean", is_flag=True, help="Buy nothing but energy of the sun, wind or water.")
@partner_option
@community_option
@click.pass_context
def bid(
    context: click.Context,
    energy: str,
    price: str,
    at: str | None,
    clean: bool,
    partner: str | None,
    community: str | None,
) -> None:
    """Bid for KWH in one interval, at PRICE credits a kWh or less.

    \b
      ioe market bid 2 0.28
      ioe market bid 2 0.28 --at 18:30 --clean
    """
    limits = {"energy_milli_wh": parse_amount(energy), "limit_micro": parse_amount(price)}
    order = {"side": "bid", **limits, "clean": False, "clean_only": clean}
    _place(context, order, at, partner, community)


@market.command()
@click.argument("order")
@community_option
@click.pass_context
def cancel(context: click.Context, order: str, community: str | None) -> None:
    """Take ORDER back, one of ours in 'ioe market book', before its interval begins.

    \b
      ioe market cancel uhCkk...
    """
    home = home_of(context)
    client.zome(home, community, "market", "cancel", order=parse_action(order))
    console.print("taken back")


@market.command()
@at_option
@community_option
@json_option
@click.pass_context
def book(context: click.Context, at: str | None, community: str | None, as_json: bool) -> None:
    """The offers and bids that stand in one interval, the best price of each side first.

    \b
      ioe market book --at 18:30
    """
    home = home_of(context)
    start = start_of(home, community, at, SystemClock().now_us())
    found: list[dict[str, Any]] = client.zome(home, community, "market", "book", start=start)

    def people() -> None:
        rows = [
            (
                SIDES[each["side"]],
                kwh(each["energy_milli_wh"]),
                credits_text(each["limit_micro"]),
                _wishes(each),
                short(each["agent"]),
                plain(each["id"]),
            )
            for each in sorted(found, key=_rank)
        ]
        heads = ("", "kWh", "credits", "wishes", "agent", "order")
        table(f"from {when(start)}, credits a kWh", heads, rows)
        if not found:
            console.print("no orders: place one by 'ioe market offer' or 'ioe market bid'")

    show(found, as_json, people)


def _rank(each: dict[str, Any]) -> tuple[str, int, bytes]:
    limit = each["limit_micro"]
    return each["side"], limit if each["side"] == "ask" else -limit, each["id"]


def _wishes(each: dict[str, Any]) -> str:
    wishes = [
        "clean" if each["clean"] or each["clean_only"] else "",
        f"with {short(each['partner'])}" if each["partner"] else "",
    ]
    return ", ".join(filter(None, wishes))


@market.command()
@click.option("--at", metavar="TIME", help="Only the interval that holds this local time.")
@click.option(
    "--intervals",
    type=click.IntRange(1, 96),
    default=4,
    show_default=True,
    help="How many intervals back, with the one that runs.",
)
@community_option
@json_option
@click.pass_context
def matches(
    context: click.Context, at: str | None, intervals: int, community: str | None, as_json: bool
) -> None:
    """Who sells what to whom, at which price, in the intervals that have begun, newest first.

    \b
      ioe market matches --intervals 96

    An interval has none before its orders are voted on, half a minute or so after it has begun, nor
    where the votes do not agree: its energy is then shared out as metered.
    """
    home = home_of(context)
    if at is None:
        gates = client.zome(home, community, "market", "cleared", intervals=intervals)
    else:
        start = start_of(home, community, at, SystemClock().now_us())
        one = client.zome(home, community, "market", "gate_of", start=start)
        gates = [one] if one else []
    found = [{"start": gate["start"], **each} for gate in gates for each in gate["matches"]]

    def people() -> None:
        rows = [
            (
                when(each["start"]),
                short(each["seller"]),
                short(each["buyer"]),
                kwh(each["energy_milli_wh"]),
                credits_text(each["price_micro"]),
            )
            for each in found
        ]
        table("credits a kWh", ("from", "seller", "buyer", "kWh", "credits"), rows)
        if not found:
            console.print("nothing was matched: --intervals looks further back")

    show(found, as_json, people)


@market.command()
@json_option
@click.pass_context
def watch(context: click.Context, as_json: bool) -> None:
    """Tell of each clearing, and of our own orders, as they come, until Ctrl-C.

    \b
      ioe market watch --json            one JSON object a line
    """
    for signal in client.follow(home_of(context)):
        if signal["kind"] == "app" and signal["zome"] == "market":
            value = signal["value"]
            click.echo(json.dumps(plain(value)) if as_json else line(value))
        elif signal["kind"] == "gap":
            click.echo("some were missed; see 'ioe market matches'", err=True)


def line(value: dict[str, Any]) -> str:
    """One piece of news as people read it."""
    if "cleared" in value:
        what = "nothing trades"
        if value["energy_milli_wh"]:
            price = credits_text(value["price_micro"])
            what = f"{kwh(value['energy_milli_wh'])} kWh trade at {price} credits a kWh"
        return f"{when(value['cleared'])}  cleared: {what}"
    what = "placed" if "placed" in value else "cancelled"
    return f"{when(value['start'])}  {what}: {plain(value[what])}"

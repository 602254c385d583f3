"""`ioe credit why`: how a settlement came to its amount, in numbers."""

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
    plain,
    printable,
    short,
    show,
    when,
)


@click.command()
@click.argument("settlement")
@community_option
@json_option
@click.pass_context
def why(context: click.Context, settlement: str, community: str | None, as_json: bool) -> None:
    """How SETTLEMENT came to its amount: prices, what the meters counted, fees, origin.

    \b
      ioe credit why uhCkk...            one of 'ioe credit history'
    """
    asked = {"settlement": parse_action(settlement)}
    found = client.zome(home_of(context), community, "currency", "why", **asked)
    told = "\n".join(map(printable, lines(found)))
    show(found, as_json, lambda: console.print(told))


def lines(found: dict[str, Any]) -> list[str]:
    """What is said of a settlement."""
    paid = f"{short(found['payer'])} paid {credits_text(found['amount_micro'])}"
    said = [f"{paid} credits to {short(found['payee'])}"]
    if found["seller"] is None:
        return [*said, f"a payment: {found['memo'] or 'nobody said what for'}"]
    if found["match"] is None:
        price = credits_text(found["price_micro"])
        energy = kwh(found["energy_milli_wh"])
        said += [
            f"{energy} kWh that no order was matched for, at {price} credits a kWh, "
            "the community's price"
        ]
    else:
        said += _of_match(found)
    said += [
        f"fee {each['name']}: {credits_text(each['micro'])} credits, owed by the seller"
        for each in found["fees"]
    ]
    for each in found["certificates"]:
        grams = each["g_co2_per_kwh"]
        weight = "CO2 not known" if grams is None else f"{grams} g CO2 a kWh"
        named = plain(each["certificate"])
        said.append(
            f"origin: {kwh(each['energy_milli_wh'])} kWh of {each['source']}, {weight}; what it is "
            f"worth to the community: ioe certificate why {named}"
        )
    return said


def _of_match(found: dict[str, Any]) -> list[str]:
    match = found["match"]
    price, sold = match["price_micro"], found["energy_milli_wh"]
    came, took = match["delivered_milli_wh"], match["taken_milli_wh"]
    said = [
        f"matched: {kwh(match['energy_milli_wh'])} kWh from {when(match['start'])} on, at "
        f"{credits_text(price)} credits a kWh ({match['mechanism']})",
        f"metered of it: {_counted(came)} delivered, {_counted(took)} taken; "
        f"so {kwh(sold)} kWh are sold: {credits_text(price * sold // 1_000_000)} credits",
    ]
    if came is not None and took is not None and took > sold:
        dear = max(0, match["grid_import_micro"] - price)
        said.append(
            f"lacking: {kwh(took - sold)} kWh, which the grid gave for {credits_text(dear)} more "
            f"a kWh: less {credits_text(dear * (took - sold) // 1_000_000)} credits"
        )
    if came is not None and took is not None and came > sold:
        cheap = max(0, price - match["grid_export_micro"])
        said.append(
            f"left over: {kwh(came - sold)} kWh, which the grid took for {credits_text(cheap)} "
            f"less a kWh: plus {credits_text(cheap * (came - sold) // 1_000_000)} credits"
        )
    if None in (came, took):
        said.append("a missing reading counts as what is worst for whose meter it is")
    return said


def _counted(milli_wh: int | None) -> str:
    return "an unknown energy" if milli_wh is None else f"{kwh(milli_wh)} kWh"

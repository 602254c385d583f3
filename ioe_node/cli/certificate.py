"""`ioe certificate`: where each kWh came from, who has it, how it ended, what it is worth."""

import json
from pathlib import Path
from typing import Any

import click

from ioe_node.cli import client
from ioe_node.cli.certificate_files import granular, recs
from ioe_node.cli.output import (
    community_option,
    console,
    credits_text,
    home_of,
    json_option,
    kwh,
    limit_option,
    parse_action,
    parse_agent,
    parse_amount,
    plain,
    printable,
    short,
    show,
    table,
    when,
)
from ioe_node.errors import LocalError

RETIRED_MAX = 10_000
PERCENT_BP = 100
SOURCES = (
    *("biomass", "biomass_cofired", "coal", "csp", "gas", "geothermal", "hydro", "nuclear", "oil"),
    *("pv_roof", "pv_utility", "wind", "wind_offshore", "storage", "none"),
)
energy_option = click.option(
    "--kwh", "energy", required=True, metavar="KWH", help="How much of it, in kWh."
)


@click.group()
def certificate() -> None:
    """Certificates of origin: a kWh's source, place and CO2, from panel to socket."""


def _call(context: click.Context, community: str | None, function: str, /, **payload: Any) -> Any:
    return client.zome(home_of(context), community, "origin", function, **payload)


@certificate.command()
@click.argument("source", metavar="SOURCE", type=click.Choice(SOURCES))
@click.option("--zone", default="", help="Where the machine stands: vic/carlton.")
@click.option("--kw", "capacity", default="0", metavar="KW", help="How many kW it makes at most.")
@click.option(
    "--efficiency",
    "efficiency_bp",
    default=100 * PERCENT_BP,
    type=click.IntRange(1, 100 * PERCENT_BP),
    help="Of a battery: how much it keeps of what it takes up, in basis points.",
)
@click.option(
    "--decay",
    "decay_bp",
    default=0,
    type=click.IntRange(0, 100 * PERCENT_BP),
    help="Of a battery: how much it loses a day, in basis points.",
)
@community_option
@click.pass_context
def declare(
    context: click.Context,
    source: str,
    zone: str,
    capacity: str,
    efficiency_bp: int,
    decay_bp: int,
    community: str | None,
) -> None:
    """Say on a device's node what its machine is; from then on it certifies what it makes.

    SOURCE is one of biomass, biomass_cofired, coal, csp, gas, geothermal, hydro, nuclear, oil,
    pv_roof, pv_utility, wind, wind_offshore; storage; or none for what only draws.

    \b
      ioe certificate declare pv_roof --zone vic/carlton --kw 5
      ioe certificate declare storage --efficiency 9200 --decay 30
    """
    made = _call(
        context,
        community,
        "declare",
        source=None if source == "none" else source,
        zone=zone,
        capacity_milli_w=parse_amount(capacity),
        efficiency_bp=efficiency_bp,
        decay_bp=decay_bp,
    )
    console.print(f"declared {source}: {plain(made)}")


@certificate.command("list")
@click.argument("agent", required=False)
@click.option("--retired", is_flag=True, help="And what was taken out of the ledger before.")
@limit_option(96, RETIRED_MAX)
@community_option
@json_option
@click.pass_context
def list_(
    context: click.Context,
    agent: str | None,
    retired: bool,
    limit: int,
    community: str | None,
    as_json: bool,
) -> None:
    """What AGENT (this node by default) holds, in kWh; "stored" is in its battery."""
    found = _held(context, community, agent, limit if retired else 0)

    def people() -> None:
        rows = [
            (
                plain(each["certificate"]),
                when(each["start_us"]),
                each["state"],
                kwh(each["energy_milli_wh"]),
                each["source"],
                _weight(each["g_co2_per_kwh"]),
                each["zone"],
                each["trust"],
            )
            for each in found[-limit:]
        ]
        columns = ("certificate", "from", "state", "kWh", "source", "g CO2/kWh", "zone")
        table("", (*columns, "verified by"), rows)

    show(found, as_json, people)


def _held(context: click.Context, community: str | None, agent: str | None, retired: int) -> Any:
    who = parse_agent(agent) if agent else None
    return _call(context, community, "holdings", agent=who, retired=retired)


def _weight(g_co2_per_kwh: int | None) -> str:
    return "not known" if g_co2_per_kwh is None else str(g_co2_per_kwh)


@certificate.command("show")
@click.argument("certificate")
@community_option
@json_option
@click.pass_context
def show_(context: click.Context, certificate: str, community: str | None, as_json: bool) -> None:
    """What the certificate CERTIFICATE says: its kWh, source, time and place."""
    found = _call(context, community, "show", certificate=parse_action(certificate))

    def people() -> None:
        battery = ", out of a battery" if found["stored"] else ""
        console.print(f"{kwh(found['issued_milli_wh'])} kWh of {found['source']}{battery}")
        console.print(f"from {when(found['start_us'])} to {when(found['end_us'])}")
        console.print(f"zone {printable(found['zone']) or 'not said'}")
        console.print(f"g CO2/kWh {_weight(found['g_co2_per_kwh'])}")
        console.print(f"verified by {found['trust']}, issued by {plain(found['issuer'])}")

    show(found, as_json, people)


@certificate.command()
@click.argument("certificate")
@community_option
@json_option
@click.pass_context
def trace(context: click.Context, certificate: str, community: str | None, as_json: bool) -> None:
    """The life of CERTIFICATE from panel to socket, in kWh, by what everybody can read."""
    found = _call(context, community, "trace", certificate=parse_action(certificate))

    def people() -> None:
        for each in found["events"]:
            line = f"{when(each['at_us'])}  {kwh(each['energy_milli_wh']):>9} kWh  {each['what']}"
            line += f" by {short(each['agent'])}" + _more(each)
            console.print(printable(line))
        sums = [f"{kwh(energy)} kWh {what}" for what, energy in found["sums"].items()]
        console.print(f"in all: {', '.join(sums) or 'nothing'}")
        for each in found["unread"]:
            console.print(f"could not be read: {each}")

    show(found, as_json, people)


def _more(event: dict[str, Any]) -> str:
    """What else an event has to say."""
    if event["what"] == "given":
        return f" to {short(event['to'])}" + (", who bought it" if event["sale"] else "")
    if event["what"] in ("issued", "discharged"):
        return f", {event['source']}, for the interval of {when(event['start_us'])}"
    if event["what"] == "stored" and "stored_milli_wh" in event:
        return f", which keeps {kwh(event['stored_milli_wh'])} kWh"
    return f": {event['reason']}" if event.get("reason") else ""


@certificate.command()
@click.argument("certificate")
@click.option("--for", "user", metavar="AGENT", help="For whom; who used it last, if not said.")
@community_option
@json_option
@click.pass_context
def why(
    context: click.Context, certificate: str, user: str | None, community: str | None, as_json: bool
) -> None:
    """What the kWh of CERTIFICATE are worth to the community, factor by factor, and why."""
    found = _call(
        context,
        community,
        "why",
        certificate=parse_action(certificate),
        user=parse_agent(user) if user else None,
    )

    def people() -> None:
        rows = [(each["name"], _times(each["bp"]), each["reason"]) for each in found["factors"]]
        table("", ("factor", "times", "because"), rows)
        console.print(
            f"{kwh(found['energy_milli_wh'])} kWh are worth "
            f"{credits_text(found['worth_micro'])} credits"
        )

    show(found, as_json, people)


def _times(bp: int) -> str:
    return f"{bp // 10_000}.{bp % 10_000:04}"


@certificate.command()
@click.argument("certificate")
@click.argument("agent")
@energy_option
@community_option
@click.pass_context
def give(
    context: click.Context, certificate: str, agent: str, energy: str, community: str | None
) -> None:
    """Give AGENT some of CERTIFICATE; both chains take it, or neither.

    \b
      ioe certificate give uhCkk... uhCAk... --kwh 0.25
    """
    made = _call(
        context,
        community,
        "hand",
        agent=parse_agent(agent),
        certificate=parse_action(certificate),
        energy_milli_wh=parse_amount(energy),
    )
    console.print(f"given {energy} kWh to {agent[:13]}: {plain(made)}")


@certificate.command()
@click.argument("certificate")
@energy_option
@click.option("--burn", metavar="REASON", help="It is lost, or nobody shall use its origin.")
@click.option("--set-aside", metavar="REASON", help="Nobody shall count on it.")
@community_option
@click.pass_context
def retire(
    context: click.Context,
    certificate: str,
    energy: str,
    burn: str | None,
    set_aside: str | None,
    community: str | None,
) -> None:
    """Use up some of CERTIFICATE for what our meter drew in its interval, or for a reason.

    \b
      ioe certificate retire uhCkk... --kwh 0.25
      ioe certificate retire uhCkk... --kwh 0.25 --set-aside "the battery seems weaker"
    """
    if burn and set_aside:
        raise LocalError("one of --burn and --set-aside: each takes it out of the ledger for good")
    purpose = "burned" if burn else "set aside" if set_aside else "consumed"
    made = _call(
        context,
        community,
        "retire",
        certificate=parse_action(certificate),
        energy_milli_wh=parse_amount(energy),
        purpose=purpose,
        reason=burn or set_aside or "",
    )
    console.print(f"{purpose} {energy} kWh: {plain(made)}")


@certificate.command()
@click.argument("certificate")
@community_option
@click.pass_context
def verify(context: click.Context, certificate: str, community: str | None) -> None:
    """Vouch for CERTIFICATE, as a verifier of the community ('verifiers' in its rules).

    \b
      ioe certificate verify uhCkk...
    """
    made = _call(context, community, "verify", certificate=parse_action(certificate))
    console.print(f"verified: {plain(made)}")


@certificate.command()
@community_option
@json_option
@click.pass_context
def audit(context: click.Context, community: str | None, as_json: bool) -> None:
    """Whether any kWh is counted twice, by all the ledgers that this node can read."""
    found = _call(context, community, "audit")

    def people() -> None:
        rows = [(what, kwh(energy)) for what, energy in found["sums"].items()]
        table("", ("what", "kWh"), rows)
        for each in found["unchecked"]:
            console.print(f"not checked: {plain(each)} was taken, and who gave it is not read")
        for each in found["doubled"]:
            console.print(f"COUNTED TWICE: of {plain(each)} more is used than it brought")
        console.print(f"{len(found['doubled'])} counted twice")

    show(found, as_json, people)


def _plants(context: click.Context, community: str | None, held: Any) -> dict[bytes, Any]:
    """What each issuer says that its machine is."""
    issuers = {each["issuer"] for each in held}
    return {each: _call(context, community, "plant", agent=each) for each in sorted(issuers)}


@certificate.command()
@click.option(
    "--as",
    "kind",
    required=True,
    type=click.Choice(("rec", "energytag")),
    help="Whole MWh, or one an interval in whole Wh.",
)
@click.option(
    "--to", required=True, type=click.Path(dir_okay=False, path_type=Path), help="A file."
)
@click.option("--agent", metavar="AGENT", help="Whose; this node's by default.")
@limit_option(1_000, RETIRED_MAX)
@community_option
@click.pass_context
def export(
    context: click.Context,
    kind: str,
    to: Path,
    agent: str | None,
    limit: int,
    community: str | None,
) -> None:
    """Write what an agent holds, and the newest that it retired, to a new JSON file.

    It is a view: nothing comes to be by it, and nothing ends.

    \b
      ioe certificate export --as energytag --to certificates.json
    """
    found = _held(context, community, agent, limit)
    rows = recs(found) if kind == "rec" else granular(found, _plants(context, community, found))
    try:
        with to.open("x", encoding="utf-8") as file:
            json.dump(rows, file, indent=2)
            file.write("\n")
    except FileExistsError:
        raise LocalError(f"{to} is there already; write to another file") from None
    except OSError as error:
        raise LocalError(f"{to}: {error.strerror}; export to another place") from None
    console.print(f"{len(rows)} rows in {to}")

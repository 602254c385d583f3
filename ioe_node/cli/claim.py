"""`ioe claim`: say something of another agent, show one field of what is said of us, check one."""

import secrets
import sys
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from pathlib import Path
from typing import Any

import click

from ioe_node.cli import client
from ioe_node.cli.output import (
    community_option,
    console,
    home_of,
    json_option,
    limit_option,
    parse_action,
    parse_agent,
    plain,
    printable,
    short,
    show,
    table,
    when,
)
from ioe_node.errors import LocalError, TransportError
from ioe_node.model.hashes import agent_key
from ioe_node.model.signing import PUBLIC_KEY_BYTES

SALT_BYTES = 32
DAY_US = 86_400_000_000
DAYS_MAX = 36_500
SLIP = "ioe-slip-"
SHOWN = "ioe-shown-"


def parse_pairs(pairs: tuple[str, ...]) -> list[tuple[str, str]]:
    """(name, value) of each NAME=VALUE; raises `LocalError`."""
    found = []
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise LocalError(f"'{pair[:60]}': write NAME=VALUE, the name in lower case")
        found.append((name, value))
    return found


def _text_of(prefix: str, data: bytes) -> str:
    return prefix + urlsafe_b64encode(data).decode().rstrip("=")


def _bytes_of(prefix: str, word: str) -> bytes:
    """The bytes of a slip or of what was shown: the text, a file with it, or '-' for stdin."""
    text = sys.stdin.read() if word == "-" else word
    if word != "-" and not word.startswith(prefix):
        try:
            text = Path(text).read_text(encoding="utf-8")
        except (OSError, ValueError):
            raise LocalError(f"'{word[:60]}' is no text that begins with {prefix}, nor a file "
                             "with one") from None  # fmt: skip
    text = text.strip()
    try:
        data = urlsafe_b64decode(text[len(prefix) :].encode("ascii") + b"==")
    except ValueError:
        data = b""
    if not data or _text_of(prefix, data) != text:
        raise LocalError(f"that does not begin with {prefix} or was cut short; copy all of it")
    return data


@click.group()
def claim() -> None:
    """Claims: what others say of an agent, and can take back.

    A claim's field names are public.  Its values are on a slip, which the issuer hands to the
    subject and nobody else; the subject shows whom it likes one value, and hides the rest.
    """


@claim.command()
@click.argument("subject")
@click.argument("kind")
@click.argument("fields", nargs=-1, required=True, metavar="NAME=VALUE...")
@click.option(
    "--days",
    default=365,
    show_default=True,
    type=click.IntRange(1, DAYS_MAX),
    help="How long it is good.",
)
@community_option
@click.pass_context
def issue(
    context: click.Context,
    subject: str,
    kind: str,
    fields: tuple[str, ...],
    days: int,
    community: str | None,
) -> None:
    """Claim each NAME=VALUE... of the agent SUBJECT, as its KIND: maker, installer...

    \b
      ioe claim issue uhCAk... installer licence=NSW-8812 inspected=2026-11-20 > slip.txt

    What is printed is the slip: give it to the subject by a private way.  It is not kept here.
    """
    now_us = time.time_ns() // 1_000
    openings = [
        {"name": name, "value": value, "salt": secrets.token_bytes(SALT_BYTES)}
        for name, value in parse_pairs(fields)
    ]
    made = client.zome(
        home_of(context),
        community,
        "claims",
        "issue",
        subject=parse_agent(subject),
        kind=kind,
        fields=openings,
        valid_from=now_us,
        valid_until=now_us + days * DAY_US,
    )
    click.echo(f"claimed: {plain(made['claim'])}; the slip is for the subject alone", err=True)
    click.echo(_text_of(SLIP, made["slip"]))


@claim.command()
@click.argument("slip")
@community_option
@click.pass_context
def keep(context: click.Context, slip: str, community: str | None) -> None:
    """Keep a SLIP that an issuer handed us: its text, a file, or '-' for standard input.

    \b
      ioe claim keep slip.txt

    It is checked against the claim and stays on this machine; nobody can give it back to us,
    so keep the file too.
    """
    made = client.zome(home_of(context), community, "claims", "keep", slip=_bytes_of(SLIP, slip))
    console.print(f"kept: {printable(made['kind'])} by {plain(made['issuer'])}")
    console.print(f"show a field with: ioe claim reveal {plain(made['claim'])} NAME")


@claim.command("show")
@click.argument("agent", required=False)
@click.option("--by", metavar="ISSUER", help="Only what this agent, or this key, says.")
@limit_option(24, 64)
@community_option
@json_option
@click.pass_context
def show_(
    context: click.Context,
    agent: str | None,
    by: str | None,
    limit: int,
    community: str | None,
    as_json: bool,
) -> None:
    """What is claimed of AGENT (ourselves by default), newest first, and whether it stands.

    Anybody may claim anything of anyone: look at who says it.
    """
    found = client.zome(
        home_of(context),
        community,
        "claims",
        "about",
        subject=parse_agent(agent) if agent else None,
        issuers=[parse_agent(by)] if by else None,
        limit=limit,
    )

    def people() -> None:
        rows = [
            (
                plain(each["claim"]),
                each.get("kind", "signed elsewhere"),
                short(each["issuer"]),
                ", ".join(each.get("fields", [])) or f"{len(each['body'])} bytes",
                when(each["valid_until"]) if "valid_until" in each else "-",
                _standing(each),
            )
            for each in found
        ]
        table("", ("claim", "kind", "issuer", "fields", "until", "standing"), rows)

    show(found, as_json, people)


def _standing(each: dict[str, Any]) -> str:
    if each.get("names_subject", True):
        return str(each["standing"])
    return f"{each['standing']}, but names no key: only {short(each['linked_by'])} says whose it is"


@claim.command()
@click.argument("which", metavar="CLAIM")
@click.argument("names", nargs=-1, required=True)
@community_option
@click.pass_context
def reveal(
    context: click.Context, which: str, names: tuple[str, ...], community: str | None
) -> None:
    """Print a text that proves the fields NAMES of a CLAIM about us, and hides its others.

    \b
      ioe claim reveal uhCkk... licence

    Whoever has it can check it with 'ioe claim verify', and can pass it on.
    """
    made = client.zome(
        home_of(context), community, "claims", "reveal", claim=parse_action(which), names=names
    )
    click.echo(_text_of(SHOWN, made))


@claim.command()
@click.argument("shown")
@community_option
@json_option
@click.pass_context
def verify(context: click.Context, shown: str, community: str | None, as_json: bool) -> None:
    """Check what somebody has SHOWN: the text, a file with it, or '-' for standard input.

    It proves what the issuer said of the subject, not that whoever shows it is the subject.
    """
    found = client.zome(
        home_of(context), community, "claims", "verify", disclosure=_bytes_of(SHOWN, shown)
    )

    def people() -> None:
        console.print(f"{found['standing']}: {printable(found['kind'])} {plain(found['claim'])}")
        console.print(f"  said by   {plain(found['issuer'])}")
        console.print(f"  of        {plain(found['subject'])}")
        console.print(f"  good from {when(found['valid_from'])} to {when(found['valid_until'])}")
        for each in found["shown"]:
            console.print(f"  {printable(each['name'])} = {printable(each['value'])}")
        if found["hidden"]:
            console.print(f"  not shown: {printable(', '.join(found['hidden']))}")

    show(found, as_json, people)
    if found["standing"] == "unconfirmed":
        raise TransportError("nobody who would know whether it was revoked answers; try again")
    if found["standing"] != "stands":
        raise LocalError(f"the claim is {found['standing']}: it proves nothing now")


@claim.command()
@click.argument("which", metavar="CLAIM")
@click.option("--reason", default="", help="A line for everyone.")
@community_option
@click.pass_context
def revoke(context: click.Context, which: str, reason: str, community: str | None) -> None:
    """Take back a CLAIM or application that we made, or our approval of one; for good.

    \b
      ioe claim revoke uhCkk... --reason "licence lapsed"
    """
    made = client.zome(
        home_of(context), community, "claims", "revoke", entry=parse_action(which), reason=reason
    )
    for each in made:
        console.print(f"revoked: {plain(each)}")


@claim.command()
@click.argument("subject")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--key", required=True, metavar="HEX", help="The signer's Ed25519 public key.")
@click.option("--signature", required=True, metavar="HEX", help="Its signature of the file.")
@community_option
@click.pass_context
def link(
    context: click.Context,
    subject: str,
    file: Path,
    key: str,
    signature: str,
    community: str | None,
) -> None:
    """Link a FILE that somebody signed elsewhere, such as a maker, to the agent SUBJECT.

    \b
      ioe claim link uhCAk... warranty.json --key 5a0c... --signature 91f7...

    It is public as it is.  It counts as the signer's word about the subject when it names the
    subject's key: as text, as hex, or raw.
    """
    try:
        public_key, signed = bytes.fromhex(key), bytes.fromhex(signature)
    except ValueError:
        raise LocalError("--key and --signature are hexadecimal: 64 and 128 digits") from None
    if len(public_key) != PUBLIC_KEY_BYTES:
        raise LocalError("--key is an Ed25519 public key: 64 hexadecimal digits")
    made = client.zome(
        home_of(context),
        community,
        "claims",
        "link",
        subject=parse_agent(subject),
        signer=agent_key(public_key),
        body=file.read_bytes(),
        signature=signed,
    )
    console.print(f"linked: {plain(made)}, signed by {plain(agent_key(public_key))}")


@claim.command("apply")
@click.argument("device")
@click.argument("attributes", nargs=-1, metavar="NAME=VALUE...")
@community_option
@click.pass_context
def apply_(
    context: click.Context, device: str, attributes: tuple[str, ...], community: str | None
) -> None:
    """Apply to the community's approvers for a credential of a DEVICE of ours.

    \b
      ioe claim apply uhCAk... model=SB-5000 panels=14

    What each NAME=VALUE... says of it is public.  The credential is bound to the device's key:
    it cannot be passed on, and does not follow a device that is sold.
    """
    made = client.zome(
        home_of(context),
        community,
        "claims",
        "apply",
        device=parse_agent(device),
        attributes=[{"name": name, "value": value} for name, value in parse_pairs(attributes)],
    )
    console.print(f"applied: {plain(made)}; an approver runs 'ioe claim approve' on it")


@claim.command()
@click.argument("application")
@community_option
@click.pass_context
def approve(context: click.Context, application: str, community: str | None) -> None:
    """Approve an APPLICATION, as one of the community's approvers.

    \b
      ioe claim approve uhCkk...

    See what is asked with 'ioe credential show DEVICE'; 'ioe claim revoke' takes it back.
    """
    made = client.zome(
        home_of(context), community, "claims", "approve", application=parse_action(application)
    )
    console.print(f"approved: {plain(made)}")

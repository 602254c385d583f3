"""Issue claims and take them back, keep what opens them, show a field, check what was shown.

All that is said of an agent is read in one place, at its key.  `about` fetches no more than
`CLAIMS_MAX` entries, the newest, and only of the issuers that are asked for: whoever heaps
claims on an agent costs nobody who does not ask for him.  Whether a claim stands is read at the
claim itself, and is not believed of one whose place nobody shows.
"""

from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from ioe_node.hdi import Malformed, Timestamp, encode
from ioe_node.hdk import (
    ActionHash,
    AgentPubKey,
    CallError,
    CoordinatorZome,
    Found,
    Host,
    TransportError,
)
from zomes.claims.disclosure import (
    Disclosure,
    Opening,
    check_openings,
    commit,
    decode_disclosure,
    unopened,
)
from zomes.claims.integrity import (
    ABOUT,
    Claim,
    Kept,
    Said,
    SignedElsewhere,
    Withdrawable,
    Withdrawal,
    issuer_of,
    tag_of,
)
from zomes.claims.integrity import zome as integrity

CLAIMS_MAX = 64
KEPT_MAX = 1_000
WORDS = ("Claim", "SignedElsewhere")

T = TypeVar("T")

zome = CoordinatorZome(integrity)


@dataclass(frozen=True)
class Linked:
    """An entry about a subject as its link has it: type, whose word, where, and the link."""

    kind: str
    whose: bytes
    target: ActionHash
    author: AgentPubKey
    link: ActionHash


async def linked(host: Host, subject: AgentPubKey) -> list[Linked]:
    """All that is said of a subject, newest first, each once; nothing is fetched but links."""
    found: dict[bytes, Linked] = {}
    for link in await host.get_links(subject, ABOUT):
        kind, _, whose = link.tag.partition(b":")
        found[link.target] = Linked(
            kind.decode(errors="replace"), whose, ActionHash(link.target), link.author, link.hash
        )
    return list(found.values())[::-1]


async def read(host: Host, each: Linked, subject: AgentPubKey) -> Found | None:
    """The entry behind a link, if it can be reached and is what the link says."""
    found = await host.get(each.target)
    if found is None or not isinstance(found.entry, Said) or found.action.author != each.author:
        return None
    tag = each.kind.encode() + b":" + each.whose
    fits = found.entry.subject == subject and tag_of(found.entry, each.author) == tag
    return found if fits else None


async def standing_of(host: Host, found: Found) -> str:
    """ "stands", or why not; "unconfirmed" when nobody shows that it was not withdrawn."""
    links = [
        link
        for link in await host.get_links(found.hash, ABOUT)
        if link.author == found.action.author
    ]
    if any(link.target != found.hash for link in links):
        return "withdrawn"
    if not links:
        return "unconfirmed"
    entry = found.entry
    if isinstance(entry, Claim):
        if host.now_us() < entry.valid_from:
            return "not valid yet"
        if host.now_us() >= entry.valid_until:
            return "expired"
    return "stands"


async def publish(host: Host, entry: Said) -> ActionHash:
    """Commit an entry and the links by which it is found, and found to stand."""
    made = await host.create(entry)
    tag = tag_of(entry, host.agent_info().agent)
    await host.create_link(entry.subject, made, ABOUT, tag)
    if isinstance(entry, Withdrawable):
        await host.create_link(made, made, ABOUT, tag)
    return made


async def replace_own(host: Host, entry: Said) -> ActionHash:
    """Publish an entry in place of our earlier ones of its type about the same subject."""
    await remove_own(host, entry.subject, type(entry).__name__)
    return await publish(host, entry)


async def remove_own(host: Host, subject: AgentPubKey, kind: str) -> int:
    """Remove the links to our entries of a type about a subject; how many there were."""
    us = host.agent_info().agent
    ours = [each for each in await linked(host, subject) if (each.kind, each.author) == (kind, us)]
    for each in ours:
        await host.delete_link(each.link)
    return len(ours)


async def said_at(host: Host, action: ActionHash) -> Found:
    """An entry of this zome; raises `CallError`, or `TransportError` when nobody shows it."""
    found = await host.get(action)
    if found is None:
        raise TransportError("nobody who holds that claim can be reached; try again")
    if not isinstance(found.entry, Said):
        raise CallError("that action is no claim; 'ioe claim show' lists an agent's")
    return found


@zome.function
async def issue(
    host: Host,
    subject: AgentPubKey,
    kind: str,
    fields: tuple[Opening, ...],
    valid_from: int,
    valid_until: int,
) -> dict[str, Any]:
    """Claim `fields` of a subject; the slip that is returned is for the subject alone.

    The salts are the caller's, drawn at random: who knows a slip can show any field of it.
    """
    _ours(lambda: check_openings(fields))
    us = host.agent_info().agent
    ordered = tuple(sorted(fields, key=lambda opening: opening.name))
    committed = tuple(commit(us, subject, opening) for opening in ordered)
    made = await publish(
        host, Claim(subject, kind, committed, Timestamp(valid_from), Timestamp(valid_until))
    )
    return {"claim": made, "slip": encode(Disclosure(made, ordered))}


def _ours(check: Callable[[], T]) -> T:
    """What `check` returns; what is malformed came from our own client."""
    try:
        return check()
    except Malformed as error:
        raise CallError(str(error)) from None


@zome.function
async def keep(host: Host, slip: bytes) -> dict[str, Any]:
    """Keep a slip about us, after a look that it opens every field of its claim."""
    shown = _ours(lambda: decode_disclosure(slip))
    found, wrong = await _compared(host, shown)
    claim: Claim = found.entry
    if claim.subject != host.agent_info().agent:
        raise CallError("that slip is about another agent; only its subject keeps it")
    if wrong or len(shown.openings) != len(claim.fields):
        raise CallError("that slip does not open every field of its claim; ask for another")
    if await _kept(host, shown.claim) is None:
        await host.create(Kept(shown.claim, shown.openings))
    return {"claim": shown.claim, "issuer": found.action.author, "kind": claim.kind}


async def _compared(host: Host, shown: Disclosure) -> tuple[Found, list[str]]:
    """The claim that a disclosure is of, and the names that it shows and does not open."""
    found = await said_at(host, shown.claim)
    claim = found.entry
    if not isinstance(claim, Claim):
        raise CallError("that is of something without hidden fields; 'ioe claim show' shows it")
    return found, unopened(found.action.author, claim.subject, claim.fields, shown.openings)


async def _kept(host: Host, claim: ActionHash) -> Kept | None:
    found = await host.query(Kept, limit=KEPT_MAX, enough=lambda each: each.entry.claim == claim)
    return found[-1].entry if found and found[-1].entry.claim == claim else None


@zome.function
async def reveal(host: Host, claim: ActionHash, names: tuple[str, ...]) -> bytes:
    """A disclosure of these fields of a claim about us, to be handed to whoever asks."""
    kept = await _kept(host, claim)
    if kept is None:
        raise CallError("no slip of that claim is kept here; 'ioe claim keep' keeps one")
    by_name = {opening.name: opening for opening in kept.openings}
    unknown = sorted(set(names) - set(by_name))
    if unknown or not names:
        raise CallError(f"name fields of that claim: {', '.join(sorted(by_name))}")
    return encode(Disclosure(claim, tuple(by_name[name] for name in sorted(set(names)))))


@zome.function
async def verify(host: Host, disclosure: bytes) -> dict[str, Any]:
    """Check what was shown against the claim as the network holds it, and whether that stands.

    It proves what the issuer said of the subject, not that whoever shows it is the subject.
    """
    shown = _ours(lambda: decode_disclosure(disclosure))
    found, wrong = await _compared(host, shown)
    if wrong:
        raise CallError(f"not what the issuer committed to: {', '.join(wrong)}; believe none of it")
    listed = _described(found, await standing_of(host, found))
    listed["shown"] = [{"name": each.name, "value": each.value} for each in shown.openings]
    names = {opening.name for opening in shown.openings}
    listed["hidden"] = [name for name in listed.pop("fields") if name not in names]
    return listed


def names_key(body: bytes, subject: AgentPubKey) -> bool:
    """Whether signed bytes name the subject's key: raw, in hex, or as 'ioe status' shows it."""
    core = bytes(subject[3:35])
    shown = b"u" + urlsafe_b64encode(subject).rstrip(b"=")
    return core in body or core.hex().encode() in body.lower() or shown in body


def _described(found: Found, standing: str) -> dict[str, Any]:
    """A claim for a reader, its fields by name only."""
    entry = found.entry
    listed: dict[str, Any] = {
        "claim": found.hash,
        "type": type(entry).__name__,
        "issuer": issuer_of(entry, found.action.author),
        "subject": entry.subject,
        "standing": standing,
        "issued_at": found.action.timestamp_us,
    }
    if isinstance(entry, Claim):
        listed["kind"] = entry.kind
        listed["fields"] = [field.name for field in entry.fields]
        listed["valid_from"], listed["valid_until"] = entry.valid_from, entry.valid_until
    elif isinstance(entry, SignedElsewhere):
        listed["linked_by"] = found.action.author
        listed["names_subject"] = names_key(entry.body, entry.subject)
        listed["body"] = entry.body
    return listed


@zome.function
async def about(
    host: Host,
    subject: AgentPubKey | None = None,
    issuers: tuple[AgentPubKey, ...] | None = None,
    limit: int = CLAIMS_MAX,
) -> list[dict[str, Any]]:
    """The newest claims about an agent (us by default), by these issuers or by anybody."""
    us = host.agent_info().agent
    said = await linked(host, subject or us)
    wanted = [
        each for each in said if each.kind in WORDS and (issuers is None or each.whose in issuers)
    ]
    listed = []
    for each in wanted[: max(0, min(limit, CLAIMS_MAX))]:
        found = await read(host, each, subject or us)
        if found is not None:
            listed.append(_described(found, await standing_of(host, found)))
    return listed


@zome.function
async def link(
    host: Host, subject: AgentPubKey, signer: AgentPubKey, body: bytes, signature: bytes
) -> ActionHash:
    """Link what the holder of a key signed elsewhere to the agent that it is about."""
    return await publish(host, SignedElsewhere(subject, signer, body, signature))


@zome.function
async def revoke(host: Host, entry: ActionHash, reason: str = "") -> list[ActionHash]:
    """Take back a claim or an application of ours, or our approvals of another's application."""
    us = host.agent_info().agent
    withdrawals = []
    for each in await _to_take_back(host, entry):
        made = Withdrawal(each, reason)
        withdrawals.append(await host.create(made))
        await host.create_link(each, withdrawals[-1], ABOUT, tag_of(made, us))
    return withdrawals


async def _to_take_back(host: Host, entry: ActionHash) -> list[ActionHash]:
    us = host.agent_info().agent
    found = await said_at(host, entry)
    if found.action.author == us:
        return [entry]
    approvals = []
    for each in await linked(host, found.entry.subject):
        if (each.kind, each.author) == ("Approval", us):
            ours = await read(host, each, found.entry.subject)
            if ours is not None and ours.entry.application == entry:
                approvals.append(each.target)
    if not approvals:
        raise CallError("only whoever made a claim, or approved an application, takes it back")
    return approvals

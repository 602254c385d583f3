"""The DNA that load is made with: one zome whose functions do one thing each, and pay.

Its scenarios are `sim.scenarios.load_*` on virtual time and `bench.network` on real processes.
Name it in a config as `dnas = ["sim.load_dna:DNA"]` and found one with
`ioe community create --dna load`.  The membrane and the payments are the neighbourhood's.
"""

from dataclasses import dataclass
from typing import Any

import trio

from currency.coordinator import zome as currency_zome
from ioe_node.hdi import Timestamp
from ioe_node.hdk import (
    ActionHash,
    AgentPubKey,
    CallError,
    CapGrant,
    CoordinatorZome,
    DnaDef,
    Found,
    Host,
    Zome,
)
from ioe_node.model.hashes import entry_hash
from sim.load_rules import TIMED, CheckedEntry, StreamEntry, TimedEntry
from sim.load_rules import zome as integrity
from zomes.community.coordinator import zome as community_zome

SIGNALS_PER_CALL_MAX = 100_000
CHAINS_PER_CALL_MAX = 256
PAGES_PER_CHAIN_MAX = 1_000

zome = CoordinatorZome(integrity)


def anchor(name: str) -> bytes:
    """A base that everyone can compute and nobody has to create."""
    return entry_hash(b"anchor " + name.encode())


def _made_us(host: Host) -> Timestamp:
    return Timestamp(host.now_us())


# -- writing ----------------------------------------------------------------------------------


@zome.function
async def write(host: Host, value: int, filler_bytes: int = 0) -> ActionHash:
    """A timed entry, found by its hash."""
    return await host.create(TimedEntry(_made_us(host), value, bytes(filler_bytes)))


@zome.function
async def stream(host: Host, value: int) -> ActionHash:
    """A timed entry on our chain only."""
    return await host.create(StreamEntry(_made_us(host), value))


@zome.function
async def write_validated(host: Host, value: int, about: ActionHash | None = None) -> ActionHash:
    """Create, update and link, each validated, as one bundle; the create's hash.

    `about` is a timed entry of anyone's; without one, a new one of ours.
    """
    target = about or await host.create(TimedEntry(_made_us(host), value, b""))
    made = await host.create(CheckedEntry(_made_us(host), value, target))
    await host.update(made, CheckedEntry(_made_us(host), value + 1, target))
    await host.create_link(anchor("checked"), made, TIMED)
    return made


@zome.function
async def link(host: Host, base: bytes, hash: bytes) -> ActionHash:
    """A link from `base`."""
    return await host.create_link(base, hash, TIMED)


@zome.function
async def local_signal(host: Host, n: int) -> int:
    """So many signals to our clients."""
    if not 0 <= n <= SIGNALS_PER_CALL_MAX:
        raise CallError(f"0 to {SIGNALS_PER_CALL_MAX} signals a call")
    for number in range(n):
        host.emit_signal({"number": number})
    return n


# -- reading ----------------------------------------------------------------------------------


@zome.function
async def echo(host: Host, value: int) -> int:
    """Nothing but the call itself."""
    return value


@zome.function
async def read(host: Host, hash: ActionHash) -> dict[str, Any] | None:
    """A timed entry by its hash, from here or from afar; None if nobody has it."""
    found = await host.get(hash)
    return None if found is None else _shown(found)


@zome.function
async def links(host: Host, base: bytes) -> list[bytes]:
    """The targets of the links at `base`."""
    return [each.target for each in await host.get_links(base, TIMED)]


@zome.function
async def activity(host: Host, agent: AgentPubKey) -> dict[str, int]:
    """Read the whole chain of an agent: how many actions, and how many timed entries."""
    actions, entries, pages = 0, 0, 0
    while pages < PAGES_PER_CHAIN_MAX and (page := await host.activity(agent, actions)):
        actions += len(page)
        entries += sum(isinstance(each.entry, TimedEntry | StreamEntry) for each in page)
        pages += 1
    return {"actions": actions, "entries": entries}


@zome.function
async def news(host: Host, cursors: list[tuple[AgentPubKey, int]]) -> list[dict[str, Any]]:
    """The next page of several chains, each from its cursor, asked for all at once.

    One map a chain, in the order asked: the next cursor and the timed entries on the way.
    """
    if len(cursors) > CHAINS_PER_CALL_MAX:
        raise CallError(f"at most {CHAINS_PER_CALL_MAX} chains a call")
    pages: dict[int, list[Found]] = {}

    async def one(place: int, agent: AgentPubKey, from_seq: int) -> None:
        pages[place] = await host.activity(agent, from_seq)

    async with trio.open_nursery() as nursery:
        for place, (agent, from_seq) in enumerate(cursors):
            nursery.start_soon(one, place, agent, from_seq)
    return [
        {
            "next_seq": pages[place][-1].action.action_seq + 1 if pages[place] else from_seq,
            "entries": [
                _shown(each)
                for each in pages[place]
                if isinstance(each.entry, TimedEntry | StreamEntry)
            ],
        }
        for place, (_, from_seq) in enumerate(cursors)
    ]


def _shown(found: Found) -> dict[str, Any]:
    return {
        "hash": found.hash,
        "seq": found.action.action_seq,
        "created_us": found.entry.created_us,
        "value": found.entry.value,
    }


# -- other agents -----------------------------------------------------------------------------


@zome.function
async def open_echo(host: Host) -> ActionHash:
    """Let every member call our `echo`."""
    return await host.create(CapGrant(tag="load", functions=("load.echo",)))


@zome.function
async def echo_at(host: Host, agent: AgentPubKey, value: int) -> int:
    """`echo` of another agent."""
    echoed: int = await host.call_remote(agent, "load", "echo", {"value": value})
    return echoed


@dataclass(frozen=True)
class Properties:
    """The steward invites; payments have no limit that a load would reach."""

    stewards: tuple[AgentPubKey, ...] = ()
    recovery: tuple[bytes, ...] = ()
    price_bp: int = 10_000
    credit_limit_micro: int = 10**15
    limit_share_bp: int = 0
    limit_window_us: int = 1
    limit_raise_micro_max: int = 0
    soft_limit_bp: int = 10_000
    reserves: tuple[AgentPubKey, ...] = ()


DNA = DnaDef(
    name="load",
    zomes=tuple(Zome(each.integrity, each) for each in (community_zome, currency_zome, zome)),
    properties=Properties(),
)

"""A market whose gates the steward announces: all that a settlement asks of one, without orders."""

from dataclasses import dataclass, replace
from typing import Any

from currency.market.match import Match
from dna.neighbourhood import DNA
from ioe_node.hdi import ActionHash, AgentPubKey, ExternalHash, IntegrityZome, external_hash
from ioe_node.hdk import CoordinatorZome, Host, Zome

INTERVAL_US = 60_000_000

integrity = IntegrityZome("market")
GATES = integrity.link_type("gates")


@integrity.entry_type
@dataclass(frozen=True)
class Gate:
    """Whoever announces it may say anything."""

    start: int
    matches: tuple[Match, ...]


@integrity.entry_type
@dataclass(frozen=True)
class Order:
    """Where its author is."""

    zone: str


def _basis(start: int) -> ExternalHash:
    return external_hash(f"gate {start}".encode())


zome = CoordinatorZome(integrity)


@zome.function
async def announce(host: Host, gate: Gate) -> ActionHash:
    """Only the steward's counts."""
    written = await host.create(gate)
    await host.create_link(_basis(gate.start), written, GATES)
    return written


@zome.function
async def order(host: Host, zone: str) -> ActionHash:
    return await host.create(Order(zone))


@zome.function
async def gate_of(host: Host, start: int) -> dict[str, Any] | None:
    steward = host.properties.stewards[0]
    links = await host.get_links(_basis(start), GATES)
    counting = [link.target for link in links if link.author == steward]
    if not counting:
        return None
    found = await host.get(ActionHash(counting[0]))
    return None if found is None else {"hash": found.hash, "matches": found.entry.matches}


@zome.function
async def ordered(host: Host, from_start: int) -> list[int]:
    """Every interval: here everyone has ordered all the time."""
    length_us = host.properties.interval_us
    return list(range(-(-from_start // length_us) * length_us, host.now_us(), length_us))


@zome.function
async def propose(host: Host, partner: AgentPubKey, gate: ActionHash, place: int) -> ActionHash:
    """Settle a match, whether it is time for it or not."""
    return await host.countersign(partner, "currency.match", {"gate": gate, "place": place})


@zome.function
async def propose_fee(host: Host, partner: AgentPubKey, place: int) -> ActionHash:
    """Pay a fee, whether it is owed or not."""
    return await host.countersign(partner, "currency.fee", {"place": place})


ANNOUNCED = replace(
    DNA,
    zomes=tuple(
        Zome(integrity, zome) if each.integrity.name == "market" else each for each in DNA.zomes
    ),
    properties=replace(
        DNA.properties,
        interval_us=INTERVAL_US,
        power_milli_w_max=10 * DNA.properties.power_milli_w_max,
        grid_import_micro=1_500_000,
        grid_export_micro=500_000,
    ),
)

"""Peers and networks in the shapes that Kitsune2 gives to Holochain's clients.

An agent info is JSON text whose `agentInfo` is again JSON text, signed by the agent.  What our
own network reads is our signed info, which travels along as `ioe`; so an info that one node of
ours shows can be given to another (`add_agent_info`), and one of Holochain's cannot.
"""

import json
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Iterable, Sequence
from typing import Any

from ioe_node.conductor.cell import Cell
from ioe_node.errors import CallError, Malformed
from ioe_node.hdi import AgentPubKey
from ioe_node.model.agent_info import INFO_BYTES_MAX, AgentInfo, SignedInfo, open_info
from ioe_node.model.codec import Codec, encode
from ioe_node.model.hashes import CORE, to_text
from ioe_node.net.peer_id import join_address
from ioe_node.workflows.space import Space

RING_MAX = 2**32 - 1
INFOS_MAX = 1_000

_signed: Codec[SignedInfo] = Codec(SignedInfo, "signed info", INFO_BYTES_MAX + 128)


def of_dnas(cells: Iterable[Cell], wanted: Sequence[bytes] | None) -> list[Cell]:
    """The cells in these networks, or in all; raises `CallError` for one that none is in."""
    found = list(cells)
    if wanted is None:
        return found
    missing = set(wanted) - {cell.space.dna for cell in found}
    if missing:
        raise CallError(f"no cell runs in network {to_text(sorted(missing)[0])}")
    return [cell for cell in found if cell.space.dna in wanted]


def agent_infos(cells: Iterable[Cell]) -> list[str]:
    """The infos known in these cells, our own first, each agent once a network."""
    shown: dict[tuple[bytes, bytes], str] = {}
    for cell in cells:
        space = cell.space
        ours = space.info()
        known = [(open_info(ours, space.dna, None), ours)]
        for agent in space.peers.agents():
            info, signed = space.peers.info_of(agent), space.peers.signed_of(agent)
            if info is not None and signed is not None:
                known.append((info, signed))
        for info, signed in known:
            shown.setdefault((info.network, info.agent), _info_text(info, signed))
    return list(shown.values())


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def _info_text(info: AgentInfo, signed: SignedInfo) -> str:
    agent = AgentPubKey(info.agent)
    inner = {
        "agent": _base64(agent[CORE]),
        "space": _base64(info.network[CORE]),
        "createdAt": str(info.issued_us),
        "expiresAt": str(info.expires_us),
        "isTombstone": False,
        "url": join_address(agent, info.addresses[0]) if info.addresses else None,
        "storageArc": [0, RING_MAX] if info.holds else None,
    }
    outer = {
        "agentInfo": json.dumps(inner),
        "signature": _base64(signed.signature),
        "ioe": b64encode(encode(signed)).decode(),
    }
    return json.dumps(outer)


def add_infos(cells: Sequence[Cell], texts: Sequence[str]) -> None:
    """Learn of agents; raises `Malformed` for what is no info of ours or of no network here."""
    if len(texts) > INFOS_MAX:
        raise Malformed(f"at most {INFOS_MAX} agent infos at once")
    for text in texts:
        try:
            found = json.loads(text)
            signed = _signed.decode(b64decode(found["ioe"], validate=True))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise Malformed("an agent info that no node of ours has shown") from None
        taken = [_learn(cell.space, signed) for cell in cells]
        if not any(taken):
            raise Malformed("an agent info of a network that no cell here is in, or an old one")


def _learn(space: Space, signed: SignedInfo) -> bool:
    try:
        space.learn(signed)
    except Malformed:
        return False
    space.exchange_bell.ring()
    return True


def stats(cells: Sequence[Cell]) -> dict[str, Any]:
    """`dump_network_stats`: where we are reached, and whom we have been in touch with.

    What 0.7 wraps in `transport_stats` stands at the top, too, where 0.6 has it.
    """
    urls = {
        join_address(cell.space.agent, address): None
        for cell in cells
        for address in cell.space.transport.addresses()
    }
    shown = {"backend": "libp2p", "peer_urls": list(urls), "connections": []}
    return {**shown, "transport_stats": shown, "blocked_message_counts": {}}


def metrics(cells: Sequence[Cell]) -> dict[bytes, Any]:
    """`dump_network_metrics`, by network.

    A share is of the nearest here, not a range: the whole ring is what we take part in, and an
    arc is held once we know our neighbours.
    """
    found: dict[bytes, Any] = {}
    for cell in cells:
        space = cell.space
        target = [0, RING_MAX] if space.holds else None
        storage = target if space.joined else None
        agent = {"agent": space.agent, "storage_arc": storage, "target_arc": target}
        known = found.get(space.dna)
        if known is not None:
            known["local_agents"].append(agent)
            continue
        wanted: dict[str, list[str]] = {to_text(each): [] for _, each in sorted(space.wanted)}
        found[space.dna] = {
            "fetch_state_summary": {"pending_requests": wanted, "peers_on_backoff": {}},
            "gossip_state_summary": {
                "initiated_round": None,
                "accepted_rounds": [],
                "dht_summary": {},
                "peer_meta": _peer_meta(space),
            },
            "local_agents": [agent],
        }
    return found


def _peer_meta(space: Space) -> dict[str, Any]:
    meta = {}
    for agent, (rounds, last_us) in sorted(space.counters.rounds.items()):
        addresses = space.peers.addresses(agent)
        if addresses:
            meta[join_address(agent, addresses[0])] = {
                "last_gossip_timestamp": last_us,
                "completed_rounds": rounds,
            }
    return meta


def peer_meta_info(cells: Sequence[Cell], url: str) -> dict[bytes, Any]:
    """`peer_meta_info`: what each network knows of the peer that is reached at `url`."""
    found: dict[bytes, Any] = {}
    for cell in cells:
        space = cell.space
        for agent, (rounds, last_us) in space.counters.rounds.items():
            if url in [join_address(agent, each) for each in space.peers.addresses(agent)]:
                info = space.peers.info_of(agent)
                expires_us = 0 if info is None else info.expires_us
                found[space.dna] = {
                    "gossip:completed_rounds": _meta(rounds, expires_us),
                    "gossip:last_timestamp": _meta(last_us, expires_us),
                }
    return found


def _meta(value: int, expires_us: int) -> dict[str, Any]:
    return {"meta_value": str(value), "expires_at": expires_us}

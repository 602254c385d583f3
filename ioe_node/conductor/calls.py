"""What the control socket answers, by name: the calls that `ioe` is made of."""

from collections.abc import Awaitable, Callable
from typing import Any

from ioe_node.conductor import communities, devices
from ioe_node.conductor.app_calls import app_list, app_set
from ioe_node.conductor.cell import Cell
from ioe_node.conductor.conductor import Conductor
from ioe_node.conductor.invitation import parse_invitation
from ioe_node.conductor.key_calls import (
    device_accept,
    device_rotate,
    key_ask,
    key_decide,
    key_do,
    key_gather,
    key_history,
    key_merge,
    key_owed,
    key_recover,
    key_requests,
    key_rotate,
    key_show,
    key_sign,
)
from ioe_node.conductor.machine import device_limit, device_switch
from ioe_node.conductor.meter_calls import (
    meter_changed,
    meter_history,
    meter_import,
    meter_rebuild,
    meter_samples,
    meter_sources,
)
from ioe_node.conductor.peer_calls import peers_list, warrant_list, warrant_show
from ioe_node.conductor.policy_calls import policy_set, policy_show
from ioe_node.conductor.unowned import device_code, device_confirm, device_unlock
from ioe_node.errors import CallError, StoreError, TransportError
from ioe_node.hdi import ActionHash, AgentPubKey
from ioe_node.model.action import Create, Update
from ioe_node.model.hashes import ACTION, AGENT, check_hash
from ioe_node.model.record import Record
from ioe_node.net.peer_id import join_address
from ioe_node.plugins import load
from ioe_node.workflows.cascade import retrieve_record
from ioe_node.workflows.finality import NeverFinal, finalise
from ioe_node.workflows.finality import status as finality_of
from ioe_node.workflows.publish import backlog
from ioe_node.workflows.release import arc_of
from ioe_node.workflows.space import Space, log

CHAIN_PAGE_MAX = 1_000
FINAL_WAIT_MAX_S = 100
ALERTS_SHOWN = 5

Call = Callable[..., Awaitable[Any]]
CALLS: dict[str, Call] = {}


def _call(function: Call) -> Call:
    CALLS[function.__name__] = function
    return function


for _each in (
    *(peers_list, warrant_list, warrant_show),
    *(device_code, device_confirm, device_unlock),
    *(device_switch, device_limit),
    *(policy_show, policy_set),
    *(app_list, app_set),
    *(key_show, key_history, key_rotate, key_recover, key_owed),
    *(key_ask, key_sign, key_merge, key_do, key_gather, key_requests, key_decide),
    *(device_accept, device_rotate),
    *(meter_history, meter_sources, meter_samples, meter_import, meter_rebuild, meter_changed),
):
    _call(_each)


async def _communities(conductor: Conductor) -> list[dict[str, Any]]:
    """The state of each cell, but for one that has closed meanwhile."""
    found = []
    for cell in _cells(conductor):
        try:
            found.append(await _community(cell))
        except StoreError:
            if cell in conductor.cells.values():
                raise
    return found


async def _community(cell: Cell) -> dict[str, Any]:
    """The state of one cell; the digest of what it holds takes a reading of all: `ops_digest`."""
    space = cell.space
    count = await space.run(space.store.ops_held)
    next_seq = space.next_seq(space.agent)
    authorities = [peer for peer in space.authorities(space.agent) if peer != space.agent]
    whole, _, median_lacks = backlog(space)
    counters = space.counters
    return {
        "community": space.rules.definition.seed,
        "dna": space.dna,
        "steward": _is_steward(space),
        "peers": space.others(),
        "actions": next_seq,
        "unpublished": sum(max(0, next_seq - space.store.next_for(peer)) for peer in authorities),
        "authorities": len(authorities),
        "authorities_whole": whole,
        "median_lacks": median_lacks,
        "owed": await space.run(space.store.owed_count),
        "arc": arc_of(space),
        "confirmed": space.head_confirmed.is_set(),
        "in_doubt": space.store.promised() is not None,
        "ops_held": count,
        "ops_validated": counters.ops_validated,
        "bundles_committed": counters.bundles_committed,
        "records_refused": counters.records_refused,
        "messages_refused": counters.messages_refused,
        "last_refusals": counters.last_refusals,
        "blocked": sorted(space.blocked),
        "slowed": space.quota.slowed(space.clock.now_us()),
        "limbo_rows": space.store.limbo.rows(),
        "faults": space.faults,
        "refused_by": sorted(set(space.refused_by.values())),
    }


def _is_steward(space: Space) -> bool:
    """Whether we are one, or the successor of one."""
    if space.agent in space.rules.definition.properties.stewards:
        return True
    proof = space.membrane_proof
    return bool(proof) and load("zomes.community.coordinator:role_of")(proof) == "steward"


def _cells(conductor: Conductor) -> list[Cell]:
    return [conductor.cells[key] for key in sorted(conductor.cells)]


@_call
async def ops_digest(conductor: Conductor, community: str | None = None) -> dict[str, Any]:
    """What two nodes share when they hold the same ops; reads all of them, once a call."""
    space = conductor.cell(community).space
    count, digest = await space.run(space.store.ops_digest)
    return {"ops_held": count, "ops_digest": digest}


@_call
async def status(conductor: Conductor) -> dict[str, Any]:
    """Who we are, whom we know, how far the chain and its publishing are."""
    agent = conductor.signer().agent
    poller = conductor.poller
    latest = poller.latest if poller else None
    return {
        "agent": agent,
        "role": conductor.role,
        "addresses": [join_address(agent, each) for each in conductor.transport.addresses()],
        "code": conductor.unowned.code if conductor.unowned else None,
        "owner": conductor.keystore.secrets.get("owner"),
        "driver": None
        if poller is None
        else {"state": poller.state, "why": poller.why, "live": poller.live},
        "reading": None
        if latest is None
        else {
            "at_us": latest.at_us,
            "power_milli_w": latest.power_milli_w,
            "import_milli_wh": latest.import_milli_wh,
            "export_milli_wh": latest.export_milli_wh,
            "switched_on": latest.switched_on,
        },
        "mqtt": conductor.home_assistant and conductor.home_assistant.status(),
        "communities": await _communities(conductor),
        "serves": conductor.serves,
        "faults": sorted(conductor.faults.values()),
        "alerts": conductor.alerts.since(limit=ALERTS_SHOWN),
    }


@_call
async def alerts(conductor: Conductor, since: int = 0) -> list[dict[str, Any]]:
    """The alerts kept after number `since`, oldest first."""
    return conductor.alerts.since(since)


@_call
async def device_list(conductor: Conductor) -> dict[str, Any]:
    """Devices near, and our portfolio in each community."""
    near = [
        {"agent": card.agent, "kind": card.kind, "state": card.state, "name": card.name}
        for card in conductor.meeting.cards()
        if card.kind != "owner"
    ]
    owned = []
    for cell in conductor.cells_with("identity"):
        owned += await cell.call("identity", "portfolio", {})
    return {"near": near, "owned": owned}


@_call
async def device_claim(
    conductor: Conductor,
    device: str | bytes,
    code: str | None = None,
    name: str | None = None,
    community: str | None = None,
) -> Any:
    """Claim a device that is near, by key or by the name that it shows; without a code `device`
    is the line of its QR code.
    """
    if conductor.role != "owner":
        raise CallError("only an owner's node claims devices")
    if code is None:
        device, code = load("discovery.pairing_code:parse_uri")(device)
    cards = [
        card
        for card in conductor.meeting.cards()
        if card.state == "unowned" and device in (card.agent, card.name)
    ]
    if len(cards) != 1:
        what = "several devices of that name are" if cards else "no such device without an owner is"
        raise CallError(f"{what} near; see 'ioe device list' and use its key")
    cell = conductor.cell(community)
    return await devices.claim(conductor, cell, cards[0].agent, code, name or cards[0].name)


@_call
async def zome_call(
    conductor: Conductor,
    zome: str,
    function: str,
    payload: dict[str, Any],
    community: str | None = None,
) -> Any:
    """Call a zome function as ourselves."""
    return await conductor.cell(community).call(zome, function, payload)


@_call
async def chain_show(
    conductor: Conductor,
    agent: bytes | None = None,
    from_seq: int = 0,
    limit: int = 50,
    community: str | None = None,
) -> list[dict[str, Any]]:
    """A run of a chain as held here, oldest first."""
    if not 0 <= from_seq < 2**32 or not 1 <= limit <= CHAIN_PAGE_MAX:
        raise CallError(f"from_seq is 0 to 2^32 - 1 and limit 1 to {CHAIN_PAGE_MAX}")
    space = conductor.cell(community).space
    who = space.agent if agent is None else AgentPubKey(agent)
    check_hash(who, AGENT)
    shown = []
    for record in space.store.chain(who, from_seq, limit):
        action = record.action
        shown.append(
            {
                "seq": action.action_seq,
                "type": type(action).__name__,
                "entry_type": action.entry_type if isinstance(action, Create | Update) else None,
                "hash": record.hash,
                "timestamp_us": action.timestamp_us,
                "bundle_place": record.proof.index,
                "bundle_size": record.proof.size,
                "countersigned": bool(record.proof.cosignatures),
            }
        )
    return shown


@_call
async def receipts(
    conductor: Conductor, action: bytes, community: str | None = None
) -> dict[str, int]:
    """How many authorities have signed for an action of ours, and how many are needed."""
    check_hash(action, ACTION)
    found = conductor.cell(community).space.receipts(ActionHash(action))
    if found is None:
        raise CallError("no action of ours has that hash; see 'ioe chain show'")
    return {"have": found[0], "needed": found[1]}


@_call
async def chain_final(
    conductor: Conductor,
    agent: bytes | None = None,
    seq: int | None = None,
    hash: bytes | None = None,
    wait_s: int = 0,
    community: str | None = None,
) -> dict[str, Any]:
    """How far an action's finality is: by its hash, or by its place on a chain (its head)."""
    if not 0 <= wait_s <= FINAL_WAIT_MAX_S:
        raise CallError(f"wait_s is 0 to {FINAL_WAIT_MAX_S}")
    space = conductor.cell(community).space
    record = await _action(space, agent, seq, hash)
    if wait_s:
        try:
            await finalise(space, record.hash, wait_s)
        except (NeverFinal, TransportError) as error:
            log.debug("waiting for finality: %s", error)
    found = await finality_of(space, record.hash)
    return {
        "author": record.action.author,
        "seq": record.action.action_seq,
        "hash": record.hash,
        "state": found.state,
        "signed": found.signed,
        "needed": found.needed,
    }


async def _action(
    space: Space, agent: bytes | None, seq: int | None, hash_: bytes | None
) -> Record:
    if hash_ is not None:
        check_hash(hash_, ACTION)
        record = await retrieve_record(space, ActionHash(hash_))
    else:
        who = space.agent if agent is None else AgentPubKey(agent)
        check_hash(who, AGENT)
        if seq is not None and not 0 <= seq < 2**32:
            raise CallError("a place on a chain is 0 to 2^32 - 1")
        record = space.store.record_at(who, space.next_seq(who) - 1 if seq is None else seq)
    if record is None:
        raise TransportError("that action is not here, nor with anyone who can be reached")
    return record


@_call
async def community_list(conductor: Conductor) -> list[dict[str, Any]]:
    """The communities that we are in."""
    return await _communities(conductor)


@_call
async def community_create(
    conductor: Conductor, name: str, amend: dict[str, Any], dna: str = "neighbourhood"
) -> dict[str, Any]:
    """Found a community."""
    invitation = await communities.create(conductor, name, amend, dna)
    return {"community": invitation.seed, "dna": invitation.dna_hash}


@_call
async def community_invite(
    conductor: Conductor, agent: bytes, recovery: bytes, community: str | None = None
) -> dict[str, Any]:
    """An invitation for one agent, whose successors the key-holders of that digest make."""
    check_hash(agent, AGENT)
    cell = conductor.cell(community)
    made = await communities.invite(conductor, cell, AgentPubKey(agent), "member", recovery)
    return {"invitation": made.text()}


@_call
async def community_join(conductor: Conductor, invitation: str) -> dict[str, Any]:
    """Join by an invitation."""
    joined = await communities.join(conductor, parse_invitation(invitation))
    return {"community": joined.seed, "dna": joined.dna_hash}

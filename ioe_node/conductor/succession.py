"""From one key to the next: this node's own, and its owner's.

    next key made and vouched for ─► chain closed for it ─► seen held by others ─► live on under it
    ─► the new chain says whose it is, whom it follows and who holds its keys

The next key is in the key store and its vouchers are on the disk before the old chain ends, so that
a crash anywhere is taken up there again.  An owner's next seed comes from the 24 words, typed for
it; what the words alone can sign is signed while they are in memory.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import trio
from msgspec.structs import replace

from ioe_node.conductor import consents, devices, keytree, leaving
from ioe_node.conductor.home import Before, Home, Turning
from ioe_node.conductor.invitation import BOOTSTRAP_MAX, Invitation
from ioe_node.conductor.keystore import Keystore
from ioe_node.errors import Busy, CallError, IoeError
from ioe_node.hdi import (
    AgentPubKey,
    Consent,
    Invalid,
    KeyHolders,
    holders_digest,
)
from ioe_node.hdk import DnaDef
from ioe_node.model.action import AgentValidationPkg, OpenChain
from ioe_node.model.signing import Signer
from ioe_node.net.peer_id import join_address
from ioe_node.plugins import load
from ioe_node.workflows.activity import read_chain
from ioe_node.workflows.space import log

if TYPE_CHECKING:
    from ioe_node.conductor.cell import Cell
    from ioe_node.conductor.conductor import Conductor

FOLLOW_EVERY_S = 30.0
FOLLOW_SOON_S = 1.0
OPENED_WITHIN_ACTIONS = 16
NEXT = "next "

NO_WORDS = (
    "our key-holders have to consent before our new chain goes on; run 'ioe key rotate' again"
)


# -- our own key ----------------------------------------------------------------------------------


def turn(
    conductor: "Conductor",
    secrets: Mapping[str, bytes],
    revoke: bool = False,
    given: Invitation | None = None,
) -> AgentPubKey:
    """Begin to put these secrets in the place of ours, in every community; the new agent.

    `revoke`: the old chain is not closed but revoked, by the new key, as somebody else may hold
    the old one.  `given`: the invitation of our owner, where we are a device.  Raises `CallError`
    where a community would not have the new key.
    """
    home, keystore = conductor.home, conductor.keystore
    state = home.state()
    if state.leaving is not None:
        raise CallError("this device leaves its owner; it takes no other key before")
    if state.turning is not None:
        return AgentPubKey(state.turning.agent)
    known = {cell.space.dna for cell in conductor.cells_with("identity")}
    for invitation in home.invitations():
        if not revoke and invitation.dna_hash not in known:
            raise CallError(
                f"'{invitation.seed}' is not open or has no keys that follow; see 'ioe status'"
            )
    agent = Signer(keytree.agent_seed(secrets)).agent
    cells = tuple(
        _succeeding(conductor, each, agent, given).encoded() for each in home.invitations()
    )
    waiting = {NEXT + name: secret for name, secret in secrets.items()}
    keystore.replace({**keystore.secrets, **waiting})
    home.keep(replace(state, turning=Turning(agent, cells, revoke)))
    conductor.start(finish)
    return agent


def _succeeding(
    conductor: "Conductor", invitation: Invitation, agent: AgentPubKey, given: Invitation | None
) -> Invitation:
    """Our invitation, for the agent who succeeds us; raises `CallError` if it admits that not."""
    definition = invitation.definition(conductor.known)
    proof: bytes | None = (
        given.proof if given is not None else _proof(conductor, invitation, definition, agent)
    )
    verdict = definition.admits(agent, proof)
    if isinstance(verdict, Invalid):
        raise CallError(f"'{invitation.seed}' would not have our next key: {verdict.reason}")
    return replace(invitation, proof=proof, bootstrap=_known(conductor, invitation))


def _proof(
    conductor: "Conductor", invitation: Invitation, definition: DnaDef, agent: AgentPubKey
) -> bytes:
    """What admits the agent who succeeds us, an owner: the word of those who were named for it."""
    old = conductor.signer()
    community = "zomes.community.integrity:"
    digest = load(community + "recovery_of")(definition, old.agent, invitation.proof)
    if not digest:
        raise CallError(
            f"we are in '{invitation.seed}' by an invitation that names nobody for our next key; "
            "ask its steward for another ('ioe community invite AGENT RECOVERY')"
        )
    holders = KeyHolders(1, (conductor.keystore.secrets["revocation_key"],))
    if conductor.holder is None or holders_digest(holders) != digest:
        raise CallError(
            f"in '{invitation.seed}' key-holders have to sign for our next key: "
            "type the 24 words of the one who was named"
        )
    voucher = load(community + "Voucher")(definition.hash, agent, old.agent, "successor", digest)
    message = load(community + "successor_message")(voucher, holders)
    agreed = (Consent(0, conductor.holder.sign(message)),)
    proof: bytes = load(community + "succeed")(invitation.proof, voucher, holders, agreed)
    return proof


def _known(conductor: "Conductor", invitation: Invitation) -> tuple[str, ...]:
    """Whom our next key is to meet first: the new chain's disk knows nobody."""
    cell = conductor.cells.get(invitation.dna_hash)
    met = []
    if cell is not None:
        book = cell.space.peers
        peers = dict.fromkeys((*cell.space.others(), *book.agents()))
        met = [join_address(peer, each) for peer in peers for each in book.addresses(peer)[:1]]
    return tuple(dict.fromkeys((*met, *invitation.bootstrap)))[:BOOTSTRAP_MAX]


async def finish(conductor: "Conductor") -> None:
    """End our chains for the next key, then live on under it."""
    home = conductor.home
    turning = home.state().turning
    assert turning is not None
    for invitation in home.invitations():
        us, network, close = conductor.signer().agent, invitation.dna_hash, None
        if not turning.revoke:
            cell = await conductor.cell_when_open(network)
            close = await leaving.until_done(leaving.close_chain, cell, turning.agent)
            await leaving.held_by_others(cell)
        state = home.state()
        others = tuple(each for each in state.before if each.network != network)
        home.keep(replace(state, before=(*others, Before(network, us, close))))
    home.keep(replace(home.state(), turning=replace(turning, done=True)))
    conductor.rebirth()


def take_next_key(home: Home, keystore: Keystore) -> None:
    """Put the next key in the place of ours, if its time has come; a crash has it done again."""
    state = home.state()
    turning = state.turning
    if turning is None or not turning.done:
        return
    waiting = {name for name in keystore.secrets if name.startswith(NEXT)}
    if waiting:
        kept = {name: secret for name, secret in keystore.secrets.items() if name not in waiting}
        taken = {name.removeprefix(NEXT): keystore.secrets[name] for name in waiting}
        keystore.replace({**kept, **taken})
    unbegun = tuple(each.network for each in state.before)
    home.keep(replace(state, cells=turning.cells, unbegun=unbegun, turning=None, recovering=False))


# -- what a chain says first ----------------------------------------------------------------------


async def settle_in(conductor: "Conductor", cell: "Cell") -> None:
    """Have our chain say whose it is, whom it follows and who holds its keys; once each."""
    if leaving.closed(cell) is not None or not cell.has("identity"):
        return
    if conductor.role == "device":
        await leaving.until_done(_acknowledge, conductor, cell, pause_max_s=leaving.RETRY_S)
    if conductor.role == "owner":
        await leaving.until_done(_name_holders, conductor, cell)
    before = before_of(conductor, cell)
    if before is None:
        return
    if before.close is not None:
        await leaving.until_done(_open, cell, before.agent, before.close)
        if cell.has("currency"):
            await leaving.until_done(cell.call, "currency", "carry", {"close": before.close})
    if conductor.role == "owner":
        await leaving.until_done(devices.enrol_again, cell)
    left = tuple(each for each in conductor.home.state().before if each != before)
    conductor.home.keep(replace(conductor.home.state(), before=left))
    if not left:
        conductor.holder = None


async def _acknowledge(conductor: "Conductor", cell: "Cell") -> None:
    """Say who owns us, once we can see that the owner says so, or the owner's next key."""
    owner = conductor.keystore.secrets["owner"]
    if await cell.call("identity", "acknowledge", {"owner": owner}) is not None:
        return
    history = await cell.call("identity", "history", {"agent": owner})
    newest = AgentPubKey(history[-1]["agent"] if history else owner)
    if newest == owner or await cell.call("identity", "acknowledge", {"owner": newest}) is None:
        raise Busy("our owner has not enrolled us yet")
    _believe(conductor, newest)


async def _open(cell: "Cell", agent: bytes, close: bytes) -> None:
    """Say whose chain ours continues."""
    space = cell.space
    opened = [record.action for record in space.store.chain(space.agent, 0, OPENED_WITHIN_ACTIONS)]
    if not any(isinstance(action, OpenChain) for action in opened):
        await cell.call("identity", "open", {"prev_target": agent, "close_hash": close})


def before_of(conductor: "Conductor", cell: "Cell") -> Before | None:
    """The chain that ours has yet to say that it follows."""
    return next((b for b in conductor.home.state().before if b.network == cell.space.dna), None)


async def next_deed(conductor: "Conductor", cell: "Cell") -> tuple[str, dict[str, Any]] | None:
    """What our chain has to do next to have key-holders; None when it has.

    They are those of the chain before it, or else the one that our words give.  An old key that
    others may hold is revoked first.
    """
    if await cell.call("identity", "keyset", {}) is not None:
        return None
    before = before_of(conductor, cell)
    ours = {"threshold": 1, "keys": [conductor.keystore.secrets["revocation_key"]]}
    if before is None:
        return "set_keyset", ours
    follows = before.close or before.revocation
    if follows is None:
        payload = {"agent": before.agent, "successor": cell.space.agent, "reason": "recovered"}
        return "revoke", payload
    held = await cell.call("identity", "keyset", {"agent": before.agent})
    named = ours if held is None else {"threshold": held["threshold"], "keys": held["keys"]}
    return "set_keyset", {**named, "follows": follows}


async def _name_holders(conductor: "Conductor", cell: "Cell") -> None:
    while (deed := await next_deed(conductor, cell)) is not None:
        request = await consents.ask(conductor, cell, *deed)
        if not request.enough:
            raise CallError(NO_WORDS)
        await consents.do(conductor, request)


# -- our owner's key ------------------------------------------------------------------------------


async def follow_owner(conductor: "Conductor") -> None:
    """Believe in our owner's next key, where the chains prove it, and say so on ours."""
    for cell in conductor.cells_with("identity"):
        owner = await cell.call("identity", "owner_of", {"device": cell.space.agent})
        if owner is None or owner == conductor.keystore.secrets["owner"]:
            continue
        if await cell.call("identity", "acknowledge", {"owner": owner}) is not None:
            _believe(conductor, owner)
    conductor.predecessors = await _predecessors(conductor)


def _believe(conductor: "Conductor", owner: AgentPubKey) -> None:
    """Obey this key from now on.  Nothing may come between reading the secrets and writing them."""
    conductor.keystore.replace({**conductor.keystore.secrets, "owner": bytes(owner)})
    conductor.alert({"kind": "owner's key", "owner": owner})


async def _predecessors(conductor: "Conductor") -> frozenset[bytes]:
    """The keys that our owner has left behind."""
    owner = AgentPubKey(conductor.keystore.secrets["owner"])
    found: set[bytes] = set()
    for cell in conductor.cells_with("identity"):
        history = await cell.call("identity", "history", {"agent": owner})
        found |= {bytes(each["agent"]) for each in history}
    return frozenset(found - {owner})


async def keep_following(conductor: "Conductor") -> None:
    """Look for our owner's next key now and then, and soon once theirs has ended; for ever.

    Until we know it we obey the old one, which others may hold.
    """
    pause_s = FOLLOW_SOON_S
    while True:
        try:
            await follow_owner(conductor)
        except IoeError as error:
            log.info("looking for our owner's next key: %s", error)
        ended = _owner_has_ended(conductor)
        pause_s = min(FOLLOW_EVERY_S, 2 * pause_s) if ended else FOLLOW_SOON_S
        with trio.move_on_after(FOLLOW_EVERY_S):
            await trio.sleep(pause_s)
            while not _owner_has_ended(conductor):  # noqa: ASYNC110  # seen in many ways
                await trio.sleep(FOLLOW_SOON_S)


def _owner_has_ended(conductor: "Conductor") -> bool:
    """Whether our owner's key is closed or revoked, as far as it is seen here."""
    owner = AgentPubKey(conductor.keystore.secrets["owner"])
    spaces = [cell.space for cell in conductor.cells_with("identity")]
    heads = [space.store.head(owner) for space in spaces]
    return any(owner in space.ended for space in spaces) or any(
        head is not None and head.closed for head in heads
    )


async def owners_invitations(conductor: "Conductor") -> tuple[bytes, ...]:
    """What our owner needs to be in our communities again: their own proofs, and our address."""
    owner = AgentPubKey(conductor.keystore.secrets["owner"])
    us = conductor.signer().agent
    bootstrap = tuple(join_address(us, each) for each in conductor.transport.addresses())
    shown = []
    for invitation in conductor.home.invitations():
        cell = conductor.cells.get(invitation.dna_hash)
        chain = [] if cell is None else await read_chain(cell.space, owner, 0)
        if len(chain) < 2 or not isinstance(chain[1].action, AgentValidationPkg):
            raise Busy("our owner's chain is not here yet; try again")
        proof = chain[1].action.membrane_proof
        shown.append(replace(invitation, proof=proof, bootstrap=bootstrap).encoded())
    return tuple(shown)

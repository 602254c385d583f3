"""A device out of its owner's hands, sold or released; and an owner who lets one go.

    told or sold ─► settle the balance ─► close the chain ─► see it held by others ─► wipe

Each step is on the disk before it is taken, so that a crash anywhere is taken up there again, and
from the first one on the machine meters and trades nothing more.  What is wiped is the seed, the
owner's name, the communities and every private entry: the next owner finds a machine that nobody
has used, but for its code, which is a new one, and for who may claim it if it was sold.
"""

import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import trio
from msgspec.structs import replace

from ioe_node.conductor import owner_calls
from ioe_node.conductor.home import Before, Departing, Home, Leaving, State
from ioe_node.conductor.keystore import Keystore
from ioe_node.conductor.keytree import SEED_BYTES
from ioe_node.errors import Busy, IoeError, TransportError
from ioe_node.hdi import ActionHash, AgentPubKey
from ioe_node.workflows.publish import backlog
from ioe_node.workflows.space import log

if TYPE_CHECKING:
    from ioe_node.conductor.cell import Cell
    from ioe_node.conductor.conductor import Conductor

RETRY_S = 1.0
RETRY_MAX_S = 10.0
DEPARTURES_EVERY_S = 3.0
SALE_LOOK_S = 30.0
HELD_PATIENCE_S = 120.0
FINAL_PATIENCE_S = 120.0
"""What is not final by then is left behind: some of it may never be."""
FAREWELL_MEMO = "the balance of a device that leaves"
DEBT_MEMO = "the debt of a device that leaves"

T = TypeVar("T")


# -- the device -----------------------------------------------------------------------------------


def leave(conductor: "Conductor", buyer: bytes | None) -> None:
    """Begin to leave; the conductor lives on without the machine's meter and finishes it.

    Not while we take another key: whoever has us leave asks again.
    """
    state = conductor.home.state()
    if state.leaving is None and state.turning is None:
        conductor.home.keep(replace(state, leaving=Leaving(buyer)))
        conductor.alert({"kind": "leaving", "buyer": buyer})
        conductor.rebirth()


async def let_go_to(conductor: "Conductor") -> tuple[bool, AgentPubKey | None]:
    """Whether the chains say that we are to leave our owner, and the buyer if we are sold."""
    for cell in conductor.cells_with("identity"):
        buyer = await cell.call("identity", "sold_to", {})
        if buyer is not None:
            return True, AgentPubKey(buyer)
        if await cell.call("identity", "released", {}):
            return True, None
    return False, None


async def look_for_a_sale(conductor: "Conductor") -> None:
    """Leave when we are sold or released, though nobody tells us so; looks for ever."""
    while True:
        await trio.sleep(SALE_LOOK_S)
        try:
            due, buyer = await let_go_to(conductor)
        except IoeError as error:
            log.info("looking for a sale of ours: %s", error)
            continue
        if due:
            leave(conductor, buyer)


async def finish(conductor: "Conductor") -> None:
    """Take every step that is left, but for the wiping, which the next life begins with."""
    home = conductor.home
    leaving = home.state().leaving
    assert leaving is not None
    for invitation in home.invitations():
        cell = await conductor.cell_when_open(invitation.dna_hash)
        close = await _take_leave(conductor, cell, leaving.buyer)
        state = home.state()
        before = tuple(each for each in state.before if each.network != cell.space.dna)
        if close is not None:
            before = (*before, Before(cell.space.dna, cell.space.agent, close))
        home.keep(replace(state, before=before))
    home.keep(replace(home.state(), leaving=replace(leaving, wipe=True)))
    conductor.rebirth()


async def _take_leave(
    conductor: "Conductor", cell: "Cell", buyer: bytes | None
) -> ActionHash | None:
    """Settle, close our chain and see it held; None once a warrant names us.

    Nobody takes anything from us then, and whoever sold us has our seed and can bring that about:
    the machine must be its buyer's all the same.
    """
    close: ActionHash | None = None

    async def watch(leave: trio.CancelScope) -> None:
        while not cell.space.convicted:  # noqa: ASYNC110  # set by whatever brings the warrant
            await trio.sleep(RETRY_S)
        leave.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, nursery.cancel_scope)
        await until_done(_settle, conductor, cell, trio.current_time() + FINAL_PATIENCE_S)
        made = await until_done(close_chain, cell, buyer)
        await held_by_others(cell)
        close = made
        nursery.cancel_scope.cancel()
    return close


async def until_done(
    step: Callable[..., Awaitable[T]], *args: Any, pause_max_s: float = RETRY_MAX_S
) -> T:
    """The result of a step that is tried until it is done; why it was not is logged."""
    pause_s = RETRY_S
    while True:
        try:
            return await step(*args)
        except IoeError as error:
            log.info("a step that has to be done: %s", error)
            await trio.sleep(pause_s)
            pause_s = min(pause_max_s, 2 * pause_s)


async def _settle(conductor: "Conductor", cell: "Cell", patient_until_s: float) -> None:
    """Give our owner what we have earned; what we owe, the owner is to pay us."""
    if closed(cell) is not None or not cell.has("currency"):
        return
    found = await cell.call("currency", "balance", {})
    balance_micro = found["balance_micro"]
    if balance_micro > found["spendable_micro"]:
        if trio.current_time() < patient_until_s:
            raise Busy("what was paid to us is not final yet")
        balance_micro = found["spendable_micro"]
    if balance_micro < 0:
        raise TransportError(f"{-balance_micro} micro-credits are owed; our owner has to pay them")
    if balance_micro:
        owner = conductor.keystore.secrets["owner"]
        terms = {"payee": owner, "amount_micro": balance_micro, "memo": FAREWELL_MEMO}
        await cell.call("currency", "pay", terms)


async def close_chain(cell: "Cell", target: bytes | None) -> ActionHash:
    """End our chain, towards whoever comes after us; once."""
    done = closed(cell)
    if done is None:
        done = await cell.call("identity", "close", {"new_target": target})
    return ActionHash(done)


def closed(cell: "Cell") -> ActionHash | None:
    """The action that closed our chain, if it is closed."""
    head = cell.space.store.head(cell.space.agent)
    return head.hash if head is not None and head.closed else None


async def held_by_others(cell: "Cell") -> None:
    """Wait until most authorities of our chain hold all of it, or for `HELD_PATIENCE_S`.

    Then one is enough: it hands the chain on.  With nobody there to hold it we stay: a chain that
    ends on this disk alone has ended for nobody else.
    """
    until_s = trio.current_time() + HELD_PATIENCE_S
    while True:
        whole, authorities, _ = backlog(cell.space)
        patient = trio.current_time() < until_s
        if 2 * whole > authorities if patient else whole:
            return
        await trio.sleep(RETRY_S)


def wipe(home: Home, keystore: Keystore) -> bool:
    """Forget the life that is over, if one is; what a crash interrupts is done once more."""
    state = home.state()
    if state.leaving is None or not state.leaving.wipe:
        return False
    buyer = state.leaving.buyer
    home.wipe()
    keystore.replace({"enrolment": os.urandom(SEED_BYTES)})
    home.keep(State(before=state.before if buyer else (), used=True, buyer=buyer))
    return True


# -- its owner ------------------------------------------------------------------------------------


def let_go(conductor: "Conductor", cell: "Cell", device: AgentPubKey, buyer: bytes | None) -> None:
    """Remember that a device of ours is to go; `finish_departures` sees to it."""
    departing = Departing(cell.space.dna, device, buyer)
    keep_back(conductor, device)
    state = conductor.home.state()
    conductor.home.keep(replace(state, departing=(*state.departing, departing)))


def keep_back(conductor: "Conductor", device: bytes) -> None:
    """Forget that a device is to go: it is gone, or shall stay."""
    state = conductor.home.state()
    left = tuple(each for each in state.departing if each.device != device)
    if left != state.departing:
        conductor.home.keep(replace(state, departing=left))


async def finish_departures(conductor: "Conductor") -> None:
    """Have the devices that we let go leave, now or before a crash; for ever."""
    while True:
        for departing in conductor.home.state().departing:
            cell = conductor.cell_of(departing.network)
            try:
                if cell is not None and await _gone(conductor, cell, departing):
                    keep_back(conductor, departing.device)
                    conductor.alert({"kind": "device gone", "agent": departing.device})
            except IoeError as error:
                log.info("letting a device go: %s", error)
        await trio.sleep(DEPARTURES_EVERY_S)


async def _gone(conductor: "Conductor", cell: "Cell", departing: Departing) -> bool:
    """Whether the device has closed its chain; if not, it is told to, and what it owes is paid."""
    device = AgentPubKey(departing.device)
    for past in await cell.call("identity", "history", {"agent": device}):
        if past["agent"] == device and past["until_us"] is not None:
            return True
    if departing.buyer is not None:
        sold_to = await cell.call("identity", "sold_to", {"device": device})
        if sold_to != departing.buyer:
            return False
    answer = await owner_calls.ask(conductor, device, owner_calls.Release(departing.buyer))
    if isinstance(answer, owner_calls.Owes):
        # What everybody can see that it owes, and not what it says.
        seen = await cell.call("currency", "balance", {"agent": device})
        if seen["balance_micro"] < 0:
            terms = {"payee": device, "amount_micro": -seen["balance_micro"], "memo": DEBT_MEMO}
            await cell.call("currency", "pay", terms)
    return False

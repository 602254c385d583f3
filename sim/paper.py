"""Agents on paper: real keys, real chains, no node, and no rule but their own.

An agent is invited like any other; what it signs is handed to honest homes by an accomplice that
runs one.  So thousands can cheat in one network, each in a chain that every home judges.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import blake2b
from random import Random
from typing import Any

import trio

from currency.integrity import Settlement, Side
from currency.ledger import Account, Receipt, claimed, paid, received
from ioe_node.core.chain import Draft, seal
from ioe_node.core.sys_validate import party_actions
from ioe_node.errors import IoeError
from ioe_node.hdi import AgentPubKey, Party, Timestamp
from ioe_node.model.action import AGENT_ENTRY, AgentValidationPkg, Create, Dna, hash_of
from ioe_node.model.codec import encode
from ioe_node.model.hashes import CORE, entry_hash
from ioe_node.model.record import Record, parcels_of, seal_message, tree_of
from ioe_node.model.signing import SEED_BYTES, Signer
from ioe_node.net.messages import Held, Publish
from ioe_node.workflows.settle import half_of
from sim.home import Home
from sim.swarm import Swarm
from zomes.community.integrity import vouch
from zomes.metering.integrity import IntervalReading

SETTLEMENT = "currency.Settlement"
TOLD_TIMES_MAX = 5
STEP_US = 1_000


class Paper:
    """One agent: its chain, its last settlement and its account after it, as it ought to be."""

    def __init__(self, swarm: Swarm, signer: Signer) -> None:
        self._swarm = swarm
        self.signer = signer
        self.chain: list[Record] = []
        self.account = Account()
        self.last: Any = None

    @property
    def agent(self) -> AgentPubKey:
        """Its key."""
        return self.signer.agent

    def next_place(self) -> dict[str, Any]:
        """What its next action says of its place."""
        now_us = self._swarm.clock.now_us()
        head = self.chain[-1] if self.chain else None
        return {
            "author": self.agent,
            "timestamp_us": max(now_us, head.action.timestamp_us + 1) if head else now_us,
            "action_seq": len(self.chain),
            "prev_action": head.hash if head else None,
        }

    def party(self) -> Party:
        """Its next place, for a settlement."""
        place = self.next_place()
        at = Timestamp(place["timestamp_us"])
        return Party(self.agent, place["action_seq"], place["prev_action"], at)

    def write(self, kind: type[Any], entry: bytes | None = None, **named: Any) -> Record:
        """Seal the next action, or one that `named` puts elsewhere, and go on from it."""
        action = kind(**{**self.next_place(), **named})
        hash_, data = hash_of(action)
        (record,) = self._sealed([Draft(hash_, action, data, entry)])
        self.chain.append(record)
        return record

    def create(self, entry_type: str, entry: Any, **named: Any) -> Record:
        """An entry of its own."""
        data = entry if isinstance(entry, bytes) else encode(entry)
        named = {"entry_type": entry_type, "entry_hash": entry_hash(data), **named}
        return self.write(Create, data, **named)

    def genesis(self, proof: bytes) -> None:
        """The three actions that a chain begins with, sealed as one bundle as nodes do."""
        self.write(Dna, dna_hash=self._swarm.definition.hash)
        self.write(AgentValidationPkg, membrane_proof=proof)
        self.create(AGENT_ENTRY, bytes(self.agent))
        self.chain = self._sealed(
            [Draft(each.hash, each.action, each.action_bytes, each.entry) for each in self.chain]
        )

    def _sealed(self, drafts: list[Draft]) -> list[Record]:
        return seal(drafts, self._swarm.definition.hash, self.signer.sign)


async def invited(swarm: Swarm, rng: Random) -> Paper:
    """A new agent that the steward invited in good faith."""
    steward = swarm.homes[0]
    key = blake2b(rng.randbytes(SEED_BYTES), digest_size=SEED_BYTES).digest()
    made = Paper(swarm, Signer(key))
    written = await steward.call("community", "invite", {"agent": made.agent})
    made.genesis(
        vouch(
            *(swarm.definition, steward.agent, steward.proof, made.agent, "member"),
            steward.signer.sign,
            written,
        )
    )
    return made


def running(swarm: Swarm) -> tuple[int, int]:
    """When the interval began that runs, and how long it is, in microseconds."""
    length = swarm.definition.properties.interval_us
    return swarm.clock.now_us() // length * length, length


def reading(start: int, length: int, drawn: int, fed: int, register: int) -> IntervalReading:
    """What was drawn and fed in an interval, and the register of what was ever fed; milli-Wh."""
    begin, end = Timestamp(start), Timestamp(start + length)
    return IntervalReading(begin, end, drawn, fed, drawn, register, "measured", "device")


def settlement(payer: Paper, payee: Paper, amount_micro: int, **changed: Any) -> Settlement:
    """What would be right between two, with what is changed of it."""
    sides = (
        Side(payer.last, paid(payer.account, amount_micro)),
        Side(payee.last, received(payee.account, amount_micro)),
    )
    parties = (payer.party(), payee.party())
    entry = Settlement(parties, sides, amount_micro, 0, None, "")
    return replace(entry, **changed)


def claiming(payer: Paper, half: Record, amount_micro: int) -> Side:
    """The payer's side of a payment that claims what it was paid by the only one before it."""
    receipt = Receipt(half.hash, payer.account.pending_micro)
    account = claimed(payer.account, [receipt], [half.hash], half.hash)
    assert account is not None, "what it claims is pending"
    return Side(payer.last, paid(account, amount_micro), (half.hash,))


def signed(
    swarm: Swarm, entry: Any, payer: Paper, payee: Paper, entry_type: str = SETTLEMENT
) -> list[Record]:
    """Both halves, without going on from them."""
    data = encode(entry)
    actions = party_actions(entry.parties, entry_type, entry_hash(data))
    root = tree_of([hash_[CORE] for hash_, _ in actions])[-1][0]
    message = seal_message(swarm.definition.hash, root)
    signatures = [each.signer.sign(message) for each in (payer, payee)]
    return [half_of(place, actions, data, signatures) for place in range(2)]


def commit(swarm: Swarm, entry: Settlement, payer: Paper, payee: Paper) -> list[Record]:
    """Both halves, each on its chain."""
    halves = signed(swarm, entry, payer, payee)
    for who, half, side in zip((payer, payee), halves, entry.sides, strict=True):
        who.chain.append(half)
        who.last, who.account = half.hash, side.account
    return halves


async def tell(courier: Home, homes: Sequence[Home], chain: Sequence[Record]) -> list[str]:
    """Hand a part of a chain to each of these homes; what was answered by an error."""
    errors: list[str] = []
    parcels = tuple(parcels_of(chain, lambda record: False))

    async def one(home: Home) -> None:
        for _ in range(TOLD_TIMES_MAX):
            try:
                answer = await courier.cell.space.ask(home.agent, Publish(parcels))
            except IoeError as error:
                errors.append(f"{type(error).__name__}: {error}")
                await trio.sleep(1)
            else:
                assert isinstance(answer, Held)
                return

    async with trio.open_nursery() as nursery:
        for home in homes:
            nursery.start_soon(one, home)
    return errors


async def until_judged(home: Home, record: Record, most_s: int = 30) -> bool:
    """Wait until a home holds a record as valid."""
    for _ in range(most_s):
        with suppress(IoeError):
            if home.store.has(record.hash):
                return True
        await trio.sleep(1)
    return False

"""The policy that this node has: on an owner's node the one it gives, on a device the one it obeys.

Signed bytes and the name that the owner gave this device are kept in one small file, so that the
rules are those of before after a restart.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec
import trio

from ioe_node.conductor.policy import (
    FACTORY,
    Circle,
    Rules,
    newer_policy,
    open_policy,
    seal_policy,
    why_no_call,
    why_no_deal,
)
from ioe_node.errors import (
    AgainstPolicy,
    IoeError,
    Malformed,
    PeerError,
    StoreError,
    TransportError,
)
from ioe_node.hdi import AgentPubKey

if TYPE_CHECKING:
    from ioe_node.conductor.cell import Cell
    from ioe_node.conductor.conductor import Conductor

log = logging.getLogger("ioe.policy")

PORTFOLIO_KNOWN_S = 60.0
SPREAD_EVERY_S = 30.0
DEVICES_AT_ONCE_MAX = 8

Send = Callable[[AgentPubKey, bytes], Awaitable[object]]


class Kept(msgspec.Struct, frozen=True):
    """`policy.json`."""

    sealed: bytes = b""
    name: str = ""


class PolicyInForce:
    """One node's policy; `rules` are those that it lives by now."""

    def __init__(self, conductor: "Conductor") -> None:
        self._conductor = conductor
        self._path = conductor.home.path / "policy.json"
        self._kept = self._read()
        self.changed = trio.Event()

    def _read(self) -> Kept:
        try:
            kept = msgspec.json.decode(self._path.read_bytes(), type=Kept)
            if kept.sealed:
                open_policy(kept.sealed)
        except FileNotFoundError:
            return Kept()
        except (OSError, msgspec.DecodeError, Malformed) as error:
            raise StoreError(f"{self._path}: {error}; restore it from a backup") from None
        return kept

    @property
    def owner(self) -> AgentPubKey:
        """Whose policy counts here."""
        if self._conductor.role == "device":
            return AgentPubKey(self._conductor.keystore.secrets["owner"])
        return self._conductor.signer().agent

    @property
    def text(self) -> str:
        """The file; "" without one."""
        return open_policy(self._kept.sealed)[1] if self._kept.sealed else ""

    def sealed(self) -> bytes:
        """The file as this owner signs it now; b"" without one."""
        return seal_policy(self._conductor.signer(), self.text) if self.text else b""

    @property
    def rules(self) -> Rules:
        """What this node lives by: an owner's own, and a device without a policy, by no limits."""
        role = self._conductor.role
        if role == "unowned":
            return FACTORY
        if role == "owner" or not self._kept.sealed:
            return Rules()
        policy, _ = open_policy(self._kept.sealed)
        return policy.rules_of(self._kept.name, self._conductor.signer().agent)

    def keep(self, sealed: bytes, name: str) -> None:
        """Put signed bytes on disk, whatever was there."""
        kept = Kept(sealed, name)
        self._conductor.home.write(self._path, msgspec.json.encode(kept))
        self._kept = kept
        self.changed.set()
        self.changed = trio.Event()

    def replace(self, data: bytes) -> int:
        """Let the owner's newer policy replace the one in force; its version.

        Raises `Malformed` or `StalePolicy`.
        """
        policy = newer_policy(data, self._kept.sealed, self.owner)
        if data != self._kept.sealed:
            before = self.rules
            self.keep(data, self._kept.name)
            event = {"kind": "policy", "version": policy.version, "owner": self.owner}
            self._conductor.alert(event)
            if _opened_with(self.rules) != _opened_with(before):
                self._conductor.rebirth()
        return policy.version


def _opened_with(rules: Rules) -> tuple[object, ...]:
    """What a node's cells and transport are opened with; a change of it opens them again."""
    return rules.visibility, rules.automatic.hold, rules.automatic.relay


async def spread(conductor: "Conductor", send: Send) -> None:
    """Have every device of ours live by our policy, now or when it is back; for ever.

    `send(device, policy)` has a device take it.  One that refuses is not asked again until there
    is another policy: asking on would be held against us.
    """
    told: dict[bytes, bytes] = {}

    async def tell(device: AgentPubKey, sealed: bytes) -> None:
        async with slots:
            try:
                await send(device, sealed)
            except TransportError as error:
                log.debug("the policy reaches a device later: %s", error)
                return
            except PeerError as error:
                log.warning("a device refuses the policy: %s", error)
            told[device] = sealed

    slots = trio.CapacityLimiter(DEVICES_AT_ONCE_MAX)
    while True:
        sealed = conductor.policy.sealed()
        async with trio.open_nursery() as nursery:
            for device in await _devices(conductor) if sealed else ():
                if told.get(device) != sealed:
                    nursery.start_soon(tell, device, sealed)
        with trio.move_on_after(SPREAD_EVERY_S):
            await conductor.policy.changed.wait()


async def _devices(conductor: "Conductor") -> list[AgentPubKey]:
    found: list[AgentPubKey] = []
    for cell in conductor.cells_with("identity"):
        try:
            listed = await cell.call("identity", "portfolio", {})
        except IoeError as error:
            log.info("the portfolio: %s", error)
            continue
        found += [each["device"] for each in listed]
    return found


class DevicePermits:
    """A device's `Permits`: what the rules in force say of each caller and counterparty."""

    def __init__(self, conductor: "Conductor", cell: "Cell") -> None:
        self._conductor = conductor
        self._cell = cell
        self._portfolio: frozenset[bytes] = frozenset()
        self._known_until = -1.0

    async def call(self, caller: AgentPubKey, zome: str, function: str) -> None:
        """Raise `AgainstPolicy` unless `caller` may call this function."""
        rules = self._conductor.policy.rules
        circle = await self._circle(caller, rules.calls.by == "portfolio")
        if why := why_no_call(rules, circle, zome, function):
            raise AgainstPolicy(why)

    async def deal(self, other: AgentPubKey, draft: str, by_us: bool) -> None:
        """Raise `AgainstPolicy` unless this settlement may be.

        A device that leaves settles with its owner whatever the rules, or it could never leave.
        """
        rules = self._conductor.policy.rules
        circle = await self._circle(other, rules.deals.whom == "portfolio")
        if circle == "owner" and self._conductor.home.state().leaving is not None:
            return
        if why := why_no_deal(rules, circle, other, draft, by_us):
            raise AgainstPolicy(why)

    async def _circle(self, agent: AgentPubKey, matters: bool) -> Circle:
        """What an agent is to us; the portfolio is read only where it matters, and seldom."""
        owner = self._conductor.policy.owner
        if agent == owner:
            return "owner"
        if not matters:
            return "members"
        if trio.current_time() > self._known_until:
            listed = await self._cell.call("identity", "portfolio", {"owner": owner})
            self._portfolio = frozenset(each["device"] for each in listed)
            self._known_until = trio.current_time() + PORTFOLIO_KNOWN_S
        return "portfolio" if agent in self._portfolio else "members"

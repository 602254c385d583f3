"""What the conductor's doors must know again after a restart: `apps.json` in the home.

Apps by name, with the cells of their roles and clones, and the app doors that were opened.
"""

from typing import Any, Literal

import msgspec
from msgspec import Struct

from ioe_node.conductor.home import Home
from ioe_node.conductor.invitation import Invitation
from ioe_node.errors import StoreError

Status = Literal[
    "enabled",
    "never_started",
    "user",
    "not_started_after_providing_memproofs",
    "awaiting_memproofs",
]
"""An app runs, or does not for this reason."""


class Clone(Struct, frozen=True):
    """A clone of a role: `number` in the order of making; `cell` names its network."""

    number: int
    cell: Invitation
    name: str
    enabled: bool = True


class Role(Struct, frozen=True):
    """One role: the network of its own cell, unless it has `clone_only`, and its clones."""

    name: str
    cell: Invitation
    clone_limit: int = 0
    clone_only: bool = False
    clones: tuple[Clone, ...] = ()
    next_clone: int = 0


class App(Struct, frozen=True):
    """An installed app; `begun` names the networks in which its agent has written."""

    name: str
    agent: bytes
    roles: tuple[Role, ...]
    status: Status
    installed_at_us: int
    manifest: dict[str, Any]
    begun: tuple[bytes, ...] = ()

    def cells(self) -> list[Invitation]:
        """The networks whose cells run while the app is enabled."""
        return [
            cell
            for role in self.roles
            for cell in (
                *(() if role.clone_only else (role.cell,)),
                *(clone.cell for clone in role.clones if clone.enabled),
            )
        ]


class Door(Struct, frozen=True):
    """An app door: where it listens, for clients from where, for which app (None: any)."""

    port: int
    allowed_origins: str
    app: str | None = None


class Kept(Struct, frozen=True):
    """`apps.json`; `left` are the (network, agent) whose chains were deleted here.

    Others may hold them still, so that agent can begin no other chain in that network.
    """

    apps: tuple[App, ...] = ()
    doors: tuple[Door, ...] = ()
    left: tuple[tuple[bytes, bytes], ...] = ()


def read(home: Home) -> Kept:
    """What was kept; nothing before the first write."""
    path = home.path / "apps.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Kept)
    except FileNotFoundError:
        return Kept()
    except (OSError, msgspec.DecodeError) as error:
        raise StoreError(f"{path} cannot be read: {error}; restore it from a backup") from None


def keep(home: Home, kept: Kept) -> None:
    """Write it, durably."""
    home.write(home.path / "apps.json", msgspec.json.encode(kept))

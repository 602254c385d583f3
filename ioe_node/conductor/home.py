"""The node's directory: one process at a time, and what it must know again after a restart.

config.toml   what the owner writes        keystore    secrets, sealed
cells.json    the communities joined       cells/      one SQLite file each
apps.json     apps of other programs (`ioe_node.api`)
control.json  where `ioe` finds us         lock        held by the running node
unlock        a device's passphrase, where no person is there to type it
history.sqlite  what meters counted, summed up, with what was imported beside it
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EDQUOT, ENOSPC
from pathlib import Path

import msgspec
from msgspec import Struct

from ioe_node.conductor.invitation import Invitation, decode_invitation
from ioe_node.errors import DiskFull, LocalError, Malformed, StoreError
from ioe_node.hdi import AgentPubKey
from ioe_node.model.hashes import to_text


class Pending(Struct, frozen=True):
    """A device that was given its seed and that we have not enrolled on our chain yet."""

    network: bytes
    device: bytes
    kind: str
    name: str


class Before(Struct, frozen=True):
    """The chain that ours follows in a network: whose it was, and what ended it.

    It is closed by the old key, or revoked by ours (None: not yet) where others hold the old one.
    """

    network: bytes
    agent: bytes
    close: bytes | None
    revocation: bytes | None = None


class Departing(Struct, frozen=True):
    """A device of ours that we let go, to a buyer or to anybody, and that is not gone yet."""

    network: bytes
    device: bytes
    buyer: bytes | None


class Leaving(Struct, frozen=True):
    """This device goes out of its owner's hands: its chain is closed first, then all is wiped."""

    buyer: bytes | None
    wipe: bool = False


class Turning(Struct, frozen=True):
    """This node takes its next key: what it will be in the same communities, vouched for.

    `agent` is that key's.  The secrets are in the key store, each under its name after "next ".
    """

    agent: bytes
    cells: tuple[bytes, ...]
    revoke: bool = False
    done: bool = False


class State(Struct, frozen=True):
    """`cells.json`: invitations as bytes, and every deed that a crash must not leave half done.

    `unbegun` names the networks in which our present key has yet to write.  `used` says that this
    device has had an owner, so that its code is no more the one in the config; `buyer` is the one
    who may then claim it, if it was sold.  `recovering`: an owner began anew from the words, and
    looks for the communities that they were in.
    """

    cells: tuple[bytes, ...] = ()
    pending: tuple[Pending, ...] = ()
    next_device: int = 0
    unbegun: tuple[bytes, ...] = ()
    before: tuple[Before, ...] = ()
    departing: tuple[Departing, ...] = ()
    leaving: Leaving | None = None
    turning: Turning | None = None
    used: bool = False
    buyer: bytes | None = None
    recovering: bool = False


class Home:
    """Paths and small files of one node."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.toml"
        self.keystore = path / "keystore"
        self.unlock = path / "unlock"
        self.control = path / "control.json"

    def create(self) -> None:
        """Make the directory, for its owner's eyes only."""
        try:
            (self.path / "cells").mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
        except OSError as error:
            raise LocalError(f"cannot make {self.path}: {error}") from None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the directory; raises `LocalError` when another process does."""
        try:
            descriptor = os.open(self.path / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise LocalError(f"cannot use {self.path}: {error.strerror}") from None
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise LocalError(f"a node already runs in {self.path}; stop it first") from None
            yield
        finally:
            os.close(descriptor)

    def write(self, path: Path, data: bytes) -> None:
        """Replace a small file at once, durably, mode 0600."""
        temporary = path.with_name(path.name + ".new")
        try:
            descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            self._sync()
        except OSError as error:
            kind = DiskFull if error.errno in (ENOSPC, EDQUOT) else StoreError
            raise kind(f"cannot write {path}: {error.strerror}; free space or mend it") from None

    def _sync(self) -> None:
        """Make a rename itself durable."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def state(self) -> State:
        """What `cells.json` says; an empty state before the first write."""
        path = self.path / "cells.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=State)
        except FileNotFoundError:
            return State()
        except (OSError, msgspec.DecodeError) as error:
            raise StoreError(f"{path} cannot be read: {error}; restore it from a backup") from None

    def keep(self, state: State) -> None:
        """Write `cells.json`."""
        self.write(self.path / "cells.json", msgspec.json.encode(state))

    def wipe(self) -> None:
        """Delete all that a life has left here: what is not the machine's own and sealed."""
        ours = {self.config, self.keystore, self.unlock, self.control, self.path / "lock"}
        kept = ours | {self.path / "cells", self.path / "cells.json"}
        try:
            for path in (*(self.path / "cells").iterdir(), *(set(self.path.iterdir()) - kept)):
                path.unlink()
            self._sync()
        except OSError as error:
            raise StoreError(
                f"cannot empty {self.path}: {error}; mend it and start again"
            ) from None

    def invitations(self) -> list[Invitation]:
        """The communities joined."""
        try:
            return [decode_invitation(data) for data in self.state().cells]
        except Malformed as error:
            raise StoreError(f"{self.path}/cells.json: {error}; restore it") from None

    def store_path(self, invitation: Invitation, agent: AgentPubKey) -> Path:
        """The SQLite file of one cell: one network as one agent."""
        name = f"{to_text(invitation.dna_hash)[5:25]}-{to_text(agent)[5:15]}.sqlite"
        return self.path / "cells" / name

"""The key store: one encrypted file of named secrets.

    8 magic ‖ 4 ops ‖ 4 memory KiB ‖ 16 salt ‖ 24 nonce ‖ secretbox(msgpack map) ‖ 16 checksum

The key is argon2id of the passphrase at the header's cost.  The checksum, an unkeyed BLAKE2b of
all before it, tells a damaged disk (`StoreError`) from a wrong passphrase (`KeystoreLocked`); it
covers only what is public.  A changed header changes the key, so it cannot be forged unnoticed.
A write goes to a file beside it, is synced and renamed: a crash leaves the old file or the new.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from errno import EDQUOT, ENOSPC
from hashlib import blake2b
from pathlib import Path
from struct import Struct
from types import MappingProxyType

import msgspec
from nacl.exceptions import CryptoError
from nacl.pwhash import argon2id
from nacl.secret import SecretBox
from nacl.utils import random

from ioe_node.errors import DiskFull, KeystoreLocked, StoreError

KEYSTORE_BYTES_MAX = 1024 * 1024
MAGIC = b"IOEKEYS1"
CHECKSUM_BYTES = 16
FILE_MODE = 0o600

_HEADER = Struct(">8sII16s")
_FRAME_BYTES = _HEADER.size + SecretBox.NONCE_SIZE + SecretBox.MACBYTES + CHECKSUM_BYTES
_secrets_decoder = msgspec.msgpack.Decoder(dict[str, bytes])


@dataclass(frozen=True)
class Cost:
    """What one guess at the passphrase costs: argon2id passes and memory."""

    ops: int
    memory_kib: int


SENSITIVE = Cost(ops=4, memory_kib=1024 * 1024)
"""1 GiB and some seconds: an owner's root seed on a large machine."""
INTERACTIVE = Cost(ops=2, memory_kib=64 * 1024)
"""64 MiB and about a tenth of a second: the default."""
MINIMAL = Cost(ops=1, memory_kib=8)
"""8 KiB, at once: tests, demos, and devices whose passphrase is 32 random bytes."""


class Keystore:
    """Named secrets, in memory and in their file; `replace` changes both."""

    def __init__(
        self, path: Path, header: bytes, box: SecretBox, secrets: Mapping[str, bytes]
    ) -> None:
        self.path = path
        self._header = header
        self._box = box
        self._secrets = dict(secrets)

    @classmethod
    def create(
        cls,
        path: Path,
        passphrase: bytes,
        secrets: Mapping[str, bytes],
        *,
        cost: Cost = INTERACTIVE,
    ) -> "Keystore":
        """Write a new store at `path`.  Raises `StoreError` if something is there already."""
        if path.exists():
            raise StoreError(f"{path} exists; move it away before making a new key store")
        salt = random(argon2id.SALTBYTES)
        header = _HEADER.pack(MAGIC, cost.ops, cost.memory_kib, salt)
        store = cls(path, header, _box(passphrase, salt, cost), {})
        store.replace(secrets)
        return store

    @classmethod
    def open(cls, path: Path, passphrase: bytes) -> "Keystore":
        """Read the store at `path`.

        Raises `KeystoreLocked` for a wrong passphrase, `StoreError` for a file that is missing,
        damaged, or no key store.
        """
        data = _read(path)
        header, sealed = data[: _HEADER.size], data[_HEADER.size : -CHECKSUM_BYTES]
        _, ops, memory_kib, salt = _HEADER.unpack(header)
        box = _box(passphrase, salt, _checked_cost(path, ops, memory_kib))
        try:
            plain = box.decrypt(sealed)
        except CryptoError:
            raise KeystoreLocked(f"the passphrase does not open {path}; try again") from None
        try:
            secrets = _secrets_decoder.decode(plain)
        except msgspec.DecodeError:
            raise StoreError(f"{path} holds no list of secrets; restore a backup") from None
        return cls(path, header, box, secrets)

    @property
    def secrets(self) -> Mapping[str, bytes]:
        """The secrets by name; read only."""
        return MappingProxyType(self._secrets)

    def replace(self, secrets: Mapping[str, bytes]) -> None:
        """Put `secrets` in place of all that were held; on an error the file is as before.

        Raises `DiskFull` or `StoreError`.
        """
        kept = dict(secrets)
        body = self._header + bytes(self._box.encrypt(msgspec.msgpack.encode(kept)))
        if len(body) + CHECKSUM_BYTES > KEYSTORE_BYTES_MAX:
            raise StoreError(f"the key store holds at most {KEYSTORE_BYTES_MAX} bytes")
        _write(self.path, body + _checksum(body))
        self._secrets = kept


def _checksum(body: bytes) -> bytes:
    return blake2b(body, digest_size=CHECKSUM_BYTES).digest()


def _checked_cost(path: Path, ops: int, memory_kib: int) -> Cost:
    """The header's cost, unless it would have us spend more than any store of ours asks."""
    if not 1 <= ops <= SENSITIVE.ops or not MINIMAL.memory_kib <= memory_kib <= (
        SENSITIVE.memory_kib
    ):
        raise StoreError(f"{path} asks for a key cost that no key store has; restore a backup")
    return Cost(ops, memory_kib)


def _box(passphrase: bytes, salt: bytes, cost: Cost) -> SecretBox:
    try:
        key = argon2id.kdf(
            SecretBox.KEY_SIZE, passphrase, salt, opslimit=cost.ops, memlimit=cost.memory_kib * 1024
        )
    except (MemoryError, CryptoError, RuntimeError):
        raise StoreError(
            f"the key store needs {cost.memory_kib} KiB of free memory to open; free some"
        ) from None
    return SecretBox(key)


def _read(path: Path) -> bytes:
    """The file's bytes, whole and undamaged."""
    try:
        with path.open("rb") as file:
            data = file.read(KEYSTORE_BYTES_MAX + 1)
    except OSError as error:
        raise StoreError(f"cannot read the key store {path}: {error.strerror}") from error
    if not data.startswith(MAGIC):
        raise StoreError(f"{path} is not a key store of this program; check the path")
    intact = _FRAME_BYTES <= len(data) <= KEYSTORE_BYTES_MAX
    if not intact or _checksum(data[:-CHECKSUM_BYTES]) != data[-CHECKSUM_BYTES:]:
        raise StoreError(f"{path} is damaged; restore a backup or start from the 24 words")
    return data


def _write(path: Path, data: bytes) -> None:
    """Write beside, sync, rename, sync the directory."""
    beside = path.with_name(path.name + ".new")
    try:
        beside.unlink(missing_ok=True)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        _sync_directory(path.parent)
    except OSError as error:
        kind = DiskFull if error.errno in (ENOSPC, EDQUOT) else StoreError
        raise kind(f"cannot write the key store {path}: {error.strerror}") from error


def _sync_directory(directory: Path) -> None:
    """Make the rename itself durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

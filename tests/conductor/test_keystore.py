"""The key store: opens with its passphrase, and with nothing else, and is never half written."""

import errno
import os
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ioe_node.conductor import keystore
from ioe_node.conductor.keystore import KEYSTORE_BYTES_MAX, MAGIC, MINIMAL, Cost, Keystore
from ioe_node.errors import DiskFull, KeystoreLocked, StoreError

PASSPHRASE = b"open sesame"
SECRETS = {"root": bytes(range(32)), "api-token": b"t" * 16}

reuse_tmp_path = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    Keystore.create(path, PASSPHRASE, SECRETS, cost=MINIMAL)
    return path


def test_opens_with_its_passphrase_only(path: Path) -> None:
    assert Keystore.open(path, PASSPHRASE).secrets == SECRETS
    with pytest.raises(KeystoreLocked, match="passphrase") as caught:
        Keystore.open(path, b"open simsim")
    assert "\n" not in str(caught.value)


def test_no_secret_is_readable_in_the_file_or_in_its_text(path: Path) -> None:
    assert SECRETS["root"] not in path.read_bytes()
    assert b"api-token" not in path.read_bytes()
    assert "root" not in repr(Keystore.open(path, PASSPHRASE))


def test_file_is_the_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Keystore.create(tmp_path / "keys", PASSPHRASE, {}, cost=MINIMAL)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o600


def test_replace_changes_memory_and_file(path: Path) -> None:
    store = Keystore.open(path, PASSPHRASE)
    sealed = path.read_bytes()
    store.replace({"device": b"d" * 32})
    assert store.secrets == {"device": b"d" * 32}
    assert Keystore.open(path, PASSPHRASE).secrets == store.secrets
    store.replace(SECRETS)
    assert path.read_bytes() != sealed, "each write has a nonce of its own"
    assert [*path.parent.iterdir()] == [path]


def test_secrets_are_read_only_and_not_the_callers(path: Path) -> None:
    store = Keystore.open(path, PASSPHRASE)
    given = {"a": b"1"}
    store.replace(given)
    given["a"] = b"2"
    assert store.secrets == {"a": b"1"}
    with pytest.raises(TypeError):
        store.secrets["a"] = b"3"  # type: ignore[index]


def test_create_never_overwrites(path: Path) -> None:
    with pytest.raises(StoreError, match="exists"):
        Keystore.create(path, b"other", {}, cost=MINIMAL)
    assert Keystore.open(path, PASSPHRASE).secrets == SECRETS


def test_missing_foreign_and_oversize_files(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot read"):
        Keystore.open(tmp_path / "none", PASSPHRASE)
    with pytest.raises(StoreError, match="cannot read"):
        Keystore.open(tmp_path, PASSPHRASE)
    foreign = tmp_path / "foreign"
    foreign.write_bytes(b"-----BEGIN OPENSSH PRIVATE KEY-----")
    with pytest.raises(StoreError, match="not a key store"):
        Keystore.open(foreign, PASSPHRASE)
    foreign.write_bytes(MAGIC + bytes(KEYSTORE_BYTES_MAX))
    with pytest.raises(StoreError, match="damaged"):
        Keystore.open(foreign, PASSPHRASE)


def test_every_flipped_bit_and_every_truncation_is_a_store_error(path: Path) -> None:
    whole = path.read_bytes()
    for bit in range(len(whole) * 8):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(StoreError):
            Keystore.open(path, PASSPHRASE)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(StoreError):
            Keystore.open(path, PASSPHRASE)


def with_checksum(body: bytes) -> bytes:
    return body + keystore._checksum(body)


@reuse_tmp_path
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_refused_with_a_local_error(
    tmp_path: Path, data: bytes, checked: bool
) -> None:
    path = tmp_path / "fuzzed"
    # A header at the lowest cost, so that a valid checksum reaches the box at once.
    header = keystore._HEADER.pack(MAGIC, MINIMAL.ops, MINIMAL.memory_kib, bytes(16))
    path.write_bytes(with_checksum(header + data) if checked else data)
    with pytest.raises((StoreError, KeystoreLocked)):
        Keystore.open(path, PASSPHRASE)


@pytest.mark.parametrize("cost", [(0, 8), (1, 7), (5, 8), (1, 1024 * 1024 + 1), (2**32 - 1, 8)])
def test_a_file_cannot_ask_for_any_cost(path: Path, cost: tuple[int, int]) -> None:
    body = path.read_bytes()[keystore._HEADER.size : -keystore.CHECKSUM_BYTES]
    header = keystore._HEADER.pack(MAGIC, *cost, bytes(16))
    path.write_bytes(with_checksum(header + body))
    with pytest.raises(StoreError, match="cost"):
        Keystore.open(path, PASSPHRASE)


def test_cost_is_read_from_the_header(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    Keystore.create(path, PASSPHRASE, SECRETS, cost=Cost(ops=2, memory_kib=64))
    assert Keystore.open(path, PASSPHRASE).secrets == SECRETS


def test_too_large_a_set_is_refused_and_the_file_kept(path: Path) -> None:
    store = Keystore.open(path, PASSPHRASE)
    with pytest.raises(StoreError, match="at most"):
        store.replace({"big": bytes(KEYSTORE_BYTES_MAX)})
    assert store.secrets == SECRETS
    assert Keystore.open(path, PASSPHRASE).secrets == SECRETS


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, DiskFull), (errno.EIO, StoreError)])
def test_a_failing_disk_leaves_the_file_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[StoreError]
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    store = Keystore.open(path, PASSPHRASE)
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(kind, match="cannot write"):
        store.replace({})
    monkeypatch.undo()
    assert store.secrets == SECRETS
    assert Keystore.open(path, PASSPHRASE).secrets == SECRETS
    assert [*path.parent.iterdir()] == [path]


def test_a_leftover_of_a_crash_is_no_hindrance(path: Path) -> None:
    path.with_name("keys.new").write_bytes(b"half")
    Keystore.open(path, PASSPHRASE).replace({})
    assert Keystore.open(path, PASSPHRASE).secrets == {}
    assert [*path.parent.iterdir()] == [path]

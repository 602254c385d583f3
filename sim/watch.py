"""The checkers that look all the while a scenario is played.

Every few virtual seconds the survey reads what is new, then each checker says what it finds
wrong; the first finding ends the run, with the virtual time at which it was made.  What takes
the network time to mend is wrong only after a grace, counted from when the last hindrance
ended (`Home.sound_since_s`, `Network.whole_since_s`).  When all has come to rest, `close` adds
the checks of `sim.checkers` that need rest.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress

import trio

from ioe_node.core.sys_validate import Rules
from ioe_node.errors import IoeError
from ioe_node.hdi import ActionHash, AgentPubKey
from ioe_node.model.hashes import to_text
from ioe_node.model.warrant import VALID, open_receipt
from ioe_node.net.messages import Held, answers
from sim import checkers
from sim.home import Home
from sim.limits import LIMITS
from sim.memory_transport import kind_of
from sim.result import Finding, Metric
from sim.survey import Survey
from sim.swarm import SETTLE_MAX_S, Swarm

CHECK_EVERY_S = 5.0
GRACE_S = 120.0
"""How long a network that is whole may take to tell a fork or to end a settlement."""

FINDINGS_MAX = 20
READS = 20
READ_PATIENCE_S = 10.0
NODES_PER_RECEIPT_SKIPPED = 50
"""In a swarm of 50 every second receipt is looked into, of 100 every third, and so on."""


class Watch:
    """One run's checkers and what they have found."""

    def __init__(self, swarm: Swarm, every_s: float = CHECK_EVERY_S) -> None:
        self.swarm = swarm
        self.survey = Survey(Rules(swarm.definition))
        self.findings: list[Finding] = []
        self.patience_s = SETTLE_MAX_S
        self._every_s = every_s
        self._expected: list[str] = []
        self.series: list[Metric] = []
        self._begun_s = trio.current_time()
        self._checkers: dict[str, Callable[[], Iterator[str]]] = {
            "every chain verifies": self._broken,
            "no fork goes unnoticed": self._silent_forks,
            "warrants are just": self._unjust,
            "nobody exceeds a limit": self._excesses,
            "what is acknowledged is on disk": self._unwritten,
            "settlements are on both chains": self._halves,
            "credits sum to zero": self._minted,
        }
        self._receipts = 0
        self._unkept: list[str] = []
        self._lots = swarm.rng("watch")
        swarm.disk_lost = self.survey.forget_disk
        swarm.network.answered = self._answered

    def names(self) -> list[str]:
        """Every checker's name, those of `close` included."""
        return [*self._checkers, *checkers.AT_REST, *self._expected]

    def _count(self) -> None:
        """What `sim.plots` shows over time."""
        at_s = round(trio.current_time() - self._begun_s, 3)
        trace = self.swarm.trace
        self.series += [
            Metric("messages", trace.messages, "so far", at_s),
            Metric("bundles committed", trace.commits, "so far", at_s),
            Metric("nodes running", len(self.swarm.running()), "", at_s),
        ]

    async def look(self, scope: trio.CancelScope) -> None:
        """Look every so often; the first finding cancels `scope`."""
        while not self.findings:
            await trio.sleep(self._every_s)
            self.look_once()
        scope.cancel()

    def look_once(self) -> None:
        """Read what is new and let every checker look at it."""
        self._count()
        self.survey.read(self.swarm.honest())
        for name, checker in self._checkers.items():
            self._found(name, list(checker()))

    async def close(self) -> None:
        """All is at rest: look once more, after the grace if anything needs it, and as a whole."""
        self.look_once()
        open_halves = any(not each.whole for each in self.survey.settlements.values())
        if not self.findings and (self.survey.forks or open_halves):
            await trio.sleep(GRACE_S + 1)
            self.look_once()
        await self._spread()
        for name, found in checkers.at_rest(self.swarm, self.survey).items():
            self._found(name, found)
        await self._read_some()

    async def _spread(self) -> None:
        """Chains are at rest; what lies outside of them goes on by gossip, within the grace."""
        until_s = trio.current_time() + GRACE_S
        while not self.findings and trio.current_time() < until_s:
            honest, running = self.swarm.honest(), self.swarm.running()
            others = [home for home in running if home in self.swarm.offenders]
            if not checkers.ops_arrived(honest, others):
                return
            await trio.sleep(CHECK_EVERY_S)

    async def _read_some(self) -> None:
        """Random homes read random records that somebody alive holds."""
        readers = self.swarm.honest()
        authors = [home for home in self.swarm.homes if home not in self.swarm.offenders]
        for _ in range(READS):
            reader, author = self._lots.choice(readers), self._lots.choice(authors)
            seq, hash_ = self._lots.choice(list(author.committed.items()))
            if any(self.survey.reach(home, author.agent) >= seq for home in readers):
                found = None
                with trio.move_on_after(READ_PATIENCE_S), suppress(IoeError):
                    found = await reader.get(hash_)
                text = f"home {reader.number} cannot read action {seq} of home {author.number}"
                self.expect("what is held can be read", found is not None, text)

    def _answered(self, agent: AgentPubKey, body: bytes) -> None:
        """A receipt leaves: what it says is valid must be kept by now."""
        if kind_of(body) != "Held":
            return
        self._receipts += 1
        if self._receipts % (1 + len(self.swarm.homes) // NODES_PER_RECEIPT_SKIPPED):
            return
        home = next((each for each in self.swarm.honest() if each.agent == agent), None)
        if home is None or home.disk_failing is not None:
            return
        answer = answers.decode(body)
        assert isinstance(answer, Held)
        for hash_, verdict in open_receipt(answer.receipt, home.cell.space.dna, agent).verdicts:
            if verdict == VALID and not home.store.has(ActionHash(hash_)):
                self._unkept.append(f"home {home.number} gave a receipt for what it has not kept")

    def expect(self, name: str, holds: bool, text: str) -> None:
        """A checker of the scenario's own."""
        if name not in self._expected:
            self._expected.append(name)
        if not holds:
            self._found(name, [text])

    def _found(self, name: str, texts: list[str]) -> None:
        at_s = round(trio.current_time() - self._begun_s, 3)
        for text in texts[: FINDINGS_MAX - len(self.findings)]:
            self.findings.append(Finding(name, at_s, text))

    def _overdue(self, since_s: float, *homes: Home) -> bool:
        """Whether these homes have had the grace, unhindered, since a virtual second."""
        hindered_s = [home.sound_since_s for home in homes]
        begun_s = max(since_s, self.swarm.network.whole_since_s, *hindered_s)
        return trio.current_time() - begun_s > GRACE_S

    def _broken(self) -> Iterator[str]:
        yield from self.survey.broken

    def _silent_forks(self) -> Iterator[str]:
        offenders = [home.agent for home in self.swarm.offenders]
        for author, fork in self.survey.forks.items():
            if author in checkers.agents_of(self.swarm.homes) and author not in offenders:
                yield f"{_name(author)} is honest, and its chain is forked at {fork.seq}"
            for home in self.swarm.honest():
                if (
                    self.survey.reach(home, author) >= fork.seq
                    and author not in home.cell.space.blocked
                    and self._overdue(fork.seen_s, home)
                ):
                    yield f"home {home.number} has not noticed the fork of {_name(author)}"

    def _unjust(self) -> Iterator[str]:
        innocent = checkers.agents_of(
            [home for home in self.swarm.homes if home not in self.swarm.offenders]
        )
        for home in self.swarm.honest():
            for agent in sorted(home.cell.space.blocked):
                if agent in innocent:
                    yield f"home {home.number} has blocked {_name(agent)}, which is honest"

    def _excesses(self) -> Iterator[str]:
        for home in self.swarm.honest():
            for limit in LIMITS:
                found = limit.measure(home)
                if found > limit.most:
                    yield f"home {home.number} has {found} {limit.name}, at most {limit.most}"

    def _unwritten(self) -> Iterator[str]:
        yield from self._unkept
        for home in self.swarm.homes:
            for what in home.unwritten:
                yield f"home {home.number} {what}"

    def _halves(self) -> Iterator[str]:
        by_agent = {home.agent: home for home in self.swarm.honest()}
        for made in self.survey.settlements.values():
            homes = [by_agent[agent] for agent in made.parties if agent in by_agent]
            honest = len(homes) == len(made.parties)
            if honest and not made.whole and self._overdue(made.seen_s, *homes):
                numbers = " and ".join(str(home.number) for home in homes)
                yield f"of a settlement of homes {numbers} one half is missing"

    def _minted(self) -> Iterator[str]:
        survey = self.survey
        if all(made.whole for made in survey.settlements.values()):
            total = sum(survey.balances.values())
            if total:
                yield f"the balances sum to {total} micro-credits"


def _name(agent: AgentPubKey) -> str:
    return to_text(agent)[:13]

"""What a scenario is, which there are, and how one is played.

How to write one stands in the package docstring (`sim`).
"""

import importlib.util
import inspect
import sys
import time
import typing
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import trio

from dna.neighbourhood import DNA
from ioe_node.errors import LocalError
from ioe_node.hdk import DnaDef
from sim.conditions import Conditions
from sim.result import Result
from sim.swarm import Swarm, open_swarm
from sim.trace import Trace
from sim.virtual_clock import run_virtual
from sim.watch import CHECK_EVERY_S, Watch

MINUTES_MIN = 0.1
"""No run is shorter, unless its scenario says so."""

LOADED = "ioe_sim_loaded_"
"""What the modules of loaded files are called, before the file's own name."""

RESERVED = frozenset(
    (
        *("nodes", "seed", "hours", "minutes", "acquainted", "loss", "duplicate", "reorder"),
        *("dir", "directory", "results", "csv", "parquet", "plot", "json", "as_json"),
        *("trace_hash", "load", "help"),
    )
)
"""What `ioe-sim run` has for every scenario; none may call an option of its own so."""

Setting = int | float | str | bool
Progress = Callable[[float], None]
"""Told the virtual seconds of the scenario that have passed."""


@dataclass(frozen=True)
class Options:
    """How large, how long, on what wires, and which lots are drawn.

    `settings` are the scenario's own options by name; those left out have their defaults.
    `acquainted`: the homes know each other from the start.
    """

    nodes: int
    seed: int = 0
    virtual_s: float = 600.0
    conditions: Conditions = field(default_factory=Conditions)
    settings: Mapping[str, Setting] = field(default_factory=dict)
    acquainted: bool = False


@dataclass
class Run:
    """What a scenario plays with: the swarm, its options, and where to put its figures."""

    swarm: Swarm
    options: Options
    result: Result
    watch: Watch
    progress: Progress
    begun_s: float = field(default_factory=trio.current_time)

    @property
    def until_s(self) -> float:
        """The virtual second at which the scenario's load ends."""
        return self.begun_s + self.options.virtual_s

    def rng(self, whose: str) -> Random:
        """A generator of its own for everyone who draws lots."""
        return self.swarm.rng(f"scenario {whose}")

    def measure(self, name: str, value: float, unit: str) -> None:
        """Put down a figure, with the virtual time of the scenario."""
        self.result.measure(name, value, unit, trio.current_time() - self.begun_s)

    def expect(self, what: str, holds: bool, text: str) -> None:
        """Put down as a finding, under the checker `what`, that something does not hold."""
        self.watch.expect(what, holds, text)

    async def pass_time(self) -> None:
        """Wait until the load's end, telling the progress."""
        step_s = max(1.0, self.options.virtual_s / 100)
        while (left_s := self.until_s - trio.current_time()) > 0:
            await trio.sleep(min(step_s, left_s))
            self.progress(trio.current_time() - self.begun_s)


Story = Callable[..., Awaitable[None]]
Limits = tuple[float, float | None]
"""The least and the most of a number; None: as much as you like."""


@dataclass(frozen=True)
class Scenario:
    """A story, the size that it has by default, and how it is watched.

    `dna` is what its community runs; `settle` says that in the end all must come to rest and be
    checked as a whole.  With fewer than `nodes_min` nodes or less than `virtual_min_s` it would
    pass without showing anything; `limits` has the least and most of its own options; `refuse`
    says of options that are right one by one why they are wrong together (None: they are not).
    """

    name: str
    story: Story
    nodes: int
    virtual_s: float
    dna: DnaDef
    conditions: Conditions
    check_every_s: float
    settle: bool
    nodes_min: int
    virtual_min_s: float
    limits: Mapping[str, Limits]
    refuse: Callable[[Options], str | None]

    @property
    def file(self) -> str | None:
        """The file that `load` read it from, if any."""
        module = sys.modules[self.story.__module__]
        return module.__file__ if module.__name__.startswith(LOADED) else None

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return (inspect.getdoc(self.story) or "").partition("\n")[0]

    @property
    def settings(self) -> dict[str, Setting]:
        """Its own options: name to default, in the order of its signature."""
        parameters = list(inspect.signature(self.story).parameters.values())[1:]
        return {each.name: each.default for each in parameters}

    def options(self, **given: Any) -> Options:
        """The options of a run, where `given` says nothing by default."""
        chosen = Options(self.nodes, 0, self.virtual_s, self.conditions, self.settings)
        known = {name: value for name, value in given.items() if value is not None}
        settings = {**chosen.settings, **known.pop("settings", {})}
        return replace(chosen, **known, settings=settings)


SCENARIOS: dict[str, Scenario] = {}


def scenario(
    nodes: int,
    minutes: float,
    *,
    interval_s: int = 15 * 60,
    dna: DnaDef | None = None,
    conditions: Conditions | None = None,
    check_every_s: float = CHECK_EVERY_S,
    settle: bool = True,
    nodes_min: int = 2,
    minutes_min: float = MINUTES_MIN,
    limits: Mapping[str, Limits] | None = None,
    refuse: Callable[[Options], str | None] = lambda options: None,
) -> Callable[[Story], Story]:
    """Register the decorated function under its own name; see `Scenario`.

    Without a `dna` it is the neighbourhood's, with a metering interval of `interval_s`.
    Raises `LocalError` for a name that is taken, no docstring, or a signature of which
    `ioe-sim run` cannot make options.
    """
    if dna is None:
        dna = replace(DNA, properties=replace(DNA.properties, interval_us=interval_s * 1_000_000))

    def register(story: Story) -> Story:
        _check_story(story)
        made = Scenario(
            story.__name__,
            story,
            nodes,
            minutes * 60,
            dna,
            conditions or Conditions(),
            check_every_s,
            settle,
            nodes_min,
            minutes_min * 60,
            limits or {},
            refuse,
        )
        unknown = sorted(set(made.limits) - set(made.settings))
        if unknown:
            raise LocalError(f"scenario {made.name} limits {unknown[0]}, an option it has not")
        SCENARIOS[made.name] = made
        return story

    return register


def _check_story(story: Story) -> None:
    """Raise `LocalError` unless it can be a scenario, and each of its options one of a command."""
    name = story.__name__
    if name in SCENARIOS:
        raise LocalError(f"there is a scenario {name} already; name yours otherwise")
    if not inspect.getdoc(story):
        raise LocalError(f"scenario {name} has no docstring, whose first line 'list' shows")
    parameters = list(inspect.signature(story).parameters.values())
    if not inspect.iscoroutinefunction(story) or not parameters:
        raise LocalError(f"scenario {name} must be 'async def {name}(run: Run, ...)'")
    hints = typing.get_type_hints(story)
    for each in parameters[1:]:
        if each.name in RESERVED:
            raise LocalError(
                f"scenario {name}: 'ioe-sim run' itself has an option {each.name}; "
                "name yours otherwise"
            )
        type_ = hints.get(each.name)
        plain = each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
        if not plain or type_ not in typing.get_args(Setting) or type(each.default) is not type_:
            raise LocalError(
                f"scenario {name}: its option {each.name} must be an int, float, str or bool "
                f"with a default of that type, as in '{each.name}: float = 2.0'"
            )


def load(path: Path) -> None:
    """Import a Python file, which registers its scenarios; raises `LocalError`."""
    path = path.resolve()
    name = LOADED + path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise LocalError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except LocalError as error:
        raise LocalError(f"{path}: {error}") from None
    except Exception as error:
        raise LocalError(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error


async def play(
    chosen: Scenario, directory: Path, options: Options, trace: Trace, progress: Progress
) -> Result:
    """Play a scenario on a swarm of its own, watched all the while, and check what it leaves."""
    result = Result(chosen.name, options.nodes, options.seed, trace)
    begun_s = time.perf_counter()
    async with open_swarm(
        directory,
        options.seed,
        options.nodes,
        chosen.dna,
        trace,
        options.conditions,
        acquainted=options.acquainted,
    ) as swarm:
        watch = Watch(swarm, chosen.check_every_s)
        run = Run(swarm, options, result, watch, progress)
        result.measure("wall time to start", time.perf_counter() - begun_s, "s")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch.look, nursery.cancel_scope)
            await chosen.story(run, **options.settings)
            if chosen.settle and not watch.findings:
                await swarm.settle(most_s=watch.patience_s)
            nursery.cancel_scope.cancel()
        if chosen.settle and not watch.findings:
            await watch.close()
        result.take(watch)
        result.virtual_s = trio.current_time() - run.begun_s
        result.count(swarm)
    result.wall_s = time.perf_counter() - begun_s
    return result


def run_scenario(
    name: str,
    directory: Path,
    options: Options,
    progress: Progress = lambda virtual_s: None,
    trace: Trace | None = None,
) -> Result:
    """`play` on virtual time; the same options give the same trace."""
    chosen = SCENARIOS[name]
    return run_virtual(
        play, chosen, directory, options, trace or Trace(), progress, seed=options.seed
    )

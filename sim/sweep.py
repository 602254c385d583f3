"""Many runs: each in a process of its own, here or on the workers of a Dask scheduler."""

import logging
import multiprocessing
import signal
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from ioe_node.errors import LocalError
from sim.result import Result
from sim.results import packed, unpacked
from sim.running import allow_files, attempt
from sim.scenario import Options, load
from sim.scenarios import SCENARIOS


def run_job(
    name: str, options_text: str, place: str | None = None, file: str | None = None
) -> Result:
    """One run, in whatever process this is; its trace's events stay there.

    `file` is where the scenario is, if not in this package.
    """
    if name not in SCENARIOS and file is not None:
        load(Path(file))
    options = unpacked(options_text)
    allow_files(options.nodes)
    with tempfile.TemporaryDirectory(prefix="ioe-sim-", dir=place) as directory:
        return attempt(SCENARIOS[name], Path(directory), options).without_trace()


def _outcome(future: Any, name: str, options: Options) -> Result:
    """What a job returned; a failed run if its process died."""
    try:
        result: Result = future.result()
    except Exception as error:
        result = Result(name, options.nodes, options.seed, None)
        result.fail(error)
    return result


def sweep_here(name: str, chosen: Sequence[Options], jobs: int) -> Iterator[tuple[Options, Result]]:
    """Run all, `jobs` at a time, each in a fresh process; as they end.

    Whoever stops listening, or interrupts, ends the processes and removes their files.
    """
    with (
        tempfile.TemporaryDirectory(prefix="ioe-sweep-") as place,
        ThreadPoolExecutor(jobs) as threads,
    ):
        futures = {
            threads.submit(_in_a_process, name, packed(options), place): options
            for options in chosen
        }
        try:
            for future in as_completed(futures):
                yield futures[future], _outcome(future, name, futures[future])
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()


def _be_quiet() -> None:
    """What the nodes log is not for the console, and an interrupt is for who began the sweep."""
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _in_a_process(name: str, options_text: str, place: str) -> Result:
    """`run_job` in a process of its own, whose memory is this run's alone."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, _be_quiet) as executor:
        return executor.submit(run_job, name, options_text, place, SCENARIOS[name].file).result()


def sweep_on(
    scheduler: str, name: str, chosen: Sequence[Options]
) -> Iterator[tuple[Options, Result]]:
    """Run all on a Dask scheduler's workers, which have this package; as they end."""
    try:
        import distributed
    except ImportError:
        raise LocalError("a scheduler needs Dask: pip install 'ioe-node[dask]'") from None
    try:
        client = distributed.Client(scheduler, timeout=10)
    except OSError as error:
        raise LocalError(f"no scheduler answers at {scheduler}: {error}") from None
    with client:
        futures = {
            client.submit(
                run_job, name, packed(options), None, SCENARIOS[name].file, pure=False
            ): options
            for options in chosen
        }
        for future in distributed.as_completed(list(futures)):
            yield futures[future], _outcome(future, name, futures[future])

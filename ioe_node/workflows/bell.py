"""How one stage wakes the next, and where what a stage has to do with the store is run."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import trio

T = TypeVar("T")


class StoreRunner(Protocol):
    """How a store call runs: in a worker thread (daemon) or inline (simulator)."""

    async def __call__(self, function: Callable[..., T], *args: Any) -> T: ...


async def run_inline(function: Callable[..., T], *args: Any) -> T:
    """Run a store call here and now."""
    return function(*args)


async def run_in_thread(function: Callable[..., T], *args: Any) -> T:
    """Run a store call in a worker thread; it is never abandoned half way."""
    return await trio.to_thread.run_sync(function, *args)


class Bell:
    """Rung by one stage, heard by the next; a ring while nobody listens is kept."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def ring(self) -> None:
        """Wake whoever listens."""
        self._event.set()

    async def wait(self, timeout_s: float = float("inf")) -> bool:
        """Return at the next ring, or the one missed (True), or after the time (False)."""
        with trio.move_on_after(timeout_s):
            await self._event.wait()
        rung = self._event.is_set()
        self._event = trio.Event()
        return rung

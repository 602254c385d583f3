"""What is due when: a heap of deliveries, and one task that sleeps to the next.

A swarm's messages cost no task and no timer of their own on the way.  Times are rounded up to
whole ticks, so what arrives at nearly the same time is delivered in one turn of the scheduler.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from math import ceil, inf

import trio

TICKS_PER_S = 1_000


class Deliveries:
    """Calls to be made at their time, in the order of time and then of their making."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._made = 0
        self._begun = False
        self._pause = trio.CancelScope()

    def __len__(self) -> int:
        return len(self._heap)

    def at(self, when_s: float, deliver: Callable[[], None]) -> None:
        """Have `deliver` called at a virtual second, in a task of the run's own.

        It must not raise; what takes long it starts in a nursery.
        """
        tick = ceil(when_s * TICKS_PER_S)
        heappush(self._heap, (tick, self._made, deliver))
        self._made += 1
        if not self._begun:
            self._begun = True
            trio.lowlevel.spawn_system_task(self._run)
        elif self._heap[0][0] == tick:
            self._pause.deadline = min(self._pause.deadline, tick / TICKS_PER_S)

    async def _run(self) -> None:
        heap = self._heap
        while True:
            due_s = heap[0][0] / TICKS_PER_S if heap else inf
            with trio.CancelScope(deadline=due_s) as self._pause:
                await trio.sleep_forever()
            now = trio.current_time()
            while heap and heap[0][0] / TICKS_PER_S <= now:
                heappop(heap)[2]()

"""Notices to local clients: bounded, and honest about what a slow client missed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import trio

SIGNALS_PER_CLIENT_MAX = 1_024


class Signals:
    """Notices to local clients; one that reads too slowly is told how many it missed."""

    def __init__(self) -> None:
        self._clients: dict[trio.MemorySendChannel[dict[str, Any]], int] = {}
        self._taps: dict[int, Callable[[dict[str, Any]], None]] = {}

    def emit(self, value: dict[str, Any]) -> None:
        """Give `value` to every tap, and to every client that has room."""
        for take in list(self._taps.values()):
            take(value)
        for client, missed in list(self._clients.items()):
            try:
                if missed:
                    client.send_nowait({"kind": "gap", "missed": missed})
                    self._clients[client] = 0
                client.send_nowait(value)
            except trio.WouldBlock:
                self._clients[client] += 1
            except trio.BrokenResourceError:
                del self._clients[client]

    def follow(self) -> trio.MemoryReceiveChannel[dict[str, Any]]:
        """All signals from now on; close it to stop."""
        send, receive = trio.open_memory_channel[dict[str, Any]](SIGNALS_PER_CLIENT_MAX)
        self._clients[send] = 0
        return receive

    @contextmanager
    def tapped(self, take: Callable[[dict[str, Any]], None]) -> Iterator[None]:
        """Have `take(signal)` called for each signal: at once, and it must not wait."""
        self._taps[id(take)] = take
        try:
            yield
        finally:
            del self._taps[id(take)]

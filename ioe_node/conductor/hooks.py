"""Hooks: an alert as JSON to a command of the owner's, or to a web address.

Each hook has a bounded queue and empties it by itself.  An alert is handed on at most once and
not again after a restart; `ioe alerts --since` tells what was missed.
"""

import logging
import os
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import trio

from ioe_node.errors import IoeError, LocalError, TransportError

if TYPE_CHECKING:
    import httpx

log = logging.getLogger("ioe.alerts")

QUEUE_MAX = 100
COMMANDS_AT_ONCE_MAX = 4
COMMAND_MAX_S = 30.0
ATTEMPTS_MAX = 6
RETRY_FIRST_S = 2.0
ANSWER_MAX_S = 10.0
PASSPHRASE_VARIABLE = "IOE_PASSPHRASE"

Deliver = Callable[[bytes], Awaitable[None]]


class Hook:
    """Where alerts go; `deliver(body)` raises `TransportError` to be asked again."""

    def __init__(self, deliver: Deliver, at_once: int) -> None:
        self._deliver = deliver
        self._at_once = at_once
        self._send, self._waiting = trio.open_memory_channel[bytes](QUEUE_MAX)

    def offer(self, body: bytes) -> None:
        """Queue one alert, or drop it and log that when the queue is full."""
        try:
            self._send.send_nowait(body)
        except trio.WouldBlock:
            log.warning("a hook is too slow: an alert was not handed to it")

    async def run(self) -> None:
        """Hand on until cancelled."""
        async with trio.open_nursery() as nursery:
            for _ in range(self._at_once):
                nursery.start_soon(self._work)

    async def _work(self) -> None:
        async for body in self._waiting:
            await self._try(body)

    async def _try(self, body: bytes) -> None:
        for attempt in range(ATTEMPTS_MAX):
            try:
                await self._deliver(body)
            except TransportError as error:
                log.info("an alert is handed on later: %s", error)
                await trio.sleep(RETRY_FIRST_S * 2**attempt)
            except IoeError as error:
                log.warning("an alert was not handed on: %s", error)
                return
            else:
                return
        log.warning("an alert was not handed on in %d attempts", ATTEMPTS_MAX)


def command_hook(command: Sequence[str]) -> Hook:
    """Run `command` for each alert, without a shell, the JSON on its standard input.

    It gets this process's environment without the passphrase, and `COMMAND_MAX_S` to end.
    """

    async def run(body: bytes) -> None:
        environment = {k: v for k, v in os.environ.items() if k != PASSPHRASE_VARIABLE}
        with trio.move_on_after(COMMAND_MAX_S) as limit:
            try:
                done = await trio.run_process(
                    list(command),
                    stdin=body,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=environment,
                    check=False,
                )
            except OSError as error:
                raise LocalError(f"alerts.command: {error}") from None
            if done.returncode:
                raise LocalError(f"alerts.command: exit code {done.returncode}")
        if limit.cancelled_caught:
            raise LocalError(f"alerts.command took over {COMMAND_MAX_S:.0f} s and was ended")

    return Hook(run, COMMANDS_AT_ONCE_MAX)


def webhook(url: str) -> Hook:
    """POST each alert to `url`, in turn; tried again while it is away or busy."""

    async def post(body: bytes) -> None:
        # Made in a thread, because reading the machine's certificates takes a while.
        status = await _post(await trio.to_thread.run_sync(_client), url, body)
        if status in (408, 429) or status >= 500:
            raise TransportError(f"alerts.webhook answered {status}")
        if status >= 300:
            raise LocalError(f"alerts.webhook answered {status}; check its address")

    return Hook(post, 1)


def _client() -> "httpx.AsyncClient":
    import httpx

    return httpx.AsyncClient(timeout=ANSWER_MAX_S)


async def _post(made: "httpx.AsyncClient", url: str, body: bytes) -> int:
    """The status of the answer; its body, of whatever length, is not read."""
    import httpx

    headers = {"Content-Type": "application/json"}
    try:
        async with made as client, client.stream("POST", url, content=body, headers=headers) as got:
            return got.status_code
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise TransportError(f"alerts.webhook: {error or type(error).__name__}") from None

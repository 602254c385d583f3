"""Hooks: real programs and a real web server get each alert, once, and the node waits for none."""

import logging
import os
import stat
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import h11
import pytest
import trio

from ioe_node.conductor import hooks
from ioe_node.conductor.hooks import ATTEMPTS_MAX, Hook, command_hook, webhook
from ioe_node.errors import LocalError, TransportError

BODY = b'{"id":1,"kind":"fault","text":"the disk is full"}'


async def run_until(hook: Hook, done: Callable[[], object]) -> None:
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hook.run)
            while True:
                await trio.sleep(0.01)
                if done():
                    nursery.cancel_scope.cancel()


def program(folder: Path, text: str) -> str:
    path = folder / "program"
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


async def test_a_command_gets_the_alert_and_no_shell_and_no_passphrase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IOE_PASSPHRASE", "secret")
    monkeypatch.setenv("IOE_OTHER", "kept")
    out = tmp_path / "out"
    text = (
        "import os, sys\n"
        "said = sys.stdin.buffer.read() + ascii([sys.argv[1:], os.environ.get('IOE_PASSPHRASE'), "
        "os.environ.get('IOE_OTHER')]).encode()\n"
        f"open({str(out) + '.new'!r}, 'wb').write(said)\n"
        f"os.replace({str(out) + '.new'!r}, {str(out)!r})\n"
    )
    hook = command_hook([program(tmp_path, text), "$HOME; rm -rf x", "*"])
    hook.offer(BODY)
    await run_until(hook, out.exists)
    assert out.read_bytes() == BODY + b"[['$HOME; rm -rf x', '*'], None, 'kept']"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise SystemExit(3)", "exit code 3"),
        ("import time; time.sleep(60)", "took over 0 s and was ended"),
    ],
)
async def test_a_command_that_fails_or_hangs_is_logged_and_the_next_is_run(
    tmp_path: Path, text: str, said: str,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(hooks, "COMMAND_MAX_S", 0.4)
    caplog.set_level(logging.WARNING)
    hook = command_hook([program(tmp_path, text)])
    hook.offer(BODY)
    hook.offer(BODY)
    await run_until(hook, lambda: caplog.text.count(said) == 2)


async def test_a_command_that_is_not_there_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    hook = command_hook(["/no/such/program"])
    hook.offer(BODY)
    await run_until(hook, lambda: "alerts.command: " in caplog.text)


async def test_what_is_away_is_tried_again_later_each_time_and_then_given_up(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    tried: list[float] = []

    async def away(body: bytes) -> None:
        tried.append(trio.current_time())
        raise TransportError("nobody is there")

    hook = Hook(away, 1)
    hook.offer(BODY)
    await run_until_virtual(hook, 600)
    waits = [later - earlier for earlier, later in pairwise(tried)]
    assert len(tried) == ATTEMPTS_MAX
    assert waits == [pytest.approx(2.0 * 2**turn) for turn in range(ATTEMPTS_MAX - 1)]
    assert "was not handed on in" in caplog.text


async def test_a_refusal_is_not_tried_again(autojump_clock: trio.testing.MockClock) -> None:
    tried = 0

    async def refuses(body: bytes) -> None:
        nonlocal tried
        tried += 1
        raise LocalError("no")

    hook = Hook(refuses, 1)
    hook.offer(BODY)
    await run_until_virtual(hook, 600)
    assert tried == 1


async def run_until_virtual(hook: Hook, seconds: float) -> None:
    with trio.move_on_after(seconds):
        await hook.run()


class Server:
    """A web server that answers with these statuses, in turn, and keeps what it got."""

    def __init__(self, nursery: trio.Nursery, statuses: list[int]) -> None:
        self.got: list[tuple[bytes, bytes, str]] = []
        self._nursery = nursery
        self._statuses = statuses

    async def start(self) -> str:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self._nursery.start_soon(trio.serve_listeners, self._serve, [listener])
        return f"http://127.0.0.1:{listener.socket.getsockname()[1]}/alerts?who=me"

    async def _serve(self, stream: trio.SocketStream) -> None:
        connection, body = h11.Connection(h11.SERVER), b""
        request: h11.Request | None = None
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some(65_536))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
        assert request is not None
        kind = dict(request.headers)[b"content-type"].decode()
        self.got.append((request.method + b" " + request.target, body, kind))
        answer = h11.Response(status_code=self._statuses.pop(0), headers=[("Content-Length", "0")])
        await stream.send_all(
            (connection.send(answer) or b"") + (connection.send(h11.EndOfMessage()) or b"")
        )
        await stream.aclose()


async def test_a_webhook_is_posted_and_asked_again_while_it_is_busy(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "RETRY_FIRST_S", 0.01)
    for name in [each for each in os.environ if each.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    server = Server(nursery, [503, 429, 200, 404, 204])
    hook = webhook(await server.start())
    for number in range(3):
        hook.offer(BODY + str(number).encode())
    await run_until(hook, lambda: len(server.got) == 5)
    assert [body[-1:] for _, body, _ in server.got] == [b"0", b"0", b"0", b"1", b"2"]
    assert {(line, kind) for line, _, kind in server.got} == {
        (b"POST /alerts?who=me", "application/json")
    }


async def test_a_webhook_that_nobody_serves_is_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hooks, "RETRY_FIRST_S", 0.001)
    caplog.set_level(logging.INFO)
    hook = webhook("http://127.0.0.1:9/")
    hook.offer(BODY)
    await run_until(hook, lambda: "was not handed on in" in caplog.text)
    assert caplog.text.count("is handed on later: alerts.webhook:") == ATTEMPTS_MAX

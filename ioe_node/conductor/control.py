"""The control socket: how `ioe` and other programs of this machine use the running node.

TCP on loopback.  `control.json` (mode 0600) names the port and a token; every request carries
the token, so that another user of the machine gets nothing: no answer, and not for long a
place in the queue either, since a connection without a good first request is soon closed.  A
request is `{token, call, args}`, its answer `{ok: value}` or `{error, text, exit_code}`; after
the call `follow` the socket carries signals until it is closed.
"""

import json
import logging
from hmac import compare_digest
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Any

import trio

from ioe_node.conductor.frames import LENGTH_BYTES, decode_body, encode_frame, length_of
from ioe_node.errors import Busy, CallError, ConfigError, IoeError, Malformed, Unauthorised

if TYPE_CHECKING:
    from ioe_node.conductor.conductor import Conductor

log = logging.getLogger("ioe.control")

CLIENTS_MAX = 64
SLOT_WAIT_S = 10.0
FIRST_REQUEST_WAIT_S = 5.0
REQUEST_WAIT_S = 600.0
REQUEST_BYTES_MAX = 4 * 1024 * 1024


async def serve_control(
    conductor: "Conductor", task_status: Any = trio.TASK_STATUS_IGNORED
) -> None:
    """Answer clients until cancelled."""
    token = token_urlsafe(32)
    port = conductor.config.control_port
    try:
        listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
    except OSError as error:
        raise ConfigError(f"control_port {port}: {error}; choose another, or 0 for any") from None
    port = listeners[0].socket.getsockname()[1]
    found = json.dumps({"port": port, "token": token}).encode()
    conductor.home.write(conductor.home.control, found)
    slots = trio.CapacityLimiter(CLIENTS_MAX)

    async def client(stream: trio.SocketStream) -> None:
        async with stream:
            try:
                with trio.move_on_after(SLOT_WAIT_S) as waiting:
                    async with slots:
                        waiting.deadline = float("inf")
                        await _serve(conductor, token, stream)
                if waiting.cancelled_caught:
                    full = Busy(f"{CLIENTS_MAX} clients are connected; close one, then try again")
                    await stream.send_all(encode_frame(_refusal(full)))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            except Malformed as error:
                log.warning("a control client sent what it must not: %s", error)
            except Exception:
                log.exception("a control client's request failed")

    task_status.started()
    await trio.serve_listeners(client, listeners)


async def _receive(stream: trio.SocketStream, count: int) -> bytes | None:
    data = bytearray()
    while len(data) < count:
        part = await stream.receive_some(min(65_536, count - len(data)))
        if not part:
            return None
        data += part
    return bytes(data)


async def _request(stream: trio.SocketStream, token: str, wait_s: float) -> dict[str, Any] | None:
    """The next request, or None when there is no more; raises `Malformed`."""
    with trio.move_on_after(wait_s):
        prefix = await _receive(stream, LENGTH_BYTES)
        if prefix is None:
            return None
        body = await _receive(stream, length_of(prefix, REQUEST_BYTES_MAX))
        if body is None:
            return None
        request = decode_body(body)
        if not compare_digest(str(request.get("token", "")).encode(), token.encode()):
            raise Malformed("a request without this run's token")
        return request
    return None


async def _serve(conductor: "Conductor", token: str, stream: trio.SocketStream) -> None:
    wait_s = FIRST_REQUEST_WAIT_S
    while (request := await _request(stream, token, wait_s)) is not None:
        if request.get("call") == "follow":
            await _follow(conductor, stream)
            return
        await stream.send_all(await _answer(conductor, request))
        wait_s = REQUEST_WAIT_S


async def _answer(conductor: "Conductor", request: dict[str, Any]) -> bytes:
    """The frame of an answer or of a refusal."""
    from ioe_node.conductor.calls import CALLS

    try:
        name = str(request.get("call"))
        call = CALLS.get(name) or conductor.offered.get(name)
        arguments = request.get("args", {})
        if call is None or not isinstance(arguments, dict):
            raise Unauthorised(f"no control call '{name[:60]}'")
        await conductor.alive()
        return encode_frame({"ok": await call(conductor, **arguments)})
    except IoeError as error:
        return encode_frame(_refusal(error))
    except TypeError as error:
        log.debug("a call with other arguments than it takes", exc_info=True)
        return encode_frame(_refusal(CallError(str(error))))


def _refusal(error: IoeError) -> dict[str, Any]:
    return {"error": type(error).__name__, "text": str(error), "exit_code": error.exit_code}


async def _follow(conductor: "Conductor", stream: trio.SocketStream) -> None:
    """Send signals until the client goes away, which is how following ends."""
    try:
        async with trio.open_nursery() as nursery:

            async def until_closed() -> None:
                while await stream.receive_some(1):
                    pass
                nursery.cancel_scope.cancel()

            nursery.start_soon(until_closed)
            with conductor.signals.follow() as signals:
                await stream.send_all(encode_frame({"ok": True}))
                async for signal in signals:
                    await stream.send_all(encode_frame({"signal": signal}))
    except* trio.BrokenResourceError:
        pass

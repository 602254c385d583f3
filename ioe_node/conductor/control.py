"""The control socket: how `ioe` and other programs of this machine use the running node.

TCP on loopback.  `control.json` (mode 0600) names the port and a token; every request carries
the token, so that another user of the machine gets nothing.  A request is
`{token, call, args}`, its answer `{ok: value}` or `{error, text, exit_code}`; after the call
`follow` the socket carries signals until it is closed.
"""

import json
import logging
from hmac import compare_digest
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Any

import trio

from ioe_node.conductor.frames import LENGTH_BYTES, decode_body, encode_frame, length_of
from ioe_node.errors import ConfigError, IoeError, Malformed, Unauthorised

if TYPE_CHECKING:
    from ioe_node.conductor.conductor import Conductor

log = logging.getLogger("ioe.control")

CLIENTS_MAX = 64
REQUEST_WAIT_S = 600.0


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
        async with slots, stream:
            try:
                await _serve(conductor, token, stream)
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


async def _serve(conductor: "Conductor", token: str, stream: trio.SocketStream) -> None:
    while True:
        with trio.move_on_after(REQUEST_WAIT_S):
            prefix = await _receive(stream, LENGTH_BYTES)
            if prefix is None:
                return
            body = await _receive(stream, length_of(prefix))
            if body is None:
                return
            request = decode_body(body)
            if not compare_digest(str(request.get("token", "")).encode(), token.encode()):
                raise Malformed("a request without this run's token")
            if request.get("call") == "follow":
                await _follow(conductor, stream)
                return
            await stream.send_all(encode_frame(await _answer(conductor, request)))
            continue
        return


async def _answer(conductor: "Conductor", request: dict[str, Any]) -> dict[str, Any]:
    from ioe_node.conductor.calls import CALLS

    try:
        call = CALLS.get(str(request.get("call")))
        arguments = request.get("args", {})
        if call is None or not isinstance(arguments, dict):
            raise Unauthorised(f"no control call '{request.get('call')}'")
        return {"ok": await call(conductor, **arguments)}
    except IoeError as error:
        return {
            "error": type(error).__name__,
            "text": str(error),
            "exit_code": error.exit_code,
        }
    except TypeError as error:
        return {"error": "CallError", "text": str(error), "exit_code": 1}


async def _follow(conductor: "Conductor", stream: trio.SocketStream) -> None:
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

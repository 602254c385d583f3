"""The doors themselves: listeners on loopback, a session for each client.

The admin door is where the config says; app doors are attached through it and stay over
restarts.  A client of an app door that has not shown a token after `SILENT_S` is dropped.
"""

import logging
import secrets
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from hmac import compare_digest
from typing import Any, Protocol
from urllib.parse import urlsplit

import trio
from msgspec import Raw

from ioe_node.api.conductor_admin import AdminSession
from ioe_node.api.conductor_app import AppSession
from ioe_node.api.conductor_apps import OWN_APP, Apps
from ioe_node.api.conductor_auth import Nonces, Tokens, allowed
from ioe_node.api.conductor_errors import error_value
from ioe_node.api.conductor_frames import (
    Envelope,
    decode_as,
    decode_envelope,
    decode_tagged,
    response,
)
from ioe_node.api.conductor_requests import Authenticate
from ioe_node.api.conductor_socket import GONE, REFUSED, Asked, Socket
from ioe_node.api.conductor_state import Door
from ioe_node.conductor.cell import Cell
from ioe_node.conductor.conductor import Conductor
from ioe_node.config import ConductorApi
from ioe_node.errors import CallError, ConfigError, IoeError, LocalError, Malformed
from ioe_node.model.capability import SECRET_BYTES, CapGrant
from ioe_node.model.hashes import CORE
from ioe_node.model.signing import SEED_BYTES, Signer
from ioe_node.workflows.bell import Bell

log = logging.getLogger("ioe.api")

LOOPBACK = "127.0.0.1"
SILENT_S = 10.0
IN_FLIGHT_MAX = 64
CLIENTS_MAX = 256
DOORS_MAX = 64


class Session(Protocol):
    """What answers one client."""

    async def answer(self, tag: str, value: Raw) -> tuple[str, Any]:
        """(tag, value) of the answer to a request; raises `IoeError`."""


class ConductorDoors:
    """The admin door and the app doors of one node."""

    def __init__(self, conductor: Conductor, config: ConductorApi) -> None:
        self._conductor = conductor
        self._config = config
        self.apps = Apps(conductor)
        self.tokens = Tokens(secrets.token_bytes)
        self._nonces = Nonces()
        self._clients = trio.CapacityLimiter(CLIENTS_MAX)
        self._nursery: trio.Nursery
        self.admin_port = 0
        conductor.beside.append(self.apps.live)

    async def run(self, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """Answer clients until cancelled; raises `ConfigError` for a port that is taken."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            origins = ",".join(self._config.origins)
            serve = partial(self._admin, origins)
            self.admin_port = await self._listen(self._config.admin_port, serve)
            for door in self.apps.doors:
                try:
                    await self._open(door)
                except ConfigError as error:
                    self._conductor.alert({"kind": "fault", "text": str(error)})
            self._conductor.offered["bundle_token"] = self._bundle_token
            self._conductor.offered["bundle_list"] = self._bundle_list
            task_status.started()

    # -- doors --------------------------------------------------------------------------------

    async def _listen(self, port: int, serve: Callable[[trio.SocketStream], Any]) -> int:
        try:
            listeners = await trio.open_tcp_listeners(port, host=LOOPBACK)
        except OSError as error:
            raise ConfigError(f"port {port}: {error.strerror}; choose another, or 0") from None
        found: int = listeners[0].socket.getsockname()[1]
        self._nursery.start_soon(trio.serve_listeners, partial(self._client, serve), listeners)
        return found

    async def _open(self, door: Door) -> int:
        return await self._listen(door.port, partial(self._app, door))

    async def attach(self, port: int, origins: str, app: str | None) -> int:
        """Open an app door and keep it over restarts; its port."""
        if len(self.apps.doors) >= DOORS_MAX:
            raise CallError(f"at most {DOORS_MAX} app doors; use one of those that are open")
        if app is not None and not self.apps.is_known(app):
            raise CallError(f"no app '{app[:60]}' is installed")
        port = await self._open(Door(port, origins, app))
        self.apps.put_doors((*self.apps.doors, Door(port, origins, app)))
        return port

    # -- the control socket -------------------------------------------------------------------

    async def _bundle_token(
        self,
        _conductor: Conductor,
        app: str = OWN_APP,
        expiry_s: int = 0,
        once: bool = False,
        sign: bool = False,
    ) -> dict[str, Any]:
        """A token for a program of this machine, and where it is good for.

        To `sign` calls itself, it gets a key and a secret for each cell, too.
        """
        if not self.apps.is_known(app):
            raise CallError(f"no app '{app[:60]}' is installed; see 'ioe bundle list'")
        open_ = [door for door in self.apps.doors if door.app in (None, app)]
        if not open_:
            origins = ",".join(self._config.origins)
            open_ = [Door(await self.attach(0, origins, None), origins)]
        token, expires_us = self.tokens.issue(app, expiry_s, once, self._conductor.clock.now_us())
        return {
            "app": app,
            "port": open_[0].port,
            "origins": open_[0].allowed_origins,
            "token": list(token),
            "expires_us": expires_us,
            "credentials": [await _credentials(cell) for cell in self.apps.cells_of(app) if sign],
        }

    async def _bundle_list(self, _conductor: Conductor) -> dict[str, Any]:
        shown = [
            {"app": app.name, "agent": app.agent, "status": app.status} for app in self.apps.all()
        ]
        return {"admin_port": self.admin_port, "apps": shown}

    # -- clients ------------------------------------------------------------------------------

    async def _client(
        self, serve: Callable[[trio.SocketStream], Any], stream: trio.SocketStream
    ) -> None:
        async with stream:
            try:
                self._clients.acquire_on_behalf_of_nowait(stream)
            except trio.WouldBlock:
                log.warning("%d clients are connected; one more was sent away", CLIENTS_MAX)
                return
            try:
                await serve(stream)
            except GONE:
                log.debug("a client went away")
            except Malformed as error:
                log.warning("a client sent what it must not: %s", error)
            except Exception:
                log.exception("a client's connection failed")
            finally:
                self._clients.release_on_behalf_of(stream)

    async def _admin(self, origins: str, stream: trio.SocketStream) -> None:
        socket = Socket(stream)

        def admit(asked: Asked) -> bool:
            path = urlsplit(asked[1]).path.strip("/")
            secret = self._config.admin_secret
            return allowed(origins, asked[0]) and compare_digest(path.encode(), secret.encode())

        let_in = False
        with trio.move_on_after(SILENT_S):
            let_in = await socket.accept(admit)
        if let_in:
            await self._converse(socket, AdminSession(self.apps, self.tokens, self))

    async def _app(self, door: Door, stream: trio.SocketStream) -> None:
        socket = Socket(stream)
        app: str | None = None
        with trio.move_on_after(SILENT_S):
            if not await socket.accept(lambda asked: allowed(door.allowed_origins, asked[0])):
                return
            app = await self._redeem(socket, door)
        if app is None:
            await socket.close(REFUSED)
            return
        session = AppSession(self.apps, app, self._nonces)
        bell = Bell()

        def heard(signal: dict[str, Any]) -> None:
            session.signal(socket.outbox.put_signal, signal)
            bell.ring()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(_send_signals, socket, bell)
            with self.apps.signals(app).tapped(heard):
                await self._converse(socket, session)
            nursery.cancel_scope.cancel()

    async def _redeem(self, socket: Socket, door: Door) -> str | None:
        """The app whose token comes first; None for anything else."""
        message = await socket.receive()
        if message is None:
            return None
        envelope = decode_envelope(message)
        if envelope.type != "authenticate":
            return None
        token = bytes(decode_as(Authenticate, envelope.data).token)
        app = self.tokens.redeem(token, self._conductor.clock.now_us())
        return app if door.app in (None, app) else None

    async def _converse(self, socket: Socket, session: Session) -> None:
        """Answer requests as they come, several at once, until the client goes.

        What it has asked for is done all the same: a call is not broken off between its commit
        and what follows from it.
        """
        slots = trio.Semaphore(IN_FLIGHT_MAX)
        async with trio.open_nursery() as nursery:
            try:
                while (message := await socket.receive()) is not None:
                    envelope = decode_envelope(message)
                    if envelope.type == "request" and envelope.id is not None:
                        await slots.acquire()
                        nursery.start_soon(_answer, socket, session, envelope, slots)
            except Malformed as error:
                log.warning("a client sent what it must not: %s", error)
                await socket.close(REFUSED)
            await socket.hang_up()


async def _credentials(cell: Cell) -> dict[str, Any]:
    """A new key that may call a cell, as a client's `setSigningCredentials` wants it."""
    signer, secret = Signer(secrets.token_bytes(SEED_BYTES)), secrets.token_bytes(SECRET_BYTES)
    agents = (bytes(signer.agent),)
    await cell.grant(CapGrant(tag="ioe bundle token", secret=secret, agents=agents))
    public = signer.agent[CORE]
    return {
        "cell_id": [list(cell.space.dna), list(cell.space.agent)],
        "capSecret": list(secret),
        "signingKey": list(signer.agent),
        "keyPair": {
            "publicKey": list(public),
            "privateKey": list(signer.seed + public),
            "keyType": "ed25519",
        },
    }


async def _send_signals(socket: Socket, bell: Bell) -> None:
    with suppress(*GONE):
        while True:
            await bell.wait()
            await socket.flush()


async def _answer(
    socket: Socket, session: Session, envelope: Envelope, slots: trio.Semaphore
) -> None:
    id_ = envelope.id
    assert id_ is not None
    try:
        try:
            asked = decode_tagged(envelope.data)
            message = response(id_, *await session.answer(asked.type, asked.value))
        except IoeError as error:
            message = response(id_, "error", error_value(error))
        except Exception:
            log.exception("a client's request failed")
            failed = LocalError("the request failed; see the node's log")
            message = response(id_, "error", error_value(failed))
        with suppress(*GONE):
            await socket.reply(message)
    finally:
        slots.release()

"""Shelly plugs and relays, Gen2 and later, on the local network.

JSON-RPC 2.0, one `switch:<id>` component each.  A device with authentication on asks for a
digest; its one user is `admin`.  Polling and switching go over HTTP, one connection per exchange;
a WebSocket, one of the few channels that a plug has, is held open to hear of changes at once.
`shelly_frames` decodes what comes over either.
"""

import json
import re
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec

from ioe_node.clock import Clock, SystemClock
from ioe_node.drivers.driver import Reading, parse_options
from ioe_node.drivers.http_digest import Answer, HttpClient
from ioe_node.drivers.shelly_frames import (
    USER,
    DeviceInfo,
    decode_answer,
    decode_device_info,
    decode_status,
    not_a_shelly,
)
from ioe_node.drivers.shelly_socket import open_socket
from ioe_node.errors import ConfigError, LocalError, TransportError

EXCHANGE_DEADLINE_S = 10.0


class ShellyOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`password_file` holds the device's password, trailing newline ignored."""

    url: str
    component_id: Annotated[int, msgspec.Meta(ge=0, le=99)] = 0
    password_file: str | None = None


class Shelly:
    """A `Meter` and a `Switch`, which can be watched."""

    def __init__(
        self,
        host: str,
        port: int,
        component_id: int,
        password: str | None,
        clock: Clock,
        deadline_s: float = EXCHANGE_DEADLINE_S,
    ) -> None:
        self._http = HttpClient(host, port, USER, password, deadline_s)
        self._open_socket = partial(open_socket, host, port, password, deadline_s)
        self._component_id = component_id
        self._clock = clock

    @classmethod
    def from_options(cls, options: Mapping[str, object], clock: Clock | None = None) -> "Shelly":
        """ConfigError names the key."""
        parsed = parse_options(options, ShellyOptions, "shelly")
        host, port = parse_url(parsed.url)
        password = None
        if parsed.password_file is not None:
            try:
                text = Path(parsed.password_file).expanduser().read_text("utf-8")
            except (OSError, UnicodeDecodeError) as refusal:
                raise ConfigError(f"driver shelly: password_file: {refusal}") from None
            password = text.rstrip("\r\n")
        return cls(host, port, parsed.component_id, password, clock or SystemClock())

    async def read(self) -> Reading:
        """Power, registers and switch position, at the device's own time if it knows it."""
        status = await self._call("Shelly.GetStatus", {})
        return decode_status(status, self._component_id, self._clock.now_us())

    async def watch(self, tell: Callable[[Reading], None]) -> None:
        """Tell the state now, and again whenever the device says that its switch has changed."""
        component = f"switch:{self._component_id}"
        with self._named():
            async with self._open_socket() as socket:
                status = await socket.call("Shelly.GetStatus")
                while True:
                    tell(decode_status(status, self._component_id, self._clock.now_us()))
                    method, params = await socket.notice()
                    while component not in params:
                        method, params = await socket.notice()
                    # A notice names what has changed; the counters at that instant are asked for.
                    whole = method == "NotifyFullStatus"
                    status = params if whole else await socket.call("Shelly.GetStatus")

    async def set_on(self, on: bool) -> None:
        """Switch the load; done when the device says so."""
        await self._call("Switch.Set", {"id": self._component_id, "on": on})

    async def device_info(self) -> DeviceInfo:
        """Ask the device what it is; it answers without a password."""
        return decode_device_info(await self._call("Shelly.GetDeviceInfo", {}))

    async def _call(self, method: str, params: dict[str, object]) -> dict[str, object]:
        """The `result` of one RPC; raises TransportError or LocalError, naming the device."""
        frame = {"jsonrpc": "2.0", "id": 1, "src": "ioe-node", "method": method, "params": params}
        with self._named():
            return decode_answer(await self._post(json.dumps(frame).encode()))

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Whatever fails inside names the device."""
        try:
            yield
        except (LocalError, TransportError) as failure:
            raise type(failure)(f"shelly {self._http.authority}: {failure}") from None

    async def _post(self, body: bytes) -> Answer:
        try:
            return await self._http.post("/rpc", body)
        except LocalError as failure:
            raise not_a_shelly(str(failure)) from None


_HOST = re.compile(r"[\w.:%-]+")


def parse_url(url: str) -> tuple[str, int]:
    """(host, port) of `http://host[:port]`; ConfigError otherwise."""
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname or "", parts.port
        host.encode("idna")  # refuses a label that no name server could look up
    except ValueError:
        host, port, parts = "", None, urllib.parse.urlsplit("")
    extra = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme != "http" or not _HOST.fullmatch(host) or extra:
        raise ConfigError(
            f"driver shelly: url: {url!r} is not of the form http://192.168.1.20 or "
            "http://192.168.1.20:80"
        )
    return host, 80 if port is None else port

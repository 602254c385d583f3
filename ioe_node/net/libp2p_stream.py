"""A libp2p stream as a `ByteStream`: its many errors become `TransportError`."""

from typing import Any

import trio
from libp2p.exceptions import BaseLibp2pError
from libp2p.network.stream.exceptions import StreamEOF

from ioe_node.errors import TransportError

LINGER_S = 1.0
LINGER_READ_BYTES_MAX = 64 * 1024
RESET_DEADLINE_S = 0.5


class Libp2pStream:
    """See `link.ByteStream`."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def read(self, bytes_max: int) -> bytes:
        """The next bytes; empty at the end."""
        try:
            return bytes(await self._stream.read(bytes_max))
        except StreamEOF:
            return b""
        except (BaseLibp2pError, OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            raise TransportError("the link broke; try again") from None

    async def write(self, data: bytes) -> None:
        """Send all of `data`."""
        try:
            await self._stream.write(data)
        except (BaseLibp2pError, OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            raise TransportError("the link broke; try again") from None

    async def finish(self) -> None:
        """Close our side and let the peer read to the end before the stream is reset."""
        with trio.move_on_after(LINGER_S):
            await self._stream.close()
            try:
                while await self.read(LINGER_READ_BYTES_MAX):
                    pass
            except TransportError:
                pass

    async def reset(self) -> None:
        """End it at once, whatever is under way."""
        with trio.CancelScope(shield=True) as scope:
            scope.deadline = trio.current_time() + RESET_DEADLINE_S
            await self._stream.reset()

"""A mend for the chattiness of py-libp2p 0.8.1's Yamux: credit is given by the half window.

As shipped, nearly every read of a stream sends the other side a window update: a frame of its
own, encrypted and written, so that of all frames of a request and its answer almost half are
credit that nobody waits for.  Here a stream tells what it has read when that is half of its
window.  The sender still has the other half, so it never waits for credit that is not sent.
"""

from libp2p.stream_muxer.yamux.yamux import YamuxStream

AS_SHIPPED = YamuxStream._auto_tune_and_send_window_update


def mend_window_updates() -> None:
    """What was read is told by the half window."""

    async def by_the_half_window(self: YamuxStream, *, bytes_read: int = 0) -> None:
        self._pending_recv_release += bytes_read
        if self._pending_recv_release >= self._grow_threshold():
            await AS_SHIPPED(self)

    YamuxStream._auto_tune_and_send_window_update = by_the_half_window

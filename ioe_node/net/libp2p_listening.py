"""Where to listen: addresses read and checked before libp2p takes them."""

import socket
from collections.abc import Sequence

from multiaddr import Multiaddr

from ioe_node.errors import ConfigError


def parse_listen(listen: str | Sequence[str]) -> list[Multiaddr]:
    """The multiaddrs of their texts; raises `ConfigError`."""
    texts = [listen] if isinstance(listen, str) else list(listen)
    try:
        return [Multiaddr(text) for text in texts]
    except Exception as error:
        raise ConfigError(f"{texts} are not listening addresses like /ip4/../tcp/..") from error


def check_free(address: Multiaddr) -> None:
    """Raise `ConfigError` for a port that another process listens on.

    libp2p listens with SO_REUSEPORT and would share it: peers would reach either at random.
    """
    try:
        where = (address.value_for_protocol("ip4"), int(address.value_for_protocol("tcp")))
    except Exception:
        return  # no TCP over IPv4, or not to be known before listening
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(where)
        except OSError as error:
            raise ConfigError(f"cannot listen on {address}: {error.strerror}") from None

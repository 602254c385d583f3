"""Where to listen: addresses read and checked before libp2p takes them.

`/ip4/../tcp/N` is TCP, `/ip4/../tcp/N/ws` is WebSocket.  Other transports of libp2p's are refused:
its QUIC cuts answers short, and a WebSocket over TLS wants a certificate that a device has not.
"""

import socket
from collections.abc import Sequence

from libp2p.utils.address_validation import expand_wildcard_address
from multiaddr import Multiaddr

from ioe_node.errors import ConfigError


def parse_listen(listen: str | Sequence[str]) -> list[Multiaddr]:
    """The multiaddrs of their texts; raises `ConfigError`."""
    texts = [listen] if isinstance(listen, str) else list(listen)
    try:
        addresses = [Multiaddr(text) for text in texts]
        known = all(_protocols(each)[1:] in (["tcp"], ["tcp", "ws"]) for each in addresses)
    except Exception as error:
        raise ConfigError(_NOT_LISTENING.format(texts)) from error
    if not known:
        raise ConfigError(_NOT_LISTENING.format(texts))
    return addresses


_NOT_LISTENING = "{} are not listening addresses like /ip4/../tcp/.. or /ip4/../tcp/../ws"


def _protocols(address: Multiaddr) -> list[str]:
    return [protocol.name for protocol in address.protocols()]


def concrete(bound: Multiaddr) -> list[str]:
    """Where an address that we listen on can be dialled: a wildcard is each interface's.

    libp2p's own expansion forgets that an address was a WebSocket's.
    """
    ending = "/ws" if _protocols(bound)[-1] == "ws" else ""
    return [f"{each}{ending}" for each in expand_wildcard_address(bound)]


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

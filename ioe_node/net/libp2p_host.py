"""Making a py-libp2p host: TCP or WebSocket, Noise and Yamux, and nothing of its own accord.

Which of the two carries a connection is in its address: `/ip4/../tcp/N` or `/ip4/../tcp/N/ws`.
"""

import logging
from typing import Any

from libp2p import new_host
from libp2p.crypto import ed25519, x25519
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.network.connection import swarm_connection
from libp2p.rcmgr import new_resource_manager
from libp2p.security.noise import transport as noise

CONNECTIONS_PER_PEER_MAX = 4
STREAM_DEADLINE_S = 5.0
NEVER_S = 1e9


def _connection_config(connections_max: int) -> ConnectionConfig:
    """No connections of libp2p's own choosing.

    Dead ones are found by requests that get no answer.  libp2p's own pings open a stream each:
    with 30 idle nodes they took a third of two cores.
    """
    return ConnectionConfig(
        max_connections=connections_max,
        high_watermark=connections_max,
        max_connections_per_peer=CONNECTIONS_PER_PEER_MAX,
        min_connections=0,
        low_watermark=0,
        auto_connect_interval=NEVER_S,
        inbound_upgrade_timeout=STREAM_DEADLINE_S,
        outbound_upgrade_timeout=STREAM_DEADLINE_S,
        inbound_stream_protocol_negotiation_timeout=STREAM_DEADLINE_S,
        outbound_stream_protocol_negotiation_timeout=STREAM_DEADLINE_S,
        enable_health_monitoring=False,
    )


def quiet_libp2p() -> None:
    """Its expected failures are logged with tracebacks, and some on the root logger."""
    logging.getLogger("libp2p").setLevel(logging.CRITICAL)
    logging.getLogger("libp2p.network.auto_connector").setLevel(logging.CRITICAL)
    swarm_connection.logging = logging.getLogger(swarm_connection.__name__)


def build_host(seed32: bytes, connections_max: int) -> Any:
    """A host with this Ed25519 seed's key that dials nobody by itself."""
    key_pair = ed25519.create_new_key_pair(seed32)
    session_key = x25519.create_new_key_pair().private_key
    host = new_host(
        key_pair=key_pair,
        # Noise only: the default would also accept peers that speak plaintext.
        sec_opt={noise.PROTOCOL_ID: noise.Transport(key_pair, noise_privkey=session_key)},
        muxer_preference="YAMUX",
        enable_websocket=True,
        connection_config=_connection_config(connections_max),
        resource_manager=new_resource_manager(
            enable_circuit_breaker=False, enable_graceful_degradation=False
        ),
    )
    host.get_network().retry_config = RetryConfig(max_retries=0)
    return host

"""The weights of the config as the reputation zome takes them."""

from typing import Any

from ioe_node.config import Reputation
from ioe_node.errors import ConfigError, Malformed
from ioe_node.model.hashes import AGENT, from_text


def weights_of(config: Reputation, where: str) -> dict[str, Any]:
    """A `[reputation]` table as the zome takes it; raises `ConfigError` that names `where`."""
    issuers = []
    for key, points in config.issuers.items():
        try:
            issuers.append({"issuer": from_text(key, AGENT), "points": points})
        except Malformed:
            raise ConfigError(
                f"{where}: reputation.issuers: '{key[:60]}' is no agent key"
            ) from None
    return {
        "uptime": config.uptime,
        "settlement": config.settlement,
        "credential": config.credential,
        "warrant": config.warrant,
        "issuers": issuers,
    }

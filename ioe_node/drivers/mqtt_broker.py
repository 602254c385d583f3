"""Where an MQTT broker is, as a config or an option says it.

Apart from the connection, because a config is checked where nothing is ever connected to, and
what connects takes long to import.
"""

import re
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from ioe_node.errors import ConfigError

PORTS = {"mqtt": 1883, "mqtts": 8883}
_HOST = re.compile(r"[\w.:%-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Broker:
    """Where it is and how it is met; `ca_file` is needed where no public CA vouches for it."""

    host: str
    port: int
    tls: bool = False
    user: str = ""
    password: str | None = None
    ca_file: str | None = None

    @property
    def name(self) -> str:
        """For messages."""
        return f"broker {f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def parse_broker(
    url: str, user: str = "", password_file: str | None = None, ca_file: str | None = None
) -> Broker:
    """A broker by `mqtt://host[:port]`, or `mqtts://` with TLS; ConfigError names the option."""
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname or "", parts.port
        host.encode("idna")  # refuses a label that no name server could look up
    except ValueError:
        host, port, parts = "", None, urllib.parse.urlsplit("")
    extra = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme not in PORTS or not _HOST.fullmatch(host) or extra:
        raise ConfigError(
            f"broker: {url!r} is not of the form mqtt://192.168.1.5, or mqtts://name:8883 for TLS "
            "(the user goes into `user`, the password into a file)"
        )
    password = None
    if password_file is not None:
        try:
            password = Path(password_file).expanduser().read_text("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as refusal:
            raise ConfigError(f"password_file: {refusal}") from None
    if password is not None and not user:
        raise ConfigError("password_file: a password goes with a `user`")
    if ca_file is not None and not Path(ca_file).expanduser().is_file():
        raise ConfigError(f"ca_file: there is no file {ca_file}")
    return Broker(
        host, port or PORTS[parts.scheme], parts.scheme == "mqtts", user, password, ca_file
    )

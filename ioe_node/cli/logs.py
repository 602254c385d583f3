"""What a running node logs, and how: lines for people, or JSON objects for a collector."""

import json
import logging
from datetime import UTC, datetime
from typing import Literal

Level = Literal["debug", "info", "warning", "error"]
LEVELS: tuple[Level, ...] = ("debug", "info", "warning", "error")
NOISY = ("libp2p", "trio-websocket", "zeroconf", "httpx", "httpcore")
"""They log each connection that fails, which is everyday life here."""


class JsonLines(logging.Formatter):
    """One object a line: `at` (RFC 3339, UTC), `level`, `logger`, `text`, and `error` if any."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        said = {"at": at, "level": record.levelname.lower(), "logger": record.name}
        said["text"] = record.getMessage()
        if record.exc_info:
            said["error"] = self.formatException(record.exc_info)
        return json.dumps(said, ensure_ascii=False)


def log_to_stderr(level: Level, as_json: bool) -> None:
    """Begin to log; with "debug" the libraries' own words, too."""
    handler = logging.StreamHandler()
    if as_json:
        handler.setFormatter(JsonLines())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    if level != "debug":
        for name in NOISY:
            logging.getLogger(name).setLevel(logging.CRITICAL)

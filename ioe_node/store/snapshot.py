"""A whole copy of a database while its node goes on writing to it."""

import sqlite3
from contextlib import closing
from pathlib import Path

from ioe_node.errors import StoreError

PAGES_A_STEP = 4_096
"""Between two steps whoever writes to it gets its turn."""


def snapshot(source: Path, target: Path) -> None:
    """Copy the database at `source`, as it stands at one moment, to a new file."""
    try:
        with (
            closing(sqlite3.connect(source.absolute().as_uri() + "?mode=ro", uri=True)) as read,
            closing(sqlite3.connect(target)) as write,
        ):
            read.backup(write, pages=PAGES_A_STEP)
    except sqlite3.Error as error:
        raise StoreError(f"cannot copy {source}: {error}") from None

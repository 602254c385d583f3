"""Parquet, by pyarrow (the extra `parquet`): one row a point, in exact integers.

Columns: `start` and `end` (timestamps, UTC), `import_milli_wh`, `export_milli_wh`, `estimated`.
"""

from collections.abc import Sequence
from pathlib import Path

from ioe_node.errors import LocalError
from ioe_node.history.point import Point


def write_parquet(path: Path, points: Sequence[Point]) -> None:
    """Write points; raises `LocalError` where pyarrow is not installed."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise LocalError("Parquet files need pyarrow: pip install 'ioe-node[parquet]'") from None
    instant = pyarrow.timestamp("us", tz="UTC")
    types = (instant, instant, pyarrow.int64(), pyarrow.int64(), pyarrow.bool_())
    names = ("start", "end", *Point._fields[2:])
    columns = [
        pyarrow.array([each[place] for each in points], kind) for place, kind in enumerate(types)
    ]
    parquet.write_table(pyarrow.table(columns, names=names), path)

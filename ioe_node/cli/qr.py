"""QR codes, for a terminal and as a picture."""

from itertools import zip_longest
from pathlib import Path

import segno

BORDER_MODULES = 4
PIXELS_PER_MODULE = 8
# A terminal's ground is dark as a rule, so what is light in a code is drawn.
_HALVES = {(0, 0): "█", (0, 1): "▀", (1, 0): "▄", (1, 1): " "}


def qr_text(content: str) -> str:
    """A QR code in half blocks, two rows of it a line."""
    rows = [list(row) for row in _code(content).matrix_iter(border=BORDER_MODULES)]
    return "\n".join(
        "".join(_HALVES[upper, lower] for upper, lower in zip(*pair, strict=True))
        for pair in zip_longest(rows[::2], rows[1::2], fillvalue=[0] * len(rows[0]))
    )


def qr_png(content: str, path: Path) -> None:
    """Write a QR code as a PNG file."""
    _code(content).save(str(path), kind="png", scale=PIXELS_PER_MODULE, border=BORDER_MODULES)


def _code(content: str) -> segno.QRCode:
    return segno.make_qr(content, error="m")

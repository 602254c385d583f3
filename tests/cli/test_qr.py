"""QR codes: what is drawn is the code's own matrix, the right way round."""

import struct
from pathlib import Path

import segno

from ioe_node.cli.qr import BORDER_MODULES, PIXELS_PER_MODULE, qr_png, qr_text

LINE = "ioe:claim?device=uhCAkWCsAgoKkkfwyJAglj30xX_GLLV-3BXuFy436a2SqpcEwyBzm&code=1234-5678"
DARK = {"█": (0, 0), "▀": (0, 1), "▄": (1, 0), " ": (1, 1)}


def test_the_text_is_the_code_in_half_blocks() -> None:
    matrix = [list(row) for row in segno.make_qr(LINE, error="m").matrix_iter(border=4)]
    shown = qr_text(LINE).splitlines()
    rows = [[DARK[char][half] for char in line] for line in shown for half in (0, 1)]
    assert rows[: len(matrix)] == matrix
    assert rows[len(matrix) :] == [[0] * len(matrix)], "a last half line is light"
    assert len(shown) <= 25, "it fits on a terminal of 80 by 25"


def test_the_picture_is_a_png_of_its_size(tmp_path: Path) -> None:
    path = tmp_path / "sticker.png"
    qr_png(LINE, path)
    data = path.read_bytes()
    modules = segno.make_qr(LINE, error="m").symbol_size(border=BORDER_MODULES)[0]
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", data[16:24]) == (modules * PIXELS_PER_MODULE,) * 2

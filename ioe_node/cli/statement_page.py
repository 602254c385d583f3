"""A statement as one HTML page, to be opened, printed or kept as a PDF.

It loads nothing and runs nothing, and whatever it shows is escaped: others may have written it.
"""

from collections.abc import Sequence
from html import escape

STYLE = """
body { font: 11pt/1.4 sans-serif; margin: 2em; color: #111; background: #fff }
table { border-collapse: collapse; width: 100% }
th, td { padding: .3em .6em; border-bottom: 1px solid #bbb; text-align: right }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere }
@page { size: A4; margin: 15mm }
@media print { body { margin: 0 } tr { break-inside: avoid } thead { display: table-header-group } }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page_of(
    month: str, columns: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str]
) -> str:
    """The page of one member, a figure a line; of several, a member a line."""
    single = len(rows) == 1
    body: list[Sequence[str]] = list(zip(columns, rows[0], strict=True)) if single else [*rows]
    title = f"Energy statement {escape(month)}"
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        f"<title>{title}</title><style>{STYLE}</style></head>",
        f"<body><h1>{title}</h1><table>",
        "" if single else f"<thead>{_row('th', columns)}</thead>",
        "<tbody>",
        *(_row("td", row) for row in body),
        "</tbody></table>",
        *(f"<p>{escape(note)}</p>" for note in notes),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _row(cell: str, texts: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{cell}>{escape(text)}</{cell}>" for text in texts) + "</tr>"

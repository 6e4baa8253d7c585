"""Names from traces, made safe to show: span and service names are hostile input.

A name may hold markup, quotes, line breaks, escape sequences, marks that turn the writing direction,
or ten thousand letters.  Here it becomes one line of printable text; escaping for a format is the
format's own job, done where it is written.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any, Final

from tracescope.visible import line

#: Letters of a name in a drawing; exports that other programs read keep whole names.
SHOWN: Final = 40
#: Letters of a name in exports.
KEPT: Final = 512
#: What a spreadsheet takes for the beginning of a formula, fullwidth forms too.
_FORMULA: Final = tuple("=+-@＝＋－＠")
#: What Markdown would read as emphasis, code, a link, a tag, a table's rule or an entity.
_MARKUP: Final = re.compile(
    r"[\\`*\[\]<>|]|(?<![^\W_])_|_(?![^\W_])|~(?=\S)|(?<=\S)~|&(?=[#\w])|(?<=\w):(?=//)|(?<=www)\."
)


def one_line(name: str, limit: int = KEPT) -> str:
    """`name` as one line of at most `limit` visible characters; what cannot be seen becomes ``·``."""
    clean = line(name[: limit + 1])
    return clean if len(name) <= limit else clean[: limit - 1] + "…"


def shortened(name: str, limit: int = SHOWN) -> str:
    """`name` with its middle cut: both ends distinguish services and databases."""
    clean = one_line(name, max(len(name), 1)) if len(name) <= KEPT else one_line(name)
    if len(clean) <= limit:
        return clean
    tail = (limit - 1) // 2
    return f"{clean[: limit - 1 - tail]}…{clean[len(clean) - tail :]}"


def escaped(text: str) -> str:
    """`text` for XML and HTML, in content and in attributes."""
    for raw, safe in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&#39;")):
        text = text.replace(raw, safe)
    return text


def markdown(text: str) -> str:
    """`text` for Markdown, inline and in a table's cell: no name makes a link, a tag or a column.

    Source: CommonMark 0.31, section 2.4 (backslash escapes); GitHub Flavored Markdown, sections 4.10
    (tables) and 6.9 (bare addresses become links).
    """
    return _MARKUP.sub(r"\\\g<0>", line(text))


def csv_cell(value: Any) -> Any:
    """A value for a row of CSV: numbers as they are, a text that a spreadsheet would run after a ``'``.

    Source: OWASP, CSV Injection.
    """
    if not isinstance(value, str):
        return "" if value is None else value
    text = one_line(value)
    runs = value.startswith(("\t", "\r", "\n")) or text.lstrip().startswith(_FORMULA)
    return f"'{text}" if runs else text


def text_width(text: str, size: float) -> float:
    """Room that a sans-serif line of this size needs, in px; near, for there is no font here to ask."""
    ems = 0.0
    for char in text:
        if unicodedata.east_asian_width(char) in "WF":
            ems += 1.05
        elif char in "il.,:;'|!jItfr()[]{}/ ":
            ems += 0.34
        elif char in "mwMW@%" or char.isupper():
            ems += 0.74
        else:
            ems += 0.57
    return ems * size

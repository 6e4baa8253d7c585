"""Names from traces, made safe to show: span and service names are hostile input.

A name may hold markup, quotes, line breaks, escape sequences, marks that turn the writing direction,
or ten thousand letters.  Here it becomes one line of printable text; escaping for a format is the
format's own job, done where it is written.
"""

from __future__ import annotations

import unicodedata
from typing import Final

#: Letters of a name in a drawing; exports that other programs read keep whole names.
SHOWN: Final = 40
#: Letters of a name in exports.
KEPT: Final = 512
#: Control, format (direction marks, joiners), surrogate, private, unassigned; separators of lines.
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def one_line(name: str, limit: int = KEPT) -> str:
    """`name` as one line of at most `limit` visible characters; what cannot be seen becomes ``·``."""
    head = name[: limit + 1]
    clean = "".join(
        " " if char in "\t\n\r" else "·" if unicodedata.category(char) in _UNSEEN else char for char in head
    )
    return clean if len(name) <= limit else clean[: limit - 1] + "…"


def shortened(name: str, limit: int = SHOWN) -> str:
    """`name` shortened in the middle: both ends tell services and databases apart."""
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

"""What somebody may have meant: names near one that is not there, for the hint of an error."""

from __future__ import annotations

from collections.abc import Iterable

#: Suggestions at most, and how similar they must be, of 0 to 1.
MOST = 3
SIMILARITY = 0.6


def near(typed: str, known: Iterable[str], most: int = MOST) -> list[str]:
    """Names that are nearly what was typed, the nearest first; letters count whatever their case."""
    from difflib import get_close_matches  # most calls of a program never need it

    by_folded: dict[str, str] = {}
    for name in known:
        by_folded.setdefault(name.casefold(), name)
    found = get_close_matches(typed.casefold(), by_folded, most, SIMILARITY)
    return [by_folded[name] for name in found]


def suggestion(typed: str, known: Iterable[str], otherwise: str) -> str:
    """``did you mean 'a' or 'b'?``, or what to say where nothing is near."""
    found = near(typed, known)
    return f"did you mean {' or '.join(repr(name) for name in found)}?" if found else otherwise

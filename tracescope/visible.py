"""Text that may leave: nothing in it moves a cursor, turns the writing direction or hides.

Names of spans, services, attributes, environments, versions and marks are hostile input.  Terminals obey
control bytes, editors and browsers obey direction marks, and what has no width cannot be read.  What is
unseen is one set of characters for every surface; each surface only chooses what stands in its place.

Source: Unicode Standard, general categories (chapter 4.5); ECMA-48 (control functions); Unicode
Technical Report 36, section 3.7 (hidden characters); RFC 8259, section 7 (escapes of JSON).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, Final, TypeVar

T = TypeVar("T")

#: Control, format (direction marks, joiners), surrogate, private, unassigned; separators of lines.
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_BLANKS: Final = "\t\n\r"
#: Stands for what cannot be seen.
DOT: Final = "·"


def _unseen(text: str) -> list[str]:
    """Each character of `text` that cannot be seen, once."""
    if text.isprintable():
        return []
    return [char for char in set(text) if unicodedata.category(char) in _UNSEEN]


def _stands_for(char: str) -> str:
    return " " if char in _BLANKS else DOT


def line(text: str) -> str:
    """`text` as one line: line breaks and tabs become blanks, what cannot be seen ``·``."""
    unseen = _unseen(text)
    return text.translate({ord(char): _stands_for(char) for char in unseen}) if unseen else text


def lines(text: str) -> str:
    """The same for text of several lines, whose breaks are its author's and stay."""
    return text.translate({ord(char): _stands_for(char) for char in _unseen(text) if char != "\n"})


def json_text(text: str) -> str:
    r"""A JSON document whose strings hold the same values, with what cannot be seen as ``\uXXXX``.

    Outside of strings JSON has line breaks only, so every other unseen character stands in a string.
    """
    return text.translate({ord(char): _escape(char) for char in _unseen(text) if char not in _BLANKS})


def _escape(char: str) -> str:
    data = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{data[at : at + 2].hex()}" for at in range(0, len(data), 2))


def visible(value: T) -> T:
    """`value` with every text in it as one `line`, in dataclasses, mappings, lists and tuples.

    What needs no change is given back as it is.
    """
    return _walk(value)


def _walk(value: Any) -> Any:
    if isinstance(value, str):
        return line(value)
    if isinstance(value, Mapping):
        made = {_walk(name): _walk(each) for name, each in value.items()}
        return value if all(name in made and made[name] is each for name, each in value.items()) else made
    if isinstance(value, list | tuple):
        parts = [_walk(each) for each in value]
        if all(new is old for new, old in zip(parts, value, strict=True)):
            return value
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if is_dataclass(value) and not isinstance(value, type):
        changed = {
            field.name: new
            for field in fields(value)
            if field.init and (new := _walk(old := getattr(value, field.name))) is not old
        }
        return replace(value, **changed) if changed else value
    return value

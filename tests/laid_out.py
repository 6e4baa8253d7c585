"""JSON text of one document in many layouts: spaces anywhere, members in any order, escapes or characters."""

from __future__ import annotations

import json
import random
from typing import Any

SPACES = ("", "", "", " ", "\n", "\t", "\r\n", "  ")
SHORT = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


class Text(str):
    """A string whose characters may be escaped."""

    __slots__ = ()


class Number(str):
    """The text of a number, written as it is."""

    __slots__ = ()


def quoted(text: str, rng: random.Random, escapes: float) -> str:
    """A string's text; what may be escaped is so with a chance, what must be always."""
    out: list[str] = []
    for letter in text:
        chance = rng.random()
        if letter in SHORT and chance < 0.7:
            out.append(SHORT[letter])
        elif letter == "/" and chance < escapes:
            out.append("\\/")
        elif letter in SHORT or letter < " " or chance < escapes:
            units = letter.encode("utf-16-be")
            hexes = [units[k : k + 2].hex() for k in range(0, len(units), 2)]
            out += [f"\\u{one.upper() if chance < escapes / 2 else one}" for one in hexes]
        else:
            out.append(letter)
    return '"' + "".join(out) + '"'


def laid_out(node: Any, rng: random.Random, escapes: float = 0.0) -> str:
    """The text of a document; `escapes` is the chance that a character of a `Text` is escaped."""

    def space() -> str:
        return rng.choice(SPACES)

    if isinstance(node, dict):
        members = list(node.items())
        rng.shuffle(members)
        each = [
            f"{space()}{json.dumps(key)}{space()}:{space()}{laid_out(value, rng, escapes)}{space()}"
            for key, value in members
        ]
        return "{" + (",".join(each) or space()) + "}"
    if isinstance(node, list):
        each = [f"{space()}{laid_out(item, rng, escapes)}{space()}" for item in node]
        return "[" + (",".join(each) or space()) + "]"
    if isinstance(node, Number):
        return str(node)
    return quoted(node, rng, escapes) if isinstance(node, Text) else json.dumps(node, ensure_ascii=False)


def damaged(text: bytes, rng: random.Random, most: int = 2) -> bytes:
    """A text with bytes changed, cut out, doubled or put in at up to `most` places."""
    out = bytearray(text)
    for _ in range(rng.randint(1, most)):
        at = rng.randrange(len(out))
        match rng.randrange(5):
            case 0:
                out[at] = rng.choice(b'{}[]",:\\ue0-.1\x00\x1f\x80n ')
            case 1:
                del out[at : at + rng.randrange(1, 12)]
            case 2:
                out[at:at] = out[at : at + rng.randrange(1, 30)]
            case 3:
                del out[at:]
            case _:
                out[at:at] = rng.choice(
                    (b"null", b'"', b"1e5", b"\\u0041", b"\\ud800", b" ", b"{}", b"-", b",")
                )
        out = out or bytearray(b" ")
    return bytes(out)


def cases(table: str) -> dict[str, list[tuple[str, bool]]]:
    """By member: its texts, and whether each is plain, from a table of lines; ␟ is a control character."""
    out: dict[str, list[tuple[str, bool]]] = {}
    for line in table.strip().splitlines():
        if not line.startswith(" "):
            out[line] = []
            continue
        sign, text = line.split(maxsplit=1)
        out[[*out][-1]].append((text.replace("␟", "\x1f"), sign == "+"))
    return out

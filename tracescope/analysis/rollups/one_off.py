"""Names that are used once: operations whose texts hold literals that no rule knows, such as ``greet jane``.

    greet jane     ┐                       one shape: the same separators, the same number of words
    greet ruth     ├─►  greet {id}         a word that takes many values there is a literal
    greet ...      ┘

Told from a whole hour's names of one service, as a set: order, slices and machines do not matter.  Names
that are called again and again are no literals, however many there are; those are capped, not collapsed.

Source: He et al., "Drain: An Online Log Parsing Approach with Fixed Depth Tree", ICWS 2017 (a log line's
template keeps the words that its group shares).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

#: Names of one shape that are looked at, and the part of them that must be called this often at most.
FEWEST_NAMES: Final = 50
ONE_OFF_PART: Final = 0.9
MOST_CALLS: Final = 2
#: What stands for a literal, as in names that rules template.
LITERAL: Final = "{id}"

_WORDS: Final = re.compile(r"[^\W_]+(?:[-'][^\W_]+)*|\{[^{}]*\}")


def templates(calls: Mapping[str, float], fewest: int = FEWEST_NAMES) -> dict[str, str]:
    """New name of every name that holds a literal.

    Parameters
    ----------
    calls
        Calls by name, of one service and hour.
    fewest
        Names of one shape below which none is collapsed.
    """
    shapes: dict[tuple[str, ...], list[tuple[str, list[str]]]] = {}
    for name in sorted(calls):
        shapes.setdefault(tuple(_WORDS.split(name)), []).append((name, _WORDS.findall(name)))
    out: dict[str, str] = {}
    for separators, group in shapes.items():
        if len(group) < fewest or len(separators) < 2:
            continue
        for name, made in _collapsed(separators, group, calls, fewest).items():
            if made != name:
                out[name] = made
    return out


def _collapsed(
    separators: tuple[str, ...],
    group: list[tuple[str, list[str]]],
    calls: Mapping[str, float],
    fewest: int,
) -> dict[str, str]:
    """Names of one shape with the words that vary beyond `fewest` left out, where nearly all are one-off.

    Words that take fewer values stay apart: ``greet`` and ``dismiss`` are two operations.
    """
    varied = [len({words[at] for _, words in group}) >= fewest for at in range(len(separators) - 1)]
    alike: dict[tuple[str, ...], list[str]] = {}
    for name, words in group:
        kept = tuple(LITERAL if varies else word for word, varies in zip(words, varied, strict=True))
        alike.setdefault(kept, []).append(name)
    out: dict[str, str] = {}
    for kept, names in alike.items():
        rare = sum(calls[name] <= MOST_CALLS for name in names)
        if len(names) >= fewest and rare >= ONE_OFF_PART * len(names):
            made = "".join(part for pair in zip(separators, (*kept, ""), strict=True) for part in pair)
            out |= dict.fromkeys(names, made)
    return out

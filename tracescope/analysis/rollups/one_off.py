"""Names that are used once: operations whose texts hold literals that no rule knows, such as ``greet jane``.

    greet jane     ┐                       one shape: the same separators, the same number of words
    greet ruth     ├─►  greet {id}         a word that takes many values there is a literal
    greet ...      ┘

Told from all names of one service, as a set, in an hour that is sealed and in periods that are read
(`tracescope.analysis.rollups.renaming`): order, slices and machines do not matter.  Names that are called
again and again are no literals, however many there are; those are capped, not collapsed.

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
#: A name among them that is called more often than this, and is this part of all their calls, is no literal.
LEFT_ALONE_CALLS: Final = 10
LEFT_ALONE_PART: Final = 0.05
#: Of sentences fewer names tell enough: routes, methods and statements are never written with spaces alone.
FEWEST_SENTENCES: Final = 20
#: What stands for a literal, as in names that rules template.
LITERAL: Final = "{id}"

_WORDS: Final = re.compile(r"[^\W_]+(?:[-'][^\W_]+)*|\{[^{}]*\}")
#: What conventions begin names with that only look like sentences: a method, a statement's verb, what is done
#: to a message or a model; what follows is a route, a table, a destination, a task.
_SAYS_KIND: Final = frozenset((
    "HEAD", "PUT", "POST", "PATCH", "OPTIONS", "CONNECT", "TRACE", "HTTP", "QUERY", "MUTATION",
    "SUBSCRIPTION", "SEND", "PRODUCE", "CONSUME", "RECEIVE", "PROCESS", "POLL", "SETTLE", "ACK", "NACK",
    "ENQUEUE", "DEQUEUE", "PERFORM", "RUN", "TASK", "JOB", "INVOKE", "CHAT", "EMBEDDINGS", "COMPLETION",
    "TOOL",
))  # fmt: skip


def templates(
    calls: Mapping[str, float], fewest: int = FEWEST_NAMES, sentences: int = FEWEST_SENTENCES
) -> dict[str, str]:
    """New name of every name that holds a literal.

    Parameters
    ----------
    calls
        Calls by name, of one service, in an hour or in all that is compared.
    fewest, sentences
        Names of one shape below which none is collapsed; where they are sentences that share a word.
    """
    shapes: dict[tuple[str, ...], list[tuple[str, list[str]]]] = {}
    for name in sorted(calls):
        shapes.setdefault(tuple(_WORDS.split(name)), []).append((name, _WORDS.findall(name)))
    out: dict[str, str] = {}
    for separators, group in shapes.items():
        if len(separators) < 2:
            continue
        found = _collapsed(separators, group, calls, fewest)
        rest = [
            (name, words) for name, words in group if name not in found and _is_sentence(separators, words)
        ]
        if sentences < fewest:
            found |= _collapsed(separators, rest, calls, sentences, shared=True)
        out |= {name: made for name, made in found.items() if made != name}
    return out


def _is_sentence(separators: tuple[str, ...], words: list[str]) -> bool:
    """Whether a name is words with spaces between, and does not begin as conventions have names begin."""
    from tracescope.conventions.operations import COMMANDS  # whose patterns take long to compile

    return (
        len(words) > 1
        and all(part.isspace() for part in separators[1:-1])
        and not separators[0]
        and words[0].upper() not in _SAYS_KIND | COMMANDS
    )


def _collapsed(
    separators: tuple[str, ...],
    group: list[tuple[str, list[str]]],
    calls: Mapping[str, float],
    fewest: int,
    *,
    shared: bool = False,
) -> dict[str, str]:
    """Names of one shape with the words that vary beyond `fewest` left out, where nearly all are one-off.

    Words that take fewer values stay apart: ``greet`` and ``dismiss`` are two operations.  Where `shared`,
    only names that keep a word.
    """
    if len(group) < fewest:
        return {}
    varied = [len({words[at] for _, words in group}) >= fewest for at in range(len(separators) - 1)]
    if shared and all(varied):
        return {}
    alike: dict[tuple[str, ...], list[str]] = {}
    for name, words in group:
        kept = tuple(LITERAL if varies else word for word, varies in zip(words, varied, strict=True))
        alike.setdefault(kept, []).append(name)
    out: dict[str, str] = {}
    for kept, names in alike.items():
        rare = sum(calls[name] <= MOST_CALLS for name in names)
        if len(names) >= fewest and rare >= ONE_OFF_PART * len(names):
            made = "".join(part for pair in zip(separators, (*kept, ""), strict=True) for part in pair)
            most = max(LEFT_ALONE_CALLS, LEFT_ALONE_PART * sum(calls[name] for name in names))
            out |= {name: made for name in names if calls[name] <= most}
    return out

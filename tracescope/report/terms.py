"""Definitions at hand: a word of the glossary as a button that shows what it means, without a script.

    {{ 'headroom'|term }}          headroom ─► popover with the glossary's sentence
    {{ 'wall'|term('the wall') }}  other words for it

The popovers that a page needs are put at its end once, by `with_definitions`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from markupsafe import Markup, escape

from tracescope import docs

_REFERENCED: Final = re.compile(r'popovertarget="term-([a-z0-9-]+)"')


@lru_cache(maxsize=1)
def _known() -> dict[str, tuple[str, str]]:
    """Anchor of a word -> the word and its meaning; ``base, head`` is two words with one meaning."""
    found: dict[str, tuple[str, str]] = {}
    for words, meaning in docs.glossary().items():
        for word in words.split(","):
            found[_anchor(word)] = word.strip(), meaning
    return found


def _anchor(word: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", word.strip().lower()).strip("-")


def term(word: str, shown: str = "") -> Markup:
    """A word of the glossary with its definition at hand.

    Raises
    ------
    KeyError
        The glossary does not have it: templates may use its words only.
    """
    name = _anchor(word)
    _known()[name]
    return Markup(
        f'<button type="button" class="term" popovertarget="term-{name}">{escape(shown or word)}</button>'
    )


def with_definitions(html: str) -> str:
    """A page with the definitions of the words it offers, at the end of its body."""
    names = list(dict.fromkeys(_REFERENCED.findall(html)))
    if not names:
        return html
    parts = [_definition(name) for name in names]
    body, end, rest = html.rpartition("</body>")
    return "".join([body, *parts, end, rest])


def _definition(name: str) -> str:
    word, meaning = _known()[name]
    return (
        f'<div popover class="meaning" id="term-{name}" role="note"><b>{escape(word)}</b> '
        f"{escape(meaning)}</div>"
    )

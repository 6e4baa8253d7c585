"""Search over what the periods have: services, edges, operations, entries, and traces by their id."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

from tracescope.near import near
from tracescope.session import Answers, entry_digits
from tracescope.web.view import View

#: Found at most; trace ids are looked for from so many digits on.
MOST: Final = 60
_TRACE_DIGITS: Final = 8
Match = tuple[str, str, str]


def search(answers: Answers, view: View) -> dict[str, Any]:
    """What has the words in its name, with the page that shows it."""
    words, plain = view.q.split(), replace(view, q="")
    report = answers.report()
    services = sorted({end for edge in report.edges for end in (edge.caller, edge.callee) if end})
    found: list[Match] = [*_traces(answers, view)]
    found += [("service", name, _service(view, name)) for name in services if _has(words, name)]
    found += [
        ("entry", f"{service} {operation}", view.url("/paths", q="", entry=entry_digits(number)))
        for number, service, operation, _ in answers.every_entry()
        if _has(words, f"{service} {operation}")
    ]
    found += [
        ("edge", f"{edge.name} {edge.operation or ''}".strip(), plain.edge_url(edge.key))
        for edge in report.edges
        if _has(words, f"{edge.name} {edge.operation or ''}")
    ]
    alike = [] if found else near(view.q, services)
    return {
        "title": "Search",
        "query": view.q,
        "found": found[:MOST],
        "near": [(name, _service(view, name)) for name in alike],
    }


def _service(view: View, name: str) -> str:
    return view.url(f"/service/{quote(name, safe='')}", q="")


def _has(words: Sequence[str], name: str) -> bool:
    return bool(words) and all(word.casefold() in name.casefold() for word in words)


def _traces(answers: Answers, view: View) -> list[Match]:
    """Traces whose id begins so: of the examples, or the one with the whole id."""
    digits = view.q.strip().lower()
    if not re.fullmatch(rf"[0-9a-f]{{{_TRACE_DIGITS},32}}", digits):
        return []
    known = dict.fromkeys(
        one.trace_id for one in answers.examples(None, 200) if one.trace_id.startswith(digits)
    )
    if len(digits) == 32:
        known.setdefault(digits)
    return [("trace", trace_id, view.url(f"/trace/{trace_id}", q="")) for trace_id in known]

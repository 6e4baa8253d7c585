"""Which periods a page compares, and what it offers instead: presets, a calendar, marks and deploys.

now compared ─► pinned address ─ the period before ─ words ─ days from a calendar ─ before and since a mark
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from tracescope.analysis.report import Report
from tracescope.errors import UsageError
from tracescope.periods import Context, pair
from tracescope.report import iso
from tracescope.report.charts import Event
from tracescope.report.figures import day
from tracescope.report.instants import instants
from tracescope.session import Answers
from tracescope.web.view import View

#: Base and head as words.
PRESETS: Final = (
    ("last week and this week", "last-week", "this-week"),
    ("last month and this month", "last-month", "this-month"),
    ("yesterday and today", "yesterday", "today"),
    ("the last 7 days and the 7 before", "7d", ""),
    ("the last 30 days and the 30 before", "30d", ""),
    ("the two halves of all there is", "all", ""),
)
#: Marks and deploys offered, the newest first.
OFFERED: Final = 8
Values = dict[str, Any]


def bar(answers: Answers, view: View, report: Report, here: str) -> Values:
    """What the bar of periods shows above a page."""
    base, head = report.base, report.head
    length = head.end_ns - head.start_ns
    before = f"{iso(head.start_ns - length)}/{iso(head.start_ns)}"
    pinned = {
        "base": f"{iso(base.start_ns)}/{iso(base.end_ns)}",
        "head": f"{iso(head.start_ns)}/{iso(head.end_ns)}",
    }
    known = answers.session.context(answers.session.store())
    offered = [*PRESETS, ("after, and the equal time before it", before, pinned["head"])]
    presets = [
        (said, view.url(here, base=first, head=last))
        for said, first, last in offered
        if _filled(first, last, known)
    ]
    since = [(event.words, day(event.at_ns), str(iso(event.at_ns))) for event in reversed(events(answers))]
    return {
        "writes": len(answers.session.paths) == 1,  # several stores are only read
        "presets": presets,
        "pinned": view.url(here, **pinned),
        "since": [
            (name, when, view.url(here, base=at, head=""))
            for name, when, at in since
            if _filled(at, "", known)
        ][:OFFERED],
        "days": {
            name: datetime.fromtimestamp(ns // 10**9, UTC).date().isoformat()
            for name, ns in (
                ("base_from", base.start_ns), ("base_to", base.end_ns - 1),
                ("head_from", head.start_ns), ("head_to", head.end_ns - 1),
            )
        },
        "environments": answers.environments(),
    }  # fmt: skip


def _filled(base: str, head: str, known: Context) -> bool:
    """Whether the store may hold something of both periods."""
    return all(
        one.start_ns <= known.last_ns and one.end_ns > known.first_ns
        for one in pair(base, head or None, known)
    )


def events(answers: Answers, *services: str) -> list[Event]:
    """Marks, and deploys of some services or of all, in the order of time."""
    return instants(answers.marks(), answers.deploys(), *services)


def from_days(asked: Mapping[str, str]) -> dict[str, str]:
    """Base and head of four days from a calendar, the last ones included.

    Raises
    ------
    UsageError
        A day is missing or none.
    """
    out: dict[str, str] = {}
    for name in ("base", "head"):
        first, last = (_day_of(asked, f"{name}_{end}") for end in ("from", "to"))
        out[name] = f"{first.isoformat()}/{(last + timedelta(days=1)).isoformat()}"
    return out


def _day_of(asked: Mapping[str, str], name: str) -> date:
    text = asked.get(name, "")
    try:
        found = date.fromisoformat(text)
        return found if found < date.max else found - timedelta(days=1)
    except ValueError as error:
        raise UsageError(f"{name} is {text[:40]!r}, no day", "write days as 2026-08-31") from error

"""The report for an architecture review: one self-contained file of the page's own templates.

No script, no request: it opens from a disk and prints.  The numbers it shows are embedded as JSON.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from markupsafe import Markup

from tracescope.analysis.capacity.forecast import HORIZON_WEEKS, Forecast
from tracescope.analysis.capacity.forecast_verdict import Outlook, entry_states
from tracescope.analysis.comparison.causes import cause_words
from tracescope.analysis.evidence.series import EntryPaths, Series
from tracescope.analysis.explain import sentence
from tracescope.analysis.report import Appeared, Edge, Effect, Report
from tracescope.analysis.topology.backbone import backbone
from tracescope.analysis.topology.findings import findings
from tracescope.analysis.topology.graph import Graph
from tracescope.engine.question import Question
from tracescope.errors import InsufficientDataError
from tracescope.report import charts, diff_json, iso, json_bytes, page, text
from tracescope.report.cards import cards
from tracescope.report.instants import instants
from tracescope.report.svg import Look, Theme, arrange, draw
from tracescope.report.wall import MOST_WALLS, date_of, riskiest, soonest, wall_chart
from tracescope.session import TREND_POINTS, Answers, entry_number
from tracescope.version import __version__

#: Edges that get a page of their own.
MOST_PAGES: Final = 12
#: Causes under this part of the change are not drawn.
TINY: Final = 0.01

#: What to ask of an edge that grew, by its largest cause.
QUESTIONS: Final[Mapping[str, str]] = {
    Effect.CALLS: "Should one request make so many calls, and does the number stop growing?",
    Effect.GROWTH: "What grew with the weeks, and who prunes, indexes or shards it before it doubles?",
    Effect.LOAD: "How much more load may come before it waits for itself, and what is the plan then?",
    Effect.UNSPLIT: "Is it slower because there is more data, or because there is more load?",
    Effect.CRITICALITY: "Which work used to run beside it, and must it now come after?",
    Effect.NEW: "Who decided on this dependency, and what happens to a request when it is down?",
    Effect.GONE: "Was it meant to go?",
}


@dataclass(frozen=True, slots=True)
class Review:
    """Everything the file shows.

    Attributes
    ----------
    report
        The diff, all edges.
    series
        Both periods' series of the edges that grew, in the order of `growing`.
    entry
        Call paths of the entry that grew most; None without one.
    graph
        A picture drawn elsewhere; empty for none.
    forecast
        What comes, and its verdict; None where too little was seen.
    findings
        What the architecture shows, a sentence each.
    command
        What makes this report again.
    generated_ns
        When it was made.
    marks, deploys
        Named instants, and versions that appeared: lines of the charts.
    """

    report: Report
    series: Sequence[tuple[Series, Series]]
    entry: EntryPaths | None
    graph: Markup
    forecast: tuple[Forecast, Outlook] | None
    findings: Sequence[str]
    command: str
    generated_ns: int
    marks: Mapping[str, int]
    deploys: Sequence[Appeared]


def growing(report: Report) -> list[Edge]:
    """Edges that take significantly more time, at most `MOST_PAGES`."""
    return [edge for edge in report.edges if edge.significant and edge.credited_ms > 0][:MOST_PAGES]


def question(edge: Edge) -> str:
    """What a review should ask of an edge that grew."""
    told = {name: value for name, value in edge.effects.items() if name in QUESTIONS and value > 0}
    if not told:
        return ""
    if edge.kind == "queue" and max(told, key=lambda name: told[name]).startswith("latency"):
        return "Does the consumer keep up at the next peak, and who notices when it does not?"
    return QUESTIONS[max(told, key=lambda name: told[name])]


def causes_drawn(edge: Edge) -> Markup:
    """Bars of the causes of an edge's change."""
    return charts.effect_bars(
        [
            (cause_words(name, value), value)
            for name, value in edge.effects.items()
            if name != Effect.TRANSIENT and abs(value) > TINY * abs(edge.credited_ms)
        ]
    )


def _item(edge: Edge, series: tuple[Series, Series], review: Review) -> dict[str, Any]:
    ends = [name for name in (edge.caller, edge.callee) if name is not None]
    return {
        "edge": edge,
        "sentence": sentence(edge),
        "question": question(edge),
        "trend": charts.trend(
            *series,
            title=f"{edge.name}: share over time",
            changes=charts.changes_of(edge),
            events=instants(review.marks, review.deploys, *ends),
        ),
        "effects": causes_drawn(edge),
    }


def review_html(review: Review) -> str:
    """The file."""
    report = review.report
    # "</" would end the script element that holds the data
    data = json_bytes(diff_json(report)).decode().replace("<", "\\u003c")
    entry = review.entry
    return page.render(
        "review.html",
        report=report,
        headline=text.headline(report),
        lead=page.lead(report),
        cards=cards(report),
        growing=[
            {**_item(e, s, review), "number": at}
            for at, (e, s) in enumerate(zip(growing(report), review.series, strict=True), 1)
        ],
        graph=review.graph,
        **_outlook(review),
        findings=review.findings,
        icicle=charts.icicle(entry) if entry is not None else "",
        icicle_title=f"{entry.service} {entry.operation}" if entry is not None else "",
        command=review.command,
        css=Markup(page.asset("tracescope.css")),
        data=Markup(data),
        generated_ns=review.generated_ns,
        version=__version__,
    )


def _outlook(review: Review) -> dict[str, Any]:
    """The forecast as the file shows it: walls that are known, the nearest first, and how many are not."""
    if review.forecast is None:
        return {"forecast": None, "states": {}, "walls": [], "unknown": 0}
    found, outlook = review.forecast
    known = [edge for edge in riskiest(found.edges) if edge.headroom is not None]
    drawn = [
        (
            edge,
            wall_chart(
                edge,
                found.end_ns,
                found.horizon_weeks,
                events=instants(review.marks, review.deploys, edge.caller, edge.callee or edge.caller),
            ),
            date_of(edge, found.end_ns),
        )
        for edge in known[:MOST_WALLS]
    ]
    return {
        "forecast": replace(found, edges=tuple(known), entries=soonest(found.entries)),
        "states": entry_states(outlook.entries),
        "walls": [each for each in drawn if each[1]],
        "unknown": len(found.edges) - len(known),
    }


def review(answers: Answers, command: str, *, theme: Theme = "auto") -> str:
    """The file of a question; its graph follows the reader's theme, or is of one."""
    return review_html(reviewed(answers, command, theme))


def reviewed(answers: Answers, command: str, theme: Theme) -> Review:
    """Everything that a report of a question shows."""
    report = answers.report()
    keys = tuple(found.key for found in growing(report))
    series = answers.series(keys, TREND_POINTS)
    mapped = answers.mapped("dependency")
    return Review(
        report=report,
        series=[series[key] for key in keys],
        entry=answers.grown_entry(),
        graph=_pictured(answers.judged(mapped), theme),
        forecast=_foreseen(answers),
        findings=tuple(finding.text for finding in findings(mapped.graph, mapped.tables)),
        command=command,
        generated_ns=time.time_ns(),
        marks=answers.marks(),
        deploys=answers.deploys(),
    )


def _foreseen(answers: Answers) -> tuple[Forecast, Outlook] | None:
    try:
        return answers.forecast(horizon_weeks=HORIZON_WEEKS)
    except InsufficientDataError:  # the report's periods may say more than its weeks
        return None


def _pictured(whole: Graph, theme: Theme) -> Markup:
    """The backbone as it stands in a file: with its own style sheet, and no links."""
    shown = backbone(whole)
    return Markup(draw(shown, arrange(shown), Look(prefix="review", theme=theme)))


def command_of(answers: Answers, output: str = "review.html") -> str:
    """The command that makes a report again."""
    report, asked = answers.report(), answers.question
    words = [f"{iso(side.start_ns)}/{iso(side.end_ns)}" for side in (report.base, report.head)]
    words += [f"--where {shlex.quote(f'{one.key}={one.value}')}" for one in asked.where]
    entry = asked.entry
    if asked.entry_id:
        entry = next(
            (
                f"^{re.escape(f'{service} {operation}')}$"
                for number, service, operation, _ in answers.entries()
                if number == entry_number(asked.entry_id)
            ),
            entry,
        )
    default = Question()
    flags = {
        "tz": asked.zone,
        "alpha": "" if asked.alpha == default.alpha else f"{asked.alpha:g}",
        "min-effect": "" if asked.min_effect_ms is None else f"{asked.min_effect_ms:g}",
        "env": report.environment,
        "entry": entry,
        "include": asked.include,
        "exclude": asked.exclude,
        "quantile": "" if asked.quantile is None else f"{asked.quantile:g}",
    }
    words += [f"--{name} {shlex.quote(value)}" for name, value in flags.items() if value]
    return f"tracescope report {' '.join(words)} -o {shlex.quote(output)}"

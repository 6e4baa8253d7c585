"""Pages as HTML: one set of templates for the web page and the self-contained report.

Everything is escaped unless it was drawn here; names are cleaned as in `tracescope.report.charts`.
"""

from __future__ import annotations

import re
from functools import lru_cache, partial
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup

from tracescope.analysis.comparison.causes import cause_words
from tracescope.analysis.report import StandingKind
from tracescope.analysis.statistics.blocks import MATCH_FROM_NS
from tracescope.report import carriers, failures, figures, tails, terms, text
from tracescope.report import forecast as outlook
from tracescope.report.charts import shown
from tracescope.schema import HOUR_NS
from tracescope.visible import lines

if TYPE_CHECKING:
    from jinja2 import Environment

    from tracescope.analysis.capacity.forecast import EdgeForecast, EntryForecast, Forecast
    from tracescope.analysis.report import Edge, Extent, Report

_DATE: Final = re.compile(r"\b(\d{1,2}) ([A-Z][a-z]{2}) (\d{4})\b")


def points(edge: Edge) -> float:
    """Change of an edge's share in percentage points."""
    return (edge.share_head - edge.share_base) * 100


def label(edge: Edge) -> str:
    """An edge's ends."""
    return shown(f"{edge.caller} (itself)" if edge.callee is None else f"{edge.caller} → {edge.callee}", 120)


def lead(report: Report) -> str:
    """How much of the change the edges that grew explain, below the headline."""
    clock = report.clock
    part = clock["delta_ms"] / clock["base_ms"] * 100 if clock["base_ms"] else 0.0
    said = (
        f"The mean request takes {text.number(clock['base_ms'])} → {text.number(clock['head_ms'])} ms "
        f"({text.number(part, sign=True)} %)."
    )
    worse = [e for e in report.edges if e.significant and e.credited_ms > 0 and e.unit == "request"]
    adjusted = clock["delta_mix_adjusted_ms"]
    total = sum(edge.credited_ms for edge in worse)
    if worse and adjusted > 0:
        edges = "One edge takes" if len(worse) == 1 else f"{len(worse)} edges take"
        said += f" {edges} {text.number(total, sign=True)} ms more."
    mix = report.effects_total.get("mix", 0.0)
    if abs(mix) >= 0.05 * max(abs(clock["delta_ms"]), 1e-9):
        said += f" {text.number(mix, sign=True)} ms is a shift of traffic between entries, nobody's fault."
    return said


def is_uncertain(edge: Edge) -> bool:
    """Whether a change is not told from chance: its estimate is shown, and stands back."""
    return edge.standing is not None and edge.standing.kind is StandingKind.UNCERTAIN


def why(edge: Edge) -> str:
    """The causes of an edge's change in words; versions of services are hostile input too."""
    return _DATE.sub("\\1\u00a0\\2\u00a0\\3", shown(text.why(edge), 400))


def said(sentence: str, limit: int = 400) -> str:
    """A sentence that names came into, with a real arrow between an edge's ends."""
    return shown(sentence, limit).replace(" -> ", " → ")


def between(extent: Extent) -> str:
    """A period in UTC as people write it."""
    return figures.between(extent.start_ns, extent.end_ns)


def traffic(report: Report) -> str:
    """How the requests an hour changed, in words; empty where nothing can be said."""
    sides = report.base, report.head
    matched = max(side.end_ns - side.start_ns for side in sides) >= MATCH_FROM_NS
    # where hours are matched, units are of the hours compared; else of the whole period, silence included
    hours = [side.hours if matched else (side.end_ns - side.start_ns) / HOUR_NS for side in sides]
    before, after = (side.units / long if long else 0.0 for side, long in zip(sides, hours, strict=True))
    return f"traffic {text.number((after / before - 1) * 100, sign=True)} %" if before and after else ""


def _weeks(one: EdgeForecast | EntryForecast, forecast: Forecast) -> str:
    """Weeks to the wall of an edge or an entry."""
    beyond = forecast.edges[0].beyond_weeks if forecast.edges else 0.0
    return outlook.weeks_text(one.weeks, one.weeks_interval, beyond)


def _seen(value: Any) -> Any:
    """What a template puts out, whether or not a filter has cleaned it."""
    return lines(value) if isinstance(value, str) else value


def beside_latency(report: Report) -> list[str]:
    """What a page shows beside latency: errors, missing work, the tail, and who carries the change."""
    return [*failures.lines(report), *tails.lines(report), *carriers.lines(report)]


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The templates, with every filter they use."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("tracescope.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_seen,
    )
    filters: dict[str, Any] = {
        "count": text.count,
        "number": text.number,
        "signed": partial(text.number, sign=True),
        "utc": figures.instant,
        "requests": figures.requests,
        "between": between,
        "traffic": traffic,
        "duration": text.duration,
        "shown": shown,
        "said": said,
        "share": figures.share,
        "tenth": "{:.1f}".format,
        "interval": figures.interval,
        "label": label,
        "is_uncertain": is_uncertain,
        "term": terms.term,
        "points": points,
        "why": why,
        "failure_lines": beside_latency,
        "edge_failures": failures.edge_lines,
        "cause": cause_words,
        "trend": outlook.trend_text,
        "what_if": outlook.what_if_text,
        "headroom": outlook.headroom_text,
        "weeks": _weeks,
    }
    made.filters.update(filters)
    return made


def render(name: str, /, **values: Any) -> str:
    """One template with its values."""
    return terms.with_definitions(environment().get_template(name).render(**values))


@lru_cache(maxsize=8)
def asset(name: str) -> str:
    """A style sheet or script that stands beside the templates."""
    return files("tracescope.report").joinpath("static", name).read_text(encoding="utf-8")


def manual(markdown: str) -> Markup:
    """A page of the manual as HTML; links between pages lead to the same on the web."""
    from markdown_it import MarkdownIt

    made = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    return Markup(re.sub(r'href="(\w+)\.md"', r'href="/help/\1"', made))

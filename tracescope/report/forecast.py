"""A forecast rendered: as JSON and as text.

Source: design, sections 7 and 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from tracescope.analysis.report import State
from tracescope.report import iso
from tracescope.report.figures import between, more_of, number, times_text
from tracescope.report.text import UNBOUNDED
from tracescope.report.wall import riskiest, soonest
from tracescope.visible import visible

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tracescope.analysis.capacity.forecast import EdgeForecast, EntryForecast, Forecast, Trend, WhatIf
    from tracescope.analysis.capacity.forecast_verdict import Outlook
    from tracescope.report import contract

FORECAST_SCHEMA: Final = "tracescope.forecast/1"
#: Edges without a forecast that the text names.
_REFUSED: Final = 3
#: Columns that the tables need.
_TABLE_WIDTH: Final = 130


def forecast_json(forecast: Forecast, outlook: Outlook) -> contract.Forecast:
    """``tracescope.forecast/1``; null where it is not known, or more than ``beyond_weeks``."""
    states = {(s.unit, s.service, s.operation): s for s in outlook.entries}

    def entry(one: EntryForecast) -> dict[str, Any]:
        verdict = states[one.unit, one.service, one.operation]
        edges = [{"edge": name, "operation": operation} for name, operation in one.edges]
        return {
            **asdict(one),
            "edges": edges,
            "state": verdict.state.value,
            "evidence": list(verdict.evidence),
        }

    return {
        "schema": FORECAST_SCHEMA,
        "environment": forecast.environment,
        "start": iso(forecast.start_ns),
        "end": iso(forecast.end_ns),
        "weeks_seen": forecast.weeks_seen,
        "horizon_weeks": forecast.horizon_weeks,
        "notes": list(forecast.notes),
        "verdict": {
            "state": outlook.state.value,
            "stage": outlook.stage,
            "reasons": list(outlook.reasons),
            "early_warning": [asdict(sign) for sign in outlook.signs],
            "signs_shown": sum(sign.shown for sign in outlook.signs),
            "signs_known": sum(sign.known for sign in outlook.signs),
            "band_aids": [asdict(found) for found in outlook.band_aids],
        },
        "edges": [{**asdict(edge), "edge": edge.name} for edge in forecast.edges],
        "entries": [entry(one) for one in forecast.entries],
    }


def trend_text(trend: Trend) -> str:
    """A trend with the half of its interval."""
    if trend.pct_per_week is None:
        return "?"
    text = f"{number(trend.pct_per_week, sign=True)} %"
    if trend.interval is None:
        return text
    return text + f" ± {number((trend.interval[1] - trend.interval[0]) / 2)}"


def weeks_text(weeks: float | None, interval: tuple[float | None, float | None] | None, beyond: float) -> str:
    """Weeks to the wall as a person would say them."""
    if interval is None and weeks is None:
        return "?"
    low, high = interval if interval is not None else (weeks, weeks)
    if weeks == 0:
        return "now"
    if weeks is None:
        least = beyond if low is None else min(low, beyond)
        return f"> {number(least)}" if least else "?"
    ends = [number(low) if low is not None else "?", number(high) if high is not None else f"> {beyond:.0f}"]
    return f"{number(weeks)} ({ends[0]} … {ends[1]})"


def headroom_text(edge: EdgeForecast | EntryForecast) -> str:
    """Headroom with its interval."""
    told = times_text(edge.headroom, edge.headroom_at_least)
    if edge.headroom_interval is None:
        return told
    low, high = edge.headroom_interval
    return f"{told} ({number(low)} … {'?' if high is None else number(high)})"


def what_if_text(one: WhatIf) -> str:
    """Latency at a multiple; a star where no such load was seen."""
    star = "*" if one.extrapolated else ""
    if one.ms is not None:
        return f"{number(one.ms)}{star}"
    if one.limit is not None:
        return f"wall{star}"
    return "?" if one.at_least is None else f"≥ {number(one.at_least)}{star}"


def _errors_text(entry: EntryForecast) -> str:
    """Part of units that failed in the last week; where it grows, what it was before, too."""
    now = f"{(1 - entry.availability) * 100:.2g} %"
    failures = entry.failures
    return now if failures is None or not failures.grows else f"{failures.before * 100:.2g} → {now}"


def _left_out(forecast: Forecast, top: int) -> list[str]:
    """What the text cuts, and the flag that shows it."""
    told = sum(edge.reason is None for edge in forecast.edges)
    cut = [
        more_of(more, *what)
        for more, *what in ((len(forecast.entries) - top, "entry", "entries"), (told - top, "edge", "edges"))
        if more > 0
    ]
    refused = len(forecast.edges) - told - _REFUSED
    lines = [f"{', '.join(cut)} (--top)"] if cut else []
    edges = more_of(refused, "edge", "edges")
    return lines + ([f"{edges} without a forecast (--format json)"] if refused > 0 else [])


def _listed(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> RenderableType:
    """Rows as a table, the first column text and the others figures; in a narrow terminal two lines each."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    if width < _TABLE_WIDTH:
        lines: list[RenderableType] = []
        for name, *figures in rows:
            said = [f"{what} {told}" for what, told in zip(columns[1:], figures, strict=True)]
            lines += [Text(name), Padding(Text("; ".join(said)), (0, 0, 0, 3))]
        return Group(*lines)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place < 1 else "right", no_wrap=True, overflow="ellipsis")
    for name, *figures in rows:
        table.add_row(Text(name), *map(Text, figures))
    return table


def _entries(forecast: Forecast, outlook: Outlook, top: int, width: int) -> RenderableType:
    """What users wait for, the soonest first: demand, latency now and at multiples, weeks to the wall."""
    beyond = forecast.edges[0].beyond_weeks if forecast.edges else 0.0
    times = [f"at {multiple:g}×" for multiple in forecast.multiples]
    states = {(s.unit, s.service, s.operation): s for s in outlook.entries}
    rows = [
        (
            f"{one.service} {one.operation}",
            trend_text(one.demand),
            number(one.ms_now),
            *[what_if_text(case) for case in one.what_if],
            weeks_text(one.weeks, one.weeks_interval, beyond),
            _errors_text(one),
            str(states[one.unit, one.service, one.operation].state),
        )
        for one in soonest(forecast.entries)[:top]
    ]
    columns = ("entry", "demand / week", "ms now", *times, "weeks to wall", "errors", "verdict")
    return _listed(columns, rows, width)


def _edges(forecast: Forecast, top: int, width: int) -> RenderableType:
    """Edges with a forecast, the nearest wall first: trends, headroom, weeks to the wall."""
    rows = [
        (
            f"{edge.name.replace(' -> ', ' → ')} {edge.operation}",
            trend_text(edge.load_trend),
            trend_text(edge.drift),
            headroom_text(edge),
            weeks_text(edge.weeks, edge.weeks_interval, edge.beyond_weeks),
            times_text(edge.resilience_gap, edge.resilience_gap_at_least),
        )
        for edge in [edge for edge in riskiest(forecast.edges) if edge.reason is None][:top]
    ]
    gap = f"gap in {forecast.horizon_weeks:g} w"
    return _listed(("edge", "load / week", "drift / week", "headroom", "weeks to wall", gap), rows, width)


def _remarks(forecast: Forecast, top: int) -> list[str]:
    """What signs and intervals mean, and what has no forecast or is not listed."""
    refused = [edge for edge in forecast.edges if edge.reason is not None]
    return [
        "* no such load was seen; ≥ is what is known at least, ? is not known; headroom is load at the wall "
        "(3 times the low-load latency) over peak load; intervals are 80 %",
        *[f"{edge.name} {edge.operation}: {edge.reason}" for edge in refused[:_REFUSED]],
        *_left_out(forecast, top),
        *[
            f"{edge.name} {edge.operation}: load is that of each of its {edge.replicas:.3g} replicas"
            for edge in forecast.edges[:top]
            if edge.replicas is not None
        ],
        *[f"note: {note}" for note in forecast.notes],
    ]


def forecast_text(
    forecast: Forecast, outlook: Outlook, *, top: int, width: int = UNBOUNDED
) -> RenderableType:
    """Verdict, entries, edges, and what the figures mean; nothing is cut in a narrow terminal."""
    from rich.console import Group
    from rich.text import Text

    forecast, outlook = visible(forecast), visible(outlook)
    colours = {State.GROWTH_STABLE: "bold green", State.INSUFFICIENT: "bold yellow"}
    lines = [words] if (words := outlook.how_many) else []
    lines += [f"stage {sign.stage}: {sign.words}" for sign in outlook.signs if sign.shown]
    lines += [f"band-aid: {one.words}" for one in outlook.band_aids]
    verdict = f"{outlook.state}: {outlook.reasons[0]}" if outlook.reasons else outlook.state
    span = f"{between(forecast.start_ns, forecast.end_ns)} UTC, {forecast.weeks_seen:.1f} weeks seen"
    return Group(
        Text(verdict, style=colours.get(outlook.state, "bold red")),
        Text(span, style="dim"),
        *[Text(line) for line in lines],
        Text(""),
        _entries(forecast, outlook, top, width),
        Text(""),
        _edges(forecast, top, width),
        Text(""),
        *[Text(line, style="dim") for line in _remarks(forecast, top)],
    )

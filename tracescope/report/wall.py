"""When demand meets the wall, as a picture: load so far, where its trend leads, the wall, and the date.

    load ×               |______________ wall: falls where the same load gets slower
     1.3 |- - - - - - - -|- - - - - - /
     1.0 |       __.---^-*----/////   load's trend, a fan of what its interval leaves open
     0.8 |__.---^        |
         weekly peaks  today      in 4 weeks: 25 Dec 2026

Drawn where a wall is known only: nothing is put into a picture that the figures do not say.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from markupsafe import Markup

from tracescope.report.charts import (
    Event,
    Frame,
    draw_event,
    draw_line,
    draw_rect,
    draw_text,
    nice_ticks,
    svg_of,
    time_scale,
)
from tracescope.report.figures import day, number

if TYPE_CHECKING:
    from tracescope.analysis.capacity.forecast import EdgeForecast, EntryForecast
    from tracescope.analysis.capacity.trends import Trend

#: Walls that are drawn.
MOST_WALLS: Final = 3
WEEK_NS: Final = 7 * 86_400 * 10**9
_STEPS: Final = 60
#: What a date below a chart takes.
_LABEL_PX: Final = 100
#: A picture shows at most so many times today's peak.
_HIGHEST: Final = 20.0


def riskiest(edges: Sequence[EdgeForecast]) -> list[EdgeForecast]:
    """Edges whose wall is known, the nearest first, then those with a bound, then what nobody knows."""

    def risk(edge: EdgeForecast) -> tuple[int, float, float, str, str]:
        if edge.reason is not None:
            return 3, 0.0, 0.0, edge.name, edge.operation
        if edge.headroom is None:
            return 2, 0.0, edge.headroom_at_least or 0.0, edge.name, edge.operation
        weeks = math.inf if edge.weeks is None else edge.weeks
        return (0 if edge.weeks is not None else 1), weeks, edge.headroom, edge.name, edge.operation

    return sorted(edges, key=risk)


def soonest(entries: Sequence[EntryForecast]) -> tuple[EntryForecast, ...]:
    """Entries by how soon they reach their wall; those that nobody knows of by how fast demand grows."""

    def order(one: EntryForecast) -> tuple[float, float, str, str]:
        weeks = math.inf if one.weeks is None else one.weeks
        return weeks, -(one.demand.pct_per_week or 0.0), one.service, one.operation

    return tuple(sorted(entries, key=order))


def date_of(edge: EdgeForecast | EntryForecast, end_ns: int) -> str:
    """The date of a wall with its 80 % interval; empty where no date is known."""
    if edge.weeks is None:
        return ""
    if edge.weeks == 0:
        return "it is there at today's peak"
    said = f"about {day(end_ns + int(edge.weeks * WEEK_NS))}"
    if edge.weeks_interval is None:
        return said
    ends = ["?" if weeks is None else day(end_ns + int(weeks * WEEK_NS)) for weeks in edge.weeks_interval]
    return f"{said}, 80 %: {ends[0]} – {ends[1]}"


def wall_chart(
    edge: EdgeForecast,
    end_ns: int,
    horizon_weeks: float,
    *,
    events: Iterable[Event] = (),
    width: int = 440,
    height: int = 220,
) -> Markup:
    """Load of an edge's resource against its wall, from the first week seen to the horizon.

    Empty where no wall is known.

    Parameters
    ----------
    edge
        What is forecast.
    end_ns
        Today: the end of what was seen.
    horizon_weeks
        How far ahead it looks.
    events
        Marks and deploys, a line each.
    """
    if edge.headroom is None or edge.load_trend.pct_per_week is None:
        return Markup("")
    weeks = np.linspace(0.0, horizon_weeks, _STEPS)
    load = np.exp(_rate(edge.load_trend.pct_per_week) * weeks)
    lows, highs = _fan(edge.load_trend, weeks, load)
    wall = edge.headroom * np.exp(-_rate(edge.drift.pct_per_week or 0.0) * weeks)
    past = np.array([*edge.past_load, (0.0, 1.0)])
    top = max(float(load.max()), float(past[:, 1].max()), edge.headroom, 1.2)
    top = min(max(top, min(float(highs.max()), 2 * float(load.max()))), _HIGHEST)
    ns, before = (
        [end_ns + int(week * WEEK_NS) for week in at] for at in (weeks.tolist(), past[:, 0].tolist())
    )
    frame = Frame(before[0], ns[-1], nice_ticks(top)[-1], width, height)
    parts = [
        draw_rect(
            "chart-base", frame.left, frame.above, frame.x(end_ns) - frame.left, frame.floor - frame.above
        )
    ]
    parts += frame.grid(nice_ticks(top), "×")
    parts += frame.band(ns, np.minimum(lows, frame.top), np.minimum(highs, frame.top))
    for starts, values, style in ((before, past[:, 1], "past"), (ns, load, "line"), (ns, wall, "wall")):
        parts += frame.curve(starts, np.where(values <= frame.top, values, np.nan), style)
    for event in events:
        parts += draw_event(frame, event)
    parts += [*_named(frame, wall, load), *_dated(frame, edge, end_ns, horizon_weeks)]
    against = f"load in times of today's peak against its wall at {number(edge.headroom)} times"
    title = f"{edge.name} {edge.operation}: {against}"
    return svg_of(
        "chart", width, height, title, parts, data=time_scale(frame, "× today's peak") + " data-fixed"
    )


def _named(frame: Frame, wall: np.ndarray, load: np.ndarray) -> list[str]:
    """The wall's name at its end, on the side where the load's line is not."""
    if wall[-1] > frame.top:
        return []
    y = frame.y(float(wall[-1])) + (14 if wall[-1] < load[-1] else -6)
    return [draw_text("wall-text", frame.width - frame.right - 2, y, "wall", anchor="end")]


def _dated(frame: Frame, edge: EdgeForecast, end_ns: int, horizon_weeks: float) -> list[str]:
    """Today, the ends of the time that is drawn, and the date on which the wall is met."""
    today = frame.x(end_ns)
    parts = [draw_line("border", today, frame.above, today, frame.floor)]
    if edge.weeks and edge.weeks <= horizon_weeks:
        met = end_ns + int(edge.weeks * WEEK_NS)
        at = frame.x(met)
        late = at > frame.width * 0.6
        parts.append(draw_line("change", at, frame.above, at, frame.floor))
        anchor = "end" if late else "start"
        parts.append(
            draw_text("change-text", at + (-6 if late else 6), frame.above + 14, day(met), anchor=anchor)
        )
    y, right = frame.height - 8, frame.width - frame.right
    if today - frame.left > _LABEL_PX:
        parts.append(draw_text("axis", frame.left, y, day(int(frame.first_ns))))
    near = today - frame.left <= _LABEL_PX / 2
    parts.append(
        draw_text(
            "axis",
            frame.left if near else today,
            y,
            "today" if not near else f"today, {day(end_ns)}",
            anchor="start" if near else "middle",
        )
    )
    return [*parts, draw_text("axis", right, y, day(int(frame.last_ns)), anchor="end")]


def _rate(pct_per_week: float) -> float:
    return math.log1p(max(pct_per_week, -99.0) / 100)


def _fan(trend: Trend, weeks: np.ndarray, load: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the trend's interval leaves open at each week."""
    if trend.interval is None:
        return load, load
    low, high = (np.exp(_rate(pct) * weeks) for pct in trend.interval)
    return low, high

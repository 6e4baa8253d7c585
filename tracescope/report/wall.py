"""When demand meets the wall, as a picture: today's load, where its trend leads, the wall, and the date.

    load ×      ______________ wall: falls where the same load gets slower
     1.3 |- - - - - - - - - /
     1.0 *-------/////       load's trend, a fan of what its interval leaves open
         today      in 4 weeks: 25 Dec 2026

Drawn where a wall is known only: nothing is put into a picture that the figures do not say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from markupsafe import Markup

from tracescope.report.charts import Frame, draw_line, draw_text, nice_ticks, svg_of
from tracescope.report.figures import day, number

if TYPE_CHECKING:
    from tracescope.analysis.capacity.forecast import EdgeForecast, EntryForecast
    from tracescope.analysis.capacity.trends import Trend

WEEK_NS: Final = 7 * 86_400 * 10**9
_STEPS: Final = 60
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
    edge: EdgeForecast, end_ns: int, horizon_weeks: float, *, width: int = 440, height: int = 220
) -> Markup:
    """Load of an edge's resource against its wall from today to the horizon; empty where no wall is known."""
    if edge.headroom is None or edge.load_trend.pct_per_week is None:
        return Markup("")
    weeks = np.linspace(0.0, horizon_weeks, _STEPS)
    load = np.exp(_rate(edge.load_trend.pct_per_week) * weeks)
    lows, highs = _fan(edge.load_trend, weeks, load)
    drift = _rate(edge.drift.pct_per_week or 0.0)
    wall = edge.headroom * np.exp(-drift * weeks)
    top = min(
        max(float(load.max()), edge.headroom, min(float(highs.max()), 2 * float(load.max())), 1.2), _HIGHEST
    )
    ticks = nice_ticks(top)
    ns = [end_ns + int(week * WEEK_NS) for week in weeks.tolist()]
    frame = Frame(ns[0], ns[-1], ticks[-1], width, height)
    parts = frame.grid(ticks, "×")
    parts += frame.band(ns, np.minimum(lows, frame.top), np.minimum(highs, frame.top))
    parts += frame.curve(ns, np.where(load <= frame.top, load, np.nan))
    parts += frame.curve(ns, np.where(wall <= frame.top, wall, np.nan), "wall")
    parts.append(draw_text("wall-text", frame.left + 6, frame.y(min(float(wall[0]), frame.top)) - 6, "wall"))
    if edge.weeks and edge.weeks <= horizon_weeks:
        at = frame.x(end_ns + edge.weeks * WEEK_NS)
        late = at > width * 0.6
        said = day(end_ns + int(edge.weeks * WEEK_NS))
        parts.append(draw_line("change", at, frame.above, at, frame.floor))
        parts.append(
            draw_text(
                "change-text",
                at + (-6 if late else 6),
                frame.above + 14,
                said,
                anchor="end" if late else "start",
            )
        )
    parts.append(draw_text("axis", frame.left, height - 8, f"today, {day(end_ns)}"))
    parts.append(draw_text("axis", width - frame.right, height - 8, day(ns[-1]), anchor="end"))
    against = f"load in times of today's peak against its wall at {number(edge.headroom)} times"
    title = f"{edge.name} {edge.operation}: {against}"
    return svg_of("chart", width, height, title, parts)


def _rate(pct_per_week: float) -> float:
    return math.log1p(max(pct_per_week, -99.0) / 100)


def _fan(trend: Trend, weeks: np.ndarray, load: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the trend's interval leaves open at each week."""
    if trend.interval is None:
        return load, load
    low, high = (np.exp(_rate(pct) * weeks) for pct in trend.interval)
    return low, high

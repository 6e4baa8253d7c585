"""Where an edge's wall is: the one place that computes headroom, weeks and what more load would do.

    headroom  = load at the wall / peak load now
    weeks     = ln(headroom) / (load's trend + drift)      both as log growth a week

Every surface renders what is computed here, from the same past of the resource: a number that `diff` made
of two periods and `forecast` of half a year would be two numbers for one thing.  Intervals are 80 %, over
what the curve, the drift and the trend leave open.  Beyond twice the time that was seen the answer is "more
than", and at loads of which nothing is known there is no number, only what is true at least.

Source: design, section 7.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tracescope import schema
from tracescope.analysis.capacity import load_model as model
from tracescope.analysis.capacity.arrivals import WEEK_NS, Arrivals, by_edge, points
from tracescope.analysis.capacity.backlog import remembers
from tracescope.analysis.capacity.load_model import DRAWS, SAME_LOAD, Fit, Headroom, Points
from tracescope.analysis.capacity.split import load_trend, of_each
from tracescope.analysis.capacity.trends import LEVEL, Trend, p_value, pct
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.analysis.statistics.distributions import student_quantile
from tracescope.schema import HOUR_NS

Floats = NDArray[np.float64]

#: Weeks that a trend needs, and a drift.
FEWEST_WEEKS: Final = 3
LEAST_WEEKS: Final = 1.0
#: A forecast reaches so many times as far as what was seen.
REACH: Final = 2.0
#: A latency whose 80 % interval is wider than this factor is not known: its wall may lie inside.
MOST_APART: Final = 3.0


@dataclass(frozen=True, slots=True)
class Expected:
    """Latency at a load, over latency at today's peak load.

    Attributes
    ----------
    ratio, interval
        The median and 80 % of what the data leave open; None where nothing is known.
    at_least
        What it is at least then; None where not even that is known.
    full
        The load is beyond what the resource can serve.
    """

    ratio: float | None
    interval: tuple[float, float] | None = None
    at_least: float | None = None
    full: bool = False


@dataclass(frozen=True, slots=True)
class EdgeCurve:
    """An edge's fitted curve and where it stands on it.

    ``arrivals`` have the load of `fitted`, which may be that of each replica; ``whole`` that of all.
    """

    fitted: Fit | None
    reason: str | None
    arrivals: Arrivals
    whole: Arrivals
    points: Points
    room: Headroom | None

    @property
    def replicas(self) -> float | None:
        """Replicas live now, where load is counted for each replica."""
        if self.arrivals is self.whole or self.whole.replicas is None:
            return None
        return float(np.mean(self.whole.replicas[-24:]))

    @property
    def peak_load(self) -> float:
        """Arrivals a second in the busiest hours of the last week."""
        return self.arrivals.peak_load

    @property
    def highest_load(self) -> float:
        """Ever."""
        return float(self.arrivals.load.max())

    @property
    def usual_load(self) -> float:
        """Mean over the calls of the last week."""
        return float(np.average(self.arrivals.load[-168:], weights=self.arrivals.calls[-168:]))

    def slower(self, load: float) -> Floats:
        """Latency over that at no load ``(DRAWS,)``; infinite at unseen loads beyond capacity."""
        assert self.fitted is not None
        found = self.fitted.slower(load)
        if load > SAME_LOAD * self.highest_load:
            return found
        rho = load / self.fitted.draws["capacity"]
        served = np.minimum(self.fitted.drawn(rho[:, None])[0][:, 0], 300.0)  # a number, however far beyond
        return np.where(np.isfinite(found), found, np.exp(served))

    def expected(self, times: float) -> Expected:
        """What is known of `times` today's peak load."""
        if times == 1:
            return Expected(1.0, (1.0, 1.0))
        if self.fitted is None or self.room is None:
            return Expected(None, at_least=1.0 if times > 1 else None)
        load, now = times * self.peak_load, self.slower(self.peak_load)
        if load > SAME_LOAD * self.highest_load and not self.room.bends:
            served = self.slower(max(self.highest_load, self.peak_load)) / now
            return Expected(None, at_least=float(np.quantile(served, (1 - LEVEL) / 2)))
        ratios = self.slower(load) / now
        low, middle, high = (
            float(v)
            for v in np.quantile(ratios, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2], method="inverted_cdf")
        )
        if not math.isfinite(low):
            return Expected(None, full=True)
        if not high <= MOST_APART * low:
            return Expected(None, at_least=low)
        return Expected(middle, (low, high))


@dataclass(frozen=True, slots=True)
class Wall:
    """What is known of the wall of one edge; see `tracescope.analysis.capacity.forecast.EdgeForecast`.

    ``trend_logs`` and ``drift_logs`` are log growth a week, its standard error, and degrees of freedom.
    """

    headroom: float | None
    headroom_interval: tuple[float, float | None] | None
    headroom_at_least: float | None
    drift: Trend
    load_trend: Trend
    weeks: float | None
    weeks_interval: tuple[float | None, float | None] | None
    beyond_weeks: float
    trend_logs: tuple[float, float, float]
    drift_logs: tuple[float, float, float] | None
    reason: str | None


def refusal(points: Points) -> str | None:
    """Why one period's points show no curve; None when they may."""
    if len(points) < model.FEWEST_POINTS_IN_ALL:
        return (
            f"not identifiable: {int(points.calls.sum())} counted calls make {len(points)} windows of "
            f"{model.FEWEST_CALLS}; {model.FEWEST_POINTS_IN_ALL} are needed"
        )
    low, high = float(points.load.min()), float(points.load.max())
    if high < model.LEAST_RANGE * low:
        return f"not identifiable: load hardly varies ({low:.3g} to {high:.3g} calls/s)"
    return None


def curve_of(arrivals: Arrivals, now_ns: int, *, waits: bool) -> EdgeCurve:
    """Fit an edge's curve, or say why not.

    Parameters
    ----------
    arrivals
        Of all that was seen until now.
    now_ns
        Where weeks are counted from.
    waits
        Whether the edge is a queue's wait.
    """
    points = _points(arrivals, now_ns)
    reason = refusal(points)
    if waits and remembers(arrivals):
        reason = "not identifiable: messages wait longer than load is counted, a backlog is load of the past"
    if reason is not None:
        return EdgeCurve(None, reason, arrivals, arrivals, points, None)
    fitted = model.better(points, waits=waits)
    loads = arrivals
    if (apart := of_each([arrivals], now_ns, fitted, refusal, waits=waits)) is not None:
        (loads,), points, fitted = apart
    if fitted.dof < 3:
        reason = "not identifiable: the windows are too alike in time to count"
        return EdgeCurve(None, reason, arrivals, arrivals, points, None)
    return EdgeCurve(fitted, None, loads, arrivals, points, fitted.headroom(loads.peak_load))


def _points(arrivals: Arrivals, now_ns: int) -> Points:
    """Windows of all that was seen; weeks of silence between two stretches are no window."""
    breaks = np.flatnonzero(np.diff(arrivals.start_ns) > WEEK_NS) + 1
    rows = np.split(np.arange(len(arrivals.start_ns)), breaks)
    return Points.join([points(arrivals.select(mine), now_ns, 0) for mine in rows])


def curves_of(period: PeriodRollups, edge_ids: Collection[int]) -> dict[int, EdgeCurve]:
    """Curves of some edges of all that was seen until a period's end, by ``edge_id``.

    An edge's curve does not depend on which others are asked for.
    """
    waits = _waits(period.tables["paths"])
    found = by_edge(period, edge_ids)
    return {edge: curve_of(one, period.end_ns, waits=edge in waits) for edge, one in found.items()}


def _waits(paths: pl.DataFrame) -> frozenset[int]:
    mine = (pl.col("kind") == schema.EDGE_QUEUE) & (pl.col("operation") == schema.QUEUE_WAIT)
    return frozenset(paths.filter(mine)["edge_id"].to_list())


def weeks_seen(period: PeriodRollups) -> float:
    """From the first unit of work, or the period's start, to its end; 0 where there is none."""
    hours = period.tables.get("entry_hours", period.tables["path_hours"])
    if hours.is_empty():
        return 0.0
    first = int(hours["slot"].min()) * period.slot_ns  # pyright: ignore[reportArgumentType, reportOperatorIssue]
    return (period.end_ns - max(first, period.start_ns)) / WEEK_NS


def wall_of(curve: EdgeCurve, now_ns: int, seen: float) -> Wall:
    """Headroom and weeks of an edge.

    Parameters
    ----------
    curve
        Of all that was seen until `now_ns`.
    seen
        For how many weeks; see `weeks_seen`.
    """
    at, peaks = curve.whole.weekly_peaks(now_ns)
    slope, error = load_trend(at, peaks)
    trend = Trend.of(slope, error, len(at))
    logs = slope, error, float(max(len(at) - 2, 1))
    reach = REACH * seen
    fitted, room = curve.fitted, curve.room
    if fitted is None or room is None:
        return Wall(None, None, None, Trend(None, None), trend, None, None, reach, logs, None, curve.reason)
    low, high = fitted.interval(fitted.draws["growth"], LEVEL)
    wide = float(student_quantile(fitted.dof, 0.5 + LEVEL / 2))
    drifts = fitted.growth, (high - low) / 2 / wide, fitted.dof
    drift = Trend(None, None)
    if seen >= LEAST_WEEKS:
        drift = Trend(pct(fitted.growth), (pct(low), pct(high)), p_value(*drifts))
    weeks: tuple[float | None, tuple[float | None, float | None] | None] = None, None
    if math.isfinite(error) and seen >= FEWEST_WEEKS:
        weeks = weeks_left(fitted, curve.peak_load, room, (slope, error, len(at)), reach)
    return Wall(
        room.times if room.bends else None,
        room.interval if room.bends else None,
        None if room.bends else room.times,
        drift,
        trend,
        *weeks,
        reach,
        logs,
        drifts,
        None,
    )


def weeks_left(
    fitted: Fit, peak: float, room: Headroom, trend: tuple[float, float, int], reach: float
) -> tuple[float | None, tuple[float | None, float | None]]:
    """Weeks to the wall and their interval; None is more than `reach`.

    Where no wall is in sight the interval begins when load passes what was seen.
    """
    slope, error, seen = trend
    walls = fitted.walls() / peak if room.bends else np.full(DRAWS, room.times)
    rng = np.random.default_rng(2)
    slopes = slope + error * rng.standard_t(max(seen - 2, 1), len(walls))
    rate = slopes + fitted.draws["growth"]
    log = np.log(np.clip(walls, 1e-9, 1e300))
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = np.where(log <= 0, 0.0, np.where(rate > 0, log / rate, np.inf))
    low, high = fitted.interval(drawn, LEVEL)

    def known(weeks: float) -> float | None:
        return weeks if weeks <= reach else None

    if not room.bends:
        return None, (known(low), None)
    both = slope + fitted.growth
    point = 0.0 if room.times <= 1 else math.log(room.times) / both if both > 0 else math.inf
    return known(point), (known(low), known(high))


def walls_of(
    period: PeriodRollups, paths_of: Mapping[int, Collection[int]]
) -> dict[int, tuple[EdgeCurve, Wall]]:
    """Curve and wall of some edges as of a period's end.

    Parameters
    ----------
    period
        ``path_hours`` of all that reaches their resources, ``entry_hours``, and ``service_hours`` where
        replicas are known: all that was seen until now, hourly.
    wanted
        Call paths of each edge, which are the same in every period, by any number.

    Returns
    -------
    dict
        By the same numbers; edges that were not seen are left out.
    """
    seen, paths = weeks_seen(period), period.tables["paths"]
    edges: dict[int, int] = {}
    for number, ids in paths_of.items():
        mine = paths.filter(pl.col("path_id").is_in(list(ids)))["edge_id"]
        if not mine.is_empty():
            edges[number] = int(mine.min())  # pyright: ignore[reportArgumentType]
    curves = curves_of(period, set(edges.values()))
    return {
        number: (curves[edge], wall_of(curves[edge], period.end_ns, seen))
        for number, edge in edges.items()
        if edge in curves
    }


def until(base: PeriodRollups, head: PeriodRollups) -> PeriodRollups:
    """Two periods as all that was seen until the later one's end; only that where slots are not hours."""
    early, late = sorted((base, head), key=lambda period: period.end_ns)
    if early.slot_ns != HOUR_NS or late.slot_ns != HOUR_NS:
        return late
    before = pl.col("slot") < late.start_ns // HOUR_NS  # what both hold counts once
    tables = {
        name: pl.concat([early.tables[name].filter(before), late.tables[name]], how="diagonal")
        for name in ("path_hours", "entry_hours", "service_hours")
        if name in early.tables and name in late.tables
    }
    sides = [side.tables["paths"] for side in (early, late)]
    tables["paths"] = pl.concat(sides, how="diagonal").unique("path_id", keep="last", maintain_order=True)
    return PeriodRollups(min(early.start_ns, late.start_ns), late.end_ns, HOUR_NS, late.environment, tables)

"""Forecast: when each edge hits the wall, and what twice or ten times the users would do.

    headroom  = load at the wall / peak load now
    weeks     = ln(headroom) / (demand + amplification + drift)      all as log growth a week

The wall is where latency is three times its low-load value, or where an entry's SLO is reached.  Demand
is the trend of requests at the entries, amplification that of calls per request; together they are the
trend of the load of the resource.  Drift is growth at equal load, which takes capacity.  Intervals are
80 %, over what the curve, the drift and the trend leave open.  Beyond twice the time that was seen,
the answer is "more than".

What-if pushes every edge's curve through the critical path that is: own time of each edge times what
its resource slows down by at that multiple of its load.

Source: design, section 7.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tracescope import schema
from tracescope.analysis.capacity import fit as model
from tracescope.analysis.capacity.arrivals import WEEK_NS, Arrivals, by_edge, points
from tracescope.analysis.capacity.fit import DRAWS, Fit, Headroom, Points
from tracescope.analysis.capacity.split import load_trend, of_each
from tracescope.analysis.capacity.trends import LEVEL, Trend, pct, trend_of, weekly
from tracescope.analysis.rollups.flows import weight, weighted
from tracescope.analysis.rollups.period import MS, PeriodRollups
from tracescope.errors import InsufficientDataError

Floats = NDArray[np.float64]

#: Multiples of today's users that are always told.
MULTIPLES: Final = (2.0, 5.0, 10.0)
HORIZON_WEEKS: Final = 12.0
FEWEST_WEEKS: Final = 3
#: A forecast reaches so many times as far as what was seen.
REACH: Final = 2.0
MOST_EDGES: Final = 40
#: Edges under this part of the critical time are not forecast.
LEAST_SHARE: Final = 0.005


@dataclass(frozen=True, slots=True)
class WhatIf:
    """At a multiple of today's peak load.

    ``ms`` is None beyond capacity, ``limit`` the edge that ends it; ``extrapolated`` says that no such
    load was seen.
    """

    times: float
    ms: float | None
    limit: str | None
    extrapolated: bool


@dataclass(frozen=True, slots=True)
class EdgeForecast:
    """One edge.

    Attributes
    ----------
    share
        Of the critical time of its kind of unit in the last week.
    ms_now
        Mean time of a call itself at peak load now.
    peak_load, highest_load
        Arrivals a second at the resource: in the busiest hours of the last week, and ever.
    headroom, headroom_interval
        Load at the wall over peak load; None: not identifiable.
    lower_bound, wall_in_sight
        Headroom and gap are at least that, because peak load is under half of capacity, or because no
        wall is in sight; and whether load slows the edge down at all.
    drift, load_trend, amplification
        Growth at equal load, of the resource's load, and of calls per request.
    weeks, weeks_interval
        To the wall; None is more than ``beyond_weeks``.
    resilience_gap
        Capacity over the demand expected at the horizon; under 1 demand comes first.
    reason
        Why there is no curve; None where there is.
    replicas
        Live now, where loads are those of each of them, as that explains latency better; None where of all.
        Headroom and weeks are those of as many replicas.
    """

    unit: str
    kind: str
    caller: str
    callee: str | None
    operation: str
    share: float
    ms_now: float
    peak_load: float
    highest_load: float
    headroom: float | None
    headroom_interval: tuple[float, float | None] | None
    lower_bound: bool
    wall_in_sight: bool
    drift: Trend
    load_trend: Trend
    amplification: Trend
    weeks: float | None
    weeks_interval: tuple[float | None, float | None] | None
    beyond_weeks: float
    resilience_gap: float | None
    what_if: tuple[WhatIf, ...]
    reason: str | None
    replicas: float | None = None

    @property
    def name(self) -> str:
        """As a person would write it."""
        return f"{self.caller} (itself)" if self.callee is None else f"{self.caller} -> {self.callee}"


@dataclass(frozen=True, slots=True)
class EntryForecast:
    """One entry: its demand, its latency, and what ends it first.

    ``availability`` is the part of units without an error: green today, and silent about tomorrow.
    """

    unit: str
    service: str
    operation: str
    units: float
    demand: Trend
    ms_now: float
    slo_ms: float | None
    availability: float
    weeks: float | None
    weeks_interval: tuple[float | None, float | None] | None
    limit: str | None
    headroom: float | None
    what_if: tuple[WhatIf, ...]
    edges: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Forecast:
    """What every surface renders."""

    environment: str
    start_ns: int
    end_ns: int
    weeks_seen: float
    horizon_weeks: float
    multiples: tuple[float, ...]
    edges: tuple[EdgeForecast, ...]
    entries: tuple[EntryForecast, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Curve:
    """An edge's fitted curve and where it stands on it.

    ``arrivals`` have the load of `fitted`, which may be that of each replica; ``whole`` that of all.
    """

    fitted: Fit | None
    reason: str | None
    arrivals: Arrivals
    whole: Arrivals

    @property
    def replicas(self) -> float | None:
        """Live now, where load is that of each."""
        if self.arrivals is self.whole or self.whole.replicas is None:
            return None
        return float(np.mean(self.whole.replicas[-24:]))

    def slowdown(self, times: float) -> float:
        """Latency at `times` the peak load over latency at peak load; infinite beyond capacity."""
        if self.fitted is None or not math.isfinite(self.fitted.curve.capacity):
            return 1.0
        if not self.fitted.headroom(self.arrivals.peak_load).bends:
            return 1.0
        curve, peak = self.fitted.curve, self.arrivals.peak_load
        if peak * times >= curve.capacity:
            return math.inf
        now, then = (float(curve.latency_s(np.array([load]))[0]) for load in (peak, peak * times))
        return then / now


def forecast(
    period: PeriodRollups,
    *,
    horizon_weeks: float = HORIZON_WEEKS,
    multiples: Sequence[float] = MULTIPLES,
    slo_ms: Mapping[str, float] | None = None,
    keep_entry: Callable[[str, str], bool] | None = None,
) -> Forecast:
    """Forecast from all that was seen until now.

    Parameters
    ----------
    period
        ``path_hours`` and ``entry_hours`` of some months that end now, hourly.
    horizon_weeks
        How far ahead the resilience gap looks.
    multiples
        Of today's users, for what-if.
    slo_ms
        Wall of an entry by ``service operation``.
    keep_entry
        Entries to forecast, of service and operation; None for all.  A resource's load stays everybody's.

    Raises
    ------
    InsufficientDataError
        Fewer than `FEWEST_WEEKS` weeks were seen.
    """
    kept = period.of_entries(keep_entry)
    hours = kept.tables["entry_hours"]
    if hours.is_empty():
        raise InsufficientDataError(
            "insufficient data: no traces to forecast from", "`tracescope import FILE`"
        )
    first = int(hours["slot"].min()) * period.slot_ns  # pyright: ignore[reportArgumentType, reportOperatorIssue]
    seen = (period.end_ns - max(first, period.start_ns)) / WEEK_NS
    if seen < FEWEST_WEEKS:
        raise InsufficientDataError(
            f"insufficient data: {seen * 7:.1f} days were seen; a trend needs {FEWEST_WEEKS} weeks",
            "`tracescope diff` compares shorter periods",
        )
    rows = _last_week(kept)
    wanted = rows.filter(pl.col("share") >= LEAST_SHARE).sort("share", descending=True).head(MOST_EDGES)
    arrivals = by_edge(period, wanted["edge_id"].to_list())
    curves = {edge: _curve(found, period.end_ns, edge, wanted) for edge, found in arrivals.items()}
    units = _Requests(kept)
    edges = [
        _edge(row, curves[row["edge_id"]], period, units, seen, horizon_weeks, multiples)
        for row in wanted.iter_rows(named=True)
        if row["edge_id"] in curves
    ]
    entries = _entries(kept, curves, edges, multiples, slo_ms or {})
    return Forecast(
        period.environment, max(first, period.start_ns), period.end_ns, seen, horizon_weeks, tuple(multiples),
        tuple(sorted(edges, key=_urgency)), tuple(entries), tuple(period.notes),
    )  # fmt: skip


def _urgency(edge: EdgeForecast) -> tuple[float, float, str]:
    return (
        edge.weeks if edge.weeks is not None else math.inf,
        edge.headroom if edge.headroom is not None and edge.wall_in_sight else math.inf,
        edge.name,
    )


def _last_week(period: PeriodRollups) -> pl.DataFrame:
    """Every edge's critical time in the last week, as a share of its kind of unit's."""
    since = period.end_ns // period.slot_ns - WEEK_NS // period.slot_ns
    rows = period.tables["path_hours"].filter(pl.col("slot") >= since)
    named = rows.join(period.tables["paths"], on="path_id").lazy()
    keys = ("unit", "edge_id", "kind", "caller", "callee", "operation")
    sums = weighted(named, keys, ("own_ns", "calls")).collect()
    return sums.with_columns((pl.col("own_ns") / pl.col("own_ns").sum().over("unit")).alias("share"))


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


def _curve(arrivals: Arrivals, now_ns: int, edge_id: int, rows: pl.DataFrame) -> _Curve:
    made = points(arrivals, now_ns, 0)
    reason = refusal(made)
    if reason is not None:
        return _Curve(None, reason, arrivals, arrivals)
    row = rows.filter(pl.col("edge_id") == edge_id).row(0, named=True)
    waits = row["kind"] == schema.EDGE_QUEUE and row["operation"] == schema.QUEUE_WAIT
    fitted = model.better(made, waits=waits)
    loads = arrivals
    if (apart := of_each([arrivals], now_ns, fitted, refusal, waits=waits)) is not None:
        (loads,), _, fitted = apart
    if fitted.freedom < 3:
        return _Curve(
            None, "not identifiable: the windows are too alike in time to count", arrivals, arrivals
        )
    return _Curve(fitted, None, loads, arrivals)


class _Requests:
    """Units of work a week at the entries that an edge lies under."""

    def __init__(self, period: PeriodRollups) -> None:
        self.period = period
        self.hours = period.tables["entry_hours"]
        pairs = period.tables["paths"].select("edge_id", "entry_id").unique()
        self.entries = dict(pairs.group_by("edge_id").agg(pl.col("entry_id").sort()).iter_rows())
        self.known: dict[tuple[int, ...], tuple[Floats, Floats]] = {}
        self.paths = period.tables["paths"].select("edge_id", "path_id")

    def per_unit(self, edge_id: int) -> Trend:
        """Trend of an edge's calls for one unit of work."""
        mine = self.paths.filter(pl.col("edge_id") == edge_id)
        rows = self.period.tables["path_hours"].join(mine, on="path_id", how="semi")
        weeks, calls = weekly(rows, self.period, "calls")
        at, units = self.of(edge_id)
        common, a, b = np.intersect1d(weeks, at, return_indices=True)
        return trend_of(common, calls[a] / units[b])

    def of(self, edge_id: int) -> tuple[Floats, Floats]:
        """Middles of whole weeks, and units in each ``(w,)``."""
        key = tuple(self.entries[edge_id])
        if key not in self.known:
            rows = self.hours.filter(pl.col("entry_id").is_in(list(key)))
            self.known[key] = weekly(rows, self.period, "units")
        return self.known[key]


def _edge(
    row: dict[str, object],
    curve: _Curve,
    period: PeriodRollups,
    units: _Requests,
    seen: float,
    horizon: float,
    multiples: Sequence[float],
) -> EdgeForecast:
    arrivals, fitted = curve.arrivals, curve.fitted
    weeks, peaks = curve.whole.weekly_peaks(period.end_ns)
    trend, error = load_trend(weeks, peaks)
    amplification = units.per_unit(int(row["edge_id"]))  # pyright: ignore[reportArgumentType]
    peak, reach = arrivals.peak_load, REACH * seen
    room, headroom, interval, drift, gap = None, None, None, Trend(None, None), None
    left: tuple[float | None, tuple[float | None, float | None] | None] = (None, None)
    highest = float(arrivals.load.max())
    if fitted is not None:
        room = fitted.headroom(peak)
        headroom, interval = room.times, room.interval
        g_low, g_high = fitted.interval(fitted.draws["growth"], LEVEL)
        drift = Trend(pct(fitted.growth), (pct(g_low), pct(g_high)))
        if math.isfinite(error):
            left = weeks_left(fitted, peak, room, (trend, error, len(weeks)), reach)
            coming = math.exp((trend + fitted.growth) * horizon)
            gap = headroom / coming
    now = float(np.average(arrivals.own_s[-168:], weights=arrivals.calls[-168:]))
    if fitted is not None:
        now = float(fitted.curve.latency_s(np.array([peak]))[0])
    return EdgeForecast(
        unit=schema.UNIT_NAMES[int(row["unit"])],  # pyright: ignore[reportArgumentType]
        kind=schema.EDGE_KINDS[int(row["kind"])],  # pyright: ignore[reportArgumentType]
        caller=str(row["caller"]),
        callee=None if row["callee"] is None else str(row["callee"]),
        operation=str(row["operation"]),
        share=float(row["share"]),  # pyright: ignore[reportArgumentType]
        ms_now=now * 1e3,
        peak_load=peak,
        highest_load=highest,
        headroom=headroom,
        headroom_interval=interval,
        lower_bound=room is not None and room.lower_bound,
        wall_in_sight=room is not None and room.bends,
        drift=drift,
        load_trend=Trend.of(trend, error, len(weeks)),
        amplification=amplification,
        weeks=left[0],
        weeks_interval=left[1],
        beyond_weeks=reach,
        resilience_gap=gap,
        what_if=tuple(_one(curve, now * 1e3, times, highest) for times in multiples),
        reason=curve.reason,
        replicas=curve.replicas,
    )


def _one(curve: _Curve, ms: float, times: float, highest: float) -> WhatIf:
    slower = curve.slowdown(times)
    beyond = not math.isfinite(slower)
    extrapolated = bool(curve.arrivals.peak_load * times > highest)
    return WhatIf(times, None if beyond else ms * slower, "itself" if beyond else None, extrapolated)


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


def _entries(
    period: PeriodRollups,
    curves: Mapping[int, _Curve],
    edges: Sequence[EdgeForecast],
    multiples: Sequence[float],
    slo_ms: Mapping[str, float],
) -> list[EntryForecast]:
    """Every entry: its clock pushed through the curves of its edges."""
    since = period.end_ns // period.slot_ns - WEEK_NS // period.slot_ns
    factor = weight().alias("w")
    rows = period.tables["path_hours"].filter(pl.col("slot") >= since)
    named = rows.join(period.tables["paths"], on="path_id").lazy()
    own = weighted(named, ("unit", "entry_id", "edge_id"), ("own_ns",)).collect()
    own = own.sort(pl.col("own_ns").round(), "edge_id", descending=[True, False])  # most of the time first
    hours = period.tables["entry_hours"].join(period.tables["entries"], on="entry_id").with_columns(factor)
    by_name = {(e.unit, e.name, e.operation): e for e in edges}
    names = {
        edge_id: (f"{caller} (itself)" if callee is None else f"{caller} -> {callee}", operation)
        for edge_id, caller, callee, operation in period.tables["paths"]
        .select("edge_id", "caller", "callee", "operation")
        .unique()
        .iter_rows()
    }
    out: list[EntryForecast] = []
    for (unit, entry_id), rows in hours.partition_by("unit", "entry_id", as_dict=True).items():
        late = rows.filter(pl.col("slot") >= since)
        units = float((late["units"] * late["w"]).sum())
        if units <= 0:
            continue
        ms = float((late["clock_ns"] * late["w"]).sum()) / units / MS
        parts = own.filter((pl.col("unit") == unit) & (pl.col("entry_id") == entry_id))
        mine = dict(zip(parts["edge_id"].to_list(), (parts["own_ns"] / units / MS).to_list(), strict=True))
        wearing = [
            by_name[key]
            for edge_id, spent in mine.items()
            if spent >= 0.02 * ms and (key := (schema.UNIT_NAMES[int(unit)], *names[edge_id])) in by_name
        ]
        first = min(wearing, key=_urgency, default=None)
        service, operation = rows["service"][0], rows["operation"][0]
        slo = slo_ms.get(f"{service} {operation}")
        what_if = tuple(_pushed(mine, curves, names, ms, times) for times in multiples)
        left = (first.weeks, first.weeks_interval) if first is not None else (None, None)
        limit = first.name if first is not None and first.wall_in_sight else None
        demand = trend_of(*weekly(rows, period, "units"))
        if slo is not None:
            found = _slo_weeks(mine, curves, ms, slo, demand, edges)
            if found is not None and (left[0] is None or found < left[0]):
                left, limit = (found, None), f"SLO of {slo:g} ms"
        out.append(
            EntryForecast(
                unit=schema.UNIT_NAMES[int(unit)], service=service, operation=operation, units=units,
                demand=demand, ms_now=ms, slo_ms=slo,
                availability=1 - float((late["errors"] * late["w"]).sum()) / units,
                weeks=left[0], weeks_interval=left[1], limit=limit,
                headroom=first.headroom if first is not None else None,
                what_if=what_if, edges=tuple((edge.name, edge.operation) for edge in wearing),
            )
        )  # fmt: skip
    return sorted(out, key=lambda e: (e.unit != "request", -e.units, e.service, e.operation))


def _pushed(
    mine: Mapping[int, float],
    curves: Mapping[int, _Curve],
    names: Mapping[int, tuple[str, str]],
    ms: float,
    times: float,
) -> WhatIf:
    """An entry's clock at `times` today's load."""
    total, limit, extrapolated = ms, None, False
    for edge_id, spent in sorted(mine.items(), key=lambda pair: -pair[1]):
        curve = curves.get(edge_id)
        if curve is None:
            continue
        slower = curve.slowdown(times)
        extrapolated |= bool(curve.arrivals.peak_load * times > curve.arrivals.load.max())
        if not math.isfinite(slower):
            limit = limit or names[edge_id][0]
            continue
        total += spent * (slower - 1)
    return WhatIf(times, None if limit else total, limit, extrapolated)


def _slo_weeks(
    mine: Mapping[int, float],
    curves: Mapping[int, _Curve],
    ms: float,
    slo: float,
    demand: Trend,
    edges: Sequence[EdgeForecast],
) -> float | None:
    """Weeks until an entry's mean clock reaches its SLO; None: not within a forecast's reach."""
    if ms >= slo:
        return 0.0
    rate = math.log1p((demand.pct_per_week or 0.0) / 100)
    reach = edges[0].beyond_weeks if edges else 0.0
    for week in np.arange(0.25, reach + 0.25, 0.25):
        total = ms
        for edge_id, spent in mine.items():
            curve = curves.get(edge_id)
            if curve is None or curve.fitted is None:
                continue
            drift = curve.fitted.growth * week
            slower = curve.slowdown(math.exp((rate * week) + drift)) * math.exp(drift)
            total += spent * (min(slower, 1e6) - 1)
        if total >= slo:
            return float(week)
    return None

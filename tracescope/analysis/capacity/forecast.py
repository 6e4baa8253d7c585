"""Forecast: when each edge and each entry hits the wall, and what twice or ten times the users would do.

The wall of an edge is where latency is three times its low-load value; `tracescope.analysis.capacity.walls`
computes it.  That of an entry is where its own clock is (`tracescope.analysis.capacity.entry_clock`), or its
SLO is reached.  Demand is the trend of requests at the entries, amplification that of calls per request;
together they are the trend of the load of the resource.  Drift is growth at equal load, which takes
capacity.  What is called growth is tested over all edges together, as in a diff.

What-if pushes every edge's curve through the critical path that is: own time of each edge times what
its resource slows down by at that multiple of its load.  Where a part of the clock that matters would meet
loads of which nothing is known, there is no number, only what the clock is at least.

Source: design, sections 7 and 10.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tracescope import schema
from tracescope.analysis.capacity.arrivals import WEEK_NS
from tracescope.analysis.capacity.entry_clock import MATERIAL, EntryClock, EntryWall
from tracescope.analysis.capacity.failure_trends import FailureTrend, failure_trends
from tracescope.analysis.capacity.split import load_trend
from tracescope.analysis.capacity.trends import (
    MIN_EFFECT_PART,
    Trend,
    adjusted,
    p_value,
    trend_of,
    weekly,
)
from tracescope.analysis.capacity.walls import (
    FEWEST_WEEKS,
    REACH,
    EdgeCurve,
    Expected,
    Wall,
    curves_of,
    wall_of,
    weeks_seen,
)
from tracescope.analysis.rollups.flows import weight, weighted
from tracescope.analysis.rollups.period import MS, PeriodRollups
from tracescope.errors import InsufficientDataError

Floats = NDArray[np.float64]

#: Multiples of today's users that are always told.
MULTIPLES: Final = (2.0, 5.0, 10.0)
HORIZON_WEEKS: Final = 12.0
MOST_EDGES: Final = 40
#: Edges under this part of the critical time are not forecast.
LEAST_SHARE: Final = 0.005


@dataclass(frozen=True, slots=True)
class WhatIf:
    """At a multiple of today's peak load.

    Attributes
    ----------
    ms, interval
        The median and 80 % of what the data leave open; None beyond capacity, and where nothing is known.
    at_least
        What it is at least where ``ms`` is None; None where not even that is known.
    limit
        The edge whose capacity is less than that.
    extrapolated
        No such load was seen.
    """

    times: float
    ms: float | None
    limit: str | None
    extrapolated: bool
    interval: tuple[float, float] | None = None
    at_least: float | None = None


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
    headroom, headroom_interval, headroom_at_least
        Load at the wall over peak load: the median of what the data leave open; None where no wall is in
        sight, and then what it is at least; None, too, where there is no curve.
    drift, load_trend, amplification
        Growth at equal load, of the resource's load, and of calls per request.
    weeks, weeks_interval
        To the wall; None is more than ``beyond_weeks``.
    resilience_gap, resilience_gap_at_least
        Capacity over the demand expected at the horizon, as ``headroom``; under 1 demand comes first.
    reason
        Why there is no curve; None where there is.
    past_load
        Peak load of the whole weeks that were seen, the oldest first: the middle of the week in weeks from
        now, and the load over today's peak.
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
    headroom_at_least: float | None
    drift: Trend
    load_trend: Trend
    amplification: Trend
    weeks: float | None
    weeks_interval: tuple[float | None, float | None] | None
    beyond_weeks: float
    resilience_gap: float | None
    resilience_gap_at_least: float | None
    what_if: tuple[WhatIf, ...]
    reason: str | None
    past_load: tuple[tuple[float, float], ...] = ()
    replicas: float | None = None

    @property
    def name(self) -> str:
        """As a person would write it."""
        return f"{self.caller} (itself)" if self.callee is None else f"{self.caller} -> {self.callee}"


@dataclass(frozen=True, slots=True)
class EntryForecast:
    """One entry: its demand, its latency, and what ends it first.

    ``headroom`` and ``weeks`` are of its own clock, as those of an edge are of its latency; ``limit`` is what
    makes most of the clock there.  ``availability`` is the part of units without an error: green today, and
    silent about tomorrow; ``failures`` is where that is going, None where none ever failed.
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
    headroom_interval: tuple[float, float | None] | None
    headroom_at_least: float | None
    what_if: tuple[WhatIf, ...]
    edges: tuple[tuple[str, str], ...]
    failures: FailureTrend | None = None


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
    seen = weeks_seen(period)
    if seen < FEWEST_WEEKS:
        raise InsufficientDataError(
            f"insufficient data: {seen * 7:.1f} days were seen; a trend needs {FEWEST_WEEKS} weeks",
            "`tracescope diff` compares shorter periods",
        )
    rows = _last_week(kept)
    wanted = rows.filter(pl.col("share") >= LEAST_SHARE)
    wanted = wanted.sort("share", "edge_id", descending=[True, False]).head(MOST_EDGES)
    curves = curves_of(period, wanted["edge_id"].unique(maintain_order=True).to_list())
    found = {edge: (curve, wall_of(curve, period.end_ns, seen)) for edge, curve in curves.items()}
    clocks = _Clocks(kept)
    units = _Requests(kept)
    edges = _tested(
        [
            (
                replace(
                    _edge(row, found[row["edge_id"]], horizon_weeks, multiples),
                    past_load=_past_load(found[row["edge_id"]][0], period.end_ns),
                ),
                *_p_values(row["edge_id"], found[row["edge_id"]][1], units, clocks.part(row), seen),
            )
            for row in wanted.iter_rows(named=True)
            if row["edge_id"] in found
        ]
    )
    entries = _entries(clocks, found, edges, multiples, slo_ms or {}, REACH * seen)
    return Forecast(
        period.environment, period.end_ns - round(seen * WEEK_NS), period.end_ns, seen, horizon_weeks,
        tuple(multiples), tuple(sorted(edges, key=_urgency)), tuple(entries), tuple(period.notes),
    )  # fmt: skip


def _urgency(edge: EdgeForecast) -> tuple[float, float, str, str]:
    return (
        edge.weeks if edge.weeks is not None else math.inf,
        edge.headroom if edge.headroom is not None else math.inf,
        edge.name,
        edge.operation,
    )


def _last_week(period: PeriodRollups) -> pl.DataFrame:
    """Every edge's critical time in the last week, as a share of its kind of unit's."""
    since = period.end_ns // period.slot_ns - WEEK_NS // period.slot_ns
    rows = period.tables["path_hours"].filter(pl.col("slot") >= since)
    named = rows.join(period.tables["paths"], on="path_id").lazy()
    keys = ("unit", "edge_id", "kind", "caller", "callee", "operation")
    sums = weighted(named, keys, ("own_ns", "calls")).collect()
    return sums.with_columns((pl.col("own_ns") / pl.col("own_ns").sum().over("unit")).alias("share"))


class _Requests:
    """Units of work a week at the entries that an edge lies under."""

    def __init__(self, period: PeriodRollups) -> None:
        self.period = period
        self.hours = period.tables["entry_hours"]
        pairs = period.tables["paths"].select("edge_id", "entry_id").unique()
        self.entries = dict(pairs.group_by("edge_id").agg(pl.col("entry_id").sort()).iter_rows())
        self.known: dict[tuple[int, ...], tuple[Floats, Floats]] = {}
        self.paths = period.tables["paths"].select("edge_id", "path_id")

    def per_unit(self, edge_id: int) -> tuple[float, float, int]:
        """Log growth a week of an edge's calls for one unit of work, its standard error, and weeks."""
        mine = self.paths.filter(pl.col("edge_id") == edge_id)
        rows = self.period.tables["path_hours"].join(mine, on="path_id", how="semi")
        weeks, calls = weekly(rows, self.period, "calls")
        at, units = self.of(edge_id)
        common, a, b = np.intersect1d(weeks, at, return_indices=True)
        return *load_trend(common, calls[a] / units[b]), len(common)

    def of(self, edge_id: int) -> tuple[Floats, Floats]:
        """Middles of whole weeks, and units in each ``(w,)``."""
        key = tuple(self.entries[edge_id])
        if key not in self.known:
            rows = self.hours.filter(pl.col("entry_id").is_in(list(key)))
            self.known[key] = weekly(rows, self.period, "units")
        return self.known[key]


class _Clocks:
    """Mean clock of every entry in the last week, and what its edges are of it."""

    def __init__(self, period: PeriodRollups) -> None:
        self.period = period
        since = period.end_ns // period.slot_ns - WEEK_NS // period.slot_ns
        rows = period.tables["path_hours"].filter(pl.col("slot") >= since)
        named = rows.join(period.tables["paths"], on="path_id").lazy()
        own = weighted(named, ("unit", "entry_id", "edge_id"), ("own_ns",)).collect()
        # most of the time first
        self.own = own.sort(pl.col("own_ns").round(), "edge_id", descending=[True, False])
        hours = period.tables["entry_hours"].join(period.tables["entries"], on="entry_id")
        self.hours = hours.with_columns(weight().alias("w"))
        self.late = self.hours.filter(pl.col("slot") >= since)
        clocks = self.late.group_by("unit", "entry_id").agg((pl.col("clock_ns") * pl.col("w")).sum())
        around = own.join(clocks, on=["unit", "entry_id"]).group_by("unit", "edge_id")
        sums = around.agg(pl.col("own_ns", "clock_ns").sum())
        self.around = {(unit, edge): own / max(clock, 1.0) for unit, edge, own, clock in sums.iter_rows()}

    def part(self, row: Mapping[str, object]) -> float:
        """Of the clock of the entries that an edge lies under."""
        return self.around.get((row["unit"], row["edge_id"]), 0.0)


def _p_values(
    edge_id: int, wall: Wall, units: _Requests, part: float, seen: float
) -> tuple[float | None, Trend]:
    """How likely an edge's drift is no more than what matters, and its amplification with the same.

    What matters is what adds `MIN_EFFECT_PART` to the clock of its entries in the weeks that were seen.
    """
    least = math.log1p(MIN_EFFECT_PART / max(part, 1e-9)) / seen
    drift = None if wall.drift_logs is None else p_value(*wall.drift_logs, least)
    slope, error, weeks = units.per_unit(edge_id)
    amplified = Trend.of(slope, error, weeks)
    if amplified.pct_per_week is not None:
        amplified = replace(amplified, q_value=p_value(slope, error, max(weeks - 2, 1), least))
    return drift, amplified


def _tested(forecasts: Sequence[tuple[EdgeForecast, float | None, Trend]]) -> list[EdgeForecast]:
    """Edges with their amplification and the false discovery rates of all that may grow."""
    trends = [replace(edge.drift, q_value=drift) for edge, drift, _ in forecasts]
    trends = adjusted([*trends, *(amplified for _, _, amplified in forecasts)])
    pairs = zip(trends[: len(forecasts)], trends[len(forecasts) :], strict=True)
    return [
        replace(edge, drift=drift, amplification=amplification)
        for (edge, _, _), (drift, amplification) in zip(forecasts, pairs, strict=True)
    ]


def _edge(
    row: Mapping[str, object],
    known: tuple[EdgeCurve, Wall],
    horizon: float,
    multiples: Sequence[float],
) -> EdgeForecast:
    curve, wall = known
    peak, highest = curve.peak_load, curve.highest_load
    late = slice(-168, None)
    now = float(np.average(curve.arrivals.self_s[late], weights=curve.arrivals.calls[late]))
    coming = None
    if curve.fitted is not None:
        now = float(curve.fitted.curve.latency_s(np.array([peak]))[0])
        if math.isfinite(wall.trend_logs[1]):
            coming = math.exp(min((wall.trend_logs[0] + curve.fitted.growth) * horizon, 50.0))
    gap, least = (
        None if room is None or coming is None else room / coming
        for room in (wall.headroom, wall.headroom_at_least)
    )
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
        headroom=wall.headroom,
        headroom_interval=wall.headroom_interval,
        headroom_at_least=wall.headroom_at_least,
        drift=wall.drift,
        load_trend=wall.load_trend,
        amplification=Trend(None, None),
        weeks=wall.weeks,
        weeks_interval=wall.weeks_interval,
        beyond_weeks=wall.beyond_weeks,
        resilience_gap=gap,
        resilience_gap_at_least=least,
        what_if=tuple(_one(curve, now * 1e3, times) for times in multiples),
        reason=wall.reason,
        replicas=curve.replicas,
    )


def _past_load(curve: EdgeCurve, now_ns: int) -> tuple[tuple[float, float], ...]:
    """Middle and peak load of the whole weeks before `now_ns`, the load in times of the last days' peak."""
    at, peaks = curve.whole.weekly_peaks(now_ns)
    today = curve.whole.peak_load
    return tuple(zip(at.tolist(), (peaks / today).tolist(), strict=True)) if today > 0 else ()


def _one(curve: EdgeCurve, ms: float, times: float) -> WhatIf:
    told = curve.expected(times)
    return WhatIf(
        times,
        None if told.ratio is None else ms * told.ratio,
        "itself" if told.full else None,
        bool(curve.peak_load * times > curve.highest_load),
        None if told.interval is None else (ms * told.interval[0], ms * told.interval[1]),
        None if told.at_least is None else ms * told.at_least,
    )


def _entries(
    clocks: _Clocks,
    walls: Mapping[int, tuple[EdgeCurve, Wall]],
    edges: Sequence[EdgeForecast],
    multiples: Sequence[float],
    slo_ms: Mapping[str, float],
    reach: float,
) -> list[EntryForecast]:
    """Every entry: its clock pushed through the curves of its edges."""
    known = {(e.unit, e.name, e.operation) for e in edges}
    names = {
        edge_id: (f"{caller} (itself)" if callee is None else f"{caller} -> {callee}", operation)
        for edge_id, caller, callee, operation in clocks.period.tables["paths"]
        .select("edge_id", "caller", "callee", "operation")
        .unique()
        .iter_rows()
    }
    failures = failure_trends(clocks.period, clocks.period.tables["entry_hours"])
    late = clocks.late.partition_by("unit", "entry_id", as_dict=True)
    own = clocks.own.partition_by("unit", "entry_id", as_dict=True)
    out: list[EntryForecast] = []
    for key, rows in clocks.hours.partition_by("unit", "entry_id", as_dict=True).items():
        week = late.get(key)
        units = 0.0 if week is None else float((week["units"] * week["w"]).sum())
        if week is None or units <= 0:
            continue
        ms = float((week["clock_ns"] * week["w"]).sum()) / units / MS
        unit = schema.UNIT_NAMES[int(key[0])]
        parts = own.get(key)
        mine: dict[int, float] = {}
        if parts is not None:
            mine = dict(
                zip(parts["edge_id"].to_list(), (parts["own_ns"] / units / MS).to_list(), strict=True)
            )
        clock = EntryClock(ms, mine, walls)
        service, operation = rows["service"][0], rows["operation"][0]
        slo = slo_ms.get(f"{service} {operation}")
        wall, limit = _first_wall(clock, slo, reach, names)
        out.append(
            EntryForecast(
                unit=unit, service=service, operation=operation, units=units,
                demand=trend_of(*weekly(rows, clocks.period, "units")), ms_now=ms, slo_ms=slo,
                availability=1 - float((week["errors"] * week["w"]).sum()) / units,
                weeks=wall.weeks, weeks_interval=wall.weeks_interval, limit=limit,
                headroom=wall.headroom, headroom_interval=wall.headroom_interval,
                headroom_at_least=wall.headroom_at_least,
                what_if=tuple(_pushed(clock, names, times) for times in multiples),
                edges=tuple(
                    names[edge]
                    for edge, spent in mine.items()
                    if spent >= MATERIAL * ms and (unit, *names[edge]) in known
                ),
                failures=failures.get((int(key[0]), int(key[1]))),
            )
        )  # fmt: skip
    return sorted(out, key=lambda e: (e.unit != "request", -e.units, e.service, e.operation))


def _first_wall(
    clock: EntryClock, slo: float | None, reach: float, names: Mapping[int, tuple[str, str]]
) -> tuple[EntryWall, str | None]:
    """An entry's wall and what makes it: its own clock, or its SLO where that comes first."""
    wall = clock.wall(reach)
    limit = None if wall.limit is None else names[wall.limit][0]
    if slo is None:
        return wall, limit
    weeks, interval = clock.reaches(slo, reach)
    if weeks is None or (wall.weeks is not None and wall.weeks <= weeks):
        return wall, limit
    return replace(wall, weeks=weeks, weeks_interval=interval), f"SLO of {slo:g} ms"


def _pushed(clock: EntryClock, names: Mapping[int, tuple[str, str]], times: float) -> WhatIf:
    """An entry's clock at `times` today's load."""
    if times == 1:
        return WhatIf(times, clock.ms, None, extrapolated=False, interval=(clock.ms, clock.ms))
    middle, ends, least = clock.ms, [clock.ms, clock.ms], clock.ms
    limit, extrapolated, known = None, False, True
    for edge, spent in sorted(clock.spent.items(), key=lambda pair: -pair[1]):
        material = spent >= MATERIAL * clock.ms
        told = Expected(None, at_least=1.0 if times > 1 else 0.0)
        if edge in clock.walls:
            curve = clock.walls[edge][0]
            told = curve.expected(times)
            extrapolated |= material and bool(curve.peak_load * times > curve.highest_load)
        else:
            extrapolated |= material and times > 1
        if told.full:
            limit = limit or names[edge][0]
        elif told.ratio is None or told.interval is None:
            known &= not material
            least += spent * ((told.at_least or 0.0) - 1)
        else:
            middle += spent * (told.ratio - 1)
            ends = [end + spent * (ratio - 1) for end, ratio in zip(ends, told.interval, strict=True)]
            least += spent * (told.interval[0] - 1)
    if limit is not None or not known:
        return WhatIf(times, None, limit, extrapolated, None, least if limit is None else None)
    return WhatIf(times, middle, None, extrapolated, (ends[0], ends[1]))

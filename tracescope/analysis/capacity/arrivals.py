"""Arrivals at resources, and the points a load curve is fitted to.

The load that matters to an edge is its resource's total: everything that reaches this database, topic
or service, over all callers and entries, a call counting for the work that it brings
(`tracescope.analysis.capacity.offered`).  (A shared database whose other caller doubles looks like
4 % growth a week to a model of one edge's own arrivals.)

    slots of a period ─► load of each resource ─► windows of about 1,000 calls of one edge at one load

Few calls make noisy arrivals, and noise in the arrivals flattens the curve and invents growth.  So
where a slot holds too few calls to know its own load, the load is that of its hour of the day in this
period, and windows join slots of like load within a stretch of time: grouping by something that does
not share the noise (Wald's grouping estimator).  Where time is too short for that, consecutive slots
are joined and the arrivals shrunk to their mean by what counting them leaves uncertain (regression
calibration).

Slots are hours.  Windows of five minutes would have up to twelve rows an hour for each edge, which a year
of them does not bear, and would change little: where load swings within hours by 15 or 30 %, hours see the
wall 7 or 20 % too early and the peak too low as well, so that headroom, the one over the other, is
off by 2 % (`benchmarks/load_model.py`).

Source: Wald, "The fitting of straight lines if both variables are subject to error", 1940; Carroll et
al., "Measurement Error in Nonlinear Models", 2006, chapter 4; design, section 7.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tracescope import schema
from tracescope.analysis.capacity.load_model import FEWEST_CALLS, Points
from tracescope.analysis.capacity.offered import Asked, call_seconds, quiet_times
from tracescope.analysis.rollups.flows import weighted
from tracescope.analysis.rollups.instances import Lives, fleets
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.schema import DAY_NS, HOUR_NS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

WEEK_NS: Final = 7 * DAY_NS
#: What calls take in quiet hours is measured once for so long.
STRETCH_NS: Final = 2 * WEEK_NS
#: Calls a window should hold, and how many windows a period is cut into at most.
TARGET_CALLS: Final = 1000
MOST_POINTS: Final = 120
TARGET_POINTS: Final = 16
#: Calls that make a slot, or a cell of the daily profile, know its own load.
KNOWN_CALLS: Final = 400
KNOWN_CELL: Final = 200
#: Arrivals of which less than this part is more than counting noise are no load to fit.
LEAST_RELIABLE: Final = 0.3
KEYS: Final = ("slot", "edge_id")
#: Mark of resources that serve calls: services, databases and what sends no spans.
SERVICE: Final = "s:"
#: The part of slots that is busier than what is called peak load.
PEAK_QUANTILE: Final = 0.95


@dataclass(frozen=True, slots=True)
class Arrivals:
    """One edge in one period, a row a slot ``(n,)``, in order of time.

    Attributes
    ----------
    start_ns, slot_ns
        Start of every slot and their length.
    calls, units, self_s
        Calls counted, units of work they are of, and mean time of a call itself.
    load
        Arrivals a second at the resource, in calls of its mean work, smoothed where a slot knows too little.
    counted
        Calls at the resource that were counted, unweighted: as many of equal work as know as much.
    noise
        Relative standard error of `load` in a slot.
    replicas
        Live instances of the resource, where it is a service whose instances are known.
    asked
        What every edge that reaches the resource asks of it, by ``edge_id``; empty for a topic.
    arrived
        The edge's own calls, weighted by their sampling; None: they are as many as were counted.
    """

    start_ns: Ints
    slot_ns: int
    calls: Floats
    units: Floats
    self_s: Floats
    load: Floats
    counted: Floats
    noise: float
    replicas: Floats | None = None
    asked: Mapping[int, Asked] = field(default_factory=dict[int, Asked])
    arrived: Floats | None = None

    @property
    def each(self) -> Arrivals | None:
        """The same edge, with the load of each replica; None where replicas are not known."""
        return None if self.replicas is None else replace(self, load=self.load / self.replicas)

    def select(self, rows: Ints) -> Arrivals:
        """Only some of the slots."""
        replicas = None if self.replicas is None else self.replicas[rows]
        names = ("start_ns", "calls", "units", "self_s", "load", "counted")
        return replace(self, replicas=replicas, **{name: getattr(self, name)[rows] for name in names})

    @property
    def peak_load(self) -> float:
        """Load that the busiest twentieth of the slots of the last week reach."""
        late = self.start_ns >= self.start_ns[-1] + self.slot_ns - WEEK_NS
        return float(np.quantile(self.load[late], PEAK_QUANTILE))

    def weekly_peaks(self, now_ns: int) -> tuple[Floats, Floats]:
        """Middle of every whole week in weeks from now, and its peak load ``(w,)``."""
        week = (now_ns - self.start_ns - 1) // WEEK_NS
        at: list[float] = []
        peaks: list[float] = []
        for number in np.unique(week)[::-1]:
            rows = week == number
            if np.ptp(self.start_ns[rows]) < 0.7 * WEEK_NS:
                continue
            at.append(-float(number) - 0.5)
            peaks.append(float(np.quantile(self.load[rows], PEAK_QUANTILE)))
        return np.array(at), np.array(peaks)


def _edges(paths: pl.DataFrame) -> pl.DataFrame:
    """Every edge with the resource it reaches, and the one its calls count for."""
    queue = pl.col("kind") == schema.EDGE_QUEUE
    wait = queue & (pl.col("operation") == schema.QUEUE_WAIT)
    own = pl.col("callee").is_null()
    name = pl.when(own | wait).then(pl.col("caller")).otherwise(pl.col("callee"))
    # a topic's publishing and waiting are counted apart: they are two ends of one message
    role = pl.when(wait).then(pl.lit("w:")).when(queue).then(pl.lit("p:")).otherwise(pl.lit(SERVICE))
    return paths.unique("edge_id").select("edge_id", own.alias("own"), (role + name).alias("resource"))


def near(edges: Iterable[tuple[int, str, str | None, str | None]], *periods: PeriodRollups) -> list[int]:
    """Call paths of some edges, and of all that reaches the same resources.

    Parameters
    ----------
    edges
        Kind, caller, callee and operation of each.
    periods
        Whose ``paths`` to look through.
    """
    names = ("kind", "caller", "callee", "operation")
    paths = pl.concat([period.tables["paths"].select("path_id", "edge_id", *names) for period in periods])
    types = {name: paths.schema[name] for name in names}
    wanted = pl.DataFrame(list(edges), schema=types, orient="row").unique()
    resources = _edges(paths)
    reached = (
        resources.join(paths.join(wanted, on=names, how="semi", nulls_equal=True), on="edge_id", how="semi")
        .select("resource").unique()
    )  # fmt: skip
    ids = resources.join(reached, on="resource", how="semi").select("edge_id")
    return paths.join(ids, on="edge_id", how="semi")["path_id"].unique().sort().to_list()


def by_edge(period: PeriodRollups, edge_ids: Collection[int] | None = None) -> dict[int, Arrivals]:
    """Arrivals of every edge of a period, by ``edge_id``.

    Parameters
    ----------
    period
        Its ``path_hours`` and ``paths`` are read, and ``service_hours`` where it has them.
    edge_ids
        Only these edges; resources are made of all.
    """
    return of_periods([period], edge_ids)[0]


def of_periods(
    periods: Sequence[PeriodRollups], edge_ids: Collection[int] | None = None
) -> list[dict[int, Arrivals]]:
    """Arrivals of every edge in compared periods; a call weighs the same in all of them.

    Parameters
    ----------
    periods
        As of `by_edge`.
    edge_ids
        Only these edges; resources are made of all.
    """
    reached = [
        _reached(period, edge_ids, number if len(periods) > 1 else None)
        for number, period in enumerate(periods)
    ]
    counted = pl.concat([rows.filter("counts") for rows in reached]).sort("resource", "stretch", *KEYS)
    # what waits in a topic, and what is put into it, is no work of the topic's
    seconds = call_seconds(quiet_times(counted.filter(pl.col("resource").str.starts_with(SERVICE))))
    names = ("resource", "edge_id", "stretch")
    rows = [(*key, value) for key, value in sorted(seconds.items())]
    types = {name: counted.schema[name] for name in names} | {"seconds": pl.Float64()}
    first = pl.col("seconds").first().over("resource", "edge_id").alias("first")
    table = pl.DataFrame(rows, schema=types, orient="row").with_columns(first)
    mean = (pl.col("arrived") * pl.col("seconds")).sum() / pl.col("arrived").sum()
    usual = (
        counted.join(table, on=names)
        .sort("resource", "stretch", *KEYS)
        .group_by("resource", maintain_order=True)
        .agg(mean.alias("usual"))
    )
    timed = [
        found.join(table, on=names, how="left").join(usual, on="resource", how="left").sort(KEYS)
        for found in reached
    ]
    return [_of_period(found, period, edge_ids) for period, found in zip(periods, timed, strict=True)]


def _reached(period: PeriodRollups, edge_ids: Collection[int] | None, number: int | None) -> pl.DataFrame:
    """Calls of every edge by slot, with the resource they reach, and whether they count for its load.

    The stretch of a slot is the `number` of the period, or its fortnight where there is none.
    """
    edges = _edges(period.tables["paths"])
    if edge_ids is not None:  # what reaches the resources of these edges
        reached = edges.filter(pl.col("edge_id").is_in(list(edge_ids))).select("resource").unique()
        edges = edges.join(reached, on="resource", how="semi")
    ids = period.tables["paths"].select("path_id", "edge_id").join(edges, on="edge_id", how="semi")
    rows = (
        period.tables["path_hours"]
        .lazy()
        .select("slot", "path_id", "threshold", "calls", "units", "own_all_ns")
        .filter(pl.col("calls") > 0)
        .join(ids.lazy(), on="path_id")
        .group_by(*KEYS, "threshold")
        .agg(pl.col("calls", "units", "own_all_ns").sum())
    )
    counted = rows.group_by(KEYS).agg(pl.col("calls", "units").sum())
    sums = weighted(rows, KEYS, ("calls", "own_all_ns")).rename({"calls": "arrived", "own_all_ns": "own_ns"})
    summed = counted.join(sums, on=KEYS).join(edges.lazy(), on="edge_id").collect()
    # a service's own edges count every request that it serves, roots and strange callers included
    served = summed.filter("own").select("resource", served=True).unique()
    fortnight = (pl.col("slot") * period.slot_ns - period.start_ns) // STRETCH_NS
    stretch = fortnight.cast(pl.Int64) if number is None else pl.lit(number, dtype=pl.Int64)
    return (
        summed.join(served, on="resource", how="left")
        .with_columns((pl.col("own") | pl.col("served").is_null()).alias("counts"), stretch.alias("stretch"))
        .sort(KEYS)
    )


def _of_period(
    timed: pl.DataFrame, period: PeriodRollups, edge_ids: Collection[int] | None
) -> dict[int, Arrivals]:
    """Arrivals of the edges wanted, of all that reach their resources and what a call counts for there."""
    weight = (pl.col("seconds") / pl.col("usual")).fill_null(1.0)
    before = (pl.col("first") / pl.col("usual")).fill_null(1.0)
    counting = timed.filter("counts")
    totals = counting.group_by("slot", "resource", maintain_order=True).agg(
        (pl.col("arrived") * weight).sum().alias("total"),
        ((pl.col("calls") * weight).sum() ** 2 / (pl.col("calls") * weight**2).sum()).alias("counted"),
    )
    asked = _asked(counting, period)
    if edge_ids is not None:
        timed = timed.filter(pl.col("edge_id").is_in(list(edge_ids)))
    # a call that got slower itself is no load for itself
    itself = pl.when("counts").then(pl.col("arrived") * (before - weight)).otherwise(0.0)
    joined = (
        timed.with_columns(itself.alias("itself"))
        .join(totals, on=["slot", "resource"])
        .with_columns(pl.col("total") + pl.col("itself"))
        .sort("edge_id", "slot")
    )
    parts = joined.partition_by("edge_id", as_dict=True, maintain_order=True)
    living: dict[str, Lives] = {}
    if "service_hours" in period.tables and period.slot_ns >= HOUR_NS:
        names = {str(part["resource"][0]).removeprefix(SERVICE) for part in parts.values()}
        living = {
            SERVICE + name: lives for name, lives in fleets(period.tables["service_hours"], names).items()
        }
    return {
        int(key[0]): _arrivals(
            part, period, living.get(part["resource"][0]), asked.get(part["resource"][0], {})
        )
        for key, part in parts.items()
    }


def _asked(counting: pl.DataFrame, period: PeriodRollups) -> dict[str, dict[int, Asked]]:
    """What every edge asks of the resources that serve calls, by resource."""
    seconds = max(period.end_ns - period.start_ns, 1) / 1e9
    sums = (
        counting.filter(pl.col("seconds").is_not_null())
        .group_by("resource", "edge_id", maintain_order=True)
        .agg(pl.col("arrived").sum(), (pl.col("arrived") * pl.col("seconds")).sum().alias("work"))
    )
    out: dict[str, dict[int, Asked]] = {}
    for resource, edge, arrived, work in sums.iter_rows():
        out.setdefault(str(resource), {})[int(edge)] = Asked(arrived / seconds, work / arrived)
    return out


def _arrivals(
    part: pl.DataFrame, period: PeriodRollups, living: Lives | None, asked: Mapping[int, Asked]
) -> Arrivals:
    start = part["slot"].to_numpy().astype(np.int64) * period.slot_ns
    counted = part["counted"].to_numpy().astype(np.float64)
    # the first and the last slot of a period may be cut
    begin, end = np.maximum(start, period.start_ns), np.minimum(start + period.slot_ns, period.end_ns)
    observed = part["total"].to_numpy() / np.maximum(end - begin, 1) * 1e9
    load, noise = _smooth(start, observed, counted, period)
    calls = part["calls"].to_numpy().astype(np.float64)
    arrived = part["arrived"].to_numpy()
    return Arrivals(
        start,
        period.slot_ns,
        calls,
        np.minimum(part["units"].to_numpy().astype(np.float64), calls),
        np.maximum(part["own_ns"].to_numpy() / arrived / 1e9, 1e-9),
        load,
        counted,
        noise,
        None if living is None else np.maximum(living.between(begin, end), 1.0),
        asked,
        arrived.astype(np.float64),
    )


def _smooth(start: Ints, observed: Floats, counted: Floats, period: PeriodRollups) -> tuple[Floats, float]:
    """Load of every slot, and its relative standard error."""
    typical = float(np.median(counted))
    days = (period.end_ns - period.start_ns) / DAY_NS
    if typical >= KNOWN_CALLS or period.slot_ns < HOUR_NS or days < 3:
        return observed, 1 / math.sqrt(max(typical, 1.0))
    hour = (start // HOUR_NS) % 24
    weekend = (start // DAY_NS + 3) % 7 >= 5
    for size, split in ((1, True), (3, True), (3, False), (6, False)):
        cell = hour // size + (24 * weekend if split and days >= 10 else 0)
        _, index = np.unique(cell, return_inverse=True)
        held = np.bincount(index, weights=counted)
        if np.median(held) >= KNOWN_CELL or size == 6:
            break
    times = np.bincount(index)
    level = np.bincount(index, weights=observed) / times
    load = level[index]
    week = (period.end_ns - 1 - start) // WEEK_NS
    for number in np.unique(week):
        rows = week == number
        if counted[rows].sum() >= KNOWN_CALLS:
            load[rows] *= observed[rows].sum() / load[rows].sum()
    return np.maximum(load, 1e-12), 1 / math.sqrt(max(float(np.median(held)), 1.0))


def points(arrivals: Arrivals, now_ns: int, period: int) -> Points:
    """Windows of about `TARGET_CALLS` calls of one edge at one load.

    Parameters
    ----------
    arrivals
        Of one period.
    now_ns
        Where weeks are counted from.
    period
        Its number.

    Returns
    -------
    Points
        Those that hold `FEWEST_CALLS` and more; perhaps none.
    """
    total = float(arrivals.calls.sum())
    count = int(
        min(max(total // TARGET_CALLS, min(TARGET_POINTS, total // (1.5 * FEWEST_CALLS))), MOST_POINTS)
    )
    if count < 1:
        return _group(arrivals, np.zeros(len(arrivals.load), np.int64), now_ns, period)
    if arrivals.slot_ns < HOUR_NS or len(arrivals.load) <= count:
        before = np.cumsum(arrivals.calls) - arrivals.calls / 2
        made = _group(arrivals, (before * count / total).astype(np.int64), now_ns, period)
        return _calibrated(made, arrivals)
    levels = int(np.clip(round(math.sqrt(count)), 1 if count < 3 else 3, 8))
    stretches = max(count // levels, 1)
    begin, end = arrivals.start_ns[0], arrivals.start_ns[-1] + arrivals.slot_ns
    stretch = (arrivals.start_ns - begin) * stretches // (end - begin)
    number = np.zeros(len(stretch), np.int64)
    for s in np.unique(stretch):
        rows = np.flatnonzero(stretch == s)
        rows = rows[np.argsort(arrivals.load[rows], kind="stable")]
        calls = arrivals.calls[rows]
        before = np.cumsum(calls) - calls / 2
        number[rows] = s * levels + np.minimum((before * levels / calls.sum()).astype(np.int64), levels - 1)
    return _group(arrivals, number, now_ns, period)


def _group(arrivals: Arrivals, number: Ints, now_ns: int, period: int) -> Points:
    """One point for every number that holds enough calls."""
    _, index = np.unique(number, return_inverse=True)
    calls = np.bincount(index, weights=arrivals.calls).astype(np.float64)
    middle = (arrivals.start_ns + arrivals.slot_ns / 2 - now_ns) / WEEK_NS

    def mean(values: Floats) -> Floats:
        return np.bincount(index, weights=values * arrivals.calls) / calls

    if arrivals.slot_ns < HOUR_NS:  # counted, not smoothed: a mean by calls would lean to busy slots
        load = np.bincount(index, weights=arrivals.load) / np.bincount(index)
    else:
        load = mean(arrivals.load)
    enough = calls >= FEWEST_CALLS
    made = Points(mean(middle), load, mean(arrivals.self_s), calls, np.full(len(calls), period, np.int64))
    made = made.select(enough)
    order = np.argsort(made.weeks, kind="stable")
    return Points(*(getattr(made, name)[order] for name in Points.__dataclass_fields__))


def _calibrated(points: Points, arrivals: Arrivals) -> Points:
    """Loads shrunk to their mean by the part of their variance that is counting noise."""
    if len(points) < 3:
        return points
    clumped = float(arrivals.calls.sum() / max(arrivals.units.sum(), 1.0))
    per_point = float(arrivals.counted.sum()) / max(len(points), 1)
    noise = clumped / per_point
    log = np.log(points.load)
    seen = float(np.var(log, ddof=1))
    reliable = max(1 - noise / seen, 0.0) if seen > 0 else 0.0
    reliable = reliable if reliable >= LEAST_RELIABLE else 0.0
    return Points(
        points.weeks,
        np.exp(log.mean() + reliable * (log - log.mean())),
        points.latency_s,
        points.calls,
        points.period,
    )


def edge_ids(periods: Collection[PeriodRollups]) -> Mapping[tuple[int, str, str | None, str], int]:
    """``edge_id`` by kind, caller, callee and operation."""
    names = ("kind", "caller", "callee", "operation")
    return {
        (kind, caller, callee, operation): edge_id
        for period in periods
        for kind, caller, callee, operation, edge_id in period.tables["paths"]
        .select(*names, "edge_id")
        .unique()
        .iter_rows()
    }


def edge_names(periods: Collection[PeriodRollups]) -> Mapping[int, str]:
    """Edges by ``edge_id``, as a person would write them with their operation."""
    return {
        edge_id: f"{caller} {operation}" if callee is None else f"{caller} -> {callee} {operation}"
        for (_, caller, callee, operation), edge_id in edge_ids(periods).items()
    }

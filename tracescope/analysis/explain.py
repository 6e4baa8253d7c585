"""One edge explained: what changed, its load curve, its weeks, who calls it, and a sentence to say.

    Report's edge ─┬─ effects, exemplars
                   ├─ points and curve of its resource's load          load model, base against head
                   ├─ weeks: calls per unit, ms per call, share
                   └─ entries it lies under, and callers that share its resource

Source: design, sections 7 and 8.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from tracescope import schema
from tracescope.analysis.capacity.arrivals import WEEK_NS, edge_ids, near, of_periods
from tracescope.analysis.capacity.edge_walls import Past, standing, with_wall
from tracescope.analysis.capacity.split import Modelled, edge_key, is_wait, model_edge
from tracescope.analysis.capacity.walls import EdgeCurve, Wall
from tracescope.analysis.comparison.causes import cause_clause
from tracescope.analysis.report import EFFECTS, Edge, Effect, Report
from tracescope.analysis.rollups.flows import weight
from tracescope.analysis.rollups.period import MS, PeriodRollups
from tracescope.errors import UsageError
from tracescope.near import suggestion
from tracescope.visible import line

#: Loads at which a curve is drawn.
CURVE_POINTS: Final = 40
MOST_CALLERS: Final = 8


@dataclass(frozen=True, slots=True)
class Sample:
    """A window of calls: load in arrivals a second at the resource, mean ms of a call, calls counted."""

    period: str
    load: float
    ms: float
    calls: float


@dataclass(frozen=True, slots=True)
class Line:
    """A fitted curve of one period: ms at each load."""

    period: str
    loads: tuple[float, ...]
    ms: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Week:
    """One week of the edge."""

    period: str
    start_ns: int
    calls_per_unit: float
    ms_per_call: float
    ms_per_unit: float


@dataclass(frozen=True, slots=True)
class Caller:
    """An entry that the edge lies under, or a caller that shares its resource."""

    name: str
    calls_base: float
    calls_head: float
    ms_base: float
    ms_head: float


@dataclass(frozen=True, slots=True)
class LoadCurve:
    """The load model of the edge; ``reason`` says why there is none.

    Samples and lines are of the two periods.  What is known of the wall is of all that was seen until the
    later one's end, as in the forecast: ``r0_ms`` is latency at no load, a queue's wait there what it waits
    for a free consumer; ``capacity`` is None where no wall is in sight; ``contention`` and
    ``coherency`` are the law's a and b.
    """

    reason: str | None
    samples: tuple[Sample, ...]
    lines: tuple[Line, ...]
    r0_ms: float | None
    capacity_per_s: float | None
    contention: float | None
    coherency: float | None
    step: bool
    peak_load_per_s: float
    headroom: float | None
    headroom_interval: tuple[float, float | None] | None
    headroom_at_least: float | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """What every surface renders."""

    edge: Edge
    report: Report
    sentence: str
    curve: LoadCurve | None
    weeks: tuple[Week, ...]
    entries: tuple[Caller, ...]
    sharing: tuple[Caller, ...]


def _printed(name: str) -> str:
    return " ".join(line(name).replace("→", "->").split())


def choose(edges: Sequence[Edge], text: str, operation: str | None = None) -> Edge:
    """The one edge that `text` names: ``orders -> postgresql/orders``, perhaps with its operation.

    Names count as they are printed: what a table shows can be given back.

    Raises
    ------
    UsageError
        None, or several: the message lists them.
    """
    wanted = _printed(text)
    full = {number: _printed(f"{edge.name} {edge.operation or ''}") for number, edge in enumerate(edges)}
    tries = (
        [n for n, edge in enumerate(edges) if wanted in (_printed(edge.name), full[n])],
        [n for n in full if wanted.casefold() in full[n].casefold()],
    )
    for found in tries:
        kept = [
            n for n in found if operation is None or _printed(edges[n].operation or "") == _printed(operation)
        ]
        if len(kept) == 1:
            return edges[kept[0]]
        if kept:
            names = "\n".join(f"    '{full[n]}'  ({edges[n].kind}, {edges[n].unit})" for n in kept[:12])
            more = f"\n    and {len(kept) - 12} more" if len(kept) > 12 else ""
            raise UsageError(f"{text!r} is {len(kept)} edges:\n{names}{more}", "name one, with its operation")
    known = [*(edge.name for edge in edges), *full.values()]
    hint = suggestion(wanted, known, "`tracescope diff --all` lists them")
    raise UsageError(f"no edge {text!r} in these periods", hint)


def explain(
    report: Report, edge: Edge, base: PeriodRollups, head: PeriodRollups, past: Past | None = None
) -> Explanation:
    """Explain one edge of a report.

    Parameters
    ----------
    report, edge
        The comparison, and which of its edges.
    base, head
        What they were made of.
    past
        As of `tracescope.analysis.diff.diff`.
    """
    looked_at = set(near([edge_key(edge)], base, head))
    for period in (base, head) if edge.callee is not None else ():
        paths = period.tables["paths"]
        looked_at |= set(paths.filter(pl.col("callee") == edge.callee)["path_id"].to_list())
    base, head = (period.of_paths(sorted(looked_at)) for period in (base, head))
    key = edge_ids([base, head]).get(edge_key(edge))
    modelled = None
    if key is not None:
        before, after = of_periods([base, head], [key])
        if key in before and key in after:
            modelled = model_edge(before[key], after[key], head.end_ns, waits=is_wait(edge))
    found = standing([edge], (base, head), past).get(edge_key(edge))
    if edge.headroom is None and edge.headroom_at_least is None:  # the diff looks where latency did something
        edge = with_wall(edge, found)
    curve = None if modelled is None else _curve(modelled, found)
    weeks = tuple(
        week for name, period in (("base", base), ("head", head)) for week in _weeks(name, period, edge, key)
    )
    return Explanation(
        edge,
        report,
        sentence(edge),
        curve,
        weeks,
        _entries(base, head, edge, key),
        _sharing(base, head, edge),
    )


def sentence(edge: Edge) -> str:
    """What a colleague would say of this edge."""
    what = f"{edge.name}" + (f" ({edge.operation})" if edge.operation else "")
    if not edge.significant:
        said = f"{what}: no change that could not be chance."
        if edge.failures is not None and edge.failures.rate.significant:
            rate = edge.failures.rate
            said = f"{what} fails {100 * rate.head:.3g} % of its calls ({100 * rate.base:.3g} % before); "
            said += "no change of its time that could not be chance."
        return said
    more = "more" if edge.credited_ms > 0 else "less"
    said = [f"{what} takes {abs(edge.credited_ms):.3g} ms {more} per {edge.unit} than before"]
    parts = {name: value for name, value in edge.effects.items() if name != Effect.TRANSIENT and value}
    calls = f"{edge.calls_per_unit_base:.3g} → {edge.calls_per_unit_head:.3g}"
    total = sum(abs(value) for value in parts.values())
    leading = sorted(parts, key=lambda name: -abs(parts[name]))
    causes = [
        f"{cause_clause(name, parts[name], calls)} ({parts[name]:+.3g} ms)"
        for name in leading
        if abs(parts[name]) >= 0.1 * total
    ]
    if causes:
        said.append(": " + ", and ".join(causes[:2]))
    said.append(f", which is no improvement ({edge.missing_work})." if edge.missing_work else ".")
    if edge.failures is not None and edge.failures.rate.significant:
        rate = edge.failures.rate
        said.append(f" {100 * rate.head:.3g} % of its calls fail ({100 * rate.base:.3g} % before).")
    if edge.growth_pct_per_week is not None and abs(edge.growth_pct_per_week) >= 0.05:
        said.append(f" Work at equal load changes by {edge.growth_pct_per_week:+.1f} % a week.")
    if edge.weeks_to_wall is not None:
        said.append(
            " At peak load it is at its wall now." if edge.weeks_to_wall == 0
            else f" At today's growth it reaches its wall in {edge.weeks_to_wall:.0f} weeks."
        )  # fmt: skip
    return "".join(said)


def _curve(modelled: Modelled, known: tuple[EdgeCurve, Wall] | None) -> LoadCurve:
    points, fitted = modelled.points, modelled.fitted
    names = ("base", "head")
    samples = tuple(
        Sample(names[int(p)], float(x), float(r) * 1e3, float(n))
        for p, x, r, n in zip(points.period, points.load, points.latency_s, points.calls, strict=True)
    )
    lines: list[Line] = []
    for number, name in enumerate(names if fitted is not None else ()):
        assert fitted is not None
        mine = points.select(points.period == number)
        time = float(np.average(fitted.course.time(mine.weeks), weights=mine.calls))
        loads = np.linspace(0, float(mine.load.max()), CURVE_POINTS)
        ms = fitted.curve.latency_s(loads, fitted.growth * time) * 1e3
        lines.append(Line(name, tuple(loads.tolist()), tuple(ms.tolist())))
    step = fitted is not None and fitted.course.step
    if known is None or known[0].fitted is None:
        reason = modelled.reason if known is None else known[1].reason or modelled.reason
        return LoadCurve(
            reason, samples, tuple(lines), None, None, None, None, step, modelled.peak_load, None, None, None
        )
    curve, wall = known[0].fitted.curve, known[1]
    seen = wall.headroom is not None and math.isfinite(curve.capacity)
    return LoadCurve(
        None, samples, tuple(lines), float(curve.latency_s(np.zeros(1))[0]) * 1e3,
        curve.capacity if seen else None,
        curve.contention if seen else 0.0, curve.coherency if seen else 0.0, step,
        known[0].peak_load, wall.headroom, wall.headroom_interval, wall.headroom_at_least,
    )  # fmt: skip


def _of_edge(period: PeriodRollups, edge: Edge, key: int | None) -> pl.DataFrame:
    """Rows of the edge in one kind of unit, with their weights and entries."""
    paths = period.tables["paths"].filter(pl.col("edge_id") == (key if key is not None else 0))
    kind = schema.UNIT_NAMES.index(edge.unit)
    rows = period.tables["path_hours"].filter(pl.col("unit") == kind)
    return rows.join(paths.select("path_id", "entry_id"), on="path_id").with_columns(weight().alias("w"))


def _weeks(name: str, period: PeriodRollups, edge: Edge, key: int | None) -> list[Week]:
    """Weeks of a period, or an eighth of it where it is shorter than two."""
    length = WEEK_NS if period.end_ns - period.start_ns >= 2 * WEEK_NS else 0
    length = length or max((period.end_ns - period.start_ns) // 8, period.slot_ns)
    number = ((pl.col("slot") * period.slot_ns - period.start_ns) // length).alias("number")
    kind = schema.UNIT_NAMES.index(edge.unit)
    units = (
        period.tables["entry_hours"]
        .filter(pl.col("unit") == kind)
        .group_by(number)
        .agg((pl.col("units") * weight()).sum().alias("units"), pl.col("slot").n_unique().alias("slots"))
        .filter(pl.col("slots") * 2 >= pl.col("slots").max())
    )
    sums = (
        _of_edge(period, edge, key)
        .group_by(number)
        .agg(
            (pl.col("calls") * pl.col("w")).sum().alias("calls"),
            (pl.col("own_all_ns") * pl.col("w")).sum().alias("all_ns"),
            (pl.col("own_ns") * pl.col("w")).sum().alias("own_ns"),
        )
    )
    joined = units.join(sums, on="number", how="left").fill_null(0.0).sort("number")
    return [
        Week(
            name,
            period.start_ns + int(row["number"]) * length,
            row["calls"] / row["units"],
            row["all_ns"] / row["calls"] / MS if row["calls"] else 0.0,
            row["own_ns"] / row["units"] / MS,
        )
        for row in joined.iter_rows(named=True)
    ]


def _entries(base: PeriodRollups, head: PeriodRollups, edge: Edge, key: int | None) -> tuple[Caller, ...]:
    """Entries the edge lies under: calls and ms for one unit of the entry."""
    kind = schema.UNIT_NAMES.index(edge.unit)
    sums: list[dict[int, tuple[float, float]]] = []
    names: dict[int, str] = {}
    for period in (base, head):
        units = (
            period.tables["entry_hours"]
            .filter(pl.col("unit") == kind)
            .group_by("entry_id")
            .agg((pl.col("units") * weight()).sum().alias("units"))
        )
        mine = (
            _of_edge(period, edge, key)
            .group_by("entry_id")
            .agg((pl.col("calls") * pl.col("w")).sum(), (pl.col("own_ns") * pl.col("w")).sum())
            .join(units, on="entry_id")
            .filter(pl.col("units") > 0)
        )
        sums.append(
            {row["entry_id"]: (row["calls"] / row["units"], row["own_ns"] / row["units"] / MS)
             for row in mine.iter_rows(named=True)}
        )  # fmt: skip
        names |= {
            entry: f"{service} {operation}"
            for entry, service, operation in period.tables["entries"]
            .select("entry_id", "service", "operation")
            .iter_rows()
        }
    found = [
        Caller(names[entry], *(side.get(entry, (0.0, 0.0))[0] for side in sums),
               *(side.get(entry, (0.0, 0.0))[1] for side in sums))
        for entry in {*sums[0], *sums[1]}
    ]  # fmt: skip
    return tuple(sorted(found, key=lambda caller: (-caller.ms_head, caller.name))[:MOST_CALLERS])


def _sharing(base: PeriodRollups, head: PeriodRollups, edge: Edge) -> tuple[Caller, ...]:
    """Who else reaches the same resource: calls an hour and mean ms of a call, by caller and operation."""
    if edge.callee is None:
        return ()
    found: dict[str, list[tuple[float, float]]] = {}
    for number, period in enumerate((base, head)):
        paths = period.tables["paths"].filter(pl.col("callee") == edge.callee)
        rows = (
            period.tables["path_hours"]
            .join(paths.select("path_id", "caller", "operation"), on="path_id")
            .with_columns(weight().alias("w"))
            .group_by("caller", "operation")
            .agg((pl.col("calls") * pl.col("w")).sum(), (pl.col("own_all_ns") * pl.col("w")).sum())
        )
        hours = (period.end_ns - period.start_ns) / schema.HOUR_NS
        for caller, operation, calls, own in rows.iter_rows():
            row = found.setdefault(f"{caller}: {operation}", [(0.0, 0.0), (0.0, 0.0)])
            row[number] = (calls / hours, own / calls / MS if calls else 0.0)
    made = [Caller(name, b[0], h[0], b[1], h[1]) for name, (b, h) in found.items()]
    return tuple(sorted(made, key=lambda caller: (-caller.calls_head, caller.name))[:MOST_CALLERS])


def effects_in_order(edge: Edge) -> list[tuple[str, float]]:
    """Effects that are not nothing, in the order they are shown."""
    return [(name, edge.effects[name]) for name in EFFECTS if edge.effects.get(name)]

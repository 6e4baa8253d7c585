"""Patterns: what a grown edge looks like to somebody who has seen such edges before.

Each has a name, the figures that speak for it, and says ``possible`` where the rollups alone cannot settle
it.  None changes a credited millisecond; `starved caller`, which moves credit, is made with the effects.

    n+1                calls of one operation, one after another under one visit, became more
    calls grow         calls for each request rise week by week
    made serial        siblings that overlapped no longer do
    stragglers         of parallel calls the one that is waited for takes much longer than most
    queue backs up     waits grow, and not the consumer's work
    gap in front       network, handshake or pool in front of a callee that is itself as quick as before
    retries            calls and their errors rise together; their caller's own time, where it backs off
    contention         slower when the resource is busier: consistent with a lock or a pool, not proof of one

Source: design, section 7.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import polars as pl

from tracescope import schema
from tracescope.analysis.evidence.change_points import dominant
from tracescope.analysis.report import Edge, Effect, Pattern, PatternCertainty
from tracescope.analysis.rollups.flows import weight
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.analysis.statistics.rank_statistics import median_slope, rank_correlation
from tracescope.schema import DAY_NS

#: Edges that are looked at, those that come first.
MOST_EDGES: Final = 20
#: Calls a visit from which repeats are a pattern, and how much more of them than before.
REPEATS: Final = 1.8
MORE: Final = 1.2
#: Siblings overlap when their durations add up to this much more than the time any of them runs.
OVERLAPS: Final = 1.15
#: The call that is waited for against the mean call.
STRAGGLES: Final = 1.5
#: A callee or consumer as quick as before: its own rise under this part of the edge's.
STEADY_PART: Final = 0.25
#: Errors for each call that must have come along with more calls.
ERRORS_ROSE: Final = 0.02
#: Hours, and rank correlation with the resource's load, for contention.
FEWEST_HOURS: Final = 48
TOGETHER: Final = 0.3
FEWEST_WEEKS: Final = 4

_NAMES: Final = ("kind", "caller", "callee", "operation")
_SUMS: Final = ("calls", "calls_visited", "visits", "own_ns", "inclusive_ns", "busy_ns", "errors")


@dataclass(frozen=True, slots=True)
class _Side:
    """One period's weighted sums of one edge; ``above`` are its parents' visits, ``fan`` their overlap."""

    calls: float
    calls_visited: float
    visits: float
    own_ns: float
    inclusive_ns: float
    busy_ns: float
    errors: float
    above: float
    fan: float

    @property
    def per_visit(self) -> float:
        """Calls for each visit of what makes them."""
        return self.calls_visited / self.above if self.above else 0.0

    @property
    def own_ms(self) -> float:
        """Own time of a call on the path."""
        return self.own_ns / self.visits / 1e6 if self.visits else 0.0

    @property
    def below_ms(self) -> float:
        """Time below a call on the path."""
        return (self.inclusive_ns - self.own_ns) / self.visits / 1e6 if self.visits else 0.0

    @property
    def error_part(self) -> float:
        """Errors for each call."""
        return self.errors / self.calls if self.calls else 0.0


def attach(
    edges: Sequence[Edge],
    base: PeriodRollups,
    head: PeriodRollups,
    sums: tuple[PeriodRollups, PeriodRollups],
    known: Sequence[Pattern] = (),
) -> tuple[tuple[Edge, ...], tuple[Pattern, ...]]:
    """Name the patterns of the first significant edges.

    Parameters
    ----------
    edges
        In the order of the report.
    base, head
        What they were compared in.
    sums
        The same as `tracescope.analysis.comparison.aggregate` adds it up.
    known
        Patterns that are known already, by the edge's name.

    Returns
    -------
    edges
        With their patterns.
    patterns
        All of them, those of `known` first.
    """
    wanted = [k for k, e in enumerate(edges) if e.significant and e.credited_ms > 0 and e.note is None]
    sides = [sums_by_edge(period) for period in sums] if wanted else []
    out, found = list(edges), list(known)
    for k in wanted[:MOST_EDGES]:
        edge = edges[k]
        key = (edge.unit, edge.kind, edge.caller, edge.callee, edge.operation)
        both = [side.get(key) for side in sides]
        mine = [p for p in known if p.edge == edge.name and p.operation in (None, edge.operation)]
        if both[1] is not None:
            before = both[0] or _Side(*[0.0] * 8, fan=1.0)
            seen = [pattern for rule in _RULES for pattern in rule(edge, before, both[1])]
            if dominant(edge).startswith("latency"):
                seen += _contention(edge, head)
            if dominant(edge) == Effect.CALLS:
                seen += _weekly(edge, base, head)
            seen = [_backing_off(one, edge, edges) if one.name == "retries" else one for one in seen]
            found += seen
            mine += seen
        out[k] = replace(edge, patterns=tuple(mine))
    return tuple(out), tuple(found)


def sums_by_edge(period: PeriodRollups) -> dict[tuple[Any, ...], _Side]:
    """Sums of every edge of a period, by unit, kind, caller, callee and operation."""
    fan = [(pl.col(name) * weight()).sum() for name in ("child_sum_ns", "child_union_ns")]
    sums = (
        period.tables["path_hours"]
        .group_by("unit", "path_id")
        .agg(*[(pl.col(name) * weight()).sum() for name in _SUMS], *fan)
        .join(period.tables["paths"], on="path_id")
    )
    units = period.tables["entry_hours"].group_by("unit", "entry_id").agg((pl.col("units") * weight()).sum())
    above = pl.concat(
        [
            sums.select("unit", pl.col("path_id").alias("parent_id"), pl.col("visits").alias("above")),
            units.select("unit", pl.col("entry_id").alias("parent_id"), pl.col("units").alias("above")),
        ]
    )
    own = sums.filter(pl.col("kind") == schema.EDGE_SELF)
    families = own.group_by("unit", "parent_id").agg(
        pl.col("child_sum_ns").sum().alias("fan_sum"), pl.col("child_union_ns").sum().alias("fan_union")
    )
    rows = (
        sums.join(above, on=["unit", "parent_id"], how="left")
        .join(families, on=["unit", "parent_id"], how="left")
        .group_by("unit", *_NAMES)
        .agg(pl.col(*_SUMS, "above", "fan_sum", "fan_union").sum())
    )
    out: dict[tuple[Any, ...], _Side] = {}
    for row in rows.iter_rows(named=True):
        key = schema.UNIT_NAMES[row["unit"]], schema.EDGE_KINDS[row["kind"]], *(row[n] for n in _NAMES[1:])
        overlap = row["fan_sum"] / row["fan_union"] if row["fan_union"] else 1.0
        out[key] = _Side(**{name: float(row[name]) for name in (*_SUMS, "above")}, fan=overlap)
    return out


def _named(edge: Edge, name: str, certain: bool, *evidence: str) -> list[Pattern]:
    return [
        Pattern(
            name,
            edge.name,
            edge.operation,
            PatternCertainty.CERTAIN if certain else PatternCertainty.POSSIBLE,
            evidence,
        )
    ]


def _n_plus_one(edge: Edge, base: _Side, head: _Side) -> list[Pattern]:
    """Repeats under one visit became more, and do not overlap; without errors that explain them."""
    more = head.per_visit >= REPEATS and head.per_visit >= MORE * base.per_visit
    if edge.kind in ("queue", "self") or not more or dominant(edge) not in (Effect.CALLS, Effect.NEW):
        return []
    if _retries(edge, base, head):
        return []
    each = f"{base.per_visit:.3g} → {head.per_visit:.3g} calls for each visit of {edge.caller}"
    serial = head.visits >= 0.7 * head.calls_visited
    order = f"{head.visits / max(head.calls_visited, 1e-9):.0%} of them are waited for, one after another"
    return _named(edge, "n+1", serial and head.fan < OVERLAPS * 1.5, each, order)


def _serialised(edge: Edge, base: _Side, head: _Side) -> list[Pattern]:
    """The caller's calls overlapped, and overlap less; this one came onto the path."""
    if dominant(edge) != Effect.CRITICALITY or base.fan < OVERLAPS or head.fan > 0.95 * base.fan:
        return []
    waited = [side.visits / max(side.calls_visited, 1e-9) for side in (base, head)]
    return _named(
        edge, "made serial", head.fan < 1 + 0.5 * (base.fan - 1),
        f"calls of {edge.caller} overlap {base.fan:.3g}-fold before, {head.fan:.3g}-fold now",
        f"{waited[0]:.0%} → {waited[1]:.0%} of its calls are waited for",
    )  # fmt: skip


def _stragglers(edge: Edge, base: _Side, head: _Side) -> list[Pattern]:
    """Of many parallel calls, the one that ends last."""
    if head.per_visit < 2 or head.fan < OVERLAPS or head.visits > 0.6 * head.calls_visited:
        return []
    mean = [side.busy_ns / max(side.calls, 1e-9) / 1e6 for side in (base, head)]
    waited = [side.inclusive_ns / max(side.visits, 1e-9) / 1e6 for side in (base, head)]
    if waited[1] < STRAGGLES * mean[1]:
        return []
    return _named(
        edge, "stragglers", True,
        f"{head.per_visit:.3g} calls at once",
        f"the one that is waited for takes {waited[1]:.3g} ms, the mean {mean[1]:.3g} ms",
        f"excess {max(waited[0] - mean[0], 0):.3g} → {waited[1] - mean[1]:.3g} ms",
    )  # fmt: skip


def _queue(edge: Edge, base: _Side, head: _Side) -> list[Pattern]:
    """Waits grow, the work behind them does not."""
    if edge.kind != "queue" or edge.operation != schema.QUEUE_WAIT or head.own_ms <= base.own_ms:
        return []
    rise, work = head.own_ms - base.own_ms, head.below_ms - base.below_ms
    return _named(
        edge, "queue backs up", work < STEADY_PART * rise,
        f"a message waits {base.own_ms:.3g} → {head.own_ms:.3g} ms",
        f"is worked on for {base.below_ms:.3g} → {head.below_ms:.3g} ms",
        f"{base.calls:,.0f} → {head.calls:,.0f} messages in the periods",
    )  # fmt: skip


def _gap(edge: Edge, base: _Side, head: _Side) -> list[Pattern]:
    """Time between caller and callee, on neither side's work."""
    measured = edge.kind in ("http", "rpc") and not edge.uninstrumented and edge.callee is not None
    if not measured or not dominant(edge).startswith("latency"):
        return []
    rise, below = head.own_ms - base.own_ms, head.below_ms - base.below_ms
    if rise <= 0:
        return []
    return _named(
        edge, "gap in front", below < STEADY_PART * rise,
        f"{base.own_ms:.3g} → {head.own_ms:.3g} ms pass between caller and callee: network, handshake, pool",
        f"the callee itself takes {base.below_ms:.3g} → {head.below_ms:.3g} ms",
    )  # fmt: skip


def _retries(edge: Edge, base: _Side, head: _Side) -> list[Pattern]:
    """Errors came with the calls: an operation is made again after it failed."""
    rose = head.error_part - base.error_part
    if head.per_visit <= max(1.0, 1.05 * base.per_visit) or rose < ERRORS_ROSE:
        return []
    again = (head.per_visit - base.per_visit) / head.per_visit  # the part of calls that are new
    return _named(
        edge, "retries", rose >= 0.5 * again,
        f"{base.error_part:.1%} → {head.error_part:.1%} of calls fail",
        f"{base.per_visit:.3g} → {head.per_visit:.3g} calls for each visit of {edge.caller}",
    )  # fmt: skip


def _backing_off(pattern: Pattern, edge: Edge, edges: Sequence[Edge]) -> Pattern:
    """Retries with what their caller waits between them, where its own time rose too."""
    rose = [e for e in edges if e.kind == "self" and e.caller == edge.caller and e.unit == edge.unit]
    waits = sum(e.credited_ms for e in rose if e.significant and e.credited_ms > 0)
    if waits <= 0:
        return pattern
    words = f"{edge.caller} itself takes {waits:+.3g} ms per {edge.unit}: backing off between attempts?"
    return replace(pattern, evidence=(*pattern.evidence, words))


_RULES: Final[tuple[Callable[[Edge, _Side, _Side], list[Pattern]], ...]] = (
    _n_plus_one, _serialised, _stragglers, _queue, _gap, _retries,
)  # fmt: skip


def _paths_of(edge: Edge, period: PeriodRollups) -> pl.DataFrame:
    names = (pl.col("caller") == edge.caller) & pl.col("callee").eq_missing(pl.lit(edge.callee))
    kind = pl.col("kind") == schema.EDGE_KINDS.index(edge.kind)
    return period.tables["paths"].filter(
        names & kind & pl.col("operation").eq_missing(pl.lit(edge.operation))
    )


def _contention(edge: Edge, head: PeriodRollups) -> list[Pattern]:
    """Within HEAD, hours in which the resource has more to do are the slow ones."""
    if edge.callee is None or head.slot_ns < schema.HOUR_NS or edge.kind == "queue":
        return []
    kind = schema.EDGE_KINDS.index(edge.kind)
    shared = head.tables["paths"].filter((pl.col("callee") == edge.callee) & (pl.col("kind") == kind))
    unit = pl.col("unit") == schema.UNIT_NAMES.index(edge.unit)
    # what reaches the resource holds the edge's own calls
    rows = (
        head.tables["path_hours"].lazy().filter(unit)
        .select("slot", "path_id", "threshold", "calls", "own_ns", "visits")
        .join(shared.select("path_id").lazy(), on="path_id", how="semi").collect()
    )  # fmt: skip
    load = rows.group_by("slot").agg((pl.col("calls") * weight()).sum().alias("load"))
    mine = rows.join(_paths_of(edge, head).select("path_id"), on="path_id", how="semi").group_by("slot").agg(
        pl.col("own_ns", "visits").sum()
    )  # fmt: skip
    hours = mine.filter(pl.col("visits") > 0).join(load, on="slot").sort("slot")
    if hours.height < FEWEST_HOURS:
        return []
    slow = hours["own_ns"].to_numpy() / hours["visits"].to_numpy()
    busy = hours["load"].to_numpy()
    told = rank_correlation(slow, busy.astype(np.float64))
    if told.tau < TOGETHER or told.p_value > 0.001:
        return []
    quiet, full = np.quantile(busy, [0.25, 0.75])
    low, high = (float(np.median(slow[at])) / 1e6 for at in (busy <= quiet, busy >= full))
    return _named(
        edge, "contention", False,
        "consistent with lock or pool contention: slower when the resource is busier",
        f"{low:.3g} ms in quiet hours, {high:.3g} ms in busy ones (rank correlation {told.tau:.2f})",
    )  # fmt: skip


def _weekly(edge: Edge, base: PeriodRollups, head: PeriodRollups) -> list[Pattern]:
    """Calls for each unit of work, week by week."""
    weeks: dict[int, list[float]] = {}
    unit = pl.col("unit") == schema.UNIT_NAMES.index(edge.unit)
    for period in (base, head):
        week = (pl.col("slot") * period.slot_ns // (7 * DAY_NS)).alias("week")
        paths = _paths_of(edge, period).select("path_id", "entry_id")
        calls = (
            period.tables["path_hours"].lazy().filter(unit).select("slot", "path_id", "threshold", "calls")
            .join(paths.select("path_id").lazy(), on="path_id", how="semi")
            .group_by(week).agg((pl.col("calls") * weight()).sum()).collect()
        )  # fmt: skip
        units = (
            period.tables["entry_hours"].filter(unit)
            .join(paths.select("entry_id").unique(), on="entry_id", how="semi")
            .group_by(week).agg((pl.col("units") * weight()).sum())
        )  # fmt: skip
        for at, n, m in units.join(calls, on="week", how="left").fill_null(0).iter_rows():
            both = weeks.setdefault(at, [0.0, 0.0])
            both[0], both[1] = both[0] + n, both[1] + m
    points = sorted((at, calls / units) for at, (units, calls) in weeks.items() if units > 0 and calls > 0)
    if len(points) < FEWEST_WEEKS:
        return []
    at, rate = (np.array(column, np.float64) for column in zip(*points, strict=True))
    slope = median_slope(np.log(rate), at)
    if not slope.low > 0 or np.expm1(slope.estimate) < 0.01:
        return []
    rise = np.expm1(slope.estimate) * 100
    each = f"{rise:+.1f} % calls for each {edge.unit} a week over {len(points)} weeks"
    return _named(
        edge, "calls grow", True, each, f"at least {np.expm1(slope.low) * 100:+.1f} % with 95 % certainty"
    )

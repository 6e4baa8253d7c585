"""`diff`: which edges take more of the clock in HEAD than in BASE, why, and how sure that is.

    rollups of two periods ─► matched slots, blocks ─► sums per (replicate, path)      blocks, matched
        ─► mix + effects per path (exact) ─► effects per edge                          decompose, effects
        ─► intervals, false discovery rate ─► verdict ─► Report                        significance, verdict

Pure: frames in, `Report` out.  Effects over all edges and mix add up to the change of the mean
clock to within 1e-9 of it.

Source: design, section 6.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tracescope import schema
from tracescope.analysis import blocks as blocking
from tracescope.analysis import effects as causes
from tracescope.analysis import significance
from tracescope.analysis.effects import Split
from tracescope.analysis.matched import MS, PATH_SUMS, Period, Side, Unit, clock_of, gather, slots_of, weight
from tracescope.analysis.report import Edge, Entry, Extent, Report
from tracescope.analysis.significance import interval, shrink
from tracescope.analysis.verdict import data_notes, verdict
from tracescope.errors import InsufficientDataError
from tracescope.kernels.sketch import middle_of

Floats = NDArray[np.float64]

#: Causes told here; a load model splits latency further.
EFFECTS: Final = ("calls", "latency_unsplit", "criticality", "new", "gone", "transient")
#: A change under this part of base's clock is not worth an alarm.
MIN_EFFECT_PART: Final = 0.005
FEWEST_UNITS: Final = 10
#: A change of the detached part beyond this says the blocking rule changed, not the work.
DETACHED_CHANGE: Final = 0.05


@dataclass(frozen=True, slots=True)
class Options:
    """How to compare.

    ``min_effect_ms`` None is `MIN_EFFECT_PART` of base's clock.  ``keep_entry`` and ``keep_edge``
    narrow what is compared and what is listed.
    """

    alpha: float = 0.05
    min_effect_ms: float | None = None
    zone: str = "UTC"
    keep_entry: Callable[[str, str], bool] | None = None


def _check_enough(base: Period, head: Period) -> None:
    for name, period in (("BASE", base), ("HEAD", head)):
        hours = period.tables["entry_hours"]
        units = int(hours.filter(pl.col("unit") == schema.UNIT_REQUEST)["units"].sum())
        if units == 0:
            units = int(hours["units"].sum())
        if units < FEWEST_UNITS:
            raise InsufficientDataError(
                f"insufficient data: {name} has {units} units of work; at least {FEWEST_UNITS} are needed",
                "`tracescope status` shows what the store holds; choose a longer period",
            )


def diff(base: Period, head: Period, options: Options = Options()) -> Report:
    """Compare two periods.

    Parameters
    ----------
    base, head
        Their rollups.
    options
        See `Options`.

    Raises
    ------
    InsufficientDataError
        A period holds fewer than `FEWEST_UNITS` units of work.
    """
    _check_enough(base, head)
    matched = blocking.match(slots_of(base), slots_of(head), options.zone)
    units = {
        kind: gather(kind, base, head, matched, options.keep_entry) for kind in range(len(schema.UNIT_NAMES))
    }
    requests = units[schema.UNIT_REQUEST]
    if requests is None:
        raise InsufficientDataError(
            "insufficient data: no requests in either period", "only messages or detached work were seen"
        )
    notes = [*dict.fromkeys((*base.notes, *head.notes)), *matched.notes]
    splits = {kind: causes.split(unit, matched) for kind, unit in units.items() if unit is not None}
    clock = clock_of(requests, base, head)
    clock["delta_mix_adjusted_ms"] = clock["delta_ms"] - float(splits[schema.UNIT_REQUEST].mix.sum())
    minimum = options.min_effect_ms
    if minimum is None:
        minimum = MIN_EFFECT_PART * clock["base_ms"]
    edges: list[Edge] = []
    for kind, split in splits.items():
        unit = units[kind]
        assert unit is not None
        floor = (
            minimum
            if kind == schema.UNIT_REQUEST
            else MIN_EFFECT_PART * clock_of(unit, base, head)["base_ms"]
        )
        edges += _edges(unit, split, base, head, matched, floor)
    edges = _significance(edges, options.alpha)
    total = {name: sum(e.effects[name] for e in edges if e.unit == "request") for name in EFFECTS}
    total["mix"] = float(splits[schema.UNIT_REQUEST].mix.sum())
    entries = [
        entry for kind, unit in units.items() if unit for entry in _entries(unit, splits[kind], base, head)
    ]
    notes += data_notes(requests, base, head, matched)
    per_request = _units_per_request(units)
    ranked = sorted(edges, key=lambda e: _rank(e, per_request))
    state, reasons = verdict(ranked, matched)
    return Report(
        environment=head.environment or base.environment,
        notes=tuple(notes),
        base=_extent(base, requests.base, matched.base),
        head=_extent(head, requests.head, matched.head),
        clock=clock,
        other_clocks={
            schema.UNIT_NAMES[kind]: clock_of(unit, base, head)
            for kind, unit in units.items()
            if unit is not None and kind != schema.UNIT_REQUEST
        },
        state=state,
        stage=None,
        reasons=reasons,
        edges=tuple(ranked),
        entries=tuple(entries),
        effects_total=total,
        min_effect_ms=minimum,
        alpha=options.alpha,
        edges_in_all=len(ranked),
        patterns=tuple(pattern for split in splits.values() for pattern in split.patterns),
    )


def _units_per_request(units: Mapping[int, Unit | None]) -> dict[str, float]:
    """Units of each kind for one request in head, so that their milliseconds can be ranked together."""
    counts = {
        schema.UNIT_NAMES[kind]: float(unit.head.entries["units"].sum() + unit.base.entries["units"].sum())
        for kind, unit in units.items()
        if unit is not None
    }
    requests = max(counts.get("request", 1.0), 1e-300)
    return {name: count / requests for name, count in counts.items()}


def _rank(edge: Edge, per_request: Mapping[str, float]) -> tuple[Any, ...]:
    """Significant rises by their size; then the rest by what noise leaves of them."""
    worse = edge.significant and edge.credited_ms > 0
    size = edge.credited_ms if edge.significant else edge.shrunk_ms
    names = edge.caller, edge.callee or "", edge.operation or "", edge.kind, edge.unit
    return not worse, -size * per_request[edge.unit], -edge.credited_ms, *names


def _extent(period: Period, side: Side, slots: blocking.Slots) -> Extent:
    return Extent(
        period.start_ns,
        period.end_ns,
        float(side.entries["units"].sum()),
        len(slots.frame) * period.slot_ns / schema.HOUR_NS,
        slots.blocks,
    )


def _edges(
    unit: Unit, split: Split, base: Period, head: Period, matched: blocking.Matched, minimum: float
) -> list[Edge]:
    """Rows of one kind of unit; significance is decided over all kinds together."""
    from scipy.special import stdtr, stdtrit

    transient = split.by_edge(causes.transient(unit, min(base.slot_ns, head.slot_ns)))
    parts = ("calls", "latency", "criticality", "new", "gone")

    def credited(effects: dict[str, Floats]) -> Floats:
        return sum((effects[name] for name in parts), np.zeros(1))

    def spread(pick: Callable[[dict[str, Floats]], Floats]) -> significance.Spread:
        whole = pick(split.whole)
        return significance.combine(
            significance.jackknife(whole, pick(split.without_base), matched.base.shape),
            significance.jackknife(whole, pick(split.without_head), matched.head.shape),
        )

    total = credited(split.whole) - transient
    error = spread(credited)
    shrunk = shrink(total, error.error)
    enough = min(matched.base.blocks, matched.head.blocks) >= blocking.FEWEST_BLOCKS
    quantile = stdtrit(error.freedom, 0.975)
    t = np.divide(
        np.abs(total) - minimum, error.error, out=np.where(np.abs(total) > minimum, np.inf, -np.inf),
        where=error.error > 0,
    )  # fmt: skip
    p = np.where(np.isfinite(error.error), stdtr(error.freedom, -t), 1.0) if enough else np.ones(len(total))
    share, share_error = causes.shares(unit, split, matched)
    share_quantile = stdtrit(share_error.freedom, 0.975)
    spreads = {name: spread(lambda effects, name=name: effects[name]) for name in parts}
    sums = [
        {name: split.by_edge(side.paths[name].sum(axis=0)) for name in PATH_SUMS}
        for side in (unit.base, unit.head)
    ]
    units = [max(side.entries["units"].sum(), 1e-300) for side in (unit.base, unit.head)]
    clocks = [max(side.entries["clock_ns"].sum(), 1e-300) for side in (unit.base, unit.head)]
    out: list[Edge] = []
    by_edge = unit.paths.with_columns(pl.Series("edge", split.edge)).group_by("edge").agg("path_id")
    path_ids = dict(by_edge.iter_rows())
    for row in split.edges.iter_rows(named=True):
        k = row["edge"]
        if not any(side["calls"][k] or side["own_ns"][k] for side in sums):
            continue  # nothing of it in either period, or put back where it belongs
        effects = {
            "calls": float(split.whole["calls"][k]),
            "latency_unsplit": float(split.whole["latency"][k] - transient[k]),
            "criticality": float(split.whole["criticality"][k]),
            "new": float(split.whole["new"][k]),
            "gone": float(split.whole["gone"][k]),
            "transient": float(transient[k]),
        }
        intervals = {
            ("latency_unsplit" if name == "latency" else name): interval(
                effects["latency_unsplit" if name == "latency" else name],
                float(spreads[name].error[k]),
                float(stdtrit(spreads[name].freedom[k], 0.975)),
            )
            if enough
            else None
            for name in parts
        }
        detached = [s["detached_calls"][k] / s["calls"][k] if s["calls"][k] else 0.0 for s in sums]
        changed = (
            sums[0]["calls"][k] > 0 < sums[1]["calls"][k] and abs(detached[1] - detached[0]) > DETACHED_CHANGE
        )
        out.append(
            Edge(
                unit=schema.UNIT_NAMES[unit.kind],
                kind=schema.EDGE_KINDS[row["kind"]],
                caller=row["caller"],
                callee=row["callee"],
                operation=row["operation"],
                uninstrumented=row["uninstrumented"],
                share_base=float(sums[0]["own_ns"][k] / clocks[0]),
                share_head=float(sums[1]["own_ns"][k] / clocks[1]),
                share_ci=interval(float(share[k]), float(share_error.error[k]), float(share_quantile[k]))
                if enough
                else None,
                own_ms_base=float(sums[0]["own_ns"][k] / units[0] / MS),
                own_ms_head=float(sums[1]["own_ns"][k] / units[1] / MS),
                inclusive_ms_base=float(sums[0]["inclusive_ns"][k] / units[0] / MS),
                inclusive_ms_head=float(sums[1]["inclusive_ns"][k] / units[1] / MS),
                credited_ms=float(total[k]),
                credited_ms_ci=interval(float(total[k]), float(error.error[k]), float(quantile[k]))
                if enough
                else None,
                shrunk_ms=0.0 if changed else float(shrunk[k]),
                q_value=None if changed else float(p[k]),
                significant=False,
                effects=effects,
                effects_ci=intervals,
                calls_per_unit_base=float(sums[0]["calls"][k] / units[0]),
                calls_per_unit_head=float(sums[1]["calls"][k] / units[1]),
                note="blocking rule changed" if changed else None,
                exemplars_base=_exemplars(base, unit.kind, path_ids[k]),
                exemplars_head=_exemplars(head, unit.kind, path_ids[k]),
            )
        )
    return out


def _significance(edges: list[Edge], alpha: float) -> list[Edge]:
    """Adjust p-values over all edges."""
    tested = [edge for edge in edges if edge.q_value is not None]
    q = significance.benjamini_hochberg(np.array([edge.q_value for edge in tested], dtype=np.float64))
    adjusted = iter(q.tolist())
    out: list[Edge] = []
    for edge in edges:
        if edge.q_value is None:
            out.append(edge)
            continue
        value = next(adjusted)
        out.append(replace(edge, q_value=value, significant=value <= alpha))
    return out


def _entries(unit: Unit, split: Split, base: Period, head: Period) -> list[Entry]:
    sides = (unit.base, unit.head)
    units = [side.entries["units"].sum(axis=0) for side in sides]
    clock = [side.entries["clock_ns"].sum(axis=0) for side in sides]
    totals = [max(u.sum(), 1e-300) for u in units]
    p95 = [_quantiles(period, unit.kind) for period in (base, head)]
    mean = [max(c.sum(), 0.0) / t / MS for c, t in zip(clock, totals, strict=True)]
    out: list[Entry] = []
    for row in unit.entries.iter_rows(named=True):
        k = row["index"]
        ms = [float(c[k] / u[k] / MS) if u[k] else None for c, u in zip(clock, units, strict=True)]
        weights = [float(u[k] / t) for u, t in zip(units, totals, strict=True)]
        # shown against the mean of all entries, so that a shift towards a slow entry reads as a rise
        shift = float(split.mix[k]) - (weights[1] - weights[0]) * (mean[0] + mean[1]) / 2
        out.append(
            Entry(
                unit=schema.UNIT_NAMES[unit.kind],
                service=row["service"],
                operation=row["operation"],
                units_base=float(units[0][k]),
                units_head=float(units[1][k]),
                ms_base=ms[0],
                ms_head=ms[1],
                p95_base_ms=p95[0].get(row["entry_id"]),
                p95_head_ms=p95[1].get(row["entry_id"]),
                weight_base=weights[0],
                weight_head=weights[1],
                mix_ms=shift,
                state="insufficient data" if min(units[0][k], units[1][k]) < FEWEST_UNITS else "compared",
            )
        )
    return sorted(out, key=lambda e: (-e.units_head, e.service, e.operation))


def _quantiles(period: Period, kind: int) -> dict[int, float]:
    """95th percentile of every entry's clock in ms, at most 2.2 % off, by entry id."""
    rows = (
        period.tables["entry_sketches"]
        .lazy()
        .filter(pl.col("unit") == kind)
        .group_by("entry_id", "bin", "threshold")
        .agg(pl.col("count").sum())
        .group_by("entry_id", "bin")
        .agg((pl.col("count") * weight()).sum().alias("n"))
        .sort("entry_id", "bin")
        .with_columns(
            pl.col("n").cum_sum().over("entry_id").alias("reached"),
            pl.col("n").sum().over("entry_id").alias("total"),
        )
        .filter(pl.col("reached") >= 0.95 * pl.col("total"))
        .group_by("entry_id")
        .agg(pl.col("bin").min())
        .collect()
    )
    values = middle_of(rows["bin"].to_numpy()) / MS
    return dict(zip(rows["entry_id"].to_list(), values.tolist(), strict=True))


def _exemplars(period: Period, kind: int, path_ids: Sequence[int]) -> tuple[str, ...]:
    """Trace ids of the slowest and of a typical call on some paths."""
    rows = period.tables["path_hours"]
    if "slow_ns" not in rows.columns:
        return ()
    rows = rows.filter((pl.col("unit") == kind) & pl.col("path_id").is_in(path_ids) & (pl.col("calls") > 0))
    if rows.is_empty():
        return ()
    slow = rows.sort("slow_ns", "slow_hi", "slow_lo", descending=[True, False, False]).row(0, named=True)
    drawn = rows.filter(pl.col("typical_hash") > 0)
    ids = [(slow["slow_hi"], slow["slow_lo"])]
    if not drawn.is_empty():
        typical = drawn.sort("typical_hash", "typical_hi", "typical_lo").row(0, named=True)
        ids.append((typical["typical_hi"], typical["typical_lo"]))
    return tuple(dict.fromkeys(trace_hex(hi, lo) for hi, lo in ids))


def trace_hex(hi: int, lo: int) -> str:
    """A trace id as 32 hex digits."""
    return f"{hi & (2**64 - 1):016x}{lo & (2**64 - 1):016x}"

"""Entries of a report: how their traffic and their clocks moved, and what that shift is worth.

Source: design, section 6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import polars as pl

from tracescope import schema
from tracescope.analysis.comparison.effects import Split
from tracescope.analysis.comparison.entry_tests import EntryTests
from tracescope.analysis.comparison.matched import Unit
from tracescope.analysis.report import Entry, State
from tracescope.analysis.rollups.flows import weight
from tracescope.analysis.rollups.period import MS, PeriodRollups
from tracescope.analysis.statistics.significance import benjamini_hochberg
from tracescope.analysis.statistics.sketch import midpoint_of

#: Fewer units of work than this are too few to compare.
FEWEST_UNITS: Final = 10


def entry_rows(
    unit: Unit, split: Split, tests: EntryTests, base: PeriodRollups, head: PeriodRollups
) -> list[Entry]:
    """Entries of one kind of unit, busiest first."""
    sides = (unit.base, unit.head)
    units = [side.entries["units"].sum(axis=0) for side in sides]
    clock = [side.entries["clock_ns"].sum(axis=0) for side in sides]
    fine = [u - side.entries["errors"].sum(axis=0) for u, side in zip(units, sides, strict=True)]
    spent = [c - side.entries["failed_ns"].sum(axis=0) for c, side in zip(clock, sides, strict=True)]
    known = [period.failures_measured for period in (base, head)]
    totals = [max(u.sum(), 1e-300) for u in units]
    p95 = [quantiles(period, unit.kind) for period in (base, head)]
    mean = [float(c.sum()) / t / MS for c, t in zip(clock, totals, strict=True)]
    out: list[Entry] = []
    for row in unit.entries.iter_rows(named=True):
        k = row["index"]
        ms = [float(c[k] / u[k] / MS) if u[k] else None for c, u in zip(clock, units, strict=True)]
        ok_ms = [
            float(s[k] / f[k] / MS) if told and f[k] > 0 else None
            for s, f, told in zip(spent, fine, known, strict=True)
        ]
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
                state=State.COMPARED if min(units[0][k], units[1][k]) >= FEWEST_UNITS else State.INSUFFICIENT,
                **_tested(tests, k),
                ok_ms_base=ok_ms[0],
                ok_ms_head=ok_ms[1],
            )
        )
    # sums of floats differ in their last digits from run to run
    return sorted(out, key=lambda e: (-float(f"{e.units_head:.12g}"), e.service, e.operation))


def _tested(tests: EntryTests, k: int) -> dict[str, Any]:
    """What the tests say of entry `k`; p-values, which `adjusted` makes q-values of."""
    seen = float(tests.seen[:, k].min())
    if not seen:
        return {"units_seen": seen}
    rise, reach = float(tests.rise_ms[k]), float(tests.reach_ms[k])
    return {
        "rise_ms": rise,
        "rise_ms_ci": (rise - reach, rise + reach) if math.isfinite(reach) else None,
        "detectable_ms": float(tests.detectable_ms[k]) if math.isfinite(reach) else None,
        "slower": float(tests.slower[k]),
        "q_value": min(2 * float(min(tests.mean_p[k], tests.rank_p[k])), 1.0) if rise > 0 else 1.0,
        "units_seen": seen,
    }


def adjusted(entries: Sequence[Entry]) -> list[Entry]:
    """Entries of all kinds, p-values adjusted over those of which anything is known."""
    tested = [entry for entry in entries if entry.q_value is not None]
    q = iter(benjamini_hochberg(np.array([entry.q_value for entry in tested], np.float64)).tolist())
    return [entry if entry.q_value is None else replace(entry, q_value=next(q)) for entry in entries]


def quantiles(period: PeriodRollups, kind: int) -> dict[int, float]:
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
        .collect(engine="streaming")
    )
    values = midpoint_of(rows["bin"].to_numpy()) / MS
    return dict(zip(rows["entry_id"].to_list(), values.tolist(), strict=True))

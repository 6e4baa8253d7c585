"""The slowest requests: whether more of them are slow, though the mean may not show it.

    base   ▂▅█▆▃▁ ▏          1 % of requests lie above base's p99
    head   ▂▅█▆▃▁ ▏ ▁▁▁      3 % do: a tail, and the mean moved by 2 %

The part of requests beyond base's quantile is a rate like that of failures, tested by blocks of time as
`tracescope.analysis.statistics.rates` does; the quantiles themselves are shown beside it.

Source: design, sections 5 (sketches) and 6; Bahadur, "A note on quantiles in large samples", Annals of
Mathematical Statistics 37, 1966 (a quantile moves as the part beyond it does).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tracescope import schema
from tracescope.analysis.comparison.matched import Unit
from tracescope.analysis.report import Rate, Tail
from tracescope.analysis.rollups.flows import weight
from tracescope.analysis.rollups.period import MS, PeriodRollups
from tracescope.analysis.statistics import blocks as blocking
from tracescope.analysis.statistics.rates import Compared, Counts, compare_rates
from tracescope.analysis.statistics.significance import benjamini_hochberg
from tracescope.analysis.statistics.sketch import midpoint_of

Floats = NDArray[np.float64]

#: Quantiles that are looked at.
QUANTILES: Final = (0.95, 0.99)
#: Changes of the part beyond a quantile that matter: a third of the larger, and a thousandth.
LEAST_CHANGE: Final = (1 / 3, 1e-3)
#: A quantile that moved by less than this is as it was: bins are 4.4 % wide.
LEAST_RATIO: Final = 1.1
#: Units of work that a quantile must leave beyond it in base.
FEWEST_BEYOND: Final = 5.0
#: A mean that changed by less than this part is flat.
FLAT: Final = 0.05


@dataclass(frozen=True, slots=True)
class _Sketches:
    """Clocks of one kind of unit in one period: weighed counts by block, entry and bin ``(b, e, n)``."""

    counts: Floats
    seen: Floats

    def quantile(self, q: float) -> NDArray[np.int64]:
        """Place of the bin that holds the quantile of each entry ``(e,)``."""
        by_bin = self.counts.sum(axis=0)
        reached = np.cumsum(by_bin, axis=1)
        return (reached < q * reached[:, -1:]).sum(axis=1)

    def beyond(self, cut: NDArray[np.int64]) -> Counts:
        """Units in bins above each entry's bin."""
        above = np.arange(self.counts.shape[2])[None, :] > cut[:, None]
        return Counts((self.counts * above).sum(axis=2), self.counts.sum(axis=2), self.seen)


def _sketches(period: PeriodRollups, unit: Unit, slots: blocking.Slots, bins: NDArray[np.int64]) -> _Sketches:
    entries = unit.entries.select("entry_id", "index")
    rows = (
        period.tables["entry_sketches"]
        .lazy()
        .filter(pl.col("unit") == unit.kind)
        .join(slots.frame.lazy(), on="slot", how="left", maintain_order="left")
        .join(entries.lazy(), on="entry_id", how="left", maintain_order="left")
        .filter(pl.col("block").is_not_null() & pl.col("index").is_not_null())
        .select("block", "index", "bin", "count", factor=weight() * pl.col("weight"))
        .collect()
    )
    shape = slots.blocks, len(entries), len(bins)
    at = (rows["block"].to_numpy().astype(np.int64) * shape[1] + rows["index"].to_numpy()) * shape[2]
    at = at + np.searchsorted(bins, rows["bin"].to_numpy())
    counts = np.bincount(
        at, (rows["count"] * rows["factor"]).to_numpy(), shape[0] * shape[1] * shape[2]
    ).reshape(shape)
    seen = np.bincount(rows["index"].to_numpy(), rows["count"].to_numpy(), shape[1])
    return _Sketches(counts.astype(np.float64), seen.astype(np.float64))


@dataclass(frozen=True, slots=True)
class _Tested:
    """One quantile of one kind of unit: parts beyond it, and the quantile of both periods in ms."""

    unit: Unit
    q: float
    rates: Compared
    ms: tuple[Floats, Floats]
    rows: NDArray[np.int64]


def compare_tails(
    units: Mapping[int, Unit | None],
    periods: tuple[PeriodRollups, PeriodRollups],
    matched: blocking.Matched,
    alpha: float,
    beside: Floats,
) -> tuple[Tail, ...]:
    """Quantiles of entries that changed, the highest rise first.

    Parameters
    ----------
    units, periods, matched
        As compared.
    alpha, beside
        False discoveries allowed, among these and the p-values `beside` of latency.
    """
    tested: list[_Tested] = []
    for kind, unit in units.items():
        if unit is None or kind == schema.UNIT_LONG or any("entry_sketches" not in p.tables for p in periods):
            continue
        bins = pl.concat([period.tables["entry_sketches"]["bin"] for period in periods]).unique().sort()
        if not len(bins):
            continue
        places = bins.to_numpy().astype(np.int64)
        sides = [
            _sketches(period, unit, slots, places)
            for period, slots in zip(periods, (matched.base, matched.head), strict=True)
        ]
        tested += [_test(unit, q, (sides[0], sides[1]), places, matched) for q in QUANTILES]
    if not tested:
        return ()
    q_values = benjamini_hochberg(np.concatenate([*(one.rates.p_value[one.rows] for one in tested), beside]))
    out: list[Tail] = []
    at = 0
    for one in tested:
        for row in one.rows.tolist():
            made = _tail(one, row, float(q_values[at]), alpha)
            at += 1
            if made is not None:
                out.append(made)
    return tuple(sorted(out, key=lambda t: (-t.ms_head / max(t.ms_base, 1e-9), t.service, t.operation, t.q)))


def _test(
    unit: Unit,
    q: float,
    sides: tuple[_Sketches, _Sketches],
    bins: NDArray[np.int64],
    matched: blocking.Matched,
) -> _Tested:
    base, head = sides
    cut = base.quantile(q)
    rates = compare_rates(base.beyond(cut), head.beyond(cut), matched, LEAST_CHANGE)
    ms = tuple(midpoint_of(bins[side.quantile(q)].astype(np.int16)) / MS for side in sides)
    rows = np.flatnonzero((rates.base * base.seen >= FEWEST_BEYOND) & (head.seen * (1 - q) >= FEWEST_BEYOND))
    return _Tested(unit, q, rates, (ms[0], ms[1]), rows)


def _tail(one: _Tested, row: int, q_value: float, alpha: float) -> Tail | None:
    """One quantile, where it changed."""
    rates, (base_ms, head_ms) = one.rates, (float(one.ms[0][row]), float(one.ms[1][row]))
    ratio = head_ms / max(base_ms, 1e-9)
    if not rates.enough or q_value > alpha or 1 / LEAST_RATIO < ratio < LEAST_RATIO:
        return None
    sides = one.unit.base, one.unit.head
    units = [float(side.entries["units"][:, row].sum()) for side in sides]
    means = [
        float(side.entries["clock_ns"][:, row].sum()) / max(n, 1e-300) / MS
        for side, n in zip(sides, units, strict=True)
    ]
    rate = Rate(
        base=float(rates.base[row]),
        head=float(rates.head[row]),
        of_base=units[0],
        of_head=units[1],
        change_ci=rates.change_ci(row),
        q_value=q_value,
        significant=True,
    )
    names = one.unit.entries.row(row, named=True)
    return Tail(
        unit=schema.UNIT_NAMES[one.unit.kind],
        service=names["service"],
        operation=names["operation"],
        q=one.q,
        ms_base=base_ms,
        ms_head=head_ms,
        mean_base=means[0],
        mean_head=means[1],
        beyond=rate,
        flat=abs(means[1] - means[0]) < FLAT * means[0],
    )

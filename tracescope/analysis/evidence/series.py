"""Edges over time: share, milliseconds and calls in equal stretches of a period.

    |--base-------------|--head-------------|
    . . . . . . . . . . . . . . . . . . . . .     a point a stretch, with a band where it has slots enough

A stretch is a day where periods are long, else an equal part of the period; points come from the same
rollups as the diff, so they show what it compared, and every row counts for the units that its sampling
stands for: a probability that changes within a period moves no point.  The band is what the slots
inside a stretch tell of its mean, as a ratio estimator; it is no test (`tracescope.analysis.diff` is).

Source: Cochran, "Sampling Techniques", 1977, chapter 6 (variance of a ratio of sums).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tracescope import schema
from tracescope.analysis.report import EdgeKey
from tracescope.analysis.rollups.flows import weight
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.analysis.statistics.sketch import midpoint_of

Floats = NDArray[np.float64]

#: Stretches a period is cut into at most; more would not be told apart in a small picture.
MOST_POINTS: Final = 90
FEWEST_SLOTS: Final = 4
_MS: Final = 1e6
#: Columns that are read hour by hour.
_READ: Final = ("slot", "unit", "path_id", "threshold", "calls", "own_ns", "busy_ns")


@dataclass(frozen=True, slots=True)
class Stretches:
    """Equal stretches of time: number ``i`` is ``[start_ns + i * length_ns, ...)``."""

    start_ns: int
    length_ns: int
    count: int

    @property
    def starts_ns(self) -> list[int]:
        """Where each begins."""
        return [self.start_ns + number * self.length_ns for number in range(self.count)]


def stretches(start_ns: int, end_ns: int, slot_ns: int, most: int = MOST_POINTS) -> Stretches:
    """Cut ``[start_ns, end_ns)`` into whole slots, days where there are days enough.

    Parameters
    ----------
    start_ns, end_ns, slot_ns
        A period, and the length of its rollups' slots.
    most
        Stretches at most.
    """
    length = max(end_ns - start_ns, slot_ns)
    for unit in (schema.DAY_NS, schema.HOUR_NS):
        if slot_ns <= unit and length >= 8 * unit:
            size = unit * -(-length // (unit * most))
            begin = start_ns // unit * unit
            return Stretches(begin, size, -(-(end_ns - begin) // size))
    size = slot_ns * max(1, -(-length // (slot_ns * most)))
    begin = start_ns // slot_ns * slot_ns
    return Stretches(begin, size, max(1, -(-(end_ns - begin) // size)))


@dataclass(frozen=True, slots=True)
class Series:
    """One edge over the stretches of a period, NaN where nothing was seen.

    Attributes
    ----------
    starts_ns
        Where each stretch begins ``(n,)``.
    share, share_low, share_high
        Part of the critical time of its kind of unit ``(n,)``, and a 95 % band.
    own_ms, calls_per_unit, call_ms
        Critical milliseconds and calls per unit of work, and the mean duration of a call ``(n,)``.
    units
        Units of work in each stretch, weighted ``(n,)``.
    """

    starts_ns: list[int]
    share: Floats
    share_low: Floats
    share_high: Floats
    own_ms: Floats
    calls_per_unit: Floats
    call_ms: Floats
    units: Floats


def edge_series(period: PeriodRollups, cut: Stretches, edges: list[EdgeKey]) -> dict[EdgeKey, Series]:
    """Series of some edges.

    Parameters
    ----------
    period
        Its ``path_hours``, ``entry_hours`` and ``paths`` are read.
    cut
        Stretches to sum over.
    edges
        Which.
    """
    units = {name: number for number, name in enumerate(schema.UNIT_NAMES)}
    kinds = {name: number for number, name in enumerate(schema.EDGE_KINDS)}
    wanted = pl.DataFrame(
        [(units[u], kinds[k], c, t, o, i) for i, (u, k, c, t, o) in enumerate(edges)],
        schema={
            "unit": pl.Int8,
            "kind": pl.Int8,
            "caller": pl.String,
            "callee": pl.String,
            "operation": pl.String,
            "edge": pl.Int64,
        },
        orient="row",
    )
    names = ["kind", "caller", "callee", "operation"]
    chosen = (
        period.tables["paths"]
        .join(wanted, on=names, how="inner", nulls_equal=True)
        .select("path_id", "unit", "edge")
    )
    at = ((pl.col("slot") * period.slot_ns - cut.start_ns) // cut.length_ns).alias("at")
    rows = (
        period.of_paths(chosen["path_id"].unique().to_list(), _READ)
        .tables["path_hours"]
        .lazy()
        .join(chosen.lazy(), on=["path_id", "unit"])
        .group_by("edge", "slot")
        .agg((pl.col("own_ns", "calls", "busy_ns") * weight()).sum())
        .collect()
    )
    clocks = (
        period.tables["entry_hours"]
        .group_by("unit", "slot")
        .agg((pl.col("clock_ns", "units") * weight()).sum())
        .with_columns(at)
        .filter(pl.col("at").is_between(0, cut.count - 1))
        .sort("slot")
    )
    of_unit = {int(unit): part for (unit,), part in clocks.partition_by("unit", as_dict=True).items()}
    of_edge = {int(edge): part for (edge,), part in rows.partition_by("edge", as_dict=True).items()}
    return {
        name: _series(of_unit.get(units[name[0]], clocks.clear()), of_edge.get(number, rows.clear()), cut)
        for number, name in enumerate(edges)
    }


def _series(clocks: pl.DataFrame, rows: pl.DataFrame, cut: Stretches) -> Series:
    """Ratios of sums by stretch, and the band of the share.

    Parameters
    ----------
    clocks
        ``slot, at, clock_ns, units`` of all units of work, in order of slots.
    rows
        ``slot, own_ns, calls, busy_ns`` of the edge, where it was called.
    cut
        Stretches to sum over.
    """
    slot, called = clocks["slot"].to_numpy(), rows["slot"].to_numpy()
    place = np.searchsorted(slot, called)
    known = np.isin(called, slot)
    at = clocks["at"].to_numpy()

    def total(values: Floats) -> Floats:
        return np.bincount(at, weights=values, minlength=cut.count).astype(np.float64)

    def of_slots(name: str) -> Floats:
        values = np.zeros(len(slot))
        values[place[known]] = rows[name].to_numpy()[known]
        return values

    own, clock = of_slots("own_ns"), clocks["clock_ns"].to_numpy()
    calls, busy = total(of_slots("calls")), total(of_slots("busy_ns"))
    units, sum_own, sum_clock, slots = (
        total(clocks["units"].to_numpy()),
        total(own),
        total(clock),
        total(np.ones(len(slot))),
    )
    share = _over(sum_own, sum_clock)
    residual = own - np.nan_to_num(share)[at] * clock
    enough = slots >= FEWEST_SLOTS
    variance = total(residual**2) * _over(slots, slots - 1)
    half = np.where(enough, 1.96 * _over(np.sqrt(variance), sum_clock), np.nan)
    return Series(
        cut.starts_ns,
        share,
        np.clip(share - half, 0, 1),
        np.clip(share + half, 0, 1),
        _over(sum_own, units) / _MS,
        _over(calls, units),
        _over(busy, calls) / _MS,
        units,
    )


def _over(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)


@dataclass(frozen=True, slots=True)
class CallPath:
    """One call path in two periods; milliseconds are inclusive, per unit of work of its entry.

    ``only`` is ``base`` or ``head`` for a path that one period lacks.
    """

    path_id: int
    parent_id: int
    depth: int
    kind: str
    caller: str
    callee: str | None
    operation: str | None
    ms_base: float
    ms_head: float
    own_ms_base: float
    own_ms_head: float
    calls_base: float
    calls_head: float
    only: str | None


@dataclass(frozen=True, slots=True)
class EntryPaths:
    """The call paths of one entry, parents before children, the largest in head first.

    ``ms_base`` and ``ms_head`` are the mean clocks of the entry, ``units_*`` its units of work, all
    weighted by their sampling.
    """

    entry_id: int
    unit: str
    service: str
    operation: str
    ms_base: float
    ms_head: float
    units_base: float
    units_head: float
    paths: tuple[CallPath, ...]


def entry_paths(
    base: Mapping[str, pl.DataFrame], head: Mapping[str, pl.DataFrame], entry_id: int
) -> EntryPaths | None:
    """The call paths of one entry in both periods; None when neither has it.

    Parameters
    ----------
    base, head
        ``path_hours``, ``entry_hours`` and the dimensions of each period.
    entry_id
        Which entry.
    """
    sides = [_entry_side(tables, entry_id) for tables in (base, head)]
    names = pl.concat([tables["entries"] for tables in (base, head)]).filter(pl.col("entry_id") == entry_id)
    if names.is_empty() or not (sides[0].units or sides[1].units):
        return None
    dims = pl.concat([tables["paths"] for tables in (base, head)]).filter(pl.col("entry_id") == entry_id)
    dims = dims.unique("path_id").sort("depth", "path_id")
    joined = dims.join(sides[0].paths, on="path_id", how="left").join(
        sides[1].paths, on="path_id", how="left", suffix="_head"
    )
    rows = joined.fill_null(0).sort(
        "depth", pl.col("inclusive_head"), "path_id", descending=[False, True, False]
    )
    paths: list[CallPath] = []
    texts = dict(zip(dims["path_id"].to_list(), dims.select("callee", "operation").rows(), strict=True))
    for row in rows.iter_rows(named=True):
        if not row["calls"] and not row["calls_head"]:
            continue
        callee, operation = texts[row["path_id"]]
        only = "head" if not row["calls"] else "base" if not row["calls_head"] else None
        paths.append(
            CallPath(
                row["path_id"], row["parent_id"], row["depth"], schema.EDGE_KINDS[row["kind"]], row["caller"],
                callee, operation, row["inclusive"], row["inclusive_head"], row["own"], row["own_head"],
                row["calls"], row["calls_head"], only,
            )
        )  # fmt: skip
    service, operation = names.select("service", "operation").row(0)
    return EntryPaths(
        entry_id, sides[1].unit or sides[0].unit, service, operation, sides[0].ms, sides[1].ms,
        sides[0].units, sides[1].units, tuple(paths),
    )  # fmt: skip


def grown_most(
    base: Mapping[str, pl.DataFrame], head: Mapping[str, pl.DataFrame], entries: Sequence[int]
) -> int | None:
    """Of some entries that serve requests in both periods, the one whose clock grew most over all of head's.

    Parameters
    ----------
    base, head
        ``entry_hours`` of each period.
    entries
        Which entries; the first of those that grew alike.
    """
    before, after = _mostly(base), _mostly(head)
    found = {
        entry: (after[entry][2] / after[entry][1] - before[entry][2] / before[entry][1]) * after[entry][1]
        for entry in entries
        if entry in before and entry in after and after[entry][0] == schema.UNIT_REQUEST
    }
    return max(found, key=lambda entry: found[entry], default=None)


def _mostly(tables: Mapping[str, pl.DataFrame]) -> dict[int, tuple[int, float, float]]:
    """Of each entry with units of work: the kind it mostly has, how many of it, and their clock."""
    rows = (
        tables["entry_hours"]
        .lazy()
        .group_by("entry_id", "unit")
        .agg((pl.col("units", "clock_ns") * weight()).sum())
        .filter(pl.col("units") > 0)
        .sort("units", "unit", descending=[True, False])
        .unique("entry_id", keep="first", maintain_order=True)
        .collect()
    )
    return {entry: (unit, units, clock) for entry, unit, units, clock in rows.iter_rows()}


@dataclass(frozen=True, slots=True)
class _EntrySide:
    unit: str
    units: float
    ms: float
    paths: pl.DataFrame


def _entry_side(tables: Mapping[str, pl.DataFrame], entry_id: int) -> _EntrySide:
    """One period's sums of an entry, of the kind of unit that it mostly is."""
    mine = tables["entry_hours"].filter(pl.col("entry_id") == entry_id)
    sums = (pl.col("units", "clock_ns") * weight()).sum()
    by_unit = mine.group_by("unit").agg(sums).sort("units", "unit", descending=[True, False])
    ids = tables["paths"].filter(pl.col("entry_id") == entry_id).select("path_id")
    if by_unit.is_empty():
        unit, units, clock = -1, 0.0, 0.0
    else:
        unit, units, clock = by_unit.row(0)
    scale = units or 1.0
    paths = (
        tables["path_hours"]
        .filter(pl.col("unit") == unit)
        .join(ids, on="path_id", how="semi")
        .group_by("path_id")
        .agg(
            ((pl.col("inclusive_ns") * weight()).sum() / scale / _MS).alias("inclusive"),
            ((pl.col("own_ns") * weight()).sum() / scale / _MS).alias("own"),
            ((pl.col("calls") * weight()).sum() / scale).alias("calls"),
        )
    )
    return _EntrySide(schema.UNIT_NAMES[unit] if unit >= 0 else "", units, clock / scale / _MS, paths)


def quantile_of(sketch: pl.DataFrame, part: float) -> float | None:
    """A quantile of ``bin, threshold, count`` rows in ms, at most 2.2 % off; None when there are none."""
    summed = sketch.group_by("bin").agg((pl.col("count") * weight()).sum()).sort("bin")
    summed = summed.filter(pl.col("count") > 0)
    if summed.is_empty():
        return None
    reached = summed["count"].cum_sum()
    # 1e-9: weighted counts that add up to exactly the quantile must reach it
    first = int((reached >= part * reached[-1] * (1 - 1e-9)).arg_max() or 0)
    return float(midpoint_of(summed["bin"].to_numpy()[[first]]).item()) / _MS

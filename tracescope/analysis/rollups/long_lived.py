"""Entries that live so long that nobody waits for them as for a request, though no attribute says so.

    GET /rooms      |          40 ms, a million
    GET /feed       |--------------------------------|   12 minutes, a thousand

One mean over both says nothing of either: it is the feed's.  Such an entry gets the clock of long-lived
work, like a connection that says it is one.  It is told by its typical duration, the median, beside what
is typical of all that takes less than a person waits for, and it must be long in both periods: what was
quick and now hangs is a request that got slow.

Decided from the rollups of the periods that are looked at, so that neither the order of arrival nor the
way that spans were cut into slices matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import polars as pl

from tracescope import schema
from tracescope.analysis.rollups.flows import weight
from tracescope.analysis.rollups.period import MS, PeriodRollups
from tracescope.analysis.statistics.sketch import midpoint_of

#: What takes less than this is something that somebody waits for.
PATIENCE_NS: Final = 10 * 10**9
#: So many times what is typical of the rest is far beyond it.
FAR_BEYOND: Final = 50.0
#: Entries named in a note.
NAMED: Final = 3


def typical(period: PeriodRollups) -> dict[int, tuple[float, float]]:
    """Median clock in ns and units of every entry of requests, by entry id."""
    rows = (
        period.tables["entry_sketches"]
        .filter(pl.col("unit") == schema.UNIT_REQUEST)
        .group_by("entry_id", "bin")
        .agg((pl.col("count") * weight()).sum().alias("n"))
        .sort("entry_id", "bin")
        .with_columns(
            pl.col("n").cum_sum().over("entry_id").alias("reached"),
            pl.col("n").sum().over("entry_id").alias("total"),
        )
        .filter((pl.col("reached") >= 0.5 * pl.col("total")) & (pl.col("total") > 0))
        .group_by("entry_id", maintain_order=True)
        .first()
    )
    middles = midpoint_of(rows["bin"].to_numpy()).tolist()
    return dict(
        zip(rows["entry_id"].to_list(), zip(middles, rows["total"].to_list(), strict=True), strict=True)
    )


def find_long_lived(*periods: PeriodRollups) -> frozenset[int]:
    """Ids of the entries of requests that are long-lived in each of some periods that has them."""
    durations: dict[int, float] = {}
    units: dict[int, float] = {}
    for period in periods:
        for entry, (median, count) in typical(period).items():
            durations[entry] = min(median, durations.get(entry, median))
            units[entry] = units.get(entry, 0.0) + count
    quick = sorted((median, units[entry]) for entry, median in durations.items() if median < PATIENCE_NS)
    if not quick:
        return frozenset()
    reached, half = 0.0, sum(count for _, count in quick) / 2
    usual = quick[-1][0]
    for median, count in quick:
        reached += count
        if reached >= half:
            usual = median
            break
    least = max(PATIENCE_NS, FAR_BEYOND * usual)
    return frozenset(entry for entry, median in durations.items() if median >= least)


def set_apart(period: PeriodRollups, entries: frozenset[int]) -> PeriodRollups:
    """The same with requests of some entries as long-lived units."""
    if not entries:
        return period
    known = period.tables["paths"].filter(pl.col("entry_id").is_in(sorted(entries)))
    keys = {"path_id": known["path_id"].to_list(), "entry_id": sorted(entries)}

    def relabelled(frame: pl.DataFrame) -> pl.DataFrame:
        key = next((name for name in keys if name in frame.columns), None)
        if key is None or "unit" not in frame.columns:
            return frame
        mine = (pl.col("unit") == schema.UNIT_REQUEST) & pl.col(key).is_in(keys[key])
        long = pl.lit(schema.UNIT_LONG, pl.Int8)
        return frame.with_columns(pl.when(mine).then(long).otherwise("unit").alias("unit"))

    read = period.hours

    def by_hour(ids: Sequence[int], columns: Sequence[str]) -> pl.DataFrame:
        assert read is not None
        return relabelled(read(ids, [*dict.fromkeys((*columns, "path_id"))])).select(columns)

    tables = {name: relabelled(frame) for name, frame in period.tables.items()}
    return replace(period, tables=tables, hours=None if read is None else by_hour, long_lived=entries)


def durations_note(entries: frozenset[int], *periods: PeriodRollups) -> list[str]:
    """What to say of entries that are set apart for their durations, and how long they take."""
    if not entries:
        return []
    names: dict[int, str] = {}
    lengths: dict[int, float] = {}
    for period in periods:
        for entry, (median, _) in typical(period).items():
            if entry in entries:
                lengths[entry] = min(median, lengths.get(entry, median))
        rows = period.tables["entries"].filter(pl.col("entry_id").is_in(sorted(entries)))
        for entry, service, operation in rows.select("entry_id", "service", "operation").iter_rows():
            names[entry] = f"{service} {operation}"
    longest = sorted(lengths, key=lambda entry: (-lengths[entry], names[entry]))
    shown = ", ".join(f"{names[entry]} ({lengths[entry] / MS / 1000:.3g} s)" for entry in longest[:NAMED])
    more = f" and {len(longest) - NAMED} more" if len(longest) > NAMED else ""
    return [f"compared apart as long-lived, for they typically take far longer than the rest: {shown}{more}"]

"""Rollups of one period, as everything that analyses them takes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

import polars as pl

from tracescope import schema

S = TypeVar("S")
T = TypeVar("T")

#: Nanoseconds in a millisecond.
MS: Final = 1e6


@dataclass(frozen=True, slots=True)
class PeriodRollups:
    """Rollups of one period and environment.

    Attributes
    ----------
    start_ns, end_ns, slot_ns
        The period as it could be kept to, half-open, and the length of its slots.
    environment
        ``deployment.environment.name`` that the rows are of.
    tables
        Tables as in `schema.ROLLUPS` and `schema.DIMENSIONS`, rows of this environment only.
    notes
        What a reader should know.
    hours
        Where rows of ``path_hours`` stand for several hours of equal weight (see
        `tracescope.analysis.comparison.aggregate`): gives those of every hour, of some call paths and with
        some columns.
    environments
        Units of each environment in the period, most first.
    unread
        Sealed hours that the tables lack of `schema.DAILY`, because they may be read by days.
    rules
        Versions of the rules (`schema.RULES`) that the rows were made by.
    long_lived
        Entries whose requests stand as long-lived units, for their durations alone.
    """

    start_ns: int
    end_ns: int
    slot_ns: int
    environment: str
    tables: Mapping[str, pl.DataFrame]
    notes: tuple[str, ...] = ()
    hours: Callable[[Sequence[int], Sequence[str]], pl.DataFrame] | None = None
    environments: Mapping[str, int] = field(default_factory=dict[str, int])
    unread: tuple[int, ...] = ()
    rules: frozenset[int] = frozenset()
    long_lived: frozenset[int] = frozenset()

    @property
    def failures_measured(self) -> bool:
        """Whether all its rows tell what failed units and calls took."""
        return min(self.rules, default=schema.RULES) >= schema.FAILURES_SINCE

    def by_hour(self, ids: Sequence[int], columns: Sequence[str] = schema.HOURLY) -> pl.DataFrame:
        """Rows of ``path_hours`` of every hour, of some call paths and with some columns."""
        if self.hours is not None:
            return self.hours(ids, columns)
        mine = pl.col("path_id").is_in(ids)
        return self.tables["path_hours"].lazy().filter(mine).select(columns).collect()

    def of_paths(self, ids: Sequence[int], columns: Sequence[str] = schema.HOURLY) -> PeriodRollups:
        """The same with the hours of some call paths and of no others, and only some columns of them."""
        return replace(self, tables={**self.tables, "path_hours": self.by_hour(ids, columns)}, hours=None)

    def of_entries(self, keep_entry: Callable[[str, str], bool] | None) -> PeriodRollups:
        """The same with the rows of the entries that are kept, of service and operation, and no others."""
        if keep_entry is None:
            return self
        entries = self.tables["entries"]
        names = entries.select("service", "operation").unique()
        kept = names.filter(pl.Series([keep_entry(*row) for row in names.iter_rows()], dtype=pl.Boolean))
        tables = dict(self.tables)
        tables["entries"] = entries.join(kept, on=["service", "operation"], how="semi")
        tables["paths"] = tables["paths"].join(tables["entries"], on="entry_id", how="semi")
        for name, frame in self.tables.items():
            for key, of in (("entry_id", "entries"), ("path_id", "paths")):
                if name not in schema.DIMENSIONS and key in frame.columns:
                    tables[name] = frame.join(tables[of].select(key), on=key, how="semi")
        return replace(self, tables=tables)


def hours_of(
    ids: Sequence[int], base: PeriodRollups, head: PeriodRollups
) -> tuple[PeriodRollups, PeriodRollups]:
    """Both periods with the hours of some call paths, as `PeriodRollups.of_paths`; read at the same time."""
    return both(lambda period: period.of_paths(ids), base, head)


def both(read: Callable[[S], T], base: S, head: S) -> tuple[T, T]:
    """What `read` makes of each period, in two threads: reading lets go of the interpreter."""
    with ThreadPoolExecutor(2) as pool:
        before, after = pool.map(read, (base, head))
        return before, after

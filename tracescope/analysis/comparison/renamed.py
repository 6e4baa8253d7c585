"""Renamed call paths: what stops under one name and starts under another is compared as one path.

    base                                   head
    orders -> inventory POST /reserve      orders -> stock-keeping POST /reserve      one path: the pair
      inventory (itself)                     stock-keeping (itself)                   ... and below it,
      inventory -> stock UPDATE              stock-keeping -> stock UPDATE            name by name, its calls
                                             stock-keeping -> audit POST              new: it has no pair

A path's id holds the names of everything above it, so that below a new name everything looks new, and what
grew there is hidden in what came and went.  Before anything is compared, the older half of each pair gets
the names of the newer one, in both periods: sums stay what they are, and load, instants and patterns are
those of one edge.

Paths are a pair where one starts when the other stops, under the same caller's visit, of one kind, and with
the callee or the operation in common; of several, those whose calls and callees are most alike.

Source: design, section 6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import polars as pl

from tracescope import schema
from tracescope.analysis.rollups.period import PeriodRollups

#: Both names may be seen for so long while a release is rolled out, and for this part of HEAD at most.
ROLLED_OUT_NS: Final = schema.DAY_NS
ROLLED_OUT_PART: Final = 0.125
#: Pairs that a note lists.
LISTED: Final = 3


class _Path(NamedTuple):
    """One call path, what it was called in all, and when first and last."""

    path_id: int
    parent_id: int
    kind: int
    caller: str
    callee: str | None
    operation: str
    calls: float
    first_ns: int
    last_ns: int

    @property
    def name(self) -> str:
        """As a person would write it."""
        at = f"{self.caller} (itself)" if self.callee is None else f"{self.caller} -> {self.callee}"
        return f"{at} {self.operation}"


@dataclass(frozen=True, slots=True)
class _Families:
    """Paths that stop and paths that start, by the path above them; ``late_ns`` is how long both may run."""

    gone: Mapping[int, Sequence[_Path]]
    new: Mapping[int, Sequence[_Path]]
    late_ns: int

    def similarity(self, old: _Path, new: _Path) -> float:
        """How much two paths have in common, of 0 to 3: calls, callees, and the whole name."""
        calls = min(old.calls, new.calls) / max(old.calls, new.calls, 1.0)
        below = [{(p.kind, p.callee or "", p.operation) for p in side.get(path.path_id, ())} for side, path in
                 ((self.gone, old), (self.new, new))]  # fmt: skip
        both, either = len(below[0] & below[1]), len(below[0] | below[1])
        same = (old.callee == new.callee) + (old.operation == new.operation)
        return calls + (both / either if either else 1.0) + same / 2


def align_renamed(base: PeriodRollups, head: PeriodRollups) -> tuple[PeriodRollups, PeriodRollups, list[str]]:
    """Both periods under the names of the later one, and what to say of it.

    Sums over all paths stay the same.
    """
    late_ns = int(min(ROLLED_OUT_NS, ROLLED_OUT_PART * (head.end_ns - head.start_ns)))
    gone, new = _unpaired(base, head, late_ns)
    if not gone or not new:
        return base, head, []
    families = _Families(_by_parent(gone), _by_parent(new), late_ns)
    old_ids, new_ids = {path.path_id for path in gone}, {path.path_id for path in new}
    pairs: dict[int, int] = {}
    names: list[str] = []
    for parent, below in sorted(families.new.items()):
        if parent in new_ids:
            continue  # a child of something new: reached through its parent's other half
        for old, fresh in _pairs(families, families.gone.get(parent, ()), below):
            if old.parent_id in old_ids:
                continue
            names.append(f"{old.name} → {fresh.name}")
            _descend(families, old, fresh, pairs)
    if not pairs:
        return base, head, []
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    note = f"looks renamed, compared as one: {', '.join(names[:LISTED])}{more}"
    rows = head.tables["paths"].filter(_among("path_id", pairs.values()))
    return _under(base, pairs, rows), _under(head, pairs, rows), [note]


def _unpaired(base: PeriodRollups, head: PeriodRollups, late_ns: int) -> tuple[list[_Path], list[_Path]]:
    """Paths that stop, and paths that start when one of these does."""
    seen = [_seen(period, name) for period, name in ((base, "base"), (head, "head"))]
    both = seen[0].join(seen[1], on="path_id", how="full", coalesce=True)
    started = both.filter(pl.col("calls_base").is_null())
    if started.is_empty():
        return [], []
    latest = int(started["first_head"].max() or 0) + late_ns  # pyright: ignore[reportArgumentType]
    stopped = both.filter(
        pl.col("calls_base").is_not_null() & (pl.col("last_head").is_null() | (pl.col("last_head") <= latest))
    )
    paths = pl.concat([head.tables["paths"], base.tables["paths"]]).unique("path_id", keep="first")
    return _rows(stopped, paths), _rows(started, paths)


def _seen(period: PeriodRollups, name: str) -> pl.DataFrame:
    """``path_id``, calls, and when a path was first and last called in a period."""
    at = pl.col("slot") * period.slot_ns
    return (
        period.tables["path_hours"].lazy()
        .filter(pl.col("calls") > 0)
        .group_by("path_id")
        .agg(
            pl.col("calls").sum().alias(f"calls_{name}"),
            at.min().alias(f"first_{name}"),
            at.max().alias(f"last_{name}"),
        )
        .collect()
    )  # fmt: skip


def _rows(stopped: pl.DataFrame, paths: pl.DataFrame) -> list[_Path]:
    rows = stopped.join(paths, on="path_id").sort("depth", "path_id").select(
        "path_id", "parent_id", "kind", "caller", "callee", "operation",
        (pl.col("calls_base").fill_null(0) + pl.col("calls_head").fill_null(0)).cast(pl.Float64),
        pl.min_horizontal("first_base", "first_head"),
        pl.max_horizontal("last_base", "last_head"),
    )  # fmt: skip
    return [_Path(*row) for row in rows.iter_rows()]


def _by_parent(paths: Iterable[_Path]) -> dict[int, list[_Path]]:
    out: dict[int, list[_Path]] = {}
    for path in paths:
        out.setdefault(path.parent_id, []).append(path)
    return out


def _pairs(families: _Families, gone: Sequence[_Path], new: Sequence[_Path]) -> list[tuple[_Path, _Path]]:
    """Paths below one caller that are two names of the same call, most similar first."""
    likely = [
        (families.similarity(old, fresh), old, fresh)
        for old in gone
        for fresh in new
        if old.kind == fresh.kind
        and (old.callee == fresh.callee or old.operation == fresh.operation)
        and old.last_ns <= fresh.first_ns + families.late_ns
    ]
    out: list[tuple[_Path, _Path]] = []
    taken: set[int] = set()
    for _, old, fresh in sorted(likely, key=lambda one: (-one[0], one[1].path_id, one[2].path_id)):
        if not taken & {old.path_id, fresh.path_id}:
            taken |= {old.path_id, fresh.path_id}
            out.append((old, fresh))
    return out


def _descend(families: _Families, old: _Path, new: _Path, pairs: dict[int, int]) -> None:
    """Pair what lies below two names of one path, name by name."""
    stack = [(old, new)]
    while stack:
        before, after = stack.pop()
        pairs[before.path_id] = after.path_id
        below = families.gone.get(before.path_id, ()), families.new.get(after.path_id, ())
        stack += _pairs(families, *below)


def _among(column: str, values: Iterable[int]) -> pl.Expr:
    return pl.col(column).is_in(pl.Series(sorted(values), dtype=pl.Int64).implode())


def _under(period: PeriodRollups, pairs: Mapping[int, int], rows: pl.DataFrame) -> PeriodRollups:
    """A period with the older half of each pair under the newer one's id and names."""

    def moved(column: str) -> pl.Expr:
        return pl.col(column).replace(list(pairs), list(pairs.values()))

    tables = dict(period.tables)
    for name, frame in period.tables.items():
        if "path_id" in frame.columns and name != "paths":
            tables[name] = frame.with_columns(moved("path_id"))
    kept = period.tables["paths"].filter(~_among("path_id", {*pairs, *pairs.values()}))
    tables["paths"] = pl.concat([kept.with_columns(moved("parent_id")), rows])
    return replace(period, tables=tables, hours=None if period.hours is None else _hours(period.hours, pairs))


def _hours(
    read: Callable[[Sequence[int], Sequence[str]], pl.DataFrame], pairs: Mapping[int, int]
) -> Callable[[Sequence[int], Sequence[str]], pl.DataFrame]:
    """Rows of every hour, asked for by newer ids and read by both."""
    older: dict[int, list[int]] = {}
    for old, new in pairs.items():
        older.setdefault(new, []).append(old)

    def by_hour(ids: Sequence[int], columns: Sequence[str]) -> pl.DataFrame:
        wanted = [*ids, *(old for new in ids for old in older.get(new, ()))]
        found = read(wanted, columns)
        if "path_id" not in found.columns:
            return found
        return found.with_columns(pl.col("path_id").replace(list(pairs), list(pairs.values())))

    return by_hour

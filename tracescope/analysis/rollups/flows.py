"""Flows: call paths with their sums over a period, and which of them take part.

    entry ─► path ─► path ─► ...        one row a path and kind of unit, parents before children

Everything about architecture is read from here: edges of any level are sums over flows, findings
walk them.  Counts are weighted by the sampling probability that a unit carries.

Source: design, sections 2 (call path) and 5 (weights).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from tracescope import schema

Tables = Mapping[str, pl.DataFrame]

MEASURES: Final = ("calls", "errors", "own_ns", "inclusive_ns", "busy_ns")
_OCCURRENCE: Final = ("visits", "detached_calls", "units")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which part of the traffic, and which of its edges.

    Attributes
    ----------
    keep_entry
        Only units of work of entries for which it is true, given service and operation; shares are
        of these entries' clock.
    through
        Only call paths that pass through the node of this name, with what leads there and what
        follows; shares are of the clock of the entries that reach it.
    service, kinds, namespace
        Only edges with this service, or a node of this namespace, at an end, and of these kinds;
        shares stay shares of all.
    """

    keep_entry: Callable[[str, str], bool] | None = None
    through: str | None = None
    service: str | None = None
    kinds: frozenset[str] = frozenset()
    namespace: str | None = None


#: All of it.
ALL: Final = Selection()


def weight() -> pl.Expr:
    """Units that one unit with this sampling threshold stands for."""
    full = float(2**56)
    return (
        pl.when(pl.col("threshold") <= 0)
        .then(1.0)
        .otherwise(full / (full - pl.col("threshold").cast(pl.Float64)))
    )


def weighted(rows: pl.LazyFrame, keys: Sequence[str], columns: Sequence[str]) -> pl.LazyFrame:
    """Sums of some columns by `keys`, weighted by their sampling; sorted by `keys`.

    Whole numbers add up exactly in any order, so they are summed for each threshold first, and weighed
    then in one order: the same rows give the same bits, whatever threads do.
    """
    exact = rows.group_by(*keys, "threshold").agg(pl.col(*columns).sum()).sort(*keys, "threshold")
    return exact.group_by(*keys, maintain_order=True).agg((pl.col(*columns) * weight()).sum())


def services_of(*sides: Tables | None) -> frozenset[str]:
    """Names of all that sends spans, as the call paths show it."""
    found: set[str] = set()
    queue = pl.col("kind") == schema.EDGE_QUEUE
    waits = queue & (pl.col("operation") == schema.QUEUE_WAIT)
    routes = queue & (pl.col("operation") == schema.QUEUE_ROUTE)
    remote = pl.col("kind").is_in([schema.EDGE_HTTP, schema.EDGE_RPC]) & ~pl.col("uninstrumented")
    for side in sides:
        if side is not None:
            paths = side["paths"]
            found |= set(paths.filter(~waits & ~routes)["caller"].to_list())
            found |= set(paths.filter(waits | remote)["callee"].to_list())
    return frozenset(found)


def flows(tables: Tables, selection: Selection, services: frozenset[str] | None = None) -> pl.DataFrame:
    """One row for each call path and kind of unit, weighted.

    Returns
    -------
    polars.DataFrame
        ``path_id, unit, parent_id, parent, entry_id, depth, kind`` (name), ``caller_type, caller,
        callee_type, callee, operation, uninstrumented, calls, sampled_calls, errors, own_ns,
        inclusive_ns, busy_ns, visits, detached_calls, units``; ``parent`` is the row of the parent path
        of the same unit kind, or -1.
    """
    known = services_of(tables) if services is None else services
    hours, keys = tables["path_hours"].lazy(), ("path_id", "unit")
    sampled = hours.group_by(keys).agg(pl.col("calls").sum().alias("sampled_calls"))
    sums = weighted(hours, keys, (*MEASURES, *_OCCURRENCE)).join(sampled, on=keys).collect()
    entries = kept_entries(tables, selection).select("entry_id")
    rows = (
        sums.join(tables["paths"].drop("edge_id"), on="path_id")
        .join(entries, on="entry_id", how="semi")
        .sort("depth", "path_id", "unit")
    )
    queue = pl.col("kind") == schema.EDGE_QUEUE
    wait = queue & (pl.col("operation") == schema.QUEUE_WAIT)
    from_queue = wait | (queue & (pl.col("operation") == schema.QUEUE_ROUTE))
    to_service = wait | pl.col("callee").is_in(sorted(known))
    callee_type = (
        pl.when(pl.col("callee").is_null()).then(pl.lit(None, pl.String))
        .when(pl.col("kind") == schema.EDGE_DB).then(pl.lit("database"))
        .when(queue & ~wait).then(pl.lit("queue"))
        .when(to_service).then(pl.lit("service"))
        .when(pl.col("uninstrumented") | (pl.col("kind") == schema.EDGE_EXTERNAL)).then(pl.lit("external"))
        .otherwise(pl.lit("service"))
    )  # fmt: skip
    rows = rows.with_columns(
        callee_type.alias("callee_type"),
        pl.when(from_queue).then(pl.lit("queue")).otherwise(pl.lit("service")).alias("caller_type"),
        pl.col("kind").replace_strict(dict(enumerate(schema.EDGE_KINDS)), return_dtype=pl.String),
        pl.col("unit").replace_strict(dict(enumerate(schema.UNIT_NAMES)), return_dtype=pl.String),
    )
    rows = _with_parents(rows)
    return _through(rows, selection.through) if selection.through is not None else rows


def kept_entries(tables: Tables, selection: Selection) -> pl.DataFrame:
    """Entries that take part."""
    entries = tables["entries"].sort("entry_id")
    if selection.keep_entry is None:
        return entries
    keep = [selection.keep_entry(s, o) for s, o in entries.select("service", "operation").iter_rows()]
    return entries.filter(pl.Series(keep, dtype=pl.Boolean))


def _with_parents(rows: pl.DataFrame) -> pl.DataFrame:
    """Add ``parent``: the row of the parent path, -1 for a first edge (or one whose parent is not here)."""
    numbered = rows.with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
    above = numbered.select(parent_id="path_id", unit="unit", parent="row")
    joined = numbered.join(above, on=["parent_id", "unit"], how="left", maintain_order="left")
    return joined.drop("row").with_columns(pl.col("parent").fill_null(-1))


def _through(rows: pl.DataFrame, name: str) -> pl.DataFrame:
    """Call paths that touch `name`, what leads to them and what follows.

    A queue that another feeds, as an exchange does, is reached through it.
    """
    parent = rows["parent"].to_numpy()
    routes = rows.filter(kind="queue", operation=schema.QUEUE_ROUTE).select("caller", "callee")
    onward = _reached(routes, "caller", "callee", name)
    back = _reached(routes, "callee", "caller", name)
    here = pl.col("kind") == "queue"
    sent = here & (pl.col("callee_type") == "queue") & pl.col("callee").is_in(back)
    taken = here & (pl.col("caller_type") == "queue") & pl.col("caller").is_in(onward)
    touches = (
        rows.select(
            ((pl.col("caller") == name) | (pl.col("callee") == name)).fill_null(value=False) | sent | taken
        )
        .to_series()
        .fill_null(value=False)
        .to_numpy()
    )
    below, above = touches.copy(), touches.copy()
    for row in range(len(rows)):  # parents stand before their children
        if parent[row] >= 0:
            below[row] |= below[parent[row]]
    for row in range(len(rows) - 1, -1, -1):
        if above[row] and parent[row] >= 0:
            above[parent[row]] = True
    keep = above | below
    number = np.cumsum(keep) - 1
    moved = np.where((parent >= 0) & keep[parent], number[parent], -1)
    return rows.with_columns(pl.Series("parent", moved, pl.Int64)).filter(pl.Series(keep, dtype=pl.Boolean))


def _reached(routes: pl.DataFrame, before: str, after: str, name: str) -> list[str]:
    """Queues that routes lead to from the one of this name, itself among them."""
    out = {name}
    while True:
        more = out | set(routes.filter(pl.col(before).is_in(sorted(out)))[after].to_list())
        if more == out:
            return sorted(out)
        out = more


def nested(rows: pl.DataFrame, key: list[str]) -> pl.Series:
    """Whether the same edge stands above in the path: its window is counted there already."""
    number = rows.select(pl.struct(key).rank("dense").cast(pl.Int64)).to_series().to_numpy()
    parent = rows["parent"].to_numpy()
    found = np.zeros(len(rows), np.bool_)
    at = parent.copy()
    while (at >= 0).any():
        alive = at >= 0
        found |= alive & (number[np.maximum(at, 0)] == number)
        at = np.where(alive, parent[np.maximum(at, 0)], -1)
    return pl.Series("nested", found, pl.Boolean)


def clocks(tables: Tables, entries: pl.DataFrame) -> pl.DataFrame:
    """``entry_id, unit`` (name), ``units, clock_ns`` of some entries, weighted."""
    named = dict(enumerate(schema.UNIT_NAMES))
    hours = tables["entry_hours"].join(entries.select("entry_id"), on="entry_id", how="semi").lazy()
    sums = weighted(hours, ("entry_id", "unit"), ("units", "clock_ns")).collect()
    return sums.with_columns(pl.col("unit").replace_strict(named, return_dtype=pl.String)).sort(
        "entry_id", "unit"
    )


def call_tree(
    tables: Tables, selection: Selection, *, base: Tables | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Entries and call paths with their share of the clock of their kind of unit.

    Returns
    -------
    tuple of polars.DataFrame
        Entries, heaviest first: ``entry_id, unit, service, operation, units, share``.  Paths, parents
        first: ``entry_id, unit, parent`` (row or -1), ``kind, caller, callee, operation,
        calls_per_unit`` (of the entry), ``share`` (own), ``inclusive_share``.  With a base the union
        of both, and ``change`` of the (inclusive) share.
    """
    entries, paths = _shares(tables, selection)
    if base is not None:
        older_entries, older_paths = _shares(base, selection)
        on = ["entry_id", "unit"]
        entries = _changed(entries, older_entries, [*on, "service", "operation"], "share")
        names = ["path_id", "parent_id", *on, "depth", "kind", "caller", "callee", "operation"]
        paths = _changed(paths, older_paths, names, "inclusive_share")
    paths = _with_parents(paths.drop("parent", strict=False).sort("depth", "path_id", "unit"))
    order = ["share", "service", "operation"]
    return entries.sort(order, descending=[True, False, False]), paths.drop("parent_id", "depth", "path_id")


def _shares(tables: Tables, selection: Selection) -> tuple[pl.DataFrame, pl.DataFrame]:
    rows = flows(tables, selection)
    chosen = kept_entries(tables, selection).join(rows, on="entry_id", how="semi")
    spent = clocks(tables, chosen).with_columns(
        (pl.col("clock_ns") / pl.col("clock_ns").sum().over("unit").clip(1)).alias("share"),
        pl.col("clock_ns").sum().over("unit").clip(1).alias("all_ns"),
    )
    entries = spent.join(tables["entries"], on="entry_id").select(
        "entry_id", "unit", "service", "operation", "units", "share"
    )
    paths = rows.drop("units").join(spent.drop("share"), on=["entry_id", "unit"])
    return entries, paths.select(
        "path_id", "parent_id", "entry_id", "unit", "depth", "kind", "caller", "callee", "operation",
        (pl.col("calls") / pl.col("units").clip(1e-9)).alias("calls_per_unit"),
        (pl.col("own_ns") / pl.col("all_ns")).alias("share"),
        (pl.col("inclusive_ns") / pl.col("all_ns")).alias("inclusive_share"),
    )  # fmt: skip


def _changed(head: pl.DataFrame, base: pl.DataFrame, names: list[str], of: str) -> pl.DataFrame:
    earlier = base.select(*names, pl.col(of).alias("before"))
    both = head.join(earlier, on=names, how="full", coalesce=True, nulls_equal=True)
    rest = [name for name in head.columns if name not in names]
    return both.with_columns(pl.col(*rest, "before").fill_null(0.0)).with_columns(
        (pl.col(of) - pl.col("before")).alias("change")
    )

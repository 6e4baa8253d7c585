"""Rollups as dictionaries, and what differs between those of the kernels and those of the twin."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import polars as pl
import twin
from builders import Made, frame

from tracescope import schema
from tracescope.analysis.rollups.process import process
from tracescope.kernels.sketch import bin_of

MEASURES = (
    "calls", "calls_visited", "visits", "own_ns", "inclusive_ns", "own_all_ns", "busy_ns", "child_sum_ns",
    "child_union_ns", "detached_calls", "errors", "failed_ns", "retries", "calls_in_failed",
    "own_in_failed_ns", "units", "slow_ns",
)  # fmt: skip
EXEMPLARS = ("slow_hi", "slow_lo", "typical_hash", "typical_hi", "typical_lo")


def rows_of(table: pl.DataFrame, keys: tuple[str, ...], measures: tuple[str, ...]) -> dict[Any, Any]:
    rows = {
        tuple(row[name] for name in keys): {name: row[name] for name in measures}
        for row in table.iter_rows(named=True)
    }
    assert len(rows) == len(table), "a key occurs twice"
    return rows


def differing(got: dict[Any, Any], wanted: dict[Any, Any]) -> dict[Any, Any]:
    """What differs, and nothing else, so that a failure can be read."""
    return {
        key: (got.get(key), wanted.get(key)) for key in {*got, *wanted} if got.get(key) != wanted.get(key)
    }


def check_rollups(spans: list[Made]) -> None:
    """Every row of every table but the hops to be joined is the twin's; ids by the documented hash."""
    tables = process(frame(spans)).tables
    wanted = twin.roll_up(spans)
    paths = {
        (slot, unit, twin.path_id(path), threshold): {name: row[name] for name in MEASURES}
        for (slot, unit, path, threshold), row in wanted.paths.items()
    }
    assert not differing(rows_of(tables["path_hours"], schema.KEYS["path_hours"], MEASURES), paths)
    drawn = {
        (slot, unit, twin.path_id(path), threshold): dict(
            zip(EXEMPLARS, twin.exemplars(wanted.seen[slot, unit, path, threshold]), strict=True)
        )
        for slot, unit, path, threshold in wanted.paths
    }
    assert not differing(rows_of(tables["path_hours"], schema.KEYS["path_hours"], EXEMPLARS), drawn)
    named = {twin.path_id(path): path for _, _, path, _ in wanted.paths}
    for row in tables["paths"].iter_rows(named=True):
        if row["path_id"] not in named:
            continue  # a node on the way that nothing was counted on
        path = named[row["path_id"]]
        edge = schema.EDGE_KINDS[row["kind"]], row["caller"], row["callee"], row["operation"]
        assert edge == path[-1]
        assert row["depth"] == len(path) - 1
        assert row["parent_id"] == twin.path_id(path[:-1])
    assert set(named) <= set(tables["paths"]["path_id"])
    measures = ("units", "clock_ns", "incomplete", "skewed", "mixed", "errors", "failed_ns", "leafless")
    entries = {
        (slot, unit, twin.path_id((entry,)), threshold): {name: row[name] for name in measures}
        for (slot, unit, entry, threshold), row in wanted.entries.items()
    }
    assert not differing(rows_of(tables["entry_hours"], schema.KEYS["entry_hours"], measures), entries)
    counters = {key: {"count": count} for key, count in wanted.counters.items()}
    assert not differing(rows_of(tables["counters"], schema.KEYS["counters"], ("count",)), counters)
    bins: dict[Any, int] = defaultdict(int)
    for (slot, unit, path, threshold), lengths in wanted.lengths.items():
        for bin_ in bin_of(np.array(lengths, np.int64)).tolist():
            bins[slot, unit, twin.path_id(path), threshold, bin_] += 1
    sketches = rows_of(tables["path_sketches"], schema.KEYS["path_sketches"], ("count",))
    assert not differing({key: row["count"] for key, row in sketches.items()}, bins)
    clocks: dict[Any, int] = defaultdict(int)
    for (slot, unit, entry, threshold), lengths in wanted.clocks.items():
        for bin_ in bin_of(np.array(lengths, np.int64)).tolist():
            clocks[slot, unit, twin.path_id((entry,)), threshold, bin_] += 1
    sketches = rows_of(tables["entry_sketches"], schema.KEYS["entry_sketches"], ("count",))
    assert not differing({key: row["count"] for key, row in sketches.items()}, clocks)
    services = {
        key: {
            "spans": len(times),
            "first_ns": min(start for start, _ in times),
            "last_ns": max(end for _, end in times),
        }
        for key, times in wanted.services.items()
    }
    measures = ("spans", "first_ns", "last_ns")
    assert not differing(rows_of(tables["service_hours"], schema.KEYS["service_hours"], measures), services)

"""One trace with its critical path: what `tracescope path` shows.

The same forest and walk as the rollups, with the segments kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from tracescope import schema
from tracescope.analysis.rollups.process import Names, span_arrays
from tracescope.kernels.forest import Forest, build_forest
from tracescope.kernels.walk import walk

#: Clocks that notes tell of one by one.
MOST_CLOCKS: Final = 8


@dataclass(frozen=True, slots=True)
class TracePath:
    """A trace, its units of work and their segments; times in ns from ``start_ns``.

    Attributes
    ----------
    trace_id, start_ns
        32 hex digits; earliest start among its spans.
    units
        ``kind, service, operation, start_ns, clock_ns, wait_ns, incomplete, skewed``, a row each.
    spans
        ``span_id, parent_span_id, depth, unit, kind, service, name, operation, peer, start_ns,
        duration_ns, own_ns, inclusive_ns, on_path, detached, error, offset_ns``; a parent before
        its children, children by start.
    segments
        ``unit, span, start_ns, end_ns``: they tile each unit's clock, its wait apart.
    counters
        What was mended, by reason.
    notes
        What was done to clocks, in words.
    """

    trace_id: str
    start_ns: int
    units: pl.DataFrame
    spans: pl.DataFrame
    segments: pl.DataFrame
    counters: Mapping[str, int]
    notes: tuple[str, ...]


def _reading_order(forest: Forest) -> tuple[np.ndarray, np.ndarray]:
    """Positions, parents before their children, children by start; and each one's depth."""
    roots = np.flatnonzero(forest.parent < 0)
    stack = [(int(at), 0) for at in roots[np.argsort(forest.start_ns[roots], kind="stable")][::-1]]
    order: list[int] = []
    depths: list[int] = []
    while stack:
        at, depth = stack.pop()
        order.append(at)
        depths.append(depth)
        below = forest.child[forest.child_start[at] : forest.child_start[at + 1]]
        below = below[np.argsort(forest.start_ns[below], kind="stable")][::-1]
        stack.extend((int(child), depth + 1) for child in below)
    return np.array(order, dtype=np.int64), np.array(depths, dtype=np.int64)


def _hex(values: pl.Series) -> list[str | None]:
    return [None if value == 0 else f"{value & (2**64 - 1):016x}" for value in values.to_list()]


def critical_path(spans: pl.DataFrame, *, skew: bool = True) -> TracePath:
    """Walk one trace.

    Parameters
    ----------
    spans
        SPANS rows of one trace, at least one.
    skew
        Correct clocks between hosts.
    """
    schema.check(spans, schema.SPANS, "spans")
    names = Names(spans)
    forest = build_forest(span_arrays(spans, names), skew=skew)
    path = walk(forest, segments=True)
    order, depth = _reading_order(forest)
    rows = spans[forest.order]
    first = int(forest.start_ns.min())
    shown = rows[order]
    frame = pl.DataFrame(
        {
            "span_id": _hex(shown["span_id"]),
            "parent_span_id": _hex(shown["parent_span_id"]),
            "depth": depth,
            "unit": forest.group[order],
            "kind": [_KINDS[kind] for kind in shown["kind"].to_list()],
            "service": shown["service_name"],
            "name": shown["name"],
            "operation": shown["operation"],
            "peer": shown["peer"],
            "start_ns": forest.start_ns[order] - first,
            "duration_ns": (forest.end_ns - forest.start_ns)[order],
            "own_ns": path.own_ns[order],
            "inclusive_ns": path.inclusive_ns[order],
            "on_path": path.visited[order],
            "detached": (forest.parent >= 0)[order] & ~forest.blocks[order],
            "error": (shown["status"] == schema.STATUS_ERROR),
            "offset_ns": forest.offset_ns[order],
        }
    )
    row_of = np.empty(len(order), np.int64)
    row_of[order] = np.arange(len(order))
    segments = pl.DataFrame(
        {
            "unit": path.seg_group,
            "span": row_of[path.seg_span],
            "start_ns": path.seg_start_ns - first,
            "end_ns": path.seg_end_ns - first,
        }
    ).sort("unit", "start_ns")
    counters = {name: count for name, count in forest.counters().items() if count}
    units = _units(forest, rows, first)
    notes = _clock_notes(frame, counters) if skew else ()
    return TracePath(_trace_id(rows), first, units, frame, segments, counters, notes)


def _clock_notes(spans: pl.DataFrame, counters: Mapping[str, int]) -> tuple[str, ...]:
    """How far the clocks of services were moved, farthest first, and whether calls prove it."""
    moved = (
        spans.filter(pl.col("offset_ns") != 0)
        .group_by("service", "offset_ns")
        .len()
        .sort(pl.col("offset_ns").abs(), "service", "offset_ns", descending=[True, False, False])
    )
    notes = [
        f"clock of {service} moved by {offset / 1e6:+,.3f} ms ({count} span{'s' if count > 1 else ''}) "
        "to put answers inside their calls"
        for service, offset, count in moved.head(MOST_CLOCKS).iter_rows()
    ]
    if len(moved) > MOST_CLOCKS:
        notes.append(f"{len(moved) - MOST_CLOCKS} more clocks moved by less")
    calls = spans.filter(pl.col("kind") == "client")["span_id"].implode()
    late = spans.filter(
        pl.col("detached") & (pl.col("kind") == "server") & pl.col("parent_span_id").is_in(calls)
    )
    if len(late):
        notes.append(
            f"{len(late)} SERVER span{'s lie' if len(late) > 1 else ' lies'} outside the CLIENT span, "
            "by one clock or by what other calls say of two: work that nobody waited for"
        )
    if "skew_uncertain" in counters:
        notes.append(
            "clocks uncertain: calls contradict each other, or none proves an offset; "
            "times between services may be off"
        )
    return tuple(notes)


_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")


def _trace_id(rows: pl.DataFrame) -> str:
    return schema.trace_hex(*rows.row(0)[:2])


def _units(forest: Forest, rows: pl.DataFrame, first: int) -> pl.DataFrame:
    root = rows[forest.group_root[forest.unit_group]]
    return pl.DataFrame(
        {
            "unit": forest.unit_group,
            "kind": [schema.UNIT_NAMES[kind] for kind in forest.unit_kind.tolist()],
            "service": root["service_name"],
            "operation": root["operation"],
            "start_ns": forest.unit_start_ns - first,
            "clock_ns": forest.unit_end_ns - forest.unit_start_ns,
            "wait_ns": forest.unit_wait_ns,
            "incomplete": forest.unit_incomplete,
            "skewed": forest.unit_skewed,
        }
    ).sort("start_ns")

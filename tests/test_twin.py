"""The kernels against their slow, obvious twin: the same forest, walk and rollups for any spans."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import numpy as np
import polars as pl
import twin
from builders import EPOCH_NS, MS, Made, frame
from hypothesis import HealthCheck, given, settings
from strategies import forests

from tracescope import schema
from tracescope.analysis.rollups.process import Names, process, span_arrays
from tracescope.kernels.forest import Forest, build_forest
from tracescope.kernels.sketch import bin_of
from tracescope.kernels.traces import group_traces
from tracescope.kernels.walk import walk

CHECKED = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
MEASURES = (
    "calls", "calls_visited", "visits", "own_ns", "inclusive_ns", "own_all_ns", "busy_ns", "child_sum_ns",
    "child_union_ns", "detached_calls", "errors", "failed_ns", "retries", "calls_in_failed",
    "own_in_failed_ns", "units", "slow_ns",
)  # fmt: skip
EXEMPLARS = ("slow_hi", "slow_lo", "typical_hash", "typical_hi", "typical_lo")


def forest_of(spans: list[Made], **options: Any) -> tuple[Forest, list[Made]]:
    """The kernel's forest, and the spans in its order."""
    rows = frame(spans)
    arrays = span_arrays(rows, Names(rows))
    traces = group_traces(
        arrays.trace_hi, arrays.trace_lo, arrays.span_id, arrays.content_hash, arrays.start_ns,
        window_ns=twin.WINDOW_NS,
    )  # fmt: skip
    forest = build_forest(arrays, traces, **options)
    return forest, [spans[at] for at in forest.order.tolist()]


@CHECKED
@given(forests())
def test_times_units_and_segments_are_those_of_the_twin(spans: list[Made]) -> None:
    """Span by span: offset, parent, what blocks; unit by unit: clock and wait; every segment."""
    forest, kept = forest_of(spans)
    path = walk(forest, segments=True)
    seen: Counter[Any] = Counter()
    for at, span in enumerate(kept):
        above = kept[forest.parent[at]].span if forest.parent[at] >= 0 else None
        here = forest.start_ns[at], forest.end_ns[at], forest.offset_ns[at], path.own_ns[at]
        flags = bool(forest.blocks[at]), bool(path.visited[at]), int(path.inclusive_ns[at])
        seen[span.trace, span.span, above, *here, *flags] += 1
    for unit, g in enumerate(forest.unit_group.tolist()):
        root, producer = kept[forest.group_root[g]], forest.unit_producer[unit]
        clock = forest.unit_start_ns[unit], forest.unit_end_ns[unit], forest.unit_wait_ns[unit]
        made = int(forest.unit_kind[unit]), kept[producer].span if producer >= 0 else None
        seen["unit", root.trace, root.span, *made, *clock] += 1
    names = ("seg_group", "seg_span", "seg_start_ns", "seg_end_ns")
    for g, at, start, end in zip(*(getattr(path, name).tolist() for name in names), strict=True):
        seen["segment", kept[at].trace, kept[forest.group_root[g]].span, kept[at].span, start, end] += 1
    wanted: Counter[Any] = Counter()
    for tree, walked in twin.analyse(spans):
        for number, span in tree.spans.items():
            here = span.start, span.end, tree.offset[number], walked.own[number]
            flags = number in tree.blocks, number in walked.visited, walked.inclusive[number]
            wanted[span.trace, number, tree.parent[number], *here, *flags] += 1
        trace = next(iter(tree.spans.values())).trace
        for unit in tree.units:
            wanted["unit", trace, unit.root, unit.kind, unit.producer, unit.start, unit.end, unit.wait] += 1
        for root, segments in tree.segments.items():
            for number, start, end in segments:
                wanted["segment", trace, root, number, start, end] += 1
    assert seen == wanted


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


@CHECKED
@given(forests())
def test_rollups_are_those_of_the_twin(spans: list[Made]) -> None:
    """Every row of every table but the hops to be joined; ids by the documented hash."""
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


def test_paths_beyond_the_room_for_them_count_once() -> None:
    """Tables grow at every place in a unit of work: a wait, its consumer's calls, detached work."""
    for before in range(8):  # so that the room ends elsewhere each time
        spans = [
            Made(1, 0, EPOCH_NS, EPOCH_NS + MS, trace=n + 1, operation=f"before {n}") for n in range(before)
        ]
        for n in range(before, 300):
            ids = {"trace": n + 1, "operation": f"work {n}"}
            spans += [
                Made(1, 0, EPOCH_NS, EPOCH_NS + MS, kind=schema.KIND_PRODUCER, peer="topic", **ids),
                Made(2, 1, EPOCH_NS + MS, EPOCH_NS + 9 * MS, kind=schema.KIND_CONSUMER, service="b", **ids),
                Made(3, 2, EPOCH_NS + 2 * MS, EPOCH_NS + 5 * MS, kind=schema.KIND_CLIENT, service="b", **ids),
                Made(
                    4, 2, EPOCH_NS + 3 * MS, EPOCH_NS + 99 * MS, kind=schema.KIND_CLIENT, service="b", **ids
                ),
            ]
        rows = process(frame(spans)).tables["path_hours"]
        wanted = twin.roll_up(spans).paths
        found = rows_of(rows, schema.KEYS["path_hours"], MEASURES)
        paths = {
            (slot, unit, twin.path_id(path), threshold): {name: row[name] for name in MEASURES}
            for (slot, unit, path, threshold), row in wanted.items()
        }
        assert not differing(found, paths)

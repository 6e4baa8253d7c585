"""The kernels against their slow, obvious twin: the same forest, walk and rollups for any spans."""

from __future__ import annotations

from collections import Counter
from typing import Any

import twin
from builders import EPOCH_NS, MS, Made, frame
from drawn import forest_of
from hypothesis import HealthCheck, given, settings
from strategies import forests
from tables import MEASURES, check_rollups, differing, rows_of

from tracescope import schema
from tracescope.analysis.rollups.process import process
from tracescope.kernels.walk import walk

CHECKED = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@CHECKED
@given(forests())
def test_times_units_and_segments_are_those_of_the_twin(spans: list[Made]) -> None:
    """Span by span: offset, parent, what blocks; unit by unit: clock and wait; every segment."""
    forest, kept, _ = forest_of(spans)
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


@CHECKED
@given(forests())
def test_rollups_are_those_of_the_twin(spans: list[Made]) -> None:
    """Every row of every table but the hops to be joined; ids by the documented hash."""
    check_rollups(spans)


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

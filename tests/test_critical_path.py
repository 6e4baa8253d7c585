"""What the walk must hold for every trace, and the nine traces of Jaeger's UI."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from builders import EPOCH_NS, MS, Made, frame, tree
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from strategies import forests

from tracescope import schema
from tracescope.analysis.rollups.merge import checksum
from tracescope.analysis.rollups.process import Names, process, span_arrays
from tracescope.kernels.forest import Forest, build_forest
from tracescope.kernels.walk import Walk, walk

CHECKED = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
CASES = json.loads((Path(__file__).parent / "data/jaeger-critical-path/cases.json").read_text())

Segment = tuple[int, int, int]  # span, start, end


def walked(spans: list[Made], **options: object) -> tuple[Forest, Walk]:
    rows = frame(spans)
    forest = build_forest(span_arrays(rows, Names(rows)))
    return forest, walk(forest, segments=True, **options)  # type: ignore[arg-type]


def segments(spans: list[Made], **options: object) -> list[Segment]:
    """Segments of all groups of one trace, by span id, group by group, latest first."""
    forest, path = walked(spans, **options)
    numbers = np.array([span.span for span in spans])[forest.order]
    columns = numbers[path.seg_span], path.seg_start_ns, path.seg_end_ns
    return list(zip(*(column.tolist() for column in columns), strict=True))


@CHECKED
@given(forests(), st.booleans())
def test_segments_tile_every_clock_and_each_lies_in_its_span(spans: list[Made], eps: bool) -> None:
    """From the group's end back to where its work began: no gap, no overlap, nothing outside its span."""
    forest, path = walked(spans, eps=eps)
    assert (path.seg_start_ns < path.seg_end_ns).all()
    assert (path.seg_start_ns >= forest.start_ns[path.seg_span]).all()
    assert (path.seg_end_ns <= forest.end_ns[path.seg_span]).all()
    assert (forest.group[path.seg_span] == path.seg_group).all()
    for g, root in enumerate(forest.group_root.tolist()):
        mine = np.flatnonzero(path.seg_group == g)
        ends = [int(forest.end_ns[root]), *path.seg_start_ns[mine].tolist()]
        starts = [*path.seg_end_ns[mine].tolist(), int(forest.group_from_ns[g])]
        assert ends == starts


@CHECKED
@given(forests())
def test_edge_classes_add_up_to_the_clock(spans: list[Made]) -> None:
    """Own critical time over all edges is the clock of all units, in each context."""
    tables = process(frame(spans)).tables
    keys = ["slot", "unit", "threshold"]
    own = tables["path_hours"].group_by(keys).agg(total=pl.sum("own_ns")).sort(keys)
    clock = tables["entry_hours"].group_by(keys).agg(total=pl.sum("clock_ns")).sort(keys)
    units = tables["entry_hours"].group_by(keys).agg(total=pl.sum("units")).sort(keys)
    sketch = tables["entry_sketches"].group_by(keys).agg(total=pl.sum("count")).sort(keys)
    assert own.equals(clock)
    assert units.equals(sketch)


@CHECKED
@given(forests(), st.randoms(use_true_random=False))
def test_the_order_of_spans_changes_nothing(spans: list[Made], draw) -> None:  # type: ignore[no-untyped-def]
    shuffled = draw.sample(spans, len(spans))
    assert checksum(process(frame(spans)).tables) == checksum(process(frame(shuffled)).tables)


@st.composite
def simple_trees(draw: st.DrawFn) -> list[Made]:
    """One request: blocking INTERNAL spans inside their parents, in whole ms, no clocks to mend."""
    spans = [Made(1, 0, EPOCH_NS, EPOCH_NS + 1000 * MS)]
    for number in range(2, draw(st.integers(2, 12))):
        above = draw(st.sampled_from(spans))
        length = (above.end - above.start) // MS
        start = draw(st.integers(0, length))
        end = draw(st.integers(start, length))
        spans.append(Made(number, above.span, above.start + start * MS, above.start + end * MS))
    return spans


@CHECKED
@given(simple_trees(), st.integers(-(10**15), 10**15), st.integers(1, 50))
def test_shifting_and_scaling_time_shifts_and_scales_the_path(
    spans: list[Made], shift: int, factor: int
) -> None:
    """Without `eps`, whose bound is a fixed time."""

    def moved(at: int) -> int:
        return EPOCH_NS + (at - EPOCH_NS) * factor + shift

    changed = [replace(span, start=moved(span.start), end=moved(span.end)) for span in spans]
    wanted = [(span, moved(start), moved(end)) for span, start, end in segments(spans, eps=False)]
    assert segments(changed, eps=False) == wanted


@CHECKED
@given(simple_trees(), st.data())
def test_a_child_without_length_changes_nothing(spans: list[Made], data: st.DataObject) -> None:
    above = data.draw(st.sampled_from(spans))
    at = data.draw(st.integers(above.start, above.end))
    assert segments([*spans, Made(50, above.span, at, at)]) == segments(spans)


@CHECKED
@given(simple_trees(), st.data())
def test_deleting_a_leaf_off_the_path_changes_nothing(spans: list[Made], data: st.DataObject) -> None:
    before = segments(spans)
    on_path, parents = {span for span, _, _ in before}, {span.parent for span in spans}
    leaves = [span for span in spans if span.span not in on_path | parents]
    assume(leaves)
    gone = data.draw(st.sampled_from(leaves))
    assert segments([span for span in spans if span is not gone]) == before


@CHECKED
@given(simple_trees(), st.data())
def test_a_child_off_the_path_may_grow_within_its_slack(spans: list[Made], data: st.DataObject) -> None:
    """Its slack reaches to the end of what overlaps it, less a nanosecond; stated for ``eps = 0``.

    parent  |--------------------|
      on        |-------------|      waited for
      off     |-----|.......         may end anywhere before `on` does
    """  # fmt: skip
    before = segments(spans, eps=False)
    forest, path = walked(spans, eps=False)
    visited = {spans[at].span for at in forest.order[path.visited].tolist()}
    by_id = {span.span: span for span in spans}
    choices = [
        (span, other.end - 1)
        for span in spans
        if span.span not in visited and span.parent in visited
        for other in spans
        if other.parent == span.parent and other.span in visited and other.start < span.end < other.end
    ]
    assume(choices)
    span, limit = data.draw(st.sampled_from(choices))
    end = data.draw(st.integers(span.end, min(limit, by_id[span.parent].end)))
    changed = [replace(one, end=end) if one is span else one for one in spans]
    assert segments(changed, eps=False) == before


def test_a_child_that_ends_as_the_next_begins_was_waited_for() -> None:
    """`<=`, not `<`: back to back is one after the other."""
    spans = tree("a 0-100\n  a 10-40\n  a 40-90")
    assert [span for span, _, _ in segments(spans)] == [1, 3, 2, 1]


def test_a_small_overlap_is_forgiven_and_ten_parallel_calls_are_not_all_waited_for() -> None:
    """`eps` is the smallest of 1 ms, 1 % of the parent and 10 % of the child."""
    overlapping = tree("a 0-100\n  a 10-50.5\n  a 50-90")
    assert [span for span, _, _ in segments(overlapping)] == [1, 3, 2, 1]
    assert [span for span, _, _ in segments(overlapping, eps=False)] == [1, 3, 1]
    ten = tree("a 0-200\n" + "\n".join(f"  a {10 + i / 100:.2f}-{11 + i / 100:.2f}" for i in range(10)))
    assert [span for span, _, _ in segments(ten)] == [1, 11, 1]


def test_an_overlapped_childs_own_subtree_is_kept() -> None:
    """Ends are clipped to the window before sorting, or the time falls back to the client span.

    a |----------------------------|
      b |------------|               cut at 50, where c begins, within eps
        d     |------|               ends with b: still what b waited for
      c             |-----------|
    """  # fmt: skip
    spans = tree("a 0-100\n  a 10-50.4\n    a 20-50.4\n  a 50-90")
    assert [span for span, _, _ in segments(spans)] == [1, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("child", "blocks"),
    [
        ("a 50-100.9", True),  # within a millisecond
        ("a 50-102", True),  # within 5 % of itself
        ("a 50-104", False),
        ("a 100-120", False),  # starts as its parent ends
        ("b 50-140 server", False),  # no CLIENT above it
    ],
)
def test_what_outlives_its_parent_is_detached(child: str, blocks: bool) -> None:
    """By more than the larger of 1 ms and 5 % of its own length."""
    forest, _ = walked(tree(f"a 0-100 server\n  {child}"))
    assert forest.blocks.tolist() == [False, blocks]
    assert forest.unit_kind.tolist() == [schema.UNIT_REQUEST] + [schema.UNIT_DETACHED] * (not blocks)
    assert forest.counters()["detached"] == (not blocks)


def test_a_server_that_closes_late_is_clipped_to_its_client() -> None:
    forest, _ = walked(tree("a 0-100 client\n  b 50-180 server"))
    assert forest.blocks.tolist() == [False, True]
    assert segments(tree("a 0-100 client\n  b 50-180 server"))[0] == (
        2,
        EPOCH_NS + 50 * MS,
        EPOCH_NS + 100 * MS,
    )


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_compat_jaeger_draws_what_jaegers_ui_draws(case: dict) -> None:  # type: ignore[type-arg]
    """Strict `<`, always clip; a reference that only follows is a link, and starts a path of its own."""
    given_ = case["trace"]["spans"]
    number = {span["spanID"]: at for at, span in enumerate(given_, 1)}
    kinds = {"producer": schema.KIND_PRODUCER, "consumer": schema.KIND_CONSUMER, "client": schema.KIND_CLIENT}
    spans = []
    for span in given_:
        parents = [ref["spanID"] for ref in span["references"] if ref["refType"] == "CHILD_OF"]
        follows = [ref["spanID"] for ref in span["references"] if ref["refType"] == "FOLLOWS_FROM"]
        said = [kinds[tag["value"]] for tag in span.get("tags") or () if tag["key"] == "span.kind"]
        spans.append(
            Made(
                number[span["spanID"]],
                number[parents[0]] if parents else 0,
                span["startTime"] * 1000,
                (span["startTime"] + span["duration"]) * 1000,
                service=span["processID"],
                kind=said[0] if said else schema.KIND_INTERNAL,
                links=tuple((1, number[other]) for other in follows),
            )
        )
    rows = frame(spans)
    forest = build_forest(span_arrays(rows, Names(rows)), skew=False, compat="jaeger")
    path = walk(forest, compat="jaeger", segments=True)
    first = min((span for span in spans if not span.parent and not span.links), key=lambda span: span.start)
    root = forest.order.tolist().index(spans.index(first))
    mine = np.flatnonzero(path.seg_group == forest.group[root])
    names = [given_[at]["spanID"] for at in forest.order[path.seg_span[mine]].tolist()]
    times = zip(path.seg_start_ns[mine].tolist(), path.seg_end_ns[mine].tolist(), strict=True)
    got = [(name, start / 1000, end / 1000) for name, (start, end) in zip(names, times, strict=True)]
    keys = ("spanID", "sectionStart", "sectionEnd")
    assert got == [tuple(section[key] for key in keys) for section in case["criticalPathSections"]]


def chain(depth: int, trace: int = 1) -> list[Made]:
    return [
        Made(n + 1, n, EPOCH_NS + n * 100, EPOCH_NS + 10**9 - n * 100, trace, service="ab"[n % 2])
        for n in range(depth)
    ]


def test_ten_thousand_levels_and_a_hundred_thousand_children_finish() -> None:
    """Explicit stacks: depth and width are only numbers."""
    deep = process(frame(chain(10_000))).tables["entry_hours"]
    assert deep["clock_ns"].to_list() == [10**9]
    root = Made(1, 0, EPOCH_NS, EPOCH_NS + 10**9, host="h", kind=schema.KIND_CLIENT)
    at = [EPOCH_NS + (n * 7919) % 99_999 * 10_000 for n in range(100_000)]
    kinds = {"service": "b", "kind": schema.KIND_SERVER}
    wide = [Made(n + 2, 1, s, s + 15_000, host=f"h{n}", **kinds) for n, s in enumerate(at)]  # type: ignore[arg-type]
    wide[0] = replace(wide[0], start=EPOCH_NS - 5, end=EPOCH_NS + 10)  # clocks are looked at
    tables = process(frame([root, *wide])).tables
    assert tables["entry_hours"]["units"].to_list() == [1]
    assert tables["path_hours"]["own_ns"].sum() == 10**9


def test_a_batch_of_twenty_thousand_messages_finishes() -> None:
    """One hop a link, each with its full clock; busy time counts once."""
    numbers = range(1, 20_001)
    links = tuple((1, n) for n in numbers)
    publishes = {"kind": schema.KIND_PRODUCER, "peer": "orders"}
    sent = [Made(n, 0, EPOCH_NS, EPOCH_NS + MS, **publishes) for n in numbers]  # type: ignore[arg-type]
    consumer = Made(
        30_000, 0, EPOCH_NS + 2 * MS, EPOCH_NS + 5 * MS, kind=schema.KIND_CONSUMER, peer="orders", links=links
    )
    tables = process(frame([*sent, consumer])).tables
    message = tables["entry_hours"].filter(pl.col("unit") == schema.UNIT_MESSAGE)
    assert message["units"].to_list() == [20_000]
    assert message["clock_ns"].to_list() == [20_000 * 4 * MS]
    busy = tables["path_hours"].filter(pl.col("unit") == schema.UNIT_MESSAGE)["busy_ns"]
    assert busy.sum() == MS + 3 * MS


def test_a_million_spans_in_one_trace_finish() -> None:
    """Frames are repeated, not built span by span."""
    one = frame([Made(1, 0, EPOCH_NS, EPOCH_NS + 10**9)])
    size = 1_000_000
    many = one.select(pl.all().repeat_by(size).explode())
    row = pl.int_range(1, size + 1, dtype=pl.Int64)
    many = many.with_columns(
        span_id=row,
        parent_span_id=row // 3,
        start_ns=EPOCH_NS + row // 2,
        end_ns=EPOCH_NS + 10**9 - row // 2,
    )
    tables = process(many).tables
    assert tables["entry_hours"]["clock_ns"].sum() >= 10**9
    assert tables["service_hours"]["spans"].to_list() == [size]

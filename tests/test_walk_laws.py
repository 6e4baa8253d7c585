"""The walk against its slow, obvious twin, on hundreds of traces of a kind at a time, number by number."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

import pytest
import twin
from builders import EPOCH_NS, MS, Made, tree
from drawn import Draw, anything, calls, drawn, forest_of, messages, siblings

from tracescope.kernels.walk import Walk, walk

KINDS: list[tuple[Draw, int]] = [(siblings, 160), (anything, 80), (messages, 80), (calls, 40)]
WAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "forgiving": ({}, {}),
    "exact": ({"eps": False}, {"eps": False}),
    "as Jaeger": ({"compat": "jaeger"}, {"eps": False, "strict": True}),
}


@cache
def analysed(draw: Draw, traces: int) -> list[twin.Tree]:
    """Traces as the twin sees them."""
    return [tree for tree, _ in twin.analyse(drawn(draw, traces))]


def sums(kept: list[Made], path: Walk) -> Counter[Any]:
    """What a walk says of each span, by its ids."""
    columns = (
        path.own_ns, path.inclusive_ns, path.visited, path.self_ns, path.child_sum_ns, path.child_union_ns,
    )  # fmt: skip
    rows = zip(kept, *(column.tolist() for column in columns), strict=True)
    return Counter((span.trace, span.span, *row) for span, *row in rows)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("draw", "traces"), KINDS, ids=[draw.__name__ for draw, _ in KINDS])
def test_a_walk_is_that_of_the_twin(draw: Draw, traces: int, way: str) -> None:
    """Times of every span on and off the path, and each group's segments one after another, last first."""
    ours, theirs = WAYS[way]
    spans = drawn(draw, traces)
    forest, kept, _ = forest_of(spans)
    path = walk(forest, segments=True, **ours)
    segments: dict[int, list[tuple[int, int, int]]] = {root: [] for root in forest.group_root.tolist()}
    rows = zip(path.seg_group, path.seg_span, path.seg_start_ns, path.seg_end_ns, strict=True)
    for group, at, start, end in rows:
        segments[int(forest.group_root[group])].append((kept[at].span, int(start), int(end)))
    found = sums(kept, path)
    found += Counter((kept[root].trace, kept[root].span, *mine) for root, mine in segments.items())
    wanted: Counter[Any] = Counter()
    for one in analysed(draw, traces):
        walked = twin.walk_tree(one, **theirs)
        for number, span in one.spans.items():
            begin, end = walked.eff[number]
            inside = [walked.eff[child] for child in one.waited_for(number)]
            own, inclusive = walked.own[number], walked.inclusive[number]
            summed, united = sum(b - a for a, b in inside), twin.union(inside)
            alone = end - begin - united
            wanted[span.trace, number, own, inclusive, number in walked.visited, alone, summed, united] += 1
            if number in one.segments:
                wanted[span.trace, number, *one.segments[number]] += 1
    assert found - wanted == Counter()
    assert wanted - found == Counter()


def test_without_segments_a_walk_says_the_same_of_each_span() -> None:
    """And has none."""
    forest, kept, _ = forest_of(drawn(siblings, 40))
    with_them, without = walk(forest, segments=True), walk(forest)
    assert sums(kept, with_them) == sums(kept, without)
    assert len(with_them.seg_group) > 40
    assert not any(map(len, (without.seg_group, without.seg_span, without.seg_start_ns, without.seg_end_ns)))


@pytest.mark.parametrize(
    ("parent_ms", "child_ms", "forgiven_ns"), [(1000, 500, MS), (50, 400, MS // 2), (900, 4, 4 * MS // 10)]
)
def test_an_overlap_is_forgiven_up_to_the_smallest_of_three_bounds(
    parent_ms: int, child_ms: int, forgiven_ns: int
) -> None:
    """A millisecond, a hundredth of the parent, a tenth of the child; one more, and it was beside."""
    last_ms = parent_ms / 2
    for over, waited_for in ((0, True), (1, False)):
        spans = tree(f"a 0-{parent_ms}\n  a {last_ms}-{parent_ms}\n  a 0-1")
        end = spans[1].start + forgiven_ns + over
        length = min(child_ms * MS, end - EPOCH_NS)
        spans[2] = Made(3, 1, end - length, end)
        forest, _, _ = forest_of(spans)
        assert walk(forest).visited.tolist() == [True, True, waited_for]


def test_there_is_room_for_all_the_segments_that_there_can_be() -> None:
    """Two less one a span: between all waits, and in each of them."""
    spans = tree("a 0-100" + "".join(f"\n  a {k}.2-{k}.8" for k in range(1, 60)))
    forest, _, _ = forest_of(spans)
    path = walk(forest, segments=True)
    assert len(path.seg_group) == 2 * len(spans) - 1
    assert path.own_ns[0] == 100 * MS - path.own_ns[1:].sum()


def test_what_ends_in_the_time_that_is_forgiven_ends_with_what_it_stands_in() -> None:
    """Of two such waits the one that began first is the one waited for, not the one that ended last.

    a 0-100    |---------------------------------|
      last               50 |-----------------|
      before   |-------------| 50.3                 overlaps by less than is forgiven
        later     10 |-------| 50.2                 both end at 50, as seen from the path
        first   5 |----------| 50.1
    """
    spans = tree("""
        a 0-100
          a 50-100
          a 0-50.3
            a 10-50.2
            a 5-50.1
    """)
    forest, _, _ = forest_of(spans)
    assert walk(forest).visited.tolist() == [True, True, True, False, True]

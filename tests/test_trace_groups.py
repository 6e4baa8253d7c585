"""Rows grouped by trace, against plain Python: order, duplicates, windows, and what is kept of them."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest

from tracescope.kernels.traces import FOREVER, SHORT, Traces, find_span, group_traces
from tracescope.schema import HOUR_NS


class Row(NamedTuple):
    """A span as it is sent: ids, content, start."""

    hi: int
    lo: int
    span: int
    content: int
    start: int


Grouped = list[tuple[list[Row], int, int, bool]]  # of each trace: rows, first start, conflicts, later part


def grouped(rows: list[Row], window: int | None = None, keep: tuple[int, int] = FOREVER) -> Grouped:
    """By first appearance of a trace, each by span ids without duplicates, the slow way."""
    out: Grouped = []
    for trace in dict.fromkeys((row.hi, row.lo) for row in rows):
        members = [row for row in rows if (row.hi, row.lo) == trace]
        kept: list[Row] = []
        conflicts = 0
        for span in sorted({row.span for row in members}):
            same = sorted(row.content for row in members if row.span == span)
            kept.append(next(row for row in members if row.span == span and row.content == same[0]))
            conflicts += len(set(same)) - 1
        later = False
        while kept:
            first = min(row.start for row in kept)
            limit = FOREVER[1] if window is None else first // HOUR_NS * HOUR_NS + window
            if keep[0] <= first < keep[1]:
                out.append(
                    ([row for row in kept if row.start < limit], first, 0 if later else conflicts, later)
                )
            kept, later = [row for row in kept if row.start >= limit], True
    return out


def of_the_kernel(rows: list[Row], window: int | None = None, keep: tuple[int, int] | None = None) -> Grouped:
    columns = np.array(rows, np.int64).reshape(-1, 5).T.copy()
    found: Traces = group_traces(*columns, window_ns=window, keep=keep)
    bounds = found.start.tolist()
    assert bounds[-1] == len(found.order)
    parts = [[rows[at] for at in found.order[a:b].tolist()] for a, b in pairwise(bounds)]
    each = found.first_ns.tolist(), found.conflicts.tolist(), found.later.tolist()
    return list(zip(parts, *each, strict=True))


def sent(rng: random.Random, traces: int, spans: int, ids: str) -> list[Row]:
    """Rows of some traces, in any order, some of them twice and some with other contents."""
    halves = [rng.randint(-(2**63), 2**63 - 1) for _ in range(traces)]
    trace_ids = [(rng.choice((0, 7, -(2**60))), rng.choice(halves)) for _ in range(traces)]
    rows: list[Row] = []
    for hi, lo in trace_ids:
        for k in range(rng.randint(1, spans)):
            span = {
                "random": rng.randint(-(2**63), 2**63 - 1),
                "counted": k + 1,
                "strided": (k % 40 - 20) * 2**50 + k // 40 % 3 * 2**9,
            }[ids]
            start = rng.randint(-5, 60) * HOUR_NS // 6 + rng.choice((0, 0, -1))
            rows.append(Row(hi, lo, span, rng.choice((-9, 0, 2**40, rng.randint(-9, 9))), start))
    again = [rng.choice(rows) for _ in range(len(rows) // 4)]
    rows += [one if rng.random() < 0.5 else one._replace(content=rng.randint(-9, 9)) for one in again]
    rng.shuffle(rows)
    #: Of equal ids and contents all else is equal.
    first = {row[:4]: row for row in reversed(rows)}
    return [first[row[:4]] for row in rows]


@pytest.mark.parametrize("ids", ["random", "counted", "strided"])
@pytest.mark.parametrize(
    ("traces", "spans"), [(1, 3), (128, 2), (129, 4), (600, 3), (3, SHORT + 1), (2, 700)]
)
def test_rows_are_grouped_by_trace_and_sorted_by_span(ids: str, traces: int, spans: int) -> None:
    """Beyond the room for 128 traces and for spans of like ids; of a span's contents the smallest stays."""
    rows = sent(random.Random(f"{ids} {traces} {spans}"), traces, spans, ids)
    assert of_the_kernel(rows) == grouped(rows)


@pytest.mark.parametrize(
    "keep",
    [
        None,
        (0, HOUR_NS),
        (-HOUR_NS, 3 * HOUR_NS + 1),
        (HOUR_NS, HOUR_NS),
        (99 * HOUR_NS, FOREVER[1]),
        (FOREVER[0], -99 * HOUR_NS),
        (-99 * HOUR_NS, 99 * HOUR_NS),
    ],
)
@pytest.mark.parametrize(("spans", "ids"), [(1, "random"), (6, "random"), (90, "strided")])
def test_traces_are_cut_where_they_outlast_their_window(
    spans: int, ids: str, keep: tuple[int, int] | None
) -> None:
    """Each part by the rule of the first; kept is what starts in an interval, its first instant included."""
    rows = sent(random.Random(spans), 20, spans, ids)
    for window in (HOUR_NS, 3 * HOUR_NS):
        assert of_the_kernel(rows, window, keep) == grouped(rows, window, keep or FOREVER)
    assert of_the_kernel(rows, None, keep) == grouped(rows, None, keep or FOREVER)


def test_a_trace_that_lost_a_duplicate_begins_where_what_is_left_begins() -> None:
    """Whether what was dropped was its first or its last."""
    rows = [
        Row(7, 1, 1, 0, HOUR_NS + 5),
        Row(7, 1, 1, 3, 2),
        Row(7, 1, 1, 4, 9 * HOUR_NS),
        Row(7, 1, 2, 0, HOUR_NS + 4),
    ]
    for window in (None, HOUR_NS):
        assert of_the_kernel(rows, window) == [([rows[0], rows[3]], HOUR_NS + 4, 2, False)]


def test_no_rows_are_no_traces() -> None:
    assert of_the_kernel([]) == of_the_kernel([], HOUR_NS, (0, 1)) == []


def test_a_span_is_found_where_its_id_stands_among_a_traces() -> None:
    """Of others' ids, and of ids below, between and above, none is."""
    from tracescope.kernels import kernel

    @kernel
    def found(order, lo, hi, ids, targets):  # type: ignore[no-untyped-def]
        out = np.empty(len(targets), np.int64)
        for k in range(len(targets)):
            out[k] = find_span(order, lo, hi, ids, targets[k])
        return out

    ids = np.array([50, -7, 3, 12, 3, 99, 40], np.int64)
    order = np.array([6, 1, 2, 3, 5, 0, 4], np.int64)  # of one trace: positions 1 to 4, ids -7, 3, 12, 99
    targets = np.array([-7, 3, 12, 99, -8, 4, 98, 100, 40, 50], np.int64)
    assert found(order, 1, 5, ids, targets).tolist() == [1, 2, 3, 4, -1, -1, -1, -1, -1, -1]
    assert found(order, 2, 2, ids, targets[:3]).tolist() == [-1, -1, -1]


def test_a_span_that_starts_as_the_window_ends_begins_the_next_part() -> None:
    """A nanosecond before, it is in the first."""
    for window in (HOUR_NS, 3 * HOUR_NS):
        for start, parts in ((window - 1, 1), (window, 2)):
            rows = [Row(7, 1, 1, 0, 5), Row(7, 1, 2, 0, start)]
            found = of_the_kernel(rows, window)
            assert len(found) == parts
            assert found == grouped(rows, window)

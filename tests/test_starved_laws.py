"""What tells a starved caller from a slow callee, piece by piece."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from tracescope import schema
from tracescope.analysis.comparison import starved

ANYTHING = np.zeros(0)


def groups(rises_ms: list[float], errors_ms: float = 0.1, base_ms: float = 10.0) -> starved._Groups:
    """Groups of one path each that rose by so much a visit."""
    rise = np.array(rises_ms)
    before = np.full(len(rise), base_ms)
    members = [np.array([k]) for k in range(len(rise))]
    return starved._Groups(
        members, (ANYTHING, ANYTHING), (before, before + rise), rise, np.full(len(rise), errors_ms)
    )


def reader(visits: tuple[list[float], list[float]], own_ms: tuple[list[float], list[float]]):
    """Two periods of paths with so many visits and so much own time."""
    one = object.__new__(starved._Reader)
    one.visits = tuple(np.array(side) for side in visits)
    one.own = tuple(np.array(side) for side in own_ms)
    return one


def test_an_edge_grew_when_its_rise_is_more_than_its_error_and_than_rounding() -> None:
    """A fall never, however certain."""
    assert groups([1.0, 0.05, -1.0, 0.0]).grew.tolist() == [True, False, False, False]
    assert groups([3.0]).rise_ms.tolist() == [3.0]
    assert not groups([0.5], errors_ms=0.5 / starved.EDGE_ERRORS).grew.any()


def test_the_rise_of_paths_is_of_their_visits_together() -> None:
    """The mean per visit, not the mean of means; unknown where a period has no visits."""
    one = reader(([1.0, 3.0], [2.0, 2.0]), ([4.0, 12.0], [12.0, 20.0]))
    assert one.rise_ms(np.array([0, 1])) == pytest.approx(32 / 4 - 16 / 4)
    assert one.rise_ms(np.array([0])) == pytest.approx(6 - 4)
    for visits in (([0.0], [2.0]), ([2.0], [0.0])):
        assert reader(visits, ([4.0], [4.0])).rise_ms(np.array([0])) is None
    assert reader(([0.5], [0.5]), ([4.0], [5.0])).rise_ms(np.array([0])) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("rises", "callees", "one"),
    [
        ([5.0, 3.0], "aa", True), ([5.0, 0.4], "ab", True), ([5.0, 0.6], "ab", False),
        ([0.4, 5.0, 0.3], "abc", True), ([5.0, 0.4, 4.0], "aba", True), ([5.0, 4.0, 0.3], "abc", False),
    ],
)  # fmt: skip
def test_calls_to_one_callee_rose_where_those_to_the_others_hardly_did(
    rises: list[float], callees: str, one: bool
) -> None:
    """Each callee counts by its edge that rose most; the second most decides."""
    edges = groups(rises)
    names = np.array(list(callees), dtype=object)
    assert starved._one_callee(edges, np.ones(len(rises), bool), names) == one


def test_a_caller_is_late_itself_from_a_tenth_of_what_half_of_its_edges_rose_by() -> None:
    """By the larger of its own work and the gap before it, of those that clearly grew."""
    edges, grew = groups([2.0, 4.0, 20.0, 50.0]), np.array([True, True, True, False])
    for rises, late in (([0.41, 0.2], True), ([0.2, 0.41], True), ([0.39, 0.2], False)):
        assert starved._late_itself(edges, grew, groups(rises)) == late, rises


def test_the_callees_part_is_what_its_other_callers_see_of_the_rise() -> None:
    """Of the same kind and callee by another caller; None when there are none, within 0 and 1."""
    caller, callee = np.array(["a", "b", "a", "b"], object), np.array(["x", "x", "y", "x"], object)
    kind = np.array([0, 0, 0, 1], np.int8)
    edges = groups([4.0, 0.0, 4.0])
    for rise, part in ((2.0, 0.5), (8.0, 1.0), (-2.0, 0.0)):
        one = reader(([1.0] * 4, [1.0] * 4), ([5.0] * 4, [9.0, 5.0 + rise, 9.0, 99.0]))
        assert starved._callee_part(one, edges, 0, caller, callee, kind) == pytest.approx(part)
        assert starved._callee_part(one, edges, 2, caller, callee, kind) is None


def test_the_evidence_names_the_edges_that_grew_by_their_effect() -> None:
    """Five at most, the largest first, by kind, callee and operation; an operation may have no name."""
    edges = groups([1.0, 3.0, 2.0])
    names = {
        "kind": [schema.EDGE_KINDS.index("db")] * 3,
        "callee": ["x", "y", "z"],
        "operation": ["SELECT", None, "GET"],
    }
    unit = SimpleNamespace(paths=pl.DataFrame(names, schema_overrides={"kind": pl.Int8}))
    grew = np.array([True, True, False])
    said = starved._evidence(edges, grew, groups([0.5, 0.7]), [0.25], unit)  # type: ignore[arg-type]
    assert said[0] == "2 of the 3 edges it calls through got slower together"
    assert said[1] == "its own work 10 → 10.5 ms a call"
    assert said[2] == "the gap in front of it 10 → 10.7 ms a call"
    assert "the other callers of 1 of these callees see 25% of the rise" in said[3]
    assert said[4:] == ("db y  10 → 13 ms a call", "db x SELECT 10 → 11 ms a call")
    alone = starved._evidence(edges, grew, groups([0.0]), [], unit)  # type: ignore[arg-type]
    assert alone[1:3] == (
        "its own work did not clearly", "nobody else calls these callees, so they could be slow themselves",
    )  # fmt: skip

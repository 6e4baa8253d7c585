"""What tells a starved caller from a slow callee, piece by piece."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from tracescope import schema
from tracescope.analysis.comparison import starved
from tracescope.analysis.comparison.decompose import Tree
from tracescope.analysis.comparison.matched import Side, Unit
from tracescope.analysis.report import Pattern, PatternCertainty
from tracescope.analysis.rollups.period import MS
from tracescope.analysis.statistics.blocks import Matched, Slots
from tracescope.analysis.statistics.significance import jackknife

ANYTHING = np.zeros(0)


def groups(rises_ms: list[float], errors_ms: float = 0.1, base_ms: float = 10.0) -> starved._Groups:
    """Groups of one path each that rose by so much a visit."""
    rise = np.array(rises_ms)
    before = np.full(len(rise), base_ms)
    members = [np.array([k]) for k in range(len(rise))]
    return starved._Groups(members, (before, before + rise), rise, np.full(len(rise), errors_ms))


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
    assert groups([0.51], errors_ms=0.5).grew.all()
    assert not groups([0.5], errors_ms=0.5).grew.any()


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
    many = starved._evidence(
        groups([1.0] * 7),
        np.ones(7, bool),
        groups([0.5, 0.0]),
        [],
        SimpleNamespace(paths=pl.concat([unit.paths] * 3)),
    )  # type: ignore[arg-type]
    assert many[1] == "its own work 10 → 10.5 ms a call"
    assert len(many) == 3 + 5  # nothing of the gap
    gap = starved._evidence(edges, grew, groups([0.0, 0.7]), [], unit)  # type: ignore[arg-type]
    assert gap[1:3] == ("its own work did not clearly", "the gap in front of it 10 → 10.7 ms a call")
    alone = starved._evidence(edges, grew, groups([0.0, 0.0]), [], unit)  # type: ignore[arg-type]
    assert alone[1:3] == (
        "its own work did not clearly", "nobody else calls these callees, so they could be slow themselves",
    )  # fmt: skip


# -- the whole rule, on a system of one entry -------------------------------------------------------

#: kind, caller, callee, parent: cart works in two visits, and calls a, b and c; web calls them, too.
CART = (
    ("http", "web", "cart", -1), ("self", "cart", None, 0),
    ("http", "cart", "a", 0), ("http", "cart", "b", 0), ("http", "cart", "c", 0),
    ("http", "web", "a", -1), ("http", "web", "b", -1), ("http", "web", "c", -1),
)  # fmt: skip
BLOCKS = 4


def world(
    rises_ms: list[float], paths: tuple = CART, **more: list[float]
) -> tuple[np.ndarray, Unit, Matched]:
    """Ten visits of each path in each of eight blocks, 10 ms of own time that rose by so much.

    ``noise_ms`` is what the effect of each path lacks without the last block; ``base`` and ``head`` the
    visits of each path in a block, ``entry`` the entry of each.
    """
    n = len(paths)
    visits = [np.array(more.get(name, [10.0] * n)) for name in ("base", "head")]
    entry = np.array(more.get("entry", [0] * n), int)
    latency = np.tile(np.array(rises_ms) * MS, (1 + 2 * BLOCKS, 1))
    latency[-1] -= np.array(more.get("noise_ms", [0.0] * n)) * MS
    sides = [
        Side(
            {
                "visits": np.tile(count, (BLOCKS, 1)),
                "own_ns": np.tile(count * (10.0 + np.array(rise)) * MS, (BLOCKS, 1)),
            },
            {"units": np.full((BLOCKS, 1 + entry.max()), 10.0)},
            ANYTHING,
            ANYTHING,
        )
        for count, rise in zip(visits, ([0.0] * n, rises_ms), strict=True)
    ]
    columns = {
        "kind": [schema.EDGE_KINDS.index(path[0]) for path in paths],
        "caller": [path[1] for path in paths],
        "callee": [path[2] for path in paths],
        "operation": [path[4] if len(path) > 4 else None for path in paths],
    }
    frame = pl.DataFrame(columns, schema_overrides={"kind": pl.Int8, "operation": pl.String})
    parent = np.array([path[3] for path in paths])
    unit = Unit(0, pl.DataFrame(), frame, Tree(parent, entry, 1 + (parent >= 0)), sides[0], sides[1], 0.0)
    slots = Slots(pl.DataFrame(), BLOCKS, np.zeros((BLOCKS, 0)), np.zeros((BLOCKS, 0)), False)
    return latency, unit, Matched(slots, slots, ())


def credited(
    rises_ms: list[float], paths: tuple = CART, **more: list[float]
) -> tuple[list[float], list[Pattern]]:
    """Latency in ms of the whole after credit was moved, and what was found; sums are kept in every row."""
    latency, unit, matched = world(rises_ms, paths, **more)
    before = latency.copy()
    moved, found = starved.credit(latency, unit, matched)
    np.testing.assert_array_equal(latency, before)  # of the caller, who may need it again
    np.testing.assert_allclose(moved.sum(axis=1), before.sum(axis=1), rtol=1e-12)
    return (moved[0] / MS).round(9).tolist(), list(found)


LATE = [4.0, 2.0, 4.0, 4.0, 4.0, 0.0, 0.0, 0.0]


def test_what_a_starved_caller_made_its_edges_look_like_is_its_own_work() -> None:
    """Its calls, and the gap in front of it; nothing of what others do."""
    after, found = credited(LATE)
    assert after == [0.0, 18.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert [(one.name, one.edge, one.certainty) for one in found] == [
        ("starved caller", "cart (itself)", PatternCertainty.CERTAIN)
    ]
    assert found[0].evidence[0] == "3 of the 3 edges it calls through got slower together"


def test_credit_moves_in_every_replicate_alike() -> None:
    """What one lacks in the calls, its own work lacks after."""
    latency, unit, matched = world(LATE, noise_ms=[0.0, 0.0, 0.5, 0.25, 0.0, 0.0, 0.0, 0.0])
    moved, (_,) = starved.credit(latency, unit, matched)
    assert (moved[:-1, 1] / MS).tolist() == [18.0] * (2 * BLOCKS)
    assert moved[-1, 1] / MS == pytest.approx(17.25)
    assert (moved[:, 2:] == 0).all()


def test_what_a_callees_other_callers_see_stays_with_the_callee() -> None:
    """A quarter of the rise of a, more than all of b's; half of all in the middle is not a starved caller."""
    after, (_,) = credited([4.0, 2.0, 4.0, 4.0, 4.0, 1.0, 9.0, 0.0])
    assert after == [0.0, 13.0, 1.0, 4.0, 0.0, 1.0, 9.0, 0.0]
    for seen, some in ((2.0, 1), (2.1, 0)):
        rises = [4.0, 2.0, 4.0, 4.0, 4.0, 0.0, seen, 4.0]
        assert len(credited(rises)[1]) == some


def test_a_callee_that_nobody_else_calls_is_moved_when_the_others_settle_it() -> None:
    """With none that settles it, it is only possible and nothing moves."""
    alone = (*CART[:5], ("http", "web", "x", -1), ("http", "web", "y", -1), CART[7])
    after, (one,) = credited(LATE, alone)
    assert (after[1], one.certainty) == (18.0, PatternCertainty.CERTAIN)
    nobody = (*CART[:5], *(("http", "web", name, -1) for name in "xyz"))
    after, (one,) = credited(LATE, nobody)
    assert (after, one.certainty) == (LATE, PatternCertainty.POSSIBLE)


@pytest.mark.parametrize(
    ("own", "gap", "certainty"),
    [
        (2.0, 0.0, PatternCertainty.CERTAIN), (0.0, 4.0, PatternCertainty.POSSIBLE), (0.0, 0.0, None),
        (0.4, 0.0, PatternCertainty.CERTAIN), (0.39, 0.0, None), (0.39, 0.4, PatternCertainty.CERTAIN),
        (2.0, -1.0, PatternCertainty.CERTAIN),
    ],
)  # fmt: skip
def test_a_starved_caller_is_late_itself(own: float, gap: float, certainty: str | None) -> None:
    """Surely in its own work; a gap alone may be the network's.  One that did not grow stays where it is."""
    rises = [gap, own, 4.0, 4.0, 4.0, 0.0, 0.0, 0.0]
    after, found = credited(rises)
    assert [one.certainty for one in found] == ([certainty] if certainty else [])
    sure = certainty is PatternCertainty.CERTAIN
    assert after == pytest.approx([min(gap, 0.0), 12.0 + own + max(gap, 0.0), *[0.0] * 6] if sure else rises)


@pytest.mark.parametrize(
    ("rises", "some"),
    [
        ([4.0, 4.0], False), ([4.0, 4.0, 0.0], False), ([4.0, 4.0, 4.0, 0.0], True),
        ([4.0, 4.0, 4.0, 0.0, 0.0], False), ([4.0] * 7 + [0.0] * 3, True), ([4.0] * 6 + [0.0] * 4, False),
        ([4.0, 4.0, 4.0, -20.0], False),
    ],
)  # fmt: skip
def test_most_of_a_starved_callers_edges_are_slower_three_at_least(rises: list[float], some: bool) -> None:
    """Seven tenths of them; and all of them together, so that what got faster counts against it."""
    names = [f"s{k}" for k in range(len(rises))]
    paths = (
        *CART[:2], *(("http", "cart", one, 0) for one in names), *(("http", "web", one, -1) for one in names),
    )  # fmt: skip
    after, found = credited([0.0, 2.0, *rises, *[0.0] * len(rises)], paths)
    assert bool(found) == some
    assert after[1] == (2.0 + sum(one for one in rises if one > 0) if some else 2.0)


def test_an_edge_is_all_its_paths_and_another_operation_is_another_edge() -> None:
    """Two paths to a and one each to b are two edges, however many paths; three operations are three."""
    two = (*CART[:4], ("http", "cart", "a", 0), *CART[5:])
    assert credited(LATE, two)[1] == []
    calls = [("a", "GET"), ("a", "PUT"), ("b", "GET")]
    operations = (
        *CART[:2],
        *(("http", "cart", callee, 0, name) for callee, name in calls),
        *(("http", "web", callee, -1, name) for callee, name in calls),
    )
    assert credited(LATE, operations)[0][1] == 18.0
    kinds = (*CART[:4], ("db", "cart", "a", 0), *CART[5:])
    assert credited(LATE, kinds)[0][1] == 18.0


@pytest.mark.parametrize("period", ["base", "head"])
def test_what_one_period_never_visited_is_not_compared(period: str) -> None:
    """A new call, or one that is gone, is no edge that got slower; nor is own work that is new."""
    visits = {period: [10.0] * 4 + [0.0] + [10.0] * 3}
    assert credited(LATE, **visits)[1] == []
    assert credited(LATE, **{period: [10.0, 0.0, *[10.0] * 6]})[1] == []
    after, (one,) = credited(LATE, **{period: [0.0, *[10.0] * 7]})  # the gap
    assert (after[:2], one.certainty) == ([4.0, 14.0], PatternCertainty.CERTAIN)
    few = {period: [10.0] * 4 + [0.02] + [10.0] * 3}
    assert len(credited(LATE, **few)[1]) == 1


def test_credit_goes_to_the_own_work_of_the_same_visit_and_else_to_the_largest() -> None:
    """By parent and entry; cart works under two calls, and once starts by itself without any work seen."""
    paths = (
        ("http", "web", "cart", -1), ("self", "cart", None, 0), ("http", "cart", "a", 0),
        ("http", "web", "cart", -1, "other"), ("self", "cart", None, 3), ("http", "cart", "b", 3),
        ("self", "cart", None, -1), ("http", "cart", "c", -1), ("http", "cart", "c", -1),
        ("http", "web", "a", -1), ("http", "web", "b", -1), ("http", "web", "c", -1),
    )  # fmt: skip
    rises = [1.0, 2.0, 4.0, 8.0, 2.0, 4.5, 2.0, 5.0, 5.5, 0.0, 0.0, 0.0]
    entry = [0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 2, 2]
    visits = [10.0] * 12
    visits[4] = 30.0
    after, (_,) = credited(rises, paths, entry=entry, base=visits, head=visits)
    expected = [0.0] * 12
    expected[1], expected[4], expected[6] = 1.0 + 2.0 + 4.0, 8.0 + 2.0 + 4.5 + 5.5, 2.0 + 5.0
    assert after == expected


def test_several_starved_callers_are_found_each_by_itself() -> None:
    """In the order of their names.  A third of each callee's other callers starves, too: a third stays."""

    def starving(name: str, first: int) -> tuple:
        calls = ((("http", name, callee, first)) for callee in "abc")
        return (("http", "web", name, -1), ("self", name, None, first), *calls)

    web = tuple(("http", "web", name, -1) for name in "abc")
    paths = (*starving("zoo", 0), *starving("mid", 5), *starving("ape", 10), *web)
    well = [0.0] * 5
    after, found = credited([*LATE[:5], *well, *LATE[:5], 0.0, 0.0, 0.0], paths)
    assert [one.edge for one in found] == ["ape (itself)", "zoo (itself)"]
    assert [after[k] for k in (1, 6, 11)] == [2.0 + 4.0 + 3 * 4.0 * 2 / 3, 0.0, 14.0]


def test_all_edges_together_rose_by_more_than_two_errors() -> None:
    """Each by one is not enough: a wave that all of them share is noise."""

    def together(effect: float, error: float) -> bool:
        latency = np.array([[effect] * 3, [0.1] * 3, [9.0] * 3])  # the whole, and without blocks
        one = SimpleNamespace(latency=latency, errors=lambda effects: np.full(effects.shape[1], error))
        return starved._together(one, groups([effect] * 3), np.ones(3, bool))  # type: ignore[arg-type]

    assert together(1.0, 1.49)
    assert not together(1.0, 1.51)


def test_errors_of_groups_are_those_of_both_periods_from_their_sums() -> None:
    """Without each block of base and of head; what two paths of a group do against each other is nothing."""
    latency, unit, matched = world([4.0] * len(CART))
    latency += np.random.default_rng(3).normal(0, 1.0, latency.shape) * MS
    latency[1:, 2] = latency[0, 2] - (latency[1:, 1] - latency[0, 1])
    line, wave = np.arange(4.0)[:, None], np.array([[0.0], [1.0], [1.0], [0.0]])
    shaped = Matched(replace(matched.base, shape=line), replace(matched.head, shape=wave), ())
    one = starved._Reader(unit, latency, shaped)
    made = one.groups([np.array([0]), np.array([1, 2]), np.array([3, 4])])
    summed = np.stack([latency[:, 0], latency[:, 3] + latency[:, 4]], axis=1) / MS
    errors = [
        jackknife(summed[0], part, shape).error for part, shape in ((summed[1:5], line), (summed[5:], wave))
    ]
    np.testing.assert_allclose(made.error_ms[[0, 2]], np.hypot(*errors))
    assert made.error_ms[1] == pytest.approx(0.0, abs=1e-6)
    np.testing.assert_allclose(made.effect_ms[2], summed[0, 1])
    assert made.per_visit_ms[1].tolist() == [14.0, 14.0, 14.0]
    latency, unit, matched = world([4.0] * len(CART), base=[0.0] * len(CART))
    none = starved._Reader(unit, latency, matched)
    assert none.groups([np.array([0])]).per_visit_ms[0].tolist() == [0.0]


def test_a_service_that_nobody_calls_can_starve_as_well() -> None:
    """There is no gap in front of it: a job that runs by the clock."""
    job = (("self", "job", None, -1), *((*path[:1], "job", *path[2:3], -1) for path in CART[2:5]), *CART[5:])
    after, (one,) = credited(LATE[1:], job)
    assert after == [14.0, *[0.0] * 6]
    assert not any("the gap in front" in said for said in one.evidence)

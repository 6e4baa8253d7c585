"""Laws of the exact decomposition, over random call trees and periods."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracescope.analysis.comparison.decompose import (
    Sums,
    Tree,
    _net_calls_and_criticality,
    _net_siblings,
    decompose,
    log_mean,
    mix,
)  # fmt: skip


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """1 to 4 entries and up to 12 paths, parents first, ordered by depth as the diff does."""
    entries = draw(st.integers(1, 4))
    parent, entry, depth = [-1] * entries, list(range(entries)), [1] * entries
    for path in range(entries, entries + draw(st.integers(0, 12))):
        above = draw(st.integers(-1, path - 1))
        parent.append(above)
        entry.append(entry[above] if above >= 0 else draw(st.integers(0, entries - 1)))
        depth.append(depth[above] + 1 if above >= 0 else 1)
    return Tree(np.array(parent), np.array(entry), np.array(depth))


@st.composite
def sums(draw: st.DrawFn, tree: Tree) -> Sums:
    """A period in which anything may be missing, from one call to a billion nanoseconds."""
    size, entries = len(tree.parent), int(tree.entry.max()) + 1
    units = np.array([draw(st.sampled_from([0, 1, 7, 1000])) for _ in range(entries)], float)
    calls, visited, visits, own = (np.zeros(size) for _ in range(4))
    for path in range(size):
        above = units[tree.entry[path]] if tree.parent[path] < 0 else visits[tree.parent[path]]
        if above == 0:
            continue
        visited[path] = draw(st.sampled_from([0, 1, above, 3 * above]))
        calls[path] = visited[path] + draw(st.sampled_from([0, 5]))
        visits[path] = draw(st.sampled_from([0, min(1, visited[path]), visited[path]]))
        own[path] = draw(st.sampled_from([0, 1, 10**6, 10**9])) * visits[path]
    children = own * draw(st.sampled_from([1.0, 2.0]))
    clock = np.bincount(tree.entry, own, entries)
    return Sums(*(a[None] for a in (units, clock, calls, visited, visits, own, children, own)))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Tree, Sums, Sums]:
    tree = draw(trees())
    return tree, draw(sums(tree)), draw(sums(tree))


def mean(period: Sums) -> float:
    total = period.units.sum()
    return float(period.clock.sum() / total) if total else 0.0


def fan(visits: list[int], own_ms: list[float], parent: list[int], overlap: float = 500.0) -> Sums:
    """A hundred units of one entry: paths with so many visits, each so many ms; siblings overlap."""
    count = np.array(visits, float)
    own = count * np.array(own_ms)
    child = np.where(np.array(parent) >= 0, 0.0, overlap)
    rows = (
        np.full(1, 100.0),
        own.sum(keepdims=True),
        np.full(len(count), 100.0),
        np.full(len(count), 100.0),
        count,
    )
    return Sums(*(a[None] for a in (*rows, own, 2 * child, child)))


def branches(*parent: int) -> Tree:
    above = np.array(parent)
    depth = [1 if one < 0 else 2 for one in parent]
    return Tree(above, np.zeros(len(parent), int), np.array(depth))


def test_branches_that_took_over_from_one_another_and_changed_their_latency_are_netted() -> None:
    """Branch a from 10 to 9 ms, b from 9 to 10, and b is waited for where a was: the clock felt nothing."""
    two = [-1, -1]
    base, head = fan([80, 20], [10.0, 9.0], two), fan([20, 80], [9.0, 10.0], two)
    assert mean(base) == mean(head)
    for name, values in decompose(base, head, branches(*two)).items():
        np.testing.assert_allclose(values, 0.0, atol=1e-12, err_msg=name)


def test_what_the_clock_felt_of_branches_that_changed_places_is_all_of_one() -> None:
    """Branch b by 2 ms slower still: a gets nothing, neither for what it saved nor for what it lost."""
    two = [-1, -1]
    base, head = fan([80, 20], [10.0, 9.0], two), fan([20, 80], [9.0, 12.0], two)
    effects = decompose(base, head, branches(*two))
    change = mean(head) - mean(base)
    assert change > 1.0
    np.testing.assert_allclose(effects["latency"][0], [0.0, change], atol=1e-9)
    for name in ("calls", "criticality", "new", "gone"):
        np.testing.assert_allclose(effects[name], 0.0, atol=1e-9, err_msg=name)


def test_what_lies_below_branches_that_changed_places_is_netted_with_them() -> None:
    """Each branch is a service over a database: what a branch keeps holds for all below it."""
    four = [-1, -1, 0, 1]
    base = fan([80, 20, 80, 20], [4.0, 4.0, 6.0, 5.0], four)
    head = fan([20, 80, 20, 80], [4.0, 4.0, 5.0, 6.0], four)
    for name, values in decompose(base, head, branches(*four)).items():
        np.testing.assert_allclose(values, 0.0, atol=1e-12, err_msg=name)
    slower = fan([20, 80, 20, 80], [4.0, 4.0, 5.0, 9.0], four)
    effects = decompose(base, slower, branches(*four))
    latency = effects["latency"][0]
    assert latency[0] == latency[2] == 0.0
    assert latency[1] + latency[3] == pytest.approx(mean(slower) - mean(base))


def test_branches_whose_latency_changed_but_not_who_is_waited_for_keep_what_they_did() -> None:
    """From a tenth of what latency did: ln(80 / 75) is less than that part of ln 2, ln(80 / 74) is more."""
    two = [-1, -1]
    base = fan([80, 20], [10.0, 9.0], two)
    for moved, netted in ((1, False), (5, False), (6, True), (30, True)):
        head = fan([80 - moved, 20 + moved], [5.0, 25.0], two)
        effects = decompose(base, head, branches(*two))
        assert (effects["latency"][0, 0] == 0.0) == netted, moved
        assert effects["latency"].sum() + effects["criticality"].sum() == pytest.approx(
            mean(head) - mean(base)
        )


@pytest.mark.parametrize("factor", [1e-6, 1e-3, 1e6])
@pytest.mark.parametrize(
    ("visits", "own_ms"),
    [([20, 80], [9.0, 12.0]), ([74, 26], [5.0, 25.0]), ([30, 80], [10.0, 9.0]), ([75, 90], [3.0, 9.5])],
)
def test_time_in_another_unit_is_every_effect_in_that_unit(
    visits: list[int], own_ms: list[float], factor: float
) -> None:
    """No part of the netting knows how long a millisecond is."""
    two = [-1, -1]
    base, head = fan([80, 20], [10.0, 9.0], two), fan(visits, own_ms, two)
    times = ("clock", "critical_self", "overlap_sum", "overlap_union")

    def scaled(sums: Sums) -> Sums:
        return replace(sums, **{name: getattr(sums, name) * factor for name in times})

    plain = decompose(base, head, branches(*two))
    for name, values in decompose(scaled(base), scaled(head), branches(*two)).items():
        np.testing.assert_allclose(values, plain[name] * factor, rtol=1e-9, atol=1e-12 * factor, err_msg=name)


def test_work_made_serial_is_not_netted() -> None:
    """Siblings that no longer overlap: b is waited for as well as a, and that is criticality."""
    two = [-1, -1]
    base, head = fan([80, 20], [10.0, 9.0], two, 500.0), fan([70, 90], [10.0, 9.0], two, 900.0)
    head = Sums(
        **{n: getattr(head, n) for n in Sums.__dataclass_fields__} | {"overlap_sum": head.overlap_union}
    )
    effects = decompose(base, head, branches(*two))
    assert effects["criticality"][0, 1] > 5.0
    np.testing.assert_allclose(effects["latency"], 0.0, atol=1e-9)


def chain(fan_out: float = 2.0, waited: float = 0.5, own_ms: float = 3.0, below_ms: float = 4.0) -> Sums:
    """A hundred units whose one call path fans out, is waited for in part, and calls one thing below."""
    calls = np.array([100 * fan_out, 100 * fan_out * waited])
    visits = np.array([calls[0] * waited, calls[1]])
    own = visits * np.array([own_ms, below_ms])
    children = np.array([own[1], 0.0])
    rows = np.full(1, 100.0), own.sum(keepdims=True), calls, calls, visits, own, children, children
    return Sums(*(a[None] for a in rows))


@pytest.mark.parametrize(
    ("head", "effect", "path"),
    [
        (chain(fan_out=6.0), "calls", 0), (chain(fan_out=1.0), "calls", 0),
        (chain(waited=0.75), "criticality", 0), (chain(waited=0.1), "criticality", 0),
        (chain(own_ms=9.0), "latency", 0), (chain(below_ms=1.0), "latency", 1),
    ],
)  # fmt: skip
def test_one_change_alone_is_one_effect_with_all_that_lies_below_it(
    head: Sums, effect: str, path: int
) -> None:
    """A wider fan-out carries the time below it; slower work is of the path that does it."""
    base = chain()
    effects = decompose(base, head, branches(-1, 0))
    expected = dict.fromkeys(effects, np.zeros(2)) | {effect: np.eye(2)[path] * (mean(head) - mean(base))}
    for name, values in effects.items():
        np.testing.assert_allclose(values[0], expected[name], atol=1e-9, err_msg=name)


def test_changes_at_once_share_by_the_logarithm_of_their_ratios() -> None:
    """Twice the calls of four times the latency: of the change, a third and two thirds (LMDI)."""
    base, head = chain(below_ms=0.0), chain(fan_out=4.0, own_ms=12.0, below_ms=0.0)
    effects = decompose(base, head, branches(-1, 0))
    change = mean(head) - mean(base)
    assert effects["calls"][0, 0] == pytest.approx(change / 3)
    assert effects["latency"][0, 0] == pytest.approx(change * 2 / 3)


def two_entries(units: tuple[float, float], clock_ms: tuple[float, float]) -> Sums:
    """Entries with one path each, visited once a unit."""
    count, own = np.array(units), np.array(units) * np.array(clock_ms)
    return Sums(*(a[None] for a in (count, own, count, count, count, own, 0 * own, 0 * own)))


def test_mix_is_the_shift_of_weights_at_mean_latency_and_effects_are_at_mean_weight() -> None:
    """Both by the midpoint of base and head; an entry that one period lacks is mix alone."""
    base, head = two_entries((75.0, 25.0), (10.0, 30.0)), two_entries((100.0, 100.0), (12.0, 30.0))
    shift, weight = mix(base, head)
    np.testing.assert_allclose(shift[0], [-0.25 * 11.0, 0.25 * 30.0])
    np.testing.assert_allclose(weight[0], [0.625, 0.375])
    effects = decompose(base, head, Tree(np.array([-1, -1]), np.array([0, 1]), np.array([1, 1])))
    np.testing.assert_allclose(effects["latency"][0], [2.0 * 0.625, 0.0])
    absent = two_entries((100.0, 0.0), (10.0, 0.0))
    for one, other, sign in ((absent, base, 1.0), (base, absent, -1.0)):
        shift, _ = mix(one, other)
        np.testing.assert_allclose(shift[0], [sign * -0.25 * 10.0, sign * 0.25 * 30.0])


def test_each_replicate_has_the_mix_of_its_own_units() -> None:
    """As if it were alone."""
    rows = [
        (two_entries((75.0, 25.0), (10.0, 30.0)), two_entries((100.0, 100.0), (12.0, 30.0))),
        (two_entries((15.0, 5.0), (10.0, 40.0)), two_entries((0.0, 10.0), (12.0, 30.0))),
        (two_entries((1.0, 2.0), (7.0, 9.0)), two_entries((8.0, 3.0), (12.0, 2.0))),
    ]
    names = Sums.__dataclass_fields__
    base, head = (
        Sums(*(np.concatenate([getattr(side, name) for side in sides]) for name in names))
        for sides in zip(*rows, strict=True)
    )
    for found, alone in zip(mix(base, head), zip(*(mix(*row) for row in rows), strict=True), strict=True):
        np.testing.assert_allclose(found, np.concatenate(alone))


def test_a_path_without_calls_is_new_or_gone_and_one_without_visits_is_criticality() -> None:
    """With all that lies below it, which names nothing of its own."""
    whole, tree = chain(), branches(-1, 0)
    nothing = chain(fan_out=0.0)
    unwaited = Sums(
        **{name: getattr(nothing, name) for name in Sums.__dataclass_fields__}
        | {name: getattr(whole, name) * [1.0, 0.0] for name in ("calls", "calls_visited")}
    )
    gain = mean(whole)
    for base, head, effect, change in (
        (nothing, whole, "new", gain), (whole, nothing, "gone", -gain),
        (unwaited, whole, "criticality", gain), (whole, unwaited, "criticality", -gain),
    ):  # fmt: skip
        for name, values in decompose(base, head, tree).items():
            expected = [change, 0.0] if name == effect else [0.0, 0.0]
            np.testing.assert_allclose(values[0], expected, atol=1e-9, err_msg=f"{effect}: {name}")


def test_the_logarithmic_mean_of_equals_is_that_value_and_with_nothing_it_is_nothing() -> None:
    """Its limits; and by its definition elsewhere."""
    a, b = np.array([5.0, 5.0, 0.0, 3.0, 2.0]), np.array([5.0, 5.0 * (1 + 1e-10), 3.0, 0.0, 6.0])
    np.testing.assert_allclose(log_mean(a, b), [5.0, 5.0, 0.0, 0.0, 4.0 / math.log(3.0)], rtol=1e-9)


@pytest.mark.parametrize(("fan_out", "waited"), [(8.0, 0.25), (8.0, 0.1), (2.5, 0.1)])
def test_a_wider_fan_out_that_is_waited_for_less_often_is_netted_into_the_larger(
    fan_out: float, waited: float
) -> None:
    """Of 2 calls and a half of them waited for; what is netted away leaves no trace."""
    base, head = chain(), chain(fan_out=fan_out, waited=waited)
    effects = decompose(base, head, branches(-1, 0))
    calls_win = fan_out / 2.0 >= 0.5 / waited
    change = mean(head) - mean(base)
    np.testing.assert_allclose(effects["calls"][0], [change if calls_win else 0.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(effects["criticality"][0], [0.0 if calls_win else change, 0.0], atol=1e-9)


@pytest.mark.parametrize("under", ["entries", "callers"])
def test_only_branches_of_one_caller_can_take_over_from_one_another(under: str) -> None:
    """What one entry, or one service, waits for less is not what another one waits for more."""
    if under == "entries":
        tree = Tree(np.array([-1, -1]), np.array([0, 1]), np.array([1, 1]))
        units, callers = np.array([100.0, 100.0]), np.zeros(0)
    else:
        tree, units, callers = branches(-1, -1, 0, 1), np.array([100.0]), np.array([100.0, 100.0])
    calls = np.full(len(callers) + 2, 100.0)

    def period(*visits: float) -> Sums:
        count = np.array([*callers, *visits])
        own = count * np.array([*(0.0 * callers), 10.0, 10.0])
        clock = np.bincount(tree.entry, own)
        rows = units, clock, calls, calls, count, own, 0 * own, 0 * own
        return Sums(*(a[None] for a in rows))

    effects = decompose(period(80.0, 20.0), period(20.0, 80.0), tree)
    part = 0.5 if under == "entries" else 1.0
    np.testing.assert_allclose(effects["criticality"][0, -2:], [-6.0 * part, 6.0 * part])
    np.testing.assert_allclose(effects["latency"][0], 0.0, atol=1e-12)


def netted(
    criticality: list[float], latency: list[float], overlap: tuple[float, float] = (5.0, 5.0),
    running: tuple[float, float] = (6.0, 6.0), tree: Tree | None = None,
) -> tuple[list[float], list[float]]:  # fmt: skip
    """Criticality and latency after siblings were netted, whose family overlaps and runs so long a visit."""
    effects = {"criticality": np.array([criticality]), "latency": np.array([latency])}
    one, each = np.ones((1, 1)), np.ones((1, len(latency)))
    first = np.eye(1, len(latency))
    periods = [
        Sums(one, one, each, each, each, each, first * (extra + time), first * time)
        for extra, time in zip(overlap, running, strict=True)
    ]
    _net_siblings(effects, *periods, tree or branches(*[-1] * len(latency)))
    return effects["criticality"][0].tolist(), effects["latency"][0].tolist()


@pytest.mark.parametrize(
    ("criticality", "latency", "left"),
    [
        ([-3.0, 5.0], [0.0, 0.0], ([0.0, 0.0], [0.0, 2.0])),
        ([-5.0, 3.0], [0.0, 0.0], ([0.0, 0.0], [-2.0, 0.0])),
        ([-5.0, 3.0, 1.0], [0.0, 0.0, 0.0], ([0.0, 0.0, 0.0], [-1.0, 0.0, 0.0])),
        ([-6.0, 4.0, 5.0], [0.0, 0.0, 0.0], ([0.0, 0.0, 0.0], [0.0, 4.0 / 3, 5.0 / 3])),
        ([2.0, 3.0], [1.0, 1.0], ([2.0, 3.0], [1.0, 1.0])),
        ([-2.0, 0.0], [1.0, 1.0], ([-2.0, 0.0], [1.0, 1.0])),
        ([-1.0, 1.0], [-10.0, 10.0], ([0.0, 0.0], [0.0, 0.0])),
        ([-1.0, 1.0], [-10.5, 10.5], ([0.0, 0.0], [-10.5, 10.5])),
        ([-1.0, 1.5], [-10.0, 14.0], ([0.0, 0.0], [0.0, 4.5])),
        ([1.0, -1.5], [10.0, -14.0], ([0.0, 0.0], [0.0, -4.5])),
        ([-1.0, 1.0, 0.0], [-10.0, 10.0, 7.0], ([0.0, 0.0, 0.0], [0.0, 0.0, 7.0])),
    ],
)  # fmt: skip
def test_what_siblings_gain_and_lose_against_each_other_is_nobodys(
    criticality: list[float], latency: list[float], left: tuple[list[float], list[float]]
) -> None:
    """The net is those's that have more of it, in proportion, and is latency; with it goes what latency did
    to branches that changed places by at least a tenth of it.
    """
    found = netted(criticality, latency)
    assert found[0] == pytest.approx(left[0])
    assert found[1] == pytest.approx(left[1])


@pytest.mark.parametrize(
    ("overlap", "running", "kept"),
    [
        ((100.0, 90.0), (50.0, 55.0), True), ((90.0, 100.0), (55.0, 50.0), True),
        ((100.0, 98.0), (50.0, 55.0), False), ((100.0, 97.9), (50.0, 55.0), True),
        ((98.0, 100.0), (55.0, 50.0), False), ((97.9, 100.0), (55.0, 50.0), True),
        ((100.0, 90.0), (50.0, 50.0), False), ((90.0, 100.0), (50.0, 50.0), False),
        ((100.0, 90.0), (55.0, 50.0), False), ((90.0, 100.0), (50.0, 55.0), False),
        ((100.0, 100.0), (50.0, 90.0), False),
    ],
)  # fmt: skip
def test_criticality_stays_where_work_was_made_serial_or_parallel(
    overlap: tuple[float, float], running: tuple[float, float], kept: bool
) -> None:
    """Siblings overlap by more than a fiftieth less and run longer, or the other way round; else its net is
    latency.
    """
    for criticality, net in (([-3.0, 5.0], [0.0, 2.0]), ([-5.0, 3.0], [-2.0, 0.0])):
        expected = (net, [0.0, 0.0]) if kept else ([0.0, 0.0], net)
        found = netted(criticality, [0.0, 0.0], overlap, running)
        assert found[0] == pytest.approx(expected[0])
        assert found[1] == pytest.approx(expected[1])


def test_a_branch_changed_places_by_the_latency_of_all_below_it() -> None:
    """A tenth of the branch with its callee; what is netted of the branch is netted of the callee."""
    tree = branches(-1, -1, 0, 1)
    assert netted([-1.0, 1.0, 0.0, 0.0], [-4.0, 4.0, -6.0, 6.0], tree=tree) == ([0.0] * 4, [0.0] * 4)
    apart = [-4.0, 4.0, -7.0, 7.0]
    assert netted([-1.0, 1.0, 0.0, 0.0], apart, tree=tree) == ([0.0] * 4, apart)


def test_a_branch_that_did_nothing_is_netted_in_no_replicate() -> None:
    """The whole says who changed places; that the third got slower without some block is all its own."""
    three = [-1, -1, -1]
    base = fan([80, 20, 50], [10.0, 9.0, 10.0], three)
    whole, without = (fan([20, 80, 50], [9.0, 10.0, last], three) for last in (10.0, 12.0))
    rows = [
        Sums(*(np.concatenate([getattr(side, name) for side in sides]) for name in Sums.__dataclass_fields__))
        for sides in ((base, base, base), (whole, without, whole))
    ]
    latency = decompose(*rows, branches(*three))["latency"]
    np.testing.assert_allclose(latency[:, 2], [0.0, 50 * 2.0 / 100, 0.0], atol=1e-12)


def test_a_branch_below_another_is_no_sibling_of_it() -> None:
    """What the first of an entry's branches calls is of another family than the branches."""
    tree = branches(-1, -1, 0)
    for criticality in ([0.0, -3.0, 3.0], [0.0, 3.0, -3.0]):
        assert netted(criticality, [0.0] * 3, tree=tree) == (criticality, [0.0] * 3)
    assert netted([-3.0, 3.0, 0.0], [0.0] * 3, tree=tree) == ([0.0] * 3, [0.0] * 3)


@pytest.mark.parametrize(
    ("calls", "criticality", "left"),
    [
        ([3.0, -1.0, 2.0], [-2.0, 5.0, 1.0], ([1.0, 4.0, 3.0], [0.0] * 3)),
        ([-2.0, 5.0, 1.0], [3.0, -1.0, 2.0], ([0.0] * 3, [1.0, 4.0, 3.0])),
        ([2.0, 1.0, 1.0], [-2.0, 1.0, 4.0], ([0.0, 2.0, 5.0], [0.0] * 3)),
        ([2.0, -1.0, 1.0], [1.0, 1.0, -4.0], ([2.0, -1.0, 1.0], [1.0, 1.0, -4.0])),
        ([0.0, -1.0, 1.0], [1.0, 1.0, -4.0], ([0.0, -1.0, 1.0], [1.0, 1.0, -4.0])),
    ],
)  # fmt: skip
def test_the_whole_decides_for_every_replicate_whether_calls_and_criticality_are_netted(
    calls: list[float], criticality: list[float], left: tuple[list[float], list[float]]
) -> None:
    """And into which of them: leaving a block out is a small step."""
    effects = {"calls": np.array(calls)[:, None], "criticality": np.array(criticality)[:, None]}
    _net_calls_and_criticality(effects)
    assert (effects["calls"][:, 0].tolist(), effects["criticality"][:, 0].tolist()) == left


def test_siblings_overlap_for_each_visit_of_their_caller() -> None:
    """Twice the visits: more overlap in all and less of it a visit, in which more runs: made serial."""
    tree = branches(-1, -1, 0, 0)
    effects = {"criticality": np.array([[0.0, 0.0, -3.0, 5.0]]), "latency": np.zeros((1, 4))}
    unit, calls = np.ones((1, 1)), np.ones((1, 4))
    periods = []
    for visits, overlap, running in ((10.0, 100.0, 50.0), (20.0, 190.0, 110.0)):
        family = np.array([[0.0, 0.0, 1.0, 0.0]])
        counts = np.array([[visits, 1.0, 1.0, 1.0]])
        periods.append(
            Sums(unit, unit, calls, calls, counts, calls, family * (overlap + running), family * running)
        )
    _net_siblings(effects, *periods, tree)
    assert effects["criticality"][0].tolist() == pytest.approx([0.0, 0.0, 0.0, 2.0])
    assert (effects["latency"] == 0).all()


# -- over random trees: last, because it takes longest ---------------------------------------------


@settings(max_examples=150, deadline=None)
@given(pairs())
def test_effects_and_mix_add_up_to_the_change_of_the_mean_clock(case: tuple[Tree, Sums, Sums]) -> None:
    """To 1e-9 of the larger clock, whatever appeared, vanished or flipped."""
    tree, base, head = case
    if not base.units.sum() or not head.units.sum():
        return
    effects = decompose(base, head, tree)
    total = sum(float(values.sum()) for values in effects.values()) + float(mix(base, head)[0].sum())
    change = mean(head) - mean(base)
    assert math.isclose(total, change, abs_tol=1e-9 * max(mean(base), mean(head)) + 1e-9)
    assert all(np.isfinite(values).all() for values in effects.values())


@settings(max_examples=100, deadline=None)
@given(pairs())
def test_a_period_compared_with_itself_has_no_effect(case: tuple[Tree, Sums, Sums]) -> None:
    """Not even by rounding."""
    tree, base, _ = case
    assert all((values == 0).all() for values in decompose(base, base, tree).values())
    assert (mix(base, base)[0] == 0).all()


@settings(max_examples=100, deadline=None)
@given(pairs())
def test_swapping_the_periods_turns_every_total_around(case: tuple[Tree, Sums, Sums]) -> None:
    """What is new one way is gone the other; everything else changes its sign."""
    tree, base, head = case
    there, back = decompose(base, head, tree), decompose(head, base, tree)
    scale = 1e-9 * max(mean(base), mean(head)) + 1e-9
    for name, other in (
        ("calls", "calls"),
        ("criticality", "criticality"),
        ("latency", "latency"),
        ("new", "gone"),
    ):
        assert math.isclose(there[name].sum(), -back[other].sum(), abs_tol=scale), name


@settings(max_examples=50, deadline=None)
@given(pairs(), st.sampled_from([0.001, 3.0, 1e6]))
def test_more_traffic_of_the_same_kind_changes_nothing(case: tuple[Tree, Sums, Sums], factor: float) -> None:
    """Scaling every sum of one period leaves all effects: volumes alone are no growth."""
    tree, base, head = case
    scaled = Sums(**{name: getattr(head, name) * factor for name in Sums.__dataclass_fields__})
    plain, grown = decompose(base, head, tree), decompose(base, scaled, tree)
    scale = 1e-9 * max(mean(base), mean(head)) + 1e-9
    for name, values in plain.items():
        np.testing.assert_allclose(grown[name], values, rtol=1e-9, atol=scale)


@given(st.floats(1e-9, 1e12), st.floats(1e-9, 1e12))
def test_the_logarithmic_mean_lies_between_its_numbers(a: float, b: float) -> None:
    """Between the geometric and the arithmetic mean."""
    value = float(log_mean(np.array([a]), np.array([b]))[0])
    assert math.sqrt(a) * math.sqrt(b) <= value * (1 + 1e-7)
    assert value <= (a + b) / 2 * (1 + 1e-7)

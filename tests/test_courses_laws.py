"""Quiet and busy times of an edge, and who keeps a resource busy, worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from answered import grown
from rolled import HALF, rolled, table
from scipy import stats

from tracescope import schema
from tracescope.analysis.attribution import holders
from tracescope.analysis.attribution.consumers import Consumers
from tracescope.analysis.attribution.courses import Course, Slots, courses, place_of, together
from tracescope.analysis.attribution.holders import Held, contended, held_meanwhile, resources
from tracescope.analysis.attribution.ladder import Grown, name_of
from tracescope.analysis.report import Edge, EdgeKey

MS = 1_000_000
HOURS = 24


def slots(
    call_ms: list[float], load: list[float], calls: float = 10.0, work_ms: list[float] | None = None
) -> Slots:
    n = len(call_ms)
    ms = np.array(call_ms)
    return Slots(np.arange(n), np.full(n, calls), ms, np.array(work_ms or call_ms), np.array(load))


def swinging(quiet: float, busy: float, **more: Any) -> Slots:
    """Half of a day at a load of 100, half at 200."""
    return slots([quiet, busy] * (HOURS // 2), [100.0, 200.0] * (HOURS // 2), **more)


def course(base: Slots, head: Slots) -> Course:
    return Course(base, head, (24.0, 12.0))


# -- quiet and busy times ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quiet", "busy", "steady", "waits"),
    [
        (10.0, 30.0, 0.0, True), (20.0, 20.0, 1.0, False), (14.4, 20.0, 0.44, True), (14.6, 20.0, 0.46, None),
        (17.4, 20.0, 0.74, None), (17.6, 20.0, 0.76, False), (9.0, 20.0, 0.0, True), (20.0, 15.0, 1.0, False),
        (10.0, 10.0, None, None), (9.0, 9.0, None, None),
    ],
)  # fmt: skip
def test_the_part_of_a_rise_that_is_there_in_quiet_times_tells_a_line_from_slower_work(
    quiet: float, busy: float, steady: float | None, waits: bool | None
) -> None:
    """Of the larger rise; between both nothing is told, and nothing of what did not rise."""
    one = course(swinging(10.0, 10.0), swinging(quiet, busy))
    assert one.steady == (None if steady is None else pytest.approx(steady))
    assert one.waits is waits


def test_nothing_is_told_where_load_does_not_swing_or_too_little_was_seen() -> None:
    """Busy times have 1.3 times the load of quiet ones; a day of slots, and fifty calls in either."""
    flat, rise = [10.0] * HOURS, [10.0, 20.0] * 12
    for busy, told in ((130.0, True), (129.0, False)):
        load = [100.0, busy] * 12
        assert (course(slots(flat, load), slots(rise, load)).steady is not None) == told
    load = [100.0, 200.0] * 12
    short = slots(rise[:-1], load[:-1])
    assert course(slots(flat, load), short).steady is None
    assert course(short, slots(rise, load)).steady is None
    for calls, told in ((4.2, True), (4.1, False)):
        few = slots(rise, load, calls=calls)
        assert (course(slots(flat, load), few).steady is not None) == told
        assert (course(few, slots([2 * ms for ms in rise], load)).steady is not None) == told


def test_means_of_slots_are_weighted_by_their_calls() -> None:
    """Fifty calls at least."""
    one = Slots(np.arange(3), np.array([10.0, 40.0, 9.0]), np.array([1.0, 2.0, 9.0]), np.zeros(3), np.ones(3))
    assert one.mean(np.array([True, True, False]), one.call_ms) == pytest.approx(90 / 50)
    assert one.mean(np.array([False, True, True]), one.call_ms) is None


def test_quiet_times_are_those_of_both_periods_or_of_one_that_was_never_as_quiet() -> None:
    """What a call takes of its callee then; in all times where load does not swing."""
    base = slots([1.0] * 24, [100.0, 200.0] * 12, work_ms=[5.0, 50.0] * 12)
    head = slots([1.0] * 24, [300.0, 400.0] * 12, work_ms=[7.0, 70.0] * 12)
    assert course(base, head).quiet_ms == pytest.approx((27.5, 7.0))  # all of base is as quiet
    both = course(base, slots([1.0] * 24, [100.0, 200.0] * 12, work_ms=[8.0, 80.0] * 12))
    assert both.quiet_ms == pytest.approx((5.0, 8.0))
    flat = slots([1.0] * 24, [100.0] * 24, work_ms=[4.0, 6.0] * 12)
    assert course(flat, flat).quiet_ms == pytest.approx((5.0, 5.0))
    none = Slots(np.zeros(0, np.int64), *[np.zeros(0)] * 4)
    assert course(none, flat).quiet_ms == pytest.approx((0.0, 5.0))


def test_calls_an_hour_are_of_each_periods_length() -> None:
    assert course(swinging(1.0, 1.0), swinging(1.0, 1.0, calls=20.0)).rate == (240 / 24, 480 / 12)


@pytest.mark.parametrize(
    ("key", "place"),
    [
        (("db", "a", "pg", "GET"), "pg"), (("self", "a", None, None), "a"),
        (("queue", "t", "w", schema.QUEUE_WAIT), "wait t"),
        (("queue", "a", "t", schema.QUEUE_PUBLISH), "publish t"),
    ],
)  # fmt: skip
def test_calls_arrive_at_their_callee_and_messages_at_an_end_of_the_queue(
    key: tuple[str, ...], place: str
) -> None:
    assert place_of(EdgeKey("request", *key)) == place


# -- slow together ----------------------------------------------------------------------------------


def test_two_edges_go_together_by_kendalls_tau_among_slots_of_like_load() -> None:
    """The mean of four groups where there are slots enough for them; of those that both have."""
    rng = np.random.default_rng(8)
    n = 120
    load = np.sort(rng.uniform(100, 200, n))
    a = rng.normal(0, 1, n) + load / 5
    b = a + rng.normal(0, 0.5, n)
    cause, victim = slots(a.tolist(), load.tolist()), slots(b.tolist(), load.tolist())
    groups = np.array_split(np.arange(n), 4)
    expected = np.mean([stats.kendalltau(a[at], b[at]).statistic for at in groups])
    assert together(course(cause, cause), course(victim, victim)) == pytest.approx(expected)
    few = [slots(values[:95].tolist(), load[:95].tolist()) for values in (a, b)]
    whole = stats.kendalltau(a[:95], b[:95]).statistic
    assert together(course(few[0], few[0]), course(few[1], few[1])) == pytest.approx(whole)
    later = Slots(cause.slot + 60, cause.calls, cause.call_ms, cause.work_ms, cause.load)
    common = stats.kendalltau(a[:60], b[60:]).statistic
    found = together(course(later, later), course(victim, victim))
    assert (found is None) == (abs(common) <= 2.58 * np.sqrt(2 * 125 / (9 * 60 * 59)))


@pytest.mark.parametrize(("n", "told"), [(24, True), (23, False)])
def test_going_together_takes_a_day_of_slots(n: int, told: bool) -> None:
    one = slots([float(at) for at in range(n)], [1.0] * n)
    assert together(course(one, one), course(one, one)) == (pytest.approx(1.0) if told else None)


def test_what_could_be_chance_tells_nothing_of_going_together() -> None:
    """Beyond 2.58 standard errors of a tau of nothing, in either direction."""
    rng = np.random.default_rng(5)
    n, seen = 40, set()
    error = np.sqrt(2 * (2 * n + 5) / (9 * n * (n - 1)))
    for count in range(n):
        values = rng.permutation(n).astype(float)
        values[:count] = np.sort(values[:count])
        tau = stats.kendalltau(np.arange(n), values).statistic
        one, other = slots(np.arange(n, dtype=float).tolist(), [1.0] * n), slots(values.tolist(), [1.0] * n)
        found = together(course(one, one), course(other, other))
        assert found == (pytest.approx(tau) if abs(tau) > 2.58 * error else None)
        seen.add(found is None)
    assert seen == {True, False}


# -- from rollups -----------------------------------------------------------------------------------

PATHS = [
    {"path_id": 1, "kind": schema.EDGE_HTTP, "caller": "a", "callee": "b"},
    {"path_id": 2, "kind": schema.EDGE_SELF, "caller": "b"},
    {"path_id": 3, "kind": schema.EDGE_DB, "caller": "a", "callee": "pg", "operation": "GET"},
    {"path_id": 4, "kind": schema.EDGE_DB, "caller": "c", "callee": "pg", "operation": "PUT"},
]


def test_courses_are_means_of_a_call_slot_by_slot_beside_what_arrives_at_its_place() -> None:
    """Weighed by sampling; a call's work is its callee's part; a service is as busy as what it serves."""
    message = {"unit": schema.UNIT_MESSAGE}
    rows = [
        {"slot": 3, "path_id": 1, "calls": 4, "own_all_ns": 8 * MS, "busy_ns": 40 * MS},
        {"slot": 3, "path_id": 1, "calls": 1, "own_all_ns": 4 * MS, "busy_ns": 10 * MS, "threshold": HALF},
        {"slot": 5, "path_id": 1, "calls": 2, "own_all_ns": 2 * MS, "busy_ns": 3 * MS},
        {"slot": 3, "path_id": 2, "calls": 7, "own_all_ns": 14 * MS, "busy_ns": 14 * MS},
        {"slot": 3, "path_id": 3, "calls": 5, "own_all_ns": 10 * MS, "busy_ns": 10 * MS},
        {"slot": 4, "path_id": 3, "calls": 0, "own_all_ns": 10 * MS, "busy_ns": 10 * MS},
        {"slot": 3, "path_id": 4, "calls": 6, "own_all_ns": 6 * MS, "busy_ns": 6 * MS, **message},
        {"slot": 6, "path_id": 4, "calls": 1, "own_all_ns": 6 * MS, "busy_ns": 6 * MS, **message},
    ]  # fmt: skip
    base = rolled(2 * schema.DAY_NS, path_hours=rows, paths=PATHS)
    found = courses(base, rolled(path_hours=rows[-1:], paths=PATHS))
    call = found[EdgeKey("request", "http", "a", "b", None)]
    assert (call.base.slot.tolist(), call.base.calls.tolist()) == ([3, 5], [6.0, 2.0])
    assert call.base.call_ms.tolist() == pytest.approx([16 / 6, 1.0])
    assert call.base.work_ms.tolist() == pytest.approx([(60 - 16) / 6, 0.5])
    assert call.base.load.tolist() == [7.0, 0.0]  # what b does itself
    assert call.hours == (48.0, 24.0)
    assert len(call.head.slot) == 0
    query = found[EdgeKey("request", "db", "a", "pg", "GET")]
    assert (query.base.slot.tolist(), query.base.load.tolist()) == ([3], [11.0])
    assert query.base.work_ms.tolist() == [2.0]
    put = found[EdgeKey("message", "db", "c", "pg", "PUT")]
    assert (put.base.load.tolist(), put.head.load.tolist()) == ([11.0, 1.0], [1.0])
    assert found[EdgeKey("request", "self", "b", None, None)].base.load.tolist() == [7.0]


# -- holders ----------------------------------------------------------------------------------------

A, B, C = (EdgeKey("request", "db", name, "pg", "GET") for name in "abc")


@pytest.mark.parametrize(
    ("work", "holder"),
    [
        ({A: (10.0, 10.0), B: (10.0, 20.0)}, B), ({A: (10.0, 10.0), B: (10.0, 10.9)}, None),
        ({A: (10.0, 20.0), B: (10.0, 20.0)}, None), ({A: (10.0, 20.0), B: (10.0, 23.0)}, None),
        ({A: (10.0, 20.0), B: (10.0, 23.1)}, B), ({A: (10.0, 5.0), B: (10.0, 18.0)}, B),
        ({A: (10.0, 5.0), B: (100.0, 114.0)}, None), ({B: (10.0, 20.0)}, None),
        ({A: (100.0, 100.0), B: (10.0, 14.9)}, None), ({A: (100.0, 100.0), B: (10.0, 15.6)}, B),
        ({A: (10.0, 16.0), B: (10.0, 18.0), C: (10.0, 16.0)}, None), ({A: (10.0, 10.0), B: (0.0, 5.0)}, B),
        ({A: (0.0, 4.0), B: (10.0, 10.0), C: (0.0, 4.0)}, A),
    ],
)  # fmt: skip
def test_a_holder_brings_half_of_the_new_work_out_of_proportion(
    work: dict[EdgeKey, tuple[float, float]], holder: EdgeKey | None
) -> None:
    """A twentieth more of it in all; and its own grew by 1.15 times what the rest's did."""
    assert holders._out_of_proportion(work) == holder
    assert Held("pg", work, {}).holder == holder


def test_what_a_holder_brings_is_told_as_parts_of_all_work() -> None:
    """Of what it asks for where work itself names none."""
    one = Held("pg", {A: (30.0, 30.0), B: (10.0, 30.0)}, {})
    assert one.total == (40.0, 60.0)
    assert one.clause(B) == "b -> pg GET brings 25% → 50% of the work of pg, 3 times as much"
    fresh = Held("pg", {A: (40.0, 40.0), B: (0.0, 10.0)}, {})
    assert fresh.clause(B) == "b -> pg GET brings 0% → 20% of the work of pg, all of it new"
    asked = Held("pg", {A: (10.0, 20.0), B: (10.0, 20.0)}, {A: (10.0, 10.0), B: (10.0, 30.0)})
    assert asked.holder == B
    assert asked.clause(B).startswith("b -> pg GET brings 50% → 75% of the work of pg")
    nothing = Held("pg", {}, {A: (0.0, 0.0), B: (0.0, 4.0)})
    assert nothing.clause(B).startswith("b -> pg GET brings 0% → 100%")


def test_a_resource_is_what_two_edges_reach() -> None:
    """No queue, and no service's own work."""
    one = course(swinging(1.0, 1.0), swinging(1.0, 1.0))
    own, other = EdgeKey("request", "self", "pg", None, None), A._replace(callee="my")
    queues = [
        A._replace(kind="queue", operation=name, callee="t") for name in (schema.QUEUE_PUBLISH, "settle")
    ]
    found = resources(dict.fromkeys([A, B, own, other, *queues], one))
    assert list(found) == ["pg"]
    assert set(found["pg"].work) == {A, B}


def test_work_is_calls_an_hour_times_the_quiet_time_of_a_call() -> None:
    """What was asked for is that at base's time of a call, or at head's where base has none."""
    base, twice = swinging(2.0, 2.0), swinging(2.0, 2.0, calls=20.0)
    none = Slots(np.zeros(0, np.int64), *[np.zeros(0)] * 4)
    found = resources({A: course(base, twice), B: course(base, base), C: course(none, base)})["pg"]
    assert found.work[A] == pytest.approx((10 * 2.0, 40 * 2.0))
    assert found.work[B] == pytest.approx((10 * 2.0, 20 * 2.0))
    assert found.work[C] == pytest.approx((0.0, 20 * 2.0))
    assert all(found.asked[key] == pytest.approx(found.work[key]) for key in (A, B, C))


def rungs(
    edges: list[Edge], held: Held, courses_of: dict[EdgeKey, Any] | None = None
) -> list[tuple[str, str, str, bool]]:
    one = Grown({edge.key: edge for edge in edges}, courses_of or {}, frozenset())
    return [
        (name_of(r.cause), name_of(r.victim), r.how, r.certain) for r in contended(one, {held.place: held})
    ]


def slow(key: EdgeKey, effect: str = "latency_growth", **more: Any) -> Edge:
    return grown(key.name, effect, kind=key.kind, operation=key.operation, **more)


def test_who_waits_at_a_resource_waits_for_its_holder() -> None:
    """Those that are slower, and not the holder itself."""
    held = Held("pg", {A: (10.0, 10.0), B: (10.0, 30.0), C: (10.0, 10.0)}, {})
    edges = [slow(A), slow(B), slow(C, "calls")]
    assert rungs(edges, held) == [
        ("b -> pg GET", "a -> pg GET", "waits at pg, which b -> pg GET keeps busier", False)
    ]
    assert rungs([slow(A, "calls")], held) == []
    other = Held("my", {A._replace(callee="my"): (10.0, 10.0), B._replace(callee="my"): (10.0, 30.0)}, {})
    assert rungs(edges, other) == []


def quiet(before: float, now: float, rate: float = 10.0) -> Any:
    return SimpleNamespace(quiet_ms=(before, now), rate=(rate, rate), steady=None, waits=None)


def test_a_resource_that_is_slower_for_all_is_one_finding() -> None:
    """Of half of its work; the edge that got dearest in quiet times is the first, then what adds most."""
    held = Held("pg", {A: (10.0, 20.0), B: (10.0, 20.0), C: (20.0, 40.0)}, {})
    both = [slow(A), slow(B)]
    how = "asks pg as well, which is slower for all"
    dear = {A: quiet(1.0, 2.0), B: quiet(1.0, 3.0), C: quiet(1.0, 1.0)}
    assert rungs(both, held, dear) == [("b -> pg GET", "a -> pg GET", how, False)]
    often = {**dear, A: quiet(1.0, 2.0, 21.0)}
    assert rungs(both, held, often)[0][:2] == ("a -> pg GET", "b -> pg GET")
    alike = dict.fromkeys((A, B, C), quiet(2.0, 1.0))
    larger = [slow(A), grown("b -> pg", "latency_growth", kind="db", operation="GET")]
    assert rungs([larger[0], replace(larger[1], credited_ms=3.0)], held, alike)[0][0] == "b -> pg GET"
    less = Held("pg", {A: (10.0, 20.0), B: (9.9, 20.0), C: (20.0, 40.0)}, {})
    assert rungs(both, less, dear) == []
    assert rungs([slow(A)], held, dear) == []
    fresh = Held("pg", {A: (0.0, 0.5), B: (10.0, 10.0), C: (1.0, 1.0)}, {})
    assert rungs(both, fresh, dear) == []


@pytest.mark.parametrize(
    ("victim", "cause", "waits"),
    [
        (0.44, 0.76, True), (0.46, 0.76, False), (0.44, 0.75, False), (0.44, None, False), (None, 0.9, False),
    ],
)  # fmt: skip
def test_a_lock_is_held_while_its_holder_waits_for_something_else(
    victim: float | None, cause: float | None, waits: bool
) -> None:
    """In the same visits: the lock is dearer in busy times alone, what is beside it at any time."""
    bank = EdgeKey("request", "external", "b", "bank", None)
    paths = table("paths", [
        {"path_id": 1, "parent_id": 7, "kind": schema.EDGE_DB, "caller": "b", "callee": "pg",
         "operation": "GET"},
        {"path_id": 2, "parent_id": 7, "kind": schema.EDGE_EXTERNAL, "caller": "b", "callee": "bank"},
        {"path_id": 3, "parent_id": 8, "kind": schema.EDGE_EXTERNAL, "caller": "b", "callee": "far"},
    ])  # fmt: skip
    far = bank._replace(callee="far")
    edges = {key: slow(key) for key in (A, B, bank, far)}
    steady = {A: SimpleNamespace(steady=victim), B: SimpleNamespace(steady=0.9),
              bank: SimpleNamespace(steady=cause), far: SimpleNamespace(steady=0.9)}  # fmt: skip
    held = Held("pg", {A: (1.0, 1.0), B: (1.0, 1.0)}, {})
    found = list(held_meanwhile(Grown(edges, steady, frozenset()), {"pg": held}, paths))
    assert [(name_of(one.cause), name_of(one.victim)) for one in found] == (
        [("b -> bank", "a -> pg GET")] if waits else []
    )
    assert all(one.how == "waits for pg, which b holds while it waits for b -> bank" for one in found)


# -- consumers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("messages", "instances", "fewer", "busier", "said"),
    [
        ((100.0, 100.0), (4.0, 3.0), True, False, "w runs on 4 → 3 instances"),
        ((100.0, 150.0), (100.0, 94.9), True, True, "w runs on 100 → 94.9 instances"),
        ((100.0, 105.1), (100.0, 95.1), False, True, "5% more messages come"),
        ((100.0, 104.9), None, False, False, "w takes messages later than they come"),
        ((0.0, 3.0), None, False, True, "messages come that did not"),
    ],
)
def test_a_queue_backs_up_by_a_twentieth_more_messages_or_fewer_instances(
    messages: tuple[float, float], instances: tuple[float, float] | None, fewer: bool, busier: bool, said: str
) -> None:
    one = Consumers(messages, instances)
    assert (one.fewer, one.busier) == (fewer, busier)
    assert one.clause(EdgeKey("message", "queue", "t", "w", schema.QUEUE_WAIT)) == said

"""Each pattern on a system small enough to check by hand, and not where it is not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.scenarios import compare
from benchmarks.worlds.mechanisms import Truth, World
from benchmarks.worlds.simulate import Conditions, Curve, Timeline
from benchmarks.worlds.topology import Call, Operation, Step, System
from tracescope.analysis.report import Pattern, Report

TIMELINE = Timeline(base_days=14, head_days=14, traces_an_hour=10.0)


def later(before: float, after: float) -> Curve:
    return lambda t: np.where(t >= TIMELINE.head_ns, after, before)


def report(steps: tuple[Step, ...], conditions: Conditions, timeline: Timeline = TIMELINE) -> Report:
    """A shop with these steps; stock and a worker stand behind it, and a steady database beside it."""
    steady = tuple(
        Step(90 + k, (Call(80 + k, "db", "shop", f"mysql/steady{k}", f"SELECT s{k}", 5.0),), False)
        for k in range(3)
    )
    operations = {
        1: Operation(1, "shop", "GET /shop", "http", 4.0, (*steady, *steps)),
        2: Operation(2, "stock", "GET /stock", "http", 5.0, ()),
        3: Operation(3, "worker", "process orders", "queue", 5.0, ()),
    }
    replicas = {"shop": 2, "stock": 2, "worker": 1}
    conditions.day_noise = 0.01
    world = World("", System(operations, {1: 1.0}, {"orders": 3}, replicas), timeline, conditions, Truth())
    return compare(world, 9)


def read(number: int, mean_ms: float = 4.0) -> Call:
    return Call(number, "db", "shop", f"redis/{number}", f"GET k{number}", mean_ms)


def named(found: Report, name: str) -> list[Pattern]:
    return [pattern for pattern in found.patterns if pattern.name == name]


def n_plus_one() -> Report:
    return report((Step(10, (read(11),), False),), Conditions(repeats={11: later(1.0, 5.0)}))


def made_serial() -> Report:
    calls = tuple(read(k, 10.0) for k in (11, 12, 13))
    return report((Step(10, calls, True),), Conditions(serial={10: later(0.0, 1.0)}))


def queue() -> Report:
    publish = Call(11, "queue", "shop", "orders", "publish", 0.8)
    return report((Step(10, (publish,), False),), Conditions(wait_ms={"orders": later(10.0, 80.0)}))


def gap() -> Report:
    call = Call(11, "http", "shop", "stock", "GET /stock", 1.0, target=2)
    return report((Step(10, (call,), False),), Conditions(gap_ms={11: [later(0.0, 9.0)]}))


def contention() -> Report:
    timeline = Timeline(traces_an_hour=12.0, growth_per_week=0.06)
    top = float(timeline.traffic(timeline.hours()).max())
    curve: Curve = lambda t: 1 / (1 - 0.85 * timeline.traffic(t) / top)  # noqa: E731
    return report((Step(10, (read(11, 6.0),), False),), Conditions(slower={11: [curve]}), timeline)


@pytest.mark.parametrize(
    ("world", "name", "edge", "certainty"),
    [
        (n_plus_one, "n+1", "shop -> redis/11", "found"),
        (made_serial, "made serial", "shop -> redis/", "found"),
        (queue, "queue backs up", "orders -> worker", "found"),
        (gap, "gap in front", "shop -> stock", "found"),
        (contention, "contention", "shop -> redis/11", "possible"),
    ],
)
def test_a_mechanism_is_named_at_its_edge_with_figures(
    world: Callable[[], Report], name: str, edge: str, certainty: str
) -> None:
    """One mechanism each; the pattern stands at the edge, in the report, and says why."""
    found = world()
    patterns = named(found, name)
    assert patterns, found.patterns
    assert all(pattern.edge.startswith(edge) for pattern in patterns)
    assert patterns[0].certainty == certainty
    assert all(any(c.isdigit() for c in " ".join(pattern.evidence)) for pattern in patterns)
    assert [e for e in found.edges if name in [p.name for p in e.patterns]]


def test_contention_never_says_that_it_is_a_lock() -> None:
    """Consistent with, and no more."""
    (pattern, *_) = named(contention(), "contention")
    assert "consistent with" in pattern.evidence[0]


def test_a_slow_callee_is_no_gap_and_a_slow_query_no_repeat() -> None:
    """A database that got slower at any load has none of the patterns above."""
    found = report((Step(10, (read(11),), False),), Conditions(slower={11: [later(1.0, 3.0)]}))
    assert found.edges[0].significant
    assert found.patterns == ()


def test_calls_that_grow_week_by_week_are_told_with_their_rate() -> None:
    """A tenth more calls each week."""
    weekly: Curve = lambda t: 2.0 * 1.1 ** ((t - TIMELINE.first_day_ns) / (7 * 86_400e9))  # noqa: E731
    found = report((Step(10, (read(11),), False),), Conditions(repeats={11: weekly}))
    (pattern,) = named(found, "calls grow")
    assert "+10" in pattern.evidence[0] or "+9" in pattern.evidence[0]

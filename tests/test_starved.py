"""A starved caller is told apart from slow callees, on systems small enough to check by hand."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.scenarios import compare
from benchmarks.worlds.mechanisms import Truth, World
from benchmarks.worlds.simulate import Conditions, Timeline
from benchmarks.worlds.topology import Call, Operation, Step, System
from tracescope.analysis.report import Edge, Pattern, Report

TIMELINE = Timeline(base_days=14, head_days=14, traces_an_hour=8.0)


def shop() -> System:
    """Checkout calls a database, a cache and stock; browse calls the same three."""
    steps: dict[str, tuple[Step, ...]] = {}
    for k, service in enumerate(("checkout", "browse")):
        at = 100 * (k + 1)
        steps[service] = (
            Step(at, (Call(at + 1, "db", service, "postgresql/shop", f"SELECT {service}", 4.0),), False),
            Step(at + 2, (Call(at + 3, "db", service, "redis/cache", f"GET {service}", 3.0),), False),
            Step(at + 4, (Call(at + 5, "http", service, "stock", "GET /stock", 1.0, target=3),), False),
        )
    operations = {
        1: Operation(1, "checkout", "POST /checkout", "http", 8.0, steps["checkout"]),
        2: Operation(2, "browse", "GET /browse", "http", 8.0, steps["browse"]),
        3: Operation(3, "stock", "GET /stock", "http", 3.0, ()),
    }
    return System(operations, {1: 1.0, 2: 1.0}, {}, {"checkout": 2, "browse": 2, "stock": 2})


def report(conditions: Conditions, system: System | None = None) -> Report:
    conditions.day_noise = 0.01
    return compare(World("", system or shop(), TIMELINE, conditions, Truth()), 3)


def later(size: float):
    return lambda t: np.where(t >= TIMELINE.head_ns, size, 0.0)


def edge(found: Report, kind: str, caller: str, callee: str | None) -> Edge:
    return next(e for e in found.edges if (e.kind, e.caller, e.callee) == (kind, caller, callee))


def starved(found: Report) -> list[Pattern]:
    return [pattern for pattern in found.patterns if pattern.name == "starved caller"]


def test_growth_of_all_of_a_callers_edges_is_credited_to_its_own_work() -> None:
    """Everything checkout does is late; browse sees the same callees healthy."""
    found = report(Conditions(starved_ms={"checkout": later(3.0)}))
    first = found.edges[0]
    assert (first.kind, first.caller) == ("self", "checkout")
    assert first.significant
    assert not [e for e in found.edges if e.kind != "self" and e.significant and e.credited_ms > 0]
    (pattern,) = starved(found)
    assert pattern.certainty == "found"
    assert any("postgresql/shop" in sentence for sentence in pattern.evidence)


def test_moving_credit_keeps_the_sum() -> None:
    """Effects over all edges, and mix, are still the change of the clock."""
    found = report(Conditions(starved_ms={"checkout": later(3.0)}))
    assert sum(found.effects_total.values()) == pytest.approx(
        found.clock["delta_ms"], abs=1e-9 * found.clock["base_ms"]
    )


def test_one_slow_database_is_not_a_starved_caller() -> None:
    """Three calls to a database that is slow for everybody blame the database."""
    slow = [lambda t: np.where(t >= TIMELINE.head_ns, 3.0, 1.0)]
    found = report(Conditions(slower={101: slow, 201: slow}))
    assert {e.callee for e in found.edges[:2]} == {"postgresql/shop"}
    assert starved(found) == []


def test_callees_that_are_slow_for_everybody_are_blamed_themselves() -> None:
    """All of both callers' edges grow, and their own work does not."""
    slow = [lambda t: np.where(t >= TIMELINE.head_ns, 2.0, 1.0)]
    conditions = Conditions(
        slower={101: slow, 103: slow, 201: slow, 203: slow}, gap_ms={105: [later(2.0)], 205: [later(2.0)]}
    )
    found = report(conditions)
    assert starved(found) == []
    assert found.edges[0].kind != "self"


def pooled() -> System:
    """Checkout calls three operations of stock, through one pool."""
    system = shop()
    more = (
        Step(106, (Call(107, "http", "checkout", "stock", "POST /stock", 1.0, target=4),), False),
        Step(108, (Call(109, "http", "checkout", "stock", "PUT /stock", 1.0, target=5),), False),
    )
    checkout = system.operations[1]
    operations = {
        **system.operations,
        1: Operation(1, "checkout", "POST /checkout", "http", 8.0, (*checkout.steps, *more)),
        4: Operation(4, "stock", "POST /stock", "http", 3.0, ()),
        5: Operation(5, "stock", "PUT /stock", "http", 3.0, ()),
    }
    return System(operations, {1: 1.0, 2: 1.0}, {}, {"checkout": 2, "browse": 2, "stock": 2})


def test_a_pool_that_is_too_small_for_one_callee_is_not_a_starved_caller() -> None:
    """Three operations of stock wait 20 ms for a connection; all else is a little slower."""
    waits = {number: [later(20.0)] for number in (105, 107, 109)}
    found = report(Conditions(gap_ms=waits, starved_ms={"checkout": later(0.5)}), pooled())
    assert starved(found) == []
    assert [(e.kind, e.caller, e.callee) for e in found.edges[:3]] == [("http", "checkout", "stock")] * 3


def test_own_work_that_is_a_little_slower_does_not_make_a_starved_caller() -> None:
    """As on a busy machine: stock waits 37 ms for a connection, the cache is 6 ms late, own work hardly."""
    waits = {number: [later(37.0)] for number in (105, 107, 109)}
    cache = [lambda t: np.where(t >= TIMELINE.head_ns, 3.0, 1.0)]
    found = report(
        Conditions(gap_ms=waits, slower={103: cache}, starved_ms={"checkout": later(0.2)}), pooled()
    )
    assert starved(found) == []
    assert [(e.kind, e.caller, e.callee) for e in found.edges[:3]] == [("http", "checkout", "stock")] * 3


def test_with_nobody_else_to_compare_it_is_only_possible_and_nothing_moves() -> None:
    """Checkout alone calls its callees: they could be slow themselves."""
    system = shop()
    alone = System(
        {k: op for k, op in system.operations.items() if k != 2}, {1: 1.0}, {}, {"checkout": 2, "stock": 2}
    )
    found = report(Conditions(starved_ms={"checkout": later(3.0)}), alone)
    (pattern,) = starved(found)
    assert pattern.certainty == "possible"
    assert edge(found, "db", "checkout", "postgresql/shop").credited_ms > 1.0

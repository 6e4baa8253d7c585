"""A gateway that hands every request to one service: which one is asked for is mix."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.scenarios import compare
from benchmarks.worlds.mechanisms import Truth, World
from benchmarks.worlds.simulate import Conditions, Timeline
from benchmarks.worlds.topology import Call, Operation, Step, System
from tracescope.analysis.report import Report

TIMELINE = Timeline(base_days=14, head_days=14, traces_an_hour=12.0)


def report(one_of: bool, slow_after: float, *, behind: int = 0) -> Report:
    """A gateway over a fast and a slow service; from HEAD on, the slow one is called more often.

    It stands `behind` so many services that hand on each request.
    """
    calls = tuple(
        Call(k, "http", "gateway", name, f"GET /{name}", 1.0, 0.5 if one_of else 1.0, target=k)
        for k, name in ((1, "fast"), (2, "slow"))
    )
    operations = {
        0: Operation(0, "gateway", "GET /*", "http", 1.0, (Step(9, calls, False, one_of=one_of),)),
        1: Operation(1, "fast", "GET /fast", "http", 5.0, ()),
        2: Operation(2, "slow", "GET /slow", "http", 60.0, ()),
    }
    instances = {"gateway": 1, "fast": 1, "slow": 1}
    entry = 0
    for number in range(10, 10 + behind):
        name = f"proxy-{number}"
        to = operations[entry]
        call = Call(number, "http", name, to.service, to.name, 1.0, 1.0, target=entry)
        operations[number] = Operation(
            number, name, f"GET /{name}/*", "http", 1.0, (Step(number, (call,), False),)
        )
        instances[name] = 1
        entry = number
    system = System(operations, {entry: 1.0}, {}, instances)
    part = 0.5 if one_of else 1.0
    made = {2: lambda t: part * np.where(t >= TIMELINE.head_ns, slow_after, 1.0)}
    repeats = {} if one_of else {2: lambda t: np.where(t >= TIMELINE.head_ns, slow_after, 1.0)}
    conditions = Conditions(made=made if one_of else {}, repeats=repeats)
    return compare(World("", system, TIMELINE, conditions, Truth()), 3)


def test_requests_for_a_slower_branch_are_mix_and_the_parts_still_add_up() -> None:
    """One call a request in both periods; twice the part of the slow one."""
    found = report(True, 2.5)
    assert found.clock["delta_ms"] > 5
    assert found.effects_total["mix"] == pytest.approx(found.clock["delta_ms"], abs=3.0)
    assert not [e for e in found.edges if e.significant and e.credited_ms > 0.3]
    assert sum(found.effects_total.values()) == pytest.approx(found.clock["delta_ms"], abs=1e-7)


@pytest.mark.parametrize("behind", [1, 2])
def test_a_router_behind_services_that_hand_on_each_request_is_one(behind: int) -> None:
    """The mix is inside the entry, at an inner node, and nobody's growth."""
    found = report(True, 2.5, behind=behind)
    assert found.clock["delta_ms"] > 5
    assert found.effects_total["mix"] == pytest.approx(found.clock["delta_ms"], abs=3.0)
    assert not [e for e in found.edges if e.significant and e.credited_ms > 0.3]


def test_a_service_that_calls_both_and_one_more_often_is_no_router() -> None:
    """Two calls a request, then three: more calls."""
    found = report(False, 2.0)
    assert (found.edges[0].callee, found.edges[0].significant) == ("slow", True)
    assert found.edges[0].effects["calls"] > 40

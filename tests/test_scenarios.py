"""Random worlds with one thing changed: `diff` blames what was done, and nobody in a trap.

`benchmarks/scenarios.py` runs more than a hundred of these, larger ones, and prints the confusion matrix.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.scenarios import compare, judge, run
from benchmarks.worlds.mechanisms import MECHANISMS, TRAPS, Truth, World, write
from benchmarks.worlds.simulate import Conditions, Simulation, Timeline
from benchmarks.worlds.topology import Call, Operation, Step, System, draw_system
from tracescope import schema
from tracescope.analysis.rollups.process import process
from tracescope.ingest.decode import decode

TEST_MECHANISMS = ("drift", "contention", "n+1", "queue", "api gap", "serialised", "new dependency")
TEST_TAILS = ("retries", "stragglers")
TEST_TRAPS = ("mix shift", "sampling change", "clock skew", "flipped branch")


@pytest.mark.parametrize("name", TEST_MECHANISMS)
def test_what_was_made_worse_is_ranked_first_for_the_right_reason(name: str) -> None:
    """One change in a random system; the true edge leads, and its effect is the one that was made."""
    outcome = run(name, 7_000 + TEST_MECHANISMS.index(name), quick=True)
    assert outcome.rank == 1, outcome
    assert outcome.effect_right, outcome
    assert outcome.pattern in ("", "found"), outcome


@pytest.mark.parametrize("name", TEST_TAILS)
def test_what_goes_wrong_now_and_then_is_found_and_named(name: str) -> None:
    """Calls that fail and are made again; a fan-out of which one call is late."""
    outcome = run(name, 7_010, quick=True)
    assert (outcome.rank, outcome.effect_right, outcome.pattern) == (1, True, "found"), outcome


@pytest.mark.parametrize("name", TEST_TRAPS)
def test_nobody_is_blamed_in_a_trap(name: str) -> None:
    """No edge is called significant for more than one per cent of latency."""
    outcome = run(name, 8_000 + TEST_TRAPS.index(name), quick=True)
    assert outcome.alarms == ()


def test_a_branch_that_load_makes_the_slowest_is_slow_by_load() -> None:
    """Waited for more often than before, it costs more than it got slower: load did that, not growth."""
    calls = (
        Call(2, "db", "shop", "redis/hot", "GET", 8.0),
        Call(3, "db", "shop", "mysql/wide", "SELECT", 30.0),
    )
    shop = Operation(1, "shop", "GET /", "http", 2.0, (Step(4, calls, True),))
    system = System({1: shop}, {1: 1.0}, {}, {"shop": 2})
    timeline = Timeline(growth_per_week=0.08, every_hours=2, traces_an_hour=20.0)
    busiest = timeline.traffic(timeline.hours()).max()
    queues = Conditions(slower={2: [lambda t: 1 / (1 - 0.93 * timeline.traffic(t) / busiest)]})
    report = compare(World("", system, timeline, queues, Truth()), 5)
    hot = next(edge for edge in report.edges if edge.callee == "redis/hot")
    assert hot.significant
    assert hot.effects["latency_load"] > 6 * abs(hot.effects["latency_growth"])
    assert hot.own_ms_head > 3 * hot.own_ms_base  # a call itself takes under twice as long


def test_a_queue_whose_hosts_clocks_move_is_not_called_slower() -> None:
    """Half of the waits become negative, the others longer: a sentence, and no blame."""
    publish = Call(2, "queue", "shop", "orders", "publish", 0.8)
    system = System(
        {
            1: Operation(1, "shop", "POST /order", "http", 5.0, (Step(3, (publish,), False),)),
            4: Operation(4, "worker", "process orders", "queue", 3.0, ()),
        },
        {1: 1.0},
        {"orders": 4},
        {"shop": 3, "worker": 3},
    )
    timeline = Timeline(base_days=14, head_days=14)
    skew = Conditions(skew_ms=lambda t: np.where(t >= timeline.head_ns, 40.0, 0.0))
    report = compare(World("", system, timeline, skew, Truth()), 4)
    wait = next(edge for edge in report.edges if edge.operation == "wait")
    assert wait.own_ms_head > 1.3 * wait.own_ms_base
    assert (wait.significant, wait.note) == (False, "clocks of its hosts moved")
    assert not [edge for edge in report.edges if edge.significant]


def test_every_kind_of_scenario_can_be_written_and_the_same_seed_is_the_same_world() -> None:
    """Mechanisms name edges that exist; a seed decides everything."""
    for name in (*MECHANISMS, *TRAPS):
        world = write(name, 11, quick=True)
        assert bool(world.truth.edges) == (name in MECHANISMS)
    once, again = (write("n+1", 12, quick=True).spans(3) for _ in range(2))
    assert once.equals(again)


def test_effects_add_up_to_the_change_of_the_clock_in_a_random_world() -> None:
    """Effects over all edges, and mix, are the change of the mean clock."""
    world = write("n+1", 13, quick=True)
    report = compare(world, 13)
    total = sum(report.effects_total.values())
    assert total == pytest.approx(report.clock["delta_ms"], abs=1e-9 * report.clock["base_ms"])
    assert judge(world, report, 13).rank >= 1


def as_otlp(system_spans: pl.DataFrame, simulation: Simulation) -> bytes:
    """The same spans as one OTLP request, with the attributes that their templates carry."""
    templates = {
        (t.service, t.kind, t.name, *(t.meaning().peer,)): t
        for pair in simulation.templates
        for t in pair[:1]
    }
    request = ExportTraceServiceRequest()
    by_instance = ["service_name", "service_instance", "service_version"]
    for (service, instance, version), rows in system_spans.group_by(by_instance):
        resource = request.resource_spans.add()
        values = {
            "service.name": service, "service.instance.id": instance, "service.version": version,
            "deployment.environment.name": "production",
        }  # fmt: skip
        for key, value in values.items():
            item = resource.resource.attributes.add()
            item.key, item.value.string_value = key, str(value)
        scope = resource.scope_spans.add()
        for row in rows.iter_rows(named=True):
            span = scope.spans.add()
            span.trace_id = np.array([row["trace_hi"], row["trace_lo"]], ">i8").tobytes()
            span.span_id = np.array([row["span_id"]], ">i8").tobytes()
            if row["parent_span_id"]:
                span.parent_span_id = np.array([row["parent_span_id"]], ">i8").tobytes()
            span.name, span.kind = row["name"], row["kind"]
            span.start_time_unix_nano, span.end_time_unix_nano = row["start_ns"], row["end_ns"]
            template = templates[service, row["kind"], row["name"], row["peer"]]
            for key, value in template.attributes.items():
                item = span.attributes.add()
                item.key, item.value.string_value = key, value
    return request.SerializeToString()


def test_simulated_spans_are_what_the_decoder_makes_of_the_same_traces_as_otlp() -> None:
    """The worlds' frames stand for real bytes: rollups of both are the same."""
    rng = np.random.default_rng(5)
    system = draw_system(rng, 8)
    timeline = Timeline(base_days=1, head_days=1, traces_an_hour=4.0)
    simulation = Simulation(system, timeline, Conditions(), rng)
    spans = simulation.run()
    decoded = decode([as_otlp(spans, simulation)], timeline.end_ns)
    assert decoded.rejected == {}
    mine, theirs = process(spans).tables, process(decoded.spans).tables
    for name in (*schema.ROLLUPS, *schema.DIMENSIONS):
        assert mine[name].equals(theirs[name]), name

"""Cause told from victim: worlds in which work waits for work, and what a diff says began it."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from tests import answered
from tests.queueing import Settings, compare, compare_minutes
from tracescope import schema
from tracescope.analysis.attribution.consumers import consumers
from tracescope.analysis.attribution.findings import grew, vouched
from tracescope.analysis.attribution.holders import Held
from tracescope.analysis.attribution.ladder import Grown, _held, ladder
from tracescope.analysis.diff import Options
from tracescope.analysis.report import Certainty, EdgeKey, Effect, Finding, Mechanism, Report
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.conventions import semconv
from tracescope.schema import HOUR_NS

SHOP = Settings()
STOCK, LEDGER = "postgresql/stock", "postgresql/ledger"
WAIT, PUBLISH, GAP = ("orders", "worker"), ("api", "orders"), ("api", "inventory")

#: What was changed; caller and callee of the cause; mechanisms that are right; victims that must be named.
WORLDS = {
    "a row is held longer by its query": (
        replace(SHOP, ledger_ms=60.0), ("worker", LEDGER), (Mechanism.CONTENDED,),
        [WAIT, ("billing", LEDGER)],
    ),
    "a row is held while its holder asks a bank that got slow": (
        replace(SHOP, bank_ms=150.0), ("billing", "bank.example"), (Mechanism.SLOWER,),
        [("worker", LEDGER), ("billing", LEDGER), WAIT],
    ),
    "consumers take longer": (
        replace(SHOP, worker_ms=200.0), ("worker", None), (Mechanism.CONSUMER,), [WAIT],
    ),
    "there are fewer consumers, and the queue is full": (
        replace(SHOP, workers=1), WAIT, (Mechanism.CONSUMER,), [PUBLISH, ("api", None)],
    ),
    "another tenant sends more": (
        replace(SHOP, reports_rate=4.5), ("reports", STOCK), (Mechanism.CONTENDED,),
        [("inventory", STOCK), GAP],
    ),
    "another tenant asks for more": (
        replace(SHOP, report_ms=500.0), ("reports", STOCK), (Mechanism.CONTENDED,),
        [("inventory", STOCK), GAP],
    ),
    "a query got slow, and threads wait for it": (
        replace(SHOP, stock_ms=150.0), ("inventory", STOCK), (Mechanism.CONTENDED, Mechanism.SLOWER), [GAP],
    ),
    "a query is made twice": (
        replace(SHOP, stock_calls=2), ("inventory", STOCK), (Mechanism.N_PLUS_ONE, Mechanism.MORE_CALLS),
        [GAP, ("reports", STOCK)],
    ),
    "every order publishes two messages": (
        replace(SHOP, messages=2), PUBLISH, (Mechanism.MORE_CALLS,), [WAIT, ("api", None)],
    ),
    "a pool of connections to a service is too small": (
        replace(SHOP, inventory_pool=1), GAP, (Mechanism.POOL,), [],
    ),
    "a pool of connections to a database is too small": (
        replace(SHOP, stock_pool=1), ("inventory", None), (Mechanism.POOL,), [GAP],
    ),
}  # fmt: skip


def named(found: Finding) -> list[tuple[str, str | None]]:
    """Caller and callee of every victim."""
    return [(victim.edge.caller, victim.edge.callee) for victim in found.victims]


def held(report: Report, name: str) -> None:
    """The cause is first, for a right reason, with its victims below it."""
    _, cause, mechanisms, victims = WORLDS[name]
    first = report.findings[0]
    assert (first.cause.caller, first.cause.callee) == cause, [one.sentence for one in report.findings]
    assert first.mechanism in mechanisms, first
    for victim in victims:
        assert victim in named(first), first


@pytest.mark.parametrize("name", WORLDS)
def test_the_cause_ranks_first_with_what_waits_for_it_below(name: str) -> None:
    """Days of traffic that swings: whoever made the others wait leads, though its own rise may be smaller."""
    held(compare(SHOP, WORLDS[name][0], seed=1 + list(WORLDS).index(name)), name)


@pytest.mark.parametrize(
    "name", ["consumers take longer", "another tenant asks for more", "a query is made twice"]
)
def test_minutes_at_one_load_are_enough_where_the_structure_says_it(name: str) -> None:
    """No swing of load, no days: what calls what, and who brings how much work, orders them."""
    held(compare_minutes(SHOP, WORLDS[name][0], seed=3), name)


@pytest.mark.parametrize("seed", [11, 12])
def test_nothing_is_found_where_nothing_changed(seed: int) -> None:
    """No finding without an edge that grew."""
    assert compare(SHOP, SHOP, seed=seed).findings == ()


def test_who_was_not_asked_for_is_named_where_others_wait_for_it() -> None:
    """Of one entry alone: who keeps its database busy comes from another, and is told, not ranked."""
    asked = Options(keep_entry=lambda service, operation: service == "api")
    report = compare(SHOP, WORLDS["another tenant asks for more"][0], seed=7, options=asked)
    assert all(edge.caller != "reports" for edge in report.edges)
    waits = [one for one in report.findings if one.cause.callee == STOCK]
    assert waits
    assert all(one.mechanism is Mechanism.CONTENDED and "reports" in one.sentence for one in waits)
    assert any("not among what was asked for" in line for one in waits for line in one.evidence)


def test_each_edge_that_grew_is_a_cause_or_a_victim_once() -> None:
    """And a finding moves no milliseconds: what it tells of an edge is what the edge says."""
    report = compare(SHOP, WORLDS["a row is held while its holder asks a bank that got slow"][0], seed=2)
    told = [key for one in report.findings for key in (one.cause, *(victim.edge for victim in one.victims))]
    assert len(told) == len(set(told))
    assert {edge.key for edge in report.edges if grew(edge)} <= set(told)
    by_key = {edge.key: edge for edge in report.edges}
    for one in report.findings:
        assert one.added_ms == by_key[one.cause].credited_ms
        assert all(victim.added_ms == by_key[victim.edge].credited_ms for victim in one.victims)


def test_two_changes_that_have_nothing_to_do_with_each_other_stand_side_by_side() -> None:
    """A slow bank does not make the query of another service slow, nor the other way round."""
    report = compare(SHOP, replace(SHOP, api_ms=20.0, bank_ms=90.0), seed=4)
    causes = [(one.cause.caller, one.cause.callee) for one in report.findings]
    assert ("api", None) in causes
    assert ("billing", "bank.example") in causes


def test_what_only_the_structure_says_is_called_consistent_with() -> None:
    """Where the courses of two edges say nothing, a finding claims no more than that."""
    report = compare(SHOP, WORLDS["a row is held while its holder asks a bank that got slow"][0], seed=2)
    assert report.findings[0].certainty is Certainty.CONSISTENT


def test_why_a_queue_backs_up_is_said_where_no_work_takes_longer() -> None:
    """A third more of everything: the queue is first, because more messages come."""
    busier = replace(SHOP, orders_rate=8.0, reports_rate=1.3, adjust_rate=1.3)
    first = compare(SHOP, busier, seed=5).findings[0]
    assert first.cause.caller == "orders"
    assert first.mechanism in (Mechanism.QUEUE, Mechanism.LOAD)
    assert "more messages come" in first.sentence


@pytest.mark.parametrize(
    ("live", "said"), [((4, 2), "worker runs on 4 → 2 instances"), ((4, 4), "takes messages later")]
)
def test_fewer_instances_are_why_messages_wait(live: tuple[int, int], said: str) -> None:
    """Instances are counted where resources name them."""
    start = 490_000 * HOUR_NS
    periods = [_fleet(number, start + turn * 24 * HOUR_NS) for turn, number in enumerate(live)]
    wait = EdgeKey("message", "queue", "orders", "worker", "wait")
    known = consumers(wait, None, (periods[0], periods[1]))
    assert said in known.clause(wait)
    assert known.fewer == (live[1] < live[0])


def _fleet(instances: int, start_ns: int) -> PeriodRollups:
    """A day of a service with so many instances."""
    rows = [
        (start_ns // HOUR_NS, "", "worker", f"worker-{number}", "", 1000, start_ns, start_ns + 24 * HOUR_NS)
        for number in range(instances)
    ]
    hours = pl.DataFrame(rows, schema=schema.dtypes(schema.SERVICE_HOURS), orient="row")
    return PeriodRollups(start_ns, start_ns + 24 * HOUR_NS, HOUR_NS, "", {"service_hours": hours})


@pytest.mark.parametrize("attempts", [2, 3])
def test_a_circle_of_calls_that_are_made_again_begins_at_the_slow_work(attempts: int) -> None:
    """Time-outs, attempts and the load they bring all follow from a query that got slow."""
    base = replace(SHOP, timeout_ms=300.0, attempts=attempts)
    first = compare(base, replace(base, stock_ms=130.0), seed=5).findings[0]
    assert (first.cause.caller, first.cause.callee) == ("inventory", STOCK)
    assert GAP in named(first)


def test_a_slow_query_behind_a_full_pool_is_the_cause_of_waiting_for_the_pool() -> None:
    """Connections are held longer: the service's own time grows, and is a victim."""
    base = replace(SHOP, stock_pool=2)
    first = compare(base, replace(base, stock_ms=160.0), seed=5).findings[0]
    assert (first.cause.caller, first.cause.callee) == ("inventory", STOCK)
    assert ("inventory", None) in named(first)


def test_a_pool_that_is_too_small_is_waited_for_and_no_loop_of_calls() -> None:
    """Some libraries have a span of the wait only where there is one: more of them are no more queries."""
    base = replace(SHOP, pool_spans=True)
    first = compare(base, replace(base, stock_pool=1), seed=6).findings[0]
    assert first.cause.operation == semconv.ACQUIRE
    assert first.mechanism is Mechanism.POOL
    assert first.sentence.startswith("inventory waits longer for a connection, ")


def test_who_holds_connections_for_longer_is_the_cause_of_spans_that_wait_for_one() -> None:
    """A slow query behind a pool that was large enough: the wait is its victim, and no cause beside it."""
    base = replace(SHOP, stock_pool=2, pool_spans=True)
    report = compare(base, replace(base, stock_ms=160.0), seed=5)
    first = report.findings[0]
    assert (first.cause.callee, first.cause.operation) == (STOCK, "SELECT items")
    assert [v.how for v in first.victims if v.edge.operation == semconv.ACQUIRE] == [
        f"connections of inventory are held by inventory -> {STOCK} SELECT items"
    ]
    assert all(one.cause.operation != semconv.ACQUIRE for one in report.findings)


def test_who_holds_threads_is_told_as_work_of_its_own_or_as_an_edge() -> None:
    """No sentence says that a service holds the threads of itself."""
    inner = EdgeKey("request", "self", "stock", None, "GET /stock")
    assert _held("stock", inner) == "threads of stock are held by its own work"
    assert _held("cart", inner).endswith("of cart are held by the own work of stock")
    call = EdgeKey("request", "db", "stock", "postgresql/stock", "SELECT items")
    assert _held("stock", call).endswith("are held by stock -> postgresql/stock SELECT items")


def test_who_asks_for_more_holds_a_resource_where_all_who_wait_look_heavier() -> None:
    """A row's lock beside busy cores takes as long as before, so that no longer wait explains the others.

    Two thirds and half as much of the work of the statements that wait look new; calls are more of one only.
    """
    select, insert, lock, totals = (
        EdgeKey("request", "db", caller, STOCK, operation)
        for caller, operation in (
            ("shop", "SELECT items"), ("shop", "INSERT items"), ("shop", "UPDATE counters"),
            ("reports", "SELECT totals"),
        )
    )  # fmt: skip
    work = {
        select: (5268.0, 7566.0),
        insert: (2607.0, 4359.0),
        lock: (2825.0, 2831.0),
        totals: (2449.0, 5922.0),
    }
    asked = {key: (base, base) for key, (base, _) in work.items()}
    assert Held(STOCK, work, asked).holder is None
    found = Held(STOCK, work, {**asked, totals: (2449.0, 5922.0)})
    assert found.holder == totals
    assert found.clause(totals) == (
        f"reports -> {STOCK} SELECT totals brings 19% → 36% of the work of {STOCK}, 2.4 times as much"
    )
    everyone = Held(STOCK, work, {key: (base, 1.4 * base) for key, (base, _) in asked.items()})
    assert everyone.holder is None


def test_an_entry_that_grew_by_one_edge_speaks_for_no_other() -> None:
    """An edge that is unsure, and worth less than half of a sure one of its entry, is no cause beside it."""
    sure = answered.edge("api -> a", credited=2.0, rises_in=(("api", "GET /"),), significant=True)
    most = {("request", "api", "GET /"): 2.0}
    entries = {("request", "api", "GET /")}
    for worth, spoken_for in ((0.9, False), (1.1, True)):
        unsure = replace(sure, significant=False, credited_ms=worth, credited_ms_ci=(0.1, 2.1))
        assert vouched(unsure, entries, most) == spoken_for
    assert vouched(replace(sure, significant=False, credited_ms=0.1, credited_ms_ci=(0.01, 0.2)), entries, {})


def test_calls_of_one_loop_are_one_cause() -> None:
    """Two calls for each item, and more items: what takes most leads, and the other follows."""
    many = {
        callee: answered.edge(
            f"shop -> {callee}", credited=credited, effects={Effect.CALLS: credited}, calls_per_unit_head=head
        )
        for callee, credited, head in (("a", 2.0, 2.1), ("b", 1.0, 2.08), ("c", 0.5, 3.0))
    }
    edges = {edge.key: edge for edge in many.values()}
    no_paths = pl.DataFrame(schema=schema.dtypes(schema.PATHS))
    (rung,) = ladder(Grown(edges, {}, frozenset()), no_paths)
    assert (rung.cause.callee, rung.victim.callee) == ("a", "b")
    assert rung.how == "is called in one loop with shop -> a"

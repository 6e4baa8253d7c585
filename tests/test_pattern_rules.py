"""Rules of patterns at their edges: what is just enough has a name, what is just too little has none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import polars as pl
import pytest
from simulated import START_NS, Work, parallel, period, query, serve, spans

from tracescope import schema
from tracescope.analysis.diff import diff
from tracescope.analysis.evidence import patterns
from tracescope.analysis.evidence.patterns import _Side as Side
from tracescope.analysis.report import Edge, Pattern, PatternCertainty, Report
from tracescope.analysis.rollups.period import PeriodRollups

Rule = Callable[[Edge, Side, Side], list[Pattern]]


def edge(effect: str, kind: str = "db", **more: object) -> Edge:
    made = Edge(
        "request", kind, "shop", "stock", "GET", False, 0.3, 0.5, None, 5.0, 9.0, 5.0, 9.0, 4.0, (3.0, 5.0),
        4.0, 0.001, True, {effect: 4.0, "latency_unsplit": 0.1}, {}, 1.0, 1.0, None, (), (),
    )  # fmt: skip
    return replace(made, **more)


def side(**more: float) -> Side:
    """A hundred visits of the caller, one call each, 2 ms; nothing at the same time."""
    usual = {
        "calls": 100.0, "calls_visited": 100.0, "visits": 100.0, "own_ns": 2e8, "inclusive_ns": 2e8,
        "busy_ns": 2e8, "errors": 0.0, "above": 100.0, "fan": 1.0,
    }  # fmt: skip
    return Side(**{**usual, **more})


def calls(each: float, **more: float) -> Side:
    """So many calls for each visit, one after another."""
    n = 100.0 * each
    return side(**{"calls": n, "calls_visited": n, "visits": n, **more})


def name(rule: Rule, *about: object) -> tuple[str, str] | None:
    """What a rule finds, and how sure it is."""
    seen = rule(*about)  # type: ignore[arg-type]
    return (seen[0].name, seen[0].certainty) if seen else None


def test_a_side_tells_its_figures_for_each_visit_call_and_unit() -> None:
    one = side(calls=50.0, calls_visited=40.0, visits=20.0, own_ns=8e7, inclusive_ns=1e8, errors=5.0)
    assert (one.per_visit, one.own_ms, one.below_ms, one.error_part) == (0.4, 4.0, 1.0, 0.1)
    none = Side(*[0.0] * 9)
    assert (none.per_visit, none.own_ms, none.below_ms, none.error_part) == (0.0, 0.0, 0.0, 0.0)


# -- n+1 --------------------------------------------------------------------------------------------

n_plus_one = patterns._n_plus_one


@pytest.mark.parametrize(
    ("before", "now", "seen"),
    [
        (1.0, 1.79, False),
        (1.0, 1.8, True),
        (1.49, 1.8, True),
        (1.51, 1.8, False),
        (5.0, 5.9, False),
        (5.0, 6.1, True),
    ],
)
def test_repeats_are_nearly_two_calls_a_visit_and_a_fifth_more_than_before(
    before: float, now: float, seen: bool
) -> None:
    assert (name(n_plus_one, edge("calls"), calls(before), calls(now)) is not None) == seen


def test_repeats_count_where_calls_or_something_new_took_the_time() -> None:
    """Not on a queue, not of own work, not where latency carried it, not where errors explain them."""
    few, many = calls(1.0), calls(5.0)
    assert name(n_plus_one, edge("calls"), few, many) == ("n+1", "found")
    assert name(n_plus_one, edge("new"), few, many) == ("n+1", "found")
    assert name(n_plus_one, edge("latency_growth"), few, many) is None
    assert name(n_plus_one, edge("calls", "queue"), few, many) is None
    assert name(n_plus_one, edge("calls", "self"), few, many) is None
    assert name(n_plus_one, edge("calls"), few, calls(5.0, errors=450.0)) is None


@pytest.mark.parametrize(
    ("waited", "fan", "certainty"),
    [(350.0, 1.0, "found"), (349.0, 1.0, "possible"), (500.0, 1.72, "found"), (500.0, 1.73, "possible")],
)
def test_repeats_that_run_at_the_same_time_are_only_possibly_one_after_another(
    waited: float, fan: float, certainty: str
) -> None:
    """Seven tenths are waited for, and siblings hardly overlap."""
    now = calls(5.0, visits=waited, fan=fan)
    assert name(n_plus_one, edge("calls"), calls(1.0), now) == ("n+1", certainty)
    (seen,) = n_plus_one(edge("calls"), calls(1.0), now)
    assert seen.evidence[0] == "1 → 5 calls for each visit of shop"
    assert seen.evidence[1].startswith(f"{waited / 500:.0%} of them")


# -- made serial ------------------------------------------------------------------------------------

made_serial = patterns._serialised


@pytest.mark.parametrize(
    ("before", "now", "found"),
    [
        (1.14, 1.0, None), (1.15, 1.0, "found"), (3.0, 2.86, None), (3.0, 2.84, "possible"),
        (3.0, 2.01, "possible"), (3.0, 1.99, "found"),
    ],
)  # fmt: skip
def test_made_serial_is_overlap_that_was_there_and_went(before: float, now: float, found: str | None) -> None:
    """Surely where more than half of it went."""
    one = edge("criticality")
    seen = name(made_serial, one, side(fan=before, visits=30.0), side(fan=now, visits=100.0))
    assert seen == (None if found is None else ("made serial", found))
    assert name(made_serial, edge("latency_load"), side(fan=3.0), side(fan=1.0)) is None


def test_made_serial_says_how_much_overlapped_and_was_waited_for() -> None:
    (seen,) = made_serial(edge("criticality"), side(fan=3.0, visits=25.0), side(fan=1.0, visits=90.0))
    assert seen.evidence == (
        "calls of shop overlap 3-fold before, 1-fold now", "25% → 90% of its calls are waited for",
    )  # fmt: skip


# -- stragglers -------------------------------------------------------------------------------------

stragglers = patterns._stragglers


def fan_out(each: float = 8.0, *, waited: float = 0.2, slowest_ms: float = 9.0, fan: float = 6.0) -> Side:
    """So many calls at once, 3 ms in the mean; a part of them is waited for, that long."""
    n = 100.0 * each
    return side(
        calls=n, calls_visited=n, visits=waited * n, busy_ns=n * 3e6,
        inclusive_ns=waited * n * slowest_ms * 1e6, fan=fan,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("head", "seen"),
    [
        (fan_out(), True),
        (fan_out(slowest_ms=4.51), True),
        (fan_out(slowest_ms=4.49), False),  # under one and a half times the mean call
        (fan_out(slowest_ms=3.0), False),  # the one that is waited for is like the others
        (fan_out(slowest_ms=1.6), False),
        (fan_out(2.0), True),
        (fan_out(1.9), False),  # one call is no fan-out
        (fan_out(fan=1.15), True),
        (fan_out(fan=1.14), False),  # one after another
        (fan_out(waited=0.6), True),
        (fan_out(waited=0.61), False),  # most are waited for: none is the last
    ],
)
def test_a_straggler_is_the_last_of_parallel_calls_and_takes_much_longer(head: Side, seen: bool) -> None:
    assert name(stragglers, edge("latency_growth"), fan_out(slowest_ms=4.0), head) == (
        ("stragglers", "found") if seen else None
    )


def test_a_straggler_is_told_with_the_excess_over_the_mean() -> None:
    (seen,) = stragglers(edge("latency_growth"), fan_out(slowest_ms=4.0), fan_out())
    assert seen.evidence == (
        "8 calls at once", "the one that is waited for takes 9 ms, the mean 3 ms", "excess 1 → 6 ms",
    )  # fmt: skip
    (quick,) = stragglers(edge("latency_growth"), fan_out(slowest_ms=2.0), fan_out())
    assert quick.evidence[2] == "excess 0 → 6 ms"


def test_parallel_calls_that_are_all_alike_have_no_stragglers_and_one_that_lags_is_one() -> None:
    """Eight at once, from spans: all of them three times as slow, and the last alone."""

    def shop(slow: float, last: float) -> Work:
        quick = [query("pg/shard", "SELECT", 4.0 * slow) for _ in range(7)]
        return serve("shop", "GET /", 2.0, [parallel(*quick, query("pg/shard", "SELECT", 4.0 * slow * last))])

    def compared(head: Work) -> Report:
        halves = [
            period(spans(one, start_ns=at, hours=24, per_hour=4, jitter=0.05), at, 24)
            for one, at in ((shop(1.0, 1.0), START_NS), (head, START_NS + schema.DAY_NS))
        ]
        return diff(*halves)

    def names(report: Report) -> set[str]:
        return {pattern.name for pattern in report.patterns if pattern.edge == "shop -> pg/shard"}

    alike, lagging = compared(shop(3.0, 1.0)), compared(shop(1.0, 3.0))
    assert alike.edges[0].significant
    assert names(alike) == set()
    assert names(lagging) == {"stragglers"}


# -- queue, gap, retries ----------------------------------------------------------------------------

queue, gap, retries = patterns._queue, patterns._gap, patterns._retries


def timed(own_ms: float, below_ms: float, n: float = 100.0) -> Side:
    return side(calls=n, own_ns=1e8 * own_ms, inclusive_ns=1e8 * (own_ms + below_ms))


@pytest.mark.parametrize(
    ("wait", "work", "found"),
    [
        (14.0, 5.0, "found"),
        (14.0, 5.99, "found"),
        (14.0, 6.01, "possible"),
        (10.0, 5.0, None),
        (9.0, 5.0, None),
    ],
)
def test_a_queue_backs_up_when_waits_grow_and_not_the_work(
    wait: float, work: float, found: str | None
) -> None:
    """Work that rises by under a quarter of the wait's rise."""
    one = edge("latency_growth", "queue", operation=schema.QUEUE_WAIT)
    seen = name(queue, one, timed(10.0, 5.0), timed(wait, work))
    assert seen == (None if found is None else ("queue backs up", found))
    assert name(queue, replace(one, operation="publish"), timed(10.0, 5.0), timed(90.0, 5.0)) is None
    assert name(queue, replace(one, kind="db"), timed(10.0, 5.0), timed(90.0, 5.0)) is None


def test_a_queue_that_backs_up_is_told_with_its_figures() -> None:
    one = edge("latency_growth", "queue", operation=schema.QUEUE_WAIT)
    (seen,) = queue(one, timed(10.0, 5.0, 1200.0), timed(80.0, 5.0, 3400.0))
    assert seen.evidence == (
        "a message waits 10 → 80 ms", "is worked on for 5 → 5 ms", "1,200 → 3,400 messages in the periods",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("own", "below", "found"),
    [(8.0, 5.0, "found"), (8.0, 6.49, "found"), (8.0, 6.51, "possible"), (2.0, 5.0, None), (1.0, 9.0, None)],
)
def test_a_gap_grows_in_front_of_a_callee_that_is_as_quick_as_before(
    own: float, below: float, found: str | None
) -> None:
    """On calls that are measured at both ends, where latency is what changed."""
    before, now = timed(2.0, 5.0), timed(own, below)
    expected = None if found is None else ("gap in front", found)
    for kind in ("http", "rpc"):
        assert name(gap, edge("latency_growth", kind), before, now) == expected
    slow = timed(8.0, 5.0)
    assert name(gap, edge("latency_growth", "db"), before, slow) is None
    assert name(gap, edge("calls", "http"), before, slow) is None
    assert name(gap, edge("latency_growth", "http", uninstrumented=True), before, slow) is None
    assert name(gap, edge("latency_growth", "http", callee=None), before, slow) is None
    (seen,) = gap(edge("latency_load", "http"), before, slow)
    assert seen.evidence[0].startswith("2 → 8 ms pass between caller and callee")
    assert seen.evidence[1] == "the callee itself takes 5 → 5 ms"


@pytest.mark.parametrize(
    ("before", "now", "errors", "found"),
    [
        (1.0, 1.5, 50.0, "found"),
        (1.0, 1.5, 24.9, "possible"),  # a sixth of the calls fail, a third of them is new
        (1.0, 1.5, 25.1, "found"),
        (1.0, 1.5, 2.9, None),  # errors hardly rose
        (1.0, 1.5, 3.1, "possible"),
        (1.0, 1.05, 10.0, None),  # calls hardly did
        (1.0, 1.06, 10.0, "found"),
        (0.5, 1.0, 50.0, None),  # no call is made again
        (2.0, 2.09, 50.0, None),
        (2.0, 2.11, 50.0, "found"),
    ],
)
def test_retries_are_more_calls_a_visit_with_errors_that_explain_them(
    before: float, now: float, errors: float, found: str | None
) -> None:
    """A second attempt for each failure: half of the new calls at least."""
    seen = name(retries, edge("calls"), calls(before), calls(now, errors=errors))
    assert seen == (None if found is None else ("retries", found))


def test_retries_are_told_with_what_fails_and_with_what_their_caller_waits() -> None:
    (seen,) = retries(edge("calls"), calls(1.0, errors=1.0), calls(1.5, errors=60.0))
    assert seen.evidence == ("1.0% → 40.0% of calls fail", "1 → 1.5 calls for each visit of shop")
    own = edge("latency_growth", "self", callee=None, credited_ms=7.0)
    add = partial(patterns._backing_off, seen, edge("calls"))
    assert add([own]).evidence[2] == "shop itself takes +7 ms per request: backing off between attempts?"
    for other in (
        replace(own, caller="cart"), replace(own, unit="message"), replace(own, significant=False),
        replace(own, credited_ms=-7.0), replace(own, kind="db"),
    ):  # fmt: skip
        assert add([other]) is seen
    assert "+9 ms" in add([own, replace(own, operation="b", credited_ms=2.0)]).evidence[2]


# -- which edges, and over time ---------------------------------------------------------------------


def shop(times: int, ms: float = 4.0) -> Work:
    return serve("shop", "GET /", 2.0, [query("pg/stock", "SELECT", ms, times=times)])


def seen(before: Work, now: Work, **more: object) -> tuple[tuple[Edge, ...], tuple[Pattern, ...]]:
    """Patterns of two days, with some fields of the first edge as given."""
    halves = [
        period(spans(one, start_ns=at, hours=24, per_hour=4), at, 24)
        for one, at in ((before, START_NS), (now, START_NS + schema.DAY_NS))
    ]
    first, *rest = diff(*halves).edges
    return patterns.attach([replace(first, patterns=(), **more), *rest], *halves, tuple(halves))  # type: ignore[arg-type]


def test_only_significant_growth_without_a_note_has_patterns() -> None:
    """An N+1 by two days; not significant, better instead of worse, or not comparable: no name."""
    edges, found = seen(shop(1), shop(5), significant=True)
    assert [pattern.name for pattern in edges[0].patterns] == ["n+1"]
    assert found == edges[0].patterns
    for less in ({"significant": False}, {"credited_ms": -1.0}, {"note": "blocking rule changed"}):
        edges, found = seen(shop(1), shop(5), **{"significant": True, **less})
        assert (edges[0].patterns, found) == ((), ())


def test_patterns_that_are_known_already_stand_at_their_edge_first() -> None:
    halves = [
        period(spans(one, start_ns=at, hours=24, per_hour=4), at, 24)
        for one, at in ((shop(1), START_NS), (shop(5), START_NS + schema.DAY_NS))
    ]
    edges = [replace(one, significant=True) for one in diff(*halves).edges]
    starved = Pattern("starved caller", edges[0].name, None, "possible", ())
    other = Pattern("starved caller", edges[0].name, "UPDATE", "possible", ())
    made, found = patterns.attach(edges, *halves, tuple(halves), [starved, other])  # type: ignore[arg-type]
    assert [pattern.name for pattern in made[0].patterns] == ["starved caller", "n+1"]
    assert [pattern.name for pattern in found] == ["starved caller", "starved caller", "n+1"]


@pytest.mark.parametrize(
    ("growth", "weeks", "seen"),
    [
        (0.03, 6, True),
        (0.1, 3, True),
        (0.1, 2, False),
        (0.03, 2, False),
        (0.004, 6, False),
        (-0.03, 6, False),
    ],
)
def test_calls_grow_when_they_rise_by_a_hundredth_a_week_for_four_weeks(
    growth: float, weeks: int, seen: bool
) -> None:
    """Surely: the slope's interval lies above nothing."""

    def program(rng: np.random.Generator, at: float) -> Work:
        wanted = 4 * np.exp(growth * at * weeks)
        times = int(wanted) + (rng.random() < wanted % 1)
        return shop(times)

    hours = weeks * 168
    whole = period(spans(program, start_ns=START_NS, hours=hours, per_hour=3), START_NS, hours)
    edge_of = next(one for one in diff(whole, whole).edges if one.callee == "pg/stock")
    middle = (whole.start_ns + whole.end_ns) // 2
    cut = [
        replace(whole, end_ns=middle, tables=_part(whole, 0, middle)),
        replace(whole, start_ns=middle, tables=_part(whole, middle, whole.end_ns)),
    ]
    found = patterns._weekly(edge_of, *cut)
    assert [one.name for one in found] == (["calls grow"] if seen else [])
    if seen:
        assert found[0].certainty == "found"
        assert (
            f"over {weeks} weeks" in found[0].evidence[0] or f"over {weeks + 1} weeks" in found[0].evidence[0]
        )


def _part(whole: PeriodRollups, begin: int, end: int) -> dict[str, pl.DataFrame]:
    slots = pl.col("slot").is_between(begin // schema.HOUR_NS, end // schema.HOUR_NS - 1)
    return {n: t.filter(slots) if "slot" in t.columns else t for n, t in whole.tables.items()}


def test_a_new_edge_has_the_patterns_of_what_it_does_now() -> None:
    """There is nothing of it in base: five queries where there was none are an N+1."""
    edges, found = seen(serve("shop", "GET /", 2.0, []), shop(5), significant=True)
    assert edges[0].callee == "pg/stock"
    assert [pattern.name for pattern in found] == ["n+1"]


def test_backing_off_is_told_where_the_caller_itself_got_slower() -> None:
    """By half a millisecond too; not where that is not significant, faster, or of another unit or caller."""
    (first, *_), _ = seen(shop(1), shop(5), significant=True)
    retries = Pattern("retries", first.name, None, PatternCertainty.CERTAIN, ("2 % of calls fail",))
    itself = replace(
        first, kind="self", callee=None, operation=None, credited_ms=0.5, significant=True, patterns=()
    )
    words = patterns._backing_off(retries, first, [first, itself]).evidence
    assert words[:1] == retries.evidence
    assert "shop itself takes +0.5 ms per request" in words[1]
    for other in (
        {"significant": False}, {"credited_ms": -0.5}, {"caller": "cart"}, {"unit": "message"},
    ):  # fmt: skip
        assert patterns._backing_off(retries, first, [first, replace(itself, **other)]) is retries  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("count", "slower", "named"), [(48, 1.0, True), (47, 1.0, False), (48, 0.0, False), (48, -1.0, False)]
)
def test_contention_needs_two_days_of_hours_that_are_slower_the_busier_they_are(
    count: int, slower: float, named: bool
) -> None:
    """A latency that does not depend on the load, or falls with it, contends for nothing."""
    (first, *_), _ = seen(shop(1), shop(5), significant=True)
    slots = np.arange(count)
    calls = 100 + 10 * slots
    each_ns = 1e6 * (1000 + slower * slots if slower else 1000 + 50 * np.sin(7.0 * slots))
    paths = {
        "path_id": [1], "caller": [first.caller], "callee": [first.callee], "operation": [first.operation],
        "kind": [schema.EDGE_KINDS.index(first.kind)],
    }  # fmt: skip
    hours = pl.DataFrame(
        {"slot": slots, "calls": calls, "visits": calls, "own_ns": (calls * each_ns).astype(np.int64)}
    ).with_columns(path_id=pl.lit(1), unit=pl.lit(schema.UNIT_REQUEST), threshold=pl.lit(schema.NO_THRESHOLD))
    head = PeriodRollups(
        0, count * schema.HOUR_NS, schema.HOUR_NS, "", {"path_hours": hours, "paths": pl.DataFrame(paths)}
    )
    assert [one.name for one in patterns._contention(first, head)] == (["contention"] if named else [])


def test_a_sampling_that_changes_is_no_growth_of_calls() -> None:
    """Of every week a larger part of traces is kept: calls count as many times as their requests."""
    hours = 6 * 168
    whole = period(spans(shop(4), start_ns=START_NS, hours=hours, per_hour=3), START_NS, hours)
    (edge_of,) = [one for one in diff(whole, whole).edges if one.callee == "pg/stock"]
    week = (pl.col("slot") - whole.start_ns // schema.HOUR_NS) // 168
    kept = 0.3 + 0.1 * week
    tables = dict(whole.tables)
    for name in ("path_hours", "entry_hours"):
        tables[name] = tables[name].with_columns(threshold=((1 - kept) * 2**56).cast(pl.Int64))
    sampled = replace(whole, tables=tables)
    middle = (whole.start_ns + whole.end_ns) // 2
    base = replace(sampled, end_ns=middle, tables=_part(sampled, 0, middle))
    head = replace(sampled, start_ns=middle, tables=_part(sampled, middle, whole.end_ns))
    assert patterns._weekly(edge_of, base, head) == []

"""Which edge waits for which: every rule of the ladder by what is just enough for a rung, and what is not."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from answered import edge, grown
from rolled import table

from tracescope import schema
from tracescope.analysis.attribution import ladder as rules
from tracescope.analysis.attribution.courses import Slots
from tracescope.analysis.attribution.ladder import Grown, ladder, more_calls, name_of, paths_of, slower
from tracescope.analysis.report import Change, Edge, EdgeKey, Pattern, PatternCertainty
from tracescope.conventions import semconv

Rungs = list[tuple[str, str, str, bool]]
RETRIES = (Pattern("retries", "", None, PatternCertainty.CERTAIN, ()),)


def slow(name: str, effect: str = "latency_growth", **more: Any) -> Edge:
    return grown(name, effect, **more)


def queue(name: str, operation: str = schema.QUEUE_WAIT, **more: Any) -> Edge:
    return slow(name, kind="queue", operation=operation, **more)


def acquire(name: str, **more: Any) -> Edge:
    return slow(name, kind="db", operation=semconv.ACQUIRE, **more)


def since(at: int) -> Change:
    return Change(at, at - 5, at + 5)


def course(waits: bool | None, ms: list[float] | None = None) -> Any:
    """What slots tell of an edge: whether it waits, and its own time in slots of equal load."""
    values = np.array(ms or [])
    n = len(values)
    return SimpleNamespace(waits=waits, head=Slots(np.arange(n), np.ones(n), values, values, np.ones(n)))


def rungs(
    edges: list[Edge], paths: list[dict[str, Any]] | None = None, courses: dict[int, Any] | None = None,
    starved: tuple[str, ...] = (),
) -> Rungs:  # fmt: skip
    """Cause, victim, words and certainty of each; courses by the edge's place."""
    keyed = {edge.key: edge for edge in edges}
    given = {edges[at].key: one for at, one in (courses or {}).items()}
    found = ladder(Grown(keyed, given, frozenset(starved)), table("paths", paths or []))
    return [(name_of(one.cause), name_of(one.victim), one.how, one.certain) for one in found]


def tree(*edges: Edge | None, parents: tuple[int, ...] | None = None) -> list[dict[str, Any]]:
    """Call paths 1, 2, ...: each under the one before, or under these; None is a call that did not grow."""
    out = []
    for at, one in enumerate(edges):
        above = parents[at] if parents else at
        row = {"path_id": at + 1, "parent_id": above or -9, "entry_id": -9, "depth": at + 1, "caller": "x"}
        if one is not None:
            row |= {"kind": schema.EDGE_KINDS.index(one.kind), "caller": one.caller, "callee": one.callee,
                    "operation": one.operation}  # fmt: skip
        out.append(row)
    return out


# -- what an edge is --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("effect", "expected"),
    [("latency_growth", True), ("latency_load", True), ("latency_unsplit", True), ("calls", False),
     ("new", False), ("criticality", False)],
)  # fmt: skip
def test_an_edge_is_slower_where_latency_carries_its_growth(effect: str, expected: bool) -> None:
    assert slower(slow("a -> b", effect)) == expected
    assert slower(replace(acquire("a -> b"), effects={effect: 2.0}))  # waiting is all that it is


@pytest.mark.parametrize(
    ("base", "head", "more"), [(1.0, 1.1, True), (1.0, 1.09, False), (0.0, 2.0, False), (0.5, 0.6, True)]
)
def test_calls_are_more_by_a_tenth_or_new(base: float, head: float, more: bool) -> None:
    """Not a service's own work, and not waiting for a connection."""
    one = edge("a -> b", calls_per_unit_base=base, calls_per_unit_head=head)
    assert more_calls(one) == more
    assert more_calls(slow("a -> b", "new"))
    assert not more_calls(replace(one, callee=None))
    assert not more_calls(replace(one, kind="db", operation=semconv.ACQUIRE, calls_per_unit_head=9.0))


def test_an_edge_has_its_operation_in_a_sentence() -> None:
    key = EdgeKey("request", "db", "a", "pg", "SELECT")
    assert name_of(key) == "a -> pg SELECT"
    assert name_of(key._replace(operation=None)) == "a -> pg"
    assert name_of(key._replace(callee=None)) == "a (itself)"


def test_kinds_of_waiting_are_told_by_kind_and_operation() -> None:
    """A wait is a queue's, a publication too; a connection is a database's; a gap is before a service."""
    key = EdgeKey("request", "queue", "a", "b", schema.QUEUE_WAIT)
    publish, connect = (
        key._replace(operation=schema.QUEUE_PUBLISH),
        key._replace(kind="db", operation=semconv.ACQUIRE),
    )
    assert [rules.is_wait(one) for one in (key, publish, key._replace(kind="db"))] == [True, False, False]
    assert [rules.is_publish(one) for one in (publish, key, publish._replace(kind="db"))] == [
        True,
        False,
        False,
    ]
    assert [rules.is_acquire(one) for one in (connect, key, connect._replace(kind="http"))] == [
        True,
        False,
        False,
    ]
    gaps = [rules.is_gap(key._replace(kind=kind)) for kind in schema.EDGE_KINDS]
    assert gaps == [kind in ("http", "rpc") for kind in schema.EDGE_KINDS]
    assert not rules.is_gap(key._replace(kind="http", callee=None))


# -- courses and instants ---------------------------------------------------------------------------


RISING = [float(at % 7) for at in range(30)]


@pytest.mark.parametrize(
    ("cause", "victim", "agrees"),
    [
        (None, True, True), (True, True, True), (None, False, None), (None, None, False),
        ((None, RISING), (None, RISING), True), ((None, RISING), (False, RISING), True),
        ((None, RISING), (None, RISING[::-1]), False), ((None, RISING), (False, RISING[::-1]), None),
    ],
)  # fmt: skip
def test_a_victim_waits_where_it_is_dearer_in_busy_times_or_slow_when_the_cause_is(
    cause: Any, victim: Any, agrees: bool | None
) -> None:
    """Courses that say it is slower work refuse it; without any the structure alone is left."""
    a, b = slow("s -> b"), slow("s")
    given = {
        one.key: course(*(said if isinstance(said, tuple) else (said,)))
        for one, said in ((a, cause), (b, victim))
    }
    one = Grown({a.key: a, b.key: b}, given, frozenset())
    assert one.agrees(a.key, b.key) is agrees
    assert Grown({b.key: b}, given, frozenset()).agrees(a.key, b.key) is agrees


@pytest.mark.parametrize(("worth", "agrees"), [(1.0, False), (0.99, None)])
def test_a_cause_is_worth_half_of_its_victim_where_courses_say_nothing(
    worth: float, agrees: bool | None
) -> None:
    """In one unit of work; what another unit's is worth is no measure, nor what did not grow."""
    a, b = slow("s -> b"), slow("s")
    a = replace(a, credited_ms=worth)
    one = Grown({a.key: a, b.key: b}, {}, frozenset())
    assert one.agrees(a.key, b.key) is agrees
    message = replace(a, unit="message")
    assert Grown({message.key: message, b.key: b}, {}, frozenset()).agrees(message.key, b.key) is False
    assert Grown({b.key: b}, {}, frozenset()).agrees(a.key, b.key) is False


@pytest.mark.parametrize(
    ("cause", "victim", "refused"), [(100, 90, False), (100, 89, True), (89, 100, False)]
)
def test_what_changed_clearly_before_its_cause_is_no_victim(cause: int, victim: int, refused: bool) -> None:
    """By intervals that do not meet: of five to either side."""
    a, b = slow("s -> b", change=since(cause)), slow("s", change=since(victim))
    for first in (a, replace(a, change=None)):
        one = Grown({a.key: first, b.key: b}, {b.key: course(True)}, frozenset())
        assert one.agrees(a.key, b.key) is (None if refused and first.change else True)


# -- threads and connections ------------------------------------------------------------------------


def test_a_service_and_the_gap_in_front_of_it_wait_for_what_it_calls() -> None:
    """By the call paths: of a service's own work its callees lie beside it, under its caller."""
    gap, own, query = slow("a -> s"), slow("s"), slow("s -> pg", kind="db", operation="GET")
    paths = tree(gap, own, query, parents=(0, 1, 1))
    assert rungs([gap, own, query], paths) == [
        ("s -> pg GET", "a -> s", "threads or connections of s are held by s -> pg GET", False),
        ("s (itself)", "a -> s", "threads of s are held by its own work", False),
        ("s -> pg GET", "s (itself)", "threads or connections of s are held by s -> pg GET", False),
    ]
    assert all(certain for *_, certain in rungs([gap, own, query], paths, {0: course(True), 1: course(True)}))
    beside = rungs([gap, own, query], tree(gap, own, query, parents=(0, 0, 0)))
    assert {victim for _, victim, *_ in beside} == {"s (itself)"}


def test_threads_are_held_by_own_work_of_the_service_or_of_another() -> None:
    gap, own = slow("a -> s"), slow("t")
    (one,) = rungs([gap, own], tree(gap, None, own))
    assert one[2] == "threads or connections of s are held by the own work of t"


def test_only_what_is_slower_waits_and_only_in_its_own_unit() -> None:
    gap, query = slow("a -> s"), slow("s -> pg", kind="db")
    paths = tree(gap, query)
    assert len(rungs([gap, query], paths)) == 1
    assert rungs([slow("a -> s", "criticality"), query], paths) == []
    assert rungs([replace(gap, unit="message"), query], paths) == []
    assert rungs([replace(gap, kind="db"), query], tree(replace(gap, kind="db"), query)) == []
    assert rungs([gap, query], paths, {0: course(False)}) == []
    assert rungs([gap, replace(query, credited_ms=0.5)], paths) == []
    wait = queue("s -> w")
    assert rungs([gap, wait], tree(gap, wait)) == []  # whoever publishes does not wait for who takes it


def test_far_below_is_below_and_a_path_of_its_own_is_not() -> None:
    """Over calls that did not grow, up to the entry; on any of the paths."""
    gap, query = slow("a -> s"), slow("t -> pg", kind="db")
    assert len(rungs([gap, query], tree(gap, None, None, query))) == 1
    assert rungs([gap, query], tree(gap, None, query, parents=(0, 0, 2))) == []
    both = tree(gap, query, query, parents=(0, 0, 1))
    assert len(rungs([gap, query], both)) == 1
    again = slow("a -> s")
    assert rungs([again], tree(again, again)) == []  # an edge below itself


def test_a_service_that_starves_waits_for_no_callee_of_its_own() -> None:
    """They look slow because it does; the gap in front of it may."""
    own, query = slow("s"), slow("s -> pg", kind="db", operation="GET")
    gap = slow("a -> s")
    paths = tree(gap, own, query, parents=(0, 1, 1))
    starved = rungs([gap, own, query], paths, starved=("s",))
    late = ("s (itself)", "s -> pg GET", "s reads the answers late: it gets too little CPU", False)
    assert starved[-1] == late
    assert [one[:2] for one in starved[:-1]] == [("s -> pg GET", "a -> s"), ("s (itself)", "a -> s")]
    for other in (
        replace(query, unit="message"),
        replace(query, caller="t"),
        slow("s -> pg", "calls", kind="db"),
    ):
        assert late[2] not in [one[2] for one in rungs([own, other], starved=("s",))]


def test_calls_that_are_made_again_wait_for_what_takes_too_long() -> None:
    """And a service that backs off for the calls that fail, if they are its own."""
    gap, query = slow("a -> s", patterns=RETRIES), slow("s -> pg", kind="db")
    (one,) = rungs([gap, query], tree(gap, query))
    assert one[2:] == ("calls that take too long are made again", False)
    (one,) = rungs([gap, slow("s -> pg", "new", kind="db")], tree(gap, query))
    assert one[2].startswith("threads or connections of s")
    own, again = slow("s"), slow("s -> pg", "calls", kind="db", patterns=RETRIES)
    paths = tree(None, own, again, parents=(0, 1, 1))
    (one,) = rungs([own, again], paths)
    assert one[2:] == ("s backs off before it calls again", False)
    other = replace(again, caller="t")
    (one,) = rungs([own, other], tree(None, own, other, parents=(0, 1, 1)))
    assert one[2].startswith("threads or connections of s")
    (one,) = rungs([slow("a -> s"), again], tree(slow("a -> s"), again))
    assert one[2].startswith("threads or connections of s")


@pytest.mark.parametrize(("before", "seen"), [(19_999, True), (20_000, False)])
def test_of_many_call_paths_those_of_the_smallest_ids_are_looked_at(before: int, seen: bool) -> None:
    """Twenty thousand of the edges that grew; what was asked for says nothing beyond."""
    gap, query = slow("a -> s"), slow("s -> pg", kind="db")
    (first, last) = table("paths", tree(gap, query)).rows(named=True)
    one = table("paths", [first]).select(pl.exclude("path_id"))
    many = one.select(pl.all().repeat_by(before).explode()).with_columns(path_id=pl.int_range(1, before + 1))
    paths = pl.concat(
        [many.select(table("paths", []).columns), table("paths", [{**last, "path_id": before + 1}])]
    )
    keyed = {edge.key: edge for edge in (gap, query)}
    assert bool(ladder(Grown(keyed, {}, frozenset()), paths)) == seen


# -- connections ------------------------------------------------------------------------------------


def test_calls_of_one_service_wait_for_connections_that_others_hold() -> None:
    """A cause that does not wait itself, and a victim at another place; no queue and no own work."""
    cause, victim = slow("s -> bank", kind="external"), slow("s -> pg", kind="db", operation="GET")
    one = ("s -> bank", "s -> pg GET", "connections of s are held by s -> bank", False)
    said = {0: course(False), 1: course(True)}
    assert rungs([cause, victim], courses=said) == [one]
    assert rungs([cause, victim], courses={0: course(True), 1: course(True)}) == []
    assert rungs([cause, victim], courses={0: course(None), 1: course(True)}) == []
    assert rungs([cause, victim], courses={0: course(False), 1: course(None)}) == []
    assert rungs([cause, victim], courses={1: course(True)}) == []
    for changes in (
        [slow("s -> bank", "calls", kind="external"), victim], [cause, replace(victim, caller="t")],
        [cause, slow("s -> pg", "calls", kind="db")], [cause, slow("s -> bank", kind="db")],
        [cause, queue("s -> pg")], [queue("s -> bank", schema.QUEUE_PUBLISH), victim], [cause, slow("s")],
        [slow("s"), victim],
    ):  # fmt: skip
        assert [row for row in rungs(changes, courses=said) if "connections of s are" in row[2]] == []


def test_waiting_for_a_connection_follows_calls_to_databases_that_hold_it() -> None:
    """Slower ones and more of them, of the same service; not those that changed clearly after."""
    victim, cause = acquire("s -> pg"), slow("s -> pg", kind="db", operation="GET")
    one = ("s -> pg GET", f"s -> pg {semconv.ACQUIRE}", "connections of s are held by s -> pg GET", False)
    assert rungs([victim, cause]) == [one]
    more = slow("s -> pg", "calls", kind="db", operation="GET", calls_per_unit_head=1.1)
    assert one in rungs([victim, more])
    for other in (
        replace(cause, caller="t"), replace(cause, kind="http"), replace(cause, credited_ms=0.0),
        replace(cause, credited_ms=-2.0), slow("s -> pg", "criticality", kind="db", operation="GET"),
        replace(cause, credited_ms=0.9),
    ):  # fmt: skip
        assert rungs([victim, other]) == []
    for ms in (0.0, -0.5):  # what takes no more time holds nothing, however long the wait
        assert rungs([victim, replace(cause, credited_ms=ms)], courses={0: course(True)}) == []
    small = [replace(victim, credited_ms=0.8), replace(cause, credited_ms=0.5)]
    assert rungs(small) == [one]
    early, late = replace(victim, change=since(80)), replace(cause, change=since(100))
    assert rungs([early, late]) == []
    assert rungs([replace(early, change=since(95)), late]) == [one]


# -- queues -----------------------------------------------------------------------------------------


def test_messages_wait_where_consumers_are_busy_with_what_lies_below() -> None:
    """Certainly; not behind another wait, and not where they waited before."""
    wait, query = queue("orders -> worker"), slow("worker -> pg", kind="db", operation="GET")
    one = (
        "worker -> pg GET",
        "orders -> worker wait",
        "consumers of orders are busy with worker -> pg GET",
        True,
    )
    assert rungs([wait, query], tree(wait, query)) == [one]
    assert rungs([wait, query], tree(wait, query), {0: course(False)}) == [one]
    assert rungs([queue("x -> worker", schema.QUEUE_PUBLISH), query], tree(wait, query)) == []
    other = queue("jobs -> mailer")
    assert rungs([wait, other], tree(wait, other)) == []
    early = [replace(wait, change=since(80)), replace(query, change=since(100))]
    assert rungs(early, tree(wait, query)) == []


def test_more_messages_wait_longer_and_a_full_queue_keeps_publishers_waiting() -> None:
    """Both where both changed; in whatever order they come, and by the route from exchange to queue."""
    publish = queue("api -> orders", schema.QUEUE_PUBLISH, calls_per_unit_head=2.0)
    wait = queue("orders -> worker", unit="message")
    more = ("api -> orders publish", "orders -> worker wait", "more messages are published to orders", True)
    full = ("orders -> worker wait", "api -> orders publish", "publishing waits: orders is full", True)
    assert rungs([publish, wait]) == rungs([wait, publish]) == [more, full]
    assert rungs([replace(publish, calls_per_unit_head=1.0), wait]) == [full]
    often = slow(
        "api -> orders", "calls", kind="queue", operation=schema.QUEUE_PUBLISH, calls_per_unit_head=2.0
    )
    assert rungs([often, wait]) == [more]
    assert rungs([publish, replace(wait, caller="jobs")]) == []
    route = {
        "path_id": 5,
        "kind": schema.EDGE_QUEUE,
        "caller": "orders",
        "callee": "jobs",
        "operation": schema.QUEUE_ROUTE,
    }
    routed = rungs([publish, replace(wait, caller="jobs")], [route])
    assert [row[2] for row in routed] == [more[2], "publishing waits: jobs is full"]
    assert len(rungs([publish, wait], [route])) == 2  # itself among them
    assert rungs([publish, replace(wait, caller="jobs")], [{**route, "operation": "x"}]) == []
    before = [replace(publish, change=since(100)), replace(wait, change=since(80))]
    assert rungs(before) == [full]
    assert rungs([replace(publish, change=since(80)), replace(wait, change=since(100))]) == [more]
    assert rungs([replace(publish, callee=None), wait]) == []


def test_consumers_work_stands_for_the_wait_of_a_queue_that_is_too_short_to_show_one() -> None:
    """Of messages, of those who take from it; not beside a wait that grew."""
    publish = queue("api -> orders", schema.QUEUE_PUBLISH)
    work = slow("worker -> pg", kind="db", operation="GET", unit="message")
    quiet = queue("orders -> worker", unit="message")
    one = (
        "worker -> pg GET",
        "api -> orders publish",
        "publishing waits: consumers are busy with worker -> pg GET",
        False,
    )

    def found(edges: list[Edge], wait: Edge = quiet) -> Rungs:
        keyed = {edge.key: edge for edge in edges}
        made = ladder(Grown(keyed, {wait.key: course(None)}, frozenset()), table("paths", []))
        return [(name_of(one.cause), name_of(one.victim), one.how, one.certain) for one in made]

    assert found([publish, work]) == [one]
    assert found([publish, replace(work, unit="request")]) == []
    assert found([publish, replace(work, caller="other")]) == []
    assert found([publish, replace(work, kind="queue", operation="settle")]) == []
    assert found([publish, work], replace(quiet, caller="jobs")) == []
    assert found([publish, work], replace(quiet, operation=schema.QUEUE_PUBLISH)) == []
    assert one not in found([publish, work, quiet])
    often = slow("api -> orders", "calls", kind="queue", operation=schema.QUEUE_PUBLISH)
    assert found([often, work]) == []


# -- more calls -------------------------------------------------------------------------------------


def test_what_is_called_more_often_keeps_what_lies_below_it_busier() -> None:
    """Where that waits, or is slower by load; not where it was before."""
    often = slow("a -> s", "calls", calls_per_unit_head=2.0)
    query = slow("s -> pg", "latency_load", kind="db")
    paths = tree(often, query)
    one = ("a -> s", "s -> pg", "a -> s is called more often and keeps it busier", False)
    assert rungs([often, query], paths) == [one]
    growth = slow("s -> pg", kind="db")
    assert rungs([often, growth], paths) == []
    assert rungs([often, growth], paths, {1: course(True)}) == [one]
    assert rungs([often, growth], paths, {1: course(False)}) == []
    assert rungs([often, slow("s -> pg", "criticality", kind="db")], paths, {1: course(True)}) == []
    assert rungs([replace(often, calls_per_unit_head=1.0), query], paths) == []
    early = [replace(often, change=since(100)), replace(query, change=since(80))]
    assert rungs(early, paths) == []


def test_calls_that_are_more_by_one_factor_are_one_loop_and_the_dearest_leads() -> None:
    """Within a twentieth; of one service and unit, where calls carry the growth and not failures."""

    def looped(name: str, times: float, ms: float, **more: Any) -> Edge:
        made = slow(
            name, "calls", kind="db", calls_per_unit_base=2.0, calls_per_unit_head=2.0 * times, **more
        )
        return replace(made, credited_ms=ms)

    first, second = looped("s -> pg", 3.0, 5.0), looped("s -> redis", 3.1, 2.0)
    one = ("s -> pg", "s -> redis", "is called in one loop with s -> pg", True)
    assert rungs([first, second]) == rungs([second, first]) == [one]
    assert rungs([first, looped("s -> redis", 2.9, 2.0)]) == [one]
    often = replace(second, calls_per_unit_base=4.0, calls_per_unit_head=12.0)
    assert rungs([first, often]) == [one]
    for times in (3.16, 2.85):
        assert rungs([first, looped("s -> redis", times, 2.0)]) == []
    for other in (
        replace(second, caller="t"), replace(second, unit="message"), replace(second, kind="queue"),
        looped("s -> redis", 3.0, 2.0, patterns=RETRIES), replace(second, effects={"latency_growth": 2.0}),
        looped("s -> redis", 1.05, 2.0),
    ):  # fmt: skip
        assert rungs([first, other]) == []
    alike = rungs([looped("s -> a", 3.0, 5.0), looped("s -> b", 3.0, 5.0)])
    assert [row[:2] for row in alike] == [("s -> b", "s -> a")]


def test_call_paths_of_edges_are_found_by_all_of_their_names() -> None:
    """Also those without an operation or a callee."""
    paths = table("paths", [
        {"path_id": 1, "kind": schema.EDGE_DB, "caller": "s", "callee": "pg"},
        {"path_id": 2, "kind": schema.EDGE_DB, "caller": "s", "callee": "pg", "operation": "GET"},
        {"path_id": 3, "kind": schema.EDGE_SELF, "caller": "s"},
        {"path_id": 4, "kind": schema.EDGE_HTTP, "caller": "s", "callee": "pg"},
    ])  # fmt: skip
    keys = [EdgeKey("request", "self", "s", None, None), EdgeKey("message", "db", "s", "pg", None)]
    found = paths_of(keys, paths).sort("number")
    assert found.select("number", "path_id").rows() == [(0, 3), (1, 1)]

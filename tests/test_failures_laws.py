"""Failures of entries and edges and where they begin, worked out by hand on a small tree."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from answered import edge
from rolled import rolled

from tracescope import schema
from tracescope.analysis.comparison import failures
from tracescope.analysis.comparison.decompose import Tree
from tracescope.analysis.comparison.entry_groups import add_up
from tracescope.analysis.comparison.failures import Asked, at_and_below, compare_failures, on_edges
from tracescope.analysis.comparison.matched import Side, Unit
from tracescope.analysis.report import (
    EdgeFailures,
    EdgeKey,
    Failures,
    MissingWork,
    MissingWorkKind,
    Origin,
    Rate,
)  # fmt: skip
from tracescope.analysis.statistics.blocks import Matched, Slots

MS = 1_000_000
BLOCKS = 8
NOTHING = np.zeros(0)
SLOTS = Slots(pl.DataFrame(), BLOCKS, np.zeros((BLOCKS, 0)), np.zeros((BLOCKS, 0)), False)

#: kind, caller, callee, parent, entry: two entries; both call orders, which calls stock and a database.
PATHS = (
    ("self", "web", None, -1, 0), ("http", "web", "orders", -1, 0), ("http", "web", "mail", -1, 0),
    ("self", "app", None, -1, 1), ("http", "app", "orders", -1, 1),
    ("self", "orders", None, 1, 0), ("rpc", "orders", "stock", 1, 0), ("db", "orders", "pg", 1, 0),
    ("self", "orders", None, 4, 1), ("rpc", "orders", "stock", 4, 1),
    ("self", "stock", None, 6, 0), ("self", "stock", None, 9, 1),
)  # fmt: skip
Failed = dict[int, float]


def period(paths: Failed, entries: Failed, **more: Any) -> Side:
    """Units of which so many fail, 1000 of web and 500 of app in all, and calls of which so many do."""
    units = np.array(more.get("units", [1000.0, 500.0]))
    of = np.array([path[4] for path in PATHS])
    calls = units[of] * more.get("calls", 1.0)
    failed, lost = np.zeros(len(PATHS)), np.zeros(2)
    for at, n in paths.items():
        failed[at] = n
    for at, n in entries.items():
        lost[at] = n

    def blocks(values: Any) -> np.ndarray:
        return np.tile(np.asarray(values, float) / BLOCKS, (BLOCKS, 1))

    retries, leafless = np.zeros(len(PATHS)), np.zeros(2)
    for at, n in more.get("retries", {}).items():
        retries[at] = n
    for at, n in more.get("leafless", {}).items():
        leafless[at] = n
    return Side(
        {"calls": blocks(calls), "errors": blocks(failed), "retries": blocks(retries),
         "busy_ns": blocks(calls * 10.0 * MS), "failed_ns": blocks(failed * 4.0 * MS)},
        {"units": blocks(units), "errors": blocks(lost), "leafless": blocks(leafless),
         "clock_ns": blocks(units * 20.0 * MS), "failed_ns": blocks(lost * 5.0 * MS)},
        calls,
        units,
    )  # fmt: skip


def asked(base: Side, head: Side) -> Asked:
    names = ["kind", "caller", "callee", "operation"]
    frame = pl.DataFrame(
        {"kind": [schema.EDGE_KINDS.index(path[0]) for path in PATHS], "caller": [path[1] for path in PATHS],
         "callee": [path[2] for path in PATHS], "operation": [None] * len(PATHS)},
        schema_overrides={"kind": pl.Int8, "operation": pl.String},
    )  # fmt: skip
    edges = frame.unique(names, maintain_order=True).with_row_index("edge")
    number = frame.join(edges, on=names, how="left", nulls_equal=True, maintain_order="left")[
        "edge"
    ].to_numpy()
    parent, entry = (np.array([path[at] for path in PATHS]) for at in (3, 4))
    entries = pl.DataFrame({"entry_id": [1, 2], "service": ["web", "app"], "operation": ["GET", "PUT"]})
    unit = Unit(
        0, entries.with_row_index("index"), frame, Tree(parent, entry, 1 + (parent >= 0)), base, head, 0.0
    )
    split = SimpleNamespace(
        edge=number, edges=edges, by_edge=lambda values: add_up(values, number, len(edges))
    )
    return Asked(unit, split, Matched(SLOTS, SLOTS, ()), (10.0, 20.0))  # type: ignore[arg-type]


def compared(
    base: Side, head: Side, beside: float | None = None, measured: tuple[bool, bool] = (True, True),
    alpha: float = 0.05,
) -> Failures:  # fmt: skip
    rules = [frozenset({schema.RULES if known else 1}) for known in measured]
    periods = [replace(rolled(), rules=rule) for rule in rules]
    others = np.array([] if beside is None else [beside] * 100)
    return compare_failures([asked(base, head)], (periods[0], periods[1]), alpha, others)


CALM = period({6: 10, 9: 5, 1: 10, 4: 5}, {0: 10, 1: 5})
#: A fifth of all fails, because the stock does.
BROKEN = period({6: 200, 9: 100, 1: 200, 4: 100, 10: 200, 11: 100}, {0: 200, 1: 100})


def test_failures_are_told_of_entries_with_what_the_others_took() -> None:
    """Rates, mean clocks of those that failed and that did not, and units an hour."""
    found = compared(CALM, BROKEN)
    assert found.measured
    web, app = found.entries
    assert (web.unit, web.service, web.operation, app.service) == ("request", "web", "GET", "app")
    assert (web.rate.base, web.rate.head) == pytest.approx((0.01, 0.2))
    assert (web.rate.of_base, web.rate.of_head) == (1000.0, 1000.0)
    assert web.rate.grew
    assert (web.ok_ms_base, web.ok_ms_head) == pytest.approx(((20000 - 50) / 990, (20000 - 1000) / 800))
    assert (web.failed_ms_base, web.failed_ms_head) == pytest.approx((5.0, 5.0))
    assert (web.arrived_per_h_base, web.arrived_per_h_head) == pytest.approx((100.0, 50.0))
    assert (web.completed_per_h_base, web.completed_per_h_head) == pytest.approx((99.0, 40.0))
    assert web.leafless is not None
    assert (web.leafless.head, web.leafless.q_value, web.leafless.significant) == (0.0, 1.0, False)
    assert found.grown == found.entries


def test_what_never_failed_has_no_row_and_what_all_failed_no_mean() -> None:
    """Of one period alone it has; where failures were not measured there are rates alone."""
    whole = period({}, {0: 1000})
    (web,) = compared(period({}, {}), whole).entries
    assert (web.ok_ms_base, web.ok_ms_head, web.failed_ms_base, web.failed_ms_head) == (
        20.0,
        None,
        None,
        pytest.approx(5.0),
    )
    (web,) = compared(whole, period({}, {})).entries
    assert not web.rate.grew
    assert web.rate.significant
    none = compared(period({}, {}), period({}, {}))
    assert (none.entries, none.edges, none.origins) == ((), (), ())
    for measured in ((False, False), (True, False), (False, True)):
        found = compared(CALM, BROKEN, measured=measured)
        assert not found.measured
        web = found.entries[0]
        assert web.rate.grew
        assert (web.leafless, web.ok_ms_base, web.failed_ms_head) == (None, None, None)
        assert (found.edges[0].retries, found.edges[0].ok_ms_base) == (None, None)
    (web,) = compared(period({}, {0: 1}), period({6: 1499, 1: 1}, {0: 999})).entries
    assert (web.ok_ms_head, web.failed_ms_base) == pytest.approx((20000 - 4995, 5.0))  # of a single one


def test_units_that_call_nothing_are_told_where_that_changed() -> None:
    """Without any failure; not where they are as many as before."""
    (app,) = compared(period({}, {}, leafless={1: 5}), period({}, {}, leafless={1: 200})).entries
    assert (app.service, app.rate.head, app.rate.q_value) == ("app", 0.0, 1.0)
    assert app.leafless is not None
    assert (app.leafless.base, app.leafless.head, app.leafless.grew) == (0.01, 0.4, True)
    same = period({}, {}, leafless={1: 5})
    assert compared(same, same).entries == ()


def test_failures_are_told_of_edges_with_the_mean_call_that_succeeded() -> None:
    """Over all entries; a service's own work is no call.  Most failed calls more stand first."""
    found = compared(CALM, BROKEN)
    names = [(one.key.kind, one.key.caller, one.key.callee) for one in found.edges]
    assert names == [("rpc", "orders", "stock"), ("http", "web", "orders"), ("http", "app", "orders")]
    stock = found.edges[0]
    assert stock.key.unit == "request"
    assert (stock.rate.base, stock.rate.head) == pytest.approx((15 / 1500, 300 / 1500))
    assert (stock.rate.of_base, stock.rate.of_head) == (1500.0, 1500.0)
    assert (stock.ok_ms_base, stock.ok_ms_head) == pytest.approx((14940 / 1485, 13800 / 1200))
    assert stock.retries is not None
    assert stock.retries.head == 0.0
    whole = period({6: 1000, 9: 500}, {})
    (stock,) = compared(whole, period({}, {})).edges
    assert (stock.ok_ms_base, stock.ok_ms_head) == (None, pytest.approx(10.0))


def test_what_grew_stands_before_what_did_not_and_then_by_how_much_more_fails() -> None:
    """Less than before is last; the change times the units, and then the name."""
    base = period({2: 400, 6: 10, 7: 300}, {0: 300, 1: 5})
    head = period({2: 30, 6: 200, 7: 310}, {0: 20, 1: 100})
    found = compared(base, head)
    assert [one.service for one in found.entries] == ["app", "web"]
    assert [one.key.callee for one in found.edges] == ["stock", "pg", "mail"]
    alike = compared(CALM, period({}, {0: 200, 1: 200}, units=[1000.0, 1000.0]))
    assert [one.service for one in alike.entries] == ["app", "web"]
    same = compared(period({}, {}, units=[500.0, 500.0]), period({}, {0: 90, 1: 90}, units=[500.0, 500.0]))
    assert [one.service for one in same.entries] == ["app", "web"]


def test_calls_made_again_are_a_rate_of_their_own() -> None:
    """Told at the edge where calls fail."""
    base, head = period({6: 10}, {}, retries={6: 10}), period({6: 300}, {}, retries={6: 300})
    (stock,) = compared(base, head).edges
    assert stock.retries is not None
    assert (stock.retries.base, stock.retries.head) == pytest.approx((10 / 1500, 0.2))
    assert stock.retries.grew


@pytest.mark.parametrize(
    ("before", "now", "grew"),
    [(0.0, 0.008, False), (0.0, 0.02, True), (0.1, 0.12, False), (0.1, 0.13, True)],
)
def test_calls_made_again_matter_by_a_hundredth_and_a_fifth(before: float, now: float, grew: bool) -> None:
    """So do units that call nothing; however many there are."""
    many = [2e6, 1e6]

    def made(part: float) -> Side:
        calls = {6: part * many[0], 9: part * many[1]}
        return period({6: 10}, {}, retries=calls, leafless={0: part * many[0]}, units=many)

    found = compared(made(before), made(now))
    retries = next(one for one in found.edges if one.key.callee == "stock").retries
    assert retries is not None
    assert retries.grew == grew
    assert [one.leafless.grew for one in found.entries if one.leafless] == ([True] if grew else [])


def test_all_rates_share_what_may_be_found_by_chance_with_latency() -> None:
    """A hundred p-values of 1 beside make a change less sure; a service's own work is no hypothesis."""
    base, head = period({6: 10}, {}), period({6: 40}, {})
    alone, beside = (compared(base, head, each).edges[0].rate for each in (None, 1.0))
    assert beside.q_value == pytest.approx(101 * alone.q_value, rel=1e-9)
    assert (alone.significant, beside.significant) == (True, beside.q_value <= 0.05)
    assert compared(base, head, alpha=alone.q_value).edges[0].rate.significant
    assert not compared(base, head, alpha=alone.q_value * 0.999).edges[0].rate.significant
    own = compared(period({6: 10, 5: 10, 10: 9}, {}), period({6: 40, 5: 40, 10: 30}, {})).edges
    assert [one.rate.q_value for one in own] == pytest.approx([alone.q_value])


# -- where failures begin ---------------------------------------------------------------------------


def origin(paths: Failed, entries: Failed | None = None, **more: Any) -> list[tuple[str, str, str | None]]:
    found = compared(CALM, period(paths, entries or {0: 210}, **more))
    return [(one.key.kind, one.key.caller, one.key.callee) for one in found.origins]


def test_failures_of_two_entries_begin_at_the_deepest_call_that_shows_half_of_them() -> None:
    """One origin for both, with every edge at and below it, and the failed units of both."""
    (one,) = compared(CALM, BROKEN).origins
    assert (one.key.kind, one.key.caller, one.key.callee) == ("self", "stock", None)
    assert one.entries == (("web", "GET"), ("app", "PUT"))
    assert one.added == pytest.approx(190 + 95)
    assert [key.caller for key in one.within] == ["stock"]
    assert one.rate.head == pytest.approx(0.2)
    called = period({6: 200, 9: 100, 1: 200, 4: 100}, {0: 200, 1: 100})
    (one,) = compared(CALM, called).origins
    assert (one.key.kind, one.key.caller, one.key.callee) == ("rpc", "orders", "stock")
    assert [(key.caller, key.callee) for key in one.within] == [("orders", "stock"), ("stock", None)]
    assert one.rate.of_head == 1500.0


@pytest.mark.parametrize(
    ("paths", "found"),
    [
        ({1: 110, 6: 61}, [("rpc", "orders", "stock")]),  # 100 of 200 more, then 50 of these
        ({1: 110, 6: 59}, [("http", "web", "orders")]),
        ({1: 109}, [("self", "web", None)]),  # less than half: it is the service itself
        ({1: 110, 6: 10, 5: 51}, [("self", "orders", None)]),
        ({1: 110, 6: 10, 5: 49}, [("http", "web", "orders")]),
        ({1: 110, 6: 60, 7: 60}, [("db", "orders", "pg")]),  # that showed none before
        ({2: 150, 1: 110}, [("http", "web", "mail")]),
        ({2: 101, 1: 111}, [("http", "web", "orders")]),  # 101 more of both
        ({2: 200, 7: 200}, [("http", "web", "mail")]),
        ({0: 210}, [("self", "web", None)]), ({}, [("self", "web", None)]),
    ],
)  # fmt: skip
def test_a_call_is_followed_that_shows_half_of_those_above_it(
    paths: Failed, found: list[tuple[str, str, str | None]]
) -> None:
    """200 requests more fail of a thousand; of calls alike the first."""
    assert origin(paths) == found


def test_failed_calls_are_counted_for_each_unit_of_their_entry() -> None:
    """Twice as many requests, of which as large a part fails: not more of any call."""
    twice = period({6: 20, 1: 20, 9: 5, 4: 5}, {0: 420}, units=[2000.0, 500.0])
    assert [one.key.kind for one in compared(CALM, twice).origins] == ["self"]
    more = period({1: 220}, {0: 420}, units=[2000.0, 500.0])
    (one,) = compared(CALM, more).origins
    assert one.key.callee == "orders"
    assert one.added == pytest.approx((0.21 - 0.01) * 2000)
    assert (one.rate.of_base, one.rate.of_head) == (1000.0, 2000.0)
    web, called = compared(CALM, more).entries[0], compared(CALM, more).edges[0]
    for rate in (web.rate, web.leafless, called.rate, called.retries):
        assert rate is not None
        assert (rate.of_base, rate.of_head) == (1000.0, 2000.0)


def test_a_call_that_failed_as_often_for_each_unit_is_not_followed() -> None:
    """Of twice as many units 28 in a hundred fail there, after 20: less than half of the 20 more."""
    base = period({1: 200}, {0: 10})
    for failed, caller in ((560, None), (620, "orders")):
        head = period({1: failed}, {0: 420}, units=[2000.0, 500.0])
        assert [one.key.callee for one in compared(base, head).origins] == [caller]


def test_exactly_half_is_followed_and_of_calls_alike_the_first() -> None:
    units = [1024.0, 512.0]
    none = period({}, {}, units=units)
    (one,) = compared(none, period({1: 128}, {0: 256}, units=units)).origins
    assert one.key.callee == "orders"
    (one,) = compared(none, period({1: 128, 2: 128}, {0: 256}, units=units)).origins
    assert one.key.callee == "orders"
    (one,) = compared(none, period({1: 128, 5: 64}, {0: 256}, units=units)).origins
    assert (one.key.kind, one.key.caller) == ("self", "orders")


def test_entries_that_do_not_fail_more_often_have_no_origin() -> None:
    assert compared(CALM, CALM).origins == compared(BROKEN, CALM).origins == ()
    assert origin({1: 11}, {0: 11}) == []


def test_origins_stand_by_how_many_units_they_cost() -> None:
    """Then by name; each entry by itself where they begin apart."""
    apart = compared(CALM, period({2: 200, 4: 400}, {0: 200, 1: 400}))
    assert [one.key.callee for one in apart.origins] == ["orders", "mail"]
    key = EdgeKey("request", "http", "a", "b", None)
    rate = Rate(0.0, 1.0, 1.0, 1.0, None, 0.0, True)
    given = [
        Origin(key._replace(caller=caller, callee=callee), rate, ((caller, ""),), added, (key,))
        for caller, callee, added in (("c", "x", 2.0), ("a", "y", 2.0), ("a", None, 2.0), ("d", "x", 3.0))
    ]
    merged = failures._merged([*given, replace(given[0], entries=(("e", ""),), added=0.5)])
    assert [(one.key.caller, one.key.callee, one.added) for one in merged] == [
        ("d", "x", 3.0), ("c", "x", 2.5), ("a", None, 2.0), ("a", "y", 2.0),
    ]  # fmt: skip
    assert merged[1].entries == (("c", ""), ("e", ""))
    assert merged[1].within == (key,)


@pytest.mark.parametrize(
    ("path", "inside"),
    [(0, [0]), (1, [1, 5, 6, 7, 10]), (4, [4, 8, 9, 11]), (6, [6, 10]), (11, [11])],
)
def test_what_stands_at_and_below_a_call(path: int, inside: list[int]) -> None:
    parent = np.array([one[3] for one in PATHS])
    assert at_and_below(path, parent).tolist() == inside
    assert at_and_below(0, np.array([-1, 0, 1, -1, 3])).tolist() == [0, 1, 2]


# -- on edges ---------------------------------------------------------------------------------------


def test_an_edge_says_why_its_fall_is_no_improvement() -> None:
    """Not reached before failing more often; what rises, or neither, says nothing."""
    edges = [edge(name, credited=ms) for name, ms in (
        ("a -> b", -2.0), ("b -> c", -2.0), ("c -> d", -2.0),
        ("d -> e", -2.0), ("b -> c", 2.0), ("a -> b", 0.0),
    )]  # fmt: skip
    rate = Rate(0.1, 0.2, 9.0, 9.0, None, 0.01, True)
    told = EdgeFailures(edges[2].key, rate, None, None, None)
    fewer = EdgeFailures(edges[3].key, replace(rate, head=0.05), None, None, None)
    known = Failures(
        edges=(told, fewer), origins=(Origin(edges[1].key, rate, (), 1.0),),
        missing_work=(
            MissingWork(MissingWorkKind.NOT_REACHED, "a is not reached", edge=edges[0].key),
            MissingWork(MissingWorkKind.VANISHED, "d vanished", edge=edges[3].key),
        ),
    )  # fmt: skip
    made = on_edges(edges, known)
    assert [one.missing_work for one in made] == [
        failures.NOT_REACHED, failures.FAILS_SOONER, failures.FAILS_SOONER, "", "", "",
    ]  # fmt: skip
    assert [one.failures for one in made] == [None, None, told, fewer, None, None]
    assert [one.evidence for one in made] == [("a is not reached",), (), (), (), (), ("a is not reached",)]

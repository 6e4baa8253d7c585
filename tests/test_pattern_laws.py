"""What patterns are read from, worked out by hand from a few rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rolled import HALF, rolled
from scipy import stats

from tracescope import schema
from tracescope.analysis.evidence import patterns
from tracescope.analysis.evidence.patterns import _Side as Side
from tracescope.analysis.report import Edge, Pattern, PatternCertainty
from tracescope.analysis.rollups.period import PeriodRollups

MS = 1_000_000
WEEK = 168


def edge(effect: str = "calls", callee: str | None = "pg", kind: str = "db", **more: object) -> Edge:
    made = Edge(
        "request", kind, "shop", callee, "GET", False, 0.3, 0.5, None, 5.0, 9.0, 5.0, 9.0, 4.0, (3.0, 5.0),
        4.0, 0.001, True, {effect: 4.0, "latency_unsplit": 0.1}, {}, 1.0, 1.0, None, (), (),
    )  # fmt: skip
    return replace(made, **more)


def path(number: int, callee: str | None = "pg", kind: str = "db", **more: object) -> dict[str, object]:
    """A call path of entry 9, which shop makes to GET something."""
    return {
        "path_id": number, "parent_id": 9, "entry_id": 9, "kind": schema.EDGE_KINDS.index(kind),
        "caller": "shop", "callee": callee, "operation": "GET", **more,
    }  # fmt: skip


ENTRY = {"entry_id": 9, "units": 10, "clock_ns": 100 * MS}
CALLS = {
    "calls": 50,
    "calls_visited": 50,
    "visits": 50,
    "own_ns": 50 * MS,
    "inclusive_ns": 50 * MS,
    "busy_ns": 50 * MS,
}


def test_sums_of_an_edge_are_of_all_its_paths_with_the_visits_above_and_their_overlap() -> None:
    """Weighed by sampling; above are the units of an entry, or the visits of a path; by kind of unit."""
    one = {"path_id": 1, "calls": 6, "calls_visited": 5, "visits": 4, "own_ns": 30, "inclusive_ns": 90,
           "busy_ns": 70, "errors": 2}  # fmt: skip
    rows = [
        one,
        {**one, "slot": 1, "threshold": HALF},
        {"path_id": 2, "visits": 7},  # a call of shop
        {
            "path_id": 3,
            "visits": 7,
            "own_ns": 5,
            "child_sum_ns": 30,
            "child_union_ns": 20,
        },  # what shop does itself
        {
            "path_id": 4,
            "calls": 2,
            "calls_visited": 2,
            "visits": 2,
            "own_ns": 8,
            "inclusive_ns": 8,
            "busy_ns": 9,
        },
        {**one, "unit": schema.UNIT_MESSAGE},
    ]
    paths = [
        path(1), path(2, "shop", "http", caller="web"), path(3, None, "self", operation=None, parent_id=2),
        path(4, parent_id=2),
    ]  # fmt: skip
    units = [{"entry_id": 9, "units": 10}, {"entry_id": 9, "units": 3, "slot": 1, "threshold": HALF},
             {"entry_id": 8, "units": 99}]  # fmt: skip
    found = patterns.sums_by_edge(rolled(path_hours=rows, paths=paths, entry_hours=units))
    assert len(found) == 4
    assert found["request", "db", "shop", "pg", "GET"] == Side(
        calls=20.0, calls_visited=17.0, visits=14.0, own_ns=98.0, inclusive_ns=278.0, busy_ns=219.0,
        errors=6.0, above=16.0 + 7.0, fan=1.5,
    )  # fmt: skip
    assert found["request", "self", "shop", None, None].fan == 1.5
    message = found["message", "db", "shop", "pg", "GET"]
    assert (message.calls, message.above, message.fan) == (6.0, 0.0, 1.0)


def test_the_first_twenty_that_grew_have_patterns() -> None:
    """Whatever stands between them; one that head has no rows of keeps what is known of it."""
    names = [f"pg{at}" for at in range(25)]
    paths = [path(100 + at, name) for at, name in enumerate(names)]
    quiet = edge(callee="quiet", significant=False)
    edges = [quiet, edge(callee="lost"), *(edge(callee=name, credited_ms=0.5) for name in names), quiet]
    once, often = (
        rolled(
            path_hours=[
                {"path_id": one["path_id"], **CALLS, "calls_visited": n, "visits": n} for one in paths
            ],
            paths=paths,
            entry_hours=[ENTRY],
        )
        for n in (10, 50)
    )
    known = Pattern("starved caller", edges[1].name, None, PatternCertainty.POSSIBLE, ())
    made, found = patterns.attach(edges, once, often, (once, often), [known])
    assert [len(one.patterns) for one in made] == [0, 1, *[1] * 19, *[0] * 6, 0]
    assert made[1].patterns == (known,)
    assert [one.name for one in found] == ["starved caller", *["n+1"] * 19]


def test_what_the_time_goes_to_decides_what_is_looked_for() -> None:
    """Contention where latency carried it; calls that grow week by week where calls did."""
    hours = [
        {"path_id": 1, "slot": at, "calls": 100 + at, "visits": 100, "calls_visited": 100,
         "own_ns": (100 + at) * 100 * MS, "inclusive_ns": 100 * MS}
        for at in range(5 * WEEK)
    ]  # fmt: skip
    units = [{"entry_id": 9, "slot": at, "units": 100} for at in range(5 * WEEK)]
    whole = rolled(5 * 7 * schema.DAY_NS, path_hours=hours, paths=[path(1)], entry_hours=units)
    for effect, names in (
        ("calls", ["calls grow"]), ("latency_load", ["contention"]), ("latency_growth", ["contention"]),
        ("new", []), ("criticality", []),
    ):  # fmt: skip
        made, _ = patterns.attach([edge(effect)], rolled(), whole, (rolled(), whole))
        assert [one.name for one in made[0].patterns] == names, effect


def test_a_straggler_that_takes_exactly_half_as_long_again_is_one() -> None:
    """Excess is told from the mean of each period."""

    def at_once(mean_ms: float, waited_ms: float) -> Side:
        return Side(400.0, 400.0, 100.0, 0.0, 100.0 * waited_ms * MS, 400.0 * mean_ms * MS, 0.0, 100.0, 3.0)

    found = patterns._stragglers(edge("latency_growth"), at_once(4.0, 6.0), at_once(8.0, 12.0))
    assert found[0].evidence[1:] == (
        "the one that is waited for takes 12 ms, the mean 8 ms",
        "excess 2 → 4 ms",
    )


def test_backing_off_counts_what_got_slower_and_nothing_that_got_faster() -> None:
    one = Pattern("retries", "shop -> pg", "GET", PatternCertainty.CERTAIN, ())
    own = [edge(callee=None, kind="self", credited_ms=ms) for ms in (7.0, -0.5, 2.0)]
    assert "+9 ms" in patterns._backing_off(one, edge(), own).evidence[-1]


# -- contention -------------------------------------------------------------------------------------


def busy(hours: int = 48, tilt: float = 1.0, **more: object) -> PeriodRollups:
    """Path 1 has ten calls an hour; with path 2 all of them rise by four an hour, and latency with them."""
    rows = []
    for at in range(hours):
        slow = int((1000 + tilt * at) * MS)
        rows += [
            {"path_id": 1, "slot": at, "calls": 10, "visits": 10, "own_ns": 10 * slow},
            {"path_id": 2, "slot": at, "calls": 4 * at, "visits": 1, "own_ns": 7},
            {"path_id": 3, "slot": at, "calls": 9999 - 99 * at, "visits": 1, "own_ns": 7},
            {
                "path_id": 1,
                "slot": at,
                "calls": 9999 - 99 * at,
                "visits": 9,
                "own_ns": 7,
                "unit": schema.UNIT_MESSAGE,
            },
        ]
    paths = [path(1), path(2, caller="cart", operation="PUT"), path(3, "mail")]
    return rolled(path_hours=rows, paths=paths, **more)  # type: ignore[arg-type]


def test_contention_is_told_by_what_all_callers_ask_of_the_resource() -> None:
    """Medians of the quietest and the busiest quarter of hours, and the rank correlation."""
    (one,) = patterns._contention(edge("latency_load"), busy())
    assert one.certainty is PatternCertainty.POSSIBLE
    low, high = (float(np.median(1000 + np.array(part))) for part in (range(12), range(36, 48)))
    assert (
        one.evidence[1] == f"{low:.3g} ms in quiet hours, {high:.3g} ms in busy ones (rank correlation 1.00)"
    )
    steep = patterns._contention(edge("latency_load"), busy(tilt=100.0))[0].evidence[1]
    assert steep.startswith("1.55e+03 ms in quiet hours, 5.15e+03 ms in busy ones")
    quarter = patterns._contention(edge("latency_load"), busy(49, tilt=100.0))[0].evidence[1]
    assert quarter.startswith("1.6e+03 ms in quiet hours, 5.2e+03 ms in busy ones")  # 13 hours each
    assert patterns._contention(edge("latency_load"), busy(47)) == []
    assert patterns._contention(edge("latency_load"), busy(tilt=-1.0)) == []
    assert patterns._contention(edge("latency_load"), busy(slot_ns=schema.HOUR_NS // 2)) == []
    assert patterns._contention(edge("latency_load", kind="queue"), busy()) == []
    assert patterns._contention(edge("latency_load", None), busy()) == []


@pytest.mark.parametrize(("n", "tries"), [(48, 8), (200, 1)])
def test_contention_needs_three_tenths_of_correlation_and_one_in_a_thousand(n: int, tries: int) -> None:
    """Ever more hours follow the load until both hold: of two days chance decides, of more what is shown."""
    rng = np.random.default_rng(4)
    named: set[bool] = set()
    for chance in (rng.permutation(n) for _ in range(tries)):
        for count in range(n):
            slow = np.concatenate([np.sort(chance[:count]), chance[count:]])
            tau, p = stats.kendalltau(np.arange(n), slow, method="asymptotic")
            if not (0.28 < tau < 0.34 and p < 0.0018):
                continue
            rows = [
                {"path_id": 1, "slot": at, "calls": 10 + at, "visits": 1, "own_ns": int(ns + 1) * MS}
                for at, ns in enumerate(slow)
            ]
            found = patterns._contention(edge("latency_load"), rolled(path_hours=rows, paths=[path(1)]))
            assert bool(found) == (tau >= 0.3 and p <= 0.001), (tau, p)
            named.add(bool(found))
    assert named == {True, False}


# -- calls that grow --------------------------------------------------------------------------------


def weeks(
    calls: list[int], units: list[int] | None = None, **more: object
) -> tuple[PeriodRollups, PeriodRollups]:
    """One row a week: the first three in base, the others in head."""
    units = units or [100] * len(calls)
    both = []
    for part in (slice(0, 3), slice(3, None)):
        at = list(range(len(calls)))[part]
        both.append(
            rolled(
                path_hours=[{"path_id": 1, "slot": week * WEEK, "calls": calls[week], **more} for week in at],
                entry_hours=[{**ENTRY, "slot": week * WEEK, "units": units[week], **more} for week in at]
                + [{"entry_id": 8, "slot": week * WEEK, "units": 999} for week in at],
                paths=[path(1)],
            )
        )
    return both[0], both[1]


@pytest.mark.parametrize(
    ("calls", "units", "words"),
    [
        ([100, 110, 121, 133, 146, 161], None, "+10.0 % calls for each request a week over 6 weeks"),
        ([1000, 1011, 1022, 1033], None, "+1.1 % calls for each request a week over 4 weeks"),
        ([1000, 1009, 1018, 1027], None, None), ([100, 110, 121], None, None), ([100] * 4, None, None),
        ([146, 133, 121, 110, 100], None, None),
        ([100, 110, 121, 133, 146], [100, 110, 121, 133, 146], None),
        ([100] * 5, [146, 133, 121, 110, 100], "+9.9 % calls for each request a week over 5 weeks"),
        ([0, 100, 110, 121, 133], None, "+10.0 % calls for each request a week over 4 weeks"),
        ([100, 110, 0, 121], None, None),
        ([100, 110, 121, 133, 146], [100, 100, 100, 100, 0], "over 4 weeks"),
    ],
)  # fmt: skip
def test_calls_grow_by_the_slope_of_their_logarithm_over_four_weeks(
    calls: list[int], units: list[int] | None, words: str | None
) -> None:
    """For each unit of the entry; weeks without either are left out."""
    for kind, name in ((schema.UNIT_REQUEST, "request"), (schema.UNIT_MESSAGE, "message")):
        found = patterns._weekly(edge(unit=name), *weeks(calls, units, unit=kind))
        assert len(found) == (words is not None)
        assert words is None or words.replace("request", name) in found[0].evidence[0]
        assert not found or found[0].certainty is PatternCertainty.CERTAIN


def test_calls_that_grow_are_told_with_the_least_that_is_sure() -> None:
    """Rises of steady weeks are all alike; and of rows that stand for two each nothing is more."""
    for more in ({}, {"threshold": HALF}):
        (one,) = patterns._weekly(edge(), *weeks([100, 110, 121, 133, 146, 161], **more))
        least = float(one.evidence[1].removeprefix("at least +").split()[0])
        assert 9.0 <= least <= 10.0


def test_a_callee_or_consumer_that_rose_by_exactly_a_quarter_as_much_is_not_as_quick_as_before() -> None:
    """Own time from 2 to 6 ms, and from 5 to 6 ms below it: then the rest is only possible."""

    def timed(own_ms: float, below_ms: float) -> Side:
        both = 100.0 * (own_ms + below_ms) * MS
        return Side(100.0, 100.0, 100.0, 100.0 * own_ms * MS, both, 0.0, 0.0, 100.0, 1.0)

    before, now = timed(2.0, 5.0), timed(6.0, 6.0)
    wait = edge("latency_growth", kind="queue", operation=schema.QUEUE_WAIT)
    for found in (
        patterns._gap(edge("latency_growth", kind="http"), before, now),
        patterns._queue(wait, before, now),
    ):
        assert found[0].certainty is PatternCertainty.POSSIBLE

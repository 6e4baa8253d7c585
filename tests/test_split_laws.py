"""Laws of the split's parts by hand: parts of an effect, their intervals, and the words of their evidence."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from test_arrival_laws import day, period
from test_split import edge

from tracescope import schema
from tracescope.analysis.capacity import load_model as model
from tracescope.analysis.capacity import split
from tracescope.analysis.capacity.arrivals import Arrivals
from tracescope.analysis.capacity.backlog import Backlog
from tracescope.analysis.capacity.curve import Curve
from tracescope.analysis.capacity.load_model import DRAWS, DRIFT, Course, Fit, Points, Shift
from tracescope.analysis.capacity.offered import Asked
from tracescope.analysis.capacity.split import Modelled
from tracescope.analysis.report import Effect
from tracescope.schema import HOUR_NS

Floats = NDArray[np.float64]


def points(loads: Floats, number: int, *, took: Floats | float = 0.01, since: float = -2.0) -> Points:
    n = len(loads)
    weeks = np.linspace(since, since + 1, n)
    return Points(weeks, loads, np.full(n, took), np.full(n, 1000.0), np.full(n, number, np.int64))


def fitted(*, dof: float = 50.0, course: Course = DRIFT, cost: float = 1.0) -> Fit:
    zero = np.zeros(DRAWS)
    draws = {"r0_s": zero + 0.01, "capacity": zero + 60, "shape": zero, "growth": zero}
    return Fit(Curve(0.01, 60.0, 0.0), 0.0, course, draws, 0.02, dof, cost, 30.0)


def known(**more: Any) -> Modelled:
    """A model of two periods, head with 1.2 times the load."""
    made = Points.join([points(np.full(4, 10.0), 0), points(np.full(4, 12.0), 1, since=-1.0)])
    return replace(Modelled(made, fitted(), None, 30.0), **more)


def told(monkeypatch: pytest.MonkeyPatch, shift: Shift) -> None:
    monkeypatch.setattr(model, "shift", lambda *_: shift)


# -- load and growth of an effect -------------------------------------------------------------------


def test_an_effect_is_parted_as_its_calls_got_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: a third of a log change of 0.3 is load; its interval is 1.96 errors, and wider."""
    told(monkeypatch, Shift(0.1, 0.2, 0.02, (0.1, 0.3)))
    found = split._with_model(edge(6.0), known(), 1.5)
    assert found.effects == {
        "calls": 0.25,
        Effect.LOAD: pytest.approx(2.0),
        Effect.GROWTH: pytest.approx(4.0),
    }
    spread = 1.96 * 1.5 * (6.0 / 0.3) * 0.02
    assert found.effects_ci[Effect.LOAD] == pytest.approx((2.0 - spread, 2.0 + spread))
    half = math.hypot(1.5 * 1.0, spread)
    assert found.effects_ci[Effect.GROWTH] == pytest.approx((4.0 - half, 4.0 + half))
    assert Effect.UNSPLIT not in found.effects_ci
    assert found.load_elasticity == pytest.approx(1.0)  # an M/M/1 at half of its capacity
    bare = split._with_model(edge(6.0, effects_ci={}), known(), 1.5)
    assert set(bare.effects_ci) == {Effect.LOAD}
    none = split._with_model(edge(6.0, effects={"calls": 0.25}), known(), 1.0)
    assert none.effects[Effect.LOAD] + none.effects[Effect.GROWTH] == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("load", "growth", "error", "kept"),
    [
        (0.1, 0.1, 0.149, True),
        (0.1, 0.1, 0.15, True),
        (0.1, 0.1, 0.151, False),
        (-0.5, -0.5, 0.29, True),  # three tenths of what both come to, up or down
        (-0.5, -0.5, 0.31, False),
        (0.5, -0.5, 0.16, False),
    ],
)
def test_what_load_explains_is_kept_where_it_is_known(
    monkeypatch: pytest.MonkeyPatch, load: float, growth: float, error: float, kept: bool
) -> None:
    """Else the reason has its per cent and their error."""
    told(monkeypatch, Shift(load, growth, error, (0.0, 1.0)))
    found = split._with_model(edge(6.0, evidence=("before",)), known(), 1.0)
    assert (Effect.LOAD in found.effects) == kept
    if not kept:
        assert found.evidence == (
            "before",
            "not identifiable: what more load explains is uncertain "
            f"({100 * math.expm1(load):+.0f} %, standard error {100 * error:.0f} %)",
        )
        assert found.effects == edge(6.0).effects


def test_three_degrees_of_freedom_are_enough_and_no_curve_has_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told(monkeypatch, Shift(0.1, 0.2, 0.02, (0.1, 0.3)))
    for dof, kept in ((3.0, True), (2.99, False)):
        found = split._with_model(edge(6.0), known(fitted=fitted(dof=dof)), 1.0)
        assert (Effect.LOAD in found.effects) == kept
        assert (found.evidence[-1].endswith("too alike in time to count as independent")) != kept
    refused = split._with_model(edge(6.0), known(fitted=None, reason="because"), 1.0)
    assert refused.evidence == ("because",)
    assert refused.effects == edge(6.0).effects


def test_a_log_unit_is_worth_the_edges_own_time_unless_both_parts_pull_as_the_effect_does() -> None:
    """Two errors beyond nothing; a fall is parted as a rise is."""
    own = 3.0 / math.log(1.3)
    for load, growth, error, latency, expected in (
        (0.2, 0.1, 0.149, 6.0, 20.0),
        (0.2, 0.1, 0.151, 6.0, own),
        (0.2, 0.1, 0.0, -6.0, own),
        (-0.2, -0.1, 0.149, -6.0, 20.0),
        (-0.2, -0.1, 0.151, -6.0, own),
        (0.2, 0.0, 0.0, 6.0, own),
        (0.3, -0.1, 0.0, 6.0, own),
    ):
        shift = Shift(load, growth, error, (0.0, 1.0))
        assert split._scale(edge(3.0), latency, shift) == pytest.approx(expected), (
            load,
            growth,
            error,
            latency,
        )


def test_logarithmic_means_by_hand() -> None:
    assert split._log_mean(1.0, math.e) == pytest.approx(math.e - 1)
    assert split._log_mean(8.0, 8.0 + 1e-13) == 8.0
    assert split._log_mean(8.0, 8.0 + 1e-9) == pytest.approx(8.0)
    assert split._log_mean(0.0, 8.0) == split._log_mean(8.0, 0.0) == split._log_mean(-8.0, -8.0) == 0.0


# -- a backlog --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expected", "error", "latency", "by_load", "half"),
    [
        (150.0, 10.0, 6.0, 3.0, 6.0 * 1.96 * 10 / 100),  # from 100 to 200 s, of which half was to be expected
        (150.0, 10.0, -6.0, -3.0, 6.0 * 1.96 * 10 / 100),
        (180.0, 10.3, 6.0, 6.0, 6.0 * 1.96 * 10.3 / 100),  # the rest is within its error: all of it is load
        (220.0, 10.1, 6.0, 7.2, 6.0 * 1.96 * 10.1 / 100),
    ],
)
def test_a_wait_is_parted_by_what_bases_consumers_would_have_made_of_it(
    expected: float, error: float, latency: float, by_load: float, half: float
) -> None:
    found = split._of_the_past(edge(latency), Backlog(100.0, 200.0, expected, error, 0.5, 1.2), 1.0)
    assert found.effects[Effect.LOAD] == pytest.approx(by_load)
    assert found.effects[Effect.GROWTH] == pytest.approx(latency - by_load)
    for name, middle in ((Effect.LOAD, by_load), (Effect.GROWTH, latency - by_load)):
        assert found.effects_ci[name] == pytest.approx((middle - half, middle + half))
    assert Effect.UNSPLIT not in found.effects | found.effects_ci
    assert found.evidence == (
        "messages wait longer than load is counted, so their backlog is followed: base's consumers, at 0.5 a "
        f"second, would make of 1.20 times the arrivals a wait of {expected:g} s (± {1.96 * error:.2g}), "
        "200 s are seen",
    )


def test_a_wait_that_did_not_change_is_all_load_and_what_was_picked_is_less_sure() -> None:
    still = split._of_the_past(edge(6.0), Backlog(100.0, 100.0, 150.0, 1.0, 0.5, 1.2), 1.0)
    assert still.effects[Effect.LOAD] == 6.0
    assert still.effects_ci[Effect.LOAD] == (6.0, 6.0)
    none = split._of_the_past(edge(6.0, effects={}), Backlog(100.0, 200.0, 150.0, 1.0, 0.5, 1.2), 1.0)
    assert (none.effects[Effect.LOAD], none.effects[Effect.GROWTH]) == (0.0, 0.0)
    one = Backlog(100.0, 200.0, 175.0, 10.0, 0.5, 1.2)  # 25 s beyond, 19.6 s or twice as much are chance
    assert split._of_the_past(edge(6.0), one, 1.0).effects[Effect.LOAD] == pytest.approx(4.5)
    assert split._of_the_past(edge(6.0), one, 2.0).effects[Effect.LOAD] == pytest.approx(6.0)


# -- what is said -----------------------------------------------------------------------------------


def test_evidence_is_told_in_per_cent_of_load_and_latency() -> None:
    """By hand: a fifth more load; 10 % by load, 5 % at equal load."""
    shift = Shift(math.log(1.1), math.log(1.05), 0.01, (math.log(0.98), math.log(1.12)))
    assert split._evidence(known(), shift) == [
        "load +20 % explains +10 % of latency; at equal load it is +5 % (-2 to +12 %)"
    ]
    step = known(fitted=fitted(course=Course(-1.0, step=True)), replicas=(2.0, 4.5))
    assert split._evidence(step, shift) == [
        "load +20 % explains +10 % of latency; at equal load it is +5 % (-2 to +12 %)"
        ", a step between the periods",
        "load is that of each of its 2 → 4.5 replicas: this fits better than all of it",
    ]
    assert split._pct((-0.5, 30.0)) == f"{100 * math.expm1(-0.5):+.0f} to {100 * math.expm1(20):+.0f} %"
    assert split._pct((math.log(0.5), math.log(3))) == "-50 to +200 %"


@pytest.mark.parametrize(
    ("course", "words"),
    [
        (DRIFT, ""),
        (Course(-1.0, step=True), ", a step between the periods"),
        (Course(-1.5, step=True), ", a step between the periods"),
        (Course(-0.9, step=True), ", a step since about 6.3 days before head's end"),
        (Course(-1.0), ", a rise since head began"),
        (Course(-1 / 7), ", a rise since about 1 day before head's end"),
        (Course(-2 / 7), ", a rise since about 2 days before head's end"),
        (Course(-1.0, jump=1.0), ", a step that goes on rising since head began"),
    ],
)
def test_when_growth_came_is_told_in_days_before_heads_end(course: Course, words: str) -> None:
    assert split._course(course, known().points) == words


# -- which edges, and with what ---------------------------------------------------------------------


def test_edges_are_modelled_by_what_their_latency_did_and_thirty_at_most() -> None:
    """Significant ones whatever it did; others from half of the smallest effect on; the largest first."""
    for latency, significant, needed in (
        (0.05, False, True),
        (0.049, False, False),
        (-0.05, False, True),
        (0.0, True, True),
    ):
        assert split.needs_load_model(edge(latency, significant=significant), 0.1) == needed
    assert not split.needs_load_model(edge(1.0, significant=False), 0.0)
    assert not split.needs_load_model(edge(1.0, significant=False, effects={}), 0.1)
    assert split.worthy([edge(0.0, effects={}), edge(0.5)], 0.1) == [1, 0]
    many = [edge(float(n % 7 - 3) * n) for n in range(40)]
    chosen = split.worthy(many, 0.1)
    sizes = [abs(many[n].effects[Effect.UNSPLIT]) for n in chosen]
    assert len(chosen) == 30
    assert sizes == sorted((abs(one.effects[Effect.UNSPLIT]) for one in many), reverse=True)[:30]


def test_an_edge_of_one_period_alone_is_left_as_it_is() -> None:
    """Whichever it is; beside one that both have."""
    base = period(day((100, 10.0), (100, 10.0)), 24)
    head = period([row for row in day((100, 10.0), (100, 10.0), 24) if row[1] == 1], 24, first=24)
    both, lone = (edge(6.0, caller=name, callee="postgresql/db", operation="SELECT") for name in "ab")
    for pair in ((base, head), (replace(head, start_ns=0), base)):
        found = split.split_latency([both, lone], *pair, 0.1)
        assert found[1] is lone
        assert found[0] is not both
    assert known().load_noise == 0.0


def test_an_interval_of_one_of_twenty_is_as_wide_as_its_level_asks_for() -> None:
    assert split._selected(1, 20) == pytest.approx(stats.norm.ppf(1 - 0.025 / 20) / stats.norm.ppf(0.975))
    assert split._selected(3, 3) == pytest.approx(1.0)
    assert split._selected(1, 0) == pytest.approx(1.0)


def arrivals(
    *, calls: float = 100.0, units: float = 50.0, counted: float = 400.0, replicas: Floats | None = None
) -> Arrivals:
    n = 100
    ones = np.ones(n)
    start = np.arange(n) * HOUR_NS
    return Arrivals(
        start, HOUR_NS, calls * ones, units * ones, 0.01 * ones, 10 * ones, counted * ones, 0.1, replicas
    )


def test_the_noise_of_loads_is_that_of_both_their_counts_by_clumps() -> None:
    """By hand: two calls to a unit, 40,000 counted; and one of them with none of either."""
    one, other = arrivals(), arrivals(units=100.0, counted=100.0)
    assert split._load_noise(one) == pytest.approx(math.sqrt(2 / 40_000))
    assert split._load_noise(one, other) == pytest.approx(math.sqrt(2 / 40_000 + 1 / 10_000))
    assert split._load_noise(arrivals(calls=0.02, units=0.0, counted=0.0)) == pytest.approx(math.sqrt(2.0))


@pytest.mark.parametrize(
    ("few", "factor", "tried"),
    [
        (0.04, 3.0, False),
        (0.07, 3.0, True),
        (0.5, 1.19, False),
        (0.5, 1.21, True),
        (0.93, 3.0, True),
        (0.96, 3.0, False),
    ],
)
def test_the_load_of_each_replica_is_tried_where_their_number_varies_by_a_fifth(
    monkeypatch: pytest.MonkeyPatch, few: float, factor: float, tried: bool
) -> None:
    """For a twentieth of the time at least, few or many; taken where it fits clearly better."""
    live = np.where(np.arange(100) < 100 * few, 2.0, 2.0 * factor)
    sides = [arrivals(replicas=live)]
    better = fitted(cost=0.5)
    monkeypatch.setattr(model, "better", lambda *_, **__: better)
    found = split.of_each(sides, 0, fitted(), lambda _: None, waits=False)
    assert (found is not None) == tried
    if found is not None:
        each, made, taken = found
        assert taken is better
        assert each[0].load == pytest.approx(10 / live)
        assert (made.period == 0).all()
        assert split.of_each(sides, 0, better, lambda _: None, waits=False) is None  # not better
        assert split.of_each(sides, 0, fitted(), lambda _: "no curve", waits=False) is None
    assert split.of_each([*sides, arrivals()], 0, fitted(), lambda _: None, waits=False) is None


def test_periods_that_show_no_curve_have_the_reason_and_heads_peak() -> None:
    """Loads that do not vary, here."""
    found = split.model_edge(
        arrivals(calls=1000.0), replace(arrivals(calls=1000.0), load=np.full(100, 10.5)), 0, waits=False
    )
    assert found.fitted is None
    assert "hardly varies" in (found.reason or "")
    assert found.peak_load == 10.5


def test_who_waits_behind_longer_calls_grows_only_where_growth_is_sure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not split._grew(known(fitted=None))
    for low, grew in ((0.01, True), (0.0, False), (-0.01, False)):
        told(monkeypatch, Shift(0.1, 0.2, 0.02, (low, 0.3)))
        assert split._grew(known()) == grew


def test_a_wait_of_either_period_that_remembers_is_followed_and_no_other_edge(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And the loudest neighbour is named only beside what got slower."""
    paths = ((1, schema.EDGE_QUEUE, "a", "b", schema.QUEUE_WAIT), (2, schema.EDGE_DB, "a", "db", "GET"))
    base = period(day((100, 10.0), (100, 10.0)), 24, paths=paths)
    head = period(day((100, 10.0), (100, 10.0), 24), 24, paths=paths, first=24)
    wait = edge(6.0, kind="queue", caller="a", callee="b", operation=schema.QUEUE_WAIT)
    other = edge(6.0, caller="a", callee="db", operation="GET")
    followed = Backlog(100.0, 200.0, 150.0, 1.0, 0.5, 1.2)
    monkeypatch.setattr(split, "follow", lambda *_: followed)
    monkeypatch.setattr(split, "model_edge", lambda *_, **__: known(fitted=None, reason="no model"))
    for remembering in ((True, False), (False, True), (False, False)):
        answers = iter(remembering)
        monkeypatch.setattr(split, "remembers", lambda _, a=answers: next(a))
        found = split.split_latency([wait], base, head, 0.1)[0]
        assert (Effect.LOAD in found.effects) == any(remembering), remembering
    monkeypatch.setattr(split, "remembers", lambda _: True)
    assert split.split_latency([other], base, head, 0.1)[0].evidence == ("no model",)
    asked = {2: Asked(1.0, 0.01), 1: Asked(9.0, 0.01)}
    loud = split.aggressor(2, {2: Asked(1.0, 0.01), 1: Asked(1.0, 0.01)}, asked)
    assert loud is not None
    monkeypatch.setattr(split, "aggressor", lambda *_: loud)
    for credited, named in ((1.0, True), (0.0, False), (-1.0, False)):
        found = split.split_latency([replace(other, credited_ms=credited)], base, head, 0.1)[0]
        assert any("9 times the calls" in line for line in found.evidence) == named
    for each, behind in ((1.3, True), (1.29, False)):
        monkeypatch.setattr(split, "aggressor", lambda *_, each=each: loud._replace(each=each))
        monkeypatch.setattr(split, "_grew", lambda _: True)
        found = split.split_latency([other], base, head, 0.1)[0]
        assert (split.BEHIND_LONGER in found.evidence) == behind
    monkeypatch.setattr(split, "_grew", lambda _: False)
    assert split.BEHIND_LONGER not in split.split_latency([other], base, head, 0.1)[0].evidence


# -- trends, and other loads ------------------------------------------------------------------------


def test_the_trend_of_peaks_needs_three_weeks_and_is_known_to_two_per_cent_of_its_span() -> None:
    """By hand: a median slope whose interval is nothing."""
    weeks = np.array([-2.5, -1.5, -0.5])
    assert split.load_trend(weeks, np.exp(0.1 * weeks)) == (pytest.approx(0.1), pytest.approx(0.01))
    assert split.load_trend(weeks[1:], np.ones(2)) == (0.0, math.inf)
    wild = np.exp(np.array([0.0, 1.0, 0.2]))
    found = stats.theilslopes(np.log(wild), weeks, alpha=0.68)
    assert split.load_trend(weeks, wild) == (
        pytest.approx(found[0]),
        pytest.approx((found[3] - found[2]) / 2),
    )


CURVE = Curve(0.01, 60.0, 0.0)


def on_curve(loads: Floats, number: int, factor: float = 1.0) -> Points:
    noise = np.exp(0.01 * np.random.default_rng(number).standard_normal(len(loads)))
    return replace(points(loads, number), latency_s=CURVE.latency_s(loads) * factor * noise)


@pytest.mark.parametrize(
    ("count", "spread", "beyond", "factor", "said"),
    [
        (10, 2.05, 1.2, 1.0, True),
        (9, 2.05, 1.2, 1.0, False),
        (10, 1.95, 1.2, 1.0, False),
        (10, 2.05, 1.2, 2.0, False),  # it is slower than load explains
        (10, 2.05, 0.6, 1.0, False),  # loads overlap: nothing of that is asked
    ],
)
def test_without_common_loads_bases_own_curve_says_whether_head_is_as_it_expects(
    count: int, spread: float, beyond: float, factor: float, said: bool
) -> None:
    """From ten windows on, of loads that double; in five levels of them."""
    base = on_curve(np.random.default_rng(1).permutation(np.geomspace(10.0, 10.0 * spread, count)), 0)
    loads = np.linspace(1.0, 1.05, 6) * 10.0 * spread * beyond
    found = split._by_base_alone(Points.join([base, on_curve(loads, 1, factor)]))
    assert (found is not None) == said, found
    if found is not None:
        assert found.startswith(
            "loads do not overlap, but base's curve at other loads says: consistent with load"
        )
        assert "what 5 other load levels expect" in found
    assert split._by_base_alone(base) is None

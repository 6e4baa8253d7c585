"""Splitting a latency effect into load and growth: what adds up, and when nobody can tell."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from test_load_model import period_of

from tracescope import schema
from tracescope.analysis.capacity import arrivals, split
from tracescope.analysis.capacity import load_model as model
from tracescope.analysis.capacity.curve import Curve
from tracescope.analysis.capacity.edge_walls import with_walls
from tracescope.analysis.capacity.split import load_trend, split_latency
from tracescope.analysis.report import Edge
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.schema import HOUR_NS

Floats = NDArray[np.float64]
CURVE = Curve(0.010, 6.0, 0.0)
WEEKS = 3


def edge(latency: float = 3.0, **more: object) -> Edge:
    """A database's edge that takes that much longer, of some 10 ms."""
    made = Edge(
        "request", "db", "a", "postgresql/shared", "SELECT", False, 0.5, 0.6, None, 10.0, 10.0 + latency,
        10.0, 10.0 + latency, latency, (latency - 1, latency + 1), latency, 0.001, True,
        {"latency_unsplit": latency, "calls": 0.25}, {"latency_unsplit": (latency - 1.0, latency + 1.0)},
        1.0, 1.0, None, (), (),
    )  # fmt: skip
    return replace(made, **more)


def periods(
    *, more: float = 1.0, slower: float = 1.0, noise: float = 0.02, swing: float = 0.5
) -> tuple[PeriodRollups, PeriodRollups]:
    """Two periods of weeks, head with so many times the calls, each so many times the work."""
    rng = np.random.default_rng(11)
    made = []
    for number in (0, 1):
        rows = []
        for slot in range(WEEKS * 168):
            rate = 2.5 * (more if number else 1.0) * (1 + swing * math.sin(slot / 24 * 2 * math.pi))
            n = int(rng.poisson(rate * 400))
            took = float(CURVE.latency_s(np.array([rate]), math.log(slower) if number else 0.0)[0])
            ms = 1e3 * took * math.exp(rng.normal(0, noise))
            rows.append((slot + number * WEEKS * 168, "a", n, ms))
        whole = period_of(rows, 2 * WEEKS * 168, int((1 - 1 / 9) * 2**56))
        begin, end = (WEEKS * 168 * HOUR_NS * k for k in (number, number + 1))
        made.append(PeriodRollups(begin, end, HOUR_NS, "", whole.tables))
    return made[0], made[1]


def told(one: Edge, pair: tuple[PeriodRollups, PeriodRollups], others: int = 0) -> Edge:
    quiet = [edge(0.0, operation=f"q{k}", significant=False, effects={}) for k in range(others)]
    return split_latency([one, *quiet], *pair, 0.1)[0]


# -- what adds up -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("more", "slower", "by_load"), [(1.4, 1.0, 1.0), (1.0, 1.3, 0.0), (1.25, 1.15, 0.6)])
def test_load_and_growth_add_up_to_the_latency_effect(more: float, slower: float, by_load: float) -> None:
    """Exactly; and each has what was put in: more load, slower work, or both."""
    pair = periods(more=more, slower=slower)
    found = told(edge(4.0), pair)
    assert set(found.effects) == {"calls", "latency_load", "latency_growth"}
    assert found.effects["latency_load"] + found.effects["latency_growth"] == pytest.approx(4.0, abs=1e-12)
    assert found.effects["calls"] == 0.25
    low, high = found.effects_ci["latency_growth"] or (0, 0)
    assert low <= found.effects["latency_growth"] <= high
    assert "latency_unsplit" not in found.effects_ci
    if by_load in (0.0, 1.0):
        assert found.effects["latency_load"] == pytest.approx(by_load * 4.0, abs=1.2)
    else:
        assert 1.0 < found.effects["latency_load"] < 3.4
    assert any("explains" in line for line in found.evidence)


def test_intervals_are_wider_for_the_one_of_many_that_was_picked() -> None:
    """Benjamini and Yekutieli: at a level of 1 - 0.05 * chosen / tested."""
    pair = periods(more=1.4)
    alone, picked = told(edge(), pair), told(edge(), pair, others=19)
    widths = []
    for found in (alone, picked):
        low, high = found.effects_ci["latency_load"] or (0, 0)
        widths.append(high - low)
        assert (low + high) / 2 == pytest.approx(found.effects["latency_load"])
    expected = stats.norm.ppf(1 - 0.025 / 20) / stats.norm.ppf(0.975)
    assert widths[1] / widths[0] == pytest.approx(expected, rel=1e-3)


def test_growth_a_week_elasticity_and_headroom_are_the_models() -> None:
    """A step of 30 % between periods three weeks apart; the wall of an M/M/1 at two thirds."""
    pair = periods(slower=1.3)
    (found,) = with_walls([edge()], 0.1, pair)
    assert found.growth_pct_per_week == pytest.approx(100 * (1.3 ** (1 / WEEKS) - 1), rel=0.4)
    peak = 2.5 * 1.5 * 400 * 9 / 3600  # what one call stands for
    room = 2 / 3 * CURVE.capacity / 1.3 / peak
    assert found.headroom_ci is not None
    assert found.headroom == pytest.approx(room, rel=0.25)
    found = told(found, pair)
    assert found.load_elasticity is not None
    assert found.load_elasticity > 0.5


# -- when nobody can tell ---------------------------------------------------------------------------


def test_what_load_explains_uncertainly_is_not_told() -> None:
    """Loads that vary little and latencies that vary much: unsplit, with the reason and its figures."""
    found = told(edge(), periods(more=1.8, noise=3.0, swing=0.3))
    assert found.effects == edge().effects
    assert found.effects_ci == edge().effects_ci
    assert any("what more load explains is uncertain" in line for line in found.evidence), found.evidence
    assert found.growth_pct_per_week is None
    assert found.headroom is None


@pytest.mark.parametrize(
    ("load", "growth", "error", "known"),
    [
        (0.1, 0.1, 0.149, True),
        (0.1, 0.1, 0.151, False),
        (0.9, 0.9, 0.5, True),  # of a change of 1.8 a third may be unknown
        (0.9, 0.9, 0.56, False),
        (0.9, -0.9, 0.16, False),
        (0.0, 0.0, 0.0, True),
    ],
)
def test_the_error_may_be_some_of_the_change_or_a_seventh(
    monkeypatch: pytest.MonkeyPatch, load: float, growth: float, error: float, known: bool
) -> None:
    """The larger of `MOST_UNCERTAIN` and three tenths of what both parts come to."""
    said = model.Shift(load, growth, error, (growth - 2 * error, growth + 2 * error))
    monkeypatch.setattr(model, "shift", lambda *_: said)
    found = told(edge(), periods(more=1.4))
    assert ("latency_load" in found.effects) == known
    assert any("is uncertain" in line for line in found.evidence) != known


def test_loads_without_overlap_are_refused_and_held_against_bases_own_curve() -> None:
    """Ten times the load is nothing that base has seen."""
    found = told(edge(), periods(more=2.1, swing=0.05))
    assert "latency_unsplit" in found.effects
    assert any("loads do not overlap" in line for line in found.evidence), found.evidence


def test_windows_that_are_too_alike_in_time_are_refused() -> None:
    """Fewer than three degrees of freedom are left."""
    pair = periods(more=1.4)
    fitted = split.model_edge(*(arrivals.by_edge(period)[1] for period in pair), pair[1].end_ns, waits=False)
    assert fitted.fitted is not None
    for dof, known in ((2.9, False), (3.1, True)):
        less = replace(fitted, fitted=replace(fitted.fitted, dof=dof))
        found = split._with_model(edge(), less, 1.0)
        assert ("latency_load" in found.effects) == known
        assert any("too alike in time" in line for line in found.evidence) != known


def test_an_edge_that_is_worth_no_model_is_left_as_it_is() -> None:
    """Half of the smallest effect that is tested for, unless it is significant."""
    pair = periods(more=1.4)
    small = edge(0.04, significant=False)
    assert split_latency([small], *pair, 0.1)[0] is small
    assert "latency_load" in split_latency([edge(0.06, significant=False)], *pair, 0.1)[0].effects
    assert "latency_load" in split_latency([edge(0.04)], *pair, 0.1)[0].effects
    strange = edge(9.0, caller="nobody")
    assert split_latency([strange], *pair, 0.1)[0] is strange
    assert not split.needs_load_model(edge(0.0, significant=False), 0.0)


# -- trends and weeks -------------------------------------------------------------------------------


def test_the_trend_of_peaks_is_the_median_slope_with_a_68_percent_interval() -> None:
    """Scipy's, of the logarithms; a fifth of a per cent over ten weeks is known at best."""
    rng = np.random.default_rng(1)
    weeks = -np.arange(10.0)[::-1] - 0.5
    peaks = 20 * np.exp(0.03 * weeks + rng.normal(0, 0.05, 10))
    expected = stats.theilslopes(np.log(peaks), weeks, alpha=0.68)
    slope, error = load_trend(weeks, peaks)
    assert slope == pytest.approx(expected[0])
    assert error == pytest.approx((expected[3] - expected[2]) / 2)
    assert load_trend(weeks, np.exp(0.03 * weeks)) == (pytest.approx(0.03), pytest.approx(0.02 / 9))
    assert load_trend(weeks[:2], peaks[:2]) == (0.0, math.inf)
    assert math.isfinite(load_trend(weeks[:3], peaks[:3])[1])


def test_a_branch_that_becomes_the_slowest_shares_what_it_is_waited_for() -> None:
    """Parts that pull the same way share the whole effect; else a log unit is worth the edge's own time."""
    same = model.Shift(0.2, 0.1, 0.01, (0.0, 0.2))
    assert split._scale(edge(6.0), 6.0, same) == pytest.approx(6.0 / 0.3)
    own = (13.0 - 10.0) / math.log(1.3)
    for other in (
        model.Shift(0.2, -0.1, 0.01, (0.0, 0.2)), model.Shift(0.2, 0.1, 0.16, (0.0, 0.2)),
        model.Shift(-0.2, -0.1, 0.01, (0.0, 0.2)),
    ):  # fmt: skip
        assert split._scale(edge(3.0), 3.0, other) == pytest.approx(own)


def test_waits_of_a_queue_are_told_by_their_operation() -> None:
    assert split.is_wait(edge(kind="queue", operation=schema.QUEUE_WAIT))
    assert not split.is_wait(edge(kind="queue", operation="publish"))
    assert not split.is_wait(edge(operation=schema.QUEUE_WAIT))


def test_the_split_is_told_in_per_cent() -> None:
    """What load rose by, what that explains, what is left and its interval: as the model has them."""
    pair = periods(more=1.25, slower=1.15)
    fitted = split.model_edge(*(arrivals.by_edge(one)[1] for one in pair), pair[1].end_ns, waits=False)
    assert fitted.fitted is not None
    shift = model.shift(fitted.fitted, fitted.points, fitted.load_noise)
    (line,) = [one for one in told(edge(4.0), pair).evidence if "explains" in one]
    more, load, growth, low, high = map(float, re.findall(r"[+-]\d+", line.replace(" to ", " ")))
    assert more == pytest.approx(25, abs=3)
    for said, log in ((load, shift.load), (growth, shift.growth)):
        assert said == pytest.approx(100 * math.expm1(log), abs=0.51)
    for said, log in zip((low, high), shift.growth_interval, strict=True):
        assert said == pytest.approx(100 * math.expm1(log), abs=0.51)
    assert line.endswith("a step between the periods") == fitted.fitted.course.step


def test_replicas_are_tried_where_their_number_differs_by_a_fifth() -> None:
    """And taken where the load of each explains latency clearly better; told with their numbers."""
    from test_load_model import modelled as replicated
    from test_load_model import scaled

    known = replicated(scaled(known=True))
    assert known.replicas == pytest.approx((2.0, 4.0), rel=0.01)
    assert known.fitted is not None
    (line,) = [one for one in split._with_model(edge(), known, 1.0).evidence if "replicas" in one]
    assert line.startswith("load is that of each of its 2 → 4 replicas")
    base, head = (arrivals.by_edge(one)[1] for one in scaled(known=True))
    assert base.replicas is not None
    for factor, tried in ((1.19, False), (1.21, True)):
        alike = replace(head, replicas=np.full(len(head.load), 2.0 * factor))
        seen: list[int] = []

        def refuse(points: object, seen: list[int] = seen) -> str:
            seen.append(1)
            return "no"

        split.of_each((base, alike), head.start_ns[-1], known.fitted, refuse, waits=False)
        assert bool(seen) == tried


def test_intervals_of_several_picked_are_as_wide_as_their_part_of_those_tested() -> None:
    for chosen, tested in ((1, 1), (2, 20), (5, 20), (20, 20), (1, 0)):
        level = 1 - 0.025 * chosen / max(tested, 1)
        assert split._selected(chosen, tested) == pytest.approx(stats.norm.ppf(level) / stats.norm.ppf(0.975))


def test_the_interval_of_growth_holds_the_effects_own_and_what_load_is_unsure_by() -> None:
    """The root of the sum of their squares, each wider for having been picked."""
    pair = periods(more=1.4)
    fitted = split.model_edge(*(arrivals.by_edge(one)[1] for one in pair), pair[1].end_ns, waits=False)
    assert fitted.fitted is not None
    shift = model.shift(fitted.fitted, fitted.points, fitted.load_noise)
    one = edge(4.0)
    for wider in (1.0, 1.3):
        found = split._with_model(one, fitted, wider)
        spread = 1.96 * wider * split._scale(one, 4.0, shift) * shift.load_error
        low, high = found.effects_ci["latency_load"] or (0.0, 0.0)
        assert (high - low) / 2 == pytest.approx(spread)
        low, high = found.effects_ci["latency_growth"] or (0.0, 0.0)
        assert (high - low) / 2 == pytest.approx(math.hypot(wider * 1.0, spread))


def test_a_fall_of_latency_is_worth_a_model_as_a_rise_is() -> None:
    """And an edge without any latency effect has none afterwards."""
    assert split.needs_load_model(edge(-0.06, significant=False), 0.1)
    assert not split.needs_load_model(edge(-0.04, significant=False), 0.1)
    known = [edge(1.0), edge(-3.0), edge(2.0), edge(0.01, significant=False)]
    assert split.worthy(known, 0.1) == [1, 2, 0]
    without = told(edge(4.0, effects={"calls": 0.25}), periods(more=1.4))
    parts = [without.effects.get(name, 0.0) for name in ("latency_load", "latency_growth")]
    assert sum(parts) == pytest.approx(0.0, abs=1e-12)


def test_the_logarithmic_mean_of_latencies_lies_between_them_and_is_nothing_without_one() -> None:
    assert split._log_mean(10.0, 13.0) == pytest.approx(3 / math.log(1.3))
    assert split._log_mean(13.0, 10.0) == pytest.approx(3 / math.log(1.3))
    assert split._log_mean(5.0, 5.0) == 5.0
    for a, b in ((0.0, 1.0), (1.0, 0.0), (-1.0, 2.0), (2.0, -1.0)):
        assert split._log_mean(a, b) == 0.0
    assert 0 < split._log_mean(1e-3, 0.5) < 0.5


def side_of(loads: Floats, took: Floats, period: int) -> model.Points:
    n = len(loads)
    return model.Points(np.arange(n) / n, loads, took, np.full(n, 1000.0), np.full(n, period, np.int64))


@pytest.mark.parametrize(("spread", "said"), [(1.99, False), (2.01, True)])
def test_bases_own_curve_is_asked_where_it_was_seen_at_twice_the_load(spread: float, said: bool) -> None:
    """Without overlap; where loads overlap, or HEAD has no point, or its latency is another, nothing."""
    loads = np.geomspace(2.0, 2.0 * spread, 30)
    base = side_of(loads, CURVE.latency_s(loads), 0)
    beyond = np.linspace(1.02, 1.05, 10) * 2.0 * 2.01
    head = side_of(beyond, CURVE.latency_s(beyond), 1)
    both = model.Points.join([base, head])
    assert model.overlap(both) < model.LEAST_OVERLAP
    assert (split._by_base_alone(both) is not None) == said
    assert split._by_base_alone(base) is None
    assert split._by_base_alone(model.Points.join([base, replace(base, period=base.period + 1)])) is None

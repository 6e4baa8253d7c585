"""Laws of weekly trends and of load levels: weeks by hand, intervals by Student's t, levels by curves."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from scipy import stats

from tracescope import schema
from tracescope.analysis.capacity import levels, trends
from tracescope.analysis.capacity.curve import Curve
from tracescope.analysis.capacity.load_model import Points
from tracescope.analysis.capacity.trends import (
    Trend,
    adjusted,
    grows,
    live_instances,
    p_value,
    pct,
    trend_of,
    weekly,
)
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.schema import HOUR_NS

Floats = NDArray[np.float64]
WEEK = 168


# -- growth a week ----------------------------------------------------------------------------------


@pytest.mark.parametrize("weeks", [3, 6, 30])
def test_a_trend_has_an_80_percent_interval_and_a_one_sided_p_value_of_students_t(weeks: int) -> None:
    """Of so many weeks less two that a line takes; one at least."""
    found = Trend.of(0.03, 0.01, weeks)
    wide = stats.t.ppf(0.9, weeks - 2) * 0.01
    assert found.pct_per_week == pytest.approx(100 * math.expm1(0.03))
    assert found.interval == pytest.approx((100 * math.expm1(0.03 - wide), 100 * math.expm1(0.03 + wide)))
    assert found.q_value == pytest.approx(stats.t.sf(3.0, weeks - 2), rel=1e-6)
    assert Trend.of(0.03, 0.01, 2) == Trend.of(0.03, 0.01, 3)
    assert Trend.of(0.03, math.inf, weeks) == Trend(None, None)


def test_growth_is_held_against_the_least_that_is_asked_for() -> None:
    """As likely as not at it; nothing is known of what has no error."""
    assert p_value(0.05, 0.01, 7.0, 0.05) == pytest.approx(0.5)
    assert p_value(0.07, 0.01, 7.0, 0.05) == pytest.approx(stats.t.sf(2.0, 7.0))
    assert p_value(-0.02, 0.01, 7.0) == pytest.approx(stats.t.cdf(2.0, 7.0))
    assert p_value(9.0, math.inf, 7.0) == 1.0
    assert p_value(0.01, 0.0, 7.0) == pytest.approx(0.0, abs=1e-9)


def test_log_changes_are_told_in_per_cent_and_end_somewhere() -> None:
    assert pct(0.0) == 0.0
    assert pct(math.log(1.5)) == pytest.approx(50.0)
    assert pct(-math.log(2)) == pytest.approx(-50.0)
    assert pct(60.0) == pct(50.0) == pytest.approx(100 * math.expm1(50.0))
    assert pct(-60.0) == pct(-50.0) > -100.0 - 1e-9
    assert pct(49.0) < pct(50.0)


def test_trends_that_are_tested_together_are_adjusted_together() -> None:
    """Scipy's Benjamini and Hochberg over those that were tested; the others stay as they are."""
    p = [0.01, None, 0.04, 0.03, None, 0.9]
    found = adjusted([Trend(float(k), None, value) for k, value in enumerate(p)])
    expected = iter(stats.false_discovery_control([value for value in p if value is not None]))
    for one, value in zip(found, p, strict=True):
        assert one.q_value == (None if value is None else pytest.approx(next(expected)))
    assert [one.pct_per_week for one in found] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert adjusted([Trend(None, None)]) == [Trend(None, None)]


def test_growth_is_half_a_per_cent_a_week_that_chance_does_not_show() -> None:
    """Both; at their bounds."""
    assert grows(Trend(0.5, None, 0.05))
    assert not grows(Trend(0.49, None, 0.0))
    assert not grows(Trend(9.0, None, 0.051))
    assert not grows(Trend(None, None, 0.0))
    assert not grows(Trend(9.0, None))


def test_the_trend_of_weekly_values_is_their_median_slope() -> None:
    weeks = np.arange(-9.5, 0.0)
    values = np.exp(0.02 * weeks + np.random.default_rng(1).normal(0, 0.01, 10))
    slope = stats.theilslopes(np.log(values), weeks)[0]
    assert trend_of(weeks, values).pct_per_week == pytest.approx(100 * math.expm1(slope))
    assert trend_of(weeks[:2], values[:2]) == Trend(None, None)


def hourly(slots: NDArray[np.int64], calls: Floats, threshold: int = schema.NO_THRESHOLD) -> pl.DataFrame:
    """Rows of hours."""
    return pl.DataFrame({"slot": slots, "threshold": np.full(len(slots), threshold), "calls": calls})


def until(hours: int, first: int = 0) -> PeriodRollups:
    return PeriodRollups(first * HOUR_NS, hours * HOUR_NS, HOUR_NS, "", {})


def test_weeks_are_counted_back_from_the_end_and_a_cut_one_is_left_out() -> None:
    """By hand: three weeks and two days; each week's hours have its number of calls."""
    n = 3 * WEEK + 48
    slots = np.arange(n)
    calls = (1.0 + (n - 1 - slots) // WEEK).astype(np.float64)
    at, sums = weekly(hourly(slots, calls), until(n), "calls")
    assert at.tolist() == [-2.5, -1.5, -0.5]
    assert sums.tolist() == [3.0 * WEEK, 2.0 * WEEK, 1.0 * WEEK]
    whole, _ = weekly(hourly(slots[48:], calls[48:]), until(n, 48), "calls")
    assert whole.tolist() == [-2.5, -1.5, -0.5]
    short, _ = weekly(hourly(slots[50:], calls[50:]), until(n, 50), "calls")
    assert short.tolist() == [-1.5, -0.5]
    nearly, _ = weekly(hourly(slots[49:], calls[49:]), until(n, 49), "calls")
    assert nearly.tolist() == [-2.5, -1.5, -0.5]  # an hour is missing
    tenth = weekly(hourly(slots, calls, int(0.9 * 2**56)), until(n), "calls")[1]
    assert tenth == pytest.approx(10 * sums)


def test_a_week_of_under_a_quarter_of_the_hours_or_of_nothing_is_none() -> None:
    """42 of 168 hours are a quarter."""
    n = 3 * WEEK
    slots = np.arange(n)
    for hours, told in ((42, 3), (41, 2)):
        kept = (slots < WEEK) | (slots >= 2 * WEEK) | (slots < WEEK + hours)
        assert len(weekly(hourly(slots[kept], np.ones(int(kept.sum()))), until(n), "calls")[0]) == told
    silent = np.where(slots // WEEK == 1, 0.0, 1.0)
    assert weekly(hourly(slots, silent), until(n), "calls")[0].tolist() == [-2.5, -0.5]


def test_instances_live_by_whole_weeks_before_the_end() -> None:
    """Two for a week, then one more; what came before a whole week is left out."""

    def life(name: str, first: float, last: float) -> dict[str, object]:
        return {"slot": 0, "environment": "", "service": "s", "instance": name, "version": "", "spans": 10**6,
                "first_ns": int(first * WEEK * HOUR_NS), "last_ns": int(last * WEEK * HOUR_NS)}  # fmt: skip

    rows = pl.DataFrame(
        [life("a", 0, 3), life("b", 0, 3), life("c", 2, 3)], schema=schema.dtypes(schema.SERVICE_HOURS)
    )
    weeks, live = live_instances(rows, int(0.5 * WEEK * HOUR_NS), 3 * WEEK * HOUR_NS)
    assert weeks.tolist() == [-1.5, -0.5]
    assert live == pytest.approx([2.0, 3.0], rel=1e-4)
    assert live_instances(rows, 0, 3 * WEEK * HOUR_NS)[0].tolist() == [-2.5, -1.5, -0.5]


# -- load levels ------------------------------------------------------------------------------------

CURVE = Curve(0.01, 60.0, 0.0)


def level(load: float, number: int, factor: float = 1.0, calls: float = 1e5) -> Points:
    """One period at one load, on the curve or so many times as slow."""
    took = CURVE.latency_s(np.array([load])) * factor
    return Points(np.zeros(1), np.array([load]), took, np.array([calls]), np.array([number]))


def known(loads: tuple[float, ...], factors: tuple[float, ...] | None = None) -> Points:
    factors = factors or (1.0,) * len(loads)
    return Points.join([level(x, n, f) for n, (x, f) in enumerate(zip(loads, factors, strict=True))])


def test_three_levels_that_differ_by_a_tenth_are_needed() -> None:
    """In any order; of fewer the answer is how many were seen."""
    new = level(40.0, 9)
    assert levels.judge(known((30.0, 10.0, 20.0)), new).consistent is not None
    assert levels.judge(known((10.0, 20.0, 22.1)), new).consistent is not None
    for loads, seen in (((10.0, 20.0, 21.9), 2), ((10.0, 10.5, 10.9), 1), ((10.0,), 1)):
        told = levels.judge(known(loads), new)
        assert told.consistent is None
        assert math.isnan(told.ratio)
        assert told.interval == (0.0, math.inf)
        assert told.words == f"not identifiable: a curve needs three other load levels, {seen} were seen"


NOISY = (0.97, 1.02, 1.01, 0.98, 1.03, 0.99)
SIX = (5.0, 10.0, 15.0, 20.0, 25.0, 30.0)


def test_what_lies_on_the_curve_is_consistent_and_what_is_far_off_is_not() -> None:
    """The ratio is latency over what the others expect; at a hundredth's risk the interval is wider."""
    fits, off = (levels.judge(known(SIX, NOISY), level(22.0, 9, factor)) for factor in (1.0, 1.5))
    assert (fits.consistent, off.consistent) == (True, False)
    assert fits.ratio == pytest.approx(1.0, abs=0.05)
    assert off.ratio == pytest.approx(1.5 * fits.ratio)
    assert off.interval == fits.interval
    assert fits.interval[0] < 1 < fits.interval[1]
    assert fits.words.startswith(
        f"consistent with load: {fits.ratio:.2f} times what 6 other load levels expect"
    )
    assert off.words.startswith("not explained by load: ")
    quick = levels.judge(known(SIX, NOISY), level(22.0, 9, 0.6))
    assert quick.consistent is False
    surer = levels.judge(known(SIX, NOISY), level(22.0, 9), alpha=0.01)
    assert surer.interval[0] < fits.interval[0]
    assert surer.interval[1] > fits.interval[1]


def test_intervals_of_new_levels_hold_the_truth_as_often_as_they_say() -> None:
    """95 % of levels amid the others, whose noise is what periods differ by."""
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(100):
        factors = np.exp(rng.normal(0, 0.03, 7)).tolist()
        held += bool(levels.judge(known(SIX, tuple(factors[:6])), level(18.0, 9, factors[6])).consistent)
    assert 90 <= held <= 99, held


def test_far_beyond_the_loads_that_were_seen_the_interval_is_open() -> None:
    """Half of what is expected there is the shape of the curve."""
    near, far = (levels.judge(known(SIX, NOISY), level(x, 9)) for x in (18.0, 45.0))
    assert math.log(far.interval[1] / far.interval[0]) > 3 * math.log(near.interval[1] / near.interval[0])
    flat = Points(np.zeros(6), np.array(SIX), 0.01 * np.array(NOISY), np.full(6, 1e5), np.arange(6))
    for factor, fits in ((0.8, False), (1.0, True)):
        one = Points(
            np.zeros(1), np.array([200.0]), np.array([0.01 * factor]), np.array([1e5]), np.array([9])
        )
        told = levels.judge(flat, one)
        assert told.consistent is fits  # load makes nothing quicker
        assert told.interval[1] > 1.3
    steep = levels.judge(known((40.0, 50.0, 58.0)), level(59.0, 9))
    assert steep.words.endswith("to any") == (steep.interval[1] >= 100)


def test_a_level_of_few_calls_may_miss_by_what_they_leave_open() -> None:
    """A hundred calls leave a tenth open; a period is one point, each call alike."""
    exact = known(SIX)
    sure, unsure = (levels.judge(exact, level(22.0, 9, 1.1, calls)) for calls in (1e6, 100.0))
    assert (sure.consistent, unsure.consistent) == (False, True)
    assert math.log(unsure.interval[1]) > 0.15
    several = Points.join([level(10.0, 4, 2.0, 300.0), level(30.0, 4, 1.0, 100.0)])
    one = levels._one(several)
    assert (len(one), one.calls.tolist(), one.period.tolist()) == (1, [400.0], [4])
    assert one.load.tolist() == [15.0]
    assert one.latency_s[0] == pytest.approx(np.average(several.latency_s, weights=[300, 100]))


def test_a_straight_line_of_the_logarithms_stands_beside_the_law() -> None:
    """Levels on a line of logs: what is drawn has the line's mean, its slope never falling."""
    loads = np.array(SIX)
    line = Points(np.zeros(6), loads, 0.01 * loads**0.5 * np.array(NOISY), np.full(6, 1e5), np.arange(6))
    one = Points(np.zeros(1), np.array([40.0]), np.ones(1), np.array([1e5]), np.array([9]))
    drawn = levels._expected(line, one)
    x, y = np.log(line.load), np.log(line.latency_s)
    fitted = stats.linregress(x, y)
    assert float(np.median(drawn)) == pytest.approx(
        fitted.intercept + fitted.slope * math.log(40.0), abs=0.08
    )
    falling = Points(np.zeros(6), loads, 0.01 * loads**-0.3 * np.array(NOISY), np.full(6, 1e5), np.arange(6))
    told = levels._expected(falling, one)
    assert float(np.median(told)) == pytest.approx(float(np.log(falling.latency_s).mean()), abs=0.2)
    assert len(drawn) == 4000


def test_beyond_the_line_a_new_level_has_the_prediction_interval_of_a_regression() -> None:
    """Oracle: the textbook's, where levels lie on a line of logs that no queue has; few calls widen it."""
    loads = np.array([5.0, 8.0, 12.0, 18.0, 24.0, 30.0])
    noise = 1 + 0.004 * np.array([1.0, -1.0, -1.0, 1.0, 1.0, -1.0])
    line = Points(np.zeros(6), loads, 0.01 * loads**1.2 * noise, np.full(6, 1e6), np.arange(6))
    x, y = np.log(line.load), np.log(line.latency_s)
    for at in (45.0, 15.0):
        one = Points(np.zeros(1), np.array([at]), np.ones(1), np.array([1e6]), np.array([9]))
        drawn = levels._expected(line, one)
        fitted = stats.linregress(x, y)
        rest = y - fitted.intercept - fitted.slope * x
        far = math.log(at) - x.mean()
        wide = math.sqrt(rest @ rest / 4 * (1 + 1 / 6 + far**2 / ((x - x.mean()) ** 2).sum()))
        middle = fitted.intercept + fitted.slope * math.log(at)
        for level in (0.1, 0.5, 0.9):
            exact = middle + stats.t.ppf(level, 4) * wide
            assert float(np.quantile(drawn, level)) == pytest.approx(exact, abs=0.12 * wide), (at, level)
    few = levels._expected(line, replace(one, calls=np.array([400.0])))
    assert float(np.quantile(few, 0.9)) - middle == pytest.approx(
        stats.t.ppf(0.9, 4) * 0.05 * math.sqrt(1 + 1 / 6 + far**2 / ((x - x.mean()) ** 2).sum()), rel=0.1
    )


def test_the_law_and_the_line_have_the_weights_that_their_fits_deserve() -> None:
    """Levels on the law, and calls so few that the line misses by as much as they leave open: 8 to 1."""
    exact = known(SIX)
    x, y = np.log(exact.load), np.log(exact.latency_s)
    fitted = stats.linregress(x, y)
    misses = float(((y - fitted.intercept - fitted.slope * x) ** 2).sum())
    one = Points(np.zeros(1), np.array([55.0]), np.ones(1), np.array([6 / misses]), np.array([9]))
    drawn = levels._expected(exact, one)
    between = (
        fitted.intercept + fitted.slope * math.log(55.0) + math.log(CURVE.latency_s(np.array([55.0]))[0])
    ) / 2
    assert float(np.mean(drawn > between)) == pytest.approx(8 / 9, abs=0.04)


def test_a_verdict_is_the_quantiles_of_what_may_be_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: log latencies even between -1 and 1 around a hundredth of a second."""
    even = math.log(0.01) + np.linspace(-1, 1, 4001)
    monkeypatch.setattr(levels, "_expected", lambda *_: even)
    for off, alpha, fits in (
        (0.94, 0.05, True),
        (0.96, 0.05, False),
        (-0.94, 0.05, True),
        (-0.96, 0.05, False),
        (0.96, 0.02, True),
    ):
        new = replace(level(22.0, 9), latency_s=np.array([0.01 * math.exp(off)]))
        told = levels.judge(known(SIX), new, alpha=alpha)
        assert told.consistent is fits, (off, alpha)
        assert told.ratio == pytest.approx(math.exp(off))
        assert told.interval == pytest.approx((math.exp(alpha - 1), math.exp(1 - alpha)))
        assert told.words.endswith(f"interval {math.exp(alpha - 1):.2f} to {math.exp(1 - alpha):.2f}")
    for reach, upper in ((100.0, "any"), (4.8, "any"), (4.7, f"{math.exp(4.7 * 0.95):.2f}")):
        monkeypatch.setattr(levels, "_expected", lambda *_, reach=reach: reach * np.linspace(-1, 1, 4001))
        told = levels.judge(known(SIX), level(22.0, 9))
        assert told.interval[1] == pytest.approx(math.exp(min(0.95 * reach, 50.0)))
        assert told.words.endswith(upper) or reach == 4.8


def test_trends_are_as_sure_as_four_fifths_and_five_per_cent() -> None:
    """What the numbers of a forecast say of themselves."""
    assert (trends.LEVEL, trends.ALPHA, trends.LEAST_DRIFT, trends.MIN_EFFECT_PART) == (0.8, 0.05, 0.5, 0.005)

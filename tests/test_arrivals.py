"""Arrivals: the load of a resource in windows of calls, and what of its variance is counting noise."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tracescope.analysis.capacity import arrivals
from tracescope.analysis.capacity import load_model as fit
from tracescope.analysis.capacity.arrivals import Arrivals, points
from tracescope.analysis.capacity.curve import Curve
from tracescope.analysis.capacity.load_model import FEWEST_CALLS, Points
from tracescope.schema import DAY_NS, HOUR_NS

Floats = NDArray[np.float64]
MINUTE_NS = HOUR_NS // 60
WEEK_NS = 7 * DAY_NS


def minutes(rng: np.random.Generator, true_load: Floats, took_s: Floats, *, group: int = 1) -> Arrivals:
    """A minute a slot: calls are counted around the true load, `group` of them for each unit of work."""
    calls = (rng.poisson(true_load * 60 / group) * group).astype(np.float64)
    seen = np.maximum(calls, 1)
    start = np.arange(len(calls)) * MINUTE_NS
    return Arrivals(start, MINUTE_NS, seen, seen / group, took_s, seen / 60, seen, 0.05)


def hours(load: Floats, calls: Floats | float = 1000.0, own_s: Floats | float = 0.01) -> Arrivals:
    n = len(load)
    full = np.full(n, calls) if isinstance(calls, float) else calls
    took = np.full(n, own_s) if isinstance(own_s, float) else own_s
    return Arrivals(np.arange(n) * HOUR_NS, HOUR_NS, full, full, took, load, full, 0.01)


def slope(x: list[Floats], y: list[Floats]) -> float:
    """Of y over x, each window's within its own period."""
    across, along = (np.concatenate([one - one.mean() for one in values]) for values in (x, y))
    return float(across @ along / (across @ across))


def wave(size: float, turn: float = 0.0) -> Floats:
    """An hour's load by the minute, a quarter of an hour each high and low, around 1."""
    return 1 + size * np.sign(np.sin(np.arange(60) / 60 * 4 * np.pi + turn))


@pytest.mark.parametrize(("per_s", "group", "size"), [(4.0, 1, 0.05), (12.0, 4, 0.1)])
def test_loads_are_what_is_expected_of_the_true_ones_given_their_counts(
    per_s: float, group: int, size: float
) -> None:
    """True loads rise one for one with them; with counts less, and least where calls come together."""
    true, told, counted = [], [], []
    for seed in range(60):
        load = per_s * wave(size, seed)
        noisy = minutes(np.random.default_rng(seed), load, np.full(60, 0.01), group=group)
        without = replace(noisy, counted=1e12 * noisy.counted)  # as if counting had no noise
        told.append(np.log(points(noisy, 0, 0).load))
        counted.append(np.log(points(without, 0, 0).load))
        true.append(np.log(points(replace(without, load=load), 0, 0).load))
    assert slope(counted, true) < 0.8
    assert slope(told, true) == pytest.approx(1.0, abs=0.12)


def test_a_curve_through_counted_loads_is_as_steep_as_the_true_one() -> None:
    """Noise in the arrivals flattens a curve (regression dilution) unless they are calibrated."""
    curve = Curve(0.01, 7.0, 0.0)
    told, counted, took = [], [], []
    for seed in range(60):
        load = 4.0 * wave(0.05, seed)
        rng = np.random.default_rng(seed)
        noisy = minutes(rng, load, curve.latency_s(load) * np.exp(rng.normal(0, 0.01, 60)))
        made = points(noisy, 0, 0)
        told.append(np.log(made.load))
        took.append(np.log(made.latency_s))
        counted.append(np.log(points(replace(noisy, counted=1e12 * noisy.counted), 0, 0).load))
    low, high = curve.latency_s(np.array([3.8, 4.2]))
    truth = math.log(high / low) / math.log(4.2 / 3.8)
    assert slope(counted, took) < 0.8 * truth
    assert slope(told, took) == pytest.approx(truth, rel=0.08)


def test_loads_that_differ_by_counting_alone_are_one_load_and_no_curve() -> None:
    """They shrink to their mean, and are refused in words."""
    noisy = minutes(np.random.default_rng(1), np.full(60, 4.0), np.full(60, 0.01))
    made = points(noisy, 0, 0)
    assert np.ptp(made.load) == pytest.approx(0.0, abs=1e-12)
    assert made.load[0] == pytest.approx(4.0, rel=0.05)
    assert "hardly varies" in (fit.refusal(Points.join([made, replace(made, period=made.period + 1)])) or "")


def test_calibrating_keeps_the_mean_of_the_logarithms_and_their_order() -> None:
    rng = np.random.default_rng(2)
    noisy = minutes(rng, 4 * (1 + 0.3 * np.sin(np.arange(60) / 5)), np.full(60, 0.01))
    made, raw = points(noisy, 0, 0), points(replace(noisy, counted=1e12 * noisy.counted), 0, 0)
    assert np.log(made.load).mean() == pytest.approx(np.log(raw.load).mean())
    assert (np.argsort(made.load) == np.argsort(raw.load)).all()
    assert made.latency_s == pytest.approx(raw.latency_s)
    two = points(minutes(rng, np.full(6, 1.0), np.full(6, 0.01)), 0, 0)
    assert len(two) < 3  # too few to know a variance: left as they are


# -- windows ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("calls", "least", "most"), [(1000.0, 100, 120), (40.0, 20, 30), (5.0, 8, 16)])
def test_windows_hold_about_a_thousand_calls_and_every_call_is_in_one(
    calls: float, least: int, most: int
) -> None:
    """No more than `MOST_POINTS`; of few calls as many windows as hold `FEWEST_CALLS`."""
    rng = np.random.default_rng(3)
    load = 5 * (1 + 0.5 * np.sin(np.arange(4 * 168) / 24 * 2 * np.pi)) * rng.lognormal(0, 0.02, 4 * 168)
    seen = hours(load, calls, 0.01 * np.arange(1.0, 4 * 168 + 1))
    made = points(seen, 4 * WEEK_NS, 3)
    assert least <= len(made) <= most
    assert made.calls.sum() == pytest.approx(seen.calls.sum())
    assert (made.calls >= FEWEST_CALLS).all()
    assert (made.period == 3).all()
    # means by calls: of everything together they are the period's own
    for name, whole in (("load", seen.load), ("latency_s", seen.self_s)):
        mean = float(np.average(getattr(made, name), weights=made.calls))
        assert mean == pytest.approx(float(np.average(whole, weights=seen.calls))), name
    assert (np.diff(made.weeks) >= 0).all()
    assert -4.0 < made.weeks[0] < made.weeks[-1] < 0.0
    assert float(np.average(made.weeks, weights=made.calls)) == pytest.approx(-2.0)


def test_windows_join_hours_of_like_load_within_a_stretch_of_time() -> None:
    """So loads vary between windows nearly as much as between hours, and time goes on."""
    rng = np.random.default_rng(4)
    load = 5 * (1 + 0.6 * np.sin(np.arange(4 * 168) / 24 * 2 * np.pi)) * rng.lognormal(0, 0.02, 4 * 168)
    made = points(hours(load, 100.0), 4 * WEEK_NS, 0)
    assert np.var(np.log(made.load)) > 0.85 * np.var(np.log(load))
    levels = 8
    first = made.load[: levels - 1]
    assert np.ptp(first) > 0.7 * np.ptp(load)


def test_what_holds_too_few_calls_is_no_point() -> None:
    """A whole period under `FEWEST_CALLS` has none; one at it has one."""
    load = np.linspace(1, 2, 10)
    assert len(points(hours(load, 9.9), 0, 0)) == 0
    (only,) = [points(hours(load, 10.0), 0, 0)]
    assert only.calls.tolist() == [100.0]
    assert only.load[0] == pytest.approx(load.mean())


# -- peaks ------------------------------------------------------------------------------------------


def test_peak_load_is_what_the_busiest_twentieth_of_the_last_week_reaches() -> None:
    """Whatever came before."""
    load = np.concatenate([np.full(168, 99.0), np.linspace(1, 2, 168)])
    seen = hours(load)
    assert seen.peak_load == pytest.approx(float(np.quantile(load[168:], 0.95)))


def test_every_whole_week_has_its_peak_and_a_part_of_one_has_none() -> None:
    """Weeks are counted back from now, the last one 0; their middles are half a week off."""
    load = np.repeat([1.0, 2.0, 4.0, 8.0], 168)[100:]
    seen = hours(load)
    end = len(load) * HOUR_NS
    weeks, peaks = seen.weekly_peaks(end)
    assert weeks.tolist() == [-2.5, -1.5, -0.5]
    assert peaks.tolist() == [2.0, 4.0, 8.0]
    later, _ = seen.weekly_peaks(end + WEEK_NS)
    assert later.tolist() == [-3.5, -2.5, -1.5]
    most = hours(np.repeat([1.0, 2.0, 4.0], 168)[168 - 130 :])
    assert len(most.weekly_peaks(len(most.load) * HOUR_NS)[0]) == 3  # 130 of 168 hours are a week


def test_the_load_of_each_replica_is_the_load_over_the_replicas() -> None:
    seen = hours(np.array([4.0, 9.0]))
    assert seen.each is None
    each = replace(seen, replicas=np.array([2.0, 3.0])).each
    assert each is not None
    assert each.load.tolist() == [2.0, 3.0]


def test_slots_that_know_little_of_their_load_have_that_of_their_hour_of_the_day() -> None:
    """Ten calls an hour: smoothed over days the load is near the truth, by itself it is not."""
    from test_load_model import period_of

    rng = np.random.default_rng(6)
    n = 28 * 24
    truth = 10 / 3600 * (1 + 0.6 * np.sin(np.arange(n) / 24 * 2 * np.pi))
    counts = rng.poisson(truth * 3600)
    period = period_of([(slot, "a", int(k), 5.0) for slot, k in enumerate(counts) if k], n)
    seen = arrivals.by_edge(period)[1]
    slots = (seen.start_ns // HOUR_NS).astype(int)
    raw = counts[slots] / 3600
    off = float(np.std(np.log(seen.load / truth[slots])))
    assert off < 0.2
    assert float(np.std(np.log(raw / truth[slots]))) > 0.3
    assert off / 3 < seen.noise < 3 * off
    many = period_of([(slot, "a", 1000 + 10 * (slot % 7), 5.0) for slot in range(n)], n)
    busy = arrivals.by_edge(many)[1]
    assert busy.load == pytest.approx((1000 + 10 * (np.arange(n) % 7)) / 3600)  # known by itself
    assert busy.noise == pytest.approx(1 / math.sqrt(1030), rel=0.01)


def test_each_week_has_as_many_arrivals_as_were_counted_in_it() -> None:
    """Smoothed by the hour of the day, and twice as many from the third week on."""
    from test_load_model import period_of

    rng = np.random.default_rng(9)
    n = 28 * 24
    rate = 10 * (1 + 0.6 * np.sin(np.arange(n) / 24 * 2 * np.pi)) * np.where(np.arange(n) >= n // 2, 2.0, 1.0)
    counts = np.maximum(rng.poisson(rate), 1)
    seen = arrivals.by_edge(period_of([(slot, "a", int(k), 5.0) for slot, k in enumerate(counts)], n))[1]
    for week in range(4):
        rows = slice(168 * week, 168 * (week + 1))
        assert seen.load[rows].sum() * 3600 == pytest.approx(counts[rows].sum()), week
    assert seen.load[n // 2 :].mean() > 1.8 * seen.load[: n // 2].mean()


def test_slots_that_are_cut_by_the_periods_ends_have_their_rate() -> None:
    """Half an hour with half the calls is as busy."""
    from test_load_model import period_of

    whole = period_of([(slot, "a", 600 if 0 < slot < 9 else 300, 5.0) for slot in range(10)], 10)
    cut = replace(whole, start_ns=HOUR_NS // 2, end_ns=10 * HOUR_NS - HOUR_NS // 2)
    assert arrivals.by_edge(cut)[1].load == pytest.approx(np.full(10, 600 / 3600))
    assert arrivals.by_edge(cut)[1].noise == pytest.approx(1 / math.sqrt(600))


# -- the daily profile ------------------------------------------------------------------------------


def smoothed(
    counted: float, days: int, observed: Floats | None = None, slot_ns: int = HOUR_NS
) -> tuple[Floats, float]:
    """Loads of a period's hours, from a Monday on, each of so many calls."""
    n = days * 24
    start = 20_241 * DAY_NS + np.arange(n) * slot_ns
    seen = np.ones(n) if observed is None else observed
    period: Any = SimpleNamespace(start_ns=int(start[0]), end_ns=int(start[0]) + n * slot_ns, slot_ns=slot_ns)
    return arrivals._smooth(start, seen, np.full(n, counted), period)


def test_hours_of_many_calls_know_their_own_load() -> None:
    """From 400 on, below an hour a slot, and within three days; the error is one over their root."""
    rng = np.random.default_rng(5)
    load = rng.lognormal(0, 0.3, 14 * 24)
    for counted, days, slot_ns in ((400.0, 14, HOUR_NS), (9.0, 14, HOUR_NS - 1), (9.0, 2, HOUR_NS)):
        seen, noise = smoothed(counted, days, load[: days * 24], slot_ns)
        assert (seen == load[: days * 24]).all()
        assert noise == pytest.approx(1 / math.sqrt(counted))
    assert (smoothed(9.0, 3, load[:72])[0] != load[:72]).any()
    assert smoothed(0.25, 2, load[:48])[1] == 1.0
    assert smoothed(25.0, 8, load[: 8 * 24])[1] == pytest.approx(
        1 / math.sqrt(200)
    )  # of a cell that knows itself


@pytest.mark.parametrize(
    ("counted", "days", "size", "weekends"),
    [
        (100.0, 14, 1, True),
        (25.0, 14, 3, True),
        (9.0, 14, 3, False),
        (1.0, 14, 6, False),
        (100.0, 7, 1, False),
    ],
)
def test_hours_of_few_calls_have_the_load_of_their_cell_of_the_day(
    counted: float, days: int, size: int, weekends: bool
) -> None:
    """The finest cell that holds 200 calls: an hour, three, six; weekends apart from ten days on."""
    n = days * 24
    hour, day = np.arange(n) % 24, np.arange(n) // 24
    weekend = day % 7 >= 5
    load = 10.0 + hour + 100.0 * weekend
    seen, noise = smoothed(counted, days, load)
    cell = hour // size + (24 * weekend if weekends else 0)
    expected = np.empty(n)
    for one in np.unique(cell):
        expected[cell == one] = load[cell == one].mean()
    held = np.median(np.bincount(np.unique(cell, return_inverse=True)[1]) * counted)
    if 168 * counted >= arrivals.KNOWN_CALLS:  # each week keeps its own level
        for week in range(days // 7):
            rows = slice(week * 168, week * 168 + 168)
            expected[rows] *= load[rows].sum() / expected[rows].sum()
    assert seen == pytest.approx(expected)
    assert noise == pytest.approx(1 / math.sqrt(held))


def test_a_week_of_twice_the_load_stays_twice_the_load() -> None:
    """The profile gives the course of the day, and the week's own calls its level, where they are enough."""
    load = np.repeat([1.0, 2.0], 168)
    assert smoothed(9.0, 14, load)[0] == pytest.approx(load)
    assert smoothed(400 / 168 - 0.01, 14, load)[0] == pytest.approx(np.full(336, 1.5))

"""Laws of the load model: intervals against simulated truth, correlation, what scales and what adds up."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from test_load_model import of_curve

from tracescope.analysis.capacity import load_model as load
from tracescope.analysis.capacity.curve import (
    SHAPES,
    WAITS,
    WALL_TIMES,
    Curve,
    Shape,
    slowdown,
    waiting,
    wall_utilisation,
)
from tracescope.analysis.capacity.load_model import Fit, Points

Floats = NDArray[np.float64]
CURVE = Curve(0.01, 60.0, 0.0)


def noisy(
    rng: np.random.Generator, correlation: float, *, growth: float = 0.03, noise: float = 0.03
) -> Points:
    """Twelve weeks of the law itself, whose noise carries over from each window to the next."""
    n = 60
    drawn = rng.standard_normal(n)
    for k in range(1, n):
        drawn[k] = correlation * drawn[k - 1] + math.sqrt(1 - correlation**2) * drawn[k]
    t = np.linspace(-12, 0, n)
    x = 20 * rng.permutation(np.linspace(0.4, 1.6, n))
    took = CURVE.latency_s(x, growth * t) * np.exp(noise * drawn)
    return Points(t, x, took, np.full(n, 1000.0), np.zeros(n, np.int64))


# -- intervals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_intervals_of_growth_hold_the_truth_as_often_as_they_say(correlation: float) -> None:
    """95 %: between 92 and 98 of 100, with noise that is correlated and with noise that is not."""
    held = 0
    for seed in range(120):
        found = load.fit(noisy(np.random.default_rng(seed), correlation))
        low, high = found.interval(found.draws["growth"])
        held += low <= 0.03 <= high
    assert 0.92 * 120 <= held <= 0.985 * 120, held


def test_noise_that_lasts_widens_every_interval_and_counts_for_fewer_points() -> None:
    """The same residuals, once as they came and once in another order of time."""
    ratios = []
    for seed in range(12):
        rng = np.random.default_rng(100 + seed)
        lasting = noisy(rng, 0.8, growth=0.0)
        rest = np.log(lasting.latency_s / CURVE.latency_s(lasting.load))
        stirred = replace(lasting, latency_s=CURVE.latency_s(lasting.load) * np.exp(rng.permutation(rest)))
        widths, freedom = [], []
        for points in (lasting, stirred):
            found = load.fit(points)
            low, high = found.interval(found.draws["growth"])
            widths.append(high - low)
            freedom.append(found.dof)
        ratios.append((widths[0] / widths[1], freedom[0] / freedom[1]))
    wider, fewer = np.median(np.array(ratios), axis=0)
    assert wider > 1.6
    assert fewer < 0.4


def test_degrees_of_freedom_are_the_points_less_what_was_fitted() -> None:
    """Independent noise: four parameters with growth, three without; never under one."""
    alternating = noisy(np.random.default_rng(3), 0.0)
    sign = np.where(np.arange(60) % 2, 1.0, -1.0)
    points = replace(alternating, latency_s=CURVE.latency_s(alternating.load) * np.exp(0.02 * sign))
    assert load.fit(points).dof == 56
    assert load.fit(points, growth=False).dof == 57
    assert load.fit(points.select(np.arange(60) % 15 == 0)).dof == 1


def test_a_wider_level_holds_the_narrower() -> None:
    """Of everything that has draws; an even draw's interval is its level."""
    found = load.fit(noisy(np.random.default_rng(5), 0.3))
    for values in (found.draws["growth"], found.walls(), found.draws["r0_s"]):
        bounds = [found.interval(values, level) for level in (0.5, 0.8, 0.95, 0.99)]
        for (low, high), (lower, higher) in pairwise(bounds):
            assert lower <= low <= high <= higher
        assert bounds[0] != bounds[-1]
    even = np.arange(400.0)
    assert found.interval(even, 0.8) == (39.0, 359.0)
    assert found.interval(even) == (10.0, 389.0)


def test_the_noise_is_the_deviation_of_the_points() -> None:
    """And one window that is ten times as slow hardly changes growth, nor capacity."""
    sizes = [load.fit(noisy(np.random.default_rng(seed), 0.0, noise=0.03)).noise for seed in range(20)]
    assert float(np.mean(sizes)) == pytest.approx(0.03, rel=0.12)
    points = noisy(np.random.default_rng(1), 0.0)
    before = load.fit(points)
    slow = points.latency_s.copy()
    slow[20] *= 10
    after = load.fit(replace(points, latency_s=slow))
    assert after.growth == pytest.approx(before.growth, abs=0.004)
    assert after.curve.capacity == pytest.approx(before.curve.capacity, rel=0.08)


def test_windows_with_more_calls_count_for_more() -> None:
    """Up to what they all have in common: a window of few calls is believed less."""
    points = noisy(np.random.default_rng(2), 0.0, noise=0.01)
    late = points.weeks > -2
    wrong = np.where(late, points.latency_s * 1.15, points.latency_s)
    trusted = load.fit(replace(points, latency_s=wrong)).growth
    doubted = load.fit(replace(points, latency_s=wrong, calls=np.where(late, 30.0, 1000.0))).growth
    assert trusted > 0.035
    assert abs(doubted - 0.03) < 0.6 * (trusted - 0.03)


# -- a constant, a scale ----------------------------------------------------------------------------


def test_a_latency_that_never_varies_has_no_growth_and_no_wall_in_sight() -> None:
    """Its value is found to the last digit, and headroom is what was served."""
    points = replace(noisy(np.random.default_rng(4), 0.0), latency_s=np.full(60, 0.007))
    found = load.fit(points)
    assert found.growth == pytest.approx(0.0, abs=1e-9)
    assert found.curve.latency_s(np.array([25.0]))[0] == pytest.approx(0.007, rel=1e-8)
    low, high = found.interval(found.draws["growth"])
    assert low <= 0.0 <= high
    room = found.headroom(20.0)
    assert not room.bends
    assert (room.times, room.interval) == (pytest.approx(1.6), (pytest.approx(1.6), None))


def test_scaling_every_latency_scales_the_curve_and_nothing_else() -> None:
    """Milliseconds or minutes: capacity, growth and headroom stay."""
    points = noisy(np.random.default_rng(6), 0.2)
    a, b = load.fit(points), load.fit(replace(points, latency_s=60 * points.latency_s))
    assert b.curve.r0_s == pytest.approx(60 * a.curve.r0_s, rel=1e-4)
    assert b.curve.capacity == pytest.approx(a.curve.capacity, rel=1e-4)
    assert b.growth == pytest.approx(a.growth, abs=1e-6)
    assert b.headroom(30.0).times == pytest.approx(a.headroom(30.0).times, rel=1e-3)


def test_points_in_another_order_are_the_same_points() -> None:
    points = noisy(np.random.default_rng(7), 0.4)
    stirred = np.random.default_rng(8).permutation(60)
    again = Points(*(getattr(points, name)[stirred] for name in Points.__dataclass_fields__))
    a, b = load.fit(points), load.fit(again)
    assert b.growth == pytest.approx(a.growth, abs=1e-6)
    assert b.dof == pytest.approx(a.dof, rel=1e-3)
    assert b.interval(b.walls()) == pytest.approx(a.interval(a.walls()), rel=0.02)


# -- headroom ---------------------------------------------------------------------------------------


def fitted(capacity: Floats, *, highest: float = 30.0, curve: Curve = CURVE) -> Fit:
    """A fit with these capacities left open."""
    zero = np.zeros(len(capacity))
    draws = {"r0_s": zero + 0.01, "capacity": capacity, "shape": zero, "growth": zero}
    return Fit(curve, 0.0, False, draws, 0.02, 50.0, 0.0, highest)


def test_headroom_is_the_median_of_the_walls_that_are_left_open_over_peak_load() -> None:
    """An M/M/1 is three times as slow at two thirds of its capacity; the fitted curve does not clamp it."""
    for curve in (CURVE, Curve(0.01, 600.0, 0.0)):
        narrow = fitted(np.linspace(55, 65, load.DRAWS), curve=curve)
        room = narrow.headroom(20.0)
        assert room.bends
        assert not room.lower_bound
        assert room.times == pytest.approx(40 / 20)
        assert room.interval == (
            pytest.approx(2 / 3 * 56 / 20, rel=0.01),
            pytest.approx(2 / 3 * 64 / 20, rel=0.01),
        )


def test_a_wall_that_could_be_four_times_as_far_is_not_in_sight() -> None:
    """Then headroom is what was served: at least now, at most what was seen."""
    at = load.MOST_OPEN
    for factor, bends in ((0.95 * at, True), (1.06 * at, False)):
        open_wide = fitted(np.geomspace(40, 40 * factor ** (1 / 0.8), load.DRAWS), highest=60.0)
        assert open_wide.headroom(20.0).bends == bends, factor
    never = fitted(np.where(np.arange(load.DRAWS) % 3, 60.0, np.inf))
    room = never.headroom(20.0)
    assert (room.times, room.interval, room.lower_bound, room.bends) == (1.5, (1.5, None), True, False)
    assert never.headroom(50.0).times == 1.0


def test_a_wall_farther_than_twice_what_was_seen_is_not_in_sight() -> None:
    """However narrow its interval is: a fuller pool may come before."""
    for highest, bends in ((21.0, True), (19.0, False)):
        found = fitted(np.linspace(59, 61, load.DRAWS), highest=highest)
        assert found.headroom(10.0).bends == bends
        assert found.headroom(10.0).times == pytest.approx(4.0 if bends else 1.9, rel=0.01)


# -- what load explains, and what time --------------------------------------------------------------


def test_load_and_growth_add_up_to_the_change_of_the_fitted_latency() -> None:
    """Oracle: the mean latency of either period on the fitted curve, weighted by calls."""
    points = of_curve(CURVE, np.random.default_rng(2), growth=0.02, shift=1.3)
    found = load.fit(points)
    told = load.shift(found, points)
    means = []
    for number in (0, 1):
        side = points.select(points.period == number)
        when = float(np.average(side.weeks, weights=side.calls))
        took = found.curve.latency_s(side.load, found.growth * when)
        means.append(math.log(float(np.average(took, weights=side.calls))))
    assert told.load + told.growth == pytest.approx(means[1] - means[0], abs=1e-9)
    assert told.load > 0.05
    assert told.growth > 0.05


def test_a_change_of_time_or_of_load_alone_is_all_of_one_kind() -> None:
    """No growth: nothing by growth.  The same loads: nothing by load."""
    points = of_curve(CURVE, np.random.default_rng(3), growth=0.02)
    same = replace(points, load=np.tile(points.load[:20], 2))
    still = replace(load.fit(points), growth=0.0)
    assert load.shift(still, points).growth == pytest.approx(0.0, abs=1e-12)
    assert load.shift(load.fit(same), same).load == pytest.approx(0.0, abs=1e-12)
    step = replace(load.fit(same), course=load.Course(float(same.weeks[20]), step=True), growth=0.3)
    assert load.shift(step, same).growth == pytest.approx(0.3, rel=0.25)


@pytest.mark.parametrize("more", [1.15, 1.4])
def test_the_parts_intervals_hold_the_truth(more: float) -> None:
    """Growth's 95 % interval, and load's standard error twice, in most of 60 simulated pairs; not in all."""
    held = [0, 0]
    for seed in range(60):
        points = of_curve(CURVE, np.random.default_rng(seed), growth=0.01, shift=more, noise=0.05)
        found = load.fit(points)
        told = load.shift(found, points)
        exact = load.shift(replace(found, curve=CURVE, growth=0.01), points)
        held[0] += told.growth_interval[0] <= exact.growth <= told.growth_interval[1]
        held[1] += abs(told.load - exact.load) <= 1.96 * told.load_error
    assert 53 <= held[0] <= 60, held
    assert 53 <= held[1] <= 60, held


def test_overlap_is_the_smaller_part_of_calls_at_loads_that_both_have() -> None:
    """By hand: loads within a tenth are one load."""
    loads = np.array([10.0, 20.0, 30.0, 40.0, 18.5, 30.0, 50.0, 60.0])
    calls = np.array([100.0, 100.0, 200.0, 100.0, 50.0, 50.0, 300.0, 100.0])
    points = Points(np.zeros(8), loads, np.ones(8), calls, np.repeat([0, 1], 4))
    assert load.overlap(points) == pytest.approx(100 / 500)  # of head only 18.5 and 30 lie in 10 to 40
    nearly = replace(points, load=np.array([10.0, 20.0, 30.0, 40.0, 43.9, 44.1, 43.0, 99.0]))
    assert load.overlap(nearly) == pytest.approx(100 / 500)  # of base only 40 lies above 39.1
    assert load.overlap(points.select(points.period == 0)) == 0.0
    assert load.mean_load(points) == pytest.approx(np.average(np.log(loads), weights=calls))


@pytest.mark.parametrize(
    ("base", "head", "words"),
    [
        (4, 6, None),
        (3, 20, "base has 3000 counted calls in 3 windows"),
        (20, 3, "head has 3000 counted calls in 3 windows"),
        (4, 5, "9 windows of 100 calls and more; 10 are needed"),
    ],
)
def test_too_few_windows_are_refused_with_their_number(base: int, head: int, words: str | None) -> None:
    loads = np.concatenate([np.linspace(10, 20, base), np.linspace(10, 20, head)])
    n = base + head
    points = Points(np.zeros(n), loads, np.ones(n), np.full(n, 1000.0), np.repeat([0, 1], [base, head]))
    said = load.refusal(points)
    assert said is None if words is None else words in (said or "")


def test_loads_that_overlap_by_a_fifth_and_vary_by_a_third_are_enough() -> None:
    """Just more than enough passes; just less is refused in words with the loads."""
    base, head = np.linspace(10, 20, 20), np.linspace(18, 28, 20)
    points = Points(
        np.zeros(40), np.concatenate([base, head]), np.ones(40), np.full(40, 9.0), np.repeat([0, 1], 20)
    )
    assert load.overlap(points) >= load.LEAST_OVERLAP
    assert load.refusal(points) is None
    apart = replace(points, load=np.concatenate([base, head + 3]))
    assert "loads do not overlap (base 10 to 20 calls/s, head 21 to 31)" in (load.refusal(apart) or "")
    for top, refused in ((12.9, True), (13.1, False)):
        narrow = replace(points, load=np.tile(np.linspace(10, top, 20), 2))
        assert (load.refusal(narrow) is not None) == refused


def test_a_drift_and_a_step_are_told_apart_and_a_waits_curve_from_a_latencys() -> None:
    """Whichever explains the points better."""
    drift = of_curve(CURVE, np.random.default_rng(9), growth=0.05, noise=0.01)
    assert not load.better(drift).course.step
    step = replace(drift, latency_s=CURVE.latency_s(drift.load) * np.where(drift.period, 1.3, 1.0))
    assert load.better(step).course.step
    one = drift.select(drift.period == 0)
    assert not load.better(one).course.step
    rng = np.random.default_rng(10)
    wait = replace(CURVE, less=0.98)
    waits = replace(drift, latency_s=wait.latency_s(drift.load) * np.exp(rng.normal(0, 0.01, 40)))
    assert load.better(waits, waits=True).curve.less in WAITS
    assert load.better(drift, waits=True).curve.less == 0.0
    assert load.better(waits, waits=True).cost < 0.2 * load.better(waits).cost


# -- curves -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("phi", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_slopes_are_derivatives_and_the_wall_is_where_latency_is_three_times(phi: float) -> None:
    """By differences; with and without a part that is not counted; beyond capacity a line."""
    rho = np.array([0.05, 0.3, 0.6, 0.9, 0.979])
    for less in (0.0, 0.5, 0.98):
        value, slope = waiting(rho, phi, less)
        ahead = waiting(rho + 1e-7, phi, less)[0]
        assert slope == pytest.approx((ahead - value) / 1e-7, rel=1e-3)
        assert np.exp(value) == pytest.approx(np.exp(slowdown(rho, phi)[0]) - less)
    wall = float(wall_utilisation(np.array(phi)))
    reached = float(np.exp(slowdown(np.array([min(wall, 0.98)]), phi)[0][0]))
    if WALL_TIMES * phi > 2:
        assert wall == 1.0
    else:
        assert reached == pytest.approx(WALL_TIMES, rel=1e-6)
        assert float(wall_utilisation(np.array(phi), 1.5)) < wall


def test_elasticity_is_the_percent_of_latency_for_a_percent_of_load() -> None:
    """Of an M/M/1: rho / (1 - rho)."""
    assert CURVE.elasticity(30.0) == pytest.approx(1.0)
    assert CURVE.elasticity(45.0) == pytest.approx(3.0)
    more = CURVE.latency_s(np.array([30.0, 30.03]))
    assert math.log(more[1] / more[0]) / math.log(1.001) == pytest.approx(1.0, rel=0.01)
    assert Curve.of(0.01, 0.0, 0.0) == Curve(0.01, math.inf, 0.0)
    drifted = CURVE.latency_s(np.array([20.0]), 0.2)[0]
    assert drifted == pytest.approx(math.exp(0.2) * CURVE.latency_s(np.array([20.0 * math.exp(0.2)]))[0])


@pytest.mark.parametrize("servers", range(1, 9))
@pytest.mark.parametrize("variability", [0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0])
def test_every_usual_pool_is_like_one_of_the_shapes_up_to_its_wall(servers: int, variability: float) -> None:
    """Within 5 % of its latency, where its capacity may be read a fifth too small or too large."""
    pool = Shape.pool(servers, variability)
    rho = np.linspace(0.05, pool.wall(), 40)
    scales = [scale for scale in np.linspace(0.8, 1.2, 41).tolist() if scale * rho[-1] < 0.995]
    apart = [
        np.abs(shape.slowdown(scale * rho)[0] - pool.slowdown(rho)[0]).max()
        for shape in SHAPES
        if shape.phi == 0
        for scale in scales
    ]
    assert min(apart) < 0.05

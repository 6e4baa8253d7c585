"""Laws of the load fit's parts: courses of growth, noise, the surface that is integrated, and its draws."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import integrate, stats
from scipy.optimize import least_squares

from tracescope.analysis.capacity import load_model as load
from tracescope.analysis.capacity.curve import SHAPES, WALLS, Curve, slowdowns, waiting
from tracescope.analysis.capacity.load_model import DRIFT, Course, Fit, Points

Floats = NDArray[np.float64]
NONE_LESS = 0.0


def windows(
    latency_s: Floats, *, arrivals: Floats | None = None, calls: float = 1000.0, heads: int = 0
) -> Points:
    """Twelve weeks of windows; the last `heads` of them are head's."""
    n = len(latency_s)
    x = np.random.default_rng(5).permutation(np.linspace(8.0, 32.0, n)) if arrivals is None else arrivals
    period = (np.arange(n) >= n - heads).astype(np.int64)
    return Points(np.linspace(-12, 0, n), x, latency_s, np.full(n, calls), period)


def drawn(seed: int = 0, *, n: int = 40, capacity: float = 60.0, noise: float = 0.03) -> Points:
    """Windows of an M/M/1 that gets 2 % a week slower, seen through noise."""
    points = windows(np.ones(n))
    rng = np.random.default_rng(seed)
    took = Curve(0.01, capacity, 0.0).latency_s(points.load, 0.02 * points.weeks)
    return replace(points, latency_s=took * np.exp(noise * rng.standard_normal(n)))


# -- when growth comes ------------------------------------------------------------------------------


def test_a_course_is_level_before_it_begins_and_ends_at_nothing_now() -> None:
    """By hand, at its beginning and on either side of it, in weeks from now."""
    weeks = np.array([-6.0, -4.0, -3.0, -1.0, 0.0])
    assert DRIFT.time(weeks).tolist() == weeks.tolist()
    assert Course(-4.0).time(weeks).tolist() == [-4.0, -4.0, -3.0, -1.0, 0.0]
    assert Course(-4.0, step=True).time(weeks).tolist() == [-1.0, 0.0, 0.0, 0.0, 0.0]
    assert Course(-4.0, jump=0.5).time(weeks).tolist() == [-6.0, -4.0, -3.0, -1.0, 0.0]
    assert [
        course.words for course in (DRIFT, Course(-4.0), Course(-4.0, step=True), Course(-4.0, jump=1))
    ] == [
        "",
        "a rise",
        "a step",
        "a step that goes on rising",
    ]


def test_courses_within_head_begin_by_eighths_of_it() -> None:
    """Rises begin in its second to seventh eighth; with it begins a step that goes on by more and more."""
    rises = load._rises(-8.0)
    assert [one.since for one in rises] == [-7.0, -6.0, -5.0, -4.0, -3.0, -2.0]
    assert not any(one.step or one.jump for one in rises)
    courses = load._courses(-8.0)
    assert [(one.since, one.jump) for one in courses[:4]] == [
        (-8.0, 0.0),
        (-8.0, 0.5),
        (-8.0, 1.0),
        (-8.0, 2.0),
    ]
    assert courses[4:10] == rises
    assert courses[10:] == [Course(one.since, step=True) for one in rises]


def test_head_begins_with_its_first_window_and_one_period_alone_has_no_between() -> None:
    """Whichever of the two numbers all points have."""
    points = windows(np.ones(6), heads=2)
    assert load._between(points) == points.weeks[4]
    assert load._between(replace(points, period=np.zeros(6, np.int64))) is None
    assert load._between(replace(points, period=np.ones(6, np.int64))) is None
    assert load._between(windows(np.ones(6), heads=1)) == 0.0
    assert load._between(windows(np.ones(6), heads=5)) == points.weeks[1]


# -- noise, and how it hangs together ---------------------------------------------------------------


def test_noise_that_grows_with_the_slowdown_is_told_by_its_power() -> None:
    """Two residuals of a size ``exp(power * slowdown)`` at each load: that power, and two at most."""
    slow = np.repeat(np.linspace(0.0, 2.0, 12), 2)
    sign = np.tile([1.0, -1.0], 12)
    for power, told in ((1.0, 1.0), (1.7, 1.7), (3.0, 2.0), (-1.0, 0.0)):
        assert load._steepness(slow, sign * np.exp(power * slow)) == pytest.approx(told, abs=1e-6), power
        shifted = 7.0 + sign * np.exp(power * slow)  # wherever their median is
        assert load._steepness(slow, shifted) == pytest.approx(told, abs=1e-6), power
    beyond = 1.1 / math.sqrt(((slow - slow.mean()) ** 2).sum())  # the size of a normal's log varies by 1.1
    for times, told in ((0.98, 0.0), (1.02, 1.02 * beyond)):
        found = load._steepness(slow, sign * np.exp(times * beyond * slow))
        assert found == pytest.approx(told, abs=1e-6)


def test_few_points_or_one_load_do_not_tell_how_noise_grows() -> None:
    """Ten points, and a slowdown that varies by a fifth, do."""
    sign = np.tile([1.0, -1.0], 6)
    for n, top, told in ((10, 0.2, 2.0), (8, 0.2, 0.0), (10, 0.19, 0.0), (12, 0.2, 2.0)):
        slow = np.repeat(np.array([0.0, top] * 3), 2)[:n]
        assert load._steepness(slow, sign[:n] * np.exp(20 * slow)) == pytest.approx(told), (n, top)


@pytest.mark.parametrize("truth", [0.3, 0.6])
def test_correlation_of_residuals_is_found_without_bias(truth: float) -> None:
    """On the average over many short series, whatever order the points come in."""
    rng = np.random.default_rng(11)
    points = windows(np.ones(60))
    found: list[float] = []
    for _ in range(300):
        r = np.empty(60)
        r[0] = rng.standard_normal()
        for k in range(1, 60):
            r[k] = truth * r[k - 1] + math.sqrt(1 - truth**2) * rng.standard_normal()
        order = rng.permutation(60)
        found.append(load._correlation(2.5 + r[order], points.select(order)))
    assert float(np.median(found)) == pytest.approx(truth, abs=0.04)


def test_correlation_is_none_within_chance_and_never_all() -> None:
    """By hand: r = 1, 1, 0, -1, -1, 0, ... has the lag-1 correlation of the neighbours that are alike."""
    for repeats in (3, 4, 20):
        r = np.tile([1.0, 1.0, 0.0, -1.0, -1.0, 0.0], repeats)
        n = len(r)
        lag = 2 * repeats / (4 * repeats)
        assert load._correlation(r, windows(np.ones(n))) == pytest.approx(lag + (1 + 4 * lag) / n)
    just = np.array([1.0, 1.0, 0.0, 0.0] * 4 + [-1.0, -1.0, 0.0, 0.0] * 4)  # 1/2
    assert load._correlation(just, windows(np.ones(32))) > 0.5
    few = np.array([2.0, 1.0, -1.0, -2.0])  # (2 - 1 + 2) / 10 is within 1 / sqrt(4)
    assert load._correlation(few, windows(np.ones(4))) == 0.0
    assert load._correlation(np.linspace(-1, 1, 300), windows(np.ones(300))) == 0.85
    assert load._correlation(np.array([1.0, 1.0, -2.0]), windows(np.ones(3))) == 0.0
    assert load._correlation(np.ones(9), windows(np.ones(9))) == 0.0
    four = np.array([1.0, 1.0, 1.0, -3.0])
    assert load._correlation(four, windows(np.ones(4))) == 0.0
    chance = np.array([1.0, 1.0, 0.0, -1.0, 0.0, -1.0] + [0.0] * 10)  # a quarter, and so is 1 / sqrt(16)
    assert load._correlation(chance, windows(np.ones(16))) == 0.0
    slow_turn = np.sin(np.linspace(0, 2 * np.pi, 16))
    assert load._correlation(slow_turn, windows(np.ones(16))) == 0.85


def test_correlation_follows_time_and_then_load() -> None:
    """Windows of one hour stand in the order of their loads."""
    r = np.tile([1.0, 1.0, 0.0, -1.0, -1.0, 0.0], 4)
    points = replace(windows(np.ones(24)), weeks=np.repeat(np.arange(-12.0, 0.0), 2))
    points = replace(points, load=np.tile([10.0, 20.0], 12))
    swapped = np.arange(24).reshape(-1, 2)[:, ::-1].ravel()
    assert load._correlation(r[swapped], points.select(swapped)) == load._correlation(r, points) > 0.5


def test_correlated_residuals_count_for_so_many_fewer() -> None:
    """Bayley and Hammersley: (1 + r) / (1 - r) of them for one."""
    r = np.tile([1.0, 1.0, 0.0, -1.0, -1.0, 0.0], 10)
    points = windows(np.ones(60))
    correlation = 0.5 + 3 / 60
    assert load._inflation(r, points) == pytest.approx((1 + correlation) / (1 - correlation))
    assert load._inflation(np.tile([1.0, -1.0], 30), points) == 1.0


# -- the surface ------------------------------------------------------------------------------------


def surface(seed: int = 1, *, free: bool = True, n: int = 24) -> load._Surface:
    """Of some noisy points, with weights."""
    rng = np.random.default_rng(seed)
    x, time = rng.uniform(0.2, 1.0, n), np.linspace(-6, 0, n) if free else np.zeros(n)
    y = -4 + 0.03 * time - np.log1p(-0.5 * x * np.exp(0.03 * time)) + 0.05 * rng.standard_normal(n)
    return load._Surface(y, x, time, rng.uniform(0.5, 2.0, n), 0.02, free, n / 1.5, 1.5, NONE_LESS)


@pytest.mark.parametrize("free", [True, False])
def test_r0_and_growth_of_a_utilisation_are_those_of_weighted_least_squares(free: bool) -> None:
    """Oracle: NumPy's solver and the textbook's covariance, with what correlation leaves of the points."""
    one = surface(free=free)
    kappa, shape = np.array([0.05, 0.3, 0.55, 0.8]), np.array([0, 3, 9, len(SHAPES) - 1])
    _, log_r0, growth, *errors = one._at(kappa, shape)
    n = len(one.x)
    for k in range(4):
        rho = kappa[k] * one.x * np.exp(one.growth * one.time)
        value, slope = (row[0] for row in slowdowns(shape[k : k + 1], rho[None, :], NONE_LESS))
        h = one.time * (1 + slope * rho)
        design = np.column_stack([np.ones(n), h])[:, : 1 + free]
        root = np.sqrt(one.trust)
        rest = one.y - value - one.growth * one.time
        found, rss, *_ = np.linalg.lstsq(design * root[:, None], rest * root, rcond=None)
        assert log_r0[k] == pytest.approx(found[0], abs=1e-9)
        variance = rss[0] / (one.counted - 3 - free) * one.inflation
        assert errors[0][k] == pytest.approx(math.sqrt(variance / one.trust.sum()), rel=1e-6)
        if free:
            covariance = variance * np.linalg.inv((design * one.trust[:, None]).T @ design)
            assert growth[k] == pytest.approx(one.growth + found[1], abs=1e-9)
            assert errors[1][k] == pytest.approx(math.sqrt(covariance[1, 1]), rel=1e-6)
        else:
            assert growth[k] == one.growth
            assert errors[1][k] == 0.0


@pytest.mark.parametrize("free", [True, False])
def test_the_weight_of_a_utilisation_is_the_likelihood_integrated_over_r0_and_growth(free: bool) -> None:
    """Oracle: quadrature of ``(sum of squares + what shapes differ by) ** (-points / 2)`` (Box and Tiao)."""
    one = surface(free=free)
    kappa, shape = np.array([0.2, 0.5, 0.8]), np.array([0, 0, 9])
    score = one._at(kappa, shape)[0]
    total = one.trust.sum()
    alike = total * (one.counted * 0.0025**2 + 1e-5**2)
    logs: list[float] = []
    for k in range(3):
        rho = kappa[k] * one.x * np.exp(one.growth * one.time)
        value, slope = (row[0] for row in slowdowns(shape[k : k + 1], rho[None, :], NONE_LESS))
        rest, h = one.y - value - one.growth * one.time, one.time * (1 + slope * rho)
        centre = np.average(rest, weights=one.trust)

        def density(
            r0: float, tilt: float = 0.0, rest: Floats = rest, h: Floats = h, at: float = centre
        ) -> float:
            away = rest - at - r0 - tilt * (h - np.average(h, weights=one.trust))
            return float((one.trust @ away**2 + alike) ** (-one.counted / 2)) * 1e-12

        if free:
            whole = integrate.nquad(
                density, [(-0.4, 0.4), (-0.15, 0.15)], opts={"epsrel": 1e-4, "limit": 60}
            )[0]
        else:
            whole = integrate.quad(density, -3, 3, points=[0.0], limit=200)[0]
        logs.append(math.log(whole))
    np.testing.assert_allclose(np.diff(score), np.diff(logs), atol=0.03)


def test_what_fits_exactly_is_known_as_well_as_any_latency_and_a_few_points_no_worse_than_one() -> None:
    """By hand: `LEAST_NOISE` over the root of the points; with four counted points or fewer, one degree."""
    for free in (True, False):
        one = surface(free=free)
        rho = 0.4 * one.x * np.exp(one.growth * one.time)
        value = slowdowns(np.array([0]), rho[None, :], NONE_LESS)[0][0]
        exact = replace(one, y=-4 + value + one.growth * one.time)
        errors = exact._at(np.array([0.4]), np.array([0]))[3]
        assert errors[0] == pytest.approx(1e-5 * math.sqrt(1.5 / (one.counted - 3 - free)), rel=1e-3)
        few, fewer = (
            replace(one, counted=c)._at(np.array([0.4]), np.array([0]))[3][0] for c in (4.0 + free, 2.0)
        )
        assert few == pytest.approx(fewer)


def test_no_utilisation_beyond_capacity_is_drawn_unless_the_fit_went_there() -> None:
    """Nor one far beyond it: a fit that passed its capacity says only that it is full."""
    steep = replace(surface(free=False), growth=0.0)
    steep = replace(steep, y=60 * steep.x + 0.01 * np.random.default_rng(2).standard_normal(24))
    top = float(steep.x.max())
    most = [float(steep.draw(best)["kappa"].max()) * top for best in (0.3, 1.1, 1.2, 9.0)]
    assert most[0] < 1.2 < most[1] < most[2] == most[3] < 1.4


def test_curves_are_drawn_alike_whatever_loads_are_counted_in() -> None:
    """Three times the numbers, a third of the utilisation for each; all else stays."""
    one = surface()
    a, b = one.draw(0.5), replace(one, x=3 * one.x).draw(0.5)
    assert b["kappa"] == pytest.approx(a["kappa"] / 3)
    for name in ("r0_s", "shape", "growth"):
        assert b[name] == pytest.approx(a[name]), name


@pytest.mark.parametrize(
    ("noise", "capacity"), [(0.05, 60.0), (0.01, 45.0), (0.03, 400.0), (0.03, 31.0), (0.03, 1e9)]
)
def test_curves_are_drawn_as_likely_as_they_are(noise: float, capacity: float) -> None:
    """Oracle: every shape at every one of 1000 utilisations, however narrow the likely ones are."""
    points = drawn(3, noise=noise, capacity=capacity)
    solved = load._solve(points)
    one = load._Surface(
        solved.y, solved.x, solved.time, solved.weight**2, float(solved.theta[3]), True, 40.0, 1.0, NONE_LESS
    )
    top = float(np.max(np.exp(one.growth * one.time) * one.x))
    kappas = (np.arange(1000) + 0.5) / 1000 * 1.1 / top
    k, shape = np.tile(kappas, len(SHAPES)), np.repeat(np.arange(len(SHAPES)), len(kappas))
    score, log_r0, growth, error_r0, error_growth = one._at(k, shape)
    chance = np.exp(score - score.max())
    chance /= chance.sum()
    found = one.draw(float(solved.theta[1]) * top)
    assert all(len(values) == load.DRAWS for values in found.values())

    def alike(values: Floats, exact: Floats, extra: Floats | float = 0.0) -> None:
        mean = float(chance @ exact)
        spread = math.sqrt(float(chance @ ((exact - mean) ** 2 + extra)))
        assert float(values.mean()) == pytest.approx(mean, abs=0.2 * spread)
        assert float(values.std()) == pytest.approx(spread, rel=0.2)

    alike(found["kappa"], k)
    alike(found["kappa"] / WALLS[found["shape"].astype(int)], k / WALLS[shape])
    fat = (40 - 4) / (40 - 6)  # variance of Student's t
    alike(np.log(found["r0_s"]), log_r0, fat * error_r0**2)
    alike(found["growth"], growth, fat * error_growth**2)
    assert len(np.unique(found["kappa"])) > 0.9 * load.DRAWS  # no grid shows
    assert found["kappa"].min() >= 0.0


# -- the fit ----------------------------------------------------------------------------------------


def test_the_curve_is_the_nearest_of_all_that_scipy_finds() -> None:
    """Huber's loss of weighted residuals, from several starts; windows of fewer calls weigh less."""
    for seed in range(4):
        points = drawn(seed, noise=0.03)
        points = replace(points, calls=np.random.default_rng(seed).uniform(100, 3000, 40))
        solved = load._solve(points)
        weight = solved.weight
        assert float(np.mean(weight**2)) == pytest.approx(1.0)
        exact = 1 / (1 / points.calls + 1 / np.median(points.calls))
        assert weight**2 == pytest.approx(exact / exact.mean())
        y, x, t = np.log(points.latency_s), points.load / points.load.max(), points.weeks

        def residual(
            theta: Floats, y: Floats = y, x: Floats = x, t: Floats = t, w: Floats = weight
        ) -> Floats:
            return (
                y - theta[0] - theta[3] * t - waiting(theta[1] * x * np.exp(theta[3] * t), theta[2], 0.0)[0]
            ) * w

        start = np.linalg.lstsq(
            np.column_stack([np.ones(40), x, t]) * weight[:, None], y * weight, rcond=None
        )[0]
        rest = (y - np.column_stack([np.ones(40), x, t]) @ start) * weight
        turn = 1.345 * 1.4826 * float(np.median(np.abs(rest - np.median(rest))))
        least = min(
            least_squares(
                residual, [y.min(), rise, phi, g], loss="huber", f_scale=turn,
                bounds=([-np.inf, 0, 0, -3], [np.inf, 3, 1, 3]), x_scale=[1, 0.3, 0.5, 0.1], xtol=1e-12,
            ).cost
            for rise in (0.2, 0.7) for phi in (0.1, 0.9) for g in (0.0,)
        )  # fmt: skip
        assert solved.cost == pytest.approx(2 * least / 40, rel=1e-4)
        np.testing.assert_allclose(solved.residual, residual(solved.theta))


def test_noise_that_grows_near_capacity_takes_weight_from_what_is_near_it() -> None:
    """Weights fall with the slowdown; even noise leaves them even."""
    quiet = load._solve(drawn(2, n=80))
    assert np.ptp(quiet.weight) == pytest.approx(0.0, abs=1e-9)
    points = windows(np.ones(80))
    rng = np.random.default_rng(4)
    curve = Curve(0.01, 34.0, 0.0)
    slow = 1 / (1 - points.load / 34.0)
    loud = load._solve(
        replace(
            points, latency_s=curve.latency_s(points.load) * np.exp(0.01 * slow * rng.standard_normal(80))
        )
    )
    order = np.argsort(points.load)
    assert (np.diff(loud.weight[order]) <= 1e-9).all()
    assert loud.weight[order[0]] > 2 * loud.weight[order[-1]]
    assert float(np.mean(loud.weight**2)) == pytest.approx(1.0)


def solved(residual: Floats, theta: Floats | None = None, points: Points | None = None) -> load._Solved:
    """What was solved with these residuals."""
    n = len(residual)
    points = windows(np.ones(n)) if points is None else points
    theta = np.array([math.log(0.01), 0.5, 0.0, 0.01]) if theta is None else theta
    x = points.load / points.load.max()
    y = (
        theta[0]
        + theta[3] * points.weeks
        + waiting(theta[1] * x * np.exp(theta[3] * points.weeks), theta[2], 0.0)[0]
    )
    return load._Solved(
        points, DRIFT, True, NONE_LESS, x, y + residual, points.weeks, np.ones(n), theta, residual, 0.5
    )


def test_noise_is_told_by_the_middle_residual_and_by_half_their_mean_square_at_least() -> None:
    """By hand: of 40 points four were spent; where most fit exactly, the others still are noise."""
    sign = np.tile([1.0, -1.0], 20)
    even = solved(0.02 * sign).fit()
    assert even.noise == pytest.approx(1.4826 * 0.02 * math.sqrt(40 / 36))
    few = np.where(np.arange(40) % 10 == 0, 0.3, 0.0) * sign
    assert solved(few).fit().noise == pytest.approx(0.3 * math.sqrt(0.1) / 2)
    assert solved(np.zeros(40)).fit().noise == 1e-9
    assert solved(0.02 * sign[:4]).fit().noise == pytest.approx(1.4826 * 0.02 * 2)


def test_the_highest_load_is_told_in_todays_work() -> None:
    """What was served when work was quicker counts for less; what got quicker, for no more."""
    sign = np.tile([1.0, -1.0], 20)
    grown = np.array([math.log(0.01), 0.5, 0.0, 0.05])
    points = replace(windows(np.ones(40)), load=np.linspace(32.0, 8.0, 40))
    told = solved(0.02 * sign, grown, points).fit()
    assert told.highest == pytest.approx(float((points.load * np.exp(0.05 * points.weeks)).max()))
    assert solved(0.02 * sign, grown * [1, 1, 1, -1], points).fit().highest == 32.0
    assert told.curve.capacity == pytest.approx(64.0)
    assert (told.growth, told.cost, told.curve.r0_s) == (0.05, 0.5, pytest.approx(0.01))
    flat = np.array([math.log(0.01), 0.0, 0.0, 0.05])
    assert solved(0.02 * sign, flat, points).fit().curve.capacity == math.inf


def test_intervals_are_as_wide_as_residuals_are_large_and_far_ones_count_by_their_size() -> None:
    """Twice the residuals, twice the error of growth; and errors are a classical regression's.

    With residuals of which every tenth is far, errors are of an M-estimate (Huber 1964), or of the weighted
    mean square where that is more: under those of the plain mean square.
    """
    rng = np.random.default_rng(8)
    r = 0.02 * rng.standard_normal(200)
    design = np.column_stack([np.ones(200), np.linspace(-12, 0, 200)])
    flat = np.array([math.log(0.01), 1e-8, 0.0, 0.01])

    def error(residual: Floats) -> float:
        draws = solved(residual, flat).fit().draws["growth"]
        return float(np.ptp(np.quantile(draws, [0.16, 0.84]))) / 2

    def exact(residual: Floats) -> float:
        turn = 1.345 * solved(residual, flat).fit().noise
        size = np.abs(residual)
        huber = float(np.mean(np.minimum(size, turn) ** 2) / np.mean(size <= turn) ** 2)
        weighted = float(np.average(size**2, weights=np.minimum(turn / size, 1.0)))
        return math.sqrt(max(huber, weighted) * 200 / 196 * np.linalg.inv(design.T @ design)[1, 1])

    assert error(r) == pytest.approx(exact(r), rel=0.1)
    assert error(2 * r) == pytest.approx(2 * error(r), rel=0.1)
    far = np.where(np.arange(200) % 10 == 5, 25 * r, r)
    assert error(far) / error(r) == pytest.approx(exact(far) / exact(r), rel=0.05)
    assert 1.5 * (error(far) / error(r)) ** 2 < float(far @ far / (r @ r))


def test_growth_is_found_up_to_twenty_times_a_week_and_not_where_no_time_passes() -> None:
    """A deploy that doubles work every two days; a step that all points come after."""
    points = replace(windows(np.ones(40)), weeks=np.linspace(-1, 0, 40))
    for growth, told in ((2.5, 2.5), (-2.5, -2.5), (4.0, 3.0)):
        found = load._solve(replace(points, latency_s=0.01 * np.exp(growth * points.weeks)))
        assert found.theta[3] == pytest.approx(told, abs=0.01), growth
    still = drawn(1)
    after = load._solve(still, Course(-99.0, step=True))
    assert not after.free
    assert after.cost == pytest.approx(load._solve(still, growth=False).cost)
    assert load._solve(still, Course(-6.0, step=True)).free


def test_latency_that_falls_with_load_has_no_wall_and_one_that_leaps_is_past_it() -> None:
    """Utilisation at the highest load is from none to three times all."""
    points = windows(np.ones(40))
    x = points.load / points.load.max()
    falling = load._solve(replace(points, latency_s=0.01 * np.exp(-0.2 * x)))
    assert falling.theta[1] == pytest.approx(0.0, abs=1e-6)
    leaping = load._solve(replace(points, latency_s=1e-60 * np.exp(250 * x)))
    assert leaping.theta[1] == pytest.approx(3.0, abs=1e-3)
    assert 0.0 <= leaping.theta[2] <= 1.0


def test_windows_count_for_their_weights_squared_in_what_is_left_open() -> None:
    """Oracle: weighted least squares of log latency by time, where load does nothing."""
    rng = np.random.default_rng(6)
    one = solved(0.02 * rng.standard_normal(200), np.array([math.log(0.01), 1e-8, 0.0, 0.01]))
    weight = np.where(np.arange(200) < 100, 0.4, 1.3)
    raw = weight * (0.02 * rng.standard_normal(200) + 0.04 * (one.time / 6 + 1) ** 2)
    told = replace(one, weight=weight, y=one.y - one.residual + raw / weight, residual=raw).fit()
    trust = weight**2 * np.minimum(1.345 * told.noise / np.abs(raw), 1.0)
    slope = np.polyfit(one.time, 0.01 * one.time + raw / weight, 1, w=np.sqrt(trust))[0]
    spread = float(np.std(told.draws["growth"]))
    assert float(np.median(told.draws["growth"])) == pytest.approx(slope, abs=0.4 * spread)
    even = np.polyfit(one.time, 0.01 * one.time + raw / weight, 1, w=np.sqrt(trust / weight))[0]
    assert abs(even - slope) > spread


# -- which course -----------------------------------------------------------------------------------


def rising(seed: int = 0) -> Points:
    """Head gets slower from its middle on; nothing before."""
    points = windows(np.ones(80), heads=40)
    rng = np.random.default_rng(seed)
    grown = 0.1 * np.maximum(points.weeks + 3, 0.0)
    took = Curve(0.01, 80.0, 0.0).latency_s(points.load, grown)
    return replace(points, latency_s=took * np.exp(0.02 * rng.standard_normal(80)))


def test_another_course_is_looked_for_only_where_residuals_hang_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From a correlation of 0.4 on, in one period alone too; the doubt is that of its neighbours."""
    points = rising()
    told = load.better(points)
    assert told.course.words == "a rise"
    assert -4 <= told.course.since <= -2
    assert told.doubt > 0
    alone = load.better(replace(points, period=np.zeros(80, np.int64)))
    assert alone.course.words == "a rise"
    assert -4.5 <= alone.course.since <= -1.5
    for correlation, steady in ((0.39, True), (0.41, False)):
        monkeypatch.setattr(load, "_correlation", lambda *_, c=correlation: c)
        assert (load.better(points).course.words != "a rise") == steady
        assert (load.better(points).doubt == 0.0) == steady


# -- what is made of it -----------------------------------------------------------------------------


def made(**draws: Floats) -> Fit:
    """A fit with these draws."""
    zero = np.zeros(4)
    left = {"r0_s": zero + 0.01, "capacity": zero + 60, "shape": zero, "growth": zero} | draws
    return Fit(Curve(0.01, 60.0, 0.0), 0.0, DRIFT, left, 0.02, 50.0, 0.0, 30.0)


def test_each_draw_is_slower_by_its_own_curve_and_without_end_from_its_capacity_on() -> None:
    """M/M/1 at a half, at nearly all, at all and at more than all of capacity."""
    told = made(capacity=np.array([60.0, 40.0, 30.0, 20.0])).slower(30.0)
    np.testing.assert_allclose(told, [2.0, 4.0, np.inf, np.inf])


def test_an_interval_is_widened_by_independent_errors() -> None:
    """3, 4 and 5 on either side; an estimate that lies outside has no less than the new error."""
    error = 4 / load.NORMAL_95
    assert load._widened((7.0, 10.0 + 7.5), 10.0, error) == pytest.approx((5.0, 10 + math.hypot(7.5, 4)))
    assert load._widened((11.0, 12.0), 10.0, error) == pytest.approx((6.0, 10 + math.hypot(2, 4)))
    assert load._widened((7.0, 9.0), 10.0, error) == pytest.approx((5.0, 14.0))


def test_elasticity_of_one_load_is_its_curves_and_of_several_that_of_their_mean() -> None:
    """M/M/1: rho / (1 - rho); each load by its part of the whole latency; work that grew is more load."""
    fitted = made()
    one = windows(np.ones(1), arrivals=np.array([30.0]))
    assert load._elasticity(fitted, one, np.zeros(1)) == pytest.approx(1.0, rel=1e-2)
    two = replace(windows(np.ones(2), arrivals=np.array([30.0, 45.0])), calls=np.array([300.0, 100.0]))
    took = np.array([2.0, 4.0]) * two.calls
    exact = float(np.average([1.0, 3.0], weights=took))
    assert load._elasticity(fitted, two, np.zeros(2)) == pytest.approx(exact, rel=1e-2)
    grown = replace(fitted, growth=-0.1)
    rho = 0.5 * math.exp(0.2)
    assert load._elasticity(grown, one, np.array([-2.0])) == pytest.approx(rho / (1 - rho), rel=1e-2)
    assert load._elasticity(grown, one, np.array([-900.0])) == pytest.approx(50 * 0.5 * math.exp(20), rel=0.1)


def test_a_period_stands_for_its_mean_moment_unless_growth_bends_within_it() -> None:
    """By hand: quarters of the calls for a rise, its two levels for a step, one moment for a drift."""
    time, calls = np.array([-4.0, -3.0, -2.0, -1.0]), np.array([100.0, 100.0, 100.0, 100.0])
    assert load._moments(DRIFT, time, calls) == [(-2.5, 1.0)]
    assert load._moments(DRIFT, time, calls * [3, 1, 0, 0]) == [(-3.75, 1.0)]
    assert load._moments(Course(-6.0), time - 1, calls) == [
        (-5.0, 0.25), (-4.0, 0.25), (-3.0, 0.25), (-2.0, 0.25)
    ]  # fmt: skip
    level = load._moments(Course(-3.0), np.array([-3.0, -3.0, -2.0, -1.0]), calls)
    assert level == [(-3.0, 0.5), (-2.0, 0.25), (-1.0, 0.25)]
    step = load._moments(Course(-2.0, step=True), np.array([-1.0, -1.0, -1.0, 0.0]), calls * [1, 1, 1, 7])
    assert step == [(-1.0, pytest.approx(0.3)), (0.0, pytest.approx(0.7))]
    stepped = load._moments(Course(-2.0, step=True), np.array([-1.0, 0.0, 0.0, 0.0]), calls)
    assert stepped == [(-1.0, 0.25), (0.0, 0.75)]
    uneven = np.array([1.0, 3.0, 2.0, 3.5, 0.5])  # whose middles lie at 5, 25, 50, 77.5 and 97.5 % of all
    assert load._moments(Course(-6.0), np.arange(-5.0, 0.0), uneven) == [
        (-5.0, 0.1), (-4.0, pytest.approx(0.3)), (pytest.approx(-3.0), pytest.approx(0.2)),
        (pytest.approx(-1.875), pytest.approx(0.4)),
    ]  # fmt: skip
    early = np.array([48.0, 2.0, 50.0])  # whose middles lie at 24, 49 and 75 %
    assert len(load._moments(Course(-6.0), np.arange(-5.0, -2.0), early)) == 3
    last = load._moments(Course(-9.0), np.array([-2.0, -1.0]), np.array([1.0, 1e9]))
    assert sum(part for _, part in last) == pytest.approx(1.0)


def test_another_fit_is_clearly_better_by_the_points_that_are_independent() -> None:
    """Six in ``n * log(mean square)``, of all or of so many."""
    points = windows(np.ones(20))
    best, other = (replace(solved(np.zeros(20), points=points), cost=cost) for cost in (math.exp(0.3), 1.0))
    assert load.clearly_better(other, best, 20.01)
    assert not load.clearly_better(other, best, 19.99)
    assert not load.clearly_better(best, other, 2000.0)
    assert load.clearly_better(replace(other, cost=0.0), best, 20.0)
    assert not load.clearly_better(replace(other, cost=0.0), replace(best, cost=0.0), 1e9)


def test_what_courses_make_of_growth_varies_as_they_are_likely() -> None:
    """Two that fit alike: half of what they differ by; one that fits far worse counts for nothing."""
    points = windows(np.ones(8), heads=2)  # head's two windows weigh 1000 calls each
    points = replace(points, calls=np.array([1000.0] * 6 + [3000.0, 1000.0]))
    theta = np.array([0.0, 0.5, 0.0, 0.02])
    one = solved(np.zeros(8), theta, points)
    other = replace(one, theta=theta * [1, 1, 1, 3])
    when = float(points.weeks[6] * 0.75 + 12)
    exact = when * (0.06 - 0.02) / 2
    assert load._doubt([one, other], one, 10.0) == pytest.approx(exact)
    assert load._doubt([one], one, 10.0) == pytest.approx(0.0, abs=1e-9)
    worse = replace(other, cost=one.cost * math.exp(4 / 10 * math.log(3)))  # a third as likely
    share = np.array([0.75, 0.25])
    grown = when * np.array([0.02, 0.06])
    spread = math.sqrt(share @ (grown - share @ grown) ** 2)
    assert load._doubt([one, worse], one, 10.0) == pytest.approx(spread)
    assert load._doubt([one, replace(other, cost=1e9)], one, 40.0) == pytest.approx(0.0, abs=1e-6)


def test_growth_is_told_up_to_twenty_times_e_and_no_further() -> None:
    """Of one window each, where load does nothing: what grew for fifteen weeks, and for thirty."""
    flat = replace(made(), curve=Curve(0.01, math.inf, 0.0), growth=1.0)
    for weeks, told in ((15.0, 15.0), (30.0, 20.0)):
        for sign in (1, -1):
            points = replace(windows(np.ones(2), heads=1), weeks=np.array([-weeks, 0.0]))
            found = load.shift(replace(flat, growth=float(sign)), points)
            assert (found.growth, found.load) == (pytest.approx(sign * told), pytest.approx(0.0))
    wild = surface(free=False)
    wild = replace(wild, y=wild.y + 40 * np.random.default_rng(4).standard_normal(24))
    logs = np.log(wild.draw(0.5)["r0_s"])
    away = logs - np.median(logs)
    assert 15 < float(away.max()) < 25
    assert -25 < float(away.min()) < -15


def test_the_parts_of_a_change_are_those_of_calls_at_the_curves_latency() -> None:
    """Oracle: mean latencies of both loads at both moments; load's part at the mean of the two moments."""
    points = windows(np.ones(8), arrivals=np.array([10, 15, 20, 25, 20, 25, 30, 35.0]), heads=4)
    points = replace(points, calls=np.array([1, 2, 3, 4, 5, 6, 7, 8.0]))
    fitted = replace(made(growth=np.linspace(0.0, 0.02, 4)), growth=0.01)
    told = load.shift(fitted, points)
    base, head = points.select(points.period == 0), points.select(points.period == 1)

    def parts(growth: float) -> tuple[float, float]:
        when = [float(np.average(side.weeks, weights=side.calls)) for side in (base, head)]
        logs = [
            [
                math.log(np.average(fitted.curve.latency_s(side.load, growth * at), weights=side.calls))
                for at in when
            ]
            for side in (base, head)
        ]
        more = (logs[1][0] - logs[0][0] + logs[1][1] - logs[0][1]) / 2
        return more, logs[1][1] - logs[0][0] - more

    assert (told.load, told.growth) == pytest.approx(parts(0.01))
    each = np.array([parts(growth) for growth in np.linspace(0.0, 0.02, 4)])
    low, high = np.quantile(each[:, 0], [0.16, 0.84])
    assert told.load_error == pytest.approx((high - low) / 2)
    assert told.growth_interval == pytest.approx((each[0, 1], each[3, 1]))
    unsure = load.shift(fitted, points, 0.05)
    times = load._elasticity(fitted, head, head.weeks)
    assert unsure.load_error == pytest.approx(math.hypot((high - low) / 2, 0.05 * times))
    more = 1.96 * 0.05 * times
    assert unsure.growth_interval == pytest.approx(
        (
            told.growth - math.hypot(told.growth - each[0, 1], more),
            told.growth + math.hypot(each[3, 1] - told.growth, more),
        )
    )
    doubted = load.shift(replace(fitted, doubt=0.1), points)
    assert doubted.load_error == pytest.approx(math.hypot((high - low) / 2, 0.1))
    assert stats.norm.ppf(0.975) == pytest.approx(load.NORMAL_95, abs=1e-4)

"""Standard errors, degrees of freedom, false discovery rate: against scipy and against simulated truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from tracescope.analysis.statistics import significance
from tracescope.analysis.statistics.significance import (
    CORRELATIONS,
    Spread,
    benjamini_hochberg,
    combine,
    interval,
    jackknife,
    of_few_days,
    shrink,
)

Floats = NDArray[np.float64]
P_VALUES = st.lists(st.sampled_from([0.0, 1e-9, 0.01, 0.02, 0.03, 0.04, 0.5, 0.9, 1.0]), max_size=30)


def of_mean(values: Floats, shape: Floats | None = None, *, days: bool = False, scale: float = 0.0) -> Spread:
    """Spread of the mean of every column of blocks ``(n, k)``."""
    n = len(values)
    without = (values.sum(axis=0) - values) / (n - 1)
    columns = np.empty((n, 0)) if shape is None else shape
    return jackknife(values.mean(axis=0), without, columns, scale, days=days)


def series(rng: np.random.Generator, blocks: int, width: int, correlation: float) -> Floats:
    """AR(1) columns of variance 1."""
    out = rng.standard_normal((blocks, width))
    for k in range(1, blocks):
        out[k] = correlation * out[k - 1] + math.sqrt(1 - correlation**2) * out[k]
    return out


def seesaw(rng: np.random.Generator, blocks: int) -> Floats:
    """Values that show no positive correlation: each lies on the other side of their mean."""
    size = np.abs(rng.standard_normal(blocks)) + 0.5
    return 7 + size * np.where(np.arange(blocks) % 2, 1.0, -1.0)


# -- false discovery rate ---------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(P_VALUES)
def test_adjusted_p_values_are_scipys(values: list[float]) -> None:
    """In any order, with ties, and never out of order: a smaller p never has a larger q."""
    p = np.array(values)
    found = benjamini_hochberg(p)
    assert found == pytest.approx(stats.false_discovery_control(p, method="bh") if len(p) else p)


def test_adjusted_p_values_of_noise_are_scipys() -> None:
    """Where the cumulative minimum decides: raw ``p * k / rank`` falls and rises."""
    p = np.array([0.02, 0.021, 0.022, 0.2, 0.9])
    assert (np.diff(p * 5 / np.arange(1, 6)) < 0).any()
    assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p))
    assert benjamini_hochberg(p)[0] == pytest.approx(0.022 * 5 / 3)


# -- Welch and Student ------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "m", "times"), [(8, 8, 1.0), (6, 30, 4.0), (30, 5, 0.2), (9, 9, 10.0)])
def test_a_difference_has_welchs_error_and_degrees_of_freedom(n: int, m: int, times: float) -> None:
    """Unequal numbers and unequal variances, as scipy's t-test that assumes neither equal."""
    rng = np.random.default_rng(3)
    a, b = seesaw(rng, n), times * seesaw(rng, m)
    found = combine(of_mean(b[:, None]), of_mean(a[:, None]))
    expected = stats.ttest_ind(a, b, equal_var=False)
    assert found.dof[0] == pytest.approx(expected.df)
    assert found.error[0] == pytest.approx(abs((a.mean() - b.mean()) / expected.statistic))
    bounds = expected.confidence_interval(0.95)
    quantile = float(stats.t.ppf(0.975, found.dof[0]))
    assert interval(a.mean() - b.mean(), found.error[0], quantile) == pytest.approx((bounds.low, bounds.high))


def test_degrees_of_freedom_lie_between_the_smaller_of_both_and_their_sum() -> None:
    """And the more certain period hardly counts."""
    rng = np.random.default_rng(5)
    base = Spread(rng.lognormal(0, 2, 200), rng.integers(1, 40, 200).astype(float))
    head = Spread(rng.lognormal(0, 2, 200), rng.integers(1, 40, 200).astype(float))
    found = combine(base, head)
    assert found.error == pytest.approx(np.hypot(base.error, head.error))
    assert (found.dof >= np.minimum(base.dof, head.dof) - 1e-9).all()
    assert (found.dof <= base.dof + head.dof + 1e-9).all()
    alone = combine(base, Spread(0 * head.error, head.dof))
    assert alone.dof == pytest.approx(base.dof)


def test_what_has_no_error_or_an_infinite_one_stays_a_number() -> None:
    """Never NaN; one degree of freedom where nothing is known."""
    zero, never = np.zeros(1), np.array([math.inf])
    none = combine(Spread(zero, np.ones(1)), Spread(zero, np.ones(1)))
    assert (none.error[0], none.dof[0]) == (0.0, 1.0)
    lost = combine(Spread(never, np.ones(1)), Spread(np.ones(1), np.full(1, 9.0)))
    assert (lost.error[0], lost.dof[0]) == (math.inf, 1.0)
    assert interval(1.0, math.inf, 2.0) is None
    assert interval(1.0, 0.5, 2.0) == (0.0, 2.0)


@pytest.mark.parametrize("blocks", [4, 7, 12, 30])
def test_the_error_of_a_mean_of_independent_blocks_is_scipys(blocks: int) -> None:
    """Without correlation the jackknife is the textbook's standard error, with n - 1 degrees of freedom."""
    values = seesaw(np.random.default_rng(blocks), blocks)
    found = of_mean(values[:, None])
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert found.error[0] == pytest.approx(stats.sem(values))
    assert found.dof[0] == pytest.approx(blocks - 1)
    quantile = float(stats.t.ppf(0.975, found.dof[0]))
    assert interval(values.mean(), found.error[0], quantile) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("blocks", [9, 20])
def test_what_is_no_noise_is_taken_out_and_costs_its_degree_of_freedom(blocks: int) -> None:
    """A line in time and weekends: the error is that of least squares' residuals."""
    rng = np.random.default_rng(blocks)
    at = np.arange(blocks)
    shape = np.column_stack([at - at.mean(), (at % 7 >= 5) - (at % 7 >= 5).mean()])
    values = seesaw(rng, blocks) + shape @ [3.0, -20.0]
    found = of_mean(values[:, None], shape)
    design = np.column_stack([np.ones(blocks), shape])
    rest = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    assert found.dof[0] == pytest.approx(blocks - 3)
    assert found.error[0] == pytest.approx(math.sqrt(float(rest @ rest) / (blocks - 3) / blocks))


# -- serial correlation -----------------------------------------------------------------------------


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.6, 0.8])
@pytest.mark.parametrize("blocks", [8, 14, 28])
def test_intervals_of_correlated_blocks_hold_the_truth_as_often_as_they_say(
    blocks: int, correlation: float
) -> None:
    """95 %: between 92 and 98 of 100, so neither blind nor certain; the means are of 2,000 series."""
    held = []
    for seed in range(50):
        values = series(np.random.default_rng(1000 * blocks + seed), blocks, 40, correlation)
        found = of_mean(values)
        reach = stats.t.ppf(0.975, found.dof) * found.error
        held.append(np.abs(values.mean(axis=0)) <= reach)
    assert 0.92 <= np.mean(held) <= 0.98, np.mean(held)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8])
def test_the_error_is_that_of_the_correlated_series(correlation: float) -> None:
    """Oracle: the variance of the mean of AR(1), by the sum over its autocovariances."""
    blocks = 10
    values = series(np.random.default_rng(8), blocks, 3000, correlation)
    lags = np.arange(1, blocks)
    truth = math.sqrt((blocks + 2 * ((blocks - lags) * correlation**lags).sum()) / blocks**2)
    assert math.sqrt(float((of_mean(values).error ** 2).mean())) == pytest.approx(truth, rel=0.05)
    assert float(values.mean(axis=0).std()) == pytest.approx(truth, rel=0.05)


def test_more_correlation_means_a_larger_error_and_fewer_degrees_of_freedom() -> None:
    """The same values, once in an order that hides how alike neighbours are."""
    rng = np.random.default_rng(4)
    smooth = np.sort(rng.standard_normal((20, 5)), axis=0)
    smooth = np.concatenate([smooth[::2], smooth[::-2]])  # up and down again: no step, much correlation
    stirred = rng.permutation(smooth, axis=0)
    alike, mixed = of_mean(smooth), of_mean(stirred)
    assert (alike.error > 1.5 * mixed.error).all()
    assert (alike.dof < 0.5 * mixed.dof).all()


def test_the_edges_together_show_correlation_that_one_of_them_hides() -> None:
    """What all show together is the least that each has, and of a dozen blocks each may show more."""
    rng = np.random.default_rng(6)
    others = series(rng, 10, 60, 0.7)
    odd = seesaw(rng, 10)[:, None]
    alone, among = of_mean(odd), of_mean(np.column_stack([others, odd]))
    assert among.error[-1] > 1.3 * alone.error[0]
    rng = np.random.default_rng(7)
    for blocks, more in ((11, False), (12, True)):
        calm = np.stack([seesaw(rng, blocks) for _ in range(60)], axis=1)
        slow = np.cumsum(rng.standard_normal(blocks))[:, None]
        slow = np.concatenate([np.linspace(0, 3, (blocks + 1) // 2), np.linspace(3, 0, blocks // 2)])[:, None]
        found = of_mean(np.column_stack([calm, slow]))
        assert (found.error[-1] > 1.3 * stats.sem(slow)[0]) == more


# -- changes of level, few days, constants ----------------------------------------------------------


@pytest.mark.parametrize("at", [4, 10, 17])
def test_a_change_of_level_is_looked_for_and_is_no_noise(at: int) -> None:
    """A step of thirty deviations leaves the error that the noise around it has; one of two is noise."""
    rng = np.random.default_rng(at)
    quiet = seesaw(rng, 20)
    step = (np.arange(20) >= at).astype(np.float64)
    whole = of_mean((quiet + 30.0 * step)[:, None])
    known = of_mean(quiet[:, None], step[:, None] - step.mean())
    assert whole.error[0] == pytest.approx(known.error[0], rel=0.1)
    assert whole.dof[0] == pytest.approx(known.dof[0], rel=0.01)
    small = of_mean((quiet + 3.0 * step)[:, None])
    assert small.dof[0] > known.dof[0] or small.error[0] > 1.2 * known.error[0]


def test_a_step_of_one_edge_is_no_step_of_the_others() -> None:
    rng = np.random.default_rng(9)
    calm = np.stack([seesaw(rng, 16) for _ in range(5)], axis=1)
    stepped = calm.copy()
    stepped[:, 2] += 40.0 * (np.arange(16) >= 6)
    before, after = of_mean(calm), of_mean(stepped)
    others = [0, 1, 3, 4]
    assert after.error[others] == pytest.approx(before.error[others])
    assert after.dof[others] == pytest.approx(before.dof[others])
    assert after.dof[2] == pytest.approx(14)


def test_blocks_that_are_too_few_show_no_error_at_all() -> None:
    """One block, or as many columns of shape as blocks: nothing is known, and it says so."""
    one = of_mean(np.array([[1.0], [2.0]]), np.array([[-0.5], [0.5]]))
    assert (one.error[0], one.dof[0]) == (math.inf, 1.0)
    single = jackknife(np.ones(3), np.ones((1, 3)), np.empty((1, 0)))
    assert np.isinf(single.error).all()
    two = of_mean(np.array([[1.0], [2.0]]))
    assert math.isfinite(two.error[0])


def test_three_blocks_are_taken_to_be_correlated_and_four_are_asked() -> None:
    """Fewer than can tell are assumed to resemble one another by a half."""
    for blocks, factor in ((3, True), (4, False)):
        values = seesaw(np.random.default_rng(2), blocks)
        found = of_mean(values[:, None])
        if not factor:
            assert found.error[0] == pytest.approx(stats.sem(values))
            continue
        at = np.arange(blocks)
        alike = 0.5 ** np.abs(at[:, None] - at)
        rest = np.eye(blocks) - 1 / blocks
        expected = float(((values - values.mean()) ** 2).sum() * alike.mean() / np.trace(rest @ alike @ rest))
        assert found.error[0] == pytest.approx(math.sqrt(expected), rel=1e-6)
        assert found.error[0] > 1.2 * stats.sem(values)


def test_a_constant_has_no_error_whatever_its_size() -> None:
    """What rounding leaves of it is no noise."""
    values = np.tile([1e9 / 3, 0.1, 7.0, 0.0], (9, 1))
    assert of_mean(values).error.tolist() == [0.0] * 4
    tiny = of_mean(7 + 1e-6 * seesaw(np.random.default_rng(1), 9)[:, None])
    assert tiny.error[0] > 0


def test_what_rounding_leaves_of_large_numbers_shows_no_correlation() -> None:
    """Effects that are nothing but the last digits of sums change the errors of others by rounding alone."""
    rng = np.random.default_rng(12)
    real = series(rng, 14, 6, 0.5)
    alone = of_mean(real)
    for seed in range(3):
        dust = 1e-15 * np.cumsum(np.random.default_rng(seed).standard_normal((14, 9)), axis=0)
        values = np.column_stack([real, dust])
        without = (values.sum(axis=0) - values) / 13
        found = jackknife(values.mean(axis=0), without, np.empty((14, 0)), np.full(15, 10.0))
        assert found.error[:6] == pytest.approx(alone.error, rel=1e-13)
        assert found.error[6:].tolist() == [0.0] * 9
        unscaled = jackknife(values.mean(axis=0), without, np.empty((14, 0)))
        assert unscaled.error[:6] == pytest.approx(alone.error, rel=1e-13)


@pytest.mark.parametrize("days", [2, 3])
def test_few_days_differ_by_at_least_what_days_do(days: int) -> None:
    """Alike by chance: what is assumed counts.  Far apart: a mean of both variances, by what each knows."""
    scale = np.array([10.0, 10.0, 0.0])
    at = np.arange(days)
    assumed = 0.15 * 10.0 * math.sqrt(float((0.5 ** np.abs(at[:, None] - at)).mean()))
    shown = Spread(np.array([0.01, 5.0, 3.0]), np.array([1.0, 2.0, 1.0]))
    found = of_few_days(shown, scale, days)
    assert found.error[0] == pytest.approx(assumed)
    assert found.error[1] == pytest.approx(math.sqrt((4 * assumed**2 + 2.0 * 25.0) / (4 + 2.0)))
    assert assumed < found.error[1] < 5.0
    assert found.error[2] == pytest.approx(math.sqrt(9.0 / 5.0))
    assert found.dof.tolist() == [30.0, 6.0, 5.0]


def test_days_that_are_enough_speak_for_themselves() -> None:
    shown = Spread(np.array([0.01]), np.array([3.0]))
    assert of_few_days(shown, np.array([100.0]), 4) is shown


# -- shrinkage --------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_a_shrunk_value_keeps_its_sign_and_is_nothing_within_one_error(value: float, error: float) -> None:
    """The formula of Efron and Morris, where it is positive."""
    found = float(shrink(np.array([value]), np.array([error]))[0])
    assert abs(found) <= abs(value)
    if abs(value) <= error:
        assert found == 0.0
    else:
        assert found == pytest.approx(value - error**2 / value)


def test_a_value_whose_error_is_unknown_is_what_it_is() -> None:
    assert shrink(np.array([3.0, 0.0]), np.array([math.inf, 1.0])).tolist() == [3.0, 0.0]


def test_correlations_that_are_told_apart_are_a_fine_scale_from_none() -> None:
    """Steps of 0.02 up to 0.9: a coarser one would be seen in the errors."""
    assert CORRELATIONS[0] == 0.0
    assert np.diff(CORRELATIONS).max() <= 0.0201
    assert CORRELATIONS[-1] == pytest.approx(0.9)


@pytest.mark.parametrize(("blocks", "correlation"), [(10, 0.0), (16, 0.5), (30, 0.5)])
def test_one_series_in_a_thousand_is_taken_for_a_step_by_chance(blocks: int, correlation: float) -> None:
    """A degree of freedom less tells which; more correlation needs a clearer step."""
    taken = 0
    for seed in range(5):
        values = series(np.random.default_rng(seed), blocks, 1000, correlation)
        values = values - values.mean(axis=0)
        moments = significance._moments(blocks, np.empty((blocks, 0)).tobytes())
        usual = float(np.interp(significance._usual_lag(values), moments.lagged, CORRELATIONS))
        clear = significance.CLEAR_STEP[0] + significance.CLEAR_STEP[1] * blocks * usual
        taken += int((significance._without_steps(values, moments, clear)[1] >= 0).sum())
    assert taken <= 25, taken
    # and one of many deviations is found from two blocks on either side
    for at in (1, 2, blocks - 2, blocks - 1):
        step = 50.0 * (np.arange(blocks) >= at)[:, None] + values[:, :1]
        found = significance._without_steps(step - step.mean(), moments, 22.0)[1][0]
        assert (found == at) == (2 <= at <= blocks - 2), at


def test_a_correlation_that_chance_shows_among_many_edges_is_not_believed() -> None:
    """Forty edges over fourteen independent days: errors are those of independent days, but for few."""
    rng = np.random.default_rng(8)
    over = [
        of_mean(pseudo, days=True).error / (pseudo.std(axis=0, ddof=1) / math.sqrt(14))
        for pseudo in (rng.standard_normal((14, 40)) for _ in range(40))
    ]
    assert np.quantile(np.concatenate(over), 0.9) < 1.6
    assert float(np.mean(over)) < 1.35


def test_a_correlation_beyond_chance_is_believed_of_one_edge_alone() -> None:
    """One edge whose days take after each other (0.8) among forty whose do not: its error is wider."""
    rng = np.random.default_rng(9)
    wider = 0
    for _ in range(20):
        pseudo = rng.standard_normal((28, 40))
        for day in range(1, 28):
            pseudo[day, 0] = 0.8 * pseudo[day - 1, 0] + 0.6 * pseudo[day, 0]
        shown = pseudo[:, 0].std(ddof=1) / math.sqrt(28)
        wider += bool(of_mean(pseudo, days=True).error[0] > 1.5 * shown)
    assert wider >= 12, wider

"""Laws of significance by plain matrices: what correlation does to residuals, and what to believe."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import brentq
from test_significance import of_mean

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


# -- residuals of a correlated series ---------------------------------------------------------------


@pytest.mark.parametrize("blocks", [5, 9, 20])
@pytest.mark.parametrize("lines", [0, 1])
def test_moments_of_residuals_are_those_of_the_projected_covariance(blocks: int, lines: int) -> None:
    """Oracle: traces of the residual-making matrix times the AR(1) covariance; Satterthwaite's degrees."""
    shape = (
        np.column_stack([np.arange(blocks) - (blocks - 1) / 2.0] * lines) if lines else np.empty((blocks, 0))
    )
    found = significance._moments(blocks, np.ascontiguousarray(shape).tobytes())
    columns = np.column_stack([np.ones(blocks), shape])
    rest = np.eye(blocks) - columns @ np.linalg.pinv(columns)
    lag = (np.eye(blocks, k=1) + np.eye(blocks, k=-1)) / 2
    lagged: list[float] = []
    for k, correlation in enumerate(CORRELATIONS.tolist()):
        series = correlation ** np.abs(np.subtract.outer(np.arange(blocks), np.arange(blocks)))
        squares = rest @ series
        total = float(np.trace(squares))
        lagged.append(float(np.trace(lag @ squares @ rest)) / total)
        assert found.inflation[k] == pytest.approx(series.mean() / total)
        assert found.dof[k] == pytest.approx(total**2 / float(np.trace(squares @ squares)))
    assert found.lagged == pytest.approx(np.maximum.accumulate(lagged))
    assert (np.diff(found.shown) >= 0).all()
    assert found.dof[0] == pytest.approx(blocks - 1 - lines)
    assert found.design.T @ found.design == pytest.approx(np.eye(1 + lines), abs=1e-12)
    assert found.ends.tolist() == list(range(2, blocks - 1))
    for at, step in zip(found.ends.tolist(), found.steps.T, strict=True):
        level = rest @ (np.arange(blocks) >= at)
        assert step == pytest.approx(level / np.linalg.norm(level))


def test_a_step_that_the_shape_holds_already_is_none() -> None:
    """Its column is nothing, and no series is cut there."""
    step = (np.arange(8) >= 4) - 0.5
    found = significance._moments(8, np.ascontiguousarray(step[:, None], np.float64).tobytes())
    assert (found.steps[:, 2] == 0.0).all()
    assert np.linalg.norm(found.steps[:, 1]) == pytest.approx(1.0)


def test_the_mean_of_a_ratio_is_that_of_many_drawn_ones() -> None:
    """Oracle: half a million normal draws; a ratio of equal factors is that ratio exactly."""
    rng = np.random.default_rng(1)
    above, below = np.array([[0.9, 0.2, -0.4, 0.1]]), np.array([[2.0, 1.0, 0.5, 0.2]])
    z = rng.standard_normal((500_000, 4)) ** 2
    drawn = float(np.mean((z @ above[0]) / (z @ below[0])))
    assert significance._mean_ratio(above, below)[0] == pytest.approx(drawn, abs=0.002)
    assert significance._mean_ratio(0.3 * below, below)[0] == pytest.approx(0.3, abs=1e-4)
    both = significance._mean_ratio(np.vstack([above, 2 * above]), np.vstack([below, 4 * below]))
    assert both[1] == pytest.approx(both[0] / 2)


def test_the_autocorrelation_shown_is_the_mean_of_simulated_ones() -> None:
    """Of eight blocks and a correlation of 0.6 some 0.2, and not 0.6."""
    rng = np.random.default_rng(2)
    found = significance._moments(8, b"")
    at = int(np.argmin(np.abs(CORRELATIONS - 0.6)))
    values = rng.standard_normal((8, 40_000))
    for k in range(1, 8):
        values[k] = 0.6 * values[k - 1] + 0.8 * values[k]
    values -= values.mean(axis=0)
    shown = float(((values[1:] * values[:-1]).sum(axis=0) / (values**2).sum(axis=0)).mean())
    assert found.shown[at] == pytest.approx(shown, abs=0.01)


def test_the_usual_autocorrelation_is_the_median_of_those_that_vary() -> None:
    """By hand; columns that are nothing have none."""
    columns = np.column_stack([[1.0, 1.0, -1.0, -1.0], [1.0, -1.0, 1.0, -1.0], [0.0, 0.0, 0.0, 0.0]])
    assert significance._usual_lag(columns) == pytest.approx((0.25 - 0.75) / 2)
    assert significance._usual_lag(columns[:, :1]) == 0.25
    assert significance._usual_lag(0 * columns) == 0.0


# -- what is believed -------------------------------------------------------------------------------


def test_correlations_are_drawn_to_their_mean_by_what_chance_explains_of_them() -> None:
    """Efron and Morris by hand: chance of sixteen blocks is a quarter; one far beyond it stays."""
    r = np.array([0.1, -0.3, 0.5, 0.3, -0.4, 0.4, 9.0, 0.99])
    known = np.array([True] * 6 + [False, True])
    usual, variance = float(r[known].mean()), float(r[known].var())
    assert variance > 1 / 16
    part = 1 - 1 / 16 / variance
    found = significance._believed(r, known, 16)
    beyond = r - usual > 2.58 / 4
    assert beyond.tolist() == [False] * 6 + [True, True]
    assert found[~beyond] == pytest.approx(usual + part * (r[~beyond] - usual))
    assert found[beyond] == pytest.approx(r[beyond])
    alike = 0.2 + 0.01 * np.array([1.0, -1.0, 1.0, -1.0, 0.5, -0.5])
    assert significance._believed(alike, np.ones(6, bool), 16) == pytest.approx(np.full(6, alike.mean()))
    same = np.full(6, 0.3)
    assert significance._believed(same, np.ones(6, bool), 16) == pytest.approx(same)


def test_of_fewer_than_six_edges_each_is_believed() -> None:
    r = np.array([0.1, -0.3, 0.5, 0.3, -0.4, 0.4])
    five = np.array([True] * 5 + [False])
    assert significance._believed(r, five, 16) is r
    assert (significance._believed(r, np.ones(6, bool), 16) != r).any()


def test_within_days_an_edge_of_a_dozen_blocks_is_believed_by_itself() -> None:
    """Days are drawn together; hours are not: their errors differ, and the smoother edge's are larger."""
    rng = np.random.default_rng(4)
    values = rng.standard_normal((16, 12))
    own, drawn = of_mean(values), of_mean(values, days=True)
    centred = values - values.mean(axis=0)
    r = (centred[1:] * centred[:-1]).sum(axis=0) / (centred**2).sum(axis=0)
    moments = significance._moments(16, b"")
    together = float(np.interp(r.mean(), moments.shown, CORRELATIONS))
    for found, shown in ((own, r), (drawn, significance._believed(r, np.ones(12, bool), 16))):
        correlation = np.maximum(np.interp(shown, moments.lagged, CORRELATIONS), together)
        variance = (centred**2).sum(axis=0) * np.interp(correlation, CORRELATIONS, moments.inflation)
        assert found.error == pytest.approx(np.sqrt(variance))
        assert found.dof == pytest.approx(np.interp(correlation, CORRELATIONS, moments.dof))
    assert own.error != pytest.approx(drawn.error)
    for days, found in ((False, own), (True, drawn)):
        beside = of_mean(np.column_stack([values, np.full((16, 30), 7.0)]), days=days)  # what never varies
        assert beside.error[:12] == pytest.approx(found.error)
        assert (beside.error[12:] == 0.0).all()
    without = (values.sum(axis=0) - values) / 15
    usual = jackknife(values.mean(axis=0), without, np.empty((16, 0)))
    assert usual.error == pytest.approx(own.error)
    for unit in (1e-6, 1e6):
        assert of_mean(unit * values).error == pytest.approx(unit * own.error)
        assert of_mean(unit * values).dof == pytest.approx(own.dof)


def test_a_step_must_be_clear_by_the_logarithm_of_what_it_leaves() -> None:
    """On either side of the bound: so many blocks times the log of the squares before over after."""
    rng = np.random.default_rng(5)
    moments = significance._moments(12, b"")
    noise = rng.standard_normal(12)
    noise -= noise.mean()
    step = moments.steps[:, moments.ends.tolist().index(5)]
    noise -= (noise @ step) * step
    for size in (1.0, -3.0, 9.0):
        values = (noise + size * step)[:, None]
        fits = moments.steps.T @ values[:, 0]
        best = int(np.argmax(np.abs(fits)))
        power = float((values**2).sum())
        gain = 12 * math.log(power / (power - fits[best] ** 2))
        left, at = significance._without_steps(values, moments, gain + 1e-6)
        assert at.tolist() == [-1]
        assert left == pytest.approx(values)
        left, at = significance._without_steps(values, moments, gain - 1e-6)
        assert at.tolist() == [moments.ends[best]]
        assert left[:, 0] == pytest.approx(values[:, 0] - fits[best] * moments.steps[:, best])
    exact = significance._without_steps(9 * step[:, None], moments, 30.0)
    assert exact[1].tolist() == [5]
    nothing = significance._without_steps(np.zeros((12, 2)), moments, 1e-9)
    assert nothing[1].tolist() == [-1, -1]


def test_steps_need_more_than_two_degrees_of_freedom_and_two_blocks_on_either_side() -> None:
    """Three blocks have no place for one; of four with a line nothing would be left."""
    for blocks, lines, found in ((3, 0, False), (4, 0, True), (4, 1, False), (5, 1, True)):
        shape = np.linspace(-1, 1, blocks)[:, None] ** np.arange(1, 1 + lines)
        moments = significance._moments(blocks, np.ascontiguousarray(shape).tobytes())
        values = np.random.default_rng(1).standard_normal((blocks, 1))
        values -= moments.design @ (moments.design.T @ values)
        at = significance._without_steps(values, moments, -1.0)[1]
        assert (at[0] >= 0) == found, (blocks, lines)


def test_a_step_is_clear_from_twenty_two_on_and_from_more_the_more_blocks_take_after_each_other() -> None:
    """Just on either side of 22 and 0.9 times the blocks times their correlation."""
    moments = significance._moments(12, b"")
    step = moments.steps[:, moments.ends.tolist().index(6)]
    noise = np.tile([1.0, -1.0], 6) - np.tile([1.0, -1.0], 6) @ step * step

    def beyond(size: float) -> float:
        values = (noise + size * step)[:, None]
        fits = float(np.max(np.abs(moments.steps.T @ values[:, 0])))
        power = float((values**2).sum())
        usual = float(np.interp(significance._usual_lag(values), moments.lagged, CORRELATIONS))
        return 12 * math.log(power / (power - fits**2)) - 22.0 - 0.9 * 12 * usual

    bound = float(brentq(beyond, 1.0, 60.0))
    for size, taken in ((0.999 * bound, False), (1.001 * bound, True)):
        found = of_mean((noise + size * step)[:, None])
        assert (found.error[0] < 0.5) == taken, size
    assert of_mean(np.full((8, 3), 5.0)).dof.tolist() == pytest.approx([7.0] * 3)


def test_a_statistic_that_may_not_step_keeps_its_step_as_noise() -> None:
    """Each by itself; what steps has the error of the noise around its step, and a degree less."""
    noise = np.tile([1.0, -1.0], 8) * np.linspace(0.8, 1.2, 16)
    values = np.column_stack([noise, noise]) + 40.0 * (np.arange(16) >= 6)[:, None]
    without = (values.sum(axis=0) - values) / 15
    found = jackknife(values.mean(axis=0), without, np.empty((16, 0)), may_step=np.array([True, False]))
    column = (np.arange(16) >= 6).astype(np.float64)
    known = of_mean(noise[:, None], (column - column.mean())[:, None])
    assert found.error[0] == pytest.approx(known.error[0], rel=0.05)
    assert found.dof[0] == pytest.approx(known.dof[0], rel=0.01)
    assert found.error[1] > 10 * found.error[0]


# -- small parts ------------------------------------------------------------------------------------


def test_rounding_is_a_billionth_of_the_largest_or_of_the_scale() -> None:
    """Noise of that size is nothing, and ten times that is noise."""
    wave = np.tile([1.0, -1.0], 5)[:, None]
    for size, scale, noise in ((5.0, 0.0, 5e-9), (5.0, 100.0, 1e-7), (5.0, 0.0, 5e-10)):
        power = noise * math.sqrt(10)
        bound = 1e-9 * max(size, scale)
        found = of_mean(size + noise * wave, scale=scale)
        assert (found.error[0] > 0) == (power > bound), (size, scale, noise)
    level = np.repeat([0.0, 1000.0], 8)[:, None] + 1e-8 * np.tile([1.0, -1.0], 8)[:, None]
    assert of_mean(level).error.tolist() == [0.0]  # beside its step it is rounding
    small_beside_large = of_mean(np.column_stack([1e6 + 0 * wave, 1e-9 * wave]))
    assert small_beside_large.error.tolist() == [0.0, 0.0]  # a millionth of a billionth of the largest


def test_two_blocks_have_one_degree_and_a_line_through_two_has_none() -> None:
    """By hand: half of the difference, with a correlation of a half."""
    found = of_mean(np.array([[1.0], [3.0]]))
    inflation = 0.75 / (
        2 * (1 - 0.75)
    )  # mean of [[1, .5], [.5, 1]] over what is left of it: trace of 2 - 1.5
    assert found.error[0] == pytest.approx(math.sqrt(2.0 * inflation))
    assert found.dof[0] == pytest.approx(1.0)
    assert np.isinf(of_mean(np.array([[1.0], [3.0]]), np.array([[-1.0], [1.0]])).error).all()
    three = of_mean(np.array([[1.0], [3.0], [2.0]]), np.array([[-1.0], [0.0], [1.0]]))
    assert np.isfinite(three.error).all()


@pytest.mark.parametrize(
    ("a", "b"), [((1.0, 3.0), (2.0, 8.0)), ((0.0, 5.0), (2.0, 8.0)), ((3.0, 1.0), (3.0, 1.0))]
)
def test_welchs_degrees_by_hand(a: tuple[float, float], b: tuple[float, float]) -> None:
    """``(a^2 + b^2)^2 / (a^4 / dof + b^4 / dof)``."""
    found = combine(*(Spread(np.array([error]), np.array([dof])) for error, dof in (a, b)))
    assert found.error[0] == pytest.approx(math.hypot(a[0], b[0]))
    assert found.dof[0] == pytest.approx((a[0] ** 2 + b[0] ** 2) ** 2 / (a[0] ** 4 / a[1] + b[0] ** 4 / b[1]))


def test_days_that_are_few_are_taken_to_differ_by_a_seventh() -> None:
    """By hand, of three days: a correlation of a half between neighbours."""
    factor = math.sqrt((3 + 4 * 0.5 + 2 * 0.25) / 9)
    for shown, dof, error, told in (
        (0.1, 2.0, 0.15 * 10 * factor, 30.0),
        (9.0, 2.0, math.sqrt((4 * (1.5 * factor) ** 2 + 2 * 81) / 6), 6.0),
    ):
        found = of_few_days(Spread(np.array([shown]), np.array([dof])), np.array([10.0]), 3)
        assert (found.error[0], found.dof[0]) == (pytest.approx(error), told)
    four = Spread(np.array([0.1]), np.array([2.0]))
    assert of_few_days(four, np.array([10.0]), 4) is four


def test_false_discoveries_errors_and_intervals_by_hand() -> None:
    p = np.array([0.04, 0.01, 0.9, 0.03])
    assert benjamini_hochberg(p) == pytest.approx([0.16 / 3, 0.04, 0.9, 0.16 / 3])
    assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p))
    assert benjamini_hochberg(np.array([0.9, 0.95])).max() <= 1.0
    assert shrink(np.array([4.0, -4.0, 1.0, 2.0]), np.array([2.0, 2.0, 2.0, 2.0])).tolist() == [
        3.0,
        -3.0,
        0.0,
        0.0,
    ]
    assert shrink(np.array([5.0]), np.array([np.inf])).tolist() == [5.0]
    assert interval(3.0, 0.5, 2.0) == (2.0, 4.0)
    assert interval(3.0, math.inf, 2.0) is None
    assert interval(math.inf, 1.0, 2.0) is None

"""Change points: how often intervals hold the truth, and what makes no difference."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from test_changes import NOTHING, noise

from tracescope.analysis.evidence import change_points
from tracescope.analysis.evidence.change_points import CLEARLY, FEWEST_BINS, LEAST_SIDE, Step, split

Floats = NDArray[np.float64]
ONES = np.ones(56)


def step(at: int, size: float, seed: int, n: int = 56) -> Floats:
    return noise(np.random.default_rng(seed), n) + size * (np.arange(n) >= at)


def found(values: Floats, weights: Floats | None = None, known: Floats | None = None, seed: int = 0) -> Step:
    made = split(
        values,
        np.ones(len(values)) if weights is None else weights,
        np.empty((len(values), 0)) if known is None else known,
        seed,
    )
    assert made is not None
    return made


def test_the_interval_holds_the_truth_neither_too_rarely_nor_always() -> None:
    """Two and a half deviations, where it is several bins wide: 95 % are stated, 92 to 98 are held."""
    rng = np.random.default_rng(1)
    held, widths = [], []
    for turn in range(300):
        at = int(rng.integers(12, 45))
        made = split(noise(rng) + 2.5 * (np.arange(56) >= at), ONES, NOTHING, turn)
        if made is not None:
            held.append(made.low <= at <= made.high)
            widths.append(made.high - made.low)
    assert len(held) > 120
    assert 0.92 <= np.mean(held) <= 0.98, np.mean(held)
    assert 1 <= np.median(widths) <= 8


def test_a_lower_coverage_is_held_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """60 % where 60 are stated, at least about: the figure decides."""
    monkeypatch.setattr(change_points, "COVERAGE", 40.0)
    rng = np.random.default_rng(1)
    held = []
    for turn in range(200):
        at = int(rng.integers(12, 45))
        made = split(noise(rng) + 1.6 * (np.arange(56) >= at), ONES, NOTHING, turn)
        if made is not None:
            held.append(made.low <= at <= made.high)
    assert 0.3 <= np.mean(held) <= 0.85, np.mean(held)


def test_noise_is_rarely_taken_for_a_step() -> None:
    """Of 200 series without a change at most a few in a hundred."""
    rng = np.random.default_rng(3)
    taken = sum(split(noise(rng), ONES, NOTHING, turn) is not None for turn in range(200))
    assert taken <= 6


@pytest.mark.parametrize("at", [7, 25, 44])
def test_what_is_added_and_what_is_multiplied_moves_no_instant(at: int) -> None:
    """Nor does the weight of all together; time backwards finds it from the other side."""
    values = step(at, 5.0, at)
    made = found(values)
    assert made.low <= made.at <= made.high
    assert found(1000.0 + values) == made
    assert found(7.0 * values) == made
    assert found(-values) == made
    assert found(values, 13.0 * ONES) == made
    assert found(values[::-1]).at == 56 - made.at


def test_an_exact_step_has_an_interval_of_one_bin() -> None:
    """Anywhere that leaves a level on either side; beyond, nothing."""
    n = FEWEST_BINS + 4
    for at in range(n + 1):
        values = 3.0 + 2.0 * (np.arange(n) >= at)
        made = split(values, np.ones(n), np.empty((n, 0)))
        if LEAST_SIDE <= at <= n - LEAST_SIDE:
            assert made == Step(at, at, at)
        elif made is not None:
            assert made.at != at


def test_the_fewest_bins_are_enough_and_one_less_is_not() -> None:
    values = 1.0 * (np.arange(FEWEST_BINS) >= 4)
    assert split(values, np.ones(FEWEST_BINS), np.empty((FEWEST_BINS, 0))) is not None
    less = values[1:]
    assert split(less, np.ones(len(less)), np.empty((len(less), 0))) is None


def test_values_that_are_worth_nothing_move_nothing() -> None:
    """A week that hardly anybody used, ten times as slow: the step is where it is without it."""
    values = step(30, 5.0, 4)
    weights = ONES.copy()
    weights[10:17] = 1e-9
    odd = values.copy()
    odd[10:17] += 50.0
    made = found(odd, weights)
    assert made.at == 30
    loud = split(odd, ONES, NOTHING)
    assert loud is None or loud.at != 30


def test_a_step_beneath_weekends_is_found_where_it_is() -> None:
    """What repeats is taken out of the step as well."""
    weekend = (np.arange(56) % 7 >= 5).astype(np.float64)
    values = step(33, 4.0, 6) + 30.0 * weekend
    assert found(values, None, weekend[:, None]).at == pytest.approx(33, abs=1)


@pytest.mark.parametrize(("length", "is_step"), [(2, True), (20, False), (40, False)])
def test_a_ramp_of_two_days_is_a_step_and_one_of_weeks_is_none(length: int, is_step: bool) -> None:
    """Without noise: a shorter one than a quarter of the time is an instant to who looks at months."""
    ramp = np.clip((np.arange(56) - 28 + length / 2) / length, 0, 1)
    rng = np.random.default_rng(7)
    values = 20 * ramp + 0.5 * rng.standard_normal(56)
    assert (split(values, ONES, NOTHING) is not None) == is_step


def rss(values: Floats, column: Floats) -> float:
    """What is left of values beside their mean and a column, by plain least squares."""
    design = np.column_stack([np.ones(len(values)), column])
    rest = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    return float(rest @ rest)


def test_a_step_must_fit_clearly_better_than_every_ramp_and_than_none() -> None:
    """Oracle: one regression for each step and each ramp of a quarter of the time or more."""
    n = 20
    at = np.arange(n)
    course = at / (n - 1)
    ramps = [
        np.clip((course - begin / 16) / ((end - begin) / 16), 0, 1)
        for begin in range(17) for end in range(begin + 4, 17)
    ]  # fmt: skip
    zigzag = np.where(at % 2, 1.0, -1.0)
    clear: list[bool] = []
    for size in np.linspace(0.2, 9.0, 23):
        values = zigzag + size * (at >= 10)
        left = min(rss(values, 1.0 * (at >= k)) for k in range(LEAST_SIDE, n - LEAST_SIDE + 1))
        none, ramp = rss(values, np.zeros(n)), min(rss(values, one) for one in ramps)
        clear.append(n * np.log(none / left) >= CLEARLY + np.log(n) and n * np.log(ramp / left) >= CLEARLY)
        assert (split(values, np.ones(n), np.empty((n, 0))) is not None) == clear[-1], size
    assert {True, False} == set(clear)


def test_the_bootstrap_takes_stretches_of_the_residuals_as_they_are() -> None:
    """Every drawn value is one of them, and neighbours mostly stay neighbours."""
    residuals = np.arange(56.0)
    drawn = change_points._resample(residuals, np.random.default_rng(0))
    assert drawn.shape == (change_points.RESAMPLES, 56)
    assert set(np.unique(drawn)) <= set(residuals)
    together = np.mean((np.diff(drawn, axis=1) == 1) | (np.diff(drawn, axis=1) == -55))
    assert 0.8 < together < 0.95  # stretches of 8 of 56
    assert drawn.mean() == pytest.approx(27.5, abs=0.5)

"""Rates of events and their change, against SciPy and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from test_blocks import hours

from tracescope.analysis.statistics import rates
from tracescope.analysis.statistics.blocks import Matched, match
from tracescope.analysis.statistics.rates import Counts, compare_rates

Floats = NDArray[np.float64]
NOTHING = (0.0, 0.0)


def days(base: int, head: int) -> Matched:
    sides = [match(hours(0, n), hours(n, n), "UTC").base for n in (base, head)]
    return Matched(sides[0], sides[1], ())


def counts(events: list[float], trials: float = 1000.0, seen: float | None = None) -> Counts:
    """Of one row: events in each block, of as many trials each, all of them seen."""
    column = np.array(events, float)[:, None]
    whole = np.full_like(column, trials)
    return Counts(column, whole, np.array([whole.sum() if seen is None else seen]))


def alternating(mean: float, off: float, blocks: int) -> list[float]:
    return [mean + (off if at % 2 else -off) for at in range(blocks)]


@pytest.mark.parametrize(("first", "second"), [(3, 9), (9, 3), (0, 5), (5, 0), (7, 7), (0, 0)])
@pytest.mark.parametrize("share", [0.5, 0.2])
def test_the_exact_test_is_the_binomial_of_the_split(first: int, second: int, share: float) -> None:
    """Twice the smaller tail, and 1 at most; SciPy's distribution gives the tails."""
    seen = np.array([share]), np.array([1 - share])
    found = rates._exact((np.array([float(first)]), np.array([float(second)])), seen)
    split = stats.binom(first + second, share)
    tails = split.cdf(first), split.sf(first - 1)
    assert found == pytest.approx(min(2 * min(tails), 1.0), rel=1e-9)


def test_of_few_events_the_exact_test_has_the_last_word() -> None:
    """Five of ten thousand, and none before: as likely as heads five times, on either side."""
    base, head = counts([0] * 10), counts([1, 0, 1, 0, 1, 0, 1, 0, 1, 0])
    found = compare_rates(base, head, days(10, 10), NOTHING)
    assert found.p_value[0] == pytest.approx(2 * 0.5**5, rel=1e-9)


def test_blocks_that_differ_as_tosses_do_have_the_error_of_tosses() -> None:
    """That of the pooled rate, for a part of the trials; without its complement for numbers per trial."""
    for parts, toss in ((True, 0.015 * 0.985), (False, 0.015)):
        found = compare_rates(counts([10] * 10), counts([20] * 10), days(10, 10), NOTHING, parts=parts)
        assert (found.base[0], found.head[0]) == (pytest.approx(0.01), pytest.approx(0.02))
        assert found.spread.error[0] == pytest.approx(math.sqrt(2 * toss / 10_000))
        low, high = found.change_ci(0) or (0.0, 0.0)
        assert (low + high) / 2 == pytest.approx(0.01)
        half = stats.t.ppf(0.975, found.spread.dof[0]) * found.spread.error[0]
        assert (high - low) / 2 == pytest.approx(half, rel=1e-6)


def test_what_blocks_show_beyond_tosses_widens_the_error_by_its_correlation() -> None:
    """Excess times (1 + r) / (1 - r): r is assumed of few blocks, and within bounds where it is shown."""
    rate, trials = np.array([0.1]), 1000.0
    for blocks, correlation in ((8, rates.CORRELATED), (16, rates.LEAST_CORRELATED)):
        side = counts(alternating(100, 30, blocks), trials)
        beyond, dof = rates._dispersion(side, rate, parts=True)
        power = blocks * 30**2 / (trials * 0.1 * 0.9)
        excess = power / (blocks - 1) - 1
        assert dof[0] == blocks - 1
        assert beyond[0] == pytest.approx(1 + excess * (1 + correlation) / (1 - correlation))
    for blocks in (11, 12):  # from twelve on neighbours tell
        beyond, _ = rates._dispersion(counts(alternating(100, 30, blocks), trials), rate, parts=True)
        known = rates.CORRELATED if blocks < 12 else rates.LEAST_CORRELATED
        excess = blocks * 900 / 90 / (blocks - 1) - 1
        assert beyond[0] == pytest.approx(1 + excess * (1 + known) / (1 - known))


def test_the_shown_correlation_is_that_of_neighbours_less_its_bias() -> None:
    """One block in sixteen is its own mean's; a slow wave is held at the upper bound."""
    wave = 100 + 40 * np.sin(np.arange(16) / 16 * 4 * np.pi)
    off = (wave - 100) / 1000 * math.sqrt(1000) / math.sqrt(0.09)
    shown = min(float(off[1:] @ off[:-1] / (off @ off)) + 1 / 16, rates.MOST_CORRELATED)
    beyond, _ = rates._dispersion(counts(wave.tolist()), np.array([0.1]), parts=True)
    assert 0.4 < shown <= 0.8
    excess = float(off @ off) / 15 - 1
    assert beyond[0] == pytest.approx(1 + excess * (1 + shown) / (1 - shown))


def test_quiet_blocks_are_never_surer_than_tosses() -> None:
    beyond, _ = rates._dispersion(counts([100] * 10), np.array([0.1]), parts=True)
    assert beyond[0] == 1.0


def test_a_level_that_changed_once_within_a_period_is_no_noise() -> None:
    """Taken out with a degree of freedom, where it fits clearly and rests on enough events."""
    many = counts([20] * 8 + [180] * 8)
    beyond, dof = rates._dispersion(many, np.array([0.1]), parts=True)
    assert (beyond[0], dof[0]) == (pytest.approx(1.0), 14.0)
    few = counts([0.2] * 8 + [1.7] * 8)  # fifteen events and a bit
    assert rates._dispersion(few, few.rates(), parts=True)[1][0] == 15.0
    small = counts([99, 101] * 4 + [101, 103] * 4)  # the step is of the size of what blocks show
    assert rates._dispersion(small, small.rates(), parts=True)[1][0] == 15.0


def test_of_few_days_it_is_assumed_how_much_days_differ() -> None:
    """A part of the rate, which correlates from day to day; of many days they show it themselves."""
    apart = np.abs(np.subtract.outer(np.arange(3), np.arange(3)))
    assumed = (rates.DAYS_DIFFER * 0.01) ** 2 * float((rates.UNKNOWN**apart).mean())
    many = compare_rates(counts([10] * 10), counts([10] * 10), days(10, 10), NOTHING).spread.error[0]
    few = compare_rates(counts([10] * 3, 10_000 / 3), counts([10] * 10), days(3, 10), NOTHING)
    few_rate = 30 / 10_000
    toss = (30 + 100) / 20_000
    toss *= 1 - toss
    assumed *= (few_rate / 0.01) ** 2
    assert many == pytest.approx(math.sqrt(2 * 0.01 * 0.99 / 10_000))
    assert few.spread.error[0] == pytest.approx(math.sqrt(2 * toss / 10_000 + assumed))


def test_a_change_below_what_matters_is_none_however_sure() -> None:
    """The larger of a part of the larger rate and an absolute one is taken off its size."""
    base, head = counts([1000] * 10, 10_000), counts([1200] * 10, 10_000)
    assert compare_rates(base, head, days(10, 10), NOTHING).p_value[0] < 1e-6
    assert compare_rates(base, head, days(10, 10), (0.2, 0.0)).p_value[0] == 1.0  # a fifth of 12 % is 2.4 %
    assert compare_rates(base, head, days(10, 10), (0.0, 0.021)).p_value[0] == 1.0
    part = compare_rates(base, head, days(10, 10), (0.1, 0.0))
    t = (0.02 - 0.012) / part.spread.error[0]
    assert part.p_value[0] == pytest.approx(2 * stats.t.sf(t, part.spread.dof[0]), rel=1e-6)


def test_swapping_the_periods_turns_the_change_around_and_keeps_its_p_value() -> None:
    base, head = counts([8, 12] * 5), counts([18, 21] * 5)
    there = compare_rates(base, head, days(10, 10), NOTHING)
    back = compare_rates(head, base, days(10, 10), NOTHING)
    assert there.p_value == pytest.approx(back.p_value)
    low, high = there.change_ci(0) or (0.0, 0.0)
    assert back.change_ci(0) == pytest.approx((-high, -low))


def test_too_few_blocks_and_nothing_seen_tell_nothing() -> None:
    one = compare_rates(counts([0]), counts([900]), days(1, 1), NOTHING)
    assert one.enough == days(1, 1).enough
    if not one.enough:
        assert (one.p_value[0], one.change_ci(0)) == (1.0, None)
    never = compare_rates(counts([0] * 10, 0.0), counts([0] * 10, 0.0), days(10, 10), NOTHING)
    assert (never.base[0], never.head[0], never.p_value[0]) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize(("last", "dof"), [(rates.STEP_SIDE, 14.0), (rates.STEP_SIDE - 1, 15.0)])
def test_a_level_needs_several_blocks_on_either_side(last: int, dof: float) -> None:
    """What only the last block or two have is no level."""
    for events in ([20] * (16 - last) + [400] * last, [400] * last + [20] * (16 - last)):
        side = counts(events)
        assert rates._dispersion(side, side.rates(), parts=True)[1][0] == dof

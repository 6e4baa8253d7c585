"""Significance of a change: standard errors from blocks of time, intervals, false discovery rate.

The standard error is a jackknife over blocks, with the variance that a serially correlated series
has, and t quantiles at its effective degrees of freedom.  (A percentile bootstrap over 4 to 10
blocks flags 10 to 16 % of identical periods, and 26 to 37 % at a day-to-day correlation of 0.5.)
How often this one does is measured by `benchmarks/calibration.py`.

Source: design, section 6; Miller 1974 (the jackknife); Satterthwaite 1946 (degrees of freedom of a
sum of squares); Kendall 1954 (why the sample autocorrelation of a short series is too small); Smyth,
"Linear models and empirical Bayes methods", SAGMB 3, 2004 (variances drawn towards a prior one).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Serial correlations that are told apart; higher ones are taken as the last.
CORRELATIONS: Final = np.linspace(0.0, 0.9, 46)
#: ``n * log(sum of squares)`` by which a change of level within a period must fit better than none to be
#: taken for one: ``first + second * n * correlation``.  One series in a thousand gets there by chance
#: (simulated, 10 to 32 blocks, correlations of 0 to 0.7).
CLEAR_STEP: Final = (22.0, 0.9)
#: Blocks on either side of it.
STEP_SIDE: Final = 2
#: What is assumed at least of fewer blocks than can tell.
UNKNOWN: Final = 0.5
KNOWN_FROM: Final = 4
#: ... and that a day's work may take so much more or less than another's by itself, as a part of it: a few
#: days cannot tell, and two that are alike by chance must not make anything certain.
DAYS_DIFFER: Final = 0.15
#: Degrees of freedom of that where the days seem no worse, and where they seem worse.
PRIOR_DOF_USUAL: Final = 30.0
PRIOR_DOF_WORSE: Final = 4.0
#: Part of what a statistic was computed from that is rounding.
ROUNDING: Final = 1e-9
#: From so many blocks on, an edge may show more correlation than all edges together.
ALONE_FROM: Final = 12
#: Edges that together tell how correlated one may be, and standard errors beyond from which it is believed.
TOGETHER_FROM: Final = 6
ALONE_ERRORS: Final = 2.58


@dataclass(frozen=True, slots=True)
class Spread:
    """Standard errors and effective degrees of freedom ``(k,)`` of some statistics."""

    error: Floats
    dof: Floats


@dataclass(frozen=True, slots=True)
class _Moments:
    """What an AR(1) series of variance 1 does to residuals, over `CORRELATIONS` ``(c,)``.

    Attributes
    ----------
    design
        Orthonormal columns ``(n, q + 1)`` of the mean and what is no noise.
    ends, steps
        First blocks ``(m,)`` of changes of level, and these as columns ``(n, m)`` of length 1 at right angles
        to `design`; zeros where `design` holds the change.
    lagged, shown
        Expected autocovariance of the residuals over their expected variance, and the autocorrelation
        that they show on average, which is less; increasing.
    inflation
        Variance of the mean, for each unit of the residuals' sum of squares.
    dof
        Degrees of freedom of that sum of squares (Satterthwaite).
    """

    design: Floats
    ends: NDArray[np.int64]
    steps: Floats
    lagged: Floats
    shown: Floats
    inflation: Floats
    dof: Floats


@lru_cache(maxsize=64)
def _moments(blocks: int, shape: bytes) -> _Moments:
    """Moments of residuals of `blocks` values around a mean and `shape`, by plain matrices."""
    columns = np.frombuffer(shape, np.float64).reshape(blocks, -1)
    design, _ = np.linalg.qr(np.column_stack([np.ones(blocks), columns]))
    at = np.arange(blocks)
    series = CORRELATIONS[:, None, None] ** np.abs(at[:, None] - at[None, :])
    rest = np.linalg.qr(np.column_stack([design, np.eye(blocks)]))[0][:, design.shape[1] :]
    power, turned = np.linalg.eigh(rest.T @ series @ rest)
    total = power.sum(axis=1)
    lag = (np.eye(blocks, k=1) + np.eye(blocks, k=-1)) / 2
    lagged = power * np.einsum("cij,ik,ckj->cj", turned, rest.T @ lag @ rest, turned, optimize=True)
    ends = np.arange(STEP_SIDE, blocks - STEP_SIDE + 1)
    steps = (at[:, None] >= ends[None, :]).astype(np.float64)
    steps = steps - design @ (design.T @ steps)
    size = np.linalg.norm(steps, axis=0)
    steps = np.where(size > 1e-6, steps / np.maximum(size, 1e-6), 0.0)
    return _Moments(
        design, ends, steps, np.maximum.accumulate(lagged.sum(axis=1) / total),
        np.maximum.accumulate(_mean_ratio(lagged, power)),
        series.mean(axis=(1, 2)) / total, total**2 / (power**2).sum(axis=1),
    )  # fmt: skip


def _mean_ratio(above: Floats, below: Floats) -> Floats:
    """Mean of ``sum(above * z^2) / sum(below * z^2)`` over normal z, for rows ``(c, m)`` of factors.

    Of a short series it is far from the ratio of the means: 0.18 and not 0.27 at a correlation of 0.6
    and eight blocks, so that this looked like one of 0.44.

    Source: Sawa, "Finite-sample properties of the k-class estimators", Econometrica 40, 1972 (moments of a
    ratio by an integral of the joint moment generating function).
    """
    at, weight = np.polynomial.legendre.leggauss(32)
    part = (at + 1) / 2
    scale = below.sum(axis=1, keepdims=True)
    t = part / (1 - part) / scale
    spread = 1 + 2 * t[:, None, :] * below[:, :, None]
    value = (above[:, :, None] / spread).sum(axis=1) / np.sqrt(spread.prod(axis=1))
    return (value * weight / 2 / (1 - part) ** 2 / scale).sum(axis=1)


def jackknife(
    full: Floats,
    without: Floats,
    shape: Floats,
    scale: Floats | float = 0.0,
    may_step: NDArray[np.bool_] | bool = True,
    *,
    days: bool = False,
) -> Spread:
    """Standard error of statistics from their values without each block.

    Parameters
    ----------
    full
        The statistics ``(k,)``.
    without
        Their values without each block in turn ``(n, k)``.
    shape
        What is no noise ``(n, q)``: the course of time, weekends, the hour of the day.
    scale
        The size of what each statistic was computed from ``(k,)``, in its unit: a difference of large numbers
        that is nothing but rounding is no noise either.
    may_step
        Statistics ``(k,)`` that rest on enough events to show a change of level within the period.
    days
        Blocks are days, which take after each other for all edges much alike; within a day requests that wait
        for each other at one edge make a correlation of its own.

    Notes
    -----
    Pseudo-values ``n * full - (n - 1) * without`` are treated as `shape` plus an AR(1) series.  Its
    correlation is that whose residuals would show the autocorrelation seen, so that short series
    are judged without bias; what the edges show together is the least that each of them has.  (An edge
    by itself is read by `_Moments.lagged`: the larger of two estimates is too large otherwise.)  The
    error and its degrees of freedom are then what such a series gives, exactly.

    A level that clearly changed once within the period (a deploy) is what is looked for, not noise: for
    such a statistic the step is part of its shape.  Else a service that got twice as slow on the fifth
    of fourteen days would not be significant.
    """
    n = len(without)
    if n < 2 or n - 1 - shape.shape[1] < 1:
        nothing = np.full(full.shape, np.inf)
        return Spread(nothing, np.ones(full.shape))
    pseudo = n * full - (n - 1) * without
    moments = _moments(n, np.ascontiguousarray(shape, np.float64).tobytes())
    residual = pseudo - moments.design @ (moments.design.T @ pseudo)
    # threads add up in another order each time: what rounding leaves must not show any correlation
    size = np.abs(pseudo).max(axis=0, initial=0.0)
    rounding = ROUNDING * np.maximum(np.maximum(size, scale), 1e-3 * size.max(initial=0.0))
    residual = np.where((residual**2).sum(axis=0) > rounding**2, residual, 0.0)
    usual = float(np.interp(_usual_lag(residual), moments.lagged, CORRELATIONS))
    clearly = np.where(may_step, CLEAR_STEP[0] + CLEAR_STEP[1] * n * usual, np.inf)
    residual, stepped = _without_steps(residual, moments, clearly)
    power = (residual**2).sum(axis=0)
    power = np.where(power > rounding**2, power, 0.0)
    lagged = (residual[1:] * residual[:-1]).sum(axis=0)
    r = np.divide(lagged, power, out=np.zeros_like(power), where=power > 0)
    together = float(np.interp(r[power > 0].mean(), moments.shown, CORRELATIONS)) if power.any() else 0.0
    if n < KNOWN_FROM:
        together = max(together, UNKNOWN)
    correlation = np.full(full.shape, together)
    if n >= ALONE_FROM:
        own = _believed(r, power > 0, n) if days else r
        correlation = np.maximum(np.interp(own, moments.lagged, CORRELATIONS), together)
    variance = power * np.interp(correlation, CORRELATIONS, moments.inflation)
    dof = np.interp(correlation, CORRELATIONS, moments.dof)
    for at in np.unique(stepped[stepped >= 0]).tolist():
        mine = stepped == at
        column = (np.arange(n) >= at).astype(np.float64)
        with_step = _moments(n, np.ascontiguousarray(np.column_stack([shape, column])).tobytes())
        variance[mine] = power[mine] * np.interp(correlation[mine], CORRELATIONS, with_step.inflation)
        dof[mine] = np.interp(correlation[mine], CORRELATIONS, with_step.dof)
    dof = np.maximum(dof, 1.0)
    return Spread(np.sqrt(variance), dof)


def _believed(r: Floats, known: NDArray[np.bool_], blocks: int) -> Floats:
    """Autocorrelations ``(k,)`` as far as each can be believed of so few blocks, beside those of the others.

    Of fourteen days without any correlation every tenth edge shows 0.35 by chance, and errors for a
    correlation of that size are three times too large.  So each is drawn towards the mean of all, by the part
    of their variance that chance explains, unless it is beyond chance by itself.

    Source: Efron & Morris, "Stein's estimation rule and its competitors", JASA 68, 1973.
    """
    if int(known.sum()) < TOGETHER_FROM:
        return r
    usual, chance = float(r[known].mean()), 1.0 / math.sqrt(blocks)
    differ = max(1.0 - chance**2 / max(float(r[known].var()), 1e-12), 0.0)
    beyond = r - usual
    return usual + np.where(beyond > ALONE_ERRORS * chance, beyond, differ * beyond)


def of_few_days(shown: Spread, scale: Floats, days: int) -> Spread:
    """Spread of statistics over fewer than `KNOWN_FROM` days: what is assumed, or more.

    Days that seem to differ by more are believed as far as so few can be: their variance is drawn
    towards the assumed one.

    Parameters
    ----------
    shown
        What the days themselves show.
    scale
        The time that each statistic is about ``(k,)``; days are assumed to differ by `DAYS_DIFFER` of it,
        with a correlation of `UNKNOWN`.
    days
        How many.
    """
    if days >= KNOWN_FROM:
        return shown
    apart = np.abs(np.subtract.outer(np.arange(days), np.arange(days)))
    assumed = DAYS_DIFFER * scale * math.sqrt(float((UNKNOWN**apart).mean()))
    known = shown.dof + PRIOR_DOF_WORSE
    drawn = np.sqrt((PRIOR_DOF_WORSE * assumed**2 + shown.dof * shown.error**2) / known)
    alike = assumed >= shown.error
    return Spread(np.where(alike, assumed, drawn), np.where(alike, PRIOR_DOF_USUAL, known))


def _usual_lag(residual: Floats) -> float:
    """Autocorrelation that half of the residuals' columns ``(n, k)`` do not exceed."""
    power = (residual**2).sum(axis=0)
    lagged = (residual[1:] * residual[:-1]).sum(axis=0)
    return float(np.median(lagged[power > 0] / power[power > 0])) if power.any() else 0.0


def _without_steps(
    residual: Floats, moments: _Moments, clearly: Floats | float
) -> tuple[Floats, NDArray[np.int64]]:
    """Residuals ``(n, k)`` without a clear change of level, and its first block ``(k,)``; -1 for none."""
    n, ends, steps = len(residual), moments.ends, moments.steps
    none = np.full(residual.shape[1], -1, np.int64)
    if n - moments.design.shape[1] <= 2:  # of three blocks there is no place for one, either
        return residual, none
    fits = steps.T @ residual
    best = np.argmax(np.abs(fits), axis=0)
    gain = fits[best, np.arange(len(best))]
    power = (residual**2).sum(axis=0)
    left = np.maximum(power - gain**2, 1e-12 * power)
    ratio = np.divide(power, left, out=np.ones_like(power), where=left > 0)
    clear = n * np.log(ratio) >= clearly
    return residual - np.where(clear, gain, 0.0) * steps[:, best], np.where(clear, ends[best], none)


def combine(base: Spread, head: Spread) -> Spread:
    """Standard error of a difference of independent periods (Welch and Satterthwaite)."""
    a, b = base.error**2, head.error**2
    total = a + b
    below = a**2 / base.dof + b**2 / head.dof
    known = (below > 0) & np.isfinite(below) & np.isfinite(total)
    dof = np.divide(total**2, below, out=np.ones_like(total), where=known)
    return Spread(np.sqrt(total), np.maximum(dof, 1.0))


def benjamini_hochberg(p: Floats) -> Floats:
    """Adjusted p-values ``(k,)`` that bound the false discovery rate (Benjamini & Hochberg 1995)."""
    k = len(p)
    order = np.argsort(p)
    scaled = p[order] * k / np.arange(1, k + 1)
    out = np.empty(k)
    out[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return out


def shrink(value: Floats, error: Floats) -> Floats:
    """Positive-part shrinkage ``value * (1 - (error / value)^2)`` towards nothing, elementwise.

    What is within one standard error of zero is zero; what has no error is what it is.

    Source: Efron & Morris, "Stein's estimation rule and its competitors", JASA 68, 1973.
    """
    known = np.where(np.isfinite(error), error, 0.0)
    part = np.divide(known, np.abs(value), out=np.ones_like(value), where=np.abs(value) > known)
    return value * (1 - part**2)


def interval(estimate: float, error: float, quantile: float) -> tuple[float, float] | None:
    """``estimate`` give or take ``quantile`` errors; None where that is not finite."""
    low, high = estimate - quantile * error, estimate + quantile * error
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None

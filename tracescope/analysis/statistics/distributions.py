"""Student's t, the normal and the binomial distribution, as far as comparisons need them.

SciPy has them too, in 143 MB; the tests hold these against it.

Sources: NIST Digital Library of Mathematical Functions, 8.17 (incomplete beta function: continued
fraction 8.17.22, symmetry 8.17.4); Lentz, "Generating Bessel functions in Mie scattering calculations
using continued fractions", Applied Optics 15, 1976; Wichura, algorithm AS 241, 1988 (in the standard
library); Wallace, "Bounds on normal approximations to Student's and the chi-square distributions",
Annals of Mathematical Statistics 30, 1959.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Above the first, Wallace's transform to a normal variable is closer than the fraction; above the second
# nothing is left to transform.
_WIDE_DOF = 1e6
_NORMAL_DOF = 1e15

_MOST_TERMS = 20_000
_TINY = 1e-300
#: Arrays whose quantiles, and logarithms of beta functions, are remembered: each step towards a quantile, and
#: each interval and test of the same edges, asks for the same ones.
_REMEMBERED = 16


def normal_quantile(probability: float) -> float:
    """Value that a standard normal variable stays below with `probability`; infinite at 0 and 1."""
    if probability <= 0 or probability >= 1:
        return math.copysign(math.inf, probability - 0.5)
    return NormalDist().inv_cdf(probability)


def student_cdf(dof: Floats | float, t: Floats | float) -> Floats:
    """Probability that Student's t with `dof` degrees of freedom is at most `t`; arrays broadcast."""
    dof, t = np.broadcast_arrays(np.asarray(dof, np.float64), np.asarray(t, np.float64))
    out = np.full(t.shape, np.nan)
    known = ~np.isnan(t) & (dof > 0)
    wide = known & ~(dof < _WIDE_DOF)
    out[wide] = [0.5 * math.erfc(-one / math.sqrt(2)) for one in _as_normal(dof[wide], t[wide]).tolist()]
    narrow = known & ~wide
    nu, value = dof[narrow], t[narrow]
    with np.errstate(over="ignore"):
        tail = 0.5 * incomplete_beta(nu / 2, np.full_like(nu, 0.5), nu / (nu + value * value))
    out[narrow] = np.where(value > 0, 1 - tail, tail)
    return out


def _as_normal(dof: Floats, t: Floats) -> Floats:
    """Normal value as likely as `t` of many degrees of freedom."""
    nu = np.minimum(dof, _NORMAL_DOF)
    return np.copysign(np.sqrt(nu * np.log1p(t * t / nu)), t) * (8 * nu + 1) / (8 * nu + 3)


def student_quantile(dof: Floats | float, probability: float) -> Floats:
    """Value that Student's t with `dof` degrees of freedom stays below with `probability` in (0.5, 1)."""
    nu = np.asarray(dof, np.float64)
    found = _student_quantile(nu.tobytes(), probability)
    return np.frombuffer(found, np.float64).reshape(nu.shape).copy()


@lru_cache(maxsize=_REMEMBERED)
def _student_quantile(dof: bytes, probability: float) -> bytes:
    """The same of an array's bytes; whatever is equal is computed once."""
    nu, which = np.unique(np.frombuffer(dof, np.float64), return_inverse=True)
    upper = 1 - probability
    value = np.full(nu.shape, normal_quantile(probability))
    narrow = (nu > 0) & (nu < _NORMAL_DOF)
    value[~(nu > 0)] = np.nan
    some = np.where(narrow, nu, 1.0)
    log_height = _log_gamma((some + 1) / 2) - _log_gamma(some / 2) - 0.5 * np.log(some * math.pi)
    # The tail falls and is convex, and its quantile lies above the normal's: Newton's steps go up to it.
    for _ in range(200):
        density = np.exp(log_height - (some + 1) / 2 * np.log1p(value * value / some))
        step = np.where(narrow, (student_cdf(some, -value) - upper) / np.maximum(density, _TINY), 0.0)
        value = value + step
        if not (np.abs(step) > 1e-14 * np.abs(value)).any():
            break
    return value[which].tobytes()


def binomial_tail(least: int, trials: int) -> float:
    """Probability that of `trials` tosses of a fair coin `least` or more are heads."""
    if least <= 0:
        return 1.0
    if least > trials:
        return 0.0
    a, b = np.array([float(least)]), np.array([float(trials - least + 1)])
    return float(incomplete_beta(a, b, np.array([0.5]))[0])


def hypergeometric_tail(first: int, of_first: int, second: int, of_second: int) -> float:
    """Probability that `second` or fewer of all marked balls lie among `of_second`, if they lie anywhere.

    Fisher's exact test, one-sided: of ``of_first + of_second`` balls ``first + second`` are marked.

    Source: Fisher, "The logic of inductive inference", Journal of the Royal Statistical Society 98, 1935.
    """
    marked, whole = first + second, of_first + of_second

    def log_choose(n: int, k: int) -> float:
        return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)

    total = log_choose(whole, marked)
    least = max(0, marked - of_first)
    terms = (
        math.exp(log_choose(of_second, k) + log_choose(of_first, marked - k) - total)
        for k in range(second, least - 1, -1)
    )
    reached = 0.0
    for term in terms:
        reached += term
        if term < 1e-17 * reached:  # terms fall away from the middle
            break
    return min(reached, 1.0)


def incomplete_beta(a: Floats, b: Floats, x: Floats) -> Floats:
    """Regularised incomplete beta function ``I_x(a, b)`` of arrays of one shape ``(n,)``."""
    swap = x > (a + 1) / (a + b + 2)  # Where the fraction converges slowly, that of 1 - x does not.
    p, q = np.where(swap, b, a), np.where(swap, a, b)
    y = np.where(swap, 1 - x, x)
    log_front = (
        -np.frombuffer(_log_beta(a.tobytes(), b.tobytes()), np.float64)
        + p * np.log(np.maximum(y, _TINY))
        + q * np.log1p(-np.minimum(y, 1 - 1e-16))
    )
    found = np.exp(log_front) / p * _fraction(p, q, y)
    found = np.where(y <= 0, 0.0, found)
    return np.where(swap, 1 - found, found)


@lru_cache(maxsize=_REMEMBERED)
def _log_beta(a: bytes, b: bytes) -> bytes:
    """Logarithms of beta functions of the values of two arrays of one shape."""
    first, second = np.frombuffer(a, np.float64), np.frombuffer(b, np.float64)
    return (_log_gamma(first) + _log_gamma(second) - _log_gamma(first + second)).tobytes()


def _fraction(a: Floats, b: Floats, x: Floats) -> Floats:
    """The continued fraction of the incomplete beta function, by Lentz's method."""
    c = np.ones_like(x)
    d = _reciprocal(1 - (a + b) * x / (a + 1))
    value = d.copy()
    for m in range(1, _MOST_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d, c = _reciprocal(1 + even * d), 1 + even / c
        value *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d, c = _reciprocal(1 + odd * d), 1 + odd / c
        factor = d * c
        value *= factor
        if not (np.abs(factor - 1) > 1e-15).any():
            break
    return value


def _reciprocal(value: Floats) -> Floats:
    return 1 / np.where(np.abs(value) < _TINY, _TINY, value)


def _log_gamma(values: Floats) -> Floats:
    flat = [math.lgamma(one) for one in np.ravel(values).tolist()]
    return np.array(flat, np.float64).reshape(np.shape(values))

"""Robust least squares within bounds, of a handful of parameters.

Levenberg and Marquardt's method on Huber's loss: far residuals count by their size instead of its
square, which makes each step a weighted least-squares step.  No step goes all the way to a bound, where
a fit that overshot would stay; a parameter at its bound that would leave it takes no part.  SciPy's
solver finds the same optimum, and the tests hold the two against each other.

Sources: Marquardt, "An algorithm for least-squares estimation of nonlinear parameters", J. SIAM 11,
1963; Huber, "Robust estimation of a location parameter", 1964; Bertsekas, "Projected Newton methods for
optimization problems with simple constraints", SIAM J. Control 20, 1982.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_MOST_STEPS = 200
_SMALLEST_GAIN = 1e-13
_LARGEST_DAMPING = 1e12
# Part of the way to a bound that a step may go, and how near counts as there.
_FURTHEST = 0.9
_AT_BOUND = 1e-10


class Model(NamedTuple):
    """What is fitted: parameters ``(p,)`` to residuals ``(n,)`` and their derivatives ``(n, p)``."""

    residual: Callable[[Floats], Floats]
    jacobian: Callable[[Floats], Floats]


class Solution(NamedTuple):
    """The nearest parameters ``(p,)``, and half the sum of the losses there."""

    x: Floats
    cost: float


def robust_fit(model: Model, start: Floats, low: Floats, high: Floats, turn: float) -> Solution:
    """Fit a model to the data in its residuals.

    Parameters
    ----------
    start, low, high
        Where to begin, and between what, ``(p,)``.
    turn
        Size of a residual from where on it counts by its size.
    """
    x = np.clip(np.asarray(start, np.float64), low, high)
    rest = model.residual(x)
    cost, damping = huber_cost(rest, turn), 1e-3
    for _ in range(_MOST_STEPS):
        slopes = model.jacobian(x)
        weight = turn / np.maximum(np.abs(rest), turn)
        gradient = slopes.T @ (weight * rest)
        curvature = slopes.T @ (weight[:, None] * slopes)
        free = ~(((x - low < _AT_BOUND) & (gradient > 0)) | ((high - x < _AT_BOUND) & (gradient < 0)))
        before = cost
        while free.any() and damping < _LARGEST_DAMPING:
            step = _step(gradient, curvature, free, damping)
            there = x + np.clip(step, _FURTHEST * (low - x), _FURTHEST * (high - x))
            beyond = model.residual(there)
            reached = huber_cost(beyond, turn)
            if reached < cost:
                x, rest, cost = there, beyond, reached
                damping = max(damping / 9, 1e-12)
                break
            damping *= 6
        if before - cost <= _SMALLEST_GAIN * before:
            break
    return Solution(x, cost)


def _step(gradient: Floats, curvature: Floats, free: NDArray[np.bool_], damping: float) -> Floats:
    """Marquardt's step of the parameters that are free."""
    inner = curvature[np.ix_(free, free)]
    size = np.maximum(np.diag(inner), 1e-12 * max(float(np.max(np.diag(inner))), 1e-300))
    step = np.zeros_like(gradient)
    step[free] = np.linalg.solve(inner + damping * np.diag(size), -gradient[free])
    return step


def huber_cost(residual: Floats, turn: float) -> float:
    """Half the sum of Huber's loss."""
    size = np.abs(residual)
    return float(np.sum(np.where(size <= turn, 0.5 * size * size, turn * (size - 0.5 * turn))))

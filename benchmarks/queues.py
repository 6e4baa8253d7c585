"""Queues simulated call by call, so that load models can be held against what is known of them."""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from tracescope.analysis.capacity.fit import Points

Floats = NDArray[np.float64]
WARM_UP = 300


def sojourns(rng: np.random.Generator, rate: float, service_s: float, servers: int, calls: int) -> Floats:
    """Time in an M/M/c queue of `calls` calls in a row, after a warm-up ``(calls,)``."""
    n = calls + WARM_UP
    arrive = np.cumsum(rng.exponential(1 / rate, n))
    work = rng.exponential(service_s, n)
    if servers == 1:
        # the last departure is the largest of (arrival + all work since)
        before = np.concatenate([[0.0], np.cumsum(work)[:-1]])
        leave = np.maximum.accumulate(arrive - before) + before + work
        return (leave - arrive)[WARM_UP:]
    free = [0.0] * servers
    out = np.empty(n)
    for i in range(n):
        start = max(heapq.heappop(free), arrive[i])
        heapq.heappush(free, start + work[i])
        out[i] = start + work[i] - arrive[i]
    return out[WARM_UP:]


def lock(rng: np.random.Generator, rate: float, parallel_s: float, held_s: float, calls: int) -> Floats:
    """Work beside others, then a part under one lock ``(calls,)``."""
    return rng.exponential(parallel_s, calls) + sojourns(rng, rate, held_s, 1, calls)


def season(rng: np.random.Generator, windows: int, weeks: tuple[float, float]) -> tuple[Floats, Floats]:
    """Instants in weeks from now, and demand with a daily course and 5 % growth a week ``(windows,)``."""
    t = np.sort(rng.uniform(*weeks, windows))
    return t, (1 + 0.6 * np.sin(t * 14 * np.pi)) * 1.05**t


def two_periods(
    rng: np.random.Generator,
    *,
    peak: float,
    growth: float = 0.0,
    servers: int = 1,
    service_s: float = 0.01,
    parallel_s: float = 0.0,
    windows: int = 20,
    calls: int = 1000,
) -> Points:
    """Two months of a queue, two months apart, whose work grows by `growth` (log) a week.

    ``peak`` is the utilisation at the end, at twice the mean demand.
    """
    capacity = servers / service_s
    made: list[Points] = []
    for period, weeks in enumerate(((-12.0, -8.0), (-4.0, 0.0))):
        t, demand = season(rng, windows, weeks)
        rate = demand / 1.6 * peak * capacity
        took = np.empty(windows)
        for i in range(windows):
            slower = float(np.exp(growth * t[i]))
            if parallel_s:
                spent = lock(rng, rate[i], parallel_s * slower, service_s * slower, calls)
            else:
                spent = sojourns(rng, rate[i], service_s * slower, servers, calls)
            took[i] = spent.mean()
        seen = rng.poisson(rate * 1e3) / 1e3
        made.append(Points(t, seen, took, np.full(windows, float(calls)), np.full(windows, period)))
    return Points.join(made)

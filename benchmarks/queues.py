"""Queues simulated call by call, so that load models can be held against what is known of them."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracescope.analysis.capacity.fit import Points

Floats = NDArray[np.float64]
WARM_UP = 300


def services(rng: np.random.Generator, service_s: float, variability: float, calls: int) -> Floats:
    """Service times of some squared coefficient of variation: 0 constant, 1 exponential, above it a mixture of
    two exponentials with balanced means (Whitt 1982), whose moments a thousand calls show.
    """
    if variability == 0:
        return np.full(calls, service_s)
    if variability == 1:
        return rng.exponential(service_s, calls)
    quick = 0.5 * (1 + float(np.sqrt((variability - 1) / (variability + 1))))
    mean = np.where(rng.random(calls) < quick, service_s / (2 * quick), service_s / (2 * (1 - quick)))
    return rng.exponential(mean)


@dataclass(frozen=True)
class Queue:
    """Servers of a queue, how long one works on a call, and the squared variation of that."""

    servers: int
    service_s: float
    variability: float = 1.0

    def calls(self, rng: np.random.Generator, rate: float, calls: int) -> tuple[Floats, Floats]:
        """Wait and service of `calls` calls in a row, after a warm-up ``(calls,)``."""
        n = calls + WARM_UP
        arrive = np.cumsum(rng.exponential(1 / rate, n))
        work = services(rng, self.service_s, self.variability, n)
        if self.servers == 1:
            # the last departure is the largest of (arrival + all work since)
            before = np.concatenate([[0.0], np.cumsum(work)[:-1]])
            start = np.maximum.accumulate(arrive - before) + before
            return (start - arrive)[WARM_UP:], work[WARM_UP:]
        free = [0.0] * self.servers
        wait = np.empty(n)
        for i in range(n):
            start = max(heapq.heappop(free), arrive[i])
            heapq.heappush(free, start + work[i])
            wait[i] = start - arrive[i]
        return wait[WARM_UP:], work[WARM_UP:]


def sojourns(rng: np.random.Generator, rate: float, service_s: float, servers: int, calls: int) -> Floats:
    """Time in an M/M/c queue of `calls` calls in a row, after a warm-up ``(calls,)``."""
    wait, work = Queue(servers, service_s).calls(rng, rate, calls)
    return wait + work


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

"""Queues simulated call by call, so that load models can be held against what is known of them."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from tracescope.analysis.capacity.load_model import Points

Floats = NDArray[np.float64]
WARM_UP = 300


def services(rng: np.random.Generator, service_s: float, variability: float, calls: int) -> Floats:
    """Service times of some squared coefficient of variation: 0 constant, 1 exponential.

    Above it a mixture of two exponentials with balanced means (Whitt 1982), whose moments a thousand calls
    show.
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


SERVICE_S = 0.01


@dataclass(frozen=True)
class Kind:
    """Servers of one queue, the squared variation of their service, work beside it, whether its wait is all."""

    servers: int = 1
    variability: float = 1.0
    parallel_s: float = 0.0
    waits: bool = False

    def latency(self, rate: float) -> float:
        """Mean time of a call: Pollaczek and Khinchine for one server, Erlang C for several."""
        offered = rate * SERVICE_S
        if self.servers == 1:
            wait = offered * SERVICE_S * (1 + self.variability) / 2 / (1 - offered)
            return self.parallel_s + SERVICE_S + wait
        terms = sum(offered**k / math.factorial(k) for k in range(self.servers))
        last = offered**self.servers / math.factorial(self.servers) / (1 - offered / self.servers)
        wait = last / (terms + last) * SERVICE_S / (self.servers - offered)
        return self.parallel_s + SERVICE_S + wait

    @property
    def wall(self) -> float:
        """Load at three times the low-load latency."""
        low, top = SERVICE_S + self.parallel_s, self.servers / SERVICE_S
        return float(brentq(lambda x: self.latency(x) - 3 * low, 1e-6, top * (1 - 1e-9)))

    def calls(self, rng: np.random.Generator, rate: float, slower: float, calls: int) -> Floats:
        """Times of some calls, with work that takes `slower` times as long ``(calls,)``."""
        queue = Queue(self.servers, SERVICE_S * slower, self.variability)
        wait, work = queue.calls(rng, rate, calls)
        if self.waits:
            return wait + 1e-4  # a moment on the wire
        if self.parallel_s:
            work = work + rng.exponential(self.parallel_s * slower, calls)
        return wait + work


def season(rng: np.random.Generator, windows: int, weeks: tuple[float, float]) -> tuple[Floats, Floats]:
    """Instants in weeks from now, and demand with a daily course and 5 % growth a week ``(windows,)``."""
    t = np.sort(rng.uniform(*weeks, windows))
    return t, (1 + 0.6 * np.sin(t * 14 * np.pi)) * 1.05**t


def two_periods(
    rng: np.random.Generator, kind: Kind, *, peak: float, growth: float = 0.0, calls: int = 1000
) -> Points:
    """Two months of a queue, two months apart, whose work grows by `growth` (log) a week."""
    made: list[Points] = []
    for period, weeks in enumerate(((-12.0, -8.0), (-4.0, 0.0))):
        t, demand = season(rng, 20, weeks)
        rate = demand / 1.6 * peak * kind.servers / SERVICE_S
        took = [
            float(kind.calls(rng, r, math.exp(growth * at), calls).mean())
            for r, at in zip(rate, t, strict=True)
        ]
        seen = rng.poisson(rate * calls) / calls
        made.append(Points(t, seen, np.array(took), np.full(20, float(calls)), np.full(20, period)))
    return Points.join(made)

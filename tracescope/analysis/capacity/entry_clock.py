"""An entry's wall by its own clock: the time of its edges, each pushed along its own curve.

    clock at m times the load, after t weeks  =  sum over edges of  low-load time * slowdown(m, t)
    wall  =  where that is three times its value at low load, or the entry's SLO

An edge of 2 % of the clock that takes three times as long has moved the clock by 4 %: that is no wall of the
entry.  One near its capacity takes so long that it is the entry's wall whatever its share was.  Edges that
nobody has seen slow down are flat here, so that what is found is the first wall that shows.

Source: design, sections 7 and 10.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tracescope.analysis.capacity.curve import WALL_TIMES
from tracescope.analysis.capacity.load_model import DRAWS, MOST_OPEN
from tracescope.analysis.capacity.trends import LEVEL
from tracescope.analysis.capacity.walls import EdgeCurve, Wall

Floats = NDArray[np.float64]

#: Edges under this part of an entry's clock decide nothing about it.
MATERIAL: Final = 0.02
#: Multiples of the load between which a wall is looked for, and steps of halving them.
LEAST_TIMES, MOST_TIMES = 1 / 64, 64.0
HALVINGS: Final = 30


@dataclass(frozen=True, slots=True)
class _Part:
    """An edge's part of an entry's clock.

    Attributes
    ----------
    curve, wall
        Of the edge.
    low_ms
        Its time at low load ``(DRAWS,)``.
    trend, growth
        Log growth a week of load and of work ``(DRAWS,)``.
    """

    curve: EdgeCurve
    wall: Wall
    low_ms: Floats
    trend: Floats
    growth: Floats

    @property
    def bends(self) -> bool:
        return self.curve.room is not None and self.curve.room.bends

    def ms(self, times: Floats, weeks: Floats) -> Floats:
        """Its time at `times` the peak load and after some weeks ``(DRAWS,)``."""
        drift = np.clip(self.growth * weeks, -20.0, 20.0)
        if not self.bends:
            return self.low_ms * np.exp(drift)
        fitted = self.curve.fitted
        assert fitted is not None
        rho = self.curve.peak_load * times * np.exp(drift) / fitted.draws["capacity"]
        value = fitted.drawn(np.minimum(rho, 1e6)[:, None])[0][:, 0]
        slow = np.where(rho < 1, np.exp(np.minimum(value - math.log(1 - fitted.curve.less), 300.0)), np.inf)
        return self.low_ms * np.exp(drift) * slow


@dataclass(frozen=True, slots=True)
class EntryWall:
    """Where an entry's wall is; see `tracescope.analysis.capacity.forecast.EntryForecast`."""

    headroom: float | None
    headroom_interval: tuple[float, float | None] | None
    headroom_at_least: float | None
    weeks: float | None
    weeks_interval: tuple[float | None, float | None] | None
    limit: int | None


class EntryClock:
    """An entry's clock as its edges' curves make it.

    Parameters
    ----------
    ms
        Mean clock of the last week.
    spent
        Ms of each edge in it, by ``edge_id``.
    walls
        Curve and wall of edges.
    """

    def __init__(
        self, ms: float, spent: Mapping[int, float], walls: Mapping[int, tuple[EdgeCurve, Wall]]
    ) -> None:
        self.ms = ms
        self.spent = spent
        self.walls = walls
        self.parts = {
            edge: _part(edge, took, *walls[edge])
            for edge, took in spent.items()
            if edge in walls and walls[edge][0].fitted is not None
        }
        self.rest = ms - sum(spent[edge] for edge in self.parts)

    @property
    def bends(self) -> bool:
        """Whether any of its edges is seen to slow down."""
        return any(part.bends for part in self.parts.values())

    @property
    def low_ms(self) -> Floats:
        """At low load and today's work ``(DRAWS,)``."""
        return self.rest + sum((part.low_ms for part in self.parts.values()), np.zeros(DRAWS))

    def at(self, times: Floats, weeks: Floats, demand: bool = False) -> Floats:
        """The clock at some multiples of the peak load and after some weeks ``(DRAWS,)``.

        With `demand`, loads have grown for these weeks by their own trends.
        """
        total = np.full(DRAWS, self.rest)
        for part in self.parts.values():
            grown = np.exp(np.clip(part.trend * weeks, -20.0, 20.0)) if demand else 1.0
            total = total + part.ms(times * grown, weeks)
        return total

    def wall(self, reach: float) -> EntryWall:
        """Its wall: three times its clock at low load; weeks within `reach`."""
        material = [part for edge, part in self.parts.items() if self.spent[edge] >= MATERIAL * self.ms]
        served = [part.curve.highest_load / part.curve.peak_load for part in material]
        unseen = EntryWall(None, None, min(served) if served else None, None, None, None)
        if not self.bends:
            return unseen
        target = WALL_TIMES * self.low_ms
        still = np.zeros(DRAWS)
        room = _crossing(
            lambda log: self.at(np.exp(log), still), target, math.log(LEAST_TIMES), math.log(MOST_TIMES)
        )
        low, middle, high = _quantiles(np.exp(room))
        if not (math.isfinite(high) and high <= MOST_OPEN * low):
            return unseen
        limit = self._limit(middle)
        if not all(math.isfinite(part.wall.trend_logs[1]) for part in self.parts.values() if part.bends):
            return EntryWall(middle, (low, high), None, None, None, limit)
        now = np.ones(DRAWS)
        first, half, last = _quantiles(_crossing(lambda t: self.at(now, t, demand=True), target, 0.0, reach))
        return EntryWall(middle, (low, high), None, _known(half), (_known(first), _known(last)), limit)

    def reaches(self, slo_ms: float, reach: float) -> tuple[float | None, tuple[float | None, float | None]]:
        """Weeks until its mean is `slo_ms`, and their interval; None is more than `reach`."""
        if self.ms >= slo_ms:
            return 0.0, (0.0, 0.0)
        now = self.at(np.ones(DRAWS), np.zeros(DRAWS))
        weeks = _crossing(
            lambda t: self.at(np.ones(DRAWS), t, demand=True) / now * self.ms,
            np.full(DRAWS, slo_ms),
            0.0,
            reach,
        )
        first, half, last = _quantiles(weeks)
        return _known(half), (_known(first), _known(last))

    def _limit(self, times: float) -> int:
        """The edge that makes most of the clock at the wall."""
        at, still = np.full(DRAWS, times), np.zeros(DRAWS)
        added = {
            edge: float(np.median(np.minimum(part.ms(at, still), 1e300) - part.low_ms))
            for edge, part in self.parts.items()
            if part.bends
        }
        return max(added, key=lambda edge: (added[edge], self.spent[edge], -edge))


def _part(edge: int, spent: float, curve: EdgeCurve, wall: Wall) -> _Part:
    fitted = curve.fitted
    assert fitted is not None
    rng = np.random.default_rng(abs(edge) % 2**32)  # edges are told apart, runs are not
    slope, error, dof = wall.trend_logs
    if not math.isfinite(error):
        slope, error = 0.0, 0.0
    trend = slope + error * rng.standard_t(dof, DRAWS)
    # what one edge's data leave open says nothing of another's
    order = rng.permutation(DRAWS)
    draws = {name: values[order] for name, values in fitted.draws.items()}
    low = np.full(DRAWS, spent)
    if curve.room is not None and curve.room.bends:
        low = spent / np.maximum(curve.slower(curve.usual_load)[order] / (1 - fitted.curve.less), 1e-9)
    return _Part(_reordered(curve, draws), wall, low, trend, draws["growth"])


def _reordered(curve: EdgeCurve, draws: dict[str, Floats]) -> EdgeCurve:
    assert curve.fitted is not None
    return replace(curve, fitted=replace(curve.fitted, draws=draws))


def _crossing(at: Callable[[Floats], Floats], target: Floats, low: float, high: float) -> Floats:
    """Where a rising function of each draw reaches its target ``(DRAWS,)``.

    `low` where it has there, infinite where it has not at `high`.
    """
    lows, highs = np.full(DRAWS, low), np.full(DRAWS, high)
    before, never = at(lows) >= target, at(highs) < target
    for _ in range(HALVINGS):
        middle = (lows + highs) / 2
        reached = at(middle) >= target
        lows, highs = np.where(reached, lows, middle), np.where(reached, middle, highs)
    return np.where(before, low, np.where(never, np.inf, highs))


def _quantiles(values: Floats) -> tuple[float, float, float]:
    low, middle, high = np.quantile(
        values, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2], method="inverted_cdf"
    ).tolist()
    return low, middle, high


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None

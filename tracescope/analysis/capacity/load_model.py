"""What load does to a resource, and what time does to it at equal load.

Growth g at equal load makes work slower, and so takes capacity too:

    R(X, t) = e^(g*t) * R_curve(X * e^(g*t))

The point estimate is a robust least-squares fit of `tracescope.analysis.capacity.curve`'s law to
arrivals X.  Intervals come from the whole surface of utilisations and shapes that the data leave open,
R0 and g integrated out, with as many degrees of freedom as serial correlation leaves: a and b often lie
on their bound 0, where a covariance matrix says nothing, and no resource is exactly the law.

Source: Bayley & Hammersley 1946 (effective sample size); Box & Tiao, "Bayesian Inference in Statistical
Analysis", 1973, section 2.7; Huber 1964; design, section 7.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tracescope.analysis.capacity.curve import SHAPES, WAITS, WALLS, Curve, slowdowns, waiting
from tracescope.analysis.statistics.robust_fit import Model, Solution, robust_fit

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Calls a point must hold; with fewer, noise in the arrivals invents growth.
FEWEST_CALLS: Final = 100
FEWEST_POINTS: Final = 4
FEWEST_POINTS_IN_ALL: Final = 10
#: Loads of two periods overlap when this part of either's calls finds the other's loads.
LEAST_OVERLAP: Final = 0.2
#: Loads within this factor are one load.
SAME_LOAD: Final = 1.1
#: The least ratio of highest to lowest load that shows a curve.
LEAST_RANGE: Final = 1.3
#: Standard error of the load's part of a change, in log units, beyond which it is not told.
MOST_UNCERTAIN: Final = 0.15
DRAWS: Final = 400
#: A wall whose interval is wider than this factor is not in sight.
MOST_OPEN: Final = 4.0
#: ... nor one that is farther than this times the highest load that was seen.
SIGHT: Final = 2.0
#: No latency is known better than this, in log units: a constant one would else show a wall, some hundred
#: times the load away.  And residuals under this are none to be robust against.
LEAST_NOISE: Final = 1e-5
#: Nor is any resource exactly one of the shapes: those that differ by no more than this, in log units, over
#: the loads that were seen are not told apart, however many calls were counted.
LEAST_APART: Final = 0.0025
LEAST_SCALE: Final = 1e-3
#: Standard errors on either side of a 95 % interval.
NORMAL_95: Final = 1.96
#: Log growth a week, or in a step, beyond which nothing is looked for.
MOST_GROWTH: Final = 3.0
#: Residuals that hang together in time this much say that growth took another course, ...
OFF_COURSE: Final = 0.4
#: ... which must fit better by this in ``n * log(mean square)``: else noise would choose.
CLEARLY_BETTER: Final = 6.0
#: ... and by how many moments a period stands for growth within it.
MOMENTS: Final = 4
#: Log weight under the best from which a curve is not thought possible.
_UNLIKELY: Final = 9.0


@dataclass(frozen=True, slots=True)
class Points:
    """Windows of one edge, each long enough to hold its calls; arrays ``(n,)`` in order of time.

    Attributes
    ----------
    weeks
        Middle of the window, in weeks from now (negative).
    load
        Arrivals a second at the whole resource, weighted by sampling probability.
    latency_s
        Mean time of a call itself.
    calls
        Calls counted, unweighted.
    period
        0 base, 1 head; any small numbers tell more periods apart.
    """

    weeks: Floats
    load: Floats
    latency_s: Floats
    calls: Floats
    period: Ints

    def __len__(self) -> int:
        return len(self.load)

    def select(self, rows: NDArray[np.bool_]) -> Points:
        """Only some of them."""
        return Points(*(getattr(self, name)[rows] for name in Points.__dataclass_fields__))

    @staticmethod
    def join(parts: list[Points]) -> Points:
        """All of several, in the order given."""
        names = Points.__dataclass_fields__
        return Points(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True, slots=True)
class Course:
    """When growth comes: steadily, in a step, or from a moment on.

    Attributes
    ----------
    since
        Weeks from now at which it begins; minus infinity for a steady drift.
    step
        Whether it comes at once, and not a week.
    jump
        What comes at once, as a part of what comes later; 0 unless it does both.
    """

    since: float = -math.inf
    step: bool = False
    jump: float = 0.0

    def time(self, weeks: Floats) -> Floats:
        """What log growth is multiplied by, at moments in weeks from now; 0 is now."""
        before = weeks < self.since
        if self.step:
            return np.where(before, -1.0, 0.0)
        return np.where(before, self.since * (1 + self.jump), weeks)

    @property
    def words(self) -> str:
        """What the evidence says of it; empty for a steady drift."""
        if self.step:
            return "a step"
        return "" if math.isinf(self.since) else "a step that goes on rising" if self.jump else "a rise"


DRIFT: Final = Course()


@dataclass(frozen=True, slots=True)
class Headroom:
    """Load at the wall over peak load.

    Attributes
    ----------
    times
        The median of what the data leave open.  Where no wall is in sight, the highest load seen over peak
        load: the wall lies beyond, and how far nobody can tell.
    interval
        80 %; the upper end None where it is open.
    lower_bound
        `times` is what there is at least.
    bends
        Whether a wall is in sight: the data show how load slows this edge down.
    """

    times: float
    interval: tuple[float, float | None]
    lower_bound: bool
    bends: bool


@dataclass(frozen=True, slots=True)
class Fit:
    """A curve, its growth, and what the data leave open.

    Attributes
    ----------
    curve
        As it is now (weeks 0, or the last period).
    growth
        Log growth at equal load: a week, or in the step of its `course`.
    course
        When it came.
    draws
        ``r0_s, capacity, shape, growth`` ``(DRAWS,)`` each, equally likely; shape indexes `SHAPES`.
    noise
        Standard deviation of a point in log units.
    dof
        Effective degrees of freedom.
    cost
        Robust mean square of the residuals; fits to the same points compare by it.
    highest
        Highest load seen, at today's work: what was served when work was quicker counts for less.
    doubt
        Standard error of growth between two periods, in log units, from other courses as likely as this one.
    """

    curve: Curve
    growth: float
    course: Course
    draws: dict[str, Floats]
    noise: float
    dof: float
    cost: float
    highest: float
    doubt: float = 0.0

    def interval(self, values: Floats, level: float = 0.95) -> tuple[float, float]:
        """Of something computed from `draws`."""
        tail = (1 - level) / 2
        low, high = np.quantile(values, [tail, 1 - tail], method="inverted_cdf")
        return float(low), float(high)

    def walls(self) -> Floats:
        """Arrivals a second at the wall ``(DRAWS,)``; infinite where load does nothing."""
        return self.draws["capacity"] * WALLS[self.draws["shape"].astype(np.int64)]

    @property
    def wall(self) -> float:
        """The median of what the data leave open: half of the curves that explain them have it sooner."""
        return float(np.median(self.walls()))

    def headroom(self, peak_load: float) -> Headroom:
        """How much more load than now there is room for.

        Where the interval is open, or the wall lies beyond `SIGHT` times the load that was seen, it would be
        what is assumed of curves and not what was seen: a pool is as quick as an empty one until it is full.
        """
        low, high = (wall / peak_load for wall in self.interval(self.walls(), 0.8))
        middle = self.wall / peak_load
        seen = self.highest / peak_load
        if not (math.isfinite(high) and high <= MOST_OPEN * low and middle <= SIGHT * seen):
            return Headroom(max(seen, 1.0), (max(seen, 1.0), None), lower_bound=True, bends=False)
        return Headroom(middle, (low, high), lower_bound=False, bends=True)

    def drawn(self, rho: Floats) -> tuple[Floats, Floats]:
        """As `waiting`, a row of `rho` ``(DRAWS, n)`` for every draw."""
        return slowdowns(self.draws["shape"].astype(np.int64), rho, self.curve.less)

    def slower(self, load: float) -> Floats:
        """Latency at a load over that at none ``(DRAWS,)``; infinite beyond a draw's capacity."""
        rho = load / self.draws["capacity"]
        value = self.drawn(rho[:, None])[0][:, 0]
        return np.where(rho < 1, np.exp(np.minimum(value, 300.0)), np.inf)


def overlap(points: Points) -> float:
    """Part of the calls of either period at loads that the other one has too; the smaller part."""
    parts: list[float] = []
    for own, other in ((0, 1), (1, 0)):
        mine, theirs = points.period == own, points.period == other
        if not mine.any() or not theirs.any():
            return 0.0
        low, high = points.load[theirs].min() / SAME_LOAD, points.load[theirs].max() * SAME_LOAD
        inside = (points.load >= low) & (points.load <= high) & mine
        parts.append(float(points.calls[inside].sum() / points.calls[mine].sum()))
    return min(parts)


def mean_load(points: Points) -> float:
    """Mean of the logarithm of the load, weighted by calls."""
    return float(np.average(np.log(points.load), weights=points.calls))


def refusal(points: Points) -> str | None:
    """Why two periods' points cannot tell load from growth, in words; None when they may."""
    sides = [points.select(points.period == number) for number in (0, 1)]
    for name, side in zip(("base", "head"), sides, strict=True):
        if len(side) < FEWEST_POINTS:
            return (
                f"not identifiable: {name} has {int(side.calls.sum())} counted calls in {len(side)} windows;"
                f" {FEWEST_POINTS} windows of {FEWEST_CALLS} calls at one load or more are needed"
            )
    if len(points) < FEWEST_POINTS_IN_ALL:
        return (
            f"not identifiable: {len(points)} windows of {FEWEST_CALLS} calls and more; "
            f"{FEWEST_POINTS_IN_ALL} are needed"
        )
    ranges = [(float(side.load.min()), float(side.load.max())) for side in sides]
    if overlap(points) < LEAST_OVERLAP:
        texts = [f"{low:.3g} to {high:.3g}" for low, high in ranges]
        return f"not identifiable: loads do not overlap (base {texts[0]} calls/s, head {texts[1]})"
    low, high = float(points.load.min()), float(points.load.max())
    if high < LEAST_RANGE * low:
        return f"not identifiable: load hardly varies ({low:.3g} to {high:.3g} calls/s)"
    return None


@dataclass(frozen=True, slots=True)
class _Solved:
    """The curve nearest to some points; what else they leave open is for `fit` to say.

    Attributes
    ----------
    points, course, free, less
        What was fitted: growth's course, whether growth was fitted at all, and `Curve.less`.
    x, y, time, weight
        Loads as parts of the highest, logs of latencies, when they were, and what they are worth ``(n,)``.
    theta
        Log R0, utilisation at the highest load, phi, growth ``(4,)``.
    residual
        Weighted ``(n,)``.
    cost
        As in `Fit`.
    """

    points: Points
    course: Course
    free: bool
    less: float
    x: Floats
    y: Floats
    time: Floats
    weight: Floats
    theta: Floats
    residual: Floats
    cost: float

    def fit(self) -> Fit:
        """With what the points leave open."""
        points, raw, (log_r0, kappa, phi, g) = self.points, self.residual, self.theta.tolist()
        spent = 3 + self.free
        few = math.sqrt(len(points) / max(len(points) - spent, 1))
        rms = float(np.sqrt(np.mean(raw**2)))
        noise = max(1.4826 * float(np.median(np.abs(raw))) * few, rms * 0.5, 1e-9)
        size = np.abs(raw) / (1.345 * noise)
        trust = self.weight**2 / np.maximum(size, 1.0)  # Huber's weights
        inflation = _inflation(raw, points)
        # what the weights take from the sum of squares: variance of an M-estimate, Huber 1964
        bent = np.minimum(np.abs(raw), 1.345 * noise)
        huber = float(np.mean(bent**2)) / max(float(np.mean(size <= 1)), 0.5) ** 2
        lost = huber / max(float(np.average(raw**2, weights=trust)), 1e-300)
        grid = _Surface(
            self.y, self.x, self.time, trust, g, self.free, len(points) / inflation,
            inflation * max(lost, 1.0), self.less,
        )  # fmt: skip
        draws = grid.draw(kappa * float(np.max(np.exp(g * self.time) * self.x)))
        unit = float(np.max(points.load))
        draws["capacity"] = unit / np.maximum(draws.pop("kappa"), 1e-12)
        draws["capacity"] = np.where(draws["capacity"] > 1e9 * unit, np.inf, draws["capacity"])
        capacity = unit / kappa if kappa > 1e-9 else math.inf
        return Fit(
            Curve(math.exp(log_r0), capacity, phi, self.less),
            g,
            self.course,
            draws,
            noise,
            max(len(points) / inflation - spent, 1.0),
            self.cost,
            float(np.max(points.load * np.exp(max(g, 0.0) * self.time))),
        )


def fit(points: Points, *, course: Course = DRIFT, growth: bool = True, less: float = 0.0) -> Fit:
    """Fit a load curve and growth at equal load.

    Parameters
    ----------
    points
        At least `FEWEST_POINTS`, of one or more periods.
    course
        Of growth.
    growth
        Whether to fit growth at all.
    less
        See `Curve`.
    """
    return _solve(points, course, growth=growth, less=less).fit()


def _solve(points: Points, course: Course = DRIFT, *, growth: bool = True, less: float = 0.0) -> _Solved:
    """The nearest curve, as `fit` takes it."""
    time = course.time(points.weeks) if growth else np.zeros(len(points))
    free = bool(growth and np.ptp(time) > 0)
    y = np.log(points.latency_s)
    x = points.load / float(np.max(points.load))
    weight = 1 / np.sqrt(1 / points.calls + 1 / float(np.median(points.calls)))
    weight = weight / math.sqrt(float(np.mean(weight**2)))
    design = np.column_stack([np.ones_like(x), x, time] if free else [np.ones_like(x), x])
    start, *_ = np.linalg.lstsq(design * weight[:, None], y * weight, rcond=None)
    rest = (y - design @ start) * weight
    scale = max(1.4826 * float(np.median(np.abs(rest - np.median(rest)))), LEAST_SCALE)

    def residual(theta: Floats) -> Floats:
        drift = theta[3] * time
        return (y - theta[0] - drift - waiting(theta[1] * x * np.exp(drift), theta[2], less)[0]) * weight

    def jacobian(theta: Floats) -> Floats:
        phi, moved = theta[2], x * np.exp(theta[3] * time)
        rho = theta[1] * moved
        value, slope = waiting(rho, phi, less)
        tiny = 1e-6 if phi < 0.5 else -1e-6
        by_phi = (waiting(rho, phi + tiny, less)[0] - value) / tiny
        columns = [np.ones_like(x), slope * moved, by_phi, time * (1 + slope * rho)]
        return -np.column_stack(columns) * weight[:, None]

    def solve(theta: Floats, weights: Floats) -> Solution:
        nonlocal weight
        weight = weights
        low, high = np.array([-np.inf, 0.0, 0.0, -limit]), np.array([np.inf, 3.0, 1.0, limit])
        return robust_fit(Model(residual, jacobian), theta, low, high, 1.345 * scale)

    g0 = float(np.clip(start[2], -0.9, 0.9)) if free else 0.0
    rise = 1 - math.exp(-float(np.clip(start[1], 0.05, 2.3)))
    limit = MOST_GROWTH if free else 1e-12
    found = solve(np.array([float(start[0]), rise, 0.3, g0]), weight)
    # near capacity a queue's mean is noisier than its calls: the variance grows with the slowdown
    # (Carroll & Ruppert, "Transformation and Weighting in Regression", 1988, chapter 3)
    slow = waiting(found.x[1] * x * np.exp(found.x[3] * time), found.x[2], less)[0]
    steep = _steepness(slow, residual(found.x))
    if steep > 0:
        quiet = weight * np.exp(-steep * slow)
        found = solve(found.x, quiet / math.sqrt(float(np.mean(quiet**2))))
    cost = 2 * found.cost / len(points)
    return _Solved(points, course, free, less, x, y, time, weight, found.x, residual(found.x), cost)


def _steepness(slow: Floats, residual: Floats) -> float:
    """Power of the slowdown that the noise grows with: 0 unless the residuals say so."""
    size = np.log(np.abs(residual - np.median(residual)) + 1e-9)
    if len(slow) < FEWEST_POINTS_IN_ALL or float(np.ptp(slow)) < 0.2:
        return 0.0
    centred = slow - slow.mean()
    power = float(centred @ centred)
    slope = float(centred @ size) / power
    error = 1.1 / math.sqrt(power)  # standard deviation of the log of a normal's size
    return min(slope, 2.0) if slope > error else 0.0


def _correlation(residual: Floats, points: Points) -> float:
    """Lag-1 correlation of residuals in order of time, corrected for its bias on short series."""
    order = np.lexsort((points.load, points.weeks))
    r = residual[order] - residual.mean()
    power = float((r**2).sum())
    n = len(r)
    if power <= 0 or n < FEWEST_POINTS:
        return 0.0
    lag = float((r[1:] * r[:-1]).sum() / power)
    return min(lag + (1 + 4 * lag) / n, 0.85) if lag > 1 / math.sqrt(n) else 0.0


def _inflation(residual: Floats, points: Points) -> float:
    """How many correlated residuals tell as much as one that is not."""
    correlation = _correlation(residual, points)
    return (1 + correlation) / (1 - correlation)


@dataclass(frozen=True, slots=True)
class _Surface:
    """How well every utilisation of every shape explains the points, R0 and growth integrated out."""

    y: Floats
    x: Floats
    time: Floats
    trust: Floats
    growth: float
    free: bool
    counted: float
    inflation: float
    less: float

    def _at(self, kappa: Floats, shape: Ints) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        """Log weight, log R0, growth, and the errors of both, for utilisations and shapes ``(k,)``."""
        rho = kappa[:, None] * self.x * np.exp(self.growth * self.time)
        value, slope = slowdowns(shape, rho, self.less)
        w = self.trust
        rest = self.y - value - self.growth * self.time
        total = w.sum()
        mean = rest @ w / total
        alike = total * self.counted * LEAST_APART**2
        if not self.free:
            rss = ((rest - mean[:, None]) ** 2) @ w + total * LEAST_NOISE**2
            spread = np.sqrt(rss / max(self.counted - 3, 1.0) / total * self.inflation)
            score = -(self.counted - 1) / 2 * np.log(rss + alike)
            return score, mean, np.full(len(kappa), self.growth), spread, np.zeros(len(kappa))
        h = self.time * (1 + slope * rho)
        middle = h @ w / total
        centred = h - middle[:, None]
        power = np.maximum((centred**2) @ w, 1e-300)
        tilt = (centred * rest) @ w / power
        rss = ((rest - mean[:, None] - tilt[:, None] * centred) ** 2) @ w + total * LEAST_NOISE**2
        variance = rss / max(self.counted - 4, 1.0) * self.inflation
        score = -(self.counted - 2) / 2 * np.log(rss + alike) - 0.5 * np.log(power)
        errors = np.sqrt(variance / total), np.sqrt(variance / power)
        return score, mean - tilt * middle, self.growth + tilt, *errors

    def draw(self, best: float) -> dict[str, Floats]:
        """`DRAWS` equally likely curves; `best` is the fitted utilisation at the highest load."""
        top = float(np.max(np.exp(self.growth * self.time) * self.x))
        low, high = 0.0, max(0.999, min(best, 1.2))
        shapes = np.arange(len(SHAPES))
        for size in (16, 16, 24):
            step = (high - low) / size
            kappas = np.asarray((low + (np.arange(size) + 0.5) * step) / top, dtype=np.float64)
            k, shape = np.tile(kappas, len(shapes)), np.repeat(shapes, size)
            score, *rest = self._at(k, shape)
            table = score.reshape(len(shapes), size)
            most = score.max()
            likely = np.flatnonzero(table.max(axis=0) > most - _UNLIKELY)
            low, high = max(low + (likely[0] - 1) * step, 0.0), low + (likely[-1] + 2) * step
            # a coarse grid may miss the best of a shape by a little, so those near enough stay
            shapes = shapes[table.max(axis=1) > most - 2 * _UNLIKELY]
        chance = np.exp(score - most)
        rng = np.random.default_rng(0)
        pick = rng.choice(len(chance), DRAWS, p=chance / chance.sum())
        log_r0, growth, error_r0, error_growth = (part[pick] for part in rest)
        wide = rng.standard_t(max(self.counted - 3 - self.free, 1.0), (2, DRAWS))
        jitter = (rng.random(DRAWS) - 0.5) * step / top
        return {
            "r0_s": np.exp(log_r0 + np.clip(wide[0] * error_r0, -20.0, 20.0)),
            "kappa": np.maximum(k[pick] + jitter, 0.0),
            "shape": shape[pick].astype(np.float64),
            "growth": np.clip(growth + wide[1] * error_growth, -MOST_GROWTH, MOST_GROWTH),
        }


@dataclass(frozen=True, slots=True)
class Shift:
    """The change of log latency from base to head, split into load and growth.

    Attributes
    ----------
    load, growth
        Log change by more load at equal work, and by growth at equal load; they add up to the
        fitted change.
    load_error, growth_interval
        Standard error of the load's part, 95 % interval of the growth's part.
    """

    load: float
    growth: float
    load_error: float
    growth_interval: tuple[float, float]


def shift(fitted: Fit, points: Points, load_noise: float = 0.0) -> Shift:
    """Tell load from growth between period 0 and period 1 of the fitted points.

    `load_noise` is the relative standard error of how many times the load of base that of head is: what it
    leaves open of the load's part it leaves open of growth, and near a wall it is that many times as much.
    """
    base, head = points.period == 0, points.period == 1
    time = fitted.course.time(points.weeks)
    when = [_moments(fitted.course, time[side], points.calls[side]) for side in (base, head)]

    def parts(
        capacity: Floats, growth: Floats, curve: Callable[[Floats], tuple[Floats, Floats]]
    ) -> tuple[Floats, Floats]:
        total = np.zeros((2, 2, len(capacity)))  # load of, time of
        for i, side in enumerate((base, head)):
            weight = points.calls[side] / points.calls[side].sum()
            for j, moments in enumerate(when):
                # of the mean, not the mean of logs: the busiest hours make most of a mean latency
                mean = np.zeros(len(capacity))
                for moment, part in moments:
                    drift = np.clip(growth * moment, -20.0, 20.0)[:, None]
                    value, _ = curve(points.load[side] * np.exp(drift) / capacity[:, None])
                    mean += part * (np.exp(np.minimum(value + drift, 50.0)) @ weight)
                total[i, j] = np.log(mean)
        load = ((total[1, 0] - total[0, 0]) + (total[1, 1] - total[0, 1])) / 2
        return load, total[1, 1] - total[0, 0] - load

    curve, d = fitted.curve, fitted.draws
    load, growth = parts(
        np.array([curve.capacity]), np.array([fitted.growth]), lambda rho: waiting(rho, curve.phi, curve.less)
    )
    loads, growths = parts(d["capacity"], d["growth"], fitted.drawn)
    low, high = np.quantile(loads, [0.16, 0.84])
    counting = math.hypot(load_noise * _elasticity(fitted, points.select(head), time[head]), fitted.doubt)
    error = math.hypot(float(high - low) / 2, counting)
    return Shift(
        float(load[0]),
        float(growth[0]),
        error,
        _widened(fitted.interval(growths), float(growth[0]), counting),
    )


def _moments(course: Course, time: Floats, calls: Floats) -> list[tuple[float, float]]:
    """Times that stand for a period, each with its part of the calls; one where growth hardly bends there."""
    parts = calls / calls.sum()
    if math.isinf(course.since):
        return [(float(time @ parts), 1.0)]
    ranks = np.minimum(((np.cumsum(parts) - parts / 2) * MOMENTS).astype(np.int64), MOMENTS - 1)
    groups = time if course.step else np.where(time == time[0], -1, ranks)
    return [
        (float(np.average(time[mine], weights=parts[mine])), float(parts[mine].sum()))
        for mine in (groups == group for group in np.unique(groups))
    ]


def _elasticity(fitted: Fit, points: Points, time: Floats) -> float:
    """Per cent of the mean latency of all calls of some points for one per cent of load."""
    curve, step = fitted.curve, 0.02
    drift = np.clip(fitted.growth * time, -20.0, 20.0)
    logs: list[float] = []
    for each in (-step, step):
        rho = points.load * np.exp(drift + each) / curve.capacity
        slow = waiting(rho, curve.phi, curve.less)[0] + drift
        most = float(np.max(slow))  # added to the mean's: far beyond capacity there is no number for it
        logs.append(most + math.log(float(np.exp(slow - most) @ points.calls)))
    return (logs[1] - logs[0]) / (2 * step)


def _widened(interval: tuple[float, float], estimate: float, error: float) -> tuple[float, float]:
    """A 95 % interval with one more independent error in it."""
    more = NORMAL_95 * error
    return (
        estimate - math.hypot(max(estimate - interval[0], 0.0), more),
        estimate + math.hypot(max(interval[1] - estimate, 0.0), more),
    )


def better(points: Points, *, waits: bool = False) -> Fit:
    """Steady drift or a step between the periods, whichever explains the points better.

    Where the residuals of both hang together in time also a rise that begins elsewhere, and between periods
    a step elsewhere or one that goes on rising: a resource that got slower week by week within head did
    neither of the two, and what is left of its course would be taken for serial correlation, with which
    nothing is known.  With `waits` also whether the points are a queue's waits or whole latencies.
    """
    tried = [_solve(points, less=less) for less in ((0.0, *WAITS) if waits else (0.0,))]
    best = min(tried, key=_cost)
    between = _between(points)
    if between is not None:
        step = _solve(points, Course(between, step=True), less=best.less)
        best = step if step.cost < best.cost else best
    if _correlation(best.residual, points) < OFF_COURSE:
        return best.fit()
    courses = _rises(float(points.weeks.min())) if between is None else _courses(between)
    others = [_solve(points, one, less=best.less) for one in courses]
    other = min(others, key=_cost)
    counted = len(points) / _inflation(other.residual, points)
    if not clearly_better(other, best, counted):
        return best.fit()
    return replace(other.fit(), doubt=_doubt(others, other, counted))


def _doubt(courses: Sequence[_Solved], best: _Solved, counted: float) -> float:
    """Standard deviation of what growth makes of the mean, over courses as likely as their residuals say."""
    points = best.points
    head = points.period == points.period.max()
    grown = [
        one.theta[3] * float(np.average(one.time[head], weights=points.calls[head]) - one.time.min())
        for one in courses
    ]
    cost = np.maximum([one.cost for one in courses], 1e-300)
    likely = np.exp(-counted / 4 * np.log(cost / max(best.cost, 1e-300)))
    mean = float(np.average(grown, weights=likely))
    return math.sqrt(float(np.average((np.array(grown) - mean) ** 2, weights=likely)))


def clearly_better(other: Fit | _Solved, best: Fit | _Solved, counted: float) -> bool:
    """Whether another fit to the same points is better by more than noise; so many are independent."""
    return counted * math.log(max(best.cost, 1e-300) / max(other.cost, 1e-300)) >= CLEARLY_BETTER


def _cost(solved: _Solved) -> float:
    return solved.cost


def _between(points: Points) -> float | None:
    """Where period 1 begins, in weeks from now; None where there is only one."""
    later = points.weeks[points.period > 0]
    return float(later.min()) if 0 < len(later) < len(points) else None


def _rises(first: float) -> list[Course]:
    """Drifts that begin within what was seen since `first`, in weeks from now."""
    return [Course(first * part / 8) for part in range(7, 1, -1)]


def _courses(between: float) -> list[Course]:
    """Courses that begin with head, or within it."""
    rises = _rises(between)
    later = [Course(rise.since, step=True) for rise in rises]
    jumps = [Course(between, jump=jump) for jump in (0.0, 0.5, 1.0, 2.0)]
    return [*jumps, *rises, *later]

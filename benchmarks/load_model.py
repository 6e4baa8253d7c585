"""How well the load model and the forecast find what is known of simulated queues.

    python -m benchmarks.load_model [--runs 100]

Prints, for every kind of queue: how often the 95 % interval of growth holds the truth, in how many runs the
wall is in sight, how often the 80 % interval of the wall holds the truth where it is, and what is given as a
lower bound where it is not, the bias of growth and wall, and the time of one fit as a multiple of a straight-line fit; then
backtests: from the first two thirds of a ramp that hits the wall at its end, how often the 80 % intervals of
headroom and of weeks to the wall hold what came, and their bias, for one server, pools, queues' waits and
walls that nothing shows beforehand; then what windows of an hour, as the model has them, make of load that
swings within hours, beside windows of five minutes.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.queues import SERVICE_S, Kind, two_periods
from tracescope.analysis.capacity import load_model as load
from tracescope.analysis.capacity.curve import WAITS
from tracescope.analysis.capacity.load_model import Points
from tracescope.analysis.capacity.split import load_trend

Floats = NDArray[np.float64]
KINDS: dict[str, Kind] = {
    "M/M/1": Kind(),
    "M/D/1": Kind(variability=0.0),
    "M/G/1, varies a lot": Kind(variability=4.0),
    "M/M/2": Kind(2),
    "M/M/4": Kind(4),
    "M/M/8": Kind(8),
    "M/M/16": Kind(16),
    "lock, half": Kind(parallel_s=0.01),
    "lock, a quarter": Kind(parallel_s=0.03),
    "a queue's wait": Kind(waits=True),
    "hidden pool of 16": Kind(16, parallel_s=0.03),
}


def recover(runs: int) -> None:
    """Growth and wall of every kind of queue."""
    print(
        f"{'queue':<20}{'growth':>8}{'95 % holds':>12}{'bias %/wk':>11}{'in sight':>10}{'80 % wall holds':>17}"
        f"{'wall / truth':>14}{'bound holds':>13}{'bound / truth':>15}"
    )
    for name, kind in KINDS.items():
        truth = kind.wall
        for growth in (0.0, 0.03):
            rng = np.random.default_rng(11)
            inside, walls, found, ratio, bounds = 0, 0, [], [], []
            for _ in range(runs):
                points = two_periods(rng, kind, peak=0.75, growth=growth)
                fitted = load.fit(points, less=WAITS[2] if kind.waits else 0.0)
                low, high = fitted.interval(fitted.draws["growth"])
                inside += low <= growth <= high
                found.append(fitted.growth - growth)
                room = fitted.headroom(1.0)
                if room.bends:
                    walls += room.interval[0] <= truth <= (room.interval[1] or math.inf)
                    ratio.append(room.times / truth)
                else:
                    bounds.append(room.times / truth)
            print(
                f"{name:<20}{growth * 100:>6.0f} %{inside / runs:>11.0%} {np.mean(found) * 100:>10.2f} "
                f"{len(ratio) / runs:>9.0%} {_part(walls, len(ratio)):>16} {_middle(ratio):>13} "
                f"{_part(sum(bound <= 1 for bound in bounds), len(bounds)):>12} {_middle(bounds):>14}"
            )


def _part(held: int, runs: int) -> str:
    return f"{held / runs:.0%}" if runs else "-"


def _middle(ratios: list[float]) -> str:
    return f"{np.median(ratios):.2f}" if ratios else "-"


def ramp(
    rng: np.random.Generator, kind: Kind, demand: float, drift: float, peak: float, weeks: int
) -> tuple[Points, Floats, Floats]:
    """A queue over some weeks that end now, and its weekly peak loads; `peak` as a part of the wall's load."""
    n = weeks * 6
    t = (np.arange(n) + 0.5) / 6 - weeks
    day = np.tile([0.4, 0.7, 1.0, 1.3, 1.6, 1.0], weeks)
    rate = day / 1.6 * peak * kind.wall * np.exp(demand * t)
    took = np.array(
        [kind.calls(rng, r, math.exp(drift * at), 600).mean() for r, at in zip(rate, t, strict=True)]
    )
    seen = rng.poisson(rate * 600) / 600
    points = Points(t, seen, took, np.full(n, 600.0), np.zeros(n, np.int64))
    peaks = seen.reshape(weeks, 6).max(axis=1)
    return points, np.arange(weeks) + 0.5 - weeks, peaks


RAMPS = ((0.04, 0.0), (0.03, 0.02), (0.0, 0.04), (0.06, 0.03))


def backtest(runs: int) -> None:
    """Headroom and weeks to the wall from the first two thirds of a ramp that hits it at the end."""
    from tracescope.analysis.capacity.walls import weeks_left

    print(
        f"\n{'ramp':<20}{'demand, drift':>15}{'in sight':>10}{'headroom holds':>16}{'/ truth':>9}"
        f"{'weeks hold':>12}{'/ truth':>9}{'bound holds':>13}"
    )
    whole = _Held()
    for name, kind in KINDS.items():
        for demand, drift in RAMPS:
            rng = np.random.default_rng(13)
            held = _Held()
            for _ in range(runs):
                weeks = int(rng.integers(10, 20))
                left = weeks / 2  # two thirds seen, one third to come
                short = math.exp(-(demand + drift) * left)
                points, at, peaks = ramp(rng, kind, demand, drift, short, weeks)
                fitted = load.better(points, waits=kind.waits)
                now = float(peaks[-1])
                room = fitted.headroom(now)
                found = weeks_left(fitted, now, room, (*load_trend(at, peaks), weeks), 1e6)
                held.add(room, kind.wall / now, found, left)
            print(f"{name:<20}{demand:>9.0%},{drift:>4.0%} {held.line()}")
            whole.join(held)
    print(f"{'all':<35} {whole.line()}")


@dataclass
class _Held:
    """What came, beside what was said of headroom and of weeks."""

    runs: int = 0
    headroom: int = 0
    weeks: int = 0
    bounds: int = 0
    rooms: list[float] = field(default_factory=list[float])
    lefts: list[float] = field(default_factory=list[float])

    def add(
        self,
        room: load.Headroom,
        truth: float,
        found: tuple[float | None, tuple[float | None, float | None]],
        left: float,
    ) -> None:
        """One run, its true headroom and weeks."""
        point, (first, last) = found
        self.runs += 1
        if not room.bends:
            self.bounds += room.times <= truth and (first or 0.0) <= left
            return
        self.headroom += room.interval[0] <= truth <= (room.interval[1] or math.inf)
        self.weeks += (math.inf if first is None else first) <= left <= (math.inf if last is None else last)
        self.rooms.append(room.times / truth)
        self.lefts.append((point if point is not None else math.inf) / left)

    def join(self, other: _Held) -> None:
        """Those of another."""
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def line(self) -> str:
        """As a row."""
        seen = len(self.rooms)
        return (
            f"{seen / self.runs:>9.0%}{_part(self.headroom, seen):>16}{_middle(self.rooms):>9}"
            f"{_part(self.weeks, seen):>12}{_middle(self.lefts):>9}{_part(self.bounds, self.runs - seen):>13}"
        )


def bursts(runs: int) -> None:
    """Wall and headroom of an M/M/1 queue whose load swings from five minutes to the next, over truth."""
    print(
        f"\n{'load swings by':<16}{'window':>8}{'wall / truth':>14}{'peak / capacity':>17}{'headroom / truth':>18}"
    )
    for swing in (0.0, 0.15, 0.3):
        found: dict[int, list[tuple[float, float]]] = {1: [], 12: []}
        for seed in range(runs):
            rng = np.random.default_rng(seed)
            day = 1 + 0.6 * np.sin(np.arange(28 * 288) / 288 * 2 * np.pi)
            rate = np.minimum(0.7 / 1.6 * day * np.exp(rng.normal(0, swing, len(day)) - swing**2 / 2), 0.97)
            counts = rng.poisson(rate * 5000)  # capacity is 1 here
            took = (
                SERVICE_S / (1 - rate) * np.exp(rng.normal(0, 1, len(day)) / np.sqrt(np.maximum(counts, 1)))
            )
            for joined, results in found.items():
                calls = counts.reshape(-1, joined).sum(axis=1).astype(float)
                mean_s = (took * counts).reshape(-1, joined).sum(axis=1) / calls
                peak = float(np.quantile(calls / joined / 5000, 0.95))
                fitted = load.fit(_by_load(calls / joined / 5000, mean_s, calls), growth=False)
                results.append((fitted.wall / (2 / 3), peak))
        truth = 2 / 3 / float(np.median([peak for _, peak in found[1]]))
        for joined, results in found.items():
            walls, peaks = (np.median(column) for column in zip(*results, strict=True))
            print(
                f"{swing:<16.0%}{joined * 5:>4} min{walls:>14.2f}{peaks:>17.2f}{walls * 2 / 3 / peaks / truth:>18.2f}"
            )


def _by_load(rate: Floats, took: Floats, calls: Floats) -> Points:
    """Windows joined to about a hundred points of like load."""
    order = np.argsort(rate)
    parts = np.array_split(order, min(100, len(order)))
    total = np.array([calls[part].sum() for part in parts])
    loads, means = (
        np.array([(values[part] * calls[part]).sum() for part in parts]) / total for values in (rate, took)
    )
    return Points(np.zeros(len(parts)), loads, means, total, np.zeros(len(parts), np.int64))


def cost() -> None:
    """One fit as a multiple of a straight-line fit to the same points."""
    points = two_periods(np.random.default_rng(1), KINDS["M/M/1"], peak=0.75, growth=0.0)
    design = np.column_stack([np.ones(len(points)), points.load, points.weeks])
    spent: list[float] = []
    for work in (
        lambda: load.fit(points),
        lambda: np.linalg.lstsq(design, np.log(points.latency_s), rcond=None),
    ):
        work()
        began = time.perf_counter()
        for _ in range(20):
            work()
        spent.append((time.perf_counter() - began) / 20)
    print(f"\none fit of {len(points)} windows costs {spent[0] / spent[1]:.0f} straight-line fits")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    runs = parser.parse_args().runs
    recover(runs)
    backtest(runs)
    bursts(min(runs, 10))
    cost()


if __name__ == "__main__":
    main()

"""How well the load model and the forecast find what is known of simulated queues.

    python -m benchmarks.load_model [--runs 100]

Prints, for every kind of queue: how often the 95 % interval of growth holds the truth, in how many runs the
wall is in sight, how often the 80 % interval of the wall holds the truth where it is, and what is given as a
lower bound where it is not, the bias of growth and wall, and the time of one fit as a multiple of a straight-line fit; then how
often the 80 % interval of weeks to the wall, fitted on the first two thirds of a ramp, holds the week in
which the queue really got there; then what windows of an hour, as the model has them, make of load that swings
within hours, beside windows of five minutes.
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from benchmarks.queues import sojourns, two_periods
from tracescope.analysis.capacity import fit as load
from tracescope.analysis.capacity.fit import Points
from tracescope.analysis.capacity.split import load_trend

Floats = NDArray[np.float64]
SERVICE_S = 0.01
KINDS: dict[str, dict[str, float]] = {
    "M/M/1": {"servers": 1},
    "M/M/2": {"servers": 2},
    "M/M/4": {"servers": 4},
    "M/M/16": {"servers": 16},
    "lock, half": {"servers": 1, "parallel_s": 0.01},
    "lock, a quarter": {"servers": 1, "parallel_s": 0.03},
}


def latency(rate: float, servers: int, parallel_s: float) -> float:
    """Mean sojourn of an M/M/c queue (Erlang C), after parallel work."""
    busy = rate * SERVICE_S / servers
    if servers == 1:
        return parallel_s + SERVICE_S / (1 - busy)
    offered = rate * SERVICE_S
    terms = sum(offered**k / math.factorial(k) for k in range(servers))
    last = offered**servers / math.factorial(servers) / (1 - busy)
    return SERVICE_S + last / (terms + last) * SERVICE_S / (servers - offered)


def wall(servers: int, parallel_s: float) -> float:
    """Load at three times the low-load latency."""
    low = SERVICE_S + parallel_s
    top = servers / SERVICE_S
    return float(brentq(lambda x: latency(x, servers, parallel_s) - 3 * low, 1e-6, top * (1 - 1e-9)))


def recover(runs: int) -> None:
    """Growth and wall of every kind of queue."""
    print(
        f"{'queue':<16}{'growth':>8}{'95 % holds':>12}{'bias %/wk':>11}{'in sight':>10}{'80 % wall holds':>17}"
        f"{'wall / truth':>14}{'bound holds':>13}{'bound / truth':>15}"
    )
    for name, kind in KINDS.items():
        servers, parallel = int(kind["servers"]), kind.get("parallel_s", 0.0)
        truth = wall(servers, parallel)
        for growth in (0.0, 0.03):
            rng = np.random.default_rng(11)
            inside, walls, found, ratio, bounds = 0, 0, [], [], []
            for _ in range(runs):
                points = two_periods(rng, peak=0.75, growth=growth, servers=servers, parallel_s=parallel)
                fitted = load.fit(points)
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
                f"{name:<16}{growth * 100:>6.0f} %{inside / runs:>11.0%} {np.mean(found) * 100:>10.2f} "
                f"{len(ratio) / runs:>9.0%} {_part(walls, len(ratio)):>16} {_middle(ratio):>13} "
                f"{_part(sum(bound <= 1 for bound in bounds), len(bounds)):>12} {_middle(bounds):>14}"
            )


def _part(held: int, runs: int) -> str:
    return f"{held / runs:.0%}" if runs else "-"


def _middle(ratios: list[float]) -> str:
    return f"{np.median(ratios):.2f}" if ratios else "-"


def ramp(
    rng: np.random.Generator, demand: float, drift: float, peak: float, weeks: int
) -> tuple[Points, Floats, Floats]:
    """An M/M/1 queue over some weeks that end now, and its weekly peak loads."""
    n = weeks * 6
    t = (np.arange(n) + 0.5) / 6 - weeks
    day = np.tile([0.4, 0.7, 1.0, 1.3, 1.6, 1.0], weeks)
    rate = day / 1.6 * peak / SERVICE_S * np.exp(demand * t)
    took = np.array(
        [
            sojourns(rng, r, SERVICE_S * math.exp(drift * at), 1, 600).mean()
            for r, at in zip(rate, t, strict=True)
        ]
    )
    seen = rng.poisson(rate * 600) / 600
    points = Points(t, seen, took, np.full(n, 600.0), np.zeros(n, np.int64))
    peaks = seen.reshape(weeks, 6).max(axis=1)
    return points, np.arange(weeks) + 0.5 - weeks, peaks


def backtest(runs: int) -> None:
    """Weeks to the wall from the first two thirds of a ramp that hits it at the end."""
    from tracescope.analysis.capacity.forecast import weeks_left

    print(f"\n{'ramp':<34}{'80 % holds':>12}{'median / truth':>16}")
    for demand, drift in ((0.04, 0.0), (0.03, 0.02), (0.0, 0.04), (0.06, 0.03)):
        rng = np.random.default_rng(13)
        held, ratio = 0, []
        for _ in range(runs):
            weeks = int(rng.integers(10, 20))
            left = weeks / 2  # two thirds seen, one third to come
            peak = 2 / 3 * math.exp(-(demand + drift) * left)
            points, at, peaks = ramp(rng, demand, drift, peak, weeks)
            fitted = load.fit(points)
            slope, error = load_trend(at, peaks)
            room = fitted.headroom(float(peaks[-1]))
            point, (low, high) = weeks_left(fitted, float(peaks[-1]), room, (slope, error, weeks), 1e6)
            held += (low if low is not None else math.inf) <= left <= (high if high is not None else math.inf)
            ratio.append((point if point is not None else math.inf) / left)
        what = f"demand {demand:.0%}, drift {drift:.0%} a week"
        print(f"{what:<34}{held / runs:>11.0%} {np.median(ratio):>15.2f}")


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
    points = two_periods(np.random.default_rng(1), peak=0.75)
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

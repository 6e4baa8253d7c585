"""How often unchanged rates of failures are taken for changed ones, and how soon changed ones are found.

    python benchmarks/failure_rates.py [--trials N]

Failures of days whose rates wander (a log-normal series that remembers the day before) and of calm days, in
periods of a few days to four weeks, through `tracescope.analysis.statistics.rates`.  Goal: at most 5 % of
unchanged pairs are significant; the last columns say how many doubled and tenfold rates are.
"""

from __future__ import annotations

import argparse
from typing import Final

import numpy as np

from tracescope.analysis.comparison.failures import LEAST_CHANGE
from tracescope.analysis.statistics.blocks import Matched, Slots
from tracescope.analysis.statistics.rates import Counts, compare_rates

UNITS_A_DAY: Final = 2_000
#: Name, spread of a day's rate (of its logarithm), and its correlation from day to day.
WEATHER: Final = (("calm", 0.0, 0.0), ("unsettled", 0.4, 0.3), ("outages", 0.8, 0.5))
DAYS: Final = (4, 7, 14, 28)
RATES: Final = (0.0005, 0.01, 0.1)


def slots(days: int) -> Slots:
    """Blocks of `days` days; of the slots themselves nothing is asked."""
    import polars as pl

    return Slots(pl.DataFrame({"slot": [], "block": [], "weight": []}), days, np.empty((days, 0)), daily=True)


def draw(
    rng: np.random.Generator, days: int, rate: float, spread: float, correlation: float, many: int
) -> Counts:
    """Failures of `many` entries."""
    weather = np.zeros((days, many))
    weather[0] = rng.standard_normal(many)
    for day in range(1, days):
        fresh = rng.standard_normal(many) * np.sqrt(1 - correlation**2)
        weather[day] = correlation * weather[day - 1] + fresh
    rates = np.minimum(rate * np.exp(spread * weather - spread**2 / 2), 0.9)
    trials = np.full((days, many), float(UNITS_A_DAY))
    return Counts(rng.binomial(UNITS_A_DAY, rates).astype(np.float64), trials, trials.sum(axis=0))


def found(
    rng: np.random.Generator, days: int, rate: float, of: tuple[float, float], times: float, many: int
) -> float:
    """Part of pairs whose change is significant at 5 %."""
    matched = Matched(slots(days), slots(days), ())
    base, head = draw(rng, days, rate, *of, many), draw(rng, days, min(rate * times, 0.5), *of, many)
    return float((compare_rates(base, head, matched, LEAST_CHANGE).p_value <= 0.05).mean())


def main() -> None:
    """Print a row for each weather, length and rate."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--trials", type=int, default=4_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    print(f"{'weather':<12}{'days':>5}{'rate':>9}{'unchanged':>11}{'doubled':>9}{'tenfold':>9}")
    for name, *of in WEATHER:
        for days in DAYS:
            for rate in RATES:
                cells = [found(rng, days, rate, (of[0], of[1]), times, given.trials) for times in (1, 2, 10)]
                print(f"{name:<12}{days:>5}{rate:>9g}" + "".join(f"{cell:>10.1%}" for cell in cells))


if __name__ == "__main__":
    main()

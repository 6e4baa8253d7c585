"""A database near its wall: how often `diff` tells growth from the load of some days.

    python -m benchmarks.near_the_wall [--pairs 40] [--rises 0,0.3,0.6] [--daily 0.06]

One service calls one database, two weeks against two.  Days differ in load by `--daily` and the database
takes ``10 ms / (1 - load)`` at 0.85 of its capacity, so that a few per cent of load are a doubling.  With a
rise it takes so much more of its time at the same load in HEAD.  Prints how often its edge is significant,
which test decided, and how often the whole is called growth-stable.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np
import polars as pl

from benchmarks.calibration import DAY_NS, HOUR_NS, START_NS, rate
from tracescope import schema
from tracescope.analysis.diff import diff
from tracescope.analysis.rollups.period import PeriodRollups

DAYS = 14
USUAL_LOAD = 0.85
#: Requests an hour at the usual load.
REQUESTS = 400
SERVICE_MS, QUERY_MS = 20.0, 10.0


def pair(rise: float, seed: int, daily: float = 0.06) -> tuple[PeriodRollups, PeriodRollups]:
    """BASE and HEAD."""
    rng = np.random.default_rng(seed)
    slots = START_NS // HOUR_NS + np.arange(2 * DAYS * 24)
    day = np.arange(2 * DAYS * 24) // 24
    load = np.minimum(USUAL_LOAD * np.exp(daily * rng.standard_normal(2 * DAYS))[day], 0.97)
    units = rng.poisson(REQUESTS * load / USUAL_LOAD)
    later = np.where(day >= DAYS, 1 + rise, 1.0)
    taken = QUERY_MS / (1 - load) * later
    own = np.stack(
        [rng.gamma(units) / units * units * ms * 1e6 for ms in (np.full(len(units), SERVICE_MS), taken)],
        axis=1,
    ).astype(np.int64)
    frames = _tables(slots, units, own)
    halves: list[PeriodRollups] = []
    for half in (0, 1):
        low, high = int(slots[half * DAYS * 24]), int(slots[(half + 1) * DAYS * 24 - 1])
        inside = pl.col("slot").is_between(low, high)
        part = {
            name: frame.filter(inside) if "slot" in frame.columns else frame for name, frame in frames.items()
        }
        halves.append(PeriodRollups(low * HOUR_NS, low * HOUR_NS + DAYS * DAY_NS, HOUR_NS, "", part))
    return halves[0], halves[1]


def _tables(slots: np.ndarray, units: np.ndarray, own: np.ndarray) -> dict[str, pl.DataFrame]:
    n = len(slots)
    measures = {name: np.zeros(2 * n, np.int64) for name in schema.PATH_HOURS}
    calls, path = np.repeat(units, 2), np.tile([1000, 1001], n)
    measures |= {
        "slot": np.repeat(slots, 2), "path_id": path, "threshold": np.full(2 * n, -1), "calls": calls,
        "calls_visited": calls, "visits": calls, "own_ns": own.ravel(), "inclusive_ns": own.ravel(), "units": calls,
    }  # fmt: skip
    entry = {name: np.zeros(n, np.int64) for name in schema.ENTRY_HOURS}
    entry |= {
        "slot": slots, "entry_id": np.ones(n, np.int64), "threshold": np.full(n, -1), "units": units,
        "clock_ns": own.sum(axis=1),
    }  # fmt: skip
    paths = pl.DataFrame(
        {
            "path_id": [1000, 1001], "parent_id": [1, 1], "entry_id": [1, 1], "depth": [1, 1],
            "kind": [schema.EDGE_SELF, schema.EDGE_DB], "caller": ["shop", "shop"], "callee": [None, "pg/shop"],
            "operation": ["GET /cart", "SELECT cart"], "edge_id": [5000, 5001], "uninstrumented": [False, False],
        }
    )  # fmt: skip
    entries = pl.DataFrame(
        {"entry_id": [1], "environment": [""], "service": ["shop"], "operation": ["GET /cart"]}
    )
    return {
        "path_hours": pl.DataFrame(measures).cast(schema.dtypes(schema.PATH_HOURS)),
        "entry_hours": pl.DataFrame(entry).cast(schema.dtypes(schema.ENTRY_HOURS)),
        "entry_sketches": schema.empty(schema.ENTRY_SKETCHES),
        "entries": entries.cast(schema.dtypes(schema.ENTRIES)),
        "paths": paths.cast(schema.dtypes(schema.PATHS)),
    }


def main() -> None:
    """Print the rates."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--rises", default="0,0.3,0.6")
    parser.add_argument("--daily", type=float, default=0.06)
    given = parser.parse_args()
    for rise in map(float, given.rises.split(",")):
        found, states, tests = 0, Counter[str](), Counter[str]()
        for seed in range(given.pairs):
            report = diff(*pair(rise, seed, given.daily))
            edge = next(one for one in report.edges if one.kind == "db")
            found += edge.significant and edge.credited_ms > 0
            states[report.state] += 1
            tests[edge.decided_by] += edge.significant
        print(f"{rise:+.0%}  found {rate(found, given.pairs)}  {dict(states)}  by {dict(tests)}")


if __name__ == "__main__":
    main()

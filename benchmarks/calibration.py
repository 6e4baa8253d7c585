"""How often `diff` cries wolf, and how often it sees one: identical and changed periods, simulated.

    python -m benchmarks.calibration [--pairs 1000] [--lengths 28d,7d] [--correlations 0,0.5] [--rises 0.1,0.2]

Stationary traffic of 10 to 40 edges with hours of the day and week, heavy tails and effects that last
a day and carry over into the next goes straight into rollup tables, and those into the real `diff`.
For every length of period and day-to-day correlation it prints

    alarms     share of identical pairs (A/A) with any significant edge; at most 5 % is the promise
    drifting   share of them that are told to grow, by an edge or by an entry's own clock
    power      how often an edge that really got slower by 10 or 20 % is significant
    coverage   how often the 95 % intervals of ms, share and effects hold the truth

The truth of an interval is what the same simulation gives without its noise: in an A/A pair, zero.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from tracescope import schema
from tracescope.analysis.diff import Options, diff
from tracescope.analysis.report import Report, State
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.engine.compare import slot_of
from tracescope.periods import Period as Span

MINUTE_NS = 60 * 10**9
HOUR_NS, DAY_NS = schema.HOUR_NS, schema.DAY_NS
LENGTHS = {
    "3m": 3 * MINUTE_NS, "10m": 10 * MINUTE_NS, "3h": 3 * HOUR_NS, "1d": DAY_NS, "2d": 2 * DAY_NS, "3d": 3 * DAY_NS, "4d": 4 * DAY_NS,
    "7d": 7 * DAY_NS, "14d": 14 * DAY_NS, "28d": 28 * DAY_NS, "60d": 60 * DAY_NS,
}  # fmt: skip
START_NS = 1_748_822_400 * 10**9 + 9 * HOUR_NS  # a Monday, 09:00 UTC
#: Steps that an effect lasts within periods shorter than two days.
STEPS = 20


@dataclass(frozen=True)
class Shop:
    """Call paths of some entries; parents before children."""

    parent: np.ndarray
    entry: np.ndarray
    depth: np.ndarray
    mean_ms: np.ndarray
    calls: np.ndarray
    critical: np.ndarray
    tail: np.ndarray
    rates: np.ndarray
    entries: pl.DataFrame
    paths: pl.DataFrame


def shop(rng: np.random.Generator) -> Shop:
    """A random topology of 10 to 40 call paths under 1 to 4 entries."""
    size, entries = int(rng.integers(10, 41)), int(rng.integers(1, 5))
    parent, entry, depth = np.full(size, -1), np.zeros(size, np.int64), np.ones(size, np.int64)
    for path in range(size):
        if path < entries:
            entry[path] = path
            continue
        parent[path] = rng.integers(0, path)
        entry[path], depth[path] = entry[parent[path]], depth[parent[path]] + 1
    kinds = rng.choice([schema.EDGE_HTTP, schema.EDGE_DB, schema.EDGE_SELF, schema.EDGE_RPC], size)
    frame = pl.DataFrame(
        {
            "path_id": np.arange(size) + 1000,
            "parent_id": np.where(parent >= 0, parent + 1000, entry + 1),
            "entry_id": entry + 1,
            "depth": depth,
            "kind": kinds,
            "caller": [f"service-{p}" for p in parent],
            "callee": [None if kinds[p] == schema.EDGE_SELF else f"service-{p}" for p in range(size)],
            "operation": [f"GET /{p}" for p in range(size)],
            "edge_id": np.arange(size) + 5000,
            "uninstrumented": np.zeros(size, bool),
        }
    )
    names = {"entry_id": np.arange(entries) + 1, "environment": "", "service": "front"}
    named = pl.DataFrame({**names, "operation": [f"GET /{e}" for e in range(entries)]})
    return Shop(
        parent, entry, depth,
        mean_ms=rng.lognormal(1.0, 1.2, size),
        calls=np.where(parent < 0, 1.0, rng.choice([0.2, 0.7, 1.0, 1.0, 1.0, 2.5], size)),
        critical=np.where(parent < 0, 1.0, rng.choice([1.0, 1.0, 0.8, 0.4], size)),
        tail=rng.choice([0.5, 1.0, 2.0], size),
        rates=rng.lognormal(0.0, 0.8, entries),
        entries=named.cast(schema.dtypes(schema.ENTRIES)),
        paths=frame.cast(schema.dtypes(schema.PATHS)),
    )  # fmt: skip


def carried(rng: np.random.Generator, steps: int, width: int, correlation: float) -> np.ndarray:
    """AR(1) series of variance 1 ``(steps, width)``."""
    noise = rng.standard_normal((steps, width))
    out = np.empty((steps, width))
    out[0] = noise[0]
    for step in range(1, steps):
        out[step] = correlation * out[step - 1] + np.sqrt(1 - correlation**2) * noise[step]
    return out


def hours_of_week(slots: np.ndarray, slot_ns: int) -> tuple[np.ndarray, np.ndarray]:
    """Traffic and slowness of every slot, from the hour of the day and the day of the week."""
    hours = slots * slot_ns / HOUR_NS
    day = (np.floor(hours / 24).astype(np.int64) + 3) % 7
    wave = np.sin((hours % 24 - 9) / 24 * 2 * np.pi)
    traffic = (1 + 0.7 * wave) * np.where(day >= 5, 0.5, 1.0)
    return traffic, 1 + 0.15 * traffic


@dataclass(frozen=True)
class Case:
    """One pair of periods."""

    length_ns: int
    correlation: float
    seed: int
    #: spread of effects that last a day, of one edge and of all together
    edge_spread: float = 0.06
    common_spread: float = 0.04
    #: an edge's rise in head, as a part of its own latency
    rise: float = 0.0
    #: part of head after which it begins, and whether it then creeps in until the end
    begins: float = 0.0
    creeps: bool = False
    #: units of work in a period at least
    fewest: int = 300


def simulate(case: Case) -> tuple[PeriodRollups, PeriodRollups, str, Shop]:
    """Both periods, and the name of the edge that `Case.rise` slows down in head."""
    rng = np.random.default_rng(case.seed)
    made = shop(rng)
    slot_ns = slot_of(Span(0, case.length_ns, ""))
    first = START_NS // slot_ns
    each = case.length_ns // slot_ns
    # parts of a week are compared with the same days of the next, as people do
    apart = (7 * DAY_NS // slot_ns if 2 * DAY_NS <= case.length_ns < 7 * DAY_NS else each) - each
    slots = first + np.concatenate([np.arange(each), np.arange(each) + each + apart])
    step_ns = DAY_NS if case.length_ns >= 2 * DAY_NS else case.length_ns // STEPS
    step = ((slots - first) * slot_ns // step_ns).astype(np.int64)
    count = int(step[-1]) + 1
    size = len(made.parent)
    effect = np.exp(
        case.edge_spread * carried(rng, count, size, case.correlation)
        + case.common_spread * carried(rng, count, 1, case.correlation)
    )
    volume = np.exp(0.1 * carried(rng, count, len(made.rates), case.correlation))
    traffic, slow = hours_of_week(slots, slot_ns)
    if case.length_ns < 2 * DAY_NS:
        slow = np.ones_like(slow)
        traffic = np.ones_like(traffic)
    total = max(case.fewest, float(rng.lognormal(5.0, 1.0)) * case.length_ns / HOUR_NS)
    rate = traffic[:, None] * volume[step] * made.rates
    rate *= 2 * total / rate.sum()
    units = rng.poisson(rate)
    target = int(rng.choice(np.flatnonzero(weight_of(made) >= np.sort(weight_of(made))[-min(5, size)])))
    factor = effect[step] * slow[:, None]
    passed = (np.arange(each) / each - case.begins) / (1 - case.begins)
    part = np.clip(2 * passed, 0.0, 2.0) / 2 if case.creeps else passed >= 0
    factor[each:, target] *= 1 + case.rise * part
    frames = tables(made, rng, slots, units, factor)
    name = made.paths.row(target, named=True)["operation"]
    halves = []
    for low, high in ((0, each), (each, 2 * each)):
        inside = pl.col("slot").is_between(int(slots[low]), int(slots[high - 1]))
        part = {key: frame.filter(inside) for key, frame in frames.items()}
        part |= {"entries": made.entries, "paths": made.paths}
        start = int(slots[low]) * slot_ns
        halves.append(PeriodRollups(start, start + case.length_ns, slot_ns, "", part))
    return halves[0], halves[1], name, made


def weight_of(made: Shop) -> np.ndarray:
    """Mean own ms of every path per unit of work of its entry, times the entry's traffic."""
    visits = np.zeros(len(made.parent))
    for path, parent in enumerate(made.parent):
        above = made.rates[made.entry[path]] if parent < 0 else visits[parent]
        visits[path] = above * made.calls[path] * made.critical[path]
    return visits * made.mean_ms


def tables(
    made: Shop, rng: np.random.Generator, slots: np.ndarray, units: np.ndarray, factor: np.ndarray
) -> dict[str, pl.DataFrame]:
    """Rollup rows of every slot ``(s,)`` from units ``(s, e)`` and slowness ``(s, p)``."""
    size = len(made.parent)
    calls, visits = np.zeros((len(slots), size), np.int64), np.zeros((len(slots), size), np.int64)
    for path, parent in enumerate(made.parent):
        above = units[:, made.entry[path]] if parent < 0 else visits[:, parent]
        whole, part = int(made.calls[path]), made.calls[path] % 1
        calls[:, path] = above * whole + rng.binomial(above, part)
        visits[:, path] = rng.binomial(calls[:, path], made.critical[path])
    # a sum of log-normal times: gamma of the same mean and variance, and now and then a giant
    shape = np.maximum(visits, 1) / made.tail**2
    own = rng.gamma(shape) / shape * visits * made.mean_ms * factor * 1e6
    giants = rng.poisson(visits * 2e-4)
    own += np.where(giants > 0, giants * made.mean_ms * 1e6 * 20 * (1 + rng.pareto(2.5, visits.shape)), 0.0)
    own = own.astype(np.int64)
    clock = np.zeros(units.shape, np.int64)
    np.add.at(clock.T, made.entry, own.T)
    rows, at = np.nonzero(calls)
    measures = {name: np.zeros(len(rows), np.int64) for name in schema.PATH_HOURS}
    children = visits[rows, at] * 1_000_000
    measures |= {
        "slot": slots[rows], "path_id": at + 1000, "threshold": np.full(len(rows), -1),
        "calls": calls[rows, at], "calls_visited": calls[rows, at], "visits": visits[rows, at],
        "own_ns": own[rows, at], "inclusive_ns": own[rows, at], "child_sum_ns": children,
        "child_union_ns": children, "units": calls[rows, at],
    }  # fmt: skip
    rows, at = np.nonzero(units)
    entry = {name: np.zeros(len(rows), np.int64) for name in schema.ENTRY_HOURS}
    entry |= {
        "slot": slots[rows], "entry_id": at + 1, "threshold": np.full(len(rows), -1),
        "units": units[rows, at], "clock_ns": clock[rows, at],
    }  # fmt: skip
    return {
        "path_hours": pl.DataFrame(measures).cast(schema.dtypes(schema.PATH_HOURS)),
        "entry_hours": pl.DataFrame(entry).cast(schema.dtypes(schema.ENTRY_HOURS)),
        "entry_sketches": schema.empty(schema.ENTRY_SKETCHES),
    }


@dataclass
class Tally:
    """What was counted over the pairs of one kind."""

    pairs: int = 0
    insufficient: int = 0
    alarms: int = 0
    drifting: int = 0
    covered: Counter[str] = field(default_factory=Counter)
    intervals: Counter[str] = field(default_factory=Counter)
    seen: Counter[float] = field(default_factory=Counter)
    tried: Counter[float] = field(default_factory=Counter)

    def add_null(self, report: Report) -> None:
        """An A/A pair: whatever is significant is a false alarm, every interval should hold 0."""
        self.pairs += 1
        self.insufficient += report.state == "insufficient data"
        self.alarms += any(edge.significant for edge in report.edges)
        self.drifting += report.state not in (State.GROWTH_STABLE, State.INSUFFICIENT)
        for edge in report.edges:
            intervals = {"ms": edge.credited_ms_ci, "share": edge.share_ci}
            intervals |= dict(edge.effects_ci.items())
            for name, ci in intervals.items():
                if ci is not None and ci[1] - ci[0] > 1e-9:  # else there was no noise, only rounding
                    self.intervals[name] += 1
                    self.covered[name] += ci[0] <= 0 <= ci[1]

    def add_rise(self, report: Report, rise: float, operation: str) -> None:
        """A pair in which one edge got slower."""
        self.tried[rise] += 1
        self.seen[rise] += any(
            edge.significant and edge.credited_ms > 0 for edge in report.edges if edge.operation == operation
        )


def rate(count: int, of: int) -> str:
    """A rate with its 95 % interval (Wilson 1927)."""
    if not of:
        return "none of none"
    part, z = count / of, 1.96
    middle = (part + z * z / (2 * of)) / (1 + z * z / of)
    reach = z * np.sqrt(part * (1 - part) / of + z * z / (4 * of * of)) / (1 + z * z / of)
    return f"{part:.1%} ({count} of {of}; {max(middle - reach, 0.0):.1%} to {middle + reach:.1%})"


def measure(length: str, correlation: float, pairs: int, rises: tuple[float, ...] = (0.1, 0.2)) -> Tally:
    """Run `pairs` identical pairs, and a tenth as many for every rise."""
    tally = Tally()
    options = Options()
    for seed in range(pairs):
        base, head, *_ = simulate(Case(LENGTHS[length], correlation, seed))
        tally.add_null(diff(base, head, options))
    for rise in rises:
        for seed in range(max(pairs // 5, 1)):
            base, head, operation, _ = simulate(Case(LENGTHS[length], correlation, 10**6 + seed, rise=rise))
            tally.add_rise(diff(base, head, options), rise, operation)
    return tally


def line(length: str, correlation: float, tally: Tally) -> str:
    """One row of the printout."""
    power = "  ".join(f"{tally.seen[r] / tally.tried[r]:7.0%}" for r in sorted(tally.tried))
    covered = "  ".join(
        f"{name} {tally.covered[name] / tally.intervals[name]:.1%}" for name in sorted(tally.intervals)
    )
    return (
        f"{length:>4} {correlation:4.1f} {tally.pairs:6d} {tally.alarms / tally.pairs:8.1%} "
        f"{tally.drifting / tally.pairs:9.1%} {tally.insufficient / tally.pairs:8.0%}  {power}   {covered}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=1000, help="identical pairs of every kind")
    parser.add_argument("--lengths", default=",".join(LENGTHS))
    parser.add_argument("--correlations", default="0,0.5")
    parser.add_argument("--rises", default="0.1,0.2", help="parts that an edge gets slower by; may be empty")
    arguments = parser.parse_args()
    rises = tuple(float(rise) for rise in arguments.rises.split(",") if rise)
    power = "  ".join(f"{rise:+7.0%}" for rise in rises)
    print(f" len corr  pairs   alarms  drifting  insuff.  {power}   coverage of 95 % intervals")
    for length in arguments.lengths.split(","):
        for correlation in map(float, arguments.correlations.split(",")):
            print(line(length, correlation, measure(length, correlation, arguments.pairs, rises)), flush=True)


if __name__ == "__main__":
    main()

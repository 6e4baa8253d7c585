"""Change points: since when an edge is what it is now, and which versions appeared then.

    own ms per call   ....-'..-...'.-'''-.''-'-''.'--'
                                    |
                          cart 1.4.0 appeared

    step ____|‾‾‾‾       ramps ____/‾‾‾‾   ,-'‾‾‾‾‾   ____,-'

The series behind an edge's main effect (own time a visit, calls a request, ...) is split where two levels
fit it best.  Only where that fits clearly better than every ramp from one level to another that takes a
quarter of the time or more, a line being the longest: what creeps has no instant, whenever it began and
ended.  The interval comes from a block bootstrap of the residuals around the two levels, so that noise which
lasts longer than a bin widens it.

Source: Toms & Lesperance, "Piecewise regression: a tool for identifying ecological thresholds", Ecology 84,
2003 (gradual against abrupt changes); Bai, "Least squares estimation of a shift in linear processes", J. Time
Series Analysis 15, 1994; Kunsch, "The jackknife and the bootstrap for general stationary observations",
Annals of Statistics 17, 1989; design, section 6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tracescope import schema
from tracescope.analysis.report import Appeared, Change, Edge, Effect
from tracescope.analysis.rollups.flows import weight
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.schema import DAY_NS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Edges that are looked at, those that come first.
MOST_EDGES: Final = 20
#: From so long on a bin is a day; below, both periods together have `BINS` of them.
DAYS_FROM_NS: Final = 14 * DAY_NS
BINS: Final = 64
FEWEST_BINS: Final = 8
#: Bins that a level needs on either side of the change.
LEAST_SIDE: Final = 2
#: A change between bins further apart than this many, as between two months with another between, has no
#: instant that anybody saw.
MOST_UNSEEN: Final = 3
#: ``n * log(sum of squares)`` by which a step must beat every ramp, and no change at all by ``log(n)`` more,
#: as it is the best of ``n``.  Of ramps of 2 to 16 standard deviations 1 % are taken for steps so, and 4 %
#: where days are correlated by 0.5 (simulated, nine shapes, 56 bins).
CLEARLY: Final = 6.0
#: Instants at which ramps begin and end, and how many of these stretches they last at least: a quarter of the
#: time.  A shorter one is a step to who looks at months.
STRETCHES: Final = 16
LEAST_RAMP: Final = 4
RESAMPLES: Final = 400
COVERAGE: Final = 95.0

#: The series behind each effect: a sum over another.
_SERIES: Final = {
    "calls": ("calls_visited", "units"),
    "criticality": ("visits", "calls_visited"),
    "new": ("own_ns", "units"),
    "gone": ("own_ns", "units"),
}
_LATENCY: Final = ("own_ns", "visits")


@dataclass(frozen=True, slots=True)
class Step:
    """Where a series changes its level: bins ``at``, and from ``low`` to ``high`` 95 %."""

    at: int
    low: int
    high: int


def split(
    values: Floats, weights: Floats, known: Floats, seed: int = 0, times: Ints | None = None
) -> Step | None:
    """Find the bin at which a series changes its level.

    Parameters
    ----------
    values, weights
        The series ``(n,)``, and how much each value is worth.
    known
        Columns of what is no change ``(n, q)``, such as weekends.
    seed
        Of the bootstrap.
    times
        When each bin is ``(n,)``, where some are missing: what creeps goes on creeping unseen.

    Returns
    -------
    Step or None
        None where no two levels fit clearly better than a ramp, or one level.
    """
    n = len(values)
    if n < FEWEST_BINS:
        return None
    root = np.sqrt(weights / weights.mean())
    design, _ = np.linalg.qr(root[:, None] * np.column_stack([np.ones(n), known]))

    def free(columns: Floats) -> Floats:
        return columns - design @ (design.T @ columns)

    rest = free(root * values)
    ends = np.arange(LEAST_SIDE, n - LEAST_SIDE + 1)
    steps = free(root[:, None] * (np.arange(n)[:, None] >= ends[None, :]))
    steps = steps / np.maximum(np.linalg.norm(steps, axis=0), 1e-300)
    course = np.arange(n) / (n - 1) if times is None else (times - times[0]) / (times[-1] - times[0])
    ramps = free(root[:, None] * _ramps(course))
    ramps = ramps / np.maximum(np.linalg.norm(ramps, axis=0), 1e-300)
    fits = rest @ steps
    at = int(np.argmax(np.abs(fits)))
    squares = float(rest @ rest)
    floor = 1e-18 * float((root * values) @ (root * values)) + 1e-300
    left = max(squares - float(fits[at]) ** 2, floor)  # nothing is known better than numbers are stored
    with_ramp = max(squares - float(np.max((rest @ ramps) ** 2)), floor)
    if squares <= floor or n * np.log(squares / left) < CLEARLY + np.log(n):
        return None
    if n * np.log(with_ramp / left) < CLEARLY:
        return None
    fitted = fits[at] * steps[:, at]
    drawn = _resample(rest - fitted, np.random.default_rng(seed))
    again = np.argmax(np.abs((fitted + drawn) @ steps), axis=1)
    low, high = np.percentile(again, [(100 - COVERAGE) / 2, (100 + COVERAGE) / 2], method="nearest")
    return Step(int(ends[at]), int(ends[min(int(low), at)]), int(ends[max(int(high), at)]))


def _ramps(course: Floats) -> Floats:
    """Columns ``(n, m)`` that rise from 0 to 1 between two instants, level before and after.

    ``course`` is when each bin is, from 0 to 1.
    """
    knots = np.linspace(0.0, 1.0, STRETCHES + 1)
    begin, end = (knots[at] for at in np.triu_indices(STRETCHES + 1, LEAST_RAMP))
    return np.clip((course[:, None] - begin) / (end - begin), 0.0, 1.0)


def _resample(residuals: Floats, rng: np.random.Generator) -> Floats:
    """Residuals in other orders ``(RESAMPLES, n)``, whole stretches of them at a time."""
    n = len(residuals)
    length = max(2, round(2 * n ** (1 / 3)))  # twice the usual: one week's weather lasts days
    starts = rng.integers(0, n, (RESAMPLES, -(-n // length)))
    index = (starts[:, :, None] + np.arange(length)) % n
    return residuals[index.reshape(RESAMPLES, -1)[:, :n]]


def find(edges: Sequence[Edge], base: PeriodRollups, head: PeriodRollups) -> tuple[Edge, ...]:
    """Say since when the first significant edges are what they are.

    Parameters
    ----------
    edges
        In the order of the report.
    base, head
        What they were compared in.
    """
    wanted = [k for k, edge in enumerate(edges) if edge.significant][:MOST_EDGES]
    if not wanted:
        return tuple(edges)
    bin_ns = _bin(base, head)
    versions = versions_of(base, head)
    series = _series({k: edges[k] for k in wanted}, base, head, bin_ns)
    out = list(edges)
    for k, (starts, values, weights) in series.items():
        weekday = (starts // DAY_NS + 3) % 7
        known = (weekday >= 5).astype(np.float64)[:, None] if bin_ns == DAY_NS else np.empty((len(starts), 0))
        step = split(values, weights, known, times=starts)
        if step is not None and (starts[step.at] - starts[step.at - 1]) <= MOST_UNSEEN * bin_ns:
            out[k] = replace(edges[k], change=_change(step, starts, bin_ns, edges[k], versions))
    return tuple(out)


def _bin(base: PeriodRollups, head: PeriodRollups) -> int:
    length = base.end_ns - base.start_ns + head.end_ns - head.start_ns
    if length >= DAYS_FROM_NS:
        return DAY_NS
    slot = min(base.slot_ns, head.slot_ns)
    return max(length // BINS // slot, 1) * slot


def dominant(edge: Edge) -> Effect:
    """The effect that carries most of an edge's change."""
    sign = 1.0 if edge.credited_ms >= 0 else -1.0
    return max(edge.effects, key=lambda name: (sign * edge.effects[name], name))


def _series(
    edges: Mapping[int, Edge], base: PeriodRollups, head: PeriodRollups, bin_ns: int
) -> dict[int, tuple[Ints, Floats, Floats]]:
    """Starts of bins, values and weights of the series behind each edge's main effect."""
    units, kinds = schema.UNIT_NAMES.index, schema.EDGE_KINDS.index
    names = pl.DataFrame(
        [(k, units(e.unit), kinds(e.kind), e.caller, e.callee, e.operation) for k, e in edges.items()],
        schema={
            "row": pl.Int64, "unit": pl.Int8, "kind": pl.Int8, "caller": pl.String, "callee": pl.String,
            "operation": pl.String,
        },
        orient="row",
    )  # fmt: skip
    sums: list[pl.DataFrame] = []
    for period in (base, head):
        bins = (pl.col("slot") * period.slot_ns // bin_ns).alias("bin")
        paths = period.tables["paths"].join(
            names, on=["kind", "caller", "callee", "operation"], nulls_equal=True
        )
        of_path = (
            period.tables["path_hours"].lazy()
            .join(paths.select("path_id", "unit", "row", "entry_id").lazy(), on=["path_id", "unit"])
            .group_by("row", bins)
            .agg((pl.col(name) * weight()).sum() for name in ("calls_visited", "visits", "own_ns"))
        )  # fmt: skip
        of_entry = (
            period.tables["entry_hours"].lazy()
            .join(paths.select("row", "unit", "entry_id").unique().lazy(), on=["entry_id", "unit"])
            .group_by("row", bins)
            .agg((pl.col("units") * weight()).sum())
        )  # fmt: skip
        sums.append(of_entry.join(of_path, on=["row", "bin"], how="left").fill_null(0).collect())
    both = pl.concat(sums).group_by("row", "bin").agg(pl.all().sum()).sort("row", "bin")
    out: dict[int, tuple[Ints, Floats, Floats]] = {}
    for k, edge in edges.items():
        over, under = _SERIES.get(dominant(edge), _LATENCY)
        rows = both.filter((pl.col("row") == k) & (pl.col(under) > 0))
        if rows.height >= FEWEST_BINS:
            weights = rows[under].to_numpy().astype(np.float64)
            out[k] = rows["bin"].to_numpy() * bin_ns, rows[over].to_numpy() / weights, weights
    return out


def versions_of(base: PeriodRollups, head: PeriodRollups) -> pl.DataFrame:
    """Versions that appeared after another one of their service: ``service, version, first_ns``."""
    frames = [
        period.tables[name] for period in (base, head) for name in ("service_hours",) if name in period.tables
    ]
    if not frames:
        return pl.DataFrame(schema={"service": pl.String, "version": pl.String, "first_ns": pl.Int64})
    first = (
        pl.concat(frames).filter(pl.col("version") != "").group_by("service", "version")
        .agg(pl.col("first_ns").min())
    )  # fmt: skip
    return first.filter(pl.col("first_ns") > pl.col("first_ns").min().over("service")).sort(
        "first_ns", "service"
    )


def _change(step: Step, starts: Ints, bin_ns: int, edge: Edge, versions: pl.DataFrame) -> Change:
    """A step in time, with what appeared in its interval at either end of the edge."""
    low = int(starts[step.low - 1])  # the change may lie anywhere in the bin before ...
    high = int(starts[min(step.high, len(starts) - 1)]) + bin_ns  # ... or early in its own
    near = versions.filter(
        pl.col("first_ns").is_between(low, high), pl.col("service").is_in([edge.caller, edge.callee or ""])
    )
    found = tuple(Appeared(service, version, ns) for service, version, ns in near.iter_rows())
    return Change(int(starts[step.at]), low, high, found)

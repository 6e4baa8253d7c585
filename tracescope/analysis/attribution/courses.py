r"""Courses: how edges go slot by slot, in quiet and in busy times, before and now.

    own time of a call

      slower work    ‾‾‾‾‾‾‾‾‾‾‾‾     dearer in quiet times as in busy ones
                     ____________
      waits for it         _/\_       as before in quiet times, when there is no line;
                     _____/    \_     dearer in busy ones, by as much as the line is long

So where load swings, the part of a rise that is there in quiet times tells slower work from a line in
front of it.  Where it does not swing, or too little was seen, nothing is told.

Source: Little, "A proof for the queuing formula L = lambda W", Operations Research 9, 1961; Kendall, "Rank
Correlation Methods", 1970, chapter 8 (correlation given a third variable).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tracescope import schema
from tracescope.analysis.report import EdgeKey
from tracescope.analysis.rollups.flows import weighted
from tracescope.analysis.rollups.period import MS, PeriodRollups
from tracescope.analysis.statistics.rank_statistics import rank_correlation

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Slots of each period, and calls in their quiet ones, below which quiet and busy times tell nothing.
FEWEST_SLOTS: Final = 24
FEWEST_CALLS: Final = 50
#: Parts of all slots that are quiet and busy, and the factor by which their loads must differ.
QUIET: Final = 0.33
BUSY: Final = 0.75
SWING: Final = 1.3
#: A rise that is there in quiet times by less than the first part is a line's; by more than the second it is
#: slower work.
OF_A_LINE: Final = 0.45
OF_WORK: Final = 0.75
#: Kendall's tau given load from which two edges go up and down together, and its standard errors from zero.
TOGETHER: Final = 0.2
FEWEST_ERRORS: Final = 2.58
#: Slots that are looked at for it, and the groups of like load among them.
MOST_SLOTS: Final = 2000
GROUPS: Final = 4

_NAMES: Final = ("kind", "caller", "callee", "operation")
_SUMS: Final = ("calls", "own_all_ns", "busy_ns")


def place_of(key: EdgeKey) -> str:
    """What an edge's calls arrive at: a service, a database, an external; a topic by its end."""
    if key.kind == "queue":
        waits = key.operation == schema.QUEUE_WAIT
        return f"wait {key.caller}" if waits else f"publish {key.callee}"
    return key.caller if key.callee is None else key.callee


@dataclass(frozen=True, slots=True)
class Slots:
    """One edge in one period, a row a slot that has calls ``(n,)``.

    ``call_ms`` is the own time of a call, ``work_ms`` the time for which it keeps its callee busy, ``load``
    the calls that arrive at the same place.
    """

    slot: Ints
    calls: Floats
    call_ms: Floats
    work_ms: Floats
    load: Floats

    def mean(self, rows: NDArray[np.bool_], values: Floats) -> float | None:
        """Of some slots, weighted by calls; None where there are too few."""
        calls = self.calls[rows]
        return float((calls * values[rows]).sum() / calls.sum()) if calls.sum() >= FEWEST_CALLS else None


@dataclass(frozen=True, slots=True)
class Course:
    """One edge in both periods; ``hours`` are the periods' lengths."""

    base: Slots
    head: Slots
    hours: tuple[float, float]

    @property
    def _bounds(self) -> tuple[float, float] | None:
        if min(len(self.base.slot), len(self.head.slot)) < FEWEST_SLOTS:
            return None
        both = np.concatenate([self.base.load, self.head.load])
        low, high = (float(bound) for bound in np.quantile(both, [QUIET, BUSY]))
        return (low, high) if high >= SWING * low else None

    def _quiet(self, side: Slots) -> NDArray[np.bool_]:
        """The quiet slots of one period; all of them where load does not swing."""
        bounds = self._bounds
        if bounds is None:
            return np.ones(len(side.slot), np.bool_)
        below = side.load <= bounds[0]
        return (
            below if side.calls[below].sum() >= FEWEST_CALLS else side.load <= np.quantile(side.load, QUIET)
        )

    @property
    def steady(self) -> float | None:
        """The part of the rise that is there in quiet times; None where nothing tells it."""
        bounds = self._bounds
        if bounds is None:
            return None
        means: list[tuple[float, float]] = []
        for side in (self.base, self.head):
            quiet = side.mean(self._quiet(side), side.call_ms)
            busy = side.mean(side.load >= bounds[1], side.call_ms)
            if quiet is None or busy is None:
                return None
            means.append((quiet, busy))
        (quiet_b, busy_b), (quiet_h, busy_h) = means
        rise = max(busy_h - busy_b, quiet_h - quiet_b)
        return float(np.clip((quiet_h - quiet_b) / rise, 0.0, 1.0)) if rise > 0 else None

    @property
    def waits(self) -> bool | None:
        """Whether its rise is a line's; False where it is slower work; None where nothing tells."""
        part = self.steady
        if part is None or OF_A_LINE <= part <= OF_WORK:
            return None
        return part < OF_A_LINE

    @property
    def rate(self) -> tuple[float, float]:
        """Calls an hour."""
        return tuple(  # pyright: ignore[reportReturnType]
            float(side.calls.sum()) / max(length, 1e-9)
            for side, length in zip((self.base, self.head), self.hours, strict=True)
        )

    @property
    def quiet_ms(self) -> tuple[float, float]:
        """Duration of a call in quiet times: its own work, without a line."""
        means = [side.mean(self._quiet(side), side.work_ms) for side in (self.base, self.head)]
        return means[0] or 0.0, means[1] or 0.0


def courses(base: PeriodRollups, head: PeriodRollups) -> dict[EdgeKey, Course]:
    """Courses of all edges that two periods have hours of."""
    sides = [_slots(period) for period in (base, head)]
    hours = [(period.end_ns - period.start_ns) / schema.HOUR_NS for period in (base, head)]
    none = Slots(np.empty(0, np.int64), *[np.empty(0)] * 4)
    return {
        key: Course(sides[0].get(key, none), sides[1].get(key, none), (hours[0], hours[1]))
        for key in sorted({*sides[0], *sides[1]}, key=str)
    }


def _slots(period: PeriodRollups) -> dict[EdgeKey, Slots]:
    paths = period.tables["paths"].select("path_id", *_NAMES)
    hours = period.tables["path_hours"].lazy().select("slot", "unit", "path_id", "threshold", *_SUMS)
    rows = weighted(hours.join(paths.lazy(), on="path_id"), ("slot", "unit", *_NAMES), _SUMS)
    rows = rows.filter(pl.col("calls") > 0).sort("unit", *_NAMES, "slot").collect()
    found: dict[EdgeKey, pl.DataFrame] = {}
    for names, part in rows.partition_by("unit", *_NAMES, as_dict=True, maintain_order=True).items():
        unit, kind, caller, callee, operation = names
        found[EdgeKey(schema.UNIT_NAMES[unit], schema.EDGE_KINDS[kind], caller, callee, operation)] = part
    loads = _loads(found)
    out: dict[EdgeKey, Slots] = {}
    for key, part in found.items():
        slot, calls = part["slot"].to_numpy(), part["calls"].to_numpy()
        slots, load = loads[place_of(key)]
        own, busy = (part[name].to_numpy() / calls / MS for name in ("own_all_ns", "busy_ns"))
        # what passes between a caller and a callee with spans keeps nobody busy
        between = key.kind in ("http", "rpc") and not np.allclose(own, busy)
        out[key] = Slots(
            slot,
            calls,
            own,
            np.maximum(busy - own, 0.0) if between else busy,
            load[np.searchsorted(slots, slot)],
        )
    return out


def _loads(calls: dict[EdgeKey, pl.DataFrame]) -> dict[str, tuple[Ints, Floats]]:
    """Calls that arrive at each place, slot by slot; a service's own edges count what it serves."""
    members: dict[str, list[EdgeKey]] = {}
    for key in calls:
        members.setdefault(place_of(key), []).append(key)
    out: dict[str, tuple[Ints, Floats]] = {}
    for place, keys in members.items():
        own = [key for key in keys if key.callee is None]
        summed = (
            pl.concat([calls[key].select("slot", "calls") for key in own or keys])
            .group_by("slot").agg(pl.col("calls").sum()).sort("slot")
        )  # fmt: skip
        every = pl.concat([calls[key].select("slot") for key in keys]).unique().sort("slot")
        whole = every.join(summed, on="slot", how="left", maintain_order="left").fill_null(0.0)
        out[place] = whole["slot"].to_numpy(), whole["calls"].to_numpy()
    return out


def together(cause: Course, victim: Course) -> float | None:
    """How far two edges are slow in the same slots of head, given load: Kendall's tau.

    None where too little was seen, or where it could be chance.
    """
    _, at, other = np.intersect1d(victim.head.slot, cause.head.slot, return_indices=True)
    if len(at) < FEWEST_SLOTS:
        return None
    if len(at) > MOST_SLOTS:
        chosen = np.linspace(0, len(at) - 1, MOST_SLOTS).astype(np.int64)
        at, other = at[chosen], other[chosen]
    x, y, load = victim.head.call_ms[at], cause.head.call_ms[other], victim.head.load[at]
    order = np.argsort(load, kind="stable")
    taus: list[float] = []
    for group in np.array_split(order, GROUPS if len(at) >= GROUPS * FEWEST_SLOTS else 1):
        taus.append(rank_correlation(x[group], y[group]).tau)
    tau, n = float(np.mean(taus)), len(at)
    error = math.sqrt(2 * (2 * n + 5) / (9 * n * (n - 1)))  # of tau where nothing moves with anything
    return tau if abs(tau) > FEWEST_ERRORS * error else None

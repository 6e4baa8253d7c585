"""What a store says to a view, remembered until the store changes.

One computation at a time: pages must never take the cores that receiving needs.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import polars as pl

from tracescope.analysis.capacity.forecast import Forecast
from tracescope.analysis.capacity.forecast_verdict import Outlook
from tracescope.analysis.comparison.matched import matched_sums
from tracescope.analysis.diff import Options
from tracescope.analysis.evidence.series import (
    EdgeName,
    EntryPaths,
    Series,
    edge_series,
    entry_paths,
    quantile_of,
    stretches,
)
from tracescope.analysis.report import Report
from tracescope.analysis.rollups.flows import Selection, Tables, weight
from tracescope.analysis.rollups.period import both
from tracescope.analysis.rollups.trace_path import TracePath, critical_path, trace_hex
from tracescope.analysis.topology.graph import Level
from tracescope.config import Settings
from tracescope.engine.compare import Sides, compare_sides, read_sides
from tracescope.engine.forecast import foresee
from tracescope.engine.graph import Mapped, map_sides
from tracescope.engine.rollups import PeriodRollups, trace_spans
from tracescope.engine.upkeep import status
from tracescope.errors import InputError, InsufficientDataError, UsageError
from tracescope.periods import Context, Period, pair
from tracescope.schema import EDGE_KINDS, HOUR_NS, UNIT_NAMES
from tracescope.store import Snapshot, SpanStore, Status, open_store
from tracescope.web.view import View

T = TypeVar("T")

#: Answers kept, and how long those that end now stay true enough.
REMEMBERED: Final = 48
#: ... and of those that hold rollups.
REMEMBERED_HEAVY: Final = 3
STALE_S: Final = 30.0
#: What the rollups know of examples.
_EXAMPLE: Final = ("slow_ns", "slow_hi", "slow_lo", "typical_hash", "typical_hi", "typical_lo")
#: Points of a sparkline, and of a trend, for each period.
SPARK_POINTS, TREND_POINTS = 28, 90


@dataclass(frozen=True, slots=True)
class Example:
    """A trace worth looking at: which period it is of, how long its longest call on the edge took, why."""

    side: str
    trace_id: str
    ms: float | None
    why: str


class Answers:
    """Answers from one store; safe to call from several threads."""

    def __init__(self, store: Path | str, settings: Settings) -> None:
        self.path = Path(store)
        self.settings = settings
        self._lock = threading.Lock()
        self._known: OrderedDict[Hashable, tuple[float, Any, bool]] = OrderedDict()

    # -- the store --

    def store(self) -> SpanStore:
        """The store as it is now; raises InsufficientDataError when there is none."""
        if not (self.path / "FORMAT.json").exists():
            raise InsufficientDataError(
                f"no store at {self.path}", "fill one with `tracescope import FILE` or `tracescope serve`"
            )
        return open_store(self.path)

    def _state(self, store: SpanStore) -> Hashable:
        """Changes whenever an answer might."""
        landed = store.landing.files()
        newest = max((paths[-1].name for paths in landed.values()), default="")
        return store.sealed.stamp(), sum(map(len, landed.values())), newest, repr(store.marks())

    def _remember(
        self,
        key: Hashable,
        make: Callable[[SpanStore], T],
        *,
        stale_s: float = STALE_S,
        heavy: bool = False,
    ) -> T:
        """What `make` gives, made once until the store changes; of `heavy` ones few are kept."""
        store = self.store()
        whole = (self._state(store), key)
        with self._lock:
            found = self._known.get(whole)
            if found is not None and time.monotonic() - found[0] < stale_s:
                self._known.move_to_end(whole)
                return found[1]
            value = make(store)
            self._known[whole] = (time.monotonic(), value, heavy)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
            weighty = [key for key, (_, _, is_heavy) in self._known.items() if is_heavy]
            for old in weighty[:-REMEMBERED_HEAVY]:
                del self._known[old]
            return value

    # -- periods --

    def periods(self, store: SpanStore, view: View) -> tuple[Period, Period]:
        """BASE and HEAD of a view; without any, last week and this week, or the store's two halves."""
        first, last = store.extent()
        context = Context(time.time_ns(), self.settings.tz, first, last, store.marks())
        if view.base or view.head:
            if view.head and not view.base:
                raise UsageError("head without base", "give both, or base alone")
            return pair(view.base, view.head or None, context)
        base, head = pair(None, None, context)
        if first and first < base.end_ns and last > head.start_ns + (head.length_ns // 4):
            return base, head
        return pair("all", None, context)

    def sides(self, view: View) -> Sides:
        """Rollups of both periods, of one environment: read once for all that the pages show."""

        def make(store: SpanStore) -> Sides:
            base, head = self.periods(store, view)
            return read_sides(
                store, base, head, environment=view.env or self.settings.env or None, zone=self.settings.tz
            )

        return self._remember(("sides", view.base, view.head, view.env), make, heavy=True)

    def matched(self, view: View) -> tuple[Tables, Tables]:
        """Their sums, hours weighed as in the diff, so that whatever is made of them is what it says."""
        found = self.sides(view)
        return self._remember(
            ("matched", view.base, view.head, view.env),
            lambda _: matched_sums(found.base, found.head, self.settings.tz),
        )

    def sketches(self, view: View) -> tuple[Tables, Tables]:
        """The same with the sketches of the calls' durations, which most pages do without."""
        sums, sides = self.matched(view), self.sides(view)

        def make(store: SpanStore) -> tuple[Tables, Tables]:
            wanted = ("entry_hours", "path_sketches")
            read = read_sides(store, *sides.periods, environment=sides.head.environment, tables=wanted)
            found = matched_sums(read.base, read.head, self.settings.tz)
            base, head = (
                {**known, "path_sketches": one["path_sketches"]}
                for known, one in zip(sums, found, strict=True)
            )
            return base, head

        return self._remember(("sketches", view.base, view.head, view.env), make)

    # -- answers --

    def report(self, view: View) -> Report:
        """The diff of the view's periods, all edges."""
        sides = self.sides(view)

        def make(store: SpanStore) -> Report:
            options = Options(
                alpha=self.settings.alpha,
                min_effect_ms=self.settings.min_effect or None,
                zone=self.settings.tz,
                keep_entry=self._only(store, view),
            )
            return compare_sides(store, sides, options)

        return self._remember(("report", view.base, view.head, view.env, view.entry), make)

    def _only(self, store: SpanStore, view: View) -> Callable[[str, str], bool] | None:
        if not view.entry:
            return None
        names = store.sealed.scan(store.sealed.pointer(), "entries").collect()
        chosen = names.filter(pl.col("entry_id") == entry_number(view.entry))
        if chosen.is_empty():
            raise InputError(f"no entry {view.entry}", "take one from the list on the Paths page")
        wanted = set(chosen.select("service", "operation").iter_rows())
        return lambda service, operation: (service, operation) in wanted

    def series(
        self, view: View, edges: tuple[EdgeName, ...], points: int
    ) -> dict[EdgeName, tuple[Series, Series]]:
        """Both periods' series of some edges."""
        sides = self.sides(view)

        def make(_: SpanStore) -> dict[EdgeName, tuple[Series, Series]]:
            def of(side: PeriodRollups) -> dict[EdgeName, Series]:
                cut = stretches(side.start_ns, side.end_ns, side.slot_ns, points)
                return edge_series(side, cut, list(edges))

            base, head = both(of, sides.base, sides.head)
            return {edge: (base[edge], head[edge]) for edge in edges}

        return self._remember(("series", view.base, view.head, view.env, edges, points), make)

    def entries(self, view: View) -> list[tuple[int, str, str, float]]:
        """Entries of either period, busiest in head first: id, service, operation, units in head."""
        earlier, later = self.matched(view)

        def make(_: SpanStore) -> list[tuple[int, str, str, float]]:
            names = pl.concat([tables["entries"] for tables in (earlier, later)]).unique("entry_id")
            counts = later["entry_hours"].group_by("entry_id").agg((pl.col("units") * weight()).sum())
            rows = names.join(counts, on="entry_id", how="left").with_columns(pl.col("units").fill_null(0.0))
            rows = rows.sort("units", "service", "operation", descending=[True, False, False])
            return rows.select("entry_id", "service", "operation", "units").rows()

        return self._remember(("entries", view.base, view.head, view.env), make)

    def mapped(self, view: View, level: Level, *, quantiles: bool = False) -> Mapped:
        """The graph of head against base, of the same hours as the diff."""
        sides = self.sides(view)
        sums = self.sketches(view) if quantiles else self.matched(view)

        def make(store: SpanStore) -> Mapped:
            keep = self._only(store, view)
            chosen = Selection(keep_entry=keep) if keep is not None else None
            return map_sides(store, sides, level, zone=self.settings.tz, selection=chosen, sums=sums)

        return self._remember(("map", view.base, view.head, view.env, view.entry, level, quantiles), make)

    def forecast(self, view: View) -> tuple[Forecast, Outlook]:
        """The last half year continued to the horizon, at 2, 5 and 10 times the load and at the growth."""
        multiples = tuple(sorted({2.0, 5.0, 10.0, view.growth}))

        def make(store: SpanStore) -> tuple[Forecast, Outlook]:
            return foresee(
                store,
                horizon_weeks=view.horizon,
                multiples=multiples,
                slo_ms=self.settings.slo,
                environment=view.env or self.settings.env or None,
            )

        return self._remember(("forecast", view.env, view.horizon, multiples), make)

    def paths(self, view: View, entry_id: int) -> EntryPaths | None:
        """Call paths of an entry."""
        earlier, later = self.matched(view)
        return self._remember(
            ("paths", view.base, view.head, view.env, entry_id),
            lambda _: entry_paths(earlier, later, entry_id),
        )

    def examples(self, view: View, edge: EdgeName | None, most: int = 8) -> list[Example]:
        """Traces of an edge, or of any: the slowest of each period, then typical ones."""
        out: list[Example] = []
        sides = self.sides(view)
        for name, side in (("base", sides.base), ("head", sides.head)):
            ids = side.tables["paths"] if edge is None else path_ids(side.tables, edge)
            rows = side.by_hour(ids["path_id"].to_list(), ("path_id", "unit", *_EXAMPLE))
            if edge is not None:
                rows = rows.join(ids, on=["path_id", "unit"], how="semi")
            slow = (
                rows.filter(pl.col("slow_hi") != 0)
                .sort("slow_ns", "slow_hi", "slow_lo", descending=[True, False, False])
                .unique(["slow_hi", "slow_lo"], keep="first", maintain_order=True)
                .head(most)
            )
            out += [
                Example(name, trace_hex(hi, lo), ns / 1e6, "slowest")
                for ns, hi, lo in slow.select("slow_ns", "slow_hi", "slow_lo").iter_rows()
            ]
            drawn = (
                rows.filter(pl.col("typical_hash") > 0)
                .sort("typical_hash")
                .unique(["typical_hi", "typical_lo"], keep="first", maintain_order=True)
                .head(most // 2)
            )
            out += [
                Example(name, trace_hex(hi, lo), None, "typical")
                for hi, lo in drawn.select("typical_hi", "typical_lo").iter_rows()
            ]
        return out

    def quantiles(self, view: View, edge: EdgeName) -> dict[str, tuple[float | None, float | None]]:
        """Median, 95th and 99th percentile of an edge's calls in ms, base and head."""
        both = self.sketches(view)

        def make(_: SpanStore) -> dict[str, tuple[float | None, float | None]]:
            base, head = (
                tables["path_sketches"].join(path_ids(tables, edge), on=["path_id", "unit"], how="semi")
                for tables in both
            )
            return {
                name: (quantile_of(base, part), quantile_of(head, part))
                for name, part in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
            }

        return self._remember(("quantiles", view.base, view.head, view.env, edge), make)

    def trace(self, digits: str, view: View | None = None) -> TracePath:
        """One trace with its critical path; raises InputError when it is not here.

        An example of the view's periods is found without looking through the whole store.
        """
        if not digits or len(digits) > 32 or any(c not in "0123456789abcdefABCDEF" for c in digits):
            raise UsageError(f"{digits[:40]!r} is no trace id", "give its 32 hex digits")
        whole = digits.zfill(32).lower()
        words = [int.from_bytes(bytes.fromhex(part), "big", signed=True) for part in (whole[:16], whole[16:])]

        sides = None if view is None else self.sides(view)

        def make(store: SpanStore) -> TracePath:
            near = None if sides is None else partial(_hours_of, sides, words[0], words[1])
            spans = trace_spans(store, words[0], words[1], near=near)
            if spans.is_empty():
                raise InputError(f"no trace {whole} in the store", "its raw spans may have been removed")
            return critical_path(spans)

        return self._remember(("trace", whole), make)

    def status(self) -> Status:
        """What the store holds."""
        return self._remember(("status",), status, stale_s=5.0)


def _hours_of(sides: Sides, trace_hi: int, trace_lo: int, found: Snapshot) -> tuple[int, int] | None:
    """First and last hour in which a trace is an example of a call path, None when it is of none."""
    slow = (pl.col("slow_hi") == trace_hi) & (pl.col("slow_lo") == trace_lo)
    typical = (pl.col("typical_hi") == trace_hi) & (pl.col("typical_lo") == trace_lo)
    kept = [hour * HOUR_NS for hour in found.pointer.with_raw()]
    for side in (sides.head, sides.base):
        rows = side.tables["path_hours"].filter(slow | typical)
        if side.hours is not None and any(side.start_ns <= hour_ns < side.end_ns for hour_ns in kept):
            # it may be one of an hour's without being one of its day's
            ids = (rows if len(rows) else side.tables["paths"])["path_id"].unique().to_list()
            rows = side.by_hour(ids, ("slot", *_EXAMPLE)).filter(slow | typical)
        if len(rows):
            first, last = rows["slot"].min(), rows["slot"].max()
            return cast("int", first) * side.slot_ns // HOUR_NS, cast("int", last) * side.slot_ns // HOUR_NS
    return None


def path_ids(tables: Tables, edge: EdgeName) -> pl.DataFrame:
    """Call paths that end in an edge: ``path_id, unit``."""
    unit, kind, caller, callee, operation = edge
    mine = (
        (pl.col("kind") == EDGE_KINDS.index(kind))
        & (pl.col("caller") == caller)
        & pl.col("callee").eq_missing(pl.lit(callee, pl.String))
        & pl.col("operation").eq_missing(pl.lit(operation, pl.String))
    )
    number = pl.lit(UNIT_NAMES.index(unit), pl.Int8).alias("unit")
    return tables["paths"].filter(mine).select("path_id", number)


def entry_number(digits: str) -> int:
    """An entry's id from its 16 hex digits; raises UsageError."""
    try:
        return int.from_bytes(bytes.fromhex(digits.zfill(16)), "big", signed=True)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{digits[:40]!r} is no entry", "its id has 16 hex digits") from error


def entry_digits(entry_id: int) -> str:
    """An entry's id as 16 hex digits."""
    return f"{entry_id & (2**64 - 1):016x}"

"""The one place that answers: the command line, page, report, agent's tools and metrics all ask here.

    settings, store ─► Session ── ask(Question) ─► Answers ─► Report, Forecast, Mapped, TracePath, ...

What was answered is remembered until the store changes.  One computation at a time: pages must never
take the cores that receiving needs.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, cast

import polars as pl

from tracescope.analysis.capacity.forecast import Forecast
from tracescope.analysis.capacity.forecast_verdict import Outlook
from tracescope.analysis.comparison.matched import matched_sums
from tracescope.analysis.evidence.change_points import versions_of
from tracescope.analysis.evidence.series import (
    EntryPaths,
    Series,
    edge_series,
    entry_paths,
    grown_most,
    quantile_of,
    stretches,
)
from tracescope.analysis.explain import Explanation, choose, explain
from tracescope.analysis.report import Appeared, Carriers, Edge, EdgeKey, Report
from tracescope.analysis.rollups.flows import ALL, Selection, Tables, weight
from tracescope.analysis.rollups.long_lived import set_apart
from tracescope.analysis.rollups.period import PeriodRollups, both
from tracescope.analysis.rollups.span_details import SpanDetails, details
from tracescope.analysis.topology.graph import Graph, Level, judged
from tracescope.config import Settings
from tracescope.engine.attention import attend, marked, mute_end, mute_reason, named
from tracescope.engine.compare import Sides, compare_sides, read_sides
from tracescope.engine.forecast import busiest, foresee, past_of_paths
from tracescope.engine.graph import Mapped, map_period, map_sides
from tracescope.engine.question import KeepEntry, Question
from tracescope.engine.rollups import Budget, trace_spans
from tracescope.engine.trace_search import Criteria, Search, Summary, begins_with, nearest, search, summaries
from tracescope.engine.upkeep import status
from tracescope.errors import InputError, InsufficientDataError, UsageError
from tracescope.near import suggestion
from tracescope.periods import Context, Period, check_mark, instant_of, parse
from tracescope.schema import EDGE_KINDS, HOUR_NS, UNIT_NAMES, trace_hex
from tracescope.store import Snapshot, SpanStore, Status
from tracescope.store.several import open_stores

if TYPE_CHECKING:
    from tracescope.analysis.rollups.trace_path import TracePath

T = TypeVar("T")

#: Answers kept, and how long those that end now stay true enough.
REMEMBERED: Final = 48
#: ... and of those that hold rollups.
REMEMBERED_HEAVY: Final = 3
STALE_S: Final = 30.0
#: What the rollups know of examples.
_EXAMPLE: Final = ("slow_ns", "slow_hi", "slow_lo", "typical_hash", "typical_hi", "typical_lo")
#: Raw spans of both periods that are looked through unasked: half a second's work.
CHEAP_SPANS: Final = 40_000
#: Entries looked at for the one that grew most.
BUSIEST: Final = 12
#: Points of a sparkline, and of a trend, for each period.
SPARK_POINTS, TREND_POINTS = 28, 90


@dataclass(frozen=True, slots=True)
class Example:
    """A trace worth looking at.

    Attributes
    ----------
    side, trace_id, why
        Which period it is of; whether it is a slow or a typical one.
    ms
        How long its longest call on the edge took; None for typical ones.
    start_ns
        When its hour began.
    service, operation
        The entry whose unit of work it is an example of.
    whole
        Its spans in a line; None where they have gone.
    """

    side: str
    trace_id: str
    ms: float | None
    why: str
    start_ns: int
    service: str
    operation: str
    whole: Summary | None = None


class Session:
    """A store under some settings, or several read as one, and what it answered; for several threads."""

    def __init__(
        self,
        store: Path | str | Sequence[Path | str],
        settings: Settings,
        *,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.paths = [Path(one) for one in ([store] if isinstance(store, Path | str) else store)]
        self.settings = settings
        self.now_ns = now_ns
        self._lock = threading.Lock()
        self._known: OrderedDict[Hashable, tuple[float, Any, bool]] = OrderedDict()

    def store(self) -> SpanStore:
        """The store as it is now; raises InsufficientDataError when one of them is not there."""
        absent = [path for path in self.paths if not (path.is_dir() and any(path.iterdir()))]
        if absent:
            raise InsufficientDataError(
                f"no store at {absent[0]}",
                "fill one with `tracescope import FILE` or `tracescope serve`, or look at `tracescope demo`",
            )
        return open_stores(self.paths)

    def context(self, store: SpanStore) -> Context:
        """What words of a period refer to."""
        first, last = store.extent()
        return Context(self.now_ns(), self.settings.tz, first, last, store.marks(), store.demo)

    def ask(self, question: Question | None = None) -> Answers:
        """Answers to a question; none asks for what the settings say."""
        return Answers(self, Question.of(self.settings) if question is None else question)

    def mark(self, name: str, instant: str) -> int:
        """Name an instant, now where none is given; the instant in ns.

        Raises
        ------
        PeriodError
            The name cannot name one, or the instant cannot be read.
        UsageError
            There are several stores.
        """
        check_mark(name)
        store = self.store()
        at_ns = self.now_ns() if not instant else instant_of(instant, self.context(store))
        store.mark(name, at_ns)
        return at_ns

    def unmute(self, digits: str) -> str:
        """End the mute of a finding, by its id's first digits; its id.

        Raises
        ------
        InputError
            No such finding is muted.
        """
        store = self.store()
        name = named(digits, dict.fromkeys(store.mutes(), ""), "is muted")
        store.unmute(name)
        return name

    def status(self) -> Status:
        """What the store holds."""
        return self.remember(("status",), status, stale_s=5.0)

    def remember(
        self,
        key: Hashable,
        make: Callable[[SpanStore], T],
        *,
        stale_s: float = STALE_S,
        heavy: bool = False,
    ) -> T:
        """What `make` gives, made once until the store changes; of `heavy` ones few are kept."""
        store = self.store()
        whole = (store.state(), key)
        with self._lock:
            known = self._known.get(whole)
            if known is not None and time.monotonic() - known[0] < stale_s:
                self._known.move_to_end(whole)
                return known[1]
            value = make(store)
            self._known[whole] = (time.monotonic(), value, heavy)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
            weighty = [key for key, (_, _, is_heavy) in self._known.items() if is_heavy]
            for old in weighty[:-REMEMBERED_HEAVY]:
                del self._known[old]
            return value


class Answers:
    """What a session's store says to one question."""

    def __init__(self, session: Session, question: Question) -> None:
        self.session = session
        self.question = question
        # of all that compares the same spans; what a question narrows further is made of these
        self._spans = question.base, question.head, question.environment, question.where, question.quantile

    @property
    def settings(self) -> Settings:
        """Of the session."""
        return self.session.settings

    @property
    def _budget(self) -> Budget:
        return Budget.of(self.settings)

    def _remember(self, name: str, make: Callable[[SpanStore], T], *more: Hashable) -> T:
        return self.session.remember((name, self.question, *more), make)

    def keep_entry(self) -> KeepEntry | None:
        """Which entries the question is about; None for all.

        Raises
        ------
        InputError
            No entry has the id that is asked for.
        """
        asked = self.question
        matching = asked.keep_entry()
        tables = self._sides().head.tables, self._sides().base.tables
        if not asked.entry_id:
            if asked.entry and matching is not None:
                self._check_matches(asked.entry, matching, tables)
            return matching
        names = pl.concat(
            [side["entries"].filter(pl.col("entry_id") == entry_number(asked.entry_id)) for side in tables]
        )
        if names.is_empty():
            raise InputError(f"no entry {asked.entry_id}", "take one from the list on the Paths page")
        chosen = set(names.select("service", "operation").iter_rows())
        return lambda service, operation: (
            (service, operation) in chosen and (matching is None or matching(service, operation))
        )

    @staticmethod
    def _check_matches(text: str, matching: KeepEntry, sides: tuple[Tables, Tables]) -> None:
        """Raise InsufficientDataError where no entry of either period matches, with the near ones."""
        names = [row for side in sides for row in side["entries"].select("service", "operation").iter_rows()]
        if names and not any(matching(*row) for row in names):
            known = dict.fromkeys(f"{service} {operation}" for service, operation in names)
            raise InsufficientDataError(
                f"insufficient data: no entry of these periods matches {text!r}",
                suggestion(text, known, f"there are {', '.join(list(known)[:5])}"),
            )

    # -- both periods --

    def _sides(self) -> Sides:
        """Rollups of both periods, of one environment and all entries: read once for every answer."""

        def make(store: SpanStore) -> Sides:
            base, head, notes = self.question.periods(self.session.context(store))
            read = self._read(store, base, head, self.question.environment or None, zone=self.question.zone)
            return replace(read, notes=(*notes, *read.notes))

        return self.session.remember(("sides", *self._spans), make, heavy=True)

    def _read(
        self,
        store: SpanStore,
        base: Period,
        head: Period,
        environment: str | None,
        **asked: Any,
    ) -> Sides:
        return read_sides(
            store,
            base,
            head,
            environment=environment,
            where=self.question.where,
            quantile=self.question.quantile,
            budget=self._budget,
            **asked,
        )

    def sides(self) -> Sides:
        """Rollups of both periods, of the entries that the question is about."""
        sides, keep = self._sides(), self.keep_entry()
        if keep is None:
            return sides
        return self._remember(
            "kept",
            lambda _: replace(sides, base=sides.base.of_entries(keep), head=sides.head.of_entries(keep)),
        )

    def _sums(self) -> tuple[Tables, Tables]:
        """Sums of all entries: a graph needs them to tell a service from what sends no spans."""
        sides, zone = self._sides(), self.question.zone
        return self.session.remember(
            ("sums", *self._spans, zone), lambda _: matched_sums(sides.base, sides.head, zone)
        )

    def _sketched(self) -> tuple[Tables, Tables]:
        """`_sums` with the sketches of the calls' durations, which most pages do without."""
        sums, sides, zone = self._sums(), self._sides(), self.question.zone
        if all("path_sketches" in tables for tables in sums):  # short periods are compared by them, too
            return sums

        def make(store: SpanStore) -> tuple[Tables, Tables]:
            wanted = ("entry_hours", "path_sketches")
            read = self._read(store, *sides.periods, sides.head.environment, tables=wanted)
            base = set_apart(read.base, sides.base.long_lived)
            found = matched_sums(base, set_apart(read.head, sides.head.long_lived), zone)
            return _with_sketches(sums, found)

        return self.session.remember(("sketches", *self._spans, zone), make)

    def matched(self) -> tuple[Tables, Tables]:
        """Sums of both periods, hours weighed as in the diff: what is made of them agrees with it."""
        if self.keep_entry() is None:
            return self._sums()
        sides = self.sides()
        return self._remember("matched", lambda _: matched_sums(sides.base, sides.head, self.question.zone))

    # -- answers --

    def report(self) -> Report:
        """The diff of the question's periods, all edges."""
        sides, keep = self._sides(), self.keep_entry()
        measured = self._remember(
            "report", lambda store: compare_sides(store, sides, self.question.options(keep))
        )
        said = self.session.settings.owners, self.session.store().mutes(), self.session.now_ns()
        return marked(attend(measured, *said), self.marks())

    def mute(self, digits: str, until: str, reason: str) -> tuple[str, int]:
        """Acknowledge a finding of these periods until an instant; its id, and the end in ns.

        Parameters
        ----------
        digits
            The id's first digits.
        until
            A date, a mark, or so long: ``12h``, ``3d``, ``2w``.
        reason
            Why, for whoever reads it later.

        Raises
        ------
        InputError
            Nothing of that id was found in these periods.
        UsageError
            The end has passed or cannot be read, or there is no reason.
        """
        store = self.session.store()
        end_ns, why = mute_end(until, self.session.context(store)), mute_reason(reason)
        found = {each.id: each.sentence for each in self.report().findings}
        name = named(digits, found, "was found in these periods")
        store.mute(name, end_ns, why, now_ns=self.session.now_ns())
        return name, end_ns

    def carriers(self, keys: tuple[str, ...] = ()) -> Carriers:
        """Attribute values that carry the change, of raw spans; of `keys`, or of all with few values.

        Raises
        ------
        InsufficientDataError
            Raw spans are gone.
        """
        from tracescope.engine.carriers import Asked, carriers  # which loads the compiler

        sides, question = self._sides(), self.question
        asked = Asked(sides.head.environment, keys, question.where, self.keep_entry(), self._budget)
        return self._remember(
            "carriers", lambda store: carriers(store, sides.periods, question.alpha, asked), keys
        )

    def explained(self, keys: tuple[str, ...] | None = None) -> Report:
        """The report with the attribute values that carry its change.

        Unasked they are looked for only where something grew and raw spans are few, and told where one value
        clearly carries it.

        Parameters
        ----------
        keys
            Attributes that were asked for, none for all; None where nobody asked.
        """
        report = self.report()
        if keys is not None:
            return replace(report, carriers=self.carriers(keys))
        count = self.raw_spans() if report.grew else None
        if count is None or count > CHEAP_SPANS:
            return report
        from tracescope.analysis.comparison.carriers import clear_carrier

        found = self.carriers()
        return replace(report, carriers=found) if clear_carrier(found) is not None else report

    def raw_spans(self) -> int | None:
        """How many raw spans both periods have together; None where those of some hours are gone."""
        from tracescope.engine.raw import raw_spans

        store, periods = self.session.store(), self._sides().periods
        counts = store.reading(lambda snapshot: [raw_spans(snapshot, period) for period in periods])
        known = [count for count in counts if count]
        return sum(known) if len(known) == len(counts) else None

    def edge(self, text: str, operation: str | None = None) -> Edge:
        """The edge that a user names; raises UsageError when it is none or several."""
        return choose(self.report().edges, text, operation)

    def explain(self, edge: Edge) -> Explanation:
        """What one edge of the report rests on."""
        report, sides = self.report(), self._sides()

        def make(store: SpanStore) -> Explanation:
            past = past_of_paths(store, sides.head.environment, sides.until_ns, self._budget)
            return explain(report, edge, sides.base, sides.head, past)

        return self._remember("explain", make, edge.key)

    def series(self, edges: Sequence[EdgeKey], points: int) -> dict[EdgeKey, tuple[Series, Series]]:
        """Both periods' series of some edges."""
        sides, wanted = self.sides(), tuple(edges)

        def make(_: SpanStore) -> dict[EdgeKey, tuple[Series, Series]]:
            def of(side: PeriodRollups) -> dict[EdgeKey, Series]:
                cut = stretches(side.start_ns, side.end_ns, side.slot_ns, points)
                return edge_series(side, cut, list(wanted))

            base, head = both(of, sides.base, sides.head)
            return {edge: (base[edge], head[edge]) for edge in wanted}

        return self._remember("series", make, wanted, points)

    def entries(self) -> list[tuple[int, str, str, float]]:
        """Entries of either period, busiest in head first: id, service, operation, units in head."""
        earlier, later = self.matched()

        def make(_: SpanStore) -> list[tuple[int, str, str, float]]:
            names = pl.concat([tables["entries"] for tables in (earlier, later)]).unique("entry_id")
            counts = later["entry_hours"].group_by("entry_id").agg((pl.col("units") * weight()).sum())
            rows = names.join(counts, on="entry_id", how="left").with_columns(pl.col("units").fill_null(0.0))
            rows = rows.sort("units", "service", "operation", descending=[True, False, False])
            return rows.select("entry_id", "service", "operation", "units").rows()

        return self._remember("entries", make)

    def every_entry(self) -> list[tuple[int, str, str, float]]:
        """As `entries`, whatever entry the question is about: what may be asked for instead."""
        return Answers(self.session, replace(self.question, entry="", entry_id="")).entries()

    def environments(self) -> tuple[str, ...]:
        """Environments of either period, the busiest of head first."""
        sides = self._sides()
        return tuple(dict.fromkeys([*sides.head.environments, *sides.base.environments]))

    def deploys(self) -> tuple[Appeared, ...]:
        """Versions of services that followed another one in either period, the earliest first."""
        sides = self._sides()

        def make(_: SpanStore) -> tuple[Appeared, ...]:
            found = versions_of(sides.base, sides.head)
            return tuple(Appeared(*row) for row in found.select("service", "version", "first_ns").iter_rows())

        return self.session.remember(("deploys", *self._spans), make)

    def marks(self) -> dict[str, int]:
        """Named instants of the store."""
        return self.session.store().marks()

    def mapped(self, level: Level, *, quantiles: bool = False, selection: Selection | None = None) -> Mapped:
        """The graph of head against base, of the same hours as the diff."""
        sides = self._sides()
        sides.check_filled(self.session.store())
        chosen = replace(selection or ALL, keep_entry=self.keep_entry())
        sums = self._sketched() if quantiles else self._sums()

        def make(store: SpanStore) -> Mapped:
            wanted = None if chosen == ALL else chosen
            return map_sides(store, sides, level, zone=self.question.zone, selection=wanted, sums=sums)

        if selection is not None:  # given by a command, which asks once
            return make(self.session.store())
        return self._remember("map", make, level, quantiles)

    def judged(self, mapped: Mapped) -> Graph:
        """A graph of both periods, with the report's word on which of its changes are more than chance."""
        report = self.report()
        clocks = {"request": report.clock, **report.other_clocks}
        return judged(mapped.graph, report.edges, {unit: clock["base_ms"] for unit, clock in clocks.items()})

    def grown_entry(self) -> EntryPaths | None:
        """Call paths of the entry that is asked for, or of the one whose clock grew most."""
        if self.question.entry_id:
            return self.paths(entry_number(self.question.entry_id))
        busiest = [entry_id for entry_id, *_ in self.entries()[:BUSIEST]]
        found = grown_most(*self.matched(), busiest)
        return None if found is None else self.paths(found)

    def period_map(self, period: str, level: Level, selection: Selection | None = None) -> Mapped:
        """The graph of one period, as a user writes it."""
        store = self.session.store()
        chosen = replace(selection or ALL, keep_entry=self.question.keep_entry())
        return map_period(
            store,
            parse(period, self.session.context(store)),
            level,
            selection=None if chosen == ALL else chosen,
            environment=self.question.environment or None,
            budget=self._budget,
        )

    def forecast(self, *, horizon_weeks: float, multiples: Sequence[float] = ()) -> tuple[Forecast, Outlook]:
        """The half year until HEAD's end continued to the horizon, and what so many times the load does."""
        asked = tuple(multiples)

        def make(store: SpanStore) -> tuple[Forecast, Outlook]:
            base, head, _ = self.question.periods(self.session.context(store))
            return foresee(
                store,
                horizon_weeks=horizon_weeks,
                multiples=asked,
                slo_ms=self.settings.slo,
                environment=self.question.environment or busiest(store, head, self._budget),
                keep_entry=self.question.keep_entry(),
                until_ns=max(base.end_ns, head.end_ns),
                budget=self._budget,
            )

        try:
            return self._remember("forecast", make, horizon_weeks, asked)
        except InsufficientDataError:
            self.keep_entry()  # says so where it is the entry's name that nothing matches
            raise

    def paths(self, entry_id: int) -> EntryPaths | None:
        """Call paths of an entry."""
        earlier, later = self.matched()
        return self._remember("paths", lambda _: entry_paths(earlier, later, entry_id), entry_id)

    def examples(self, edge: EdgeKey | None, most: int = 8) -> list[Example]:
        """Traces of an edge, or of any: the slowest of each period, then typical ones."""
        sides = self.sides()

        def make(_: SpanStore) -> list[Example]:
            return [
                example
                for name, side in (("base", sides.base), ("head", sides.head))
                for example in _examples(name, side, edge, most)
            ]

        return self._remember("examples", make, edge, most)

    def whole_examples(self, edge: EdgeKey | None) -> list[Example]:
        """As `examples`, each with what its raw spans say, where they are still here."""
        found = self.examples(edge)

        def make(store: SpanStore) -> list[Example]:
            known = {_trace_words(one.trace_id)[1]: one.start_ns // HOUR_NS for one in found}
            told = summaries(store, known)
            return [replace(one, whole=told.get(one.trace_id)) for one in found]

        return self._remember("whole examples", make, edge)

    def quantiles(self, edge: EdgeKey) -> dict[str, tuple[float | None, float | None]]:
        """Median, 95th and 99th percentile of an edge's calls in ms, base and head."""
        sums = _with_sketches(self.matched(), self._sketched())

        def make(_: SpanStore) -> dict[str, tuple[float | None, float | None]]:
            base, head = (
                tables["path_sketches"].join(path_ids(tables, edge), on=["path_id", "unit"], how="semi")
                for tables in sums
            )
            return {
                name: (quantile_of(base, part), quantile_of(head, part))
                for name, part in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
            }

        return self._remember("quantiles", make, edge)

    def search(self, sought: Criteria, *, side: Literal["base", "head"] = "head", most: int = 50) -> Search:
        """Traces of a period that are what is wanted; read from raw spans, as long as those are kept."""
        sides = self._sides()
        period = sides.periods[0 if side == "base" else 1]

        def make(store: SpanStore) -> Search:
            chosen = replace(sought, environment=sought.environment or sides.head.environment)
            return search(store, period.start_ns, period.end_ns, chosen, most=most)

        return self._remember("search", make, sought, side, most)

    def span_details(self, digits: str, span_id: str) -> SpanDetails:
        """What one span of a trace carries; raises InputError where there is none."""
        whole, words = _trace_words(digits)
        rows = self.session.remember(("spans", whole), lambda store: trace_spans(store, *words))
        return details(rows, span_id)

    def trace(self, digits: str, *, near_periods: bool = False) -> TracePath:
        """One trace with its critical path; raises InputError when it is not here.

        With `near_periods` an example of the question's periods is found without looking through the
        whole store.
        """
        from tracescope.analysis.rollups.trace_path import critical_path  # which loads the compiler

        whole, words = _trace_words(digits)
        sides = self._sides() if near_periods else None

        def make(store: SpanStore) -> TracePath:
            near = None if sides is None else partial(_hours_of, sides, words[0], words[1])
            spans = trace_spans(store, words[0], words[1], near=near)
            if spans.is_empty():
                short = len(digits) < len(whole)
                begun = begins_with(store, digits.lower()) if short else nearest(store, whole)
                if short and len(begun) == 1:
                    return critical_path(trace_spans(store, *_trace_words(begun[0])[1]))
                raise InputError(
                    f"no trace {whole} in the store",
                    f"these begin {f'with {digits}' if short else 'alike'}: {', '.join(begun)}"
                    if begun
                    else "its raw spans may have been removed",
                )
            return critical_path(spans)

        return self.session.remember(("trace", whole), make)

    def status(self) -> Status:
        """What the store holds."""
        return self.session.status()


def _trace_words(digits: str) -> tuple[str, tuple[int, int]]:
    """A trace id with all its digits, and its halves as they are kept; raises UsageError."""
    if not digits or len(digits) > 32 or any(c not in "0123456789abcdefABCDEF" for c in digits):
        raise UsageError(
            f"invalid trace ID {digits[:40]!r}: expected 32 hex digits",
            "`tracescope diff` and the page's list of traces show some",
        )
    whole = digits.zfill(32).lower()
    high, low = (int.from_bytes(bytes.fromhex(part), "big", signed=True) for part in (whole[:16], whole[16:]))
    return whole, (high, low)


def _with_sketches(sums: tuple[Tables, Tables], sketched: tuple[Tables, Tables]) -> tuple[Tables, Tables]:
    base, head = (
        {**known, "path_sketches": one["path_sketches"]} for known, one in zip(sums, sketched, strict=True)
    )
    return base, head


def _examples(name: str, side: PeriodRollups, edge: EdgeKey | None, most: int) -> list[Example]:
    """Traces of one period: the slowest, then half as many typical ones."""
    ids = side.tables["paths"] if edge is None else path_ids(side.tables, edge)
    rows = side.by_hour(ids["path_id"].to_list(), ("path_id", "unit", "slot", *_EXAMPLE))
    if edge is not None:
        rows = rows.join(ids, on=["path_id", "unit"], how="semi")
    names = side.tables["paths"].select("path_id", "entry_id").unique("path_id")
    names = names.join(side.tables["entries"].unique("entry_id"), on="entry_id")
    rows = rows.join(names.select("path_id", "service", "operation"), on="path_id", how="left")
    rows = rows.with_columns(pl.col("service", "operation").fill_null("").cast(pl.String))
    slow = (
        rows.filter(pl.col("slow_hi") != 0)
        .sort("slow_ns", "slow_hi", "slow_lo", descending=[True, False, False])
        .unique(["slow_hi", "slow_lo"], keep="first", maintain_order=True)
        .head(most)
    )
    drawn = (
        rows.filter(pl.col("typical_hash") > 0)
        .sort("typical_hash")
        .unique(["typical_hi", "typical_lo"], keep="first", maintain_order=True)
        .head(most // 2)
    )
    entry = ("slot", "service", "operation")
    return [
        *(
            Example(name, trace_hex(hi, lo), ns / 1e6, "slowest", slot * side.slot_ns, *of)
            for ns, hi, lo, slot, *of in slow.select("slow_ns", "slow_hi", "slow_lo", *entry).iter_rows()
        ),
        *(
            Example(name, trace_hex(hi, lo), None, "typical", slot * side.slot_ns, *of)
            for hi, lo, slot, *of in drawn.select("typical_hi", "typical_lo", *entry).iter_rows()
        ),
    ]


def _hours_of(sides: Sides, trace_hi: int, trace_lo: int, snapshot: Snapshot) -> tuple[int, int] | None:
    """First and last hour in which a trace is an example of a call path, None when it is of none."""
    slow = (pl.col("slow_hi") == trace_hi) & (pl.col("slow_lo") == trace_lo)
    typical = (pl.col("typical_hi") == trace_hi) & (pl.col("typical_lo") == trace_lo)
    kept = [hour * HOUR_NS for hour in snapshot.pointer.with_raw()]
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


def path_ids(tables: Tables, edge: EdgeKey) -> pl.DataFrame:
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
        raise UsageError(f"{digits[:40]!r} is not the id of an entry", "its id has 16 hex digits") from error


def entry_digits(entry_id: int) -> str:
    """An entry's id as 16 hex digits."""
    return f"{entry_id & (2**64 - 1):016x}"

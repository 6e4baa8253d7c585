"""Where a period's rollups come from.

    |----sealed hours----|---unsealed---|
       [======= period =======)
       ^ cut hour: from spans         ^ from spans

Whole sealed hours come from the rollups; cut hours and what is not sealed yet come from the spans,
processed on the fly by the same code.  Conditions on attributes or on the clock of single requests take
everything from the spans.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import polars as pl

from tracescope import schema
from tracescope.analysis.rollups.hops import hop_notes
from tracescope.analysis.rollups.merge import add_up, join_hops, merge
from tracescope.analysis.rollups.names import shorten
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.analysis.rollups.renaming import cap_operations, collapse
from tracescope.analysis.rollups.where import Condition, carrying
from tracescope.config import Settings
from tracescope.engine.slices import (
    DEFAULT_MEMORY,
    HOP_WINDOW_HOURS,
    affected,
    process_slices,
    source,
)
from tracescope.engine.union import Remainder, examine, mend, stored_conflicts, waits, without_zeros
from tracescope.errors import InsufficientDataError
from tracescope.store import Snapshot, SpanStore
from tracescope.store.pointer import Pointer

HOUR = schema.HOUR_NS


@dataclass(frozen=True, slots=True)
class Budget:
    """What answering may take: threads, and memory of the slices of spans that they hold together."""

    workers: int = 2
    memory_bytes: int = DEFAULT_MEMORY

    @classmethod
    def of(cls, settings: Settings) -> Budget:
        """As the settings say."""
        return cls(settings.workers, settings.memory_mb * 1024 * 1024)


#: What answering may take where nobody says.
BUDGET: Final = Budget()


@dataclass(frozen=True, slots=True)
class RollupRequest:
    """Which rollups of which spans.

    Attributes
    ----------
    start_ns, end_ns
        Traces that start in ``[start_ns, end_ns)``.
    slot_ns
        An hour, or less: then everything comes from spans.
    environment
        ``deployment.environment.name``; None for the busiest of the period.
    tables
        Rollups wanted; dimensions come along.
    where
        Only traces in which spans carry these attributes; everything comes from spans then.
    slower_than
        Only requests that are so slow, as `process` takes it; everything comes from spans then.
    unread
        Leave sealed hours of `schema.DAILY` for `read_unread`.
    budget
        What slices of spans may take.
    """

    start_ns: int
    end_ns: int
    slot_ns: int = HOUR
    environment: str | None = None
    tables: tuple[str, ...] = ("path_hours", "entry_hours", "entry_sketches", "counters")
    where: tuple[Condition, ...] = ()
    slower_than: pl.DataFrame | None = None
    unread: bool = False
    budget: Budget = BUDGET

    @property
    def asked(self) -> str:
        """What takes everything from spans, in words; empty when nothing does."""
        named = (
            ("a condition on attributes", bool(self.where)),
            ("a quantile", self.slower_than is not None),
        )
        return " and ".join(name for name, given in named if given)


def rollups(store: SpanStore, request: RollupRequest) -> PeriodRollups:
    """Rollups of a period of a store.

    Raises
    ------
    InsufficientDataError
        Slots under an hour, a condition or a quantile need raw spans that are gone.
    """
    period = store.reading(lambda found: rollups_in(store, found, request))
    (period,) = collapse(period)
    return replace(period, tables=shorten(period.tables)[0])


def rollups_in(store: SpanStore, snapshot: Snapshot, request: RollupRequest) -> PeriodRollups:
    """`rollups` of one snapshot, under whole names."""
    plan = _planned(snapshot, request)
    remainder = Remainder()
    if snapshot.parts:
        remainder = examine(store, snapshot, plan.sealed)
        plan = plan.less(remainder)
    made = _computed(store, snapshot, plan, request)
    partials = _sealed(store, snapshot, plan, request, remainder, made)
    if made is not None:
        partials.append(made)
    if remainder.raw and made is not None:
        partials = _of_counted_names(store, snapshot, remainder, partials)
    merged = merge(partials) if len(partials) > 1 else partials[0]
    if snapshot.parts:
        merged = without_zeros(merged)
    tables = {name: merged[name] for name in (*request.tables, *schema.DIMENSIONS)}
    hops = hop_notes({name: tables[name] for name in request.tables}, plan.start_ns, plan.end_ns)
    rules = {
        part.pointer.hours[hour].rules
        for part in snapshot.each
        for hour in plan.sealed
        if hour in part.pointer.hours
    }
    rules |= set() if made is None else {schema.RULES}
    period = PeriodRollups(
        plan.start_ns,
        plan.end_ns,
        request.slot_ns,
        request.environment or "",
        tables,
        (*plan.notes, *hops, *rules_notes(rules), *damage_notes(snapshot)),
        unread=tuple(sorted(set(plan.sealed) - remainder.renamed_together)) if request.unread else (),
        rules=frozenset(rules),
    )
    return _one_environment(period, request.environment)


def _sealed(
    store: SpanStore,
    snapshot: Snapshot,
    plan: _Plan,
    request: RollupRequest,
    remainder: Remainder,
    computed: Mapping[str, pl.DataFrame] | None,
) -> list[dict[str, pl.DataFrame]]:
    """Partial rollups of the plan's sealed hours, of every store; what is computed has producers too."""
    later = [name for name in request.tables if request.unread and name in schema.DAILY]
    now = [name for name in request.tables if name not in later]
    if not snapshot.parts:
        return [_sealed_tables(store, snapshot.pointer, plan.sealed, now)]
    renamed, everything = remainder.renamed_together, tuple(schema.ROLLUPS)
    plain = [hour for hour in plan.sealed if hour not in renamed]
    partials = [_added(_sealed_tables(store, snapshot.pointer, plain, now))]
    for part in snapshot.parts:  # what others compute, of a store whose spans of it are gone
        beside = [hour for hour in plan.computed if part.pointer.is_closed(hour)]
        if beside:
            partials.append(_sealed_tables(store, part.pointer, beside, request.tables))
    if (plan.sealed or remainder.raw) and not plain:  # as one store: names of whatever it has
        partials.append(_added(_names(store, snapshot.pointer)))
    near = _crossing_producers(store, snapshot, remainder, computed)
    partials.append(waits(merge(partials), remainder, near))
    if renamed:
        whole = _sealed_tables(store, snapshot.pointer, sorted(renamed), everything)
        partials.append(mend(_added(whole), remainder, near))
    return partials


def _added(tables: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """Rows of several stores, one a key."""
    return {name: add_up(name, frame) if len(frame) else frame for name, frame in tables.items()}


def _names(store: SpanStore, pointer: Pointer) -> dict[str, pl.DataFrame]:
    """Names of entries and paths, and no rows."""
    plans = [store.sealed.scan(pointer, name) for name in schema.DIMENSIONS]
    rows = {name: schema.empty(table) for name, table in schema.ROLLUPS.items()}
    return rows | dict(zip(schema.DIMENSIONS, pl.collect_all(plans), strict=True))


def _crossing_producers(
    store: SpanStore,
    snapshot: Snapshot,
    remainder: Remainder,
    computed: Mapping[str, pl.DataFrame] | None,
) -> pl.DataFrame:
    """HOP_HALVES rows of the producers of `Remainder.consumers`, of all stores."""
    slots = remainder.consumers["slot"]
    if slots.is_empty():
        return schema.empty(schema.HOP_HALVES)
    begin, end = int(slots.min()), int(slots.max())  # pyright: ignore[reportArgumentType]
    near = [_producers(store, snapshot.pointer, begin, end)]
    near += [] if computed is None else [computed["hop_halves"].filter(pl.col("side") == 0)]
    return pl.concat(near)


def _of_counted_names(
    store: SpanStore, snapshot: Snapshot, remainder: Remainder, partials: list[dict[str, pl.DataFrame]]
) -> list[dict[str, pl.DataFrame]]:
    """Partial rollups whose names are of rows that count: a part of a trace has names of its own."""
    counts = ~_among("slot", sorted(remainder.raw))
    used = {
        key: pl.concat(
            [
                *(partial[name].select(key) for partial in partials for name in names),
                store.sealed.scan(snapshot.pointer, names[0]).filter(counts).select(key).unique().collect(),
            ]
        ).unique()
        for key, names in (
            ("path_id", ("path_hours", "path_sketches")),
            ("entry_id", ("entry_hours", "entry_sketches")),
        )
    }
    known = pl.concat([partial["paths"] for partial in partials]).unique("path_id")
    kept = known.join(used["path_id"], on="path_id", how="semi")
    while True:  # with what stands above them, a level a turn
        more = known.join(kept, left_on="path_id", right_on="parent_id", how="semi")
        more = more.join(kept, on="path_id", how="anti")
        if more.is_empty():
            break
        kept = pl.concat([kept, more])
    entries = pl.concat([used["entry_id"], kept.select("entry_id")]).unique()
    return [
        {
            **partial,
            "paths": partial["paths"].join(kept, on="path_id", how="semi"),
            "entries": partial["entries"].join(entries, on="entry_id", how="semi"),
        }
        for partial in partials
    ]


@dataclass(frozen=True, slots=True)
class _Plan:
    """Hours that are read from rollups, hours that are computed from spans, and the bounds kept to.

    ``unequal`` are those of the computed whose rollups several stores have, and which do not add up.
    """

    sealed: list[int]
    computed: list[int]
    start_ns: int
    end_ns: int
    notes: tuple[str, ...]
    unequal: tuple[int, ...] = ()

    def less(self, remainder: Remainder) -> _Plan:
        """The same with hours computed that only spans tell."""
        return replace(
            self,
            sealed=[hour for hour in self.sealed if hour not in remainder.raw],
            computed=sorted(remainder.raw.union(self.computed)),
            notes=(*self.notes, *remainder.notes()),
            unequal=tuple(sorted(remainder.raw)),
        )


def _planned(snapshot: Snapshot, request: RollupRequest) -> _Plan:
    """Which hours come from where; raises InsufficientDataError when spans that are needed are gone."""
    pointer, landed = snapshot.pointer, snapshot.landed
    start_ns, end_ns = request.start_ns, request.end_ns
    unsealed = set(affected(list(landed)))
    notes: list[str] = []
    first, last = -(-start_ns // HOUR), end_ns // HOUR  # whole hours [first, last)
    whole = [hour for hour in pointer.hours if first <= hour < last and hour not in unsealed]
    fly = [hour for hour in range(start_ns // HOUR, -(-end_ns // HOUR)) if hour in unsealed or hour in landed]
    cut = [
        hour
        for hour in {start_ns // HOUR, (end_ns - 1) // HOUR}
        if hour in pointer.hours and not first <= hour < last and hour not in unsealed
    ]
    gone = [hour for hour in cut if snapshot.lacks_raw(hour)]
    if gone:
        notes.append("raw spans of the period's cut hours are gone; its bounds snap to whole UTC hours")
        start_ns, end_ns = start_ns // HOUR * HOUR, -(-end_ns // HOUR) * HOUR
        whole += gone
        cut = [hour for hour in cut if hour not in gone]
    lost = [hour for hour in whole if snapshot.lacks_raw(hour)]
    if request.slot_ns < HOUR:
        if lost:
            raise InsufficientDataError(
                f"raw spans of {len(lost)} hours are gone, which slots of {request.slot_ns / 1e9:g} s need",
                "compare longer periods",
            )
        cut, whole, lost = sorted({*cut, *whole}), [], []
    if asked := request.asked:
        if lost and not fly and len(lost) == len(whole) + len(cut):
            raise InsufficientDataError(
                f"raw spans of the period are gone, and {asked} needs them",
                f"leave {asked} out, or choose a later period; the setting retain_spans_days keeps more",
            )
        told = f"{asked} is computed from raw spans; those of {len(lost)} hours are gone" if lost else ""
        notes.append(told or f"{asked} is computed from raw spans")
        cut, whole = sorted({*cut, *whole}.difference(lost)), []
    return _Plan(whole, sorted({*fly, *cut}), start_ns, end_ns, tuple(notes))


def _computed(
    store: SpanStore, snapshot: Snapshot, plan: _Plan, request: RollupRequest
) -> dict[str, pl.DataFrame] | None:
    """Rollups of the plan's hours that come from spans; None when there are none."""
    only = partial(carrying, conditions=request.where) if request.where else None
    made: list[dict[str, pl.DataFrame]] = []
    for begin, end in _spans_of(plan.computed):
        spans = source(store, snapshot, begin, end).scan()
        inside = (max(plan.start_ns, begin * HOUR), min(plan.end_ns, end * HOUR))
        sliced = process_slices(
            spans,
            inside,
            request.budget.memory_bytes,
            request.budget.workers,
            slot_ns=request.slot_ns,
            only=only,
            slower_than=request.slower_than,
        )
        made.append(merge([part.tables for part in sliced]))
    if not made:
        return None
    whole = merge(made)
    if plan.unequal:
        kept = stored_conflicts(store, snapshot, plan.unequal)
        whole["counters"] = add_up("counters", pl.concat([whole["counters"], kept]))
    near = _producers(store, snapshot.pointer, plan.start_ns // HOUR, -(-plan.end_ns // HOUR))
    halves = pl.concat([whole["hop_halves"], near])
    return cap_operations(join_hops(whole, halves))


def damage_notes(snapshot: Snapshot) -> list[str]:
    """What to say where files could not be read."""
    if not snapshot.damaged:
        return []
    return [
        f"{len(snapshot.damaged)} damaged files were left out, such as {snapshot.damaged[0]}; "
        "`tracescope verify` lists them"
    ]


def namings(rules: Collection[int]) -> frozenset[int]:
    """Versions of the rules, those that name units and edges alike as one."""
    return frozenset(min(rule, schema.NAMED_SINCE) for rule in rules)


def rules_notes(rules: Collection[int]) -> list[str]:
    """What to say beside rows that rules of several versions made, if these name things differently."""
    if len(namings(rules)) < 2:
        return []
    told = " and ".join(map(str, sorted(rules)))
    return [
        f"rollups read here were made by versions {told} of the rules for units and names: what these name "
        "differently looks new or gone; `tracescope rebuild` makes them anew where raw spans are held"
    ]


def _producers(store: SpanStore, pointer: Pointer, begin: int, end: int) -> pl.DataFrame:
    around = begin - HOP_WINDOW_HOURS, end + HOP_WINDOW_HOURS
    near = pl.col("slot").is_between(*around) & (pl.col("side") == 0)
    return store.sealed.scan(pointer, "hop_halves", around).filter(near).collect()


def _spans_of(hours: Sequence[int]) -> list[tuple[int, int]]:
    """Half-open stretches of consecutive hours, at most a day long."""
    out: list[tuple[int, int]] = []
    for hour in hours:
        if out and out[-1][1] == hour and hour - out[-1][0] < 24:
            out[-1] = (out[-1][0], hour + 1)
        else:
            out.append((hour, hour + 1))
    return out


def _sealed_tables(
    store: SpanStore, pointer: Pointer, hours: list[int], tables: Sequence[str]
) -> dict[str, pl.DataFrame]:
    """Rows of whole sealed hours; tables nobody wants stay empty."""
    out = {name: schema.empty(table) for name, table in schema.ROLLUPS.items()}
    if not hours:
        out.update({name: schema.empty(table) for name, table in schema.DIMENSIONS.items()})
        return out
    rows, bounds = _in_hours(pointer, hours), (min(hours), max(hours))
    plans = [store.sealed.scan(pointer, name, bounds).filter(rows) for name in tables]
    dims = [store.sealed.scan(pointer, name) for name in schema.DIMENSIONS]
    frames = pl.collect_all([*plans, *dims])
    out.update(zip([*tables, *schema.DIMENSIONS], frames, strict=True))
    return out


def read_unread(
    store: SpanStore, snapshot: Snapshot, period: PeriodRollups, representative_hours: pl.DataFrame
) -> PeriodRollups:
    """A period whose unread hours are read, by days where days will do.

    Parameters
    ----------
    store, snapshot, period
        A period of a snapshot.
    representative_hours
        ``slot, first`` of every hour, as `tracescope.analysis.comparison.aggregate` tells which count alike:
        a day whose hours do not is read by the hour.
    """
    if not period.unread:
        return period
    first = dict(representative_hours.iter_rows())
    seen = set(period.tables["entry_hours"]["slot"].unique().to_list())
    days = _whole_days(snapshot.pointer, period.unread)
    alike = {day: {first[hour] for hour in hours if hour in seen} for day, hours in days.items()}
    tables = dict(period.tables)
    slots = {day * 24: min(each, default=day * 24) for day, each in alike.items() if len(each) < 2}
    rest = [hour for hour in period.unread if hour // 24 * 24 not in slots]
    for of, name in schema.DAILY.items():
        plans = [store.sealed.scan(snapshot.pointer, name).filter(_among("slot", list(slots)))]
        if rest:
            plans.append(store.sealed.scan(snapshot.pointer, of).filter(_in_hours(snapshot.pointer, rest)))
        by_day, *by_hour = pl.collect_all(plans)
        by_day = by_day.with_columns(pl.col("slot").replace_strict(slots, return_dtype=pl.Int64))
        read = pl.concat([by_day, *by_hour])
        if len(period.environments) > 1:
            read = _kept({**tables, of: read}, of, period.environment)
        tables[of] = pl.concat([tables[of], read])
        if snapshot.parts:  # with the waits between stores, which stand by the hour
            hours = {hour: slots[day] for hour in period.unread if (day := hour // 24 * 24) in slots}
            tables[of] = add_up(of, tables[of].with_columns(pl.col("slot").replace(hours)))
    return replace(period, tables=tables, unread=(), hours=_Hours(store, period))


def readable(store: SpanStore, period: PeriodRollups) -> PeriodRollups:
    """A period whose unread hours are read when some of their call paths are asked for."""
    return replace(period, hours=_Hours(store, period)) if period.unread else period


def _whole_days(pointer: Pointer, hours: Sequence[int]) -> dict[int, list[int]]:
    """Days that count and whose sealed hours are all among `hours`, with these."""
    held = set(pointer.days)
    of_day: dict[int, list[int]] = {}
    for hour in hours:
        if hour // 24 in held:
            of_day.setdefault(hour // 24, []).append(hour)
    sealed = Counter(hour // 24 for hour in pointer.hours)
    return {day: each for day, each in of_day.items() if len(each) == sealed[day]}


class _Hours:
    """Rows of every hour of a period with unread hours; those that were asked for last are kept."""

    def __init__(self, store: SpanStore, period: PeriodRollups) -> None:
        self._store = store
        self._period = period
        # one attribute: threads that share it never find the ids of one call with the rows of another
        self._last = frozenset[int](), period.tables["path_hours"].clear()

    def __call__(self, ids: Sequence[int], columns: Sequence[str]) -> pl.DataFrame:
        """Of some call paths, with some columns."""
        mine = _among("path_id", ids)
        known, rows = self._last
        if known.issuperset(ids) and set(columns) <= set(rows.columns):
            return rows.filter(mine).select(columns)
        used = [name for name in schema.PATH_HOURS if name in columns or name == "path_id"]

        def read(snapshot: Snapshot) -> pl.DataFrame:
            sealed = self._store.sealed.scan(snapshot.pointer, "path_hours")
            return (
                sealed.filter(_in_hours(snapshot.pointer, self._period.unread), mine).select(used).collect()
            )

        landed = self._period.tables["path_hours"].filter(mine).select(used)
        rows = pl.concat([landed, self._store.reading(read)])
        if len(self._store.stores) > 1:
            rows = _one_a_key(rows)
        self._last = frozenset(ids), rows
        return rows.select(columns)


def _one_a_key(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of several stores, added up where their keys are all there."""
    keyed = set(schema.KEYS["path_hours"]).issubset(rows.columns)
    return add_up("path_hours", rows).select(rows.columns) if keyed else rows


def _in_hours(pointer: Pointer, hours: Sequence[int]) -> pl.Expr:
    """Rows of sealed `hours`, of which there is one at least."""
    low, high = min(hours), max(hours)
    rows = pl.col("slot").is_between(low, high)
    gaps = high - low + 1 - len(hours)
    inside = sum(1 for hour in pointer.hours if low <= hour <= high)
    if gaps and inside != len(hours):  # some hours between are not wanted
        rows = rows & _among("slot", hours)
    return rows


def _among(column: str, values: Sequence[int]) -> pl.Expr:
    """Rows with one of `values`; as a plain list they cost every scan of Parquet files 4 ms."""
    return pl.col(column).is_in(pl.Series(values, dtype=pl.Int64).implode())


def _one_environment(period: PeriodRollups, environment: str | None) -> PeriodRollups:
    """Keep the rows of one environment; by default the busiest."""
    tables = dict(period.tables)
    entries = tables["entries"]
    if "entry_hours" in tables:
        counted = (
            tables["entry_hours"]
            .group_by("entry_id")
            .agg(pl.col("units").sum())
            .join(entries, on="entry_id")
            .group_by("environment")
            .agg(pl.col("units").sum())
            .sort("units", "environment", descending=[True, False])
        )
        found = dict(counted.iter_rows())
    else:
        found = dict.fromkeys(sorted(entries["environment"].unique().to_list()), 0)
    chosen = environment if environment is not None else next(iter(found), "")
    if len(found) > 1:
        entries = entries.filter(pl.col("environment") == chosen)
        ids = entries.select("entry_id")
        tables["entries"] = entries
        tables["paths"] = tables["paths"].join(ids, on="entry_id", how="semi")
        for name in period.tables:
            tables[name] = _kept(tables, name, chosen)
    elif environment is not None and environment not in found:
        tables = {name: frame.clear() for name, frame in tables.items()}
    return replace(period, environment=chosen, tables=tables, environments=found)


def _kept(tables: Mapping[str, pl.DataFrame], name: str, environment: str) -> pl.DataFrame:
    """Rows of one table of an environment, whose ``entries`` and ``paths`` are in `tables`."""
    frame = tables[name]
    if name in ("entry_hours", "entry_sketches"):
        return frame.join(tables["entries"].select("entry_id"), on="entry_id", how="semi")
    if name in ("path_hours", "path_sketches"):
        return frame.join(tables["paths"].select("path_id"), on="path_id", how="semi")
    if name == "service_hours":
        return frame.filter(pl.col("environment") == environment)
    return frame


def trace_spans(
    store: SpanStore,
    trace_hi: int,
    trace_lo: int,
    *,
    near: Callable[[Snapshot], tuple[int, int] | None] | None = None,
) -> pl.DataFrame:
    """All spans of one trace, landed or sealed; SPANS rows, some of them twice.

    Parameters
    ----------
    store, trace_hi, trace_lo
        Where, and the two halves of its id.
    near
        Tells hours ``[first, last]`` in which it is known to start; looked through first.  Where it is not
        there, all are.
    """
    mine = (pl.col("trace_hi") == trace_hi) & (pl.col("trace_lo") == trace_lo)

    def among(snapshot: Snapshot, sealed: pl.LazyFrame) -> pl.DataFrame:
        plans = [plan.filter(mine).select(list(schema.SPANS)) for plan in (sealed, snapshot.pending())]
        return pl.concat(pl.collect_all(plans))

    def find(snapshot: Snapshot) -> pl.DataFrame:
        pointer = snapshot.pointer
        if not snapshot.landed and not pointer.files.get("spans"):
            return schema.empty(schema.SPANS)
        hours = None if near is None else near(snapshot)
        if hours is not None:
            window = range(hours[0], hours[1] + schema.TRACE_WINDOW_HOURS + 1)
            rows = among(snapshot, store.sealed.spans(pointer, window))
            if not rows.is_empty():
                return rows
        return among(snapshot, store.sealed.scan(pointer, "spans"))

    return store.reading(find)

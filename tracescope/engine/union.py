"""Which sealed hours of several stores are more than the sum of their rollups, and what makes them whole.

    hour     store A   store B
    10:00    rollups   rollups     traces whole in either: added up
    11:00    rollups   rollups     a trace has spans in both: made anew from the spans of both
    12:00    rollups   rollups     a consumer in A, its producer in B: added up, and the wait added
    13:00    rollups   rollups     names that are too many only together: added up, then capped

What comes of it is what one store of the same spans has.  Where that needs raw spans which retention has
removed, rollups are added up all the same, and a note says for how many hours.

Sealed files never change, so what was found of a stretch is remembered by their names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from tracescope import schema
from tracescope.analysis.rollups import merge, renaming
from tracescope.analysis.rollups.one_off import LITERAL
from tracescope.engine.slices import HOP_WINDOW_HOURS
from tracescope.store import Snapshot, SpanStore
from tracescope.store.pointer import Pointer

_AFTER: Final = schema.TRACE_WINDOW_HOURS
_STRETCH: Final = 24 * 28
#: Stretches of which is remembered what was found.
_REMEMBERED: Final = 128
_PRODUCER: Final = ["key_hi", "key_lo", "key_span"]
_OWNED: Final = {"slot": pl.Int64, "owner": pl.String}

Tables = dict[str, pl.DataFrame]


@dataclass(frozen=True, slots=True)
class Remainder:
    """What is to be known of sealed hours before their rollups are added up.

    Attributes
    ----------
    raw
        Hours that only the spans of all stores tell.
    doubled
        Hours in which a trace is in several stores, as far as rollups alone show it, ...
    renamed
        ... and in which a store has collapsed names of what another has too; raw spans of both are gone.
    consumers
        HOP_HALVES rows whose producer is in another store than they are.
    owners
        ``slot, owner`` of names that are too many only together.
    """

    raw: frozenset[int] = frozenset()
    doubled: frozenset[int] = frozenset()
    renamed: frozenset[int] = frozenset()
    consumers: pl.DataFrame = field(default_factory=lambda: schema.empty(schema.HOP_HALVES))
    owners: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=_OWNED))

    @property
    def renamed_together(self) -> frozenset[int]:
        """Hours in which names are too many only together."""
        return frozenset(self.owners["slot"])

    def notes(self) -> list[str]:
        """What a reader should know."""
        told = (
            (self.doubled, "traces are in several stores, and count once in each"),
            (self.renamed, "stores kept other names of the same service apart"),
        )
        return [
            f"in {len(hours)} hours {what}: raw spans that would tell are gone"
            for hours, what in told
            if hours
        ]


_known: dict[object, Remainder] = {}


def examine(store: SpanStore, snapshot: Snapshot, hours: Collection[int]) -> Remainder:
    """What is to be known of sealed hours of several stores.

    Parameters
    ----------
    store, snapshot
        Several stores, and what they hold.
    hours
        Sealed hours whose rollups are wanted.
    """
    wanted = frozenset(hours)
    numbers = sorted({hour // _STRETCH for hour in hours})
    stretches = [Remainder(), *(_of_stretch(store, snapshot, number) for number in numbers)]
    raw = wanted.intersection(hour for one in stretches for hour in one.raw)
    doubled = wanted.intersection(hour for one in stretches for hour in one.doubled)
    renamed = wanted.intersection(hour for one in stretches for hour in one.renamed)
    left = _among("slot", wanted - raw)
    consumers = pl.concat([one.consumers for one in stretches]).filter(left)
    owners = pl.concat([one.owners for one in stretches]).filter(left)
    return Remainder(raw, doubled, renamed, consumers, owners)


def waits(tables: Tables, remainder: Remainder, producers: pl.DataFrame) -> Tables:
    """Rows that add the waits of `Remainder.consumers` to rollups under the names that they have.

    Parameters
    ----------
    tables
        ``entries`` and ``paths`` of all stores.
    remainder
        What is not in the sum; hours whose names change are left to `mend`.
    producers
        HOP_HALVES rows of producers of all stores, of these hours and of the day around them.
    """
    mine = remainder.consumers.filter(~_among("slot", remainder.renamed_together))
    rows = {name: schema.empty(table) for name, table in schema.ROLLUPS.items()}
    names = {name: tables[name] for name in schema.DIMENSIONS}
    return _joined({**rows, **names}, mine, producers)


def mend(tables: Tables, remainder: Remainder, producers: pl.DataFrame) -> Tables:
    """Rollups of `Remainder.renamed_together`, added up, under the names that they have in one store.

    Parameters
    ----------
    tables
        Every table of these hours, and the dimensions.
    remainder, producers
        As for `waits`.
    """
    mine = remainder.consumers.filter(_among("slot", remainder.renamed_together))
    joined = without_zeros(_joined(tables, mine, producers))
    return renaming.cap_operations(joined, owners=remainder.owners)


def _joined(tables: Tables, consumers: pl.DataFrame, producers: pl.DataFrame) -> Tables:
    """Tables with the waits of some consumers, which are no longer counted as unmatched."""
    if consumers.is_empty():
        return tables
    joined = merge.join_hops({**tables, "hop_halves": consumers}, producers)
    fewer = consumers.group_by("slot").agg(-pl.len().cast(pl.Int64).alias("count"))
    fewer = fewer.select("slot", pl.lit("unmatched_hop").alias("reason"), "count")
    counters = merge.add_up("counters", pl.concat([joined["counters"], fewer]))
    return {**joined, "counters": counters, "hop_halves": tables["hop_halves"]}


def without_zeros(tables: Tables) -> Tables:
    """Tables without counts that have come to nothing."""
    counted = ("path_sketches", "entry_sketches", "counters")
    return {**tables, **{name: tables[name].filter(pl.col("count") != 0) for name in counted}}


def stored_conflicts(store: SpanStore, snapshot: Snapshot, hours: Collection[int]) -> pl.DataFrame:
    """COUNTERS rows of hours that spans made anew cannot give again (`merge.DROPPED`)."""
    rows = store.sealed.scan(snapshot.pointer, "counters")
    mine = _among("slot", hours) & pl.col("reason").is_in(merge.DROPPED)
    return rows.filter(mine).collect()


# -- a stretch ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Sealed hours of a stretch, store by store, and of the hours around it."""

    store: SpanStore
    snapshot: Snapshot
    number: int

    @property
    def hours(self) -> range:
        """All hours of the stretch."""
        return range(self.number * _STRETCH, (self.number + 1) * _STRETCH)

    @property
    def pointers(self) -> list[Pointer]:
        """Every store's."""
        return [part.pointer for part in self.snapshot.parts]

    def shared(self) -> list[int]:
        """Hours that several stores have."""
        counts = [sum(hour in pointer.hours for pointer in self.pointers) for hour in self.hours]
        return [hour for hour, count in zip(self.hours, counts, strict=True) if count > 1]

    def without_raw(self) -> set[int]:
        """Hours whose raw spans some store lacks."""
        return {hour for hour in self.hours if self.snapshot.lacks_raw(hour)}

    def rows(self, name: str, hours: Collection[int], *columns: str) -> list[pl.LazyFrame]:
        """Rollups of hours, of every store."""
        bounds = (min(hours, default=0), max(hours, default=-1))
        return [
            self.store.sealed.scan(pointer, name, bounds).filter(_among("slot", hours)).select(columns or "*")
            for pointer in self.pointers
        ]


def _of_stretch(store: SpanStore, snapshot: Snapshot, number: int) -> Remainder:
    stretch = _Stretch(store, snapshot, number)
    low, high = number * _STRETCH - HOP_WINDOW_HOURS, (number + 1) * _STRETCH + HOP_WINDOW_HOURS
    files = [
        file.path
        for part in snapshot.parts
        for each in part.pointer.files.values()
        for file in each
        if file.first <= high and low <= file.last
    ]
    kept = [tuple(sorted(part.pointer.closed())) for part in snapshot.parts]
    key = number, hash((tuple(files), tuple(kept)))
    if key not in _known:
        found = _looked_through(stretch)
        while len(_known) >= _REMEMBERED:
            _known.pop(next(iter(_known)), None)
        _known[key] = found
    return _known[key]


def _looked_through(stretch: _Stretch) -> Remainder:
    whole = _overlapping(stretch)
    hops, polled = _crossing_hops(stretch)
    owners, renamed = _names(stretch)
    gone = stretch.without_raw()
    raw = frozenset((whole | polled | renamed) - gone)
    return Remainder(raw, frozenset(_common_examples(stretch)), frozenset(renamed & gone), hops, owners)


# -- traces that several stores have ---------------------------------------------------------------


def _overlapping(stretch: _Stretch) -> set[int]:
    """Hours in which a trace begins of which several stores have spans.

    Half of an id is looked at: two traces that share one are made anew for nothing, and right.
    """
    begin, end = stretch.hours.start - _AFTER, stretch.hours.stop + _AFTER
    found: set[int] = set()
    for some in _runs(stretch.snapshot.pointer, begin, end):
        halves: list[pl.LazyFrame] = []
        for pointer in stretch.pointers:
            others = {hour for other in stretch.pointers if other is not pointer for hour in other.with_raw()}
            near = [
                hour
                for hour in some
                if pointer.has_raw(hour) and not others.isdisjoint(range(hour - _AFTER, hour + _AFTER + 1))
            ]
            rows = stretch.store.sealed.spans(pointer, near) if near else pl.LazyFrame(schema=_HALVES)
            halves.append(rows.select(list(_HALVES)).unique())
        frames = pl.collect_all(halves)
        ids = pl.concat([frame["trace_lo"].unique() for frame in frames])
        twice = ids.filter(ids.is_duplicated()).unique()
        for frame in frames if len(twice) else ():
            found.update(frame.filter(pl.col("trace_lo").is_in(twice.implode()))["hour"])
    return found


_HALVES: Final = {"hour": pl.Int32(), "trace_lo": pl.Int64()}
#: Spans whose ids are looked at together.
_TOGETHER: Final = 8_000_000


def _runs(pointer: Pointer, begin: int, end: int) -> Iterator[range]:
    """Stretches of hours ``[begin, end)`` of so many spans; each begins within the one before."""
    at = begin
    while at < end:
        stop, count = at, 0
        while stop < end and (stop - at <= 2 * _AFTER or count < _TOGETHER):
            state = pointer.hours.get(stop)
            count += state.spans if state is not None else 0
            stop += 1
        yield range(at, stop)
        if stop >= end:
            return
        at = stop - _AFTER


def _common_examples(stretch: _Stretch) -> set[int]:
    """Hours in which stores have the same trace as an example, where raw spans cannot be asked."""
    hours = sorted(stretch.without_raw().intersection(stretch.shared()))
    if not hours:
        return set()
    seen: list[pl.DataFrame] = []
    for number, plan in enumerate(stretch.rows("path_hours", hours, "slot", *_EXAMPLES)):
        rows = plan.collect()
        ids = [rows.select("slot", hi=f"{of}_hi", lo=f"{of}_lo") for of in ("slow", "typical")]
        seen.append(pl.concat(ids).filter(pl.col("lo") != 0).unique().with_columns(part=number))
    counted = pl.concat(seen).group_by("slot", "hi", "lo").len()
    return set(counted.filter(pl.col("len") > 1)["slot"])


_EXAMPLES: Final = ("slow_hi", "slow_lo", "typical_hi", "typical_lo")


# -- hops --------------------------------------------------------------------------------------------


def _crossing_hops(stretch: _Stretch) -> tuple[pl.DataFrame, set[int]]:
    """Consumers whose producer is in another store, and hours whose mere polls others decide on."""
    none = schema.empty(schema.HOP_HALVES)
    lost = pl.col("reason") == "unmatched_hop"
    counted = [
        plan.filter(lost).collect() for plan in stretch.rows("counters", stretch.hours, *schema.COUNTERS)
    ]
    slots = {slot for frame in counted for slot in frame["slot"]}
    polled = _polls_elsewhere(stretch)
    if not slots:
        return none, polled
    around = range(min(slots) - HOP_WINDOW_HOURS, max(slots) + HOP_WINDOW_HOURS + 1)
    producers = [plan.filter(pl.col("side") == 0).collect() for plan in stretch.rows("hop_halves", around)]
    everybody = pl.concat(producers)
    found = [none]
    for own, frame, plan in zip(producers, counted, stretch.rows("hop_halves", slots), strict=True):
        mine = plan.filter(pl.col("side") > 0, _among("slot", frame["slot"].to_list())).collect()
        missing = mine.join(own, on=_PRODUCER, how="anti")
        polled |= _not_as_counted(missing, frame)
        theirs = everybody.select(*_PRODUCER, at="slot")
        near = (pl.col("slot") - pl.col("at")).abs() <= HOP_WINDOW_HOURS
        hit = missing.with_row_index().join(theirs, on=_PRODUCER).filter(near)
        rows = missing.with_row_index().join(hit, on="index", how="semi").drop("index")
        polled.update(rows.filter(pl.col("side") == 2)["slot"])
        found.append(rows.filter(pl.col("side") == 1))
    return pl.concat(found), polled


def _not_as_counted(missing: pl.DataFrame, counted: pl.DataFrame) -> set[int]:
    """Hours whose missing producers are not as many as were counted: they were joined beyond a day."""
    now = missing.group_by("slot").agg(pl.len().cast(pl.Int64).alias("now"))
    both = counted.select("slot", "count").join(now, on="slot", how="full", coalesce=True).fill_null(0)
    return set(both.filter(pl.col("count") != pl.col("now"))["slot"])


def _polls_elsewhere(stretch: _Stretch) -> set[int]:
    """Hours of mere polls whose message another store knows to have been processed."""
    shared = stretch.shared()
    plans = stretch.rows("hop_halves", shared, "slot", "side", *_PRODUCER) if shared else []
    polls = pl.collect_all([plan.filter(pl.col("side") == 2) for plan in plans])
    found: set[int] = set()
    for number, mine in enumerate(polls):
        if mine.is_empty():
            continue
        others = [plan for at, plan in enumerate(plans) if at != number]
        processed = pl.concat(others).filter(pl.col("side") == 1).collect()
        found.update(mine.join(processed, on=["slot", *_PRODUCER], how="semi")["slot"])
    return found


# -- names -----------------------------------------------------------------------------------------


def _names(stretch: _Stretch) -> tuple[pl.DataFrame, set[int]]:
    """Owners of names that are too many only together, and hours in which a store has renamed some already.

    A name with a literal may be one that rules made of each span, or what was collapsed; where so many calls
    bear it that it may be the latter, the names of the spans tell.
    """
    none = pl.DataFrame(schema=_OWNED)
    hours = stretch.shared()
    paths = pl.collect_all([stretch.store.sealed.scan(pointer, "paths") for pointer in stretch.pointers])
    suspect = _suspects(paths)
    if not hours or suspect.is_empty():
        return none, set()
    called: list[pl.DataFrame] = []
    capped = [none]
    for number, (known, plan) in enumerate(
        zip(paths, stretch.rows("path_hours", hours, "slot", "path_id", "calls"), strict=True)
    ):
        owned = known.with_columns(owner=pl.coalesce("callee", "caller"))
        mine = owned.join(suspect, on="owner", how="semi")
        rows = plan.join(mine.lazy().select("path_id"), on="path_id", how="semi").collect()
        called.append(renaming.called({"paths": mine, "path_hours": rows}).with_columns(part=number))
        other = mine.filter(pl.col("operation") == renaming.OTHER)
        capped.append(rows.join(other, on="path_id").select(list(_OWNED)).unique())
    everything = pl.concat(called)
    several = pl.col("part").n_unique().over("slot", "owner") > 1
    everything = everything.filter(several)
    renamed = set(
        pl.concat(capped).join(everything, on=["slot", "owner"], how="semi")["slot"]
    ) | _collapsed_here(stretch, everything)
    together = (
        everything.group_by("slot", "owner", "operation")
        .agg(pl.col("calls").sum())
        .filter(~_among("slot", renamed))
        .sort("slot", "owner", "calls", "operation", descending=[False, False, True, False])
    )
    return renaming.renamed_owners(together), renamed


def _suspects(paths: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """``owner`` of what several stores have, if its names are many or may have been collapsed."""
    owned = [
        frame.filter(pl.col("kind") != schema.EDGE_QUEUE).select(
            "operation", owner=pl.coalesce("callee", "caller"), part=pl.lit(number)
        )
        for number, frame in enumerate(paths)
    ]
    made = (pl.col("operation") == renaming.OTHER) | pl.col("operation").str.contains(LITERAL, literal=True)
    many = pl.col("operation").n_unique() >= min(renaming.FEWEST, renaming.MAX_OPERATIONS)
    return (
        pl.concat(owned)
        .group_by("owner")
        .agg(suspect=many | made.any(), parts=pl.col("part").n_unique())
        .filter(pl.col("suspect"), pl.col("parts") > 1)
        .select("owner")
    )


def _collapsed_here(stretch: _Stretch, called: pl.DataFrame) -> set[int]:
    """Hours in which a store may have collapsed names: a literal in rollups, and many names in spans."""
    literal = pl.col("operation").str.contains(LITERAL, literal=True)
    maybe = called.filter(literal, pl.col("calls") >= renaming.FEWEST).select("slot", "owner", "part")
    found: set[int] = set()
    for number, pointer in enumerate(stretch.pointers):
        mine = maybe.filter(pl.col("part") == number).unique()
        hours = [hour for hour in sorted(set(mine["slot"])) if pointer.has_raw(hour)]
        if not hours:
            continue
        rows = stretch.store.sealed.spans(pointer, hours)
        owners = (pl.col("service_name"), pl.col("peer").fill_null(schema.UNKNOWN))
        counted = [
            rows.group_by("hour", owner.alias("owner")).agg(pl.col("operation").n_unique().alias("names"))
            for owner in owners
        ]
        many = pl.concat(pl.collect_all(counted)).group_by("hour", "owner").agg(pl.col("names").sum())
        many = many.filter(pl.col("names") >= renaming.FEWEST).with_columns(
            slot=pl.col("hour").cast(pl.Int64)
        )
        found.update(mine.join(many, on=["slot", "owner"], how="semi")["slot"])
    return found


def _among(column: str, values: Collection[int]) -> pl.Expr:
    return pl.col(column).is_in(pl.Series(sorted(values), dtype=pl.Int64).implode())

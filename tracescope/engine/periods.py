"""What a period's rollups are made of.

    |----sealed hours----|---unsealed---|
       [======= period =======)
       ^ cut hour: from spans         ^ from spans

Whole sealed hours come from the rollups; cut hours and what is not sealed yet come from the spans,
processed on the fly by the same code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from tracescope import schema
from tracescope.analysis.process import process
from tracescope.analysis.rollup import cap_operations, join_hops, merge
from tracescope.engine.local import affected, source
from tracescope.errors import InsufficientDataError
from tracescope.store import SpanStore
from tracescope.store.sealed import Pointer

HOUR = schema.HOUR_NS


@dataclass(frozen=True, slots=True)
class PeriodRollups:
    """Rollups of one period and environment.

    Attributes
    ----------
    start_ns, end_ns, slot_ns
        The period as it could be kept to, half-open, and the length of its slots.
    environment
        Which one.
    tables
        Rollups and dimensions by name, rows of this environment only.
    environments
        Units of each environment in the period, most first.
    notes
        What a reader should know.
    """

    start_ns: int
    end_ns: int
    slot_ns: int
    environment: str
    tables: dict[str, pl.DataFrame]
    environments: dict[str, int]
    notes: tuple[str, ...]


def rollups(
    store: SpanStore,
    start_ns: int,
    end_ns: int,
    *,
    slot_ns: int = HOUR,
    environment: str | None = None,
    tables: Sequence[str] = ("path_hours", "entry_hours", "entry_sketches", "counters"),
) -> PeriodRollups:
    """Rollups of ``[start_ns, end_ns)``.

    Parameters
    ----------
    store, start_ns, end_ns
        Which traces: those that start in the period.
    slot_ns
        An hour, or less: then everything comes from spans.
    environment
        ``deployment.environment.name``; None for the busiest of the period.
    tables
        Rollups wanted; dimensions come along.

    Raises
    ------
    InsufficientDataError
        `slot_ns` is under an hour and the raw spans are gone.
    """
    pointer = store.sealed.pointer()
    landed = store.landing.files()
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
    gone = [hour for hour in cut if not pointer.hours[hour][2]]
    if gone:
        notes.append("raw spans of the period's cut hours are gone; its bounds snap to whole UTC hours")
        start_ns, end_ns = start_ns // HOUR * HOUR, -(-end_ns // HOUR) * HOUR
        whole += gone
        cut = [hour for hour in cut if hour not in gone]
    if slot_ns < HOUR:
        lost = [hour for hour in whole if not pointer.hours[hour][2]]
        if lost:
            raise InsufficientDataError(
                f"raw spans of {len(lost)} hours are gone, and slots of {slot_ns / 1e9:g} s need them",
                "compare longer periods",
            )
        cut, whole = sorted({*cut, *whole}), []
    partials = [_sealed_tables(store, pointer, whole, tables)]
    keep = (start_ns, end_ns)
    for begin, end in _spans_of(sorted({*fly, *cut})):
        spans = source(store, pointer, begin, end).scan().collect()
        inside = (max(keep[0], begin * HOUR), min(keep[1], end * HOUR))
        made = process(spans, slot_ns=slot_ns, keep=inside).tables
        halves = pl.concat([made["hop_halves"], _producers(store, pointer, begin, end)])
        partials.append(cap_operations(join_hops(made, halves)))
    merged = merge(partials) if len(partials) > 1 else partials[0]
    dims = {name: merged[name] for name in schema.DIMENSIONS}
    chosen = {name: merged[name] for name in tables}
    return _one_environment(
        PeriodRollups(start_ns, end_ns, slot_ns, environment or "", {**chosen, **dims}, {}, tuple(notes)),
        environment,
    )


def _producers(store: SpanStore, pointer: Pointer, begin: int, end: int) -> pl.DataFrame:
    near = pl.col("slot").is_between(begin - 24, end + 24) & (pl.col("side") == 0)
    return store.sealed.scan(pointer, "hop_halves").filter(near).collect()


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
    store: SpanStore, pointer: Pointer, hours: list[int], wanted: Sequence[str]
) -> dict[str, pl.DataFrame]:
    """Rows of whole sealed hours; tables nobody wants stay empty."""
    out = {name: schema.empty(table) for name, table in schema.ROLLUPS.items()}
    if not hours:
        out.update({name: schema.empty(table) for name, table in schema.DIMENSIONS.items()})
        return out
    low, high = min(hours), max(hours)
    rows = pl.col("slot").is_between(low, high)
    gaps = high - low + 1 - len(hours)
    inside = sum(1 for hour in pointer.hours if low <= hour <= high)
    if gaps and inside != len(hours):  # some hours between are not wanted
        rows = rows & pl.col("slot").is_in(hours)
    plans = [store.sealed.scan(pointer, name).filter(rows) for name in wanted]
    dims = [store.sealed.scan(pointer, name) for name in schema.DIMENSIONS]
    frames = pl.collect_all([*plans, *dims])
    out.update(zip([*wanted, *schema.DIMENSIONS], frames, strict=True))
    return out


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
        for name, frame in period.tables.items():
            if name in ("entry_hours", "entry_sketches"):
                tables[name] = frame.join(ids, on="entry_id", how="semi")
            elif name in ("path_hours", "path_sketches"):
                tables[name] = frame.join(tables["paths"].select("path_id"), on="path_id", how="semi")
            elif name in ("edge_load", "service_hours"):
                tables[name] = frame.filter(pl.col("environment") == chosen)
    elif environment is not None and environment not in found:
        tables = {name: frame.clear() for name, frame in tables.items()}
    return PeriodRollups(period.start_ns, period.end_ns, period.slot_ns, chosen, tables, found, period.notes)


def trace_spans(store: SpanStore, trace_hi: int, trace_lo: int) -> pl.DataFrame:
    """All spans of one trace, landed or sealed; SPANS rows."""
    pointer = store.sealed.pointer()
    mine = (pl.col("trace_hi") == trace_hi) & (pl.col("trace_lo") == trace_lo)
    landed = store.pending().filter(mine).select(list(schema.SPANS))
    sealed = store.sealed.scan(pointer, "spans").filter(mine).select(list(schema.SPANS))
    return pl.concat(pl.collect_all([sealed, landed]))

"""Search traces by service, operation, attribute, duration and errors, and by the first digits of an id.

    hours of a period, the newest first ─► raw spans ─► a row a trace ─► until enough are found

Reads raw spans, as long as retention keeps them; stops after so many traces or so many hours, and says
which hours it looked through.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import polars as pl

from tracescope import schema
from tracescope.analysis.rollups.where import Condition, carrying
from tracescope.engine.slices import spans_of
from tracescope.schema import HOUR_NS
from tracescope.store import Snapshot, SpanStore

#: Hours that one search looks through, and ids that the begin of one may name.
MOST_HOURS: Final = 24 * 7
MOST_SUGGESTED: Final = 5
#: Raw spans that are looked through for the lines of examples.
MOST_SPANS: Final = 2_000_000
_TRACE: Final = ("trace_hi", "trace_lo")
_READ: Final = (
    "trace_hi", "trace_lo", "span_id", "parent_span_id", "start_ns", "end_ns", "status", "environment",
    "service_name", "operation",
)  # fmt: skip
#: First digits that a mistyped id has in common with what was meant: more ids than stores hold tell apart.
_PREFIX_DIGITS: Final = 8
#: Digits of half an id.
_HALF: Final = 16


@dataclass(frozen=True, slots=True)
class Criteria:
    """Which traces are looked for; what is empty, 0 or None does not matter.

    Attributes
    ----------
    service, operation
        A span is of this service; its operation has these letters; both of one span.
    where
        Attributes that spans of it carry.
    least_ms, most_ms
        From its first start to its last end.
    failed
        A span of it failed.
    environment
        Its ``deployment.environment.name``.
    """

    service: str = ""
    operation: str = ""
    where: tuple[Condition, ...] = ()
    least_ms: float = 0.0
    most_ms: float = 0.0
    failed: bool = False
    environment: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """One trace in a line: of its first root the service and operation, of all spans times and counts."""

    trace_id: str
    start_ns: int
    duration_ms: float
    service: str
    operation: str
    spans: int
    errors: int


@dataclass(frozen=True, slots=True)
class Search:
    """Matching traces, slowest first, and the hours ``[first, last]`` that were searched."""

    traces: tuple[Summary, ...]
    hours: tuple[int, int] | None
    whole: bool


def search(store: SpanStore, start_ns: int, end_ns: int, criteria: Criteria, *, most: int = 50) -> Search:
    """Look for traces that start in a period.

    Parameters
    ----------
    store, start_ns, end_ns
        Where.
    wanted
        Which.
    most
        The search ends with the hour in which so many are found.
    """

    def among(snapshot: Snapshot) -> Search:
        hours = _hours(snapshot, start_ns, end_ns)
        got: list[pl.DataFrame] = []
        count = looked = 0
        for hour in hours[:MOST_HOURS]:
            rows = _of_hour(store, snapshot, hour, start_ns, end_ns, criteria)
            got.append(rows)
            count += len(rows)
            looked += 1
            if count >= most:
                break
        rows = pl.concat(got).sort("duration_ns", *_TRACE, descending=[True, False, False]) if got else None
        traces = () if rows is None else tuple(_summary(row) for row in rows.head(most).iter_rows(named=True))
        span = (hours[looked - 1], hours[0]) if looked else None
        return Search(traces, span, looked == len(hours) and count <= most)

    return store.reading(among)


def _hours(snapshot: Snapshot, start_ns: int, end_ns: int) -> list[int]:
    """Hours of a period that have raw spans, the newest first."""
    held = {*snapshot.pointer.with_raw(), *snapshot.landed}
    return sorted(
        (hour for hour in held if start_ns < (hour + 1) * HOUR_NS and hour * HOUR_NS < end_ns), reverse=True
    )


def _of_hour(
    store: SpanStore, snapshot: Snapshot, hour: int, start_ns: int, end_ns: int, criteria: Criteria
) -> pl.DataFrame:
    """Traces of an hour that are wanted, a row each."""
    columns = [*_READ, *(("raw", "resource") if criteria.where else ())]
    # a trace is sealed in the hour that it starts in, with all of its spans; landed ones, and those of
    # several stores, may spread
    near = range(hour - schema.TRACE_WINDOW_HOURS, hour + schema.TRACE_WINDOW_HOURS + 1)
    begin, hours = (near.start, near) if snapshot.parts else (hour, [hour])
    landed = snapshot.pending().filter(pl.col("start_ns").is_between(begin * HOUR_NS, (hour + 2) * HOUR_NS))
    plans = [plan.select(columns) for plan in (store.sealed.spans(snapshot.pointer, hours), landed)]
    spans = pl.concat(pl.collect_all(plans)).unique([*_TRACE, "span_id"], keep="first", maintain_order=True)
    if criteria.where and not spans.is_empty():
        spans = carrying(spans, criteria.where)
    mine = pl.lit(True)
    if criteria.service:
        mine &= pl.col("service_name") == criteria.service
    if criteria.operation:
        mine &= pl.col("operation").str.to_lowercase().str.contains(criteria.operation.lower(), literal=True)
    rows = _a_line_each(spans, mine).filter(
        pl.col("mine"),
        pl.col("start_ns").is_between(
            max(start_ns, hour * HOUR_NS), min(end_ns, (hour + 1) * HOUR_NS), "left"
        ),
        pl.col("duration_ns") >= criteria.least_ms * 1e6,
    )
    if criteria.most_ms:
        rows = rows.filter(pl.col("duration_ns") <= criteria.most_ms * 1e6)
    if criteria.failed:
        rows = rows.filter(pl.col("errors") > 0)
    if criteria.environment:
        rows = rows.filter(pl.col("environment") == criteria.environment)
    return rows.collect()


def _a_line_each(spans: pl.DataFrame, mine: pl.Expr) -> pl.LazyFrame:
    """A row a trace, of its spans, and whether any of them is `mine`."""
    root = pl.col("parent_span_id") != 0
    return (
        spans.lazy()
        .with_columns(mine.alias("mine"))
        .sort(root, "start_ns")
        .group_by(_TRACE, maintain_order=True)
        .agg(
            pl.col("start_ns").min(),
            (pl.col("end_ns").max() - pl.col("start_ns").min()).alias("duration_ns"),
            pl.col("environment", "service_name", "operation").first(),
            pl.len().alias("spans"),
            (pl.col("status") == schema.STATUS_ERROR).sum().alias("errors"),
            pl.col("mine").any(),
        )
    )


def summaries(store: SpanStore, known: Mapping[tuple[int, int], int]) -> dict[str, Summary]:
    """Some traces in a line each, by their ids; those whose raw spans have gone are left out.

    Hours are looked through until they have `MOST_SPANS` spans: traces of further hours are left out, too.

    Parameters
    ----------
    store
        Where.
    known
        Both halves of each trace's id, and the hour since 1970 in which it starts.
    """

    def among(snapshot: Snapshot) -> dict[str, Summary]:
        counts = spans_of(snapshot)
        held = {*snapshot.pointer.with_raw(), *snapshot.landed}
        hours: list[int] = []
        room = MOST_SPANS
        for hour in dict.fromkeys(known.values()):
            room -= counts.get(hour, 0)
            if hour in held and room >= 0:
                hours.append(hour)
        ids = [key for key, hour in known.items() if hour in hours]
        if not ids:
            return {}
        mine = pl.struct(_TRACE).is_in([dict(zip(_TRACE, key, strict=True)) for key in ids])
        near = pl.col("trace_hi").is_in([hi for hi, _ in ids]) & mine
        plans = [
            plan.filter(near).select(_READ)
            for plan in (store.sealed.spans(snapshot.pointer, hours), snapshot.pending())
        ]
        spans = pl.concat(pl.collect_all(plans)).unique(
            [*_TRACE, "span_id"], keep="first", maintain_order=True
        )
        rows = _a_line_each(spans, pl.lit(value=True)).collect()
        found = [_summary(row) for row in rows.iter_rows(named=True)]
        return {one.trace_id: one for one in found}

    return store.reading(among)


def _summary(row: dict[str, object]) -> Summary:
    hi, lo, start, length = (int(str(row[name])) for name in (*_TRACE, "start_ns", "duration_ns"))
    return Summary(
        schema.trace_hex(hi, lo), start, length / 1e6, str(row["service_name"]), str(row["operation"]),
        int(str(row["spans"])), int(str(row["errors"])),
    )  # fmt: skip


def begins_with(store: SpanStore, digits: str) -> list[str]:
    """Trace ids that begin with some hex digits, at most `MOST_SUGGESTED`, in their order."""
    first, second = digits[:_HALF], digits[_HALF:]
    mine = _between("trace_hi", first) & (_between("trace_lo", second) if second else pl.lit(value=True))

    def among(snapshot: Snapshot) -> list[str]:
        plans = [store.sealed.scan(snapshot.pointer, "spans")] if snapshot.pointer.files.get("spans") else []
        plans.append(snapshot.pending())
        rows = pl.concat(pl.collect_all([plan.filter(mine).select(_TRACE).unique() for plan in plans]))
        ids = {schema.trace_hex(hi, lo) for hi, lo in rows.iter_rows()}
        return sorted(ids)[:MOST_SUGGESTED]

    return store.reading(among)


def nearest(store: SpanStore, digits: str) -> list[str]:
    """Trace ids that share their first digits with one that is not here, at most `MOST_SUGGESTED`."""
    return begins_with(store, digits[:_PREFIX_DIGITS]) if len(digits) >= _PREFIX_DIGITS else []


def _between(column: str, digits: str) -> pl.Expr:
    """Halves of ids that begin with hex digits; they are kept as signed numbers."""
    ends = (int(digits.ljust(_HALF, fill), 16) for fill in "0f")
    low, high = (number - 2**64 if number >= 2**63 else number for number in ends)
    return pl.col(column).is_between(low, high)

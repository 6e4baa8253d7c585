"""Rollups merge by adding: slices, hours, workers and machines in any order.

Source: design, section 5 (rollups), section 9 (queue hops whose halves lie in different traces).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tracescope import schema
from tracescope.analysis.rollups.path_ids import routes_of
from tracescope.analysis.statistics.sketch import ZERO_BIN, bin_of

Tables = dict[str, pl.DataFrame]
Ints = NDArray[np.signedinteger[Any]]

#: Counters of what is left out when spans are kept, which the kept spans cannot give again.
DROPPED: Final = ("duplicate_conflict",)

_SPECIAL: Final = {
    "service_hours": {"first_ns": pl.col("first_ns").min(), "last_ns": pl.col("last_ns").max()},
}
#: What names a message in both halves of its hop.
_HOP_KEY: Final = ["key_hi", "key_lo", "key_span"]
#: Where the wait of a failed unit is added besides.
_OF_FAILED: Final = {"path_hours": "own_in_failed_ns", "entry_hours": "failed_ns"}
#: Rows in which nothing is left once waits have moved and mere polls are withdrawn.
_EMPTIED: Final = {
    "path_sketches": pl.col("count") == 0,
    "entry_sketches": pl.col("count") == 0,
    "path_hours": pl.all_horizontal(pl.col("calls", "units", "own_all_ns") == 0),
    "entry_hours": pl.col("units") == 0,
}


def add_up(name: str, frame: pl.DataFrame) -> pl.DataFrame:
    """One row a key: sums, and the exemplar rules of the schema; of the columns that are there."""
    keys = list(schema.KEYS[name])
    table = [column for column in {**schema.ROLLUPS, **schema.DIMENSIONS}[name] if column in frame.columns]
    if name in schema.DIMENSIONS:  # an edge that was answered anywhere is instrumented: False sorts first
        return frame.unique().sort(list(table)).unique(keys, keep="first", maintain_order=True)
    if name == "hop_halves":  # two consumers may look alike, and are two
        return frame.sort(keys)
    kinds = schema.dtypes(schema.ROLLUPS[name])
    if any(kinds[key] == pl.String for key in keys):  # few rows
        special = _SPECIAL.get(name, {})
        measures = [column for column in table if column not in keys and column not in special]
        merged = frame.group_by(keys).agg(pl.col(measures).sum(), *special.values())
        return merged.select(table).sort(keys)
    return _added(frame.select(table).rechunk(), keys)


def _added(frame: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """`add_up` of rows whose columns are integers: sorted runs, as partials are, are merged quickly."""
    frame = frame[np.lexsort([frame[key].to_numpy() for key in reversed(keys)])]
    new = np.zeros(len(frame), np.bool_)
    new[:1] = True
    for key in keys:
        values = frame[key].to_numpy()
        new[1:] |= values[1:] != values[:-1]
    if new.all():
        return frame
    begin = np.flatnonzero(new)
    row = dict.fromkeys(keys, begin)
    for shown, least in _SHOWN.items():
        if shown[0] in frame.columns:
            chosen = _first(begin, len(frame), least(*(frame[name].to_numpy() for name in shown)))
            row |= dict.fromkeys(shown, chosen)
    made: list[pl.Series] = []
    for column in frame:
        values = column.to_numpy()
        one = values[row[column.name]] if column.name in row else np.add.reduceat(values, begin)
        made.append(pl.Series(column.name, one, dtype=column.dtype))
    return pl.DataFrame(made)


def _longest(slow_ns: Ints, high: Ints, low: Ints) -> tuple[NDArray[Any], ...]:
    return -slow_ns, (high == 0) & (low == 0), high, low


def _drawn(hashed: Ints, high: Ints, low: Ints) -> tuple[NDArray[Any], ...]:
    return hashed == 0, hashed, high, low


#: Traces that are shown of a call path: columns that are taken from the row that has the least of what
#: is said of them; an id of zeros is none.
_SHOWN: Final = {
    ("slow_ns", "slow_hi", "slow_lo"): _longest,
    ("typical_hash", "typical_hi", "typical_lo"): _drawn,
}


def _first(begin: Ints, size: int, columns: Sequence[NDArray[Any]]) -> Ints:
    """Of each run of rows the first that has the least of `columns`, the first of which counts most.

    Parameters
    ----------
    begin, size
        Where each run begins, and where the last one ends.
    columns
        ``(size,)`` each.
    """
    lengths = np.diff(begin, append=size)
    rows = np.arange(size)
    left = np.ones(size, np.bool_)
    for column in columns:
        highest = True if column.dtype == np.bool_ else np.iinfo(column.dtype).max
        least = np.minimum.reduceat(np.where(left, column, highest), begin)
        left &= column == np.repeat(least, lengths)
    return np.minimum.reduceat(np.where(left, rows, size), begin)


def merge(partials: Sequence[Mapping[str, pl.DataFrame]]) -> Tables:
    """Add partial rollups up; every table of the schema, checked and sorted by its keys."""
    merged: Tables = {}
    for name, table in {**schema.ROLLUPS, **schema.DIMENSIONS}.items():
        frames = [partial[name] for partial in partials]
        if len(frames) == 1:
            merged[name] = frames[0]
            continue
        whole = pl.concat(frames) if frames else schema.empty(table)
        merged[name] = schema.check(add_up(name, whole), table, name)
    return merged


class Sum:
    """Adds partial rollups up as they come, so that few wait at once.

    Parameters
    ----------
    waiting_bytes
        What may wait before it is added up; more where the sum itself is larger.
    """

    def __init__(self, waiting_bytes: int) -> None:
        self._parts: list[Tables] = []
        self._size = 0
        self._most = self._waiting = waiting_bytes

    def add(self, tables: Tables) -> None:
        """Take one partial."""
        self._parts.append(tables)
        self._size += _bytes_of(tables)
        if self._size > self._most and len(self._parts) > 1:
            self._parts = [merge(self._parts)]
            self._size = _bytes_of(self._parts[0])
            self._most = max(self._waiting, 2 * self._size)

    def tables(self) -> Tables:
        """The sum of all."""
        return merge(self._parts)


def _bytes_of(tables: Tables) -> int:
    return sum(int(frame.estimated_size()) for frame in tables.values())


def join_hops(tables: Mapping[str, pl.DataFrame], halves: pl.DataFrame) -> Tables:
    """Join consumers to producers in other traces, and add the waits.

    Parameters
    ----------
    tables
        Rollups in which these consumers count without a wait.
    halves
        HOP_HALVES of these hours and of the day around them; consumers of `tables` are matched
        with producers of any.

    Returns
    -------
    Tables
        The waits added to path and entry rows, sketches moved, unmatched consumers counted.  A mere poll
        is a unit only of messages that nobody else of its service is known to have processed.
    """
    mine = tables["hop_halves"].filter(pl.col("side") > 0)
    if mine.is_empty():
        return dict(tables)
    joined = _with_producers(mine, halves).with_columns(_claimed(mine, tables))
    missing = pl.col("published_ns").is_null()
    polled = (pl.col("side") == 2) & (missing | pl.col("claimed"))
    hops = joined.filter(~missing & ~polled).with_columns(
        (pl.col("time_ns") - pl.col("published_ns")).clip(0).alias("wait_ns"),
        (pl.col("time_ns") < pl.col("published_ns") - pl.col("published_for_ns")).alias("negative"),
        pl.lit(schema.UNIT_MESSAGE, pl.Int8).alias("unit"),
    )
    waits, ways = _waits(hops)
    waits["counters"] = _counted(unmatched_hop=joined.filter(missing), negative_wait=hops.filter("negative"))
    withdrawn = _withdrawn(joined.filter(polled), tables)
    whole = merge([{**part, **_no_dimensions()} for part in (tables, waits, withdrawn)])
    for name, emptied in _EMPTIED.items():
        if name.endswith("_sketches") or len(withdrawn[name]):
            whole[name] = whole[name].filter(~emptied)
    paths = tables["paths"] if ways.is_empty() else add_up("paths", pl.concat([tables["paths"], ways]))
    return {**whole, "entries": tables["entries"], "paths": paths}


def _with_producers(consumers: pl.DataFrame, halves: pl.DataFrame) -> pl.DataFrame:
    """Every consumer with when, for how long and whereto its message was published; null where nobody did."""
    producers = (
        halves.filter(pl.col("side") == 0)
        .select(
            *_HOP_KEY, published_ns="time_ns", published_for_ns="clock_ns", sent="topic",
        )
        .sort("published_ns", "published_for_ns", "sent")
        .unique(_HOP_KEY, keep="first", maintain_order=True)
    )  # fmt: skip
    return consumers.join(producers, on=_HOP_KEY, how="left")


def _waits(hops: pl.DataFrame) -> tuple[Tables, pl.DataFrame]:
    """Rows that add the waits of joined hops, and the paths that these need."""
    tables: Tables = {name: schema.empty(table) for name, table in schema.ROLLUPS.items()}
    hours, ways = _routes(hops)
    by_path = _waited(hops, "path_hours", "path_id", ("own_ns", "own_all_ns", "inclusive_ns", "busy_ns"))
    tables["path_hours"] = pl.concat([by_path, hours])
    tables["entry_hours"] = _waited(hops, "entry_hours", "entry_id", ("clock_ns",))
    waits, clocks = hops["wait_ns"].to_numpy(), hops["clock_ns"].to_numpy()
    tables["path_sketches"] = _moved(hops, "path_id", bin_of(waits * 0), bin_of(waits))
    tables["entry_sketches"] = _moved(hops, "entry_id", bin_of(clocks), bin_of(clocks + waits))
    return tables, ways


def _waited(hops: pl.DataFrame, table: str, key: str, columns: Collection[str]) -> pl.DataFrame:
    """Rows of a rollup that add what was waited to some columns, and of failed units to `_OF_FAILED`."""
    keys = ["slot", "unit", "threshold", key]
    sums = hops.group_by(keys).agg(
        pl.col("wait_ns").sum(), (pl.col("wait_ns") * pl.col("failed")).sum().alias("failed_wait_ns")
    )
    added = {**dict.fromkeys(columns, "wait_ns"), _OF_FAILED[table]: "failed_wait_ns"}
    return sums.select(
        pl.col(name) if name in keys else pl.col(added[name]).alias(name) if name in added
        else pl.lit(0, pl.Int64).alias(name)
        for name in schema.ROLLUPS[table]
    )  # fmt: skip


def _counted(**reasons: pl.DataFrame) -> pl.DataFrame:
    """Rows of COUNTERS: how many hops of each slot, by reason."""
    return pl.concat(
        rows.group_by("slot")
        .agg(pl.len().cast(pl.Int64).alias("count"))
        .select("slot", pl.lit(reason).alias("reason"), "count")
        for reason, rows in reasons.items()
    )


def _routes(joined: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Joined hops whose two sides name different destinations, or whose consumer names none."""
    named = joined.with_columns(pl.col("topic").fill_null(schema.UNKNOWN))
    differing = named.filter(pl.col("sent").is_not_null(), pl.col("sent") != pl.col("topic"))
    keys = ["slot", "unit", "threshold", "entry_id", "sent", "topic"]
    return routes_of(differing.group_by(keys).agg(pl.len().cast(pl.Int64).alias("hops")).sort(keys))


def _claimed(mine: pl.DataFrame, tables: Mapping[str, pl.DataFrame]) -> pl.Series:
    """Whether somebody of the same service processed the message of each consumer in the same slot."""
    place = ["slot", "service", *_HOP_KEY]
    known = mine.join(
        tables["paths"].select("path_id", service="callee"), on="path_id", how="left", maintain_order="left"
    )
    processed = (
        known.filter(pl.col("side") == 1).select(place).unique().with_columns(claimed=pl.lit(value=True))
    )
    joined = known.join(processed, on=place, how="left", maintain_order="left")
    return joined["claimed"].fill_null(value=False)


def _withdrawn(polls: pl.DataFrame, tables: Mapping[str, pl.DataFrame]) -> Tables:
    """Rows that take back the units of mere polls: a wait and a service's own time, both of no length."""
    out: Tables = {name: schema.empty(table) for name, table in schema.ROLLUPS.items()}
    if polls.is_empty():
        return out
    polls = polls.with_columns(
        pl.lit(schema.UNIT_MESSAGE, pl.Int8).alias("unit"),
        pl.lit(ZERO_BIN, pl.Int16).alias("bin"),
        pl.lit(-1, pl.Int64).alias("less"),
    )
    itself = tables["paths"].filter(pl.col("kind") == schema.EDGE_SELF)
    itself = itself.join(tables["entries"], on=["entry_id", "operation"], how="semi")
    own = polls.join(itself.select(path_id="parent_id", own="path_id"), on="path_id")
    paths = pl.concat([polls, own.with_columns(path_id="own").select(polls.columns)])

    def rows(frame: pl.DataFrame, name: str, lowered: tuple[str, ...]) -> pl.DataFrame:
        return frame.select(
            pl.col(column)
            if column in schema.KEYS[name]
            else (pl.col("less") if column in lowered else pl.lit(0, pl.Int64)).alias(column)
            for column in schema.ROLLUPS[name]
        )

    out["path_hours"] = rows(paths, "path_hours", ("calls", "calls_visited", "visits", "units"))
    out["entry_hours"] = rows(polls, "entry_hours", ("units", "leafless"))
    out["path_sketches"] = rows(polls, "path_sketches", ("count",))
    out["entry_sketches"] = rows(polls, "entry_sketches", ("count",))
    return out


def _no_dimensions() -> Tables:
    return {name: schema.empty(table) for name, table in schema.DIMENSIONS.items()}


def _moved(
    joined: pl.DataFrame, key: str, before: NDArray[np.int16], after: NDArray[np.int16]
) -> pl.DataFrame:
    """Sketch rows that take a value out of one bin and put it into another."""
    name = "path_sketches" if key == "path_id" else "entry_sketches"
    rows = [
        joined.select("slot", "unit", key, "threshold").with_columns(
            pl.Series("bin", bins, dtype=pl.Int16), pl.lit(count, pl.Int64).alias("count")
        )
        for bins, count in ((before, -1), (after, 1))
    ]
    return pl.concat(rows).select(list(schema.ROLLUPS[name]))


def carry_counts(fresh: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """Counters of spans that were processed again, with what only their first processing could see.

    Of two spans with the same ids one is kept, so the kept spans no longer show that there were two: of
    the reasons in `DROPPED` the larger count stays.

    Parameters
    ----------
    fresh, stored
        COUNTERS rows of the same slots, as made now and as kept.
    """
    both = pl.concat([fresh, stored.filter(pl.col("reason").is_in(DROPPED))])
    return (
        both.group_by("slot", "reason")
        .agg(pl.col("count").max())
        .select(fresh.columns)
        .sort("slot", "reason")
    )


def checksum(tables: Mapping[str, pl.DataFrame]) -> str:
    """Hash of all values, the same whatever order or place they were computed in."""
    digest = hashlib.blake2b(digest_size=16)
    for name in (*schema.ROLLUPS, *schema.DIMENSIONS):
        frame = tables[name].sort(list(schema.KEYS[name]))
        digest.update(name.encode())
        for column in frame.columns:
            series = frame[column]
            if series.dtype == pl.String:
                data = "\0".join("\1" if value is None else value for value in series.to_list()).encode()
            else:
                data = series.to_numpy().tobytes()
            digest.update(column.encode())
            digest.update(data)
    return digest.hexdigest()

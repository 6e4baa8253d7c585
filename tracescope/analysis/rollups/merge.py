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
from tracescope.analysis.rollups.one_off import FEWEST_NAMES, templates
from tracescope.analysis.statistics.sketch import ZERO_BIN

Tables = dict[str, pl.DataFrame]

#: Distinct operations a service may have in an hour; the rest become one, OTHER.
MAX_OPERATIONS: Final = 1000
OTHER: Final = "(other)"
#: Counters of what is left out when spans are kept, which the kept spans cannot give again.
DROPPED: Final = ("duplicate_conflict",)

_EXEMPLARS: Final = ("slow_ns", "slow_hi", "slow_lo", "typical_hash", "typical_hi", "typical_lo")
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
    """One row a key: sums, and the exemplar rules of the schema."""
    keys = list(schema.KEYS[name])
    table = {**schema.ROLLUPS, **schema.DIMENSIONS}[name]
    if name in schema.DIMENSIONS:  # an edge that was answered anywhere is instrumented: False sorts first
        return frame.unique().sort(list(table)).unique(keys, keep="first", maintain_order=True)
    if name == "hop_halves":  # two consumers may look alike, and are two
        return frame.sort(keys)
    if name == "path_hours":
        measures = [column for column in table if column not in keys and column not in _EXEMPLARS]
        slow = _EXEMPLARS[:3]
        typical = _EXEMPLARS[3:]
        longest = pl.struct(
            (-pl.col("slow_ns")).alias("a"),
            ((pl.col("slow_hi") == 0) & (pl.col("slow_lo") == 0)).alias("b"),
            pl.col("slow_hi").alias("c"),
            pl.col("slow_lo").alias("d"),
        )
        drawn = pl.struct(
            (pl.col("typical_hash") == 0).alias("a"),
            pl.col("typical_hash").alias("b"),
            pl.col("typical_hi").alias("c"),
            pl.col("typical_lo").alias("d"),
        )
        merged = frame.group_by(keys).agg(
            pl.col(measures).sum(),
            *[pl.col(column).sort_by(longest).first() for column in slow],
            *[pl.col(column).sort_by(drawn).first() for column in typical],
        )
    else:
        special = _SPECIAL.get(name, {})
        measures = [column for column in table if column not in keys and column not in special]
        merged = frame.group_by(keys).agg(pl.col(measures).sum(), *special.values())
    return merged.select(list(table)).sort(keys)


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
    from tracescope.kernels.sketch import bin_of

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
    from tracescope.analysis.rollups.process import routes_of  # which loads the compiler

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


def cap_operations(
    tables: Mapping[str, pl.DataFrame], limit: int = MAX_OPERATIONS, one_off: int = FEWEST_NAMES
) -> Tables:
    """Collapse one-off names, then give each service at most `limit` operations a slot; the rest are OTHER.

    A service's operations are kept by (calls descending, name); those beyond are renamed in entries,
    edges and every call path through them, and rows that fall together are added up.  An id is the
    hash of the new names, so capped hours merge like any others, and a rebuild from the spans, which
    keep their names, gives the same.  Publishing and waiting are no names and are never capped.

    Parameters
    ----------
    tables
        Whole rollups of the slots they cover: of parts, other names would be kept.
    limit
        Operations that keep their name.
    one_off
        Names of one shape from which on those that are hardly called are collapsed, as
        `tracescope.analysis.rollups.one_off` does.

    Returns
    -------
    Tables
        With what was renamed to OTHER counted as ``operation_capped``; names that no row uses are gone.
    """
    called = _called(tables)
    names = _collapsed(called, one_off)
    collapsed = _renamed(tables, names)
    beyond = _beyond(called if names.is_empty() else _called(collapsed), limit)
    if beyond.is_empty():
        return collapsed
    capped = beyond.group_by("slot").agg(pl.len().cast(pl.Int64).alias("count"))
    counted = capped.select("slot", pl.lit("operation_capped").alias("reason"), "count")
    out = _renamed(collapsed, beyond.with_columns(pl.lit(OTHER).alias("name")))
    out["counters"] = add_up("counters", pl.concat([tables["counters"], counted]))
    return out


def _renamed(tables: Mapping[str, pl.DataFrame], names: pl.DataFrame) -> Tables:
    """The tables under new names: ``slot, owner, operation, name``."""
    if names.is_empty():
        return dict(tables)
    renaming = _Renaming(tables)
    for (slot,), rows in names.partition_by("slot", as_dict=True, include_key=False).items():
        new = {
            (owner, old): name for owner, old, name in rows.select("owner", "operation", "name").iter_rows()
        }
        renaming.rename(int(slot), new)
    return renaming.apply()


def _collapsed(called: pl.DataFrame, one_off: int) -> pl.DataFrame:
    """New names of operations that hold literals: ``slot, owner, operation, name``."""
    many = called.filter(pl.len().over("slot", "owner") >= one_off)
    rows: list[tuple[int, str, str, str]] = []
    for (slot, owner), group in many.partition_by("slot", "owner", as_dict=True).items():
        found = templates(dict(group.select("operation", "calls").iter_rows()), one_off)
        rows += [(int(slot), str(owner), old, new) for old, new in found.items()]
    columns = {"slot": pl.Int64, "owner": pl.String, "operation": pl.String, "name": pl.String}
    return pl.DataFrame(rows, columns, orient="row")


def _called(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Calls of every operation: ``slot, owner, operation, calls``, most first.

    A service serves a call once (its `self`), whoever makes it; what sends no spans is only called.
    """
    serves = pl.col("kind") == schema.EDGE_SELF
    owned = tables["paths"].filter(pl.col("kind") != schema.EDGE_QUEUE)
    names = owned.select("path_id", "kind", "operation", owner=pl.coalesce("callee", "caller"))
    calls = tables["path_hours"].select("slot", "path_id", "calls").join(names, on="path_id")
    return (
        calls.filter(pl.col("operation") != OTHER)
        .group_by("slot", "owner", "operation")
        .agg(
            pl.max_horizontal(
                pl.col("calls").filter(serves).sum(), pl.col("calls").filter(~serves).sum()
            ).alias("calls")
        )
        .sort("slot", "owner", "calls", "operation", descending=[False, False, True, False])
    )


def _beyond(called: pl.DataFrame, limit: int) -> pl.DataFrame:
    """Operations beyond the cap: ``slot, owner, operation``."""
    over = called.filter(pl.int_range(pl.len()).over("slot", "owner") >= limit)
    return over.select("slot", "owner", "operation")


class _Renaming:
    """Call paths, entries and edges under new names, slot by slot."""

    def __init__(self, tables: Mapping[str, pl.DataFrame]) -> None:
        self.tables = tables
        self.paths = {row["path_id"]: row for row in tables["paths"].iter_rows(named=True)}
        self.entries = {row["entry_id"]: row for row in tables["entries"].iter_rows(named=True)}
        self.made: dict[str, dict[int, dict[str, Any]]] = {"paths": {}, "entries": {}}
        self.ids: dict[str, list[tuple[int, int, int]]] = {"path_id": [], "entry_id": [], "edge_id": []}

    def rename(self, slot: int, names: Mapping[tuple[str, str], str]) -> None:
        """Find the new ids of whatever `slot` has, where (owner, operation) have other `names`."""
        from tracescope.analysis.rollups.process import path_id  # which loads the compiler

        fresh: dict[int, int] = {}
        edges: dict[int, int] = {}
        entries: dict[int, int] = {}
        here = pl.col("slot") == slot
        for number in self.tables["entry_hours"].filter(here)["entry_id"].unique().to_list():
            entries[number] = self._entry(number, names)
        for number in self.tables["path_hours"].filter(here)["path_id"].unique().to_list():
            chain: list[int] = []
            at = number
            while at in self.paths and at not in fresh:
                chain.append(at)
                at = self.paths[at]["parent_id"]
            for path in reversed(chain):
                row = dict(self.paths[path])
                if row["kind"] != schema.EDGE_QUEUE:
                    owned = row["callee"] or row["caller"], row["operation"]
                    row["operation"] = names.get(owned, row["operation"])
                if row["entry_id"] not in entries:
                    entries[row["entry_id"]] = self._entry(row["entry_id"], names)
                row["entry_id"] = entries[row["entry_id"]]
                above = row["parent_id"]
                row["parent_id"] = fresh[above] if above in fresh else entries[above]
                edge = schema.EDGE_KINDS[row["kind"]], row["caller"], row["callee"], row["operation"]
                edges[row["edge_id"]] = row["edge_id"] = path_id(0, *edge)
                fresh[path] = row["path_id"] = path_id(row["parent_id"], *edge)
                self._keep(row)
        for name, found in (("path_id", fresh), ("entry_id", entries), ("edge_id", edges)):
            self.ids[name] += [(slot, old, new) for old, new in found.items() if old != new]

    def _entry(self, number: int, names: Mapping[tuple[str, str], str]) -> int:
        from tracescope.analysis.rollups.process import path_id

        row = dict(self.entries[number])
        row["operation"] = names.get((row["service"], row["operation"]), row["operation"])
        row["entry_id"] = path_id(0, row["environment"], row["service"], row["operation"])
        self.made["entries"][row["entry_id"]] = row
        return row["entry_id"]

    def _keep(self, row: dict[str, Any]) -> None:
        """Add a path; one that was answered anywhere is instrumented."""
        old = self.made["paths"].get(row["path_id"], row)
        row["uninstrumented"] = row["uninstrumented"] and old["uninstrumented"]
        self.made["paths"][row["path_id"]] = row

    def apply(self) -> Tables:
        """The tables under their new ids, and the names that they use."""
        out = dict(self.tables)
        renamed = {
            name: pl.DataFrame(rows, {"slot": pl.Int64, name: pl.Int64, "new": pl.Int64}, orient="row")
            for name, rows in self.ids.items()
        }
        for name, table in schema.ROLLUPS.items():
            frame = out[name]
            for key, ids in renamed.items():
                if key in table:
                    frame = frame.join(ids, on=["slot", key], how="left", maintain_order="left")
                    frame = frame.with_columns(pl.coalesce("new", key).alias(key)).drop("new")
            out[name] = add_up(name, frame)
        for name, table in schema.DIMENSIONS.items():
            made = pl.DataFrame(list(self.made[name].values()), schema.dtypes(table))
            out[name] = add_up(name, pl.concat([self.tables[name], made]))
        used = pl.concat([out[name]["path_id"] for name in ("path_hours", "path_sketches", "hop_halves")])
        used = used.unique()
        paths = out["paths"]
        while True:  # with what stands above them, a level a turn
            parents = paths.filter(pl.col("path_id").is_in(used.implode()))["parent_id"]
            more = pl.concat([used, parents]).unique()
            if len(more) == len(used):
                break
            used = more
        out["paths"] = paths.filter(pl.col("path_id").is_in(used.implode()))
        held = pl.concat([out["paths"]["entry_id"], out["entry_hours"]["entry_id"]]).unique()
        out["entries"] = out["entries"].filter(pl.col("entry_id").is_in(held.implode()))
        return out


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

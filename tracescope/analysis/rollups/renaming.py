"""Operations under other names: one-off names collapsed, and what a service has too many of capped.

    hour, as it is sealed    its names of one shape, nearly all called once         greet jane ─► greet {id}
                             what is beyond the cap                                 GET /zebra ─► (other)
    periods, as they are     names of one shape over all that is compared: an       greet ruth ─► greet {id}
    read together            hour may hold too few of them to tell

An id is the hash of the names beside it, so what is renamed merges like any other.  Both are told from
whole rollups as sets: slices, order of arrival and the number of stores do not matter.  Raw spans keep
their names, and a rebuild makes the same of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import polars as pl

from tracescope import schema
from tracescope.analysis.rollups.merge import Tables, add_up
from tracescope.analysis.rollups.one_off import (
    FEWEST_NAMES,
    FEWEST_SENTENCES,
    MOST_CALLS,
    ONE_OFF_PART,
    templates,
)
from tracescope.analysis.rollups.path_ids import path_id
from tracescope.analysis.rollups.period import PeriodRollups

#: Distinct operations a service may have in an hour; the rest become one, OTHER.
MAX_OPERATIONS: Final = 1000
OTHER: Final = "(other)"
#: Names of a service in an hour from which on any may be collapsed.
FEWEST: Final = min(FEWEST_NAMES, FEWEST_SENTENCES)


def cap_operations(
    tables: Mapping[str, pl.DataFrame],
    limit: int | None = None,
    one_off: int | None = None,
    owners: pl.DataFrame | None = None,
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
        Operations that keep their name, `MAX_OPERATIONS` by default.
    one_off
        Names of one shape from which on those that are hardly called are collapsed, as
        `tracescope.analysis.rollups.one_off` does; `FEWEST_NAMES` by default.
    owners
        ``slot, owner``: only the names of these services; None for all.

    Returns
    -------
    Tables
        With what was renamed to OTHER counted as ``operation_capped``; names that no row uses are gone.
    """
    limit = MAX_OPERATIONS if limit is None else limit

    def calls(of: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
        every = called(of)
        if owners is None:
            return every
        return every.join(owners, on=["slot", "owner"], how="semi", maintain_order="left")

    before = calls(tables)
    names = _collapsed(before, FEWEST_NAMES if one_off is None else one_off)
    collapsed = _renamed(tables, names)
    beyond = _beyond(before if names.is_empty() else calls(collapsed), limit)
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
    fewest = min(one_off, FEWEST_SENTENCES) if one_off <= FEWEST_NAMES else one_off
    rare = (pl.col("calls") <= MOST_CALLS).sum().over("slot", "owner")
    many = called.filter(pl.len().over("slot", "owner") >= fewest, rare >= ONE_OFF_PART * fewest)
    rows: list[tuple[int, str, str, str]] = []
    for (slot, owner), group in many.partition_by("slot", "owner", as_dict=True).items():
        found = templates(dict(group.select("operation", "calls").iter_rows()), one_off, fewest)
        rows += [(int(slot), str(owner), old, new) for old, new in found.items()]
    columns = {"slot": pl.Int64, "owner": pl.String, "operation": pl.String, "name": pl.String}
    return pl.DataFrame(rows, columns, orient="row")


def renamed_owners(calls: pl.DataFrame) -> pl.DataFrame:
    """``slot, owner`` of what `cap_operations` would give other names.

    Parameters
    ----------
    calls
        Rows of `called`, of whole hours.
    """
    renamed = _collapsed(calls, FEWEST_NAMES), _beyond(calls, MAX_OPERATIONS)
    return pl.concat([rows.select("slot", "owner") for rows in renamed]).unique().sort("slot", "owner")


def called(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
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
    """Call paths, entries and edges under new names, slot by slot or in all slots alike."""

    def __init__(self, tables: Mapping[str, pl.DataFrame]) -> None:
        self.tables = tables
        self.paths = {row["path_id"]: row for row in tables["paths"].iter_rows(named=True)}
        self.entries = {row["entry_id"]: row for row in tables["entries"].iter_rows(named=True)}
        self.made: dict[str, dict[int, dict[str, Any]]] = {"paths": {}, "entries": {}}
        self.ids: dict[str, list[tuple[int, int, int]]] = {"path_id": [], "entry_id": [], "edge_id": []}

    def rename(self, slot: int, names: Mapping[tuple[str, str], str]) -> None:
        """Find the new ids of whatever `slot` has, where (owner, operation) have other `names`."""
        here = pl.col("slot") == slot
        entries = self.tables["entry_hours"].filter(here)["entry_id"].unique().to_list()
        paths = self.tables["path_hours"].filter(here)["path_id"].unique().to_list()
        self.find(slot, names, entries, paths)

    def find(
        self,
        slot: int,
        names: Mapping[tuple[str, str], str],
        entry_ids: Sequence[int],
        path_ids: Sequence[int],
    ) -> None:
        """Find the new ids of some entries and call paths in `slot`, which may be any number for all."""
        fresh: dict[int, int] = {}
        edges: dict[int, int] = {}
        entries = {number: self._entry(number, names) for number in entry_ids}
        for number in path_ids:
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
        out = self._with_ids(["slot"])
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

    def apply_everywhere(self) -> Tables:
        """The tables under ids that change in all slots; renamed ids are removed from the names."""
        out = self._with_ids([])
        for name, key in (("entries", "entry_id"), ("paths", "path_id")):
            gone = pl.Series([old for _, old, _ in self.ids[key]], dtype=pl.Int64)
            out[name] = out[name].filter(~pl.col(key).is_in(gone.implode()))
        return out

    def _with_ids(self, of: list[str]) -> Tables:
        """All rows under the new ids that are theirs, added up, with the names of both."""
        out = dict(self.tables)
        renamed = {
            name: pl.DataFrame(rows, {"slot": pl.Int64, name: pl.Int64, "new": pl.Int64}, orient="row")
            for name, rows in self.ids.items()
        }
        for name, table in schema.ROLLUPS.items():
            if name not in out:
                continue
            frame = out[name]
            for key, ids in renamed.items():
                if key in table and not ids.is_empty():
                    new = ids.select(*of, key, "new")
                    frame = frame.join(new, on=[*of, key], how="left", maintain_order="left")
                    frame = frame.with_columns(pl.coalesce("new", key).alias(key)).drop("new")
            out[name] = add_up(name, frame)
        for name, table in schema.DIMENSIONS.items():
            made = pl.DataFrame(list(self.made[name].values()), schema.dtypes(table))
            out[name] = add_up(name, pl.concat([self.tables[name], made]))
        return out


# -- periods --------------------------------------------------------------------------------------


def collapse(*periods: PeriodRollups) -> list[PeriodRollups]:
    """Periods that are read together, in which names that are called once in all of them are one.

    What each hour alone has too few of to tell (`cap_operations`), a period has many of.

    Parameters
    ----------
    periods
        One, or those that are compared: a name has one template in all.

    Returns
    -------
    list of PeriodRollups
        The same where nothing is to be renamed.
    """
    named = [_named(period.tables["paths"], period.tables["entries"]) for period in periods]
    suspects = _suspects(pl.concat(named))
    if suspects.is_empty():
        return list(periods)
    counted = pl.concat(
        _calls_in(period, names.join(suspects, on=["owner", "operation"], how="semi"))
        for period, names in zip(periods, named, strict=True)
    )
    summed = counted.group_by("owner", "operation").agg(pl.col("calls").sum()).sort("owner", "operation")
    names: dict[tuple[str, str], str] = {}
    for (owner,), group in summed.partition_by("owner", as_dict=True, maintain_order=True).items():
        found = templates(dict(group.select("operation", "calls").iter_rows()))
        names |= {(str(owner), old): new for old, new in found.items()}
    return [_under(period, names) for period in periods] if names else list(periods)


def _named(paths: pl.DataFrame, entries: pl.DataFrame) -> pl.DataFrame:
    """Operations by whose they are: ``owner, operation, path_id, entry_id, serves``, one id of the two."""
    owned = paths.filter(pl.col("kind") != schema.EDGE_QUEUE).select(
        pl.coalesce("callee", "caller").alias("owner"),
        "operation",
        "path_id",
        pl.lit(None, pl.Int64).alias("entry_id"),
        (pl.col("kind") == schema.EDGE_SELF).alias("serves"),
    )
    entered = entries.select(
        pl.col("service").alias("owner"),
        "operation",
        pl.lit(None, pl.Int64).alias("path_id"),
        "entry_id",
        pl.lit(None, pl.Boolean).alias("serves"),
    )
    return pl.concat([owned, entered]).filter(pl.col("operation") != OTHER)


def _suspects(named: pl.DataFrame) -> pl.DataFrame:
    """Operations that would be collapsed were each called once: of no others are the calls looked at."""
    names = named.select("owner", "operation").unique()
    many = names.filter(pl.len().over("owner") >= FEWEST_SENTENCES)
    rows = [
        (str(owner), operation)
        for (owner,), group in many.partition_by("owner", as_dict=True).items()
        for operation in templates(dict.fromkeys(group["operation"].to_list(), 1.0))
    ]
    return pl.DataFrame(rows, {"owner": pl.String, "operation": pl.String}, orient="row")


def _calls_in(period: PeriodRollups, suspects: pl.DataFrame) -> pl.DataFrame:
    """Calls of suspected operations in a period: ``owner, operation, calls``, as `called` counts them."""
    made: list[pl.DataFrame] = []
    if "path_hours" in period.tables:
        ids = suspects["path_id"].drop_nulls().to_list()
        calls = period.by_hour(ids, ("path_id", "calls")).group_by("path_id").agg(pl.col("calls").sum())
        made.append(suspects.join(calls, on="path_id"))
    if "entry_hours" in period.tables:
        units = period.tables["entry_hours"].group_by("entry_id").agg(pl.col("units").sum().alias("calls"))
        made.append(suspects.join(units, on="entry_id"))
    empty = suspects.clear().with_columns(calls=pl.lit(0, pl.Int64))
    serves = pl.col("serves")
    each = [pl.col("calls").filter(kind).sum() for kind in (serves, ~serves, serves.is_null())]
    return (
        pl.concat([empty, *made]).group_by("owner", "operation").agg(pl.max_horizontal(*each).alias("calls"))
    )


def _under(period: PeriodRollups, names: Mapping[tuple[str, str], str]) -> PeriodRollups:
    """A period under other names; what is read of it later too."""
    renaming = _Renaming(period.tables)
    renaming.find(0, names, list(renaming.entries), list(renaming.paths))
    if not any(renaming.ids.values()):
        return period
    entries = {old: new for _, old, new in renaming.ids["entry_id"]}
    hours = None if period.hours is None else _RenamedHours(period.hours, renaming.ids["path_id"])
    return replace(
        period,
        tables={name: frame for name, frame in renaming.apply_everywhere().items() if name in period.tables},
        hours=hours,
        long_lived=frozenset(entries.get(entry, entry) for entry in period.long_lived),
    )


@dataclass(slots=True)
class _RenamedHours:
    """Rows of every hour under new ids, read by what reads them under the old ones."""

    read: Callable[[Sequence[int], Sequence[str]], pl.DataFrame]
    renamed: Sequence[tuple[int, int, int]]

    def __call__(self, ids: Sequence[int], columns: Sequence[str]) -> pl.DataFrame:
        """Of some call paths, with some columns."""
        wanted = set(ids)
        new = {old: path for _, old, path in self.renamed if path in wanted}
        rows = self.read([*(wanted - new.keys()), *new], columns)
        if "path_id" not in columns or not new:
            return rows
        rows = rows.with_columns(pl.col("path_id").replace(new))
        keys = [name for name in schema.KEYS["path_hours"] if name in columns]
        if not set(columns) <= {*keys, *schema.HOURLY}:
            return rows  # with exemplars, of which whoever asks takes the first of all rows
        return rows.group_by(keys, maintain_order=True).agg(pl.all().sum()).select(columns)

"""Rollups merge by adding: slices, hours, workers and machines in any order.

Source: design, section 5 (rollups), section 9 (queue hops whose halves lie in different traces).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tracescope import schema
from tracescope.kernels.sketch import bin_of

Tables = dict[str, pl.DataFrame]

#: Distinct operations a service may have in an hour; the rest become OTHER.
MAX_OPERATIONS: Final = 1000
OTHER: Final = "(other)"

_EXEMPLARS: Final = ("slow_ns", "slow_hi", "slow_lo", "typical_hash", "typical_hi", "typical_lo")
_SPECIAL: Final = {
    "service_hours": {"first_ns": pl.col("first_ns").min(), "last_ns": pl.col("last_ns").max()},
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
        The waits added to path and entry rows, sketches moved, unmatched consumers counted.
    """
    mine = tables["hop_halves"].filter(pl.col("side") == 1)
    if mine.is_empty():
        return dict(tables)
    producers = halves.filter(pl.col("side") == 0).select(
        "key_hi", "key_lo", "key_span", pl.col("time_ns").alias("published_ns")
    ).unique(["key_hi", "key_lo", "key_span"], keep="first")  # fmt: skip
    joined = mine.join(producers, on=["key_hi", "key_lo", "key_span"], how="left")
    lost = joined.filter(pl.col("published_ns").is_null())
    found = joined.filter(pl.col("published_ns").is_not_null()).with_columns(
        (pl.col("time_ns") - pl.col("published_ns")).clip(0).alias("wait_ns"),
        pl.lit(schema.UNIT_MESSAGE, pl.Int8).alias("unit"),
    )
    changes: Tables = {name: schema.empty(table) for name, table in schema.ROLLUPS.items()}
    keys = ["slot", "unit", "threshold"]
    zeros = {name: pl.lit(0, pl.Int64).alias(name) for name in schema.PATH_HOURS}
    by_path = found.group_by([*keys, "path_id"]).agg(pl.col("wait_ns").sum())
    changes["path_hours"] = by_path.select(
        *[
            pl.col(name)
            if name in (*keys, "path_id")
            else pl.col("wait_ns").alias(name)
            if name in ("own_ns", "own_all_ns", "inclusive_ns", "busy_ns")
            else zeros[name]
            for name in schema.PATH_HOURS
        ]
    )
    by_entry = found.group_by([*keys, "entry_id"]).agg(pl.col("wait_ns").sum())
    changes["entry_hours"] = by_entry.select(
        *[
            pl.col(name)
            if name in (*keys, "entry_id")
            else pl.col("wait_ns").alias(name)
            if name == "clock_ns"
            else pl.lit(0, pl.Int64).alias(name)
            for name in schema.ENTRY_HOURS
        ]
    )
    waits, clocks = found["wait_ns"].to_numpy(), found["clock_ns"].to_numpy()
    changes["path_sketches"] = _moved(found, "path_id", bin_of(waits * 0), bin_of(waits))
    changes["entry_sketches"] = _moved(found, "entry_id", bin_of(clocks), bin_of(clocks + waits))
    changes["counters"] = (
        lost.group_by("slot")
        .agg(pl.len().cast(pl.Int64).alias("count"))
        .select("slot", pl.lit("unmatched_hop").alias("reason"), "count")
    )
    whole = merge([{**tables, **_no_dimensions()}, {**changes, **_no_dimensions()}])
    for name in ("path_sketches", "entry_sketches"):
        whole[name] = whole[name].filter(pl.col("count") != 0)
    return {**whole, **{name: tables[name] for name in schema.DIMENSIONS}}


def _no_dimensions() -> Tables:
    return {name: schema.empty(table) for name, table in schema.DIMENSIONS.items()}


def _moved(
    found: pl.DataFrame, key: str, before: NDArray[np.int16], after: NDArray[np.int16]
) -> pl.DataFrame:
    """Sketch rows that take a value out of one bin and put it into another."""
    name = "path_sketches" if key == "path_id" else "entry_sketches"
    rows = [
        found.select("slot", "unit", key, "threshold").with_columns(
            pl.Series("bin", bins, dtype=pl.Int16), pl.lit(count, pl.Int64).alias("count")
        )
        for bins, count in ((before, -1), (after, 1))
    ]
    return pl.concat(rows).select(list(schema.ROLLUPS[name]))


def cap_operations(tables: Mapping[str, pl.DataFrame], limit: int = MAX_OPERATIONS) -> Tables:
    """Count operations beyond a service's cap, by (calls descending, name), as the reason they are.

    Names of call paths are content-addressed, so what is beyond the cap is reported and left out of
    display (`tracescope.analysis.graph` and the reports group it as OTHER); nothing is renamed.
    """
    paths = tables["paths"]
    per = (
        tables["path_hours"]
        .group_by("slot", "path_id")
        .agg(pl.col("calls").sum())
        .join(paths.select("path_id", "callee", "operation"), on="path_id")
        .filter(pl.col("callee").is_not_null())
        .group_by("slot", "callee", "operation")
        .agg(pl.col("calls").sum())
    )
    beyond = (
        per.group_by("slot", "callee")
        .agg(pl.len().alias("operations"))
        .filter(pl.col("operations") > limit)
        .group_by("slot")
        .agg((pl.col("operations") - limit).sum().cast(pl.Int64).alias("count"))
        .select("slot", pl.lit("operation_capped").alias("reason"), "count")
    )
    if beyond.is_empty():
        return dict(tables)
    counters = add_up("counters", pl.concat([tables["counters"], beyond]))
    return {**tables, "counters": counters}


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

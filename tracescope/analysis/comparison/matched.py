"""Two periods side by side: sums of their matched blocks over the union of their call paths.

Everything that decomposes or tests takes a `Unit`: one kind of unit of work, its entries and paths,
and for both periods the weighted sums by block.  Leaving each block out in turn gives the
replicates that uncertainty is computed from.

Source: design, section 6.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tracescope import schema
from tracescope.analysis.comparison.decompose import Sums, Tree
from tracescope.analysis.comparison.missing_callees import missing_callees, rejoin
from tracescope.analysis.rollups.flows import weight
from tracescope.analysis.rollups.period import MS, PeriodRollups
from tracescope.analysis.statistics import blocks as blocking

Floats = NDArray[np.float64]
S = TypeVar("S")
T = TypeVar("T")


@dataclass(slots=True)
class Side:
    """Block sums of one period: ``(b, p)`` and ``(b, e)``.

    ``events`` are the units of work with each path ``(p,)``, ``seen`` those of each entry ``(e,)``: as
    many as were seen, not weighed.
    """

    paths: dict[str, Floats]
    entries: dict[str, Floats]
    events: Floats
    seen: Floats

    def replicates(self) -> tuple[Sums, Sums]:
        """The whole ``(1, .)``, and without each block in turn ``(b, .)``."""
        whole: dict[str, Floats] = {}
        without: dict[str, Floats] = {}
        for name, values in {**self.paths, **self.entries}.items():
            total = values.sum(axis=0, keepdims=True)
            whole[name], without[name] = total, np.maximum(total - values, 0.0)
        return tuple(  # pyright: ignore[reportReturnType]
            Sums(
                units=s["units"],
                clock=s["clock_ns"],
                calls=s["calls"],
                calls_visited=s["calls_visited"],
                visits=s["visits"],
                critical_self=s["own_ns"],
                overlap_sum=s["child_sum_ns"],
                overlap_union=s["child_union_ns"],
            )
            for s in (whole, without)
        )


PATH_SUMS: Final = (
    "calls", "calls_visited", "visits", "own_ns", "inclusive_ns", "child_sum_ns", "child_union_ns",
    "detached_calls",
)  # fmt: skip
#: ... and what they tell of failures.
FAILED_SUMS: Final = ("errors", "busy_ns", "failed_ns", "retries", "calls_in_failed", "own_in_failed_ns")
ENTRY_SUMS: Final = ("units", "clock_ns", "incomplete", "skewed", "errors", "failed_ns", "leafless")
#: What graphs and call paths sum, by table.
SUMMED: Final[Mapping[str, tuple[str, ...]]] = {
    "path_hours": (
        "calls", "visits", "detached_calls", "own_ns", "inclusive_ns", "busy_ns", "errors", "units",
    ),
    "path_sketches": ("count",),
    "entry_hours": ("units", "clock_ns"),
}  # fmt: skip


#: Columns that place a row in time and weigh it.
_ROW: Final = ("slot", "threshold")


def _dense(
    frame: pl.DataFrame, slots: blocking.Slots, key: str, index: pl.DataFrame, columns: Sequence[str]
) -> dict[str, Floats]:
    """Weighted sums by block and key as arrays ``(b, k)``.

    Added up in the order of the rows, not in that of threads: the same rows give the same bits.
    """
    size = slots.blocks * len(index)
    rows = (
        frame.lazy()
        .join(slots.frame.lazy(), on="slot", maintain_order="left")
        .join(index.lazy(), on=key, maintain_order="left")
        .select(
            (pl.col("block").cast(pl.Int64) * len(index) + pl.col("index")).alias("at"),
            (weight() * pl.col("weight")).alias("factor"),
            *columns,
        )
        .collect()
    )
    at, factor = rows["at"].to_numpy(), rows["factor"].to_numpy()
    return {
        name: np.bincount(at, rows[name].to_numpy() * factor, size)
        .astype(np.float64, copy=False)  # of no rows it counts in integers
        .reshape(slots.blocks, len(index))
        for name in columns
    }


@dataclass(frozen=True, slots=True)
class Unit:
    """One kind of unit of work, both periods, over the union of their paths.

    ``missing_callees_part`` is the largest part of one call's callees whose spans were lost and put back.
    """

    kind: int
    entries: pl.DataFrame
    paths: pl.DataFrame
    tree: Tree
    base: Side
    head: Side
    missing_callees_part: float


def _tree(paths: pl.DataFrame, entries: pl.DataFrame) -> tuple[pl.DataFrame, Tree]:
    """Paths sorted parents first, and their structure."""
    paths = paths.sort("depth", "path_id").with_row_index("index")
    by_path = paths.select("path_id", pl.col("index").cast(pl.Int64).alias("parent"))
    by_entry = entries.select("entry_id", pl.col("index").cast(pl.Int64).alias("entry"))
    linked = paths.join(by_path, left_on="parent_id", right_on="path_id", how="left", maintain_order="left")
    linked = linked.join(by_entry, on="entry_id", how="left", maintain_order="left")
    return paths, Tree(
        parent=linked["parent"].fill_null(-1).to_numpy(),
        entry=linked["entry"].to_numpy(),
        depth=linked["depth"].to_numpy().astype(np.int64),
    )


def _with_ancestors(selected: pl.DataFrame, paths: pl.DataFrame) -> pl.DataFrame:
    """Rows of `paths` that are wanted, and everything above them."""
    kept = paths.join(selected, on="path_id", how="semi")
    while True:
        above = (
            kept.select(pl.col("parent_id").alias("path_id"))
            .unique()
            .join(paths, on="path_id", how="semi")
            .join(kept, on="path_id", how="anti")
        )
        if above.is_empty():
            return kept
        kept = pl.concat([kept, paths.join(above, on="path_id", how="semi")])


def gather(
    kind: int,
    base: PeriodRollups,
    head: PeriodRollups,
    matched: blocking.Matched,
    keep_entry: Callable[[str, str], bool] | None,
) -> Unit | None:
    """Gather one kind of unit; None when neither period has any."""
    tables = [
        {
            name: period.tables[name]
            .lazy()
            .filter(pl.col("unit") == kind)
            .select(key, *_ROW, *sums)
            .collect()
            for name, key, sums in (
                ("path_hours", "path_id", (*PATH_SUMS, *FAILED_SUMS, "units")),
                ("entry_hours", "entry_id", ENTRY_SUMS),
            )
        }
        for period in (base, head)
    ]
    entries = pl.concat([period.tables["entries"] for period in (base, head)]).unique("entry_id")
    used = pl.concat([table["entry_hours"].select("entry_id") for table in tables]).unique()
    entries = entries.join(used, on="entry_id", how="semi").sort("entry_id")
    if keep_entry is not None:
        keep = [keep_entry(s, o) for s, o in entries.select("service", "operation").iter_rows()]
        entries = entries.filter(pl.Series(keep, dtype=pl.Boolean))
    if entries.is_empty():
        return None
    entries = entries.with_row_index("index")
    paths = pl.concat([period.tables["paths"] for period in (base, head)])
    paths = paths.filter(~_is_route())  # it takes no time
    paths = paths.sort("path_id", "uninstrumented").unique("path_id", keep="first")
    paths = paths.join(entries, on="entry_id", how="semi")
    seen = pl.concat([table["path_hours"].select("path_id") for table in tables]).unique()
    paths, tree = _tree(_with_ancestors(seen, paths), entries)
    sides = [
        Side(
            _dense(
                table["path_hours"],
                slots,
                "path_id",
                paths.select("path_id", "index"),
                (*PATH_SUMS, *FAILED_SUMS),
            ),
            _dense(table["entry_hours"], slots, "entry_id", entries.select("entry_id", "index"), ENTRY_SUMS),
            _seen(table["path_hours"], slots, "path_id", paths.select("path_id", "index")),
            _seen(table["entry_hours"], slots, "entry_id", entries.select("entry_id", "index")),
        )
        for table, slots in zip(tables, (matched.base, matched.head), strict=True)
    ]
    lost = rejoin(missing_callees(paths), tree, [side.paths for side in sides])
    return Unit(kind, entries, paths, tree, sides[0], sides[1], lost)


def _seen(frame: pl.DataFrame, slots: blocking.Slots, key: str, index: pl.DataFrame) -> Floats:
    """Units of work in the slots that count, as many as were seen, of each key ``(k,)``."""
    rows = (
        frame.lazy()
        .join(slots.frame.lazy().select("slot"), on="slot", how="semi")
        .group_by(key)
        .agg(pl.col("units").sum())
    )
    found = index.lazy().join(rows, on=key, how="left").sort("index").select(pl.col("units").fill_null(0))
    return found.collect()["units"].to_numpy().astype(np.float64)


def _is_route() -> pl.Expr:
    return (pl.col("kind") == schema.EDGE_QUEUE) & (pl.col("operation") == schema.QUEUE_ROUTE)


def matched_sums(
    base: PeriodRollups, head: PeriodRollups, zone: str
) -> tuple[Mapping[str, pl.DataFrame], Mapping[str, pl.DataFrame]]:
    """Both periods' tables summed over time, hours weighed as `diff` weighs them.

    One row for each key but the slot; hours that one period lacks do not count.  Whatever is summed over
    these rows is what the diff compares, and there are few of them.

    Parameters
    ----------
    base, head
        Two periods, with ``entry_hours`` and any of ``path_hours`` and ``path_sketches``.
    zone
        As for `tracescope.analysis.statistics.blocks.match`.
    """
    found = blocking.match(slots_of(base), slots_of(head), zone)
    return _summed(base, found.base), _summed(head, found.head)


def _summed(period: PeriodRollups, slots: blocking.Slots) -> Mapping[str, pl.DataFrame]:
    alike = len(slots.frame) == period.tables["entry_hours"]["slot"].n_unique()
    plain = alike and bool((slots.frame["weight"] == 1.0).all())
    factors = slots.frame.lazy().select("slot", pl.col("weight").alias("hour_weight"))
    out = {name: period.tables[name] for name in schema.DIMENSIONS}
    for name in SUMMED.keys() & period.tables.keys():
        keys = [key for key in schema.KEYS[name] if key != "slot"]
        rows = period.tables[name].lazy().select("slot", *keys, *SUMMED[name])
        if plain:
            sums = [pl.col(column).sum() for column in SUMMED[name]]
        else:
            # whole numbers add up exactly in any order; what is weighed is added up in one
            exact = (
                rows.join(factors, on="slot").group_by(*keys, "hour_weight").agg(pl.col(*SUMMED[name]).sum())
            )
            rows = exact.sort(*keys, "hour_weight")
            sums = [(pl.col(column) * pl.col("hour_weight")).sum() for column in SUMMED[name]]
        out[name] = rows.group_by(keys, maintain_order=not plain).agg(sums).sort(keys).collect()
    return out


def slots_of(period: PeriodRollups) -> blocking.Extent:
    """Its slots with data, and the units of work in each."""
    by_slot = period.tables["entry_hours"].group_by("slot").agg(pl.col("units").sum()).sort("slot")
    return blocking.Extent(
        by_slot["slot"].to_numpy().astype(np.int64),
        by_slot["units"].to_numpy().astype(np.float64),
        period.start_ns,
        period.end_ns,
        period.slot_ns,
    )


def units_seen(unit: Unit, period: PeriodRollups, slots: blocking.Slots) -> int:
    """Units of a period in the hours compared, as many as there were traces of: sampling scales them up."""
    rows = period.tables["entry_hours"].lazy().filter(pl.col("unit") == unit.kind)
    rows = rows.join(unit.entries.lazy().select("entry_id"), on="entry_id", how="semi")
    rows = rows.join(slots.frame.lazy().select("slot"), on="slot", how="semi")
    return int(rows.select(pl.col("units").sum()).collect().item())


def clock_of(unit: Unit, base: PeriodRollups, head: PeriodRollups) -> dict[str, float]:
    """Mean clock of both periods in ms, as matched and as it was (``raw``), and its change.

    ``ok`` is of units that succeeded, where that was measured.
    """
    out: dict[str, float] = {}
    for name, side, period in (("base", unit.base, base), ("head", unit.head, head)):
        units, clock = side.entries["units"].sum(), side.entries["clock_ns"].sum()
        out[f"{name}_ms"] = float(clock / units / MS) if units else 0.0
        fine = units - side.entries["errors"].sum()
        if period.failures_measured and fine > 0:
            out[f"{name}_ok_ms"] = float((clock - side.entries["failed_ns"].sum()) / fine / MS)
        rows = period.tables["entry_hours"].filter(pl.col("unit") == unit.kind)
        rows = rows.join(unit.entries.select("entry_id"), on="entry_id", how="semi")
        ((units, clock),) = rows.select((pl.col("units", "clock_ns") * weight()).sum()).rows()
        out[f"{name}_raw_ms"] = float(clock / units / MS) if units else 0.0
    out["delta_ms"] = out["head_ms"] - out["base_ms"]
    return out

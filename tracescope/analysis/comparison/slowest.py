"""The slowest part of each entry's requests: how long a request must take to belong to it.

    Monday   |..............|####|      everything from the quantile up counts
    Tuesday  |...............|###|      a slow day has its own quantile, not more requests

Each stretch of time (a day; less in short periods) has its own threshold.  One threshold for a whole
period would hide how days differ: a slow day would have more slow requests, each hardly slower than on
other days, and chance would look small.  The quantile of a sketch is read inside its bin, as if the
bin's values were spread evenly over its logarithm.

Source: design, sections 5 and 6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import polars as pl

from tracescope import schema
from tracescope.analysis.rollups.flows import weight
from tracescope.analysis.statistics.blocks import DAYS_FROM
from tracescope.analysis.statistics.sketch import PER_OCTAVE, ZERO_BIN
from tracescope.schema import DAY_NS

#: Stretches of a period that is too short for days, and requests above the quantile that one must hold.
STRETCHES: Final = 16
FEWEST_SLOW: Final = 5


def thresholds(
    sketches: pl.DataFrame, start_ns: int, end_ns: int, slot_ns: int, quantile: float
) -> pl.DataFrame:
    """The clock that a request must reach to be among the slowest.

    Parameters
    ----------
    sketches
        ENTRY_SKETCHES rows of the period.
    start_ns, end_ns, slot_ns
        The period and the length of its slots.
    quantile
        Between 0 and 1; what is above it is slow.

    Returns
    -------
    pl.DataFrame
        ``slot, entry_id, least_ns``, of every slot with requests of the entry.
    """
    days = end_ns - start_ns >= DAYS_FROM * DAY_NS
    length = DAY_NS if days else max(math.ceil((end_ns - start_ns) / STRETCHES), slot_ns)
    stretch = ((pl.col("slot") * slot_ns - start_ns).clip(0) // length).alias("stretch")
    rows = sketches.filter(pl.col("unit") == schema.UNIT_REQUEST).with_columns(stretch)
    whole = _reached(rows, ["entry_id"], quantile)
    each = _reached(rows, ["entry_id", "stretch"], quantile)
    known = each.filter(pl.col("total") * (1 - quantile) >= FEWEST_SLOW)
    slots = rows.select("slot", "entry_id", "stretch").unique()
    return (
        slots.join(known.select("entry_id", "stretch", "least_ns"), on=["entry_id", "stretch"], how="left")
        .join(whole.select("entry_id", pl.col("least_ns").alias("of_all")), on="entry_id")
        .select("slot", "entry_id", pl.coalesce("least_ns", "of_all").alias("least_ns"))
        .sort("slot", "entry_id")
    )


def _reached(rows: pl.DataFrame, keys: Sequence[str], quantile: float) -> pl.DataFrame:
    """`keys`, ``total`` counted, and ``least_ns`` at the quantile."""
    binned = (
        rows.group_by(*keys, "bin")
        .agg((pl.col("count") * weight()).sum().alias("n"), pl.col("count").sum().alias("counted"))
        .sort(*keys, "bin")
        .with_columns(
            (pl.col("n").cum_sum().over(keys) - pl.col("n")).alias("below"),
            pl.col("n").sum().over(keys).alias("all"),
            pl.col("counted").sum().over(keys).alias("total"),
            pl.col("bin").max().over(keys).alias("last"),
        )
    )
    inside = ((quantile * pl.col("all") - pl.col("below")) / pl.col("n")).clip(0, 1)
    # nothing is slower than the last bin: there is no telling its values apart, and all of it counts
    part = pl.when(pl.col("bin") == pl.col("last")).then(0.0).otherwise(inside)
    lower = (pl.col("bin") + part) / PER_OCTAVE
    least = pl.when(pl.col("bin") == ZERO_BIN).then(0.0).otherwise(2.0 ** lower.cast(pl.Float64))
    return (
        binned.filter(pl.col("below") + pl.col("n") >= quantile * pl.col("all") * (1 - 1e-9))
        .with_columns(least.ceil().cast(pl.Int64).alias("least_ns"))
        .group_by(keys, maintain_order=True)
        .first()
        .select(*keys, "total", "least_ns")
    )

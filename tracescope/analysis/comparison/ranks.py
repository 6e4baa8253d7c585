"""Ranks of durations from sketches: how often a call of head takes longer than one of base.

    base  ▂▇█▅▁.                      slower = P(head > base) + P(equal) / 2
    head      .▁▅█▇▂     0.98         0.5 when nothing changed, whatever the tail

A few requests with long tails have a mean that says little; that nearly every one of them takes longer is
plain all the same.  Sketches hold durations in bins of 4.4 %, the same bins everywhere, so ranks can be told
from them.  The error comes from blocks of time, as that of means, and is at least the one that so many
durations have by themselves.

Source: Mann & Whitney, Annals of Mathematical Statistics 18, 1947 (the statistic and its variance); Miller
1974 (the jackknife).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tracescope.analysis.statistics import blocks as blocking
from tracescope.analysis.statistics.distributions import student_cdf
from tracescope.analysis.statistics.significance import KNOWN_FROM, Spread, combine, jackknife

Floats = NDArray[np.float64]

#: A shift of ranks that is not worth an alarm: 0.6 is what 0.36 standard deviations of the logarithm give.
LEAST_SHIFT: Final = 0.1
#: Durations that either side needs: of fewer no order is unlikely.
FEWEST: Final = 4
#: Degrees of freedom of a variance that is known.
KNOWN_DOF: Final = 1e9


@dataclass(frozen=True, slots=True)
class Counts:
    """Durations counted ``(k, b, bins)`` by what they are of, block and bin, and the first bin's number."""

    table: Floats
    first: int


@dataclass(frozen=True, slots=True)
class Ranks:
    """What ranks say of each thing ``(k,)``.

    ``slower`` as above; ``shift`` its distance from a half over its standard error, of ``dof``;
    ``p_rise`` and ``p_fall`` of no rise and no fall; 1 where it is within `LEAST_SHIFT` of a half.
    """

    slower: Floats
    shift: Floats
    dof: Floats
    p_rise: Floats
    p_fall: Floats

    @staticmethod
    def nothing(size: int) -> Ranks:
        """Of things about which nothing is known."""
        one = np.ones(size)
        return Ranks(one / 2, 0 * one, one, one, one)


def counts_by_block(
    sketches: pl.DataFrame, kind: int, key: str, index: pl.DataFrame, slots: blocking.Slots
) -> Counts:
    """Durations of one kind of unit by block and bin.

    Parameters
    ----------
    sketches, kind, key
        Rows of a sketch table, the unit, and the column that names what they are of.
    index
        ``id, index``: what is counted, from 0; several ids may share a number.
    slots
        Which slots count, and their blocks.
    """
    size = int(index["index"].max() or 0) + 1 if len(index) else 0  # type: ignore[operator]
    rows = (
        sketches.lazy()
        .filter(pl.col("unit") == kind)
        .select("slot", pl.col(key).alias("id"), "bin", "count")
        .join(slots.frame.lazy().select("slot", "block"), on="slot")
        .join(index.lazy(), on="id")
        .group_by("index", "block", "bin")
        .agg(pl.col("count").sum())
        .collect()
    )
    if rows.is_empty():
        return Counts(np.zeros((size, max(slots.blocks, 1), 1)), 0)
    bins = rows["bin"].to_numpy().astype(np.int64)
    first = int(bins.min())
    table = np.zeros((size, slots.blocks, int(bins.max()) - first + 1))
    table[rows["index"].to_numpy(), rows["block"].to_numpy(), bins - first] = rows["count"].to_numpy()
    return Counts(table, first)


def rank_test(base: Counts, head: Counts, matched: blocking.Matched) -> Ranks:
    """Compare the durations of base with those of head, thing by thing.

    Of fewer days than can show how days differ nothing is told: ranks know no size that days may differ by.
    """
    few = any(slots.daily and slots.blocks < KNOWN_FROM for slots in (matched.base, matched.head))
    if few or not matched.enough:
        return Ranks.nothing(len(base.table))
    before, after = _aligned(base, head)
    total_b, total_h = before.sum(axis=1), after.sum(axis=1)
    slower = _slower(total_b, total_h)
    without_b = _slower(total_b[:, None, :] - before, total_h[:, None, :]).T
    without_h = _slower(total_b[:, None, :], total_h[:, None, :] - after).T
    spreads: list[Spread] = []
    n, m = total_b.sum(axis=1), total_h.sum(axis=1)
    for without, slots, held in (
        (without_b, matched.base, before.sum(axis=2)),
        (without_h, matched.head, after.sum(axis=2)),
    ):
        shown = jackknife(slower, without, slots.shape, 1.0, may_step=False)
        events = np.maximum(held.sum(axis=1) - 1, 1.0)
        spreads.append(Spread(shown.error, np.minimum(shown.dof, events)))
    spread = combine(*spreads)
    tied = 1 - ((total_b + total_h) ** 3).sum(axis=1) / np.maximum((n + m) ** 3, 1.0)
    least = np.sqrt(np.maximum(tied, 0.0) * (n + m + 1) / np.maximum(12 * n * m, 1.0))
    error = np.maximum(spread.error, least)
    known = (np.minimum(n, m) >= FEWEST) & np.isfinite(error) & (error > 0)
    # the variance that ranks have by themselves is known, and that of blocks is estimated
    own = least >= spread.error
    error, dof = np.where(known, error, 1.0), np.where(known, np.where(own, KNOWN_DOF, spread.dof), 1.0)
    shift = np.where(known, slower - 0.5, 0.0)
    p_rise, p_fall = (
        np.where(known & (sign * shift >= LEAST_SHIFT), student_cdf(dof, -sign * shift / error), 1.0)
        for sign in (1, -1)
    )
    return Ranks(np.where(known, slower, 0.5), shift / error, dof, p_rise, p_fall)


def _aligned(base: Counts, head: Counts) -> tuple[Floats, Floats]:
    """Both tables over the same bins, those that either has anything in."""
    first = min(base.first, head.first)
    last = max(side.first + side.table.shape[2] for side in (base, head))
    wide = [
        np.pad(side.table, ((0, 0), (0, 0), (side.first - first, last - side.first - side.table.shape[2])))
        for side in (base, head)
    ]
    used = (wide[0].sum(axis=(0, 1)) + wide[1].sum(axis=(0, 1))) > 0
    return wide[0][:, :, used], wide[1][:, :, used]


def _slower(base: Floats, head: Floats) -> Floats:
    """P(head > base) + P(equal) / 2 over the last axis; 0.5 where either is empty."""
    below = np.cumsum(base, axis=-1) - base / 2
    pairs = base.sum(axis=-1) * head.sum(axis=-1)
    over = (head * below).sum(axis=-1)
    return np.divide(
        over, pairs, out=np.full(np.broadcast_shapes(over.shape, pairs.shape), 0.5), where=pairs > 0
    )

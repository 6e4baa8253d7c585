"""Who carries a change: attribute values whose requests it falls on, ranked, with the share each explains.

    requests of a page     version 1.4   ▇▇▇▇▇▇▇▇▇   40 ms ─► 40 ms
                           version 1.5   ▇           (new)    90 ms     carries 100 % of +5 ms

Within each entry, a value's part of the change is what its requests add to the mean beyond base's:
``w1 (m1 - M0) - w0 (m0 - M0)``, with its weight and mean in both periods; over the values of one attribute
that every request carries once these add up to the change.  A value stands out where that is more than its
weight alone would bring: the covariance of carrying it and of taking long changed.  That is tested over
blocks of time, for latency and for failures, with one false discovery rate for all attributes and values.

Source: design, section 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tracescope.analysis.report import Carrier, Carriers
from tracescope.analysis.rollups.carried import Requests
from tracescope.analysis.statistics.distributions import student_cdf
from tracescope.analysis.statistics.significance import Spread, benjamini_hochberg, combine

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Values that an attribute has at most: beyond it names single things.
MOST_VALUES: Final = 40
#: Requests that carry a value in one period at least, and that a period must have.
FEWEST_CARRYING: Final = 5
FEWEST_REQUESTS: Final = 50
#: Blocks of time that the spread is seen over.
BLOCKS: Final = 16
#: What must stand out at least: a part of base's mean clock, or of all requests that fail.
LEAST_MS_PART: Final = 0.01
LEAST_FAILED: Final = 0.002
#: Values that explain a smaller part of a change are not listed.
WORTH: Final = 0.05
#: Values that so many of the requests share are carried by the same.
SAME: Final = 0.95
#: Attributes by which the same requests are told first.
PREFERRED: Final = ("service.version", "feature_flag", "tenant", "region", "shard")
#: A value that carries so much, and so few requests, is worth a word by itself.
CLEARLY: Final = 0.5
MOST_OF_REQUESTS: Final = 0.6


@dataclass(frozen=True, slots=True)
class _Side:
    """Requests of one period as arrays ``(n,)``."""

    entry: Ints
    block: Ints
    value: Floats
    weight: Floats

    def means(self, entries: int) -> tuple[Floats, Floats]:
        """Weights and means of each entry ``(e,)``."""
        total = np.bincount(self.entry, self.weight, entries).astype(np.float64)
        summed = np.bincount(self.entry, self.weight * self.value, entries)
        return total, np.divide(summed, total, out=np.zeros(entries), where=total > 0)


def find_carriers(base: Requests, head: Requests, alpha: float) -> Carriers:
    """Attribute values that carry the change from `base` to `head`, strongest first."""
    if min(len(base.units), len(head.units)) < FEWEST_REQUESTS:
        return Carriers(len(base.units), len(head.units), 0.0, 0.0, (), ("too few requests to tell",))
    entries = (
        pl.concat([side.units.select("service", "operation") for side in (base, head)])
        .unique()
        .sort("service", "operation")
        .with_row_index("entry")
    )
    carried = _carried(base, head)
    changes: dict[str, float] = {}
    tested: list[tuple[str, list[tuple[Carrier, float]]]] = []
    for measure in ("ms", "failed"):
        sides = [_side(one, entries, measure) for one in (base, head)]
        change, rows = _test(measure, (sides[0], sides[1]), carried, len(entries))
        changes[measure] = change
        tested.append((measure, rows))
    q = iter(benjamini_hochberg(np.array([p for _, rows in tested for _, p in rows], np.float64)).tolist())
    found: list[tuple[Carrier, Ints]] = []
    for _, rows in tested:
        for (carrier, _), one in zip(rows, carried, strict=True):
            value = next(q)
            small = carrier.explained is not None and abs(carrier.explained) < WORTH
            if value <= alpha and not small:
                found.append((carrier.with_q(value), one.units[1]))
    found.sort(key=lambda pair: (pair[0].measure != "latency", -abs(pair[0].carries), _preference(pair[0])))
    return Carriers(len(base.units), len(head.units), changes["ms"], changes["failed"], _merged(found))


def _side(requests: Requests, entries: pl.DataFrame, measure: str) -> _Side:
    units = requests.units.join(entries, on=["service", "operation"], how="left", maintain_order="left")
    order = np.argsort(units["start_ns"].to_numpy(), kind="stable")
    block = np.empty(len(units), np.int64)
    block[order] = np.arange(len(units)) * BLOCKS // len(units)
    return _Side(
        units["entry"].to_numpy().astype(np.int64),
        block,
        units[measure].cast(pl.Float64).to_numpy(),
        units["weight"].to_numpy(),
    )


@dataclass(frozen=True, slots=True)
class _Value:
    """An attribute's value, and positions of the requests of base and head that carry it."""

    service: str
    key: str
    value: str
    units: tuple[Ints, Ints]


def _carried(base: Requests, head: Requests) -> list[_Value]:
    """Values of attributes with few of them, that some requests carry and some do not."""
    names = ["service", "key", "value"]
    both = [side.values.group_by(names).agg("unit") for side in (base, head)]
    joined = both[0].join(both[1], on=names, how="full", coalesce=True, suffix="_head", nulls_equal=True)
    counts = joined.group_by("service", "key").len()
    few = counts.filter(pl.col("len") <= MOST_VALUES)
    joined = joined.join(few, on=["service", "key"], how="semi", nulls_equal=True).sort(names)
    out: list[_Value] = []
    nothing = np.empty(0, np.int64)
    sizes = len(base.units), len(head.units)
    for service, key, value, of_base, of_head in joined.select(*names, "unit", "unit_head").iter_rows():
        units = tuple(
            nothing if each is None else np.array(sorted(each), np.int64) for each in (of_base, of_head)
        )
        if max(map(len, units)) < FEWEST_CARRYING or (len(units[0]), len(units[1])) == sizes:
            continue
        out.append(_Value(service, key, value, (units[0], units[1])))
    return out


def _test(
    measure: str, sides: tuple[_Side, _Side], carried: Sequence[_Value], entries: int
) -> tuple[float, list[tuple[Carrier, float]]]:
    """The change within entries, and each value's part of it with the p-value of what stands out."""
    base, head = sides
    of_base, of_head = base.means(entries), head.means(entries)
    both = (of_base[0] > 0) & (of_head[0] > 0)
    share = np.where(both, of_base[0] / of_base[0].sum() + of_head[0] / of_head[0].sum(), 0.0)
    share = share / max(share.sum(), 1e-300)
    change = float((share * (of_head[1] - of_base[1])).sum())
    mean = float((share * of_base[1]).sum())
    least = LEAST_MS_PART * mean if measure == "ms" else LEAST_FAILED
    out: list[tuple[Carrier, float]] = []
    for one in carried:
        parts, shown, spreads, weights, means = [], [], [], [], []
        for side, units, (total, middle) in zip(sides, one.units, (of_base, of_head), strict=True):
            entry, weight, value = side.entry[units], side.weight[units], side.value[units]
            scale = np.divide(share, total, out=np.zeros(entries), where=total > 0)
            part = np.bincount(entry, weight, entries) * scale  # of all requests, by entry, that carry it
            parts.append(float((scale[entry] * weight * (value - of_base[1][entry])).sum()))
            weights.append(float(part.sum()))
            means.append(
                float((scale[entry] * weight * value).sum() / part.sum()) if part.sum() > 0 else None
            )
            of_entry = np.divide(part, share, out=np.zeros(entries), where=share > 0)
            z = -of_entry[side.entry] * scale[side.entry] * side.weight * (side.value - middle[side.entry])
            z[units] += scale[entry] * weight * (value - middle[entry])
            blocks = np.bincount(side.block, z, BLOCKS)
            shown.append(float(blocks.sum()))
            error = np.sqrt(BLOCKS / (BLOCKS - 1) * ((blocks - blocks.mean()) ** 2).sum())
            spreads.append(Spread(np.array([error]), np.array([BLOCKS - 1.0])))
        spread = combine(*spreads)
        stands_out = shown[1] - shown[0]
        error, dof = spread.error.item(), spread.dof.item()
        size = abs(stands_out) - least
        t = size / error if error > 0 else np.sign(size) * np.inf
        p = 2 * float(student_cdf(dof, -t)) if size > 0 else 1.0
        carries = parts[1] - parts[0]
        explained = carries / change if abs(change) > least else None
        out.append(
            (
                Carrier(
                    "latency" if measure == "ms" else "errors", one.service, one.key, one.value,
                    weights[0], weights[1], means[0], means[1], carries, explained, stands_out,
                ),
                p,
            )
        )  # fmt: skip
    return change, out


def _preference(carrier: Carrier) -> tuple[int, str, str, str]:
    at = next((n for n, word in enumerate(PREFERRED) if word in carrier.key), len(PREFERRED))
    return at, carrier.key, carrier.service, carrier.value


def _merged(ranked: Sequence[tuple[Carrier, Ints]]) -> tuple[Carrier, ...]:
    """Values that hardly differ in the requests that carry them as one, under the name that says most."""
    groups: list[list[tuple[Carrier, Ints]]] = []
    for carrier, units in ranked:
        for group in groups:
            first, others = group[0]
            common = len(np.intersect1d(units, others, assume_unique=True))
            if first.measure == carrier.measure and common >= SAME * max(len(units), len(others), 1):
                group.append((carrier, units))
                break
        else:
            groups.append([(carrier, units)])
    out: list[Carrier] = []
    for group in groups:
        first, *rest = sorted((carrier for carrier, _ in group), key=_preference)
        out.append(first.with_also(tuple(one.name for one in rest)))
    return tuple(out)


def clear_carrier(carriers: Carriers) -> Carrier | None:
    """The value that clearly carries most of a rise, and few requests; None where none does."""
    for one in carriers.carriers:
        much = one.explained is not None and one.explained >= CLEARLY
        if much and one.carries > 0 and one.weight_head <= MOST_OF_REQUESTS:
            return one
    return None

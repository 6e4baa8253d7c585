"""`diff`: which edges take more of the clock in HEAD than in BASE, why, and how sure that is.

    rollups of two periods ─► matched slots, blocks ─► sums per (replicate, path)
        ─► mix + effects per path (exact) ─► edges ─► intervals, false discovery rate ─► Report

Pure: frames in, `Report` out.  Effects over all edges and mix add up to the change of the mean
clock to within 1e-9 of it.

Source: design, section 6.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tracescope import schema
from tracescope.analysis import blocks as blocking
from tracescope.analysis.decompose import Sums, Tree, decompose, mix
from tracescope.errors import InsufficientDataError
from tracescope.kernels.sketch import middle_of

Floats = NDArray[np.float64]

MS: Final = 1e6
#: Effects of an edge, in the order they are shown; `latency_growth` and `latency_load` need a load model.
EFFECTS: Final = ("calls", "latency_unsplit", "criticality", "new", "gone", "transient")
#: A change under this part of base's clock is not worth an alarm.
MIN_EFFECT_PART: Final = 0.005
FEWEST_UNITS: Final = 10
#: A block this many deviations above the median is an outlier, if few are and none is the last.
TRANSIENT_DEVIATIONS: Final = 6.0
TRANSIENT_PART: Final = 0.1
#: A change of the detached part beyond this says the blocking rule changed, not the work.
DETACHED_CHANGE: Final = 0.05
#: Units that could not be put together beyond this part are worth a word on every output.
INCOMPLETE_PART: Final = 0.2


@dataclass(frozen=True, slots=True)
class Period:
    """Rollups of one period; tables as in `schema.ROLLUPS` and `schema.DIMENSIONS`."""

    start_ns: int
    end_ns: int
    slot_ns: int
    environment: str
    tables: Mapping[str, pl.DataFrame]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Options:
    """How to compare.

    ``min_effect_ms`` None is `MIN_EFFECT_PART` of base's clock.  ``keep_entry`` and ``keep_edge``
    narrow what is compared and what is listed.
    """

    alpha: float = 0.05
    min_effect_ms: float | None = None
    zone: str = "UTC"
    keep_entry: Callable[[str, str], bool] | None = None


@dataclass(frozen=True, slots=True)
class Extent:
    """One period as it was compared."""

    start_ns: int
    end_ns: int
    units: float
    hours: float
    blocks: int


@dataclass(frozen=True, slots=True)
class Edge:
    """One edge's change; milliseconds are per unit of work, ``ci`` 95 % or None.

    ``share_ci`` is of the share's change, ``credited_ms_ci`` of the credited milliseconds.
    ``shrunk_ms`` is what noise leaves of the credited milliseconds; it ranks what is not significant.
    """

    unit: str
    kind: str
    caller: str
    callee: str | None
    operation: str | None
    uninstrumented: bool
    share_base: float
    share_head: float
    share_ci: tuple[float, float] | None
    own_ms_base: float
    own_ms_head: float
    inclusive_ms_base: float
    inclusive_ms_head: float
    credited_ms: float
    credited_ms_ci: tuple[float, float] | None
    shrunk_ms: float
    q_value: float | None
    significant: bool
    effects: dict[str, float]
    effects_ci: dict[str, tuple[float, float] | None]
    calls_per_unit_base: float
    calls_per_unit_head: float
    note: str | None
    exemplars_base: tuple[str, ...]
    exemplars_head: tuple[str, ...]

    @property
    def name(self) -> str:
        """As a person would write it: ``orders -> postgresql/orders``."""
        return f"{self.caller} (itself)" if self.callee is None else f"{self.caller} -> {self.callee}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry's change."""

    unit: str
    service: str
    operation: str
    units_base: float
    units_head: float
    ms_base: float | None
    ms_head: float | None
    p95_base_ms: float | None
    p95_head_ms: float | None
    weight_base: float
    weight_head: float
    mix_ms: float
    state: str


@dataclass(frozen=True, slots=True)
class Report:
    """What every surface renders.

    ``clock`` has ``base_ms, head_ms, delta_ms, delta_mix_adjusted_ms, base_raw_ms, head_raw_ms``;
    ``message_clocks`` the same for message and detached units by unit.
    """

    environment: str
    notes: tuple[str, ...]
    base: Extent
    head: Extent
    clock: dict[str, float]
    other_clocks: dict[str, dict[str, float]]
    state: str
    stage: str | None
    reasons: tuple[str, ...]
    edges: tuple[Edge, ...]
    entries: tuple[Entry, ...]
    effects_total: dict[str, float]
    rejected: dict[str, int] = field(default_factory=dict[str, int])
    min_effect_ms: float = 0.0
    alpha: float = 0.05
    edges_in_all: int = 0


@dataclass(slots=True)
class _Side:
    """Block sums of one period: ``(b, p)`` and ``(b, e)``."""

    paths: dict[str, Floats]
    entries: dict[str, Floats]

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
                own=s["own_ns"],
                overlap_sum=s["child_sum_ns"],
                overlap_union=s["child_union_ns"],
            )
            for s in (whole, without)
        )


_PATH_SUMS: Final = (
    "calls", "calls_visited", "visits", "own_ns", "inclusive_ns", "child_sum_ns", "child_union_ns",
    "detached_calls",
)  # fmt: skip
_ENTRY_SUMS: Final = ("units", "clock_ns", "incomplete", "skewed", "errors")


def _weight() -> pl.Expr:
    """Units that one unit with this sampling threshold stands for."""
    full = float(2**56)
    return (
        pl.when(pl.col("threshold") <= 0)
        .then(1.0)
        .otherwise(full / (full - pl.col("threshold").cast(pl.Float64)))
    )


def _dense(
    frame: pl.DataFrame, slots: blocking.Slots, key: str, index: pl.DataFrame, columns: Sequence[str]
) -> dict[str, Floats]:
    """Weighted sums by block and key as arrays ``(b, k)``."""
    size = slots.blocks * len(index)
    factor = (_weight() * pl.col("weight")).alias("factor")
    summed = (
        frame.lazy()
        .join(slots.frame.lazy(), on="slot")
        .with_columns(factor)
        .group_by("block", key)
        .agg((pl.col(name) * pl.col("factor")).sum() for name in columns)
        .join(index.lazy(), on=key)
        .collect()
    )
    at = (summed["block"].to_numpy().astype(np.int64) * len(index)) + summed["index"].to_numpy()
    out: dict[str, Floats] = {}
    for name in columns:
        values = np.zeros(size)
        values[at] = summed[name].to_numpy()
        out[name] = values.reshape(slots.blocks, len(index))
    return out


@dataclass(frozen=True, slots=True)
class _Unit:
    """One kind of unit of work, both periods, over the union of their paths."""

    kind: int
    entries: pl.DataFrame
    paths: pl.DataFrame
    tree: Tree
    base: _Side
    head: _Side


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


def _with_ancestors(wanted: pl.DataFrame, paths: pl.DataFrame) -> pl.DataFrame:
    """Rows of `paths` that are wanted, and everything above them."""
    found = paths.join(wanted, on="path_id", how="semi")
    while True:
        above = (
            found.select(pl.col("parent_id").alias("path_id"))
            .unique()
            .join(paths, on="path_id", how="semi")
            .join(found, on="path_id", how="anti")
        )
        if above.is_empty():
            return found
        found = pl.concat([found, paths.join(above, on="path_id", how="semi")])


def _unit(kind: int, base: Period, head: Period, matched: blocking.Matched, options: Options) -> _Unit | None:
    """Gather one kind of unit; None when neither period has any."""
    tables = [
        {name: period.tables[name].filter(pl.col("unit") == kind) for name in ("path_hours", "entry_hours")}
        for period in (base, head)
    ]
    entries = pl.concat([period.tables["entries"] for period in (base, head)]).unique("entry_id")
    used = pl.concat([table["entry_hours"].select("entry_id") for table in tables]).unique()
    entries = entries.join(used, on="entry_id", how="semi").sort("entry_id")
    if options.keep_entry is not None:
        keep = [options.keep_entry(s, o) for s, o in entries.select("service", "operation").iter_rows()]
        entries = entries.filter(pl.Series(keep, dtype=pl.Boolean))
    if entries.is_empty():
        return None
    entries = entries.with_row_index("index")
    paths = pl.concat([period.tables["paths"] for period in (base, head)])
    paths = paths.sort("path_id", "uninstrumented").unique("path_id", keep="first")
    paths = paths.join(entries, on="entry_id", how="semi")
    seen = pl.concat([table["path_hours"].select("path_id") for table in tables]).unique()
    paths, tree = _tree(_with_ancestors(seen, paths), entries)
    sides = [
        _Side(
            _dense(table["path_hours"], slots, "path_id", paths.select("path_id", "index"), _PATH_SUMS),
            _dense(table["entry_hours"], slots, "entry_id", entries.select("entry_id", "index"), _ENTRY_SUMS),
        )
        for table, slots in zip(tables, (matched.base, matched.head), strict=True)
    ]
    return _Unit(kind, entries, paths, tree, sides[0], sides[1])


def _stack(whole: Sums, without: Sums) -> Sums:
    return Sums(
        **{
            name: np.concatenate([getattr(whole, name), getattr(without, name)])
            for name in Sums.__dataclass_fields__
        }
    )


def _repeat(whole: Sums, times: int) -> Sums:
    return Sums(
        **{name: np.repeat(getattr(whole, name), times, axis=0) for name in Sums.__dataclass_fields__}
    )


@dataclass(frozen=True, slots=True)
class _Split:
    """Effects per edge: the whole ``(k,)`` and without each block ``(b, k)`` of either period."""

    edge: NDArray[np.int64]
    edges: pl.DataFrame
    whole: dict[str, Floats]
    without_base: dict[str, Floats]
    without_head: dict[str, Floats]
    mix: Floats


def _split(unit: _Unit) -> _Split:
    """Decompose with every replicate, and add paths up to edges."""
    base, head = unit.base.replicates(), unit.head.replicates()
    n_base, n_head = len(base[1].units), len(head[1].units)
    sums_b = _stack(_stack(base[0], base[1]), _repeat(base[0], n_head))
    sums_h = _stack(_stack(head[0], _repeat(head[0], n_base)), head[1])
    effects = decompose(sums_b, sums_h, unit.tree)
    effects = _pair_renamed(effects, unit)
    names = ["kind", "caller", "callee", "operation"]
    edges = (
        unit.paths.group_by(names)
        .agg(pl.col("uninstrumented").any())
        .sort(names, nulls_last=True)
        .with_row_index("edge")
    )
    edge = unit.paths.join(edges, on=names, how="left", nulls_equal=True, maintain_order="left")["edge"]
    number = edge.to_numpy().astype(np.int64)

    def by_edge(values: Floats) -> Floats:
        out = np.zeros((values.shape[0], len(edges)))
        np.add.at(out.T, number, values.T)
        return out / MS

    summed = {name: by_edge(values) for name, values in effects.items()}
    shift, _ = mix(base[0], head[0])
    return _Split(
        number,
        edges,
        {name: values[0] for name, values in summed.items()},
        {name: values[1 : 1 + n_base] for name, values in summed.items()},
        {name: values[1 + n_base :] for name, values in summed.items()},
        shift[0] / MS,
    )


def _pair_renamed(effects: dict[str, Floats], unit: _Unit) -> dict[str, Floats]:
    """Net a new and a gone path under one caller with the same leaf: a rename, not a change."""
    new, gone = effects["new"], effects["gone"]
    fresh, lost = np.flatnonzero(new[0]), np.flatnonzero(gone[0])
    if not len(fresh) or not len(lost):
        return effects
    rows = unit.paths.select("parent_id", "kind", "callee", "operation").rows()
    latency = effects["latency"]
    for a in fresh.tolist():
        parent, kind, callee, operation = rows[a]
        for b in lost.tolist():
            p, k, c, o = rows[b]
            if p != parent or k != kind or not (c == callee or o == operation):
                continue
            net = new[:, a] + gone[:, b]
            latency[:, a] += net
            new[:, a], gone[:, b] = 0.0, 0.0
            lost = lost[lost != b]
            break
    return effects


def _transient(unit: _Unit, slot_ns: int) -> Floats:
    """What a few blocks carry, per path, on the mean clock; head less base, in ms ``(p,)``."""
    out = np.zeros(len(unit.paths))
    if slot_ns < schema.HOUR_NS:
        return out
    both = [side.entries["units"].sum(axis=0) for side in (unit.base, unit.head)]
    weight = sum(u / max(u.sum(), 1e-300) for u in both) / 2
    weight = np.where((both[0] > 0) & (both[1] > 0), weight, 0.0)
    for sign, side in ((-1.0, unit.base), (1.0, unit.head)):
        units = side.entries["units"][:, unit.tree.entry]
        blocks = len(units)
        if blocks < 8:
            continue
        visits, own = side.paths["visits"], side.paths["own_ns"]
        value = np.divide(own, visits, out=np.zeros_like(own), where=visits > 0)
        middle = np.median(value, axis=0)
        deviation = 1.4826 * np.median(np.abs(value - middle), axis=0)
        far = value > middle + np.maximum(TRANSIENT_DEVIATIONS * deviation, 0.25 * middle)
        few = (far.sum(axis=0) <= max(1, TRANSIENT_PART * blocks)) & (middle > 0) & ~far[-1]
        excess = np.where(far & few, (value - middle) * visits, 0.0).sum(axis=0)
        out += sign * excess / np.maximum(units.sum(axis=0), 1e-300) * weight[unit.tree.entry]
    return out / MS


def _quantiles(period: Period, kind: int) -> dict[int, float]:
    """95th percentile of every entry's clock in ms, at most 2.2 % off, by entry id."""
    rows = (
        period.tables["entry_sketches"]
        .lazy()
        .filter(pl.col("unit") == kind)
        .group_by("entry_id", "bin", "threshold")
        .agg(pl.col("count").sum())
        .group_by("entry_id", "bin")
        .agg((pl.col("count") * _weight()).sum().alias("n"))
        .sort("entry_id", "bin")
        .with_columns(
            pl.col("n").cum_sum().over("entry_id").alias("reached"),
            pl.col("n").sum().over("entry_id").alias("total"),
        )
        .filter(pl.col("reached") >= 0.95 * pl.col("total"))
        .group_by("entry_id")
        .agg(pl.col("bin").min())
        .collect()
    )
    values = middle_of(rows["bin"].to_numpy()) / MS
    return dict(zip(rows["entry_id"].to_list(), values.tolist(), strict=True))


def _exemplars(period: Period, kind: int, path_ids: Sequence[int]) -> tuple[str, ...]:
    """Trace ids of the slowest and of a typical call on some paths."""
    rows = period.tables["path_hours"]
    if "slow_ns" not in rows.columns:
        return ()
    rows = rows.filter((pl.col("unit") == kind) & pl.col("path_id").is_in(path_ids) & (pl.col("calls") > 0))
    if rows.is_empty():
        return ()
    slow = rows.sort("slow_ns", "slow_hi", "slow_lo", descending=[True, False, False]).row(0, named=True)
    drawn = rows.filter(pl.col("typical_hash") > 0)
    ids = [(slow["slow_hi"], slow["slow_lo"])]
    if not drawn.is_empty():
        typical = drawn.sort("typical_hash", "typical_hi", "typical_lo").row(0, named=True)
        ids.append((typical["typical_hi"], typical["typical_lo"]))
    return tuple(dict.fromkeys(trace_hex(hi, lo) for hi, lo in ids))


def trace_hex(hi: int, lo: int) -> str:
    """A trace id as 32 hex digits."""
    return f"{hi & (2**64 - 1):016x}{lo & (2**64 - 1):016x}"


def _check_enough(base: Period, head: Period) -> None:
    for name, period in (("BASE", base), ("HEAD", head)):
        hours = period.tables["entry_hours"]
        units = int(hours.filter(pl.col("unit") == schema.UNIT_REQUEST)["units"].sum())
        if units == 0:
            units = int(hours["units"].sum())
        if units < FEWEST_UNITS:
            raise InsufficientDataError(
                f"insufficient data: {name} has {units} units of work; at least {FEWEST_UNITS} are needed",
                "`tracescope status` shows what the store holds; choose a longer period",
            )


def diff(base: Period, head: Period, options: Options = Options()) -> Report:
    """Compare two periods.

    Parameters
    ----------
    base, head
        Their rollups.
    options
        See `Options`.

    Raises
    ------
    InsufficientDataError
        A period holds fewer than `FEWEST_UNITS` units of work.
    """
    _check_enough(base, head)
    matched = blocking.match(_slots(base), _slots(head), options.zone)
    units = {kind: _unit(kind, base, head, matched, options) for kind in range(len(schema.UNIT_NAMES))}
    requests = units[schema.UNIT_REQUEST]
    if requests is None:
        raise InsufficientDataError(
            "insufficient data: no requests in either period", "only messages or detached work were seen"
        )
    notes = [*dict.fromkeys((*base.notes, *head.notes)), *matched.notes]
    splits = {kind: _split(unit) for kind, unit in units.items() if unit is not None}
    clock = _clock(requests, base, head)
    clock["delta_mix_adjusted_ms"] = clock["delta_ms"] - float(splits[schema.UNIT_REQUEST].mix.sum())
    minimum = options.min_effect_ms
    if minimum is None:
        minimum = MIN_EFFECT_PART * clock["base_ms"]
    edges: list[Edge] = []
    for kind, split in splits.items():
        unit = units[kind]
        assert unit is not None
        floor = (
            minimum if kind == schema.UNIT_REQUEST else MIN_EFFECT_PART * _clock(unit, base, head)["base_ms"]
        )
        edges += _edges(unit, split, base, head, matched, floor)
    edges = _significance(edges, options.alpha)
    total = {name: sum(e.effects[name] for e in edges if e.unit == "request") for name in EFFECTS}
    total["mix"] = float(splits[schema.UNIT_REQUEST].mix.sum())
    entries = [
        entry for kind, unit in units.items() if unit for entry in _entries(unit, splits[kind], base, head)
    ]
    notes += _data_notes(requests, base, head, matched)
    per_request = _units_per_request(units)
    ranked = sorted(edges, key=lambda e: _rank(e, per_request))
    state, reasons = _verdict(ranked, clock, matched)
    return Report(
        environment=head.environment or base.environment,
        notes=tuple(notes),
        base=_extent(base, requests.base, matched.base),
        head=_extent(head, requests.head, matched.head),
        clock=clock,
        other_clocks={
            schema.UNIT_NAMES[kind]: _clock(unit, base, head)
            for kind, unit in units.items()
            if unit is not None and kind != schema.UNIT_REQUEST
        },
        state=state,
        stage=None,
        reasons=reasons,
        edges=tuple(ranked),
        entries=tuple(entries),
        effects_total=total,
        min_effect_ms=minimum,
        alpha=options.alpha,
        edges_in_all=len(ranked),
    )


def _slots(period: Period) -> blocking.Extent:
    """Its slots with data, and the units of work in each."""
    by_slot = period.tables["entry_hours"].group_by("slot").agg(pl.col("units").sum()).sort("slot")
    return blocking.Extent(
        by_slot["slot"].to_numpy().astype(np.int64),
        by_slot["units"].to_numpy().astype(np.float64),
        period.start_ns,
        period.end_ns,
        period.slot_ns,
    )


def _units_per_request(units: Mapping[int, _Unit | None]) -> dict[str, float]:
    """Units of each kind for one request in head, so that their milliseconds can be ranked together."""
    counts = {
        schema.UNIT_NAMES[kind]: float(unit.head.entries["units"].sum() + unit.base.entries["units"].sum())
        for kind, unit in units.items()
        if unit is not None
    }
    requests = max(counts.get("request", 1.0), 1e-300)
    return {name: count / requests for name, count in counts.items()}


def _rank(edge: Edge, per_request: Mapping[str, float]) -> tuple[Any, ...]:
    """Significant rises by their size; then the rest by what noise leaves of them."""
    worse = edge.significant and edge.credited_ms > 0
    size = edge.credited_ms if edge.significant else edge.shrunk_ms
    names = edge.caller, edge.callee or "", edge.operation or "", edge.kind, edge.unit
    return not worse, -size * per_request[edge.unit], -edge.credited_ms, *names


def _shrink(value: Floats, error: Floats) -> Floats:
    """Positive-part shrinkage ``value * (1 - (error / value)^2)`` towards nothing, elementwise.

    What is within one standard error of zero is zero; what has no error is what it is.

    Source: Efron & Morris, "Stein's estimation rule and its competitors", JASA 68, 1973.
    """
    known = np.where(np.isfinite(error), error, 0.0)
    part = np.divide(known, np.abs(value), out=np.ones_like(value), where=value != 0)
    return value * np.maximum(1 - part**2, 0.0)


def _clock(unit: _Unit, base: Period, head: Period) -> dict[str, float]:
    out: dict[str, float] = {}
    for name, side, period in (("base", unit.base, base), ("head", unit.head, head)):
        units, clock = side.entries["units"].sum(), side.entries["clock_ns"].sum()
        out[f"{name}_ms"] = float(clock / units / MS) if units else 0.0
        rows = period.tables["entry_hours"].filter(pl.col("unit") == unit.kind)
        rows = rows.join(unit.entries.select("entry_id"), on="entry_id", how="semi")
        sums = rows.select(
            (pl.col("units") * _weight()).sum(), (pl.col("clock_ns") * _weight()).sum().alias("c")
        ).row(0)
        out[f"{name}_raw_ms"] = float(sums[1] / sums[0] / MS) if sums[0] else 0.0
    out["delta_ms"] = out["head_ms"] - out["base_ms"]
    return out


def _extent(period: Period, side: _Side, slots: blocking.Slots) -> Extent:
    return Extent(
        period.start_ns,
        period.end_ns,
        float(side.entries["units"].sum()),
        len(slots.frame) * period.slot_ns / schema.HOUR_NS,
        slots.blocks,
    )


def _interval(middle: float, error: float, quantile: float) -> tuple[float, float] | None:
    low, high = middle - quantile * error, middle + quantile * error
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None


def _edges(
    unit: _Unit, split: _Split, base: Period, head: Period, matched: blocking.Matched, minimum: float
) -> list[Edge]:
    """Rows of one kind of unit; significance is decided over all kinds together."""
    from scipy.special import stdtr, stdtrit

    transient = np.zeros(len(split.edges))
    np.add.at(transient, split.edge, _transient(unit, min(base.slot_ns, head.slot_ns)))
    parts = ("calls", "latency", "criticality", "new", "gone")

    def credited(effects: dict[str, Floats]) -> Floats:
        return sum((effects[name] for name in parts), np.zeros(1))

    def spread(pick: Callable[[dict[str, Floats]], Floats]) -> blocking.Spread:
        whole = pick(split.whole)
        return blocking.combine(
            blocking.jackknife(whole, pick(split.without_base)),
            blocking.jackknife(whole, pick(split.without_head)),
        )

    total = credited(split.whole) - transient
    error = spread(credited)
    shrunk = _shrink(total, error.error)
    enough = min(matched.base.blocks, matched.head.blocks) >= blocking.FEWEST_BLOCKS
    quantile = stdtrit(error.freedom, 0.975)
    t = np.divide(
        np.abs(total) - minimum, error.error, out=np.where(np.abs(total) > minimum, np.inf, -np.inf),
        where=error.error > 0,
    )  # fmt: skip
    p = np.where(np.isfinite(error.error), stdtr(error.freedom, -t), 1.0) if enough else np.ones(len(total))
    share, share_error = _shares(unit, split)
    share_quantile = stdtrit(share_error.freedom, 0.975)
    spreads = {name: spread(lambda effects, name=name: effects[name]) for name in parts}
    sums = [
        {name: _by_edge(side.paths[name].sum(axis=0), split) for name in _PATH_SUMS}
        for side in (unit.base, unit.head)
    ]
    units = [max(side.entries["units"].sum(), 1e-300) for side in (unit.base, unit.head)]
    clocks = [max(side.entries["clock_ns"].sum(), 1e-300) for side in (unit.base, unit.head)]
    out: list[Edge] = []
    by_edge = unit.paths.with_columns(pl.Series("edge", split.edge)).group_by("edge").agg("path_id")
    path_ids = dict(by_edge.iter_rows())
    for row in split.edges.iter_rows(named=True):
        k = row["edge"]
        effects = {
            "calls": float(split.whole["calls"][k]),
            "latency_unsplit": float(split.whole["latency"][k] - transient[k]),
            "criticality": float(split.whole["criticality"][k]),
            "new": float(split.whole["new"][k]),
            "gone": float(split.whole["gone"][k]),
            "transient": float(transient[k]),
        }
        intervals = {
            ("latency_unsplit" if name == "latency" else name): _interval(
                effects["latency_unsplit" if name == "latency" else name],
                float(spreads[name].error[k]),
                float(stdtrit(spreads[name].freedom[k], 0.975)),
            )
            if enough
            else None
            for name in parts
        }
        detached = [s["detached_calls"][k] / s["calls"][k] if s["calls"][k] else 0.0 for s in sums]
        changed = (
            sums[0]["calls"][k] > 0 < sums[1]["calls"][k] and abs(detached[1] - detached[0]) > DETACHED_CHANGE
        )
        out.append(
            Edge(
                unit=schema.UNIT_NAMES[unit.kind],
                kind=schema.EDGE_KINDS[row["kind"]],
                caller=row["caller"],
                callee=row["callee"],
                operation=row["operation"],
                uninstrumented=row["uninstrumented"],
                share_base=float(sums[0]["own_ns"][k] / clocks[0]),
                share_head=float(sums[1]["own_ns"][k] / clocks[1]),
                share_ci=_interval(float(share[k]), float(share_error.error[k]), float(share_quantile[k]))
                if enough
                else None,
                own_ms_base=float(sums[0]["own_ns"][k] / units[0] / MS),
                own_ms_head=float(sums[1]["own_ns"][k] / units[1] / MS),
                inclusive_ms_base=float(sums[0]["inclusive_ns"][k] / units[0] / MS),
                inclusive_ms_head=float(sums[1]["inclusive_ns"][k] / units[1] / MS),
                credited_ms=float(total[k]),
                credited_ms_ci=_interval(float(total[k]), float(error.error[k]), float(quantile[k]))
                if enough
                else None,
                shrunk_ms=float(shrunk[k]),
                q_value=None if changed else float(p[k]),
                significant=False,
                effects=effects,
                effects_ci=intervals,
                calls_per_unit_base=float(sums[0]["calls"][k] / units[0]),
                calls_per_unit_head=float(sums[1]["calls"][k] / units[1]),
                note="blocking rule changed" if changed else None,
                exemplars_base=_exemplars(base, unit.kind, path_ids[k]),
                exemplars_head=_exemplars(head, unit.kind, path_ids[k]),
            )
        )
    return out


def _shares(unit: _Unit, split: _Split) -> tuple[Floats, blocking.Spread]:
    """Change of every edge's share of all critical time ``(k,)``, and its spread."""
    spreads: list[blocking.Spread] = []
    wholes: list[Floats] = []
    for side in (unit.base, unit.head):
        own, clock = side.paths["own_ns"], side.entries["clock_ns"].sum(axis=1)
        by_edge = np.zeros((len(own), len(split.edges)))
        np.add.at(by_edge.T, split.edge, own.T)
        total, over = by_edge.sum(axis=0), max(clock.sum(), 1e-300)
        wholes.append(total / over)
        spreads.append(
            blocking.jackknife(wholes[-1], (total - by_edge) / np.maximum(over - clock, 1e-300)[:, None])
        )
    return wholes[1] - wholes[0], blocking.combine(spreads[0], spreads[1])


def _by_edge(values: Floats, split: _Split) -> Floats:
    out = np.zeros(len(split.edges))
    np.add.at(out, split.edge, values)
    return out


def _significance(edges: list[Edge], alpha: float) -> list[Edge]:
    """Adjust p-values over all edges."""
    from dataclasses import replace

    tested = [edge for edge in edges if edge.q_value is not None]
    q = blocking.benjamini_hochberg(np.array([edge.q_value for edge in tested], dtype=np.float64))
    adjusted = iter(q.tolist())
    out: list[Edge] = []
    for edge in edges:
        if edge.q_value is None:
            out.append(edge)
            continue
        value = next(adjusted)
        out.append(replace(edge, q_value=value, significant=value <= alpha))
    return out


def _entries(unit: _Unit, split: _Split, base: Period, head: Period) -> list[Entry]:
    sides = (unit.base, unit.head)
    units = [side.entries["units"].sum(axis=0) for side in sides]
    clock = [side.entries["clock_ns"].sum(axis=0) for side in sides]
    totals = [max(u.sum(), 1e-300) for u in units]
    p95 = [_quantiles(period, unit.kind) for period in (base, head)]
    mean = [max(c.sum(), 0.0) / t / MS for c, t in zip(clock, totals, strict=True)]
    out: list[Entry] = []
    for row in unit.entries.iter_rows(named=True):
        k = row["index"]
        ms = [float(c[k] / u[k] / MS) if u[k] else None for c, u in zip(clock, units, strict=True)]
        weights = [float(u[k] / t) for u, t in zip(units, totals, strict=True)]
        # shown against the mean of all entries, so that a shift towards a slow entry reads as a rise
        shift = float(split.mix[k]) - (weights[1] - weights[0]) * (mean[0] + mean[1]) / 2
        out.append(
            Entry(
                unit=schema.UNIT_NAMES[unit.kind],
                service=row["service"],
                operation=row["operation"],
                units_base=float(units[0][k]),
                units_head=float(units[1][k]),
                ms_base=ms[0],
                ms_head=ms[1],
                p95_base_ms=p95[0].get(row["entry_id"]),
                p95_head_ms=p95[1].get(row["entry_id"]),
                weight_base=weights[0],
                weight_head=weights[1],
                mix_ms=shift,
                state="insufficient data" if min(units[0][k], units[1][k]) < FEWEST_UNITS else "compared",
            )
        )
    return sorted(out, key=lambda e: (-e.units_head, e.service, e.operation))


def _data_notes(requests: _Unit, base: Period, head: Period, matched: blocking.Matched) -> list[str]:
    notes: list[str] = []
    for name, side in (("base", requests.base), ("head", requests.head)):
        units = side.entries["units"].sum()
        part = side.entries["incomplete"].sum() / units if units else 0.0
        if part > INCOMPLETE_PART:
            notes.append(
                f"{part:.0%} of {name}'s requests are incomplete: their traces name spans that are not here"
            )
    kinds = [set(period.tables["entry_hours"]["threshold"].unique().to_list()) for period in (base, head)]
    if kinds[0] != kinds[1]:
        notes.append("the sampling probability changed between the periods; counts are weighted by it")
    elif kinds[0] == {schema.NO_THRESHOLD}:
        notes.append("no sampling probability in the traces: volumes are of sampled traces")
    fewest = min(matched.base.blocks, matched.head.blocks)
    if fewest < blocking.FEWEST_BLOCKS:
        notes.append(
            f"only {fewest} blocks of time to compare; {blocking.FEWEST_BLOCKS} are needed to tell "
            "change from chance"
        )
    return notes


def _verdict(
    edges: Sequence[Edge], clock: Mapping[str, float], matched: blocking.Matched
) -> tuple[str, tuple[str, ...]]:
    """State and reasons; load and headroom join it with the load model."""
    if min(matched.base.blocks, matched.head.blocks) < blocking.FEWEST_BLOCKS:
        return "insufficient data", ("too few blocks of time to tell change from chance",)
    worse = [edge for edge in edges if edge.significant and edge.credited_ms > 0]
    if not worse:
        return "growth-stable", ("no edge takes significantly more time than before",)
    return "drifting", tuple(f"{edge.name}: {edge.credited_ms:+.3g} ms per {edge.unit}" for edge in worse[:3])


def as_period(rollups: Any) -> Period:
    """A `Period` of anything with its attributes, such as the engine's rollups."""
    return Period(
        rollups.start_ns,
        rollups.end_ns,
        rollups.slot_ns,
        rollups.environment,
        rollups.tables,
        tuple(rollups.notes),
    )

"""Hours that count alike, added up: every sum over time is that of the hours."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from tracescope import schema
from tracescope.analysis.capacity.early_warning import signs_between
from tracescope.analysis.comparison.aggregate import condensed
from tracescope.analysis.comparison.edges import exemplars
from tracescope.analysis.comparison.matched import ENTRY_SUMS, PATH_SUMS, gather, slots_of
from tracescope.analysis.evidence.patterns import sums_by_edge
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.analysis.statistics import blocks

HOUR, DAY = schema.HOUR_NS, schema.DAY_NS
#: Thresholds of all requests, and of one in four.
THRESHOLDS = (schema.NO_THRESHOLD, 3 << 54)
PATHS = 6


def period(start_ns: int, end_ns: int, seed: int, missing: float) -> PeriodRollups:
    """Any numbers in most hours; two entries, whose paths are two edges each and one that both have."""
    rng = np.random.default_rng(seed)
    hours = np.arange(start_ns // HOUR, -(-end_ns // HOUR))
    hours = hours[rng.random(len(hours)) >= missing]

    def rows(table: schema.Table, key: str, ids: range) -> pl.DataFrame:
        keys = pl.DataFrame({"slot": hours}).join(pl.DataFrame({key: list(ids)}), how="cross")
        keys = keys.join(pl.DataFrame({"threshold": THRESHOLDS}), how="cross")
        drawn = {name: rng.integers(1, 10**6, len(keys)) for name in table if name not in keys.columns}
        given = {**drawn, "unit": np.full(len(keys), schema.UNIT_REQUEST)}
        frame = keys.with_columns(**{name: pl.Series(values) for name, values in given.items()})
        frame = frame.filter(pl.Series(rng.random(len(keys)) >= 2 * missing))
        return frame.select(pl.col(name).cast(dtype) for name, dtype in schema.dtypes(table).items())

    made = [
        (10 + k, 1 + k % 2, schema.EDGE_DB, "shop", f"postgresql/{k % 4}", "SELECT") for k in range(PATHS)
    ]
    paths = pl.DataFrame(
        [(path, entry, entry, 1, *edge, path, False) for path, entry, *edge in made],
        schema=schema.dtypes(schema.PATHS),
        orient="row",
    )
    entries = pl.DataFrame(
        {"entry_id": [1, 2], "environment": ["", ""], "service": ["shop", "shop"], "operation": ["a", "b"]},
        schema=schema.dtypes(schema.ENTRIES),
    )
    path_hours = rows(schema.PATH_HOURS, "path_id", range(10, 10 + PATHS))
    path_hours = path_hours.with_columns(slow_ns=pl.col("slow_ns") // 10**5)  # ties must not matter
    tables = {
        "path_hours": path_hours, "entry_hours": rows(schema.ENTRY_HOURS, "entry_id", range(1, 3)),
        "entries": entries, "paths": paths,
    }  # fmt: skip
    return PeriodRollups(start_ns, end_ns, HOUR, "", tables)


MONDAY = 20_605 * DAY  # 2026-06-01
PERIODS = {
    "months": ((0, 30 * 24), (30 * 24, 61 * 24), "UTC"),
    "elsewhere": ((-9, 20 * 24), (20 * 24, 41 * 24), "Asia/Tokyo"),
    "a clock change": ((90 * 24, 120 * 24), (130 * 24, 160 * 24), "Europe/Berlin"),
    "that overlap": ((0, 30 * 24), (20 * 24 + 5, 50 * 24), "UTC"),
    "head before base": ((30 * 24, 60 * 24), (0, 30 * 24), "UTC"),
    "cut hours": ((0.5, 9 * 24 + 0.1), (10 * 24, 20 * 24 - 0.1), "UTC"),
    "hours for blocks": ((0, 30), (30, 60), "UTC"),
}  # fmt: skip


def both(which: str, missing: float = 0.1) -> tuple[PeriodRollups, PeriodRollups, blocks.Matched]:
    """Base and head, by hours since `MONDAY`, and how they match."""
    *hours, zone = PERIODS[which]
    base, head = (
        period(*(MONDAY + round(hour * HOUR) for hour in bounds), seed, missing)  # type: ignore[union-attr]
        for seed, bounds in enumerate(hours)
    )
    return base, head, blocks.match(slots_of(base), slots_of(head), str(zone))


@pytest.mark.parametrize("which", PERIODS)
def test_sums_of_hours_that_count_alike_are_the_sums_of_the_hours(which: str) -> None:
    """By block and weighed, by edge, by week, and the exemplars: in any zone, wherever periods are cut."""
    base, head, matched = both(which)
    sums = condensed(base, head, matched)
    whole, short = (gather(schema.UNIT_REQUEST, *pair, matched, None) for pair in ((base, head), sums))
    assert whole is not None
    assert short is not None
    assert short.paths.equals(whole.paths)
    for side, other in ((short.base, whole.base), (short.head, whole.head)):
        for name in PATH_SUMS:
            np.testing.assert_allclose(side.paths[name], other.paths[name], rtol=1e-12)
        for name in ENTRY_SUMS:
            np.testing.assert_allclose(side.entries[name], other.entries[name], rtol=1e-12)
    numbered = whole.paths.select("path_id", edge=pl.col("edge_id") % 4)
    for hours, summed in zip((base, head), sums, strict=True):
        by_edge, shown = sums_by_edge(summed), sums_by_edge(hours)
        assert by_edge.keys() == shown.keys()
        for name, side in by_edge.items():
            np.testing.assert_allclose(_values(side), _values(shown[name]), rtol=1e-12)
        found = exemplars(hours, summed, schema.UNIT_REQUEST, numbered)
        assert found == exemplars(hours, hours, schema.UNIT_REQUEST, numbered)
        assert found == _by_hand(hours, numbered)
    assert signs_between(*sums) == signs_between(base, head)


def test_days_are_a_row_in_twenty() -> None:
    """In months of whole days all hours of a day count alike, so the rows are as many as the days."""
    sums = condensed(*both("months", missing=0.0))
    assert [one.tables["path_hours"]["slot"].n_unique() for one in sums] == [30, 31]


def _values(side: object) -> list[float]:
    return [getattr(side, name) for name in type(side).__dataclass_fields__]  # type: ignore[attr-defined]


def _by_hand(hours: PeriodRollups, numbered: pl.DataFrame) -> dict[int, tuple[str, ...]]:
    """The slowest call of each edge, the smallest id where they tie, then the smallest hash."""
    best: dict[int, list[tuple[int, int, int]]] = {}
    edge_of = dict(numbered.rows())
    rows = hours.tables["path_hours"].select(
        "path_id", "slow_ns", "slow_hi", "slow_lo", "typical_hash", "typical_hi", "typical_lo"
    )
    for path, ns, hi, lo, drawn, other_hi, other_lo in rows.iter_rows():
        slow, typical = best.setdefault(edge_of[path], [(0, 0, 0), (1 << 62, 0, 0)])
        best[edge_of[path]] = [min(slow, (-ns, hi, lo)), min(typical, (drawn, other_hi, other_lo))]
    return {
        edge: tuple(dict.fromkeys(f"{hi:016x}{lo:016x}" for _, hi, lo in both)) for edge, both in best.items()
    }

"""Spans are kept: no arrival, clock or time of a span makes the store lose others, or lose its bearings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from stores import ARRIVED, DAY, HOUR, land, many, new_store, request, spans

from tracescope.engine.seal import seal
from tracescope.engine.upkeep import prune, verify
from tracescope.ingest.decode import decode
from tracescope.store import SpanStore

YEAR = 366 * 24 * HOUR


def pruned(store: SpanStore, days: float) -> int:
    """Spans that retention of 14 days removes so many days after they arrived."""
    now = ARRIVED + round(days * 24) * HOUR
    return prune(store, now_ns=now, spans_days=14, rollups_days=800).spans


def test_spans_of_an_hour_that_is_sealed_later_than_others_are_as_young(
    tmp_path: Path,
) -> None:
    """Their batch is counted with the first of its hours, and still says when it arrived."""
    store = new_store(tmp_path / "store")
    land(store, spans("A web GET 01:00:00 +1s\nB web GET 20:00:00 +1s"), "one")
    land(store, spans("C web GET 20:30:00 +1s"), "two", ARRIVED + HOUR)
    seal(store, before_ns=DAY + 10 * HOUR)
    assert store.status().accepted == 3
    seal(store)
    assert store.landing.groups() == []
    assert [state.arrived_ns - ARRIVED for _, state in sorted(store.sealed.pointer().hours.items())] == [
        0,
        HOUR,
    ]
    assert pruned(store, 0) == pruned(store, 13) == 0
    assert pruned(store, 15) == 3
    assert (store.status().accepted, store.status().stored) == (3, 3)


def test_a_batch_whose_entry_is_lost_is_as_old_as_its_file(tmp_path: Path) -> None:
    """No sooner can its spans have arrived."""
    store = new_store(tmp_path / "store")
    land(store, spans("A web GET 01:00:00 +1s"), "one")
    for path in (store.root / "landing").rglob("*.json"):
        path.unlink()
    written = max(path.stat().st_mtime_ns for path in (store.root / "landing").rglob("*.parquet"))
    seal(store)
    (state,) = store.sealed.pointer().hours.values()
    assert state.arrived_ns == written


def test_an_arrival_that_is_unknown_is_never_old(tmp_path: Path) -> None:
    """It counts from the first time that retention meets it."""
    store = new_store(tmp_path / "store")
    land(store, many(3), "one")
    seal(store)
    pointer = store.sealed.pointer()
    pointer.hours = {hour: replace(state, arrived_ns=0) for hour, state in pointer.hours.items()}
    store.sealed.publish(pointer)
    assert pruned(store, 100) == pruned(store, 113) == 0
    assert pruned(store, 115) == 9


@pytest.mark.parametrize(
    ("start_ns", "end_ns", "reason"),
    [
        (DAY, DAY + 230 * YEAR, "future_time"),
        (DAY, ARRIVED + 25 * HOUR, "future_time"),
        (ARRIVED + 25 * HOUR, ARRIVED + 25 * HOUR + 1, "future_time"),
        (1, 2, "too_old"),
        (DAY - 21 * YEAR, DAY - 21 * YEAR + 1, "too_old"),
        (DAY - 32 * 24 * HOUR, DAY, "too_long"),
        (DAY - 19 * YEAR, DAY - 19 * YEAR + 1, None),
        (DAY - 30 * 24 * HOUR, DAY, None),
        (DAY, 5, None),
        (ARRIVED + 23 * HOUR, ARRIVED + 23 * HOUR + 1, None),
    ],
)
def test_a_span_of_times_that_cannot_be_is_refused_by_reason(start_ns, end_ns, reason) -> None:
    """Beside one that is accepted; an end before the start is mended as ever."""
    message = request("A web GET 10:00:00 +1s\nB web GET 10:00:00 +1s")
    span = message.resource_spans[1].scope_spans[0].spans[0]
    span.start_time_unix_nano, span.end_time_unix_nano = start_ns, end_ns
    found = decode([message.SerializeToString()], ARRIVED)
    assert found.rejected == ({reason: 1} if reason else {})
    assert len(found.spans) == 2 - bool(reason)


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("by", [-56 * YEAR, -10 * YEAR, 200 * YEAR])
def test_what_a_store_covers_is_not_decided_by_a_stray_span(tmp_path: Path, by: int, sealed: bool) -> None:
    """Earlier versions let in spans of a clock that was never set: one stays, and does not stretch `all`."""
    store = new_store(tmp_path / "store")
    land(store, many(60), "all")
    stray = spans("S web GET 10:00:00 +1s").with_columns(pl.col("start_ns", "end_ns") + by)
    land(store, stray, "stray")
    far = spans("F web GET 09:00:00 +1s").with_columns(end_ns=pl.col("start_ns") + 200 * YEAR)
    land(store, far, "far")
    if sealed:
        seal(store)
    first, last = store.extent()
    assert first == DAY + 8 * HOUR
    assert DAY + 10 * HOUR < last < DAY + 45 * 24 * HOUR
    assert store.status().stored == 182
    assert not sealed or verify(store) == []


def test_two_bodies_of_data_that_lie_far_apart_are_both_covered(tmp_path: Path) -> None:
    """Last year's export beside this year's: neither is a stray."""
    store = new_store(tmp_path / "store")
    land(store, many(30), "now")
    land(store, many(3, name="O").with_columns(pl.col("start_ns", "end_ns") - 2 * YEAR), "then")
    seal(store)
    assert store.extent()[0] == DAY + 8 * HOUR - 2 * YEAR

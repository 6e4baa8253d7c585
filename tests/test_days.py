"""Days: the sums of their hours, always, and the same diff."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from simulated import START_NS, Work, call, publish, query, serve, spans
from stores import ARRIVED, land, new_store

from tracescope import schema
from tracescope.analysis.diff import Options
from tracescope.engine import days as daily
from tracescope.engine.compare import compare_sides, read_sides
from tracescope.engine.days import fold
from tracescope.engine.rebuild import rebuild
from tracescope.engine.seal import seal
from tracescope.engine.upkeep import prune, verify
from tracescope.periods import Period
from tracescope.report import diff_json
from tracescope.store import SpanStore, open_store

HOUR, DAY = schema.HOUR_NS, schema.DAY_NS
FIRST = START_NS // DAY
#: Days of traffic in the store; half as many a period.
DAYS = 16


def program(_: np.random.Generator, at: float) -> Work:
    """A shop whose database gets slower in the second half, with two entries and a queue."""
    slow = 3.0 + 4.0 * (at >= 0.5)
    if round(at * DAYS * 24 * 8) % 4 == 0:
        return serve("shop", "POST /pay", 1.0, [publish("orders", 2.0, "mailer", 1.0)])
    stock = call("stock", "GET /items", 1.0, [query("postgresql/stock", "SELECT items", slow, times=2)])
    return serve("shop", "GET /", 2.0, [stock, query("redis/cart", "GET cart", 1.0)])


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of `DAYS` days, sealed."""
    store = new_store(tmp_path_factory.mktemp("days") / "store")
    land(store, spans(program, start_ns=START_NS, hours=24 * DAYS, per_hour=8), "all")
    seal(store)
    return store.root


def said(
    store: SpanStore, periods: tuple[Period, Period], zone: str = "UTC", *, hourly: bool = False
) -> dict[str, Any]:
    """The diff as JSON: as every answer reads it, or from hours alone."""
    options = Options(zone=zone)
    sides = read_sides(store, *periods, zone=None if hourly else zone)
    report = compare_sides(store, sides, options)
    return json.loads(json.dumps(diff_json(report)))


def same(one: object, other: object) -> bool:
    """Whether two answers are the same but for the last digits of sums."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) or isinstance(other, float):
        return one == pytest.approx(other, rel=1e-6, abs=1e-9)
    return one == other


def between(*hours: float) -> Period:
    return Period(START_NS + round(hours[0] * HOUR), START_NS + round(hours[1] * HOUR), "some hours")


HALF = 12 * DAYS


@pytest.mark.parametrize(
    ("periods", "zone"),
    [
        ((between(0, HALF), between(HALF, 2 * HALF)), "UTC"),
        ((between(0, HALF), between(HALF, 2 * HALF)), "Asia/Tokyo"),
        ((between(5, HALF + 5), between(HALF + 5, 2 * HALF - 7)), "UTC"),
        ((between(0.5, 7 * 24 + 0.25), between(8 * 24, 15 * 24 + 0.5)), "UTC"),
        ((between(0, HALF + 48), between(HALF, 2 * HALF)), "UTC"),
        ((between(HALF, 2 * HALF), between(0, HALF)), "Europe/Berlin"),
    ],
)
def test_a_diff_read_by_days_is_the_diff_of_the_hours(sealed, periods, zone) -> None:
    """Exemplars, patterns, load and stage too; wherever the periods are cut."""
    store = open_store(sealed)
    by_days = said(store, periods, zone)
    assert any(edge["significant"] for edge in by_days["edges"])
    assert same(by_days, said(store, periods, zone, hourly=True))


def test_days_are_what_is_read(sealed, tmp_path) -> None:
    """What a day says of a path counts, not what its hours do; `verify` tells the two apart."""
    store = copied(sealed, tmp_path)
    pointer = store.sealed.pointer()
    assert pointer.days == list(range(FIRST, FIRST + DAYS - 1))
    rows = store.sealed.scan(pointer, "path_days").collect()
    store.sealed.replace(pointer, "path_days", rows.with_columns(pl.col("own_ns", "calls") * 3), None)
    store.sealed.publish(pointer)
    periods = between(0, HALF), between(HALF, 2 * HALF)
    assert not same(said(store, periods), said(store, periods, hourly=True))
    problems = verify(store)
    assert len(problems) == 3, problems
    assert all("path_days" in problem for problem in problems)
    rebuild(store)
    assert verify(store) == []
    assert same(said(store, periods), said(store, periods, hourly=True))


def fold_days(store: SpanStore) -> None:
    """As the end of a sealing does."""
    with store.sealing():
        pointer = store.sealed.settle()
        fold(store, pointer)
        store.sealed.publish(pointer)


def copied(sealed: Path, tmp_path: Path) -> SpanStore:
    """A copy to change."""
    return open_store(shutil.copytree(sealed, tmp_path / "copy"))


def test_late_spans_change_their_day(sealed, tmp_path) -> None:
    """Its rows do not count while it is sealed anew, and are the sums of the hours after."""
    store = copied(sealed, tmp_path)
    late = spans(program, start_ns=START_NS + 3 * DAY + 7 * HOUR, hours=1, per_hour=50)
    land(store, late.with_columns(trace_hi=pl.col("trace_hi") + 7), "late")
    before = open_store(sealed)
    seal(store)
    assert store.sealed.pointer().days == before.sealed.pointer().days
    units = [
        one.sealed.scan(one.sealed.pointer(), "path_days").filter(slot=(FIRST + 3) * 24)
        .select(pl.col("calls").sum()).collect().item()
        for one in (before, store)
    ]  # fmt: skip
    assert units[1] > units[0] > 0
    assert daily.differing(store) == []


def test_days_that_a_killed_sealing_left_are_added_up_by_the_next(sealed, tmp_path, monkeypatch) -> None:
    """Hours count from the instant that they are sealed; their day does when its sums are there."""
    from tracescope.engine import seal as sealing

    store = copied(sealed, tmp_path)
    late = spans(program, start_ns=START_NS + 3 * DAY + 7 * HOUR, hours=1, per_hour=50)
    land(store, late.with_columns(trace_hi=pl.col("trace_hi") + 7), "late")
    monkeypatch.setattr(sealing, "fold", lambda *_: None)
    seal(store)
    assert FIRST + 3 not in store.sealed.pointer().days
    periods = between(0, HALF), between(HALF, 2 * HALF)
    assert same(said(store, periods), said(store, periods, hourly=True))
    fold_days(store)
    assert FIRST + 3 in store.sealed.pointer().days
    assert daily.differing(store) == []
    assert same(said(store, periods), said(store, periods, hourly=True))


def test_a_day_that_loses_hours_to_retention_is_added_up_again(sealed, tmp_path) -> None:
    """Rollups go by the hour; what is left of the first day is what its row says."""
    store = copied(sealed, tmp_path)
    prune(store, now_ns=ARRIVED, spans_days=10**4, rollups_days=10)
    pointer = store.sealed.pointer()
    assert min(pointer.days) > min(pointer.hours) // 24
    oldest = store.sealed.scan(pointer, "path_days").select(pl.col("slot").min()).collect().item()
    assert oldest // 24 >= min(pointer.hours) // 24
    fold_days(store)
    assert min(store.sealed.pointer().days) == min(pointer.hours) // 24
    assert daily.differing(store) == []

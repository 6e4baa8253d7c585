"""Long readers beside sealing and retention: their files stay for a while, and then they are told."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest
from stores import ARRIVED, HOUR, land, many, new_store, spans

from tracescope import store as stores
from tracescope.engine.seal import seal
from tracescope.engine.upkeep import prune
from tracescope.errors import StoreBusyError, StoreError
from tracescope.store import Snapshot, SpanStore, open_store
from tracescope.store.sealed import READERS_S


def sealed_twice(root: Path) -> tuple[SpanStore, Snapshot]:
    """A store whose second sealing replaced files of the first, and a look at it from between."""
    store = new_store(root)
    land(store, many(3, hours=2), "one")
    seal(store)
    seen = store.snapshot()
    land(store, spans("L web GET 08:30:00 +1s"), "late")
    seal(store)
    return store, seen


def retire(store: SpanStore) -> int:
    """What `serve` does every hour; files removed."""
    return prune(
        store,
        now_ns=ARRIVED,
        spans_days=365,
        rollups_days=800,
        sealing_first=False,
        readers_s=READERS_S,
    ).files


def older(store: SpanStore, seconds: float) -> None:
    for path in store.root.rglob("*.parquet"):
        at = path.stat().st_mtime - seconds
        os.utime(path, (at, at))


def count(store: SpanStore, found: Snapshot) -> int:
    return store.sealed.scan(found.pointer, "spans").select(pl.len()).collect().item()


def test_what_sealing_replaces_stays_for_readers_that_began_before(tmp_path: Path) -> None:
    """However old the files themselves are: what counts is when they stopped counting."""
    store = new_store(tmp_path / "store")
    land(store, many(3, hours=2), "one")
    seal(store)
    older(store, 30 * 24 * 3600)
    seen = store.snapshot()
    before = count(store, seen)
    land(store, spans("L web GET 08:30:00 +1s"), "late")
    seal(store)
    assert retire(store) == 0
    assert count(store, seen) == before
    assert count(store, store.snapshot()) == before + 1


def test_after_ten_minutes_they_go_and_a_reader_reads_again(tmp_path: Path) -> None:
    """It gets the newer state, whole; asked to remove at once, as `tracescope prune` is, they go at once."""
    store = new_store(tmp_path / "store")
    land(store, many(3, hours=2), "one")
    seal(store)
    looks: list[int] = []

    def slow(found: Snapshot) -> int:
        looks.append(found.pointer.sequence)
        if len(looks) == 1:
            land(store, spans("L web GET 08:30:00 +1s"), "late")
            seal(store)
            older(store, READERS_S + 1)
            assert retire(store) > 0
        return count(store, found)

    assert store.reading(slow) == 10
    assert len(looks) == 2
    other, stale = sealed_twice(tmp_path / "other")
    assert prune(other, now_ns=ARRIVED, spans_days=365, rollups_days=800).files > 0
    with pytest.raises(FileNotFoundError):
        count(other, stale)


def test_a_reader_that_loses_its_files_twice_is_told_to_run_again(tmp_path: Path, monkeypatch) -> None:
    """Only where it takes longer than files stay: a short one simply looks again."""
    store, _ = sealed_twice(tmp_path / "store")
    looked: list[int] = []

    def unlucky(found: Snapshot) -> None:
        looked.append(found.pointer.sequence)
        store.sealed.publish(store.sealed.pointer())  # somebody seals meanwhile
        raise FileNotFoundError("gone")

    with pytest.raises(StoreBusyError, match="faster than it can be read"):
        store.reading(unlucky)
    assert len(looked) > 2
    monkeypatch.setattr(stores, "READERS_S", -1.0)
    looked.clear()
    with pytest.raises(StoreBusyError, match="were replaced while they were read") as told:
        store.reading(unlucky)
    assert len(looked) == 2
    assert "run it again" in (told.value.hint or "")


def test_landing_files_of_a_former_layout_are_told_of(tmp_path: Path) -> None:
    """They would count for nothing; the sentence says how many there are, where, and what to do."""
    store = new_store(tmp_path / "store")
    land(store, many(3, hours=2), "one")
    (file, *_) = next(iter(store.landing.files().values()))
    former = store.root / "landing" / str(ARRIVED // HOUR)
    former.mkdir()
    file.rename(former / "one.parquet")
    with pytest.raises(StoreError, match="1 landing files in a layout that is no longer read"):
        open_store(tmp_path / "store")

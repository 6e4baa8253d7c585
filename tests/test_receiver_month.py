"""A month beside a Collector, at accelerated time: the store holds what came, and its files stay few."""

from __future__ import annotations

import os
import time
from pathlib import Path

from receivers import request

from tracescope import schema
from tracescope.engine.seal import seal_quiet
from tracescope.engine.upkeep import prune, reclaim, verify
from tracescope.ingest.decode import decode
from tracescope.serving.runtime import gather_s
from tracescope.store import SpanStore, open_store, sealed

GRACE_S = 900
BATCHES, SPANS = 3, 5
#: Pointer, format, the sealing lock.
STORE_FILES = 3


class Month:
    """A store whose clock runs as fast as it is told to."""

    def __init__(self, root: Path) -> None:
        self.store: SpanStore = open_store(root, create=True)
        self.now_ns = (time.time_ns() // schema.HOUR_NS + 1) * schema.HOUR_NS
        self.sent = 0

    def pass_time(self, hours: int) -> None:
        """Let everything on disk grow older, as it would."""
        self.now_ns += hours * schema.HOUR_NS
        for path in self.store.root.rglob("*"):
            if path.is_file():
                age = path.stat().st_mtime - hours * 3600
                os.utime(path, (age, age))

    def land_an_hour(self) -> None:
        """Small batches over the hour that begins now."""
        for number in range(BATCHES):
            at = self.now_ns + number * schema.HOUR_NS // BATCHES
            payload = request(self.sent, SPANS, start_ns=at).SerializeToString()
            spans = decode([payload], at).spans
            self.store.land(spans, batch=f"j-{self.sent}", accepted=SPANS, rejected={}, arrived_ns=at)
            self.sent += SPANS

    def seal(self) -> None:
        seal_quiet(self.store, now_ns=self.now_ns + schema.HOUR_NS // 3, grace_s=GRACE_S)

    def prune(self, days: int) -> None:
        prune(self.store, now_ns=self.now_ns, spans_days=days, rollups_days=800, sealing_first=False)

    def files(self) -> dict[str, int]:
        """Files by table; all others as ``store``."""
        found: dict[str, int] = {}
        for path in self.store.root.rglob("*"):
            if path.is_file():
                part, *inner = path.relative_to(self.store.root).parts
                name = inner[0] if part == "sealed" else "store"
                found[name] = found.get(name, 0) + 1
        return found


def excessive(files: dict[str, int]) -> dict[str, int]:
    """Counts that break the bound, which does not grow with the store's age.

    A table has some files of each size, because more of like size are merged.
    """
    few = sealed.MERGE_BEYOND * 3
    limits = {"store": STORE_FILES, "log": sealed.LOGGED}
    return {name: count for name, count in files.items() if count > limits.get(name, few)}


def test_file_counts_stay_bounded_over_a_month_and_nothing_is_lost(tmp_path, monkeypatch) -> None:
    """Some hours of the first day, then one of every day; retention and merging run as they would.

    `benchmarks/month.py` seals every hour of it, with the bounds as they are.
    """
    monkeypatch.setattr(sealed, "MERGE_BEYOND", 3)
    month = Month(tmp_path / "store")
    merged = 0
    for day in range(30):
        active = 6 if day == 0 else 1
        for _ in range(active):
            month.land_an_hour()
            month.pass_time(1)
            month.seal()
        month.pass_time(24 - active)
        month.seal()
        month.prune(days=2)
        files = month.files()
        assert excessive(files) == {}, day
        merged += files["path_hours"] == 1
    assert merged > 1
    status = month.store.status()
    assert status.accepted == status.stored == month.sent
    assert status.units == month.sent
    assert verify(month.store) == []


def test_the_oldest_raw_spans_go_first_when_disk_is_short_and_rollups_stay(tmp_path) -> None:
    """Reclaiming removes no more hours than it takes; counts and units are as before."""
    month = Month(tmp_path / "store")
    for _ in range(6):
        month.land_an_hour()
        month.pass_time(1)
    month.pass_time(2)
    month.seal()
    before = month.store.status()
    first = min(month.store.sealed.pointer().hours)
    result = reclaim(month.store, 1)
    assert result.hours == 1
    assert month.store.sealed.pointer().closed() == [first]
    reclaim(month.store, 10**12)
    assert month.store.sealed.pointer().with_raw() == []
    after = month.store.status()
    assert (after.accepted, after.stored, after.units) == (before.accepted, before.stored, before.units)


def test_spans_for_a_closed_hour_are_refused_and_counted(tmp_path) -> None:
    """Its rollups could not be made anew: more spans for it are hour_closed."""
    month = Month(tmp_path / "store")
    start = month.now_ns
    month.land_an_hour()
    month.pass_time(5)
    month.seal()
    reclaim(month.store, 10**12)
    late = decode([request(10_000, 4, start_ns=start).SerializeToString()], month.now_ns).spans
    month.store.land(late, batch="late", accepted=4, rejected={}, arrived_ns=month.now_ns)
    status = month.store.status()
    assert status.rejected == {"hour_closed": 4}
    assert status.accepted == status.stored == month.sent


def test_late_spans_reopen_a_sealed_hour(tmp_path) -> None:
    """Sealed again, it counts them too."""
    month = Month(tmp_path / "store")
    start = month.now_ns
    month.land_an_hour()
    month.pass_time(3)
    month.seal()
    late = decode([request(10_000, 4, start_ns=start).SerializeToString()], month.now_ns).spans
    month.store.land(late, batch="late", accepted=4, rejected={}, arrived_ns=month.now_ns)
    month.pass_time(2)
    month.seal()
    status = month.store.status()
    assert status.landing_spans == 0
    assert status.units == status.stored == month.sent + 4
    assert verify(month.store) == []


def test_a_quiet_hour_lands_in_some_hundreds_of_batches_at_most() -> None:
    """Segments gather the longer the more batches wait to be sealed."""
    clock, batches = 0.0, 0
    while clock < 3600:
        clock += gather_s(batches)
        batches += 1
    assert batches < 700
    assert gather_s(0) <= 1.0
    assert gather_s(10**6) == gather_s(10**5)

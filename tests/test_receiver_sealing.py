"""Sealing and retention behind a running receiver: a process of its own, while requests are answered."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import time
from pathlib import Path

import pytest
from receivers import Running, eventually, request

from tracescope.ingest.decode import decode
from tracescope.schema import HOUR_NS
from tracescope.serving import runtime
from tracescope.store import SpanStore, open_store

SPANS = 100


def land_quiet_hours(store: SpanStore, hours: int, *, pad: int = 0) -> None:
    """Hours that ended long ago and got nothing since; `pad` bytes in every span that do not compress."""
    draw = random.Random(hours)
    now = time.time_ns() // HOUR_NS * HOUR_NS
    for hour in range(hours):
        message = request(hour * SPANS, SPANS, start_ns=now - (30 - hour) * HOUR_NS, pad=pad)
        for span in message.resource_spans[0].scope_spans[0].spans if pad else ():
            span.attributes[0].value.string_value = draw.randbytes(pad // 2).hex()
        frame = decode([message.SerializeToString()], now).spans
        with store.group(f"quiet-{hour}") as group:
            group.land(frame, batch=f"quiet-{hour}", accepted=SPANS, rejected={}, arrived_ns=now)
            for path in group.folder.rglob("*.parquet"):
                os.utime(path, (now / 1e9 - 86_400, now / 1e9 - 86_400))


def told(receiver: Running, event: str) -> list[dict]:
    lines = [json.loads(line) for line in receiver.log.getvalue().splitlines()]
    return [line for line in lines if line["event"] == event]


@pytest.fixture(autouse=True)
def _soon(monkeypatch) -> None:
    """Look every half second, not every half minute."""
    monkeypatch.setattr(runtime, "SEAL_EVERY_S", 0.5)
    monkeypatch.setattr(runtime, "LOOK_EVERY_S", 0.5)


def test_hours_that_closed_are_sealed_while_requests_are_answered(tmp_path: Path) -> None:
    """Their landing files go, their rollups come, and what is sent meanwhile stays in its open hour."""
    land_quiet_hours(open_store(tmp_path / "store", create=True), 3)
    with Running(tmp_path / "store") as receiver:
        sent = 0
        while not told(receiver, "sealed"):
            receiver.send(request(10_000 + sent, 5))
            sent += 5
            assert sent < 20_000, receiver.log.getvalue()
            time.sleep(0.05)
        assert sum(event["hours"] for event in told(receiver, "sealed")) == 3
        pointer = receiver.store.sealed.pointer()
        assert sum(state.spans for state in pointer.hours.values()) == 3 * SPANS
        assert receiver.counts() == (3 * SPANS + sent, 3 * SPANS + sent)
        assert b"tracescope_hours_sealed_total 3.0" in receiver.runtime.meters.exposition()


def test_a_sealer_that_is_killed_is_told_of_and_the_next_one_seals(tmp_path: Path) -> None:
    """SIGKILL as it begins: a failure is counted, nothing is lost, and the hours are sealed all the same."""
    land_quiet_hours(open_store(tmp_path / "store", create=True), 2)
    with Running(tmp_path / "store") as receiver:
        eventually(lambda: bool(multiprocessing.active_children()), "a sealer")
        for child in multiprocessing.active_children():
            child.kill()
        eventually(lambda: bool(told(receiver, "seal_failed")), "the failure is told")
        assert "ended with code -9" in told(receiver, "seal_failed")[0]["message"]
        eventually(lambda: bool(told(receiver, "sealed")), "sealed by the next one")
        assert b"tracescope_seal_failures_total 1.0" in receiver.runtime.meters.exposition()
        assert receiver.counts() == (2 * SPANS, 2 * SPANS)


def test_a_store_beyond_its_disk_loses_its_oldest_raw_spans_and_accepts_again(tmp_path: Path) -> None:
    """Refused at first; then the oldest hours' spans go, every rollup stays, and senders are let in."""
    land_quiet_hours(open_store(tmp_path / "store", create=True), 6, pad=6_000)
    with Running(tmp_path / "store", {"max_disk_mb": 2}) as receiver:
        eventually(lambda: bool(told(receiver, "refusing")), "refused")
        assert "of 2 MiB of disk" in told(receiver, "refusing")[0]["reason"]
        eventually(lambda: bool(told(receiver, "accepting")), "accepted again")
        receiver.send(request(10_000, 5))
        hours = receiver.store.sealed.pointer().hours
        kept = [state.has_raw for _, state in sorted(hours.items())]
        assert len(kept) == 6
        assert kept == sorted(kept)
        assert not kept[0]
        assert receiver.counts() == (6 * SPANS + 5, 6 * SPANS + 5)

"""The demo's bytes are OTLP, and the shop in them behaves as its docstring says."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
from stores import sealed_checksum

from tracescope import demo
from tracescope.demo import DAYS, payloads
from tracescope.engine.seal import seal
from tracescope.ingest.decode import decode
from tracescope.schema import HOUR_NS, KIND_CONSUMER, KIND_PRODUCER
from tracescope.store import open_store

NOW_NS = 1_795_519_253 * 10**9


@pytest.fixture(scope="module")
def first_day() -> TracesData:
    day = next(payloads(7, NOW_NS))[1]
    message = TracesData()
    message.ParseFromString(day)
    return message


def spans_of(message: TracesData):
    for resource in message.resource_spans:
        for scope in resource.scope_spans:
            yield from scope.spans


def test_the_stamped_bytes_are_canonical_otlp(first_day: TracesData) -> None:
    """What was stamped is byte for byte what the protobuf classes would write."""
    assert first_day.SerializeToString() == next(payloads(7, NOW_NS))[1]


def test_every_trace_has_one_root_and_no_orphans(first_day: TracesData) -> None:
    """A parent is always in the same trace; ids do not repeat."""
    spans = list(spans_of(first_day))
    ids = {(span.trace_id, span.span_id) for span in spans}
    assert len(ids) == len(spans)
    roots = Counter(span.trace_id for span in spans if not span.parent_span_id)
    assert set(roots.values()) == {1}
    assert set(roots) == {span.trace_id for span in spans}
    for span in spans:
        assert not span.parent_span_id or (span.trace_id, span.parent_span_id) in ids


def test_a_child_ends_within_its_parent_unless_a_queue_lies_between(first_day: TracesData) -> None:
    """Only consumers outlive what started them."""
    spans = {(span.trace_id, span.span_id): span for span in spans_of(first_day)}
    for (trace_id, _), span in spans.items():
        parent = spans.get((trace_id, span.parent_span_id))
        if parent is None:
            continue
        assert span.start_time_unix_nano >= parent.start_time_unix_nano
        if span.kind == KIND_CONSUMER:
            assert parent.kind == KIND_PRODUCER
        else:
            assert span.end_time_unix_nano <= parent.end_time_unix_nano


def test_the_same_seed_gives_the_same_bytes_and_the_days_end_now() -> None:
    """Days follow one another and end at the hour of `now`; another seed is another shop."""
    days = list(payloads(3, NOW_NS, days=2))
    assert days == list(payloads(3, NOW_NS, days=2))
    assert days != list(payloads(4, NOW_NS, days=2))
    assert [end for end, _ in days] == [
        NOW_NS // HOUR_NS * HOUR_NS - 24 * HOUR_NS,
        NOW_NS // HOUR_NS * HOUR_NS,
    ]
    assert len(list(payloads(3, NOW_NS))) == DAYS


def test_what_is_sealed_from_memory_is_what_would_have_landed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same spans and rollups as day by day through landing; nothing is left to land."""
    two_days = list(payloads(7, NOW_NS, days=2))
    monkeypatch.setattr(demo, "payloads", lambda _seed, _now_ns: iter(two_days))
    monkeypatch.setattr(demo, "DAYS", 2)
    stores = [open_store(tmp_path / name, create=True, demo=True) for name in ("memory", "landed")]
    told: list[tuple[int, int]] = []
    demo.generate(stores[0], seed=7, now_ns=NOW_NS, progress=lambda *done: told.append(done))
    for number, (end_ns, payload) in enumerate(two_days):
        decoded = decode([payload], end_ns)
        stores[1].land(
            decoded.spans, batch=f"{number}", accepted=decoded.accepted, rejected=decoded.rejected,
            arrived_ns=NOW_NS,
        )  # fmt: skip
    seal(stores[1])
    assert told == [(1, 2), (2, 2)]
    assert sealed_checksum(stores[0]) == sealed_checksum(stores[1])
    status = [store.status() for store in stores]
    assert status[0].stored == status[1].stored > 1000
    assert status[0].accepted == status[1].accepted
    for name in ("landing", "staging"):
        assert not list((tmp_path / "memory" / name).iterdir())

"""Scans of single requests, merged: what the drain lands without reading the bytes again."""

from __future__ import annotations

import time
from itertools import chain, pairwise
from pathlib import Path

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from receivers import Running, eventually, request
from test_wire import ARRIVED_NS, CHECKED, requests

from tracescope.ingest.decode import Decoded, assemble, decode, scan
from tracescope.ingest.drain import drain, together
from tracescope.ingest.scanned import Scanned, merge
from tracescope.kernels import wire
from tracescope.store import journal as journals
from tracescope.store import open_store
from tracescope.store.journal import Journal, batch_of


def scanned(payload: bytes, arrived_ns: int = ARRIVED_NS) -> Scanned:
    return Scanned.of(scan([payload], arrived_ns), arrived_ns)


def same(one: Decoded, other: Decoded) -> None:
    assert one.rejected == other.rejected
    assert one.spans.equals(other.spans)


@CHECKED
@given(st.lists(requests(), min_size=1, max_size=5))
def test_merged_scans_give_the_table_that_all_bytes_together_give(payloads: list[bytes]) -> None:
    """Every column, its strings and its kept bytes, in the same order; and the same refusals."""
    merged = assemble(merge([scanned(payload) for payload in payloads]))
    same(merged, decode(payloads, ARRIVED_NS))


def test_requests_of_many_sizes_merge_in_their_order() -> None:
    """A request of one span between large ones, with strings that others have and have not."""
    payloads = [request(first, count).SerializeToString() for first, count in ((0, 300), (300, 1), (301, 77))]
    same(assemble(merge([scanned(one) for one in payloads])), decode(payloads, ARRIVED_NS))


def test_what_is_kept_of_a_scan_is_not_much_larger_than_the_request() -> None:
    """Rows and kept bytes; the room that the scan was made in goes."""
    payload = request(0, 500, pad=300).SerializeToString()
    found = scanned(payload)
    arrays = (found.rows, found.combinations, found.resource_codes, found.links, found.resource_raw)
    size = sum(array.nbytes for array in arrays) + len(found.raw) + sum(map(len, found.strings))
    assert size < 1.5 * len(payload)


def appended(journal: Journal, count: int, *, attach: bool = True) -> None:
    now = time.time_ns()
    for number in range(count):
        payload = request(number * 10, 10, start_ns=now).SerializeToString()
        attached = scanned(payload, now) if attach else None
        journal.append(payload, now, attached=attached).result(10)


def test_a_segment_gives_back_what_was_attached_to_all_of_it_once(tmp_path) -> None:
    """In the order of its records; a second look, or one that lacks a record's, gives nothing."""
    journal = Journal.open(tmp_path)
    appended(journal, 3)
    (segment,) = journal.segments_to_drain()
    given = journal.attached_to(segment)
    assert given is not None
    first = [int(thing.rows[0, wire.C_TRACE_LO]) for thing in given if isinstance(thing, Scanned)]
    assert first == [1, 11, 21]
    assert journal.attached_to(segment) is None
    appended(journal, 1)
    appended(journal, 1, attach=False)
    appended(journal, 1)
    (mixed,) = [path for path in journal.segments_to_drain() if path != segment]
    assert journal.attached_to(mixed) is None
    journal.close()


def test_a_drain_that_stands_still_costs_bounded_memory(tmp_path, monkeypatch) -> None:
    """Beyond the bound nothing is attached any more, and the files alone give every span."""
    monkeypatch.setattr(journals, "ATTACHED_BYTES", 8_000)
    store = open_store(tmp_path / "store", create=True)
    journal = Journal.open(store.journal_folder, segment_bytes=2_000)
    assert journal.attached_bytes == 0
    appended(journal, 20)
    assert 0 < journal.attached_bytes <= journals.ATTACHED_BYTES
    waiting = journal.segments_to_drain()
    held = [journal.attached_to(segment) is not None for segment in waiting]
    assert any(held)
    assert not all(held)
    assert journal.attached_bytes == 0
    assert sum(drain(store, [segment], journal) for segment in waiting) == 200
    assert store.status().stored == 200
    journal.close()


def test_segments_that_wait_land_together_and_only_once(tmp_path) -> None:
    """One file an hour for all; each is known by its name, and the counts are those of all of them."""
    store = open_store(tmp_path / "store", create=True)
    journal = Journal.open(store.journal_folder, segment_bytes=2_000)
    appended(journal, 20)
    appended(journal, 4, attach=False)
    waiting = journal.segments_to_drain()
    assert len(waiting) > 3
    copies = {segment: segment.read_bytes() for segment in waiting}
    assert drain(store, waiting, journal) == 240
    assert [len(files) for files in store.landing.files().values()] == [1]
    assert store.known([batch_of(segment) for segment in waiting]) == {batch_of(one) for one in waiting}
    for segment, data in copies.items():
        segment.write_bytes(data)
    assert drain(store, waiting[1:]) == 0
    assert drain(store, waiting[:1], journal) == 0
    assert journals.segments(store.journal_folder) == []
    assert (store.status().accepted, store.status().stored) == (240, 200)
    journal.close()


def test_only_what_is_known_to_be_small_enough_lands_together(tmp_path, monkeypatch) -> None:
    """Neighbours up to the bound; a segment that another run left, however it inflates, by itself."""
    monkeypatch.setattr("tracescope.ingest.drain.GROUP_BYTES", 5_000)
    left = Journal.open(tmp_path, segment_bytes=2_000)
    appended(left, 1)
    left.close()
    journal = Journal.open(tmp_path, segment_bytes=2_000)
    appended(journal, 20)
    old, *written = journal.segments_to_drain()
    groups = together([old, *written], journal)
    assert groups[0] == [old]
    assert list(chain.from_iterable(groups)) == [old, *written]
    sizes = [[journal.plain_bytes(segment) or 0 for segment in group] for group in groups[1:]]
    assert all(sum(group) <= 5_000 for group in sizes)
    assert all(sum(group) + after[0] > 5_000 for group, after in pairwise(sizes))
    assert max(map(len, groups)) > 1
    journal.close()


def test_an_answer_waits_for_a_drain_that_is_behind(tmp_path, monkeypatch) -> None:
    """But not for one that has taken nothing lately: what was sent is durable, and senders go on."""
    monkeypatch.setattr(journals, "ATTACHED_BYTES", 24_000)
    monkeypatch.setattr(journals, "DRAINED_LATELY_S", 3600.0)
    monkeypatch.setattr("tracescope.ingest.intake.PACE_S", 3600.0)
    monkeypatch.setattr("tracescope.serving.runtime.DRAIN_TICK_S", 3600.0)  # drained by hand
    with Running(tmp_path / "store") as receiver:
        receiver.send(request(0, 50))
        assert receiver.journal.attached_bytes > 15_000
        assert not receiver.journal.outruns_drain
        receiver.runtime._drain(0.0)
        answer = receiver.export.future(request(50, 50).SerializeToString())
        eventually(lambda: receiver.journal.outruns_drain, "it is in the journal")
        with pytest.raises(grpc.FutureTimeoutError):
            answer.result(0.5)
        receiver.runtime._drain(0.0)
        answer.result(30)
        assert receiver.counts() == (100, 100)


def test_a_failed_write_lets_go_of_what_was_attached(tmp_path, monkeypatch) -> None:
    """Nothing of it counts as waiting for the drain."""
    journal = Journal.open(tmp_path)

    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(journals.os, "fsync", full)
        with pytest.raises(journals.StoreError):
            appended(journal, 1)
    assert journal.attached_bytes == 0
    journal.close()


def test_a_receiver_lands_from_scans_what_it_would_land_from_bytes(tmp_path: Path, monkeypatch) -> None:
    """Over gRPC and HTTP, compressed or JSON; reading a segment's bytes again would fail here."""

    def never(segment: Path) -> None:
        raise AssertionError(f"{segment} was read")

    monkeypatch.setattr("tracescope.ingest.drain.contents", never)
    with Running(tmp_path / "store") as receiver:
        receiver.send(request(0, 50), gzip=True)
        receiver.send(request(50, 50))
        assert receiver.post(request(100, 50).SerializeToString()).status_code == 200
        text = '{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"%032x","spanId":"%016x","name":"x",'
        text += '"startTimeUnixNano":"1790000000000000000","endTimeUnixNano":"1790000000000000001"}]}]}]}'
        assert receiver.post(text % (999, 999), "application/json").status_code == 200
        eventually(lambda: not journals.segments(receiver.store.journal_folder), "drained")
        assert receiver.counts() == (151, 151)

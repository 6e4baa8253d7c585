"""A real server in a real process: what it acknowledged is there, whatever happens to it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tracescope.ingest.otlp_grpc import EXPORT
from tracescope.store import open_store
from tracescope.store.journal import Journal, contents, segments

SECOND = 10**9
SERVE = [sys.executable, "-m", "tracescope", "serve", "--http", "off", "--web", "off"]


def request(first: int, count: int, *, service: str = "orders") -> ExportTraceServiceRequest:
    """`count` spans, numbered from `first`, one trace each, a minute ago."""
    message = ExportTraceServiceRequest()
    group = message.resource_spans.add()
    attribute = group.resource.attributes.add()
    attribute.key, attribute.value.string_value = "service.name", service
    scope = group.scope_spans.add()
    now = time.time_ns() - 60 * SECOND
    for number in range(first, first + count):
        scope.spans.add(
            trace_id=(number + 1).to_bytes(16, "big"),
            span_id=(number + 1).to_bytes(8, "big"),
            name="POST /orders",
            kind=2,
            start_time_unix_nano=now,
            end_time_unix_nano=now + 5_000_000,
        )
    return message


class Server:
    """One `tracescope serve` process on a free port of loopback."""

    def __init__(self, store: Path, environment: dict[str, str]) -> None:
        self.store = store
        self.process = subprocess.Popen(
            [*SERVE, "--grpc", "127.0.0.1:0", "--store", str(store)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("OTLP gRPC on 127.0.0.1:"), line or self.process.communicate()[1]
        self.address = line.split(" on ")[1].split(",")[0]
        self.channel = grpc.insecure_channel(self.address)
        self.export: Callable[..., bytes] = self.channel.unary_unary(EXPORT)

    def send(self, message: ExportTraceServiceRequest | bytes) -> ExportTraceServiceResponse:
        data = message if isinstance(message, bytes) else message.SerializeToString()
        return ExportTraceServiceResponse.FromString(self.export(data, timeout=20))

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.channel.close()
        self.process.send_signal(number)
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()
            self.process.communicate()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[], Server]]:
    started: list[Server] = []

    def start() -> Server:
        started.append(Server(tmp_path / "store", {}))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.stop(signal.SIGKILL)


def status_of(store: Path) -> dict[str, dict[str, int]]:
    command = [sys.executable, "-m", "tracescope", "status", "--store", str(store), "--format", "json"]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


def test_acknowledged_spans_are_in_the_status_at_once_and_after_a_graceful_stop(serve, tmp_path) -> None:
    """Full success leaves partial_success unset; the journal is empty after a graceful stop."""
    server = serve()
    answer = server.send(request(0, 100))
    assert not answer.HasField("partial_success")
    assert status_of(tmp_path / "store")["spans"] == {"accepted": 100, "stored": 100, "rejected": {}}
    assert server.stop() == 0
    status = status_of(tmp_path / "store")
    assert status["spans"] == {"accepted": 100, "stored": 100, "rejected": {}}
    assert segments(tmp_path / "store" / "journal") == []


def test_after_kill_9_every_acknowledged_span_is_there_exactly_once(serve, tmp_path) -> None:
    """Killed at random points while requests pour in; nothing lost, nothing twice."""
    draw = random.Random(7)
    sent = 0
    for _ in range(3):
        server = serve()
        deadline = time.monotonic() + draw.uniform(0.2, 2.5)
        while time.monotonic() < deadline:
            server.send(request(sent, 20))
            sent += 20
        server.stop(signal.SIGKILL)
        status = status_of(tmp_path / "store")
        assert status["spans"]["accepted"] == sent
        assert status["spans"]["stored"] == sent
    server = serve()
    assert server.stop() == 0
    assert status_of(tmp_path / "store")["spans"] == {"accepted": sent, "stored": sent, "rejected": {}}
    assert sent > 0


def test_malformed_bytes_get_invalid_argument_and_leave_no_trace(serve, tmp_path) -> None:
    """The answer names the offset; the journal stays clean."""
    server = serve()
    with pytest.raises(grpc.RpcError) as failure:
        server.send(request(0, 3).SerializeToString()[:-5])
    assert failure.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "byte" in failure.value.details()
    assert not server.send(b"").HasField("partial_success")
    assert status_of(tmp_path / "store")["spans"] == {"accepted": 0, "stored": 0, "rejected": {}}


def test_spans_that_cannot_be_used_are_refused_by_reason_and_told(serve, tmp_path) -> None:
    """partial_success carries the count; status shows the reason; the rest is kept."""
    server = serve()
    message = request(0, 4)
    spans = message.resource_spans[0].scope_spans[0].spans
    spans[0].trace_id = bytes(16)
    spans[1].span_id = b"short"
    spans[2].start_time_unix_nano = 2**63
    answer = server.send(message)
    assert answer.partial_success.rejected_spans == 3
    assert "invalid_trace_id: 1" in answer.partial_success.error_message
    spans = status_of(tmp_path / "store")["spans"]
    assert spans["accepted"] == spans["stored"] == 1
    assert spans["rejected"] == {"invalid_span_id": 1, "invalid_time": 1, "invalid_trace_id": 1}


def test_a_second_server_on_the_same_store_is_refused_with_a_sentence(serve, tmp_path) -> None:
    """One process receives into a store."""
    serve()
    command = [*SERVE, "--grpc", "127.0.0.1:0"]
    second = subprocess.run(
        [*command, "--store", str(tmp_path / "store")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 1
    assert "another process receives spans into" in second.stderr


def test_a_taken_port_fails_at_start_with_a_sentence(serve, tmp_path) -> None:
    """Never two servers behind one port."""
    server = serve()
    command = [*SERVE, "--grpc", server.address]
    second = subprocess.run(
        [*command, "--store", str(tmp_path / "other")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 2
    assert "another program listens there" in second.stderr


@pytest.fixture
def written(tmp_path) -> tuple[Path, list[bytes]]:
    """A segment, and the payloads of its records."""
    journal = Journal.open(tmp_path / "journal")
    payloads = [bytes([65 + number]) * (number * 7 + 1) for number in range(5)]
    for payload in payloads:
        journal.append(payload, time.time_ns()).result(10)
    journal.close()
    (segment,) = segments(tmp_path / "journal")
    return segment, payloads


def test_a_journal_cut_at_any_byte_gives_a_prefix_of_what_was_written(written) -> None:
    """A torn tail is cut, never trusted, and no damage: nobody was told that it is kept."""
    segment, payloads = written
    whole = segment.read_bytes()
    assert [record.payload for record in contents(segment).records] == payloads
    assert oct(segment.stat().st_mode)[-3:] == "600"
    for size in range(len(whole)):
        for tail in (b"", bytes(16)):  # a file system may leave zeros where it was not done
            segment.write_bytes(whole[:size] + tail)
            held = contents(segment)
            found = [record.payload for record in held.records]
            assert found == payloads[: len(found)]
            assert not held.damaged or tail


def test_a_bit_flipped_anywhere_in_a_journal_costs_the_record_that_it_is_in(written) -> None:
    """It is counted, and those behind it are read; a last length that grows looks torn."""
    segment, payloads = written
    whole = segment.read_bytes()
    begins = [8 + sum(16 + len(payload) for payload in payloads[:number]) for number in range(6)]
    for at in range(len(whole)):
        segment.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        held = contents(segment)
        hit = next((number for number in range(5) if begins[number] <= at < begins[number + 1]), -1)
        left = [payload for number, payload in enumerate(payloads) if number != hit]
        assert [record.payload for record in held.records] == left
        last_length = begins[4] <= at < begins[4] + 4
        assert held.damaged == 1 or (last_length and not held.damaged)


def test_a_damaged_segment_lands_what_it_still_holds_and_is_set_aside(tmp_path) -> None:
    """Status counts the lost request before and after; a repeated drain changes nothing."""
    from tracescope.engine.upkeep import status
    from tracescope.ingest.drain import drain
    from tracescope.store import quarantine

    store = open_store(tmp_path / "store", create=True)
    journal = Journal.open(store.journal_folder)
    for number in range(3):
        journal.append(request(number * 50, 50).SerializeToString(), time.time_ns()).result(10)
    (segment,) = journal.segments_to_drain()
    journal.close()
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    assert (status(store).stored, status(store).lost_requests) == (100, 1)
    told: list[tuple[Path, int]] = []
    assert drain(store, [segment], damaged=lambda path, count: told.append((path, count))) == 100
    assert segments(store.journal_folder) == []
    ((aside, lost),) = told
    assert (lost, aside.read_bytes()) == (1, bytes(data))
    (note,) = quarantine.notes(store.root)
    assert (note.path, note.lost_requests) == (f"journal/{segment.name}", 1)
    found = status(store)
    assert (found.accepted, found.stored, found.quarantined, found.lost_requests) == (100, 100, 1, 1)
    segment.write_bytes(data)  # as after a crash between landing and setting aside
    assert drain(store, [segment]) == 0
    assert (status(store).stored, segments(store.journal_folder)) == (100, [])


def test_draining_a_segment_twice_stores_its_spans_once(tmp_path) -> None:
    """A crash between landing and deleting repeats the landing."""
    from tracescope.ingest.drain import drain

    store = open_store(tmp_path / "store", create=True)
    journal = Journal.open(store.journal_folder)
    journal.append(request(0, 50).SerializeToString(), time.time_ns()).result(10)
    (segment,) = journal.segments_to_drain()
    copy = segment.read_bytes()
    assert drain(store, [segment]) == 50
    segment.write_bytes(copy)
    assert drain(store, [segment]) == 0
    journal.close()
    status = store.status()
    assert (status.accepted, status.stored) == (50, 50)

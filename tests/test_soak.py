"""Faults and floods against a real server: bounded in count and time, on loopback only."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from killing import kill_rounds, memory_mib
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from processes import Sender, Tracescope, eventually, free_address, request, span_numbers, status_of

from tracescope.engine.seal import seal
from tracescope.engine.upkeep import verify
from tracescope.ingest.drain import drain
from tracescope.ingest.protobuf import delimited
from tracescope.store import open_store
from tracescope.store.journal import Journal, segments

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc, which is Linux's")
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS_FRAME = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
HOUR = 3_600 * 10**9


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Tracescope]:
    running = Tracescope(tmp_path / "store", free_address(), http=free_address())
    yield running
    running.clean()


@pytest.fixture
def sender(server: Tracescope) -> Iterator[Sender]:
    opened = Sender(server.address)
    yield opened
    opened.close()


def test_kill_9_at_random_points_under_load_loses_and_doubles_nothing(tmp_path) -> None:
    """Ten rounds; clients send again what was not answered, as they may."""
    ledger = kill_rounds(tmp_path / "store", 10, seed=7, up_to_s=1.5)
    assert len(ledger.acknowledged) > 100


def test_a_journal_cut_at_any_byte_drains_to_a_prefix_of_its_requests(tmp_path) -> None:
    """Every length of a small segment: whole requests land, in order, and the torn one does not."""
    journal = Journal.open(tmp_path / "written")
    bounds = [8]
    for number in range(3):
        journal.append(request(number, 1).SerializeToString(), time.time_ns()).result(10)
        bounds.append(segments(tmp_path / "written")[0].stat().st_size)
    journal.close()
    (segment,) = segments(tmp_path / "written")
    whole = segment.read_bytes()
    store = open_store(tmp_path / "store", create=True)
    for size in range(len(whole) + 1):
        requests = sum(size >= bound for bound in bounds[1:])
        torn = store.journal_folder / f"{size:020d}-0000.journal"
        torn.write_bytes(whole[:size])
        assert drain(store, [torn]) == requests
        assert not torn.exists()
    assert span_numbers(tmp_path / "store") == list(range(3))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB in memory."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root on Linux")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_stops_acknowledgement_and_loses_nothing_and_recovers(small_disk) -> None:
    """Senders are told to try again; once there is space, they succeed; nothing acknowledged is lost."""
    store = small_disk / "store"
    server = Tracescope(store, free_address())
    try:
        sender = Sender(server.address)
        sender.send(request(0, 20))
        fill(small_disk / "filler")
        acknowledged, first = {0}, 20
        refused = None
        while refused is None and first < 20 * 2_000:
            try:
                sender.send(request(first, 20))
                acknowledged.add(first)
                first += 20
            except grpc.RpcError as error:
                refused = error.code()
        assert refused in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}
        (small_disk / "filler").unlink()
        eventually(lambda: accepted(sender, request(first, 20)), "it accepts again")
        acknowledged.add(first)
        sender.close()
        assert server.stop() == 0
    finally:
        server.clean()
    assert span_numbers(store) == sorted(number + k for number in acknowledged for k in range(20))
    assert verify(open_store(store)) == []


def fill(path: Path) -> None:
    """Write until nothing more fits."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue


def accepted(sender: Sender, message: ExportTraceServiceRequest) -> bool:
    try:
        sender.send(message)
    except grpc.RpcError:
        return False
    return True


@linux_only
def test_a_thousand_idle_connections_neither_stop_others_nor_eat_memory(server, sender) -> None:
    """Half say nothing, half finished HTTP/2's first handshake; a sender among them is served."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4_096:
        pytest.skip(f"only {hard} files may be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4_096), hard))
    sender.send(request(0, 20))
    before = memory_mib(server.process.pid)
    host, _, port = server.address.rpartition(":")
    idle = []
    try:
        for number in range(1_000):
            idle.append(socket.create_connection((host, int(port)), timeout=20))
            if number % 2:
                idle[-1].sendall(PREFACE + SETTINGS_FRAME)
        for first in range(20, 420, 20):
            sender.send(request(first, 20))
        newcomer = Sender(server.address)
        newcomer.send(request(420, 20))
        newcomer.close()
        assert memory_mib(server.process.pid) - before < 100
    finally:
        for connection in idle:
            connection.close()
    assert server.stop() == 0
    assert span_numbers(server.store) == list(range(440))


def test_slow_clients_hold_nobody_up(server, sender) -> None:
    """A hundred connections that send one byte at a time, over gRPC and HTTP; others are served at once.

    Headers that never end, and a body that is announced and trickles.
    """
    slow: list[tuple[socket.socket, bytes]] = []
    for number in range(100):
        host, _, port = (server.address if number % 2 else server.http).rpartition(":")
        opened = socket.create_connection((host, int(port)), timeout=20)
        if number % 2:
            text = PREFACE + SETTINGS_FRAME + bytes([0, 64, 0, 1, 4, 0, 0, 0, 1]) + b"\0" * 200
        elif number % 4:
            text = b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\n" + b"X-Slow: " + b"a" * 300
        else:
            text = (
                b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\n"
                b"Content-Length: 100000\r\n\r\n" + b"\n" * 300
            )
        slow.append((opened, text))
    try:
        for at in range(100):
            for opened, text in slow:
                try:
                    opened.sendall(text[at * 2 : at * 2 + 2])
                except OSError:  # cut off, as it may be
                    continue
            if at % 5 == 0:
                sender.send(request(at * 4, 20), timeout_s=20)
            time.sleep(0.01)
    finally:
        for opened, _ in slow:
            opened.close()
    assert server.stop() == 0
    assert span_numbers(server.store) == list(range(400))


def giant(count: int, each: int) -> Iterator[bytes]:
    """One trace of `count` spans as wire bytes, `each` to a request: children of the root or of each other.

    Ids are patched into the bytes of one span, which is a hundred times quicker than message classes.
    """
    begin = time.time_ns() - 3 * HOUR
    template = request(0, 1).resource_spans[0].scope_spans[0].spans[0]
    template.trace_id, template.span_id = b"G" * 16, b"S" * 8
    template.parent_span_id = b"P" * 8
    template.start_time_unix_nano, template.end_time_unix_nano = begin, begin + 10**9
    one = template.SerializeToString()
    at_span, at_parent = one.index(b"S" * 8), one.index(b"P" * 8)
    resource_bytes = request(0, 0).resource_spans[0].resource.SerializeToString()
    one = bytearray(one)
    for first in range(0, count, each):
        spans = bytearray()
        for number in range(first, min(first + each, count)):
            parent = 0 if number == 0 else (number - 1) // (2 if number % 2 else 1_000) + 1
            one[at_span : at_span + 8] = (number + 1).to_bytes(8, "big")
            one[at_parent : at_parent + 8] = parent.to_bytes(8, "big")
            spans += delimited(2, bytes(one))
        yield delimited(1, delimited(1, resource_bytes) + delimited(2, bytes(spans)))


def test_a_trace_of_a_million_spans_is_kept_sealed_and_shown(server, sender) -> None:
    """One trace over a hundred requests: every span stored, one unit of work, and `path` answers."""
    for message in giant(1_000_000, 10_000):
        sender.send(message)
    sender.close()
    assert server.stop(within_s=300) == 0
    store = open_store(server.store)
    seal(store)
    status = status_of(server.store)
    assert status["spans"] == {"accepted": 1_000_000, "stored": 1_000_000, "rejected": {}}
    assert status["units"] == 1
    command = [sys.executable, "-m", "tracescope", "path", b"G".hex() * 16, "--store", str(server.store)]
    with (server.store.parent / "shown.txt").open("w+") as shown:
        subprocess.run(command, stdout=shown, check=True, timeout=300)
        shown.seek(0)
        text = shown.read()
    assert "POST /orders" in text
    assert "999000 more spans" in text


@linux_only
def test_floods_of_distinct_services_and_operations_hold_memory(server, sender) -> None:
    """Ten thousand services and operations, new ones each time: memory stays where the first left it."""
    used = []
    for flood in range(5):
        for part in range(10):
            sender.send(strangers(flood * 10_000 + part * 1_000, 1_000))
        eventually(lambda: not segments(server.store / "journal"), "the journal is drained")
        used.append(memory_mib(server.process.pid))
    assert used[-1] - used[1] < 100, used
    assert server.stop() == 0
    store = open_store(server.store)
    seal(store, workers=1)
    status = status_of(server.store)
    assert status["spans"]["stored"] == 50_000
    assert verify(store) == []
    shutil.rmtree(server.store)


def strangers(first: int, count: int) -> ExportTraceServiceRequest:
    """Spans of services and operations that nobody has seen, and as many operations of one service."""
    message = ExportTraceServiceRequest()
    common = message.resource_spans.add()
    attribute = common.resource.attributes.add()
    attribute.key, attribute.value.string_value = "service.name", "one"
    operations = common.scope_spans.add()
    for number in range(first, first + count):
        part = request(number, 1, service=f"service-{number}")
        span = part.resource_spans[0].scope_spans[0].spans[0]
        span.name = f"operation {number}"
        span.start_time_unix_nano -= 3 * HOUR
        span.end_time_unix_nano -= 3 * HOUR
        if number % 2:
            operations.spans.append(span)
        else:
            message.resource_spans.append(part.resource_spans[0])
    return message

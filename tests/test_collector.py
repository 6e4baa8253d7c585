"""The configurations of collector-config/ under a real Collector: every span arrives exactly once."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from processes import (
    EXPORT,
    Collector,
    Program,
    Sender,
    Tracescope,
    collector_binary,
    eventually,
    free_address,
    request,
    span_numbers,
    status_of,
    trace_of,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the Collector is built for Linux")


@pytest.fixture(scope="module", autouse=True)
def _collector() -> None:
    collector_binary()


@pytest.fixture
def keep() -> Iterator[Callable[[Program], Program]]:
    """Remembers programs and ends them after the test, newest first."""
    started: list[Program] = []

    def keep(program: Program) -> Program:
        started.append(program)
        return program

    yield keep
    for program in reversed(started):
        program.clean()


class Application:
    """Sends spans with the OpenTelemetry SDK, as an instrumented program would."""

    def __init__(self, address: str) -> None:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        self.provider = TracerProvider(resource=Resource.create({"service.name": "shop"}))
        exporter = OTLPSpanExporter(f"http://{address}", insecure=True)
        self.provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=200))
        self.tracer = self.provider.get_tracer("shop")
        self.traces: set[int] = set()
        self.spans = 0

    def checkout(self) -> None:
        """One request: a server span with two client spans."""
        from opentelemetry.trace import SpanKind

        with self.tracer.start_as_current_span("POST /checkout", kind=SpanKind.SERVER) as root:
            self.traces.add(root.get_span_context().trace_id)
            for name in ("SELECT stock", "INSERT orders"):
                attributes = {"db.system.name": "postgresql", "db.namespace": "shop"}
                with self.tracer.start_as_current_span(name, kind=SpanKind.CLIENT, attributes=attributes):
                    self.spans += 1
        self.spans += 1


def stored(store: Path) -> int:
    return status_of(store)["spans"]["stored"]


def send_all(address: str, first: int, count: int, *, each: int = 20, traces_of: int = 1) -> None:
    sender = Sender(address)
    for number in range(first, first + count, each):
        sender.send(request(number, min(each, first + count - number), spans_per_trace=traces_of))
    sender.close()


def test_an_instrumented_program_reaches_the_store_through_the_sidecar(keep, tmp_path) -> None:
    """SDK -> Collector -> tracescope: every span once, with its parent, database and service."""
    store, address = tmp_path / "store", free_address()
    server = keep(Tracescope(store, address))
    collector = keep(Collector(tmp_path / "collector", "sidecar.yaml", TRACESCOPE_GRPC=address))
    application = Application(collector.address)
    for _ in range(100):
        application.checkout()
    application.provider.shutdown()
    eventually(lambda: stored(store) >= application.spans, "every span is stored")
    assert server.stop() == 0
    assert status_of(store)["spans"] == {"accepted": 300, "stored": 300, "rejected": {}}
    shown = tracescope("path", f"{min(application.traces):032x}", "--store", str(store))
    assert "shop POST /checkout" in shown
    assert "shop INSERT orders" in shown
    graph = json.loads(
        tracescope("graph", "1h", "--level", "dependency", "--format", "json", "--store", str(store))
    )
    calls = {(edge["caller"], edge["callee"]): edge["calls"] for edge in graph["edges"]}
    assert calls[("shop", "postgresql/shop")] == 200


def tracescope(*arguments: str) -> str:
    """What a command prints."""
    command = [sys.executable, "-m", "tracescope", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_sidecar_retries_through_restarts_of_tracescope(keep, tmp_path) -> None:
    """Stopped, killed and started again under load: nothing is lost, nothing counts twice.

    A request whose acknowledgement a kill swallowed is legally sent again; it must not double.
    """
    store, address = tmp_path / "store", free_address()
    server = keep(Tracescope(store, address))
    collector = keep(Collector(tmp_path / "collector", "sidecar.yaml", TRACESCOPE_GRPC=address))
    count = 6_000
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(send_slowly, collector.address, count, 9.0)
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
            time.sleep(1.5)
            server.stop(number)
            time.sleep(0.5)  # refused connections: the Collector waits and tries again
            server = keep(Tracescope(store, address))
        load.result()
    eventually(lambda: stored(store) >= count, "every span is stored")
    assert collector.stop() == 0
    assert server.stop() == 0
    assert span_numbers(store) == list(range(count))
    assert stored(store) == count


def test_a_sidecar_over_http_with_zstd_retries_through_a_kill(keep, tmp_path) -> None:
    """The same queue over OTLP/HTTP, compressed as Collectors do it."""
    store, address = tmp_path / "store", free_address()
    server = keep(Tracescope(store, "off", http=address))
    collector = keep(
        Collector(tmp_path / "collector", "sidecar.yaml", "sidecar-http.yaml", TRACESCOPE_HTTP=address)
    )
    send_all(collector.address, 0, 1_000)
    server.stop(signal.SIGKILL)
    send_all(collector.address, 1_000, 1_000)
    server = keep(Tracescope(store, "off", http=address))
    eventually(lambda: stored(store) >= 2_000, "every span is stored")
    assert server.stop() == 0
    assert span_numbers(store) == list(range(2_000))


def send_slowly(address: str, count: int, over_s: float) -> None:
    """`count` spans, 20 to a request, spread over some time."""
    sender = Sender(address)
    begin = time.monotonic()
    for number in range(0, count, 20):
        sender.send(request(number, 20))
        time.sleep(max(0.0, begin + over_s * number / count - time.monotonic()))
    sender.close()


def test_a_killed_collector_delivers_what_it_acknowledged_after_its_restart(keep, tmp_path) -> None:
    """The sidecar's queue is on disk, before the batch: kill -9 of the Collector loses nothing either.

    tracescope is down at first, so that everything is in the queue when the Collector dies.
    """
    store, address = tmp_path / "store", free_address()
    collector = keep(Collector(tmp_path / "collector", "sidecar.yaml", TRACESCOPE_GRPC=address))
    send_all(collector.address, 0, 2_000)
    collector.stop(signal.SIGKILL)
    server = keep(Tracescope(store, address))
    keep(Collector(tmp_path / "collector", "sidecar.yaml", TRACESCOPE_GRPC=address))
    eventually(lambda: stored(store) >= 2_000, "the queue has been delivered")
    assert server.stop() == 0
    assert span_numbers(store) == list(range(2_000))


class Backend:
    """An existing trace backend: counts the spans it is sent."""

    def __init__(self) -> None:
        self.spans: list[int] = []
        self._lock = threading.Lock()
        self._server = grpc.server(ThreadPoolExecutor(2))
        self._server.add_generic_rpc_handlers((self,))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        return grpc.unary_unary_rpc_method_handler(self._export) if details.method == EXPORT else None

    def _export(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        message = ExportTraceServiceRequest.FromString(data)
        with self._lock:
            for group in message.resource_spans:
                for scope in group.scope_spans:
                    self.spans += [int.from_bytes(span.span_id, "big") - 1 for span in scope.spans]
        return ExportTraceServiceResponse().SerializeToString()

    def close(self) -> None:
        self._server.stop(0).wait()


@pytest.fixture
def backend() -> Iterator[Backend]:
    server = Backend()
    yield server
    server.close()


def test_a_gateway_serves_its_backend_while_tracescope_is_away_and_catches_up(
    keep, tmp_path, backend
) -> None:
    """The tee: the backend gets every span at once and once; tracescope gets every span in the end."""
    store, address = tmp_path / "store", free_address()
    collector = keep(
        Collector(
            tmp_path / "collector", "gateway.yaml", TRACESCOPE_GRPC=address, BACKEND_GRPC=backend.address
        )
    )
    send_all(collector.address, 0, 1_000)  # tracescope has never been there
    eventually(lambda: len(backend.spans) >= 1_000, "the backend has everything")
    server = keep(Tracescope(store, address))
    eventually(lambda: stored(store) >= 1_000, "tracescope has caught up")
    server.stop(signal.SIGKILL)
    send_all(collector.address, 1_000, 1_000)
    eventually(lambda: len(backend.spans) >= 2_000, "the backend has everything, tracescope being killed")
    server = keep(Tracescope(store, address))
    eventually(lambda: stored(store) >= 2_000, "tracescope has caught up again")
    assert collector.stop() == 0
    assert server.stop() == 0
    assert sorted(backend.spans) == list(range(2_000))
    assert span_numbers(store) == list(range(2_000))


def test_a_load_balancer_sends_every_trace_whole_to_one_instance(keep, tmp_path) -> None:
    """Three spans a trace, each in another request: no trace is split, none is lost or doubled.

    One instance is killed in between and comes back; the other takes its share meanwhile.
    """
    stores, addresses = [tmp_path / "a", tmp_path / "b"], [free_address(), free_address()]
    servers = [keep(Tracescope(store, address)) for store, address in zip(stores, addresses, strict=True)]
    instances = {"INSTANCE_1": addresses[0], "INSTANCE_2": addresses[1]}
    collector = keep(Collector(tmp_path / "collector", "load-balanced.yaml", **instances))
    count = 3_000
    order = list(range(count))
    random.Random(5).shuffle(order)
    sender = Sender(collector.address)
    send_parts(sender, order[:1_000])
    eventually(lambda: sum(map(stored, stores)) == 1_000, "the first part is stored")
    before = stored(stores[1])
    servers[0].stop(signal.SIGKILL)
    send_parts(sender, order[1_000:2_000])
    eventually(lambda: stored(stores[1]) > before, "the other instance goes on")
    servers[0] = keep(Tracescope(stores[0], addresses[0]))
    send_parts(sender, order[2_000:])
    sender.close()
    eventually(lambda: sum(map(stored, stores)) >= count, "every span is stored")
    assert collector.stop() == 0
    assert [server.stop() for server in servers] == [0, 0]
    first, second = (span_numbers(store) for store in stores)
    assert sorted(first + second) == list(range(count))
    assert {number // 3 for number in first}.isdisjoint(number // 3 for number in second)
    assert min(len(first), len(second)) > count // 5


def send_parts(sender: Sender, numbers: list[int]) -> None:
    """Spans by number, 50 to a request, three to a trace."""
    for at in range(0, len(numbers), 50):
        message = request(0, 0)
        scope = message.resource_spans[0].scope_spans[0]
        for number in numbers[at : at + 50]:
            scope.spans.append(
                request(number, 1, spans_per_trace=3).resource_spans[0].scope_spans[0].spans[0]
            )
        sender.send(message)


NATIVE = "exporter.file.nativeCompression"


@pytest.mark.parametrize(
    ("form", "compression", "gates"),
    [
        ("json", "", ""),
        ("proto", "", ""),
        ("json", "zstd", ""),
        ("proto", "zstd", ""),
        ("json", "zstd", NATIVE),
        ("proto", "zstd", NATIVE),
    ],
)
def test_files_that_a_collector_writes_are_imported(keep, tmp_path, form, compression, gates) -> None:
    """Every format and compression; files rotate and the Collector restarts in between."""
    folder = tmp_path / "out"
    folder.mkdir()
    environment = {
        "TRACES_PATH": str(folder / "traces"),
        "FORMAT": form,
        "COMPRESSION": compression,
        "FILE_MEGABYTES": "1",
    }
    for part in range(2):
        collector = keep(Collector(tmp_path / f"collector-{part}", "file.yaml", gates=gates, **environment))
        send_all(collector.address, part * 12_000, 12_000, each=1_000)
        assert collector.stop() == 0
    files = sorted(map(str, folder.iterdir()))
    if not compression:
        assert len(files) > 1, "it has rotated"
    command = [sys.executable, "-m", "tracescope", "import", "--store", str(tmp_path / "store"), *files]
    first = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "24000 new, 0 duplicates, 0 rejected" in first.stderr
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "0 new, 24000 duplicates, 0 rejected" in again.stderr
    assert span_numbers(tmp_path / "store") == list(range(24_000))


def test_trace_ids_of_these_tests_are_distinct() -> None:
    """Multiplication by an odd number is a bijection: no two traces share an id."""
    assert len({trace_of(number) for number in range(10_000)}) == 10_000

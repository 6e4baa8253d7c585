"""A receiver inside the test's process, on free ports of loopback, and requests to send to it."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
import httpx2 as httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tracescope import config
from tracescope.cli.upkeep import compile_decoder
from tracescope.engine.upkeep import status
from tracescope.ingest.otlp_grpc import EXPORT
from tracescope.serving.events import Events
from tracescope.serving.runtime import Runtime, open_sockets, prepare
from tracescope.store import SpanStore, open_store, recover
from tracescope.store.journal import Journal

SECOND = 10**9


def request(
    first: int, count: int, *, start_ns: int | None = None, pad: int = 0
) -> ExportTraceServiceRequest:
    """`count` spans, numbered from `first`, one trace each, a minute ago, `pad` more bytes in each."""
    message = ExportTraceServiceRequest()
    group = message.resource_spans.add()
    attribute = group.resource.attributes.add()
    attribute.key, attribute.value.string_value = "service.name", "orders"
    scope = group.scope_spans.add()
    now = time.time_ns() - 60 * SECOND if start_ns is None else start_ns
    for number in range(first, first + count):
        span = scope.spans.add(
            trace_id=(number + 1).to_bytes(16, "big"),
            span_id=(number + 1).to_bytes(8, "big"),
            name="POST /orders",
            kind=2,
            start_time_unix_nano=now,
            end_time_unix_nano=now + 5_000_000,
        )
        if pad:
            item = span.attributes.add()
            item.key, item.value.string_value = "code.function.name", "x" * pad  # which is kept
    return message


def eventually(holds: Callable[[], bool], what: str, *, within_s: float = 60.0) -> None:
    """Wait until something holds; fail with its name if it never does."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"after {within_s} s still not: {what}"
        time.sleep(0.05)


@dataclass
class Running:
    """A receiver on a loop of its own thread, from `with` to the end of the block."""

    folder: Path
    used: dict[str, object] = field(default_factory=dict)
    channel_options: tuple[tuple[str, int], ...] = ()
    credentials: grpc.ChannelCredentials | None = None

    def __enter__(self) -> Self:
        flags = {"grpc": "127.0.0.1:0", "http": "127.0.0.1:0", "web": "off", "store": str(self.folder)}
        # it runs in the tests' own process, whose memory says nothing of a receiver's
        settings, _ = config.load({"max_memory_mb": 0, **flags, **self.used})
        access, limits = prepare(settings)
        self.store: SpanStore = open_store(self.folder, create=True)
        recover(self.store)
        compile_decoder()  # as `serve` does before it answers
        self.journal = Journal.open(self.store.journal_folder)
        self.log = io.StringIO()
        self.runtime = Runtime(settings, self.store, self.journal, Events("json", self.log), access, limits)
        self._started = threading.Event()
        self._error: BaseException | None = None
        sockets = open_sockets(settings)
        self._thread = threading.Thread(target=self._run, args=(sockets,), name="receiver")
        self._thread.start()
        assert self._started.wait(120)
        if self._error is not None:
            raise self._error
        self.http = self.runtime.addresses.get("http", "")
        self.grpc = self.runtime.addresses.get("grpc", "")
        if self.credentials is not None:
            self.channel = grpc.secure_channel(self.grpc, self.credentials, self.channel_options)
        else:
            self.channel = grpc.insecure_channel(self.grpc, self.channel_options)
        self.export = self.channel.unary_unary(EXPORT)
        return self

    def _run(self, sockets: dict) -> None:
        async def main() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            await self.runtime.run(sockets, None, self._stop, self._started.set)

        try:
            asyncio.run(main())
        except BaseException as error:
            self._error = error
            self._started.set()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        self.channel.close()
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(60)
            assert not self._thread.is_alive()

    def send(
        self, message: ExportTraceServiceRequest | bytes, *, gzip: bool = False, **call: object
    ) -> ExportTraceServiceResponse:
        data = message if isinstance(message, bytes) else message.SerializeToString()
        how = grpc.Compression.Gzip if gzip else grpc.Compression.NoCompression
        return ExportTraceServiceResponse.FromString(self.export(data, timeout=30, compression=how, **call))

    def post(
        self, content: object, kind: str | None = "application/x-protobuf", **headers: str
    ) -> httpx.Response:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if kind is not None:
            given["content-type"] = kind
        return httpx.post(f"http://{self.http}/v1/traces", content=content, headers=given, timeout=30)

    def counts(self) -> tuple[int, int]:
        """Spans accepted and stored, those in the journal included."""
        found = status(self.store)
        return found.accepted, found.stored

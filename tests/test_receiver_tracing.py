"""Traces of the receiver itself: sent to a Collector, and never a loop."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from receivers import Running, eventually, request

from tracescope.errors import ConfigError
from tracescope.ingest.otlp_grpc import EXPORT
from tracescope.serving.tracing import SelfTracing, otlp_exporter


class Collector(grpc.GenericRpcHandler):
    """Takes OTLP on a port of its own."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.server = grpc.server(ThreadPoolExecutor(2))
        self.server.add_generic_rpc_handlers((self,))
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()

    def service(self, handler_call_details):
        if handler_call_details.method != EXPORT:
            return None
        return grpc.unary_unary_rpc_method_handler(self._export)

    def _export(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        self.requests.append(ExportTraceServiceRequest.FromString(data))
        return b""

    def spans(self) -> list[str]:
        return [
            span.name
            for message in self.requests
            for group in message.resource_spans
            for scope in group.scope_spans
            for span in scope.spans
        ]


def test_a_drain_is_a_span_at_the_collector(tmp_path) -> None:
    """With the service's name, and the number of spans it landed."""
    collector = Collector()
    try:
        with Running(tmp_path / "store", {"self_tracing": collector.address}) as receiver:
            receiver.send(request(0, 25))
            eventually(lambda: receiver.store.status().landing_spans == 25, "drained")
        assert collector.spans() == ["drain"]
        resource = collector.requests[0].resource_spans[0].resource
        names = {item.key: item.value.string_value for item in resource.attributes}
        assert names["service.name"] == "tracescope"
    finally:
        collector.server.stop(0).wait()


def test_spans_that_come_back_start_no_loop() -> None:
    """Whatever a drain made comes back with the next: the chain ends by itself."""
    exporter = InMemorySpanExporter()
    tracing = SelfTracing(exporter)
    made = [tracing.drained(100, 0.1)]
    for _ in range(10):
        made.append(tracing.drained(int(made[-1]), 0.1))
    tracing.close()
    assert made[0] is True
    assert not any(made[1:])
    assert not any(later and not earlier for earlier, later in pairwise(made))
    assert len(exporter.get_finished_spans()) == 1


def test_an_endpoint_that_is_the_receiver_itself_is_refused() -> None:
    """By number and by name."""
    for endpoint in ("127.0.0.1:4317", "localhost:4317"):
        with pytest.raises(ConfigError, match="feed itself"):
            otlp_exporter(endpoint, {"grpc": "127.0.0.1:4317"})
    with pytest.raises(ConfigError, match="feed itself"):
        otlp_exporter("10.0.0.7:4317", {"grpc": "0.0.0.0:4317"})

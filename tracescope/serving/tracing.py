"""Traces of the receiver itself, sent to a Collector; an option, and never a loop.

Drains and sealings make spans, requests do not, so what arrives cannot multiply.  One guard refuses an
endpoint that is this receiver; another makes no span of a drain that may hold nothing but our own:
a Collector that hands our spans back to us finds that they end here.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from tracescope.errors import ConfigError
from tracescope.version import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

SERVICE: Final = "tracescope"


class SelfTracing:
    """Makes spans of what the receiver does.

    Parameters
    ----------
    exporter
        Where spans go; `otlp_exporter` makes one.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        about = Resource.create({"service.name": SERVICE, "service.version": __version__})
        self._provider = TracerProvider(resource=about, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer(SERVICE, __version__)
        self._made = 0
        self._lock = threading.Lock()

    def drained(self, spans: int, seconds: float) -> bool:
        """A drain has ended; returns whether a span was made of it."""
        with self._lock:
            ours = min(self._made, spans)
            self._made -= ours
            if spans <= ours:
                return False
        self._span("drain", seconds, {"tracescope.spans": spans})
        return True

    def sealed(self, hours: int, spans: int, seconds: float) -> None:
        """A sealing has ended."""
        self._span("seal", seconds, {"tracescope.hours": hours, "tracescope.spans": spans})

    def _span(self, name: str, seconds: float, attributes: dict[str, int]) -> None:
        end = time.time_ns()
        span = self._tracer.start_span(name, start_time=end - int(seconds * 1e9), attributes=attributes)
        span.end(end)
        with self._lock:
            self._made += 1

    def close(self) -> None:
        """Send what waits."""
        self._provider.shutdown()


def otlp_exporter(endpoint: str, listening: dict[str, str]) -> SpanExporter:
    """An exporter to ``HOST:PORT`` over gRPC.

    Parameters
    ----------
    endpoint
        Of a Collector.
    listening
        Addresses that this receiver listens on.

    Raises
    ------
    ConfigError
        It is this receiver, or the exporter is not installed.
    """
    host, _, port = endpoint.rpartition(":")
    for name, address in listening.items():
        mine, _, my_port = address.rpartition(":")
        same = (
            host == mine
            or {host, mine} & {"0.0.0.0", "[::]"}
            or {host, mine} <= {"localhost", "127.0.0.1", "[::1]"}
        )
        if port == my_port and same:
            raise ConfigError(
                f"self_tracing {endpoint} is this receiver's own {name} address: it would feed itself",
                "name a Collector's address",
            )
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise ConfigError(
            "self_tracing needs the OTLP exporter", "pip install 'tracescope[self-tracing]'"
        ) from error
    return OTLPSpanExporter(endpoint=endpoint, insecure=True, timeout=5)

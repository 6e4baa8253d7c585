"""Tracing as any team sets it up: the SDK, an OTLP exporter, and a public package for each library."""

from __future__ import annotations

import os
import uuid

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.aio_pika import AioPikaInstrumentor
from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.instrumentation.starlette import StarletteInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from starlette.applications import Starlette

from shop.settings import VERSION


def start(service: str, app: Starlette | None = None) -> TracerProvider:
    """Trace this process; call it before any client is made.

    Parameters
    ----------
    service
        Its ``service.name``.
    app
        The web application, where there is one.

    Returns
    -------
    TracerProvider
        To be shut down at the end, so that the last spans are sent.
    """
    resource = Resource.create(
        {
            "service.name": service,
            "service.version": VERSION,
            "service.instance.id": str(uuid.uuid4()),
            "deployment.environment.name": os.environ.get("SHOP_ENVIRONMENT", "shop"),
        }
    )
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), schedule_delay_millis=1000))
    trace.set_tracer_provider(provider)
    for instrumentor in (
        HTTPXClientInstrumentor(), AsyncPGInstrumentor(), RedisInstrumentor(), AioPikaInstrumentor(),
    ):  # fmt: skip
        instrumentor.instrument()
    if app is not None:
        StarletteInstrumentor.instrument_app(app)
    return provider

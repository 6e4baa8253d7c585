"""What attributes say of how a span lives: open for as long as somebody listens, or run by a clock.

Nobody waits for such a span as for a request: it gets the clock of long-lived work.  Tables of names as in
`tracescope.conventions.semconv`, and one function over the values found.

Source: OpenTelemetry semantic conventions (HTTP, network, URL, FaaS, CI/CD, GraphQL over subscriptions);
RFC 6455 (WebSocket: status 101, ``ws`` and ``wss``); the HTML standard, server-sent events
(``text/event-stream``); attributes of scheduled jobs as the instrumentations for Java, Quartz, Spring Batch,
Hangfire and Airflow write them, and of streaming calls as those for gRPC do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from tracescope.schema import (
    KIND_CONSUMER,
    KIND_PRODUCER,
    LIFE_SCHEDULED,
    LIFE_STREAM,
    MSG_NONE,
)

#: Meaning -> attribute names, the one that wins first; part of `semconv.SPAN_ATTRIBUTES`.
LIFE_ATTRIBUTES: Final[dict[str, tuple[str, ...]]] = {
    "http_status": ("http.response.status_code", "http.status_code"),
    "protocol": ("network.protocol.name", "net.app.protocol.name"),
    "scheme": ("url.scheme", "http.scheme"),
    "upgrade": ("http.request.header.upgrade", "http.response.header.upgrade"),
    "media_type": (
        "http.response.header.content-type", "http.response.header.content_type",
        "http.response.content_type", "http.request.header.accept",
    ),
    "call_type": ("rpc.grpc.call_type", "grpc.method.kind", "grpc.method_type", "rpc.call_type"),
    "trigger": ("faas.trigger",),
    "schedule": (
        "faas.cron", "job.system", "job.name", "cron.name", "cron.schedule", "quartz.job.name",
        "spring.batch.job.name", "batch.job.name", "airflow.dag_id", "cicd.pipeline.name", "job.createdat",
    ),
    "message_count": ("messaging.batch.message_count", "messaging.batch_size"),
}  # fmt: skip

_OPEN_PROTOCOLS: Final = frozenset({"websocket", "ws", "wss"})
_EVENT_STREAM: Final = "text/event-stream"
#: Words of a span's name that say the same; of what is no call or request by its attributes.
_OPEN_NAME: Final = re.compile(r"\bweb[ _-]?sockets?\b", re.IGNORECASE)
_TIMED_NAME: Final = re.compile(r"(?:\b|_)cron(?:[ _-]?jobs?)?(?:\b|_)|\bscheduled\b", re.IGNORECASE)


def brought_nothing(attributes: Mapping[str, str]) -> bool:
    """Whether a receive says that it brought no message."""
    return attributes.get("message_count") == "0"


def _is_open(attributes: Mapping[str, str], name: str) -> bool:
    if attributes.get("http_status") == "101" or attributes.get("upgrade", "").lower() == "websocket":
        return True
    if attributes.get("protocol", "").lower() in _OPEN_PROTOCOLS:
        return True
    if attributes.get("scheme", "").lower() in _OPEN_PROTOCOLS:
        return True
    # a client that would take one among other answers says so behind them
    if attributes.get("media_type", "").lstrip('["').lower().startswith(_EVENT_STREAM):
        return True
    if "stream" in attributes.get("call_type", "").lower():
        return True
    if attributes.get("graphql_type", "").lower() == "subscription":
        return True
    return _OPEN_NAME.search(name) is not None


def life(attributes: Mapping[str, str], kind: int, name: str, plain: bool) -> int:
    """LIFE_STREAM, LIFE_SCHEDULED, or MSG_NONE where nothing says either.

    Parameters
    ----------
    attributes, kind, name
        As for `tracescope.conventions.semconv.meaning`.
    plain
        Whether the span is no call and no request by its attributes: then its name may say that a clock
        runs it.
    """
    if kind in (KIND_PRODUCER, KIND_CONSUMER):
        return MSG_NONE
    if _is_open(attributes, name):
        return LIFE_STREAM
    if attributes.get("trigger", "").lower() == "timer" or "schedule" in attributes:
        return LIFE_SCHEDULED
    return LIFE_SCHEDULED if plain and _TIMED_NAME.search(name) else MSG_NONE

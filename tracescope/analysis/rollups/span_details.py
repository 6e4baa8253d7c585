"""One span with what it carries: attributes, events, links, status, and its resource.

Raw OTLP bytes, as they are stored: less what is cut before anything is stored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import polars as pl

from tracescope.errors import InputError


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """An event: ns after the span's start, its name, its attributes."""

    after_ns: int
    name: str
    attributes: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class SpanDetails:
    """What a span carries; values of attributes as text."""

    span_id: str
    service: str
    operation: str
    scope: str
    status: str
    attributes: tuple[tuple[str, str], ...]
    resource: tuple[tuple[str, str], ...]
    events: tuple[SpanEvent, ...]
    links: tuple[str, ...]


def details(spans: pl.DataFrame, span_id: str) -> SpanDetails:
    """Details of one span of a trace.

    Parameters
    ----------
    spans
        SPANS rows of the trace.
    span_id
        16 hex digits.

    Raises
    ------
    InputError
        The trace has no such span.
    """
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource
    from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

    digits = span_id.zfill(16)
    number = int(digits, 16) if re.fullmatch("[0-9a-fA-F]{16}", digits) else 0
    rows = spans.filter(pl.col("span_id") == (number - 2**64 if number >= 2**63 else number))
    if rows.is_empty():
        raise InputError(f"no span {span_id[:40]!r} in this trace", "take one from the list of its spans")
    row = rows.row(0, named=True)
    span = Span.FromString(row["raw"] or b"")
    return SpanDetails(
        span_id=digits.lower(),
        service=row["service_name"],
        operation=row["operation"],
        scope=row["scope"] or "",
        status=Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_").lower()
        + (f": {span.status.message}" if span.status.message else ""),
        attributes=_pairs(span.attributes),
        resource=_pairs(Resource.FromString(row["resource"] or b"").attributes),
        events=tuple(
            SpanEvent(event.time_unix_nano - row["start_ns"], event.name, _pairs(event.attributes))
            for event in span.events
        ),
        links=tuple(link.trace_id.hex() for link in span.links),
    )


def _pairs(attributes: Any) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((pair.key, _text(pair.value)) for pair in attributes))


def _text(value: Any) -> str:
    """An AnyValue as text; lists and maps as JSON would have them."""
    which = value.WhichOneof("value")
    if which is None:
        return ""
    if which == "array_value":
        return "[" + ", ".join(_text(one) for one in value.array_value.values) + "]"
    if which == "kvlist_value":
        return "{" + ", ".join(f"{one.key}: {_text(one.value)}" for one in value.kvlist_value.values) + "}"
    if which == "bytes_value":
        return value.bytes_value.hex()
    found = getattr(value, which)
    return (
        str(found).lower()
        if isinstance(found, bool)
        else f"{found:g}"
        if isinstance(found, float)
        else str(found)
    )

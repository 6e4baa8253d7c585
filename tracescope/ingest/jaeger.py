"""Jaeger JSON to OTLP: what its API and UI give, arrays and lines of spans, Elasticsearch documents.

Nearly all traces are plain enough for the kernel `plain_jaeger`; what is here reads the others, and the
two give the same spans.

    trace   {"traceID", "spans": [...], "processes": {"p1": {"serviceName", "tags"}}}
    span    {"traceID", "spanID", "operationName", "references", "startTime", "duration", "tags", "logs",
             "processID" of a trace, or "process" of its own}

Tags become attributes, ``span.kind``, ``error``, ``otel.status_code`` and ``w3c.tracestate`` what they
stand for, logs events, and references links, but for the one that names the parent.

Source: jaegertracing/jaeger model/json; OpenTelemetry, "OpenTelemetry to Jaeger Transformation".
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterable
from typing import Any

import orjson

from tracescope.errors import in_words
from tracescope.ingest.otlp_json import Json, Malformed, encode_request

_KINDS = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
_MOST = 2**63 - 1


def _number(value: Any) -> int | None:
    """An integer of 64 bits, as a number or text."""
    try:
        found = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if found == value or (isinstance(value, str) and -_MOST <= found <= _MOST) else None


def value_of(value: Any, kind: str = "") -> Json:
    """An AnyValue of a tag's value and type; what does not fit its type is kept as text."""
    if kind == "binary" and isinstance(value, str):
        try:
            return {"bytesValue": base64.b64encode(base64.b64decode(value, validate=True)).decode()}
        except (binascii.Error, ValueError):
            return {"stringValue": value}
    if kind == "bool" and value in ("true", "false"):
        return {"boolValue": value == "true"}
    if isinstance(value, bool):
        return {"boolValue": value}
    if (kind == "int64" or (kind != "float64" and isinstance(value, int))) and (
        found := _number(value)
    ) is not None:
        return {"intValue": found} if -_MOST <= found <= _MOST else {"stringValue": str(value)}
    if kind == "float64" or isinstance(value, float):
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            return {"stringValue": str(value)}
        return {"doubleValue": "NaN" if math.isnan(number) else repr(number)}
    if value is None:
        return {}
    return {"stringValue": value if isinstance(value, str) else orjson.dumps(value).decode()}


def _attribute(tag: Json) -> Json:
    return {"key": _key(tag), "value": value_of(tag.get("value"), tag.get("type") or "")}


def _key(tag: Json) -> str:
    key = tag["key"]
    if not isinstance(key, str):
        raise TypeError(f"a tag's key is {key!r}")
    return key


def _tags(owner: Json) -> list[Json]:
    """Tags of a span or process: a list, an object, and Elasticsearch's members, dots written as ``@``."""
    given: list[Json] | Json = owner.get("tags") or []
    if isinstance(given, dict):
        given = [{"key": key, "value": value} for key, value in given.items()]
    tags = list(given)
    flat: Json = owner.get("tag") or {}
    return tags + [{"key": key.replace("@", "."), "value": value} for key, value in flat.items()]


def hex_id(value: Any, size: int) -> str:
    """An id as OTLP has it: ids are sent without leading zeros.

    Raises
    ------
    TypeError
        It is no text.
    """
    if not value:
        return ""
    if not isinstance(value, str):
        raise TypeError(f"an id is {value!r}")
    return value.lower().rjust(size, "0")


def time_ns(value: Any) -> int:
    """Nanoseconds of microseconds; 0, which no span starts at, for what does not fit."""
    found = int(value or 0) * 1000
    return found if 0 <= found <= _MOST else 0


def _parent(span: Json, kind: str) -> tuple[str, list[Json]]:
    """The parent's id, and the references that are links."""
    trace, parent, links = hex_id(span["traceID"], 32), "", list[Json]()
    for reference in span.get("references") or []:
        where = hex_id(reference.get("traceID"), 32) or trace
        if not parent and reference["refType"] == "CHILD_OF" and where == trace:
            parent = hex_id(reference["spanID"], 16)
        else:
            links.append({"traceId": where, "spanId": hex_id(reference["spanID"], 16)})
    if not parent and links and links[0]["traceId"] == trace and kind != "consumer":
        parent = links[0]["spanId"]  # FOLLOWS_FROM alone still says who started it
        links = links[1:]
    return parent or hex_id(span.get("parentSpanID"), 16), links


def _event(log: Json) -> Json:
    fields: list[Json] = log.get("fields") or []
    names = [field for field in fields if _key(field) == "event" and isinstance(field.get("value"), str)]
    rest = [field for field in fields if not names or field is not names[0]]
    return {
        "timeUnixNano": time_ns(log.get("timestamp")),
        "name": names[0]["value"] if names else "",
        "attributes": [_attribute(field) for field in rest],
    }


def _status(tags: list[Json]) -> Json | None:
    """Of the tags that stand for it; of several of one name the last counts."""
    values = {_key(tag): tag.get("value") for tag in tags}
    code = {"OK": 1, "ERROR": 2}.get(str(values.get("otel.status_code")), 0)
    if values.get("error") is True or values.get("error") == "true":
        code = 2
    message = values.get("otel.status_description")
    if not code:
        return None
    return {"code": code, **({"message": message} if isinstance(message, str) else {})}


def _span(span: Json) -> Json:
    tags = _tags(span)
    kind = next((str(tag.get("value")).lower() for tag in tags if _key(tag) == "span.kind"), "")
    states = [tag.get("value") for tag in tags if _key(tag) == "w3c.tracestate"]
    parent, links = _parent(span, kind)
    start = time_ns(span["startTime"])
    end = start + int(span.get("duration") or 0) * 1000
    return {
        "traceId": hex_id(span["traceID"], 32),
        "spanId": hex_id(span["spanID"], 16),
        "traceState": states[-1] if states and isinstance(states[-1], str) else None,
        "parentSpanId": parent,
        "name": span.get("operationName"),
        "kind": _KINDS.get(kind, 0),
        "startTimeUnixNano": start,
        "endTimeUnixNano": end if 0 <= end <= _MOST else 0,
        "attributes": [_attribute(tag) for tag in tags if tag["key"] != "span.kind"],
        "events": [_event(log) for log in span.get("logs") or []],
        "links": links,
        "status": _status(tags),
    }


def _resource(process: Json) -> Json:
    name = {"key": "service.name", "value": {"stringValue": process.get("serviceName") or ""}}
    return {"attributes": [*(_attribute(tag) for tag in _tags(process)), name]}


def encode(traces: Iterable[Json]) -> bytes:
    """ExportTraceServiceRequest bytes of traces; a span that stands alone is a trace without processes.

    Raises
    ------
    Malformed
        A field that every Jaeger span has is missing or of another kind.
    """
    groups: list[Json] = []
    own: dict[bytes, Json] = {}  # by the process that a span brings with it
    try:
        for trace in traces:
            of_trace: dict[bytes, Json] = {}
            processes: Json = trace.get("processes") or {}
            for span in trace["spans"] or () if "spans" in trace else (trace,):
                process, found = span.get("process"), of_trace
                key = orjson.dumps(process or span.get("processID"), option=orjson.OPT_SORT_KEYS)
                if process:
                    found = own
                if key not in found:
                    resource = _resource(process or processes.get(span.get("processID") or "") or {})
                    found[key] = {"resource": resource, "scopeSpans": [{"spans": []}]}
                    groups.append(found[key])
                made = _span({"traceID": trace.get("traceID"), **span})
                found[key]["scopeSpans"][0]["spans"].append(made)
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise misshapen("Jaeger", error) from error
    return encode_request({"resourceSpans": groups})


def misshapen(form: str, error: Exception) -> Malformed:
    """What a document of another tracer's JSON lacks, or has of another kind."""
    said = f"a span without {error}" if isinstance(error, KeyError) else in_words(error)
    return Malformed(f"not shaped like {form} JSON: {said}")

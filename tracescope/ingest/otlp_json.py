"""OTLP JSON to OTLP protobuf.

OTLP's JSON is protobuf's JSON mapping with three differences: trace and span ids are hex, enums are
integers, and unknown fields are ignored.  64-bit integers come as strings or numbers.  Transcoding
keeps one way into SPANS: everything is decoded by the wire kernel.  Nearly all documents are plain
enough for `plain_json`; what is here reads the others, and says what is wrong with them.

Source: OTLP specification 1.11, "JSON Protobuf Encoding".
"""

from __future__ import annotations

import base64
import binascii
import struct
from typing import Any

import orjson

from tracescope.kernels import plain_json

_FIXED64 = struct.Struct("<Q").pack
_DOUBLE = struct.Struct("<d").pack
_VARINTS = [bytes((n,)) if n < 128 else bytes((n & 127 | 128, n >> 7)) for n in range(16384)]
_CACHE_LIMIT = 65_536
_CACHED_LENGTH = 200

_KINDS = {"SPAN_KIND_UNSPECIFIED": 0, "SPAN_KIND_INTERNAL": 1, "SPAN_KIND_SERVER": 2, "SPAN_KIND_CLIENT": 3,
          "SPAN_KIND_PRODUCER": 4, "SPAN_KIND_CONSUMER": 5}  # fmt: skip
_STATUSES = {"STATUS_CODE_UNSET": 0, "STATUS_CODE_OK": 1, "STATUS_CODE_ERROR": 2}

Json = dict[str, Any]


class Malformed(Exception):  # noqa: N818 - internal: the reader turns it into an InputError with its place
    """What is wrong with one document, and a hint."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def varint(value: int) -> bytes:
    """Protobuf varint of a non-negative integer below 2**64."""
    if value < 16384:
        return _VARINTS[value]
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def delimited(tag: bytes, body: bytes) -> bytes:
    """One length-delimited field with its tag byte."""
    return tag + varint(len(body)) + body


def string_attribute(key: str, value: str) -> bytes:
    """A KeyValue with a string, without the tag of the field it stands in."""
    return delimited(b"\x0a", key.encode()) + delimited(b"\x12", delimited(b"\x0a", value.encode()))


def _integer(value: Any, what: str) -> int:
    try:
        found = int(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise Malformed(f"{what} is {value!r}, not an integer") from error
    if found != value and isinstance(value, float):
        raise Malformed(f"{what} is {value!r}, not an integer")
    return found


def _any_value(value: Json) -> bytes:
    """An AnyValue message."""
    for name, content in value.items():
        if name == "stringValue":
            return delimited(b"\x0a", str(content).encode())
        if name == "boolValue":
            return b"\x10\x01" if content else b"\x10\x00"
        if name == "intValue":
            return b"\x18" + varint(_integer(content, "intValue") & 0xFFFFFFFFFFFFFFFF)
        if name == "doubleValue":
            return b"\x21" + _DOUBLE(float(content))
        if name == "arrayValue":
            items = (content or {}).get("values", ())
            return delimited(b"\x2a", b"".join(delimited(b"\x0a", _any_value(item)) for item in items))
        if name == "kvlistValue":
            pairs = (content or {}).get("values", ())
            return delimited(b"\x32", b"".join(delimited(b"\x0a", _key_value(pair)) for pair in pairs))
        if name == "bytesValue":
            text = (
                content.replace("-", "+").replace("_", "/").rstrip("=")
            )  # both alphabets, as protobuf reads
            return delimited(b"\x3a", base64.b64decode(text + "=" * (-len(text) % 4), validate=True))
    return b""


_cache: dict[tuple[str, str], bytes] = {}


def _key_value(pair: Json) -> bytes:
    """A KeyValue message; short strings are remembered."""
    key, value = pair.get("key", ""), pair.get("value") or {}
    text = value.get("stringValue")
    if text is None or len(text) > _CACHED_LENGTH:
        return delimited(b"\x0a", key.encode()) + delimited(b"\x12", _any_value(value))
    found = _cache.get((key, text))
    if found is None:
        if len(_cache) > _CACHE_LIMIT:
            _cache.clear()
        found = _cache[key, text] = string_attribute(key, text)
    return found


def _attributes(tag: bytes, pairs: list[Json]) -> bytes:
    out: list[bytes] = []
    for pair in pairs:
        body = _key_value(pair)
        out.append(tag + varint(len(body)) + body)
    return b"".join(out)


def _id(value: str, size: int, what: str) -> bytes:
    """Bytes of a hex id; base64, which protobuf's own JSON mapping would use, is refused."""
    try:
        found = bytes.fromhex(value)
    except (ValueError, TypeError):
        found = b""
    if found or not value:
        return found
    try:
        decoded = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError, TypeError):
        decoded = b""
    if len(decoded) == size:
        raise Malformed(
            f"{what} {value!r} is base64",
            "OTLP JSON has ids in hex; export with the Collector's file exporter",
        )
    raise Malformed(f"{what} {value!r} is not hex")


def _enum(value: Any, names: dict[str, int], what: str) -> int:
    if isinstance(value, str) and value in names:
        return names[value]
    return _integer(value, what) & 0xFFFFFFFF


def encode_span(span: Json) -> bytes:
    """A Span message of its OTLP JSON."""
    get = span.get
    out: list[bytes] = []
    if trace_id := get("traceId"):
        out.append(delimited(b"\x0a", _id(trace_id, 16, "traceId")))
    if span_id := get("spanId"):
        out.append(delimited(b"\x12", _id(span_id, 8, "spanId")))
    if state := get("traceState"):
        out.append(delimited(b"\x1a", state.encode()))
    if parent := get("parentSpanId"):
        out.append(delimited(b"\x22", _id(parent, 8, "parentSpanId")))
    if name := get("name"):
        out.append(delimited(b"\x2a", name.encode()))
    if kind := get("kind"):
        out.append(b"\x30" + varint(_enum(kind, _KINDS, "kind")))
    for tag, field in ((b"\x39", "startTimeUnixNano"), (b"\x41", "endTimeUnixNano")):
        if time := get(field):
            value = _integer(time, field)
            if not 0 <= value < 2**64:
                raise Malformed(f"{field} {value} does not fit 64 bits")
            out.append(tag + _FIXED64(value))
    if attributes := get("attributes"):
        out.append(_attributes(b"\x4a", attributes))
    if events := get("events"):
        for event in events:
            body = b"\x09" + _FIXED64(_integer(event.get("timeUnixNano", 0), "timeUnixNano"))
            body += delimited(b"\x12", event.get("name", "").encode())
            out.append(delimited(b"\x5a", body + _attributes(b"\x1a", event.get("attributes") or [])))
    if links := get("links"):
        for link in links:
            body = delimited(b"\x0a", _id(link.get("traceId", ""), 16, "link traceId"))
            body += delimited(b"\x12", _id(link.get("spanId", ""), 8, "link spanId"))
            out.append(delimited(b"\x6a", body + _attributes(b"\x22", link.get("attributes") or [])))
    if status := get("status"):
        body = b""
        if message := status.get("message"):
            body = delimited(b"\x12", message.encode())
        if code := status.get("code"):
            body += b"\x18" + varint(_enum(code, _STATUSES, "status code"))
        out.append(delimited(b"\x7a", body))
    return b"".join(out)


def _scope_spans(scope_spans: Json) -> bytes:
    out: list[bytes] = []
    if scope := scope_spans.get("scope"):
        body = delimited(b"\x0a", scope.get("name", "").encode())
        body += delimited(b"\x12", scope.get("version", "").encode())
        out.append(delimited(b"\x0a", body + _attributes(b"\x1a", scope.get("attributes") or [])))
    for span in scope_spans.get("spans") or ():
        body = encode_span(span)
        out.append(b"\x12" + varint(len(body)) + body)
    return b"".join(out)


def encode_request(document: Json) -> bytes:
    """ExportTraceServiceRequest bytes of a TracesData document.

    Raises
    ------
    Malformed
        An id, number or shape that OTLP does not allow.
    """
    out: list[bytes] = []
    try:
        for resource_spans in document.get("resourceSpans") or ():
            resource = resource_spans.get("resource") or {}
            body = delimited(b"\x0a", _attributes(b"\x0a", resource.get("attributes") or []))
            for scope in (
                resource_spans.get("scopeSpans") or resource_spans.get("instrumentationLibrarySpans") or ()
            ):
                body += delimited(b"\x12", _scope_spans(scope))
            out.append(delimited(b"\x0a", body))
    except (AttributeError, TypeError, ValueError) as error:
        raise Malformed(f"the document is not shaped like OTLP: {type(error).__name__}: {error}") from error
    return b"".join(out)


def transcode(text: bytes) -> bytes:
    """ExportTraceServiceRequest bytes of one OTLP JSON document.

    Raises
    ------
    Malformed
        The text is no JSON, or no OTLP.
    """
    written = plain_json.transcode(text)
    return transcode_any(text) if written is None else written


def transcode_any(text: bytes) -> bytes:
    """The same, of documents that are not plain."""
    try:
        document: Any = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"not JSON: {error}") from error
    if not isinstance(document, dict) or "resourceSpans" not in document:
        if isinstance(document, dict) and ("resourceLogs" in document or "resourceMetrics" in document):
            return b""
        raise Malformed("no resourceSpans: not OTLP traces")
    return encode_request(document)

"""Formats that are not read, by their own names, each with the way that works.

A file is known by its first bytes, a text by what stands in it, a JSON document by its members.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

_BLOCKS = "a block of Tempo is read by its folder, `tracescope import tempo:///FOLDER`"
_COLLECTOR = "export it through an OpenTelemetry Collector with the file exporter"


class Format(NamedTuple):
    """What something is, and how its spans can be had."""

    name: str
    way: str


_MAGIC: tuple[tuple[bytes, Format], ...] = (
    (b"PAR1", Format("a Parquet file", f"{_BLOCKS}, or {_COLLECTOR}; rows as OTLP JSON lines do, too")),
    (b"ORC", Format("an ORC file", _COLLECTOR)),
    (b"Obj\x01", Format("an Avro file", _COLLECTOR)),
    (b"ARROW1", Format("an Arrow file", _COLLECTOR)),
    (b"SQLite format 3", Format("an SQLite database", _COLLECTOR)),
    (b"PK\x03\x04", Format("a ZIP archive", "unpack it and import the folder")),
    (b"BZh", Format("bzip2 data", "decompress it, or compress with gzip or zstd")),
    (b"\xfd7zXZ\x00", Format("xz data", "decompress it, or compress with gzip or zstd")),
    (b"\x04\x22\x4d\x18", Format("LZ4 data", "decompress it, or compress with gzip or zstd")),
    (b"\xff\x06\x00\x00sNaPpY", Format("Snappy data", "decompress it, or compress with gzip or zstd")),
    (b"7z\xbc\xaf\x27\x1c", Format("a 7z archive", "unpack it and import the folder")),
    (b"%PDF-", Format("a PDF document", "leave it out")),
    (b"\x89PNG", Format("a PNG image", "leave it out")),
    (b"\x7fELF", Format("a program", "leave it out")),
    (b"\xd4\xc3\xb2\xa1", Format("a packet capture", "leave it out")),
)  # fmt: skip

_EXPORTER = f"use the OTLP exporter, or {_COLLECTOR}"
_TEXTS: tuple[tuple[str, Format], ...] = (
    (r"Activity\.(TraceId|SpanId|Id):", Format("the text of .NET's console exporter", _EXPORTER)),
    (
        r"\btraceId: '[0-9a-f]{32}'|\btraceFlags?: \d|instrumentationScope: \{",
        Format("the text of Node's console exporter", _EXPORTER),
    ),
    (
        r"(?m)^ResourceSpans #\d+|\bScopeSpans #\d+",
        Format("the text of the Collector's debug exporter", "use its file exporter instead"),
    ),
    (
        r"'[^'\n]*' : [0-9a-f]{32} [0-9a-f]{16} (INTERNAL|SERVER|CLIENT|PRODUCER|CONSUMER)",
        Format("the text of Java's logging exporter", "use its OTLP exporter, or otlp-logging"),
    ),
    (
        r"(?m)^(Spans|Span #\d+)\n\s*Resource|\bInstrumentation Scope\b",
        Format("the text of Rust's stdout exporter", _EXPORTER),
    ),
    (
        r"\A[^\n]*\b(trace_?id|TraceId|traceID)\b[^\n]*[,;\t][^\n]*\n",
        Format("a table of comma-separated values", "export OTLP or Jaeger JSON instead"),
    ),
    (r"\A\s*(INSERT INTO|CREATE TABLE|SELECT)\b", Format("SQL", "export OTLP JSON lines instead")),
    (r"\A\s*<(\?xml|!DOCTYPE|html)", Format("XML or HTML", "leave it out")),
)

_DATADOG, _XRAY, _SKYWALKING = (
    f"send them through a Collector with the {name} receiver and the file exporter"
    for name in ("datadog", "awsxray", "skywalking")
)
_APM = "send OTLP to a Collector with the file exporter beside it"
#: Members that tell a kind of document; the first row of which all are there.
_MEMBERS: tuple[tuple[frozenset[str], Format], ...] = tuple(
    (frozenset(members.split()), Format(name, way))
    for members, name, way in (
        ("TraceId SpanId SpanName", "rows of ClickHouse's otel_traces", _COLLECTOR),
        ("TraceId SpanId Timestamp", "rows of ClickHouse's otel_traces", _COLLECTOR),
        ("meta data rows", "an answer of ClickHouse", _COLLECTOR),
        ("meta data statistics", "an answer of ClickHouse", _COLLECTOR),
        ("trace_id span_id service resource", "Datadog traces", _DATADOG),
        ("traces tracer_payloads", "Datadog traces", _DATADOG),
        ("Traces", "AWS X-Ray traces", _XRAY),
        ("Segments Id", "AWS X-Ray traces", _XRAY),
        ("trace_id id start_time name", "AWS X-Ray segments", _XRAY),
        ("Document Id", "AWS X-Ray segments", _XRAY),
        ("traceSegmentId", "SkyWalking segments", _SKYWALKING),
        ("segmentId endpointName", "SkyWalking spans", _SKYWALKING),
        ("queryTrace", "an answer of SkyWalking", _SKYWALKING),
        ("queryBasicTraces", "an answer of SkyWalking", _SKYWALKING),
        ("context parent_id start_time", "the JSON of Python's console exporter", _EXPORTER),
        ("SpanContext Parent Name", "the JSON of Go's stdouttrace exporter", _EXPORTER),
        ("resource traceId instrumentationScope", "the output of Node's console exporter", _EXPORTER),
        ("durationInNanos traceGroup", "documents of OpenSearch's Data Prepper", _APM),
        ("processor timestamp transaction", "documents of Elastic APM", _APM),
        ("processor timestamp span", "documents of Elastic APM", _APM),
        ("displayName spanId startTime", "Google Cloud traces", _COLLECTOR),
        ("projectId traceId spans", "Google Cloud traces", _COLLECTOR),
        ("traceEvents", "Chrome trace events", "leave it out"),
        (
            "traces metrics",
            "a search answer of Tempo, which has no spans",
            "ask /api/traces/TRACE_ID for each",
        ),
    )
)


def known_binary(head: bytes) -> Format | None:
    """A file by its first bytes; None for one that may hold traces."""
    for magic, found in _MAGIC:
        if head.startswith(magic):
            return found
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or _is_wide(head):
        return Format("UTF-16 text", "convert it: iconv -f UTF-16 -t UTF-8 FILE")
    if head[257:262] == b"ustar":
        return Format("a tar archive", "unpack it and import the folder")
    return None


def _is_wide(head: bytes) -> bool:
    """Whether every second byte of what looks like text is zero."""
    some = head[:64]
    return len(some) >= 8 and any(
        not any(some[zeros::2])
        and all(32 <= byte < 127 or byte in b"\t\r\n" for byte in some[1 - zeros :: 2])
        for zeros in (0, 1)
    )


def known_text(head: str) -> Format | None:
    """A text, which is no JSON, by what stands in its beginning."""
    for pattern, found in _TEXTS:
        if re.search(pattern, head):
            return found
    return None


def known_document(document: dict[str, Any]) -> Format | None:
    """A JSON object by its members."""
    for members, found in _MEMBERS:
        if members <= document.keys():
            return found
    return None

r"""Stores of small traces, for tests.

    spans("A web GET 10:59:59 +2s\n  A orders list 11:00:00 +1s")

writes one span a line: trace, service, operation, start within one UTC day, duration; indented under
its parent.  All are SERVER spans.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import buckets
import polars as pl
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tracescope import schema
from tracescope.analysis.rollups.merge import checksum
from tracescope.engine.seal import seal
from tracescope.ingest.decode import decode
from tracescope.store import SpanStore, open_store

SECOND = 10**9
HOUR = 3600 * SECOND
#: The day that times are of: Wednesday 2026-09-30.
DAY = int(datetime(2026, 9, 30, tzinfo=UTC).timestamp()) * SECOND
HOUR_OF_DAY = DAY // HOUR
ARRIVED = DAY + 24 * HOUR

#: Whether new stores are made in a bucket; see `conftest.where`.
in_bucket = False

_LINE = re.compile(r"( *)(\w+) (\S+) (\S+) (\d\d):(\d\d):(\d\d) \+(\d+)s((?: \S+=\S+)*)")


def request(text: str) -> ExportTraceServiceRequest:
    """The spans as OTLP; trailing ``key=value`` words are attributes."""
    message = ExportTraceServiceRequest()
    stack: list[tuple[int, bytes]] = []
    for number, line in enumerate(text.strip("\n").splitlines(), 1):
        found = _LINE.fullmatch(line)
        assert found is not None, line
        indent = len(found[1])
        while stack and stack[-1][0] >= indent:
            stack.pop()
        part = message.resource_spans.add()
        part.resource.attributes.add(key="service.name").value.string_value = found[3]
        span = part.scope_spans.add().spans.add()
        span.trace_id = found[2].encode().rjust(16, b"\1")
        span.span_id = number.to_bytes(4, "big").rjust(8, b"\2")
        span.parent_span_id = stack[-1][1] if stack else b""
        span.name, span.kind = found[4], 2
        start = DAY + (int(found[5]) * 3600 + int(found[6]) * 60 + int(found[7])) * SECOND
        span.start_time_unix_nano, span.end_time_unix_nano = start, start + int(found[8]) * SECOND
        for word in found[9].split():
            key, _, value = word.partition("=")
            span.attributes.add(key=key).value.string_value = value
        stack.append((indent, span.span_id))
    return message


def spans(text: str) -> pl.DataFrame:
    """The same as SPANS rows."""
    return decode([request(text).SerializeToString()], ARRIVED).spans


def land(store: SpanStore, frame: pl.DataFrame, batch: str, arrived_ns: int = ARRIVED) -> None:
    """Land rows as one batch."""
    store.land(frame, batch=batch, accepted=len(frame), rejected={}, arrived_ns=arrived_ns)


def seal_at(path: Path, frame: pl.DataFrame, *, sealed: bool = True) -> SpanStore:
    """A new store of some rows, sealed or only landed."""
    store = new_store(path)
    land(store, frame, "b", arrived_ns=int(frame["end_ns"].max()) + HOUR)  # pyright: ignore[reportArgumentType]
    if sealed:
        seal(store)
    return store


def new_store(path: Path) -> SpanStore:
    """An empty store."""
    return open_store(place(path), create=True)


def place(path: Path) -> Path:
    """A folder for a store: made a mirror of a new one in a bucket, where tests ask for that."""
    return buckets.mirror(path, buckets.new_url(path.name)) if in_bucket else path


def sealed_checksum(store: SpanStore) -> str:
    """Hash of every sealed rollup and of the names that they use."""
    pointer = store.sealed.pointer()
    tables = {
        name: store.sealed.scan(pointer, name).collect() for name in (*schema.ROLLUPS, *schema.DIMENSIONS)
    }
    for name, key, user in (("entries", "entry_id", "entry_hours"), ("paths", "path_id", "path_hours")):
        tables[name] = tables[name].join(tables[user].select(key), on=key, how="semi")
    return checksum(tables)


def many(traces: int, hours: int = 3, name: str = "T") -> pl.DataFrame:
    """So many traces of three spans, spread over some hours."""
    lines = []
    for number in range(traces):
        second = number * hours * 3600 // traces
        at = f"{8 + second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
        lines += [
            f"{name}{number} gateway checkout {at} +3s",
            f"  {name}{number} orders place {at} +2s",
            f"    {name}{number} stock reserve {at} +1s",
        ]
    return spans("\n".join(lines))

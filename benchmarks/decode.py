"""Decoding OTLP: the wire kernel against the protobuf classes and a plain loop, in one run.

    python benchmarks/decode.py [SPANS]

Spans of about 420 bytes with ten attributes, 512 to a request, old and new attribute names, raw
URLs and query texts with literals (the costly ones).  Both sides read the same fields; the table's
figures are medians of five, after one run that compiles.  Goal: columns at 30 times the loop, the
whole way to a frame with its strings at about a million spans a second on one core.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tracescope.conventions import semconv
from tracescope.ingest import decode as decoder

START_NS = 1_790_000_000_000_000_000
PER_REQUEST = 512
RUNS = 5

VERBS = ("GET", "POST", "PUT", "DELETE")
TABLES = ("orders", "customers", "stock", "payments", "carts")


def attribute(span: Any, key: str, value: str | int) -> None:
    item = span.attributes.add()
    item.key = key
    if isinstance(value, int):
        item.value.int_value = value
    else:
        item.value.string_value = value


def fill(span: Any, kind: int, draw: random.Random) -> None:
    """Ten attributes, as instrumentations send them."""
    verb, table = draw.choice(VERBS), draw.choice(TABLES)
    if kind == Span.SPAN_KIND_SERVER:
        span.name = f"{verb} /api/v1/{table}/{{id}}"
        values = {
            "http.request.method": verb, "http.route": f"/api/v1/{table}/{{id}}",
            "url.path": f"/api/v1/{table}/{draw.randrange(10**6)}", "url.scheme": "https",
            "server.address": f"{table}.shop.internal", "http.response.status_code": 200,
            "user_agent.original": "okhttp/4.12.0", "network.protocol.version": "1.1",
        }  # fmt: skip
    elif kind == Span.SPAN_KIND_CLIENT and draw.random() < 0.5:
        span.name = verb
        values = {
            "http.request.method": verb,
            "url.full": f"https://{table}.shop.internal:8443/api/v1/{table}/{draw.randrange(10**6)}",
            "server.address": f"{table}.shop.internal", "server.port": 8443,
            "http.response.status_code": 200, "network.protocol.version": "1.1",
        }  # fmt: skip
    elif kind == Span.SPAN_KIND_CLIENT:
        span.name = f"SELECT {table}"
        values = {
            "db.system": "postgresql", "db.name": "shop", "net.peer.name": "pg-0.shop.internal",
            "net.peer.port": 5432, "db.user": "shop", "db.connection_string": "postgresql://pg-0:5432/shop",
            "db.statement": f"SELECT * FROM {table} WHERE id = {draw.randrange(10**6)} AND state = 'open'",
        }  # fmt: skip
    else:
        span.name = f"handle {table}"
        values = {"code.function.name": f"handle_{table}", "code.file.path": f"src/shop/{table}.py"}
    for key, value in values.items():
        attribute(span, key, value)
    pads = (
        "thread.name",
        "enduser.id",
        "app.tenant",
        "app.region",
        "app.flag",
        "app.cell",
        "app.ring",
        "app.note",
    )
    for key in pads[: 10 - len(values)]:
        attribute(span, key, f"{key}-{draw.randrange(1000)}")


def requests(count: int) -> list[bytes]:
    """`count` spans in requests of 512, four resources each."""
    draw = random.Random(7)
    made = []
    for first in range(0, count, PER_REQUEST):
        request = ExportTraceServiceRequest()
        for service in draw.sample(range(20), 4):
            part = request.resource_spans.add()
            for key, value in (
                ("service.name", f"service-{service}"), ("service.instance.id", f"service-{service}-7f9c-{service}"),
                ("deployment.environment.name", "production"), ("host.name", f"node-{service % 5}"),
                ("telemetry.sdk.language", "java"), ("service.version", "1.14.2"),
            ):  # fmt: skip
                attribute(part.resource, key, value)
            scope = part.scope_spans.add()
            scope.scope.name = "io.opentelemetry.okhttp-3.0"
            for number in range(PER_REQUEST // 4):
                span = scope.spans.add()
                span.trace_id, span.span_id = draw.randbytes(16), draw.randbytes(8)
                span.parent_span_id = draw.randbytes(8)
                span.kind = (2, 3, 3, 1)[number % 4]
                span.start_time_unix_nano = START_NS + first * 1000 + number
                span.end_time_unix_nano = span.start_time_unix_nano + draw.randrange(10**8)
                span.flags = 0x101
                fill(span, span.kind, draw)
        made.append(request.SerializeToString())
    return made


def plain_loop(payloads: list[bytes]) -> list[tuple[Any, ...]]:
    """Read with the protobuf classes what the kernel reads: ids, times, names, attributes of interest."""
    tables = (semconv.SPAN_ATTRIBUTES, semconv.RESOURCE_ATTRIBUTES)
    wanted = {name for table in tables for names in table.values() for name in names}
    rows = []
    for payload in payloads:
        request = ExportTraceServiceRequest.FromString(payload)
        for part in request.resource_spans:
            about = {
                item.key: item.value.string_value for item in part.resource.attributes if item.key in wanted
            }
            for scope in part.scope_spans:
                for span in scope.spans:
                    found = {
                        item.key: getattr(item.value, item.value.WhichOneof("value"))
                        for item in span.attributes
                        if item.key in wanted
                    }
                    rows.append((
                        span.trace_id, span.span_id, span.parent_span_id, span.start_time_unix_nano,
                        span.end_time_unix_nano, span.kind, span.status.code, span.trace_state, span.name,
                        scope.scope.name, about, found, len(span.links),
                    ))  # fmt: skip
    return rows


def seconds(work: Callable[[], object]) -> float:
    """Median of some runs, after one that warms up."""
    work()
    taken = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 102_400
    payloads = requests(count)
    size = sum(map(len, payloads))
    begin = time.perf_counter()
    decoder.decode(payloads[:1], START_NS)
    print(f"first decode, compiling or from cache: {time.perf_counter() - begin:.1f} s")
    print(f"{count} spans, {size / count:.0f} bytes each, {PER_REQUEST} a request")
    loop = seconds(lambda: plain_loop(payloads))
    ways: dict[str, Callable[[], object]] = {
        "check, request by request": lambda: [
            decoder.judge(decoder.scan([payload], START_NS)) for payload in payloads
        ],
        "wire scan to columns and codes": lambda: decoder.scan(payloads, START_NS),
        "decode to SPANS, all at once": lambda: decoder.decode(payloads, START_NS),
        "decode to SPANS, request by request": lambda: [decoder.decode([p], START_NS) for p in payloads],
    }
    print(f"{'protobuf classes and a Python loop':<38}{count / loop / 1e6:8.3f} M spans/s")
    for name, work in ways.items():
        taken = seconds(work)
        print(f"{name:<38}{count / taken / 1e6:8.3f} M spans/s {loop / taken:7.1f} times the loop")


if __name__ == "__main__":
    main()

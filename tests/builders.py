"""Spans for tests, written as trees.

    tree('''
        gateway 0-100 server
          gateway 5-95 client
            orders 10-90 server host=b
              orders 20-60 client db peer=postgresql/orders op='SELECT orders'
    ''')

A line is a service, its times in ms and words: a kind, a class (db, messaging, rpc, http, transport,
sidecar), a messaging operation (send, receive, process, settle, empty), a life (stream, scheduled),
`error`, or `key=value`.  Indentation makes parents.
"""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import polars as pl

from tracescope import schema

#: An hour's first instant, so that short traces lie within one hour.
EPOCH_NS = 495_000 * schema.HOUR_NS
MS = 1_000_000

KINDS = {
    "unspecified": schema.KIND_UNSPECIFIED, "internal": schema.KIND_INTERNAL, "server": schema.KIND_SERVER,
    "client": schema.KIND_CLIENT, "producer": schema.KIND_PRODUCER, "consumer": schema.KIND_CONSUMER,
}  # fmt: skip
CLASSES = {
    "db": schema.CLASS_DB, "messaging": schema.CLASS_MESSAGING,
    "rpc": schema.CLASS_RPC, "http": schema.CLASS_HTTP, "transport": schema.CLASS_TRANSPORT,
    "sidecar": schema.CLASS_SIDECAR,
}  # fmt: skip
MESSAGING = {
    "send": schema.MSG_SEND, "receive": schema.MSG_RECEIVE, "process": schema.MSG_PROCESS,
    "settle": schema.MSG_SETTLE, "empty": schema.MSG_EMPTY, "stream": schema.LIFE_STREAM,
    "scheduled": schema.LIFE_SCHEDULED,
}  # fmt: skip

Key = tuple[int, int]  # trace, span


@dataclass(frozen=True, slots=True)
class Made:
    """One span as a test wants it; `links` name (trace, span)."""

    span: int
    parent: int
    start: int
    end: int
    trace: int = 1
    service: str = "a"
    kind: int = schema.KIND_INTERNAL
    edge_class: int = schema.CLASS_NONE
    messaging_op: int = schema.MSG_NONE
    status: int = schema.STATUS_UNSET
    threshold: int = schema.NO_THRESHOLD
    environment: str = ""
    host: str | None = None
    peer: str | None = None
    operation: str = "op"
    instance: str | None = None
    version: str | None = None
    links: tuple[Key, ...] = ()
    content_hash: int = 0


def link_bytes(links: Iterable[Key]) -> bytes | None:
    """Links as SPANS has them; the trace's high half is 7 everywhere here."""
    data = b"".join(part.to_bytes(8, "big", signed=True) for t, s in links for part in (7, t, s))
    return data or None


def frame(spans: Sequence[Made]) -> pl.DataFrame:
    """SPANS rows in the order given."""
    rows = [
        {
            "trace_hi": 7,
            "trace_lo": span.trace,
            "span_id": span.span,
            "parent_span_id": span.parent,
            "start_ns": span.start,
            "end_ns": span.end,
            "kind": span.kind,
            "status": span.status,
            "threshold": span.threshold,
            "edge_class": span.edge_class,
            "messaging_op": span.messaging_op,
            "environment": span.environment,
            "service_name": span.service,
            "service_instance": span.instance,
            "service_version": span.version,
            "host": span.host,
            "name": span.operation,
            "peer": span.peer,
            "operation": span.operation,
            "links": link_bytes(span.links),
            "content_hash": span.content_hash,
            "resource": b"",
            "scope": None,
            "raw": b"",
        }
        for span in spans
    ]
    return pl.DataFrame(rows, schema=schema.dtypes(schema.SPANS))


def tree(
    text: str, *, trace: int = 1, unit_ns: int = MS, at_ns: int = EPOCH_NS, first: int = 1
) -> list[Made]:
    """Spans of one trace, numbered from `first` in the order of their lines."""
    made: list[Made] = []
    open_: list[tuple[int, int]] = []  # (indent, span)
    for number, line in enumerate(textwrap.dedent(text).strip().splitlines(), first):
        indent = len(line) - len(line.lstrip())
        while open_ and open_[-1][0] >= indent:
            open_.pop()
        service, times, *words = shlex.split(line)
        start, end = (round(float(part) * unit_ns) + at_ns for part in times.split("-"))
        span = Made(number, open_[-1][1] if open_ else 0, start, end, trace, service)
        for word in words:
            span = _word(span, word)
        made.append(span)
        open_.append((indent, number))
    return made


def _word(span: Made, word: str) -> Made:
    name, equals, value = word.partition("=")
    if not equals:
        if name == "error":
            return replace(span, status=schema.STATUS_ERROR)
        for field, table in (("kind", KINDS), ("edge_class", CLASSES), ("messaging_op", MESSAGING)):
            if name in table:
                return replace(span, **{field: table[name]})
        raise ValueError(f"{word!r} is no kind, class or messaging operation")
    if name == "link":  # link=span or link=trace:span
        trace, _, other = value.rpartition(":")
        return replace(span, links=(*span.links, (int(trace or span.trace), int(other))))
    numbers = ("parent", "threshold", "content_hash", "span")
    field = {"op": "operation", "env": "environment", "hash": "content_hash", "th": "threshold"}.get(
        name, name
    )
    return replace(span, **{field: int(value) if field in numbers else value})

"""Graphs and findings of spans as instrumentations report them, all the way from their bytes.

    reported('''
        cart    server GET /cart  0-100  http.request.method=GET http.route=/cart
          cart    client GET  10-20  db.system.name=redis db.namespace=0 server.address=cart-redis
    ''')

A line is a service, a kind, a name, times in ms, and attributes; indentation makes parents.
"""

from __future__ import annotations

import gzip
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from builders import EPOCH_NS, MS
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tracescope.analysis.rollups.flows import Selection
from tracescope.analysis.rollups.merge import join_hops
from tracescope.analysis.rollups.names import shorten
from tracescope.analysis.rollups.process import process
from tracescope.analysis.rollups.renaming import cap_operations
from tracescope.analysis.topology.findings import Finding, findings
from tracescope.analysis.topology.graph import Graph, Level, graph
from tracescope.ingest.decode import decode
from tracescope.ingest.otlp_json import transcode

#: Soon after all of the spans here.
ARRIVED_NS = 1_800_000_000 * 10**9
CASES = Path(__file__).parent / "data" / "cases"
_KINDS = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
_LINE = re.compile(r"( *)(\S+) +(\w+) (.*?)  ?([\d.]+)-([\d.]+)((?:  ?\S+=.*)?)$")
_WORD = re.compile(r"([\w.]+)=((?:(?! [\w.]+=).)*)")


@dataclass(frozen=True)
class Reported:
    """Rollups of some traces, under names that are short in them."""

    tables: dict[str, pl.DataFrame]

    def graph(self, level: Level = "dependency", through: str | None = None) -> Graph:
        return graph(self.tables, level, selection=Selection(through=through))

    def edges(self, level: Level = "dependency", through: str | None = None) -> dict[tuple[str, str], int]:
        """Calls by caller and callee."""
        edges = self.graph(level, through).edges.group_by("caller", "callee").agg(pl.col("calls").sum())
        return {(caller, callee): calls for caller, callee, calls in edges.iter_rows()}

    def nodes(self, kind: str) -> set[str]:
        """Ids of the nodes of a type."""
        return set(self.graph().nodes.filter(type=kind)["id"].to_list())

    def own_ms(self, level: Level = "dependency") -> dict[tuple[str, str], float]:
        """Critical time of each edge's own, per unit of work."""
        rows = self.graph(level).edges.select("caller", "callee", "own_ms").iter_rows()
        return {(caller, callee): own for caller, callee, own in rows}

    def operations(self) -> set[tuple[str, str, str]]:
        """Caller, callee and operation of each edge."""
        return set(self.graph("operation").edges.select("caller", "callee", "operation").iter_rows())

    def found(self, kind: str) -> list[Finding]:
        return [each for each in findings(self.graph(), self.tables) if each.kind == kind]


def of_spans(spans: pl.DataFrame) -> Reported:
    tables = process(spans).tables
    return Reported(shorten(cap_operations(join_hops(tables, tables["hop_halves"])))[0])


def case(name: str) -> Reported:
    """One of the small inputs of ``tests/data/cases``."""
    path = next(CASES.glob(f"{name}.jsonl*"))
    lines = (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).splitlines()
    return of_spans(decode([transcode(line) for line in lines], ARRIVED_NS).spans)


def request(text: str, trace: int = 1) -> bytes:
    """One trace as an ExportTraceServiceRequest."""
    message = ExportTraceServiceRequest()
    open_: list[tuple[int, bytes]] = []
    for number, line in enumerate(textwrap.dedent(text).strip("\n").splitlines(), 1):
        found = _LINE.fullmatch(line)
        assert found is not None, line
        indent = len(found[1])
        while open_ and open_[-1][0] >= indent:
            open_.pop()
        part = message.resource_spans.add()
        part.resource.attributes.add(key="service.name").value.string_value = found[2]
        span = part.scope_spans.add().spans.add()
        span.trace_id = trace.to_bytes(16, "big")
        span.span_id = (1000 * trace + number).to_bytes(8, "big")
        span.parent_span_id = open_[-1][1] if open_ else b""
        span.kind, span.name = _KINDS[found[3]], found[4].strip()
        span.start_time_unix_nano = EPOCH_NS + round(float(found[5]) * MS)
        span.end_time_unix_nano = EPOCH_NS + round(float(found[6]) * MS)
        for key, value in _WORD.findall(found[7]):
            if key == "link":  # trace:line
                of_trace, _, of_line = value.partition(":")
                link = span.links.add()
                link.trace_id = int(of_trace).to_bytes(16, "big")
                link.span_id = (1000 * int(of_trace) + int(of_line)).to_bytes(8, "big")
                continue
            span.attributes.add(key=key).value.string_value = value.strip()
        open_.append((indent, span.span_id))
    return message.SerializeToString()


def reported(*traces: str) -> Reported:
    """Some traces, written as above."""
    payloads = [request(text, trace) for trace, text in enumerate(traces, 1)]
    return of_spans(decode(payloads, ARRIVED_NS).spans)

"""Importing files end to end, rollups included, beside reading the same bytes with the protobuf classes.

    python benchmarks/import_files.py [SPANS]

A day of the demo's shop, denser, in the order in which a Collector's file exporter would write it:
spans of a few services each, by end time, 256 to a message.  Every import is a whole process on a
fresh store, with both workers.  Goals on two cores: protobuf 400,000 spans/s, JSON lines 100,000.
"""

from __future__ import annotations

import gzip
import json
import os
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from tracescope import demo

NOW_NS = 1_795_518_000 * 10**9
PER_MESSAGE = 256
SPANS_OF_A_DAY = 20_000  # of the demo as it is, about


def messages(spans: int) -> Iterator[TracesData]:
    """The day's spans by end time, as resource spans of up to `PER_MESSAGE`."""
    demo.TRACES_PER_HOUR *= max(spans // SPANS_OF_A_DAY, 1)
    _, payload = next(demo.payloads(1, NOW_NS, days=1))
    found = []
    for resource_spans in TracesData.FromString(payload).resource_spans:
        for scope in resource_spans.scope_spans:
            found += [(span.end_time_unix_nano, span, resource_spans.resource) for span in scope.spans]
    found.sort(key=lambda row: row[0])
    window = 4 * PER_MESSAGE
    for begin in range(0, len(found), window):
        by_service: dict[int, tuple[object, list[object]]] = {}
        for _, span, about in found[begin : begin + window]:
            by_service.setdefault(id(about), (about, []))[1].append(span)
        message = TracesData()
        for about, some in by_service.values():
            part = message.resource_spans.add()
            part.resource.CopyFrom(about)
            part.scope_spans.add().spans.extend(some)
        yield message


def to_json(message: TracesData) -> bytes:
    """As the file exporter writes it: hex ids, integer enums."""
    document = MessageToDict(message, use_integers_for_enums=True)
    for part, raw in zip(document["resourceSpans"], message.resource_spans, strict=True):
        for scope, raw_scope in zip(part["scopeSpans"], raw.scope_spans, strict=True):
            for span, raw_span in zip(scope["spans"], raw_scope.spans, strict=True):
                span["traceId"], span["spanId"] = raw_span.trace_id.hex(), raw_span.span_id.hex()
                if raw_span.parent_span_id:
                    span["parentSpanId"] = raw_span.parent_span_id.hex()
    return json.dumps(document, separators=(",", ":")).encode()


def run(file: Path, store: Path) -> float:
    """Seconds that importing into a fresh store takes as a process."""
    shutil.rmtree(store, ignore_errors=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(file.parent / "bytecode")  # as installed: compiled before
    command = [sys.executable, "-m", "tracescope", "import", str(file), "--store", str(store)]
    begin = time.perf_counter()
    done = subprocess.run(
        [*command, "--workers", "2"], capture_output=True, text=True, check=True, env=environment
    )
    print("   ", done.stderr.strip())
    return time.perf_counter() - begin


def main() -> None:
    spans = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        proto, lines = Path(folder) / "traces.binpb", Path(folder) / "traces.jsonl.gz"
        count = in_json = 0
        payloads: list[bytes] = []
        with proto.open("wb") as out, gzip.open(lines, "wb", compresslevel=1) as text:
            for message in messages(spans):
                data = message.SerializeToString()
                payloads.append(data)
                out.write(struct.pack(">I", len(data)) + data)
                size = sum(len(s.spans) for r in message.resource_spans for s in r.scope_spans)
                count += size
                if in_json < spans // 4:
                    text.write(to_json(message) + b"\n")
                    in_json += size
        print(
            f"{count} spans, {proto.stat().st_size / count:.0f} bytes each; {in_json} of them as JSON lines"
        )
        begin = time.perf_counter()
        for data in payloads:
            TracesData.FromString(data)
        parsing = count / (time.perf_counter() - begin)
        store = Path(folder) / "store"
        print(f"protobuf classes, parsing only, one core  {parsing / 1e3:9.0f} k spans/s")
        for name, file, number in (("protobuf", proto, count), ("JSON lines, gzip", lines, in_json)):
            for turn in ("", " again"):
                rate = number / run(file, store)
                print(
                    f"import of {name + turn:<32}{rate / 1e3:9.0f} k spans/s {rate / parsing:6.2f} of parsing"
                )
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"largest process: {peak:.0f} MiB")


if __name__ == "__main__":
    main()

"""Importing a block of Tempo, beside the same spans as OTLP protobuf: processor time to rollups.

    python -m benchmarks.tempo_blocks [SPANS]

Both into fresh stores, in one process that has done it once before, so that what is left is by the span.
Goal: at most 12 us a span.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.import_files import messages
from tracescope.engine.import_files import import_files
from tracescope.sources import Options, resolve
from tracescope.store import open_store

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from tempo_blocks import BLOCK, Spare, write_block  # noqa: E402

SPARE = (Spare("span", "string", "http.route"), Spare("resource", "string", "service.version"))


def cost_us(source: str, folder: Path) -> tuple[float, float]:
    """Processor time a span of an import, and of reading the source alone, in us."""
    for name in ("first", "second"):
        store = open_store(folder / name, create=True)
        begin = time.process_time()
        done = import_files(store, resolve([source], Options()), arrived_ns=time.time_ns())
        took = time.process_time() - begin
    begin = time.process_time()
    for place in resolve([source], Options()):
        if not isinstance(place, (str, Path)):
            for part in place.parts(frozenset()):
                for _ in part.read():
                    pass
    return 1e6 * took / done.new, 1e6 * (time.process_time() - begin) / done.new


def main(spans: int) -> None:
    found = [ExportTraceServiceRequest.FromString(one.SerializeToString()) for one in messages(spans)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "sent.binpb"
        with file.open("wb") as out:
            for one in found:
                data = one.SerializeToString()
                out.write(len(data).to_bytes(4, "big") + data)
        sources = {"OTLP": str(file)}
        for version in (4, 5):
            write_block(folder / f"{version}" / "tenant" / BLOCK, found, version, SPARE)
            sources[f"vParquet{version}"] = f"tempo://{folder}/{version}"
        for kind, source in sources.items():
            whole, reading = cost_us(source, folder / kind)
            print(f"{kind}: {whole:.1f} us a span, of which reading {reading:.1f}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)

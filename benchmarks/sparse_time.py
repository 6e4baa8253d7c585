"""Sparse time: what an import costs by gaps between its spans, and by the age of the store.

    python benchmarks/sparse_time.py [FILE] [--imports N]

One: FILE (or 336 hours of 20 spans, two hours apart) is imported as it is, and with every span moved into
one hour; two: N files of one hour each are imported into one store, and the last ten are compared with the
first ten after two that warm up.  Both are processor seconds of this process, and bytes of the store.
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
import time
from pathlib import Path

from tracescope.engine.import_files import import_files
from tracescope.store import open_store

HOUR = 3_600 * 10**9
START = 1_790_000_000 * 10**9 // HOUR * HOUR
ARRIVED = START + 400 * 24 * HOUR


def request(hour: int, traces: int = 5) -> str:
    """Traces of four spans within an hour, as a line of OTLP JSON."""
    spans = []
    for number in range(traces):
        trace = f"{hour * 1000 + number + 1:032x}"
        for level in range(4):
            start = START + hour * HOUR + number * 60 * 10**9 + level * 10**6
            spans.append(
                {
                    "traceId": trace,
                    "spanId": f"{(hour * 1000 + number) * 8 + level + 1:016x}",
                    "parentSpanId": f"{(hour * 1000 + number) * 8 + level:016x}" if level else "",
                    "name": f"step {level}",
                    "kind": 2 if level % 2 == 0 else 3,
                    "startTimeUnixNano": str(start),
                    "endTimeUnixNano": str(start + (10 - level) * 10**7),
                }
            )
    service = {"key": "service.name", "value": {"stringValue": "shop"}}
    return json.dumps(
        {"resourceSpans": [{"resource": {"attributes": [service]}, "scopeSpans": [{"spans": spans}]}]}
    )


def moved(lines: list[str]) -> list[str]:
    """The same spans, each within the first of their hours."""
    out: list[str] = []
    first = None
    for line in lines:
        document = json.loads(line)
        for resource in document["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    start, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
                    first = start // HOUR * HOUR if first is None else first
                    span["startTimeUnixNano"] = str(first + start % HOUR)
                    span["endTimeUnixNano"] = str(first + start % HOUR + end - start)
        out.append(json.dumps(document))
    return out


def cost(store: Path, file: Path) -> float:
    """Processor seconds of an import into a store."""
    begin = time.process_time()
    import_files(open_store(store, create=True), [file], arrived_ns=ARRIVED)
    return time.process_time() - begin


def bytes_of(store: Path) -> int:
    return sum(path.stat().st_size for path in store.rglob("*") if path.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--imports", type=int, default=100)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        lines = [request(2 * hour) for hour in range(336)]
        if asked.file is not None:
            data = asked.file.read_bytes()
            lines = (gzip.decompress(data) if asked.file.suffix == ".gz" else data).decode().splitlines()
        (root / "apart.jsonl").write_text("\n".join(lines))
        (root / "together.jsonl").write_text("\n".join(moved(lines)))
        cost(root / "warm", root / "apart.jsonl")
        apart, together = (
            min(cost(root / f"{name} {turn}", root / f"{name}.jsonl") for turn in range(3))
            for name in ("apart", "together")
        )
        sizes = [bytes_of(root / f"{name} 0") for name in ("apart", "together")]
        print(f"hours apart: {apart:.2f} s of processor, {sizes[0] / 1e6:.2f} MB", end="; ")
        print(f"of spans in one hour: {apart / together:.2f} and {sizes[0] / sizes[1]:.2f}")
        took: list[float] = []
        for number in range(asked.imports):
            file = root / f"{number}.jsonl"
            file.write_text(request(number))
            took.append(cost(root / "each", file))
        early, late = sum(took[2:12]), sum(took[-10:])
        print(
            f"{asked.imports} imports of an hour each: the last ten cost {late / early:.2f} of the first ten"
        )


if __name__ == "__main__":
    main()

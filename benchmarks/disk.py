"""Disk: bytes of a span with ten attributes as OTLP, landed and sealed.

python benchmarks/disk.py [--spans 65536]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from decode import START_NS, requests

from tracescope.engine.seal import seal
from tracescope.ingest.decode import decode
from tracescope.store import open_store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--spans", type=int, default=65_536)
    payloads = requests(parser.parse_args().spans)
    spans = decode(payloads, START_NS + 10**13).spans

    def bytes_of(folder: Path) -> float:
        return sum(path.stat().st_size for path in folder.rglob("*.parquet")) / len(spans)

    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder) / "store", create=True)
        store.land(spans, batch="b", accepted=len(spans), rejected={}, arrived_ns=START_NS)
        landed = bytes_of(store.root / "landing")
        seal(store)
        sealed = bytes_of(store.root / "sealed" / "spans")
    print(
        f"{sum(map(len, payloads)) / len(spans):.0f} bytes of OTLP, {landed:.0f} landed, {sealed:.0f} sealed"
    )


if __name__ == "__main__":
    main()

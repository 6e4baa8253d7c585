"""What a span costs to seal by threads, by processes and by Spark, start-up apart.

    python benchmarks/engines.py [--spans 400000] [--engines threads,spark]

Stores of so many spans, and of three times as many, are sealed by `tracescope seal` with each engine; the cost
of a span is the difference of their processor seconds by that of their spans, so what an engine's start takes
is left out and told apart.  Counted is the whole tree of processes, Java's and those of killed parents too.
The stores' rollups must be equal.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import polars as pl

from tracescope import schema
from tracescope.analysis.rollups.merge import checksum
from tracescope.demo import payloads
from tracescope.ingest.decode import decode
from tracescope.store import open_store

DAY = schema.DAY_NS
NOW = 1_790_000_000 * 10**9 // DAY * DAY
SLICES_MB = 256
PR_SET_CHILD_SUBREAPER = 36


def land(root: Path, spans: int) -> int:
    """Days of the demo's shop, all moved into one, landed by eight writers in turn."""
    store = open_store(root, create=True)
    count = 0
    for number, (_, data) in enumerate(payloads(1, NOW)):
        rows = decode([data], NOW + DAY).spans
        shift = NOW - 2 * DAY - int(rows["start_ns"].min()) // DAY * DAY
        rows = rows.with_columns(pl.col("start_ns", "end_ns") + shift).head(max(0, spans - count))
        count += len(rows)
        store.land(rows, batch=f"b{number}", accepted=len(rows), rejected={}, arrived_ns=NOW)
        if count >= spans:
            break
    return count


def cpu_of(command: list[str]) -> float:
    """Processor seconds of a command and all that it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while True:  # what its children left comes to us
        try:
            os.wait()
        except ChildProcessError:
            break
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def rollups_of(root: Path) -> str:
    store = open_store(root)
    pointer = store.sealed.pointer()
    return checksum(
        {name: store.sealed.scan(pointer, name).collect() for name in (*schema.ROLLUPS, *schema.DIMENSIONS)}
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--spans", type=int, default=360_000)
    parser.add_argument("--engines", default="threads,spark")
    parser.add_argument("--master", default="local[2,4]")
    asked = parser.parse_args()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    with tempfile.TemporaryDirectory() as folder:
        landed = {name: Path(folder) / name for name in ("some", "more")}
        counts = {
            name: land(root, asked.spans * factor)
            for (name, root), factor in zip(landed.items(), (1, 3), strict=True)
        }
        print(f"{counts['some']} and {counts['more']} spans")
        costs: dict[str, float] = {}
        sums: dict[str, set[str]] = {name: set() for name in landed}
        for engine in asked.engines.split(","):
            spent = {}
            for name, root in landed.items():
                copy = Path(folder) / "copy"
                shutil.copytree(root, copy)
                more = ["--master", asked.master] if engine == "spark" else []
                spent[name] = cpu_of(
                    [
                        sys.executable, "-m", "tracescope", "seal", "--store", str(copy), "--engine", engine,
                        "--workers", "2", "--memory-mb", str(SLICES_MB), *more,
                    ]
                )  # fmt: skip
                sums[name].add(rollups_of(copy))
                shutil.rmtree(copy)
            costs[engine] = (spent["more"] - spent["some"]) / (counts["more"] - counts["some"]) * 1e6
            fixed = spent["some"] - costs[engine] * counts["some"] / 1e6
            print(
                f"{engine:10} {costs[engine]:5.2f} us of processor a span, and {fixed:.1f} s to start",
                flush=True,
            )
        assert all(len(each) == 1 for each in sums.values()), sums
        first, *others = costs
        for engine in others:
            print(f"{engine}: {costs[engine] / costs[first]:.2f} times {first}; rollups equal")


if __name__ == "__main__":
    main()

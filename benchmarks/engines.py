"""What a span costs to seal by threads, by processes and by Spark, start-up apart.

    python benchmarks/engines.py [--spans 200000] [--engines threads,spark]

Stores of about so many spans, and of three times as many, are sealed in turn by each engine: once to warm up,
whose whole cost is told as that of starting, and then in pairs.  The cost of a span is the median difference of
a pair's processor seconds by that of their spans.  Counted is the whole tree of processes, Java's too.  The
stores' rollups must be equal.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import polars as pl

from tracescope import schema
from tracescope.analysis.rollups.merge import checksum
from tracescope.demo import payloads
from tracescope.engine.processes import Processes
from tracescope.engine.seal import seal
from tracescope.engine.spark import Spark, session
from tracescope.engine.tasks import Pool, Threads
from tracescope.ingest.decode import decode
from tracescope.store import open_store

DAY = schema.DAY_NS
NOW = 1_790_000_000 * 10**9 // DAY * DAY
WRITERS = 8
#: Threads and processes share what each task of Spark has: slices are of one size.
MEMORY_MB = {"threads": 768, "processes": 768, "spark": 256}


def land(root: Path, spans: int) -> int:
    """Days of the demo's shop, all moved into one, landed by eight writers in turn."""
    store = open_store(root, create=True)
    days: list[pl.DataFrame] = []
    for _, data in payloads(1, NOW):
        rows = decode([data], NOW + DAY).spans
        shift = NOW - 2 * DAY - int(rows["start_ns"].min()) // DAY * DAY
        days.append(rows.with_columns(pl.col("start_ns", "end_ns") + shift))
        if sum(map(len, days)) >= spans:
            break
    for number in range(WRITERS):
        rows = pl.concat(days)[number::WRITERS]
        store.land(rows, batch=f"b{number}", accepted=len(rows), rejected={}, arrived_ns=NOW)
    return sum(map(len, days))


def cpu_s() -> float:
    """Processor seconds of this process and all below it, those that have ended too."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):  # ended a moment ago
            continue
        parents[int(path.parent.name)] = int(fields[1])
        ticks[int(path.parent.name)] = sum(map(int, fields[11:15]))

    def is_mine(process: int) -> bool:
        while process > 1 and process != os.getpid():
            process = parents.get(process, 0)
        return process == os.getpid()

    return sum(spent for process, spent in ticks.items() if is_mine(process)) / os.sysconf("SC_CLK_TCK")


def rollups_of(root: Path) -> str:
    store = open_store(root)
    pointer = store.sealed.pointer()
    return checksum(
        {name: store.sealed.scan(pointer, name).collect() for name in (*schema.ROLLUPS, *schema.DIMENSIONS)}
    )


@contextmanager
def opened(engine: str, master: str) -> Generator[Pool]:
    """A pool of two workers."""
    if engine == "threads":
        yield Threads(2)
    elif engine == "processes":
        with Processes(2) as pool:
            yield pool
    else:
        with session(master, {}, 2) as running:
            yield Spark(running)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--spans", type=int, default=200_000)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--engines", default="threads,spark")
    parser.add_argument("--master", default="local[2,4]")
    asked = parser.parse_args()
    costs: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        roots = Path(folder) / "some", Path(folder) / "more"
        counts = [land(root, asked.spans * factor) for root, factor in zip(roots, (1, 3), strict=True)]
        print(f"{counts[0]} and {counts[1]} spans", flush=True)
        sums: dict[Path, set[str]] = {root: set() for root in roots}

        def sealed(root: Path, engine: str, pool: Pool) -> float:
            copy = Path(folder) / "copy"
            shutil.copytree(root, copy)
            before = cpu_s()
            seal(open_store(copy), memory_bytes=MEMORY_MB[engine] << 20, pool=pool)
            spent = cpu_s() - before
            sums[root].add(rollups_of(copy))
            shutil.rmtree(copy)
            return spent

        for engine in asked.engines.split(","):
            before = cpu_s()
            with opened(engine, asked.master) as pool:
                sealed(roots[0], engine, pool)
                start = cpu_s() - before
                sealed(roots[1], engine, pool)
                pairs = [[sealed(root, engine, pool) for root in roots] for _ in range(asked.pairs)]
            costs[engine] = median(more - some for some, more in pairs) / (counts[1] - counts[0]) * 1e6
            shown = ", ".join(f"{some:.1f}/{more:.1f}" for some, more in pairs)
            print(
                f"{engine:10} {costs[engine]:5.2f} us of processor a span (seconds: {shown}); "
                f"{start:.1f} s to start and warm up",
                flush=True,
            )
        assert all(len(each) == 1 for each in sums.values()), sums
    first, *others = costs
    for engine in others:
        print(f"{engine}: {costs[engine] / costs[first]:.2f} times {first}; rollups equal")


if __name__ == "__main__":
    main()

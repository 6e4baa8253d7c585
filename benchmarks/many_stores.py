"""`tracescope diff` of a month that lies in ten stores, beside the same spans in one.

    PYTHONPATH=.:tests python benchmarks/many_stores.py [FOLDER] [--stores 10] [--hours 720] [--traces 40]

Each trace goes whole to one store, as behind a load balancer; a tenth of them are messages whose producer
may be in another.  Everything is sealed and still has its raw spans.  Says how long the diff of the month's
halves takes as a whole process, of all stores and of one that holds everything, in turn, and whether the
answers are equal.  Goal: ten stores under two seconds from the shell, start-up included.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from builders import MS, frame, link_bytes, tree

from tracescope import schema
from tracescope.engine.seal import seal
from tracescope.store import open_store

FIRST_HOUR = 490_896  # 2026-01-01T00:00Z
ENTRIES = 24
DAYS = 5
RUNS = 5


def shapes() -> list[pl.DataFrame]:
    """A trace of every entry, at the epoch; the last one is a message of the first's producer."""
    made = [
        frame(
            tree(
                f"gateway 0-{40 + n} server op='GET /entry/{n}'\n"
                f"  gateway 2-{36 + n} client op=op-{n}\n"
                f"    service-{n % 8} 4-{34 + n} server op=op-{n}\n"
                f"      service-{n % 8} 6-{20 + n} client db peer=postgresql/db-{n % 5} op='SELECT {n}'\n"
                f"      service-{n % 8} 22-{26 + n} producer peer=topic-{n % 3} op=send\n",
                at_ns=0,
            )
        )
        for n in range(ENTRIES)
    ]
    return [*made, frame(tree("worker 60-80 consumer peer=topic-0 op=process", at_ns=0, first=9))]


def hour_of(hour: int, traces: int, known: list[pl.DataFrame], rng: np.random.Generator) -> pl.DataFrame:
    """Spans of an hour; what each trace is of, when it begins and how slow its database is are drawn."""
    count = traces * (8 + hour % 24) // 20
    kinds = np.sort(rng.integers(0, ENTRIES, count))
    out: list[pl.DataFrame] = []
    for kind, many in zip(*np.unique(kinds, return_counts=True), strict=True):
        out.append(_copies(known[kind], hour, rng.integers(1, 2**62, many), rng, grows=kind == 3))
    sent = pl.concat(out).filter(pl.col("kind") == schema.KIND_PRODUCER).head(count // 10)
    for trace, at in sent.select("trace_lo", "start_ns").iter_rows():
        one = known[-1].with_columns(
            trace_lo=pl.lit(int(rng.integers(1, 2**62))),
            start_ns=pl.lit(at + 40 * MS),
            end_ns=pl.lit(at + 60 * MS),
            links=pl.lit(link_bytes([(trace, 5)])),
        )
        out.append(one)
    return pl.concat(out)


def _copies(
    shape: pl.DataFrame, hour: int, ids: np.ndarray, rng: np.random.Generator, *, grows: bool
) -> pl.DataFrame:
    at = hour * schema.HOUR_NS + rng.integers(0, schema.HOUR_NS, len(ids))
    later = (hour - FIRST_HOUR) / 720 if grows else 0.0
    slow = (rng.lognormal(0, 0.3, len(ids)) * (1 + later) * 20 * MS).astype(np.int64)
    traces = pl.DataFrame({"trace_lo": ids, "at": at, "slow": slow})
    rows = shape.drop("trace_lo").join(traces, how="cross")
    return rows.with_columns(
        start_ns=pl.col("start_ns") + pl.col("at") + pl.when(pl.col("span_id") > 4).then("slow").otherwise(0),
        end_ns=pl.col("end_ns") + pl.col("at") + pl.col("slow"),
    ).select(list(schema.SPANS))


def fill(folder: Path, stores: int, hours: int, traces: int) -> int:
    """Make all stores, and the one that holds everything; how many spans."""
    rng, known, spans = np.random.default_rng(1), shapes(), 0
    opened = [open_store(folder / f"store{n}", create=True) for n in range(stores)]
    one = open_store(folder / "one", create=True)
    for begin in range(FIRST_HOUR, FIRST_HOUR + hours, 24 * DAYS):
        stretch = range(begin, min(begin + 24 * DAYS, FIRST_HOUR + hours))
        made = pl.concat([hour_of(hour, traces * stores, known, rng) for hour in stretch])
        spans += len(made)
        for number, store in enumerate([*opened, one]):
            mine = made if store is one else made.filter(pl.col("trace_lo") % stores == number)
            arrived = stretch.stop * schema.HOUR_NS
            store.land(mine, batch=str(begin), accepted=len(mine), rejected={}, arrived_ns=arrived)
            seal(store)
    return spans


def timed(command: list[str], compiled: Path) -> tuple[float, bytes]:
    """Seconds from the shell, and the answer; modules are compiled once, as installed ones are."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = os.fspath(compiled)
    began = time.perf_counter()
    answer = subprocess.run(command, check=True, capture_output=True, env=environment).stdout
    return time.perf_counter() - began, answer


def commands(folder: Path, stores: int, hours: int) -> Iterator[tuple[str, list[str]]]:
    """What is timed."""
    day = np.datetime64(FIRST_HOUR, "h")
    half = [str(day + hours * part // 2) + "Z" for part in range(3)]
    diff = [sys.executable, "-m", "tracescope", "diff", *("/".join(half[n : n + 2]) for n in (0, 1))]
    diff += ["--format", "json", "--tz", "UTC"]
    yield "several", diff + [word for n in range(stores) for word in ("--store", str(folder / f"store{n}"))]
    yield "one", [*diff, "--store", str(folder / "one")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", help="Where the stores are made; else they go again.")
    parser.add_argument("--stores", type=int, default=10)
    parser.add_argument("--hours", type=int, default=720)
    parser.add_argument("--traces", type=int, default=40, help="Traces of a store an hour.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(given.folder or temporary)
        if not (folder / "one").exists():
            print(f"{fill(folder, given.stores, given.hours, given.traces):,} spans")
        compiled, took, answers = Path(temporary) / "compiled", {}, {}
        for run in range(RUNS + 1):  # the first one compiles
            for name, command in commands(folder, given.stores, given.hours):
                seconds, answers[name] = timed(command, compiled)
                took.setdefault(name, []).extend([seconds] * bool(run))
        middle = {name: statistics.median(each) for name, each in took.items()}
        print(f"{given.stores} stores   {middle['several']:.2f} s")
        print(f"one store   {middle['one']:.2f} s")
        print(f"ratio       {middle['several'] / middle['one']:.2f}")
        print("answers are equal" if answers["several"] == answers["one"] else "answers DIFFER")


if __name__ == "__main__":
    main()

"""`tracescope diff` over a year of hourly rollups: 200 edges, 400 call paths, 50 entries.

    python benchmarks/diff_a_year.py [STORE]

Writes the rollups straight into a store (their values are made up, their shape is a year's), then
times the diff of its two halves as a whole process, beside a process that only imports polars.
Goal: under one second from the shell, start-up included.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from tracescope import schema
from tracescope.engine.days import fold
from tracescope.store import open_store
from tracescope.store.pointer import HourState

HOURS = 8760
MONTH = 730
FIRST_HOUR = 490_896  # 2026-01-01T00:00Z
ENTRIES = 50
PATHS_PER_ENTRY = 8
EDGES = 200
RUNS = 7


def dimensions() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Entries, and a chain of edges below each."""
    entry_ids = np.arange(1, ENTRIES + 1) * 1_000
    entries = pl.DataFrame(
        {
            "entry_id": entry_ids,
            "environment": ["production"] * ENTRIES,
            "service": [f"gateway-{i % 5}" for i in range(ENTRIES)],
            "operation": [f"GET /entry/{i}" for i in range(ENTRIES)],
        },
        schema=schema.dtypes(schema.ENTRIES),
    )
    rows = []
    for number, entry in enumerate(entry_ids.tolist()):
        parent, caller = entry, f"gateway-{number % 5}"
        for depth in range(1, PATHS_PER_ENTRY + 1):
            path, edge = entry + depth, (number * PATHS_PER_ENTRY + depth) % EDGES
            last = depth == PATHS_PER_ENTRY
            callee = f"postgresql/db-{edge}" if last else f"service-{edge}"
            kind = schema.EDGE_DB if last else schema.EDGE_HTTP
            rows.append((path, parent, entry, depth, kind, caller, callee, f"op-{edge}", edge, False))
            parent, caller = path, callee
    return entries, pl.DataFrame(rows, schema=schema.dtypes(schema.PATHS), orient="row")


def hourly(hours: range) -> dict[str, pl.DataFrame]:
    """Rollups of some hours; one path grows, traffic has a day and a week."""
    rng = np.random.default_rng(hours.start)
    entries, paths = dimensions()
    slot = np.arange(hours.start, hours.stop, dtype=np.int32)
    units = (200 + 120 * np.sin(slot / 24 * 2 * np.pi)).astype(np.int64)
    n_paths, n_entries = len(paths), len(entries)
    grow = np.ones((len(slot), n_paths))
    grow[:, 7] += (slot - FIRST_HOUR)[:, None].ravel() / HOURS
    visits = np.repeat(units, n_paths)
    own = (visits * 2e6 * grow.ravel() * rng.lognormal(0, 0.1, len(visits))).astype(np.int64)
    zero = np.zeros_like(visits)
    path_hours = pl.DataFrame(
        {
            "slot": np.repeat(slot, n_paths),
            "unit": np.zeros(len(visits), np.int8),
            "path_id": np.tile(paths["path_id"].to_numpy(), len(slot)),
            "threshold": np.full(len(visits), schema.NO_THRESHOLD),
            "calls": visits,
            "calls_visited": visits,
            "visits": visits,
            "own_ns": own,
            "inclusive_ns": own,
            "own_all_ns": own,
            "busy_ns": own,
            "child_sum_ns": zero,
            "child_union_ns": zero,
            "detached_calls": zero,
            "errors": zero,
            "failed_ns": zero,
            "retries": zero,
            "calls_in_failed": zero,
            "own_in_failed_ns": zero,
            "units": visits,
            "slow_ns": own // np.maximum(visits, 1) * 3,
            "slow_hi": visits,
            "slow_lo": own,
            "typical_hash": own,
            "typical_hi": visits,
            "typical_lo": own,
        },
        schema=schema.dtypes(schema.PATH_HOURS),
    )
    clock = own.reshape(len(slot), n_entries, PATHS_PER_ENTRY).sum(axis=2).ravel()
    per_entry = np.repeat(units, n_entries)
    none = np.zeros_like(per_entry)
    keys = {
        "slot": np.repeat(slot, n_entries),
        "unit": np.zeros(len(per_entry), np.int8),
        "entry_id": np.tile(entries["entry_id"].to_numpy(), len(slot)),
        "threshold": np.full(len(per_entry), schema.NO_THRESHOLD),
    }
    entry_hours = pl.DataFrame(
        {
            **keys,
            "units": per_entry,
            "clock_ns": clock,
            "incomplete": none,
            "skewed": none,
            "mixed": none,
            "errors": none,
            "failed_ns": none,
            "leafless": none,
        },
        schema=schema.dtypes(schema.ENTRY_HOURS),
    )
    bins = np.arange(20)
    middle = (np.log2(clock / np.maximum(per_entry, 1)) * 16).astype(np.int64)
    sketches = pl.DataFrame(
        {
            **{name: np.repeat(values, len(bins)) for name, values in keys.items()},
            "bin": (middle[:, None] + bins - 10).ravel().astype(np.int16),
            "count": np.repeat(np.maximum(per_entry // 20, 1), len(bins)),
        },
        schema=schema.dtypes(schema.ENTRY_SKETCHES),
    )
    return {"path_hours": path_hours, "entry_hours": entry_hours, "entry_sketches": sketches}


def fill(where: Path) -> None:
    """Write a year into a new store, a month at a time, as sealing would."""
    store = open_store(where, create=True)
    pointer = store.sealed.pointer()
    entries, paths = dimensions()
    for name, frame in (("entries", entries), ("paths", paths)):
        store.sealed.replace(pointer, name, frame, ())
    for begin in range(FIRST_HOUR, FIRST_HOUR + HOURS, MONTH):
        hours = range(begin, min(begin + MONTH, FIRST_HOUR + HOURS))
        tables = hourly(hours)
        for name, frame in tables.items():
            store.sealed.replace(pointer, name, frame, ())
        units = tables["entry_hours"].group_by("slot").agg(pl.col("units").sum())
        pointer.hours |= {
            hour: HourState(count, hour * schema.HOUR_NS, has_raw=False) for hour, count in units.iter_rows()
        }
    pointer.first_ns = FIRST_HOUR * schema.HOUR_NS
    pointer.last_ns = (FIRST_HOUR + HOURS) * schema.HOUR_NS
    fold(store, pointer)
    store.sealed.publish(pointer)


def timed(*command: str, compiled: Path) -> tuple[float, float]:
    """Seconds from the shell, and of both processors' time; modules are compiled once, as installed ones are."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = os.fspath(compiled)
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "store", nargs="?", help="Folder that the store is written to; else one that goes again."
    )
    given = parser.parse_args().store
    with tempfile.TemporaryDirectory() as temporary:
        store = Path(given) if given else Path(temporary) / "store"
        if not store.exists():
            fill(store)
        size = sum(f.stat().st_size for f in store.rglob("*") if f.is_file())
        diff = (sys.executable, "-m", "tracescope", "diff", "2026-01-01/2026-07-01", "2026-07-01/2027-01-01")
        diff += ("--store", os.fspath(store), "--format", "json", "--tz", "UTC")
        polars = (sys.executable, "-c", "import polars")
        compiled = Path(temporary) / "compiled"
        timed(*diff, compiled=compiled)
        runs = [(*timed(*diff, compiled=compiled), *timed(*polars, compiled=compiled)) for _ in range(RUNS)]
        wall, cpu, polars_wall, polars_cpu = (statistics.median(column) for column in zip(*runs, strict=True))
        print(f"store {size / 1e6:.0f} MB")
        print(f"diff            {wall:.2f} s   {cpu:.2f} s of processor time")
        print(f"import polars   {polars_wall:.2f} s   {polars_cpu:.2f} s")
        print(f"ratio           {wall / polars_wall:.1f}     {cpu / polars_cpu:.1f}")


if __name__ == "__main__":
    main()

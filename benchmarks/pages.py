"""What a page costs: two months of hourly rollups of 40 and of 300 nodes, compared and drawn.

    python benchmarks/pages.py [NODES ...]
    python benchmarks/pages.py --keep STORE NODES      leaves such a store, to look at in a browser

Writes the rollups straight into a store (their values are made up: layered services in six namespaces
with databases, topics and hosts, where four edges grow), then asks the page for its views in a process
of its own: `cold` in a new process, `new` where the process has answered before but knows nothing of
the store, `again` with the answer remembered.  Goals: the first page of a month's diff in 500 ms, a
graph of 300 nodes in 1 s, both in a process that has answered before.  The ratio is to the time that
polars takes to read the same columns of the same months and to sum them.
"""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from tracescope import schema
from tracescope.engine.days import fold
from tracescope.store import open_store
from tracescope.store.pointer import HourState

FIRST_HOUR = 492_336  # 2026-03-02T00:00Z, a Monday
MONTH = 28 * 24
SPACES = ("edge", "shop", "billing", "stock", "search", "people")
NOUNS = (
    "account", "basket", "catalog", "delivery", "export", "fraud", "gift", "history", "invoice", "journal",
    "ledger", "mail", "notify", "orders", "pricing", "quota", "reviews", "session", "tax", "user-profile",
    "voucher", "warehouse", "address-book", "recommendations",
)  # fmt: skip
ENTRIES = 12
QUERY = {"base": "2026-03-02/2026-03-30", "head": "2026-03-30/2026-04-27"}
RUNS = 3


@dataclass
class System:
    """Call paths as rows of ``paths``, and what each takes: ``own`` ms, ``calls`` a unit, ``grows``."""

    rng: random.Random
    entries: list[tuple[int, str, str, str]] = field(default_factory=list)
    paths: list[tuple[int, int, int, int, int, str, str | None, str, int, bool]] = field(default_factory=list)
    own_ms: list[float] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)
    units: list[int] = field(default_factory=list)

    def path(
        self, entry: int, parent: int, depth: int, kind: int, caller: str, callee: str | None, operation: str,
        ms: float, calls: float, unit: int, *, alone: bool = False,
    ) -> int:  # fmt: skip
        number = _id(parent, kind, caller, callee, operation)
        edge = _id(kind, caller, callee, operation)
        self.paths.append((number, parent, entry, depth, kind, caller, callee, operation, edge, alone))
        self.own_ms.append(ms)
        self.calls.append(calls)
        self.units.append(unit)
        return number


def _id(*parts: object) -> int:
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), signed=True)


def system(nodes: int, seed: int = 3) -> System:
    """A layered system of so many nodes, six services in ten; each entry's calls are a tree through it."""
    rng = random.Random(seed)
    made = System(rng)
    count = round(nodes * 0.62)
    names: list[str] = []
    for number in range(count):
        noun = NOUNS[number % len(NOUNS)] + ("" if number < len(NOUNS) else f"-{number // len(NOUNS) + 1}")
        names.append(f"{SPACES[min(number * len(SPACES) // count, 5)]}/{noun}")
    below: dict[int, list[int]] = {number: [] for number in range(count)}
    for number in range(1, count):
        for _ in range(1 + (rng.random() < 0.3)):
            below[int(rng.triangular(max(0, number - 40), number, max(0, number - 12)))].append(number)
    leaves: dict[int, list[tuple[int, str, str, bool]]] = {number: [] for number in range(count)}
    for number in range(nodes - count):
        noun = f"{NOUNS[number % len(NOUNS)]}{number // len(NOUNS) or ''}"
        kind, callee, operation, alone = rng.choice((
            (schema.EDGE_DB, f"postgresql/{noun}", f"SELECT {noun}", True),
            (schema.EDGE_DB, f"redis/{noun}", f"GET {noun}", True),
            (schema.EDGE_QUEUE, f"{noun}-events", "publish", False),
            (schema.EDGE_EXTERNAL, f"api.{noun}.example", "POST", True),
        ))  # fmt: skip
        for _ in range(rng.choice((1, 1, 2))):
            leaves[rng.randrange(count)].append((kind, callee, operation, alone))
    starts = [0, *range(1, min(3, count))]
    for at in range(ENTRIES):
        _entry(made, names, below, leaves, starts[at % len(starts)], at)
    _messages(made, names)
    return made


def _entry(
    made: System,
    names: list[str],
    below: dict[int, list[int]],
    leaves: dict[int, list[tuple[int, str, str, bool]]],
    start: int,
    at: int,
) -> None:
    """The call paths of one entry; it visits its own part of what its services call."""
    operation = f"{('GET', 'POST', 'PUT')[at % 3]} /{NOUNS[at * 5 % len(NOUNS)]}"
    entry = _id("entry", names[start], operation)
    made.entries.append((entry, "production", names[start], operation))
    rng, unit = made.rng, schema.UNIT_REQUEST
    stack = [(entry, 1, start)]
    seen = {start}
    while stack:
        parent, depth, service = stack.pop()
        name = names[service]
        made.path(
            entry, parent, depth, schema.EDGE_SELF, name, None, operation, rng.paretovariate(1.5), 1, unit
        )
        for kind, callee, what, alone in leaves[service]:
            ms = rng.paretovariate(1.1)
            made.path(
                entry, parent, depth, kind, name, callee, what, ms, rng.choice((1, 1, 3)), unit, alone=alone
            )
        for other in below[service]:
            if other in seen or depth > 12 or rng.random() < 0.25:
                continue
            seen.add(other)
            kind = rng.choice((schema.EDGE_HTTP, schema.EDGE_RPC))
            to = made.path(
                entry, parent, depth, kind, name, names[other], f"/{names[other].split('/')[1]}",
                rng.paretovariate(2) / 2, 1, unit,
            )  # fmt: skip
            stack.append((to, depth + 1, other))


def _messages(made: System, names: list[str]) -> None:
    """A consumer for each topic."""
    topics = sorted({row[6] for row in made.paths if row[4] == schema.EDGE_QUEUE and row[6]})
    for topic in topics:
        consumer = made.rng.choice(names)
        entry = _id("entry", consumer, topic)
        made.entries.append((entry, "production", consumer, f"process {topic}"))
        unit = schema.UNIT_MESSAGE
        to = made.path(
            entry, entry, 1, schema.EDGE_QUEUE, topic, consumer, schema.QUEUE_WAIT,
            made.rng.paretovariate(1) * 4, 1, unit,
        )  # fmt: skip
        made.path(entry, to, 2, schema.EDGE_SELF, consumer, None, f"process {topic}", 3.0, 1, unit)


def hourly(made: System, hours: range) -> dict[str, pl.DataFrame]:
    """Rollups of some hours; traffic has a day and a week, four edges grow in the second month."""
    rng = np.random.default_rng(hours.start)
    paths = pl.DataFrame(made.paths, schema=schema.dtypes(schema.PATHS), orient="row")
    slot = np.arange(hours.start, hours.stop)
    traffic = 300 + 180 * np.sin(slot / 24 * 2 * np.pi) - 90 * ((slot // 24) % 7 >= 4)
    late = np.clip((slot - FIRST_HOUR - MONTH * 0.7) / MONTH, 0, None)[:, None]
    grown = np.zeros(len(paths), bool)
    heavy = np.argsort(-np.array(made.own_ms) * np.array(made.calls))
    grown[[k for k in heavy if paths["callee"][int(k)] is not None][:4]] = True
    calls = (
        traffic[:, None] * np.array(made.calls) * (1 + 0.2 * rng.random((len(slot), len(paths))))
    ).astype(int)
    ms = np.array(made.own_ms) * rng.lognormal(0, 0.08, calls.shape) * np.where(grown, 1 + late, 1.0)
    own = (calls * ms * 1e6).astype(np.int64)
    inclusive = own.copy()
    at = {number: k for k, number in enumerate(paths["path_id"].to_list())}
    parents = [at.get(parent, -1) for parent in paths["parent_id"].to_list()]
    for k in np.argsort(-paths["depth"].to_numpy(), kind="stable"):
        if parents[int(k)] >= 0:
            inclusive[:, parents[int(k)]] += inclusive[:, k]
    size = calls.size
    flat = calls.ravel()
    values: dict[str, object] = {
        "slot": np.repeat(slot, len(paths)), "unit": np.tile(np.array(made.units, np.int8), len(slot)),
        "path_id": np.tile(paths["path_id"].to_numpy(), len(slot)),
        "threshold": np.full(size, schema.NO_THRESHOLD), "calls": flat, "calls_visited": flat, "visits": flat,
        "own_ns": own.ravel(), "inclusive_ns": inclusive.ravel(), "own_all_ns": own.ravel(),
        "busy_ns": inclusive.ravel(), "errors": flat // 500, "units": flat,
        "slow_ns": own.ravel() // np.maximum(flat, 1) * 3, "slow_hi": flat, "slow_lo": own.ravel(),
        "typical_hash": own.ravel(), "typical_hi": flat, "typical_lo": own.ravel(),
    }  # fmt: skip
    zero = np.zeros(size, np.int64)
    table = {name: values.get(name, zero) for name in schema.PATH_HOURS}
    path_hours = pl.DataFrame(table, schema=schema.dtypes(schema.PATH_HOURS))
    bins = np.arange(8)
    middle = (np.log2(np.maximum(inclusive / np.maximum(calls, 1), 1)) * 16).astype(np.int64).ravel()
    keys = ("slot", "unit", "path_id", "threshold")
    sketches = pl.DataFrame(
        {
            **{name: np.repeat(np.asarray(table[name]), len(bins)) for name in keys},
            "bin": (middle[:, None] + bins * 4 - 14).ravel().astype(np.int16),
            "count": np.repeat(np.maximum(flat // 8, 1), len(bins)),
        },
        schema=schema.dtypes(schema.PATH_SKETCHES),
    )
    clock = (
        path_hours.join(paths.select("path_id", "entry_id"), on="path_id")
        .group_by("slot", "unit", "entry_id", "threshold")
        .agg(pl.col("own_ns").sum().alias("clock_ns"))
        .join(pl.DataFrame({"slot": slot, "units": traffic.astype(int)}), on="slot")
    )
    measured = {*schema.KEYS["entry_hours"], "units", "clock_ns"}
    none = [pl.lit(0, pl.Int64).alias(name) for name in schema.ENTRY_HOURS if name not in measured]
    entry_hours = clock.with_columns(*none).select(
        pl.col(name).cast(dtype) for name, dtype in schema.dtypes(schema.ENTRY_HOURS).items()
    )
    entry_bins = entry_hours.select(
        "slot", "unit", "entry_id", "threshold",
        ((pl.col("clock_ns") / pl.col("units").clip(1)).log(2) * 16).cast(pl.Int16).alias("bin"),
        pl.col("units").alias("count"),
    )  # fmt: skip
    return {
        "path_hours": path_hours, "path_sketches": sketches, "entry_hours": entry_hours,
        "entry_sketches": entry_bins,
    }  # fmt: skip


def fill(where: Path, nodes: int) -> int:
    """Write two months of a system into a new store, a week at a time, as sealing would; returns its paths."""
    made = system(nodes)
    store = open_store(where, create=True)
    pointer = store.sealed.pointer()
    dims = {
        "entries": pl.DataFrame(made.entries, schema=schema.dtypes(schema.ENTRIES), orient="row"),
        "paths": pl.DataFrame(made.paths, schema=schema.dtypes(schema.PATHS), orient="row"),
    }
    for name, frame in dims.items():
        store.sealed.replace(pointer, name, frame.unique(schema.KEYS[name]), ())
    end = FIRST_HOUR + 2 * MONTH
    for begin in range(FIRST_HOUR, end, 168):
        tables = hourly(made, range(begin, min(begin + 168, end)))
        for name, frame in tables.items():
            store.sealed.replace(pointer, name, frame, ())
        units = tables["entry_hours"].group_by("slot").agg(pl.col("units").sum())
        pointer.hours |= {
            hour: HourState(count, hour * schema.HOUR_NS, has_raw=False) for hour, count in units.iter_rows()
        }
    pointer.first_ns, pointer.last_ns = FIRST_HOUR * schema.HOUR_NS, end * schema.HOUR_NS
    fold(store, pointer)
    store.sealed.publish(pointer)
    return len(made.paths)


def ask(where: str) -> None:
    """Print ms of each page: cold, new and again; over the baseline's, and KB of the page."""
    from starlette.testclient import TestClient

    from tracescope.config import Settings
    from tracescope.session import Session
    from tracescope.web.app import make_app

    settings = Settings(store=where, tz="UTC")

    def client() -> TestClient:
        return TestClient(make_app(Session(where, settings)), base_url="http://127.0.0.1")

    def timed(asked: TestClient, path: str) -> float:
        began = time.perf_counter()
        answer = asked.get(path, params=QUERY)
        assert answer.status_code == 200, answer.text[:500]
        return (time.perf_counter() - began) * 1e3

    def baseline() -> float:
        began = time.perf_counter()
        store = open_store(Path(where))
        rows = store.sealed.scan(store.sealed.pointer(), "path_hours")
        rows.group_by("path_id").agg(pl.col("calls", "visits", "own_ns").sum()).collect()
        return (time.perf_counter() - began) * 1e3

    cold = timed(client(), "/")
    base = min(baseline() for _ in range(RUNS))
    for path in ("/", "/map", "/api/map", "/paths", "/traces", "/quality"):
        fresh = [client() for _ in range(RUNS)]
        new = min(timed(one, path) for one in fresh)
        again = min(timed(fresh[0], path) for _ in range(RUNS))
        first = f"{cold:>7.0f}" if path == "/" else f"{'':>7}"
        size = len(fresh[0].get(path, params=QUERY).content) / 1e3
        print(f"  {path:<18} {first} {new:>7.0f} {again:>7.0f} {new / base:>7.1f} {size:>7.0f}", flush=True)
    print(f"  {'polars, sums':<18} {'':>7} {base:>7.0f}")


def main() -> None:
    arguments = sys.argv[1:]
    if arguments[:1] == ["--ask"]:
        ask(arguments[1])
        return
    if arguments[:1] == ["--keep"]:
        print(fill(Path(arguments[1]), int(arguments[2])), "call paths")
        return
    for nodes in [int(text) for text in arguments] or [40, 300]:
        with tempfile.TemporaryDirectory() as temporary:
            store = Path(temporary) / "store"
            count = fill(store, nodes)
            print(f"{nodes} nodes, {count} call paths, {2 * MONTH} hours: ms", flush=True)
            print(f"  {'page':<18} {'cold':>7} {'new':>7} {'again':>7} {'ratio':>7} {'KB':>7}", flush=True)
            subprocess.run([sys.executable, __file__, "--ask", str(store)], check=True)


if __name__ == "__main__":
    main()

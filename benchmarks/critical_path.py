"""From arrays in any order to critical paths: grouping, forest, clocks and walk, on one core.

    python benchmarks/critical_path.py [SPANS]

Traces of 50 spans, CLIENT and SERVER pairs over ten hosts with leaf calls to databases, a tenth of
the traces with a clock that is off; spans arrive in batches that mix the traces of a second.  The
baseline is a plain Python loop over the same arrays: a dictionary by trace, one by parent, and the
same walk, in the same run.  Goal: five million spans a second.  Then time per span by trace size and
by depth, which must not grow.  Figures are medians of five of CPU time, after one run that compiles, in a
process that keeps freed blocks, as `serve` does.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np

from tracescope import schema
from tracescope.kernels.forest import SpanArrays, build_forest
from tracescope.kernels.walk import walk
from tracescope.serving.allocator import keep_blocks

START_NS = 1_790_000_000_000_000_000
RUNS = 5
TEMPLATES = 64
HOSTS = 10


def template(size: int, rng: np.random.Generator, deep: bool = False) -> dict[str, np.ndarray]:
    """One trace: parents, times, kinds, services and hosts of `size` spans."""
    parent = np.full(size, -1)
    start, end = np.zeros(size, np.int64), np.zeros(size, np.int64)
    kind, service = np.zeros(size, np.int8), np.zeros(size, np.int32)
    edge_class = np.zeros(size, np.int8)
    start[0], end[0], kind[0] = 0, 10**9, schema.KIND_SERVER
    for i in range(1, size):
        above = i - 1 if deep else int(rng.integers(max(0, i - 8), i))
        parent[i] = above
        length = int(end[above] - start[above])
        if deep:
            start[i], end[i] = start[above] + 10, end[above] - 10
        else:
            begin = int(start[above] + rng.integers(0, length // 2 + 1))
            start[i], end[i] = begin, begin + int(rng.integers(0, int(end[above]) - begin + 1))
        service[i] = service[above]
        if kind[above] == schema.KIND_CLIENT:
            kind[i], service[i] = schema.KIND_SERVER, (service[above] + 1) % HOSTS
        else:
            kind[i] = schema.KIND_CLIENT
    leaf = np.ones(size, np.bool_)
    leaf[parent[1:]] = False
    edge_class[leaf & (kind == schema.KIND_CLIENT)] = schema.CLASS_DB
    return {
        "parent": parent, "start": start, "end": end, "kind": kind, "service": service,
        "edge_class": edge_class,
    }  # fmt: skip


def make(spans: int, size: int, deep: bool = False) -> SpanArrays:
    """About `spans` spans in traces of `size`, mixed as they arrive."""
    rng = np.random.default_rng(size)
    traces = max(1, spans // size)
    count = min(TEMPLATES, traces)
    templates = [template(size, rng, deep) for _ in range(count)]
    chosen = rng.integers(0, count, traces)
    stacked = {name: np.concatenate([one[name] for one in templates]) for name in templates[0]}
    rows = (chosen[:, None] * size + np.arange(size)).ravel()
    trace = np.repeat(np.arange(traces), size)
    ids = rng.integers(1, 2**63 - 1, (traces, size))
    parent = stacked["parent"][rows]
    above = np.where(parent < 0, 0, ids[trace, np.maximum(parent, 0)])
    host = stacked["service"][rows]
    at = START_NS + trace * 1_000_000
    off = np.where((trace % 10 == 0) & (host == 3), 5_000_000, 0)
    arrays = SpanArrays(
        trace_hi=rng.integers(1, 2**62, traces)[trace],
        trace_lo=rng.integers(1, 2**62, traces)[trace],
        span_id=ids.ravel(),
        parent_span_id=above,
        start_ns=stacked["start"][rows] + at + off,
        end_ns=stacked["end"][rows] + at + off,
        kind=stacked["kind"][rows],
        edge_class=stacked["edge_class"][rows],
        messaging_op=np.zeros(len(rows), np.int8),
        status=np.zeros(len(rows), np.int8),
        service=stacked["service"][rows],
        host=host.astype(np.int32),
        content_hash=ids.ravel(),
        link_offset=np.zeros(len(rows) + 1, np.int64),
        link_hi=np.empty(0, np.int64),
        link_lo=np.empty(0, np.int64),
        link_span=np.empty(0, np.int64),
    )
    arrival = np.argsort(arrays.end_ns + rng.integers(0, 10**9, len(rows)))
    columns = {
        field.name: np.ascontiguousarray(getattr(arrays, field.name)[arrival])
        for field in fields(SpanArrays)
        if not field.name.startswith("link")
    }
    return replace(arrays, **columns)


def kernels(arrays: SpanArrays) -> int:
    return int(walk(build_forest(arrays)).own_ns.sum())


def plain(arrays: SpanArrays) -> int:
    """Group, find children and walk, without clocks: what one would write first."""
    columns = (arrays.trace_hi, arrays.span_id, arrays.parent_span_id, arrays.start_ns, arrays.end_ns)
    traces: dict[int, list[tuple[int, int, int, int]]] = defaultdict(list)
    for trace, *span in zip(*(column.tolist() for column in columns), strict=True):
        traces[trace].append(tuple(span))  # pyright: ignore[reportArgumentType]
    total = 0
    for spans in traces.values():
        children: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
        roots = []
        for number, parent, start, end in spans:
            children[parent].append((end, start, number))
            if parent == 0:
                roots.append((number, start, end))
        stack = roots
        while stack:
            number, low, high = stack.pop()
            now = high
            for end, start, child in sorted(children.get(number, ()), reverse=True):
                stop = min(end, now)
                if start >= now or end > now or start < low:
                    continue
                total += now - stop
                stack.append((child, start, stop))
                now = start
            total += now - low
    return total


def seconds(run: Callable[[], object], runs: int = RUNS) -> float:
    times = []
    for _ in range(runs):
        begin = time.process_time()
        run()
        times.append(time.process_time() - begin)
    return statistics.median(times)


def main() -> None:
    spans = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    keep_blocks()
    arrays = make(spans, 50)
    kernels(arrays)  # compiles
    size = len(arrays.span_id)
    few = make(min(spans, 100_000), 50)
    slow = len(few.span_id) / seconds(lambda: plain(few), 3)
    fast = size / seconds(lambda: kernels(arrays))
    print(f"{size} spans in traces of 50, one core")
    print(f"  plain Python loop      {slow / 1e6:8.3f} M spans/s")
    print(f"  forest, clocks, walk   {fast / 1e6:8.3f} M spans/s   {fast / slow:.0f} times the loop")
    print("time per span, against traces of 50")
    for label, sizes, deep in (("spans a trace", (10, 100, 1000, 10_000, 100_000), False),
                               ("levels", (100, 1000, 10_000), True)):  # fmt: skip
        for count in sizes:
            other = make(max(min(spans, 500_000), count), count, deep)
            rate = len(other.span_id) / seconds(lambda arrays=other: kernels(arrays), 3)
            print(f"  {count:7} {label:14} {1e9 / rate:7.0f} ns   {fast / rate:5.2f} times")


if __name__ == "__main__":
    main()

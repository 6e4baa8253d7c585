"""Rollups written as call trees, for tests of graphs.

    rollups('''
    request web POST /buy: 10 units, 1000 ms
      http web -> cart [POST /buy]: 10 calls, 50 own, 900 inclusive
        db cart -> postgresql/orders [INSERT]: 20 calls, 700 own
    ''')

Milliseconds are sums over the period.  ``(itself)`` as callee makes a self path, ``!`` before a callee
one that sends no spans, ``name=value`` adds a measure.
"""

from __future__ import annotations

import hashlib
import re

import numpy as np
import polars as pl

from tracescope import schema
from tracescope.kernels.sketch import bin_of

_ENTRY = re.compile(r"(\w+) (\S+) (.+?): ([\d.]+) units, ([\d.]+) ms")
_EDGE = re.compile(r"(\w+) (.+?) -> (!?)(.+?)(?: \[(.*?)\])?: (\d+) calls(.*)")
_MS = 1_000_000


def _id(*parts: object) -> int:
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), signed=True)


def rollups(text: str, threshold: int = schema.NO_THRESHOLD) -> dict[str, pl.DataFrame]:
    """Tables of one period, environment ``test``, slot 0."""
    rows: dict[str, list[dict[str, object]]] = {
        name: [] for name in ("entries", "paths", "hours", "sums", "bins")
    }
    stack: list[tuple[int, int, int]] = []  # indent, path id, depth
    entry = unit = 0
    for line in text.strip("\n").splitlines():
        if not line.strip():
            continue
        indent, body = len(line) - len(line.lstrip()), line.strip()
        if found := _ENTRY.fullmatch(body):
            kind, service, operation, units, ms = found.groups()
            unit, entry = schema.UNIT_NAMES.index(kind), _id("entry", service, operation)
            rows["entries"].append(
                {"entry_id": entry, "environment": "test", "service": service, "operation": operation}
            )
            rows["sums"].append(
                {"unit": unit, "entry_id": entry, "units": float(units), "clock_ns": float(ms) * _MS}
            )
            stack = [(indent, entry, 0)]
            continue
        edge = _EDGE.fullmatch(body)
        assert edge, body
        kind, caller, bang, callee, operation, calls, rest = edge.groups()
        while stack[-1][0] >= indent:
            stack.pop()
        _, parent, depth = stack[-1]
        to = None if callee == "(itself)" else callee
        path = _id(parent, kind, caller, to, operation)
        stack.append((indent, path, depth + 1))
        rows["paths"].append({
            "path_id": path, "parent_id": parent, "entry_id": entry, "depth": depth + 1,
            "kind": schema.EDGE_KINDS.index(kind), "caller": caller, "callee": to,
            "operation": operation or "op",
            "edge_id": _id(kind, caller, to, operation), "uninstrumented": bool(bang),
        })  # fmt: skip
        given = {
            name: float(value)
            for value, name in re.findall(r"([\d.]+) (own|inclusive|errors|units|each|visits|detached)", rest)
        }
        own = given.get("own", 0.0)
        busy = given.get("inclusive", own)
        each = given.get("each", busy / max(int(calls), 1))
        rows["hours"].append({
            "unit": unit, "path_id": path, "calls": int(calls), "own_ns": own * _MS,
            "errors": given.get("errors", 0), "inclusive_ns": busy * _MS,
            "busy_ns": each * int(calls) * _MS, "units": given.get("units", int(calls)),
            "visits": given.get("visits", int(calls)), "detached_calls": given.get("detached", 0),
        })  # fmt: skip
        if to is not None:
            sketch = int(bin_of(np.array([int(each * _MS)]))[0])
            rows["bins"].append({"unit": unit, "path_id": path, "bin": sketch, "count": int(calls)})
    tables = {
        "entries": "entries",
        "paths": "paths",
        "path_hours": "hours",
        "entry_hours": "sums",
        "path_sketches": "bins",
    }
    return {name: _frame(rows[source], name, threshold) for name, source in tables.items()}


def _frame(rows: list[dict[str, object]], name: str, threshold: int) -> pl.DataFrame:
    table = {**schema.ROLLUPS, **schema.DIMENSIONS}[name]
    defaults = {column: None if dtype == "String" else 0 for column, dtype in table.items()} | {
        "threshold": threshold
    }
    full = [{**{c: defaults.get(c) for c in table}, **row} for row in rows]
    for row in full:
        for column, dtype in table.items():
            if dtype.startswith("Int") and row[column] is not None:
                row[column] = round(float(row[column])) if isinstance(row[column], float) else row[column]
    frame = pl.DataFrame(full, schema=schema.dtypes(table))
    return frame.unique(maintain_order=True) if name in schema.DIMENSIONS else frame

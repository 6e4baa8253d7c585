"""Ids of call paths, entries and edges: a hash of their names, the same wherever they are seen.

    entry       hash(0, environment, service, operation)
    first edge  hash(entry, kind, caller, callee, operation)
    below it    hash(path above, kind, caller, callee, operation)

Loads no compiler: names change, and hops are joined, where rollups are read too.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Any, Final

import polars as pl

from tracescope import schema

_NULL: Final = b"\xff\xff\xff\xff"


def _measure(text: str | None) -> bytes:
    if text is None:
        return _NULL
    data = text.encode()
    return struct.pack(">I", len(data)) + data


def path_id(parent: int, *names: str | None) -> int:
    """Content-addressed id of a call path, entry or edge.

    First 8 bytes, as a signed big-endian integer, of BLAKE2b over the parent's id (0 for an entry
    or an edge by itself) and the length-prefixed UTF-8 of `names`: environment, service and
    operation of an entry; kind, caller, callee and operation of an edge.
    """
    data = struct.pack(">q", parent) + b"".join(_measure(name) for name in names)
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big", signed=True)


def routes_of(joined: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of PATH_HOURS and PATHS of hops from one destination to another.

    Parameters
    ----------
    joined
        ``slot, unit, threshold, entry_id`` of the consumer's entry, ``sent`` and ``topic`` (what the producer
        and the consumer call the destination) and ``hops``.
    """
    edges: list[tuple[Any, ...]] = []
    for entry, sent, topic in (
        joined.select("entry_id", "sent", "topic").unique(maintain_order=True).iter_rows()
    ):
        edge = schema.EDGE_KINDS[schema.EDGE_QUEUE], sent, topic, schema.QUEUE_ROUTE
        number = path_id(entry, *edge)
        edges.append((number, entry, entry, 1, schema.EDGE_QUEUE, *edge[1:], path_id(0, *edge), False))
    paths = pl.DataFrame(edges, schema=schema.dtypes(schema.PATHS), orient="row")
    named = paths.select("path_id", "entry_id", sent="caller", topic="callee")
    counted = ("calls", "calls_visited", "visits", "units")
    hours = joined.join(named, on=["entry_id", "sent", "topic"]).select(
        pl.col(name) if name in ("slot", "unit", "path_id", "threshold")
        else pl.col("hops").alias(name) if name in counted
        else pl.lit(0).alias(name)
        for name in schema.PATH_HOURS
    )  # fmt: skip
    return hours.cast(schema.dtypes(schema.PATH_HOURS)), paths  # pyright: ignore[reportArgumentType]

"""What instrumentations of many kinds send is read as a careful reader reads it (`data/shapes.txt`)."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest
from reported import reported

from tracescope import schema

UNITS = {
    schema.UNIT_REQUEST: "request", schema.UNIT_MESSAGE: "message", schema.UNIT_DETACHED: "detached",
    schema.UNIT_LONG: "long",
}  # fmt: skip


class Shape(NamedTuple):
    """Some traces and the right answer."""

    title: str
    traces: list[str]
    answer: set[str]


def shapes() -> list[Shape]:
    text = (Path(__file__).parent / "data" / "shapes.txt").read_text()
    found: list[Shape] = []
    for section in text.split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        answer = {line[3:] for line in body.splitlines() if line.startswith("=> ")}
        traces = [part for part in body.split("=> ")[0].split("\n\n") if part.strip()]
        found.append(Shape(title, traces, answer))
    return found


def read(traces: list[str]) -> set[str]:
    """Units with their mean clock, and edges with their calls, as lines."""
    tables = reported(*traces).tables
    units = (
        tables["entry_hours"]
        .join(tables["entries"], on="entry_id")
        .group_by("unit", "service", "operation")
        .agg(pl.col("units").sum(), pl.col("clock_ns").sum())
    )
    lines = {
        f"{UNITS[unit]}: {service} {operation} {count} x {clock / 1e6 / count:g} ms"
        for unit, service, operation, count, clock in units.iter_rows()
    }
    edges = (
        tables["path_hours"]
        .join(tables["paths"].filter(pl.col("kind") != schema.EDGE_SELF), on="path_id")
        .group_by("kind", "caller", "callee", "operation")
        .agg(pl.col("calls").sum())
    )
    return lines | {
        f"{schema.EDGE_KINDS[kind]} {caller} -> {callee}: {operation} {calls}"
        for kind, caller, callee, operation, calls in edges.iter_rows()
    }


@pytest.mark.parametrize("shape", shapes(), ids=lambda shape: shape.title)
def test_a_shape_is_read_as_a_careful_reader_reads_it(shape: Shape) -> None:
    assert read(shape.traces) == shape.answer

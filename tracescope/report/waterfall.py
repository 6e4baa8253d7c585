"""A trace as bars of time with its critical path, under an axis that leaves idle gaps out.

0        20 ms      40 ms  //  1.2 s
|--------------------|     ┊   |----|         a message that waited for a second takes no more room
                                              than the second is worth: the gap is drawn broken
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl
from markupsafe import Markup, escape

from tracescope.report.charts import draw_line, draw_rect, draw_text, nice_ticks, shown, svg_of
from tracescope.report.figures import duration, more_of

if TYPE_CHECKING:
    from tracescope.analysis.rollups.trace_path import TracePath

#: A gap that nothing runs in is broken where it takes more than this part of the axis, and takes this then.
GAP_FROM: Final = 0.12
GAP_TAKES: Final = 0.03
_AXIS: Final = 24
#: Room that the words of a tick take.
_APART: Final = 60.0
_LEFT, _RIGHT = 340, 90


@dataclass(frozen=True, slots=True)
class Axis:
    """From ns since a trace's start to places; idle gaps ``(start, end)`` take `GAP_TAKES` of the room."""

    length_ns: int
    gaps: tuple[tuple[int, int], ...]
    width: float

    @property
    def _scale(self) -> float:
        """Room for each ns that counts."""
        idle = sum(end - start for start, end in self.gaps)
        return self.width * (1 - GAP_TAKES * len(self.gaps)) / max(self.length_ns - idle, 1)

    def x(self, ns: float) -> float:
        """Place of an instant."""
        at, room = 0.0, self.width * GAP_TAKES
        counted = float(ns)
        for start, end in self.gaps:
            if ns >= end:
                counted -= end - start
                at += room
            elif ns > start:
                counted -= ns - start
                at += room * (ns - start) / (end - start)
        return _LEFT + at + counted * self._scale


def axis_of(spans: pl.DataFrame, width: float, length_ns: int = 0) -> Axis:
    """The axis of a trace's spans.

    Parameters
    ----------
    spans
        ``start_ns, duration_ns`` in ns from its start.
    width
        Room in px.
    length_ns
        At least so long, so that two traces have one scale; gaps are not broken then.
    """
    ends = sorted(zip(spans["start_ns"].to_list(), spans["duration_ns"].to_list(), strict=True))
    last, idle = 0, []
    for start, long in ends:
        if start > last:
            idle.append((last, start))
        last = max(last, start + long)
    if length_ns:
        return Axis(max(length_ns, last, 1), (), width)
    gaps = tuple(gap for gap in idle if gap[1] - gap[0] > GAP_FROM * max(last, 1))
    return Axis(max(last, 1), gaps, width)


def length_of(trace: TracePath) -> int:
    """From a trace's first start to its last end, ns."""
    return int(trace.spans.select((pl.col("start_ns") + pl.col("duration_ns")).max()).item() or 0)


def waterfall(
    trace: TracePath, *, width: int = 1480, row: int = 22, most: int = 400, length_ns: int = 0
) -> Markup:
    """A trace as bars of time, its critical path underlined; repeats of one call stand together.

    A message's wait in its queue is a thin line before its consumer.  At most `most` rows: the rest is
    counted in the last one.  `length_ns` is how long the axis is at least.
    """
    spans = trace.spans
    axis = axis_of(spans, width - _LEFT - _RIGHT, length_ns)
    segments: dict[int, list[tuple[int, int]]] = {}
    for span, start, end in trace.segments.select("span", "start_ns", "end_ns").iter_rows():
        segments.setdefault(span, []).append((start, end))
    waits = _waits(trace)
    rows = list(grouped(trace))
    hidden = max(len(rows) - most, 0)
    height = _AXIS + row * (min(len(rows), most) + (1 if hidden else 0)) + 4
    parts = _ticks(axis, height)
    for number, repeats in enumerate(rows[:most]):
        parts += _row(trace, repeats, axis, _AXIS + number * row + 2, (segments, waits))
    if hidden:
        parts.append(draw_text("wf-name", 4, height - 8, more_of(hidden, "row", "rows")))
    title = f"trace {trace.trace_id}, {len(spans)} spans over {duration(axis.length_ns)}"
    return svg_of("waterfall", width, height, title, parts)


def _ticks(axis: Axis, height: float) -> list[str]:
    """Lines and times of the axis, and its breaks."""
    ticks = nice_ticks(axis.length_ns - sum(b - a for a, b in axis.gaps), 6)
    parts: list[str] = []
    breaks = [axis.x(edge) for gap in axis.gaps for edge in gap]
    last = -_APART
    for tick in ticks:
        x = axis.x(tick)
        if tick > axis.length_ns or x - last < _APART or any(abs(x - gap) < _APART for gap in breaks):
            continue
        last = x
        parts.append(draw_line("wf-grid", x, _AXIS - 6, x, height))
        parts.append(draw_text("axis", x + 3, 13, duration(tick) if tick else "0"))
    for start, end in axis.gaps:
        left, right = axis.x(start), axis.x(end)
        said = f"{duration(end - start)} in which nothing runs"
        gap = draw_rect("wf-gap", left, _AXIS - 6, right - left, height - _AXIS + 6)
        parts.append(
            f"<g><title>{escape(said)}</title>{gap}"
            f"{draw_text('axis', (left + right) / 2, 13, '//', anchor='middle')}"
            f"{draw_text('axis', right + 3, 13, duration(end))}</g>"
        )
    return parts


def _row(
    trace: TracePath,
    repeats: Sequence[int],
    axis: Axis,
    y: float,
    known: tuple[dict[int, list[tuple[int, int]]], dict[int, tuple[int, int]]],
) -> list[str]:
    """One call, or a run of equal ones."""
    spans, (segments, waits) = trace.spans, known
    span = spans.row(repeats[0], named=True)
    name = f"{span['service']} {span['operation']}" + (f" ×{len(repeats)}" if len(repeats) > 1 else "")
    indent = min(span["depth"], 16) * 12
    total = sum(spans.item(at, "duration_ns") for at in repeats)
    own = sum(spans.item(at, "own_ns") for at in repeats)
    about = f"{name}: {duration(total)}, {duration(own)} of it on the critical path"
    parts = [f'<g class="{_row_class(trace, repeats)}"><title>{escape(shown(about, 400))}</title>']
    parts.append(draw_text("wf-name", indent + 4, y + 14, name, limit=max((_LEFT - indent) // 7, 8)))
    if repeats[0] in waits:
        begin, wait = waits[repeats[0]]
        x = axis.x(begin)
        parts.append(draw_rect("wf-wait", x, y + 8, axis.x(begin + wait) - x, 2))
    last = 0.0
    for at in repeats:
        start = spans.item(at, "start_ns")
        x = axis.x(start)
        size = max(axis.x(start + spans.item(at, "duration_ns")) - x, 1.0)
        parts.append(draw_rect("wf-bar", x, y + 3, size, 11))
        for begin, end in segments.get(at, ()):
            parts.append(
                draw_rect("wf-crit", axis.x(begin), y + 14, max(axis.x(end) - axis.x(begin), 0.7), 3)
            )
        last = max(last, x + size)
    parts.append(draw_text("wf-time", last + 5, y + 13, duration(total)) + "</g>")
    return parts


def _waits(trace: TracePath) -> dict[int, tuple[int, int]]:
    """Row of a message's first span -> start and length of its wait in ns."""
    first: dict[int, int] = {}
    for at, unit in enumerate(trace.spans["unit"].to_list()):
        first.setdefault(unit, at)
    rows = trace.units.filter(pl.col("wait_ns") > 0).select("unit", "start_ns", "wait_ns").iter_rows()
    return {first[unit]: (start, wait) for unit, start, wait in rows if unit in first}


def _row_class(trace: TracePath, repeats: Sequence[int]) -> str:
    spans = trace.spans
    style = "wf-path" if any(spans.item(at, "on_path") for at in repeats) else "wf-off"
    style += " wf-error" if any(spans.item(at, "error") for at in repeats) else ""
    return style + (" wf-detached" if spans.item(repeats[0], "detached") else "")


def grouped(trace: TracePath) -> Iterable[list[int]]:
    """Rows of a waterfall: three or more similar leaf calls in a row under one parent become one row."""
    spans = trace.spans
    depth = spans["depth"].to_list()
    names = spans.select("parent_span_id", "service", "operation", "peer").rows()
    leaf = [at + 1 == len(depth) or depth[at + 1] <= depth[at] for at in range(len(depth))]
    at = 0
    while at < len(depth):
        run = [at]
        while leaf[at] and run[-1] + 1 < len(depth) and leaf[run[-1] + 1] and names[run[-1] + 1] == names[at]:
            run.append(run[-1] + 1)
        if len(run) < 3:
            run = [at]
        yield run
        at = run[-1] + 1

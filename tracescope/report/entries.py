"""Entries as a table: how each changed by its own clock, and what would have shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracescope.report.columns import Column, table
from tracescope.report.figures import count, interval, number

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tracescope.analysis.report import Entry, Report


def _pair(before: float | None, after: float | None) -> str:
    cells = ["none" if value is None else number(value) for value in (before, after)]
    return " → ".join(cells)


def _rise(entry: Entry) -> str:
    return "" if entry.rise_ms is None else f"{number(entry.rise_ms, sign=True)} ms"


def _detectable(entry: Entry) -> str:
    """The smallest rise that would have shown."""
    return "unknown" if entry.detectable_ms is None else f"{number(entry.detectable_ms)} ms"


def _slower(entry: Entry) -> str:
    return "" if entry.slower is None else f"{entry.slower * 100:.0f} %"


def entries_table(report: Report, width: int) -> RenderableType:
    """Every entry of a report in its order, with every column whatever the `width`."""
    columns: list[Column[Entry]] = [
        Column("entry", lambda entry: f"{entry.service} {entry.operation}", least=28),
        Column("unit", lambda entry: entry.unit),
        Column("units", lambda entry: f"{count(entry.units_base)} → {count(entry.units_head)}", right=True),
        Column("mean ms", lambda entry: _pair(entry.ms_base, entry.ms_head), right=True),
        Column("rise", _rise, right=True),
        Column("95 %", lambda entry: interval(entry.rise_ms_ci), right=True),
        Column("detectable rise", _detectable, right=True),
        Column("slower in head", _slower, right=True),
        Column("verdict", lambda entry: entry.state.value, least=16),
    ]
    return table(columns, report.entries, width, everything=True)

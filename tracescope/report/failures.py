"""Render errors and missing work: the ``errors`` block of JSON, and lines beside latency."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tracescope.report.figures import more_of

if TYPE_CHECKING:
    from tracescope.analysis.report import (
        Edge,
        EdgeKey,
        EntryFailures,
        Failures,
        MissingWork,
        Origin,
        Rate,
        Report,
    )
    from tracescope.report import contract

#: Entries and lost work that a text tells; JSON has all.
MOST_ENTRIES: Final = 3
MOST_SENTENCES: Final = 6


def per_cent(value: float) -> str:
    """A part of 1 as a percentage that is no longer than it must be."""
    return f"{100 * value:.3g} %"


def rate_json(rate: Rate | None) -> contract.Rate | None:
    """A rate of the JSON shape."""
    if rate is None:
        return None
    return {
        "base": rate.base,
        "head": rate.head,
        "change": rate.change,
        "change_ci": rate.change_ci,
        "q_value": rate.q_value,
        "significant": rate.significant,
        "of_base": rate.of_base,
        "of_head": rate.of_head,
    }


def edge_name(key: EdgeKey) -> contract.EdgeName:
    """What names an edge, in JSON."""
    return {
        "unit": key.unit,
        "kind": key.kind,
        "caller": key.caller,
        "callee": key.callee,
        "operation": key.operation,
    }


def _entry_name(entry: tuple[str, str]) -> contract.EntryName:
    return {"service": entry[0], "operation": entry[1]}


def _entry(one: EntryFailures) -> contract.EntryErrors:
    rate = rate_json(one.rate)
    assert rate is not None
    return {
        "unit": one.unit,
        "service": one.service,
        "operation": one.operation,
        "rate": rate,
        "leafless": rate_json(one.leafless),
        "ok_ms_base": one.ok_ms_base,
        "ok_ms_head": one.ok_ms_head,
        "failed_ms_base": one.failed_ms_base,
        "failed_ms_head": one.failed_ms_head,
        "arrived_per_h_base": one.arrived_per_h_base,
        "arrived_per_h_head": one.arrived_per_h_head,
        "completed_per_h_base": one.completed_per_h_base,
        "completed_per_h_head": one.completed_per_h_head,
    }


def _origin(one: Origin) -> contract.ErrorOrigin:
    return {
        "edge": edge_name(one.key),
        "rate": rate_json(one.rate),
        "entries": [_entry_name(entry) for entry in one.entries],
        "added_units": one.added,
    }


def _missing_work(one: MissingWork) -> contract.MissingWork:
    return {
        "kind": one.kind.value,
        "sentence": one.sentence,
        "edge": None if one.edge is None else edge_name(one.edge),
        "entry": None if one.entry is None else _entry_name(one.entry),
    }


def failures_json(failures: Failures) -> contract.Errors:
    """The ``errors`` block: rates as changes, where they begin, and which work is missing."""
    return {
        "measured": failures.measured,
        "entries": [_entry(one) for one in failures.entries],
        "edges": [
            {
                "edge": edge_name(one.key),
                "rate": rate_json(one.rate),
                "retries": rate_json(one.retries),
                "ok_ms_base": one.ok_ms_base,
                "ok_ms_head": one.ok_ms_head,
            }
            for one in failures.edges
        ],
        "origins": [_origin(one) for one in failures.origins],
        "lost": [_missing_work(one) for one in failures.missing_work],
    }


def change(rate: Rate) -> str:
    """A rate as it was and is."""
    return f"{100 * rate.base:.3g} → {per_cent(rate.head)}"


def points(rate: Rate) -> str:
    """The interval of its change in percentage points; empty where there is none."""
    if rate.change_ci is None:
        return ""
    low, high = (100 * bound for bound in rate.change_ci)
    return f"{low:+.3g} … {high:+.3g} points".replace("-", "−")


def edge_cell(edge: Edge) -> str:
    """How often an edge's calls fail, where that changed."""
    found = edge.failures
    return change(found.rate) if found is not None and found.rate.significant else ""


def edge_lines(edge: Edge) -> list[str]:
    """How often an edge's calls fail and are made again, changed or not."""
    found = edge.failures
    if found is None:
        return []
    told = "" if found.rate.significant else "~ "
    lines = [f"{told}{change(found.rate)} of its calls fail ({points(found.rate) or 'insufficient'})"]
    if found.retries is not None and max(found.retries.base, found.retries.head) > 0:
        told = "" if found.retries.significant else "~ "
        lines.append(f"{told}{change(found.retries)} of its calls are made again after a failure")
    if found.ok_ms_base is not None and found.ok_ms_head is not None:
        lines.append(f"calls that succeed take {found.ok_ms_base:.3g} → {found.ok_ms_head:.3g} ms")
    return lines


def lines(report: Report) -> list[str]:
    """Errors and missing work, most important first; empty where nothing ever failed."""
    found = report.failures
    out = [f"errors  {told}" for told in _rates(report)]
    shown = found.missing_work[:MOST_SENTENCES]
    out += [f"lost  {one.sentence}" for one in shown]
    if (more := len(found.missing_work) - len(shown)) > 0:
        out.append(f"lost  {more} more (--format json)")
    if not found.measured and found.entries:
        out.append(
            "errors  what failed work took is unknown of hours that an earlier version sealed: "
            "`tracescope rebuild` measures it where raw spans are held"
        )
    return out


def _rates(report: Report) -> list[str]:
    found = report.failures
    failing = [one for one in found.entries if one.rate.base > 0 or one.rate.head > 0]
    told: list[str] = []
    for one in [entry for entry in failing if entry.rate.significant][:MOST_ENTRIES]:
        line = f"{one.service} {one.operation}: {change(one.rate)} of {one.unit}s fail ({points(one.rate)})"
        if one.ok_ms_base is not None and one.ok_ms_head is not None:
            line += f"; those that succeed take {one.ok_ms_base:.3g} → {one.ok_ms_head:.3g} ms"
        told.append(line)
    if (more := sum(one.rate.significant for one in failing) - len(told)) > 0:
        told.append(f"{more_of(more, 'entry', 'entries')} changed (--format json)")
    if failing and not told:
        of = [sum(one.rate.of_base for one in failing), sum(one.rate.of_head for one in failing)]
        bad = [
            sum(one.rate.base * one.rate.of_base for one in failing),
            sum(one.rate.head * one.rate.of_head for one in failing),
        ]
        parts = [per_cent(a / b) if b else "?" for a, b in zip(bad, of, strict=True)]
        told.append(f"~ {parts[0]} → {parts[1]} of units fail, of entries that fail at all")
    return told

"""A Report rendered: as JSON here, as text in `tracescope.report.text`.

Renderers are pure functions of data: they read no store and ask no clock.

Source: design, section 8 (the JSON shape, whose number changes when a field does).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

from tracescope.analysis.report import EFFECTS
from tracescope.report.cards import Card, cards
from tracescope.report.carriers import carriers_json
from tracescope.report.failures import edge_name, failures_json, rate_json
from tracescope.report.tails import tail_json
from tracescope.visible import json_text

if TYPE_CHECKING:
    from tracescope.analysis.report import Change, Edge, Entry, Extent, Pattern, Report, Standing
    from tracescope.analysis.rollups.trace_path import TracePath
    from tracescope.analysis.topology.findings import Finding
    from tracescope.analysis.topology.graph import Graph
    from tracescope.analysis.topology.rules import Checked
    from tracescope.report import contract
    from tracescope.store import Status

DIFF_SCHEMA: Final = "tracescope.diff/1"
STATUS_SCHEMA: Final = "tracescope.status/1"
CHECK_SCHEMA: Final = "tracescope.check/1"
GRAPH_SCHEMA: Final = "tracescope.graph/1"
PATH_SCHEMA: Final = "tracescope.path/1"


def iso(ns: int) -> str | None:
    """An instant as ISO 8601 in UTC, to the nanosecond where there are any; None for 0."""
    if ns == 0:
        return None
    seconds, rest = divmod(ns, 10**9)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return text + (f".{rest:09d}".rstrip("0") if rest else "") + "Z"


def canonical(value: Any) -> Any:
    """A JSON answer with its numbers as they are written: twelve significant digits, NaN and infinity null.

    The last digits of a float are what adding up leaves.
    """
    if isinstance(value, float):
        return (float(f"{value:.12g}") + 0.0) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: canonical(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(each) for each in value]
    return value


def json_bytes(value: Any, *, indented: bool = False) -> bytes:
    """The one way that answers become JSON, on every surface: names keep their value, escaped."""
    import orjson

    option = orjson.OPT_SERIALIZE_NUMPY | (orjson.OPT_INDENT_2 if indented else 0)
    made = orjson.dumps(canonical(value), default=str, option=option)
    # orjson escapes what JSON demands: no DEL, no C1, no direction mark
    return made if made.isascii() and b"\x7f" not in made else json_text(made.decode()).encode()


def _extent(extent: Extent) -> contract.Extent:
    return {
        "start": iso(extent.start_ns),
        "end": iso(extent.end_ns),
        "units": extent.units,
        "hours": extent.hours,
        "blocks": extent.blocks,
        "units_seen": extent.units_seen,
    }


def _clock(clock: Mapping[str, float]) -> contract.Clock:
    return cast("contract.Clock", {"base_ok_ms": None, "head_ok_ms": None, **clock})


def _change(change: Change) -> contract.ChangePoint:
    return {
        "at": iso(change.at_ns),
        "low": iso(change.low_ns),
        "high": iso(change.high_ns),
        "versions": [
            {"service": one.service, "version": one.version, "first": iso(one.first_ns)}
            for one in change.versions
        ],
        "marks": list(change.marks),
    }


def _pattern(pattern: Pattern) -> contract.Pattern:
    return {
        "name": pattern.name,
        "edge": pattern.edge,
        "operation": pattern.operation,
        "certainty": pattern.certainty.value,
        "evidence": list(pattern.evidence),
    }


def edge_json(edge: Edge) -> contract.Edge:
    """One edge of the JSON shape."""
    return {
        "unit": edge.unit,
        "kind": edge.kind,
        "caller": edge.caller,
        "callee": edge.callee,
        "operation": edge.operation,
        "uninstrumented": edge.uninstrumented,
        "share_base": edge.share_base,
        "share_head": edge.share_head,
        "own_ms_base": edge.own_ms_base,
        "own_ms_head": edge.own_ms_head,
        "inclusive_ms_base": edge.inclusive_ms_base,
        "inclusive_ms_head": edge.inclusive_ms_head,
        "credited_ms": edge.credited_ms,
        "credited_ms_ci": edge.credited_ms_ci,
        "share_ci": edge.share_ci,
        "group_ms": edge.group_ms,
        "group_share_base": edge.group_share_base,
        "group_share_head": edge.group_share_head,
        "min_effect_ms": edge.min_effect_ms,
        "detectable_ms": edge.detectable_ms,
        "decided_by": edge.decided_by.value,
        "q_value": edge.q_value,
        "significant": edge.significant,
        "standing": None if edge.standing is None else _standing(edge.standing),
        "effects": {name.value: edge.effects.get(name) for name in EFFECTS},
        "effects_ci": {name.value: edge.effects_ci.get(name) for name in EFFECTS},
        "calls_per_unit_base": edge.calls_per_unit_base,
        "calls_per_unit_head": edge.calls_per_unit_head,
        "growth_pct_per_week": edge.growth_pct_per_week,
        "growth_pct_per_week_ci": edge.growth_pct_per_week_ci,
        "load_elasticity": edge.load_elasticity,
        "headroom": edge.headroom,
        "headroom_ci": edge.headroom_ci,
        "headroom_at_least": edge.headroom_at_least,
        "weeks_to_wall": edge.weeks_to_wall,
        "weeks_to_wall_ci": edge.weeks_to_wall_ci,
        "weeks_to_clock_wall": edge.weeks_to_clock_wall,
        "note": edge.note,
        "evidence": list(edge.evidence),
        "patterns": [_pattern(pattern) for pattern in edge.patterns],
        "change": None if edge.change is None else _change(edge.change),
        "exemplars": {"base": list(edge.exemplars_base), "head": list(edge.exemplars_head)},
        "errors": None if edge.failures is None else rate_json(edge.failures.rate),
    }


def _standing(standing: Standing) -> contract.Standing:
    return {
        "told": standing.kind.value,
        "follows": None if standing.follows is None else edge_name(standing.follows),
        "decides": standing.decides or None,
    }


def _entry(entry: Entry) -> contract.Entry:
    return {
        "unit": entry.unit,
        "service": entry.service,
        "operation": entry.operation,
        "units_base": entry.units_base,
        "units_head": entry.units_head,
        "ms_base": entry.ms_base,
        "ms_head": entry.ms_head,
        "p95_base_ms": entry.p95_base_ms,
        "p95_head_ms": entry.p95_head_ms,
        "weight_base": entry.weight_base,
        "weight_head": entry.weight_head,
        "mix_ms": entry.mix_ms,
        "rise_ms": entry.rise_ms,
        "rise_ms_ci": entry.rise_ms_ci,
        "detectable_ms": entry.detectable_ms,
        "slower": entry.slower,
        "q_value": entry.q_value,
        "state": entry.state.value,
        "errors": None if entry.failures is None else rate_json(entry.failures.rate),
        "ok_ms_base": entry.ok_ms_base,
        "ok_ms_head": entry.ok_ms_head,
    }


def cause_json(card: Card) -> contract.Cause:
    """One finding of the JSON shape."""
    cause = card.finding
    return {
        "id": cause.id,
        "cause": edge_name(cause.cause),
        "mechanism": cause.mechanism.value,
        "sentence": cause.sentence,
        "added_ms": cause.added_ms,
        "unit": cause.unit,
        "entries": [{"service": service, "operation": operation} for service, operation in cause.entries],
        "added_ms_ci": cause.added_ms_ci,
        "total_ms": cause.total_ms,
        "victims": [
            {"edge": edge_name(each.edge), "added_ms": each.added_ms, "unit": each.unit, "how": each.how}
            for each in cause.victims
        ],
        "since": None if cause.since is None else _change(cause.since),
        "certainty": cause.certainty.value,
        "q_value": cause.q_value,
        "evidence": list(cause.evidence),
        "weeks_to_wall": cause.weeks_to_wall,
        "owner": cause.owner or None,
        "muted": None
        if cause.mute is None
        else {"until": iso(cause.mute.until_ns), "reason": cause.mute.reason},
        "next": {"question": card.question, "command": card.command, "trace_id": card.trace_id or None},
    }


def diff_json(report: Report) -> contract.Diff:
    """``tracescope.diff/1``, ready for a JSON encoder."""
    return {
        "schema": DIFF_SCHEMA,
        "environment": report.environment,
        "notes": list(report.notes),
        "base": _extent(report.base),
        "head": _extent(report.head),
        "clock": _clock(report.clock),
        "other_clocks": {name: _clock(clock) for name, clock in report.other_clocks.items()},
        "verdict": {
            "state": report.state.value,
            "stage": report.stage,
            "reasons": list(report.reasons),
            "early_warning": [asdict(sign) for sign in report.signs],
            "signs_shown": sum(sign.shown for sign in report.signs),
            "signs_known": sum(sign.known for sign in report.signs),
            "detectable_ms": report.detectable_ms,
        },
        "alpha": report.alpha,
        "min_effect_ms": report.min_effect_ms,
        "findings": [cause_json(card) for card in cards(report)],
        "edges": [edge_json(edge) for edge in report.edges],
        "edges_in_all": report.edges_in_all,
        "entries": [_entry(entry) for entry in report.entries],
        "effects_total": {name: report.effects_total.get(name, 0.0) for name in (*map(str, EFFECTS), "mix")},
        "errors": failures_json(report.failures),
        "tails": [tail_json(tail) for tail in report.tails],
        "explained_by": carriers_json(report.carriers),
        "patterns": [_pattern(pattern) for pattern in report.patterns],
        "rejected": dict(report.rejected),
    }


def status_json(status: Status) -> contract.Status:
    """``tracescope.status/1``."""
    return {
        "schema": STATUS_SCHEMA,
        "spans": {"accepted": status.accepted, "stored": status.stored, "rejected": dict(status.rejected)},
        "units": status.units,
        "first": iso(status.first_ns),
        "last": iso(status.last_ns),
        "sealed_until": iso(status.sealed_until_ns),
        "unsealed_spans": status.landing_spans,
        "counters": dict(status.counters),
        "damaged": list(status.damaged),
        "quarantined": status.quarantined,
        "lost_requests": status.lost_requests,
        "journal_bytes": status.journal_bytes,
        "disk_bytes": status.disk_bytes,
    }


def _error_rates(row: Mapping[str, Any]) -> dict[str, float | None]:
    """How often the calls of a graph's edge fail, of 1, and did in its base; null without calls."""
    suffixes = [suffix for suffix in ("", "_base") if f"errors{suffix}" in row]
    return {
        f"error_rate{suffix}": row[f"errors{suffix}"] / row[f"calls{suffix}"]
        if row[f"calls{suffix}"]
        else None
        for suffix in suffixes
    }


def graph_json(graph: Graph) -> contract.Graph:
    """``tracescope.graph/1``; with a base, edges carry its values as ``..._base``."""
    made: contract.Graph = {
        "schema": GRAPH_SCHEMA,
        "level": graph.level,
        "environment": graph.environment,
        "start": iso(graph.start_ns),
        "end": iso(graph.end_ns),
        "units": dict(graph.units),
        "notes": list(graph.notes),
        "nodes": graph.nodes.to_dicts(),
        "edges": [{**row, **_error_rates(row)} for row in graph.edges.to_dicts()],
    }
    if graph.base is not None:
        start, end = graph.base
        made["base"] = {"start": iso(start), "end": iso(end), "units": dict(graph.base_units)}
    return made


def findings_json(findings: Sequence[Finding]) -> list[contract.Finding]:
    """Findings as they stand in ``tracescope.graph/1``."""
    return [
        {"kind": each.kind, "text": each.text, "nodes": list(each.nodes), "evidence": dict(each.evidence)}
        for each in findings
    ]


def checked_json(checked: Checked, graph: Graph) -> contract.Checked:
    """``tracescope.check/1``."""
    return {
        "schema": CHECK_SCHEMA,
        "environment": graph.environment,
        "start": iso(graph.start_ns),
        "end": iso(graph.end_ns),
        "ok": not checked.violations,
        "rules": checked.rules,
        "violations": [
            {"rule": each.rule, "text": each.text, "reason": each.reason, "evidence": dict(each.evidence)}
            for each in checked.violations
        ],
        "notes": list(checked.notes),
    }


def path_json(trace: TracePath) -> contract.Path:
    """``tracescope.path/1``: spans parents first, times in ns from the trace's start."""
    return {
        "schema": PATH_SCHEMA,
        "trace_id": trace.trace_id,
        "start": iso(trace.start_ns),
        "units": trace.units.to_dicts(),
        "spans": trace.spans.to_dicts(),
        "segments": trace.segments.to_dicts(),
        "counters": dict(trace.counters),
        "notes": list(trace.notes),
    }

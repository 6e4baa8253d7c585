"""The verdict, its findings and the growth of edges, this week against last week, as gauges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client.core import GaugeMetricFamily, Metric

from tracescope.analysis.report import State

if TYPE_CHECKING:
    from tracescope.analysis.report import Report

_EDGE: Final = ("kind", "caller", "callee", "operation")
_STATES: Final = (
    State.AT_THE_WALL, State.APPROACHING, State.DRIFTING, State.GROWTH_STABLE, State.INSUFFICIENT,
)  # fmt: skip


def finding_families(report: Report | None, most: int) -> list[Metric]:
    """The state, and every finding with its added time, its certainty and the weeks left.

    Parameters
    ----------
    report
        A diff; None where there is none yet.
    most
        Findings at most: the first ones.
    """
    state = GaugeMetricFamily(
        "tracescope_verdict", "1 for the state that holds this week, else 0.", labels=("state",)
    )
    named = ("id", "mechanism", *_EDGE, "owner", "muted")
    here = GaugeMetricFamily("tracescope_finding", "1 while the finding holds.", labels=named)
    added = GaugeMetricFamily(
        "tracescope_finding_added_seconds", "What it adds to a unit of work.", labels=("id", "unit")
    )
    chance = GaugeMetricFamily(
        "tracescope_finding_q_value", "False discovery rate of its rise.", labels=("id",)
    )
    weeks = GaugeMetricFamily("tracescope_finding_weeks_left", "Weeks until its wall.", labels=("id",))
    if report is not None:
        for one in _STATES:
            state.add_metric((one.value,), float(one == report.state))
        for found in report.findings[:most]:
            cause, muted = found.cause, "false" if found.mute is None else "true"
            edge = cause.kind, cause.caller, cause.callee or "", cause.operation or ""
            here.add_metric((found.id, found.mechanism.value, *edge, found.owner, muted), 1.0)
            added.add_metric((found.id, found.unit), found.added_ms / 1e3)
            if found.q_value is not None:
                chance.add_metric((found.id,), found.q_value)
            if found.weeks_to_wall is not None:
                weeks.add_metric((found.id,), found.weeks_to_wall)
    return [state, here, added, chance, weeks]


def edge_families(report: Report | None, most: int) -> list[Metric]:
    """Share, growth, its significance, headroom and weeks of a report's strongest edges.

    Parameters
    ----------
    report
        A diff; None where there is none yet.
    most
        Edges at most.  Of one edge in several kinds of units the first is told.
    """
    told = {
        name: GaugeMetricFamily(f"tracescope_edge_{name}", words, labels=_EDGE)
        for name, words in (
            ("share", "Part of the critical time, this week."),
            ("credited_seconds", "What it takes more per unit of work than last week."),
            ("grown", "1 where it takes significantly more, else 0."),
            ("q_value", "False discovery rate of its change."),
            ("growth_percent_per_week", "Drift at equal load, where identifiable."),
            ("headroom", "Capacity over today's peak load, where identifiable."),
            ("weeks_to_wall", "Weeks until its wall, where identifiable."),
        )
    }
    seen: set[tuple[str, ...]] = set()
    for edge in report.edges[:most] if report is not None else ():
        labels = edge.kind, edge.caller, edge.callee or "", edge.operation or ""
        if labels in seen:
            continue
        seen.add(labels)
        values = {
            "share": edge.share_head,
            "credited_seconds": edge.credited_ms / 1e3,
            "grown": float(edge.significant and edge.credited_ms > 0),
            "q_value": edge.q_value,
            "growth_percent_per_week": edge.growth_pct_per_week,
            "headroom": edge.headroom,
            "weeks_to_wall": edge.weeks_to_wall,
        }
        for name, value in values.items():
            if value is not None:
                told[name].add_metric(labels, value)
    return list(told.values())

"""How often entries and calls fail, this week against last week, as gauges."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily, Metric

from tracescope.analysis.report import Failures

if TYPE_CHECKING:
    from tracescope.analysis.report import Rate


def failure_families(failures: Failures, most: int) -> list[Metric]:
    """Rates of entries and of edges, and whether these grew.

    Parameters
    ----------
    failures
        Failures of a report.
    most
        Edges and entries at most: those whose rates grew first.
    """
    of_entry, of_edge = ("unit", "service", "operation"), ("kind", "caller", "callee", "operation")
    entries = GaugeMetricFamily(
        "tracescope_entry_error_ratio", "Units of work that fail, of 1, this week.", labels=of_entry
    )
    entries_grown = GaugeMetricFamily(
        "tracescope_entry_errors_grown", "1 where units fail significantly more often.", labels=of_entry
    )
    edges = GaugeMetricFamily(
        "tracescope_edge_error_ratio", "Calls that fail, of 1, this week.", labels=of_edge
    )
    edges_grown = GaugeMetricFamily(
        "tracescope_edge_errors_grown", "1 where calls fail significantly more often.", labels=of_edge
    )
    for entry in failures.entries[:most]:
        _add(entries, entries_grown, (entry.unit, entry.service, entry.operation), entry.rate)
    told: set[tuple[str, ...]] = set()
    for edge in failures.edges[:most]:
        labels = edge.key.kind, edge.key.caller, edge.key.callee or "", edge.key.operation or ""
        if labels not in told:  # of several kinds of units the one that comes first
            told.add(labels)
            _add(edges, edges_grown, labels, edge.rate)
    return [entries, entries_grown, edges, edges_grown]


def _add(rates: GaugeMetricFamily, grown: GaugeMetricFamily, labels: tuple[str, ...], rate: Rate) -> None:
    rates.add_metric(labels, rate.head)
    grown.add_metric(labels, float(rate.grew))

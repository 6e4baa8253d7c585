"""Series for Prometheus that come from the rollups: the service graph, and tracescope's own verdicts.

``traces_service_graph_request_*`` have the names and labels that Grafana Tempo's metrics generator
gives them, so a node graph panel reads them as they are.  They count hours as they are sealed, from the
start of the process, and so move once an hour: ask for rates over an hour or more.  Verdict,
findings, growth and headroom are those of `tracescope diff` without arguments, of its strongest edges
only: cardinality is bounded.

Source: Grafana Tempo documentation, "Service graphs" (names, labels, what is a client's and a server's
time); OpenMetrics 1.0 (counters and histograms).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import polars as pl
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from tracescope.analysis.report import Failures, Report
from tracescope.analysis.rollups.flows import weight
from tracescope.analysis.rollups.long_lived import find_long_lived, set_apart
from tracescope.analysis.statistics.sketch import midpoint_of
from tracescope.engine.rollups import RollupRequest, rollups
from tracescope.errors import TracescopeError
from tracescope.schema import EDGE_KINDS, HOUR_NS, QUEUE_ROUTE, QUEUE_WAIT, UNIT_LONG
from tracescope.serving.failure_metrics import failure_families
from tracescope.serving.finding_metrics import edge_families, finding_families
from tracescope.session import Session

#: Pairs of client and server that are shown; the busiest, the rest is counted together.
MOST_PAIRS: Final = 500
#: Edges whose share and headroom are shown.
MOST_EDGES: Final = 30
#: Findings that are shown.
MOST_FINDINGS: Final = 30
#: Verdicts are made anew so often at most.
VERDICT_EVERY_S: Final = 300.0
#: Hours back from now that may still be sealed again.
OPEN_HOURS: Final = 48
#: Upper bounds in seconds, Tempo's defaults.
BOUNDS_S: Final = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8)
OTHER: Final = "(other)"

_Pair = tuple[str, str, str]
#: connection_type by edge kind, as Tempo names them; empty for plain calls.
_CONNECTION: Final = {"db": "database", "queue": "messaging_system", "external": "virtual_node"}
#: The same of calls of long-lived work.
LONG_LIVED: Final = "long_lived"


@dataclass(slots=True)
class _Totals:
    """Counted calls of one pair: in all, failed, seconds, and per bucket (the last is infinity)."""

    calls: float = 0.0
    failed: float = 0.0
    seconds: float = 0.0
    buckets: list[float] = field(default_factory=lambda: [0.0] * (len(BOUNDS_S) + 1))

    def add(self, other: _Totals, sign: float = 1.0) -> None:
        """Add or take away."""
        self.calls += sign * other.calls
        self.failed += sign * other.failed
        self.seconds += sign * other.seconds
        self.buckets = [a + sign * b for a, b in zip(self.buckets, other.buckets, strict=True)]


def hour_totals(tables: Mapping[str, pl.DataFrame]) -> dict[_Pair, _Totals]:
    """Calls between each client and server of some rollups, weighted by their sampling.

    Parameters
    ----------
    tables
        ``path_hours``, ``path_sketches`` and ``paths``; calls of long-lived work are a connection type of
        their own, whatever they reach: nobody waits for them as for a request.
    """
    long = pl.col("unit") == UNIT_LONG
    ends = tables["paths"].filter(
        pl.col("callee").is_not_null() & ~pl.col("operation").is_in([QUEUE_WAIT, QUEUE_ROUTE])
    )
    ends = ends.select("path_id", "kind", "caller", "callee")
    keys = ["kind", "caller", "callee", "long"]
    sums = (
        tables["path_hours"]
        .join(ends, on="path_id")
        .with_columns(long=long)
        .group_by(keys)
        .agg((pl.col(name) * weight()).sum() for name in ("calls", "errors", "busy_ns"))
    )
    found: dict[_Pair, _Totals] = {}
    for kind, caller, callee, long_lived, calls, errors, busy in sums.iter_rows():
        totals = found.setdefault((_connection(kind, long_lived), caller, callee), _Totals())
        totals.add(_Totals(calls, errors, busy / 1e9))
    bins = (
        tables["path_sketches"]
        .join(ends, on="path_id")
        .with_columns(long=long)
        .group_by(*keys, "bin")
        .agg((pl.col("count") * weight()).sum())
    )
    seconds = midpoint_of(bins["bin"].to_numpy()) / 1e9
    for row, value in zip(bins.iter_rows(), seconds.tolist(), strict=True):
        kind, caller, callee, long_lived, _, count = row
        at = next((k for k, bound in enumerate(BOUNDS_S) if value <= bound), len(BOUNDS_S))
        found[_connection(kind, long_lived), caller, callee].buckets[at] += count
    return found


def _connection(kind: int, long_lived: bool) -> str:
    return LONG_LIVED if long_lived else _CONNECTION.get(EDGE_KINDS[kind], "")


class GraphSeries(Collector):
    """Collects both kinds of series; register it once with a registry."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._since = time.time_ns() // HOUR_NS - 1
        self._hours: dict[int, dict[_Pair, _Totals]] = {}
        self._settled: dict[_Pair, _Totals] = {}
        self._sequence = -1
        self._report: Report | None = None
        self._judged_s = -1e9

    def describe(self) -> Iterable[Metric]:
        """Names only, so that registering reads no store."""
        return [
            *self._graph_families({}),
            *_verdict_families(None),
        ]

    def collect(self) -> Iterator[Metric]:
        """What is known now."""
        with self._lock:
            try:
                self._count_hours()
                self._judge()
            except TracescopeError:
                # no store yet, or too little in it: what is known stays, and the rest of /metrics too
                self._sequence = -1
            yield from self._graph_families(self._busiest())
            yield from _verdict_families(self._report)

    def _count_hours(self) -> None:
        """Count hours sealed since the last look; an hour that was sealed again counts its difference."""
        store = self._session.store()
        pointer = store.sealed.pointer()
        if pointer.sequence == self._sequence:
            return
        for hour in sorted(hour for hour in pointer.hours if hour >= self._since):
            tables = ("path_hours", "path_sketches", "entry_hours", "entry_sketches")
            found = rollups(store, RollupRequest(hour * HOUR_NS, (hour + 1) * HOUR_NS, tables=tables))
            self._hours[hour] = hour_totals(set_apart(found, find_long_lived(found)).tables)
        self._sequence = pointer.sequence
        newest = max(self._hours, default=0)
        for hour in [hour for hour in self._hours if hour < newest - OPEN_HOURS]:
            for pair, totals in self._hours.pop(hour).items():
                self._settled.setdefault(pair, _Totals()).add(totals)
            self._since = max(self._since, hour + 1)

    def _busiest(self) -> dict[_Pair, _Totals]:
        """Totals of every pair; beyond the cap they count as one."""
        whole: dict[_Pair, _Totals] = {}
        for part in (self._settled, *self._hours.values()):
            for pair, totals in part.items():
                whole.setdefault(pair, _Totals()).add(totals)
        if len(whole) <= MOST_PAIRS:
            return whole
        ranked = sorted(whole, key=lambda pair: (-whole[pair].calls, pair))
        kept = {pair: whole[pair] for pair in ranked[:MOST_PAIRS]}
        rest = kept.setdefault(("", OTHER, OTHER), _Totals())
        for pair in ranked[MOST_PAIRS:]:
            rest.add(whole[pair])
        return kept

    def _judge(self) -> None:
        now = time.monotonic()
        if now - self._judged_s < VERDICT_EVERY_S:
            return
        self._report = self._session.ask().report()
        self._judged_s = now

    @staticmethod
    def _graph_families(totals: dict[_Pair, _Totals]) -> list[Metric]:
        labels = ("connection_type", "client", "server")
        total = CounterMetricFamily(
            "traces_service_graph_request", "Calls between two nodes, by sealed hours.", labels=labels
        )
        failed = CounterMetricFamily(
            "traces_service_graph_request_failed", "Calls that ended in an error.", labels=labels
        )
        client = HistogramMetricFamily(
            "traces_service_graph_request_client_seconds", "Duration as the client saw it.", labels=labels
        )
        for pair, counted in totals.items():
            total.add_metric(pair, counted.calls)
            failed.add_metric(pair, counted.failed)
            reached, rows = 0.0, []
            for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), counted.buckets, strict=True):
                reached += count
                rows.append((bound, reached))
            client.add_metric(pair, rows, counted.seconds)
        return [total, failed, client]


def _verdict_families(report: Report | None) -> list[Metric]:
    failures = Failures() if report is None else report.failures
    return [
        *edge_families(report, MOST_EDGES),
        *finding_families(report, MOST_FINDINGS),
        *failure_families(failures, MOST_EDGES),
    ]

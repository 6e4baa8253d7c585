"""What the receiver counts and measures, as Prometheus reads it.

Counters run from the start of the process; what is counted over the store's life stands in
`tracescope status`.  Gauges are set by whoever watches the thing they measure.
"""

from __future__ import annotations

import platform
from itertools import product
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from tracescope.version import __version__

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Meters:
    """All meters of one receiver, in a registry of their own."""

    def __init__(self) -> None:
        at = CollectorRegistry()
        self.registry = at
        self.requests = Counter(
            "tracescope_requests", "Export requests by how they ended.", ("transport", "outcome"), registry=at
        )
        self.request_bytes = Counter(
            "tracescope_request_bytes", "Bytes of requests as sent.", ("transport",), registry=at
        )
        self.accepted = Counter("tracescope_spans_accepted", "Spans acknowledged.", registry=at)
        self.rejected = Counter(
            "tracescope_spans_rejected", "Spans refused by reason.", ("reason",), registry=at
        )
        self.answer = Histogram(
            "tracescope_answer_seconds",
            "From a whole request to its durable acknowledgement.",
            buckets=_BUCKETS,
            registry=at,
        )
        self.in_flight = Gauge("tracescope_in_flight_bytes", "Bytes of unanswered requests.", registry=at)
        self.receiving = Gauge(
            "tracescope_grpc_receiving", "gRPC calls whose request is not whole yet.", registry=at
        )
        self.decoded = Counter("tracescope_spans_decoded", "Spans decoded into landing files.", registry=at)
        self.decode_seconds = Counter("tracescope_decode_seconds", "Time spent decoding.", registry=at)
        self.drain_failures = Counter(
            "tracescope_drain_failures", "Drains that failed and are tried again.", registry=at
        )
        self.journal_bytes = Gauge(
            "tracescope_journal_bytes", "Acknowledged bytes not yet drained.", registry=at
        )
        self.journal_lag = Gauge(
            "tracescope_journal_lag_seconds", "Age of the oldest undrained request.", registry=at
        )
        self.seal_lag = Gauge(
            "tracescope_seal_lag_seconds",
            "Since the oldest unsealed hour ended, beyond the grace period.",
            registry=at,
        )
        self.lost_requests = Counter(
            "tracescope_journal_lost_requests",
            "Acknowledged requests that could not be read from a damaged journal.",
            registry=at,
        )
        self.sealed_hours = Counter("tracescope_hours_sealed", "Hours sealed.", registry=at)
        self.seal_failures = Counter(
            "tracescope_seal_failures", "Sealings that failed and are tried again.", registry=at
        )
        self.kafka_lag = Gauge(
            "tracescope_kafka_lag_messages", "Messages of the followed topic that are not read.", registry=at
        )
        self.messages = Counter(
            "tracescope_messages",
            "Messages to webhook and Alertmanager: sent, or given up after all tries.",
            ("to", "outcome"),
            registry=at,
        )
        for to, outcome in product(("webhook", "alertmanager"), ("sent", "failed")):
            self.messages.labels(to, outcome)  # that none failed is a number, too
        self.disk = Gauge("tracescope_disk_bytes", "Bytes of the store.", registry=at)
        self.disk_limit = Gauge(
            "tracescope_disk_limit_bytes", "Bytes the store may have; 0: no limit.", registry=at
        )
        self.disk_free = Gauge("tracescope_disk_free_bytes", "Bytes free beside the store.", registry=at)
        self.memory = Gauge("tracescope_memory_bytes", "Resident memory of the receiver.", registry=at)
        self.ready = Gauge(
            "tracescope_ready", "1 while spans are accepted, or a page alone is shown.", registry=at
        )
        self.connections = Gauge("tracescope_http_connections", "Open HTTP connections.", registry=at)
        self.build = Info("tracescope_build", "Versions.", registry=at)
        self.build.info({"version": __version__, "python": platform.python_version()})

    def exposition(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self.registry)

    def names(self) -> list[str]:
        """Names of the series' families as they are exposed."""
        found: list[str] = []
        for family in self.registry.collect():
            suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
            found.append(family.name + suffix)
        return sorted(found)

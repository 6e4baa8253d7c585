"""Tracescope: an OpenTelemetry trace bottleneck analyzer.

    OTLP bytes ─► journal (fsync, ack) ─► decode ─► SPANS ─► forest ─► critical path ─► SEGMENTS
    files, other stores ─► importers ──────────────►┘                                      │
                                                                                           ▼
       CLI · page · report · API ◄─ Report ◄─ diff, load model, forecast, verdict ◄─ ROLLUPS

One way, no back and forth: `ingest` and `kernels` go down, `analysis` and `report` come up, `store` is the
only state, `engine` plans over its hours, and `session` answers what every surface asks.

The names below are the public API, stable within a major version; see `tracescope.api`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tracescope.version import __version__

if TYPE_CHECKING:
    from tracescope.api import (
        Explanation,
        Forecast,
        Graph,
        Imported,
        Picture,
        Report,
        Store,
        Trace,
        critical_path,
        open_store,
    )

__all__ = [
    "Explanation",
    "Forecast",
    "Graph",
    "Imported",
    "Picture",
    "Report",
    "Store",
    "Trace",
    "__version__",
    "critical_path",
    "open_store",
]


def __getattr__(name: str) -> Any:
    """Load the API when it is first asked for: `tracescope --help` needs none of it."""
    if name in __all__:
        return getattr(importlib.import_module("tracescope.api"), name)
    raise AttributeError(f"module 'tracescope' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

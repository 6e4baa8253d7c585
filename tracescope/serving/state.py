"""What a receiver knows of itself: the figures that readiness, metrics and `tracescope status` show.

`Figures` is written into the store's folder every few seconds, so that another process can show it;
the journal's lock says whether the receiver that wrote it still lives.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from tracescope.store import SpanStore, journal
from tracescope.store.landing import write_private

FILE: Final = "serving.json"


@dataclass(frozen=True, slots=True)
class Figures:
    """One look at a running receiver.

    Attributes
    ----------
    pid, grpc, http, web
        The process, and the addresses it listens on; ``off`` for none.
    ready, reasons
        Whether spans are accepted, and what is wrong if anything is.
    journal_bytes, journal_lag_s
        Acknowledged and not yet drained: bytes, and the age of the oldest.
    seal_lag_s
        Since the oldest unsealed hour ended, beyond the grace period.
    disk_bytes, memory_bytes
        Of the store, and of the process.
    decoded_per_s
        Spans decoded a second of decoding.
    kafka_lag
        Messages of the followed topic that are not read; None where none is followed, or not known yet.
    """

    pid: int
    grpc: str
    http: str
    web: str
    ready: bool
    reasons: tuple[str, ...]
    journal_bytes: int
    journal_lag_s: float
    seal_lag_s: float
    disk_bytes: int
    memory_bytes: int
    decoded_per_s: float
    kafka_lag: int | None = None

    def write(self, root: Path) -> None:
        """Put it where `read` finds it; not durable, because it is true for a moment only."""
        temporary = root / f".{FILE}"
        with write_private(temporary) as file:
            file.write(orjson.dumps(asdict(self)))
        temporary.replace(root / FILE)


def read(store: SpanStore) -> dict[str, Any] | None:
    """Figures of the receiver that writes into `store`; None when none runs."""
    if not journal.held(store.journal_folder):
        return None
    try:
        return orjson.loads((store.root / FILE).read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return None


def describe(figures: Mapping[str, Any]) -> str:
    """Figures that `read` gave, as one line."""
    ports = ", ".join(f"{name} {figures[name]}" for name in ("grpc", "http", "web") if figures[name] != "off")
    said = "accepting" if figures["ready"] else "refusing"
    if figures["reasons"]:
        said += f" ({'; '.join(figures['reasons'])})"
    behind = f"kafka {lag:,} messages; " if (lag := figures.get("kafka_lag")) is not None else ""
    return (
        f"{said} on {ports}; journal {figures['journal_lag_s']:.1f} s behind, "
        f"sealing {figures['seal_lag_s']:.0f} s; {behind}"
        f"decodes {figures['decoded_per_s'] / 1e6:.2f} M spans/s, "
        f"{figures['memory_bytes'] / 2**20:.0f} MiB of memory"
    )


def resident_bytes() -> int:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def folder_bytes(root: Path) -> int:
    """Bytes of all files below `root`, less what goes away while we count."""
    total = 0
    for base, _, names in os.walk(root):
        for name in names:
            try:
                total += os.stat(f"{base}/{name}").st_blocks * 512
            except FileNotFoundError:
                continue
    return total


def free_bytes(root: Path) -> int:
    """Bytes free beside the store."""
    return shutil.disk_usage(root).free

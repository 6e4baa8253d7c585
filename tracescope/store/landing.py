"""Landing: decoded spans on disk, not yet sealed.

    landing/<hour>/<batch>.parquet      spans that start in that hour, sorted by trace and span id
    ledger/<batch>.json                 how many were accepted, and refused for what
    staging/<group>/                    files on their way there

A group of batches is written aside, fsynced, and then moved into place.  The marker COMMIT decides:
with it, whoever opens the store finishes the moves; without it and without a living owner, the
group never happened.  Moving a file onto itself is harmless, so landing a batch twice is too.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracescope import schema
from tracescope.errors import StoreError

if TYPE_CHECKING:
    import polars as pl

ROW_GROUP = 16_384
COMMIT = "COMMIT"
LOCK = "LOCK"


def fsync_path(path: Path) -> None:
    """Make a file's or folder's content durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_durably(path: Path, data: bytes) -> None:
    """Replace a small file atomically."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    fsync_path(path.parent)


@dataclass(slots=True)
class Ledger:
    """Spans accepted and refused, over batches."""

    accepted: int = 0
    rejected: dict[str, int] = field(default_factory=dict[str, int])
    batches: list[str] = field(default_factory=list[str])
    arrived_ns: int = 0

    def add(self, accepted: int, rejected: Mapping[str, int]) -> None:
        """Count one more batch."""
        self.accepted += accepted
        for reason, count in rejected.items():
            self.rejected[reason] = self.rejected.get(reason, 0) + count


@dataclass(frozen=True, slots=True)
class Landing:
    """The landing part of a store; see the module's docstring."""

    root: Path

    def create(self) -> None:
        """Make the folders."""
        for name in ("landing", "ledger", "staging"):
            (self.root / name).mkdir(mode=0o700, parents=True, exist_ok=True)

    # -- writing --

    @contextmanager
    def group(self, name: str) -> Generator[LandingGroup]:
        """Stage batches; they become visible together when the block ends without an error."""
        folder = self.root / "staging" / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (folder / LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise StoreError(
                    f"another process is landing {name} into {self.root}", "wait until it has finished"
                ) from error
            for leftover in folder.iterdir():
                if leftover.is_dir():
                    shutil.rmtree(leftover)
            try:
                yield LandingGroup(self, folder)
                self._commit(folder)
            finally:
                if not (folder / COMMIT).exists():
                    shutil.rmtree(folder, ignore_errors=True)

    def _commit(self, folder: Path) -> None:
        for inner in folder.rglob("*"):
            if inner.is_dir():
                fsync_path(inner)
        write_durably(folder / COMMIT, b"")
        self._finish(folder)

    def _finish(self, folder: Path) -> None:
        """Move a committed group's files into place; safe to repeat."""
        touched: set[Path] = set()
        for source in sorted(folder.glob("landing/*/*.parquet")):
            target = self.root / "landing" / source.parent.name / source.name
            target.parent.mkdir(mode=0o700, exist_ok=True)
            source.replace(target)
            touched |= {target.parent, self.root / "landing"}
        for source in sorted(folder.glob("ledger/*.json")):
            source.replace(self.root / "ledger" / source.name)
            touched.add(self.root / "ledger")
        for path in touched:
            fsync_path(path)
        shutil.rmtree(folder)
        fsync_path(self.root / "staging")

    def recover(self) -> None:
        """Finish or forget what a killed process left in staging."""
        for folder in list((self.root / "staging").iterdir()):
            if (folder / COMMIT).exists():
                self._finish(folder)
                continue
            with (folder / LOCK).open("a") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    continue  # its owner lives
                shutil.rmtree(folder, ignore_errors=True)

    # -- reading --

    def files(self) -> dict[int, list[Path]]:
        """Landed files by the hour their spans start in."""
        found: dict[int, list[Path]] = {}
        for path in sorted((self.root / "landing").glob("*/*.parquet")):
            found.setdefault(int(path.parent.name), []).append(path)
        return found

    def drop(self, files: list[Path]) -> None:
        """Remove files whose spans are sealed."""
        for path in files:
            path.unlink(missing_ok=True)
        for folder in {path.parent for path in files}:
            try:
                folder.rmdir()
            except OSError:  # another file landed meanwhile
                continue

    def ledger(self, known: set[str]) -> Ledger:
        """Sum the batches that are not among `known`."""
        total = Ledger()
        for path in sorted((self.root / "ledger").glob("*.json")):
            if path.stem in known:
                continue
            try:
                entry: dict[str, Any] = json.loads(path.read_text())
            except FileNotFoundError:  # merged into the pointer a moment ago
                continue
            total.add(entry["accepted"], entry["rejected"])
            total.batches.append(path.stem)
            total.arrived_ns = max(total.arrived_ns, entry["arrived_ns"])
        return total

    def forget(self, batches: list[str]) -> None:
        """Remove ledger entries that the pointer now counts."""
        for batch in batches:
            (self.root / "ledger" / f"{batch}.json").unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class LandingGroup:
    """Batches being staged."""

    landing: Landing
    folder: Path

    def land(
        self, spans: pl.DataFrame, *, batch: str, accepted: int, rejected: Mapping[str, int], arrived_ns: int
    ) -> None:
        """Stage one batch: a file an hour, and its ledger entry."""
        import polars as pl

        schema.check(spans, schema.SPANS, "spans")
        hour = (pl.col("start_ns") // schema.HOUR_NS).cast(pl.Int32)
        ordered = spans.with_columns(hour.alias("hour")).sort("hour", "trace_hi", "trace_lo", "span_id")
        hours = ordered["hour"].rle().struct.unnest()
        bounds = hours.select((pl.col("len").cum_sum() - pl.col("len")).alias("at"), "len", "value")
        for offset, count, number in bounds.iter_rows():
            part = ordered.slice(offset, count)
            folder = self.folder / "landing" / str(number)
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = folder / f"{batch}.parquet"
            part.drop("hour").write_parquet(
                path, compression="lz4", row_group_size=ROW_GROUP, statistics=True
            )
            fsync_path(path)
        ledger = self.folder / "ledger"
        ledger.mkdir(mode=0o700, exist_ok=True)
        entry = {"accepted": accepted, "rejected": dict(rejected), "arrived_ns": arrived_ns}
        write_durably(ledger / f"{batch}.json", json.dumps(entry).encode())

"""Sealed: Delta tables, and the one pointer that says what of them counts.

Delta commits one table at a time.  Readers must see all tables of one sealing or none, so they read
only what CURRENT.json names: for every table its version and files.  It is replaced atomically after
every table has been committed and fsynced.  A process killed in between leaves newer table versions
that nobody reads; whoever seals next takes them back first.

Readers take no lock and need no Delta library: the pointer names plain Parquet files.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson

from tracescope import schema
from tracescope.errors import StoreError
from tracescope.store.landing import Ledger, by_hour, fsync_path, write_durably

if TYPE_CHECKING:
    import polars as pl
    from deltalake import PostCommitHookProperties
    from deltalake.transaction import AddAction

POINTER = "CURRENT.json"
#: Readers that run so long need not look again because of the background's own work.
READERS_S = 600.0
#: Files of a table beyond which they are merged.
COMPACT_AT = 48
#: Nobody reads old versions of a table: its log is folded often, and forgotten after a day.
_LOG = {"delta.checkpointInterval": "10", "delta.logRetentionDuration": "interval 1 days"}
_LOG_KEPT_S = 86_400.0
#: Batches remembered after their ledger entries were merged, so that none counts twice.
REMEMBERED = 8192

#: Tables that earlier schemas had and nobody reads any more.
FORMER_TABLES = ("edge_load",)

SPANS_SEALED = {**schema.SPANS, "hour": "Int32"}
_TABLES: dict[str, schema.Table] = {
    "spans": SPANS_SEALED,
    **schema.ROLLUPS,
    **{name: schema.ROLLUPS[of] for of, name in schema.DAILY.items()},
    **schema.DIMENSIONS,
}

#: Spans that are read together when a trace is looked for.
_ROW_GROUP = 65_536


@dataclass(frozen=True, slots=True)
class HourState:
    """One sealed hour.

    Attributes
    ----------
    spans
        How many were sealed.
    arrived_ns
        When the latest of them arrived.
    has_raw
        Whether the spans are still here, or only what they added up to.
    rules
        Version of the rules (`schema.RULES`) that its rollups were made by.
    """

    spans: int
    arrived_ns: int
    has_raw: bool
    rules: int = schema.RULES


@dataclass(slots=True)
class Pointer:
    """What of the sealed tables counts.

    Attributes
    ----------
    files, versions
        Per table: paths below ``sealed/``, and the Delta version they belong to.
    hours
        What is sealed of each hour.
    ledger
        Totals of batches whose ledger entries were merged; its ``batches`` are remembered.
    first_ns, last_ns
        Earliest start and latest end among sealed spans; 0 when there are none.
    forgotten
        Spans of hours whose rollups have gone too.
    days
        Days since the epoch whose rows of `schema.DAILY` are the sums of their hours, ascending.
    """

    sequence: int = 0
    files: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    versions: dict[str, int] = field(default_factory=dict[str, int])
    hours: dict[int, HourState] = field(default_factory=dict[int, HourState])
    ledger: Ledger = field(default_factory=Ledger)
    first_ns: int = 0
    last_ns: int = 0
    forgotten: int = 0
    days: list[int] = field(default_factory=list[int])

    def has_raw(self, hour: int) -> bool:
        """Whether an hour is sealed and its raw spans are here."""
        state = self.hours.get(hour)
        return state is not None and state.has_raw

    def is_closed(self, hour: int) -> bool:
        """Whether an hour's raw spans have gone: more spans for it are refused."""
        state = self.hours.get(hour)
        return state is not None and not state.has_raw

    def with_raw(self) -> list[int]:
        """Sealed hours whose raw spans are here, ascending."""
        return sorted(hour for hour, state in self.hours.items() if state.has_raw)

    def closed(self) -> list[int]:
        """Hours whose raw spans have gone, ascending."""
        return sorted(hour for hour, state in self.hours.items() if not state.has_raw)

    def unfold(self, begin: int, end: int) -> None:
        """Let no day count whose hours ``[begin, end)`` change."""
        self.days = [day for day in self.days if not begin // 24 <= day <= (end - 1) // 24]

    def dump(self) -> bytes:
        """As JSON."""
        return orjson.dumps(
            {
                "schema": schema.SCHEMA_VERSION,
                "sequence": self.sequence,
                "files": self.files,
                "versions": self.versions,
                "hours": {
                    str(hour): (state.spans, state.arrived_ns, state.has_raw, state.rules)
                    for hour, state in sorted(self.hours.items())
                },
                "accepted": self.ledger.accepted,
                "rejected": self.ledger.rejected,
                "batches": self.ledger.batches[-REMEMBERED:],
                "arrived_ns": self.ledger.arrived_ns,
                "first_ns": self.first_ns,
                "last_ns": self.last_ns,
                "forgotten": self.forgotten,
                "days": self.days,
            }
        )

    @classmethod
    def load(cls, data: bytes, path: Path) -> Pointer:
        """From JSON; raises StoreError when it is damaged or newer than this program."""
        try:
            raw: dict[str, Any] = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise StoreError(f"{path} is damaged: {error}", "restore it from a backup") from error
        if raw["schema"] > schema.SCHEMA_VERSION:
            raise StoreError(
                f"{path} has schema {raw['schema']}; this program knows {schema.SCHEMA_VERSION}",
                "upgrade tracescope",
            )
        hours: dict[str, list[Any]] = raw["hours"]
        if raw["schema"] == 1:  # hours did not note their rules, and one table more was kept
            hours = {hour: [*state, 1] for hour, state in hours.items()}
            for name in FORMER_TABLES:
                raw["files"].pop(name, None)
                raw["versions"].pop(name, None)
        return cls(
            sequence=raw["sequence"],
            files=raw["files"],
            versions=raw["versions"],
            hours={int(hour): HourState(*state) for hour, state in hours.items()},
            ledger=Ledger(raw["accepted"], raw["rejected"], raw["batches"], raw["arrived_ns"]),
            first_ns=raw["first_ns"],
            last_ns=raw["last_ns"],
            forgotten=raw.get("forgotten", 0),
            days=raw.get("days", []),
        )


@dataclass(frozen=True, slots=True)
class Sealed:
    """The sealed part of a store."""

    root: Path

    def create(self) -> None:
        """Make the folder and an empty pointer."""
        (self.root / "sealed").mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (self.root / POINTER).exists():
            self.publish(Pointer())

    def pointer(self) -> Pointer:
        """What counts now."""
        path = self.root / POINTER
        try:
            return Pointer.load(path.read_bytes(), path)
        except FileNotFoundError as error:
            raise StoreError(f"{path} is missing", "restore it from a backup") from error

    def stamp(self) -> tuple[int, int, int]:
        """What changes whenever the pointer does."""
        try:
            about = (self.root / POINTER).stat()
        except FileNotFoundError:
            return 0, 0, 0
        return about.st_ino, about.st_mtime_ns, about.st_size

    def settle(self) -> Pointer:
        """What counts now, after taking back what a killed sealing committed but never published.

        The caller holds the sealing lock.
        """
        pointer = self.pointer()
        mended = False
        for name in _TABLES:
            log = self.root / "sealed" / name / "_delta_log"
            published = pointer.versions.get(name)
            if published is None:
                if log.is_dir():
                    shutil.rmtree(log.parent)
                continue
            newer = [path for version, path in _versions(log) if version > published]
            if newer:
                (log / "_last_checkpoint").unlink(missing_ok=True)
                # the latest goes first: what is left is a table at every step
                for path in sorted(newer, reverse=True):
                    path.unlink()
                fsync_path(log)
            if not _reaches(log, published):
                self._write_log(pointer, name)
                mended = True
        if mended:
            self.publish(pointer)
        return pointer

    def _write_log(self, pointer: Pointer, name: str) -> None:
        """Give a table whose log does not reach its published version a log of the files that count.

        Until its commits left forgetting to `publish`, a commit could write a checkpoint and forget all
        before it, and be killed before it was published.
        """
        import polars as pl
        from deltalake import DeltaTable

        base = self.root / "sealed"
        work, log = base / f"{name}.log", base / name / "_delta_log"
        shutil.rmtree(work, ignore_errors=True)
        by = ["hour"] if name == "spans" else []
        columns = pl.Schema(schema.dtypes(_TABLES[name]))
        table = DeltaTable.create(work, columns, partition_by=by, configuration=dict(_LOG))
        added: list[AddAction] = []
        for file in pointer.files.get(name, ()):
            try:
                rows = int(pl.scan_parquet(base / file).select(pl.len()).collect().item())
                added.append(_added(base / name, (base / file).relative_to(base / name), rows))
            except FileNotFoundError as error:
                hint = "`tracescope verify` lists what is damaged"
                raise StoreError(f"{base / file} is missing", hint) from error
        if added:
            table.create_write_transaction([*added], "append", table.schema(), by)
        shutil.rmtree(log, ignore_errors=True)
        (work / "_delta_log").rename(log)
        shutil.rmtree(work)
        del pointer.versions[name]
        self.learn(pointer, name)

    def _forget_versions(self, pointer: Pointer) -> None:
        """Remove the versions before a table's last published checkpoint, a day after they were written."""
        limit = time.time() - _LOG_KEPT_S
        for name, published in pointer.versions.items():
            found = _versions(self.root / "sealed" / name / "_delta_log")
            folded = max((v for v, path in found if _is_checkpoint(path) and v <= published), default=0)
            for version, path in found:
                if version < folded and path.stat().st_mtime < limit:
                    path.unlink(missing_ok=True)

    def publish(self, pointer: Pointer) -> None:
        """Make `pointer` what counts; files that it names no more are dated now, for `vacuum`."""
        before = self.pointer().files if (self.root / POINTER).exists() else {}
        pointer.sequence += 1
        write_durably(self.root / POINTER, pointer.dump())
        self._forget_versions(pointer)
        for name, files in before.items():
            for file in set(files) - set(pointer.files.get(name, ())):
                with suppress(FileNotFoundError):
                    os.utime(self.root / "sealed" / file)

    def scan(self, pointer: Pointer, name: str) -> pl.LazyFrame:
        """One table as `pointer` names it."""
        import polars as pl

        files = [self.root / "sealed" / file for file in pointer.files.get(name, ())]
        types = schema.dtypes(_TABLES[name])
        if not files:
            return pl.LazyFrame(schema=types)
        if name != "spans":
            return pl.scan_parquet(files, schema=types)
        return pl.scan_parquet(
            files, hive_partitioning=True, hive_schema={"hour": pl.Int32()}, missing_columns="insert"
        ).select(list(SPANS_SEALED))

    # -- writing; the caller holds the sealing lock --

    def write(self, pointer: Pointer, name: str, frame: pl.DataFrame, replace: str | None) -> None:
        """Commit rows to a Delta table; the pointer learns of them, nobody else yet.

        Parameters
        ----------
        pointer
            Changed in place.
        name, frame
            Table and rows, checked against its schema.
        replace
            Predicate of the rows that go in the same commit; None to append, ``"true"`` for all.
        """
        from deltalake import WriterProperties, write_deltalake

        schema.check(frame, _TABLES[name], name)
        path = self.root / "sealed" / name
        exists = (path / "_delta_log").is_dir()
        if frame.is_empty() and (not exists or replace is None):
            return
        options: dict[str, Any] = {}
        if exists and replace is not None:
            options = (
                {"mode": "overwrite"} if replace == "true" else {"mode": "overwrite", "predicate": replace}
            )
        elif exists:
            options = {"mode": "append"}
        write_deltalake(
            path,
            frame,
            configuration=None if exists else dict(_LOG),
            writer_properties=WriterProperties(compression="ZSTD", compression_level=1),
            post_commithook_properties=_forget_later(),
            **options,
        )
        self.learn(pointer, name)

    def put_spans(self, frames: Sequence[pl.DataFrame]) -> list[AddAction]:
        """Write spans, a file an hour, and make them durable; no table has them before `add_spans`.

        Parameters
        ----------
        frames
            Rows of SPANS_SEALED, each frame's by hour.
        """
        import polars as pl

        parts: dict[int, list[pl.DataFrame]] = {}
        for frame in frames:
            schema.check(frame, SPANS_SEALED, "spans")
            for hour, part in by_hour(frame):
                parts.setdefault(hour, []).append(part)
        added: list[AddAction] = []
        for hour in sorted(parts):
            part = pl.concat(parts[hour], rechunk=True)
            file = f"hour={hour}/{uuid4()}.parquet"
            path = self.root / "sealed" / "spans" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_parquet(path, compression="zstd", compression_level=1, row_group_size=_ROW_GROUP)
            fsync_path(path)
            added.append(_added(self.root / "sealed" / "spans", Path(file), len(part)))
        return added

    def add_spans(self, pointer: Pointer, added: list[AddAction], replaced: Sequence[int]) -> None:
        """Commit files of spans; the pointer learns of them, nobody else yet.

        Parameters
        ----------
        pointer
            Changed in place.
        added
            What `put_spans` wrote.
        replaced
            Hours whose former files go in the same commit.
        """
        import polars as pl
        from deltalake import DeltaTable

        path = self.root / "sealed" / "spans"
        if (path / "_delta_log").is_dir():
            table = DeltaTable(path)
        elif added:
            columns = pl.Schema(schema.dtypes(SPANS_SEALED))
            table = DeltaTable.create(path, columns, partition_by=["hour"], configuration=dict(_LOG))
        else:
            return
        filters = [("hour", "in", [str(hour) for hour in replaced])] if replaced else None
        mode = "overwrite" if replaced else "append"
        table.create_write_transaction(
            [*added], mode, table.schema(), ["hour"],
            partition_filters=filters, post_commithook_properties=_forget_later(),
        )  # fmt: skip
        self.learn(pointer, "spans")

    def delete(self, pointer: Pointer, name: str, predicate: str) -> None:
        """Remove rows."""
        from deltalake import DeltaTable

        path = self.root / "sealed" / name
        if (path / "_delta_log").is_dir():
            DeltaTable(path).delete(predicate, post_commithook_properties=_forget_later())
            self.learn(pointer, name)

    def forget_hours(self, pointer: Pointer, hours: list[int]) -> None:
        """Drop hours from `pointer`, but go on counting their spans."""
        for hour in hours:
            pointer.forgotten += pointer.hours.pop(hour).spans
            pointer.unfold(hour, hour + 1)

    def learn(self, pointer: Pointer, name: str) -> None:
        """Put a table's latest version into `pointer`, its new files fsynced."""
        from deltalake import DeltaTable

        table = DeltaTable(self.root / "sealed" / name)
        if name != "spans" and len(table.file_uris()) > COMPACT_AT:
            table.optimize.compact(post_commithook_properties=_forget_later())
        base = (self.root / "sealed").resolve()
        files = sorted(str(Path(uri).resolve().relative_to(base)) for uri in table.file_uris())
        new = set(files) - set(pointer.files.get(name, ()))
        folders = {base / name / "_delta_log"}
        for file in new:
            fsync_path(base / file)
            folders |= {(base / file).parent, (base / file).parent.parent}  # it may be the folder's first
        for log in (base / name / "_delta_log").glob("*.json"):
            if int(log.stem.split(".")[0]) > pointer.versions.get(name, -1):
                fsync_path(log)
        for folder in folders:
            fsync_path(folder)
        pointer.files[name] = files
        pointer.versions[name] = table.version()

    def vacuum(self, pointer: Pointer, *, readers_s: float = 0.0) -> int:
        """Remove table files that the pointer does not name; returns how many went.

        Parameters
        ----------
        pointer
            What counts.
        readers_s
            Files that counted so many seconds ago stay, for readers that began then.
        """
        removed = 0
        limit = time.time() - readers_s
        base = self.root / "sealed"
        for name in FORMER_TABLES:
            removed += len(list((base / name).glob("*.parquet")))
            shutil.rmtree(base / name, ignore_errors=True)
        for name in _TABLES:
            kept = set(pointer.files.get(name, ()))
            for path in (base / name).rglob("*.parquet"):
                if "_delta_log" in path.parts or str(path.relative_to(base)) in kept:
                    continue
                if readers_s and path.stat().st_mtime > limit:
                    continue
                path.unlink(missing_ok=True)
                removed += 1
        return removed

    def union(self, pointer: Pointer, name: str, frame: pl.DataFrame) -> None:
        """Add rows of a dimension that are not there yet, or say more than those that are.

        Of two rows with one key the smaller stays: a callee is instrumented as soon as its spans
        were seen once.
        """
        import polars as pl

        key, columns = schema.KEYS[name][0], list(_TABLES[name])
        known = self.scan(pointer, name).collect()
        both = pl.concat([known, frame]).sort(columns).unique(key, keep="first", maintain_order=True)
        if known.join(both, on=columns, how="anti", nulls_equal=True).is_empty():
            self.write(pointer, name, frame.join(known, on=key, how="anti"), None)
        else:
            self.write(pointer, name, both, "true")


def _versions(log: Path) -> list[tuple[int, Path]]:
    """Commits and checkpoints of a log, with their version; none where there is no log."""
    if not log.is_dir():
        return []
    return [(int(path.name[:20]), path) for path in log.iterdir() if path.name[:20].isdigit()]


def _is_checkpoint(path: Path) -> bool:
    return ".checkpoint." in path.name


def _reaches(log: Path, version: int) -> bool:
    """Whether a log leads from a checkpoint, or from its beginning, to `version` without a gap."""
    found = [(number, path) for number, path in _versions(log) if number <= version]
    folded = max((number for number, path in found if _is_checkpoint(path)), default=-1)
    commits = {number for number, path in found if path.suffix == ".json"}
    return commits.issuperset(range(folded + 1, version + 1))


def _forget_later() -> PostCommitHookProperties:
    """Let a commit write its checkpoint but forget no version: it may never be published."""
    from deltalake import PostCommitHookProperties

    return PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False)


def _added(table: Path, file: Path, rows: int) -> AddAction:
    """A file of a table, for a commit."""
    from deltalake.transaction import AddAction

    about = (table / file).stat()
    partitions = (part.partition("=") for part in file.parts[:-1])
    values: dict[str, str | None] = {name: value for name, _, value in partitions}
    at_ms, stats = about.st_mtime_ns // 1_000_000, json.dumps({"numRecords": rows})
    return AddAction(str(file), about.st_size, values, at_ms, True, stats)


def sum_rejected(*ledgers: Ledger) -> dict[str, int]:
    """Rejects by reason over several ledgers."""
    total: dict[str, int] = {}
    for ledger in ledgers:
        for reason, count in ledger.rejected.items():
            total[reason] = total.get(reason, 0) + count
    return dict(sorted(total.items()))


def count_hours(hours: Mapping[int, HourState]) -> int:
    """Spans in sealed hours."""
    return sum(state.spans for state in hours.values())

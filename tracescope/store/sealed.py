"""Sealed: tables of spans and rollups as plain Parquet files, and the pointer that says which count.

    sealed/<table>/<first>-<last>-<random>.parquet     rows of slots first..last, in their order

A file is written aside from everything that counts, made durable, and never changed.  Readers must see all
tables of one sealing or none, so they read only files that the pointer names; it is replaced atomically once
every file is durable.  A process killed in between leaves files that nobody names, which `Sealed.vacuum`
removes.  Readers take no lock.

Rows of an hour are replaced by writing the rest of each file that has some of them anew.  Small files are
merged, a few of like size at once, so that their number grows with the logarithm of the rows and each row is
written a few times over its life: what a sealing costs depends on what it seals, not on how old the store is
nor on gaps in time.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from tracescope import schema
from tracescope.errors import DamagedFileError, StoreError, in_words, refused
from tracescope.store import modes
from tracescope.store.landing import Ledger, broken, checksum_of, fsync_path, write_durably
from tracescope.store.mirror import POINTER, Copies, Mirror
from tracescope.store.pointer import FORMER_TABLES, File, HourState, Pointer

if TYPE_CHECKING:
    import polars as pl

LOG: Final = "log"
#: Publications that the log keeps.
LOGGED: Final = 4
#: Readers that run so long need not look again because of the background's own work.
READERS_S: Final = 600.0

SPANS_SEALED: Final = {**schema.SPANS, "hour": "Int32"}
_TABLES: Final[dict[str, schema.Table]] = {
    "spans": SPANS_SEALED,
    **schema.ROLLUPS,
    **{name: schema.ROLLUPS[of] for of, name in schema.DAILY.items()},
    **schema.DIMENSIONS,
}


@dataclass(frozen=True, slots=True)
class _Form:
    """How files of a table are made.

    Attributes
    ----------
    most
        Rows that a file has at most, unless they are of one hour.
    merged
        Files of fewer rows than each of these are merged once there are more than `MERGE_BEYOND`.
    row_group
        Rows that are read together.
    alone
        An hour of so many rows has a file for itself.
    """

    most: int
    merged: tuple[int, ...]
    row_group: int
    alone: int


#: Files of like size beyond which they are merged.
MERGE_BEYOND = 8
_ROLLUPS: Final = _Form(262_144, (2_048, 16_384, 65_536), 131_072, 2**62)
_SPANS: Final = _Form(65_536, (2_048, 16_384), 65_536, 16_384)


def _form(name: str) -> _Form:
    return _SPANS if name == "spans" else _ROLLUPS


def _slot(name: str) -> str | None:
    """The column that says which hour a row is of."""
    if name in schema.DIMENSIONS:
        return None
    return "hour" if name == "spans" else "slot"


def _in_folder(file: File) -> bool:
    """Whether its folder says its hour, as schema version 1 had it."""
    return file.path.split("/")[-2].startswith("hour=")


@dataclass(frozen=True, slots=True)
class Sealed:
    """The sealed part of a store; with a `mirror` the folder holds copies.

    Of several stores that are read as one, `copies` fetches.
    """

    root: Path
    mirror: Mirror | None = None
    copies: Copies | None = None

    @property
    def folder(self) -> Path:
        """Where the files lie."""
        return self.root / "sealed"

    def create(self) -> None:
        """Make the folder and an empty pointer."""
        modes.make_folder(self.folder)
        if not (self.root / POINTER).exists():
            self.publish(Pointer())

    # -- the pointer --

    def pointer(self) -> Pointer:
        """What counts now."""
        path = self.root / POINTER
        if self.mirror is not None:
            data, version = self.mirror.pointer()
            return replace(Pointer.load(data, path), version=version)
        try:
            return Pointer.load(path.read_bytes(), path)
        except FileNotFoundError as error:
            raise StoreError(
                f"{path} is missing", "`tracescope verify --repair` restores it from its log"
            ) from error
        except OSError as error:
            if refused(error):
                raise
            raise StoreError(
                f"{path} cannot be read: {in_words(error)}",
                "`tracescope verify --repair` restores it from its log",
            ) from error

    def published(self, stamp: Hashable) -> Pointer:
        """What counted at a stamp, for whoever only reads it: it is read from its file once."""
        return _published(self, stamp)

    def stamp(self) -> Hashable:
        """What changes whenever the pointer does."""
        if self.mirror is not None:
            return self.mirror.stamp()
        try:
            about = (self.root / POINTER).stat()
        except FileNotFoundError:
            return 0, 0, 0
        return about.st_ino, about.st_mtime_ns, about.st_size

    def settle(self) -> Pointer:
        """What counts now, for whoever changes it, with what schema version 1 did not note of its files.

        The caller holds the sealing lock.
        """
        pointer = self.pointer()
        for name, files in pointer.files.items():
            pointer.files[name] = [self._noted(name, file) if file.rows < 0 else file for file in files]
        return pointer

    def _noted(self, name: str, file: File) -> File:
        import polars as pl
        from polars.exceptions import PolarsError

        path, column = self.folder / file.path, _slot(name)
        try:
            plan = pl.scan_parquet(path, hive_partitioning=False)
            if column is None or name == "spans":
                rows, first, last = plan.select(pl.len()).collect().item(), file.first, file.last
            else:
                rows, first, last = (
                    plan.select(pl.len(), first=pl.min(column), last=pl.max(column)).collect().row(0)
                )
            size, check = checksum_of(path)
        except (OSError, PolarsError):
            return file  # damaged or gone: whoever needs it says so
        return replace(file, rows=rows, size=size, check=check, first=first or 0, last=last or 0)

    def publish(self, pointer: Pointer) -> None:
        """Make `pointer` what counts; files that it names no more are dated now, for `vacuum`."""
        before: dict[str, list[File]] = {}
        with suppress(StoreError):  # damaged, and about to be restored
            before = self.pointer().files
        pointer.sequence += 1
        data = pointer.dump()
        if self.mirror is None:
            self._publish(pointer.sequence, data)
        else:
            pointer.version = self.mirror.publish(data, pointer.version, pointer.sequence)
        for name, files in before.items():
            for file in set(files) - set(pointer.files.get(name, ())):
                with suppress(FileNotFoundError):
                    os.utime(self.folder / file.path)

    def _publish(self, sequence: int, data: bytes) -> None:
        log = self.folder / LOG
        if not log.is_dir():
            modes.make_folder(log)
            fsync_path(self.folder)
        write_durably(log / f"{sequence:020d}.json", data)
        write_durably(self.root / POINTER, data)
        for former in sorted(log.glob("*.json"))[:-LOGGED]:
            former.unlink(missing_ok=True)

    def restore(self, pointer: Pointer) -> None:
        """Make a publication of the log what counts, whatever there is now."""
        if self.mirror is not None:
            self.mirror.bucket.put(POINTER, pointer.dump())
        else:
            write_durably(self.root / POINTER, pointer.dump())

    def logged(self) -> Iterator[Pointer]:
        """Publications that the log holds whole, newest first."""
        if self.mirror is not None:
            for key, data in self.mirror.logged():
                with suppress(StoreError):
                    yield Pointer.load(data, Path(key))
            return
        for path in sorted((self.folder / LOG).glob("*.json"), reverse=True):
            try:
                written = Pointer.load(path.read_bytes(), path)
            except (StoreError, OSError) as error:
                if refused(error):
                    raise
                continue
            yield written

    # -- reading --

    def scan(self, pointer: Pointer, name: str, within: tuple[int, int] | None = None) -> pl.LazyFrame:
        """One table as `pointer` names it.

        Parameters
        ----------
        pointer, name
            What counts, and the table.
        within
            Leave files out that have no row of these slots, from the first to the last; of others all rows
            are there.
        """
        files = pointer.files.get(name, [])
        if within is not None and name not in schema.DIMENSIONS:
            files = [file for file in files if file.first <= within[1] and within[0] <= file.last]
        return self._scan(name, files)

    def spans(self, pointer: Pointer, hours: Collection[int]) -> pl.LazyFrame:
        """Sealed spans of some hours; files that have none of them are not even named."""
        import polars as pl

        wanted = frozenset(hours)
        files = [file for file in pointer.files.get("spans", ()) if file.among(wanted)]
        rows = self._scan("spans", files)
        if all(file.first == file.last for file in files):
            return rows
        return rows.filter(pl.col("hour").is_in(pl.Series(sorted(wanted), dtype=pl.Int32).implode()))

    def _scan(self, name: str, files: Sequence[File]) -> pl.LazyFrame:
        import polars as pl

        types = schema.dtypes(_TABLES[name])
        plans: list[pl.LazyFrame] = []
        by_folder = [file for file in files if _in_folder(file)]
        if by_folder:  # schema version 1 had the hour in the path
            plans.append(
                pl.scan_parquet(
                    self._paths(by_folder),
                    hive_partitioning=True,
                    hive_schema={"hour": pl.Int32()},
                    missing_columns="insert",
                    extra_columns="ignore",
                )
            )
        plain = [file for file in files if not _in_folder(file)]
        for old in (True, False):
            some = [file for file in plain if (file.version < schema.SCHEMA_VERSION) is old]
            if not some:
                continue
            plan = pl.scan_parquet(
                self._paths(some),
                schema=types,
                hive_partitioning=False,
                missing_columns="insert",
                extra_columns="ignore",
            )
            if old:  # what was not counted then was not there
                plan = plan.with_columns(pl.col(pl.Int64, pl.Int16, pl.Int8).fill_null(0))
            plans.append(plan)
        if not plans:
            return pl.LazyFrame(schema=types)
        return pl.concat([plan.select(list(types)) for plan in plans])

    def _paths(self, files: Sequence[File]) -> list[Path]:
        """Where files lie; one of another size is not what was written.

        Raises
        ------
        DamagedFileError
            Names it.
        """
        if (copies := self.copies or self.mirror) is not None:
            copies.fetch({file.path: file.size for file in files})
        paths = [self.folder / file.path for file in files]
        for path, file in zip(paths, files, strict=True):
            if file.size >= 0 and path.stat().st_size != file.size:
                raise DamagedFileError(f"{path} is not as long as it was", "`tracescope verify` says more")
        return paths

    def broken(self, pointer: Pointer) -> dict[File, str]:
        """What is wrong with files that the pointer names; all their bytes are read."""
        found: dict[File, str] = {}
        for files in pointer.files.values():
            for file in files:
                told = broken(self.folder / file.path, file.size, file.check, self.mirror)
                if told:
                    found[file] = told
        return found

    # -- writing; the caller holds the sealing lock --

    def put(self, name: str, frame: pl.DataFrame) -> list[File]:
        """Write rows and make them durable; nobody reads them before a pointer names them."""
        schema.check(frame, _TABLES[name], name)
        folder = self.folder / name
        if frame.is_empty():
            return []
        if not folder.is_dir():
            modes.make_folder(folder)
            fsync_path(self.folder)
        column = _slot(name)
        written: list[File] = []
        for part in _parts(frame, name):
            bounds = (0, 0) if column is None else (int(part[column][0]), int(part[column][-1]))
            path = folder / f"{bounds[0]}-{bounds[1]}-{uuid4().hex[:16]}.parquet"
            with modes.writing(path):
                part.write_parquet(
                    path, compression="zstd", compression_level=1, row_group_size=_form(name).row_group
                )
                modes.restrict(path)
                fsync_path(path)
            size, check = checksum_of(path)
            written.append(File(f"{name}/{path.name}", len(part), size, check, *bounds))
        fsync_path(folder)
        if self.mirror is not None:
            self.mirror.send([file.path for file in written])
        return written

    def replace(
        self, pointer: Pointer, name: str, rows: pl.DataFrame | Sequence[File], slots: Collection[int] | None
    ) -> None:
        """Put rows into a table for those of some slots; the pointer learns of it, nobody else yet.

        Parameters
        ----------
        pointer
            Changed in place.
        name, rows
            Table, and rows checked against its schema, or files of `put`.
        slots
            Whose rows go: of these slots, of none, or (None) all.
        """
        import polars as pl

        kept: list[File] = []
        wanted = frozenset(slots or ())
        column = _slot(name)
        for file in pointer.files.get(name, ()):
            if slots is None:
                continue
            if column is None or not file.among(wanted):
                kept.append(file)
                continue
            held = self._scan(name, [file]).collect()
            left = held.filter(~pl.col(column).is_in(pl.Series(sorted(wanted), dtype=pl.Int64).implode()))
            kept += [file] if len(left) == len(held) else self.put(name, left)
        new = self.put(name, rows) if isinstance(rows, pl.DataFrame) else list(rows)
        pointer.files[name] = self._merged(name, kept + new)

    def _merged(self, name: str, files: list[File]) -> list[File]:
        """The same rows in fewer files, where many are small."""
        from polars.exceptions import PolarsError

        column = _slot(name)
        for limit in _form(name).merged:
            small = [file for file in files if 0 <= file.rows < limit]
            if len(small) <= MERGE_BEYOND:
                continue
            try:
                rows = self._scan(name, small).collect()
            except (OSError, PolarsError, DamagedFileError):
                continue  # one of them is damaged, which must not hold up what is sealed now
            if column is not None:
                rows = rows.sort(column, maintain_order=True)
            rest = set(small)
            files = [file for file in files if file not in rest] + self.put(name, rows)
        return sorted(files, key=lambda file: (file.first, file.last, file.path))

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
            self.replace(pointer, name, both.join(known, on=key, how="anti"), ())
        else:
            self.replace(pointer, name, both, None)

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
        if self.mirror is not None:
            named = [file.path for files in pointer.files.values() for file in files]
            removed = self.mirror.vacuum(named, readers_s)
        limit = time.time() - readers_s
        for name in FORMER_TABLES:
            removed += len(list((self.folder / name).glob("*.parquet")))
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for name in _TABLES:
            shutil.rmtree(self.folder / name / "_delta_log", ignore_errors=True)  # of schema version 1
            kept = {f"{self.folder}/{file.path}" for file in pointer.files.get(name, ())}
            for path in list(walk(f"{self.folder}/{name}")):
                if path.path in kept or not path.name.endswith(".parquet"):
                    continue
                if readers_s and path.stat().st_mtime > limit:
                    continue
                Path(path.path).unlink(missing_ok=True)
                removed += 1
        return removed


def sealed_at(root: Path) -> Sealed:
    """The sealed part of the store in a folder, also for a process that was told no more than the folder."""
    return Sealed(root, Mirror.of(root))


def _parts(frame: pl.DataFrame, name: str) -> Iterator[pl.DataFrame]:
    """Rows in the order of their slots, cut into what files take: between hours, where these are small."""
    import polars as pl

    form, column = _form(name), _slot(name)
    if column is None:
        yield from (frame.slice(at, form.most) for at in range(0, len(frame), form.most))
        return
    if not frame[column].is_sorted():
        frame = frame.sort(column, maintain_order=True)
    hours = frame[column].rle().struct.field("len").cast(pl.Int64).to_list()
    begin = at = 0
    for rows in hours:
        full = at - begin + rows > form.most
        if at > begin and (full or rows >= form.alone):
            yield frame.slice(begin, at - begin)
            begin = at
        at += rows
        if rows >= form.alone:
            yield frame.slice(begin, at - begin)
            begin = at
    if at > begin:
        yield frame.slice(begin, at - begin)


def walk(folder: str) -> Iterator[os.DirEntry[str]]:
    """Files in a folder and in those below it; what goes meanwhile is left out."""
    try:
        with os.scandir(folder) as entries:
            here = list(entries)
    except FileNotFoundError:
        return
    for entry in here:
        if entry.is_dir(follow_symlinks=False):
            yield from walk(entry.path)
        else:
            yield entry


class Rewrite:
    """Rows of some hours for what a store had of them, gathered and then written once a table.

    Parameters
    ----------
    sealed, pointer
        Where; the pointer changes when `write` is called.
    full_bytes
        Rows gathered beyond which they should be written.
    """

    FULL_BYTES: Final = 128 * 1024 * 1024

    def __init__(self, sealed: Sealed, pointer: Pointer, full_bytes: int = FULL_BYTES) -> None:
        self._sealed = sealed
        self._full_bytes = full_bytes
        self.pointer = pointer
        self._tables: dict[str, list[pl.DataFrame]] = {}
        self._hours: set[int] = set()
        self._size = 0

    @property
    def full(self) -> bool:
        """Whether what is gathered takes much memory."""
        return self._size > self._full_bytes

    def add(self, tables: Mapping[str, pl.DataFrame], hours: Collection[int]) -> None:
        """Rollups of some hours, none of them added since the last `write`, and dimensions."""
        self._hours.update(hours)
        for name in (*schema.ROLLUPS, *schema.DIMENSIONS):
            self._tables.setdefault(name, []).append(tables[name])
            self._size += int(tables[name].estimated_size())

    def scan(self, name: str, within: tuple[int, int]) -> pl.LazyFrame:
        """A rollup as it will be, in slots from the first to the last."""
        import polars as pl

        inside = pl.col("slot").is_between(*within)
        stored = self._sealed.scan(self.pointer, name, within).filter(inside)
        if self._hours:
            gone = pl.Series(sorted(self._hours), dtype=pl.Int64).implode()
            stored = stored.filter(~pl.col("slot").is_in(gone))
        return pl.concat([stored, *(frame.lazy().filter(inside) for frame in self._tables.get(name, ()))])

    def write(self) -> None:
        """Write what is gathered, for the pointer to be published."""
        import polars as pl

        for name, frames in self._tables.items():
            rows = pl.concat(frames)
            if name in schema.DIMENSIONS:
                self._sealed.union(self.pointer, name, rows.unique())
            else:
                self._sealed.replace(self.pointer, name, rows, self._hours)
        self._tables, self._hours, self._size = {}, set(), 0


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


@lru_cache(maxsize=4)
def _published(sealed: Sealed, stamp: Hashable) -> Pointer:
    """The pointer, which does not change while its stamp stays; the stamp only says which one is meant."""
    return sealed.pointer()

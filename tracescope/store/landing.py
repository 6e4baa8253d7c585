"""Landing: decoded spans on disk, not yet sealed.

    landing/<group>/<hour>/<batch>.parquet   spans that start in that hour, sorted by trace and span id
    landing/<group>/ledger/<batch>.json      how many were accepted, and refused for what
    landing/<group>/counted/<batch>.json     the same, once the pointer counts it and spans of it still wait
    staging/<group>/                         the same on its way there, with <group>.lock beside it

A group of batches is written aside, fsynced, and renamed into place: one rename, so readers see all
of it or nothing, and a killed writer leaves the store as it was.  What has no living owner in
``staging/`` never happened.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import shutil
import threading
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from isal import isal_zlib

from tracescope import schema
from tracescope.errors import StoreError, in_words, refused
from tracescope.store import checked, modes
from tracescope.store.mirror import COUNTED, LEDGER, Mirror

if TYPE_CHECKING:
    import polars as pl

ROW_GROUP = 16_384


def fsync_path(path: Path) -> None:
    """Make a file's or folder's content durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_private(path: Path) -> BinaryIO:
    """Open a file anew, for writing, that nobody may read who may not read the store."""
    return os.fdopen(modes.open_file(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb")


def _aside(path: Path) -> Path:
    """Where to write what will replace `path`: nobody else, not even another thread, writes there."""
    return path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")


def write_durably(path: Path, data: bytes) -> None:
    """Replace a small file atomically."""
    temporary = _aside(path)
    with modes.writing(temporary, path):
        with write_private(temporary) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    fsync_path(path.parent)


def by_hour(spans: pl.DataFrame) -> Iterator[tuple[int, pl.DataFrame]]:
    """Each hour of rows that lie by their ``hour``, and its rows without that column."""
    import polars as pl

    hours = spans["hour"].rle().struct.unnest()
    bounds = hours.select((pl.col("len").cum_sum() - pl.col("len")).alias("at"), "len", "value")
    plain = spans.drop("hour")  # once: of a slice it takes as long as of everything
    for offset, count, hour in bounds.iter_rows():
        yield hour, plain.slice(offset, count)


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

    def count(self, batch: str, accepted: int, rejected: Mapping[str, int], arrived_ns: int) -> None:
        """Count a batch by its name."""
        self.add(accepted, rejected)
        self.batches.append(batch)
        self.arrived_ns = max(self.arrived_ns, arrived_ns)

    def merge(self, other: Ledger) -> None:
        """Count what another one does; they have no batch in common."""
        self.add(other.accepted, other.rejected)
        self.batches.extend(other.batches)
        self.arrived_ns = max(self.arrived_ns, other.arrived_ns)


@dataclass(frozen=True, slots=True)
class Landing:
    """The landing part of a store; see the module's docstring.  With a `mirror` the folder holds copies."""

    root: Path
    mirror: Mirror | None = None

    def create(self) -> None:
        """Make the folders."""
        for name in ("landing", "staging"):
            modes.make_folder(self.root / name)

    @property
    def folder(self) -> Path:
        """Where groups lie that have landed."""
        return self.root / "landing"

    # -- writing --

    @contextmanager
    def group(self, name: str) -> Generator[LandingGroup]:
        """Stage batches; they become visible together when the block ends without an error."""
        folder = self.root / "staging" / name
        path = folder.with_name(f"{name}.lock")
        with write_private(path) as lock:
            if not _lock(lock.fileno(), path):
                raise StoreError(
                    f"another process is landing {name} into {self.root}", "wait until it has finished"
                )
            try:
                shutil.rmtree(folder, ignore_errors=True)  # left by a killed process
                modes.make_folder(folder)
                yield LandingGroup(self, folder)
                if any(folder.iterdir()):
                    self._place(folder)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
                path.unlink(missing_ok=True)

    def _place(self, folder: Path) -> None:
        """Rename a staged group into place, under another name when its own exists."""
        for inner in (*folder.rglob("*"), folder):
            if inner.is_dir():
                fsync_path(inner)
        own = folder.name if self.mirror is None else self.mirror.share(folder)
        for number in itertools.count():
            name = f"{own}.{number}" if number else own
            try:
                folder.rename(self.root / "landing" / name)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                continue
            break
        for parent in ("landing", "staging"):
            fsync_path(self.root / parent)

    def recover(self) -> None:
        """Forget what killed processes left in staging."""
        for folder in _entries(self.root / "staging"):
            if folder.suffix == ".lock":
                continue
            path = folder.with_name(f"{folder.name}.lock")
            with path.open("a") as lock:
                if _lock(lock.fileno(), path):  # its owner is gone
                    shutil.rmtree(folder, ignore_errors=True)
                    path.unlink(missing_ok=True)

    # -- reading --

    def groups(self) -> list[Path]:
        """Folders of the groups that have landed."""
        if self.mirror is not None:
            self.mirror.sync()
        return _entries(self.root / "landing")

    def held(self) -> list[Path]:
        """The same, as far as this machine knows of them; nobody is asked."""
        return _entries(self.folder)

    def count(self) -> int:
        """How many those are."""
        return len(self.held())

    def here(self) -> dict[int, list[Path]]:
        """Landed files by hour in those."""
        return self.files(self.held())

    def written(self) -> dict[int, list[float]]:
        """When the files of each hour were written, in s since the epoch."""
        found: dict[int, list[float]] = {}
        if self.mirror is not None:
            for group in self.mirror.landed().values():
                for name in group.manifest["files"]:
                    found.setdefault(int(name.partition("/")[0]), []).append(group.written_s)
            return found
        for hour, paths in self.files().items():
            with suppress(FileNotFoundError):  # sealed by another process a moment ago
                found[hour] = [path.stat().st_mtime for path in paths]
        return found

    def files(self, groups: list[Path] | None = None) -> dict[int, list[Path]]:
        """Landed files by the hour their spans start in; of some groups or all."""
        found: dict[int, list[Path]] = {}
        for group in self.groups() if groups is None else groups:
            for folder in _entries(group):
                if is_hour(folder.name):
                    found.setdefault(int(folder.name), []).extend(_entries(folder))
        return dict(sorted((hour, paths) for hour, paths in found.items() if paths))

    def broken(self, landed: Mapping[int, Sequence[Path]]) -> dict[Path, str]:
        """What is wrong with landed files, by the checksums of their entries; empty when nothing is."""
        found: dict[Path, str] = {}
        for hour, paths in landed.items():
            for path in paths:
                size = check = -1
                for kind in (LEDGER, COUNTED):
                    with suppress(FileNotFoundError):
                        entry = entry_of(path.parent.parent / kind / f"{path.stem}.json") or {"files": {}}
                        _, size, check = entry["files"].get(hour, (-1, size, check))
                found[path] = broken(path, size, check, self.mirror)
        return found

    def settle(self, files: list[Path], counted: set[str]) -> None:
        """Remove files whose spans are sealed, and what is said of batches that the pointer counts."""
        if self.mirror is not None:
            self.mirror.settle([path for path in files if path.is_relative_to(self.folder)], counted)
        self._drop(files)
        self._forget(counted)

    def _drop(self, files: list[Path]) -> None:
        """Remove files, and folders that this empties."""
        for path in files:
            path.unlink(missing_ok=True)
        for folder in {path.parent for path in files}:
            _remove_empty(folder)
        for group in {path.parent.parent for path in files}:
            _remove_empty(group / LEDGER)
            _remove_empty(group)

    def restate(self, path: Path) -> None:
        """Let a bucket know what became of the group that `path` lies in."""
        if self.mirror is not None:
            self.mirror.restate(self.folder / path.relative_to(self.folder).parts[0])

    def _ledgers(self, groups: list[Path] | None = None, kind: str = LEDGER) -> list[Path]:
        chosen = self.groups() if groups is None else groups
        return [path for group in chosen for path in _entries(group / kind)]

    def arrivals(self, groups: list[Path] | None = None) -> dict[str, int]:
        """When each batch that has landed arrived, in ns, by its name; of some groups or all."""
        found: dict[str, int] = {}
        for path in (*self._ledgers(groups), *self._ledgers(groups, COUNTED)):
            with suppress(FileNotFoundError):  # moved a moment ago
                if (entry := entry_of(path)) is not None:
                    found[path.stem] = entry["arrived_ns"]
        return found

    def known(self, batches: Collection[str]) -> set[str]:
        """Those of some batches that lie here."""
        if self.mirror is not None:
            return self.mirror.known(batches)
        ledgers = [f"{group}/{kind}" for group in self.groups() for kind in (LEDGER, COUNTED)]
        return {name for name in batches if any(os.path.exists(f"{at}/{name}.json") for at in ledgers)}

    def ledger(self, known: set[str], groups: list[Path] | None = None) -> Ledger:
        """Sum the batches that are not among `known`, each once; of some groups or all."""
        total, seen = Ledger(), set(known)
        for path in self._ledgers(groups):
            if path.stem in seen:
                continue
            try:
                entry = entry_of(path)
            except FileNotFoundError:  # merged into the pointer a moment ago
                continue
            if entry is None:  # damaged: `verify` says so, and a repair makes it from its files
                continue
            total.count(path.stem, entry["accepted"], entry["rejected"], entry["arrived_ns"])
            seen.add(path.stem)
        return total

    def _forget(self, counted: set[str]) -> None:
        """Set the ledger entries of batches that the pointer counts aside; remove those without files.

        While some of a batch's spans wait for their hour, its entry says when they arrived.
        """
        for group in self.held():
            waiting = {path.stem for paths in self.files([group]).values() for path in paths}
            for path in _entries(group / LEDGER):
                if path.stem in waiting and path.stem in counted:
                    modes.make_folder(group / COUNTED)
                    path.replace(group / COUNTED / path.name)
                elif path.stem in counted:
                    path.unlink(missing_ok=True)
            for path in _entries(group / COUNTED):
                if path.stem not in waiting:
                    path.unlink(missing_ok=True)
            for kind in (LEDGER, COUNTED):
                _remove_empty(group / kind)
            _remove_empty(group)


def entry_of(path: Path) -> dict[str, Any] | None:
    """A batch's ledger entry; None where it is damaged."""
    try:
        entry = checked.load(path.read_bytes())
        accepted, rejected, arrived_ns = entry["accepted"], entry["rejected"], entry["arrived_ns"]
        counts = [accepted, arrived_ns, *rejected.values()]
        files = {int(hour): tuple(map(int, about)) for hour, about in entry.get("files", {}).items()}
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        if refused(error):
            raise
        return None
    if not all(isinstance(count, int) for count in counts) or any(
        len(about) != 3 for about in files.values()
    ):
        return None
    return {**entry, "files": files}


def checksum_of(path: Path) -> tuple[int, int]:
    """Bytes of a file, and their CRC-32."""
    size = check = 0
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            size += len(part)
            check = isal_zlib.crc32(part, check)
    return size, check


def broken(path: Path, size: int, check: int, mirror: Mirror | None = None) -> str:
    """What is wrong with a file that should have this checksum (-1: unknown); empty when nothing is.

    A copy that is damaged, or was removed, is fetched from its `mirror` anew, and it is the object that
    something is wrong with.
    """
    told = _broken(path, size, check)
    if told and mirror is not None:
        mirror.fetch_again(path)
        told = _broken(path, size, check)
    return told


def _broken(path: Path, size: int, check: int) -> str:
    import polars as pl
    from polars.exceptions import PolarsError

    try:
        if check >= 0:
            return "" if checksum_of(path) == (size, check) else "its bytes are not those that were written"
        every = pl.all().hash().sum()  # counting alone is answered by its footer
        pl.scan_parquet(path, hive_partitioning=False).select(every).collect(engine="streaming")
    except FileNotFoundError:
        return "it is missing"
    except (OSError, PolarsError) as error:
        if refused(error):
            raise
        return f"it cannot be read: {in_words(error)}"
    return ""


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder, by name; nothing when the folder is gone."""
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def is_hour(name: str) -> bool:
    """Whether a folder of landing is one of spans that start in an hour."""
    return name.removeprefix("-").isdecimal()


def _remove_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.ENOTDIR):
            raise


def _lock(handle: int, path: Path) -> bool:
    """Take the lock, unless somebody has it, or had it and removed the file meanwhile."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.fstat(handle).st_ino == path.stat().st_ino
    except (BlockingIOError, FileNotFoundError):
        return False


@dataclass(frozen=True, slots=True)
class LandingGroup:
    """Batches being staged."""

    landing: Landing
    folder: Path

    def files(self) -> dict[int, list[Path]]:
        """Staged files by the hour their spans start in."""
        return self.landing.files([self.folder])

    def ledger(self, known: set[str]) -> Ledger:
        """Sum the staged batches that are not among `known`."""
        return self.landing.ledger(known, [self.folder])

    def drop(self) -> None:
        """Forget what was staged: it is sealed, and need not land."""
        for path in _entries(self.folder):
            shutil.rmtree(path)

    def land(
        self,
        spans: pl.DataFrame,
        *,
        batch: str,
        accepted: int,
        rejected: Mapping[str, int],
        arrived_ns: int,
        also: Sequence[str] = (),
    ) -> None:
        """Stage one batch: a file an hour, and its ledger entry; see `SpanStore.land` for `also`."""
        import polars as pl

        schema.check(spans, schema.SPANS, "spans")
        hour = (pl.col("start_ns") // schema.HOUR_NS).cast(pl.Int32)
        ordered = spans.with_columns(hour.alias("hour")).sort("hour", "trace_hi", "trace_lo", "span_id")
        files: dict[str, tuple[int, int, int]] = {}
        for number, part in by_hour(ordered):
            folder = self.folder / str(number)
            modes.make_folder(folder)
            path = folder / f"{batch}.parquet"
            temporary = _aside(path)  # the same batch may come twice, in two threads
            with modes.writing(temporary, path):
                part.write_parquet(temporary, compression="lz4", row_group_size=ROW_GROUP, statistics=True)
                modes.restrict(temporary)
                fsync_path(temporary)
            files[str(number)] = (len(part), *checksum_of(temporary))
            temporary.replace(path)
        ledger = self.folder / LEDGER
        modes.make_folder(ledger)
        entry = {"accepted": accepted, "rejected": dict(rejected), "arrived_ns": arrived_ns, "files": files}
        nothing = {"accepted": 0, "rejected": {}, "arrived_ns": arrived_ns}
        for name, said in ((batch, entry), *((name, nothing) for name in also)):
            write_durably(ledger / f"{name}.json", checked.dump(said))

"""The journal: acknowledged bytes, before anything else is done with them.

    journal/<nanoseconds>-<random>.journal      8 bytes of magic, then records:
        u32 length | u32 CRC-32 of what follows | u64 arrival in ns | payload

A record is acknowledged after the fsync that covers it; while one fsync runs, the next group
gathers, so there is no timer.  A tail that a crash tore is never trusted: nothing behind it was
acknowledged.  Damage elsewhere is counted, and what lies behind it is read (`contents`).
Segment names are never used twice, and name the batch that the segment's spans land as.

Whoever appends may attach what it already knows of a payload.  It is handed back with the whole
segment, so that the drain need not find it out again, and forgotten where it would take too much
memory: the file alone always suffices.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import struct
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from isal import isal_zlib

from tracescope.errors import StoreBusyError, StoreError, in_words
from tracescope.store import modes
from tracescope.store.landing import fsync_path

#: What may be attached to a record.
A = TypeVar("A")

MAGIC: Final = b"TSJRNL01"
SUFFIX: Final = ".journal"
LOCK: Final = "LOCK"
_HEAD: Final = struct.Struct("<IIQ")
#: A segment is closed beyond this many bytes.
SEGMENT_BYTES: Final = 8 * 1024 * 1024
#: After an error, at least so much must fit before it counts as over.
PROBE_BYTES: Final = 256 * 1024
#: What is attached is kept for payloads of so many bytes, counted inflated: four segments.
ATTACHED_BYTES: Final = 4 * SEGMENT_BYTES
#: Who takes attachments has taken some within this time, or stands still.
DRAINED_LATELY_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Record:
    """One acknowledged payload and when it arrived."""

    arrived_ns: int
    payload: bytes


def batch_of(segment: Path) -> str:
    """Name of the batch that a segment's spans land as."""
    return f"j-{segment.stem}"


def segments(folder: Path) -> list[Path]:
    """Segments, oldest first."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def born_ns(segment: Path) -> int:
    """When a segment was begun: nothing in it is older."""
    return int(segment.name.partition("-")[0])


def held(folder: Path) -> bool:
    """Whether a process has the journal for writing."""
    try:
        lock = os.open(folder / LOCK, os.O_RDONLY)  # which a store that cannot be written lets us do
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


@dataclass(slots=True)
class Contents:
    """What a segment holds.

    Attributes
    ----------
    records
        Those that check, in the order they were written.
    damaged
        Places where acknowledged records do not check: so many requests at least are lost.
    """

    records: list[Record] = field(default_factory=list[Record])
    damaged: int = 0


def contents(segment: Path) -> Contents:
    """Read a segment past whatever is damaged in it.

    A record that runs over the end of the file, or zeros there, is what a crash tore: nobody was told that
    it is kept.  Any other place that does not check was acknowledged, and counts as damaged; reading goes on
    at the next record that checks.  Of a file in which none does nothing is known but that it is damaged.
    """
    data = segment.read_bytes()
    found = Contents()
    if len(data) < len(MAGIC):
        return found  # torn before anything was written
    found.damaged = int(not data.startswith(MAGIC))
    at = len(MAGIC)
    while at < len(data):
        record, end = _record(data, at)
        if record is not None:
            found.records.append(record)
        else:
            torn = end > len(data) or not any(data[at:])
            if end > len(data) or (end < len(data) and _record(data, end)[0] is None):
                end = _next(data, at + 1, segment)  # its length is none
            if end == len(data) and torn:
                break
            found.damaged += 1
        at = end
    return found


def _record(data: bytes, at: int) -> tuple[Record | None, int]:
    """The record that begins at a byte, and where it ends; None where it does not check."""
    if at + _HEAD.size > len(data):
        return None, len(data) + 1
    length, check, arrived = _HEAD.unpack_from(data, at)
    begin, end = at + _HEAD.size, at + _HEAD.size + length
    if end > len(data):
        return None, end
    payload = data[begin:end]
    if isal_zlib.crc32(payload, isal_zlib.crc32(data[begin - 8 : begin])) != check:
        return None, end
    return Record(arrived, payload), end


def _next(data: bytes, begin: int, segment: Path) -> int:
    """Where the next record that checks begins, at `begin` or later; the end of the data where none does.

    Records of a segment arrived within days of its name's time, so that their arrivals share the highest
    two bytes: these are looked for, instead of every byte being tried.
    """
    try:
        born = born_ns(segment)
    except ValueError:
        return len(data)
    best = len(data)
    for high in {born >> 48, (born >> 48) + 1}:
        mark = high.to_bytes(2, "little")
        at = data.find(mark, begin + 14, best + 14)
        while at >= 0:
            if _record(data, at - 14)[0] is not None:
                best = min(best, at - 14)
                break
            at = data.find(mark, at + 1, best + 14)
    return best


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[A]):
    record: bytes
    plain_bytes: int
    attached: A | None


def _promise() -> Future[None]:
    """A future that several share, so that none of them can cancel it."""
    done: Future[None] = Future()
    done.set_running_or_notify_cancel()
    return done


@dataclass(slots=True)
class _Group(Generic[A]):
    """Records that one fsync will cover, and the future of all of them."""

    waiting: list[_Waiting[A]] = field(default_factory=list)
    done: Future[None] = field(default_factory=_promise)


@dataclass(slots=True)
class _Segment(Generic[A]):
    """What this process knows of a segment that it wrote.

    Attributes
    ----------
    plain_bytes
        Size of its payloads, inflated.
    attached
        What was attached to each record; None once it is not all there.
    attached_bytes
        Size of the payloads that have something attached.
    """

    plain_bytes: int = 0
    attached: list[A] | None = field(default_factory=list)
    attached_bytes: int = 0


def _attached_bytes(group: Sequence[_Waiting[Any]]) -> int:
    return sum(waiting.plain_bytes for waiting in group if waiting.attached is not None)


@dataclass(slots=True)
class Journal(Generic[A]):
    """The writing end; one process at a time has it.  Made by `Journal.open`.

    ``A`` is what may be attached to a record: `tracescope.ingest` attaches what it scanned.

    Attributes
    ----------
    folder
        Where the segments lie.
    segment_bytes
        A segment is closed beyond so many bytes of payload, counted inflated.
    error
        Why a write failed; None once `probe` has found that there is room again.
    """

    folder: Path
    segment_bytes: int = SEGMENT_BYTES
    error: OSError | None = None
    _gathering: _Group[A] = field(default_factory=_Group[Any])
    _attached_bytes: int = 0
    # the lock of the group that gathers is never held while the disk works; the disk's guards all below it
    _wake: threading.Condition = field(default_factory=threading.Condition)
    _disk: threading.Lock = field(default_factory=threading.Lock)
    _file: int = -1
    _path: Path | None = None
    _size: int = 0
    _born: float = 0.0
    _last_ns: int = 0
    _drained_at: float = float("-inf")
    _failed_bytes: int = 0
    _written: dict[Path, _Segment[A]] = field(default_factory=dict)
    _closing: bool = False
    _lock: int = -1
    _thread: threading.Thread | None = None

    @classmethod
    def open(cls, folder: Path, *, segment_bytes: int = SEGMENT_BYTES) -> Journal[A]:
        """Take the journal for writing.

        Raises
        ------
        StoreBusyError
            Another process has it.
        """
        modes.make_folder(folder)
        lock = modes.open_file(folder / LOCK, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise StoreBusyError(
                f"another process receives spans into {folder.parent}",
                "stop it, or give this one its own --store",
            ) from error
        journal = cls(folder, segment_bytes)
        journal._lock = lock
        journal._thread = threading.Thread(target=journal._write, name="journal", daemon=True)
        journal._thread.start()
        return journal

    def append(
        self, payload: bytes, arrived_ns: int, plain_bytes: int = 0, attached: A | None = None
    ) -> Future[None]:
        """Add one payload; the future is done once it is durable, and fails if it could not be made so.

        Payloads that one fsync covers have one future, so that whoever waits is woken once for all.

        Parameters
        ----------
        payload, arrived_ns
            What is kept, and when it came.
        plain_bytes
            What a compressed payload inflates to, for the size of the segment.
        attached
            What `attached_to` gives back, if anything.

        Raises
        ------
        StoreError
            The journal is closed.
        """
        tail = arrived_ns.to_bytes(8, "little")
        check = isal_zlib.crc32(payload, isal_zlib.crc32(tail))
        record = _HEAD.pack(len(payload), check, arrived_ns) + payload
        size = max(plain_bytes, len(payload))
        with self._wake:
            if self._closing:
                raise StoreError("the journal is closed", "the receiver is stopping; send again later")
            if attached is not None:
                if self._attached_bytes + size > ATTACHED_BYTES:
                    attached = None
                else:
                    self._attached_bytes += size
            group = self._gathering
            group.waiting.append(_Waiting(record, size, attached))
            if len(group.waiting) == 1:
                self._wake.notify()
        return group.done

    def segments_to_drain(self, *, older_than_s: float = 0.0) -> list[Path]:
        """Segments that nobody writes any more, oldest first; closes an open one of that age."""
        with self._disk:
            if self._path is not None and time.monotonic() - self._born >= older_than_s:
                self._roll()
            # looked up under the lock: a segment that is begun a moment later is not among them
            return [path for path in segments(self.folder) if path != self._path]

    def attached_to(self, segment: Path) -> list[A] | None:
        """Take what was attached to each record of a segment that nobody writes any more, once.

        None where something was not, or was forgotten.
        """
        with self._disk:
            known = self._written.pop(segment, None)
            if known is None:
                return None
            self._let_go(known.attached_bytes)
            self._drained_at = time.monotonic()
            return known.attached

    @property
    def outruns_drain(self) -> bool:
        """Whether attachments arrive faster than they are drained, and are about to be dropped."""
        full = self._attached_bytes > ATTACHED_BYTES * 3 // 4
        return full and time.monotonic() - self._drained_at < DRAINED_LATELY_S

    def plain_bytes(self, segment: Path) -> int | None:
        """Size of a segment's payloads, inflated; None where another run wrote it, or it was taken."""
        with self._disk:
            known = self._written.get(segment)
            return None if known is None else known.plain_bytes

    @property
    def attached_bytes(self) -> int:
        """Bytes of the payloads whose attachments wait to be handed back."""
        return self._attached_bytes

    def probe(self) -> bool:
        """After an error, try to write twice what failed, aside; whether the journal is well now.

        Only this ends an error: on a disk that is all but full a small record may pass where the next
        one does not.
        """
        if self.error is None:
            return True
        path = self.folder / "probe"
        try:
            handle = modes.open_file(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            try:
                left = max(2 * self._failed_bytes, PROBE_BYTES)
                while left > 0:
                    left -= os.write(handle, bytes(min(left, PROBE_BYTES)))
                os.fsync(handle)
            finally:
                os.close(handle)
                path.unlink()
        except OSError as error:
            self.error = error
        else:
            self.error = None
        return self.error is None

    def close(self) -> None:
        """Write what waits, then give the journal back."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()
        with self._disk:
            self._roll()
        os.close(self._lock)

    # -- the writing thread --

    def _write(self) -> None:
        while True:
            with self._wake:
                while not self._gathering.waiting and not self._closing:
                    self._wake.wait()
                group, self._gathering = self._gathering, _Group()
            if not group.waiting:
                return
            with self._disk:
                try:
                    self._open_segment()
                    self._append(group.waiting)
                except OSError as error:
                    self._abandon()
                    self._fail(group, error)
                    continue
            group.done.set_result(None)

    def _append(self, group: list[_Waiting[A]]) -> None:
        data = memoryview(b"".join(waiting.record for waiting in group))
        written = 0
        while written < len(data):
            written += os.write(self._file, data[written:])
        os.fsync(self._file)
        self._size += written
        self._attach(group)
        if self._path is not None and self._written[self._path].plain_bytes >= self.segment_bytes:
            self._roll()

    def _attach(self, group: list[_Waiting[A]]) -> None:
        """Keep what is attached to records that have just become durable: of all of a segment or none."""
        if self._path is None:
            return
        here = self._written.setdefault(self._path, _Segment())
        here.plain_bytes += sum(waiting.plain_bytes for waiting in group)
        if here.attached is None:
            self._let_go(_attached_bytes(group))
            return
        known = [waiting.attached for waiting in group if waiting.attached is not None]
        here.attached += known
        here.attached_bytes += _attached_bytes(group)
        if len(known) < len(group):
            self._let_go(here.attached_bytes)
            here.attached, here.attached_bytes = None, 0

    def _let_go(self, size: int) -> None:
        with self._wake:
            self._attached_bytes -= size

    def _fail(self, group: _Group[A], error: OSError) -> None:
        self.error = error
        self._failed_bytes = sum(len(waiting.record) for waiting in group.waiting)
        self._let_go(_attached_bytes(group.waiting))
        group.done.set_exception(
            StoreError(f"the journal cannot be written: {in_words(error)}", "free disk space")
        )

    def _open_segment(self) -> None:
        if self._file >= 0:
            return
        self._last_ns = max(time.time_ns(), self._last_ns + 1)
        path = self.folder / f"{self._last_ns:020d}-{secrets.token_hex(4)}{SUFFIX}"
        self._file = modes.open_file(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND)
        self._path, self._born = path, time.monotonic()
        os.write(self._file, MAGIC)
        self._size = len(MAGIC)
        fsync_path(self.folder)

    def _roll(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file, self._path, self._size = -1, None, 0

    def _abandon(self) -> None:
        """Cut what a failed write left, so that it can never be read as acknowledged."""
        if self._file >= 0:
            try:
                os.ftruncate(self._file, self._size)
            except OSError as error:
                self.error = error
        self._roll()

"""The store: the only state.

    journal/     acknowledged OTLP bytes, not yet decoded
    landing/     decoded spans, not yet sealed        (tracescope.store.landing)
    sealed/      Delta tables: spans and rollups      (tracescope.store.sealed)
    CURRENT.json what of the sealed tables counts
    marks.json   names given to instants
    mutes.json   findings that are muted: until when, and why

Everything in ``sealed/`` but the spans can be rebuilt from them.  Writers of landing files need no
coordination; one process at a time seals, behind a file lock; readers take none.  They look at a
`Snapshot`, and look again when files of it have gone meanwhile (`SpanStore.reading`).  What sealing and
retention replace in the background stays for `READERS_S`; a reader that is slower and loses its files
starts again, and is told so when it would have to a second time.
"""

from __future__ import annotations

import errno
import fcntl
import json
import time
from collections.abc import Callable, Collection, Generator, Hashable, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tracescope import schema
from tracescope.errors import (
    DamagedFileError,
    NewerFormatError,
    StoreBusyError,
    StoreError,
    in_words,
    refused,
)
from tracescope.store import checked, modes, quarantine
from tracescope.store.landing import Landing, LandingGroup, Ledger, write_durably, write_private
from tracescope.store.mirror import POINTER, Mirror
from tracescope.store.pointer import File, Pointer
from tracescope.store.sealed import LOG, READERS_S, Sealed, count_hours, sum_rejected, walk

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Snapshot", "SpanStore", "Status", "body", "open_store"]

_FORMAT = "FORMAT.json"
_FOLDERS = ("journal", "landing", "staging", "sealed")
_MARKS = "marks.json"
_MUTES = "mutes.json"
#: What has been over for so long is forgotten when the next mute is written.
_MUTE_KEPT_NS = 90 * 86_400 * 10**9
#: Spans so long before or after all others, and fewer than one in so many, are strays.
_FAR_HOURS = 366 * 24
_STRAY_OF = 100
#: Spans of an hour have ended by then, or are strays themselves.
_AFTER_HOURS = 31 * 24
#: Looks at a store before giving up on one that never stands still.
_LOOKS = 200

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Status:
    """What a store holds, counted over its life.

    ``accepted`` counts acknowledged spans less the rejected, ``stored`` distinct
    (trace_id, span_id); times are ns, 0 where there are none; ``counters`` are those of
    `schema.COUNTER_REASONS`, of sealed hours.  ``damaged`` names files that could not be read and are left
    out, ``quarantined`` counts files set aside because they were damaged, ``lost_requests`` acknowledged
    requests that could not be read from the journal.
    """

    accepted: int
    stored: int
    rejected: dict[str, int]
    units: int
    first_ns: int
    last_ns: int
    sealed_until_ns: int
    journal_bytes: int
    disk_bytes: int
    landing_spans: int
    counters: dict[str, int]
    damaged: tuple[str, ...] = ()
    quarantined: int = 0
    lost_requests: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A store at one instant: what is sealed, what has landed, and batches that only landing counts.

    ``damaged`` says which files were left out because they cannot be read, ``parts`` what each of several
    stores has (`tracescope.store.several`).
    """

    pointer: Pointer
    landed: dict[int, list[Path]]
    ledger: Ledger
    damaged: tuple[str, ...] = ()
    parts: tuple[Snapshot, ...] = ()

    def pending(self) -> pl.LazyFrame:
        """Landed spans; one may occur twice, and may be sealed as well."""
        import polars as pl

        files = [path for paths in self.landed.values() for path in paths]
        if not files:
            return pl.LazyFrame(schema=schema.dtypes(schema.SPANS))
        return pl.scan_parquet(files, missing_columns="insert", extra_columns="ignore")

    @property
    def closed(self) -> list[int]:
        """Hours whose raw spans retention has removed."""
        return self.pointer.closed()

    @property
    def each(self) -> tuple[Snapshot, ...]:
        """Every store by itself."""
        return self.parts or (self,)

    def lacks_raw(self, hour: int) -> bool:
        """Whether retention has removed raw spans of an hour from any store."""
        return any(part.pointer.is_closed(hour) for part in self.each)

    def without(self, gone: Collection[File], landed: Collection[Path], damage: tuple[str, ...]) -> Snapshot:
        """The same less some files, and what is said of them."""
        files = {
            name: [file for file in each if file not in gone] for name, each in self.pointer.files.items()
        }
        return Snapshot(
            replace(self.pointer, files=files),
            {hour: [path for path in paths if path not in landed] for hour, paths in self.landed.items()},
            self.ledger,
            damage,
            tuple(part.without(gone, landed, damage) for part in self.parts),
        )


@dataclass(frozen=True, slots=True)
class SpanStore:
    """An open store; see the module's docstring.  Made by `open_store`.

    With a `mirror` it lies in object storage, and `root` holds copies (`tracescope.store.mirror`).
    """

    root: Path
    landing: Landing
    sealed: Sealed
    demo: bool
    mirror: Mirror | None = None

    @property
    def name(self) -> str:
        """What messages call it: its folder, or its URL."""
        return str(self.root) if self.mirror is None else self.mirror.bucket.url

    @property
    def stores(self) -> tuple[SpanStore, ...]:
        """Every store of which this is made: itself alone, or several that are read together."""
        return (self,)

    @property
    def journal_folder(self) -> Path:
        """Where the journal lies."""
        return self.root / "journal"

    # -- landing --

    @contextmanager
    def group(self, name: str) -> Generator[LandingGroup]:
        """Land several batches that become visible together."""
        with self.landing.group(name) as group:
            yield group

    def known(self, batches: Collection[str]) -> set[str]:
        """Those of some batches that have landed."""
        return self.landing.known(batches) | set(batches).intersection(self.sealed.pointer().ledger.batches)

    def refuse_closed(self, spans: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
        """Split off spans of hours whose raw spans retention has removed."""
        import polars as pl

        closed = self.sealed.pointer().closed()
        if not closed:
            return spans, {}
        hit = (pl.col("start_ns") // schema.HOUR_NS).is_in(closed)
        kept = spans.filter(~hit)
        count = len(spans) - len(kept)
        return kept, {"hour_closed": count} if count else {}

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
        """Land one batch of decoded spans; landing a batch again changes nothing.

        Parameters
        ----------
        spans
            SPANS rows.
        batch
            Its name, the same whenever the same bytes are landed.
        accepted, rejected
            For the ledger.
        arrived_ns
            When the bytes arrived.
        also
            Other batches whose spans these are too: they land together, and the ledger counts them all
            as `batch`.  None of them may have landed.
        """
        if self.known([batch]):
            return
        spans, closed = self.refuse_closed(spans)
        with self.landing.group(batch) as group:
            group.land(
                spans,
                batch=batch,
                accepted=accepted - sum(closed.values()),
                rejected={**rejected, **closed},
                arrived_ns=arrived_ns,
                also=also,
            )

    # -- sealing --

    @contextmanager
    def unsealed(self) -> Generator[None]:
        """Wait until nobody seals, and let nobody; where nothing can be written nobody could."""
        try:
            with self.sealing(wait=True):
                yield
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES) or error.filename != str(
                self.root / "seal.lock"
            ):
                raise
            with ExitStack() as held:
                with suppress(FileNotFoundError):  # nobody has sealed yet
                    lock = held.enter_context((self.root / "seal.lock").open("rb"))
                    fcntl.flock(lock, fcntl.LOCK_SH)
                yield

    @contextmanager
    def sealing(self, *, wait: bool = False) -> Generator[None]:
        """Hold the sealing lock.

        Raises
        ------
        StoreBusyError
            Another process holds it and `wait` is false.
        """
        with write_private(self.root / "seal.lock") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except OSError as error:
                raise StoreBusyError(
                    f"another process is sealing {self.root}", "try again when it has finished"
                ) from error
            with nullcontext() if self.mirror is None else self.mirror.leased(wait=wait):
                yield

    # -- marks --

    def marks(self) -> dict[str, int]:
        """Named instants in ns; none where they are damaged, which `verify` says."""
        if self.mirror is not None:
            self.mirror.refresh(_MARKS)
        try:
            return marks_in(self.root)
        except DamagedFileError:
            return {}

    def mark(self, name: str, at_ns: int) -> None:
        """Name an instant, or move it."""
        self._change(_MARKS, lambda: {"marks": {**marks_in(self.root), name: at_ns}})

    # -- mutes --

    def mutes(self) -> dict[str, tuple[int, str]]:
        """Until when (ns) and why a finding is muted, by its id; none where they are damaged."""
        if self.mirror is not None:
            self.mirror.refresh(_MUTES)
        try:
            return mutes_in(self.root)
        except DamagedFileError:
            return {}

    def mute(self, finding: str, until_ns: int, reason: str, *, now_ns: int) -> None:
        """Mute a finding, or change its end and reason."""
        limit = now_ns - _MUTE_KEPT_NS
        self._change(
            _MUTES,
            lambda: _rows(
                {
                    **{name: said for name, said in mutes_in(self.root).items() if said[0] > limit},
                    finding: (until_ns, reason),
                }
            ),
        )

    def unmute(self, finding: str) -> None:
        """End a mute."""
        self._change(
            _MUTES,
            lambda: _rows({name: said for name, said in mutes_in(self.root).items() if name != finding}),
        )

    def _change(self, name: str, build: Callable[[], dict[str, Any]]) -> None:
        """Write a small file, made of what it says now, which others may change meanwhile."""
        if self.mirror is None:
            write_durably(self.root / name, checked.dump(build()))
            return
        for _ in range(_LOOKS):
            version = self.mirror.refresh(name)
            if self.mirror.change(name, checked.dump(build()), version):
                return
        raise StoreBusyError(f"{self.name} changes faster than {name} can be written", "try again")

    # -- looking --

    def state(self) -> Hashable:
        """What changes whenever an answer might."""
        landed = self.landing.files()
        newest = max((paths[-1].name for paths in landed.values()), default="")
        return self.sealed.stamp(), sum(map(len, landed.values())), newest, repr(self.marks())

    def snapshot(self) -> Snapshot:
        """The store as it is now.

        Files that landing loses are named by a pointer published before, and a group lands by one
        rename: what is listed while the pointer stays the same belongs together.
        """
        for _ in range(_LOOKS):
            stamp = self.sealed.stamp()
            pointer = self.sealed.published(stamp)
            groups = self.landing.groups()
            known = set(pointer.ledger.batches)
            found = Snapshot(pointer, self.landing.files(groups), self.landing.ledger(known, groups))
            if self.sealed.stamp() == stamp:
                return found
        raise StoreBusyError(f"{self.root} changes faster than it can be read", "try again")

    def reading(self, work: Callable[[Snapshot], T]) -> T:
        """What `work` gives for a snapshot; again for a newer one when files of it went meanwhile.

        Files that are damaged are left out, and `Snapshot.damaged` names them.

        Raises
        ------
        StoreError
            Nothing is left of it that can be read.
        StoreBusyError
            The store changes faster than `work` can read it, twice in a row where it takes long.
        """
        from polars.exceptions import PolarsError

        found = self.snapshot()
        slow = 0
        for _ in range(_LOOKS):
            begin = time.monotonic()
            try:
                return work(found)
            except (PolarsError, DamagedFileError) as error:
                found = self._without_damage(found, error)
            except FileNotFoundError as error:
                took_s = time.monotonic() - begin
                slow += took_s > READERS_S
                if slow > 1:
                    raise StoreBusyError(
                        f"files of {self.name} were replaced while they were read for {took_s:.0f} s",
                        "run it again, over a shorter period, or while less is sealed and pruned",
                    ) from error
                newer = self.snapshot()
                if (newer.pointer.sequence, newer.landed) == (found.pointer.sequence, found.landed):
                    newer = self._without_damage(found, error)
                found = newer
        raise StoreBusyError(f"{self.name} changes faster than it can be read", "try again")

    def _without_damage(self, snapshot: Snapshot, error: Exception) -> Snapshot:
        """A snapshot less its files that are damaged.

        Raises
        ------
        StoreError
            None of them is, or they were left out already.
        """
        before = 0 if self.mirror is None else self.mirror.fetched_again
        gone = self.sealed.broken(snapshot.pointer)
        landed = {path: told for path, told in self.landing.broken(snapshot.landed).items() if told}
        if self.mirror is not None and self.mirror.fetched_again > before and not (gone or landed):
            return snapshot  # only copies were damaged
        if snapshot.damaged or not (gone or landed):
            raise StoreError(
                f"{self.name} cannot be read: {str(error).splitlines()[0]}", "`tracescope verify` says more"
            ) from error
        told = [f"{self.sealed.folder / file.path}: {why}" for file, why in gone.items()]
        told += [f"{path}: {why}" for path, why in landed.items()]
        return snapshot.without(gone, landed, tuple(told))

    def pending(self) -> pl.LazyFrame:
        """Landed spans."""
        return self.snapshot().pending()

    def rejected(self) -> dict[str, int]:
        """Spans refused over the store's life, by reason."""
        found = self.snapshot()
        return sum_rejected(found.pointer.ledger, found.ledger)

    def extent(self) -> tuple[int, int]:
        """Earliest start and latest end of any span in ns; zeros for an empty store."""
        return self.reading(_extent)

    def status(self, waiting: Mapping[str, tuple[pl.DataFrame, Mapping[str, int]]] | None = None) -> Status:
        """Count what is here; see `Status`.

        Parameters
        ----------
        waiting
            Batches that may not have landed yet: SPANS rows and spans refused by reason, by name.
        """
        return self.reading(lambda found: self._status(found, waiting or {}))

    def stored(self) -> int:
        """Distinct spans of the store's life, as `Status` counts them."""
        return self.reading(
            lambda found: (
                found.pointer.forgotten + count_hours(found.pointer.hours) + self._unsealed(found, {})
            )
        )

    def _unsealed(
        self, snapshot: Snapshot, waiting: Mapping[str, tuple[pl.DataFrame, Mapping[str, int]]]
    ) -> int:
        """Distinct spans that are landed, or wait for it, and are not sealed."""
        import polars as pl

        ids = ["trace_hi", "trace_lo", "span_id"]
        known = {*snapshot.pointer.ledger.batches, *snapshot.ledger.batches}
        frames = [spans.select(*ids, "start_ns") for name, (spans, _) in waiting.items() if name not in known]
        if snapshot.landed:
            frames.append(snapshot.pending().select(*ids, "start_ns").collect())
        if not frames:
            return 0
        landed = pl.concat(frames)
        new = landed.unique(ids)
        if len(landed) and snapshot.pointer.hours:
            hours = (landed["start_ns"] // schema.HOUR_NS).unique().to_list()
            near = [h for hour in hours for h in range(hour - schema.TRACE_WINDOW_HOURS, hour + 2)]
            new = new.join(
                self.sealed.spans(snapshot.pointer, near).select(ids).collect(), on=ids, how="anti"
            )
        return len(new)

    def _status(
        self, snapshot: Snapshot, waiting: Mapping[str, tuple[pl.DataFrame, Mapping[str, int]]]
    ) -> Status:
        import polars as pl

        pointer, ledger = snapshot.pointer, snapshot.ledger
        new = self._unsealed(snapshot, waiting)
        for batch, (spans, rejected) in waiting.items():
            if batch not in pointer.ledger.batches and batch not in ledger.batches:
                ledger.add(len(spans), rejected)
        units = self.sealed.scan(pointer, "entry_hours").select(pl.col("units").sum()).collect().item()
        counters = (
            self.sealed.scan(pointer, "counters").group_by("reason").agg(pl.col("count").sum()).collect()
        )
        first, last = _extent(snapshot)
        aside = list(quarantine.notes(self.root))
        return Status(
            accepted=pointer.ledger.accepted + ledger.accepted,
            stored=pointer.forgotten + count_hours(pointer.hours) + new,
            rejected=sum_rejected(pointer.ledger, ledger),
            units=int(units or 0),
            first_ns=first,
            last_ns=last,
            sealed_until_ns=(max(pointer.hours) + 1) * schema.HOUR_NS if pointer.hours else 0,
            journal_bytes=_size(self.journal_folder),
            disk_bytes=_size(self.root),
            landing_spans=new,
            counters=dict(counters.sort("reason").iter_rows()),
            damaged=snapshot.damaged,
            quarantined=len(aside),
            lost_requests=sum(note.lost_requests for note in aside),
        )


def _rows(mutes: Mapping[str, tuple[int, str]]) -> dict[str, Any]:
    return {"mutes": {name: {"until_ns": until, "reason": why} for name, (until, why) in mutes.items()}}


def _extent(snapshot: Snapshot) -> tuple[int, int]:
    """Earliest start and latest end, by hours that belong together: a clock gone wrong is not the store's."""
    import polars as pl

    pointer = snapshot.pointer
    counts = {hour: state.spans for hour, state in pointer.hours.items()}
    starts, ends = [pointer.first_ns] * bool(counts), [pointer.last_ns]
    if snapshot.landed:
        hour = (pl.col("start_ns") // schema.HOUR_NS).alias("hour")
        times = pl.min("start_ns").alias("first"), pl.max("end_ns").alias("last")
        for at, count, first, last in (
            snapshot.pending().group_by(hour).agg(pl.len(), *times).collect().iter_rows()
        ):
            counts[at] = counts.get(at, 0) + count
            starts.append(first)
            ends.append(last)
    if not counts:
        return 0, 0
    low, high = body(counts)
    return max(min(starts), low * schema.HOUR_NS), min(max(ends), (high + _AFTER_HOURS) * schema.HOUR_NS)


def body(counts: Mapping[int, int]) -> tuple[int, int]:
    """First and last hour less what lies far before or after the rest and is next to nothing of it."""
    hours = sorted(counts) or [0]
    total = sum(counts.values())
    for _ in (0, 1):  # from the front, then from the back
        gone = 0
        for at in range(len(hours) - 1):
            gone += counts[hours[at]]
            if gone * _STRAY_OF > total:
                break
            if abs(hours[at + 1] - hours[at]) > _FAR_HOURS:
                hours = hours[at + 1 :]
                break
        hours.reverse()
    return hours[0], hours[-1]


def _size(folder: Path) -> int:
    total = 0
    for entry in walk(str(folder)):
        with suppress(FileNotFoundError):  # removed while we count
            total += entry.stat(follow_symlinks=False).st_size
    return total


def marks_in(root: Path) -> dict[str, int]:
    """Named instants in ns of the store at `root`; raises DamagedFileError."""
    try:
        said = checked.load((root / _MARKS).read_bytes())
        marks = said["marks"] if isinstance(said.get("marks"), dict) else said  # as they once were
        return {str(name): int(at_ns) for name, at_ns in marks.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError, OverflowError) as error:
        if refused(error):
            raise
        raise DamagedFileError(
            f"{root / _MARKS} is damaged: {in_words(error)}",
            "`tracescope verify --repair` sets it aside; names have to be given again",
        ) from error


def mutes_in(root: Path) -> dict[str, tuple[int, str]]:
    """Mutes of the store at `root`, as `SpanStore.mutes`; raises DamagedFileError."""
    try:
        rows = checked.load((root / _MUTES).read_bytes(), required=True)["mutes"]
        return {str(name): (int(row["until_ns"]), str(row["reason"])) for name, row in rows.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if refused(error):
            raise
        raise DamagedFileError(
            f"{root / _MUTES} is damaged: {in_words(error)}",
            "`tracescope verify --repair` sets it aside; findings have to be muted again",
        ) from error


def mend_format(path: Path | str) -> list[str]:
    """Rewrite a store's description where it is damaged or missing; returns what was done."""
    root = Path(path)
    described = root / _FORMAT
    lock = root / "seal.lock"
    if lock.is_dir():
        quarantine.set_aside(root, lock, "a folder where a file belongs")
    try:
        int(json.loads(described.read_bytes())["format"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        if refused(error):
            raise
        if not (root / "sealed").is_dir():
            return []
    else:
        return []
    if described.exists():
        quarantine.set_aside(root, described, "damaged")
    write_durably(described, json.dumps({"format": schema.SCHEMA_VERSION, "demo": False}).encode())
    return [f"{described} is written anew"]


def open_store(
    path: Path | str, *, create: bool = False, demo: bool = False, group_access: bool = False
) -> SpanStore:
    """Open the store at `path`.

    Parameters
    ----------
    path
        Its folder.
    create
        Make an empty one when there is none.
    demo
        Mark a store made now as a demo, which `tracescope demo` may replace.
    group_access
        Let the group of a store made now read it.

    Raises
    ------
    StoreError
        There is none, it is something else, or a newer program wrote it.
    """
    root = Path(path)
    described = root / _FORMAT
    mirror = Mirror.of(root)
    landing, sealed = Landing(root, mirror), Sealed(root, mirror)
    if mirror is not None:
        mirror.open(_format(demo=demo), Pointer().dump(), create=create)
        for name in (_MARKS, _MUTES):
            mirror.refresh(name)
    elif not described.exists():
        if not create:
            raise StoreError(
                f"no store at {root}", "make one with `tracescope import FILE` or `tracescope serve`"
            )
        if root.exists() and any(root.iterdir()) and not is_begun(root):
            raise StoreError(f"{root} is not empty and holds no store", "choose another folder with --store")
        modes.make_root(root, group=group_access)
        modes.make_folder(root / "journal")
        landing.create()
        sealed.create()
        write_durably(described, _format(demo=demo))
    elif create:
        modes.refuse_unwritable(root, *(root / name for name in _FOLDERS))
    try:
        about: dict[str, Any] = json.loads(described.read_text())
        version = int(about["format"])
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{described} is damaged: {in_words(error)}", "`tracescope verify --repair` writes it anew"
        ) from error
    if version > schema.SCHEMA_VERSION:
        raise NewerFormatError(
            f"{root} has format {version}; this program knows {schema.SCHEMA_VERSION}", "upgrade tracescope"
        )
    _refuse_former_landing(root)
    return SpanStore(root, landing, sealed, bool(about.get("demo")), mirror)


def is_begun(root: Path) -> bool:
    """Whether a folder is a store whose making was cut short, as by a full disk: it holds nothing yet."""
    for path in root.rglob("*"):
        first, *rest = path.relative_to(root).parts
        if first not in _FOLDERS:
            if not (first in (POINTER, "seal.lock") or first.startswith((f".{POINTER}.", f".{_FORMAT}."))):
                return False
        elif path.is_file() and rest[0] != LOG:
            return False
    return True


def _format(*, demo: bool) -> bytes:
    return json.dumps({"format": schema.SCHEMA_VERSION, "demo": demo}).encode()


def _refuse_former_landing(root: Path) -> None:
    """Before groups, landing had files right below hours, and one ledger for all: they would not be seen."""
    left = sorted((root / "landing").glob("[0-9]*/*.parquet"))
    if left:
        raise StoreError(
            f"{root} has {len(left)} landing files in a layout that is no longer read, such as {left[0]}",
            "seal them with the version that wrote them (`tracescope rebuild`), or move them out of the "
            "store and import their traces again",
        )


def recover(store: SpanStore) -> None:
    """Finish what a killed writer left; writers call it once when they start."""
    store.landing.recover()

"""Several stores that are asked as one, such as those of receivers behind a load balancer.

    store A    pointer A, landing A ─┐
    store B    pointer B, landing B ─┴─► one `Snapshot`: files of both, hours of both, and each as a part

Every store is looked at once for a question, and none is written to.  The snapshot names all files by
absolute paths, so that whoever reads spans reads those of all; whoever reads rollups adds up those of the
parts (`tracescope.engine.union`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Generator, Hashable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from tracescope.errors import UsageError
from tracescope.store import Snapshot, SpanStore, Status, open_store
from tracescope.store.landing import Landing, LandingGroup, Ledger
from tracescope.store.pointer import File, HourState, Pointer
from tracescope.store.sealed import Sealed

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class SeveralStores(SpanStore):
    """Stores that are read together; made by `open_stores`."""

    members: tuple[SpanStore, ...] = ()

    @property
    def stores(self) -> tuple[SpanStore, ...]:
        """Each of them."""
        return self.members

    @property
    def name(self) -> str:
        """What errors call them."""
        return " and ".join(store.name for store in self.members)

    # -- looking --

    def state(self) -> Hashable:
        """What changes whenever an answer might."""
        return tuple(store.state() for store in self.members)

    def snapshot(self) -> Snapshot:
        """All stores as they are now; the same again as long as none changes."""
        key = tuple(store.root for store in self.members), self.state()
        known = _snapshots.get(key)
        if known is None:
            known = _together([_placed(store, store.snapshot()) for store in self.members])
            if key[1] == self.state():
                for former in list(_snapshots)[: 1 - _REMEMBERED]:
                    _snapshots.pop(former, None)
                _snapshots[key] = known
        return known

    def marks(self) -> dict[str, int]:
        """Named instants in ns; a name that several stores have is the first one's."""
        return {name: at for store in reversed(self.members) for name, at in store.marks().items()}

    def mutes(self) -> dict[str, tuple[int, str]]:
        """Mutes of all; one that several stores have is the one that ends last."""
        found: dict[str, tuple[int, str]] = {}
        for store in self.members:
            for name, said in store.mutes().items():
                found[name] = max(found.get(name, said), said)
        return found

    # -- writing, which is refused --

    @contextmanager
    def group(self, name: str) -> Generator[LandingGroup]:
        """Refused."""
        _refuse()
        yield

    @contextmanager
    def sealing(self, *, wait: bool = False) -> Generator[None]:
        """Refused."""
        _refuse()
        yield

    @contextmanager
    def unsealed(self) -> Generator[None]:
        """Refused."""
        _refuse()
        yield

    def known(self, batches: Collection[str]) -> set[str]:
        """Refused."""
        _refuse()

    def refuse_closed(self, spans: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
        """Refused."""
        _refuse()

    def mark(self, name: str, at_ns: int) -> None:
        """Refused."""
        _refuse()

    def mute(self, finding: str, until_ns: int, reason: str, *, now_ns: int) -> None:
        """Refused."""
        _refuse()

    def unmute(self, finding: str) -> None:
        """Refused."""
        _refuse()


def open_stores(paths: Sequence[Path | str]) -> SpanStore:
    """The store at one path, or those at several to be read together; one that is named twice counts once.

    Raises
    ------
    StoreError
        At one of them there is none, it is something else, or a newer program wrote it.
    """
    distinct = {Path(path).resolve(): Path(path) for path in reversed(paths)}
    stores = [open_store(path) for path in reversed(distinct.values())]
    if len(stores) == 1:
        return stores[0]
    nowhere = Path("/")  # files of several stores are named from there
    demo = all(store.demo for store in stores)
    sealed = Sealed(nowhere, copies=_Copies(tuple(stores)))
    return SeveralStores(nowhere, Landing(nowhere), sealed, demo, members=tuple(stores))


@dataclass(frozen=True, slots=True)
class _Copies:
    """Fetches files of those stores that lie in object storage."""

    stores: tuple[SpanStore, ...]

    def fetch(self, files: Mapping[str, int]) -> None:
        """Have copies of files, by their whole paths."""
        for store in self.stores:
            if store.mirror is not None:
                folder = f"{store.sealed.folder.absolute()}/"
                own = {
                    path.removeprefix(folder): size for path, size in files.items() if path.startswith(folder)
                }
                store.mirror.fetch(own)


def together(each: Sequence[Status]) -> Status:
    """What several stores hold; a span that is in two of them counts twice."""
    rejected: Counter[str] = Counter()
    counters: Counter[str] = Counter()
    for one in each:
        rejected.update(one.rejected)
        counters.update(one.counters)

    def total(name: str) -> int:
        return sum(getattr(one, name) for one in each)

    return Status(
        accepted=total("accepted"),
        stored=total("stored"),
        rejected=dict(sorted(rejected.items())),
        units=total("units"),
        first_ns=min((one.first_ns for one in each if one.first_ns), default=0),
        last_ns=max(one.last_ns for one in each),
        sealed_until_ns=min((one.sealed_until_ns for one in each if one.stored), default=0),
        journal_bytes=total("journal_bytes"),
        disk_bytes=total("disk_bytes"),
        landing_spans=total("landing_spans"),
        counters=dict(sorted(counters.items())),
        damaged=tuple(told for one in each for told in one.damaged),
        quarantined=total("quarantined"),
        lost_requests=total("lost_requests"),
    )


def _refuse() -> NoReturn:
    raise UsageError("several stores are only read", "give one with --store to write to it")


def _placed(store: SpanStore, snapshot: Snapshot) -> Snapshot:
    """A store's snapshot with the whole path of every file, less landed spans that its store refuses."""
    folder = store.sealed.folder.absolute()
    files = {
        name: [replace(file, path=str(folder / file.path)) for file in each]
        for name, each in snapshot.pointer.files.items()
    }
    landed = {hour: paths for hour, paths in snapshot.landed.items() if not snapshot.pointer.is_closed(hour)}
    return replace(snapshot, pointer=replace(snapshot.pointer, files=files), landed=landed)


#: What several stores held last: to add up their pointers takes as long as an answer.
_snapshots: dict[object, Snapshot] = {}
_REMEMBERED: Final = 4


def _together(parts: Sequence[Snapshot]) -> Snapshot:
    """What several stores hold, as one snapshot."""
    landed: dict[int, list[Path]] = {}
    counted = Ledger()
    for part in parts:
        for hour, paths in part.landed.items():
            landed[hour] = landed.get(hour, []) + paths
        counted.merge(part.ledger)
    damaged = tuple(told for part in parts for told in part.damaged)
    pointer = _pointer_of([part.pointer for part in parts])
    return Snapshot(pointer, dict(sorted(landed.items())), counted, damaged, tuple(parts))


def _pointer_of(pointers: Sequence[Pointer]) -> Pointer:
    """What counts of all."""
    files: dict[str, list[File]] = {}
    ledger = Ledger()
    for one in pointers:
        for name, each in one.files.items():
            files[name] = files.get(name, []) + each
        ledger.merge(one.ledger)
    # a day counts where every store that has hours of it has it as a day too
    by_hour = {day for one in pointers for day in {hour // 24 for hour in one.hours}.difference(one.days)}
    return Pointer(
        sequence=sum(one.sequence for one in pointers),
        files=files,
        hours=_hours(pointers),
        ledger=ledger,
        first_ns=min((one.first_ns for one in pointers if one.first_ns), default=0),
        last_ns=max(one.last_ns for one in pointers),
        forgotten=sum(one.forgotten for one in pointers),
        days=sorted({day for one in pointers for day in one.days} - by_hour),
    )


def _hours(pointers: Sequence[Pointer]) -> dict[int, HourState]:
    """Sealed hours of all: their spans added up, their raw spans here where any store has some."""
    found: dict[int, list[HourState]] = {}
    for pointer in pointers:
        for hour, state in pointer.hours.items():
            found.setdefault(hour, []).append(state)
    return {
        hour: HourState(
            sum(state.spans for state in states),
            max(state.arrived_ns for state in states),
            any(state.has_raw for state in states),
            min(state.rules for state in states),
        )
        for hour, states in sorted(found.items())
    }


__all__ = ["SeveralStores", "open_stores", "together"]

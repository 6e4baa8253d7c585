"""Repair: set damaged files aside, correct what names them, and rebuild rollups from spans.

Nothing that is whole is touched, and nothing is deleted: what is taken out lies in ``quarantine/`` with a
note.  Spans that are lost are counted as rejected for ``damaged``: accepted and rejected still add up.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from tracescope import schema
from tracescope.engine import clock
from tracescope.errors import DamagedFileError, NewerFormatError, StoreError, refused
from tracescope.periods import format_utc
from tracescope.store import SpanStore, checked, marks_in, mutes_in
from tracescope.store.landing import COUNTED, LEDGER, broken, checksum_of, entry_of, is_hour, write_durably
from tracescope.store.pointer import File, Pointer
from tracescope.store.quarantine import set_aside
from tracescope.store.sealed import POINTER

#: Reason for which spans count that were acknowledged, and whose file is damaged.
DAMAGED = "damaged"


def described(store: SpanStore, file: File, name: str, why: str) -> str:
    """A damaged sealed file in words: which, what it held, and what a repair does."""
    held = f"{file.rows} rows of {name}" if file.rows >= 0 else f"rows of {name}"
    if name not in schema.DIMENSIONS and file.last < 2**40:
        first, last = (format_utc(hour * schema.HOUR_NS) for hour in (file.first, file.last + 1))
        held += f" from {first} to {last}"
    does = (
        "closes these hours: their rollups stay"
        if name == "spans"
        else "makes them anew where spans are held"
    )
    return f"{store.sealed.folder / file.path}: {why}; it held {held}; `tracescope verify --repair` {does}"


def landing_problems(store: SpanStore, pointer: Pointer) -> Iterator[tuple[Path, str]]:
    """What is wrong in landing: the file that it is about, and a sentence."""
    landing = store.landing
    for path, told in landing.broken(landing.files()).items():
        if told:
            yield path, f"{path}: {told}; `tracescope verify --repair` sets it aside"
    for group in landing.groups():
        if not group.is_dir():
            yield group, f"{group} is none of the store's; `tracescope verify --repair` sets it aside"
            continue
        for inner in sorted(group.iterdir()):
            if inner.name not in (LEDGER, COUNTED) and not (is_hour(inner.name) and inner.is_dir()):
                yield inner, f"{inner} is none of the store's; `tracescope verify --repair` sets it aside"
        for kind in (LEDGER, COUNTED):
            for path in sorted((group / kind).glob("*")):
                entry = entry_of(path)
                if entry is None:
                    yield path, f"{path} is damaged; `tracescope verify --repair` makes it from its spans"
                    continue
                counted = kind == COUNTED or path.stem in pointer.ledger.batches
                for hour, (rows, _, _) in entry["files"].items():
                    file = group / str(hour) / f"{path.stem}.parquet"
                    if not file.exists() and not (counted and hour in pointer.hours):
                        yield file, f"{file} is missing, and {rows} acknowledged spans with it"


def other_problems(store: SpanStore) -> Iterator[tuple[Path, str]]:
    """What is wrong with small files: names of instants, the clock, the log of publications."""
    try:
        marks_in(store.root)
    except DamagedFileError as error:
        yield store.root / "marks.json", f"{error.message}; `tracescope verify --repair` sets it aside"
    try:
        mutes_in(store.root)
    except DamagedFileError as error:
        yield store.root / "mutes.json", f"{error.message}; `tracescope verify --repair` sets it aside"
    seen = store.root / clock.FILE
    try:
        int(json.loads(seen.read_bytes())["seen_ns"])
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError) as error:
        if refused(error):
            raise
        yield seen, f"{seen} is damaged; `tracescope verify --repair` sets it aside"
    for path in sorted((store.sealed.folder / "log").glob("*")):
        try:
            Pointer.load(path.read_bytes(), path)
        except (OSError, StoreError) as error:
            if refused(error):
                raise
            yield path, f"{path} is damaged; `tracescope verify --repair` sets it aside"


def restore_pointer(store: SpanStore) -> list[str]:
    """Put the newest publication of the log in the place of a pointer that is damaged or gone.

    Raises
    ------
    StoreError
        The log has none, or a newer program wrote the pointer.
    """
    try:
        store.sealed.pointer()
    except NewerFormatError:
        raise
    except StoreError as error:
        newest = next(store.sealed.logged(), None)
        if newest is None:
            raise StoreError(
                f"{error.message}, and no publication is logged", "restore the store from a backup"
            ) from error
    else:
        return []
    path = store.root / POINTER
    if path.exists():
        set_aside(store.root, path, "damaged")
    store.sealed.restore(newest)
    return [f"{path} is restored from publication {newest.sequence} of its log"]


def heal(store: SpanStore) -> tuple[list[str], bool]:
    """Set aside what is damaged, and put right what names it; the caller holds the sealing lock.

    Returns
    -------
    tuple
        What was done, a sentence each, and whether rollups have to be made anew.
    """
    done = restore_pointer(store)
    pointer = store.sealed.settle()
    for path, told in other_problems(store):
        set_aside(store.root, path, told)
        done.append(f"{path} is set aside")
    lost = 0
    for path, told in list(landing_problems(store, pointer)):
        lost += _mend_landing(store, path, told, pointer)
        store.landing.restate(path)
        done.append(f"{path} is put right or set aside")
    gone = store.sealed.broken(pointer)
    tables = {file.path: name for name, files in pointer.files.items() for file in files}
    for file, why in gone.items():
        path = store.sealed.folder / file.path
        if path.exists():
            set_aside(store.root, path, why)
        done.append(described(store, file, tables[file.path], why).partition("; `")[0] + "; it is set aside")
    names = {tables[file.path] for file in gone}
    for name in names:
        pointer.files[name] = [file for file in pointer.files[name] if file not in gone]
    closed = _close(store, pointer, [file for file in gone if tables[file.path] == "spans"])
    if closed:
        done.append(f"{closed} hours are closed: some of their spans are lost, their rollups stay")
    if lost:
        pointer.ledger.add(-lost, {DAMAGED: lost})
    if gone or lost:
        pointer.days = [] if names.intersection(schema.DAILY.values()) else pointer.days
        store.sealed.publish(pointer)
    return done, bool(names - {"spans"})


def _close(store: SpanStore, pointer: Pointer, gone: list[File]) -> int:
    """Close hours that have lost spans: their rollups could not be made again; how many."""
    if not gone:
        return 0
    held = dict(store.sealed.scan(pointer, "spans").group_by("hour").len().collect().iter_rows())
    hours = [
        hour
        for hour in pointer.with_raw()
        if any(file.first <= hour <= file.last for file in gone)
        and held.get(hour, 0) != pointer.hours[hour].spans
    ]
    for hour in hours:
        pointer.hours[hour] = replace(pointer.hours[hour], has_raw=False)
    return len(hours)


def _mend_landing(store: SpanStore, path: Path, note: str, pointer: Pointer) -> int:
    """Put one thing in landing right; spans lost with it that the pointer counts."""
    if path.parent.name in (LEDGER, COUNTED) and path.exists():
        _write_entry(store, path)
        return 0
    if path.exists():
        set_aside(store.root, path, note)
    if not (path.suffix == ".parquet" and is_hour(path.parent.name)):
        return 0
    group, hour = path.parent.parent, int(path.parent.name)
    for kind in (LEDGER, COUNTED):
        about = group / kind / f"{path.stem}.json"
        with suppress(FileNotFoundError):
            entry = entry_of(about)
            if entry is None or hour not in entry["files"]:
                continue
            rows, _, _ = entry["files"].pop(hour)
            counted = kind == COUNTED or path.stem in pointer.ledger.batches
            if not counted:
                entry["accepted"] -= rows
                entry["rejected"][DAMAGED] = entry["rejected"].get(DAMAGED, 0) + rows
            _dump(about, entry)
            return rows if counted else 0
    return 0


def _write_entry(store: SpanStore, path: Path) -> None:
    """Make a ledger entry from the files of its batch."""
    files: dict[int, tuple[int, int, int]] = {}
    arrived_ns = path.stat().st_mtime_ns
    for file in path.parent.parent.glob(f"*/{path.stem}.parquet"):
        if is_hour(file.parent.name) and not broken(file, -1, -1):
            rows = int(pl.scan_parquet(file).select(pl.len()).collect().item())
            files[int(file.parent.name)] = (rows, *checksum_of(file))
    set_aside(store.root, path, "damaged ledger entry, made anew from its spans")
    accepted = sum(rows for rows, _, _ in files.values())
    _dump(path, {"accepted": accepted, "rejected": {}, "arrived_ns": arrived_ns, "files": files})


def _dump(path: Path, entry: dict[str, Any]) -> None:
    files = {str(hour): about for hour, about in entry["files"].items()}
    write_durably(path, checked.dump({**entry, "files": files}))

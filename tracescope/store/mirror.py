"""A mirror: a store in object storage, and the folder in which a machine holds what it needs of it.

    CURRENT.json, marks.json, mutes.json        as in a folder; replaced while they are what was read
    sealed/<table>/<file>.parquet               written before the pointer names them, never changed
    sealed/log/<n>.json                         publications, written after they count
    groups/<group>.json                         a group that landed: its files and its ledger entries
    landing/<group>/<hour>/<batch>.parquet      its files, written before it
    batches/<batch>/<group>                     empty: where a batch landed, written before that
    wide/<group>.json                           for groups of many batches: their names, instead of that
    seal.lease                                  who seals

The folder is a store's folder with ``MIRROR.json`` in it, which says of what.  The journal of a receiver lies
there alone: it is durable before a request is acknowledged, and leaves when its spans have landed in the
bucket.  All else in it is a copy, fetched when it is needed, and may be removed.

No object is renamed, and none is changed that something names.  A group has landed once its manifest is
there.  A sealing counts once the pointer is replaced; that fails when another one was published since it was
read, so two sealers cannot undo each other, however late one of them wakes up.  The lease only keeps them
from doing the same work: a sealer renews it, and one that has not been renewed for `LEASE_S`, as whoever
waits for it counts, is given up.  No clock is compared with another machine's.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Collection, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from tracescope.errors import StoreBusyError, StoreError, in_words, refused
from tracescope.store import checked, modes
from tracescope.store.bucket import AT_ONCE, Bucket, Listed, tag_of

LEDGER: Final = "ledger"
COUNTED: Final = "counted"
MIRROR: Final = "MIRROR.json"
POINTER: Final = "CURRENT.json"
FORMAT: Final = "FORMAT.json"
LEASE: Final = "seal.lease"
#: A lease that nobody renewed for so long is given up.
LEASE_S: Final = 60.0
#: Objects that nothing names are removed when they are so old; whoever writes them now names them sooner.
ORPHAN_S: Final = 24 * 3600.0
#: Copies of sealed files that a folder holds at most; those that were used least lately go first.
COPIES_BYTES: Final = 16 * 1024**3
#: How often a copy's use is noted.
_TOUCHED_S: Final = 3600.0
#: Looks at what changes meanwhile, before giving up.
_LOOKS: Final = 20
_GROUPS: Final = "groups"
_BATCHES: Final = "batches"
_WIDE: Final = "wide"
#: So many batches are looked up one by one, and have an object each that says where they landed.
_FEW: Final = AT_ONCE
_WAIT_S: Final = 1.0


class _Group(NamedTuple):
    """A group that landed: the state of its manifest, what that says, and when it was written."""

    version: str
    manifest: dict[str, Any]
    written_s: float


class Copies(Protocol):
    """What fetches sealed files before they are read."""

    def fetch(self, files: Mapping[str, int]) -> None:
        """Have copies of files, by path below ``sealed/`` with their sizes (-1: unknown)."""
        ...


class Mirror:
    """What a folder has of a store in object storage.

    Parameters
    ----------
    root
        The folder.
    bucket
        Where the store is.
    """

    def __init__(self, root: Path, bucket: Bucket) -> None:
        self.root = root
        self.bucket = bucket
        self.fetched_again = 0
        self._groups: dict[str, tuple[str, dict[str, Any]]] = {}
        self._wide: dict[str, frozenset[str]] = {}
        self._pointer: tuple[str, bytes] | None = None
        self._lock = threading.Lock()

    @classmethod
    def of(cls, root: Path) -> Mirror | None:
        """The mirror that a folder is; None for a folder that is a store itself.

        Raises
        ------
        StoreError
            What says of which bucket it is a mirror is damaged.
        """
        path = root / MIRROR
        try:
            url = str(json.loads(path.read_bytes())["url"])
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            if refused(error):
                raise
            raise StoreError(
                f"{path} is damaged: {in_words(error)}",
                "give the store's own URL with --store: it is written anew",
            ) from error
        return cls(root, Bucket(url))

    def open(self, form: bytes, empty: bytes, *, create: bool) -> None:
        """Find the store in the bucket, or make one there, and give the folder what openers look for.

        Parameters
        ----------
        form, empty
            The description of a store, and the pointer of an empty one.
        create
            Make a store where there is none.

        Raises
        ------
        StoreError
            There is none, or the bucket cannot keep two writers apart.
        """
        described = self.bucket.get(FORMAT)
        if described is None:
            if not create:
                raise StoreError(
                    f"no store at {self.bucket.url}",
                    "make one with `tracescope import FILE --store URL` or `tracescope serve --store URL`",
                )
            self._check_conditions()
            self.bucket.swap(POINTER, empty, None)
            self.bucket.create(FORMAT, form)
            described = self.bucket.get(FORMAT)
        for name in ("journal", "landing", "staging", "sealed", _GROUPS):
            modes.make_folder(self.root / name)
        if described is not None:
            self._copy(self.root / FORMAT, described.data)

    def _check_conditions(self) -> None:
        """Refuse storage that answers a conditional write as if it had no condition."""
        key = f"probe/{secrets.token_hex(8)}"
        first = self.bucket.create(key, b"1")
        kept_apart = (
            first is not None
            and self.bucket.create(key, b"2") is None
            and self.bucket.swap(key, b"3", first) is not None
            and self.bucket.swap(key, b"4", first) is None
        )
        self.bucket.delete([key])
        if not kept_apart:
            raise StoreError(
                f"{self.bucket.url} is storage without conditional writes, so two writers could undo each "
                "other's work",
                "use storage that refuses `If-None-Match` and `If-Match` where they do not hold",
            )

    # -- the pointer --

    def pointer(self) -> tuple[bytes, str]:
        """The pointer's text, and its version."""
        with self._lock:
            known = self._pointer
        found = self.bucket.get(POINTER, known=known[0] if known else None)
        if found is not None and known is not None and found.version == known[0]:
            return known[1], known[0]
        if found is None:
            raise StoreError(
                f"{self.bucket.url}/{POINTER} is missing",
                "restore it from the newest object below sealed/log, which is a copy of it",
            )
        with self._lock:
            self._pointer = found.version, found.data
        return found.data, found.version

    def stamp(self) -> str:
        """What changes whenever the pointer does."""
        return self.bucket.version(POINTER) or ""

    def publish(self, data: bytes, version: str | None, sequence: int) -> str:
        """Make this text the pointer; its version.

        Raises
        ------
        StoreBusyError
            Another one was published since this version was read.
        """
        made = self.bucket.swap(POINTER, data, version)
        if made is None:
            raise self._overtaken()
        with self._lock:
            self._pointer = made, data
        self.bucket.put(f"sealed/log/{sequence:020d}.json", data)
        return made

    def logged(self) -> Iterator[tuple[str, bytes]]:
        """Publications by their keys, newest first."""
        for key in sorted((each.key for each in self.bucket.list("sealed/log")), reverse=True):
            if (found := self.bucket.get(key)) is not None:
                yield key, found.data

    # -- sealed files --

    def fetch(self, files: Mapping[str, int]) -> None:
        """Have copies of sealed files, by path below ``sealed/`` with their sizes (-1: unknown).

        Raises
        ------
        FileNotFoundError
            One is gone.
        """
        now = time.time()
        pairs: list[tuple[str, Path]] = []
        for name, size in files.items():
            path = self.root / "sealed" / name
            try:
                about = path.stat()
            except FileNotFoundError:
                modes.make_folder(path.parent)
            else:
                if size < 0 or about.st_size == size:
                    if now - about.st_mtime > _TOUCHED_S:
                        with suppress(FileNotFoundError):
                            os.utime(path)
                    continue
                path.unlink(missing_ok=True)  # a copy is not what it should be; the object may be
            pairs.append((f"sealed/{name}", path))
        if pairs:
            self.bucket.fetch(pairs)
            self.tidy(COPIES_BYTES)

    def fetch_again(self, path: Path) -> None:
        """Have a new copy of an object, where there is one."""
        path.unlink(missing_ok=True)
        modes.make_folder(path.parent)
        with suppress(FileNotFoundError):
            self.bucket.fetch([(str(path.relative_to(self.root)), path)])
        self.fetched_again += 1

    def send(self, names: Collection[str]) -> None:
        """Write sealed files into the bucket."""
        self.bucket.send((self.root / "sealed" / name, f"sealed/{name}") for name in names)

    def vacuum(self, named: Collection[str], readers_s: float) -> int:
        """Remove objects that are old and that nothing names; returns how many.

        Parameters
        ----------
        named
            Paths below ``sealed/`` that count.
        readers_s
            Objects written within so many seconds stay, and at least those of `ORPHAN_S`.
        """
        kept = {f"sealed/{name}" for name in named}
        limit = time.time() - max(readers_s, ORPHAN_S)
        gone = [
            each.key
            for each in self.bucket.list("sealed")
            if each.key not in kept and each.key.endswith(".parquet") and each.written_s < limit
        ]
        groups = {
            each.key.removeprefix(f"{_GROUPS}/").removesuffix(".json") for each in self.bucket.list(_GROUPS)
        }
        gone += [
            each.key
            for each in self.bucket.list("landing")
            if each.key.split("/")[1] not in groups and each.written_s < limit
        ]
        gone += [
            each.key
            for kind in (_BATCHES, _WIDE)
            for each in self.bucket.list(kind)
            if each.key.rpartition("/")[2].removesuffix(".json") not in groups and each.written_s < limit
        ]
        self.bucket.delete(gone)
        return len(gone)

    def tidy(self, most_bytes: int) -> None:
        """Remove copies of sealed files beyond so many bytes, those that were used least lately first.

        What was used in the last hours stays: a question may be reading it.
        """
        found: list[tuple[float, int, Path]] = []
        for path in (self.root / "sealed").glob("*/*.parquet"):
            with suppress(FileNotFoundError):
                about = path.stat()
                found.append((about.st_mtime, about.st_size, path))
        excess = sum(size for _, size, _ in found) - most_bytes
        limit = time.time() - 2 * _TOUCHED_S
        for used_s, size, path in sorted(found):
            if excess <= 0 or used_s > limit:
                break
            path.unlink(missing_ok=True)
            excess -= size

    # -- landing --

    def share(self, folder: Path) -> str:
        """Land a staged group in the bucket; its name there, which no other has."""
        name = f"{folder.name}-{secrets.token_hex(4)}"
        files = [path for path in folder.rglob("*") if path.is_file()]
        entries = {path.stem: checked.load(path.read_bytes()) for path in files if path.parent.name == LEDGER}
        spans = [path for path in files if path.suffix == ".parquet"]
        names = {str(path.relative_to(folder)): path.stat().st_size for path in spans}
        self.bucket.send((path, f"landing/{name}/{path.relative_to(folder)}") for path in spans)
        manifest = checked.dump({"files": names, "entries": entries, "counted": []})
        if len(entries) <= _FEW:
            for batch in entries:
                self.bucket.put(f"{_BATCHES}/{batch}/{name}", b"")
        else:
            self.bucket.put(f"{_WIDE}/{name}.json", checked.dump({"batches": sorted(entries)}))
        if self.bucket.create(f"{_GROUPS}/{name}.json", manifest) is None:
            raise StoreError(f"{self.bucket.url} has a group {name} already", "try again")
        return name

    def sync(self) -> None:
        """Give ``landing/`` the groups that have landed, and take away those that are sealed."""
        with self._alone():
            for _ in range(_LOOKS):
                try:
                    self._sync()
                except FileNotFoundError:  # sealed while it was fetched
                    continue
                return
        raise StoreBusyError(f"{self.bucket.url} changes faster than it can be read", "try again")

    def _sync(self) -> None:
        there = self._manifests()
        gone = [folder for folder in (self.root / "landing").iterdir() if folder.name not in there]
        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(partial(shutil.rmtree, ignore_errors=True), gone))
            list(threads.map(self._have, there.keys(), there.values()))

    def _have(self, name: str, group: _Group) -> None:
        """Have copies of a group's files, as its manifest names them."""
        taken = self.root / _GROUPS / f"{name}.taken"
        if taken.exists() and taken.read_text() == group.version and self._holds(name, group.manifest):
            return
        self._gather(name, group.manifest, group.written_s)
        self._copy(taken, group.version.encode())

    def known(self, batches: Collection[str]) -> set[str]:
        """Those of some batches that have landed; a few cost as much however many groups there are."""
        if len(batches) > _FEW:
            landed = self.landed().values()
            return {name for name in batches if any(name in group.manifest["entries"] for group in landed)}
        wide = self._wide_groups()
        return {batch for batch in batches if self._has_landed(batch, wide)}

    def _wide_groups(self) -> dict[str, frozenset[str]]:
        """Batches of groups of many; what is in one never changes."""
        there = {each.key.split("/")[1].removesuffix(".json"): each.key for each in self.bucket.list(_WIDE)}
        found = {name: self._wide[name] for name in there if name in self._wide}
        for name in there.keys() - found.keys():
            if (blob := self.bucket.get(there[name])) is not None:
                found[name] = _batches_of(blob.data, there[name])
        self._wide = found
        return found

    def _has_landed(self, batch: str, wide: Mapping[str, frozenset[str]]) -> bool:
        groups = [each.key.split("/")[2] for each in self.bucket.list(f"{_BATCHES}/{batch}")]
        groups += [name for name, batches in wide.items() if batch in batches]
        return any(self.bucket.version(f"{_GROUPS}/{name}.json") is not None for name in groups)

    def landed(self) -> dict[str, _Group]:
        """Groups that have landed, by name; nothing of their spans is fetched."""
        with self._alone():
            return self._manifests()

    def _manifests(self) -> dict[str, _Group]:
        there = {_group_of(each.key): each for each in self.bucket.list(_GROUPS)}
        self._groups = {name: known for name, known in self._groups.items() if name in there}
        for path in (self.root / _GROUPS).iterdir():
            if path.stem not in there:
                path.unlink(missing_ok=True)
        with ThreadPoolExecutor(AT_ONCE) as threads:
            groups = threads.map(self._read_group, there.values())
            return {name: group for name, group in zip(there, groups, strict=True) if group is not None}

    def _read_group(self, listed: Listed) -> _Group | None:
        """A group as it was listed; None where it was sealed a moment ago."""
        name = _group_of(listed.key)
        known = self._noted(name)
        if known is None or tag_of(known[0]) != listed.tag:
            blob = self.bucket.get(listed.key)
            if blob is None:
                return None
            self._note(name, blob.version, blob.data)
            known = blob.version, _manifest_of(blob.data, listed.key)
        self._groups[name] = known
        return _Group(*known, listed.written_s)

    def _holds(self, name: str, manifest: dict[str, Any]) -> bool:
        """Whether copies of all files of a group are here."""
        folder = self.root / "landing" / name
        return all((folder / file).is_file() for file in manifest["files"])

    def _gather(self, name: str, manifest: dict[str, Any], written_s: float) -> None:
        """Make a group's folder what its manifest says."""
        files: dict[str, int] = manifest["files"]
        folder = self.root / "landing" / name
        aside = self.root / "staging" / f".{name}.{secrets.token_hex(4)}"
        target = folder if folder.exists() else aside
        try:
            targets = {key: target / key for key in files}
            for path in {path.parent for path in targets.values()}:
                modes.make_folder(path)
            new = {key: path for key, path in targets.items() if not path.exists()}
            self.bucket.fetch((f"landing/{name}/{key}", path) for key, path in new.items())
            for path in new.values():
                os.utime(path, (written_s, written_s))
            for path in target.glob("*/*.parquet"):
                if str(path.relative_to(target)) not in files:
                    path.unlink(missing_ok=True)
            counted = set(manifest["counted"])
            for kind in (LEDGER, COUNTED):
                shutil.rmtree(target / kind, ignore_errors=True)
            for batch, entry in manifest["entries"].items():
                kind = target / (COUNTED if batch in counted else LEDGER)
                modes.make_folder(kind)
                self._copy(kind / f"{batch}.json", checked.dump(entry))
            if target is aside:
                modes.make_folder(aside)
                aside.rename(folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def settle(self, sealed: Collection[Path], counted: Collection[str]) -> None:
        """Take files that are sealed, and batches that the pointer counts, out of the groups' manifests.

        Objects that are no longer named are removed.
        """
        gone = {str(path.relative_to(self.root / "landing")) for path in sealed}
        known = set(counted)
        with self._alone():
            mine = [name for name, seen in self._groups.items() if _settled(name, seen[1], gone, known)]
            with ThreadPoolExecutor(AT_ONCE) as threads:
                asked = [threads.submit(self._settle, name, gone, known) for name in mine]
                done = [each.result() for each in asked]
            # manifests before what they name
            self.bucket.delete([key for manifests, _ in done for key in manifests])
            self.bucket.delete([key for _, dropped in done for key in dropped])

    def _settle(self, name: str, gone: set[str], counted: set[str]) -> tuple[list[str], list[str]]:
        """Restate a group; its manifest where nothing is left of it, and what it names no more."""
        key = f"{_GROUPS}/{name}.json"
        for _ in range(_LOOKS):
            blob = self.bucket.get(key)
            if blob is None:
                return [], []
            manifest = _manifest_of(blob.data, key)
            made = _settled(name, manifest, gone, counted)
            if made is None:
                return [], []
            files, entries = made["files"], made["entries"]
            dropped = [f"landing/{name}/{each}" for each in manifest["files"] if each not in files]
            dropped += [f"{_BATCHES}/{each}/{name}" for each in manifest["entries"] if each not in entries]
            if not files and not entries:
                dropped += [f"{_WIDE}/{name}.json"] if len(manifest["entries"]) > _FEW else []
                return [key], dropped
            data = checked.dump(made)
            if (version := self.bucket.swap(key, data, blob.version)) is not None:
                self._note(name, version, data)
                self._copy(self.root / _GROUPS / f"{name}.taken", version.encode())
                return [], dropped
        raise StoreBusyError(f"{self.bucket.url}/{key} changes faster than it can be settled", "seal again")

    def restate(self, folder: Path) -> None:
        """Write a group's manifest anew, of what its folder holds."""
        name = folder.name
        entries: dict[str, Any] = {}
        counted: list[str] = []
        for kind in (LEDGER, COUNTED):
            for path in sorted((folder / kind).glob("*.json")):
                entries[path.stem] = checked.load(path.read_bytes())
                counted += [path.stem] if kind == COUNTED else []
        files = {str(path.relative_to(folder)): path.stat().st_size for path in folder.glob("*/*.parquet")}
        data = checked.dump({"files": files, "entries": entries, "counted": counted})
        with self._alone():
            self.bucket.put(f"{_GROUPS}/{name}.json", data)

    def _noted(self, name: str) -> tuple[str, dict[str, Any]] | None:
        """A group's version and manifest, as they were last seen."""
        if (known := self._groups.get(name)) is not None:
            return known
        try:
            said = checked.load((self.root / _GROUPS / f"{name}.json").read_bytes())
            return said["version"], said["manifest"]
        except (OSError, ValueError, KeyError):
            return None

    def _note(self, name: str, version: str, data: bytes) -> None:
        text = checked.dump({"version": version, "manifest": _manifest_of(data, name)})
        self._copy(self.root / _GROUPS / f"{name}.json", text)

    # -- small files --

    def refresh(self, name: str) -> str | None:
        """Have a copy of a small file as it is now; its version, None where there is none."""
        found = self.bucket.get(name)
        if found is None:
            (self.root / name).unlink(missing_ok=True)
            return None
        self._copy(self.root / name, found.data)
        return found.version

    def change(self, name: str, data: bytes, version: str | None) -> bool:
        """Replace a small file as long as it is of this version; whether it was."""
        if self.bucket.swap(name, data, version) is None:
            return False
        self._copy(self.root / name, data)
        return True

    def _copy(self, path: Path, data: bytes) -> None:
        aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        aside.write_bytes(data)
        modes.restrict(aside)
        aside.replace(path)

    @contextmanager
    def _alone(self) -> Generator[None]:
        """Let nobody else change the copies of landing; other processes may have this folder too."""
        path = self.root / "mirror.lock"
        handle = modes.open_file(path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    # -- the lease --

    @contextmanager
    def leased(self, *, wait: bool) -> Generator[None]:
        """Be the one who seals.

        Raises
        ------
        StoreBusyError
            Another machine is, and `wait` is false.
        """
        lease = _Lease(self, wait=wait)
        lease.begin()
        before = self.stamp()
        try:
            yield
        except FileNotFoundError as error:  # what had landed is sealed, and gone
            if self.stamp() == before:
                raise
            raise self._overtaken() from error
        finally:
            lease.end()

    def _overtaken(self) -> StoreBusyError:
        return StoreBusyError(
            f"another machine has sealed {self.bucket.url} meanwhile; nothing of this run counts",
            "run it again",
        )

    def abandoned(self, version: str) -> bool:
        """Whether a lease has been in one state for `LEASE_S`, as this folder has seen it."""
        path = self.root / "lease.seen"
        try:
            seen, at = path.read_text().split("\n")
            if seen == version:
                return not 0 <= time.time() - float(at) <= LEASE_S
        except (OSError, ValueError):
            pass
        self._copy(path, f"{version}\n{time.time()}".encode())
        return False


class _Lease:
    """A lease under way; a thread renews it until `end`."""

    def __init__(self, mirror: Mirror, *, wait: bool) -> None:
        self._mirror = mirror
        self._wait = wait
        self._owner = f"{socket.gethostname()} (process {os.getpid()})"
        self._version = ""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def begin(self) -> None:
        """Take it, or wait for it; raises StoreBusyError."""
        bucket = self._mirror.bucket
        while True:
            held = bucket.get(LEASE)
            owner = _owner_of(held.data) if held is not None else ""
            if held is None or not owner or self._mirror.abandoned(held.version):
                made = bucket.swap(LEASE, self._text(self._owner), held.version if held else None)
                if made is not None:
                    self._version = made
                    self._thread.start()
                    return
                continue
            if not self._wait:
                raise StoreBusyError(
                    f"{owner} is sealing {bucket.url}",
                    f"try again when it has finished, or {LEASE_S:.0f} s after it was stopped",
                )
            time.sleep(_WAIT_S)

    def _text(self, owner: str) -> bytes:
        return checked.dump({"owner": owner, "state": secrets.token_hex(8)})

    def _renew(self) -> None:
        while not self._over.wait(LEASE_S / 4):
            with suppress(StoreError):  # asked again soon; what counts is the pointer
                made = self._mirror.bucket.swap(LEASE, self._text(self._owner), self._version)
                if made is None:
                    return  # another machine has it: publishing will be refused
                self._version = made

    def end(self) -> None:
        """Give it back."""
        self._over.set()
        self._thread.join()
        with suppress(StoreError):  # it is given up when nobody renews it
            self._mirror.bucket.swap(LEASE, self._text(""), self._version)


def _group_of(key: str) -> str:
    """The group that a manifest is of."""
    return key.removeprefix(f"{_GROUPS}/").removesuffix(".json")


def _settled(
    name: str, manifest: Mapping[str, Any], gone: Collection[str], counted: Collection[str]
) -> dict[str, Any] | None:
    """A group's manifest less files that are sealed, and entries that count; None where nothing changes."""
    files = {each: size for each, size in manifest["files"].items() if f"{name}/{each}" not in gone}
    waiting = {Path(each).stem for each in files}
    entries = {
        batch: entry
        for batch, entry in manifest["entries"].items()
        if batch in waiting or batch not in counted
    }
    made = {
        "files": files,
        "entries": entries,
        "counted": sorted(batch for batch in entries if batch in counted),
    }
    return None if made == {key: manifest[key] for key in made} else made


def _batches_of(data: bytes, key: str) -> frozenset[str]:
    """The batches that a group of many is said to have.

    Raises
    ------
    StoreError
        It is damaged.
    """
    try:
        return frozenset(checked.load(data, required=True)["batches"])
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{key} is damaged: {error}", "remove it: what lands twice counts once all the same"
        ) from error


def _owner_of(data: bytes) -> str:
    try:
        return str(checked.load(data)["owner"])
    except (ValueError, KeyError):
        return ""


def _manifest_of(data: bytes, key: str) -> dict[str, Any]:
    """What a manifest says.

    Raises
    ------
    StoreError
        It is damaged.
    """
    try:
        found = checked.load(data, required=True)
        return {name: found[name] for name in ("files", "entries", "counted")}
    except (ValueError, KeyError) as error:
        raise StoreError(
            f"{key} is damaged: {in_words(error)}", "remove it: the spans that only it names are lost"
        ) from error

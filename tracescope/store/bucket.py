"""A bucket: the few things that a store asks of object storage.

Objects are whole or absent.  What several processes may change is changed on condition: made only where
there is none, replaced only as long as it is what was read.  Whoever loses such a race is told so; nothing
else keeps two writers apart.

How a URL names it, and where credentials come from: `tracescope.places.buckets`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tracescope.errors import StoreError
from tracescope.places.buckets import place_of

if TYPE_CHECKING:
    from obstore import GetOptions

#: Objects asked for at once.
AT_ONCE: Final = 16
#: Between an entity tag and a generation; no tag has one.
_GENERATION: Final = " "
_NO_BUCKET: Final = re.compile("NoSuchBucket|ContainerNotFound|bucket does not exist")


class Blob(NamedTuple):
    """An object's bytes, and what tells this state of it from every other: `tag_of` of it is in listings."""

    data: bytes
    version: str


class Listed(NamedTuple):
    """An object in a listing: its key, bytes, entity tag, and when it was written, in s since the epoch."""

    key: str
    size: int
    tag: str
    written_s: float


class Bucket:
    """Objects below a prefix of a bucket.

    Parameters
    ----------
    url
        ``s3://bucket/prefix``, ``gs://...`` or ``az://...``.

    Raises
    ------
    SourceError
        The URL names no bucket.
    UsageError
        The extra is not installed.
    """

    def __init__(self, url: str) -> None:
        self._place = place_of(url, given={}, environ=os.environ)
        self._store, _ = self._place.client(below=True)
        self.url = self._place.shown

    def get(self, key: str, *, known: str | None = None) -> Blob | None:
        """An object; None where there is none; without data where it still is of the version `known`."""
        import obstore
        from obstore.exceptions import NotModifiedError

        with self._asking(key):
            try:
                options: GetOptions = (
                    {"if_none_match": known.partition(_GENERATION)[0]} if known is not None else {}
                )
                found = obstore.get(self._store, key, options=options)
                return Blob(bytes(found.bytes()), _version(found.meta))
            except NotModifiedError:
                return Blob(b"", known or "")
            except FileNotFoundError as error:
                if _NO_BUCKET.search(str(error)):
                    raise
                return None

    def version(self, key: str) -> str | None:
        """What state an object is in; None where there is none."""
        import obstore

        with self._asking(key):
            try:
                return _version(obstore.head(self._store, key))
            except FileNotFoundError:
                return None

    def put(self, key: str, data: bytes | Path) -> None:
        """Write an object, whatever was there."""
        import obstore

        with self._asking(key):
            obstore.put(self._store, key, data)

    def create(self, key: str, data: bytes) -> str | None:
        """Write an object where there is none; its version, or None where there is one."""
        return self._put_if(key, data, "create")

    def swap(self, key: str, data: bytes, version: str | None) -> str | None:
        """Replace an object that is still in the state that was read (None: absent); its version then.

        None where it is in another.  An answer that got lost is found out by looking.
        """
        if version is None:
            return self.create(key, data)
        tag, _, generation = version.partition(_GENERATION)
        return self._put_if(key, data, {"e_tag": tag, **({"version": generation} if generation else {})})

    def _put_if(self, key: str, data: bytes, mode: Any) -> str | None:
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with self._asking(key):
            try:
                return _version(obstore.put(self._store, key, data, mode=mode, use_multipart=False))
            except (AlreadyExistsError, PreconditionError):
                pass
        there = self.get(key)  # a request that was sent again met what it had written itself
        return there.version if there is not None and there.data == data else None

    def list(self, prefix: str) -> Iterator[Listed]:
        """Objects whose keys begin with `prefix` and a slash."""
        import obstore

        with self._asking(prefix):
            for some in obstore.list(self._store, prefix=prefix):
                for each in some:
                    yield Listed(
                        each["path"], each["size"], tag_of(each["e_tag"]), each["last_modified"].timestamp()
                    )

    def delete(self, keys: Collection[str]) -> None:
        """Remove objects, there or not."""
        if self._place.deletes_many and len(keys) > 1:
            import obstore

            with self._asking(next(iter(keys))):
                obstore.delete(self._store, list(keys))
            return
        with ThreadPoolExecutor(AT_ONCE) as threads:
            for done in [threads.submit(self._delete, key) for key in keys]:
                done.result()

    def _delete(self, key: str) -> None:
        import obstore

        with suppress(FileNotFoundError), self._asking(key):
            obstore.delete(self._store, key)

    def fetch(self, targets: Iterable[tuple[str, Path]]) -> None:
        """Write objects into files, each aside and then into its place; those that are there are left.

        Raises
        ------
        FileNotFoundError
            An object is gone.
        """
        some = [(key, path) for key, path in targets if not path.exists()]
        if len(some) < 2:
            for key, path in some:
                self._fetch(key, path)
            return
        with ThreadPoolExecutor(AT_ONCE) as threads:
            for done in [threads.submit(self._fetch, key, path) for key, path in some]:
                done.result()

    def _fetch(self, key: str, path: Path) -> None:
        import secrets

        import obstore

        aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            with self._asking(key, absent=True), aside.open("xb") as file:
                for part in obstore.get(self._store, key).stream():
                    file.write(part)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)

    def send(self, files: Iterable[tuple[Path, str]]) -> None:
        """Write files as objects, some at once."""
        with ThreadPoolExecutor(AT_ONCE) as threads:
            for done in [threads.submit(self.put, key, path) for path, key in files]:
                done.result()

    @contextmanager
    def _asking(self, key: str, *, absent: bool = False) -> Generator[None]:
        """Say in words what the storage answers.

        Raises
        ------
        StoreError
            It refuses, or does not answer.
        """
        from obstore.exceptions import BaseError

        try:
            yield
        except FileNotFoundError as error:
            if _NO_BUCKET.search(str(error)):
                raise self._failed(error, key) from error
            if absent:
                raise FileNotFoundError(2, "gone from object storage", f"{self.url}/{key}") from error
            raise
        except BaseError as error:
            raise self._failed(error, key) from error

    def _failed(self, error: Exception, key: str) -> StoreError:
        right = "read, write, list and delete"
        return StoreError(*self._place.why(error, f"{self.url}/{key}", again="try again", right=right))


def tag_of(version: str | None) -> str:
    """The entity tag of a version, as listings give it: Azure quotes it only elsewhere."""
    return (version or "").partition(_GENERATION)[0].strip('"')


def _version(meta: Any) -> str:
    """Entity tag and generation; Google Cloud Storage replaces on condition of the latter."""
    generation = meta["version"]
    return (meta["e_tag"] or "") + (f"{_GENERATION}{generation}" if generation else "")

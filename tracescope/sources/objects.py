"""Objects of a bucket (`tracescope.places.buckets`) as parts.

A prefix is whole folders, or the key of one object.  Keys say little of when spans were (`between`):
exporters name folders in any time zone, and an object holds spans of several hours.  An object's name in the
ledger is its key and entity tag, so one that was written anew is read again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tracescope.errors import InputError
from tracescope.places.buckets import Place, place_of
from tracescope.sources import Between, Options, Part, Source, blocks, digest
from tracescope.sources.between import between_of, written_outside

_LISTED: Final = 1000
_PIECE_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Object:
    """An object as it was listed."""

    key: str
    size: int
    tag: str


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket or container, and the prefix that is read.

    Attributes
    ----------
    place
        Where it is.
    store, errors
        The client, and what it raises.
    blocks
        Only blocks of Tempo are read.
    between
        Spans outside are left out.
    """

    place: Place
    store: Any
    errors: tuple[type[Exception], ...]
    blocks: bool = False
    between: Between | None = None

    @property
    def name(self) -> str:
        """Its URL without secrets."""
        return self.place.shown

    @property
    def identity(self) -> str:
        """What tells it from other buckets."""
        return self.place.identity

    @property
    def prefix(self) -> str:
        """Of the keys that are read."""
        return self.place.prefix

    def parts(self, known: frozenset[str]) -> Iterator[Part]:
        """Its objects by key, less empty ones; blocks of Tempo as one part each."""
        none = self.blocks
        for found in self.objects():
            name = digest(found.key, found.tag)
            if blocks.is_data(found.key):
                none = False
                block = self.block(found)
                yield block.part(name, self.between)
            elif not (self.blocks or blocks.is_beside(found.key)):
                outside = written_outside(found.key, self.between)
                shown = self.shown(found.key)
                yield Part(name, shown, self.reader(found), found.size, between=self.between, outside=outside)
        if none:
            raise blocks.no_block(self.name)

    def shown(self, key: str) -> str:
        """An object as messages call it."""
        return f"{self.place.root}/{key}"

    def objects(self) -> Iterator[Object]:
        """Objects below the prefix, or the one that has it for a key; empty ones left out.

        Raises
        ------
        InputError
            The bucket cannot be listed, or there are none.
        """
        some = False
        try:
            for listed in self.store.list(self.prefix or None, chunk_size=_LISTED):
                for about in listed:
                    some = True
                    if about["size"]:
                        yield _object(about)
            if not some and self.prefix:
                yield _object(self.store.head(self.prefix))
                some = True
        except FileNotFoundError:
            some = False
        except self.errors as error:
            raise self.failed(error, self.name) from error
        if not some:
            raise InputError(
                f"{self.name}: no object there", "check the prefix: it is whole folders, or one object's key"
            )

    def reader(self, listed: Object) -> Callable[[], Iterable[bytes]]:
        """What reads an object, as it was listed, in pieces."""

        def read() -> Iterator[bytes]:
            try:
                answer = self.store.get(listed.key)
                if _object(answer.meta).tag != listed.tag:
                    raise InputError(
                        f"{self.shown(listed.key)}: it was written anew while it was read",
                        "run the import again",
                    )
                yield from answer.stream(min_chunk_size=_PIECE_BYTES)
            except FileNotFoundError as error:
                raise InputError(
                    f"{self.shown(listed.key)}: it was listed, and is gone", "run the import again"
                ) from error
            except self.errors as error:
                raise self.failed(error, self.shown(listed.key)) from error

        return read

    def block(self, data: Object) -> blocks.Block:
        """The block that an object is the data of; Parquet needs a file."""
        folder = data.key.removesuffix(blocks.DATA).rstrip("/")

        def meta() -> bytes | None:
            key = f"{folder}/{blocks.META}".lstrip("/")
            try:
                return bytes(self.store.get(key).bytes())
            except FileNotFoundError:
                return None
            except self.errors as error:
                raise self.failed(error, self.shown(key)) from error

        @contextmanager
        def local() -> Generator[Path]:
            with tempfile.NamedTemporaryFile(prefix="tracescope-", suffix=".parquet") as file:
                for piece in self.reader(data)():
                    file.write(piece)
                file.flush()
                yield Path(file.name)

        return blocks.Block(self.shown(folder), meta, local)

    def failed(self, error: Exception, place: str) -> InputError:
        """What went wrong with a place, without secrets."""
        return InputError(*self.place.why(error, place, again="run the import again", right="list and read"))


def _object(about: Mapping[str, Any]) -> Object:
    """An object as it is told of; Azure quotes entity tags in one place and not in the other."""
    tag = (about["e_tag"] or "").strip('"') or f"{about['size']} {about['last_modified'].isoformat()}"
    return Object(about["path"], about["size"], tag)


def open_source(url: str, options: Options) -> Source:
    """Open ``s3://``, ``gs://`` or ``az://``; see the module's docstring.

    Raises
    ------
    SourceError
        The URL names no bucket, or says what is not known.
    UsageError
        obstore is not installed.
    """
    return open_bucket(url, options)


def open_bucket(url: str, options: Options) -> Bucket:
    """The same, as what it is."""
    place = place_of(url, given=options.given, environ=options.environ)
    return Bucket(place, *place.client(), between=between_of(options, place.shown))

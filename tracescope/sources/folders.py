"""Folders of this machine, by URL: what a Collector's exporters wrote, read once each.

``file:///var/lib/otelcol/traces`` reads the files that ``tracescope import /var/lib/otelcol/traces`` reads,
and remembers them by path, size and time of change: a file that has grown is read again, and spans that
came before are repeated ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tracescope.errors import InputError, SourceError, in_words, refused, translated
from tracescope.ingest.files import files_below
from tracescope.sources import Between, Options, Part, Source, blocks, digest
from tracescope.sources.between import between_of, written_outside

_PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Folder:
    """A file, or a folder and what is below it; of that only blocks of Tempo where `blocks` says so."""

    name: str
    path: Path
    blocks: bool = False
    between: Between | None = None

    @property
    def identity(self) -> str:
        """Files of this machine."""
        return "file:"

    def _files(self) -> list[Path]:
        return [self.path] if self.path.is_file() else files_below(self.path) if self.path.is_dir() else []

    def parts(self, known: frozenset[str]) -> Iterator[Part]:
        """Its files by name, those aside that are hidden."""
        found, none = False, self.blocks
        for path in self._files():
            found = True
            if blocks.is_beside(str(path)) or (self.blocks and not blocks.is_data(str(path))):
                continue
            about = path.stat()
            name = digest(path.resolve(), about.st_size, about.st_mtime_ns)
            if blocks.is_data(str(path)):
                none = False
                yield _block(path).part(name, self.between)
            else:
                outside = written_outside(str(path), self.between)
                yield Part(
                    name, str(path), _reader(path), about.st_size, between=self.between, outside=outside
                )
        if not found:
            raise InputError(f"{self.path}: no such file", "check the path, and that the folder is not empty")
        if none:
            raise blocks.no_block(self.name)


def _reader(path: Path) -> Callable[[], Iterable[bytes]]:
    def read() -> Iterable[bytes]:
        try:
            with path.open("rb") as file:
                while piece := file.read(_PIECE_BYTES):
                    yield piece
        except OSError as error:
            known = translated(error) if refused(error) else None
            hint = known.hint if known is not None else "run the import again"
            raise InputError(f"{path}: {in_words(error)}", hint) from error

    return read


def _block(path: Path) -> blocks.Block:
    """The block that a file is the data of."""
    meta = path.with_name(blocks.META)

    def about() -> bytes | None:
        try:
            return meta.read_bytes()
        except FileNotFoundError:
            return None

    return blocks.Block(str(path.parent), about, lambda: nullcontext(path))


def open_source(url: str, options: Options) -> Source:
    """Open ``file:///path``; see `open_folder`."""
    return open_folder(url, options)


def open_folder(url: str, options: Options) -> Folder:
    """Open ``file:///path``.

    Raises
    ------
    SourceError
        It names another machine.
    """
    parsed = urlsplit(url)
    if parsed.netloc not in ("", "localhost") or not parsed.path:
        raise SourceError(f"file://{parsed.netloc} names no path of this machine", "write file:///path")
    return Folder(url, Path(unquote(parsed.path)), between=between_of(options, url))

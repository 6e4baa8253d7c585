"""Places that traces are read from by URL: each gives parts, and each part OTLP.

    s3://bucket/prefix ─► open_source ─► Source ─► Part, Part, Part ─► pieces of bytes ─► ingest ─► store
                                           │         │
                                           identity  name: together the batch that the ledger remembers

There is one way in: what a part holds is read as files are (`tracescope.ingest.files`, which tells by the
content what it is), or is ExportTraceServiceRequest messages.  Nothing is mapped a second time.

**A source.**  A module has ``open_source(url, options) -> Source`` and a line in `SCHEMES`.  Opening
reads the URL and finds the client library (`places.need`); it raises SourceError or UsageError, exit code 2,
with a masked URL and what to do.  It asks nobody else than the URL names: a cloud's metadata service only
where the URL is that cloud's and no credentials are given otherwise.

**Parts** come in a stable order, also those that were read before: their names decide that, and they are
not read again.  A part's name changes when its content does (an object's key and entity tag, a table's
slice and row count, a partition's range of offsets), and two parts of one content may have one name.
`Source.parts` is given the names of the source's parts that this store has: a broker goes on where they end.

**Errors.**  Whatever the client raises becomes InputError (SourceError where the URL is wrong) with the part
or masked URL, what was expected and what to do.  One error and the store is as it was: names are kept
together with the spans, when all are sealed, so the next run reads the same parts again.

**Memory.**  `Part.read` gives pieces of at most some MiB and holds no more than a few of them.  Parts of
little size are fetched some at once (`tracescope.sources.reading`), so `read` is called in threads.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol
from urllib.parse import parse_qsl

from tracescope.errors import UsageError
from tracescope.ingest.files import refuse_elsewhere
from tracescope.places import masked, scheme_of

if TYPE_CHECKING:
    from tracescope.ingest.documents import Form

#: The module here that opens URLs of a scheme.
SCHEMES: Final[Mapping[str, str]] = {
    "file": "folders",
    **dict.fromkeys(("s3", "s3a", "s3n", "gs", "gcs", "az", "azure"), "objects"),
    "tempo": "tempo",
    "clickhouse": "clickhouse",
    "clickhouses": "clickhouse",
    "kafka": "kafka",
    "kafkas": "kafka",
}
#: Options that say from when on and up to when a source is read.
BETWEEN: Final = {"since", "until"}


class Between(NamedTuple):
    """Spans that start in [first, end), nanoseconds of the epoch."""

    first_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Options:
    """What holds for every source.

    Attributes
    ----------
    form
        What files and objects hold, where that is known.
    workers, memory_bytes
        Requests under way at once, and what a source may hold of what it fetched.
    given
        Options by name; those of the URL's query win over them.
    environ
        Variables, as clients of the place read them.
    settings
        Options of URLs that begin so, as the setting `sources` has them; `open_source` adds them to `given`.
    """

    form: Form = "auto"
    workers: int = 2
    memory_bytes: int = 64 * 1024 * 1024
    given: Mapping[str, str] = field(default_factory=dict[str, str])
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    settings: Mapping[str, str] = field(default_factory=dict[str, str])

    def of(self, url: str) -> Options:
        """The same with what the settings say of a URL; of several that it begins with the longest wins."""
        plain = re.sub(r"^(tempo\+)?([^:]+):/(?!/)", r"\2://", url.strip(), flags=re.IGNORECASE)
        plain = re.split(r"[?#]", plain.removeprefix("tempo+"))[0] + "/"
        found: dict[str, str] = {}
        for begin in sorted(self.settings, key=len):
            if plain.startswith(f"{begin}/"):
                found |= dict(parse_qsl(self.settings[begin], keep_blank_values=True))
        return replace(self, given={**found, **self.given})


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a source that is read whole or not at all.

    Attributes
    ----------
    name
        What it is called in the ledger, within its source, of at most 160 of ``A-Za-z0-9._-``; see `digest`.
    shown
        What messages call it, without secrets.
    read
        Pieces of its bytes.  May be called again after an error; FileOfNoTracesError says that it is
        something else, which is skipped and named.
    size
        Bytes that `read` gives in all; 0 where that is unknown.
    messages
        Each piece is one ExportTraceServiceRequest in protobuf; one that is malformed is refused and counted
        as ``malformed_message``, and the others are read.  Else the pieces together are a file.
    between
        Spans outside are left out, and counted.
    outside
        None of its spans is between: it is not read, but counted.
    """

    name: str
    shown: str
    read: Callable[[], Iterable[bytes]]
    size: int = 0
    messages: bool = False
    between: Between | None = None
    outside: bool = False


class Source(Protocol):
    """A place that was opened.

    Attributes
    ----------
    name
        Its URL as messages show it, without secrets.
    identity
        What tells it from other places whoever asks and however: address, bucket or table or topic.  Not
        the prefix or the user: parts found by another prefix have the same names.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - the class says it

    @property
    def identity(self) -> str: ...  # noqa: D102 - the class says it

    def parts(self, known: frozenset[str]) -> Iterator[Part]:
        """Its parts in a stable order; those in `known` were read before and need not be among them.

        Raises
        ------
        InputError
            It cannot be reached or listed, or holds nothing where something was expected.
        """
        ...


def is_source(name: str | Path) -> bool:
    """Whether a name is a URL that can be read."""
    return _module_of(str(name)) is not None


def _module_of(url: str) -> str | None:
    scheme = scheme_of(url) or ""
    outer, _, inner = scheme.partition("+")
    return SCHEMES.get(outer) if not inner or inner in SCHEMES else None


def open_source(url: str, options: Options) -> Source:
    """Open a URL of `SCHEMES`; nothing of it is read yet.

    Raises
    ------
    SourceError
        The URL cannot be understood.
    UsageError
        A library that its kind needs is not installed.
    """
    module: Any = importlib.import_module(f"tracescope.sources.{_module_of(url)}")
    return module.open_source(url, options.of(url))


def resolve(names: Sequence[str | Path], options: Options) -> list[str | Path | Source]:
    """The same names, those that are URLs opened.

    Raises
    ------
    SourceError, UsageError
        A name is a URL that cannot be read; see `open_source`.
    """
    refuse_elsewhere([name for name in names if not is_source(name)])
    for name in names:
        if options.given.keys() & BETWEEN and not is_source(name):
            raise UsageError(
                f"{masked(str(name))} is read whole: --since and --until are of URLs",
                "leave them out, or name URLs alone; of a folder of this machine: file:///folder",
            )
    return [open_source(str(name), options) if is_source(name) else name for name in names]


def digest(*about: object) -> str:
    """A part's name of anything that tells it: 16 hexadecimal digits, because very many are remembered."""
    return hashlib.blake2b("\0".join(map(str, about)).encode(), digest_size=8).hexdigest()

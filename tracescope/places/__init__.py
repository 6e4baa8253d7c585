"""Where a store and traces may be: folders and files of this machine.

What names another place is known by its form and refused with what works instead: taken for a path, a URL
would become a folder called ``s3:``, and the store that is meant would seem empty.  Nothing is asked over
the network to know it.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any, Final, NamedTuple

from tracescope.errors import ConfigError, UsageError

#: A scheme of two letters or more, or several; `Path` makes one slash of two.  One letter is a drive.
_URL: Final = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]+(?::[A-Za-z][A-Za-z0-9+.-]*)*):(/+)(.*)", re.DOTALL)

#: The largest number of a port; gRPC takes a larger one for what is left of it beyond 65,536.
LAST_PORT: Final = 65_535
#: What addresses of our ports look like.
EXAMPLES: Final = {"grpc": "127.0.0.1:4317", "http": "127.0.0.1:4318", "web": "127.0.0.1:8317"}
#: Object storage that a store can be in.
STORES: Final = frozenset({"s3", "gs", "az"})
_COPY: Final = "copy the objects into a folder, and import that"
_EXPORT: Final = "export its spans as OTLP or Jaeger JSON lines, and import these"
#: What schemes name, and how their traces can be had.
_SCHEMES: Final = (
    (
        "s3 s3a s3n gs gcs az azure abfs abfss adl wasb wasbs r2 oss cos cosn obs b2 swift minio",
        "object storage",
        _COPY,
    ),
    ("hdfs viewfs webhdfs dbfs uc", "a lake's file system", _COPY),
    ("http https", "a web server", "fetch it first: `curl ADDRESS | tracescope import -`"),
    ("ftp ftps sftp ssh scp rsync", "another machine", "copy the files here, and import these"),
    ("clickhouse clickhouses clickhousedb chdb", "ClickHouse", _EXPORT),
    ("tempo", "Tempo", _EXPORT),
    ("jaeger zipkin", "a tracing backend", _EXPORT),
    (
        "kafka pulsar amqp nats",
        "a message broker",
        "read the topic with an OpenTelemetry Collector that sends OTLP to `tracescope serve`",
    ),
    (
        "grpc grpcs otlp",
        "a sender of OTLP",
        "let it send to `tracescope serve`, which receives",
    ),
    ("file", "a file, written as a URL", "give its path alone"),
)
_UNKNOWN: Final = "another place", "copy the traces into a file, and import that"


class Elsewhere(NamedTuple):
    """Why a place cannot be used, and what works instead."""

    message: str
    hint: str


def masked(url: str) -> str:
    """A URL without what may be secret: user, password, query and fragment."""
    found = _URL.match(url)
    if found is None:
        return url
    scheme, slashes, rest = found[1], found[2], found[3]
    *secret, rest = rest.rpartition("@") if "@" in rest else (rest,)
    shown = re.split(r"[?#]", rest, maxsplit=1)[0]
    return f"{scheme}:{slashes}{'***@' if secret else ''}{shown}"


def scheme_of(name: str) -> str | None:
    """The scheme of a URL in lower case, as ``clickhouse+http``; None for what is no URL."""
    found = _URL.match(name)
    return None if found is None else found[1].lower()


def _of(url: str) -> tuple[str, str] | None:
    """What a URL names and how its traces can be had; None for what is no URL."""
    found = _URL.match(url)
    if found is None:
        return None
    scheme = re.split(r"[:+]", found[1].lower())[0]
    return next(((what, way) for words, what, way in _SCHEMES if scheme in words.split()), _UNKNOWN)


def not_a_source(name: str) -> Elsewhere | None:
    """Why `import` cannot read what is named so; None for a path or ``-``."""
    found = _of(name)
    if found is None:
        return None
    what, way = found
    return Elsewhere(
        f"{masked(name)} is an address of {what}; import reads files, globs, folders and - (standard input)",
        way,
    )


def not_a_store(name: str) -> Elsewhere | None:
    """Why a store cannot be there; None for the folder of one, for an empty one and for none."""
    use = (
        "give the folder of a store, or a new one, and fill it with `tracescope import` or `tracescope serve`"
    )
    if scheme_of(name) in STORES:
        return None
    if (found := _of(name)) is not None:
        return Elsewhere(
            f"{masked(name)} is an address of {found[0]}; a store is a folder of this machine, or is in "
            "object storage: s3://bucket/prefix, gs://... or az://...",
            use,
        )
    path = Path(name)
    if path.is_file():
        with path.open("rb") as file:
            what = "a Parquet file" if file.read(4) == b"PAR1" else "a file"
        return Elsewhere(f"{name} is {what}; a store is a folder", use)
    if not path.is_dir() or (path / "FORMAT.json").exists() or (path / "MIRROR.json").exists():
        return None
    kinds = (
        ("_delta_log", "a Delta table"),
        ("metadata/*.metadata.json", "an Iceberg table"),
        ("data.parquet", "a block of Tempo"),
        ("*.parquet", "a folder of Parquet files"),
    )
    what = next((what for pattern, what in kinds if any(path.glob(pattern))), None)
    return None if what is None else Elsewhere(f"{name} is {what}, and no store", use)


def need(library: str, extra: str, url: str) -> Any:
    """Import a library that an extra brings.

    Raises
    ------
    UsageError
        It is not installed.
    """
    name = library.partition(".")[0]
    try:
        return importlib.import_module(library)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise UsageError(
            f"{url} is read through {name}, which is not installed",
            f"pip install 'tracescope[{extra}]'",
        ) from error


def host_and_port(address: str, flag: str, example: str) -> tuple[str, int]:
    """Host and port of an address to listen on; raises ConfigError, which names `flag` and an `example`."""
    host, _, port = address.rpartition(":")
    is_host = host.isascii() and host.isprintable() and " " not in host and bool(host.strip("[]:"))
    if not is_host or not (port.isascii() and port.isdigit()) or int(port[:6]) > LAST_PORT:
        raise ConfigError(
            f"{flag} {address!r}: expected HOST:PORT, with a port up to {LAST_PORT}", f"for example {example}"
        )
    return host, int(port)

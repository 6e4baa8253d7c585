"""A process that runs tasks for another: reads them from its standard input, and writes what they made.

    parent ─► size, pickled task ─► worker ─► size, "+", packed result   (or "-", what failed)

Start it with ``python -m tracescope.engine.worker``; it ends with its input.  Nothing of the parent's folder,
memory or open files is needed.
"""

from __future__ import annotations

import os
import pickle
import struct
import sys
from typing import IO, Final

SIZE: Final = struct.Struct(">Q")
MADE, FAILED = b"+", b"-"
#: What workers have in their environment: there are as many of them as there are processors.
ENVIRONMENT: Final = {"POLARS_MAX_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def prepare() -> None:
    """Let libraries that are loaded from now on take one thread."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def run_packed(task: bytes) -> bytes:
    """Run a pickled task; what it made, packed.  Whoever may send one runs programs here anyway."""
    prepare()
    from tracescope.engine.tasks import pack  # reads the environment as it is loaded

    return pack(pickle.loads(task).run())


def read_sized(stream: IO[bytes]) -> bytes | None:
    """The next piece of a stream; None at its end, wherever that is."""
    head = stream.read(SIZE.size)
    if len(head) < SIZE.size:
        return None
    (size,) = SIZE.unpack(head)
    data = stream.read(size)
    return data if len(data) == size else None


def write_sized(stream: IO[bytes], data: bytes) -> None:
    """Write a piece and let it go at once."""
    stream.write(SIZE.pack(len(data)) + data)
    stream.flush()


def main() -> None:
    """Run tasks until there are no more."""
    results = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what anybody prints is no result
    while (task := read_sized(sys.stdin.buffer)) is not None:
        try:
            write_sized(results, MADE + run_packed(task))
        except Exception as error:  # noqa: BLE001 - whatever it is, the parent says it
            write_sized(results, FAILED + line_of(error).encode())


def line_of(error: Exception) -> str:
    """One line on what failed."""
    from tracescope.errors import sentence

    return next(iter(sentence(error).splitlines()), "")


if __name__ == "__main__":
    main()

"""Compile, before it is asked for, what the commands call: once for a wheel, or into the user's cache.

    python -m tracescope.kernels.ship FOLDER        the wheel's build does this
    python -m tracescope.kernels.ship               what is needed last first, beside one that compiles

`entries.txt` lists every kernel that is called from Python, with the types of its arguments; what
those call is linked into their code.  A test holds the list against what the commands use.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from numba import types

from tracescope.errors import KernelError
from tracescope.kernels import cache

ENTRIES = Path(__file__).with_name("entries.txt")

# Compiled side by side; the two scanners take most of the time.
_PARTS = (
    ("wire.requests", "wire.keys"),
    ("plain_json", "outline"),
    ("plain_jaeger", "json_groups"),
    ("plain_zipkin", "zipkin_v1"),
    ("rollup", "tally", "sketch", "walk"),
    ("forest", "roles", "sidecars", "skew", "traces", "units"),
)

_TOKEN = re.compile(r"\w+|\[[:,1]*\]|[(),]")


class Entry(NamedTuple):
    """A kernel that is called from Python, and the types that it is called with."""

    module: str
    function: str
    signature: tuple[types.Type, ...]

    @property
    def kernel(self) -> Any:
        """The dispatcher of the function."""
        return getattr(importlib.import_module(f"tracescope.kernels.{self.module}"), self.function)

    def __str__(self) -> str:
        return f"{self.module}.{self.function}({', '.join(map(written, self.signature))})"


def entries(parts: Iterable[str] | None = None) -> Iterator[Entry]:
    """Give what is listed, of all modules or of some."""
    wanted = None if parts is None else set(parts)
    for line in ENTRIES.read_text("utf-8").splitlines():
        name, _, arguments = line.partition("(")
        module, _, function = name.rpartition(".")
        if wanted is None or module in wanted:
            yield Entry(module, function, _Reader(module, arguments).until(")"))


def entry_of(function: Callable[..., Any], signature: tuple[types.Type, ...]) -> Entry:
    """Name a kernel by its function."""
    return Entry(
        function.__module__.removeprefix("tracescope.kernels."), function.__qualname__, tuple(signature)
    )


def written(kind: types.Type) -> str:
    """Give a type as the list has it: `const int64[::1]` for an array that is only read."""
    if isinstance(kind, types.Array) and kind.layout == "C":
        return f"{'' if kind.mutable else 'const '}{kind.dtype}[{':,' * (kind.ndim - 1)}::1]"
    if isinstance(kind, types.BaseTuple):
        parts: Any = kind
        name = parts.instance_class.__name__ if isinstance(kind, types.BaseNamedTuple) else ""
        return f"{name}({', '.join(map(written, parts.types))})"
    if isinstance(kind, types.Integer | types.Float | types.Boolean):
        return str(kind)
    raise KernelError(f"a kernel is called from Python with {kind}: pass contiguous arrays and plain numbers")


class _Reader:
    """Reads types from a line."""

    def __init__(self, module: str, text: str) -> None:
        self._module = importlib.import_module(f"tracescope.kernels.{module}")
        self._tokens = _TOKEN.findall(text)

    def until(self, end: str) -> tuple[types.Type, ...]:
        found: list[types.Type] = []
        while self._tokens[0] != end:
            found.append(self._one())
            if self._tokens[0] == ",":
                self._tokens.pop(0)
        self._tokens.pop(0)
        return tuple(found)

    def _one(self) -> Any:
        word = self._tokens.pop(0)
        readonly = word == "const"
        if readonly:
            word = self._tokens.pop(0)
        if word == "(":
            return types.BaseTuple.from_types(self.until(")"))
        if self._tokens[0] == "(":
            self._tokens.pop(0)
            return types.BaseTuple.from_types(self.until(")"), getattr(self._module, word))
        kind = getattr(types, word)
        if self._tokens[0].startswith("["):
            return types.Array(kind, self._tokens.pop(0).count(",") + 1, "C", readonly=readonly)
        return kind


def compile_entries(parts: Iterable[str] | None = None) -> int:
    """Compile or load what is listed, for this processor; give how many."""
    count = 0
    for entry in entries(parts):
        entry.kernel.compile(entry.signature)
        count += 1
    return count


def _compile_last_first() -> None:
    """Compile into the user's cache in the other order than a command needs it."""
    for part in reversed(_PARTS):
        compile_entries(part)


def ship(folder: Path) -> None:
    """Compile what is listed for any processor of this kind, and keep it below `folder`.

    Raises
    ------
    KernelError
        The compiler failed; its output is on stderr.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / cache.BUILT_WITH).write_text(json.dumps(cache.versions(), indent=2) + "\n", "utf-8")
    listed = {entry.module for entry in entries()}
    parts = [sorted(listed.intersection(part)) for part in _PARTS]
    parts.append(sorted(listed.difference(*_PARTS)))
    environment = {**os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}

    def run(part: list[str]) -> int:
        command = [sys.executable, "-m", __spec__.name, str(folder), *part]
        return subprocess.run(command, env=environment, check=False).returncode

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        failed = [part for part, code in zip(parts, pool.map(run, filter(None, parts)), strict=False) if code]
    if failed:
        raise KernelError(f"cannot compile the kernels of {', '.join(failed[0])}")


def _ship_part(folder: Path, part: list[str]) -> None:
    """Copy what was compiled of some modules from the user's cache, under a key without the processor."""
    cache.SHIPPED = Path(os.devnull)  # Nothing is taken from a former shipment.
    for entry in entries(part):
        kernel = entry.kernel
        kernel.compile(entry.signature)
        compiled = kernel.overloads[entry.signature]
        kernel._cache.ship(folder, entry.signature, compiled)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        _ship_part(Path(sys.argv[1]), sys.argv[2:])
    elif len(sys.argv) == 2:
        ship(Path(sys.argv[1]))
    else:
        _compile_last_first()

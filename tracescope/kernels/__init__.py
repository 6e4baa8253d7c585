"""Arrays in, arrays out: the compiled code.  Numpy and numba only.

`kernel` is the one way to compile.  Compiled code is cached under a directory named after the
sources of this package, because numba notices an edit in the file of a function but not in that
of a function it calls.  Where no cache can be written the code still runs, compiled anew in each
process, with one warning.

Compiled code checks no bounds: every kernel checks what it reads and caps what it builds.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numba
from numba.extending import intrinsic

F = TypeVar("F", bound=Callable[..., Any])


class _Unseen(MetaPathFinder):
    """Finds no SciPy, for the thread that made it."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        """Nothing of its own; raises for what is to stay unseen."""
        if fullname.split(".", 1)[0] == "scipy" and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


def _load_arrays() -> None:
    """Load numba's arrays as where there is no SciPy.

    At its first kernel numba imports SciPy's linear algebra, to know whether it can compile dot
    products; no kernel here has one, and it takes a quarter of a second of every command.
    """
    unseen = _Unseen()
    sys.meta_path.insert(0, unseen)
    try:
        importlib.import_module("numba.np.arraymath")
    finally:
        sys.meta_path.remove(unseen)


_load_arrays()


def _cache_root() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(base) if base else Path.home() / ".cache"


def _sources_digest() -> str:
    digest = hashlib.blake2b(numba.__version__.encode(), digest_size=6)
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def _open_cache() -> bool:
    """Point numba's cache at a directory of our own; False when none can be written."""
    if os.environ.get("NUMBA_CACHE_DIR"):
        return True
    try:
        directory = _cache_root() / "tracescope" / f"kernels-{_sources_digest()}"
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except (OSError, RuntimeError) as error:
        warnings.warn(
            f"no kernel cache: {error}; kernels compile in every process "
            "(set XDG_CACHE_HOME or NUMBA_CACHE_DIR to a writable directory)",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    numba.config.CACHE_DIR = str(directory)  # pyright: ignore[reportPrivateImportUsage, reportAttributeAccessIssue]
    return True


CACHED = _open_cache()


def kernel(function: F) -> F:
    """Compile `function` without the interpreter and without the lock, cached where possible."""
    return numba.njit(cache=CACHED, nogil=True)(function)  # pyright: ignore[reportReturnType]


def inlined(function: F) -> F:
    """Compile a small function into its callers (`forceinline`; `inline="always"` is far slower)."""
    return numba.njit(cache=CACHED, nogil=True, _nrt=False, forceinline=True)(function)  # pyright: ignore


def bare(function: F) -> F:
    """Compile a function that allocates nothing, without counting references.

    Every array passed on or taken out of a tuple would have its owner's references counted, with
    atomic operations that cost more than a small function's work; what the caller keeps alive needs
    no counting.
    """
    return numba.njit(cache=CACHED, nogil=True, _nrt=False)(function)  # pyright: ignore


def primitive(function: Callable[..., Any]) -> Callable[..., Any]:
    """An operation given as the instructions it stands for; called with values from compiled code."""
    return intrinsic(function)  # pyright: ignore[reportReturnType]

"""Arrays in, arrays out: the compiled code.  Numpy and numba only.

`kernel` is the one way to compile.  Compiled code is kept by what it was compiled from (`cache`).

Compiled code checks no bounds: every kernel checks what it reads and caps what it builds.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Any, TypeVar

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from tracescope.kernels.cache import KernelCache

F = TypeVar("F", bound=Callable[..., Any])
Scalar = TypeVar("Scalar", bound=np.generic)


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


def _compiled(function: F, **options: Any) -> F:
    dispatcher: Any = numba.njit(nogil=True, **options)(function)
    dispatcher._cache = KernelCache(function)  # What `cache=True` does, with a cache of its own.
    template = dispatcher.get_call_template

    def template_of_wide(args: Sequence[types.Type], kws: Any) -> Any:
        return template([_wide(kind) for kind in args], kws)

    dispatcher.get_call_template = template_of_wide
    return dispatcher


def _wide(given: types.Type) -> types.Type:
    """Type that a kernel takes for an argument of another kernel: one of all signed integers.

    Numba would compile `f(0)`, `f(an_int32)` and `f(an_int64)` one by one, and a variable that is 0
    before a loop and a count after it twice.  The values are the same, and so is what is compiled of them.
    """
    kind: Any = types.unliteral(given)
    return types.int64 if kind in types.signed_domain else kind


def kernel(function: F) -> F:
    """Compile `function` without the interpreter and without the lock, cached where possible."""
    return _compiled(function)


def inlined(function: F) -> F:
    """Compile a small function into its callers (`forceinline`; `inline="always"` is far slower)."""
    return _compiled(function, _nrt=False, forceinline=True)


def bare(function: F) -> F:
    """Compile a function that allocates nothing, without counting references.

    Every array passed on or taken out of a tuple would have its owner's references counted, with
    atomic operations that cost more than a small function's work; what the caller keeps alive needs
    no counting.
    """
    return _compiled(function, _nrt=False)


def constant(column: NDArray[Scalar]) -> NDArray[Scalar]:
    """View of a column that kernels only read: contiguous, and not to be written.

    A column that may be written and one that may not are two types to the compiler, and whether
    polars gives the one or the other depends on how many pieces it is in.
    """
    view = np.ascontiguousarray(column).view()
    view.flags.writeable = False
    return view


def primitive(function: Callable[..., Any]) -> Callable[..., Any]:
    """An operation given as the instructions it stands for; called with values from compiled code."""
    return intrinsic(function)  # pyright: ignore[reportReturnType]

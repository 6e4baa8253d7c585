"""Kernels run as the Python that they are: a changed one need not be compiled, and no read goes beyond an array.

Compiled code checks no bounds.  Interpreted, what reads or writes outside an array raises `IndexError`: also
what `byte` and its siblings do, which stand for machine instructions and have a twin in Python here.  New arrays
hold numbers that fit nowhere, so that what reads one it has not written goes wrong in the same way each time.
All kernels are interpreted, or none: a compiled function called from Python gives its integers back without
their types.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np


def _bytes(data: Any, at: int, size: int) -> Any:
    """View of bytes of an array, rows one after another; raises for what is not all in it."""
    if at < 0 or size < 0 or at + size > data.size:
        raise IndexError(f"{size} bytes at {at} of {data.size}")
    return data.reshape(-1)[at : at + size]


def _byte(data: Any, at: int) -> np.int64:
    return np.int64(_bytes(data, at, 1)[0])


def _little_endian(data: Any, at: int) -> np.uint64:
    return np.uint64(int.from_bytes(_bytes(data, at, 8).tobytes(), "little"))


def _trailing_zeros(word: Any) -> np.uint64:
    if word == 0:
        raise ValueError("a word without bits has no lowest one")
    return np.uint64((int(word) & -int(word)).bit_length() - 1)


def _move(data: Any, at: int, size: int, out: Any, to: int) -> None:
    _bytes(out, to, size)[:] = _bytes(data, at, size).copy()


#: What the functions of `tracescope.kernels.octets` that stand for instructions do, by their names.
PRIMITIVES: dict[str, Callable[..., Any]] = {
    "byte": _byte,
    "little_endian": _little_endian,
    "trailing_zeros": _trailing_zeros,
    "_move": _move,
}


def _unwritten(shape: Any, dtype: Any = float) -> Any:
    """A new array, of numbers that are no offset and no time."""
    kind = np.dtype(dtype)
    out = np.zeros(shape, kind)
    if kind.kind in "iu":
        out.reshape(-1)[::2] = np.iinfo(kind).max // 3
        out.reshape(-1)[1::2] = np.iinfo(kind).min // 3
    elif kind.kind in "bf":
        out[...] = True
    return out


class _Numpy:
    """NumPy as kernels see it: new arrays are marked as unwritten."""

    empty = staticmethod(_unwritten)

    def __getattr__(self, name: str) -> Any:
        value = getattr(np, name)
        setattr(self, name, value)
        return value


_numpy = _Numpy()


def _plain(function: Callable[..., Any], **_options: Any) -> Callable[..., Any]:
    """A kernel as it is written."""
    function.__globals__["np"] = _numpy
    return function


def interpret() -> None:
    """Let kernels that are loaded from now on be Python; integers wrap around as compiled ones do."""
    kernels: Any = importlib.import_module("tracescope.kernels")
    kernels._compiled = _plain
    kernels.primitive = lambda function: PRIMITIVES[function.__name__]
    np.seterr(over="ignore")

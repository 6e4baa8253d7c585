"""Protobuf from columns: messages of many rows at once, level by level, no object for each.

    lists of attributes  ──► one column of attributes ──► KeyValue each ──► as many as each list had, together
                              (a row for each)                               (a row for each list again)

A `Column` is bytes of each row, anywhere in one array; rows put together to lists are not copied.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracescope.kernels.weave import BYTES, FIELDS, FIXED, NUMBER, weave

if TYPE_CHECKING:
    import polars as pl

Numbers = NDArray[np.int64]


class Column(NamedTuple):
    """Bytes of each of n rows.

    Attributes
    ----------
    data
        Where they are.
    begin, size
        Of each row ``(n,)``; a size of -1 for a row that has none.
    """

    data: NDArray[np.uint8]
    begin: Numbers
    size: Numbers

    def at(self, rows: NDArray[Any]) -> Column:
        """The same of some rows, in any order and number."""
        return Column(self.data, self.begin[rows], self.size[rows])

    def only(self, present: NDArray[np.bool_]) -> Column:
        """The same where `present`, and nothing elsewhere."""
        return Column(self.data, self.begin, np.where(present, self.size, -1))

    def filled(self) -> Column:
        """The same without what is empty, as proto3 leaves it out."""
        return self.only(self.size > 0)

    def spread(self, rows: NDArray[Any], count: int) -> Column:
        """A column of `count` rows with these at `rows`, and nothing elsewhere."""
        begin, size = np.zeros(count, np.int64), np.full(count, -1, np.int64)
        begin[rows], size[rows] = self.begin, self.size
        return Column(self.data, begin, size)

    def together(self, counts: Numbers) -> Column:
        """Rows that lie one after the other in `data` as lists of so many ``(m,)``."""
        ends = np.zeros(len(self.begin) + 1, np.int64)
        np.cumsum(np.maximum(self.size, 0), out=ends[1:])
        bounds = ends[bounds_of(counts)]
        return Column(self.data, bounds[:-1], np.diff(bounds))


class Field(NamedTuple):
    """A field of every row: its tag, what its values are, and those; numbers stand for their 64 bits."""

    tag: int
    kind: int
    first: Numbers
    size: Numbers
    data: NDArray[np.uint8]


_NO_BYTES = np.zeros(0, np.uint8)


def fields(column: Column) -> Field:
    """Fields that are complete already."""
    return Field(0, FIELDS, column.begin, column.size, column.data)


def sized(number: int, column: Column) -> Field:
    """A string, bytes or message."""
    return Field(number << 3 | 2, BYTES, column.begin, column.size, column.data)


def number(field: int, values: NDArray[Any], present: NDArray[np.bool_]) -> Field:
    """An integer, an enumeration or a truth value where `present`."""
    return Field(field << 3, NUMBER, _bits(values), np.where(present, 0, -1), _NO_BYTES)


def fixed(field: int, values: NDArray[Any], present: NDArray[np.bool_]) -> Field:
    """A fixed integer of 64 bits or a double where `present`."""
    return Field(field << 3 | 1, FIXED, _bits(values), np.where(present, 0, -1), _NO_BYTES)


def _bits(values: NDArray[Any]) -> Numbers:
    if values.dtype == np.float64 or values.dtype == np.uint64:
        return np.ascontiguousarray(values).view(np.int64)
    return values.astype(np.int64)


def messages(parts: Sequence[Field]) -> Column:
    """A message of each row, made of the fields that it has; they lie one after the other."""
    shifts = bounds_of(np.array([len(part.data) for part in parts]))[:-1]
    first = np.stack(
        [
            part.first + shift * (part.kind in (FIELDS, BYTES))
            for part, shift in zip(parts, shifts, strict=True)
        ]
    )
    size = np.stack([part.size for part in parts])
    columns = np.array([(part.tag, part.kind) for part in parts], np.int64)
    out, ends = weave(columns, first, size, np.concatenate([part.data for part in parts]))
    return Column(out, ends[:-1], np.diff(ends))


def bounds_of(counts: Numbers) -> Numbers:
    """Where each of some lists begins among the items of all, and the last ends ``(n + 1,)``."""
    bounds = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=bounds[1:])
    return bounds


def constant(text: str, rows: int) -> Column:
    """The same text in every row."""
    data = np.frombuffer(text.encode(), np.uint8)
    return Column(data, np.zeros(rows, np.int64), np.full(rows, len(data), np.int64))


class _ArrowArray(ctypes.Structure):
    """An array in Arrow's C data interface."""

    _fields_ = (
        ("length", ctypes.c_int64), ("null_count", ctypes.c_int64), ("offset", ctypes.c_int64),
        ("n_buffers", ctypes.c_int64), ("n_children", ctypes.c_int64),
        ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    )  # fmt: skip


def texts(series: pl.Series) -> Column:
    """Strings or binary values; one that is null is absent.

    Source: the Apache Arrow C data interface, and Arrow's columnar format for large binary arrays.
    """
    from arro3.core import Array, DataType

    rows = len(series)
    if not rows or series.null_count() == rows:
        return Column(_NO_BYTES, np.zeros(rows, np.int64), np.full(rows, -1, np.int64))
    _, capsule = Array.from_arrow(series.rechunk()).cast(DataType.large_binary()).__arrow_c_array__()
    address = ctypes.pythonapi.PyCapsule_GetPointer
    address.restype, address.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    array = _ArrowArray.from_address(address(capsule, b"arrow_array"))
    offsets = _view(array.buffers[1], (array.offset + rows + 1) * 8).view(np.int64)[array.offset :].copy()
    data = _view(array.buffers[2], int(offsets[-1])).copy()  # the capsule's goes with it
    size = np.diff(offsets)
    if series.null_count():
        size[series.is_null().to_numpy()] = -1
    return Column(data, offsets[:-1], size)


def _view(address: int, size: int) -> NDArray[np.uint8]:
    """Bytes at an address."""
    if not size:
        return _NO_BYTES
    return np.frombuffer(memoryview((ctypes.c_uint8 * size).from_address(address)), np.uint8)


def lists(series: pl.Series) -> tuple[Numbers, pl.Series]:
    """How many items each list has, none where it is null, and the items of all."""
    counts = series.list.len().fill_null(0).to_numpy().astype(np.int64)
    return counts, series.filter(series.list.len() > 0).explode()

"""The outline of JSON text: where documents end, and what stands in large ones.

A text is read in pieces.  Of every list and object a row is kept until it ends; the rows inside one that
turns out to be small are dropped then, so that what is left is small: a document, the lists and objects
that hold large ones, and their items.  Brackets are only counted: who reads a document checks it.
"""

# Inner kernels carry no annotations: their types are what the compiler infers from the arrays given.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from __future__ import annotations

import numpy as np

from tracescope.kernels import constant, kernel
from tracescope.kernels.json_text import BACKSLASH, CLOSE, CLOSE_LIST, OPEN, OPEN_LIST, QUOTE, dull
from tracescope.kernels.octets import byte, little_endian

#: Lists and objects in one another.
DEEPEST = 1000
#: Columns of a row: where it begins, where it ends, how deep it stands.
BEGIN, END, DEPTH = range(3)
#: What the state holds: depth, whether inside a string, whether after a backslash, rows.
_DEPTH, _STRING, _ESCAPE, _ROWS = range(4)
#: Why reading stopped: the text is at its end, a document is, the rows are full, something else stands here.
MORE, DOCUMENT, FULL, STRAY, TOO_DEEP = range(5)


@kernel
def _outline(text, at, end, base, small, state, rows, opened):
    depth, in_string, escaped, count = state[0], state[1], state[2], state[3]
    why = MORE
    while at < end:
        if in_string:
            if escaped:
                escaped = np.int64(0)
                at += 1
                continue
            if end - at >= 8:
                skipped = dull(little_endian(text, at))
                at += skipped
                if skipped == 8:
                    continue
            c = byte(text, at)
            at += 1
            if c == QUOTE:
                in_string = np.int64(0)
            elif c == BACKSLASH:
                escaped = np.int64(1)
            continue
        c = byte(text, at)
        if c == OPEN or c == OPEN_LIST:
            if count == len(rows):
                why = FULL
                break
            if depth == DEEPEST:
                why = TOO_DEEP
                break
            rows[count, BEGIN], rows[count, END], rows[count, DEPTH] = base + at, -1, depth
            opened[depth] = count
            count += 1
            depth += 1
        elif depth == 0:
            if c > 32:  # neither a space nor the separator of JSON text sequences
                why = STRAY
                break
        elif c == QUOTE:
            in_string = np.int64(1)
        elif c == CLOSE or c == CLOSE_LIST:
            depth -= 1
            row = opened[depth]
            rows[row, END] = base + at + 1
            if rows[row, END] - rows[row, BEGIN] < small:
                count = row + 1
            if depth == 0:
                at += 1
                why = DOCUMENT
                break
        at += 1
    state[0], state[1], state[2], state[3] = depth, in_string, escaped, count
    return at, why


class Outline:
    """The outline of one document after another.

    Attributes
    ----------
    rows ``(n, 3)``
        Begin, end and depth of what is left of the last document, in the order of their beginnings.
    """

    def __init__(self, small: int) -> None:
        self._small = np.int64(small)
        self._state = np.zeros(4, np.int64)
        self._rows = np.empty((1024, 3), np.int64)
        self._opened = np.empty(DEEPEST, np.int64)

    @property
    def rows(self) -> np.ndarray:
        """What is left of the document."""
        return self._rows[: self._state[_ROWS]]

    @property
    def inside(self) -> bool:
        """Whether a document has begun and not ended."""
        return bool(self._state[_DEPTH])

    def begin(self) -> None:
        """Forget the document that has ended."""
        self._state[:] = 0

    def read(self, text: np.ndarray, at: int, base: int) -> tuple[int, int]:
        """Read on from an offset to the end of the text or of a document.

        Parameters
        ----------
        text
            Bytes ``(n,)``.
        at, base
            Where to read on, and what offset of the document's source the text's first byte has.

        Returns
        -------
        tuple
            Offset after what was read, and why reading stopped.
        """
        if text.flags.writeable:
            text = constant(text)
        while True:
            at, why = _outline(
                text, np.int64(at), np.int64(len(text)), np.int64(base), self._small, self._state, self._rows,
                self._opened,
            )  # fmt: skip
            if why != FULL:
                return int(at), int(why)
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])

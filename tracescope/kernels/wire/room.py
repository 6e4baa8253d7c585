"""What one scan fills: rows, strings, combinations, kept bytes, and how far each is filled.

Sizes are bounds that no input can pass: kernels check no bounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]

#: Integer columns of a row.
(
    C_TRACE_HI, C_TRACE_LO, C_SPAN, C_PARENT, C_START, C_END, C_KIND, C_STATUS, C_THRESHOLD,
    C_RAW_END, C_HASH, C_LINKS_AT, C_LINKS, C_RESOURCE, C_NAME, C_SCOPE, C_COMBINATION,
) = range(17)  # fmt: skip
COLUMNS = 17

#: Why a span has no row; the first that holds counts.
FLAW_TRACE_ID, FLAW_SPAN_ID, FLAW_TIME, FLAW_FUTURE, FLAW_OLD, FLAW_LONG, FLAW_LARGE = range(7)
FLAWS = 7

#: Positions in ``Room.fields`` of a span's fields: offset and length of each, and its times.
(
    TRACE_AT, TRACE_SIZE, SPAN_AT, SPAN_SIZE, PARENT_AT, PARENT_SIZE, NAME_AT, NAME_SIZE, START, END,
) = range(10)  # fmt: skip
FIELDS = 10

#: More than a key's rank can be, and than any span makes of one.
RANKS, UNRANKED = 64, 2**30


class Room(NamedTuple):
    """Arrays that one scan fills; sizes are bounds that no input can pass.

    Attributes
    ----------
    window
        Some payloads, end to end: few enough to stay in a processor's cache while they are scanned.
    heap
        Distinct strings, end to end.
    rows, combinations
        ``(n, COLUMNS)``; ``(n, fields + 1)``: kind, then a code for each field.
    resource_codes, resource_end
        ``(r, fields)`` and ``(r,)``.
    strings, slots, combination_slots
        ``(m, 2)`` offset and length; hash tables of code plus one, 0 for empty.
    links
        ``(l, 24)``.
    raw, resource_raw
        Kept bytes of spans and of resources, end to end.
    best, codes
        Scratch ``(fields,)`` and ``(fields + 1,)``.
    fields
        Scratch ``(FIELDS,)``: where the fields of the span that is read stand.
    met, key_slots, key_bytes
        Attribute keys met, ``(KEYS, 8)``: K_*; hash table of their numbers, 0 for empty; their bytes end
        to end.
    filled
        ``(12 + FLAWS,)``: strings, combinations, links, ends of ``heap``, ``resource_raw`` and ``raw``, rows,
        resources, keys met, end of ``key_bytes``, ``slots`` in use less one, spans read; then
        spans with each flaw.
    """

    window: U8
    heap: U8
    rows: I64
    combinations: I32
    resource_codes: I32
    resource_end: I64
    strings: I64
    slots: I32
    combination_slots: I32
    links: U8
    raw: U8
    resource_raw: U8
    best: I64
    codes: I32
    fields: I64
    met: I32
    key_slots: I32
    key_bytes: U8
    filled: I64


#: Positions in ``Room.filled``.
(
    STRINGS, COMBINATIONS, LINKS, HEAP, RESOURCE_RAW, RAW, ROWS, RESOURCES, KEYS_MET, KEY_BYTES, MASK, SPANS,
) = range(12)  # fmt: skip
FLAWED = 12


@dataclass(frozen=True, slots=True)
class Scan:
    """Results of a scan.

    Attributes
    ----------
    rows
        ``(n, COLUMNS)`` int64, one row a span without a flaw, in wire order.
    flawed
        ``(FLAWS,)`` spans that have no row, by FLAW_*.
    combinations
        ``(c, fields + 1)`` int32: kind and the string codes (-1: absent) of attribute fields.
    resource_codes
        ``(r, fields)`` string codes of each resource's attributes.
    strings
        ``(m, 2)`` offset and length in ``heap`` of each distinct string.
    links
        ``(l, 24)`` bytes of every link, spans' links adjacent.
    raw, resource_raw, resource_end
        Kept bytes end to end; ``rows[:, C_RAW_END]`` and ``resource_end`` say where each ends.
    heap
        The bytes that strings point into.
    """

    rows: I64
    combinations: I32
    resource_codes: I32
    strings: I64
    links: U8
    raw: U8
    resource_raw: U8
    resource_end: I64
    heap: U8
    flawed: I64

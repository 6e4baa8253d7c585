"""Results of checking a request, kept until its segment is drained.

A request is inflated and scanned before it is acknowledged; the same scan serves the drain, which would
otherwise inflate and scan every byte a second time.  Scans of single requests become one here:

    request 1   strings a b c    rows .. code 0..2 ..   ─┐   strings a b c d
    request 2   strings b d      rows .. code 0..1 ..   ─┴►  rows .. 0..2 ..  .. 1 3 ..

The merged scan says what one scan of all requests in their order would say, which the tests hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tracescope.kernels import wire
from tracescope.kernels.wire import I32, I64, U8

#: More strings for each span than instrumentation sends: then those that no span names are looked for.
_STRINGS_A_SPAN: Final = 32


@dataclass(frozen=True, slots=True)
class Scanned:
    """One request's scan without the buffers it was built in.

    Attributes
    ----------
    arrived_ns
        When the request arrived.
    strings
        Its distinct strings, UTF-8, by code.
    rows, combinations, resource_codes, links, raw, resource_raw, resource_end, flawed
        As in `wire.Scan`; `raw` and `resource_raw` end with what was kept.
    """

    arrived_ns: int
    strings: tuple[bytes, ...]
    rows: I64
    combinations: I32
    resource_codes: I32
    links: U8
    raw: U8
    resource_raw: U8
    resource_end: I64
    flawed: I64

    @classmethod
    def of(cls, scan: wire.Scan, arrived_ns: int) -> Scanned:
        """Keep of a scan what outlives its room; the large arrays are shared, not copied."""
        if len(scan.strings) > _STRINGS_A_SPAN * (len(scan.rows) + _STRINGS_A_SPAN):
            scan = _with_named_strings(scan)
        text = scan.heap.tobytes()  # slices of bytes cost a third of slices of views
        begins, sizes = scan.strings[:, 0].tolist(), scan.strings[:, 1].tolist()
        kept = int(scan.rows[-1, wire.C_RAW_END]) if len(scan.rows) else 0
        about = int(scan.resource_end[-1]) if len(scan.resource_end) else 0
        return cls(
            arrived_ns=arrived_ns,
            strings=tuple([text[at : at + size] for at, size in zip(begins, sizes, strict=True)]),
            rows=scan.rows,
            combinations=scan.combinations.copy(),
            resource_codes=scan.resource_codes,
            links=scan.links.copy(),
            raw=scan.raw[:kept],
            resource_raw=scan.resource_raw[:about].copy(),
            resource_end=scan.resource_end,
            flawed=scan.flawed,
        )


def _with_named_strings(scan: wire.Scan) -> wire.Scan:
    """A scan less the strings that no span of it names: those of spans and resources that are not kept."""
    named = np.zeros(len(scan.strings) + 1, bool)  # the last stands for -1, no string
    rows = scan.rows.copy()
    for codes in (
        rows[:, wire.C_NAME],
        rows[:, wire.C_SCOPE],
        scan.combinations[:, 1:],
        scan.resource_codes,
    ):
        named[codes] = True
    numbers = np.where(named, np.cumsum(named) - 1, -1).astype(np.int32)
    numbers[-1] = -1
    for column in (wire.C_NAME, wire.C_SCOPE):
        rows[:, column] = numbers[rows[:, column]]
    combinations = scan.combinations.copy()
    combinations[:, 1:] = numbers[combinations[:, 1:]]
    return replace(
        scan,
        rows=rows,
        combinations=combinations,
        resource_codes=numbers[scan.resource_codes],
        strings=scan.strings[named[:-1]],
    )


def _starts(sizes: Sequence[int]) -> I64:
    """Where each of several pieces begins when they lie end to end."""
    return np.cumsum([0, *sizes[:-1]], dtype=np.int64)


class _Codes:
    """Every request's codes as codes of one dictionary; -1, which stands for no string, stays."""

    def __init__(self, requests: Sequence[Scanned]) -> None:
        numbers: dict[bytes, int] = {}
        table: list[int] = []
        for one in requests:
            table.append(-1)
            table += [numbers.setdefault(text, len(numbers)) for text in one.strings]
        self.strings = numbers
        self._table = np.array(table, np.int32)
        self._zeros = _starts([len(one.strings) + 1 for one in requests]) + 1

    def of(self, codes: NDArray[np.signedinteger[Any]], counts: Sequence[int]) -> I32:
        """Codes of all requests, `counts` rows of each."""
        zeros = np.repeat(self._zeros, counts)
        return self._table[codes + (zeros if codes.ndim == 1 else zeros[:, None])]


def merge(requests: Sequence[Scanned]) -> wire.Scan:
    """One scan of several requests.

    Parameters
    ----------
    requests
        At least one, in the order in which they were acknowledged.
    """
    codes = _Codes(requests)
    rows = np.concatenate([one.rows for one in requests])
    combinations = np.concatenate([one.combinations for one in requests])
    resource_codes = np.concatenate([one.resource_codes for one in requests])
    counts = [len(one.rows) for one in requests]
    combined = [len(one.combinations) for one in requests]
    resources = [len(one.resource_codes) for one in requests]
    for column in (wire.C_NAME, wire.C_SCOPE):
        rows[:, column] = codes.of(rows[:, column], counts)
    combinations[:, 1:] = codes.of(combinations[:, 1:], combined)
    for column, sizes in (
        (wire.C_COMBINATION, combined),
        (wire.C_RESOURCE, resources),
        (wire.C_RAW_END, [len(one.raw) for one in requests]),
        (wire.C_LINKS_AT, [len(one.links) for one in requests]),
    ):
        rows[:, column] += np.repeat(_starts(sizes), counts)
    distinct, which = _distinct(combinations)
    rows[:, wire.C_COMBINATION] = which[rows[:, wire.C_COMBINATION]]
    about = [len(one.resource_raw) for one in requests]
    ends = np.concatenate([one.resource_end for one in requests])
    ends += np.repeat(_starts(about), resources)
    sizes = np.fromiter(map(len, codes.strings), np.int64, len(codes.strings))
    return wire.Scan(
        rows=rows,
        combinations=distinct,
        resource_codes=codes.of(resource_codes, resources),
        strings=np.column_stack([np.cumsum(sizes) - sizes, sizes]),
        links=np.concatenate([one.links for one in requests]),
        raw=np.concatenate([one.raw for one in requests]),
        resource_raw=np.concatenate([one.resource_raw for one in requests]),
        resource_end=ends,
        flawed=np.sum([one.flawed for one in requests], axis=0),
        heap=np.frombuffer(b"".join(codes.strings), np.uint8),
    )


def _distinct(combinations: I32) -> tuple[I32, I64]:
    """Distinct rows, and which of them each row is."""
    packed = np.ascontiguousarray(combinations).view(np.dtype((np.void, 4 * combinations.shape[1])))
    _, first, which = np.unique(packed.ravel(), return_index=True, return_inverse=True)
    return combinations[first], which

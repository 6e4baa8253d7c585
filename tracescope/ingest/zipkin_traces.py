"""Traces of Zipkin records that are spread over a file, put together.

Services report their records on their own, so a file may hold client and server of one call far from each
other; which of them keeps their id shows only where both are seen.  Lists of lists are traces already.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from tracescope.ingest.sequence import CHUNK_BYTES, Text
from tracescope.kernels import plain_zipkin

#: Records are put together over so many bytes; what of a trace lies further apart is read by itself.
SPREAD_BYTES = 128 * 1024 * 1024


def together(texts: Iterator[Text]) -> Iterator[Text]:
    """The records of some documents as documents of whole traces."""
    held: list[tuple[Text, np.ndarray]] = []
    size = 0
    for text in texts:
        found = None if text.data.lstrip()[1:].lstrip()[:1] == b"[" else plain_zipkin.trace_ids(text.data)
        if found is None:
            yield text
            continue
        held.append((text, found))
        size += len(text.data)
        if size >= SPREAD_BYTES:
            yield from _by_trace(held)
            held, size = [], 0
    if len(held) == 1:
        yield held[0][0]
    elif held:
        yield from _by_trace(held)


def _by_trace(held: list[tuple[Text, np.ndarray]]) -> Iterator[Text]:
    """Documents of whole traces, in the order of their ids."""
    found = np.concatenate([ids for _, ids in held])
    where = np.repeat(np.arange(len(held)), [len(ids) for _, ids in held])
    order = np.lexsort((found[:, 1], found[:, 0]))
    found, where = found[order], where[order]
    new = np.any(found[1:, :2] != found[:-1, :2], axis=1)
    begins = np.concatenate([[0], np.flatnonzero(new) + 1, [len(found)]]).tolist()
    spots, sources = found[:, 2:].tolist(), where.tolist()
    traces: list[bytes] = []
    size, line = 0, 0
    for first, last in itertools.pairwise(begins):
        line = line or held[sources[first]][0].line
        records = [held[sources[k]][0].data[spots[k][0] : spots[k][1]] for k in range(first, last)]
        traces.append(b"[" + b",".join(records) + b"]")
        size += len(traces[-1])
        if size >= CHUNK_BYTES:
            yield Text(b"[" + b",".join(traces) + b"]", line)
            traces, size, line = [], 0, 0
    if traces:
        yield Text(b"[" + b",".join(traces) + b"]", line)

"""Journal to landing: each segment lands as one batch, named after it, exactly once.

    segment ─► decode ─► land (idempotent on its name) ─► delete segment

A crash between any two steps repeats the first ones, and landing a batch twice changes nothing.
"""

from __future__ import annotations

from pathlib import Path

from polars.exceptions import PolarsError

from tracescope.errors import MalformedOtlpError, StoreError
from tracescope.ingest.decode import Decoded, decode
from tracescope.ingest.inflate import GZIP_MAGIC, gunzip
from tracescope.store import SpanStore
from tracescope.store.journal import Record, batch_of, read

#: What one wire scan takes; the intake's limit is far below.
_LARGEST_BYTES = 2**29


def decode_records(records: list[Record]) -> Decoded:
    """Decode a segment's payloads.

    A payload that no longer decodes (a newer program acknowledged it, an older one reads it) is
    counted as ``malformed`` and does not hold the others up.
    """
    payloads = [_plain(record.payload) for record in records]
    arrived = [record.arrived_ns for record in records]
    lost = 0
    while True:
        try:
            decoded = decode(payloads, arrived)
        except MalformedOtlpError as error:
            del payloads[error.payload], arrived[error.payload]
            lost += 1
            continue
        rejected = {**decoded.rejected, "malformed": lost} if lost else decoded.rejected
        return Decoded(decoded.spans, rejected)


def _plain(payload: bytes) -> bytes:
    """A request as it was sent or, where that was compressed, inflated; the intake has set the limit."""
    if not payload.startswith(GZIP_MAGIC):
        return payload
    return gunzip(payload, _LARGEST_BYTES)


def drain(store: SpanStore, segments: list[Path]) -> int:
    """Land segments that nobody writes any more; returns spans landed.

    Parameters
    ----------
    store
        Where to.
    segments
        Oldest first; each is deleted once its spans have landed.

    Raises
    ------
    OSError, StoreError
        They cannot be written now; the segment stays.
    """
    landed = 0
    for segment in segments:
        records = list(read(segment))
        if records and not store.knows(batch_of(segment)):
            decoded = decode_records(records)
            try:
                store.land(
                    decoded.spans,
                    batch=batch_of(segment),
                    accepted=decoded.accepted,
                    rejected=decoded.rejected,
                    arrived_ns=max(record.arrived_ns for record in records),
                )
            except PolarsError as error:  # how polars says that there is no room
                raise StoreError(f"landing files cannot be written: {error}") from error
            landed += decoded.accepted
        segment.unlink()
    return landed

"""Journal to landing: each segment lands as one batch, named after it, exactly once.

    segment ─► decode ─► land (idempotent on its name) ─► delete segment

What the intake found when it checked the requests is used where the journal still has it; after a
restart, or when the drain is far behind, the segment's bytes are decoded anew, with the same result.
A crash between any two steps repeats the first ones, and landing a batch twice changes nothing.
"""

from __future__ import annotations

from pathlib import Path

from polars.exceptions import PolarsError

from tracescope.errors import MalformedOtlpError, StoreError
from tracescope.ingest.decode import Decoded, assemble, decode
from tracescope.ingest.inflate import GZIP_MAGIC, gunzip
from tracescope.ingest.scanned import Scanned, merge
from tracescope.store import SpanStore
from tracescope.store.journal import Journal, Record, batch_of, read

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


def drain(store: SpanStore, segments: list[Path], journal: Journal | None = None) -> int:
    """Land segments that nobody writes any more; returns spans landed.

    Parameters
    ----------
    store
        Where to.
    segments
        Oldest first; each is deleted once its spans have landed.
    journal
        What wrote them, if it is this process's: it may know more of them than their bytes.

    Raises
    ------
    OSError, StoreError
        They cannot be written now; the segment stays.
    """
    landed = 0
    for segment in segments:
        attached = None if journal is None else journal.attached_to(segment)
        if not store.knows(batch_of(segment)):
            found = _decoded(segment, attached)
            if found is not None:
                decoded, arrived_ns = found
                try:
                    store.land(
                        decoded.spans,
                        batch=batch_of(segment),
                        accepted=decoded.accepted,
                        rejected=decoded.rejected,
                        arrived_ns=arrived_ns,
                    )
                except PolarsError as error:  # how polars says that there is no room
                    raise StoreError(f"landing files cannot be written: {error}") from error
                landed += decoded.accepted
        segment.unlink()
    return landed


def _decoded(segment: Path, attached: list[object] | None) -> tuple[Decoded, int] | None:
    """A segment's spans and the latest arrival; None where it has no records."""
    scans = [thing for thing in attached or () if isinstance(thing, Scanned)]
    if attached and len(scans) == len(attached):
        return assemble(merge(scans)), max(one.arrived_ns for one in scans)
    records = list(read(segment))
    if not records:
        return None
    return decode_records(records), max(record.arrived_ns for record in records)

"""Journal to landing: segments land as batches, each named after its own, exactly once.

    segments ─► decode ─► land together (idempotent on their names) ─► delete segments

What the intake found when it checked the requests is used where the journal still has it; after a
restart, or when the drain is far behind, the segment's bytes are decoded anew, with the same result.
Segments that wait together become one landing file an hour: what a table costs however small it is, and
what a disk takes to make a file durable, is paid once for all.  They become visible by one rename, so a
crash between any two steps repeats the first ones, and landing a batch twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from polars.exceptions import PolarsError

from tracescope.conventions import keeping
from tracescope.conventions.keeping import Policy
from tracescope.errors import MalformedOtlpError, StoreError, in_words
from tracescope.ingest.decode import Decoded, assemble, scan
from tracescope.ingest.inflate import GZIP_MAGIC, gunzip
from tracescope.ingest.scanned import Scanned, merge
from tracescope.kernels import wire
from tracescope.store import SpanStore
from tracescope.store.journal import SEGMENT_BYTES, Journal, Record, batch_of, contents
from tracescope.store.quarantine import set_aside

#: Segments land together up to so many bytes of payloads, inflated: a table of them takes several times that.
GROUP_BYTES: Final = 4 * SEGMENT_BYTES
#: What one wire scan takes; the intake's limit is far below.
_LARGEST_BYTES = 2**29


def decode_records(records: list[Record], policy: Policy = keeping.DEFAULT) -> Decoded:
    """Decode a segment's payloads.

    A payload that no longer decodes (a newer program acknowledged it, an older one reads it) is
    counted as ``malformed`` and does not hold the others up.
    """
    found, lost = _scan(records, policy)
    return _count_malformed(assemble(found, policy), lost)


def _scan(records: list[Record], policy: Policy) -> tuple[wire.Scan, int]:
    """One scan of all payloads that can be decoded, and how many cannot."""
    payloads = [_plain(record.payload) for record in records]
    arrived = [record.arrived_ns for record in records]
    while True:
        try:
            return scan(payloads, arrived, policy), len(records) - len(payloads)
        except MalformedOtlpError as error:
            del payloads[error.payload], arrived[error.payload]


def _count_malformed(decoded: Decoded, malformed: int) -> Decoded:
    return Decoded(decoded.spans, {**decoded.rejected, "malformed": malformed}) if malformed else decoded


def _plain(payload: bytes) -> bytes:
    """A request as it was sent or, where that was compressed, inflated; the intake has set the limit."""
    if not payload.startswith(GZIP_MAGIC):
        return payload
    return gunzip(payload, _LARGEST_BYTES)


def together(segments: list[Path], journal: Journal[Scanned]) -> list[list[Path]]:
    """Neighbours that may land at once; one that another run left, so that its size is not known, alone."""
    groups: list[list[Path]] = []
    room = 0
    for segment in segments:
        size = journal.plain_bytes(segment)
        if size is None or size > room:
            groups.append([])
            room = GROUP_BYTES if size is not None else 0
        groups[-1].append(segment)
        room -= size or 0
    return groups


def drain(
    store: SpanStore,
    segments: list[Path],
    journal: Journal[Scanned] | None = None,
    *,
    policy: Policy = keeping.DEFAULT,
    damaged: Callable[[Path, int], None] = lambda _path, _requests: None,
) -> int:
    """Land segments that nobody writes any more, all or none; returns spans landed.

    Parameters
    ----------
    store
        Where to.
    segments
        Oldest first; each is deleted once its spans have landed.  One with damaged records is set aside
        instead, with a note, once those that can be read have.
    journal
        What wrote them, if it is this process's: it may know more of them than their bytes.
    policy
        Which attributes are kept, beside what is built in, of records that must be scanned anew.
    damaged
        Called with where a damaged segment lies now, and how many requests are lost with it.

    Raises
    ------
    OSError, StoreError
        They cannot be written now; the segments stay.
    """
    landed_before = store.known([batch_of(segment) for segment in segments])
    scans: list[Scanned] = []
    batches: list[str] = []
    broken: dict[Path, int] = {}
    malformed_payloads = 0
    for segment in segments:
        attached = None if journal is None else journal.attached_to(segment)
        known = batch_of(segment) in landed_before
        found, malformed, places = _scans_of(segment, attached, policy)
        if places:
            broken[segment] = places
        if found and not known:
            scans += found
            malformed_payloads += malformed
            batches.append(batch_of(segment))
    landed = _land(store, scans, malformed_payloads, batches, policy) if batches else 0
    for segment in segments:
        if segment in broken:
            told = f"{broken[segment]} acknowledged requests in it cannot be read; the rest has landed"
            damaged(set_aside(store.root, segment, told, lost_requests=broken[segment]), broken[segment])
        else:
            segment.unlink()
    return landed


def _scans_of(
    segment: Path, attached: list[Scanned] | None, policy: Policy
) -> tuple[list[Scanned], int, int]:
    """A segment's scans, in the order of its records, payloads that do not decode, and damaged places."""
    if attached:
        return attached, 0, 0
    held = contents(segment)
    if not held.records:
        return [], 0, held.damaged
    found, lost = _scan(held.records, policy)
    latest = max(record.arrived_ns for record in held.records)
    return [Scanned.of(found, latest)], lost, held.damaged


def _land(store: SpanStore, scans: list[Scanned], malformed: int, batches: list[str], policy: Policy) -> int:
    """Land what was scanned, together; spans accepted."""
    arrived_ns = max(one.arrived_ns for one in scans)
    decoded = _count_malformed(assemble(merge(scans), policy), malformed)
    try:
        store.land(
            decoded.spans,
            batch=batches[0],
            accepted=decoded.accepted,
            rejected=decoded.rejected,
            arrived_ns=arrived_ns,
            also=batches[1:],
        )
    except PolarsError as error:  # how polars says that there is no room
        raise StoreError(f"landing files cannot be written: {in_words(error)}", "free disk space") from error
    return decoded.accepted

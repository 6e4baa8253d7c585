"""The intake: one request's bytes in, a durable record in the journal behind, an answer by content.

    body ─► size limit ─► inflate, bounded ─► check the wire format ─► journal ─► fsync ─► answer

Both transports call it; neither knows the other.  The type of what it raises decides what they
send: `InputError` is the sender's fault and must not be sent again, `OverloadedError` asks to send
again later, `StoreError` means that nothing was kept.  A gzip body enters the journal as it came.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, Literal

from tracescope.conventions import keeping
from tracescope.conventions.keeping import Policy
from tracescope.errors import (
    InputError,
    OverloadedError,
    StoreError,
    TooLargeError,
    TracescopeError,
    in_words,
)
from tracescope.ingest.decode import judge, scan
from tracescope.ingest.inflate import GZIP_MAGIC, gunzip, unzstd
from tracescope.ingest.limits import Limits
from tracescope.ingest.meters import Meters
from tracescope.ingest.otlp_framing import stray_of
from tracescope.ingest.scanned import Scanned
from tracescope.kernels import wire
from tracescope.store.journal import Journal

Transport = Literal["grpc", "http", "kafka"]
Encoding = Literal["", "gzip", "zstd"]

MAX_REQUEST_BYTES: Final = 64 * 1024 * 1024
#: How long an answer waits for the disk.
FSYNC_DEADLINE_S: Final = 30.0
RETRY_AFTER_S: Final = 1.0
_LATER: Final = "send it again after a while; /readyz says how it stands"
#: An answer waits up to so long for a drain that is behind, so that senders find its pace.
PACE_S: Final = 0.25
_PACE_STEP_S: Final = 0.01
#: Requests up to this size, inflated, are checked on the event loop; larger ones would hold it up.
INLINE_BYTES: Final = 512 * 1024
#: ... of JSON, which may have to be read value by value.
INLINE_JSON_BYTES: Final = 64 * 1024
#: A span counts as so many bytes at least: what its row and its part of a table take is not in its bytes.
BYTES_A_SPAN: Final = 400


@dataclass(frozen=True, slots=True)
class _Checked:
    """A request that may be kept: what goes into the journal, what it weighs there, and what is in it."""

    record: bytes
    weight: int
    accepted: int
    rejected: dict[str, int]
    scanned: Scanned


@dataclass(slots=True)
class Intake:
    """Accepts requests until it is closed.

    Attributes
    ----------
    journal, meters
        Where bytes go, and what is counted.
    limits
        Of a request, as sent and inflated.
    max_in_flight_bytes
        Limit of all unanswered requests' bytes together.
    pressure
        Why nothing can be kept now; empty while it can.
    policy
        Which attributes are kept, beside what is built in.
    """

    journal: Journal[Scanned]
    meters: Meters = field(default_factory=Meters)
    limits: Limits = field(default_factory=Limits)
    max_in_flight_bytes: int = 2 * MAX_REQUEST_BYTES
    pressure: str = ""
    policy: Policy = keeping.DEFAULT
    _in_flight: int = 0
    _group: tuple[Future[None], asyncio.Future[None]] | None = None
    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2, "intake"))

    async def accept(
        self,
        transport: Transport,
        body: bytes,
        encoding: Encoding = "",
        to_protobuf: Callable[[bytes], bytes] | None = None,
    ) -> dict[str, int]:
        """Keep one export request; returns spans rejected by reason once the rest is durable.

        Parameters
        ----------
        transport
            For the counters.
        body, encoding
            As sent.  A gRPC body says by its first bytes whether it is compressed.
        to_protobuf
            Turns an inflated body into an ExportTraceServiceRequest, where it is none yet.

        Raises
        ------
        InputError
            The body is not OTLP, or too large.
        OverloadedError
            It cannot be kept now.
        StoreError
            The journal cannot be written.
        """
        begin = time.perf_counter()
        outcome = "cancelled"
        try:
            rejected = await self._accept(body, encoding, to_protobuf)
        except TooLargeError:
            outcome = "too_large"
            raise
        except InputError:
            outcome = "malformed"
            raise
        except OverloadedError:
            outcome = "overloaded"
            raise
        except StoreError:
            outcome = "not_stored"
            raise
        else:
            outcome = "partial" if rejected else "accepted"
            return rejected
        finally:
            self.meters.requests.labels(transport, outcome).inc()
            self.meters.request_bytes.labels(transport).inc(len(body))
            self.meters.answer.observe(time.perf_counter() - begin)

    async def _accept(
        self, body: bytes, encoding: Encoding, to_protobuf: Callable[[bytes], bytes] | None
    ) -> dict[str, int]:
        self.admit(len(body))
        arrived_ns = time.time_ns()
        self.hold(len(body))
        try:
            checked = self.check_small(body, encoding, to_protobuf, arrived_ns)
            if checked is None:
                loop = asyncio.get_running_loop()
                checked = await loop.run_in_executor(
                    self._threads, self.check_apart, body, encoding, to_protobuf, arrived_ns
                )
            if checked.accepted or checked.rejected:
                await self._keep(checked)
            self._count(checked.accepted, checked.rejected)
            return checked.rejected
        finally:
            self.hold(-len(body))

    def hold(self, size: int) -> None:
        """Count bytes of a request that is being read or worked on; negative when it is done."""
        self._in_flight += size

    def admit(self, size: int) -> None:
        """Refuse what cannot be kept, before it is read or worked on.

        Raises
        ------
        TooLargeError
            The request is beyond the limit, whatever happens.
        OverloadedError
            It may be sent again later.
        """
        if size > self.limits.request_bytes:
            raise TooLargeError(
                f"the request has {size} bytes; at most {self.limits.request_bytes} are taken",
                "send smaller batches, or raise --max-request-mb",
            )
        if self.journal.error is not None:
            raise OverloadedError(
                f"the journal cannot be written: {in_words(self.journal.error)}", RETRY_AFTER_S, _LATER
            )
        if self.pressure:
            raise OverloadedError(f"not accepting spans: {self.pressure}", RETRY_AFTER_S, _LATER)
        if self._in_flight and self._in_flight + size > self.max_in_flight_bytes:
            raise OverloadedError(
                f"not accepting spans: {self._in_flight} bytes of requests are in work", RETRY_AFTER_S, _LATER
            )

    def check_small(
        self, body: bytes, encoding: Encoding, to_protobuf: Callable[[bytes], bytes] | None, arrived_ns: int
    ) -> _Checked | None:
        """Check a request here and now; None for one that is large, whatever it says of its size."""
        most = INLINE_BYTES if to_protobuf is None else INLINE_JSON_BYTES
        if len(body) > most:
            return None
        try:
            plain = _inflated(body, encoding, most)
        except TooLargeError:
            return None
        return self._read(body, plain, encoding, to_protobuf, arrived_ns)

    def check_apart(
        self, body: bytes, encoding: Encoding, to_protobuf: Callable[[bytes], bytes] | None, arrived_ns: int
    ) -> _Checked:
        """`check`, whose errors let go of what was inflated: a traceback holds every frame's values."""
        try:
            return self.check(body, encoding, to_protobuf, arrived_ns)
        except TracescopeError as error:
            error.__context__ = None
            raise error.with_traceback(None) from None

    def check(
        self, body: bytes, encoding: Encoding, to_protobuf: Callable[[bytes], bytes] | None, arrived_ns: int
    ) -> _Checked:
        """Check a request, whatever its size."""
        plain = _inflated(body, encoding, self.limits.request_bytes)
        return self._read(body, plain, encoding, to_protobuf, arrived_ns)

    def _read(
        self,
        body: bytes,
        plain: bytes,
        encoding: Encoding,
        to_protobuf: Callable[[bytes], bytes] | None,
        arrived_ns: int,
    ) -> _Checked:
        """Read a request, as the drain will not need to."""
        record = plain if encoding == "zstd" else body
        if to_protobuf is not None:
            record = plain = to_protobuf(plain)
            self._refuse_larger(len(plain), self.limits.request_bytes, "bytes as protobuf")
        if len(plain) > self.limits.request_spans * wire.LEAST_SPAN:
            self._refuse_larger(wire.count_spans(plain), self.limits.request_spans, "spans")
        found = scan([plain], arrived_ns, self.policy)
        accepted, rejected = judge(found)
        if not accepted and (stray := stray_of(plain)):
            raise InputError(stray, "send an ExportTraceServiceRequest of OTLP")
        weight = max(len(plain), BYTES_A_SPAN * accepted)
        return _Checked(record, weight, accepted, rejected, Scanned.of(found, arrived_ns))

    @staticmethod
    def _refuse_larger(size: int, most: int, what: str) -> None:
        if size > most:
            raise TooLargeError(
                f"the request has {size} {what}; at most {most} are taken", "send smaller batches"
            )

    async def _keep(self, checked: _Checked) -> None:
        durable = self._on_loop(
            self.journal.append(checked.record, checked.scanned.arrived_ns, checked.weight, checked.scanned)
        )
        done, _ = await asyncio.wait((durable,), timeout=FSYNC_DEADLINE_S)
        if not done:
            raise StoreError(f"the disk did not answer within {FSYNC_DEADLINE_S:.0f} s", _LATER)
        durable.result()
        await self._keep_pace()

    async def _keep_pace(self) -> None:
        """Answer later while the journal outruns the drain, which would have to scan everything again.

        Never for long, and not at all when the drain stands still: that is told by the journal's lag.
        """
        begin = time.monotonic()
        while self.journal.outruns_drain and time.monotonic() - begin < PACE_S:
            await asyncio.sleep(_PACE_STEP_S)

    def _on_loop(self, kept: Future[None]) -> asyncio.Future[None]:
        """The event loop's end of the future that a group of requests shares: one wake-up for all of them."""
        if self._group is None or self._group[0] is not kept:
            self._group = kept, asyncio.wrap_future(kept)
        return self._group[1]

    def _count(self, accepted: int, rejected: dict[str, int]) -> None:
        self.meters.accepted.inc(accepted)
        for reason, count in rejected.items():
            self.meters.rejected.labels(reason).inc(count)

    @property
    def in_flight_bytes(self) -> int:
        """Bytes of unanswered requests, as sent."""
        return self._in_flight

    def close(self) -> None:
        """Let the threads go; what they have not begun is not begun."""
        self._threads.shutdown(cancel_futures=True)


def _inflated(body: bytes, encoding: Encoding, limit: int) -> bytes:
    if encoding == "gzip" or body.startswith(GZIP_MAGIC):
        return gunzip(body, limit)
    return unzstd(body, limit) if encoding == "zstd" else body


def explain(rejected: dict[str, int]) -> str:
    """One line about rejected spans, for ``partial_success``."""
    return ", ".join(f"{reason}: {count}" for reason, count in rejected.items())

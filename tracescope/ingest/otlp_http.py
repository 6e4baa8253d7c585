"""The OTLP HTTP receiver: ``POST /v1/traces``, protobuf and JSON on one port.

Errors are a `google.rpc.Status` in the request's own encoding.  200 acknowledges (with
``partial_success`` where spans were rejected), 400 and 413 must not be sent again, 503 may, after
``Retry-After``.  A body is read to the limit and not beyond, within a time and not longer.

Source: OpenTelemetry Protocol Specification 1.11, section OTLP/HTTP.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Generator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple

import grpc
import orjson
from google.rpc.status_pb2 import Status

from tracescope.errors import InputError, OverloadedError, StoreError, TooLargeError
from tracescope.ingest import documents, otlp_framing, otlp_json
from tracescope.ingest.access import Access
from tracescope.ingest.intake import RETRY_AFTER_S, Encoding, Intake, explain
from tracescope.ingest.limits import Limits
from tracescope.ingest.otlp_grpc import response
from tracescope.kernels import plain_json

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PATH: Final = "/v1/traces"
PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
_CLOSE: Final = ((b"connection", b"close"),)
#: How long the rest of a refused body is thrown away for, so that its sender reads the answer.
_DISCARD_S: Final = 2.0
_ENCODINGS: Final[dict[str, Encoding]] = {"": "", "identity": "", "gzip": "gzip", "zstd": "zstd"}


class _Answer(NamedTuple):
    """An HTTP answer that is not a success."""

    status: int
    code: grpc.StatusCode
    message: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


class _RefusedError(Exception):
    """Carries an `_Answer` out of the checks."""

    def __init__(self, answer: _Answer) -> None:
        super().__init__(answer.message)
        self.answer = answer


def transcode(text: bytes, most_values: int) -> bytes:
    """ExportTraceServiceRequest bytes of a JSON request.

    Parameters
    ----------
    text
        The request.
    most_values
        How many values it may have where they must be read one by one.

    Raises
    ------
    InputError
        The text is no JSON, no OTLP, or has no span but members that no request has.
    TooLargeError
        It has too many values.
    """
    written = plain_json.transcode(text)
    if written is not None and otlp_framing.holds_item(written):
        return written
    values = sum(map(text.count, (b",", b"[", b"{")))
    if values > most_values:
        raise TooLargeError(
            f"the request has about {values} JSON values; at most {most_values} are taken",
            "send smaller batches",
        )
    try:
        document: Any = otlp_json.parse(text)
        if written is None:
            written = _encoded(document)
        if not otlp_framing.holds_item(written):
            documents.refuse_strays(document)
    except otlp_json.Malformed as error:
        raise InputError(f"malformed OTLP JSON: {error.message}", error.hint) from error
    return written


def _encoded(document: Any) -> bytes:
    if isinstance(document, dict):
        return otlp_json.encode_request(document)  # pyright: ignore[reportUnknownArgumentType]
    about = documents.name_of(document)
    raise otlp_json.Malformed(f"{otlp_json.kind_of(document)}, not an object{about and f': {about}'}")


@dataclass(frozen=True, slots=True)
class Traces:
    """An ASGI application that answers `PATH` and hands every other request on."""

    intake: Intake
    access: Access
    limits: Limits
    otherwise: Callable[[Scope, Receive, Send], Awaitable[None]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"] not in (PATH, f"{PATH}/"):
            await self.otherwise(scope, receive, send)
            return
        headers = {name: value for name, value in scope["headers"]}  # noqa: C416 - the last one counts
        if (preflight := self.access.cors.preflight(scope["method"], headers)) is not None:
            await send({"type": "http.response.start", "status": 204, "headers": list(preflight)})
            await send({"type": "http.response.body", "body": b""})
            return
        shared = self.access.cors.answer(headers)
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")
        try:
            with self._counted():
                body, encoding = await self._read(scope, kind, headers, receive)
            rejected = await self.intake.accept("http", body, encoding, self._to_protobuf(kind))
        except _RefusedError as refused:
            answer = refused.answer
        except TooLargeError as error:
            await self._discard(receive)
            answer = _Answer(413, grpc.StatusCode.RESOURCE_EXHAUSTED, str(error), _CLOSE)
        except InputError as error:
            answer = _Answer(400, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except OverloadedError as error:
            answer = _later(str(error), error.retry_after_s)
        except StoreError as error:
            answer = _later(f"not stored, send again: {error}", RETRY_AFTER_S)
        else:
            await _reply(send, 200, kind, success(rejected, kind), shared)
            return
        refusal = failure(answer.code, answer.message, kind)
        await _reply(send, answer.status, kind, refusal, (*answer.headers, *shared))

    def _to_protobuf(self, kind: str) -> Callable[[bytes], bytes] | None:
        return partial(transcode, most_values=self.limits.json_values) if kind == JSON else None

    @contextmanager
    def _counted(self) -> Generator[None]:
        """Count a request that is refused before it has been read; those that were read count themselves."""
        outcome = None
        try:
            yield
        except _RefusedError as refused:
            outcome = "unauthenticated" if refused.answer.status in (401, 429) else "refused"
            raise
        except TooLargeError:
            outcome = "too_large"
            raise
        except OverloadedError:
            outcome = "overloaded"
            raise
        finally:
            if outcome is not None:
                self.intake.meters.requests.labels("http", outcome).inc()

    async def _read(
        self, scope: Scope, kind: str, headers: Mapping[bytes, bytes], receive: Receive
    ) -> tuple[bytes, Encoding]:
        """The body as sent, and its encoding; raises what must be answered instead."""
        size = sum(len(name) + len(value) for name, value in headers.items())
        if size > self.limits.header_bytes:
            message = f"the headers have {size} bytes; at most {self.limits.header_bytes} are taken"
            raise _RefusedError(_Answer(431, grpc.StatusCode.RESOURCE_EXHAUSTED, message, _CLOSE))
        method, client = scope["method"], (scope.get("client") or ("",))[0]
        if method != "POST":
            raise _RefusedError(
                _Answer(
                    405,
                    grpc.StatusCode.UNIMPLEMENTED,
                    f"{PATH} takes POST, not {method}",
                    ((b"allow", b"POST"),),
                )
            )
        if problem := self.access.problem(headers.get(b"authorization"), client):
            code = grpc.StatusCode.UNAUTHENTICATED
            if problem.wait_s:
                later = (b"retry-after", str(problem.wait_s).encode())
                raise _RefusedError(_Answer(429, code, problem.sentence, (later,)))
            raise _RefusedError(_Answer(401, code, problem.sentence, ((b"www-authenticate", b"Bearer"),)))
        if kind not in (PROTOBUF, JSON):
            raise _RefusedError(_unsupported(f"content-type is {kind!r}, neither {PROTOBUF} nor {JSON}"))
        given = headers.get(b"content-encoding", b"").strip().lower().decode("latin-1")
        if given not in _ENCODINGS:
            raise _RefusedError(
                _unsupported(f"content-encoding is {given!r}, neither gzip nor zstd nor none")
            )
        length = headers.get(b"content-length", b"0")
        self.intake.admit(int(length) if length.isdigit() else 0)
        try:
            async with asyncio.timeout(self.limits.slow_client_s):
                return await self._body(receive), _ENCODINGS[given]
        except TimeoutError as error:
            message = f"the body took longer than {self.limits.slow_client_s} s"
            answer = _Answer(408, grpc.StatusCode.DEADLINE_EXCEEDED, message, _CLOSE)
            raise _RefusedError(answer) from error

    async def _discard(self, receive: Receive) -> None:
        """Throw the rest of a body away, for a while: closed under its feet, a sender sees no answer."""
        left = 2 * self.limits.request_bytes
        try:
            async with asyncio.timeout(_DISCARD_S):
                while left > 0:
                    message = await receive()
                    left -= len(message.get("body", b""))
                    if message["type"] == "http.disconnect" or not message.get("more_body", False):
                        return
        except TimeoutError:
            return

    async def _body(self, receive: Receive) -> bytes:
        """Read the body, never more than the limit; what is being read counts as in flight."""
        pieces: list[bytes] = []
        size = 0
        try:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _RefusedError(_Answer(400, grpc.StatusCode.CANCELLED, "the client went away"))
                piece: bytes = message.get("body", b"")
                pieces.append(piece)
                size += len(piece)
                self.intake.hold(len(piece))
                if size > self.limits.request_bytes:
                    raise TooLargeError(
                        f"the request has more than {self.limits.request_bytes} bytes",
                        "send smaller batches, or raise --max-request-mb",
                    )
                if not message.get("more_body", False):
                    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        finally:
            self.intake.hold(-size)


def _later(message: str, retry_after_s: float) -> _Answer:
    after = str(max(1, math.ceil(retry_after_s))).encode()
    return _Answer(503, grpc.StatusCode.UNAVAILABLE, message, ((b"retry-after", after),))


def _unsupported(message: str) -> _Answer:
    return _Answer(415, grpc.StatusCode.INVALID_ARGUMENT, message)


def success(rejected: dict[str, int], kind: str) -> bytes:
    """An ExportTraceServiceResponse in the request's encoding."""
    if kind != JSON:
        return response(rejected)
    if not rejected:
        return b"{}"
    # 64-bit integers are strings in protobuf's JSON
    count = str(sum(rejected.values()))
    return orjson.dumps({"partialSuccess": {"rejectedSpans": count, "errorMessage": explain(rejected)}})


def failure(code: grpc.StatusCode, message: str, kind: str) -> bytes:
    """A Status in the request's encoding; protobuf where that is unknown."""
    number = code.value[0]
    if kind == JSON:
        return orjson.dumps({"code": number, "message": message})
    return Status(code=number, message=message).SerializeToString()


async def _reply(
    send: Send, status: int, kind: str, body: bytes, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    described = JSON if kind == JSON else PROTOBUF
    start = [(b"content-type", described.encode()), (b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})

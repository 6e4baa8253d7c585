"""Byte kernels between fences: every array ends where a page begins that nobody may touch.

    |....canary....|--------- array ---------|XXXXXXXX no access XXXXXXXX|
                                             ^ the end of a page

Compiled code checks no bounds, so a read or a write past an array's end would mostly go unnoticed.  Here it
ends the process with SIGSEGV; a write before an array's begin spoils its canary.  Run as a program, in a
process of its own:

    python tests/guarded.py wire|json|jaeger|zipkin|zipkin-v1|reach COUNT NOTE

Scans COUNT damaged documents.  NOTE is a file that holds the number and the bytes of the document in hand,
for whoever finds the process dead.  ``reach`` reads one byte too far, to show that the fence stands.
"""

from __future__ import annotations

import ctypes
import mmap
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tracescope.errors import MalformedOtlpError
from tracescope.ingest import decode
from tracescope.ingest.otlp_json import transcode_any
from tracescope.kernels import (
    json_groups,
    json_text,
    kernel,
    plain_jaeger,
    plain_json,
    plain_zipkin,
    zipkin_v1,
)
from tracescope.kernels.wire import keys, requests

PAGE = mmap.PAGESIZE
CANARY = 0xA5
#: Bytes before an array that are looked at, and that one fence has room for.
BEFORE, ROOM = 64, 2 << 20
ARRIVED_NS = 1_790_000_000 * 10**9

_protect = ctypes.CDLL(None, use_errno=True).mprotect
_protect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int


class Fence:
    """Memory whose last page cannot be touched; holds one array at a time, right before that page."""

    def __init__(self) -> None:
        self.map = mmap.mmap(-1, ROOM + PAGE)
        self.bytes = np.frombuffer(self.map, np.uint8)[:ROOM]
        if _protect(self.bytes.ctypes.data + ROOM, PAGE, 0):  # 0 is PROT_NONE
            raise OSError(ctypes.get_errno(), "mprotect")
        self.begin = ROOM

    def array(self, shape: Any, dtype: Any, fill: int | None) -> np.ndarray:
        """An array that ends at the fence; its bytes are noise where `fill` is None."""
        made = np.dtype(dtype)
        size = int(np.prod(shape)) * made.itemsize
        self.begin = ROOM - size
        assert self.begin >= BEFORE, f"{size} bytes behind a fence for {ROOM}"
        self.bytes[self.begin - BEFORE : self.begin] = CANARY
        whole = self.bytes[self.begin :].view(made).reshape(shape)
        if fill is None:
            self.bytes[self.begin :] = 0xFF
        else:
            whole[...] = fill
        return whole

    def check(self) -> None:
        """Nothing was written before the array."""
        if (self.bytes[max(self.begin - BEFORE, 0) : self.begin] != CANARY).any():
            raise AssertionError("a kernel wrote before the begin of its array")


class Fences:
    """Numpy, but for the arrays that a scan makes: the first, second, ... of each scan has its own fence."""

    def __init__(self) -> None:
        self.all: list[Fence] = []
        self.next = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def _array(self, shape: Any, dtype: Any, fill: int | None) -> np.ndarray:
        if self.next == len(self.all):
            self.all.append(Fence())
        self.next += 1
        return self.all[self.next - 1].array(shape, dtype, fill)

    def empty(self, shape: Any, dtype: Any) -> np.ndarray:
        return self._array(shape, dtype, None)

    def zeros(self, shape: Any, dtype: Any) -> np.ndarray:
        return self._array(shape, dtype, 0)

    def full(self, shape: Any, value: int, dtype: Any) -> np.ndarray:
        return self._array(shape, dtype, value)

    def copied(self, data: bytes, dtype: Any) -> np.ndarray:
        """Bytes behind a fence, as `numpy.frombuffer` gives them."""
        found = self._array(len(data), dtype, None)
        found[:] = np.frombuffer(data, dtype)
        found.flags.writeable = False
        return found

    def again(self) -> None:
        """Before the next scan."""
        for fence in self.all[: self.next]:
            fence.check()
        self.next = 0


def damaged(whole: bytes, draw: random.Random) -> bytes:
    """A document with a few bytes changed, lost, doubled or cut off; lengths are what hurts most."""
    text = bytearray(whole)
    for _ in range(draw.randrange(1, 5)):
        if not text:
            break
        at = draw.randrange(len(text))
        match draw.randrange(6):
            case 0:
                text[at] = draw.randrange(256)
            case 1:
                text[at] = draw.choice((0x00, 0x7F, 0x80, 0xFF, text[at] ^ 0x80, (text[at] + 1) & 255))
            case 2:
                del text[at : at + draw.randrange(1, 12)]
            case 3:
                text[at:at] = text[at : at + draw.randrange(1, 40)]
            case 4:
                text[at:at] = draw.choice((b"\xff" * 9 + b"\x7f", b"\xff\xff\xff\xff\x0f", b"\x80", b"\\u00"))
            case _:
                del text[at:]
    return bytes(text)


def everything() -> tuple[bytes, bytes]:
    """A request with all that is read of one, as protobuf and as JSON."""
    from test_otlp_json import EVERYTHING

    request = ExportTraceServiceRequest.FromString(transcode_any(EVERYTHING))
    spans = request.resource_spans[0].scope_spans[0].spans
    for number, (key, text) in enumerate((
        ("url.full", "https://shop.example/v1/users/90210/carts/7?user=4"), ("db.system", "postgresql"),
        ("db.statement", "SELECT * FROM carts WHERE id = 17 AND name = 'a?b'"), ("http.route", "/v/1/2/3"),
        ("http.request.header.cookie", "secret"), ("peer.service", "é" * 70), ("server.address", "db"),
    )):  # fmt: skip
        span = spans.add(trace_id=b"t" * 16, span_id=bytes([number + 1] * 8), kind=3, name=text[:20],
                         start_time_unix_nano=ARRIVED_NS, end_time_unix_nano=ARRIVED_NS + 5)  # fmt: skip
        span.attributes.add(key=key).value.string_value = text
        span.links.add(trace_id=b"l" * 16, span_id=b"m" * 8, trace_state="ot=th:8")
        span.events.add(name="e", time_unix_nano=7).attributes.add(key=key).value.string_value = text
        nested = span.attributes.add(key="list").value.array_value.values
        nested.add().kvlist_value.values.add(key="k").value.array_value.values.add().int_value = number
    return request.SerializeToString(), EVERYTHING


def documents(whole: bytes, count: int) -> Any:
    """The document cut everywhere, then `count` damaged ones."""
    yield from (whole[:end] for end in range(len(whole) + 1))
    draw = random.Random(17)
    yield from (damaged(whole, draw) for _ in range(count))


def dense(draw: random.Random) -> bytes:
    """A request of as many strings, links and spans as fit into few bytes: bounds are what they strain."""

    def field(number: int, body: bytes) -> bytes:
        return bytes([number << 3 | 2]) + (
            bytes([len(body)]) if len(body) < 128 else bytes([len(body) & 127 | 128, len(body) >> 7])
        ) + body  # fmt: skip

    def text() -> bytes:
        return bytes(draw.choice(b"/0123456789?ab=") for _ in range(draw.choice((0, 1, 2, 3, 9, 40))))

    def pair() -> bytes:
        key = draw.choice((b"url.full", b"http.route", b"db.statement", b"peer.service", b"x", text()))
        return field(1, key) + field(2, field(1, text()))

    def span() -> bytes:
        parts = [field(5, text())]
        for _ in range(draw.randrange(5)):
            ids = field(1, b"t" * 16) + field(2, b"s" * 8)
            parts.append(draw.choice((
                field(9, pair()), field(13, ids), field(13, b""), field(13, field(1, b"t" * 16)),
                field(11, field(3, pair())), field(1, b"t" * 16) + field(2, b"s" * 8), field(3, text()),
            )))  # fmt: skip
        draw.shuffle(parts)
        return b"".join(parts)

    scopes = [
        field(1, draw.choice((b"", field(1, text()))))
        + b"".join(field(2, span()) for _ in range(draw.randrange(9)))
        for _ in range(draw.randrange(1, 4))
    ]
    return b"".join(field(1, field(1, field(1, pair())) + field(2, scope)) for scope in scopes)


class Note:
    """What is in hand, written where it outlives the process."""

    def __init__(self, path: str) -> None:
        self.file = Path(path).open("wb", buffering=0)  # noqa: SIM115
        self.number = 0

    def put(self, document: bytes) -> None:
        self.number += 1
        self.file.seek(0)
        self.file.truncate()
        self.file.write(b"%d %s" % (self.number, document.hex().encode()))


def scan_all(count: int, note: Note) -> None:
    """Protobuf: the window, all that a scan fills, and the keys it knows."""
    whole, _ = everything()
    decode.scan([whole], ARRIVED_NS)  # compiles, with numpy's own arrays
    padded = keys._padded

    def fenced(parts: list[bytes]) -> np.ndarray:
        made = padded(parts)
        there = Fence().array(made.shape, np.uint8, 0)
        there[:] = made
        return there

    keys._padded = fenced  # type: ignore[assignment]
    decode._keys.cache_clear()
    decode.scan([b""], ARRIVED_NS)  # the keys, which outlive a scan, have fences of their own
    fences = Fences()
    keys.np = requests.np = fences  # type: ignore[assignment]
    refused = 0
    draw = random.Random(23)
    strained = (dense(draw) for _ in range(count))
    cut = (damaged(dense(draw), draw) for _ in range(count))
    for document in (*documents(whole, count), *strained, *cut):
        note.put(document)
        fences.again()
        requests.WINDOW = draw.choice((512 * 1024, 400))  # windows of one payload, too
        others = [b"", dense(draw), document][: draw.randrange(4)]
        try:
            decode.scan([document, *others], ARRIVED_NS)
        except MalformedOtlpError:
            refused += 1
    fences.again()
    assert 0 < refused < note.number, "all or none was well-formed"
    print(f"{note.number} scanned, {refused} refused")


@kernel
def _checked(text, jump, opened):  # type: ignore[no-untyped-def]
    begin = json_text.space(text, np.int64(0), len(text))
    after = json_text.checked(text, jump, begin, len(text), opened)
    if after < 0 or json_text.space(text, after, len(text)) != len(text):
        return np.int64(-1)
    return np.int64(begin)


@kernel
def _written(text, jump, begin, out, doubles, places):  # type: ignore[no-untyped-def]
    doubles[0, 0] = 0
    places[plain_json._LENIENT] = 1
    return plain_json._document(text, jump, begin, out, doubles, places)


def transcode_all(count: int, note: Note) -> None:
    """JSON: the text, and all that `plain_json._transcode` has beside it, of the sizes that it gives them."""
    _, whole = everything()
    fences = Fences()
    plain = 0
    for document in documents(whole, count):
        note.put(document)
        fences.again()
        end = len(document)
        text = fences.empty(end, np.uint8)
        text[:] = np.frombuffer(document, np.uint8)
        text.flags.writeable = False
        jump = fences.empty(end, np.int32)
        begin = _checked(text, jump, fences.empty(json_text.DEEPEST, np.int64))
        if begin < 0:
            continue
        out = fences.empty(end + 64, np.uint8)
        doubles = fences.empty((end // json_text.DOUBLE_TEXT + 2, 3), np.int64)
        places = fences.empty(plain_json._PLACES, np.int64)
        to = _written(text, jump, begin, out, doubles, places)
        if to >= 0:
            plain += 1
            for at, first, last in doubles[1 : doubles[0, 0] + 1].tolist():
                out[at : at + 8] = np.frombuffer(np.float64(document[first:last]).tobytes(), np.uint8)
            assert plain_json.transcode(document, lenient=True) in (
                None,
                out[:to].tobytes(),
            )  # None: no UTF-8
    fences.again()
    assert 0 < plain < note.number, "all or none was plain"
    print(f"{note.number} read, {plain} plain")


def read_all(module: Any, whole: bytes, count: int, note: Note) -> None:
    """Foreign JSON: every array that reading it makes, and the text with its slack."""
    fences = Fences()
    module.np = json_groups.np = fences
    fences.frombuffer = fences.copied  # type: ignore[attr-defined]
    plain = 0
    for document in documents(whole, count):
        note.put(document)
        fences.again()
        json_groups._kept.__dict__.clear()  # what is kept lies behind fences that others have next
        found = module.transcode(document)
        plain += found is not None and bool(found[0])
    fences.again()
    assert 0 < plain < note.number, "all or none was plain"
    print(f"{note.number} read, {plain} plain")


def read_jaeger(count: int, note: Note) -> None:
    """Traces of Jaeger."""
    from test_foreign_json import JAEGER

    read_all(plain_jaeger, JAEGER, count, note)


def read_zipkin(count: int, note: Note) -> None:
    """Traces of Zipkin."""
    from test_foreign_json import ZIPKIN

    read_all(plain_zipkin, ZIPKIN, count, note)


def read_zipkin_v1(count: int, note: Note) -> None:
    """Traces of Zipkin v1, which are rewritten first."""
    from test_foreign_json import ZIPKIN_V1

    def transcode(text: bytes) -> tuple[bytes, list[bytes]]:
        made = zipkin_v1.rewrite(text, zipkin_v1.np.empty(len(text), np.int32))
        return (b"" if made == text else made), []

    zipkin_v1.transcode = transcode  # type: ignore[attr-defined]
    read_all(zipkin_v1, ZIPKIN_V1, count, note)


@kernel
def _last(values, at):  # type: ignore[no-untyped-def]
    return values[at]


def reach(count: int, note: Note) -> None:
    """The last byte may be read, the next may not."""
    values = Fence().array(count, np.uint8, 7)
    assert _last(values, count - 1) == 7
    print("reached the last", flush=True)
    note.put(b"next")
    print(_last(values, count))


if __name__ == "__main__":
    {
        "wire": scan_all,
        "json": transcode_all,
        "jaeger": read_jaeger,
        "zipkin": read_zipkin,
        "zipkin-v1": read_zipkin_v1,
        "reach": reach,
    }[sys.argv[1]](int(sys.argv[2]), Note(sys.argv[3]))

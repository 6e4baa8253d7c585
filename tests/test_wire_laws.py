"""The wire kernel against the protobuf classes, on many spans at a time: column by column, byte by byte."""

from __future__ import annotations

import random
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from test_wire import ARRIVED_NS, EXTRAS, INSIDE, KEYS, POLICIES, STATES, TEXTS, as_the_classes_do, compare

from tracescope.conventions import keeping
from tracescope.ingest.decode import FUTURE_NS
from tracescope.kernels.wire import LONGEST_NS, OLDEST_NS

#: Most spans have some of these, which name edges.
NAMING = (
    "http.request.method", "http.route", "url.full", "server.address", "server.port", "db.system",
    "db.statement", "db.namespace", "messaging.system", "messaging.destination.name", "rpc.system",
    "messaging.operation.type", "rpc.service", "rpc.method", "http.response.status_code", "peer.service",
    "host.name", "service.instance.id",
)  # fmt: skip
LATEST = ARRIVED_NS + FUTURE_NS
TIMES = (
    ARRIVED_NS, ARRIVED_NS, ARRIVED_NS, 0, 1, LATEST, LATEST + 1, LATEST - OLDEST_NS, LATEST - OLDEST_NS - 1,
    2**63, 2**64 - 1,
)  # fmt: skip
NAMES = ("", "GET", "/orders/17", "SELECT orders", "é", "/shop.Cart/Get")
LENGTHS = (0, 0, 5, 1000, -7, LONGEST_NS, LONGEST_NS + 1)


def fill(value: AnyValue, rng: random.Random, depth: int = 0) -> None:
    """Let a value be of any kind."""
    match rng.randrange(12 if depth < 3 else 9):
        case 0 | 1 | 2 | 3:
            value.string_value = rng.choice(TEXTS)
        case 4:
            value.int_value = rng.choice((0, 1, -1, 2**21 - 1, 2**21, 2**63 - 1, -(2**63), 8080))
        case 5:
            value.bool_value = rng.random() < 0.5
        case 6:
            value.double_value = rng.choice((0.0, -1.5, 1e300))
        case 7:
            value.bytes_value = rng.randbytes(rng.randrange(5))
        case 8:
            pass
        case 9 | 10:
            value.array_value.SetInParent()
            for _ in range(rng.randrange(4)):
                fill(value.array_value.values.add(), rng, depth + 1)
        case _:
            value.kvlist_value.SetInParent()
            for _ in range(rng.randrange(3)):
                fill(value.kvlist_value.values.add(key=rng.choice(INSIDE)).value, rng, depth + 1)


def add_attributes(to: Any, rng: random.Random, most: int) -> None:
    """Attributes of different keys."""
    for key in sorted(
        {rng.choice(NAMING if rng.random() < 0.6 else KEYS) for _ in range(rng.randint(0, most))}
    ):
        fill(to.attributes.add(key=key).value, rng)


def identity(rng: random.Random, size: int) -> bytes:
    return rng.choice(
        (rng.randbytes(size),) * 12 + (bytes(size), rng.randbytes(size + 1), b"", rng.randbytes(size - 1))
    )


def add_span(scope: Any, rng: random.Random) -> None:
    """A span with fields of all sorts, and now and then what other writers may do."""
    start = rng.choice(TIMES)
    span = ExportTraceServiceRequest().resource_spans.add().scope_spans.add().spans.add(
        trace_id=identity(rng, 16), span_id=identity(rng, 8), name=rng.choice(NAMES),
        parent_span_id=rng.choice((b"", identity(rng, 8))), trace_state=rng.choice(STATES),
        kind=rng.randrange(8), start_time_unix_nano=start, flags=rng.choice((0, 257)),
        end_time_unix_nano=min(max(start + rng.choice(LENGTHS), 0), 2**64 - 1),
    )  # fmt: skip
    add_attributes(span, rng, 7)
    if rng.random() < 0.5:
        span.status.code = rng.randrange(5)
        span.status.message = rng.choice(("", "no such user"))
    for _ in range(rng.choice((0, 0, 1, 3))):
        add_attributes(span.links.add(trace_id=identity(rng, 16), span_id=identity(rng, 8)), rng, 2)
    for _ in range(rng.choice((0, 0, 1, 2))):
        name = rng.choice(("e", "", "user 4711 came", "exception", "App.Password"))
        add_attributes(span.events.add(name=name, time_unix_nano=3), rng, 3)
    scope.spans.add().ParseFromString(span.SerializeToString() + rng.choice((b"", b"", *EXTRAS)))


def request(rng: random.Random, spans: int) -> bytes:
    """A request of about so many spans, of some resources and scopes."""
    made = ExportTraceServiceRequest()
    while spans > 0:
        part = made.resource_spans.add()
        add_attributes(part.resource, rng, 6)
        for _ in range(rng.randrange(3)):
            scope = part.scope_spans.add()
            if rng.random() < 0.5:
                scope.scope.name = rng.choice(("", "io.example", "é"))
            for _ in range(rng.randrange(5)):
                add_span(scope, rng)
                spans -= 1
    return made.SerializeToString()


@pytest.mark.parametrize("seed", range(3))
def test_the_kernel_gives_the_same_table_as_the_protobuf_classes(seed: int) -> None:
    """Every column of every span, what is kept of its bytes, and every reason of refusal."""
    rng = random.Random(seed)
    compare([request(rng, 30), b"", request(rng, 1)])


@pytest.mark.parametrize("policy", POLICIES, ids=range(len(POLICIES)))
def test_settings_keep_and_drop_as_the_slow_reading_of_their_patterns_does(policy: keeping.Policy) -> None:
    """Patterns of keys, on every part of a span and inside maps."""
    compare([request(random.Random(str(policy)), 15)], policy)


def test_damaged_bytes_are_refused_where_protobuf_refuses_and_never_worse() -> None:
    """What the classes accept is decoded to as many spans; the rest gives an offset inside."""
    rng = random.Random(1)
    whole = request(rng, 6)
    for _ in range(40):
        damaged = bytearray(whole)
        at = rng.randrange(len(damaged))
        match rng.randrange(4):
            case 0:
                damaged[at] = rng.randrange(256)
            case 1:
                del damaged[at]
            case 2:
                damaged.insert(at, rng.randrange(256))
            case _:
                del damaged[at:]
        as_the_classes_do(bytes(damaged))


#: Texts at the bounds of what is plain, an id, a number, a query.
BOUNDS = (
    *("a" * size for size in (39, 40, 41, 64, 65)), "1234", "12345", "a1b2c3d4", "a1b2c3d4e5", "a-b.c_1",
    "a b", "a/b", "/a/0123456789abcdef/b", "/a/0123456789abcde/b", "/a/abcdefabcdefabcd/b", "/v/abcd1234",
    "/1", "/12/x", "1/2", "/a?b", "/a#b", "/a;b", "/a@b", "?", "#x", "a?", "http://u@h/1/a", "//", "/", "''",
    "/0123456789ABCDEF0", "/x1/2y/3", "SELECT 1", "select a from b where c = 'x' and d in (1,2)",
    "update t set a=1", "DELETE FROM t", "é/1",
)  # fmt: skip
#: Tracestates at the bounds of a threshold and a probability.
THRESHOLDS = (
    "ot=th:g", "ot=th:`", "ot=th:/", "ot=th::", "ot=th:F", "ot=th:0123456789abcd", "ot=th:0123456789abcde",
    "ot=th:", "ot=th:8;x", "ot=th:8 ", "ot=th:f,a=b", "\tot=p:2 ", "ot=x;p:3", "ot=p:5;th:4", "ot=p:56",
    "ot=p:57", "ot=p:9/", "ot=p::", "ot=p:0", "ot=p:001", "ot=p:2 ", "ot", "ot=", "ot=p", "ot=t", "ot=th",
    "ot=;th:1", ",ot=th:1", "x,,ot=p:1", "oT=th:1", "ot:th:1", "at=th:1", "xot=th:1", "ot=rv:1;th:2",
    "ot=tv:1", "ot=h:1", "ot=q:1",
)  # fmt: skip
SORTS = (
    "x",
    "session",
    "http.route",
    "url.full",
    "db.statement",
    "server.address",
    "messaging.destination.name",
    "env",
)


def test_texts_at_the_bounds_of_what_is_kept_are_kept_and_named_as_the_classes_do() -> None:
    """Under a key of each sort, as names, as members of lists, and as tracestates."""
    made = ExportTraceServiceRequest()
    scope = made.resource_spans.add().scope_spans.add()
    for number in range(max(len(BOUNDS), len(THRESHOLDS))):
        text, state = BOUNDS[number % len(BOUNDS)], THRESHOLDS[number % len(THRESHOLDS)]
        for kind in (2, 3):
            span = scope.spans.add(
                trace_id=b"t" * 16, span_id=b"s" * 8, name=text, trace_state=state, kind=kind,
                start_time_unix_nano=ARRIVED_NS, end_time_unix_nano=ARRIVED_NS + 5,
            )  # fmt: skip
            for key in SORTS[number % 2 :: 2] if kind == 3 else SORTS:
                span.attributes.add(key=key).value.string_value = text
            for inner in (text, "b"):
                span.attributes.add(key="list").value.array_value.values.add().string_value = inner
    compare([made.SerializeToString()])


@pytest.mark.parametrize(
    ("pattern", "keys"),
    [
        ("a*b", ("ab", "axb", "aXB", "abb", "aba", "a", "b", "abc", "xab")),
        ("*a*", ("a", "xa", "ax", "xx", "x")), ("a", ("a", "A", "aa", "b")), ("*", ("anything",)),
        ("**z", ("z", "az", "za")), ("app.*.id", ("app.x.id", "app..id", "app.id", "app.x.id.y", "App.X.ID")),
        ("x*x*x", ("xxx", "xx", "xaxax", "xaxa")), ("[z", ("[z", "{z")), ("a@", ("a@", "A@", "a`")),
    ],
)  # fmt: skip
def test_patterns_of_keys_match_as_their_slow_reading_does(pattern: str, keys: tuple[str, ...]) -> None:
    """Whatever a star stands for, and whatever the case of a key."""
    made = ExportTraceServiceRequest()
    span = made.resource_spans.add().scope_spans.add().spans.add(
        trace_id=b"t" * 16, span_id=b"s" * 8, start_time_unix_nano=ARRIVED_NS
    )  # fmt: skip
    for key in keys:
        span.attributes.add(key=key).value.string_value = "many words, which are not plain"
    data = made.SerializeToString()
    compare([data], keeping.Policy(keep=(pattern,)))
    compare([data], keeping.Policy(drop=(pattern,), keep=("*",)))

"""The wire kernel against the protobuf classes: the same table, or the same refusal."""

from __future__ import annotations

import re
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tracescope.conventions import keeping, semconv
from tracescope.conventions.keeping import Policy, Verdict
from tracescope.conventions.operations import template_name
from tracescope.errors import MalformedOtlpError
from tracescope.ingest.decode import FUTURE_NS, Decoded, decode
from tracescope.kernels.wire import LONGEST_NS, OLDEST_NS
from tracescope.schema import CLASS_DB, NO_THRESHOLD, UNKNOWN_SERVICE

ARRIVED_NS = 1_790_000_000 * 10**9
CHECKED = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])

NAMES = (*semconv.SPAN_ATTRIBUTES.values(), *semconv.RESOURCE_ATTRIBUTES.values())
KEYS = [
    *sorted({name for names in NAMES for name in names}),
    "http.request.header.cookie", "url.query", "thread.name", "x", "é", "db.query.parameter.1",
    "App.Password", "app.tier", "app", "session",
]  # fmt: skip
INSIDE = ["k", "password", "app.note", "server.address"]
TEXTS = [
    "", "orders", "GET", "postgresql", "/orders/17?user=4", "/a/550e8400-e29b-41d4-a716-446655440000/b",
    "https://api.example:8443/v1/users/9", "SELECT * FROM orders WHERE id = 17 AND name = 'a?b'",
    "INSERT INTO carts VALUES (1, 'x''y')", "kafka", "publish", "grpc", "shop.Cart/Get", "é" * 70, "a" * 200,
    "gold", "eu-west-1", "1.22.333", "https://u:secret@h/a", "/a;jsessionid=4", "IN (1, 2, 3)",
    "update items set n = 4", "WITH t AS (SELECT 1) SELECT * FROM t", "?", "#", "//", "/1/2/3",
]  # fmt: skip
STATES = [
    "", "ot=th:8", "a=b, ot=rv:1;th:c", "ot=th:zz", "ot=th:123456789abcdef", "th:8", "ot=p:3;r:5",
    "ot=r:5;p:0", "ot=p:1;th:c", "ot=p:57", "ot=p:63", "ot=p:1x", "ot=p:111", "ot=p:",
    "ot=r:1,ot=p:2", "x=y,ot=p:56",
]  # fmt: skip


def values() -> st.SearchStrategy[AnyValue]:
    plain = st.one_of(
        st.sampled_from(TEXTS).map(lambda text: AnyValue(string_value=text)),
        st.text(max_size=12).map(lambda text: AnyValue(string_value=text)),
        st.integers(-(2**63), 2**63 - 1).map(lambda value: AnyValue(int_value=value)),
        st.booleans().map(lambda value: AnyValue(bool_value=value)),
        st.floats(allow_nan=False).map(lambda value: AnyValue(double_value=value)),
        st.binary(max_size=9).map(lambda value: AnyValue(bytes_value=value)),
        st.just(AnyValue()),
    )

    def nest(inner: st.SearchStrategy[AnyValue]) -> st.SearchStrategy[AnyValue]:
        def array(items: list[AnyValue]) -> AnyValue:
            made = AnyValue()
            made.array_value.values.extend(items)
            made.array_value.SetInParent()
            return made

        def pairs(items: list[tuple[str, AnyValue]]) -> AnyValue:
            made = AnyValue()
            made.kvlist_value.SetInParent()
            for key, item in items:
                made.kvlist_value.values.add(key=key).value.CopyFrom(item)
            return made

        keyed = st.tuples(st.sampled_from(INSIDE), inner)
        return st.one_of(st.lists(inner, max_size=3).map(array), st.lists(keyed, max_size=3).map(pairs))

    return st.recursive(plain, nest, max_leaves=5)


def attributes() -> st.SearchStrategy[list[KeyValue]]:
    pair = st.builds(lambda key, value: KeyValue(key=key, value=value), st.sampled_from(KEYS), values())
    return st.lists(pair, max_size=6, unique_by=lambda item: item.key)


def ids(size: int) -> st.SearchStrategy[bytes]:
    return st.one_of(
        st.binary(min_size=size, max_size=size), st.just(bytes(size)), st.binary(max_size=size + 2)
    )


@st.composite
def spans(draw: st.DrawFn) -> Span:
    span = Span(
        trace_id=draw(ids(16)),
        span_id=draw(ids(8)),
        parent_span_id=draw(st.one_of(st.just(b""), ids(8))),
        trace_state=draw(st.sampled_from(STATES)),
        name=draw(st.sampled_from(["", "GET", "/orders/17", "SELECT orders", "é", "/shop.Cart/Get"])),
        kind=draw(st.integers(0, 7)),  # pyright: ignore[reportArgumentType]
        start_time_unix_nano=draw(
            st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([ARRIVED_NS, ARRIVED_NS + FUTURE_NS + 1]))
        ),
        end_time_unix_nano=draw(st.one_of(st.integers(0, 2**63 - 1), st.just(ARRIVED_NS + 5))),
        flags=draw(st.integers(0, 2**32 - 1)),
    )  # fmt: skip
    span.attributes.extend(draw(attributes()))
    span.status.code = draw(st.integers(0, 4))  # pyright: ignore[reportAttributeAccessIssue]
    for _ in range(draw(st.integers(0, 2))):
        link = span.links.add(trace_id=draw(ids(16)), span_id=draw(ids(8)))
        link.attributes.extend(draw(attributes()))
    for _ in range(draw(st.integers(0, 2))):
        name = draw(st.sampled_from(["e", "", "user 4711 came", "exception", "App.Password"]))
        span.events.add(name=name, time_unix_nano=3).attributes.extend(draw(attributes()))
    span.status.message = draw(st.sampled_from(["", "no such user"]))
    return span


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    request = ExportTraceServiceRequest()
    for _ in range(draw(st.integers(0, 2))):
        part = request.resource_spans.add()
        if draw(st.booleans()):
            part.resource.attributes.extend(draw(attributes()))
        for _ in range(draw(st.integers(0, 2))):
            scope = part.scope_spans.add()
            if draw(st.booleans()):
                scope.scope.name = draw(st.sampled_from(["", "io.example", "é"]))
            for span in draw(st.lists(spans(), max_size=3)):
                # what other writers may do: fields twice, unknown fields, groups, over-long varints
                extra = draw(st.sampled_from(EXTRAS))
                scope.spans.add().ParseFromString(span.SerializeToString() + extra)
    return request.SerializeToString()


EXTRAS = [
    b"", b"\x2a\x03abc", b"\xa0\x06\x01", b"\xa2\x06\x02hi", b"\xa3\x06\x08\x01\xa4\x06", b"\x30\x83\x00",
    b"\x7a\x00", b"\x7a\x02\x18\x01", b"\x7a\x06\x12\x02hi\x18\x01", b"\xa5\x06abcd", b"\xa1\x06abcdefgh",
]  # fmt: skip


def text_of(value: AnyValue) -> str | None:
    """What a value names: text, a number's digits, the strings of a list; None for nothing."""
    which = value.WhichOneof("value")
    if which == "string_value":
        return value.string_value
    if which == "int_value":
        return str(value.int_value)
    if which == "array_value":
        texts = [v.string_value for v in value.array_value.values if v.WhichOneof("value") == "string_value"]
        joined = ""
        for text in texts:
            joined += ("," if joined else "") + text
        return joined or None
    return None


def picked(items: Any, table: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """Meaning -> value, the name of best rank winning."""
    found = {item.key: text for item in items if (text := text_of(item.value)) is not None}
    return {
        meaning: next(found[name] for name in names if name in found)
        for meaning, names in table.items()
        if any(name in found for name in names)
    }


def threshold(state: str) -> int:
    for member in state.split(","):
        if member.strip(" \t").startswith("ot="):
            parts = dict(part.split(":", 1) for part in member.strip(" \t")[3:].split(";") if ":" in part)
            if "th" in parts:
                digits = parts["th"]
                good = 0 < len(digits) <= 14 and all(c in "0123456789abcdef" for c in digits)
                return int(digits.ljust(14, "0"), 16) if good else NO_THRESHOLD
            exponent = parts.get("p", "")
            if exponent.isdecimal() and len(exponent) <= 2 and int(exponent) <= 56:
                return 2**56 - 2 ** (56 - int(exponent))
            return NO_THRESHOLD
    return NO_THRESHOLD


def plain(text: str) -> bool:
    digits = sum(c in "0123456789" for c in text)
    return re.fullmatch(r"[A-Za-z0-9_.-]{0,40}", text) is not None and digits <= 4


def keys_inside(value: AnyValue) -> list[str]:
    """Every key of every map in a value."""
    out = [key for item in value.array_value.values for key in keys_inside(item)]
    for pair in value.kvlist_value.values:
        out += [pair.key, *keys_inside(pair.value)]
    return out


def has_map(value: AnyValue) -> bool:
    return value.HasField("kvlist_value") or any(has_map(item) for item in value.array_value.values)


def denied(item: KeyValue, policy: Policy) -> bool:
    verdict, which = keeping.judge(item.key, policy), item.value.WhichOneof("value")
    if verdict == Verdict.CUT:
        return True
    if which == "string_value":
        text = item.value.string_value
        if verdict == Verdict.CUT_WITH_QUERY:
            return any(c in text for c in "?#;@")
        return verdict == Verdict.PLAIN_ONLY and not plain(text)
    if which == "int_value":
        return verdict == Verdict.PLAIN_ONLY and not 0 <= item.value.int_value < 2**21
    if which in ("array_value", "kvlist_value", "bytes_value"):
        if verdict in (Verdict.PLAIN_ONLY, Verdict.CUT_WITH_QUERY):
            return True
        if verdict == Verdict.KNOWN:
            return has_map(item.value)
        return any(keeping.judge(key, policy) == Verdict.CUT for key in keys_inside(item.value))
    return False


def without_denied(message: Any, policy: Policy) -> Any:
    """A span or a resource less its name, words about what happened, and denied attributes."""
    kept = type(message)()
    kept.CopyFrom(message)
    if isinstance(kept, Span):
        kept.ClearField("name")
        kept.status.ClearField("message")
        for event in kept.events:
            if keeping.judge(event.name, policy) not in (Verdict.KNOWN, Verdict.KEPT):
                event.ClearField("name")
        if not message.HasField("status"):
            kept.ClearField("status")
    parts = [kept, *getattr(kept, "events", ()), *getattr(kept, "links", ())]
    for part in parts:
        rest = [item for item in part.attributes if not denied(item, policy)]
        del part.attributes[:]
        part.attributes.extend(rest)
    return kept


def signed(data: bytes) -> int:
    return int.from_bytes(data, "big", signed=True)


def flaw(span: Span) -> str | None:
    if len(span.trace_id) != 16 or not any(span.trace_id):
        return "invalid_trace_id"
    if len(span.span_id) != 8 or not any(span.span_id) or len(span.parent_span_id) not in (0, 8):
        return "invalid_span_id"
    start, end = span.start_time_unix_nano, span.end_time_unix_nano
    if start == 0 or start >= 2**63 or end >= 2**63:
        return "invalid_time"
    latest = ARRIVED_NS + FUTURE_NS
    if max(start, end) > latest:
        return "future_time"
    if start < latest - OLDEST_NS:
        return "too_old"
    return "too_long" if end - start > LONGEST_NS else None


def host(resource: Any, span: Span) -> str | None:
    """The first of a resource's hosts, instances and addresses, and the span's own, that names one host."""
    about = picked(resource.attributes, semconv.RESOURCE_ATTRIBUTES)
    about |= picked(resource.attributes, semconv.SPAN_ATTRIBUTES)
    candidates = [about.get(name) for name in ("host", "service_instance", "own_address", "own_name")]
    candidates.append(picked(span.attributes, semconv.SPAN_ATTRIBUTES).get("own_address"))
    return next((name for name in candidates if name is not None and name not in semconv.EVERY_HOST), None)


def oracle(data: bytes, policy: Policy = keeping.DEFAULT) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The table by the protobuf classes, slow and obvious."""
    rows: list[dict[str, Any]] = []
    rejected: dict[str, int] = {}
    for part in ExportTraceServiceRequest.FromString(data).resource_spans:
        about = picked(part.resource.attributes, semconv.RESOURCE_ATTRIBUTES)
        for scope in part.scope_spans:
            for span in scope.spans:
                if reason := flaw(span):
                    rejected[reason] = rejected.get(reason, 0) + 1
                    continue
                kind = span.kind if span.kind <= 5 else 0
                found = {k: v for k, v in picked(span.attributes, semconv.SPAN_ATTRIBUTES).items() if v}
                if found.get("url_path", "/")[0] in "?#":  # no path is left of it
                    del found["url_path"]
                meaning = semconv.meaning(found, kind, span.name)
                links = [
                    x.trace_id + x.span_id
                    for x in span.links
                    if len(x.trace_id) == 16 and len(x.span_id) == 8
                ]
                rows.append(
                    {
                        "trace_hi": signed(span.trace_id[:8]),
                        "trace_lo": signed(span.trace_id[8:]),
                        "span_id": signed(span.span_id),
                        "parent_span_id": signed(span.parent_span_id),
                        "start_ns": span.start_time_unix_nano,
                        "end_ns": span.end_time_unix_nano,
                        "kind": kind,
                        "status": span.status.code if span.status.code <= 2 else 0,
                        "threshold": threshold(span.trace_state),
                        "edge_class": meaning.edge_class,
                        "messaging_op": meaning.messaging_op,
                        "environment": about.get("environment", ""),
                        "service_name": about.get("service_name") or UNKNOWN_SERVICE,
                        "service_instance": about.get("service_instance"),
                        "service_version": about.get("service_version"),
                        "host": host(part.resource, span),
                        "name": meaning.operation
                        if meaning.edge_class == CLASS_DB
                        else template_name(span.name),
                        "peer": meaning.peer,
                        "operation": meaning.operation,
                        "links": b"".join(links) or None,
                        "scope": scope.scope.name if scope.scope.name else None,
                        "raw": without_denied(span, policy),
                        "resource": without_denied(part.resource, policy),
                    }
                )
    return rows, rejected


@CHECKED
@given(st.lists(requests(), min_size=1, max_size=3))
def test_the_kernel_gives_the_same_table_as_the_protobuf_classes(payloads: list[bytes]) -> None:
    """Every column of every span, what is kept of its bytes, and every reason of refusal."""
    compare(payloads)


POLICIES = [
    Policy(keep=("*",)), Policy(drop=("http.*", "*LING")),
    Policy(drop=("*password",), keep=("App*", "session")),
    Policy(keep=("*a*p*s*", "x", "url.query")), Policy(drop=("*",), keep=("*",)),
]  # fmt: skip


@CHECKED
@given(st.lists(requests(), min_size=1, max_size=2), st.sampled_from(POLICIES))
def test_settings_keep_and_drop_as_the_slow_reading_of_their_patterns_does(
    payloads: list[bytes], policy: Policy
) -> None:
    """Patterns of keys, on every part of a span and inside maps; names of edges come from all of it."""
    compare(payloads, policy)


def test_more_keys_and_strings_than_are_remembered_give_the_same_table() -> None:
    """Thousands of keys, many alike at both ends, some too long to keep; thousands of values."""
    request = ExportTraceServiceRequest()
    part = request.resource_spans.add()
    part.resource.attributes.add(key="service.name").value.string_value = "shop"
    scope = part.scope_spans.add()
    for number in range(1500):
        span = scope.spans.add(
            trace_id=b"a" * 16, span_id=number.to_bytes(8, "big", signed=False)[:7] + b"\1", kind=3,
            start_time_unix_nano=ARRIVED_NS, name=f"call {number}",
        )  # fmt: skip
        span.attributes.add(key="http.request.method").value.string_value = f"M{number}"
        span.attributes.add(key=f"alike.at-{number:04}-both.ends").value.int_value = -number
        span.attributes.add(key=f"http.request.header.{number}").value.string_value = "secret"
        span.attributes.add(key=f"app.{number}").value.double_value = number
        span.attributes.add(key="url.full").value.string_value = f"http://h/v{number % 7}?{number}"
        if number % 300 == 0:
            span.attributes.add(key="x" * 40_000 + str(number)).value.bool_value = True
        span.attributes.add(key="http.route").value.string_value = f"/r{number}"
    compare([request.SerializeToString()])


def compare(payloads: list[bytes], policy: Policy = keeping.DEFAULT) -> None:
    """Hold what the kernel makes of some requests against the oracle."""
    decoded = decode(payloads, ARRIVED_NS, policy=policy)
    rows: list[dict[str, Any]] = []
    rejected: dict[str, int] = {}
    for payload in payloads:
        some, refused = oracle(payload, policy)
        rows += some
        for reason, count in refused.items():
            rejected[reason] = rejected.get(reason, 0) + count
    assert decoded.rejected == rejected
    assert decoded.accepted == len(rows)
    for got, wanted in zip(decoded.spans.iter_rows(named=True), rows, strict=True):
        assert Span.FromString(got["raw"]) == wanted.pop("raw")
        assert type(wanted["resource"]).FromString(got["resource"]) == wanted.pop("resource")
        scope = wanted.pop("scope")
        assert (got["scope"] or None) == scope
        assert {name: got[name] for name in wanted} == wanted


@CHECKED
@given(st.data(), requests())
def test_damaged_bytes_are_refused_where_protobuf_refuses_and_never_worse(
    data: st.DataObject, payload: bytes
) -> None:
    """Whatever the classes accept is decoded to as many spans; the rest gives an offset inside."""
    damaged = bytearray(payload)
    for _ in range(data.draw(st.integers(1, 4))):
        if not damaged:
            break
        at = data.draw(st.integers(0, len(damaged) - 1))
        change = data.draw(st.sampled_from(["set", "drop", "insert", "cut"]))
        if change == "set":
            damaged[at] = data.draw(st.integers(0, 255))
        elif change == "drop":
            del damaged[at]
        elif change == "insert":
            damaged.insert(at, data.draw(st.integers(0, 255)))
        else:
            del damaged[at:]
    as_the_classes_do(bytes(damaged))


def as_the_classes_do(damaged: bytes) -> None:
    """What protobuf's classes accept is decoded to as many spans, and the rest is refused with its offset."""
    try:
        request = ExportTraceServiceRequest.FromString(damaged)
        count = sum(len(scope.spans) for part in request.resource_spans for scope in part.scope_spans)
    except DecodeError:
        count = -1
    decoded, failure = attempt(damaged)
    if failure is not None:
        assert 0 <= failure.offset <= len(damaged)
        assert failure.expected
        assert count == -1
    elif count >= 0:
        assert decoded is not None
        assert decoded.accepted + sum(decoded.rejected.values()) == count


def attempt(data: bytes) -> tuple[Decoded | None, MalformedOtlpError | None]:
    try:
        return decode([data], ARRIVED_NS), None
    except MalformedOtlpError as error:
        return None, error


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_noise_never_crashes(data: bytes) -> None:
    """Any bytes give a table or an error with its offset."""
    decoded, failure = attempt(data)
    assert (decoded is None) == (failure is not None)
    assert failure is None or 0 <= failure.offset <= len(data)


@pytest.mark.parametrize(
    ("data", "offset", "expected"),
    [
        (b"\x0a", 1, "varint"),
        (b"\x0a\x05\x12", 1, "length"),
        (b"\x0a\x02\x0a\x05", 3, "length"),
        (b"\x02\x00", 0, "field number"),
        (b"\x0b\x0c", None, None),
        (b"\x0b\x14", 2, "wire type"),
        (b"\x0b", 1, "group"),
        (b"\x0f", 1, "wire type"),
        (b"\x09\x00", 1, "8 more bytes"),
        (b"\x0d\x00", 1, "4 more bytes"),
        (b"\x08" + b"\xff" * 10, 1, "varint"),
        (b"\x0b" * 200, 101, "nesting"),
    ],
)
def test_an_error_says_where_and_what_should_have_stood_there(
    data: bytes, offset: int | None, expected: str | None
) -> None:
    """Offsets are those of the thing that could not be read."""
    if expected is None:
        assert decode([data], ARRIVED_NS).accepted == 0
        return
    with pytest.raises(MalformedOtlpError) as failure:
        decode([b"", data], ARRIVED_NS)
    assert expected in failure.value.expected
    assert failure.value.offset == offset
    assert failure.value.payload == 1


def delimited(number: int, body: bytes) -> bytes:
    """A field of bytes, written by hand."""
    size, length = len(body), b""
    while size > 127:
        size, length = size >> 7, length + bytes([size & 127 | 128])
    return bytes([number << 3 | 2]) + length + bytes([size]) + body


def test_deeply_nested_values_are_refused_and_not_followed_for_ever() -> None:
    """A hundred levels, as protobuf has it; the classes refuse to build more."""
    for levels, fits in ((20, True), (120, False)):
        value = delimited(1, b"deep")
        for _ in range(levels):
            value = delimited(5, delimited(1, value))
        pair = delimited(1, b"x") + delimited(2, value)
        span = delimited(1, b"a" * 16) + delimited(2, b"b" * 8) + delimited(9, pair)
        request = delimited(1, delimited(2, delimited(2, span)))
        if fits:
            assert decode([request], ARRIVED_NS).rejected == {"invalid_time": 1}
            continue
        with pytest.raises(MalformedOtlpError, match="nesting"):
            decode([request], ARRIVED_NS)


def test_a_query_is_kept_as_its_summary_only() -> None:
    """The text with its literals is nowhere in the table."""
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(
        trace_id=b"a" * 16, span_id=b"b" * 8, kind=3, start_time_unix_nano=ARRIVED_NS
    )  # fmt: skip
    for key, value in (
        ("db.system", "mysql"),
        ("db.statement", "SELECT * FROM users WHERE mail = 'secret@x.example'"),
    ):
        span.attributes.add(key=key).value.string_value = value
    row = decode([request.SerializeToString()], ARRIVED_NS).spans.row(0, named=True)
    assert row["operation"] == "SELECT users"
    assert b"secret" not in row["raw"]
    assert "secret" not in str(row)

"""Plain Jaeger and Zipkin JSON: what tools write is plain in any layout, and read as the slow way reads."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from laid_out import Text, cases, damaged, laid_out
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from test_foreign_json import FIRST_VERSION, MAPPED, OBJECTS, RECORDS, TRACE, altered

from tracescope.ingest.documents import Malformed, read_any
from tracescope.kernels import plain_jaeger, plain_zipkin


class Form(NamedTuple):
    """How a tool writes traces: its name for readers, its kernel, a document."""

    name: Any
    kernel: Any
    document: Any


FORMS = {
    "Jaeger": Form("jaeger", plain_jaeger, {"data": [TRACE, TRACE | {"traceID": "abd"}], "errors": None}),
    "Elasticsearch": Form("jaeger", plain_jaeger, json.loads(MAPPED)),
    "objects": Form("jaeger", plain_jaeger, json.loads(OBJECTS)),
    "Zipkin": Form("zipkin", plain_zipkin, [RECORDS]),
    "Zipkin, flat": Form("zipkin", plain_zipkin, RECORDS),
    "Zipkin v1": Form("zipkin", plain_zipkin, [FIRST_VERSION]),
}


def spans_of(requests: Sequence[bytes]) -> list[tuple[list[bytes], bytes]]:
    """Each span with its resource's attributes, both in an order of their own."""
    return sorted(
        (
            sorted(one.SerializeToString(deterministic=True) for one in group.resource.attributes),
            span.SerializeToString(deterministic=True),
        )
        for data in requests
        for group in ExportTraceServiceRequest.FromString(data).resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    )


def check(form: Form, text: bytes) -> bool:
    """Whether a text is plain; what is plain of it are the spans of the slow way."""
    made = form.kernel.transcode(text)
    if made is None or not made[0]:
        return False
    fast = [made[0]]
    try:
        for odd in made[1]:
            fast += read_any(odd, form.name).requests
    except Malformed:
        with pytest.raises(Malformed):
            read_any(text, form.name)
        return False
    assert spans_of(fast) == spans_of(read_any(text, form.name).requests), text
    return made[1] == []


@pytest.mark.parametrize("name", FORMS)
def test_what_tools_write_is_plain_in_any_layout(name: str) -> None:
    """Members in any order, spaces anywhere."""
    form, rng = FORMS[name], random.Random(name)
    for _ in range(4):
        assert check(form, laid_out(form.document, rng).encode())


@pytest.mark.parametrize("name", FORMS)
def test_a_document_with_odd_members_is_read_as_the_slow_way_reads_it(name: str) -> None:
    """Or is not plain; with one odd value or one member less most are."""
    form, rng = FORMS[name], random.Random(name)
    plain = 0
    for k in range(24):
        document = altered(form.document, rng, 0.03 if k % 2 else 0.005)
        plain += check(form, json.dumps(document, ensure_ascii=False).encode())
    assert plain >= 2


@pytest.mark.parametrize("name", FORMS)
def test_a_damaged_document_is_never_read_as_something_else(name: str) -> None:
    """It is not plain, or as the slow way reads it."""
    form, rng = FORMS[name], random.Random(name)
    for _ in range(10):
        check(form, damaged(json.dumps(form.document).encode(), rng))


# -- members -----------------------------------------------------------------------------------------

OWN = '"spanID":"1","startTime":1790000000000000'
ONE = '{"data":[{"traceID":"abc","spans":[{' + OWN
#: Where members stand.
PLACES = {
    "span": ("Jaeger", ONE + ",%s}]}]}"),
    "trace": ("Jaeger", ONE + ',"processID":"p"}],%s}]}'),
    "ids": ("Jaeger", '{"data":[{"spans":[{"startTime":1790000000000000,%s}]}]}'),
    "times": ("Jaeger", '{"data":[{"traceID":"abc","spans":[{"spanID":"1",%s}]}]}'),
    "reference": ("Jaeger", ONE + ',"references":[{%s}]}]}]}'),
    "log": ("Jaeger", ONE + ',"logs":[{%s}]}]}]}'),
    "record": ("Zipkin", '[[{"traceId":"5","id":"a","timestamp":1,%s}]]'),
    "own": ("Zipkin", "[[{%s}]]"),
}
#: Texts of members of objects; + is plain, - is not.
MEMBERS = r"""
span traceID
    + "1"
    + "0123456789abcdefABCDEF0123456789"
    - "0123456789abcdefABCDEF01234567890"
    - ""
    - "g"
    - "0g"
    - "g0"
    - 7
    - null
ids "traceID":"a","spanID"
    + "1"
    + "0123456789abcdef"
    - "0123456789abcdef0"
    - "0123456789abcdeg"
    - ""
    - null
span duration
    + 0
    + "7"
    + null
    + 7433372036854775
    - 7433372036854776
    - -1
    - 1.5
    - "x"
times startTime
    + 0
    + 9223372036854775
    - 9223372036854776
    - -1
    - null
    - "x"
times operationName
    - "x"
span operationName
    + "x"
    + ""
    + null
    - 7
span references
    + []
    + null
    + [{"refType":"CHILD_OF","traceID":"abc","spanID":"2"}]
    + [{"refType":"CHILD_OF","traceID":"0ABC","spanID":"2"}]
    + [{"refType":"CHILD_OF","traceID":"abd","spanID":"2"},{"refType":"CHILD_OF","spanID":"3"}]
    + [{"refType":"FOLLOWS_FROM","traceID":"","spanID":"2"},{"refType":"CHILD_OF","spanID":"3"}]
    + [{"refType":"CHILD_OF","spanID":"2"},{"refType":"CHILD_OF","spanID":"3"}]
    + [{"refType":"FOLLOWS_FROM","spanID":"2"},{"refType":"FOLLOWS_FROM","spanID":"3"}]
    - {}
    - [{}]
    - [7]
reference refType
    - "CHILD_OF"
    - null
reference "spanID":"2","refType"
    + "CHILD_OF"
    + "FOLLOWS_FROM"
    - null
reference "refType":"CHILD_OF","spanID":"2","traceID"
    + "abc"
    + "ab"
    + "abd"
    + null
    - 7
    - "g"
reference "refType":"CHILD_OF","spanID"
    - "g"
    - ""
    - null
span parentSpanID
    + "2"
    + ""
    + null
    - "x"
    - 7
span tags
    + []
    + {}
    + null
    + [{"key":"a"}]
    + [{"key":"a","value":null}]
    + [{"key":"a","type":"","value":7}]
    - [{"value":7}]
    - [{"key":"a","type":"x","value":7}]
    + [{"key":"a","type":"bool","value":"true"}]
    + [{"key":"a","type":"bool","value":"false"}]
    - [{"key":"a","type":"bool","value":"yes"}]
    + [{"key":"a","type":"int64","value":"7"}]
    + [{"key":"a","type":"int64","value":-7}]
    - [{"key":"a","type":"int64","value":"x"}]
    - [{"key":"a","type":"int64","value":1.5}]
    + [{"key":"a","type":"float64","value":"1.5"}]
    + [{"key":"a","type":"float64","value":7}]
    - [{"key":"a","type":"float64","value":-0}]
    - [{"key":"a","type":"float64","value":"1.5x"}]
    - [{"key":"a","type":"float64","value":""}]
    + [{"key":"a","type":"string","value":"x"}]
    + [{"key":"a","type":"string","value":7}]
    + [{"key":"a","value":1.5}]
    + [{"key":"a","value":1e2}]
    - [{"key":"a","value":[]}]
    - [{"key":"a","value":{}}]
    - [{"key":"a","type":"binary","value":"YWJj"}]
    - [7]
    - 7
    + [{"key":"span.kind","value":"client"},{"key":"span.kind","value":"x"}]
    - [{"key":"span.kind","value":"x"},{"key":"span.kind","value":"client"}]
    + [{"key":"span.kind","value":"consumer"}]
    + [{"key":"span.kind","value":""}]
    - [{"key":"span.kind"}]
    + [{"key":"error","value":true}]
    + [{"key":"error","value":false}]
    + [{"key":"error","value":"true"}]
    + [{"key":"error","value":"x"}]
    - [{"key":"error","value":1}]
    - [{"key":"error","value":null}]
    + [{"key":"otel.status_code","value":"OK"}]
    + [{"key":"otel.status_code","value":"ERROR"},{"key":"otel.status_description","value":"bad"}]
    + [{"key":"otel.status_code","value":"UNSET"}]
    + [{"key":"otel.status_description","value":"bad"}]
    - [{"key":"otel.status_code","value":7}]
    + [{"key":"w3c.tracestate","value":"a=b"}]
    + {"a":1,"b":"x","span.kind":"server"}
    - {"a":[]}
span tag
    + {"a@b":1,"span@kind":"server","error":"true"}
    + {}
    + null
    + []
log timestamp
    + 1
    + "1"
    + 0
    + null
    - -1
    - 9223372036854776
log fields
    + []
    + null
    + [{"key":"event","value":"x"},{"key":"event","value":"y"}]
    + [{"key":"event","value":7},{"key":"a","value":1.5}]
    + [{"key":"a"},{"key":"event","value":""}]
    - {}
    - [{}]
    - [{"key":"event","value":"x"},{}]
    - [{"key":"a","value":[]}]
    - [7]
trace processes
    + {}
    + null
    + {"q":{"serviceName":"x"}}
    + {"p":{"serviceName":"x","tags":[{"key":"a","value":7}]}}
    + {"q":{},"p":{"serviceName":"y"},"pp":{"serviceName":"z"}}
    + {"p":{}}
    - {"p":null}
    - {"p":[]}
    - {"p":{"serviceName":7}}
    - {"p":{"serviceName":"x","tags":[{"key":"a","value":1.5}]}}
    - {"p":{"serviceName":"x","tags":[{}]}}
    - {"\u0070":{"serviceName":"x"}}
    - []
span process
    + {"serviceName":"x"}
    + {}
    + null
    + []
    - [7]
    - 7
span processID
    + "x"
    + ""
    + null
    - 7
    - "\u0070"
record parentId
    + "a"
    + "b"
    + ""
    + null
    - "g"
    - 7
record kind
    + "SERVER"
    + "CLIENT"
    + "PRODUCER"
    + "CONSUMER"
    + null
    - "server"
    - ""
    - 7
record name
    + "x"
    + ""
    + null
    - 7
record duration
    + 0
    + 7
    + null
    - -1
    - 9223372036854775
record shared
    + true
    + false
    + null
    - 1
    - "true"
record localEndpoint
    + {}
    + null
    + {"serviceName":"x","ipv4":"10.0.0.1","ipv6":"::1","port":80}
    + {"serviceName":"","ipv6":"::1"}
    + {"serviceName":null,"ipv4":""}
    - {"serviceName":7}
    - {"ipv4":"\u0031"}
    - []
record remoteEndpoint
    + {}
    + {"serviceName":"y","ipv4":"10.0.0.2"}
    + {"ipv6":"::2"}
    - {"ipv6":7}
    - 7
record tags
    + {}
    + null
    + {"a":"b","error":""}
    + {"kafka.topic":"orders","jms.queue":"x"}
    - {"a":7}
    - {"a":null}
    - []
record "kind":"PRODUCER","remoteEndpoint":{"serviceName":"k","ipv4":"1.1.1.1"},"tags"
    + {}
    + {"kafka.topic":"orders"}
    + {"jms.topic":""}
    + {"rabbit.exchange":"e","rabbit.queue":"q"}
record "kind":"CONSUMER","tags"
    + {"jms.queue":"q"}
record "kind":"CLIENT","remoteEndpoint"
    + {"serviceName":"k","ipv4":"1.1.1.1"}
    + {"ipv4":"1.1.1.1"}
record "kind":"SERVER","remoteEndpoint"
    + {"serviceName":"k","ipv4":"1.1.1.1"}
record annotations
    + []
    + null
    + [{}]
    + [{"timestamp":1,"value":"x"}]
    + [{"timestamp":0,"value":""}]
    - [{"timestamp":-1}]
    - [{"value":7}]
    - [7]
    - {}
own "id":"a","timestamp":1,"traceId"
    + "5"
    + "0123456789abcdefABCDEF0123456789"
    - "0123456789abcdefABCDEF01234567890"
    - ""
    - "g"
    - null
own "traceId":"5","timestamp":1,"id"
    + "0123456789abcdef"
    - "0123456789abcdef0"
    - "g"
    - null
own "traceId":"5","id":"a","timestamp"
    + 1
    + "1"
    + 9223372036854775
    - 9223372036854776
    - 0
    - -1
    - null
"""
CASES = cases(MEMBERS)


@pytest.mark.parametrize("member", CASES)
def test_a_member_is_plain_as_tools_write_it_and_never_misread(member: str) -> None:
    """To the bounds of its type; of what is not plain the slow way knows what is wrong."""
    place, name = member.split(maxsplit=1)
    form, frame = PLACES[place]
    for text, plain in CASES[member]:
        quoted = name if name.startswith('"') else f'"{name}"'
        made = (frame % f"{quoted}:{text}").encode()
        assert check(FORMS[form], made) == plain, text


# -- records of one id -------------------------------------------------------------------------------


def records(rng: random.Random) -> list[dict[str, Any]]:
    """Records of few ids, times, services and addresses: shared spans, repeats, and parents among them."""
    out: list[dict[str, Any]] = []
    for _ in range(rng.randint(2, 7)):
        one: dict[str, Any] = {
            "traceId": rng.choice("556"),
            "id": rng.choice("aab"),
            "timestamp": rng.choice((7, 8)),
        }
        one["parentId"] = rng.choice((None, "a", "b", "c"))
        one["kind"] = rng.choice((None, "SERVER", "CLIENT", "PRODUCER", "CONSUMER"))
        one["shared"] = rng.choice((None, True, False))
        name = Text(rng.choice(("web", "wec", "we", "")))
        one["localEndpoint"] = {"serviceName": name, "ipv4": rng.choice((None, "1.1.1.1", "1.1.1.2"))}
        out.append({key: value for key, value in one.items() if value is not None})
    return out


def test_records_of_one_id_are_told_apart_as_the_slow_way_does() -> None:
    """In any order; each gets an id of its own, and hangs below the one that lives where it does."""
    rng = random.Random(1)
    for _ in range(60):
        assert check(FORMS["Zipkin"], laid_out([records(rng)], rng).encode())


def test_the_trace_of_every_record_is_found() -> None:
    """Of a list, or of one alone; of what is no record, nothing."""
    rng = random.Random(2)
    many = [one for _ in range(5) for one in records(rng)]
    text = laid_out(many, rng).encode()
    found = plain_zipkin.trace_ids(text)
    assert found is not None
    assert found[:, 1].tolist() == [int(one["traceId"], 16) for one in many]
    assert [json.loads(text[a:b]) for a, b in found[:, 2:].tolist()] == many
    alone = plain_zipkin.trace_ids(b' {"traceId":"0a00000000000000000b"} ')
    assert alone is not None
    assert alone[:, :2].tolist() == [[0xA00, 0xB]]
    for bad in (
        b"7",
        b"[7]",
        b'[{"id":"5"}]',
        b'[{"traceId":"x"}]',
        b'[{"traceId":"5"}',
        b'[{"traceId":"5"}] 7',
    ):
        assert plain_zipkin.trace_ids(bad) is None, bad

"""Plain Jaeger and Zipkin JSON: what tools write is plain in any layout, and read as the slow way reads."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from laid_out import damaged, laid_out
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

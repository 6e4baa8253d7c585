"""Who carries a change: versions and tenants are found in raw spans, and unchanged pairs stay silent."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from stores import ARRIVED, DAY, SECOND, land, new_store

from tracescope import schema
from tracescope.cli import main
from tracescope.engine.carriers import Asked, carriers
from tracescope.engine.seal import seal
from tracescope.errors import InsufficientDataError
from tracescope.ingest.decode import decode
from tracescope.periods import Period
from tracescope.store import SpanStore

BASE = Period(DAY, DAY + 10 * 3600 * SECOND, "base")
HEAD = Period(DAY + 10 * 3600 * SECOND, DAY + 20 * 3600 * SECOND, "head")
REQUESTS = 800

#: Version, tenant, milliseconds and whether it fails, of one request of head or of base.
Draw = Callable[[np.random.Generator, bool], tuple[str, str, float, bool]]


def filled(path: Path, draw: Draw) -> SpanStore:
    """A store of one service, drawn request by request."""
    store = new_store(path)
    rng = np.random.default_rng(7)
    message = ExportTraceServiceRequest()
    for number in range(2 * REQUESTS):
        late = number >= REQUESTS
        version, tenant, ms, failed = draw(rng, late)
        start = DAY + number * 20 * 3600 * SECOND // (2 * REQUESTS)
        part = message.resource_spans.add()
        for key, value in (
            ("service.name", "shop"),
            ("service.version", version),
            ("host.name", f"h-{version}"),
        ):
            part.resource.attributes.add(key=key).value.string_value = value
        span = part.scope_spans.add().spans.add(
            trace_id=(number + 1).to_bytes(16, "big"), span_id=(number + 1).to_bytes(8, "big"), name="GET /",
            kind=2, start_time_unix_nano=start, end_time_unix_nano=start + int(ms * 1e6),
        )  # type: ignore[arg-type] # fmt: skip
        span.status.code = schema.STATUS_ERROR if failed else 0
        span.attributes.add(key="tenant.id").value.string_value = tenant
        span.attributes.add(key="request.id").value.string_value = f"r{number}"
        span.attributes.add(key="http.route").value.string_value = f"/{version}"
    land(store, decode([message.SerializeToString()], ARRIVED).spans, "all")
    seal(store)
    return store


def canary(rng: np.random.Generator, late: bool) -> tuple[str, str, float, bool]:
    """A tenth of head runs version 2, which takes three times as long."""
    new = late and rng.random() < 0.1
    ms = 40 * float(np.exp(0.2 * rng.standard_normal())) * (3 if new else 1)
    return "2" if new else "1", f"t{rng.integers(4)}", ms, False


def everybody(rng: np.random.Generator, late: bool) -> tuple[str, str, float, bool]:
    """All of head is slower by a half: nobody stands out."""
    ms = 40 * float(np.exp(0.2 * rng.standard_normal())) * (1.5 if late else 1)
    return "1", f"t{rng.integers(4)}", ms, False


def refused(rng: np.random.Generator, late: bool) -> tuple[str, str, float, bool]:
    """A tenant's requests fail in head, and are quick as they were."""
    tenant = f"t{rng.integers(4)}"
    return "1", tenant, 40.0 + float(rng.random()), late and tenant == "t2" and rng.random() < 0.5


def test_a_canary_at_a_tenth_is_found_by_its_version(tmp_path: Path) -> None:
    """It carries the whole change; its host, which the same requests name, stands beside it."""
    found = carriers(filled(tmp_path, canary), (BASE, HEAD), 0.05, Asked(""))
    first = found.carriers[0]
    assert (first.key, first.value, first.service, first.measure) == (
        "service.version",
        "2",
        "shop",
        "latency",
    )
    assert first.explained == pytest.approx(1.0, abs=0.15)
    assert first.weight_base == 0
    assert first.weight_head == pytest.approx(0.1, abs=0.03)
    assert first.also == ("host.name=h-2 of shop",)
    assert not any(one.key in ("request.id", "http.route") for one in found.carriers)


def test_attributes_can_be_chosen(tmp_path: Path) -> None:
    """Only these are looked at, whatever they say."""
    found = carriers(filled(tmp_path, canary), (BASE, HEAD), 0.05, Asked("", ("tenant.id", "http.route")))
    assert {one.key for one in found.carriers} == {"http.route"}


def test_what_falls_on_everybody_is_carried_by_nobody(tmp_path: Path) -> None:
    """All tenants are slower alike; and two periods alike have no carrier either."""
    store = filled(tmp_path / "slower", everybody)
    assert carriers(store, (BASE, HEAD), 0.05, Asked("")).carriers == ()
    halves = Period(DAY, DAY + 5 * 3600 * SECOND, "a"), Period(DAY + 5 * 3600 * SECOND, BASE.end_ns, "b")
    assert carriers(store, halves, 0.05, Asked("")).carriers == ()


def test_failures_are_carried_too(tmp_path: Path) -> None:
    """A tenant whose requests fail is found although its latency is as it was."""
    found = carriers(filled(tmp_path, refused), (BASE, HEAD), 0.05, Asked(""))
    (first,) = [one for one in found.carriers if one.carries > 0]
    assert (first.measure, first.key, first.value) == ("errors", "tenant.id", "t2")
    assert first.mean_head == pytest.approx(0.5, abs=0.1)


def test_without_raw_spans_there_is_no_answer_but_a_sentence(tmp_path: Path) -> None:
    """An empty period says what is missing and what to do."""
    gone = Period(DAY + 48 * 3600 * SECOND, DAY + 50 * 3600 * SECOND, "gone")
    with pytest.raises(InsufficientDataError, match="explain-by"):
        carriers(filled(tmp_path, canary), (BASE, gone), 0.05, Asked(""))


def test_diff_tells_who_carries_it_asked_or_clearly_so(tmp_path: Path) -> None:
    """With the option always, without it where one value clearly does; what is cut is refused."""
    store = filled(tmp_path, canary)
    periods = ["2026-09-30T00:00Z/2026-09-30T10:00Z", "2026-09-30T10:00Z/2026-09-30T20:00Z"]
    command = ["diff", *periods, "--store", str(store.root), "--tz", "UTC"]
    asked = CliRunner().invoke(main, [*command, "--format", "json", "--explain-by=service.version"])
    made = json.loads(asked.stdout)["explained_by"]
    assert (made["values"][0]["attribute"], made["values"][0]["value"]) == ("service.version", "2")
    unasked = CliRunner().invoke(main, command)
    assert "by  service.version=2 of shop: carries" in unasked.stdout
    cut = CliRunner().invoke(main, [*command, "--explain-by=enduser.id"])
    assert cut.exit_code == 2
    assert "is cut before spans are stored" in cut.output

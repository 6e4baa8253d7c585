"""Traces found by what they are, their spans' details, and a waterfall whose idle gaps are broken."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient

from tracescope.analysis.rollups.trace_path import critical_path
from tracescope.analysis.rollups.where import Condition
from tracescope.cli import main
from tracescope.config import Settings, load
from tracescope.engine.rollups import trace_spans
from tracescope.engine.trace_search import Criteria, begins_with, search, summaries
from tracescope.errors import ConfigError, InputError
from tracescope.report.waterfall import GAP_TAKES, Axis, axis_of
from tracescope.schema import HOUR_NS, trace_hex
from tracescope.session import Session
from tracescope.store import SpanStore, open_store
from tracescope.web.app import make_app

DATA = Path(__file__).parent / "data" / "nezha"
ALL = (0, 2**62)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> SpanStore:
    path = tmp_path_factory.mktemp("search") / "store"
    result = CliRunner().invoke(main, ["import", str(DATA / "ob0822-05.A.jsonl.gz"), "--store", str(path)])
    assert result.exit_code == 0, result.output
    return open_store(path)


@pytest.fixture(scope="module")
def spans(store: SpanStore) -> pl.DataFrame:
    """Every span of the store, once."""
    found = store.reading(lambda seen: pl.concat(
        [store.sealed.scan(seen.pointer, "spans").collect().drop("hour"), seen.pending().collect()],
        how="diagonal",
    ))  # fmt: skip
    return found.unique(["trace_hi", "trace_lo", "span_id"])


def ids(spans: pl.DataFrame) -> set[str]:
    return {trace_hex(*row) for row in spans.select("trace_hi", "trace_lo").unique().iter_rows()}


def found(store: SpanStore, **wanted: object) -> set[str]:
    got = search(store, *ALL, Criteria(**wanted), most=100_000)  # type: ignore[arg-type]
    assert got.whole
    return {one.trace_id for one in got.traces}


def test_every_condition_finds_what_a_slow_look_finds(store: SpanStore, spans: pl.DataFrame) -> None:
    """Service, operation, duration and errors, each against the plain rows."""
    assert found(store) == ids(spans)
    service = spans["service_name"].value_counts(sort=True)["service_name"][-1]
    assert found(store, service=service) == ids(spans.filter(service_name=service))
    operation = str(spans["operation"].drop_nulls()[0])
    assert found(store, operation=operation.upper()) >= ids(spans.filter(operation=operation))
    assert found(store, failed=True) == ids(spans.filter(status=2))
    length = spans.group_by("trace_hi", "trace_lo").agg(
        ((pl.col("end_ns").max() - pl.col("start_ns").min()) / 1e6).alias("ms")
    )
    middle = float(length["ms"].median() or 0)  # type: ignore[arg-type]
    assert found(store, least_ms=middle) == ids(length.filter(pl.col("ms") >= middle))
    assert found(store, most_ms=middle) == ids(length.filter(pl.col("ms") <= middle))


def test_a_service_and_an_operation_are_of_one_span(store: SpanStore, spans: pl.DataFrame) -> None:
    """Not of two spans of one trace."""
    pairs = spans.select("service_name", "operation").unique().rows()
    service = pairs[0][0]
    foreign = next(
        operation for other, operation in pairs if other != service and (service, operation) not in pairs
    )
    rows = spans.filter(
        pl.col("service_name") == service,
        pl.col("operation").str.to_lowercase().str.contains(foreign.lower(), literal=True),
    )
    assert found(store, service=service, operation=foreign) == ids(rows)


def test_a_line_tells_entry_duration_spans_and_the_slowest_come_first(
    store: SpanStore, spans: pl.DataFrame
) -> None:
    """As many as asked for, and whether that is all."""
    got = search(store, *ALL, Criteria(), most=5)
    assert len(got.traces) == 5
    assert not got.whole
    took = [one.duration_ms for one in got.traces]
    assert took == sorted(took, reverse=True)
    rows = spans.filter(pl.struct("trace_hi", "trace_lo").map_elements(
        lambda each: trace_hex(each["trace_hi"], each["trace_lo"]) == got.traces[0].trace_id, pl.Boolean
    ))  # fmt: skip
    assert got.traces[0].spans == len(rows)
    assert search(store, 0, 1, Criteria()).hours is None


def test_examples_are_told_of_in_a_line_and_only_while_their_spans_are_here(
    store: SpanStore, spans: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each as the search tells of it; nothing of an id that is not here, nor of more spans than are read."""
    told = {one.trace_id: one for one in search(store, *ALL, Criteria(), most=100_000).traces}
    keys = spans.select("trace_hi", "trace_lo").unique(maintain_order=True).rows()[:7]
    known = {key: told[trace_hex(*key)].start_ns // HOUR_NS for key in keys}
    assert summaries(store, {**known, (1, 2): min(known.values())}) == {
        trace_hex(*key): told[trace_hex(*key)] for key in keys
    }
    assert summaries(store, {}) == {}
    assert summaries(store, dict.fromkeys(keys, 5)) == {}
    monkeypatch.setattr("tracescope.engine.trace_search.MOST_SPANS", 1)
    assert summaries(store, known) == {}


def test_an_attribute_narrows_and_one_that_nobody_has_finds_nothing(store: SpanStore) -> None:
    """On a span or on its resource."""
    assert found(store, where=(Condition("no.such.key", "1"),)) == set()


def test_the_first_digits_of_an_id_are_enough(store: SpanStore, spans: pl.DataFrame) -> None:
    """On either side of the middle, whatever the sign of a half is."""
    whole = sorted(ids(spans))
    for trace_id in (whole[0], whole[-1]):
        for digits in (6, 15, 16, 20, 31):
            begun = begins_with(store, trace_id[:digits])
            assert begun == [one for one in whole if one.startswith(trace_id[:digits])][:5]
    result = CliRunner().invoke(main, ["path", whole[0][:20], "--store", str(store.root), "--format", "json"])
    assert json.loads(result.stdout)["trace_id"] == whole[0]
    several = CliRunner().invoke(main, ["path", whole[0][:1], "--store", str(store.root)])
    assert several.exit_code == 1
    assert "begin with" in several.stderr


def test_pages_look_for_traces_show_a_span_and_stand_two_side_by_side(
    store: SpanStore, spans: pl.DataFrame
) -> None:
    """Attributes and resource of one span; two traces on one scale; a link to where else it is kept."""
    settings = Settings(store=str(store.root), tz="UTC", trace_url="https://jaeger.example/trace/{trace_id}")
    client = TestClient(make_app(Session(store.root, settings)), base_url="http://127.0.0.1")
    page = client.get("/traces", params={"base": "all"})
    assert page.status_code == 200
    first, second = sorted(ids(spans))[:2]
    row = spans.filter(pl.col("raw").is_not_null()).row(0, named=True)
    trace_id = trace_hex(row["trace_hi"], row["trace_lo"])
    span_id = f"{row['span_id'] & (2**64 - 1):016x}"
    shown = client.get(f"/trace/{trace_id}", params={"span": span_id}).text
    assert f"<code>{span_id}</code>" in shown
    assert "Resource" in shown
    assert f'href="https://jaeger.example/trace/{trace_id}"' in shown
    assert client.get(f"/trace/{trace_id}", params={"span": "zz"}).status_code == 404
    both = client.get(f"/trace/{first}", params={"beside": second}).text
    assert both.count('class="waterfall"') == 2
    assert "Both have one scale" in both


def test_idle_time_is_broken_and_order_kept() -> None:
    """What runs keeps one scale; a gap takes its fixed room; two traces on one scale have no breaks."""
    spans = pl.DataFrame({"start_ns": [0, 10, 1000], "duration_ns": [40, 20, 60]})
    axis = axis_of(spans, 1000.0)
    assert axis.gaps == ((40, 1000),)
    places = [axis.x(ns) for ns in range(0, 1061, 5)]
    assert places == sorted(places)
    assert axis.x(1000) - axis.x(40) == pytest.approx(1000 * GAP_TAKES)
    assert axis.x(1060) - axis.x(0) == pytest.approx(1000)
    assert (axis.x(40) - axis.x(0)) / 40 == pytest.approx((axis.x(1060) - axis.x(1000)) / 60)
    assert axis_of(spans, 1000.0, 5000) == Axis(5000, (), 1000.0)
    assert axis_of(spans.clear(), 1000.0).length_ns == 1


def test_an_address_without_the_id_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would lead nowhere, or run something."""
    for wrong in ("https://jaeger.example/", "javascript:alert('{trace_id}')", "/trace/{trace_id}"):
        monkeypatch.setenv("TRACESCOPE_TRACE_URL", wrong)
        with pytest.raises(ConfigError, match="no address of a trace"):
            load()


def test_a_span_that_is_not_there_says_so(store: SpanStore, spans: pl.DataFrame) -> None:
    """By its id, and by what is no id."""
    from tracescope.analysis.rollups.span_details import details

    row = spans.row(0, named=True)
    mine = trace_spans(store, row["trace_hi"], row["trace_lo"])
    assert critical_path(mine).trace_id
    for wrong in ("0123456789abcdef", "x", ""):
        with pytest.raises(InputError, match="no span"):
            details(mine, wrong)

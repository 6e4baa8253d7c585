"""Files of every kind that the reader names, whole and damaged, as a user would import them."""

from __future__ import annotations

import gzip
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
import zstandard
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData

from tracescope.errors import InputError, MalformedOtlpError
from tracescope.ingest import sequence
from tracescope.ingest.decode import decode
from tracescope.ingest.files import Skipped, expand, read

DATA = Path(__file__).parent / "data"
ARRIVED = 1_800_000_000 * 10**9
COLLECTOR = DATA / "collector"


def spans_of(*paths: Path | str, form: str = "auto") -> pl.DataFrame:
    """Every span of some files, in an order of their own."""
    found: list[pl.DataFrame] = []
    for chunk in read(paths, form):  # type: ignore[arg-type]
        requests = chunk.requests()
        try:
            found.append(decode(requests.data, ARRIVED).spans)
        except MalformedOtlpError as error:
            raise chunk.misplaced(error, requests) from error
    return pl.concat(found).sort("trace_hi", "trace_lo", "span_id", "start_ns") if found else pl.DataFrame()


def same(left: pl.DataFrame, right: pl.DataFrame) -> bool:
    """Equal but for the bytes that were kept, which need not be encoded alike."""
    drop = ["raw", "resource", "content_hash"]
    return left.drop(drop).equals(right.drop(drop))


@pytest.fixture(scope="module")
def exported() -> pl.DataFrame:
    return spans_of(COLLECTOR / "traces.jsonl")


# -- kinds --


@pytest.mark.parametrize("name", ["traces.binpb", "traces.binpb.framed.zst", "traces.jsonl.framed.zst"])
def test_all_four_forms_of_the_collectors_file_exporter_hold_the_same_spans(
    exported: pl.DataFrame, name: str
) -> None:
    """Written by a real Collector from the same 974 spans."""
    assert len(exported) == 974
    assert same(spans_of(COLLECTOR / name), exported)


@pytest.mark.parametrize("name", ["traces.jsonl", "traces.binpb"])
@pytest.mark.parametrize("wrap", ["gz", "zst", "zst-two-frames"])
def test_compression_around_a_file_is_known_by_its_first_bytes_not_its_name(
    exported: pl.DataFrame, tmp_path: Path, name: str, wrap: str
) -> None:
    """Several frames or members after another are one file."""
    data = (COLLECTOR / name).read_bytes()
    half = len(data) // 2
    if wrap == "gz":
        packed = gzip.compress(data[:half]) + gzip.compress(data[half:])
    else:
        parts = (data[:half], data[half:]) if wrap == "zst-two-frames" else (data,)
        packed = b"".join(zstandard.compress(part) for part in parts)
    file = tmp_path / "traces"
    file.write_bytes(packed)
    assert same(spans_of(file), exported)


def test_one_bare_protobuf_message_is_read(exported: pl.DataFrame, tmp_path: Path) -> None:
    """No length before it, as an object of the Collector's S3 exporter has none."""
    whole = ExportTraceServiceRequest()
    for chunk in read([COLLECTOR / "traces.binpb"]):
        for message in chunk.requests().data:
            whole.MergeFromString(message)
    (tmp_path / "object").write_bytes(whole.SerializeToString())
    assert same(spans_of(tmp_path / "object"), exported)


def test_one_indented_json_document_is_read(exported: pl.DataFrame, tmp_path: Path) -> None:
    """Also with a byte order mark, blank lines in front, and without a newline at its end."""
    lines = (COLLECTOR / "traces.jsonl").read_bytes().splitlines()
    whole = {"resourceSpans": [part for line in lines for part in json.loads(line)["resourceSpans"]]}
    for number, text in enumerate(
        (json.dumps(whole, indent=2), "\ufeff" + json.dumps(whole), "\n\n" + json.dumps(whole))
    ):
        (tmp_path / f"{number}.json").write_text(text, encoding="utf-8")
        assert same(spans_of(tmp_path / f"{number}.json"), exported), number


def test_blank_lines_and_windows_line_ends_are_no_errors(exported: pl.DataFrame, tmp_path: Path) -> None:
    """What editors and copies over networks do to text."""
    lines = (COLLECTOR / "traces.jsonl").read_bytes().splitlines()
    (tmp_path / "a.jsonl").write_bytes(b"\r\n\r\n".join(lines))
    assert same(spans_of(tmp_path / "a.jsonl"), exported)


def test_names_globs_folders_and_duplicates_are_expanded_in_order(tmp_path: Path) -> None:
    """Hidden files are left out, and a file comes once; a name without a match is an error."""
    for name in ("b/2.jsonl", "b/1.jsonl", "a.jsonl", "b/.hidden", "b/LICENSE", "b/.x/y.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [
        Path(path).name for path, _ in expand([tmp_path / "b", tmp_path / "*.jsonl", tmp_path / "b/1*"])
    ] == [
        "1.jsonl",
        "2.jsonl",
        "LICENSE",
        "a.jsonl",
    ]
    assert expand(["-"]) == [("-", True)]
    with pytest.raises(InputError, match=r"nothing\*: no such file"):
        expand([tmp_path / "nothing*"])


def test_empty_files_hold_no_spans(tmp_path: Path) -> None:
    """Plain, and compressed to nothing."""
    for name, data in (("a", b""), ("b", gzip.compress(b"")), ("c", zstandard.compress(b"")), ("d", b"\n\n")):
        (tmp_path / name).write_bytes(data)
        assert len(spans_of(tmp_path / name)) == 0, name


def test_logs_and_metrics_beside_traces_are_passed_over(exported: pl.DataFrame, tmp_path: Path) -> None:
    """A Collector may write all signals into one file."""
    lines = (COLLECTOR / "traces.jsonl").read_bytes().splitlines()
    (tmp_path / "all.jsonl").write_bytes(
        b"\n".join([lines[0], b'{"resourceLogs":[]}', b'{"resourceMetrics":[]}', *lines[1:]])
    )
    assert same(spans_of(tmp_path / "all.jsonl"), exported)


# -- Jaeger and Zipkin --


def test_jaeger_json_gives_kinds_parents_links_errors_and_services(tmp_path: Path) -> None:
    """CHILD_OF is the parent; another reference is a link; ids are padded; the file is known as it is."""
    trace = {
        "traceID": "abc",
        "spans": [
            {"traceID": "abc", "spanID": "1", "operationName": "GET /", "startTime": 1_700_000_000_000_000,
             "duration": 2000, "processID": "p1",
             "tags": [{"key": "span.kind", "type": "string", "value": "server"}]},
            {"traceID": "abc", "spanID": "2", "operationName": "SELECT", "startTime": 1_700_000_000_000_500,
             "duration": 1000, "processID": "p1", "references": [
                 {"refType": "CHILD_OF", "traceID": "abc", "spanID": "1"},
                 {"refType": "FOLLOWS_FROM", "traceID": "def", "spanID": "9"}],
             "tags": [{"key": "span.kind", "value": "client"},
                      {"key": "error", "type": "bool", "value": True},
                      {"key": "db.system", "value": "mysql"}, {"key": "rows", "type": "int64", "value": 7}]},
        ],
        "processes": {"p1": {"serviceName": "web", "tags": [{"key": "hostname", "value": "h1"}]}},
    }  # fmt: skip
    for name, document in (("api.json", {"data": [trace]}), ("one.json", trace)):
        (tmp_path / name).write_text(json.dumps(document))
        found = spans_of(tmp_path / name)
        assert found["service_name"].to_list() == ["web", "web"]
        assert found["kind"].to_list() == [2, 3]
        assert found["parent_span_id"].to_list() == [0, 1]
        assert found["status"].to_list() == [0, 2]
        assert found["trace_lo"].to_list() == [0xABC, 0xABC]
        assert (found["end_ns"] - found["start_ns"]).to_list() == [2_000_000, 1_000_000]
        assert found["links"].bin.size().to_list() == [None, 24]


def test_hotrod_and_social_network_import_without_a_reject() -> None:
    """Real Jaeger traces as OTLP JSON: 379 spans of 14 traces, 660 of 20."""
    hotrod = spans_of(DATA / "hotrod" / "spans.jsonl.gz")
    assert (len(hotrod), hotrod.select("trace_hi", "trace_lo").n_unique()) == (379, 14)
    social = spans_of(DATA / "dsb-socialnetwork" / "traces.jsonl.gz")
    assert (len(social), social.select("trace_hi", "trace_lo").n_unique()) == (660, 20)
    assert {"redis", "mongodb", "memcached"} <= {peer.split("/")[0] for peer in social["peer"].drop_nulls()}


ZIPKIN = sorted((DATA / "zipkin").glob("*.json*"))


@pytest.mark.parametrize("file", ZIPKIN, ids=lambda path: path.name)
def test_zipkin_spans_are_all_kept_or_counted_and_ids_are_unique(file: Path) -> None:
    """Production traces: shared ids, records without timestamps or durations."""
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(file) as stream:
        records = json.load(stream)
    timed = sum(bool(record.get("timestamp")) for record in records)
    (chunk,) = read([file])
    decoded = decode(chunk.requests().data, ARRIVED)
    assert len(decoded.spans) == timed
    assert sum(decoded.rejected.values()) == 0, "what has no timestamp completes a record that has one"
    ids = decoded.spans.select("trace_hi", "trace_lo", "span_id")
    assert ids.n_unique() == len(ids)


def test_children_of_a_shared_zipkin_span_hang_below_the_half_of_their_service(
    tmp_path: Path,
) -> None:
    """client(web) ── server(shop), one id; shop's own call below the server, web's below the client."""

    def span(
        identity: str, parent: str | None, service: str, kind: str | None, **more: object
    ) -> dict[str, object]:
        at: dict[str, object] = {"timestamp": 1_700_000_000_000_000, "duration": 10}
        made = {"traceId": "5", "id": identity, "name": service, **at, **more}
        made["localEndpoint"] = {"serviceName": service}
        return made | ({"parentId": parent} if parent else {}) | ({"kind": kind} if kind else {})

    records = [
        span("a", None, "web", "CLIENT"),
        span("a", None, "shop", "SERVER", shared=True),
        span("b", "a", "shop", "CLIENT"),
        span("c", "a", "web", None),
    ]
    (tmp_path / "z.json").write_text(json.dumps(records))
    found = {
        (row["service_name"], row["kind"]): row for row in spans_of(tmp_path / "z.json").iter_rows(named=True)
    }
    client, server = found["web", 3], found["shop", 2]
    assert client["span_id"] == 0xA
    assert server["parent_span_id"] == 0xA
    assert server["span_id"] not in (0xA, 0xB, 0xC)
    assert found["shop", 3]["parent_span_id"] == server["span_id"]
    assert found["web", 1]["parent_span_id"] == 0xA


# -- wrappings, framings and other signals --

CASES = DATA / "cases"


@pytest.mark.parametrize(
    ("name", "spans", "skipped"),
    [
        ("mixed-signals-metrics-first.jsonl", 8, {"metrics": 1, "logs": 1}),
        ("concatenated-pretty-json.json", 8, {}),
        ("jaeger-json-lines.jsonl", 8, {}),
        ("jaeger-v3-result.json", 4, {}),
        ("tempo-v1-batches-base64.json", 4, {}),
        ("snake-case-over-http.json", 4, {}),
        ("zipkin-v1-read-as-v2.json", 3, {}),
        ("two-server-records-one-id.json", 3, {}),
        ("zipkin-endpoint-ip-skew.json", 4, {}),
        ("brave-kafka-poll.json", 5, {}),
    ],
)
def test_every_wrapping_is_read_and_what_is_skipped_is_counted(
    name: str, spans: int, skipped: dict[str, int]
) -> None:
    """What tools and people make of OTLP, Jaeger and Zipkin JSON."""
    assert len(spans_of(CASES / name)) == spans
    found: Counter[str] = Counter()
    for chunk in read([CASES / name]):
        found += chunk.requests().skipped
    assert found == skipped


def varint(value: int) -> bytes:
    return bytes([value & 127 | 128]) + varint(value >> 7) if value > 127 else bytes([value])


@pytest.mark.parametrize("wrap", ["bare", "prefixed", "varint"])
def test_protobuf_messages_stand_in_any_framing_beside_those_of_other_signals(
    exported: pl.DataFrame, tmp_path: Path, wrap: str
) -> None:
    """Several a file; metrics and logs in between are skipped and counted."""
    messages = [data for chunk in read([COLLECTOR / "traces.binpb"]) for data in chunk.requests().data]
    metrics, logs = MetricsData(), LogsData()
    metric = metrics.resource_metrics.add().scope_metrics.add().metrics.add(name="http.server.duration")
    metric.gauge.data_points.add(as_int=1)
    logs.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=1)
    others = [] if wrap == "bare" else [metrics.SerializeToString(), logs.SerializeToString()]
    framed = {
        "bare": lambda data: data,
        "prefixed": lambda data: struct.pack(">I", len(data)) + data,
        "varint": lambda data: varint(len(data)) + data,
    }[wrap]
    (tmp_path / "file").write_bytes(b"".join(map(framed, [*others, *messages])))
    assert same(spans_of(tmp_path / "file"), exported)
    found = sum((chunk.requests().skipped for chunk in read([tmp_path / "file"])), Counter())
    assert found == ({} if wrap == "bare" else {"metrics": 1, "logs": 1})


def test_a_large_document_is_the_same_from_a_file_compressed_and_from_a_pipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its portions are read again from the file itself, or from one beside it."""
    monkeypatch.setattr(sequence, "CHUNK_BYTES", 2000)
    monkeypatch.setattr(sequence, "LARGE_BYTES", 4000)
    monkeypatch.setattr(sequence, "_BLOCK", 1000)
    lines = (CASES / "jaeger-json-lines.jsonl").read_bytes().splitlines()
    traces = [trace for line in lines for trace in json.loads(line)["data"]] * 9
    text = b"\xef\xbb\xbf\n" + json.dumps({"data": traces, "total": 0}, indent=1).encode() + b"\n" + lines[0]
    (tmp_path / "plain").write_bytes(text)
    (tmp_path / "packed").write_bytes(gzip.compress(text))
    whole = spans_of(tmp_path / "plain")
    assert len(whole) == 8 * 9 + 4
    assert sum(len(chunk.messages) for chunk in read([tmp_path / "plain"])) > 10
    assert spans_of(tmp_path / "packed").equals(whole)
    reading, writing = os.pipe()
    os.write(writing, gzip.compress(text))
    os.close(writing)
    with os.fdopen(reading, "rb") as piped:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(piped))
        assert spans_of("-").equals(whole)


# -- what is no trace file --

FOREIGN = {
    "rows.jsonl": (b'{"Timestamp":"2026-01-01","TraceId":"a","SpanId":"b","SpanName":"c"}\n', "ClickHouse"),
    "answer.json": (b'{"meta":[],"data":[{"TraceId":"a"}],"rows":1}', "ClickHouse"),
    "dd.json": (b'[[{"trace_id":1,"span_id":2,"service":"a","resource":"b","name":"c"}]]', "Datadog"),
    "xray.json": (b'{"Traces":[{"Id":"1-5","Segments":[{"Id":"a","Document":"{}"}]}]}', "X-Ray"),
    "segment.json": (b'{"trace_id":"1-5759e988","id":"a","start_time":1.5,"name":"b"}', "X-Ray"),
    "sky.json": (b'[{"traceId":"a","traceSegmentId":"b","id":1,"spans":[{"spanId":0}]}]', "SkyWalking"),
    "sky-answer.json": (b'{"data":{"queryTrace":{"spans":[]}}}', "SkyWalking"),
    "python.json": (b'{\n "name": "a",\n "context": {"trace_id": "0x1"},\n "parent_id": null,\n'
                    b' "start_time": "2026-01-01T00:00:00Z"\n}\n', "Python's console exporter"),
    "go.json": (b'{"Name":"a","SpanContext":{"TraceID":"1"},"Parent":{"TraceID":"1"},"SpanKind":1}', "Go's"),
    "node.txt": (b"{\n  resource: { attributes: {} },\n  traceId: '" + b"a" * 32 + b"',\n}\n", "Node's"),
    "dotnet.txt": (b"Activity.TraceId:            aa\nActivity.SpanId:  bb\n", r"\.NET's"),
    "java.txt": (b"INFO: 'GET /' : " + b"a" * 32 + b" " + b"b" * 16 + b" SERVER [tracer: x]\n", "Java's"),
    "debug.txt": (b"2026 info\nResourceSpans #0\nResource SchemaURL:\n", "debug exporter"),
    "spans.csv": (b"trace_id,span_id,name\n1,2,c\n", "comma-separated"),
    "utf16.json": ('{"resourceSpans": []}'.encode("utf-16"), "UTF-16"),
    "utf16-bare.json": ('{"resourceSpans": []}'.encode("utf-16-le"), "UTF-16"),
    "a.parquet": (b"PAR1" + bytes(range(256)), "Parquet"),
    "a.zip": (b"PK\x03\x04" + bytes(range(256)), "ZIP"),
    "a.tar": (bytes(257) + b"ustar" + bytes(300), "tar archive"),
    "noise": (bytes(range(254, 0, -1)) * 3, "neither text nor OTLP protobuf"),
    "services.json": (b'{"data":["a","b"],"total":2}', "'a' where a trace or span should stand"),
    "missing.json": (b'{"data":null,"errors":[{"code":404,"msg":"trace not found"}]}', "trace not found"),
    "search.json": (b'{"traces":[{"traceID":"a","rootServiceName":"b"}],"metrics":{}}', "answer of Tempo"),
    "settings.json": (b'{"compilerOptions": {"strict": true}} // text', "compilerOptions"),
    "broken.json": (b'{"a": [1, 2', "does not end"),
}  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_what_cannot_be_read_is_called_by_its_own_name(tmp_path: Path, name: str) -> None:
    """With what to do about it; and beside trace files it is skipped."""
    data, called = FOREIGN[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=called) as failure:
        spans_of(tmp_path / name)
    assert failure.value.hint
    (tmp_path / "traces.json").write_bytes((CASES / "jaeger-v3-result.json").read_bytes())
    skipped = Skipped()
    chunks = list(read([tmp_path], skipped=skipped))
    assert [len(decode(chunk.requests().data, ARRIVED).spans) for chunk in chunks] == [4]
    ((path, reason),) = skipped.files
    assert path.endswith(name)
    assert re.search(called, reason)


def test_a_damaged_trace_file_in_a_folder_is_an_error_and_no_file_to_be_skipped(tmp_path: Path) -> None:
    """What is traces and cannot be read whole must not be lost without a word."""
    (tmp_path / "cut.jsonl").write_bytes((COLLECTOR / "traces.jsonl").read_bytes()[:-200])
    (tmp_path / "good.json").write_bytes((CASES / "jaeger-v3-result.json").read_bytes())
    with pytest.raises(InputError, match=r"cut\.jsonl:2: not JSON"):
        list(read([tmp_path], skipped=Skipped()))


def test_a_folder_without_traces_is_an_error(tmp_path: Path) -> None:
    for name in ("a.csv", "b.txt"):
        (tmp_path / name).write_bytes(b"some text\n")
    with pytest.raises(InputError, match=r"none of 2 files holds traces; the first: .*a\.csv: text"):
        list(read([tmp_path], skipped=Skipped()))


# -- what bad input gets --


def cut(name: str, size: int) -> bytes:
    return (COLLECTOR / name).read_bytes()[:size]


LINES = (COLLECTOR / "traces.jsonl").read_bytes().splitlines(keepends=True)
GZIPPED = gzip.compress(LINES[0])
FIX = "fix or remove it"
IDS = b'"traceId":"' + b"0a" * 16 + b'","spanId":"' + b"0b" * 8 + b'"'
BAD = {
    "cut.jsonl": (cut("traces.jsonl", -200), r"cut\.jsonl:2: not JSON", "cut off"),
    "cut.binpb": (cut("traces.binpb", -200), r"cut\.binpb at byte \d+: a message of \d+ bytes", "cut off"),
    "cut-length.binpb": (cut("traces.binpb", -200)[:3], r"at byte 0: 3 bytes of a 4-byte length", "cut off"),
    "cut.gz": (gzip.compress(cut("traces.jsonl", 100_000))[:-300], r"cut\.gz: ", "damaged or incomplete"),
    "cut.zst": (zstandard.compress(cut("traces.jsonl", 100_000))[:-300], r"cut\.zst: ", "incomplete"),
    "cut.framed.zst": (cut("traces.binpb.framed.zst", -100), r"at byte \d+: a message of", "cut off"),
    "bad-byte.gz": (GZIPPED[:400] + b"\0" * 30 + GZIPPED[430:], r"bad-byte\.gz", "damaged"),
    "text.txt": (b"GET / HTTP/1.1\r\nHost: example\r\n\r\n" * 9, r"text\.txt: text, and no JSON", "--format"),
    "LICENSE": (b"      Apache License\n   Version 2.0\n" * 9, r"LICENSE: text, and no JSON", "--format"),
    "other.json": (b'{"hello": "world"}', r"neither OTLP, Jaeger nor Zipkin", "--format"),
    "list.json": (b'[{"hello": "world"}]', r"list\.json: JSON, but neither .*hello", "leave it out"),
    "jaeger.json": (b'{"data": [{"spans": [{"spanID": "1"}]}]}', r"not shaped like Jaeger", FIX),
    "broken.json": (b'{"resourceSpans": [\n{"resource": oops}\n]}', r"broken\.json:2: not JSON", FIX),
    "second.jsonl": (LINES[0] + b"oops\n" + LINES[1], r"second\.jsonl:2: not JSON", "fix or remove it"),
    "shape.jsonl": (b'{"resourceSpans": [{"scopeSpans": 7}]}\n', r"shape\.jsonl:1: .*not shaped like", FIX),
    "number.jsonl": (
        b'{"resourceSpans":[{"scopeSpans":[{"spans":[{' + IDS + b',"startTimeUnixNano":"soon"}]}]}]}\n',
        r"number\.jsonl:1: startTimeUnixNano is 'soon'", FIX),
    "wire.binpb": (struct.pack(">I", 6) + b"\x0a\x04\x0a\x7f\x01\x02",
                   r"wire\.binpb at byte 0: malformed OTLP at byte \d", "--format"),
}  # fmt: skip


#: What is no damage, but something else than traces.
OTHER_KINDS = {"text.txt", "LICENSE", "other.json", "list.json"}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_named_with_their_line_or_offset_and_what_to_do(tmp_path: Path, name: str) -> None:
    """One sentence, one hint, never a traceback or a silent loss."""
    data, message, hint = BAD[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message) as failure:
        spans_of(tmp_path / name)
    assert failure.value.hint is not None
    assert hint in failure.value.hint
    assert failure.value.exit_code == (2 if name in OTHER_KINDS else 1)


def test_a_file_with_base64_ids_is_the_protobuf_beside_it() -> None:
    """What protobuf's own JSON mapping writes; a real file of that kind."""
    written = spans_of(DATA / "otlp" / "traces.jsonl")
    assert len(written) == 19
    assert same(written, spans_of(DATA / "otlp" / "traces.pb"))


def test_a_wrong_format_given_by_name_is_told(tmp_path: Path) -> None:
    """--format wins over what the file looks like."""
    with pytest.raises(InputError, match=r"not JSON|not shaped like Zipkin"):
        spans_of(COLLECTOR / "traces.binpb", form="zipkin")
    with pytest.raises(InputError, match="not shaped like Jaeger"):
        spans_of(DATA / "zipkin" / "skew.json", form="jaeger")
    with pytest.raises(InputError):
        spans_of(COLLECTOR / "traces.jsonl", form="otlp-proto")


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """As is a file that is one."""
    with pytest.raises(InputError, match="no such file"):
        spans_of(tmp_path / "none.jsonl")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no such file"):
        spans_of(tmp_path / "empty")


# -- through the command line --


def tracescope(
    *arguments: str | Path, stdin: bytes | None = None, **more: object
) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "tracescope", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, check=False, **more)  # type: ignore[call-overload]


def test_standard_input_is_imported_and_its_errors_say_so(tmp_path: Path) -> None:
    """Compressed or not; the figures go to stderr, nothing to stdout."""
    store = tmp_path / "store"
    data = gzip.compress((COLLECTOR / "traces.jsonl").read_bytes())
    first = tracescope("import", "-", "--store", store, stdin=data)
    assert first.returncode == 0, first.stderr
    assert first.stdout == b""
    assert first.stderr.startswith(b"974 new, 0 duplicates, 0 rejected; ")
    second = tracescope("import", COLLECTOR / "traces.binpb", "--store", store)
    assert second.stderr.startswith(b"0 new, 974 duplicates, 0 rejected; ")
    bad = tracescope("import", "-", "--store", store, stdin=LINES[0] + b"oops\n")
    assert bad.returncode == 1
    assert bad.stderr.splitlines()[0].startswith(b"tracescope: standard input:2: not JSON")
    assert b"Traceback" not in bad.stderr


def test_a_folder_is_imported_and_what_else_is_in_it_is_named(tmp_path: Path) -> None:
    """How many files, the first of them with what they are; documents of other signals are counted too."""
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("mixed-signals-metrics-first.jsonl", "jaeger-json-lines.jsonl"):
        (folder / name).write_bytes((CASES / name).read_bytes())
    for number in range(5):
        (folder / f"{number}.txt").write_bytes(b"notes\n")
    done = tracescope("import", folder, "--store", tmp_path / "store")
    assert done.returncode == 0, done.stderr
    said = done.stderr.decode()
    assert said.startswith("16 new, 0 duplicates, 0 rejected; ")
    assert "skipped documents without traces: 1 logs, 1 metrics\n" in said
    assert "skipped 5 files without traces: " in said
    assert "0.txt: text, and no JSON; " in said
    assert said.endswith("; and 2 more\n")
    again = tracescope("import", folder / "0.txt", "--store", tmp_path / "store")
    assert again.returncode == 2
    assert b"Traceback" not in again.stderr


def test_the_progress_bar_is_on_a_terminal_only(tmp_path: Path) -> None:
    """No control codes where stderr is a file or pipe."""
    file = COLLECTOR / "traces.jsonl"
    plain = tracescope("import", file, "--store", tmp_path / "plain")
    assert b"\x1b" not in plain.stderr
    assert len(plain.stderr.splitlines()) == 1
    parent, child = pty.openpty()
    command = [sys.executable, "-m", "tracescope", "import", str(file), "--store", str(tmp_path / "shown")]
    process = subprocess.Popen(
        command,
        stderr=child,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(child)
    shown = io.BytesIO()
    try:
        while data := os.read(parent, 4096):
            shown.write(data)
    except OSError:  # the terminal closes with its last user
        pass
    os.close(parent)
    assert process.wait() == 0
    assert b"\x1b[" in shown.getvalue()
    assert b"974 new" in shown.getvalue()


def test_a_conflict_between_two_spans_is_still_told_after_a_rebuild(tmp_path: Path) -> None:
    """One of the two is kept, so the kept spans no longer show that there were two."""
    lines: list[str] = []
    for name in ("x", "y"):
        span = {"traceId": f"{1:032x}", "spanId": f"{1:016x}", "name": name, "kind": 2}
        span |= {"startTimeUnixNano": "1790000000000000000", "endTimeUnixNano": "1790000000005000000"}
        lines.append(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}))
    (tmp_path / "two.jsonl").write_text("\n".join(lines))
    store = tmp_path / "store"

    def conflicts() -> int:
        said = tracescope("status", "--store", store, "--format", "json").stdout
        return json.loads(said)["counters"]["duplicate_conflict"]

    assert tracescope("import", tmp_path / "two.jsonl", "--store", store).returncode == 0
    assert conflicts() == 1
    for verb in ("verify", "rebuild", "verify"):
        assert tracescope(verb, "--store", store).returncode == 0, verb
    assert tracescope("import", tmp_path / "two.jsonl", "--store", store).returncode == 0
    assert conflicts() == 1


#: Prints the largest memory of a command in KiB.  A child's peak counts its parent's when it was made, so
#: this one must be small.
_MEASURE = """
import os, subprocess, sys
child = subprocess.Popen(sys.argv[1:], stderr=subprocess.DEVNULL)
_, status, used = os.wait4(child.pid, 0)
child.returncode = status
print(status, used.ru_maxrss)
"""


def _peak_mib(folder: Path, file: Path, memory_mb: int) -> float:
    """Largest memory of an import, in a process of its own."""
    store = str(folder / f"store-{memory_mb}")
    command = [sys.executable, "-m", "tracescope", "import", str(file), "--store", store]
    command = [sys.executable, "-c", _MEASURE, *command, "--memory-mb", str(memory_mb)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    status, peak = map(int, done.stdout.split()[-2:])
    assert status == 0
    return peak / 1024


def _write_jaeger(file: Path, spans: int) -> None:
    """One answer of Jaeger's API, in traces of 50 spans."""
    line = (
        b'{"traceID":"%032x","spanID":"%016x","operationName":"GET /carts","references":[],"startTime":%d,'
        b'"duration":900,"tags":[{"key":"span.kind","type":"string","value":"server"},'
        b'{"key":"user_agent.original","type":"string","value":"' + b"a" * 120 + b'"}],"processID":"p1"}'
    )
    with file.open("wb") as out:
        out.write(b'{"data":[')
        for number in range(1, spans, 50):
            starts = ((number + k, 1_795_000_000_000_000 + number * 10_000) for k in range(50))
            of_trace = b",".join(line % (number, span, start) for span, start in starts)
            processes = b'"processes":{"p1":{"serviceName":"cart","tags":[]}}'
            out.write(b'%s{"spans":[%s],%s}' % (b"," if number > 1 else b"", of_trace, processes))
        out.write(b"]}")


def test_an_import_keeps_to_its_memory_however_large_the_file_is(tmp_path: Path) -> None:
    """The peak of the whole process is below `memory_mb`, and less where that is less."""
    large = tmp_path / "large.json"
    _write_jaeger(large, 600_000)
    _peak_mib(tmp_path, large, 2048)  # compiles, if that is still to be done
    roomy, tight = (_peak_mib(tmp_path, large, memory_mb) for memory_mb in (1024, 704))
    assert roomy < 1024
    assert tight < 704
    assert tight < roomy - 50

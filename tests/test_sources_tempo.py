"""Blocks of Tempo: what was sent comes back, in both versions, from a folder and from a bucket."""

from __future__ import annotations

import json
import random
import shutil
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner, Result
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from stores import sealed_checksum
from tempo_blocks import BLOCK, Spare, write_block
from test_sources import payload

from tracescope.cli import main
from tracescope.ingest import columns
from tracescope.ingest.protobuf import delimited, varint
from tracescope.kernels.weave import BYTES, FIELDS, FIXED, NUMBER
from tracescope.sources import Options, open_source
from tracescope.store import open_store

START = 1_790_000_000 * 10**9
SPARE = (
    Spare("span", "string", "http.request.method"), Spare("resource", "string", "service.version"),
    Spare("span", "int", "http.response.status_code"), Spare("span", "string", "db.namespace"),
    Spare("span", "string", "messages"), Spare("event", "string", "exception.type"),
    Spare("resource", "int", "process.pid"),
)  # fmt: skip


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def value(given: Any) -> AnyValue:
    """An attribute's value."""
    if isinstance(given, list):
        made = AnyValue()
        made.array_value.SetInParent()
        made.array_value.values.extend([value(one) for one in given])
        return made
    if isinstance(given, dict):
        made = AnyValue()
        made.kvlist_value.SetInParent()
        made.kvlist_value.values.extend([KeyValue(key=key, value=value(one)) for key, one in given.items()])
        return made
    names = {
        str: "string_value",
        bool: "bool_value",
        int: "int_value",
        float: "double_value",
        bytes: "bytes_value",
    }
    return AnyValue(**{names[type(given)]: given})


def attributes(given: dict[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=value(one)) for key, one in given.items()]


def traces(count: int, seed: int = 1) -> ExportTraceServiceRequest:
    """Traces with everything that a span can have, and things at the edge of each form."""
    chance = random.Random(seed)
    message = ExportTraceServiceRequest()
    long = "x" * 20_000
    texts = ["", "GET", "größe", "y" * 127, "y" * 128, long]
    numbers = [0, 1, -1, 127, 128, 2**63 - 1, -(2**63)]
    for number in range(count):
        trace = number.to_bytes(8, "big") + chance.randbytes(8)
        parent = b""
        for service in ("shop", "orders"):
            resource = message.resource_spans.add()
            resource.resource.attributes.extend(
                attributes(
                    {
                        "service.name": service, "cluster": "eu", "k8s.pod.name": f"{service}-1",
                        "service.version": f"1.{number % 3}", "process.pid": number, "host.name": "h",
                        "namespace": 7, "process.command_args": ["a", "b"],
                    }
                )
            )  # fmt: skip
            scope = resource.scope_spans.add()
            scope.scope.name, scope.scope.version = "lib", "1.2"
            scope.scope.attributes.extend(attributes({"short": True}))
            for kind in (2, 3):
                start = START + number * 10**9 + chance.randrange(10**8) + len(parent) * 10**6
                span = scope.spans.add(
                    trace_id=trace, span_id=chance.randbytes(8), parent_span_id=parent, kind=kind,
                    name=f"{service} {kind}", start_time_unix_nano=start,
                    end_time_unix_nano=start + chance.choice((0, 10**6, 10**9)),
                    trace_state=chance.choice(("", "ot=th:8")), dropped_attributes_count=number % 2,
                )  # fmt: skip
                parent = span.span_id
                span.attributes.extend(
                    attributes(
                        {
                            "http.request.method": chance.choice(texts), "http.method": chance.choice(texts),
                            "http.response.status_code": chance.choice(numbers), "http.status_code": 200,
                            "http.url": "http://x/" + chance.choice(texts[:3]),
                            "db.namespace": 5 if number % 2 else "o",
                            "messages": ["one"] * chance.randrange(2, 4) if number % 3 else "single",
                            "ints": [chance.choice(numbers) for _ in range(3)], "doubles": [0.5, -1e300],
                            "flags": [True, False], "none": [], "double": -0.0, "flag": number % 2 == 0,
                            "mixed": [1, "a"], "map": {"k": {"d": [1.5]}}, "bytes": b"\x00\xff",
                            "int": chance.choice(numbers),
                            "text": chance.choice(texts),
                        }
                    )
                )  # fmt: skip
                if number % 4 == 0:
                    span.status.code, span.status.message = 2, "broken"
                    event = span.events.add(time_unix_nano=start + 5, name="exception")
                    event.attributes.extend(attributes({"exception.type": "Timeout", "n": 1}))
                    span.events.add(time_unix_nano=start - 7, name="before", dropped_attributes_count=2)
                    span.dropped_events_count = 3
                if number % 5 == 0:
                    link = span.links.add(trace_id=trace[::-1], span_id=b"12345678", trace_state="a=b")
                    link.attributes.extend(attributes({"messaging.batch": 2}))
                    span.dropped_links_count = 1
    return message


def as_sent(message: ExportTraceServiceRequest) -> dict[bytes, Any]:
    """Every span of a message with what it is of, whatever the order of attributes and of groups."""

    def said(given: Any) -> Any:
        return sorted((one.key, one.value.SerializeToString(deterministic=True)) for one in given)

    found: dict[bytes, Any] = defaultdict(list)
    for resource in message.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                about = type(span)()
                about.CopyFrom(span)
                parts = [about, *about.events, *about.links]
                lists = [said(part.attributes) for part in parts]
                for part in parts:
                    del part.attributes[:]
                found[span.span_id] += [
                    about.SerializeToString(deterministic=True), lists, said(resource.resource.attributes),
                    scope.scope.name, scope.scope.version, said(scope.scope.attributes),
                ]  # fmt: skip
    return dict(found)


def given_back(url: str) -> ExportTraceServiceRequest:
    """What a source gives, as one message."""
    message = ExportTraceServiceRequest()
    for part in open_source(url, Options()).parts(frozenset()):
        for piece in part.read():
            message.MergeFromString(piece)
    return message


@pytest.mark.parametrize("spare", [(), SPARE], ids=["plain", "dedicated"])
@pytest.mark.parametrize("version", [4, 5])
def test_a_block_gives_back_every_span_as_it_was_sent(tmp_path: Path, version: int, spare: Any) -> None:
    """Ids, times, attributes of every type, events, links, scopes, resources."""
    if version == 4:
        spare = tuple(one for one in spare if one.kind == "string" and one.scope != "event")
    sent = traces(40)
    write_block(tmp_path / "tenant" / BLOCK, [sent], version, spare)
    assert as_sent(given_back(f"tempo://{tmp_path}")) == as_sent(sent)


@pytest.mark.parametrize("version", [4, 5])
def test_a_block_has_the_rollups_of_its_traces_sent_as_otlp_and_is_read_once(
    tmp_path: Path, version: int
) -> None:
    """Slices of it, too."""
    sent = traces(300)
    write_block(tmp_path / "blocks" / "tenant" / BLOCK, [sent], version)
    (tmp_path / "sent.binpb").write_bytes(sent.SerializeToString())
    assert run("import", tmp_path / "sent.binpb", "--store", tmp_path / "plain").exit_code == 0
    url = f"tempo://{tmp_path}/blocks"
    result = run("import", url, "--store", tmp_path / "store")
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("1200 new, 0 duplicates, 0 rejected; ")
    assert sealed_checksum(open_store(tmp_path / "store")) == sealed_checksum(open_store(tmp_path / "plain"))
    result = run("import", url, "--store", tmp_path / "store")
    assert result.stderr.startswith("0 new, 0 duplicates, 0 rejected; ")
    assert "not read again: 1 parts" in result.stderr


def test_slices_of_a_block_are_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However small they and messages are."""
    from tracescope.sources import blocks

    sent = traces(60)
    write_block(tmp_path / BLOCK, [sent], 4)
    monkeypatch.setattr(blocks, "_SLICE_BYTES", 2000)
    monkeypatch.setattr(blocks, "_MESSAGE_BYTES", 3000)
    assert as_sent(given_back(f"tempo://{tmp_path}")) == as_sent(sent)


def test_since_and_until_read_blocks_of_that_time_and_of_them_its_spans(tmp_path: Path) -> None:
    """A block's meta.json rules it out; without times in it, or across the limit, spans decide.

    What was decoded together is read again together.
    """
    hour = 3600 * 10**9
    early = (START // hour + 1) * hour
    asked = [f"{datetime.fromtimestamp(at / 1e9, UTC):%Y-%m-%dT%H:%M}Z" for at in (early, early + hour)]
    flags = "--since", asked[0], "--until", asked[1]
    for number, (block, times) in enumerate(
        ((BLOCK, (0, 1)), (BLOCK[::-1], (1, 2)), (BLOCK.replace("0", "1"), None), (f"1{BLOCK[1:]}", (2, 3)))
    ):
        sent = traces(5, seed=number + 1)
        for resource in sent.resource_spans:
            for each, span in enumerate(resource.scope_spans[0].spans):
                moved = early + (hour if each and number == 2 else 0) - span.start_time_unix_nano + number
                span.start_time_unix_nano += moved
                span.end_time_unix_nano += moved
        write_block(tmp_path / "blocks" / block, [sent], 4)
        if times:
            meta = tmp_path / "blocks" / block / "meta.json"
            at = [
                f"{datetime.fromtimestamp(early / 1e9 + 3600 * (each - 1), UTC):%Y-%m-%dT%H:%M:%S.000000001Z}"
                for each in times
            ]
            meta.write_text(json.dumps(json.loads(meta.read_text()) | {"startTime": at[0], "endTime": at[1]}))
    url = f"tempo://{tmp_path}/blocks"
    result = run("import", url, *flags, "--store", tmp_path / "store")
    assert result.exit_code == 0, result.output
    # the first ends in the second in which what is asked for begins: it is read
    assert result.stderr.startswith("50 new, 0 duplicates, 0 rejected")
    assert "left out, of another time: 10 spans, and 1 parts unread" in result.stderr
    assert "not read again: 3 parts" in run("import", url, *flags, "--store", tmp_path / "store").stderr
    rest = run("import", url, "--store", tmp_path / "store")
    assert rest.stderr.startswith("30 new, 50 duplicates")
    whole = run("import", url, *flags, "--store", tmp_path / "store")
    assert whole.stderr.startswith("0 new, 0 duplicates")


def test_blocks_beside_other_files_and_those_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    """Without meta.json, of another version, damaged; blocks' other files are not read as files."""
    good, sent = tmp_path / "b" / "tenant" / BLOCK, traces(3)
    write_block(good, [sent], 5)
    (good / "bloom-0").write_bytes(b"\0\1")
    other = good.with_name(BLOCK.replace("0b", "1b"))
    for change in ("0c", "0d"):
        shutil.copytree(good, good.with_name(BLOCK.replace("0b", change)))
    (good.with_name(BLOCK.replace("0b", "0c")) / "meta.json").unlink()
    meta = good.with_name(BLOCK.replace("0b", "0d")) / "meta.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"format": "vParquet3"}))
    (tmp_path / "b" / "other.binpb").write_bytes(payload(1))
    result = run("import", f"file://{tmp_path}/b", "--store", tmp_path / "store")
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("14 new, 0 duplicates, 0 rejected; ")
    assert "a block of Tempo without meta.json" in result.stderr
    assert "a block of Tempo of version vParquet3; vParquet4 and vParquet5 are read" in result.stderr
    assert run("import", f"tempo://{tmp_path}/b", "--store", tmp_path / "alone").stderr.startswith("12 new")
    (tmp_path / "no").mkdir()
    (tmp_path / "no" / "other.binpb").write_bytes(payload(1))
    result = run("import", f"tempo://{tmp_path}/no", "--store", tmp_path / "none")
    assert result.exit_code == 1
    assert f"tempo://{tmp_path}/no: no block of Tempo there" in result.stderr
    result = run("import", f"tempo://{meta.parent}", "--store", tmp_path / "none")
    assert result.exit_code == 2
    assert "version vParquet3" in result.stderr
    data, text = (good / "data.parquet").read_bytes(), (good / "meta.json").read_bytes()
    frame = pl.DataFrame({"TraceID": [b"x"], "rs": [1]})
    for name, damage, said in (
        ("data.parquet", data[: len(data) // 2], "its data is not a block of Tempo"),
        ("data.parquet", b"", "its data is not a block of Tempo"),
        ("meta.json", b"{", "its meta.json is damaged"),
        ("meta.json", b"[]", "its meta.json is damaged"),
        ("data.parquet", frame, "its data is not a block of Tempo"),
    ):
        shutil.rmtree(other, ignore_errors=True)
        shutil.copytree(good, other)
        if isinstance(damage, bytes):
            (other / name).write_bytes(damage)
        else:
            damage.write_parquet(other / name)
        result = run("import", f"tempo://{tmp_path}/b", "--store", tmp_path / "damaged")
        assert result.exit_code == 1, result.output
        assert f"{other}: {said}" in result.stderr
        assert len(result.stderr.splitlines()) == 2
        assert open_store(tmp_path / "damaged").stored() == 0
    (good / "meta.json").write_bytes(text)


def changed(kind: Any, path: tuple[str, ...], to: Any) -> Any:
    """A type with what is at a path changed, or taken out where `to` is None."""
    if not path:
        return to
    if isinstance(kind, pl.List):
        return pl.List(changed(kind.inner, path, to))
    inner = {field.name: field.dtype for field in kind.fields}
    made = changed(inner[path[0]], path[1:], to)
    return pl.Struct(
        {name: made if name == path[0] else each for name, each in inner.items() if name != path[0] or made}
    )


@pytest.mark.parametrize(
    ("path", "to", "said"),
    [
        (("rs",), pl.Int64, "rs is Int64, expected a list"),
        (("rs", "ss"), pl.List(pl.String), "rs.ss is String, expected a group of columns"),
        (("rs", "Resource", "Attrs", "Key"), None, "no column rs.Resource.Attrs.Key"),
        (("rs", "ss", "Spans", "StartTimeUnixNano"), pl.String, "Nano is String, expected number"),
        (("rs", "ss", "Spans", "Attrs", "IsArray"), pl.Int64, "IsArray is Int64, expected truth"),
        (("TraceID",), None, "no column TraceID"),
    ],
)  # fmt: skip
def test_columns_of_another_kind_are_named(tmp_path: Path, path: tuple[str, ...], to: Any, said: str) -> None:
    """Whatever they hold."""
    write_block(tmp_path / BLOCK, [traces(2)], 4)
    data = tmp_path / BLOCK / "data.parquet"
    schema = changed(pl.Struct(dict(pl.read_parquet_schema(data))), path, to)
    pl.DataFrame(schema={field.name: field.dtype for field in schema.fields}).write_parquet(data)
    result = run("import", f"tempo://{tmp_path}", "--store", tmp_path / "store")
    assert result.exit_code == 1, result.output
    assert f"{tmp_path / BLOCK}: its data is not a block of Tempo: " in result.stderr
    assert said in result.stderr


def test_a_block_of_a_minor_version_that_counts_less_is_read(tmp_path: Path) -> None:
    """Counts of what was dropped are no part of every one."""
    sent = traces(4)
    write_block(tmp_path / BLOCK, [sent], 4)
    data = tmp_path / BLOCK / "data.parquet"
    frame = pl.read_parquet(data)
    schema = pl.Struct(dict(frame.schema))
    for path in (
        ("rs", "ss", "Spans"),
        ("rs", "ss", "Spans", "Events"),
        ("rs", "Resource"),
        ("rs", "ss", "Scope"),
    ):
        schema = changed(schema, (*path, "DroppedAttributesCount"), None)
    kept = {field.name: field.dtype for field in schema.fields}
    pl.DataFrame(frame.to_dicts(), schema=kept, strict=False).write_parquet(data)
    for resource in sent.resource_spans:
        for span in resource.scope_spans[0].spans:
            span.dropped_attributes_count = 0
            for event in span.events:
                event.dropped_attributes_count = 0
    assert as_sent(given_back(f"tempo://{tmp_path}")) == as_sent(sent)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("tempo://tempo.example:3200", "names a server"),
        ("tempo+http://tempo.example", "is an address of Tempo"),
        ("tempo+s3://", "names no bucket"),
    ],
)
def test_a_url_of_no_blocks_is_exit_2_with_what_to_write(tmp_path: Path, url: str, said: str) -> None:
    """No store is made."""
    pytest.importorskip("obstore", reason="needs obstore")
    result = run("import", url, "--store", tmp_path / "store")
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert not (tmp_path / "store").exists()


def test_woven_messages_are_those_put_together_by_hand() -> None:
    """Every kind of field, absent values, and numbers of every length."""
    chance = random.Random(3)
    rows, parts, expected = 200, [], [b""] * 200
    numbers = [0, 1, 127, 128, 2**14, 2**35, 2**63 - 1, -1, -(2**63)]
    for tag, kind in (
        (0, FIELDS),
        (1 << 3 | 2, BYTES),
        (2 << 3, NUMBER),
        (3 << 3 | 1, FIXED),
        (15 << 3 | 2, BYTES),
    ):
        data = np.frombuffer(chance.randbytes(40_000), np.uint8)
        first = np.array([chance.randrange(20_000) for _ in range(rows)])
        size = np.array([chance.choice((-1, 0, 1, 127, 128, 16_384)) for _ in range(rows)])
        if kind in (NUMBER, FIXED):
            first, size = np.array([chance.choice(numbers) for _ in range(rows)]), np.minimum(size, 0)
            data = np.zeros(0, np.uint8)
        parts.append(columns.Field(tag, kind, first, size, data))
        for row in range(rows):
            if size[row] < 0:
                continue
            held = data[first[row] : first[row] + size[row]].tobytes()
            expected[row] += {
                FIELDS: held,
                BYTES: delimited(tag >> 3, held),
                NUMBER: bytes([tag]) + varint(int(first[row]) % 2**64),
                FIXED: bytes([tag]) + (int(first[row]) % 2**64).to_bytes(8, "little"),
            }[kind]
    made = columns.messages(parts)
    found = [made.data[at : at + size].tobytes() for at, size in zip(made.begin, made.size, strict=True)]
    assert found == expected


def test_texts_of_a_column_are_its_bytes() -> None:
    """Sliced, in several pieces, with and without nulls, empty."""
    values = ["", None, "short", "größer als zwölf Bytes lang", None, "x" * 1000]
    for series in (
        pl.Series(values), pl.Series(values)[2:], pl.concat([pl.Series(values), pl.Series(values)]),
        pl.Series([None, None], dtype=pl.String), pl.Series([], dtype=pl.String), pl.Series(["a", ""]),
        pl.Series([b"\x00\xff", None, b"", bytes(16)]),
    ):  # fmt: skip
        found = columns.texts(series)
        bounds = zip(found.begin.tolist(), found.size.tolist(), strict=True)
        said = [None if size < 0 else found.data[at : at + size].tobytes() for at, size in bounds]
        assert said == [one.encode() if isinstance(one, str) else one for one in series.to_list()]

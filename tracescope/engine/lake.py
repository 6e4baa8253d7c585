"""A lake's spans, read by Spark: each row becomes OTLP, lands, and is sealed like what any receiver landed.

    table ─► SQL: a row as OTLP JSON ─► shuffle by (hour, trace id) ─► executors: decode, land aside
                                        driver: all lands by one rename ─► tasks seal it

The table has a row a span, named as OTLP names its fields, which is how Databricks stores what its own OTLP
endpoint receives: ``trace_id``, ``span_id``, ``start_time_unix_nano``, ..., ``attributes`` as a map, a
VARIANT, JSON text or OTLP's list of keys and values.  The shuffle lets a few files hold an hour; rows that
lie by the hour already need none.  Reading a table twice changes no result: ids tell spans apart.

Source: Databricks, "OpenTelemetry table reference for Zerobus Ingest"; OTLP's JSON encoding.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import uuid4

from tracescope import schema
from tracescope.conventions.keeping import Policy
from tracescope.errors import SourceError, TracescopeError

if TYPE_CHECKING:
    import polars as pl
    from pyspark.sql import DataFrame, SparkSession

    from tracescope.engine.tasks import Pool
    from tracescope.store import SpanStore
    from tracescope.store.landing import LandingGroup

#: What a table of spans has at least.
NEEDED: Final = (
    "trace_id", "span_id", "name", "start_time_unix_nano", "end_time_unix_nano", "attributes",
)  # fmt: skip
#: Rows that an executor lands together, at least: files of few rows cost more than their rows.
_TOGETHER: Final = 100_000
_KINDS: Final = ("INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_STATUSES: Final = ("OK", "ERROR")
_HINT: Final = "tables of OTLP spans are described by `tracescope help commands`"


class Origin(NamedTuple):
    """Which rows.

    Attributes
    ----------
    table
        A table that Spark knows by its name, or files by their path.
    form
        How files are read, such as ``parquet`` or ``delta``; None for a table.
    where
        A condition in Spark's SQL; empty for all rows.
    by_hour
        Rows of an hour lie together already: nothing is shuffled.
    """

    table: str
    form: str | None
    where: str = ""
    by_hour: bool = False


class Terms(NamedTuple):
    """What holds for every row: when it arrived, hours whose raw spans have gone, attributes kept."""

    arrived_ns: int
    closed: tuple[int, ...]
    policy: Policy


@dataclass(slots=True)
class Backfilled:
    """Rows read, spans new to the store among them, and those refused, by reason."""

    read: int = 0
    new: int = 0
    rejected: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def duplicates(self) -> int:
        """Spans that the store had, or that came twice."""
        return self.read - self.new - sum(self.rejected.values())


def backfill(
    store: SpanStore, running: SparkSession, pool: Pool, origin: Origin, terms: Terms, memory_bytes: int
) -> Backfilled:
    """Land a table's spans and seal them; with an error nothing of it is kept.

    Raises
    ------
    SourceError
        There is no such table, or it is none of spans.
    """
    from tracescope.engine.seal import seal
    from tracescope.engine.spark import mapped

    before = store.stored()
    rows = _documents(running, origin)
    done = Backfilled()
    with store.group(f"backfill-{uuid4().hex[:16]}") as group:
        folder = str(group.folder.absolute())
        lander = _lander(folder, terms._replace(closed=tuple(store.snapshot().closed)))
        named = mapped(rows, lander, "batch string, accepted long, rejected string")
        _keep(group, {row["batch"] for row in named})
        for row in named:
            counts: dict[str, int] = json.loads(row["rejected"])
            done.read += row["accepted"] + sum(counts.values())
            done.rejected = dict(Counter(done.rejected) + Counter(counts))
    seal(store, memory_bytes=memory_bytes, wait=True, pool=pool)
    done.new = store.stored() - before
    return done


def _keep(group: LandingGroup, batches: set[str]) -> None:
    """Drop what attempts that failed have written: nobody named it."""
    for path in [*group.folder.rglob("*.parquet"), *group.folder.rglob("*.json")]:
        if path.stem not in batches:
            path.unlink()


# -- the table, as SQL --


def _documents(running: SparkSession, origin: Origin) -> DataFrame:
    """OTLP JSON, a resource of one span a row; rows of an hour and of a trace lie together."""
    from pyspark.errors import PySparkException
    from pyspark.sql import functions as sql

    from tracescope.engine.spark import said

    try:
        reader = running.read
        table = (
            reader.table(origin.table)
            if origin.form is None
            else reader.format(origin.form).load(origin.table)
        )
        if origin.where:
            table = table.where(origin.where)
        types = {name: json.loads(table.schema[name].json())["type"] for name in table.columns}
        if lacking := [name for name in NEEDED if name not in types]:
            raise SourceError(
                f"{origin.table} is not a table of OTLP spans: it lacks column {lacking[0]}", _HINT
            )
        hour = f"start_time_unix_nano DIV {schema.HOUR_NS}"
        rows = table.select(
            sql.expr(_document(types)).alias("document"), sql.expr(hour).alias("hour"), "trace_id"
        )
        if not origin.by_hour:
            rows = rows.repartitionByRange("hour", "trace_id")
        return rows.select("document")
    except PySparkException as error:
        raise SourceError(f"{origin.table} cannot be read: {said(error)}", _HINT) from error


def _document(types: dict[str, Any]) -> str:
    """One row as ResourceSpans."""
    span = {
        "traceId": _hex("trace_id", types["trace_id"], 32),
        "spanId": _hex("span_id", types["span_id"], 16),
        "name": "name",
        "startTimeUnixNano": "CAST(start_time_unix_nano AS STRING)",
        "endTimeUnixNano": "CAST(end_time_unix_nano AS STRING)",
        "attributes": attributes("attributes", types["attributes"]),
    }
    if "parent_span_id" in types:
        span["parentSpanId"] = _hex("parent_span_id", types["parent_span_id"], 16)
    if "kind" in types:
        span["kind"] = _number("kind", types["kind"], _KINDS)
    if "trace_state" in types:
        span["traceState"] = "trace_state"
    status = _fields(types.get("status"))
    if "code" in status:
        span["status"] = f"named_struct('code', {_number('status.code', status['code'], _STATUSES)})"
    event = _fields(_element(types.get("events")))
    if "name" in event:
        parts = ["'name', e.name"]
        if "time_unix_nano" in event:
            parts.append("'timeUnixNano', CAST(e.time_unix_nano AS STRING)")
        if "attributes" in event:
            parts.append(f"'attributes', {attributes('e.attributes', event['attributes'])}")
        span["events"] = f"transform(events, e -> named_struct({', '.join(parts)}))"
    link = _fields(_element(types.get("links")))
    if {"trace_id", "span_id"} <= link.keys():
        ids = _hex("l.trace_id", link["trace_id"], 32), _hex("l.span_id", link["span_id"], 16)
        span["links"] = f"transform(links, l -> named_struct('traceId', {ids[0]}, 'spanId', {ids[1]}))"
    scope = _fields(types.get("instrumentation_scope"))
    names = [f"'{name}', instrumentation_scope.{name}" for name in ("name", "version") if name in scope]
    scoped = f"'scope', named_struct({', '.join(names)}), " if names else ""
    spans = ", ".join(f"'{name}', {value}" for name, value in span.items())
    return (
        f"to_json(named_struct('resource', named_struct('attributes', {_resource(types)}), "
        f"'scopeSpans', array(named_struct({scoped}'spans', array(named_struct({spans}))))))"
    )


def _resource(types: dict[str, Any]) -> str:
    resource = _fields(types.get("resource"))
    if "attributes" in resource:
        return attributes("resource.attributes", resource["attributes"])
    for name in ("resource_attributes", "resource"):
        if name in types:
            return attributes(name, types[name])
    if "service_name" in types:
        return (
            "array(named_struct('key', 'service.name', 'value', named_struct('stringValue', service_name)))"
        )
    raise SourceError("the table lacks column resource, which names services", _HINT)


def attributes(column: str, kind: Any) -> str:
    """SQL that gives OTLP's list of attributes.

    Parameters
    ----------
    column, kind
        A column, and its type as Spark's JSON has it.

    Raises
    ------
    SourceError
        Attributes are not kept so.
    """
    if isinstance(kind, dict) and kind.get("type") == "map":
        text = "named_struct('stringValue', CAST(a.value AS STRING))"
        return f"transform(map_entries({column}), a -> named_struct('key', a.key, 'value', {text}))"
    if {"key", "value"} <= _fields(_element(kind)).keys():
        return column
    if kind == "string":
        column, kind = f"try_parse_json({column})", "variant"
    if kind != "variant":
        raise SourceError(f"column {column} is neither a map, a VARIANT, JSON text nor OTLP's list", _HINT)
    entries = f"map_entries(CAST({column} AS MAP<STRING, VARIANT>))"
    return f"transform({entries}, a -> named_struct('key', a.key, 'value', {_VALUE}))"


#: A VARIANT's value as the one field of OTLP's that holds its type; the others are null, and left out.
_VALUE: Final = (
    "named_struct("
    "'intValue', CASE WHEN schema_of_variant(a.value) = 'BIGINT' THEN CAST(a.value AS STRING) END, "
    "'doubleValue', CASE WHEN schema_of_variant(a.value) RLIKE '^(DOUBLE|FLOAT|DECIMAL)' "
    "THEN CAST(a.value AS DOUBLE) END, "
    "'boolValue', CASE WHEN schema_of_variant(a.value) = 'BOOLEAN' THEN CAST(a.value AS BOOLEAN) END, "
    "'stringValue', CASE WHEN schema_of_variant(a.value) = 'STRING' THEN CAST(a.value AS STRING) "
    "WHEN schema_of_variant(a.value) RLIKE '^(ARRAY|OBJECT)' THEN to_json(a.value) END)"
)


def _hex(column: str, kind: Any, digits: int) -> str:
    """An id as lower-case hexadecimal digits; what is none is left empty, and refused and counted as such."""
    text = f"hex({column})" if kind == "binary" else column
    return f"CASE WHEN {text} RLIKE '^[0-9a-fA-F]{{{digits}}}$' THEN lower({text}) ELSE '' END"


def _number(column: str, kind: Any, names: Sequence[str]) -> str:
    """An enumeration as OTLP's number, from it or from its name: ``SPAN_KIND_SERVER``, ``Server``."""
    if kind != "string":
        return f"coalesce(CAST({column} AS INT), 0)"
    cases = " ".join(f"WHEN '{name}' THEN {number}" for number, name in enumerate(names, 1))
    plain = f"regexp_replace(upper({column}), '^(SPAN_KIND|STATUS_CODE)_', '')"
    return f"CASE {plain} {cases} ELSE 0 END"


def _fields(kind: Any) -> dict[str, Any]:
    """Types of a struct's fields; none of anything else."""
    if not isinstance(kind, dict) or kind.get("type") != "struct":
        return {}
    return {each["name"]: each["type"] for each in kind["fields"]}


def _element(kind: Any) -> Any:
    """The type of an array's elements; None of anything else."""
    return kind["elementType"] if isinstance(kind, dict) and kind.get("type") == "array" else None


# -- the rows, on executors --


def _lander(folder: str, terms: Terms) -> Callable[[Iterable[Any]], Iterator[Any]]:
    """What executors run."""

    def run(batches: Iterable[Any]) -> Iterator[Any]:
        import pyarrow as pa  # pyright: ignore[reportMissingImports]

        from tracescope.engine.lake import land_rows
        from tracescope.engine.worker import prepare

        prepare()
        for batch in land_rows(folder, (batch.column(0).to_pylist() for batch in batches), terms):
            yield pa.RecordBatch.from_pylist([batch])

    return run


def land_rows(folder: str, rows: Iterable[Sequence[str]], terms: Terms) -> Iterator[dict[str, Any]]:
    """Decode and land rows of OTLP JSON; a name, spans accepted and refused of each batch.

    Raises
    ------
    SourceError
        As `group_at`.
    """
    import polars as pl

    group = group_at(folder)
    waiting: list[pl.DataFrame] = []
    rejected: Counter[str] = Counter()

    def land() -> dict[str, Any]:
        spans = pl.concat(waiting)
        name = f"l-{_content(spans, rejected)}"
        group.land(spans, batch=name, accepted=len(spans), rejected=rejected, arrived_ns=terms.arrived_ns)
        about = {"batch": name, "accepted": len(spans), "rejected": json.dumps(rejected)}
        waiting.clear()
        rejected.clear()
        return about

    for texts in rows:
        spans, refused = _decoded(texts, terms)
        rejected += Counter(refused)
        waiting.append(spans)
        if sum(map(len, waiting)) >= _TOGETHER:
            yield land()
    if waiting:
        yield land()


def group_at(folder: str) -> LandingGroup:
    """The landing group of a folder that the driver made.

    Raises
    ------
    SourceError
        The folder is not there: no executor may make one that nobody looks into.
    """
    from tracescope.store.landing import Landing, LandingGroup

    place = Path(folder)
    if not os.path.isdir(folder):
        raise SourceError(
            f"{folder} is not on this executor",
            "the store's folder must lie at the same path on every executor, as on NFS",
        )
    return LandingGroup(Landing(place.parent.parent), place)


def _content(spans: pl.DataFrame, rejected: Mapping[str, int]) -> str:
    """The same for the same spans in any order: partitions that come again are batches that the store has."""
    import numpy as np

    told = spans["content_hash"].to_numpy() ^ spans["span_id"].to_numpy() ^ spans["trace_lo"].to_numpy()
    found = hashlib.blake2b(np.sort(told).tobytes(), digest_size=16)
    found.update(json.dumps(rejected, sort_keys=True).encode())
    return found.hexdigest()


def still_open(
    spans: pl.DataFrame, rejected: Mapping[str, int], closed: Sequence[int]
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Spans of hours whose raw spans are there; others are refused, and counted so."""
    import polars as pl

    kept = spans.filter(~(pl.col("start_ns") // schema.HOUR_NS).is_in(closed)) if closed else spans
    gone = len(spans) - len(kept)
    return kept, {**rejected, **({"hour_closed": gone} if gone else {})}


def _decoded(texts: Sequence[str], terms: Terms) -> tuple[pl.DataFrame, dict[str, int]]:
    """Spans of some rows, and what is refused of them, by reason."""
    from tracescope.ingest.decode import decode
    from tracescope.ingest.otlp_json import Malformed, transcode

    document = b'{"resourceSpans":[' + ",".join(texts).encode() + b"]}"
    try:
        decoded = decode([transcode(document)], terms.arrived_ns, policy=terms.policy)
    except Malformed as error:
        raise TracescopeError(
            f"a row is not a span: {error.message}", error.hint or "leave it out with --where"
        ) from error
    return still_open(decoded.spans, decoded.rejected, terms.closed)

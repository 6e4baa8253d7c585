"""Tables of spans in ClickHouse, and the SQL that turns their rows into OTLP on the server.

=================  ==============================================================================
Collector          ``otel_traces`` of the OpenTelemetry Collector's exporter, attributes in Map or
                   in JSON columns, ``Duration`` as UInt64 or, before, Int64
Jaeger 2           ``spans``: one nested column for each type of attribute
SigNoz             ``signoz_index_v3``, a Map for each type and, newer, JSON; before ``signoz_index_v2``;
                   each also as ``distributed_...``
=================  ==============================================================================

What a table is its columns tell, not its name.  A query names its columns as OTLP's JSON names its fields
and gives one ExportTraceServiceRequest a row, of one resource and scope and of MESSAGE_SPANS spans or
fewer: a row is what the server holds to write it.  Two forms of answer share the expressions of columns:
protobuf, each message with its length before it, and JSON lines where a server refuses to write the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

Form = Literal["protobuf", "json", "plain json"]
#: JSON lines of whoever may change no setting.
PLAIN_JSON: Final[Form] = "plain json"

#: OTLP's messages with the field numbers of opentelemetry-proto; presence is kept (proto2), so that an
#: empty string is an attribute's value and no missing one.  What is inside of `scopeSpans` is written before.
_MESSAGES: Final = """syntax = "proto2";
message Value { optional string stringValue = 1; optional bool boolValue = 2; optional int64 intValue = 3; \
optional double doubleValue = 4; }
message Attribute { optional string key = 1; optional Value value = 2; }
message Resource { repeated Attribute attributes = 1; }
message Scope { optional string name = 1; optional string version = 2; repeated Attribute attributes = 3; }
message Event { optional fixed64 timeUnixNano = 1; optional string name = 2; \
repeated Attribute attributes = 3; }
message Link { optional bytes traceId = 1; optional bytes spanId = 2; optional string traceState = 3; \
repeated Attribute attributes = 4; optional fixed32 flags = 6; }
message Status { optional string message = 2; optional int32 code = 3; }
message Span { optional bytes traceId = 1; optional bytes spanId = 2; optional string traceState = 3; \
optional bytes parentSpanId = 4; optional string name = 5; optional int32 kind = 6; \
optional fixed64 startTimeUnixNano = 7; optional fixed64 endTimeUnixNano = 8; \
repeated Attribute attributes = 9; repeated Event events = 11; repeated Link links = 13; \
optional Status status = 15; optional fixed32 flags = 16; }
message ResourceSpans { optional Resource resource = 1; optional bytes scopeSpans = 2; }
message Request { optional ResourceSpans resourceSpans = 1; optional uint32 spans = 1000; }"""
_TEXT: Final = "Array(Tuple(key String, value Tuple(stringValue String)))"
_TYPED: Final = (
    "Array(Tuple(key String, value Tuple(stringValue Nullable(String), boolValue Nullable(Bool), "
    "intValue Nullable(Int64), doubleValue Nullable(Float64))))"
)
_SCOPE: Final = "Tuple(name Nullable(String), version Nullable(String), attributes {})"
_NO_SCOPE: Final = "(NULL, NULL, [])"
_KINDS: Final = "['internal', 'server', 'client', 'producer', 'consumer']"
#: Fields of a span that are no strings; ``{}`` is the type of attributes.
_TYPES: Final = {
    "startTimeUnixNano": "UInt64",
    "endTimeUnixNano": "UInt64",
    "kind": "Int32",
    "flags": "UInt32",
    "attributes": "{}",
    "events": "Array(Tuple(timeUnixNano UInt64, name String, attributes {}))",
    "links": "Array(Tuple(traceId String, spanId String, traceState String, attributes {}))",
    "status": "Tuple(message String, code Int32)",
}
#: Doubles up to here hold every integer.
_EXACT: Final = 2**53

#: Spans of one message, about: groups beyond are parted by their traces.
MESSAGE_SPANS: Final = 16_384
#: Seconds of a bucket in SigNoz's sorting key.
_BUCKET_S: Final = 1800

#: One thread writes faster than an import reads; more hold groups of their own, which are then merged.
_ONE_THREAD: Final = "max_threads = 1"
JSON_SETTINGS: Final = (
    "output_format_json_named_tuples_as_objects = 1, output_format_json_quote_64bit_integers = 1, "
    "output_format_json_skip_null_value_in_named_tuples = 1, output_format_json_quote_denormals = 0, "
    "output_format_json_escape_forward_slashes = 0"
)


def _of_message(name: str) -> str:
    """Settings of a query whose rows are a message each."""
    return (
        f"SETTINGS format_schema_source = 'string', format_schema_message_name = '{name}', "
        f"format_schema = '{_MESSAGES}'"
    )


class Range(NamedTuple):
    """Spans that start in [first, end), nanoseconds of the epoch, of one slice of all traces.

    Groups of one resource and scope are parted into `messages`.
    """

    first_ns: int
    end_ns: int
    slice: int = 0
    slices: int = 1
    messages: int = 1


@dataclass(frozen=True, slots=True)
class Table:
    """A table of spans, and how its columns become OTLP's fields.

    Attributes
    ----------
    kind
        What wrote it.
    name
        Database and table, quoted.
    time
        The column of the start, DateTime64(9).
    trace_id
        The column of the trace id, hexadecimal.
    resource, scope
        Expressions of a resource's attributes and of a scope, by which spans are grouped.
    span
        Expressions of a span's fields, ids and links excepted.
    ids, links
        Columns of span id and parent; expression of (trace id, span id, state, attributes) in hexadecimal.
    bucketed
        The sorting key begins with SigNoz's bucket.
    """

    kind: str
    name: str
    time: str
    trace_id: str
    resource: str
    scope: str
    span: Mapping[str, str]
    ids: tuple[str, str]
    links: str
    attributes: str = _TEXT
    bucketed: bool = False

    def condition(self, within: Range) -> str:
        """The rows of a range."""
        found = (
            f"{self.time} >= fromUnixTimestamp64Nano(toInt64({within.first_ns})) "
            f"AND {self.time} < fromUnixTimestamp64Nano(toInt64({within.end_ns}))"
        )
        if self.bucketed:
            first_s = within.first_ns // 10**9 // _BUCKET_S * _BUCKET_S
            found += f" AND ts_bucket_start >= {first_s} AND ts_bucket_start <= {within.end_ns // 10**9}"
        if within.slices > 1:
            found += f" AND {self._slice(within.slices)} = {within.slice}"
        return found

    def windows(self, within: Range, seconds: int) -> str:
        """Ask for windows of time that hold spans: their start in seconds, and how many spans."""
        return (
            f"SELECT intDiv(toUnixTimestamp64Nano({self.time}), {seconds * 10**9}) * {seconds} AS window, "
            f"count() FROM {self.name} WHERE {self.condition(within)} GROUP BY window ORDER BY window "
            "FORMAT TabSeparated"
        )

    def counts(self, within: Range) -> str:
        """Ask how many spans each slice of a range has: its number, and the count."""
        return (
            f"SELECT {self._slice(within.slices)} AS slice, count() FROM {self.name} "
            f"WHERE {self.condition(within._replace(slices=1))} GROUP BY slice ORDER BY slice "
            "FORMAT TabSeparated"
        )

    def _slice(self, slices: int) -> str:
        return f"cityHash64({self.trace_id}) % {slices}"

    def spans(self, within: Range, form: Form) -> str:
        """Ask for the spans of a range."""
        if form == "protobuf":
            return self._in_protobuf(within)
        span = ", ".join(f"{name} {kind}" for name, kind in self._types().items())
        resource_spans = (
            f"Array(Tuple(resource Tuple(attributes {self.attributes}), "
            f"scopeSpans Array(Tuple(scope {_SCOPE.format(self.attributes)}, "
            f"spans Array(Tuple({span}))))))"
        )
        groups = ", ".join([f"{self.resource} AS r", f"{self.scope} AS s", *self._of_messages(within)])
        grouped = f"groupArray(({', '.join(self._fields(*self.ids, self.trace_id, self.links).values())}))"
        settings = f"SETTINGS {JSON_SETTINGS} " if form == "json" else ""
        return (
            f"SELECT CAST([(tuple(r), [(s, {grouped})])], '{resource_spans}') "
            f"AS resourceSpans FROM {self.name} WHERE {self.condition(within)} "
            f"GROUP BY {groups} {settings}FORMAT JSONEachRow"
        )

    def _in_protobuf(self, within: Range) -> str:
        """The same, each span written before spans are grouped: the server groups texts, no tuples of lists.

        rows ─► x: a tuple ─► span: 18 length Span ─► scope_spans: 10 length Scope span span ... ─► Request
        """
        span_id, parent_id, trace_id = (f"unhex({each})" for each in (*self.ids, self.trace_id))
        links = f"arrayMap(l -> (unhex(l.1), unhex(l.2), l.3, l.4), {self.links})"
        fields = self._fields(span_id, parent_id, trace_id, links)
        types = ", ".join(self._types().values())
        span = ", ".join(f"x.{number} AS {name}" for number, name in enumerate(fields, 1))
        parts = [f"{part} AS m" for part in self._of_messages(within)]
        group = ", ".join(["r", "s", *("m" for _ in parts)])
        kept = ", ".join([f"{self.resource} AS r", f"{self.scope} AS s", *parts])
        tuples = (
            f"SELECT {kept}, CAST(({', '.join(fields.values())}), 'Tuple({types})') AS x "
            f"FROM {self.name} WHERE {self.condition(within)}"
        )
        spans = f"SELECT {group}, concat(char(18), formatRow('Protobuf', {span})) AS span FROM ({tuples})"
        scope = (
            "CAST(s.1, 'Nullable(String)') AS name, CAST(s.2, 'Nullable(String)') AS version, "
            f"CAST(s.3, '{self.attributes}') AS attributes"
        )
        scopes = (
            f"SELECT r, concat(char(10), formatRow('Protobuf', {scope}), "
            "arrayStringConcat(groupArray(span))) AS scope_spans, toUInt32(count()) AS spans "
            f"FROM ({spans} {_of_message('Span')}) GROUP BY {group}"
        )
        made = f"Tuple(resource Tuple(attributes {self.attributes}), scopeSpans String)"
        return (
            f"SELECT CAST((tuple(r), scope_spans), '{made}') AS resourceSpans, spans "
            f"FROM ({scopes} {_of_message('Scope')}) {_of_message('Request')}, {_ONE_THREAD} FORMAT Protobuf"
        )

    def _of_messages(self, within: Range) -> list[str]:
        """What parts a group into messages, where there are several."""
        parts = f"intHash32(cityHash64({self.trace_id})) % {within.messages}"
        return [parts] if within.messages > 1 else []

    def _fields(self, span_id: str, parent_id: str, trace_id: str, links: str) -> dict[str, str]:
        ids = {"traceId": trace_id, "spanId": span_id, "parentSpanId": parent_id}
        return {**ids, **self.span, "links": links}

    def _types(self) -> dict[str, str]:
        """Types of a span's fields, by name and in order."""
        return {
            name: _TYPES.get(name, "String").format(self.attributes) for name in self._fields("", "", "", "")
        }


def quoted(name: str) -> str:
    """A name as SQL has it, whatever is in it."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def _kind(column: str) -> str:
    """A kind as OTLP's number, from its name: ``Server``, ``server``, ``SPAN_KIND_SERVER``."""
    plain = f"replaceOne(lower({column}), 'span_kind_', '')"
    return f"indexOf({_KINDS}, {plain})"


def _status(message: str, code: str) -> str:
    """A status, its code from its name: ``Unset``, ``Ok``, ``STATUS_CODE_ERROR``."""
    plain = f"replaceOne(lower({code}), 'status_code_', '')"
    return f"({message}, indexOf(['ok', 'error'], {plain}))"


def _times(start: str, duration: str) -> dict[str, str]:
    """Start and end; a negative duration, which an unsigned column holds as a huge one, comes back so."""
    begin = f"toUnixTimestamp64Nano({start})"
    return {"startTimeUnixNano": begin, "endTimeUnixNano": f"{begin} + toInt64({duration})"}


def _of_map(column: str) -> str:
    return f"arrayMap(a -> (a.1, tuple(a.2)), CAST({column}, 'Array(Tuple(String, String))'))"


def _of_json(column: str, all_values: bool) -> str:
    """Attributes of a JSON column: the server knows every path, its type and, in version 26.4, its value."""
    types = f"mapValues(JSONAllPathsWithTypes({column}))"
    paths = f"JSONAllPaths({column})"
    if all_values:
        values = f"JSONAllValues({column})"
    else:
        raw = f"arrayFold((t, k) -> JSONExtractRaw(t, k), splitByChar('.', p), toJSONString({column}))"
        values = (
            f"arrayMap(p -> if(startsWith({raw} AS raw, '\"'), "
            f"JSONExtractString(concat('[', raw, ']'), 1), raw), {paths})"
        )
    made = (
        "(p, (if(t IN ('Int64', 'Bool', 'Float64'), NULL, v), if(t = 'Bool', v = 'true', NULL), "
        "if(t = 'Int64', toInt64OrNull(v), NULL), if(t = 'Float64', toFloat64OrNull(v), NULL)))"
    )
    return f"arrayMap((p, t, v) -> {made}, {paths}, {types}, {values})"


def _collector(name: str, columns: Mapping[str, str], all_values: bool) -> Table:
    json = columns["SpanAttributes"].startswith("JSON")

    def of(column: str) -> str:
        return _of_json(column, all_values) if json else _of_map(column)

    return Table(
        kind=f"the Collector's exporter, {'JSON' if json else 'Map'} columns",
        name=name,
        time="Timestamp",
        trace_id="TraceId",
        resource=of("ResourceAttributes"),
        scope="(nullIf(ScopeName, ''), nullIf(ScopeVersion, ''), [])"
        if "ScopeName" in columns
        else _NO_SCOPE,
        span={
            "traceState": "TraceState",
            "name": "SpanName",
            "kind": _kind("SpanKind"),
            **_times("Timestamp", "Duration"),
            "attributes": of("SpanAttributes"),
            "events": "arrayMap((t, n, a) -> (toUnixTimestamp64Nano(t), n, "
            f"{of('a')}), Events.Timestamp, Events.Name, Events.Attributes)",
            "status": _status("StatusMessage", "StatusCode"),
        },
        ids=("SpanId", "ParentSpanId"),
        links=f"arrayMap((t, s, u, a) -> (t, s, u, {of('a')}), "
        "Links.TraceId, Links.SpanId, Links.TraceState, Links.Attributes)",
        attributes=_TYPED if json else _TEXT,
    )


#: Jaeger's columns of one type of attribute each, and where OTLP has that type.
_JAEGER_TYPES: Final = {
    "str": "(toNullable(v), NULL, NULL, NULL)",
    "bool": "(NULL, toNullable(v), NULL, NULL)",
    "int": "(NULL, NULL, toNullable(v), NULL)",
    "double": "(NULL, NULL, NULL, toNullable(v))",
    "complex": "(toNullable(v), NULL, NULL, NULL)",
}


def _jaeger_attributes(columns: str, at: str = "") -> str:
    """Attributes of all types; ``{}`` in the name of the columns is the type.

    Bytes, lists and maps have their kind before the key, ``@bytes@key``, and stay texts.  What belongs to
    an event or a link is nested twice: `at` is which of them.
    """
    parts: list[str] = []
    for kind, value in _JAEGER_TYPES.items():
        key = "replaceRegexpOne(k, '^@[a-z]+@', '')" if kind == "complex" else "k"
        column = columns.format(kind)
        keys, values = f"{column}.key", f"{column}.value"
        if at:
            keys, values = f"arrayMap(a -> a.1, `{column}`[{at}])", f"arrayMap(a -> a.2, `{column}`[{at}])"
        parts.append(f"arrayMap((k, v) -> ({key}, {value}), {keys}, {values})")
    return f"arrayConcat({', '.join(parts)})"


def _service_named(text: str) -> str:
    """The attribute of a resource whose service stands in a column of its own."""
    return f"[('service.name', (toNullable({text}), NULL, NULL, NULL))]"


def _jaeger(name: str, columns: Mapping[str, str], all_values: bool) -> Table:
    del all_values
    resource = _jaeger_attributes("resource_{}_attributes")
    named = _service_named("service_name")
    unnamed = "service_name != '' AND NOT has(resource_str_attributes.key, 'service.name')"
    return Table(
        kind="Jaeger 2",
        name=name,
        time="start_time",
        trace_id="trace_id",
        resource=f"if({unnamed}, arrayConcat({named}, {resource}), {resource})",
        scope="(nullIf(scope_name, ''), nullIf(scope_version, ''), "
        f"{_jaeger_attributes('scope_{}_attributes')})",
        span={
            "traceState": "trace_state",
            "name": "name",
            "kind": _kind("kind"),
            **_times("start_time", "duration"),
            "attributes": _jaeger_attributes("{}_attributes"),
            "events": f"arrayMap((t, n, i) -> (toUnixTimestamp64Nano(t), n, "
            f"{_jaeger_attributes('events.{}_attributes', 'i')}), "
            "events.timestamp, events.name, arrayEnumerate(events.name))",
            "status": _status("status_message", "status_code"),
            **({"flags": "flags"} if "flags" in columns else {}),
        },
        ids=("id", "parent_span_id"),
        links=f"arrayMap((t, s, u, i) -> (t, s, u, {_jaeger_attributes('links.{}_attributes', 'i')}), "
        "links.trace_id, links.span_id, links.trace_state, arrayEnumerate(links.trace_id))",
        attributes=_TYPED,
    )


def _texts(column: str) -> str:
    """Attributes of a Map of texts, beside others of other types."""
    return (
        "arrayMap(a -> (a.1, (toNullable(a.2), NULL, NULL, NULL)), "
        f"CAST({column}, 'Array(Tuple(String, String))'))"
    )


def _signoz_maps(strings: str, numbers: str, flags: str) -> str:
    """Attributes of a Map for each type; integers are among the doubles."""
    whole = f"a.2 = trunc(a.2) AND abs(a.2) < {_EXACT}"
    return (
        f"arrayConcat({_texts(strings)}, "
        f"arrayMap(a -> (a.1, (NULL, NULL, if({whole}, toNullable(toInt64(a.2)), NULL), "
        f"if({whole}, NULL, toNullable(a.2)))), CAST({numbers}, 'Array(Tuple(String, Float64))')), "
        "arrayMap(a -> (a.1, (NULL, toNullable(a.2), NULL, NULL)), "
        f"CAST({flags}, 'Array(Tuple(String, Bool))')))"
    )


def _signoz_events() -> str:
    event = "JSONExtract(e, 'Tuple(name String, timeUnixNano UInt64, attributeMap Map(String, String))')"
    return f"arrayMap(e -> (e.2, e.1, {_texts('e.3')}), arrayMap(e -> {event}, events))"


def _signoz(name: str, columns: Mapping[str, str], all_values: bool) -> Table:
    """SigNoz keeps the parent among the links; its newer columns of JSON are empty in older rows."""

    def of(column: str, maps: str) -> str:
        if not columns.get(column, "").startswith("JSON"):
            return maps
        others = f"arrayFilter(a -> NOT has(JSONAllPaths({column}), a.1), {maps})"
        return f"arrayConcat({_of_json(column, all_values)}, {others})"

    scope = columns.get("scope", "")
    scope_attributes = _of_json("scope.attributes", all_values) if "attributes JSON" in scope else "[]"
    references = "JSONExtract(links, 'Array(Tuple(traceId String, spanId String, refType String))')"
    return Table(
        kind="SigNoz",
        name=name,
        time="timestamp",
        trace_id="trace_id",
        resource=of("resource", _texts("resources_string")),
        scope=f"(nullIf(toString(scope.name), ''), nullIf(toString(scope.version), ''), {scope_attributes})"
        if scope.startswith("JSON")
        else _NO_SCOPE,
        span={
            "traceState": "trace_state",
            "name": "name",
            "kind": "kind",
            **_times("timestamp", "duration_nano"),
            "attributes": of(
                "attributes", _signoz_maps("attributes_string", "attributes_number", "attributes_bool")
            ),
            "events": _signoz_events(),
            "status": "(status_message, status_code)",
            "flags": "flags",
        },
        ids=("span_id", "parent_span_id"),
        links=f"arrayMap(l -> (l.1, l.2, '', []), arrayFilter(l -> l.3 != 'CHILD_OF', {references}))",
        attributes=_TYPED,
        bucketed="ts_bucket_start" in columns,
    )


def _signoz_2(name: str, columns: Mapping[str, str], all_values: bool) -> Table:
    """SigNoz's table before: links and states are not in it, and at first no attribute had a type."""
    del all_values
    message = "statusMessage" if "statusMessage" in columns else "''"
    named = _service_named("toString(serviceName)")
    resource = _texts("resourceTagsMap") if "resourceTagsMap" in columns else "[]"
    typed = "stringTagMap" in columns
    return Table(
        kind="SigNoz, version 2",
        name=name,
        time="timestamp",
        trace_id="traceID",
        resource=f"arrayConcat({named}, arrayFilter(a -> a.1 != 'service.name', {resource}))",
        scope=_NO_SCOPE,
        span={
            "name": "name",
            "kind": "kind",
            **_times("timestamp", "durationNano"),
            "attributes": _signoz_maps("stringTagMap", "numberTagMap", "boolTagMap")
            if typed
            else _texts("tagMap"),
            "events": _signoz_events(),
            "status": f"({message}, statusCode)",
        },
        ids=("spanID", "parentSpanID"),
        links="CAST([], 'Array(Tuple(String, String, String, Array(Tuple(String, String))))')",
        attributes=_TYPED,
    )


#: What each kind of table is known by: columns that no other has.
_KNOWN: Final = (
    (
        _collector,
        ("Timestamp", "TraceId", "SpanId", "ParentSpanId", "SpanName", "Duration", "SpanAttributes"),
    ),
    (_jaeger, ("start_time", "trace_id", "id", "parent_span_id", "duration", "str_attributes.key")),
    (_signoz, ("timestamp", "trace_id", "span_id", "duration_nano", "attributes_string", "resources_string")),
    (_signoz_2, ("timestamp", "traceID", "spanID", "parentSpanID", "durationNano", "serviceName")),
)
#: Where each keeps its spans, when no table is named.
USUAL: Final = (
    "otel_traces",
    "spans",
    "distributed_signoz_index_v3",
    "signoz_index_v3",
    "distributed_signoz_index_v2",
    "signoz_index_v2",
)


def recognise(name: str, columns: Mapping[str, str], *, all_values: bool = True) -> Table | None:
    """The table that has these columns, or None for one that is not of spans as known here.

    Parameters
    ----------
    name
        Database and table, quoted.
    columns
        Names and types, as the server describes them.
    all_values
        The server has JSONAllValues (version 26.4).
    """
    for make, needed in _KNOWN:
        if all(column in columns for column in needed):
            return make(name, columns, all_values)
    return None

"""Blocks of Tempo: Parquet files of one row a trace, as OTLP messages.

    <tenant>/<block>/meta.json      version, dedicated columns; written last: a block without one is none yet
    <tenant>/<block>/data.parquet   TraceID, rs[] ─► Resource, ss[] ─► Scope, Spans[] ─► Attrs, Events, Links

What Tempo keeps in columns of its own goes back to where it came from: attributes that have a fixed column
(service, cluster and HTTP ones), and those to which meta.json's ``dedicatedColumns`` give one of the spare
columns ``String01`` ... ``Int05``, in order of their scope and type.  A spare column holds one value, or in
version 5 a list.  Nested sets and rounded times are Tempo's indices, and say nothing that spans do not.

Source: Tempo's documentation, "Apache Parquet schema" and "Dedicated attribute columns".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracescope.errors import InputError, SourceError
from tracescope.ingest import columns, otlp_json
from tracescope.ingest.columns import Column, Field
from tracescope.ingest.files import FileOfNoTracesError
from tracescope.sources import Between, Part

if TYPE_CHECKING:
    import polars as pl

VERSIONS: Final = ("vParquet4", "vParquet5")
DATA, META = "data.parquet", "meta.json"
#: Files of a block beside its data, which are not read by themselves, by their path from its tenant.
_BESIDE: Final = re.compile(
    r"(^|/)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/(meta(\.compacted)?\.json|bloom-\d+|index|nocompact\.flg)$"
)
#: Compressed bytes that are turned into messages at once, and of a message.
_SLICE_BYTES: Final = 8 * 1024 * 1024
_MESSAGE_BYTES: Final = 1024 * 1024
_RESOURCE: Final = (
    ("ServiceName", "service.name"), ("Cluster", "cluster"), ("Namespace", "namespace"), ("Pod", "pod"),
    ("Container", "container"), ("K8sClusterName", "k8s.cluster.name"),
    ("K8sNamespaceName", "k8s.namespace.name"), ("K8sPodName", "k8s.pod.name"),
    ("K8sContainerName", "k8s.container.name"),
)  # fmt: skip
_SPAN: Final = (
    ("HttpMethod", "http.method"), ("HttpUrl", "http.url"), ("HttpStatusCode", "http.status_code"),
)  # fmt: skip

#: What of a block's data is read, and its types: a name with ``?`` may be missing.
_PAIRS: Final[Any] = [
    {
        "Key": "text", "IsArray": "truth", "Value": ["text"], "ValueInt": ["number"],
        "ValueDouble": ["double"], "ValueBool": ["truth"], "ValueUnsupported": "text",
    }
]  # fmt: skip
_EVENT: Final[Any] = {
    "TimeSinceStartNano": "number", "Name": "text", "Attrs": _PAIRS, "DroppedAttributesCount?": "number",
}  # fmt: skip
_LINK: Final[Any] = {
    "TraceID": "text", "SpanID": "text", "TraceState": "text", "Attrs": _PAIRS,
    "DroppedAttributesCount?": "number",
}  # fmt: skip
_SPANS: Final[Any] = {
    "SpanID": "text", "ParentSpanID": "text", "Name": "text", "Kind": "number", "TraceState": "text",
    "StartTimeUnixNano": "number", "DurationNano": "number", "StatusCode": "number", "StatusMessage": "text",
    "Attrs": _PAIRS, "Events": [_EVENT], "Links": [_LINK], "DroppedAttributesCount?": "number",
    "DroppedEventsCount?": "number", "DroppedLinksCount?": "number",
}  # fmt: skip
_SCOPE: Final[Any] = {
    "Name": "text", "Version": "text", "Attrs": _PAIRS, "DroppedAttributesCount?": "number"
}  # fmt: skip
_TRACES: Final[Any] = {
    "TraceID": "text",
    "rs": [
        {
            "Resource": {"Attrs": _PAIRS, "DroppedAttributesCount?": "number"},
            "ss": [{"Scope": _SCOPE, "Spans": [_SPANS]}],
        }
    ],
}


def is_data(key: str) -> bool:
    """Whether a key or path is a block's data."""
    return key == DATA or key.endswith(f"/{DATA}")


def is_beside(key: str) -> bool:
    """Whether a key or path is of a block and not its data."""
    return _BESIDE.search(key) is not None


def no_block(place: str) -> InputError:
    """Where only blocks are read, and there is none."""
    return InputError(
        f"{place}: no block of Tempo there",
        f"blocks are TENANT/BLOCK/{DATA}; other files are read by the URL without tempo",
    )


@dataclass(frozen=True, slots=True)
class Block:
    """A block.

    Attributes
    ----------
    shown
        What messages call it.
    meta
        Gives its meta.json; None where there is none.
    data
        Its data as a file, for as long as it is read.
    """

    shown: str
    meta: Callable[[], bytes | None]
    data: Callable[[], AbstractContextManager[Path]]

    def part(self, name: str, between: Between | None) -> Part:
        """It as a part, which is told to lie outside by its meta.json."""
        outside = between is not None and self._lies_outside(between)
        return Part(name, self.shown, self.read, messages=True, between=between, outside=outside)

    def _lies_outside(self, between: Between) -> bool:
        """Whether its first and last times say that it has nothing of what is between; else reading tells."""
        try:
            said = json.loads(self.meta() or b"{}")
            first, last = (
                int(datetime.fromisoformat(said[name]).timestamp()) * 10**9
                for name in ("startTime", "endTime")
            )
        except (ValueError, KeyError, TypeError, OverflowError):
            return False
        return last + 10**9 <= between.first_ns or first >= between.end_ns

    def read(self) -> Iterator[bytes]:
        """Its traces as ExportTraceServiceRequest messages.

        Raises
        ------
        FileOfNoTracesError
            It has no meta.json, or another version.
        InputError
            It is damaged.
        """
        from polars.exceptions import PolarsError

        dedicated = self._dedicated()
        with self.data() as path:
            try:
                yield from _messages(path, dedicated)
            except (PolarsError, OSError, _OtherSchemaError, otlp_json.Malformed) as error:
                raise InputError(
                    f"{self.shown}: its data is not a block of Tempo: {str(error).splitlines()[0]}",
                    "copy the block again, or leave it out",
                ) from error

    def _dedicated(self) -> tuple[_Dedicated, ...]:
        """Its dedicated columns."""
        text = self.meta()
        if text is None:
            raise _none(
                f"{self.shown}: a block of Tempo without {META}", "it is being written, or compacted away"
            )
        try:
            said = json.loads(text)
            version, given = (
                said["format"] if "format" in said else said["version"],
                said.get("dedicatedColumns"),
            )
            asked = [(one.get("s", "span"), one.get("t", "string"), one["n"]) for one in given or ()]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{self.shown}: its {META} is damaged", "copy the block again") from error
        if version not in VERSIONS:
            raise _none(
                f"{self.shown}: a block of Tempo of version {version}; {' and '.join(VERSIONS)} are read",
                "let Tempo compact it into one of these",
            )
        taken: dict[tuple[str, str], int] = {}
        found: list[_Dedicated] = []
        for scope, kind, name in asked:
            taken[scope, kind] = taken.get((scope, kind), 0) + 1
            found.append(_Dedicated(scope, f"{kind.capitalize()}{taken[scope, kind]:02}", name))
        return tuple(found)


def _none(message: str, hint: str) -> FileOfNoTracesError:
    return FileOfNoTracesError(SourceError(message, hint))


class _OtherSchemaError(Exception):
    """A block's data has not the columns that a block has."""


def _is(kind: Any, expected: str) -> bool:
    """Whether values of a type are what is expected."""
    import polars as pl

    if expected == "text":
        return kind == pl.String or kind == pl.Binary
    if expected == "truth":
        return kind == pl.Boolean
    return kind.is_float() if expected == "double" else kind.is_integer()


def _demand(kind: Any, expected: Any, at: str) -> None:
    """Raise _OtherSchemaError where a type has not the parts that are expected."""
    import polars as pl

    if isinstance(expected, list):
        if not isinstance(kind, pl.List):
            raise _OtherSchemaError(f"{at} is {kind}, expected a list")
        _demand(kind.inner, expected[0], at)
    elif isinstance(expected, dict):
        if not isinstance(kind, pl.Struct):
            raise _OtherSchemaError(f"{at} is {kind}, expected a group of columns")
        there = {field.name: field.dtype for field in kind.fields}
        for name, inner in expected.items():  # pyright: ignore[reportUnknownVariableType]
            plain = str(name).rstrip("?")  # pyright: ignore[reportUnknownArgumentType]
            if plain in there:
                _demand(there[plain], inner, f"{at}.{plain}".lstrip("."))
            elif name == plain:
                raise _OtherSchemaError(f"no column {at}.{plain}".replace(" .", " "))
    elif not _is(kind, expected):
        raise _OtherSchemaError(f"{at} is {kind}, expected {expected}")


class _Dedicated(NamedTuple):
    """A spare column: of what, which, and the attribute it holds."""

    scope: str
    column: str
    name: str


def _messages(path: Path, dedicated: tuple[_Dedicated, ...]) -> Iterator[bytes]:
    """Messages of a block's data, some rows at once."""
    import polars as pl

    _demand(pl.Struct(dict(pl.scan_parquet(path).collect_schema())), _TRACES, "")
    rows = pl.scan_parquet(path).select(pl.len()).collect().item()
    step = max(1, rows * _SLICE_BYTES // max(path.stat().st_size, 1))
    traces = pl.scan_parquet(path).select("TraceID", "rs")
    for begin in range(0, rows, step):
        yield from _of_traces(traces.slice(begin, step).collect(), dedicated)


def _of_traces(traces: pl.DataFrame, dedicated: tuple[_Dedicated, ...]) -> Iterator[bytes]:
    """Messages of some traces."""
    per_trace, resources = columns.lists(traces["rs"])
    if not len(resources):
        return
    resource_spans = resources.struct.unnest()
    per_resource, scopes = columns.lists(resource_spans["ss"])
    scope_spans = scopes.struct.unnest()
    per_scope, spans = columns.lists(scope_spans["Spans"])
    of_resource = np.repeat(np.arange(len(traces)), per_trace)
    of_span = np.repeat(np.repeat(of_resource, per_resource), per_scope)
    trace_ids = columns.texts(traces["TraceID"]).at(of_span)
    written = columns.messages([columns.sized(2, _spans(spans.struct.unnest(), trace_ids, dedicated))])
    parts = [columns.sized(1, _scopes(scope_spans["Scope"])), columns.fields(written.together(per_scope))]
    written = columns.messages([columns.sized(2, columns.messages(parts))])
    parts = [
        columns.sized(1, _resources(resource_spans["Resource"], dedicated)),
        columns.fields(written.together(per_resource)),
    ]
    whole = columns.messages([columns.sized(1, columns.messages(parts))])
    ends = whole.begin + whole.size
    begin = 0
    while begin < len(ends):
        start = int(whole.begin[begin])
        end = max(begin + 1, int(np.searchsorted(ends, start + _MESSAGE_BYTES, side="right")))
        yield whole.data[start : int(ends[end - 1])].tobytes()
        begin = end


def _resources(series: pl.Series, dedicated: tuple[_Dedicated, ...]) -> Column:
    """Resource messages."""
    rows = series.struct.unnest()
    return columns.messages(
        [
            *_attributes(rows, 1, "resource", dedicated),
            *_fixed_columns(rows, 1, _RESOURCE),
            _dropped(rows, 2, "DroppedAttributesCount"),
        ]
    )


def _scopes(series: pl.Series) -> Column:
    """InstrumentationScope messages."""
    rows = series.struct.unnest()
    return columns.messages(
        [
            columns.sized(1, columns.texts(rows["Name"]).filled()),
            columns.sized(2, columns.texts(rows["Version"]).filled()),
            *_attributes(rows, 3),
            _dropped(rows, 4, "DroppedAttributesCount"),
        ]
    )


def _spans(rows: pl.DataFrame, trace_ids: Column, dedicated: tuple[_Dedicated, ...]) -> Column:
    """Span messages."""
    count = len(rows)
    start = _times(rows["StartTimeUnixNano"])
    end = start + _times(rows["DurationNano"])
    always = np.ones(count, np.bool_)
    return columns.messages(
        [
            columns.sized(1, trace_ids),
            columns.sized(2, columns.texts(rows["SpanID"])),
            columns.sized(3, columns.texts(rows["TraceState"]).filled()),
            columns.sized(4, columns.texts(rows["ParentSpanID"]).filled()),
            columns.sized(5, columns.texts(rows["Name"]).filled()),
            _dropped(rows, 6, "Kind"),
            columns.fixed(7, start, always),
            columns.fixed(8, end, always),
            *_attributes(rows, 9, "span", dedicated),
            *_fixed_columns(rows, 9, _SPAN),
            _dropped(rows, 10, "DroppedAttributesCount"),
            columns.fields(_events(rows["Events"], start, dedicated)),
            _dropped(rows, 12, "DroppedEventsCount"),
            columns.fields(_links(rows["Links"])),
            _dropped(rows, 14, "DroppedLinksCount"),
            columns.sized(15, _statuses(rows).filled()),
        ]
    )


def _times(series: pl.Series) -> NDArray[np.uint64]:
    """Nanoseconds; 0 where there are none, and decoding refuses the span."""
    return series.fill_null(0).to_numpy().astype(np.uint64)


def _statuses(rows: pl.DataFrame) -> Column:
    """Status messages; empty ones where nothing is said."""
    return columns.messages(
        [columns.sized(2, columns.texts(rows["StatusMessage"]).filled()), _dropped(rows, 3, "StatusCode")]
    )


def _dropped(rows: pl.DataFrame, field: int, name: str) -> Field:
    """A number that is left out where it is 0; not every minor version has every one."""
    if name not in rows.columns:
        return columns.fields(_nothing(len(rows)))
    values = rows[name].fill_null(0).to_numpy().astype(np.int64)
    return columns.number(field, values, values != 0)


def _events(series: pl.Series, start: NDArray[np.uint64], dedicated: tuple[_Dedicated, ...]) -> Column:
    """Events of each span, as its fields."""
    counts, items = columns.lists(series)
    if not len(items):
        return _nothing(len(series))
    rows = items.struct.unnest()
    at = _times(rows["TimeSinceStartNano"]) + np.repeat(start, counts)
    events = columns.messages(
        [
            columns.fixed(1, at, np.ones(len(rows), np.bool_)),
            columns.sized(2, columns.texts(rows["Name"]).filled()),
            *_attributes(rows, 3, "event", dedicated),
            _dropped(rows, 4, "DroppedAttributesCount"),
        ]
    )
    return columns.messages([columns.sized(11, events)]).together(counts)


def _links(series: pl.Series) -> Column:
    """Links of each span, as its fields."""
    counts, items = columns.lists(series)
    if not len(items):
        return _nothing(len(series))
    rows = items.struct.unnest()
    links = columns.messages(
        [
            columns.sized(1, columns.texts(rows["TraceID"])),
            columns.sized(2, columns.texts(rows["SpanID"])),
            columns.sized(3, columns.texts(rows["TraceState"]).filled()),
            *_attributes(rows, 4),
            _dropped(rows, 5, "DroppedAttributesCount"),
        ]
    )
    return columns.messages([columns.sized(13, links)]).together(counts)


def _nothing(rows: int) -> Column:
    return columns.constant("", rows)


# -- attributes --


class _Values(NamedTuple):
    """Values of one type of some attributes: how many each has ``(n,)``, and all as fields of an AnyValue."""

    counts: NDArray[np.int64]
    field: Callable[[], Field]

    def single(self, present: NDArray[np.bool_]) -> Field:
        """The first of each where `present`."""
        field = self.field()
        rows = columns.bounds_of(self.counts)[:-1][present]
        first, size = np.zeros(len(present), np.int64), np.full(len(present), -1, np.int64)
        first[present], size[present] = field.first[rows], field.size[rows]
        return field._replace(first=first, size=size)

    def listed(self) -> Column:
        """All of each, as the fields of an ArrayValue."""
        each = columns.messages([columns.sized(1, columns.messages([self.field()]))])
        return each.together(self.counts)


def _values(series: pl.Series) -> _Values:
    """Of strings, integers, doubles or truth values, or of lists of them; null is none."""
    import polars as pl

    if isinstance(series.dtype, pl.List):
        counts, items = columns.lists(series)
    else:
        counts, items = series.is_not_null().to_numpy().astype(np.int64), series.drop_nulls()
    present = np.ones(len(items), np.bool_)
    if items.dtype == pl.String or items.dtype == pl.Binary:
        return _Values(counts, lambda: columns.sized(1, columns.texts(items)))
    if items.dtype == pl.Boolean:
        return _Values(counts, lambda: columns.number(2, items.fill_null(value=False).to_numpy(), present))
    if items.dtype.is_float():
        return _Values(
            counts, lambda: columns.fixed(4, items.fill_null(0).to_numpy().astype(np.float64), present)
        )
    if items.dtype.is_integer():
        return _Values(counts, lambda: columns.number(3, items.fill_null(0).to_numpy(), present))
    raise _OtherSchemaError(f"{series.name} is {series.dtype}, expected text or numbers")


def _any_values(types: list[_Values], is_list: NDArray[np.bool_], other: Column | None) -> Column:
    """AnyValue messages of attributes, by the first type that each has values of; absent where it has none.

    Parameters
    ----------
    types, is_list
        Their values, and which are lists.
    other
        AnyValue messages of those that are of another type.
    """
    left = np.ones(len(is_list), np.bool_)
    parts: list[Field] = []
    lists = np.zeros(len(is_list), np.int64), np.where(is_list, 0, -1)
    arrays: list[Field] = [Field(0, 0, *lists, np.zeros(0, np.uint8))]
    for values in types:
        having = left & (values.counts > 0)
        left &= ~having
        if (having & ~is_list).any():
            parts.append(values.single(having & ~is_list))
        if (having & is_list).any():
            arrays.append(columns.fields(values.listed().only(having & is_list)))
    if is_list.any():
        parts.append(columns.sized(5, columns.messages(arrays).only(is_list)))
        left &= ~is_list
    if other is not None:
        parts.append(columns.fields(other.only(left & (other.size >= 0))))
        left &= other.size < 0
    if not parts:
        return columns.constant("", len(is_list)).only(~left)
    return columns.messages(parts).only(~left)


def _pairs(keys: Column, values: Column, field: int) -> Column:
    """Attributes as fields of what they are of; none where a value is absent."""
    pair = columns.messages([columns.sized(1, keys), columns.sized(2, values)])
    return columns.messages([columns.sized(field, pair.only(values.size >= 0))])


def _attributes(
    rows: pl.DataFrame, field: int, scope: str = "", dedicated: tuple[_Dedicated, ...] = ()
) -> list[Field]:
    """Attributes of each row, as its fields: those of its list, and those that have a spare column."""
    import polars as pl

    found: list[Field] = []
    counts, items = columns.lists(rows["Attrs"])
    if len(items):
        each = items.struct.unnest()
        types = [_values(each[name]) for name in ("Value", "ValueInt", "ValueDouble", "ValueBool")]
        is_list = each["IsArray"].fill_null(value=False).to_numpy()
        values = _any_values(types, is_list, _unsupported(each["ValueUnsupported"]))
        found.append(columns.fields(_pairs(columns.texts(each["Key"]), values, field).together(counts)))
    named = [(one.column, one.name) for one in dedicated if one.scope == scope]
    if named and isinstance(rows.schema.get("DedicatedAttributes"), pl.Struct):
        spare = rows["DedicatedAttributes"].struct.unnest()
        found += _fixed_columns(spare, field, [pair for pair in named if pair[0] in spare.columns])
    return found


def _fixed_columns(rows: pl.DataFrame, field: int, names: Any) -> Iterator[Field]:
    """Attributes that have a column each, as fields; several values are a list."""
    import polars as pl

    for column, name in names:
        if column not in rows.columns:
            continue
        values = _values(rows[column])
        having = np.flatnonzero(values.counts)
        if column == "ServiceName" and rows[column].dtype == pl.String:  # which is no optional one
            having = having[columns.texts(rows[column]).size[having] > 0]
        if not len(having):
            continue
        written = _any_values([values], values.counts > 1, None).at(having)
        pairs = _pairs(columns.constant(name, len(having)), written, field)
        yield columns.fields(pairs.spread(having, len(rows)))


def _unsupported(series: pl.Series) -> Column | None:
    """AnyValue messages of what Tempo keeps as JSON: maps, bytes, mixed lists."""
    if series.null_count() == len(series):
        return None
    rows = np.flatnonzero(series.is_not_null().to_numpy())
    each = [otlp_json.encode_value(text) for text in series.drop_nulls().to_list()]
    size = np.array([len(one) for one in each], np.int64)
    data = np.frombuffer(b"".join(each), np.uint8)
    return Column(data, columns.bounds_of(size)[:-1], size).spread(rows, len(series))

"""OTLP bytes to the SPANS table: the one way in.

The wire kernel gives integer columns and string codes; what the attributes mean is resolved once
for each distinct combination of values; strings are gathered from their dictionary at the end.
Spans that cannot be used are counted by reason, never lost in silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl

from tracescope import schema, semconv
from tracescope.kernels import wire

#: A span may start so long after it arrived, clocks being what they are.
FUTURE_NS = 24 * schema.HOUR_NS

_SPAN_FIELDS = tuple(semconv.SPAN_ATTRIBUTES)
_RESOURCE_FIELDS = tuple(semconv.RESOURCE_ATTRIBUTES)
_FIELDS = wire.FIRST_ATTRIBUTE_FIELD + len(_SPAN_FIELDS) + len(_RESOURCE_FIELDS)
_FIRST_RESOURCE_FIELD = wire.FIRST_ATTRIBUTE_FIELD + len(_SPAN_FIELDS)


@dataclass(frozen=True, slots=True)
class Decoded:
    """SPANS rows in the order they were sent, and how many were refused for what."""

    spans: pl.DataFrame
    rejected: dict[str, int]

    @property
    def accepted(self) -> int:
        """Spans that were not rejected."""
        return len(self.spans)


@lru_cache(maxsize=8)
def _keys(denied: tuple[str, ...]) -> wire.KeyTable:
    fields: dict[str, tuple[int, int]] = {}
    meanings = {**semconv.SPAN_ATTRIBUTES, **semconv.RESOURCE_ATTRIBUTES}
    for number, names in enumerate(meanings.values(), wire.FIRST_ATTRIBUTE_FIELD):
        for rank, name in enumerate(names):
            # service.instance.id stands for two things; the instance is copied to the host below
            fields.setdefault(name, (number, rank))
    cut = dict.fromkeys(denied, 1) | dict.fromkeys(semconv.DENIED_WITH_QUERY, 2)
    return wire.make_key_table(fields, cut, semconv.DENIED_PREFIXES)


class _Strings:
    """Distinct strings of a scan, read when somebody asks."""

    def __init__(self, scan: wire.Scan) -> None:
        data = scan.data.tobytes() if len(scan.strings) else b""
        self.values = [data[at : at + size].decode("utf-8", "replace") for at, size in scan.strings.tolist()]
        self.series = pl.Series("", self.values, dtype=pl.String)

    def gather(self, codes: np.ndarray[Any, Any]) -> pl.Series:
        """The strings of `codes` ``(n,)``; null for -1."""
        index = pl.Series(codes.astype(np.int64))
        return self.series.gather(pl.select(pl.when(index >= 0).then(index)).to_series())


def _distinct(codes: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Distinct rows of ``(n, k)`` codes and the number of each row's."""
    frame = pl.DataFrame({str(at): codes[:, at] for at in range(codes.shape[1])})
    distinct = frame.unique(maintain_order=True).with_row_index("number")
    numbers = frame.join(distinct, on=frame.columns, how="left", maintain_order="left")["number"]
    return distinct.drop("number").to_numpy(), numbers.to_numpy()


def _resolve(scan: wire.Scan, strings: _Strings) -> dict[str, pl.Series]:
    """Class, messaging operation, peer and operation of every span."""
    used = [
        field
        for field in range(wire.FIRST_ATTRIBUTE_FIELD, _FIRST_RESOURCE_FIELD)
        if len(scan.codes) and scan.codes[:, field].max() >= 0
    ]
    columns = np.column_stack(
        [scan.rows[:, wire.C_KIND].astype(np.int32), scan.codes[:, wire.FIELD_NAME], scan.codes[:, used]]
    )
    rows, number = _distinct(columns)
    names = [_SPAN_FIELDS[field - wire.FIRST_ATTRIBUTE_FIELD] for field in used]
    text = strings.values
    meanings = [
        semconv.meaning(
            {name: text[code] for name, code in zip(names, codes, strict=True) if code >= 0 and text[code]},
            kind,
            text[name_code] if name_code >= 0 else "",
        )
        for kind, name_code, *codes in rows.tolist()
    ]
    table = {
        "edge_class": pl.Series([m.edge_class for m in meanings], dtype=pl.Int8),
        "messaging_op": pl.Series([m.messaging_op for m in meanings], dtype=pl.Int8),
        "peer": pl.Series([m.peer for m in meanings], dtype=pl.String),
        "operation": pl.Series([m.operation for m in meanings], dtype=pl.String),
    }
    return {name: column.gather(number) for name, column in table.items()}


def _slices(data: np.ndarray[Any, Any], at: np.ndarray[Any, Any], size: np.ndarray[Any, Any]) -> pl.Series:
    """Binary values ``data[at:at + size]`` without a Python object for each."""
    view = memoryview(data.data)
    return pl.Series(
        [bytes(view[a : a + n]) for a, n in zip(at.tolist(), size.tolist(), strict=True)], dtype=pl.Binary
    )


def decode(
    payloads: Sequence[bytes], arrived_ns: int | Sequence[int], *, denied: tuple[str, ...] = semconv.DENIED
) -> Decoded:
    """Decode OTLP requests.

    Parameters
    ----------
    payloads
        ExportTraceServiceRequest (or TracesData) messages.
    arrived_ns
        When they arrived, for all or for each: later spans than a day after are refused.
    denied
        Attribute keys that are cut from what is kept.

    Raises
    ------
    MalformedOtlpError
        At the first byte that breaks the wire format; nothing of any payload is used then.
    """
    arrived = np.broadcast_to(np.asarray(arrived_ns, dtype=np.int64), (len(payloads),))
    scan = wire.scan(list(payloads), arrived + FUTURE_NS, _keys(denied), _FIELDS)
    strings = _Strings(scan)
    rows = scan.rows
    host_field = _FIRST_RESOURCE_FIELD + _RESOURCE_FIELDS.index("host")
    instance_field = _FIRST_RESOURCE_FIELD + _RESOURCE_FIELDS.index("service_instance")
    hosts, instances = scan.resource_codes[:, host_field], scan.resource_codes[:, instance_field]
    scan.resource_codes[:, host_field] = np.where(hosts >= 0, hosts, instances)
    resource = rows[:, wire.C_RESOURCE]
    of_resource = {
        name: strings.gather(scan.resource_codes[:, _FIRST_RESOURCE_FIELD + at]).gather(resource)
        for at, name in enumerate(_RESOURCE_FIELDS)
    }
    plain = {
        "trace_hi": wire.C_TRACE_HI, "trace_lo": wire.C_TRACE_LO, "span_id": wire.C_SPAN,
        "parent_span_id": wire.C_PARENT, "start_ns": wire.C_START, "end_ns": wire.C_END,
        "kind": wire.C_KIND, "status": wire.C_STATUS, "threshold": wire.C_THRESHOLD,
        "content_hash": wire.C_HASH,
    }  # fmt: skip
    columns: dict[str, pl.Series] = {
        name: pl.Series(np.ascontiguousarray(rows[:, at])) for name, at in plain.items()
    }
    columns |= of_resource | _resolve(scan, strings)
    columns["service_name"] = columns["service_name"].replace("", None).fill_null(schema.UNKNOWN_SERVICE)
    columns["environment"] = columns["environment"].fill_null("")
    columns["name"] = strings.gather(scan.codes[:, wire.FIELD_NAME]).fill_null("")
    columns["scope"] = strings.gather(scan.codes[:, wire.FIELD_SCOPE])
    columns["raw"] = _slices(scan.data, rows[:, wire.C_RAW_AT], rows[:, wire.C_RAW_LEN])
    columns["resource"] = _slices(scan.data, scan.resources[:, 0], scan.resources[:, 1]).gather(resource)
    columns["links"] = _links(scan)
    spans = pl.DataFrame({name: columns[name] for name in schema.SPANS})
    spans = spans.cast(schema.dtypes(schema.SPANS))  # pyright: ignore[reportArgumentType]
    return _without_flaws(spans, rows[:, wire.C_FLAWS])


def inspect(payload: bytes, arrived_ns: int) -> tuple[int, dict[str, int]]:
    """Check one request as `decode` would; spans accepted, and refused by reason.

    Raises
    ------
    MalformedOtlpError
        At the first byte that breaks the wire format.
    """
    latest = np.array([arrived_ns + FUTURE_NS], dtype=np.int64)
    flaws = wire.scan([payload], latest, _keys(semconv.DENIED), _FIELDS).rows[:, wire.C_FLAWS]
    rejected = _reasons(flaws)
    return len(flaws) - sum(rejected.values()), rejected


def _links(scan: wire.Scan) -> pl.Series:
    """Each span's links, 24 bytes a link; null for none."""
    count = scan.rows[:, wire.C_LINKS]
    out: list[bytes | None] = [None] * len(count)
    for row in np.flatnonzero(count).tolist():
        at = scan.rows[row, wire.C_LINKS_AT]
        out[row] = scan.links[at : at + count[row]].tobytes()
    return pl.Series(out, dtype=pl.Binary)


def _reasons(flaws: np.ndarray[Any, Any]) -> dict[str, int]:
    """Flawed spans by the first reason of each."""
    rejected: dict[str, int] = {}
    if not flaws.any():
        return rejected
    left = flaws.copy()
    reasons = {
        wire.FLAW_TRACE_ID: "invalid_trace_id",
        wire.FLAW_SPAN_ID: "invalid_span_id",
        wire.FLAW_TIME: "invalid_time",
        wire.FLAW_FUTURE: "future_time",
    }
    for flaw, reason in reasons.items():
        hit = (left & flaw) != 0
        if count := int(hit.sum()):
            rejected[reason] = count
        left[hit] = 0
    return rejected


def _without_flaws(spans: pl.DataFrame, flaws: np.ndarray[Any, Any]) -> Decoded:
    """Refuse flawed spans."""
    rejected = _reasons(flaws)
    return Decoded(spans.filter(pl.Series(flaws == 0)) if rejected else spans, rejected)

"""OTLP bytes to the SPANS table: the one way in.

The wire kernel gives integer columns and string codes; what the attributes mean is resolved once
for each distinct combination of values; strings are gathered from their dictionary at the end.
Spans that cannot be used are counted by reason, never lost in silence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl
from arro3.core import Array, list_array

from tracescope import schema
from tracescope.conventions import keeping, semconv
from tracescope.conventions.keeping import Policy
from tracescope.conventions.operations import template_name
from tracescope.kernels import wire

#: A span may start so long after it arrived, clocks being what they are.
FUTURE_NS = 24 * schema.HOUR_NS

#: What wire.FLAW_* are called.
_REASONS = (
    "invalid_trace_id", "invalid_span_id", "invalid_time", "future_time", "too_old", "too_long", "too_large",
)  # fmt: skip
_SPAN_FIELDS = tuple(semconv.SPAN_ATTRIBUTES)
_RESOURCE_FIELDS = tuple(semconv.RESOURCE_ATTRIBUTES)
_FIELDS = len(_SPAN_FIELDS) + len(_RESOURCE_FIELDS)


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
def _keys(policy: Policy) -> wire.Keys:
    fields: dict[str, tuple[int, int, int]] = {}
    folds: dict[str, int] = dict.fromkeys(semconv.FOLDED_PATHS, wire.FOLD_PATH)
    folds |= dict.fromkeys(semconv.FOLDED_QUERIES, wire.FOLD_QUERY)
    meanings = {**semconv.SPAN_ATTRIBUTES, **semconv.RESOURCE_ATTRIBUTES}
    for number, (meaning, names) in enumerate(meanings.items()):
        for rank, name in enumerate(names):
            fields.setdefault(name, (number, rank, folds.get(meaning, wire.FOLD_NONE)))
    known = {*fields, *keeping.KNOWN, *keeping.URLS}
    denied = {key: int(keeping.judge(key, policy)) for key in known}
    return wire.make_keys(
        fields,
        denied,
        [(pattern, int(said)) for pattern, said in keeping.rules(policy)],
        [_SPAN_FIELDS.index(meaning) for meaning in semconv.OF_CALLS],
    )


_INTEGERS: dict[Any, Any] = {pl.Int8: np.int8, pl.Int64: np.int64}
#: What stands for a string that is not there: null, a service's name, an environment's.
_OTHERWISE = (None, schema.UNKNOWN_SERVICE, "")


class _Strings:
    """Distinct strings of a scan."""

    def __init__(self, scan: wire.Scan) -> None:
        bounds = np.column_stack([scan.strings[:, 0], scan.strings[:, 0] + scan.strings[:, 1]])
        data = memoryview(scan.heap.data)
        self.values = [str(data[at:end], "utf-8", "replace") for at, end in bounds.tolist()]
        self._otherwise = {text: len(self.values) + at for at, text in enumerate(_OTHERWISE)}
        self._all = pl.Series("", [*self.values, *_OTHERWISE], dtype=pl.String)

    def gather(self, codes: np.ndarray[Any, Any], otherwise: str | None = None) -> pl.Series:
        """The strings of `codes` ``(n,)``; for -1 what is said otherwise, one of `_OTHERWISE`."""
        return self._all[np.where(codes >= 0, codes, self._otherwise[otherwise])]

    def without_empty(self, codes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """`codes`, but -1 for the empty string."""
        empty = np.array([not text for text in self.values] + [True])  # [-1]: none
        return np.where(empty[codes], -1, codes)


#: Combinations of values whose meaning is remembered: the same ones come in every request.
_REMEMBERED = 8192


@lru_cache(maxsize=_REMEMBERED)
def _meaning_of(
    values: tuple[tuple[str, str], ...], kind: int, name: str, named: tuple[tuple[str, str], ...]
) -> tuple[semconv.Meaning, str]:
    """What a combination of values, by their fields, means, and the span's templated name."""
    said = semconv.meaning(dict(values), kind, name, dict(named))
    return said, said.operation if said.edge_class == schema.CLASS_DB else template_name(name)


def _resolve(scan: wire.Scan, strings: _Strings, named: tuple[tuple[str, str], ...]) -> dict[str, pl.Series]:
    """Class, messaging operation, peer, operation, outcome and templated name of every span.

    Resolved once for each distinct combination of attribute values and name.
    """
    text = strings.values
    pairs = scan.rows[:, wire.C_COMBINATION] * len(text) + scan.rows[:, wire.C_NAME]
    distinct, number = np.unique(pairs, return_inverse=True)
    used = np.flatnonzero((scan.combinations[:, 1 : len(_SPAN_FIELDS) + 1] >= 0).any(axis=0)).tolist()
    values = scan.combinations[:, [0, *(k + 1 for k in used)]].tolist()
    fields = [_SPAN_FIELDS[k] for k in used]
    meanings: list[semconv.Meaning] = []
    names: list[str] = []
    for pair in distinct.tolist():
        combination, name = divmod(pair, len(text))
        kind, *codes = values[combination]
        found = tuple([(fields[k], text[code]) for k, code in enumerate(codes) if code >= 0 and text[code]])
        said, templated = _meaning_of(found, kind, text[name], named)
        meanings.append(said)
        names.append(templated)
    table = {
        "edge_class": pl.Series([m.edge_class for m in meanings], dtype=pl.Int8),
        "messaging_op": pl.Series([m.messaging_op for m in meanings], dtype=pl.Int8),
        "peer": pl.Series([m.peer for m in meanings], dtype=pl.String),
        "operation": pl.Series([m.operation for m in meanings], dtype=pl.String),
        "failed": pl.Series([m.failed for m in meanings], dtype=pl.Boolean),
        "name": pl.Series(names, dtype=pl.String),
    }
    return {name: column[number] for name, column in table.items()}


def _hosts(scan: wire.Scan, strings: _Strings) -> np.ndarray[Any, Any]:
    """Code of the name of each span's host ``(n,)``, -1 for none.

    By its resource: a host, else an instance, else an address of its own; else by the span's own address.
    """
    every = np.array([text in semconv.EVERY_HOST for text in strings.values] + [True])  # [-1]: none
    own = _SPAN_FIELDS.index("own_address")
    known_by = (
        len(_SPAN_FIELDS) + _RESOURCE_FIELDS.index("host"),
        len(_SPAN_FIELDS) + _RESOURCE_FIELDS.index("service_instance"),
        own,
        _SPAN_FIELDS.index("own_name"),
    )
    of_resource = np.full(len(scan.resource_codes), -1, np.int32)
    for field in known_by:
        codes = scan.resource_codes[:, field]
        of_resource = np.where((of_resource < 0) & ~every[codes], codes, of_resource)
    hosts = of_resource[scan.rows[:, wire.C_RESOURCE]]
    addresses = scan.combinations[:, own + 1]
    if (hosts < 0).any() and (addresses >= 0).any():
        here = addresses[scan.rows[:, wire.C_COMBINATION]]
        hosts = np.where((hosts < 0) & ~every[here], here, hosts)
    return hosts


def _pieces(data: np.ndarray[Any, Any], ends: np.ndarray[Any, Any]) -> pl.Series:
    """Binary values that lie end to end in `data` and end at `ends` ``(n,)``; no object for each."""
    bounds = np.zeros(len(ends) + 1, np.int64)
    bounds[1:] = ends
    # polars takes lists from Arrow's buffers, and turns lists of bytes into values
    return pl.Series(list_array(Array(bounds), Array(data))).cast(pl.Binary)


def scan(
    payloads: Sequence[bytes], arrived_ns: int | Sequence[int], policy: Policy = keeping.DEFAULT
) -> wire.Scan:
    """The integer columns, interned strings and kept bytes of some requests; see `decode`."""
    latest = np.empty(len(payloads), np.int64)
    latest[:] = arrived_ns
    return wire.scan(list(payloads), latest + FUTURE_NS, _keys(policy), _FIELDS)


def decode(
    payloads: Sequence[bytes], arrived_ns: int | Sequence[int], *, policy: Policy = keeping.DEFAULT
) -> Decoded:
    """Decode OTLP requests.

    Parameters
    ----------
    payloads
        ExportTraceServiceRequest (or TracesData) messages.
    arrived_ns
        When they arrived, for all or for each: later spans than a day after are refused.
    policy
        Which attributes are kept, beside what is built in.

    Raises
    ------
    MalformedOtlpError
        At the first byte that breaks the wire format; nothing of any payload is used then.
    """
    return assemble(scan(payloads, arrived_ns, policy), policy)


def assemble(scanned: wire.Scan, policy: Policy = keeping.DEFAULT) -> Decoded:
    """SPANS rows of what a scan found, addresses called as `policy` calls them."""
    strings = _Strings(scanned)
    rows = scanned.rows
    resource = rows[:, wire.C_RESOURCE]
    codes = {
        name: scanned.resource_codes[:, len(_SPAN_FIELDS) + at][resource]
        for at, name in enumerate(_RESOURCE_FIELDS)
    }
    codes["service_name"] = strings.without_empty(codes["service_name"])
    otherwise = {"service_name": schema.UNKNOWN_SERVICE, "environment": ""}
    of_resource = {name: strings.gather(code, otherwise.get(name)) for name, code in codes.items()}
    plain = {
        "trace_hi": wire.C_TRACE_HI, "trace_lo": wire.C_TRACE_LO, "span_id": wire.C_SPAN,
        "parent_span_id": wire.C_PARENT, "start_ns": wire.C_START, "end_ns": wire.C_END,
        "kind": wire.C_KIND, "status": wire.C_STATUS, "threshold": wire.C_THRESHOLD,
        "content_hash": wire.C_HASH,
    }  # fmt: skip
    kinds = schema.dtypes(schema.SPANS)
    columns: dict[str, pl.Series] = {
        name: pl.Series(rows[:, at].astype(_INTEGERS[kinds[name]])) for name, at in plain.items()
    }
    columns |= of_resource | _resolve(scanned, strings, policy.names)
    unset = columns["status"] == schema.STATUS_UNSET
    columns["status"] = columns["status"].set(unset & columns.pop("failed"), schema.STATUS_ERROR)
    columns["host"] = strings.gather(_hosts(scanned, strings))
    columns["scope"] = strings.gather(rows[:, wire.C_SCOPE])
    # copies: what a table refers to must not be the room that the scan was made in
    columns["raw"] = _pieces(scanned.raw.copy(), rows[:, wire.C_RAW_END])
    columns["resource"] = _pieces(scanned.resource_raw.copy(), scanned.resource_end)[resource]
    columns["links"] = _links(scanned)
    # every column has its type already: a frame's cast is planned as a query, which costs as much again
    spans = pl.DataFrame([columns[name].alias(name) for name in schema.SPANS])
    return Decoded(spans, judge(scanned)[1])


def fingerprint(scanned: wire.Scan) -> str:
    """What tells the spans of a scan from any others: a digest of their ids and contents, in order."""
    about = (wire.C_TRACE_HI, wire.C_TRACE_LO, wire.C_SPAN, wire.C_HASH)
    digest = hashlib.blake2b(scanned.rows[:, about].tobytes(), digest_size=12)
    digest.update(scanned.flawed.tobytes())
    return digest.hexdigest()


def judge(scanned: wire.Scan) -> tuple[int, dict[str, int]]:
    """Spans of a scan that are accepted, and refused by reason."""
    counts = zip(_REASONS, scanned.flawed.tolist(), strict=True)
    return len(scanned.rows), {reason: count for reason, count in counts if count}


def _links(scan: wire.Scan) -> pl.Series:
    """Each span's links, 24 bytes a link; null for none."""
    count = scan.rows[:, wire.C_LINKS]
    if not count.any():
        return pl.Series([None], dtype=pl.Binary).new_from_index(0, len(count))
    links = _pieces(scan.links.reshape(-1), 24 * np.cumsum(count))
    return links.set(pl.Series(count == 0), None)

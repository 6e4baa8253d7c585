"""OTLP protobuf, scanned once into integer columns and interned string codes.

    ExportTraceServiceRequest
      1 resource_spans*   1 resource        attributes -> resource fields
                          2 scope_spans*    1 scope (name)
                                            2 spans*  -> one row each

No Python object per span.  What breaks the wire format stops the scan with its offset and what
should have stood there.  Unknown fields, and known fields of another wire type, are skipped, as
protobuf says.  A repeated scalar's last value counts.

Strings are interned: a dictionary of the call keeps the first occurrence of each distinct byte string.
What tells one call from the next (ids in paths, literals in queries) is folded before, or a million
spans would have a million strings.  The values of a span's attributes of interest are interned
together, as one combination, so that what they mean is resolved once for each.

    room         what a scan fills
    values       a KeyValue's key and value
    keys         which column a key belongs to, and whether its attribute is kept
    strings      strings and combinations, each once
    trace_state  the sampling threshold
    spans        one span into one row
    requests     requests into a `Scan`

What enters is payloads in any state; what leaves is a `Scan` that no other input can break, or the offset of
the first byte that is not protobuf's.  The outer levels are checked before anything is filled, so that every
array has its size before, and whatever is read later lies within a field that has been checked.

Source: opentelemetry-proto trace/v1, common/v1, resource/v1.
"""

from tracescope.kernels.wire.keys import LONGEST_VALUE, Keys, make_keys
from tracescope.kernels.wire.requests import LARGEST_RESOURCE, count_spans, scan
from tracescope.kernels.wire.room import (
    C_COMBINATION,
    C_END,
    C_HASH,
    C_KIND,
    C_LINKS,
    C_LINKS_AT,
    C_NAME,
    C_PARENT,
    C_RAW_END,
    C_RESOURCE,
    C_SCOPE,
    C_SPAN,
    C_START,
    C_STATUS,
    C_THRESHOLD,
    C_TRACE_HI,
    C_TRACE_LO,
    I32,
    I64,
    U8,
    Scan,
)
from tracescope.kernels.wire.spans import LEAST_SPAN, LONGEST_NS, OLDEST_NS
from tracescope.kernels.wire.strings import FOLD_NONE, FOLD_PATH, FOLD_QUERY, LONGEST_STRING

__all__ = [
    "C_COMBINATION",
    "C_END",
    "C_HASH",
    "C_KIND",
    "C_LINKS",
    "C_LINKS_AT",
    "C_NAME",
    "C_PARENT",
    "C_RAW_END",
    "C_RESOURCE",
    "C_SCOPE",
    "C_SPAN",
    "C_START",
    "C_STATUS",
    "C_THRESHOLD",
    "C_TRACE_HI",
    "C_TRACE_LO",
    "FOLD_NONE",
    "FOLD_PATH",
    "FOLD_QUERY",
    "I32",
    "I64",
    "LARGEST_RESOURCE",
    "LEAST_SPAN",
    "LONGEST_NS",
    "LONGEST_STRING",
    "LONGEST_VALUE",
    "OLDEST_NS",
    "U8",
    "Keys",
    "Scan",
    "count_spans",
    "make_keys",
    "scan",
]

"""OTLP JSON to OTLP protobuf.

OTLP's JSON is protobuf's JSON mapping with ids in hex.  What is read here is what the protobuf library's
own reader of that mapping takes, with the values that it gives: names in camel or snake case, 64-bit
integers as strings or numbers, enums by number or name, null for what is not set, unknown members
ignored.  Nearly all documents are plain enough for `plain_json`; what is here reads the others, by the
messages' descriptors, and says what is wrong with them.  One way into SPANS is kept: everything is
decoded by the wire kernel.

Source: OTLP specification 1.11, "JSON Protobuf Encoding"; protobuf, "ProtoJSON Format".
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import struct
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from tracescope.ingest.protobuf import varint
from tracescope.kernels import plain_json

Json = dict[str, Any]

#: Messages in one another, as the protobuf library takes them.
_DEEPEST = 100
#: Counts and flags that no column and nothing kept needs: they are checked and not written.
_UNUSED = frozenset(
    ("dropped_attributes_count", "dropped_events_count", "dropped_links_count", "flags", "schema_url")
)
#: Bytes of each id.
_ID_BYTES = {"trace_id": 16, "span_id": 8, "parent_span_id": 8}
#: What OTLP called scopes before version 0.15.
_FORMER = {"instrumentationLibrarySpans": "scopeSpans", "instrumentationLibrary": "scope"}
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})*\Z")
_HALF_A_PAIR = re.compile("[\ud800-\udfff]")
_FIXED32, _FIXED64 = struct.Struct("<I").pack, struct.Struct("<Q").pack
_DOUBLE = struct.Struct("<d").pack


class Malformed(Exception):  # noqa: N818 - internal: the reader turns it into an InputError with its place
    """What is wrong with one document, a hint, and how many lines into it."""

    def __init__(self, message: str, hint: str | None = None, *, lines: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.lines = lines


class Repeated(dict[str, Any]):
    """A JSON object of which some members were given twice."""

    twice: frozenset[str] = frozenset()


def delimited(tag: bytes, body: bytes) -> bytes:
    """One length-delimited field with its tag byte."""
    return tag + varint(len(body)) + body


def _shown(value: Any) -> str:
    """A value in an error message, as JSON has it, cut; of a list or an object that it is one."""
    if value is None or isinstance(value, bool | list | dict):
        return kind_of(value)  # pyright: ignore[reportUnknownArgumentType]
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


# -- scalars, as google.protobuf.json_format converts them --


def integer(value: Any, what: str, least: int, most: int) -> int:
    """An integer from `least` to `most`, given as a number or as text.

    Raises
    ------
    Malformed
        It is none, or out of range.
    """
    found: int | None = None
    if not isinstance(value, bool) and not (isinstance(value, str) and " " in value):
        try:
            found = int(value) if not isinstance(value, float) or value.is_integer() else None
        except (TypeError, ValueError):  # "1e3" is an integer too
            try:
                number = float(value)
                found = int(number) if number.is_integer() else None
            except (TypeError, ValueError, OverflowError):
                found = None
    if found is None:
        raise Malformed(f"{what} is {_shown(value)}, not an integer")
    if not least <= found <= most:
        raise Malformed(f"{what} {_shown(found)} does not fit {64 if most > 2**32 else 32} bits")
    return found


def _double(value: Any, what: str) -> float:
    if value == "nan" or (isinstance(value, float) and not math.isfinite(value)):
        raise Malformed(f"{what} is {_shown(value)}; write it as a string: NaN, Infinity, -Infinity")
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise Malformed(f"{what} is {_shown(value)}, not a number") from error


def _text(value: Any, what: str) -> bytes:
    if not isinstance(value, str):
        raise Malformed(f"{what} is {_shown(value)}, not a string")
    if _HALF_A_PAIR.search(value):
        raise Malformed(f"{what} has half a surrogate pair")
    return value.encode()


def _enum(value: Any, names: dict[str, int], what: str) -> int:
    """An enum by name or number; the library may pass over a name that nobody knows, here it is refused."""
    try:
        found = names.get(value)
        return int(value) if found is None else found
    except (TypeError, ValueError, OverflowError) as error:
        raise Malformed(f"{what} is {_shown(value)}, not an integer") from error


def _bytes(value: Any, what: str) -> bytes:
    if not isinstance(value, str):
        raise Malformed(f"{what} is {_shown(value)}, not base64")
    try:
        text = value.encode()
        return base64.urlsafe_b64decode(text + b"=" * (4 - len(text) % 4))
    except (UnicodeEncodeError, binascii.Error) as error:
        raise Malformed(f"{what} is {_shown(value)}, not base64") from error


def _id(value: Any, size: int, what: str, *, lenient: bool) -> bytes:
    """Bytes of a hex id; base64, which protobuf's own JSON mapping would use, where that is allowed."""
    if isinstance(value, str) and _HEX.match(value):
        return bytes.fromhex(value)
    try:
        decoded = base64.b64decode(value.replace("-", "+").replace("_", "/"), validate=True)
    except (AttributeError, binascii.Error, ValueError):
        decoded = b""
    if len(decoded) != size:
        raise Malformed(f"{what} {_shown(value)} is not hex")
    if not lenient:
        raise Malformed(
            f"{what} {_shown(value)} is base64",
            "OTLP JSON has ids in hex; `tracescope import` reads files with such ids",
        )
    return decoded


# -- messages, by their descriptors --


_Write = Callable[[Any, str, bool], bytes | None]


class _Field(NamedTuple):
    """One field of a message: how it is called, and how its value is written."""

    name: str
    order: int
    tag: bytes
    message: Any
    repeated: bool
    oneof: str
    kept: bool
    write: _Write | None


def _ranged(least: int, most: int, put: Callable[[int], bytes]) -> _Write:
    def write(value: Any, what: str, lenient: bool) -> bytes | None:
        found = integer(value, what, least, most)
        return put(found) if found else None

    return write


def _plain(convert: Callable[[Any, str], bytes | None]) -> _Write:
    """Writes what `convert` makes of a value."""

    def write(value: Any, what: str, lenient: bool) -> bytes | None:
        return convert(value, what)

    return write


def _scalar(field: Any) -> _Write:
    """Writes a scalar field's value; None for its default."""
    if field.name in _ID_BYTES:
        size = _ID_BYTES[field.name]

        def write_id(value: Any, what: str, lenient: bool) -> bytes | None:
            return _sized(_id(value, size, what, lenient=lenient))

        return write_id
    if field.type == field.TYPE_ENUM:
        names = {value.name: value.number for value in field.enum_type.values}
        small = _ranged(-(2**31), 2**31 - 1, varint_of_signed)

        def write_enum(value: Any, what: str, lenient: bool) -> bytes | None:
            return small(_enum(value, names, what), what, lenient)

        return write_enum
    return {
        field.TYPE_STRING: _plain(_sized_text),
        field.TYPE_BYTES: _plain(_sized_bytes),
        field.TYPE_BOOL: _plain(_bool),
        field.TYPE_DOUBLE: _plain(_fixed_double),
        field.TYPE_INT64: _ranged(-(2**63), 2**63 - 1, varint_of_signed),
        field.TYPE_INT32: _ranged(-(2**31), 2**31 - 1, varint_of_signed),
        field.TYPE_UINT32: _ranged(0, 2**32 - 1, varint),
        field.TYPE_FIXED32: _ranged(0, 2**32 - 1, _FIXED32),
        field.TYPE_FIXED64: _ranged(0, 2**64 - 1, _FIXED64),
    }[field.type]


def _sized_text(value: Any, what: str) -> bytes | None:
    return _sized(_text(value, what))


def _sized_bytes(value: Any, what: str) -> bytes | None:
    return _sized(_bytes(value, what))


def _fixed_double(value: Any, what: str) -> bytes | None:
    return _DOUBLE(_double(value, what))


def varint_of_signed(value: int) -> bytes:
    """Protobuf varint of an integer of 64 bits, as two's complement."""
    return varint(value & 0xFFFFFFFFFFFFFFFF)


def _sized(data: bytes) -> bytes | None:
    return varint(len(data)) + data if data else None


def _bool(value: Any, what: str) -> bytes | None:
    if not isinstance(value, bool):
        raise Malformed(f"{what} is {_shown(value)}, neither true nor false")
    return b"\x01" if value else None


#: What a field of a oneof holds when it holds a default: it is written all the same.
_ZEROS = {0: b"\x00", 1: bytes(8), 2: b"\x00", 5: bytes(4)}
_WIRE_TYPES = {"DOUBLE": 1, "FIXED64": 1, "STRING": 2, "BYTES": 2, "MESSAGE": 2, "FIXED32": 5}


@lru_cache(maxsize=64)
def _fields(descriptor: Any) -> dict[str, _Field]:
    """The fields of a message by both of their names."""
    out: dict[str, _Field] = {}
    for order, field in enumerate(sorted(descriptor.fields, key=lambda field: field.number)):
        types = {getattr(field, f"TYPE_{name}"): wire for name, wire in _WIRE_TYPES.items()}
        is_message = field.type == field.TYPE_MESSAGE
        found = _Field(
            field.json_name,
            order,
            varint(field.number << 3 | types.get(field.type, 0)),
            field.message_type if is_message else None,
            field.is_repeated,
            field.containing_oneof.name if field.containing_oneof else "",
            field.name not in _UNUSED,
            None if is_message else _scalar(field),
        )
        out[field.name] = out[field.json_name] = found
    return out


def _message(value: Any, descriptor: Any, what: str, depth: int, lenient: bool) -> bytes:
    """A message of its JSON object."""
    if not isinstance(value, dict):
        raise Malformed(f"{what} is {_shown(value)}, not an object: not shaped like OTLP")
    if depth > _DEEPEST:
        raise Malformed(f"{what} is nested in more than {_DEEPEST} messages")
    fields = _fields(descriptor)
    twice = value.twice if isinstance(value, Repeated) else ()
    parts: dict[int, bytes] = {}
    oneof = ""
    for name, content in value.items():
        field = fields.get(name)
        if field is None:
            if name[:1] == "[" and name[-1:] == "]":
                raise Malformed(f"{what} has no extension {name}")
            continue
        if name in twice:
            raise Malformed(f"{what} has two members {name!r}")
        parts.pop(field.order, None)  # of two spellings the last one counts
        if content is None:
            continue
        if field.oneof:
            if oneof:
                raise Malformed(f"{what} has {oneof} and {name}, of which one value can have only one")
            oneof = name
        written = _field(content, field, depth, lenient)
        if written and field.kept:
            parts[field.order] = written
    return b"".join(part for _, part in sorted(parts.items()))


def _field(value: Any, field: _Field, depth: int, lenient: bool) -> bytes:
    """A field with its tag, or each of a list; nothing for a default."""
    if not field.repeated:
        return _one(value, field, depth, lenient, keep=bool(field.oneof))
    if not isinstance(value, list):
        raise Malformed(f"{field.name} is {_shown(value)}, not a list: not shaped like OTLP")
    items: list[Any] = value
    return b"".join([_one(item, field, depth, lenient, keep=True) for item in items])


def _one(value: Any, field: _Field, depth: int, lenient: bool, *, keep: bool) -> bytes:
    """One value with its tag; a default as nothing, unless it is kept."""
    if field.write is None:
        return delimited(field.tag, _message(value, field.message, field.name, depth + 1, lenient))
    written = field.write(value, field.name, lenient)
    if written is None:
        return field.tag + _ZEROS[field.tag[0] & 7] if keep else b""
    return field.tag + written


# -- documents --


def _descriptor() -> Any:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    return ExportTraceServiceRequest.DESCRIPTOR


def encode_request(document: Json, *, lenient: bool = False) -> bytes:
    """ExportTraceServiceRequest bytes of a TracesData document.

    Parameters
    ----------
    document
        What a JSON reader made of it.
    lenient
        Whether ids may be base64.

    Raises
    ------
    Malformed
        An id, number or shape that OTLP does not allow.
    """
    return _message(_with_scopes(document), _descriptor(), "the document", 1, lenient)


def encode_value(text: str) -> bytes:
    """AnyValue bytes of an attribute's value in JSON.

    Raises
    ------
    Malformed
        It is none.
    """
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue

    return _message(parse(text.encode()), AnyValue.DESCRIPTOR, "the value", 1, True)


def _with_scopes(document: Json) -> Json:
    """The document with spans and scopes under their names of today; Tempo calls the former `batches`."""
    if "batches" in document:
        document = dict(document)
        batches, spans = document.pop("batches"), document.get("resourceSpans")
        if isinstance(batches, list) and isinstance(spans, list):
            batches = [*spans, *batches]
        document["resourceSpans"] = batches if batches is not None else spans
    groups = document.get("resourceSpans")
    if not isinstance(groups, list) or not any(
        isinstance(group, dict) and not _FORMER.keys().isdisjoint(group) for group in groups
    ):
        return document
    return {**document, "resourceSpans": [_renamed(group, "instrumentationLibrarySpans") for group in groups]}


def _renamed(group: Any, former: str) -> Any:
    if not isinstance(group, dict) or former not in group:
        return group
    out = dict(group)
    found = out.pop(former)
    if former == "instrumentationLibrarySpans" and isinstance(found, list):
        found = [_renamed(item, "instrumentationLibrary") for item in found]
    if not out.get(_FORMER[former]):
        out[_FORMER[former]] = found
    return out


def _object(pairs: list[tuple[str, Any]]) -> Json:
    found = dict(pairs)
    if len(found) < len(pairs):
        found = Repeated(found)
        times = Counter(name for name, _ in pairs)
        found.twice = frozenset(name for name, number in times.items() if number > 1)
    return found


def parse(text: bytes) -> Any:
    """What a JSON text holds, as protobuf's reader sees it: integers of any size, members given twice known.

    Raises
    ------
    Malformed
        It is no JSON.
    """
    try:
        return json.loads(text.decode(), object_pairs_hook=_object)
    except UnicodeDecodeError as error:
        raise Malformed(f"not JSON: not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        said = error.msg.partition(" (decode")[0]  # what follows is advice for who writes Python
        raise Malformed(f"not JSON: {said} (column {error.colno})", lines=error.lineno - 1) from error
    except ValueError as error:
        raise Malformed("a number has more than 4300 digits") from error
    except RecursionError as error:
        raise Malformed("not JSON: nested too deeply") from error


def kind_of(document: Any) -> str:
    """What JSON calls a value."""
    if document is None or isinstance(document, bool):
        return json.dumps(document)
    return {str: "a string", list: "a list", dict: "an object"}.get(type(document), "a number")


def transcode(text: bytes, *, lenient: bool = False) -> bytes:
    """ExportTraceServiceRequest bytes of one OTLP JSON document.

    Raises
    ------
    Malformed
        The text is no JSON, or no OTLP.
    """
    written = plain_json.transcode(text, lenient=lenient)
    return transcode_any(text, lenient=lenient) if written is None else written


def transcode_any(text: bytes, *, lenient: bool = False) -> bytes:
    """The same, of documents that are not plain."""
    document = parse(text)
    if not isinstance(document, dict):
        raise Malformed(f"{kind_of(document)}, not an object: not OTLP traces")
    return encode_request(document, lenient=lenient)

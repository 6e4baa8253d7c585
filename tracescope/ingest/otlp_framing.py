"""How OTLP protobuf messages stand in a file, and of which signal they are.

    bare       0A len ResourceSpans, 0A len ResourceSpans, ...     several messages read as one
    prefixed   00 00 01 F4 message, ...                            four bytes, the highest first
    varint     F4 03 message, ...                                  as protobuf's writeDelimitedTo

All signals look alike down to the items: ``{resource, [scope, [item]]}``.
"""

from __future__ import annotations

from typing import Literal

Framing = Literal["bare", "prefixed", "varint"]
Signal = Literal["traces", "metrics", "logs"]

_PART = 0x0A  # field 1, with a length
#: What a ResourceSpans may begin with: resource, scope spans, schema URL.
_BEGINNINGS = (0x0A, 0x12, 0x1A)
#: Messages that are looked at.
_ENOUGH = 32


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Value and next offset; the offset is -1 where none of at most five bytes stands."""
    value = 0
    for k in range(5):
        if at + k >= len(data):
            break
        value |= (data[at + k] & 0x7F) << 7 * k
        if data[at + k] < 0x80:
            return value, at + k + 1
    return 0, -1


def _is_message(data: bytes, at: int, end: int) -> bool:
    """Whether a request may stand from `at` to `end`, of which `data` may have only the beginning."""
    for _ in range(_ENOUGH):
        if at == end or at >= len(data):
            return True
        if data[at] != _PART:
            return False
        length, begin = _varint(data, at + 1)
        if begin < 0:
            return len(data) - at < 6
        if begin + length > end or (length and begin < len(data) and data[begin] not in _BEGINNINGS):
            return False
        at = begin + length
    return True


def _are_messages(data: bytes, *, fixed: bool) -> bool:
    """Whether messages with lengths before them may stand here."""
    at = 0
    for _ in range(_ENOUGH):
        if at >= len(data):
            break
        if fixed:
            length, begin = int.from_bytes(data[at : at + 4], "big"), at + 4
        else:
            length, begin = _varint(data, at)
        if begin < 0 or not _is_message(data, begin, begin + length):
            return False
        at = begin + length
    return True


def framing_of(data: bytes) -> Framing | None:
    """How messages stand in a file that begins with `data`; None where none do."""
    if data[:1] == b"\x00" and _are_messages(data, fixed=True):
        return "prefixed"
    if data[:1] == b"\x0a" and _is_message(data, 0, 2**63):
        return "bare"
    if _are_messages(data, fixed=False):
        return "varint"
    return "prefixed" if _are_messages(data, fixed=True) else None


def _field(data: bytes, at: int, end: int, number: int) -> tuple[int, int]:
    """Ends of the first field of a number, where only fields with lengths stand before it; else -1."""
    while 0 <= at < end:
        tag = data[at]
        length, begin = _varint(data, at + 1)
        if begin < 0 or begin + length > end or tag & 7 != 2:
            break
        if tag >> 3 == number:
            return begin, begin + length
        at = begin + length
    return -1, -1


def signal_of(message: bytes) -> Signal:
    """The signal of a message by its first item; traces where that is not clear.

    A span begins with ids of 16 and 8 bytes, a metric with its name, a log record with a time.
    """
    at, end = 0, len(message)
    for number in (1, 2, 2):  # resource spans, scope spans, span
        at, end = _field(message, at, end, number)
        if at < 0:
            return "traces"
    item = message[at:end]
    if item[:1] in (b"\x09", b"\x59"):
        return "logs"
    is_span = item[:2] == b"\x0a\x10" and item[18:20] == b"\x12\x08"
    length, begin = _varint(item, 1)
    is_name = item[:1] == b"\x0a" and begin > 0 and item[begin : begin + length].isascii()
    after = item[begin + length : begin + length + 1]
    return (
        "metrics" if is_name and not is_span and length not in (8, 16) and after in _OF_METRICS else "traces"
    )


#: What follows a metric's name: description, unit, gauge, sum, histogram, exponential histogram, summary.
_OF_METRICS = tuple(bytes([number << 3 | 2]) for number in (2, 3, 5, 7, 9, 10, 11))


def holds_item(message: bytes) -> bool:
    """Whether a well-formed message has an item; of very many groups only the first are looked at."""
    at, left = 0, _GROUPS
    while at < len(message) and left:
        part, after = _body(message, at)
        while part < after and left:
            tag = message[part]
            scope, part = _body(message, part)
            while tag == _SECOND and scope < part and left:
                left -= 1
                if message[scope] == _SECOND:
                    return True
                scope = _body(message, scope)[1]
            left -= 1
        at = after
        left -= 1
    return not left


#: Field 2, with a length: scopes of a resource, and items of a scope.
_SECOND = 0x12
#: Groups that are looked at for an item.
_GROUPS = 10_000


def _body(message: bytes, at: int) -> tuple[int, int]:
    """Begin and end of the field with a length that stands at `at`."""
    length, begin = _varint(message, at + 1)
    return (begin, begin + length) if begin > 0 else (len(message), len(message))


def stray_of(message: bytes) -> str:
    """What a message without items has instead of them; empty for what a request may have."""
    if not message:
        return ""
    signal = signal_of(message)
    if signal != "traces":
        return f"{signal}, and no traces"
    return "" if message[0] == _PART else f"no span, and field {message[0] >> 3} is none of a request"

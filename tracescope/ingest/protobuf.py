"""Protobuf written by hand: the few forms that OTLP's messages are put together from.

Source: Protocol Buffers documentation, "Encoding".
"""

from __future__ import annotations

_SHORT = [bytes((n,)) if n < 128 else bytes((n & 127 | 128, n >> 7)) for n in range(16384)]


def varint(value: int) -> bytes:
    """A non-negative integer below 2**64, seven bits a byte, the lowest first."""
    if value < 16384:
        return _SHORT[value]
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def delimited(number: int, payload: bytes) -> bytes:
    """A length-delimited field: a string, bytes or a message."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def string_attribute(key: str, value: str) -> bytes:
    """An OTLP KeyValue of a string."""
    return delimited(1, key.encode()) + delimited(2, delimited(1, value.encode()))

"""HTTP/2 frames by hand, for clients that no gRPC library would be: slow, broken or rude."""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Self

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, END_HEADERS, ACK = 1, 4, 1


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name: str, value: str) -> bytes:
    """A header field, neither indexed nor Huffman-coded."""
    return b"".join([b"\0", *(bytes([len(text)]) + text.encode() for text in (name, value))])


def call_headers(path: str, *more: tuple[str, str]) -> bytes:
    fields = [
        (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x"), ("te", "trailers"),
        ("content-type", "application/grpc"), *more,
    ]  # fmt: skip
    return b"".join(literal(name, value) for name, value in fields)


def message(body: bytes, *, compressed: int = 0, length: int | None = None) -> bytes:
    """A gRPC message with its prefix, which may lie about the length."""
    return struct.pack(">BI", compressed, len(body) if length is None else length) + body


@dataclass
class Wire:
    """One connection; `with` closes it."""

    address: str
    socket: socket.socket = field(init=False)
    buffer: bytes = b""

    def __post_init__(self) -> None:
        host, _, port = self.address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=10)
        self.send(PREFACE + frame(SETTINGS, 0, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def open_call(self, stream: int, path: str, *more: tuple[str, str]) -> None:
        self.send(frame(HEADERS, END_HEADERS, stream, call_headers(path, *more)))

    def frames(self, within_s: float) -> list[tuple[int, int, int, bytes]]:
        """Frames (kind, flags, stream, payload) until the peer is silent for so long or goes away.

        Settings and pings are answered.
        """
        found: list[tuple[int, int, int, bytes]] = []
        deadline = time.monotonic() + within_s
        while (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(65_536)
            except TimeoutError:
                break
            except ConnectionError:
                break
            if not data:
                break
            self.buffer += data
            while len(self.buffer) >= 9:
                size = int.from_bytes(self.buffer[:3], "big")
                if len(self.buffer) < 9 + size:
                    break
                kind, flags = self.buffer[3], self.buffer[4]
                stream = int.from_bytes(self.buffer[5:9], "big")
                payload, self.buffer = self.buffer[9 : 9 + size], self.buffer[9 + size :]
                if kind in (SETTINGS, PING) and not flags & ACK:
                    self.send(frame(kind, ACK, 0, payload if kind == PING else b""))
                found.append((kind, flags, stream, payload))
        return found

    def ended(self, stream: int, within_s: float) -> bytes | None:
        """Headers and trailers of a call once it has ended, as they came; None when it has not."""
        seen = b""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            for kind, flags, of, payload in self.frames(0.2):
                if of != stream:
                    continue
                if kind == HEADERS:
                    seen += payload
                if kind == RST_STREAM or (kind in (HEADERS, DATA) and flags & END_STREAM):
                    return seen
        return None

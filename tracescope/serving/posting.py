"""JSON posted to an address that is secret but for its host: tried again with growing pauses, a few times.

    post ─► 2xx            done
         ─► 408, 429, 5xx  ─┐ tried again: 1 s, 2 s, 4 s, ... and as long as Retry-After asks for
         ─► no connection  ─┘
         ─► anything else  refused: trying again would not help; redirects lead nowhere

Everything is done on the event loop, so that stopping cuts it short; no proxy is asked.
What is told of a failure names the host, never the rest of the address.

Source: RFC 9112 (message format), RFC 9110 (status codes, Retry-After).
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import ssl
from base64 import b64encode
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from tracescope.version import __version__

#: Tries of one message, and seconds that one may take.
TRIES: Final = 6
TRY_S: Final = 15.0
#: The longest pause between two tries.
MOST_PAUSE_S: Final = 120.0
#: Bytes of an answer's head at most.
_HEAD_BYTES: Final = 16 * 1024
_OK: Final = range(200, 300)
_AGAIN: Final = (408, 425, 429, 500, 502, 503, 504)


class Outcome(NamedTuple):
    """Outcome of a message: whether it was accepted, after how many tries, and the last answer."""

    accepted: bool
    tries: int
    said: str


class _Answer(NamedTuple):
    status: int
    wait_s: float


async def post(url: str, body: bytes, *, first_pause_s: float = 1.0) -> Outcome:
    """Post JSON until it is accepted, refused, or tried often enough.

    Parameters
    ----------
    url
        Where to; a user and password in it become basic authorization.
    body
        The JSON.
    first_pause_s
        Before the second try; each further one doubles it.
    """
    pause_s, said = first_pause_s, ""
    for tried in range(1, TRIES + 1):
        wait_s = 0.0
        try:
            async with asyncio.timeout(TRY_S):
                answer = await _once(url, body)
        except TimeoutError:
            said = f"no answer within {TRY_S:.0f} s"
        except (OSError, ValueError, EOFError) as error:
            said = _without_address(error)
        else:
            said, wait_s = f"status {answer.status}", answer.wait_s
            if answer.status in _OK:
                return Outcome(True, tried, said)
            if answer.status not in _AGAIN:
                return Outcome(False, tried, said)
        if tried < TRIES:
            await asyncio.sleep(min(max(pause_s * random.uniform(0.8, 1.2), wait_s), MOST_PAUSE_S))
            pause_s *= 2
    return Outcome(False, TRIES, said)


def _without_address(error: Exception) -> str:
    """What went wrong, in words that cannot hold the address."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason}"
    if isinstance(error, socket.gaierror):
        return "its host is not known"
    if isinstance(error, OSError):  # its own text has the address that was called
        return os.strerror(error.errno) if error.errno else "no connection"
    return f"no answer of HTTP ({type(error).__name__})"


async def _once(url: str, body: bytes) -> _Answer:
    """One try; raises OSError, EOFError or ValueError where there is no answer of HTTP."""
    parts = urlsplit(url)
    tls = ssl.create_default_context() if parts.scheme == "https" else None
    port = parts.port or (443 if tls else 80)
    reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=tls, limit=_HEAD_BYTES)
    try:
        writer.write(_request(url, body))
        await writer.drain()
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError as error:
            raise ValueError("the head of the answer is too long") from error
    finally:
        writer.transport.abort()  # what there is to know has been read
    return _answer(head)


def _request(url: str, body: bytes) -> bytes:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [
        f"POST {target} HTTP/1.1",
        f"Host: {host}",
        f"User-Agent: tracescope/{__version__}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Accept: */*",
        "Connection: close",
    ]
    if parts.username is not None:
        who = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        lines.append(f"Authorization: Basic {b64encode(who.encode()).decode()}")
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + body


def _answer(head: bytes) -> _Answer:
    first, *rest = head.decode("latin-1").split("\r\n")
    version, _, status = first.partition(" ")
    if not version.startswith("HTTP/1.") or not status[:3].isdigit():
        raise ValueError("no status line")
    wait_s = 0.0
    for line in rest:
        name, _, value = line.partition(":")
        if name.lower() == "retry-after" and value.strip().isdigit():
            wait_s = float(value)
    return _Answer(int(status[:3]), wait_s)
